"""What the real deployment made of the template: its own clock, a bundle that fits the image, a neighbour."""

from __future__ import annotations

import os
from typing import Any

import pytest
from botocore.exceptions import ClientError

from arcspot_cli import images
from arcspot_cli.local import sam
from arcspot_cli.local.stack import LOCAL_PARAMETERS, Places
from tests.e2e.conftest import mentioning
from tests.e2e.whole_stack import PROJECT, WholeStack
from tests.unit.local.strangers import listening, loopback, say, statuses

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NEIGHBOUR = "arcspot-neighbour"


def schedules(stack: WholeStack, group: str) -> set[str]:
    found = stack.client("scheduler").list_schedules(GroupName=group)["Schedules"]
    return {each["Name"] for each in found}


def test_what_always_runs_is_in_the_stacks_own_group(whole: WholeStack) -> None:
    clock = {f"clock-{whole.local.stack_name}-{name}" for name in ("sweep", "slow")}
    assert clock <= schedules(whole, whole.outputs["ScheduleGroup"])
    assert not schedules(whole, "default")


def test_the_backstop_is_made_where_budgets_exist(whole: WholeStack) -> None:
    assert whole.outputs["AccountBudget"]


def test_each_compiled_file_of_the_bundle_fits_the_images_python(whole: WholeStack) -> None:
    vendor = Places.of(PROJECT, whole.home).home / "build" / "sam" / "RunnerBundle" / "vendor"
    compiled = [path.name for path in vendor.rglob("*.so*")]
    tag = f"cpython-{images.read().default.python.replace('.', '')}-x86_64"
    assert compiled
    assert [name for name in compiled if ".abi3." not in name and tag not in name] == []


def test_every_port_that_the_stack_opened_refuses_a_web_page(whole: WholeStack) -> None:
    """Whatever listens, also what nobody thought of: MiniStack's own, a function's, a library's."""
    sockets = {each for pid in mentioning(whole.home) for each in listening(pid)}
    own = (whole.local.endpoint_url, whole.local.control_url)
    assert {loopback(int(url.rpartition(":")[2])) for url in own} <= sockets
    for address, _, number in (each.partition(":") for each in sockets):
        port = int(number, 16)
        assert f"{address}:{number}" == loopback(port), "127.0.0.1 alone"
        host = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\n"
        for head in (f"{host}Origin: https://evil.example\r\n", host, host.replace("127.0.0.1", "evil")):
            told = say(port, f"GET / HTTP/1.1\r\n{head}\r\n".encode())
            assert statuses(told) == [403], told


def test_a_second_stack_comes_up_beside_it_and_its_data_outlive_it(whole: WholeStack) -> None:
    places = Places.of(PROJECT, whole.home)
    sam.deploy(
        sam.find_sam(PROJECT, os.environ),
        stack_name=NEIGHBOUR,
        parameters={**LOCAL_PARAMETERS, "MaxInstances": "0", "Zones": "us-east-1b,us-east-1d"},
        project_dir=PROJECT,
        build_dir=places.home / "build" / "sam",
        records_dir=places.records_dir,
        config=places.state_dir / "samconfig.toml",
        environment=dict(os.environ) | whole.local.environment(),
        log=places.log("neighbour"),
    )
    formation = whole.client("cloudformation")
    (told,) = formation.describe_stacks(StackName=NEIGHBOUR)["Stacks"]
    assert told["StackStatus"] == "CREATE_COMPLETE"
    outputs = {each["OutputKey"]: each["OutputValue"] for each in told["Outputs"]}
    assert not set(outputs.values()) & set(whole.outputs.values()) - {
        outputs["TaskBudgetSeconds"],
        outputs["SolverVersion"],
    }
    subnets = whole.client("ec2").describe_subnets(SubnetIds=outputs["SubnetIds"].split(","))["Subnets"]
    assert [subnet["AvailabilityZone"] for subnet in subnets] == ["us-east-1b", "us-east-1d"]

    formation.delete_stack(StackName=NEIGHBOUR)
    formation.get_waiter("stack_delete_complete").wait(
        StackName=NEIGHBOUR, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    assert not exists(whole.client("scheduler"), outputs["ScheduleGroup"])
    assert schedules(whole, whole.outputs["ScheduleGroup"]), "the neighbour's clock is its own"
    for table in ("JobsTable", "LaunchesTable", "LedgerTable", "EventsTable"):
        assert whole.client("dynamodb").describe_table(TableName=outputs[table])
    whole.client("s3").head_bucket(Bucket=outputs["BucketName"])


def exists(scheduler: Any, group: str) -> bool:
    try:
        scheduler.get_schedule_group(Name=group)
    except ClientError:
        return False
    return True

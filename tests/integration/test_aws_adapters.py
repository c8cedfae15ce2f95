"""The adapters speak AWS's own wire formats, as moto knows them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from moto import mock_aws
from samtranslator.yaml_helper import yaml_parse

from arcspot.aws.compose import build
from arcspot.aws.compute import LAUNCH_TAG, STACK_TAG, Ec2
from arcspot.aws.messages import StepFunctions, StsWitness
from arcspot.domain.batches import Batch
from arcspot.domain.jobs import JobState
from arcspot.domain.launching import LaunchState, Token
from arcspot.domain.reaping import Suspects
from arcspot.errors import (
    Conflict,
    LaunchMisconfigured,
    NoCapacity,
    NotYourself,
    QuotaExceeded,
    RecordMissing,
)
from arcspot.ports import Event, Fetched, FleetOrder, Ports
from arcspot.services import ingesting, money, scaling
from arcspot.settings import Settings
from tests.fakes.driving import GOOD_TASK, task
from tests.fakes.memory import START
from tests.fakes.memory import settings as fake_settings

ROOT = Path(__file__).parents[2]
TABLES = {
    "JobsTable": "jobs",
    "LaunchesTable": "launches",
    "LedgerTable": "ledger",
    "EventsTable": "events",
}

LATER = START + timedelta(hours=1)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield boto3.Session()


@pytest.fixture
def settings() -> Settings:
    return fake_settings()


@pytest.fixture
def ports(aws: boto3.Session, settings: Settings) -> Ports:
    """Every adapter, over tables made from the template itself, so that keys and indexes cannot drift."""
    resources: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]
    dynamodb = aws.client("dynamodb")
    for logical, name in TABLES.items():
        properties = resources[logical]["Properties"]
        wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        dynamodb.create_table(TableName=name, **{k: properties[k] for k in wanted if k in properties})
    aws.client("s3").create_bucket(Bucket=settings.bucket)
    aws.client("sns").create_topic(Name="x")
    return build(settings, aws)


def drop(ports: Ports, settings: Settings, key: str, body: dict[str, Any]) -> ingesting.Outcome:
    raw = json.dumps(body).encode()
    ports.objects.write(key, raw, content_type="application/json")
    return ingesting.ingest(ports, settings, ingesting.Dropped(key, len(raw)), START)


def test_a_record_comes_back_as_it_was_written(ports: Ports, settings: Settings) -> None:
    receipt = drop(ports, settings, "tasks/b/one é+.json", GOOD_TASK)
    job = ports.store.job(receipt.jobs[0][1])
    assert job is not None
    claimed = job.claimed(launch_id="launch-1", now=START, lease_seconds=60)
    ports.store.write(claimed)
    back = ports.store.job(job.job_id)
    assert back == replace(claimed, version=2)
    assert ports.store.jobs([job.job_id, "nobody"]) == {job.job_id: back}
    assert ports.store.ready_jobs(10, LATER) == []


@pytest.mark.parametrize(
    "key",
    [
        "tasks/../x.json",
        "tasks//x.json",
        "tasks/team/monday/x.json",
        *("tasks/b/" + "x" * (length - 8) for length in (1010, 1011, 1024)),
        f"tasks/{'b' * 1000}/x.json",
    ],
    ids=lambda key: f"{key[:18]}-{len(key)}",
)
def test_what_is_written_about_a_key_that_s3_takes_and_we_refuse_can_be_written_and_read(
    key: str, ports: Ports, settings: Settings
) -> None:
    outcome = ingesting.ingest(ports, settings, ingesting.Dropped(key, 300, "v1"), START)
    assert (outcome.jobs, len(outcome.refusals)) == ((), 1)
    assert json.loads(ports.objects.read(ingesting.rejected_key(key)))["key"] == key
    assert ports.store.receipts([key])[key].refused == 1
    assert [kept.key for kept in ports.store.receipts_of_batch(outcome.batch_id)] == [key]


def test_a_write_over_a_changed_row_is_refused_and_writes_nothing_at_all(
    ports: Ports, settings: Settings
) -> None:
    drop(ports, settings, "tasks/b/one.json", GOOD_TASK)
    ledger, fleet = money.open_books(ports, settings, START)
    ports.store.write(fleet.waiting_for("budget", START))
    with pytest.raises(Conflict):
        ports.store.write(ledger.reserve(5), fleet.take())
    assert ports.store.ledger(ledger.period) == ledger


def test_a_reservation_is_one_transaction_over_three_tables_rows(ports: Ports, settings: Settings) -> None:
    launch = money.reserve(ports, settings, "launch-1", START)
    ledger, fleet = money.open_books(ports, settings, START)
    assert (ledger.reserved, fleet.slots_available) == (settings.reserve, settings.slots - 1)
    assert [row.launch_id for row in ports.store.open_launches()] == [launch.launch_id]
    with pytest.raises(Conflict):
        ports.store.write(launch, ledger.reserve(1))
    money.release(ports, "launch-1", "no capacity", START)
    assert ports.store.open_launches() == []
    row = ports.store.launch("launch-1")
    assert row is not None
    assert row.state is LaunchState.RELEASED


def test_urgent_lanes_come_first_and_older_jobs_before_younger(ports: Ports, settings: Settings) -> None:
    ids = [drop(ports, settings, f"tasks/b/{n}.json", task(n)).jobs[0][1] for n in range(4)]
    for n, job_id in enumerate(ids):
        job = ports.store.job(job_id)
        assert job is not None
        ports.store.write(replace(job, lane=0 if n == 3 else 1, ready_at=START + timedelta(seconds=10 - n)))
    assert [job.job_id for job in ports.store.ready_jobs(3, LATER)] == [
        ids[3],
        ids[2],
        ids[1],
    ]
    assert ports.store.ready_count(99, LATER) == 4
    assert ports.store.ready_count(2, LATER) >= 2


def test_a_batch_shows_its_jobs_and_not_itself(ports: Ports, settings: Settings) -> None:
    receipt = drop(ports, settings, "tasks/b/one.json", GOOD_TASK)
    assert [job.job_id for job in ports.store.jobs_of_batch("b")] == [receipt.jobs[0][1]]
    assert list(ports.store.jobs_of_batch("b", JobState.DONE)) == []
    (due,) = ports.store.batches_due()
    ports.store.write(due.reported(1))
    assert ports.store.batches_due() == []
    assert ports.store.batch("b") == Batch("b", START, None, 1, files=1, touched_at=START, version=3)


def test_many_tasks_in_one_file_are_added_once(ports: Ports, settings: Settings) -> None:
    many = {str(n): task(n) for n in range(120)}
    assert drop(ports, settings, "tasks/b/many.json", many).new_jobs == 120
    assert drop(ports, settings, "tasks/c/again.json", many).new_jobs == 0


def test_rows_of_the_ledger_table_come_back(ports: Ports, settings: Settings) -> None:
    ports.store.write(Suspects(since={"i-1": START}))
    assert ports.store.suspects().since == {"i-1": START}
    assert ports.store.token("l") is None
    ports.store.write(Token("l", START).waiting(token="t" * 1000, phase="boot"))
    kept = ports.store.token("l")
    assert kept == Token("l", START, "boot", "t" * 1000, version=1)
    ports.store.write(kept.waiting(token="u", phase="serve"))
    ports.store.write(ports.store.breaker().tripped(NoCapacity("none"), now=START))
    assert ports.store.breaker().open(START)
    assert scaling.estimated_seconds(ports, settings) == settings.task_budget_s / 2
    ports.store.record(*(Event("job#1", START, "done", str(n)) for n in range(30)))


def test_the_bucket_tells_absence_from_emptiness(ports: Ports) -> None:
    ports.objects.write("a/ü +.json", b"", content_type="x")
    assert ports.objects.read("a/ü +.json") == b""
    assert ports.objects.size("a/ü +.json") == 0
    assert ports.objects.size("absent") is None
    assert list(ports.objects.keys("a/")) == ["a/ü +.json"]
    with pytest.raises(RecordMissing, match="absent"):
        ports.objects.read("absent")


def test_many_objects_are_read_at_once_each_version_by_itself_and_absent_ones_left_out(ports: Ports) -> None:
    wanted: list[tuple[str, str | None]] = [(f"results/{n}", None) for n in range(70)]
    for key, _ in wanted:
        ports.objects.write(key, key.encode(), content_type="x")
    found = ports.objects.read_many([*wanted, ("absent", None), wanted[0]])
    assert found == {(key, None): key.encode() for key, _ in wanted}
    assert ports.objects.read_many([]) == {}


def test_the_end_of_an_object_is_read_without_what_is_before_it(ports: Ports) -> None:
    ports.objects.write("a", b"0123456789", content_type="x")
    ports.objects.write("empty", b"", content_type="x")
    assert ports.objects.read("a", last=3) == b"789"
    assert ports.objects.read("a", last=99) == b"0123456789"
    assert ports.objects.read("empty", last=3) == b""
    first, second, third = ports.objects.fetch_many([("a", None), ("empty", None), ("absent", None)], last=2)
    assert isinstance(first, Fetched)
    assert isinstance(second, Fetched)
    assert (first.body, second.body) == (b"89", b"")
    assert isinstance(third, RecordMissing)
    with pytest.raises(RecordMissing, match="absent"):
        ports.objects.read("absent", last=3)


def test_a_presigned_put_signs_the_checksum_of_the_bytes(ports: Ports) -> None:
    url, headers = ports.objects.presign_put(
        "results/x", sha256_hex=hashlib.sha256(b"hi").hexdigest(), size=2, seconds=60
    )
    assert "x-amz-checksum-sha256" in url.lower()
    assert headers["x-amz-checksum-sha256"] == "j0NDRmSPa5bfid2pAcUXaxCm2Dlh3TwayItZstwyeqQ="


@pytest.fixture
def ec2_stub() -> Any:
    client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        yield client, stub
        stub.assert_no_pending_responses()


def order_from(client: Any) -> Any:
    ec2 = Ec2(client, stack="s", template_id="lt-1", subnet_ids=("subnet-a", "subnet-b"))
    return ec2.launch(FleetOrder(launch_id="launch-1", instance_types=("g4dn.xlarge", "g4dn.2xlarge")))


def test_the_fleet_is_asked_for_one_spot_instance_over_all_types_and_zones(ec2_stub: Any) -> None:
    client, stub = ec2_stub
    expected = {
        "Type": "instant",
        "ClientToken": "launch-1",
        "LaunchTemplateConfigs": ANY,
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"},
        "TagSpecifications": ANY,
        "SpotOptions": {
            "AllocationStrategy": "price-capacity-optimized",
            "InstanceInterruptionBehavior": "terminate",
        },
    }
    answer = {"Instances": [{"InstanceIds": ["i-1"], "InstanceType": "g4dn.xlarge", "Lifecycle": "spot"}]}
    stub.add_response("create_fleet", answer, expected)
    stub.add_client_error("describe_instances", "InvalidInstanceID.NotFound")
    instance = order_from(client)
    assert (instance.instance_id, instance.market, instance.launch_id) == ("i-1", "spot", "launch-1")


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        (["InsufficientInstanceCapacity", "InsufficientInstanceCapacity"], NoCapacity),
        (["MaxSpotInstanceCountExceeded"], QuotaExceeded),
        (["InvalidLaunchTemplateName.NotFoundException"], LaunchMisconfigured),
    ],
)
def test_a_fleet_without_an_instance_says_why(
    ec2_stub: Any, codes: list[str], error: type[Exception]
) -> None:
    client, stub = ec2_stub
    stub.add_response(
        "create_fleet", {"Errors": [{"ErrorCode": c, "ErrorMessage": "x"} for c in codes], "Instances": []}
    )
    with pytest.raises(error):
        order_from(client)


def test_only_instances_with_the_stacks_tag_are_ours(aws: boto3.Session) -> None:
    client = aws.client("ec2")
    image = client.register_image(Name="image", RootDeviceName="/dev/xvda")["ImageId"]
    ours, other = (
        client.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": STACK_TAG, "Value": stack}, {"Key": LAUNCH_TAG, "Value": "launch-1"}],
                }
            ],
        )["Instances"][0]["InstanceId"]
        for stack in ("mine", "theirs")
    )
    ec2 = Ec2(client, stack="mine", template_id="lt", subnet_ids=())
    assert [i.instance_id for i in ec2.instances()] == [ours]
    assert ec2.instance(other) is None
    ec2.terminate(ours)
    ec2.terminate("i-0123456789abcdef0")
    gone = ec2.instance(ours)
    assert gone is not None
    assert gone.gone
    assert gone.launch_id == "launch-1"


def test_starting_an_execution_twice_is_starting_it_once() -> None:
    client = boto3.client(
        "stepfunctions", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    workflow = StepFunctions(client, "arn:aws:states:us-east-1:123456789012:stateMachine:x")
    with Stubber(client) as stub:
        stub.add_client_error("start_execution", "ExecutionAlreadyExists")
        workflow.start("launch-1", {})
        stub.add_client_error("send_task_success", "TaskTimedOut")
        workflow.succeed("token", {})
        stub.add_client_error("send_task_heartbeat", "AccessDeniedException")
        with pytest.raises(client.exceptions.ClientError):
            workflow.beat("token")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?Action=GetCallerIdentity&X-Amz-SignedHeaders=host;x-arcspot-launch",
        "https://sts.us-east-1.amazonaws.com/?Action=AssumeRole&X-Amz-SignedHeaders=host;x-arcspot-launch",
        "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&X-Amz-SignedHeaders=host",
        "https://sts.us-east-1.amazonaws.com@evil.example/?Action=GetCallerIdentity",
    ],
)
def test_a_proof_is_sent_nowhere_but_to_sts_and_only_if_it_signs_the_launch(url: str) -> None:
    with pytest.raises(NotYourself):
        StsWitness("https://sts.us-east-1.amazonaws.com").caller(url, {"x-arcspot-launch": "launch-1"})

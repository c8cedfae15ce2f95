"""The EC2 adapter and what EC2 really answers: refusals, zones, lags, and instances it has forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

from arcspot.aws.compute import LAUNCH_TAG, STACK_TAG, Ec2
from arcspot.domain.refusals import TABLE
from arcspot.errors import LaunchMisconfigured, LaunchPostponed, LaunchRefused, LaunchUnknown, NoCapacity
from arcspot.ports import FleetOrder
from arcspot.settings import Settings
from tests.fakes import house
from tests.fakes.memory import START

ORDER = FleetOrder(launch_id="launch-1", instance_types=("g4dn.xlarge", "g4dn.2xlarge"))
ZONES = {"subnet-a": "us-east-1a", "subnet-b": "us-east-1b"}
TAGS = [{"Key": STACK_TAG, "Value": "s"}, {"Key": LAUNCH_TAG, "Value": "launch-1"}]


@pytest.fixture
def stub() -> Iterator[Stubber]:
    client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def ec2(stub: Stubber) -> Ec2:
    client: Any = stub.client
    return Ec2(
        client, stack="s", template_id="lt-1", subnet_ids=tuple(ZONES), zones=ZONES, clock=lambda: START
    )


def shown(**changes: Any) -> dict[str, Any]:
    instance = {
        "InstanceId": "i-1",
        "State": {"Name": "running"},
        "InstanceType": "g4dn.xlarge",
        "Placement": {"AvailabilityZone": "us-east-1b"},
        "LaunchTime": datetime(2026, 11, 2, 9, 0, tzinfo=UTC),
        "Tags": TAGS,
    }
    return {"Reservations": [{"Instances": [instance | changes]}]}


def refused(stub: Stubber) -> LaunchRefused:
    with pytest.raises(LaunchRefused) as caught:
        ec2(stub).launch(ORDER)
    return caught.value


# Refusals ------------------------------------------------------------------------------------------------


def test_one_zone_without_the_type_and_one_without_capacity_is_no_capacity(stub: Stubber) -> None:
    errors = [
        {
            "ErrorCode": "InvalidFleetConfiguration",
            "ErrorMessage": "not supported in us-east-1e",
        },
        {"ErrorCode": "InsufficientInstanceCapacity", "ErrorMessage": "not sufficient in us-east-1a"},
    ]
    stub.add_response("create_fleet", {"Errors": errors, "Instances": []})
    found = refused(stub)
    assert type(found) is NoCapacity
    assert found.certain
    assert "us-east-1e" in str(found)
    assert "us-east-1a" in str(found)


def test_an_instance_counts_whatever_errors_came_beside_it(stub: Stubber) -> None:
    placed = {"Overrides": {"AvailabilityZone": "us-east-1a", "SubnetId": "subnet-a"}}
    instances = [
        {"InstanceIds": ["i-1"], "InstanceType": "g4dn.xlarge", "LaunchTemplateAndOverrides": placed}
    ]
    errors = [{"ErrorCode": "UnauthorizedOperation", "ErrorMessage": "x"}]
    stub.add_response("create_fleet", {"Errors": errors, "Instances": instances})
    stub.add_client_error("describe_instances", "InternalError", http_status_code=500)
    assert ec2(stub).launch(ORDER).instance_id == "i-1"


@pytest.mark.parametrize(
    ("code", "status", "repeated", "error", "certain"),
    [
        ("PendingVerification", 400, 0, LaunchPostponed, True),
        ("PendingVerification", 400, 2, LaunchPostponed, False),
        ("UnauthorizedOperation", 403, 0, LaunchMisconfigured, True),
        ("UnauthorizedOperation", 403, 1, LaunchMisconfigured, False),
        ("NobodyKnowsThis", 400, 0, LaunchPostponed, False),
        ("NobodyKnowsThis", 503, 0, LaunchUnknown, False),
        ("IdempotentParameterMismatch", 400, 0, LaunchUnknown, False),
        ("InsufficientInstanceCapacity", 500, 0, NoCapacity, True),
    ],
)
def test_a_call_that_failed_proves_only_what_it_proves(
    stub: Stubber, code: str, status: int, repeated: int, error: type[LaunchRefused], certain: bool
) -> None:
    """`RetryAttempts` is how botocore says that it had sent the same request before."""
    stub.add_client_error(
        "create_fleet", code, "EC2's words", status, response_meta={"RetryAttempts": repeated}
    )
    found = refused(stub)
    assert type(found) is error
    assert found.certain is certain
    assert "EC2's words" in str(found)


@pytest.mark.parametrize(
    "lost",
    [
        ReadTimeoutError(endpoint_url="https://ec2"),
        ConnectTimeoutError(endpoint_url="https://ec2"),
        EndpointConnectionError(endpoint_url="https://ec2"),
    ],
)
def test_no_answer_is_unknown(lost: Exception) -> None:
    class Silent:
        def create_fleet(self, **_: Any) -> Any:
            raise lost

    silent: Any = Silent()
    with pytest.raises(LaunchUnknown):
        Ec2(silent, stack="s", template_id="lt-1", subnet_ids=()).launch(ORDER)


def test_every_code_of_the_table_goes_through_the_adapter(stub: Stubber) -> None:
    for row in TABLE:
        code = row.code.replace("*", "X")
        stub.add_response("create_fleet", {"Errors": [{"ErrorCode": code, "ErrorMessage": "x"}]})
        assert code in str(refused(stub))


# Zones ---------------------------------------------------------------------------------------------------


def test_each_override_names_its_subnet_and_its_zone(stub: Stubber) -> None:
    overrides = [
        {"InstanceType": kind, "SubnetId": subnet, "AvailabilityZone": zone}
        for kind in ORDER.instance_types
        for subnet, zone in ZONES.items()
    ]
    request = ec2(stub)._request(ORDER)
    assert request["LaunchTemplateConfigs"][0]["Overrides"] == overrides
    stub.add_response("create_fleet", {"Errors": []}, request)  # as botocore's model wants it
    refused(stub)


def test_a_subnet_whose_zone_nobody_told_is_asked_for_without_one(stub: Stubber) -> None:
    client: Any = stub.client
    plain = Ec2(client, stack="s", template_id="lt-1", subnet_ids=("subnet-a", "subnet-c"), zones=ZONES)
    request = plain._request(FleetOrder(launch_id="x", instance_types=("g4dn.xlarge",)))
    assert request["LaunchTemplateConfigs"][0]["Overrides"][1] == {
        "InstanceType": "g4dn.xlarge", "SubnetId": "subnet-c",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("placed", "zone"),
    [
        ({"AvailabilityZone": "us-east-1a", "SubnetId": "subnet-a"}, "us-east-1a"),
        ({"SubnetId": "subnet-b"}, "us-east-1b"),
        ({}, ""),
    ],
)
def test_while_describe_lags_the_answer_says_where_and_since_when(
    stub: Stubber, placed: dict[str, str], zone: str
) -> None:
    group = {"InstanceIds": ["i-1"], "LaunchTemplateAndOverrides": {"Overrides": placed}}
    stub.add_response("create_fleet", {"Instances": [group | {"InstanceType": "g4dn.xlarge"}]})
    stub.add_client_error("describe_instances", "InvalidInstanceID.NotFound")
    started = ec2(stub).launch(ORDER)
    assert (started.zone, started.launched_at, started.launch_id) == (zone, START, "launch-1")


def test_subnets_come_with_their_zones_in_one_variable() -> None:
    from tests.property.test_time_limits import FIXED, NUMBERS, PARAMETERS

    env = FIXED | {name: str(PARAMETERS[p]["Default"]) for name, p in NUMBERS.items()}
    told = Settings.from_env(env | {"SUBNET_IDS": "subnet-a=us-east-1a, subnet-b=us-east-1b,subnet-c"})
    assert told.subnet_ids == ("subnet-a", "subnet-b", "subnet-c")
    assert told.zones == {"subnet-a": "us-east-1a", "subnet-b": "us-east-1b"}
    assert Settings.from_env(env).subnet_ids == ()


def test_the_template_tells_each_subnets_zone_beside_it() -> None:
    """Whatever subnets there are: `${Subnet}=${Subnet.AvailabilityZone}`."""
    told = json.dumps(house.functions()["launch"]["Environment"]["Variables"]["SUBNET_IDS"])
    pairs = re.findall(r"\$\{(\w+)\}=\$\{(\w+)\.AvailabilityZone\}", told)
    assert all(subnet == of for subnet, of in pairs)
    assert {subnet for subnet, _ in pairs} == set(house.resources("AWS::EC2::Subnet"))


# Ending what EC2 has forgotten ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"])
def test_ending_what_never_was_is_no_error(stub: Stubber, code: str) -> None:
    stub.add_client_error("terminate_instances", code)
    ec2(stub).terminate("i-1")


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "AccessDenied"])
@pytest.mark.parametrize("forgotten", [True, False])
def test_ending_what_ec2_has_forgotten_is_denied_for_want_of_a_tag_and_no_error(
    stub: Stubber, code: str, forgotten: bool
) -> None:
    stub.add_client_error("terminate_instances", code, http_status_code=403)
    if forgotten:
        stub.add_client_error("describe_instances", "InvalidInstanceID.NotFound")
    else:
        stub.add_response("describe_instances", shown(State={"Name": "terminated"}))
    ec2(stub).terminate("i-1")


@pytest.mark.parametrize("tags", [TAGS, []], ids=["ours", "its tags were taken away"])
def test_a_denial_to_end_what_lives_is_an_error(stub: Stubber, tags: list[Any]) -> None:
    stub.add_client_error("terminate_instances", "UnauthorizedOperation", http_status_code=403)
    stub.add_response("describe_instances", shown(Tags=tags))
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2(stub).terminate("i-1")


def test_a_denial_of_which_nobody_can_say_more_is_an_error(stub: Stubber) -> None:
    stub.add_client_error("terminate_instances", "UnauthorizedOperation", http_status_code=403)
    stub.add_client_error("describe_instances", "RequestLimitExceeded", http_status_code=503)
    with pytest.raises(ClientError, match="RequestLimitExceeded"):
        ec2(stub).terminate("i-1")

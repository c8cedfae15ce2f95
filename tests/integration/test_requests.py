"""The requests that the adapters really build, each held against botocore's model and the services' limits.

`tests/conftest.py` holds every request of every test against them. Here is what makes that complete: every
call that stands in the adapters' source is made, with the longest values that may reach it.
"""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from arcspot.services.watching import Round
from tests.fakes import adapters, house
from tests.fakes.limits import Call, Watch, faults

from .conftest import Cloud


def test_every_call_in_the_adapters_is_made_and_aws_would_take_it(
    whole_cloud: Cloud, requests_made: Watch
) -> None:
    adapters.say_everything(whole_cloud.ports)
    written = adapters.written_calls()
    assert len(written) > 25
    assert written - adapters.made(requests_made.calls) == set(), "no test makes these calls"
    assert adapters.clients_outside_adapters() == set()
    assert requests_made.faults == []


def test_the_handlers_build_nothing_else(whole_cloud: Cloud, requests_made: Watch) -> None:
    """Whatever a call is, it stands in an adapter: handlers and services make none past them."""
    made_before = len(requests_made.calls)  # by the fixtures, which deploy
    for function, event in (("scale", {}), ("watchdog", {}), ("report", {}), ("ingest", {"sweep": True})):
        house.handler_module(function).handler(event, _Context())
    theirs = requests_made.calls[made_before:]
    assert len(theirs) > 10
    assert [call.operation for call in theirs if not call.site] == []


class _Context:
    function_name = aws_request_id = invoked_function_arn = "x"
    memory_limit_in_mb = 512


def shape(service: str, operation: str) -> Any:
    client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # type: ignore[call-overload]
    return client.meta.service_model.operation_model(operation).input_shape


TAG = {"Key": "k", "Value": "v"}
ITEM = {"pk": {"S": "x"}}
ROLE = "arn:aws:iam::123456789012:role/r"
BIG = b"x" * 262_145
TARGET = {"Arn": ROLE, "RoleArn": ROLE, "Input": "{}"}
SCHEDULE = {
    "Name": "n", "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": TARGET,
}  # fmt: skip
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:x"
FLEET = {
    "LaunchTemplateConfigs": [], "TargetCapacitySpecification": {"TotalTargetCapacity": 1},
}  # fmt: skip


def put(item: dict[str, Any]) -> dict[str, Any]:
    return {"TableName": "table", "Item": {**ITEM, **item}}


def puts(count: int, text: str) -> dict[str, Any]:
    return {"TransactItems": [{"Put": put({"pk": {"S": f"{n}"}, "b": {"S": text}})} for n in range(count)]}


HUGE = json.dumps("x" * 262_144)
GOOD: list[tuple[str, str, dict[str, Any]]] = [
    ("sns", "Publish", {"TopicArn": "t", "Subject": "s", "Message": "m"}),
    ("dynamodb", "PutItem", put({"n": {"N": "1" * 38}, "big": {"S": "x" * 400_000}})),
    ("stepfunctions", "StartExecution", {"stateMachineArn": MACHINE, "name": "a-1", "input": "{}"}),
    ("s3", "PutObject", {"Bucket": "bucket", "Key": "k" * 1024}),
    ("ec2", "CreateFleet", {**FLEET, "ClientToken": "c" * 64}),
    ("scheduler", "CreateSchedule", SCHEDULE),
    ("scheduler", "CreateSchedule", {**SCHEDULE, "ScheduleExpression": "at(2026-11-27T10:00:00)"}),
]
# The models' own, which botocore lets pass, too. The documentation's edges: tests/contract/test_limits.py.
BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("sns", "Publish", {"TopicArn": "t", "Subject": "s" * 101, "Message": "m"}, "subject"),
    ("sns", "Publish", {"TopicArn": "t", "Subject": "a\nb", "Message": "m"}, "subject"),
    ("sns", "Publish", {"TopicArn": "t", "Subject": "s", "Message": "m" * 262_145}, "message"),
    ("dynamodb", "PutItem", put({"big": {"S": "x" * 409_600}}), "400 KB"),
    ("dynamodb", "PutItem", put({"due": {"S": ""}}), "not empty"),
    ("dynamodb", "PutItem", put({"in_batch": {"S": "ü" * 1025}}), "2,048"),
    ("dynamodb", "PutItem", put({"due_at": {"S": "x" * 1025}}), "1,024"),
    ("dynamodb", "PutItem", put({"n": {"N": "1" * 39}}), "38 digits"),
    ("dynamodb", "TransactWriteItems", {"TransactItems": [{"Put": put({})}, {"Put": put({})}]}, "no two"),
    ("dynamodb", "TransactWriteItems", puts(11, "x" * 390_000), "4 MB"),
    ("dynamodb", "TransactWriteItems", puts(101, "x"), "101 long"),
    ("dynamodb", "BatchWriteItem", {"RequestItems": {"t": [{"PutRequest": {"Item": ITEM}}] * 26}}, "26 long"),
    ("stepfunctions", "StartExecution", {"stateMachineArn": MACHINE, "name": "a b"}, "name"),
    ("stepfunctions", "StartExecution", {"stateMachineArn": MACHINE, "name": "a" * 81}, "81 long"),
    ("stepfunctions", "StartExecution", {"stateMachineArn": MACHINE, "input": HUGE}, "input"),
    ("stepfunctions", "SendTaskSuccess", {"taskToken": "t", "output": HUGE}, "output"),
    ("stepfunctions", "SendTaskFailure", {"taskToken": "t", "error": "e" * 257}, "257 long"),
    ("s3", "PutObject", {"Bucket": "bucket", "Key": "ü" * 513}, "1,024"),
    ("s3", "PutObject", {"Bucket": "bucket", "Key": "a/../b"}, "`..`"),
    ("s3", "DeleteObjects", {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "k"}] * 1001}}, "1,000"),
    ("lambda", "Invoke", {"FunctionName": "f", "InvocationType": "Event", "Payload": BIG * 4}, "1 MB"),
    ("lambda", "Invoke", {"FunctionName": "f" * 65, "Payload": b"{}"}, "64 characters"),
    ("ec2", "CreateFleet", {**FLEET, "ClientToken": "c" * 65}, "64 ASCII"),
    ("ec2", "CreateFleet", {**FLEET, "LaunchTemplateConfigs": [{"Overrides": [{}] * 301}]}, "300"),
    ("ec2", "CreateFleet", {**FLEET, "TagSpecifications": [{"Tags": [{**TAG, "Value": "v" * 257}]}]}, "256"),
    ("ec2", "CreateFleet", {**FLEET, "TagSpecifications": [{"Tags": [TAG, TAG]}]}, "each key once"),
    ("ec2", "TerminateInstances", {"InstanceIds": ["i-1", "i-2"]}, "one id"),
    ("ec2", "CreateFleet", {**FLEET, "Type": "Instant"}, "none of the model's"),
    ("scheduler", "CreateSchedule", {**SCHEDULE, "Name": "n" * 65}, "65 long"),
    ("scheduler", "CreateSchedule", {**SCHEDULE, "Name": "a b"}, "does not match"),
    ("scheduler", "CreateSchedule", {**SCHEDULE, "ScheduleExpression": "at(2026-11-27T10:00:00Z)"}, "moment"),
    ("scheduler", "CreateSchedule", {**SCHEDULE, "Target": {**TARGET, "Input": BIG.decode()}}, "input"),
    ("lambda", "Invoke", {}, "Missing required"),
    ("sns", "Publish", {"Message": 1}, "Invalid type"),
]  # fmt: skip


def judged(service: str, operation: str, params: dict[str, Any]) -> list[str]:
    named = {"stepfunctions": "sfn"}.get(service, service)
    return faults(Call(named, operation, params), shape(service, operation))


@pytest.mark.parametrize(("service", "operation", "params"), GOOD)
def test_a_good_request_has_no_fault(service: str, operation: str, params: dict[str, Any]) -> None:
    assert judged(service, operation, params) == []


@pytest.mark.parametrize(("service", "operation", "params", "words"), BAD)
def test_a_request_that_aws_would_refuse_is_a_fault(
    service: str, operation: str, params: dict[str, Any], words: str
) -> None:
    assert any(words in fault for fault in judged(service, operation, params))


# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
def test_the_watchdogs_metrics_are_within_the_formats_limits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in house.variables("watchdog").items():
        if name.startswith("POWERTOOLS_"):
            monkeypatch.setenv(name, value)
    seen = Round(50, 10**6, 1e9, (), ("job",) * 1000, 10**6, 10**12, 10**12, 10**12, 10**12)
    stack = "s" * 128  # the longest name that CloudFormation takes
    house.handler_module("watchdog")._publish(stack, seen, failed=10**6)
    (line,) = capsys.readouterr().out.splitlines()
    document = json.loads(line)
    assert len(line.encode()) <= 256 * 1024
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert 1 <= len(directive["Namespace"]) <= 255
    assert 1 <= len(directive["Metrics"]) <= 100
    assert all(len(dimensions) <= 30 for dimensions in directive["Dimensions"])
    for dimensions in directive["Dimensions"]:
        assert all(1 <= len(name) <= 250 and 1 <= len(document[name]) <= 1024 for name in dimensions)
    for metric in directive["Metrics"]:
        assert 1 <= len(metric["Name"]) <= 1024
        values = document[metric["Name"]]
        assert all(isinstance(value, int | float) and abs(value) < 2**360 for value in values)
        assert len(values) <= 100

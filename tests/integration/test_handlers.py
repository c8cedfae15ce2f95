"""The real handlers, called with what AWS sends them, over the template's own tables."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests  # the one HTTP client that moto listens to

from arcspot.aws.compute import LAUNCH_TAG, STACK_TAG
from arcspot.domain.jobs import JobState
from arcspot.domain.launching import LaunchState
from arcspot.errors import ConfigurationError, ItemsFailed
from arcspot.services import money
from arcspot.services.contents import contents
from tests.fakes import house
from tests.fakes.driving import GOOD_TASK, task

from .conftest import Cloud


@dataclass
class Context:
    """What Lambda hands a handler beside the event."""

    function_name: str = "arcspot-test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:arcspot-test"
    aws_request_id: str = "52fdfc07-2182-154f-163f-5f0f9a621d72"
    remaining_ms: int = 60_000

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


def call(function: str, event: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = house.handler_module(function).handler(event, Context())
    return json.loads(json.dumps(answer))  # type: ignore[no-any-return]  # Lambda answers in JSON


def dropped(
    cloud: Cloud, key: str, body: bytes, message: str = "m-1", sequencer: str = "0A"
) -> dict[str, Any]:
    """Put an object, and make the SQS record that the rule's event becomes."""
    version = cloud.client("s3").put_object(Bucket="bucket", Key=key, Body=body)["VersionId"]
    detail = {
        "bucket": {"name": "bucket"},
        "object": {"key": key, "size": len(body), "version-id": version, "sequencer": sequencer},
    }
    event = {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}
    return {"messageId": message, "eventSource": "aws:sqs", "body": json.dumps(event)}


def batch_of(cloud: Cloud) -> dict[str, Any]:
    return {
        "Records": [
            dropped(cloud, "tasks/b/good é+.json", json.dumps(GOOD_TASK).encode(), "good"),
            dropped(cloud, "tasks/b/bad.json", b"\xff\xfe", "bad"),
            {"messageId": "poison", "body": "{"},
        ]
    }


def test_a_batch_of_messages_becomes_jobs_and_only_the_broken_message_comes_again(whole_cloud: Cloud) -> None:
    event = batch_of(whole_cloud)
    assert call("ingest", event) == {"batchItemFailures": [{"itemIdentifier": "poison"}]}
    found = contents(whole_cloud.ports.store, "b")
    assert {entry.task_id: entry.job.state for entry in found.entries} == {"good é+": JobState.READY}
    assert [receipt.key for receipt in found.refused] == ["tasks/b/bad.json"]
    refused = json.loads(whole_cloud.ports.objects.read("rejected/tasks/b/bad.json.json"))
    assert "tasks/b/bad.json" in refused["messages"][0]
    before = rows(whole_cloud)
    call("ingest", event)
    assert rows(whole_cloud) == before, "I15"


def test_each_exact_version_is_read_and_not_what_replaced_it(whole_cloud: Cloud) -> None:
    first = dropped(whole_cloud, "tasks/b/one.json", json.dumps(task(1)).encode(), "first", "0A")
    second = dropped(whole_cloud, "tasks/b/one.json", json.dumps(task(2)).encode(), "second", "0B")
    call("ingest", {"Records": [first]})
    call("ingest", {"Records": [second]})
    assert len(list(whole_cloud.ports.store.jobs_of_batch("b"))) == 2


def test_the_hourly_sweep_ingests_what_no_event_told_of(whole_cloud: Cloud) -> None:
    dropped(whole_cloud, "tasks/lost.json", json.dumps(GOOD_TASK).encode())
    assert call("ingest", {"sweep": True}) == {"files": 1, "new_jobs": 1}
    assert call("ingest", {"sweep": True}) == {"files": 0, "new_jobs": 0}
    assert len(whole_cloud.ports.store.ready_jobs(5, datetime.now(UTC))) == 1


def test_from_a_dropped_file_to_a_settled_launch(whole_cloud: Cloud) -> None:
    """scale, launch, retire and the watchdog, each called twice: the second call changes nothing (I15)."""
    store = whole_cloud.ports.store
    call("ingest", batch_of(whole_cloud))
    (launch_id,) = call("scale", {})["started"]
    assert call("scale", {"kicked": True})["started"] == []
    assert executions(whole_cloud) == [launch_id]

    placed = call("launch", {"step": "launch", "launch_id": launch_id})
    assert call("launch", {"step": "launch", "launch_id": launch_id}) == placed
    assert instances(whole_cloud, launch_id) == {placed["instance_id"]: "running"}
    assert placed["instance_type"] == "g4dn.xlarge"
    assert call("launch", {"step": "boot", "launch_id": launch_id, "token": "t"}) == {}
    assert call("watchdog", {}) == {"actions": []}

    ended = {"launch_id": launch_id, "error": {"Error": "States.HeartbeatTimeout", "Cause": ""}}
    for step, answer in (
        ("reclaim", {"reclaimed": 0}),
        ("terminate", {"instance_id": placed["instance_id"]}),
        ("gone", {"gone": True}),
    ):
        assert call("retire", {"step": step, **ended}) == answer
        assert call("retire", {"step": step, **ended}) in (answer, {"instance_id": ""})
    settled = call("retire", {"step": "settle", **ended})
    assert settled["usd_micros"] > 0
    assert call("retire", {"step": "settle", **ended}) == settled
    row = store.launch(launch_id)
    assert row is not None
    assert row.state is LaunchState.SETTLED
    assert books(whole_cloud)[1:] == (0, settled["usd_micros"])
    assert call("watchdog", {}) == {"actions": []}


def test_the_watchdog_speaks_of_money_and_instances_in_metrics_where_it_was_asked_to(
    whole_cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS", "true")
    call("watchdog", {})
    spoken = [line for line in capsys.readouterr().out.splitlines() if '"CloudWatchMetrics"' in line]
    (metrics,) = map(json.loads, spoken)
    assert metrics["Stack"] == whole_cloud.settings.stack
    assert metrics["AvailableUsd"] == [20.0]
    assert metrics["LiveInstances"] == [0.0]
    (described,) = metrics["_aws"]["CloudWatchMetrics"]
    assert set(described["Dimensions"][0]) <= {"Stack", "service"}


def test_a_warning_about_somebody_elses_instance_is_none_of_our_business(whole_cloud: Cloud) -> None:
    event = {
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "detail": {"instance-id": "i-0123456789abcdef0", "instance-action": "terminate"},
    }
    assert call("watchdog", event) == {"ours": False}


def test_the_watchdog_fails_aloud_when_an_item_failed(whole_cloud: Cloud) -> None:
    """A launch whose month has no books cannot be released; the alarm must see it."""
    money.reserve(
        whole_cloud.ports, whole_cloud.settings, "launch-1", datetime.now(UTC) - timedelta(minutes=20)
    )
    row, hold = whole_cloud.ports.store.launch("launch-1"), whole_cloud.ports.store.hold("launch-1")
    assert row is not None
    assert hold is not None
    whole_cloud.ports.store.write(replace(row, attempted_at=row.created_at), replace(hold, period="1999-01"))
    with pytest.raises(ItemsFailed, match="launch-1"):
        call("watchdog", {})


def test_the_report_says_nothing_when_nothing_is_due(whole_cloud: Cloud) -> None:
    assert call("report", {}) == {"batches": []}


def test_a_batch_is_reported_once(whole_cloud: Cloud) -> None:
    call("ingest", {"Records": [dropped(whole_cloud, "tasks/b/bad.json", b"{")]})
    assert call("report", {}) == {"batches": ["b"]}
    assert call("report", {}) == {"batches": []}
    assert b"<html" in whole_cloud.ports.objects.read("reports/b/index.html")


def test_a_refusal_is_an_answer_and_not_an_error_of_the_function(whole_cloud: Cloud) -> None:
    asked = {"verb": "claim", "launch_id": "nobody", "secret": "x", "want": 1}
    answer = call("runner_api", asked)
    assert (answer["ok"], answer["error"]) == (False, "LaunchClosed")
    assert call("runner_api", {})["error"] == "BadRequest"


@pytest.mark.parametrize("function", ["launch", "retire"])
def test_a_step_nobody_knows_is_refused(whole_cloud: Cloud, function: str) -> None:
    with pytest.raises(ConfigurationError, match="step"):
        call(function, {"step": "dance", "launch_id": "x"})


def rows(cloud: Cloud) -> dict[str, list[Any]]:
    names = ("JobsTable", "LaunchesTable", "LedgerTable")
    found = {name: cloud.client("dynamodb").scan(TableName=name)["Items"] for name in names}
    return {name: sorted(items, key=lambda item: item["pk"]["S"]) for name, items in found.items()}


def executions(cloud: Cloud) -> list[str]:
    listed = cloud.client("stepfunctions").list_executions(stateMachineArn=cloud.settings.state_machine_arn)
    return [execution["name"] for execution in listed["executions"]]


def instances(cloud: Cloud, launch_id: str) -> dict[str, str]:
    filters = [
        {"Name": f"tag:{STACK_TAG}", "Values": [cloud.settings.stack]},
        {"Name": f"tag:{LAUNCH_TAG}", "Values": [launch_id]},
    ]
    found = cloud.client("ec2").describe_instances(Filters=filters)["Reservations"]
    return {i["InstanceId"]: i["State"]["Name"] for r in found for i in r["Instances"]}


def books(cloud: Cloud) -> tuple[int, int, int]:
    ledger, _ = money.open_books(cloud.ports, cloud.settings, datetime.now(UTC))
    assert ledger.balanced
    return ledger.available, ledger.reserved, ledger.settled


def test_a_presigned_put_is_taken_by_s3_with_exactly_the_headers_handed_out(whole_cloud: Cloud) -> None:
    body = b"an answer"
    url, headers = whole_cloud.ports.objects.presign_put(
        "results/j/1/x", sha256_hex=hashlib.sha256(body).hexdigest(), size=len(body), seconds=60
    )
    assert requests.put(url, data=body, headers=dict(headers), timeout=5).status_code == 200
    assert whole_cloud.ports.objects.read("results/j/1/x") == body
    read = whole_cloud.ports.objects.presign_get("results/j/1/x", version=None, seconds=60)
    assert requests.get(read, timeout=5).content == body

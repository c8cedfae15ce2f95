"""Recurring submissions, from the schedule's row to the jobs of a turn."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from arcspot.aws.timers import Scheduler
from arcspot.domain.jobs import JobState
from arcspot.services import ingesting
from arcspot_cli import scheduling
from arcspot_cli.errors import CommandFailed
from arcspot_cli.scheduling import Recurring
from tests.fakes import house
from tests.fakes.driving import GOOD_TASK, task
from tests.fakes.memory import START

from .conftest import Cloud
from .test_handlers import call
from .test_ingest_batches import Hurried

ROLE = "arn:aws:iam::123456789012:role/schedule"
LETTERS = "arn:aws:sqs:us-east-1:123456789012:letters"
INGEST = "arn:aws:lambda:us-east-1:123456789012:function:arcspot-test-ingest"


@dataclass
class Deployed:
    """What the command line knows of a stack."""

    cloud: Cloud

    def client(self, service: str) -> Any:
        return self.cloud.client(service)

    def output(self, name: str) -> str:
        return {
            "ScheduleGroup": "arcspot-test",
            "ScheduleRoleArn": ROLE,
            "IngestFunctionArn": INGEST,
            "DeadLettersArn": LETTERS,
        }[name]

    @property
    def bucket(self) -> Any:
        return self.cloud.ports.objects


@pytest.fixture
def target(cloud: Cloud) -> Any:
    return Deployed(cloud)


def kept(target: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = target.client("scheduler").get_schedule(Name=name, GroupName="arcspot-test")
    return found


def test_a_schedule_calls_ingest_with_the_prefix_and_the_moment_it_was_due(target: Any) -> None:
    scheduling.add(target, "nightly", "evaluation", "cron(0 22 * * ? *)")
    found = kept(target, "recurring-nightly")
    assert (found["ScheduleExpression"], found["ScheduleExpressionTimezone"]) == ("cron(0 22 * * ? *)", "UTC")
    assert found["Target"]["DeadLetterConfig"] == {"Arn": LETTERS}
    assert (found["Target"]["Arn"], found["Target"]["RoleArn"]) == (INGEST, ROLE)
    assert json.loads(found["Target"]["Input"]) == {
        "submit_again": {
            "prefix": "recurring/evaluation/",
            "name": "nightly",
            "at": "<aws.scheduler.scheduled-time>",
        }
    }


def test_what_was_added_is_listed_until_it_is_removed_and_launches_timers_never_are(target: Any) -> None:
    Scheduler(target.client("scheduler"), group="arcspot-test", role_arn=ROLE).arm("launch-1", "i-1", START)
    nightly = scheduling.add(target, "nightly", "a", "cron(0 22 * * ? *)")
    daily = scheduling.add(target, "daily", "recurring/b/", "rate(1 day)")
    assert list(scheduling.every(target)) == [daily, nightly]
    assert daily == Recurring("daily", "recurring/b/", "rate(1 day)", "ENABLED")
    scheduling.remove(target, "daily")
    assert list(scheduling.every(target)) == [nightly]
    assert kept(target, "launch-1")


def test_a_name_that_is_taken_and_one_that_is_unknown_say_what_to_do(target: Any) -> None:
    scheduling.add(target, "nightly", "a", "rate(1 day)")
    with pytest.raises(CommandFailed, match="arcspot schedule remove nightly"):
        scheduling.add(target, "nightly", "b", "rate(1 day)")
    with pytest.raises(CommandFailed, match="arcspot schedule list"):
        scheduling.remove(target, "weekly")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "ä", "x" * 41, "a.b"])
def test_a_name_is_part_of_batch_names_and_keys_and_kept_plain(target: Any, name: str) -> None:
    with pytest.raises(CommandFailed, match="is no name"):
        scheduling.add(target, name, "a", "rate(1 day)")


@pytest.mark.parametrize(
    ("prefix", "folder"),
    [
        ("a", "recurring/a/"), ("a/", "recurring/a/"), ("/a/b", "recurring/a/b/"),
        ("recurring/a", "recurring/a/"), ("recurringly", "recurring/recurringly/"),
        ("tasks/a", "recurring/tasks/a/"), ("recurring", "recurring/"), ("", "recurring/"),
        ("/", "recurring/"),
    ],
)  # fmt: skip
def test_a_prefix_is_a_whole_folder_below_recurring(prefix: str, folder: str) -> None:
    assert scheduling.below_recurring(prefix) == folder


@pytest.mark.parametrize(
    ("cron", "rate", "expression"),
    [
        ("cron(0 22 * * ? *)", None, "cron(0 22 * * ? *)"),
        ("0 22 * * ? *", None, "cron(0 22 * * ? *)"),
        (None, "rate(1 day)", "rate(1 day)"),
        (None, " 12 hours ", "rate(12 hours)"),
    ],
)
def test_when_is_said_as_scheduler_says_it_or_without_the_brackets(
    cron: str | None, rate: str | None, expression: str
) -> None:
    assert scheduling.expression(cron, rate) == expression


@pytest.mark.parametrize(
    ("cron", "rate"), [(None, None), ("0 22 * * ? *", "1 day"), ("0 22 * * *", None), (None, "daily")]
)
def test_anything_else_is_refused_with_an_example(cron: str | None, rate: str | None) -> None:
    with pytest.raises(CommandFailed, match=r'"(cron|rate)\('):
        scheduling.expression(cron, rate)


def test_a_turn_submits_every_file_below_the_prefix_and_told_again_nothing(whole_cloud: Cloud) -> None:
    for name, body in (("one", GOOD_TASK), ("two", task(2)), ("other/three", task(3))):
        key = f"recurring/a/{name}.json"
        whole_cloud.ports.objects.write(key, json.dumps(body).encode(), content_type="application/json")
    whole_cloud.ports.objects.write("recurring/ab/no.json", b"{}", content_type="application/json")
    again = {"prefix": "recurring/a/", "name": "nightly", "at": "2026-11-23T22:00:00Z"}

    assert call("ingest", {"submit_again": again}) == {"files": 3, "new_jobs": 3, "files_left": 0}
    assert call("ingest", {"submit_again": again}) == {"files": 0, "new_jobs": 0, "files_left": 0}, (
        "Lambda retries are no runs"
    )
    jobs = list(whole_cloud.ports.store.jobs_of_batch("nightly-20261123T2200", JobState.READY))
    assert {job.task_id for job in jobs} == {"one", "two", "three"}
    run = "runs/nightly-20261123T2200/recurring/a/"
    told = whole_cloud.ports.store.receipts([f"{run}{name}.json" for name in ("one", "two", "other/three")])
    assert len(told) == 3

    tomorrow = {**again, "at": "2026-11-24T22:00:00Z"}
    assert call("ingest", {"submit_again": tomorrow}) == {"files": 3, "new_jobs": 3, "files_left": 0}, (
        "the same tasks once more"
    )


def test_a_turn_that_does_not_say_when_it_was_due_is_of_now(whole_cloud: Cloud) -> None:
    body = json.dumps(GOOD_TASK).encode()
    whole_cloud.ports.objects.write("recurring/a/one.json", body, content_type="application/json")
    for name, unsaid in (("by-hand", {}), ("by-clock", {"at": scheduling.DUE})):
        again = {"prefix": "recurring/a/", "name": name, **unsaid}
        assert call("ingest", {"submit_again": again})["files"] == 1
    jobs = whole_cloud.ports.store.ready_jobs(5, datetime.now(UTC))
    assert jobs
    assert all(job.batch_id.startswith(("by-hand-2", "by-clock-2")) for job in jobs)


def test_a_turn_short_of_time_asks_for_itself_again_under_the_same_name(
    whole_cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        body = json.dumps(task(n)).encode()
        whole_cloud.ports.objects.write(f"recurring/a/{n}.json", body, content_type="application/json")
    asked: list[tuple[str, Any]] = []
    ports = replace(whole_cloud.ports, kick=lambda function, event=None: asked.append((function, event)))
    ingest = house.handler_module("ingest")
    monkeypatch.setattr(ingesting, "GROUP_FILES", 1)
    monkeypatch.setattr(ingest, "from_environment", lambda: (whole_cloud.settings, ports))
    event: dict[str, Any] = {"submit_again": {"prefix": "recurring/a/", "name": "by-hand"}}
    handled = []
    while event:
        answer = ingest.handler(event, Hurried(left_ms=[50_000, 39_000, 38_000]))
        handled.append((answer["files"], answer["files_left"]))
        event = next((told for name, told in asked if name == "ingest"), {})
        asked.clear()
    assert handled == [(2, 2), (2, 0)]
    jobs = whole_cloud.ports.store.ready_jobs(9, datetime.now(UTC))
    assert len(jobs) == 4
    assert len({job.batch_id for job in jobs}) == 1, "one run, though it was asked by hand and took two calls"


def test_files_for_turns_start_nothing_when_they_are_dropped(whole_cloud: Cloud) -> None:
    event = {"detail": {"object": {"key": "recurring/a/one.json", "size": 10}}}
    record = {"messageId": "m", "body": json.dumps(event)}
    assert call("ingest", {"Records": [record]}) == {"batchItemFailures": []}
    assert call("ingest", {"sweep": True})["files"] == 0

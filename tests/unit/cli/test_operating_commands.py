"""submit's lanes and deadlines, and why jobs wait."""

from __future__ import annotations

from datetime import timedelta

import pytest

from arcspot.domain import waiting
from arcspot_cli import looking, submitting
from tests.fakes.driving import GOOD_TASK, Stack, task
from tests.fakes.memory import START

from .here import on, the_job


def test_a_lane_and_a_deadline_are_written_before_the_files_come() -> None:
    stack = Stack()
    by = START + timedelta(hours=3)
    submitting.prepare(on(stack), "b", START, lane=0, deadline=by)
    stack.drop("tasks/b/one.json", GOOD_TASK)
    batch = stack.world.store.batch("b")
    assert batch is not None
    assert (the_job(stack).lane, batch.deadline) == (0, by)
    submitting.prepare(on(stack), "b", START, lane=2, deadline=None)
    again = stack.world.store.batch("b")
    assert again is not None
    assert (again.lane, again.deadline) == (2, by)


def test_a_waiting_job_shows_one_reason_and_since_when() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    fleet = stack.world.store.fleet()
    assert waiting.why(the_job(stack), fleet) == ("turn", START)
    stack.scale()
    stack.world.wait(30)
    stack.drop("tasks/b/two.json", task(2))
    fleet = stack.world.store.fleet()
    reasons = {job.task_id: waiting.why(job, fleet) for job in stack.world.store.jobs_of_batch("b")}
    assert reasons == {"one": ("boot", START), "two": ("boot", START + timedelta(seconds=30))}
    assert {told[0] for told in reasons.values() if told} <= set(waiting.WORDS)


def test_every_reason_a_fleet_can_give_has_words() -> None:
    from arcspot.services import scaling

    given = {"paused", "hours", "company", "slots", "budget", "quota", "step", "boot", "turn"}
    assert given | set(scaling._BREAKER_REASONS.values()) == set(waiting.WORDS)


def test_status_in_json_tells_of_each_waiting_job(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    seen = looking.Look(
        now=START,
        jobs=tuple(stack.world.store.jobs_of_batch("b")),
        launches=(),
        ledger=None,
        fleet=stack.world.store.fleet(),
        disk_gb=75,
    )
    (told,) = looking.as_json(seen)["waiting"]
    assert (told["task_id"], told["waits_for"], told["since"]) == ("one", "turn", START.isoformat())

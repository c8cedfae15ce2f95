"""retry: who is tried again, who is not and why, and that the batch is told of anew."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from arcspot.domain.jobs import JobState
from arcspot.errors import Conflict
from arcspot.services import reporting
from arcspot_cli import retrying
from arcspot_cli.errors import CommandFailed
from tests.fakes.driving import GOOD_TASK, Stack, task

from .here import given_up, on, the_job, typed


def in_state(fake: Stack, task_id: str, seed: int, state: JobState) -> str:
    """A job of batch `b` in a state; its id."""
    fake.drop(f"tasks/b/{task_id}.json", task(seed))
    job = the_job(fake, task_id)
    fake.world.store.write(replace(job, state=state))
    return job.job_id


def due(fake: Stack) -> list[str]:
    return [batch.batch_id for batch in fake.world.store.batches_due()]


def test_a_job_that_was_given_up_is_tried_again_and_its_batch_reported_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Stack()
    before = given_up(fake)
    reporting.report_finished(fake.ports, fake.settings, fake.world.now)
    assert due(fake) == []
    told = typed(fake, monkeypatch, "retry", before.job_id)
    assert (told.exit_code, told.stdout) == (0, "1 job(s) will be tried again\n")
    after = the_job(fake)
    assert (after.state, after.failures, after.fence) == (JobState.READY, 0, before.fence)
    assert due(fake) == ["b"]
    assert fake.world.store.events[-1].kind == "retried"
    assert fake.world.kick.kicked == ["scale"], "the minute's rounds may sleep"


def test_a_dry_run_shows_the_plan_and_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Stack()
    before = given_up(fake)
    told = typed(fake, monkeypatch, "retry", "--dead", "--dry-run")
    assert told.stdout == f"{before.job_id}  b  one\n1 job(s) would be tried again\n"
    assert the_job(fake) == before
    assert fake.world.kick.kicked == []


def test_a_cancelled_job_is_tried_again_by_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Stack()
    fake.drop("tasks/b/one.json", GOOD_TASK)
    assert typed(fake, monkeypatch, "cancel", "--batch", "b").exit_code == 0
    assert the_job(fake).state is JobState.CANCELLED
    assert typed(fake, monkeypatch, "retry", "--batch", "b").exit_code == 0
    assert (the_job(fake).state, the_job(fake).cancelled) == (JobState.READY, False)
    assert fake.world.store.ready_jobs(2, fake.world.now + timedelta(days=9_000)) == [the_job(fake)]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (JobState.READY, "it waits for its turn already"),
        (JobState.LEASED, "it is being worked on"),
        (JobState.DONE, "it has its answer"),
        (JobState.REJECTED, "its file was refused; mend the file and drop it again"),
    ],
)
def test_a_named_job_that_is_not_retried_is_told_with_the_reason(
    state: JobState, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Stack()
    job_id = in_state(fake, "x", 1, state)
    told = typed(fake, monkeypatch, "retry", job_id)
    assert told.exit_code == 1
    assert f"{job_id} (x) is {state}, not retried: {why}" in told.stderr
    assert the_job(fake, "x").state is state


def test_every_state_says_why_it_is_left_or_can_be_retried() -> None:
    assert {*retrying.WHY_LEFT, *retrying.REVIVABLE} == set(JobState)


def test_of_a_batch_the_others_are_counted_and_it_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Stack()
    given_up(fake)
    for n in (1, 2):
        in_state(fake, f"done-{n}", n, JobState.DONE)
    told = typed(fake, monkeypatch, "retry", "--batch", "b")
    assert (told.exit_code, told.stdout) == (0, "1 job(s) will be tried again\n")
    assert "2 job(s) DONE, not retried: it has its answer" in told.stderr


def test_dead_takes_no_cancelled_job_and_with_a_batch_none_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Stack()
    given_up(fake)
    in_state(fake, "stopped", 1, JobState.CANCELLED)
    fake.drop("tasks/other/far.json", task(7))
    (far,) = fake.world.store.jobs_of_batch("other")
    fake.world.store.write(replace(far, state=JobState.DEAD))
    here = json.loads(typed(fake, monkeypatch, "retry", "--dead", "--batch", "b", "--json").stdout)
    assert [job["task_id"] for job in here["retried"]] == ["one"]
    everywhere = json.loads(typed(fake, monkeypatch, "retry", "--dead", "--json").stdout)
    assert [job["task_id"] for job in everywhere["retried"]] == ["far"]
    assert the_job(fake, "stopped").state is JobState.CANCELLED


def test_in_json_the_reasons_are_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Stack()
    dead, done = given_up(fake).job_id, in_state(fake, "x", 1, JobState.DONE)
    told = typed(fake, monkeypatch, "retry", dead, done, dead, "--json")
    assert json.loads(told.stdout) == {
        "dry_run": False,
        "retried": [{"job_id": dead, "task_id": "one", "batch": "b"}],
        "left": [{"job_id": done, "task_id": "x", "batch": "b", "state": "DONE", "why": "it has its answer"}],
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("retry",), "name job ids"),
        (("retry", "j", "--dead"), "not both"),
        (("retry", "nobody"), "no job nobody; `arcspot status --json` lists the ids"),
        (("retry", "--batch", "typo"), "no job is in a batch 'typo'"),
        (("cancel", "--batch", "typo"), "no job is in a batch 'typo'"),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_a_next_step(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = typed(Stack(), monkeypatch, *arguments)
    assert told.exit_code in (1, 2)
    assert said in told.stderr.splitlines()[-1]


def test_a_job_that_somebody_else_revived_meanwhile_is_told_as_left() -> None:
    fake = Stack()
    given_up(fake)
    planned = retrying.plan(on(fake), (), batch=None, dead=True)
    first = retrying.carry_out(on(fake), planned, fake.world.now)
    second = retrying.carry_out(on(fake), planned, fake.world.now)
    assert [job.job_id for job in first.again] == [job.job_id for job in second.left]
    assert second.again == ()


def test_a_report_that_was_being_written_does_not_call_a_revived_job_reported() -> None:
    fake = Stack()
    given_up(fake)
    (batch,) = fake.world.store.batches_due()
    write = fake.world.objects.write

    def meanwhile(key: str, body: bytes, *, content_type: str) -> None:
        write(key, body, content_type=content_type)
        if key.endswith("summary.json"):
            retrying.carry_out(on(fake), retrying.plan(on(fake), (), batch="b", dead=False), fake.world.now)

    fake.world.objects.write = meanwhile  # type: ignore[method-assign]
    assert reporting.report(fake.ports, batch, fake.world.now) is None
    assert due(fake) == ["b"]
    assert reporting.report(fake.ports, batch, fake.world.now) is None, "it is not over any more"


def test_a_lost_race_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Stack()
    given_up(fake)
    write, losses = fake.world.store.write, [Conflict("somebody was faster")]

    def losing_once(*records: Any) -> None:
        if losses:
            raise losses.pop()
        write(*records)

    planned = retrying.plan(on(fake), (), batch="b", dead=True)
    monkeypatch.setattr(fake.world.store, "write", losing_once)
    assert len(retrying.carry_out(on(fake), planned, fake.world.now).again) == 1


def test_a_batch_that_has_no_row_gets_one_that_is_due() -> None:
    fake = Stack()
    given_up(fake)
    del fake.world.store.rows["batch", "b"]
    retrying.carry_out(on(fake), retrying.plan(on(fake), (), batch="b", dead=True), fake.world.now)
    batch = fake.world.store.batch("b")
    assert batch is not None
    assert isinstance(batch.report_due_at, datetime)


def test_a_running_job_that_is_being_cancelled_says_so() -> None:
    fake = Stack()
    fake.one_running().claim()
    job = the_job(fake).cancel(now=fake.world.now)
    assert "being cancelled" in retrying.why_left(job)
    with pytest.raises(CommandFailed, match="no job gone"):
        retrying.plan(on(fake), ["gone"], batch=None, dead=False)

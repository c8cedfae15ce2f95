"""Why jobs wait, and what a deadline, closed hours or an instance on its way change about that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from arcspot.domain.hours import windows
from arcspot.domain.jobs import JobState
from tests.fakes.driving import GOOD_TASK, Stack, task
from tests.fakes.memory import settings


def loaded(tasks: int, *, deadline_s: float | None = None, **changes: object) -> Stack:
    stack = Stack(settings(**changes))
    for n in range(tasks):
        stack.drop(f"tasks/b/{n}.json", task(n))
    if deadline_s is not None:
        batch = stack.world.store.batch("b")
        assert batch is not None
        stack.world.store.write(replace(batch, deadline=stack.world.now + timedelta(seconds=deadline_s)))
    return stack


def waits_for(stack: Stack) -> str:
    fleet = stack.world.store.fleet()
    assert fleet is not None
    return fleet.waits_for


def late_mails(stack: Stack) -> list[str]:
    return [body for subject, body in stack.world.mail.sent if "miss its deadline" in subject]


def test_outside_the_hours_jobs_wait_and_are_told_so_until_it_opens() -> None:
    stack = loaded(1, allowed_hours=windows("13:00-14:00"))
    assert stack.scale() == []
    assert waits_for(stack) == "hours"
    stack.world.wait(3599)
    assert stack.scale() == []
    stack.world.wait(1)
    assert len(stack.scale()) == 1
    assert waits_for(stack) == "boot"


def test_jobs_wait_for_the_boot_and_for_nothing_once_all_are_taken() -> None:
    stack = loaded(1)
    (launch_id,) = stack.scale()
    assert waits_for(stack) == "boot"
    stack.scale()
    assert waits_for(stack) == "boot"
    stack.boot(launch_id).claim()
    stack.scale()
    assert waits_for(stack) == ""


def test_the_history_tells_each_change_of_reason_and_nothing_else() -> None:
    stack = loaded(1, allowed_hours=windows("13:00-14:00"))
    for _ in range(3):
        stack.scale()
        stack.world.wait(60)
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert fleet.waits_since == stack.world.now - timedelta(seconds=180), "since it began, not since the look"
    stack.settings = settings()
    (launch_id,) = stack.scale()
    stack.boot(launch_id).claim()
    for _ in range(2):
        stack.scale()
    told = [(e.kind, e.detail) for e in stack.world.store.events if e.subject == "fleet"]
    assert told == [("waits", "hours"), ("waits", "boot"), ("waits no more", "")]


@pytest.mark.parametrize(
    ("deadline_s", "launches"),
    [(None, 1), (3600, 1), (300, 2), (-60, 4)],  # 15 jobs are 450 s of work, a boot is 60 s
)
def test_a_deadline_starts_as_many_as_it_takes_and_no_more(deadline_s: float | None, launches: int) -> None:
    assert len(loaded(15, deadline_s=deadline_s, slots=4).scale()) == launches


def test_a_deadline_that_cannot_be_met_is_said_once_and_not_overspent() -> None:
    stack = loaded(40, deadline_s=120, slots=2)
    for _ in range(3):
        stack.scale()
        stack.world.wait(10)
    (told,) = late_mails(stack)
    assert "20 minutes of work" in told
    assert "at most 2 instance(s)" in told
    assert len(stack.world.store.open_launches()) == 2
    assert [e.kind for e in stack.world.store.events if e.subject == "batch#b"] == ["late"]


@pytest.mark.parametrize("deadline_s", [None, 3600, 1000])
def test_nobody_is_told_of_a_deadline_that_can_be_met(deadline_s: float | None) -> None:
    stack = loaded(40, deadline_s=deadline_s)
    stack.scale()
    assert late_mails(stack) == []


def test_work_at_hand_counts_for_the_deadline_and_finished_work_does_not() -> None:
    stack = loaded(2, deadline_s=125, slots=1)
    (launch_id,) = stack.scale()
    runner = stack.boot(launch_id)
    (lease,) = runner.claim()
    stack.world.wait(10)
    stack.scale()
    assert len(late_mails(stack)) == 1, "60 s to boot and two jobs of 30 s do not fit into 115 s"
    runner.complete(lease)
    (lease,) = runner.claim()
    runner.complete(lease)
    stack.world.wait(1000)
    stack.scale()
    assert len(late_mails(stack)) == 1
    assert {job.state for job in stack.world.store.jobs_of_batch("b")} == {JobState.DONE}


def test_a_deadline_counts_on_what_runs_even_when_nothing_more_may_start() -> None:
    """A cap lowered below what is promised takes nothing away from the instances that run."""
    stack = loaded(10, deadline_s=3600)
    (launch_id,) = stack.scale()
    stack.boot(launch_id)
    stack.settings = replace(stack.settings, cap=1, slots=0)
    stack.scale()
    assert late_mails(stack) == []


def test_a_stack_that_may_start_nothing_says_that_no_instance_can_run() -> None:
    stack = loaded(1, deadline_s=3600, cap=1)
    stack.scale()
    assert "at most 0 instance(s)" in late_mails(stack)[0]


def test_a_backlog_that_is_done_waits_for_nothing() -> None:
    stack = Stack()
    runner = stack.one_running()
    stack.drop("tasks/b/other.json", {**GOOD_TASK, "test": [{"input": [[9]]}]})
    for lease in runner.claim(8):
        runner.complete(lease)
    assert stack.scale() == []
    assert waits_for(stack) == ""

"""Interruptions never end a job: it waits longer each time, and on-demand helps where it is allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.jobs import LONGEST_PAUSE, MAX_STALLS, OFTEN_INTERRUPTED, Job, JobState, pause_after
from arcspot.domain.preferring import preferred
from arcspot.services import retiring
from tests.fakes.driving import Runner, Stack, task
from tests.fakes.memory import START
from tests.fakes.memory import settings as stack_settings

MINUTE = timedelta(minutes=1)


def job_of(stack: Stack, job_id: str) -> Job:
    job = stack.world.store.job(job_id)
    assert job is not None
    return job


def interrupt(runner: Runner) -> str:
    (lease,) = runner.claim()
    given_back = {"job_id": lease["job_id"], "fence": lease["fence"], "seconds": 1}
    runner.ask("release", leases=[given_back], why="interrupted")
    job_id: str = lease["job_id"]
    return job_id


def worn(times: int, **stack: Any) -> tuple[Stack, Runner, str]:
    """A job that was interrupted so often, on a runner that is still there."""
    known = Stack(**stack)
    runner, job_id = known.one_running(), ""
    for _ in range(times):
        job_id = interrupt(runner)
        job = job_of(known, job_id)
        assert job.ready_at is not None
        known.world.now = known.world.ec2.now = max(known.world.now, job.ready_at)
    return known, runner, job_id


@given(st.integers(0, 10_000))
def test_a_pause_only_grows_and_has_an_end(interruptions: int) -> None:
    pause = pause_after(interruptions)
    assert timedelta(0) <= pause <= pause_after(interruptions + 1) <= LONGEST_PAUSE


def test_the_pauses_are_none_at_first_then_double_to_an_hour() -> None:
    minutes = [pause_after(n) / MINUTE for n in range(13)]
    assert minutes == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("times", [1, 11, 40])
def test_interruptions_end_no_job(times: int) -> None:
    stack, runner, job_id = worn(times)
    job = job_of(stack, job_id)
    assert (job.state, job.interruptions, job.failures) == (JobState.READY, times, 0)
    runner.complete(runner.claim()[0])
    assert job_of(stack, job_id).state is JobState.DONE


def test_nor_do_machines_that_go_without_a_word() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", task(1))
    for _ in range(15):
        started = stack.scale()
        while not started:
            stack.world.wait(60)
            started = stack.scale()
        runner = stack.boot(started[0])
        (lease,) = runner.claim()
        stack.world.wait(30)
        stack.world.ec2.end(runner.instance_id)
        stack.watch()
    job = job_of(stack, lease["job_id"])
    assert (job.state, job.failures, job.interruptions) == (JobState.READY, 0, 15)


def test_a_job_that_waits_is_claimed_by_nobody_and_boots_nothing_until_it_is_due() -> None:
    stack, runner, job_id = worn(3)
    assert interrupt(runner) == job_id  # the fourth: a minute
    runner.ask("bye", why="interrupted")
    stack.retire(runner.launch_id)
    assert stack.world.store.ready_count(10, stack.world.now) == 0
    assert stack.scale() == []
    stack.world.wait(59)
    assert stack.scale() == []
    stack.world.wait(1)
    (again,) = stack.scale()
    assert [lease["job_id"] for lease in stack.boot(again).claim()] == [job_id]


def test_a_job_tried_again_by_hand_waits_for_nothing() -> None:
    stack, _, job_id = worn(8)
    job = replace(job_of(stack, job_id), state=JobState.DEAD)
    revived = job.revived(now=stack.world.now)
    assert (revived.ready_at, revived.interruptions) == (stack.world.now, 0)


# On demand -----------------------------------------------------------------------------------------------


def markets(stack: Stack) -> list[str]:
    return [row.market for row in stack.world.store.open_launches()]


@pytest.mark.parametrize(("allowed", "market"), [(True, "on-demand"), (False, "spot")])
def test_a_job_interrupted_often_gets_an_instance_that_nobody_takes_away(allowed: bool, market: str) -> None:
    stack, runner, _ = worn(OFTEN_INTERRUPTED, settings=stack_settings(on_demand_fallback=allowed))
    runner.ask("bye", why="interrupted")
    stack.retire(runner.launch_id)
    (launch_id,) = stack.scale()
    assert stack.launch(launch_id)["market"] == market
    assert markets(stack) == [market]


def test_one_on_demand_instance_is_enough() -> None:
    stack, runner, _ = worn(
        OFTEN_INTERRUPTED, settings=stack_settings(on_demand_fallback=True, slots=6, cap=10**8)
    )
    stack.world.wait(60)
    for n in range(60):
        stack.drop(f"tasks/b/more-{n}.json", task(n))
    runner.ask("bye", why="interrupted")
    stack.retire(runner.launch_id)
    assert len(stack.scale()) == 1
    stack.world.wait(60)
    assert stack.scale()
    assert sorted(set(markets(stack))) == ["on-demand", "spot"]
    assert markets(stack).count("on-demand") == 1


def test_spot_instances_take_such_a_job_last_and_on_demand_ones_first() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", {str(n): task(n) for n in range(4)})
    jobs = stack.world.store.ready_jobs(9, START + MINUTE)
    hard = replace(jobs[0], interruptions=OFTEN_INTERRUPTED)
    urgent = replace(jobs[1], lane=0)
    assert preferred([urgent, hard, *jobs[2:]], on_demand=False) == [urgent, *jobs[2:], hard]
    assert preferred([urgent, *jobs[2:], hard], on_demand=True) == [urgent, hard, *jobs[2:]]


# What is no interruption ---------------------------------------------------------------------------------


def test_a_job_that_keeps_its_runner_to_the_deadline_three_times_is_given_up() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", task(1))
    for stalls in range(1, MAX_STALLS + 1):
        runner = stack.boot(stack.scale()[0])
        (lease,) = runner.claim()
        stack.world.wait(120)
        phase = {"job_id": lease["job_id"], "fence": lease["fence"], "phase": "adapting"}
        runner.ask("heartbeat", leases=[phase], gpu_utilisation=90)
        stack.world.wait(3 * 60 * 60)
        retiring.reclaim(
            stack.ports, runner.launch_id, reason="hard deadline passed", silent=False, now=stack.world.now
        )
        stack.retire(runner.launch_id)
        job = job_of(stack, lease["job_id"])
        assert (job.stalls, job.failures, job.interruptions) == (stalls, 0, 0)
    assert job.state is JobState.DEAD
    assert "keeps its runner" in job.reason


def test_a_job_that_only_waited_in_the_runners_hands_has_stalled_nobody() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    stack.world.wait(3 * 60 * 60)
    retiring.reclaim(stack.ports, runner.launch_id, reason="deadline", silent=False, now=stack.world.now)
    job = job_of(stack, lease["job_id"])
    assert (job.stalls, job.interruptions) == (0, 1)

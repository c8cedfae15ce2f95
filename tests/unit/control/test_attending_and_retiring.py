"""No job stays in dead hands, however late an index shows whose hands they are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import FUNCTION_LIFE, LaunchState
from arcspot.errors import RecordMissing
from arcspot.services import attending, money, retiring, watching
from tests.fakes import house
from tests.fakes.driving import GOOD_TASK, Runner, Stack, task
from tests.fakes.memory import START, MemoryStore, World


def attend(stack: Stack) -> list[str]:
    return attending.attend(stack.ports, stack.settings, stack.world.now)


def job_of(stack: Stack, job_id: str) -> Job:
    job = stack.world.store.job(job_id)
    assert job is not None
    return job


def claimed() -> tuple[Stack, Runner, str]:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    return stack, runner, lease["job_id"]


def lose(stack: Stack, runner: Runner, how: str) -> None:
    """Take the lease out of the launch, which no code of ours does."""
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    if how == "forgotten":
        stack.world.store.write(replace(row, leases=()))
    elif how == "closed":
        stack.world.store.write(replace(row, state=LaunchState.SETTLED))
    else:
        del stack.world.store.rows["launch", runner.launch_id]


@pytest.mark.parametrize("how", ["forgotten", "closed", "no such launch"])
def test_a_lease_that_no_launch_has_is_freed_and_told_of(how: str) -> None:
    stack, runner, job_id = claimed()
    assert attend(stack) == [], "a lease in good hands is left alone"
    lose(stack, runner, how)
    assert attend(stack) == [f"unattended: {job_id}"]
    job = job_of(stack, job_id)
    assert (job.state, job.lease, job.failures, job.silent_deaths) == (JobState.READY, None, 0, 0)
    assert attend(stack) == []


def test_what_was_freed_and_cancelled_is_over() -> None:
    stack, runner, job_id = claimed()
    stack.world.store.write(job_of(stack, job_id).cancel(now=stack.world.now))
    lose(stack, runner, "forgotten")
    attend(stack)
    assert job_of(stack, job_id).state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("reason", "found"),
    [("", True), ("boot", True), ("budget", False), ("hours", False), ("paused", False), ("quota", False)],
)
def test_a_job_nobody_claims_is_stuck_unless_the_fleet_has_a_reason(reason: str, found: bool) -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    money.open_books(stack.ports, stack.settings, stack.world.now)
    money.note_waiting(stack.ports, reason, stack.world.now)
    stack.world.wait(stack.settings.max_lifetime_s)
    assert attend(stack) == [], "as long as an instance may live is not too long"
    stack.world.wait(1)
    (job,) = stack.world.store.ready_jobs(9, stack.world.now)
    told = [f"never claimed: {job.job_id} waits for {stack.settings.max_lifetime_s + 1} s"]
    assert attend(stack) == (told if found else [])


def test_the_watchdog_tells_of_stuck_jobs_in_its_round() -> None:
    stack, runner, job_id = claimed()
    lose(stack, runner, "forgotten")
    assert stack.watch().stuck == (f"unattended: {job_id}",)


@dataclass
class LateWorld(World):
    """A world whose indexes show nothing until they are told to."""

    late: bool = False
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.store.lag = lambda: ((self.now - START).total_seconds(), 3600.0 if self.late else 0.0)


def test_every_lease_is_taken_back_from_the_launchs_own_row_though_no_index_shows_one() -> None:
    stack = Stack(world=LateWorld())
    for n in range(3):
        stack.drop(f"tasks/b/{n}.json", task(n))
    (launch_id,) = stack.scale()
    runner = stack.boot(launch_id)
    stack.world.late = True  # type: ignore[attr-defined]
    stack.world.wait(2)
    held = [lease["job_id"] for lease in runner.claim(3)]
    assert stack.world.store.batch_count("b", JobState.LEASED, 9) == 0
    taken = retiring.reclaim(stack.ports, launch_id, reason="gone", silent=False, now=stack.world.now)
    assert taken == len(held) == 3
    assert {job_of(stack, job_id).state for job_id in held} == {JobState.READY}
    assert runner.claim() == []


def test_a_lease_given_while_the_launch_is_being_closed_is_taken_back_at_settling() -> None:
    """Draining and a claim may both win in turn: whoever settles looks again."""
    stack, runner, job_id = claimed()
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    stack.world.store.write(row.draining(reason="deadline", force=True))
    stack.world.ec2.end(runner.instance_id)
    assert retiring.gone(stack.ports, runner.launch_id, stack.world.now)
    assert job_of(stack, job_id).state is JobState.LEASED
    retiring.settle(stack.ports, stack.settings, runner.launch_id, silent=False, now=stack.world.now)
    assert job_of(stack, job_id).state is JobState.READY


def test_reclaiming_takes_no_job_that_another_launch_has_by_now() -> None:
    stack, first, job_id = claimed()
    retiring.reclaim(stack.ports, first.launch_id, reason="x", silent=False, now=stack.world.now)
    (second_id,) = stack.scale()
    (lease,) = stack.boot(second_id).claim()
    late = {"reason": "late", "silent": True, "now": stack.world.now}
    assert not retiring.reclaim_job(stack.ports, job_id, first.launch_id, **late)
    job = job_of(stack, job_id)
    assert (job.state, job.fence, job.silent_deaths) == (JobState.LEASED, lease["fence"], 0)


def test_the_console_is_kept_and_its_absence_keeps_no_instance_alive() -> None:
    stack, runner, _ = claimed()
    assert retiring.terminate(stack.ports, runner.launch_id, stack.world.now) == runner.instance_id
    kept = stack.world.objects.bodies[f"logs/{runner.launch_id}/console.txt"]
    assert kept == f"console of {runner.instance_id}".encode()


def test_a_launch_nobody_knows_is_missing_and_not_ended() -> None:
    stack = Stack()
    with pytest.raises(RecordMissing, match="nobody"):
        retiring.terminate(stack.ports, "nobody", stack.world.now)


def test_an_end_that_nobody_tells_is_booked_at_its_latest_moment() -> None:
    """The function that looks read its clock when it began; the instance may have lived on until now."""
    stack = Stack()
    stack.drop("tasks/a.json", GOOD_TASK)
    runner = stack.boot(stack.scale()[0])
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    now = stack.world.now
    assert row.gone(now=now, ended_at=None).gone_at == now + FUNCTION_LIFE
    assert row.gone(now=now, ended_at=now - timedelta(seconds=9)).gone_at == now - timedelta(seconds=9)


@pytest.mark.parametrize("name", ["watchdog", "retire"])
def test_who_marks_an_instance_as_gone_lives_no_longer_than_its_books_allow(name: str) -> None:
    usual = house.template()["Globals"]["Function"]["Timeout"]
    assert house.functions()[name].get("Timeout", usual) <= FUNCTION_LIFE.total_seconds()


@pytest.mark.parametrize("minute", range(10))
@pytest.mark.parametrize("slow", [False, True])
def test_stuck_jobs_are_looked_for_now_and_then_and_in_every_slow_round(minute: int, slow: bool) -> None:
    """A slow round may be all that runs, in whatever minute it falls."""
    stack, runner, job_id = claimed()
    lose(stack, runner, "forgotten")
    stack.world.wait(60 * minute)
    found = watching.watch(stack.ports, stack.settings, stack.world.now, slow=slow).stuck
    assert found == ((f"unattended: {job_id}",) if slow or minute % 5 == 0 else ())

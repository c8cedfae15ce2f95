"""One round of the watchdog: every item gets its try, and nobody pays for the door's illness."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from arcspot.domain.hours import windows
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Launch, LaunchState
from arcspot.domain.reaping import Act
from arcspot.errors import ItemsFailed
from arcspot.ports import FleetOrder
from arcspot.services import attending, watching
from tests.fakes.driving import Runner, Stack, task
from tests.fakes.memory import settings


def serving(**changes: Any) -> tuple[Stack, Runner, str]:
    """A runner at work on a job."""
    stack = Stack(settings(**changes))
    runner = stack.one_running()
    (lease,) = runner.claim()
    return stack, runner, lease["job_id"]


def row_of(stack: Stack, launch_id: str) -> Launch:
    row = stack.world.store.launch(launch_id)
    assert row is not None
    return row


def job_of(stack: Stack, job_id: str) -> Job:
    job = stack.world.store.job(job_id)
    assert job is not None
    return job


def subjects(stack: Stack) -> list[str]:
    return [subject for subject, _ in stack.world.mail.sent]


def test_each_item_is_tried_once_and_what_failed_is_named() -> None:
    tried = []

    def item(name: str, error: Exception | None) -> tuple[str, Any]:
        def act() -> None:
            tried.append(name)
            if error:
                raise error

        return name, act

    failed = watching.each([item("a", ValueError("no")), item("b", None), item("c", ItemsFailed({"x": "y"}))])
    assert tried == ["a", "b", "c"]
    assert failed == {"a": "ValueError: no", "c": "ItemsFailed: 1 item(s) failed: x: y"}


def test_a_process_that_ends_is_no_failed_item() -> None:
    class PowerCut(BaseException):
        pass

    def act() -> None:
        raise PowerCut

    with pytest.raises(PowerCut):
        watching.each([("a", act)])


def test_a_round_in_which_an_item_failed_still_says_what_it_saw() -> None:
    stack, runner, _ = serving()
    stack.world.ec2.broken.add(runner.instance_id)
    stack.world.wait(301)
    with pytest.raises(ItemsFailed, match="does not answer") as raised:
        stack.watch()
    seen = raised.value.seen
    assert isinstance(seen, watching.Round)
    assert (seen.live_instances, seen.open_launches, seen.oldest_launch_s) == (1, 1, 301)
    assert [step.act for step in seen.actions] == [Act.RETIRE]
    assert (seen.cap, seen.reserved) == (stack.settings.cap, stack.settings.reserve)


def test_no_runner_is_called_silent_while_the_door_is_ill_nor_until_it_could_speak_again() -> None:
    stack, runner, job_id = serving()
    stack.world.door_answers = False
    for _ in range(10):
        stack.world.wait(60)
        stack.watch()
    assert row_of(stack, runner.launch_id).state is LaunchState.ACTIVE
    stack.world.door_answers = True
    stack.world.wait(300)
    stack.watch()
    assert stack.world.ec2.living
    stack.world.wait(1)
    stack.watch()
    assert not stack.world.ec2.living
    assert job_of(stack, job_id).silent_deaths == 1


def test_the_door_is_rung_only_where_a_runner_is_quiet() -> None:
    stack = Stack()
    rung = []
    ports = replace(stack.ports, bell=lambda: bool(rung.append(1)) or True)
    stack.drop("tasks/b/one.json", task(1))
    (launch_id,) = stack.scale()
    watching.watch(ports, stack.settings, stack.world.now)
    stack.launch(launch_id)
    watching.watch(ports, stack.settings, stack.world.now)
    assert rung == []
    stack.boot(launch_id)
    watching.watch(ports, stack.settings, stack.world.now)
    assert rung == [], "whoever was heard just now shows that the door works"
    stack.world.wait(stack.settings.silence_s / 2)
    watching.watch(ports, stack.settings, stack.world.now)
    assert rung == [1], "long before it is called silent"


def test_leases_get_their_full_time_again_after_the_door_was_ill() -> None:
    stack, runner, job_id = serving()
    lease_s, round_s = stack.settings.lease_s, 60 * attending.EVERY_MINUTES
    stack.world.door_answers = False
    stack.world.wait(2 * round_s - 60)
    stack.watch()
    assert job_of(stack, job_id).state is JobState.LEASED, "no runner could have made it longer"
    stack.world.door_answers = True
    stack.world.wait(60)
    runner.ask("heartbeat", leases=[])
    stack.watch(slow=True)
    assert lease_s < 2 * round_s
    assert job_of(stack, job_id).state is JobState.LEASED, "the full time is not over"
    stack.world.wait(lease_s + 1)
    runner.ask("heartbeat", leases=[])
    stack.watch(slow=True)
    job = job_of(stack, job_id)
    assert (job.state, job.reason) == (JobState.READY, "its lease ran out")
    assert row_of(stack, runner.launch_id).leases == ()


def test_a_job_that_silences_its_runners_is_given_up_though_the_watchdog_looks_each_minute() -> None:
    """Its lease runs out long before its runner counts as silent: the job must not be let off for that."""
    stack, _, job_id = serving()
    for deaths in (1, 2):
        for _ in range(6):
            stack.world.wait(60)
            stack.watch()
        assert (job_of(stack, job_id).silent_deaths, job_of(stack, job_id).interruptions) == (deaths, 0)
        for launch_id in stack.scale():
            stack.boot(launch_id).claim()
    job = job_of(stack, job_id)
    assert job.state is JobState.DEAD
    assert "kills its runner" in job.reason


def test_a_runner_that_was_cut_off_for_less_than_silence_keeps_its_work() -> None:
    stack, runner, job_id = serving()
    for _ in range(4):
        stack.world.wait(60)
        stack.watch()
    beat = runner.ask("heartbeat", leases=[{"job_id": job_id, "fence": 1}])
    assert (beat["lost"], beat["drain"]) == ([], False)
    stack.watch()
    assert job_of(stack, job_id).state is JobState.LEASED


def test_a_deadline_is_kept_even_while_the_door_is_ill() -> None:
    stack, _, _ = serving()
    stack.world.door_answers = False
    stack.world.wait(7200)
    stack.watch()
    assert not stack.world.ec2.living


def test_at_closing_hour_what_runs_finishes_its_work_and_gets_no_more() -> None:
    stack, runner, job_id = serving(allowed_hours=windows("08:00-12:30"))
    stack.drop("tasks/b/two.json", task(2))
    stack.watch()
    assert not row_of(stack, runner.launch_id).drain
    stack.world.wait(1800)
    assert runner.ask("heartbeat", leases=[{"job_id": job_id, "fence": 1}])["lost"] == []
    stack.watch()
    assert runner.ask("claim", want=1) == {"leases": [], "drain": True}
    lease = job_of(stack, job_id).lease
    assert lease is not None
    assert stack.world.ec2.living, "its work goes on"
    row = row_of(stack, runner.launch_id)
    assert (row.drain, row.reason) == (True, "outside the allowed hours")
    assert [e.detail for e in stack.world.store.events if e.kind == "watchdog drain"] == [row.reason]
    assert stack.watch().actions == ()


def beat(stack: Stack, runner: Runner, job_id: str, figure: float, *, minutes: int) -> None:
    for _ in range(minutes):
        runner.ask("heartbeat", leases=[{"job_id": job_id, "fence": 1}], gpu_utilisation=figure)
        stack.world.wait(60)
        stack.watch()


def test_an_idle_gpu_is_mailed_once_and_again_after_it_worked_in_between() -> None:
    stack, runner, job_id = serving()
    beat(stack, runner, job_id, 0.0, minutes=9)
    assert subjects(stack) == []
    beat(stack, runner, job_id, 3.0, minutes=9)
    assert subjects(stack) == ["arcspot: a GPU idles while its runner holds work"]
    assert runner.instance_id in stack.world.mail.sent[0][1]
    beat(stack, runner, job_id, 80.0, minutes=1)
    beat(stack, runner, job_id, 0.0, minutes=12)
    assert len(subjects(stack)) == 2
    assert stack.world.ec2.living, "ending it is for who asks for that"


def test_an_idle_gpu_ends_its_launch_when_the_stack_says_so_and_counts_as_no_failure() -> None:
    stack, runner, job_id = serving(gpu_idle_kill=True)
    beat(stack, runner, job_id, 0.0, minutes=10)
    assert not stack.world.ec2.living
    job = job_of(stack, job_id)
    assert (job.state, job.failures, job.silent_deaths) == (JobState.READY, 0, 0)
    assert subjects(stack) == []


@pytest.mark.parametrize("off", [{"gpu_idle_s": 0}, {"gpu_idle_s": 0, "gpu_idle_kill": True}])
def test_who_does_not_want_to_hear_of_idle_gpus_does_not(off: dict[str, Any]) -> None:
    stack, runner, job_id = serving(**off)
    beat(stack, runner, job_id, 0.0, minutes=20)
    assert subjects(stack) == []
    assert stack.world.ec2.living


def test_an_orphans_cost_is_booked_once_it_has_ended_and_mailed_once() -> None:
    stack = Stack()
    stack.world.ec2.launch(FleetOrder(launch_id="nobody", instance_types=("g4dn.xlarge",)))
    leaks = []
    for _ in range(5):
        leaks.append(stack.watch().leaks)
        stack.world.wait(60)
    assert leaks == [0, 1, 0, 0, 0] or leaks == [0, 0, 1, 0, 0]
    assert subjects(stack) == ["arcspot: an instance ran that no launch had paid for"]
    _, _, reserved, settled = stack.books
    assert (reserved, settled > 0) == (0, True)


def test_an_instance_its_launch_paid_for_is_no_leak_however_long_ec2_shows_it() -> None:
    stack, runner, _ = serving()
    stack.retire(runner.launch_id)
    for _ in range(3):
        stack.world.wait(60)
        assert stack.watch().leaks == 0
    assert stack.books[3] == row_of(stack, runner.launch_id).actual


def test_what_is_written_of_the_door_is_written_once_an_illness_round_and_not_in_health() -> None:
    stack, _, _ = serving()
    stack.watch()
    before = stack.world.store.suspects()
    stack.watch()
    assert stack.world.store.suspects() == before
    stack.world.door_answers = False
    stack.world.wait(stack.settings.silence_s / 2)
    stack.watch()
    assert stack.world.store.suspects().door_ill_at == stack.world.now
    stack.world.door_answers = True
    stack.world.wait(60)
    stack.watch()
    assert stack.world.store.suspects().door_ill_at == stack.world.now - timedelta(seconds=60)

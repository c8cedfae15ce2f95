"""The watchdog brings EC2 and the tables together, one try an item, and says when one failed."""

from __future__ import annotations

import pytest

from arcspot.domain.jobs import JobState
from arcspot.domain.launching import LaunchState
from arcspot.errors import ItemsFailed
from arcspot.ports import FleetOrder
from arcspot.services import attending, watching
from tests.fakes.driving import GOOD_TASK, Stack, task


def state_of(stack: Stack, launch_id: str) -> LaunchState:
    row = stack.world.store.launch(launch_id)
    assert row is not None
    return row.state


def test_a_reservation_whose_execution_never_started_is_started_again() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    stack.world.workflow.started.clear()  # the crash between reserve and StartExecution
    stack.world.wait(121)
    stack.watch()
    assert launch_id in stack.world.workflow.started


def test_an_orphan_is_ended_in_the_second_round_and_not_in_the_first() -> None:
    stack = Stack()
    stack.world.ec2.launch(FleetOrder(launch_id="nobody", instance_types=("g4dn.xlarge",)))
    stack.watch()
    stack.watch()
    assert stack.world.ec2.living, "two events within a second are not two rounds"
    stack.world.wait(60)
    stack.watch()
    assert not stack.world.ec2.living


def test_silence_is_ended_and_its_job_goes_on_elsewhere() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    stack.world.wait(301)
    stack.watch()
    assert runner.instance_id in stack.world.ec2.terminated
    stack.world.wait(60)
    stack.watch()
    assert state_of(stack, runner.launch_id) is LaunchState.SETTLED
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert (job.state, job.silent_deaths, job.failures) == (JobState.READY, 1, 0)
    assert stack.books[2] == 0


def test_a_job_that_kills_its_runner_twice_is_given_up_with_the_reason() -> None:
    stack = Stack()
    runner = stack.one_running()
    for _ in range(2):
        (lease,) = runner.claim()
        stack.world.wait(301)
        stack.watch()
        stack.world.wait(60)
        stack.watch()
        started = stack.scale()
        if started:
            runner = stack.boot(started[0])
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert job.state is JobState.DEAD
    assert "kills its runner" in job.reason


def test_a_runner_that_is_heard_is_left_alone_until_its_hard_deadline() -> None:
    stack = Stack()
    runner = stack.one_running()
    for _ in range(23):
        stack.world.wait(300)
        runner.ask("heartbeat", leases=[], gpu_utilisation=None)
        stack.watch()
    assert stack.world.ec2.living
    stack.world.wait(300)
    runner.ask("heartbeat", leases=[], gpu_utilisation=None)
    stack.watch()
    assert not stack.world.ec2.living


def test_an_instance_that_never_says_hello_is_ended_and_not_replaced_at_once() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    stack.launch(launch_id)
    stack.world.wait(600)
    stack.watch()
    assert not stack.world.ec2.living
    assert stack.scale() == []
    stack.world.wait(121)
    stack.watch()
    assert state_of(stack, launch_id) is LaunchState.SETTLED
    assert len(stack.scale()) == 1


def test_a_spot_kill_without_notice_loses_time_and_no_job() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    stack.world.wait(30)
    stack.world.ec2.end(runner.instance_id)
    stack.watch()
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert (job.state, job.interruptions, job.failures) == (JobState.READY, 1, 0)
    assert state_of(stack, runner.launch_id) is LaunchState.SETTLED
    assert len(stack.scale()) == 1


def test_what_ec2_does_not_show_yet_is_not_dead() -> None:
    stack = Stack()
    runner = stack.one_running()
    hidden = stack.world.ec2.seen.pop(runner.instance_id)
    stack.world.wait(60)
    stack.watch()
    assert state_of(stack, runner.launch_id) is LaunchState.ACTIVE
    stack.world.ec2.seen[runner.instance_id] = hidden


def test_a_warning_gives_the_instance_no_more_work() -> None:
    stack = Stack()
    runner = stack.one_running()
    assert watching.warn(stack.ports, runner.instance_id, "spot interruption announced", stack.world.now)
    assert runner.ask("claim", want=1) == {"leases": [], "drain": True}
    assert runner.ask("heartbeat", leases=[], gpu_utilisation=None)["drain"]
    assert not watching.warn(stack.ports, "i-not-ours", "spot interruption announced", stack.world.now)


def test_a_lease_that_ran_out_is_taken_back_from_a_living_runner() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    stack.world.wait(stack.settings.lease_s + 10)
    runner.ask("heartbeat", leases=[], gpu_utilisation=None)  # alive, but not working on the job
    for _ in range(attending.EVERY_MINUTES):
        stack.watch()
        stack.world.wait(60)
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert job.state is JobState.READY
    assert state_of(stack, runner.launch_id) is LaunchState.ACTIVE


def test_one_bad_item_does_not_keep_the_others_from_being_handled() -> None:
    stack = Stack()
    for n in range(40):
        stack.drop(f"tasks/b/{n}.json", task(n))
    bad, good = (stack.boot(launch_id) for launch_id in stack.scale())
    stack.world.ec2.broken.add(bad.instance_id)
    stack.world.wait(301)
    with pytest.raises(ItemsFailed, match=bad.launch_id):
        stack.watch()
    assert good.instance_id in stack.world.ec2.terminated


def test_a_round_over_a_quiet_stack_changes_nothing() -> None:
    stack = Stack()
    runner = stack.one_running()
    runner.claim()
    stack.watch()
    before = dict(stack.world.store.rows)
    stack.watch()
    assert stack.world.store.rows == before

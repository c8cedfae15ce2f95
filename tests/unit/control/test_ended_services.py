"""An execution whose runner the watchdog ended, or found gone, is told so by name at once."""

from __future__ import annotations

import pytest

from arcspot.domain.launching import LaunchState
from arcspot.errors import StillServing
from arcspot.services import launching, retiring
from tests.fakes.driving import GOOD_TASK, Runner, Stack
from tests.fakes.memory import settings


def serving() -> tuple[Stack, Runner]:
    """A runner at work, and an execution that waits for its bye."""
    stack = Stack(settings=settings(gpu_idle_s=60, gpu_idle_kill=True))
    runner = stack.one_running()
    launching.wait_for(stack.ports, runner.launch_id, phase="serve", token="serve-token")
    return stack, runner


def told(stack: Stack) -> list[tuple[str, str, str]]:
    return [said for said in stack.world.workflow.told if said[1] == "fail"]


def test_a_silent_runner() -> None:
    stack, _ = serving()
    stack.world.wait(301)
    stack.watch()
    assert told(stack) == [("serve-token", "fail", "RunnerSilent")]


def test_a_runner_at_its_deadline() -> None:
    stack, runner = serving()
    stack.world.wait(7201)
    runner.ask("heartbeat", leases=[])
    stack.watch()
    assert told(stack) == [("serve-token", "fail", "DeadlinePassed")]


def test_an_instance_that_never_says_hello() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    stack.launch(launch_id)
    launching.wait_for(stack.ports, launch_id, phase="boot", token="boot-token")
    stack.world.wait(601)
    stack.watch()
    assert told(stack) == [("boot-token", "fail", "BootTimedOut")]


def test_a_gpu_that_idles_while_its_runner_holds_work() -> None:
    stack, runner = serving()
    runner.claim()
    for _ in range(4):
        runner.ask("heartbeat", leases=[], gpu_utilisation=0.0)
        stack.watch()
        stack.world.wait(20)
    assert told(stack) == [("serve-token", "fail", "GpuIdle")]


def test_an_instance_that_is_gone_without_a_word() -> None:
    """Its execution must not stand there as running until the heartbeat is overdue."""
    stack, runner = serving()
    stack.world.ec2.end(runner.instance_id)
    stack.watch()
    assert told(stack) == [("serve-token", "fail", "InstanceGone")]
    stack.watch()
    assert len(told(stack)) == 1, "a closed launch is told of no more"


def test_a_runner_that_says_hello_while_it_is_called_silent_keeps_its_work() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    runner = Runner(stack, launch_id, stack.launch(launch_id)["instance_id"])
    stack.world.wait(stack.settings.boot_timeout_s)
    runner.hello()
    (lease,) = runner.claim()
    with pytest.raises(StillServing, match="keeps its work"):
        retiring.reclaim(
            stack.ports,
            launch_id,
            reason="its runner fell silent",
            silent=True,
            now=stack.world.now,
            unless_heard_s=stack.settings.silence_s / 2,
        )
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert (row.state, row.leases) == (LaunchState.ACTIVE, (lease["job_id"],))

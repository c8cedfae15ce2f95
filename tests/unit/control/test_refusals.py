"""What EC2 or the scheduler refuses: who is told, what is tried next, and where."""

from __future__ import annotations

import pytest

from arcspot.domain.launching import BACKOFF_MINUTES, Launch
from arcspot.errors import (
    ItemsFailed,
    LaunchMisconfigured,
    LaunchPostponed,
    LaunchRefused,
    LaunchThrottled,
    LaunchUnknown,
    NoCapacity,
    QuotaExceeded,
)
from arcspot.services import launching
from tests.fakes.driving import GOOD_TASK, Stack, task
from tests.fakes.memory import settings


def waiting(**changes: object) -> Stack:
    """A stack with work enough for two instances, none started."""
    stack = Stack(settings(**changes))
    for n in range(40):
        stack.drop(f"tasks/b/{n}.json", task(n))
    return stack


def refuse(stack: Stack, launch_id: str, refused: LaunchRefused) -> None:
    stack.world.ec2.refusals = [refused]
    with pytest.raises(type(refused)):
        stack.launch(launch_id)


def row_of(stack: Stack, launch_id: str) -> Launch:
    row = stack.world.store.launch(launch_id)
    assert row is not None
    return row


def events(stack: Stack, kind: str) -> list[str]:
    return [event.subject for event in stack.world.store.events if event.kind == kind]


@pytest.mark.parametrize(
    ("refused", "waits_for", "mails"),
    [
        (NoCapacity("none"), "capacity", 0),
        (QuotaExceeded("0 vCPUs"), "quota", 1),
        (LaunchThrottled("slow down"), "boot", 0),  # its money is held: the same launch is tried again
        (LaunchUnknown("timeout"), "boot", 0),  # and this one may have an instance
        (LaunchMisconfigured("no image"), "config", 1),
        (LaunchPostponed("not verified yet"), "refused", 1),
        (LaunchPostponed("nobody knows this code", certain=False), "refused", 1),
    ],
)
def test_a_refusal_stops_launching_is_shown_and_mailed_once_if_a_person_can_help(
    refused: LaunchRefused, waits_for: str, mails: int
) -> None:
    stack = waiting()
    for launch_id in stack.scale():  # both were started before the first was refused
        refuse(stack, launch_id, refused)
    assert stack.scale() == []
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert fleet.waits_for == waits_for
    assert stack.world.store.breaker().error == type(refused).__name__
    assert len(stack.world.mail.sent) == mails


def test_a_quota_that_stays_too_small_is_not_mailed_each_half_hour_and_is_again_after_it_was_not() -> None:
    stack = waiting()
    for _ in range(5):
        (launch_id, *_) = stack.scale()
        refuse(stack, launch_id, QuotaExceeded("0 vCPUs"))
        stack.world.wait(1801)
        stack.watch()  # takes back what was reserved beside it
    assert len(stack.world.mail.sent) == 1
    (launch_id, *_) = stack.scale()
    stack.boot(launch_id)
    stack.retire(launch_id)
    (launch_id, *_) = stack.scale()
    refuse(stack, launch_id, QuotaExceeded("4 vCPUs"))
    assert len(stack.world.mail.sent) == 2


@pytest.mark.parametrize(("fallback", "market"), [(True, "on-demand"), (False, "spot")])
def test_on_demand_is_asked_for_after_the_third_refusal_if_it_is_allowed(fallback: bool, market: str) -> None:
    stack = waiting(on_demand_fallback=fallback, slots=1)
    asked = []
    for minutes in BACKOFF_MINUTES["NoCapacity"]:
        (launch_id,) = stack.scale()
        asked.append(row_of(stack, launch_id).market)
        refuse(stack, launch_id, NoCapacity("none"))
        stack.world.wait(60 * minutes)
    (launch_id,) = stack.scale()
    runner = stack.boot(launch_id)
    assert [*asked, row_of(stack, launch_id).market] == ["spot", "spot", "spot", market]
    assert stack.world.ec2.seen[runner.instance_id].market == market
    stack.retire(launch_id)
    (launch_id,) = stack.scale()
    assert row_of(stack, launch_id).market == "spot", "an instance came, so spot is tried first again"


def test_a_launch_is_armed_a_minute_after_its_deadline_and_disarmed_when_it_is_settled() -> None:
    stack = Stack()
    runner = stack.one_running()
    row = row_of(stack, runner.launch_id)
    assert row.armed
    instance_id, at = stack.world.timers.armed[runner.launch_id]
    assert (instance_id, at) == (runner.instance_id, row.hard_deadline + launching.TIMER_GRACE)
    stack.retire(runner.launch_id)
    assert stack.world.timers.armed == {}


def test_a_scheduler_that_fails_does_not_fail_the_launch_and_the_watchdog_makes_up_for_it() -> None:
    stack = Stack()
    stack.world.timers.broken = True
    runner = stack.one_running()
    assert not row_of(stack, runner.launch_id).armed
    assert events(stack, "not armed") == [f"launch#{runner.launch_id}"]
    with pytest.raises(ItemsFailed, match=f"arm {runner.launch_id}"):
        stack.watch()
    stack.world.timers.broken = False
    stack.watch()
    assert row_of(stack, runner.launch_id).armed
    assert runner.launch_id in stack.world.timers.armed
    assert stack.watch().actions == ()


def test_an_instance_adopted_without_its_function_is_armed_in_the_next_round() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    stack.world.ec2.started_behind_a_silence = True
    refuse(stack, launch_id, LaunchUnknown("timeout"))
    stack.watch()
    assert not row_of(stack, launch_id).armed
    stack.watch()
    assert row_of(stack, launch_id).armed


def test_arming_what_is_armed_over_or_without_instance_does_nothing() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    launching.arm(stack.ports, launch_id, stack.world.now)
    assert stack.world.timers.armed == {}
    stack.boot(launch_id)
    before = dict(stack.world.store.rows)
    launching.arm(stack.ports, launch_id, stack.world.now)
    assert stack.world.store.rows == before
    stack.retire(launch_id)
    launching.arm(stack.ports, launch_id, stack.world.now)
    assert stack.world.timers.armed == {}

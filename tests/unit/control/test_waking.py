"""The minute's rounds run while something is open, and only then."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from arcspot.domain.budget import Fleet
from arcspot.domain.jobs import JobState
from arcspot.errors import Conflict, ItemsFailed
from arcspot.services import money, scaling, waking, watching
from tests.fakes.driving import Stack, task


def round_of(stack: Stack, **asked: bool) -> None:
    watching.watch(stack.ports, stack.settings, stack.world.now, **asked)


def asleep(stack: Stack) -> bool:
    fleet = stack.world.store.fleet()
    assert fleet is not None
    return fleet.asleep


def sleeping() -> Stack:
    """A stack with nothing to do, after a round that saw that."""
    stack = Stack()
    round_of(stack, minute=True)
    assert asleep(stack)
    assert not stack.world.clock.awake
    return stack


def kicked(stack: Stack) -> list[str]:
    ids = iter(f"launch-{n}" for n in range(9))
    made = scaling.scale(
        stack.ports, stack.settings, stack.world.now, new_id=lambda now: next(ids), kicked=True
    )
    return made[1]


# ---- Falling asleep


def test_a_new_stack_is_awake_until_a_round_finds_nothing_open() -> None:
    stack = Stack()
    money.open_books(stack.ports, stack.settings, stack.world.now)
    assert not asleep(stack)
    round_of(stack)
    assert asleep(stack)


def test_a_sleeping_stack_asks_nothing_of_its_clock() -> None:
    stack = sleeping()
    asked = stack.world.clock.asked
    for _ in range(5):
        round_of(stack, slow=True)
    assert stack.world.clock.asked == asked


def test_with_a_job_that_waits_the_rounds_go_on() -> None:
    stack = Stack()
    stack.drop("tasks/b/a.json", task(1))
    round_of(stack, minute=True)
    assert not asleep(stack)
    assert stack.world.clock.awake


def test_with_a_batch_that_is_not_reported_yet_the_rounds_go_on() -> None:
    stack = Stack()
    stack.drop("tasks/b/a.json", b"no task")
    assert not stack.world.store.ready_count(1, stack.world.now)
    round_of(stack, minute=True)
    assert not asleep(stack)


def test_with_an_open_launch_or_a_live_instance_the_rounds_go_on() -> None:
    stack = Stack()
    money.reserve(stack.ports, stack.settings, "launch-1", stack.world.now)
    round_of(stack, minute=True)
    assert not asleep(stack)
    money.release(stack.ports, "launch-1", "no capacity", stack.world.now)
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert waking.still_open(stack.ports, fleet, stack.world.now, live=0) == ""
    assert waking.still_open(stack.ports, fleet, stack.world.now, live=1) == "instances"


def test_after_a_round_in_which_something_failed_the_next_comes_within_the_minute() -> None:
    stack = sleeping()

    def broken(*args: object) -> dict[str, int]:
        raise RuntimeError("the price list is ill")

    stack.world.store.rows.pop(("prices", ""), None)
    stack.world.price_list.on_demand = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(ItemsFailed, match="prices"):
        round_of(stack, slow=True)
    assert not asleep(stack)
    assert stack.world.clock.awake


# ---- Waking


def test_a_kick_wakes_the_clock_before_anything_is_reserved() -> None:
    stack = sleeping()
    seen: list[bool] = []
    stack.world.store.on_write = lambda before, after: (
        seen.append(stack.world.clock.awake) if type(after).__name__ == "Launch" else None
    )
    stack.drop("tasks/b/a.json", task(1))
    assert len(kicked(stack)) == 1
    assert seen == [True]
    assert not asleep(stack)


def test_a_refused_file_wakes_the_clock_as_well_since_its_batch_is_to_be_reported() -> None:
    stack = sleeping()
    stack.drop("tasks/b/a.json", b"no task")
    assert kicked(stack) == []
    assert stack.world.clock.awake


def test_a_clock_that_runs_is_asked_nothing() -> None:
    stack = Stack()
    money.open_books(stack.ports, stack.settings, stack.world.now)
    for _ in range(3):
        stack.drop(f"tasks/b/{_}.json", task(_))
        kicked(stack)
    assert stack.world.clock.asked == 0


def test_a_lost_kick_costs_one_slow_round() -> None:
    stack = sleeping()
    stack.drop("tasks/b/a.json", task(1))
    round_of(stack, slow=True)
    assert stack.world.clock.awake
    assert not asleep(stack)


def test_nothing_is_launched_while_nobody_would_watch_it() -> None:
    stack = sleeping()
    with pytest.raises(Conflict, match="do not run"):
        money.reserve(stack.ports, stack.settings, "launch-1", stack.world.now)
    stack.world.clock.broken = True
    stack.drop("tasks/b/a.json", task(1))
    with pytest.raises(RuntimeError, match="EventBridge"):
        kicked(stack)
    assert stack.world.store.launches() == []


def test_a_fleet_with_a_slot_taken_cannot_fall_asleep() -> None:
    fleet = Fleet.opened(2).take()
    with pytest.raises(Conflict, match="1 launches are open"):
        fleet.asleep_now()
    assert fleet.give_back().asleep_now().asleep


# ---- Races and crashes


def interrupting(stack: Stack, act: Callable[[], Any]) -> None:
    """Let something happen just before the clock is turned off."""
    off, done = stack.world.clock.sleep, []

    def sleep() -> None:
        if not done:
            done.append(1)
            act()
        off()

    stack.world.clock.sleep = sleep  # type: ignore[method-assign]


def test_work_that_comes_while_the_clock_is_turned_off_is_seen_by_the_second_look() -> None:
    stack = Stack()
    interrupting(stack, lambda: stack.drop("tasks/b/a.json", task(1)))
    round_of(stack, minute=True)
    assert stack.world.clock.awake
    assert not asleep(stack)


def test_a_launch_that_was_reserved_while_the_clock_is_turned_off_is_watched() -> None:
    stack = Stack()

    def come() -> None:
        stack.drop("tasks/b/a.json", task(1))
        assert len(kicked(stack)) == 1

    interrupting(stack, come)
    round_of(stack, minute=True)
    assert stack.world.clock.awake
    assert not asleep(stack)


class PowerCut(BaseException):
    """The process ends here."""


def test_a_round_that_dies_after_the_row_is_made_good_by_the_clocks_next() -> None:
    stack = Stack()

    def die() -> None:
        raise PowerCut

    interrupting(stack, die)
    with pytest.raises(PowerCut):
        round_of(stack, minute=True)
    assert asleep(stack)
    assert stack.world.clock.awake, "the row says so, the clock does not know yet"
    round_of(stack, minute=True)
    assert not stack.world.clock.awake


def test_a_slow_round_trusts_no_row_while_something_is_open() -> None:
    """Somebody turned the clock off and died before the second look, or did it by hand."""
    stack = Stack()
    stack.drop("tasks/b/a.json", task(1))
    kicked(stack)
    stack.world.clock.awake = False
    round_of(stack)
    assert not stack.world.clock.awake, "the row says it runs, and an event's round asks no further"
    round_of(stack, slow=True)
    assert stack.world.clock.awake


def test_a_reservation_in_between_keeps_the_row_from_falling_asleep() -> None:
    stack = Stack()
    money.open_books(stack.ports, stack.settings, stack.world.now)
    store = stack.world.store
    fleet = store.fleet()
    assert fleet is not None
    money.reserve(stack.ports, stack.settings, "launch-1", stack.world.now)
    with pytest.raises(Conflict):
        store.write(fleet.asleep_now())


def test_a_deploy_that_changes_the_slots_changes_nothing_about_the_clock() -> None:
    stack = sleeping()
    stack.settings = replace(stack.settings, slots=5)
    round_of(stack, slow=True)
    assert asleep(stack)
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert (fleet.slots_total, fleet.slots_taken) == (5, 0)


def test_a_finished_batch_lets_the_stack_sleep_again() -> None:
    from arcspot.services.reporting import report_finished

    stack = sleeping()
    stack.drop("tasks/b/a.json", json.dumps({"train": []}).encode())
    kicked(stack)
    round_of(stack, minute=True)
    assert stack.world.clock.awake
    assert report_finished(stack.ports, stack.settings, stack.world.now) == ["b"]
    assert all(job.state is JobState.REJECTED for job in stack.world.store.jobs_of_batch("b"))
    round_of(stack, minute=True)
    assert not stack.world.clock.awake

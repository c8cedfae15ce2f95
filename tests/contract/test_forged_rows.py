"""Rows of the launches table that somebody forged: instances speak to a function that may write them.

Nothing they say starts an instance, and none of them moves money or slots; what moves those is a launch's
hold, which that function can neither write nor read (`test_roles_rows`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from arcspot.domain.budget import Fleet, Hold, Ledger
from arcspot.domain.launching import Launch, LaunchState
from arcspot.errors import LaunchMisconfigured, WrongState
from arcspot.services import money
from tests.fakes.driving import Stack, task

Forge = Callable[[Launch], Launch]
HOURS = timedelta(hours=9)


def reserved() -> tuple[Stack, Launch]:
    """A stack with one launch that scale paid for."""
    stack = Stack()
    stack.drop("tasks/b/x.json", task(1))
    (launch_id,) = stack.scale()
    return stack, row_of(stack, launch_id)


def row_of(stack: Stack, launch_id: str) -> Launch:
    row = stack.world.store.launch(launch_id)
    assert row is not None
    return row


def slots(stack: Stack) -> int:
    fleet = stack.world.store.fleet()
    assert fleet is not None
    return fleet.slots_available


INVENTED: dict[str, Forge] = {
    "one that costs nothing": lambda row: replace(row, reserve=0),
    "as if it were paid": lambda row: row,
    "of another month": lambda row: replace(row, period="2026-12"),
    "on demand, of any size": lambda row: replace(row, market="on-demand", vcpus=0),
    "a billion": lambda row: replace(row, reserve=10**15),
    "a negative amount": lambda row: replace(row, reserve=-(10**9)),
}


@pytest.mark.parametrize("forge", INVENTED.values(), ids=INVENTED)
def test_an_invented_launch_gets_no_instance_and_moves_no_money(forge: Forge) -> None:
    stack, true = reserved()
    books, free = stack.books, slots(stack)
    old = stack.world.now - timedelta(seconds=600)
    fake = forge(replace(true, launch_id="forged", version=0, created_at=old, attempted_at=None))
    stack.world.store.write(fake)
    stack.watch()
    with pytest.raises(LaunchMisconfigured):
        stack.launch("forged")
    assert not stack.world.ec2.seen
    assert row_of(stack, "forged").state is LaunchState.RELEASED, "or the watchdog would start it each minute"
    assert (stack.books, slots(stack)) == (books, free)


@pytest.mark.parametrize("state", [LaunchState.ACTIVE, LaunchState.DRAINING, LaunchState.GONE])
def test_an_invented_end_gives_back_what_nobody_took(state: LaunchState) -> None:
    stack, true = reserved()
    stack.boot(true.launch_id)  # whose money and slot could be taken
    books, free = stack.books, slots(stack)
    old = stack.world.now - timedelta(hours=3)
    fake = replace(true, launch_id="forged", version=0, state=state, instance_id="i-none", price=10**12)
    stack.world.store.write(replace(fake, created_at=old, started_at=old, hard_deadline=old, gone_at=old))
    stack.watch()
    assert not row_of(stack, "forged").state.open
    assert (stack.books, slots(stack)) == (books, free)


TAMPERED: dict[str, Forge] = {
    "less is said to be held": lambda row: replace(row, reserve=1),
    "more is said to be held": lambda row: replace(row, reserve=row.reserve * 1000),
    "in another month": lambda row: replace(row, period="2026-12"),
    "for longer": lambda row: replace(row, hard_deadline=row.hard_deadline + HOURS),
}


@pytest.mark.parametrize("forge", TAMPERED.values(), ids=TAMPERED)
def test_a_paid_launch_whose_row_says_other_is_given_back_as_it_was_held(forge: Forge) -> None:
    stack, true = reserved()
    cap = stack.books[0]
    stack.world.store.write(forge(true))
    with pytest.raises(LaunchMisconfigured, match="held are"):
        stack.launch(true.launch_id)
    assert not stack.world.ec2.seen
    assert stack.books == (cap, cap, 0, 0)
    assert slots(stack) == stack.settings.slots


@pytest.mark.parametrize("forge", TAMPERED.values(), ids=TAMPERED)
def test_what_is_settled_is_what_was_held_whatever_the_row_says(forge: Forge) -> None:
    stack, true = reserved()
    runner = stack.boot(true.launch_id)
    stack.world.store.write(forge(row_of(stack, true.launch_id)))
    stack.world.ec2.end(runner.instance_id)
    stack.world.wait(120)
    spent = stack.retire(true.launch_id)
    cap = stack.books[0]
    assert spent > 0
    assert stack.books == (cap, cap - spent, 0, spent)
    assert slots(stack) == stack.settings.slots


@pytest.mark.parametrize("state", [LaunchState.RESERVED, LaunchState.GONE])
def test_a_closed_launch_that_is_opened_again_is_paid_back_once(state: LaunchState) -> None:
    stack, true = reserved()
    runner = stack.boot(true.launch_id)
    stack.world.ec2.end(runner.instance_id)
    stack.world.wait(120)
    stack.retire(true.launch_id)
    stack.scale()  # another is paid for, whose money and slot could be taken
    books, free, seen = stack.books, slots(stack), len(stack.world.ec2.seen)
    stack.world.store.write(
        replace(row_of(stack, true.launch_id), state=state, instance_id="", attempted_at=None)
    )
    if state is LaunchState.RESERVED:
        with pytest.raises(LaunchMisconfigured):
            stack.launch(true.launch_id)
    else:
        stack.watch()
    assert (stack.books, slots(stack), len(stack.world.ec2.seen)) == (books, free, seen)


def test_a_launch_of_an_earlier_release_is_settled_by_its_row_for_a_while() -> None:
    """It has no hold. The books give back no more than is reserved, and only until such a launch is over."""
    stack, true = reserved()
    fleet = stack.world.store.fleet()
    assert fleet is not None
    del stack.world.store.rows["hold", true.launch_id]
    stack.world.store.write(replace(fleet, holds_from=None))
    stack.watch()
    known = stack.world.store.fleet()
    assert known is not None
    assert known.holds_from is not None
    assert known.holds_from > true.hard_deadline
    with pytest.raises(LaunchMisconfigured):
        stack.launch(true.launch_id)
    cap = stack.books[0]
    assert stack.books == (cap, cap, 0, 0)
    closed = stack.world.store.hold(true.launch_id)
    assert closed is not None
    assert closed.closed, "it comes back once"
    stack.world.store.write(replace(true, launch_id="late", version=0))
    stack.world.now = known.holds_from
    money.release(stack.ports, "late", "x", stack.world.now)
    assert stack.books == (cap, cap, 0, 0)


@pytest.mark.parametrize(("amount", "actual"), [(61, 0), (-1, 0), (60, -1), (10**9, 10**9)])
def test_the_books_turn_no_more_into_money_than_is_reserved(amount: int, actual: int) -> None:
    with pytest.raises(WrongState):
        Ledger.opened("2026-11", 100).reserve(60).settle(amount, actual)


def test_a_new_stack_waits_for_no_earlier_release() -> None:
    stack, true = reserved()
    fleet = stack.world.store.fleet()
    assert isinstance(fleet, Fleet)
    assert fleet.holds_from == stack.world.now
    hold = stack.world.store.hold(true.launch_id)
    assert hold == Hold(true.launch_id, true.period, true.reserve, true.hard_deadline, version=1)

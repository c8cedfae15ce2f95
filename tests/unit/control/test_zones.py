"""A launch whose zone nobody named learns it, and its books run at the spot price of that zone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from arcspot.domain.launching import Launch
from arcspot.domain.reaping import Act
from tests.fakes.driving import GOOD_TASK, Stack
from tests.fakes.memory import START

SPOT, ON_DEMAND = 157_800, 526_000


def launched_somewhere() -> tuple[Stack, str]:
    """CreateFleet's answer named no zone, and describe does not show the instance yet."""
    stack = Stack()
    stack.world.ec2.untold_zones = True
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    stack.launch(launch_id)
    return stack, launch_id


def row_of(stack: Stack, launch_id: str) -> Launch:
    row = stack.world.store.launch(launch_id)
    assert row is not None
    return row


def test_until_the_zone_is_known_the_dearest_price_counts() -> None:
    stack, launch_id = launched_somewhere()
    row = row_of(stack, launch_id)
    assert (row.zone, row.price, row.price_guessed) == ("", ON_DEMAND, True)


def test_the_watchdog_learns_the_zone_and_with_it_the_price() -> None:
    stack, launch_id = launched_somewhere()
    assert [step.act for step in stack.watch().actions] == [Act.PLACE]
    row = row_of(stack, launch_id)
    assert (row.zone, row.price, row.price_guessed) == ("us-east-1a", SPOT, False)
    assert Act.PLACE not in [step.act for step in stack.watch().actions]


def test_a_runner_that_says_hello_first_is_placed_by_that() -> None:
    stack, launch_id = launched_somewhere()
    stack.boot(launch_id)
    row = row_of(stack, launch_id)
    assert (row.zone, row.price, row.price_guessed) == ("us-east-1a", SPOT, False)


@pytest.mark.parametrize("by", ["state machine", "watchdog"])
def test_an_instance_that_ended_before_anybody_saw_it_is_booked_at_its_zones_price(by: str) -> None:
    stack, launch_id = launched_somewhere()
    stack.world.wait(3600)
    stack.world.ec2.end(row_of(stack, launch_id).instance_id)
    if by == "watchdog":
        stack.watch()
    else:
        stack.retire(launch_id)
    row = row_of(stack, launch_id)
    assert row.zone == "us-east-1a"
    assert SPOT <= row.actual < ON_DEMAND / 2


def test_a_price_that_ec2_did_not_tell_at_first_is_booked_as_it_was() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    stack.world.ec2.spot = {}
    (launch_id,) = stack.scale()
    stack.launch(launch_id)
    assert row_of(stack, launch_id).price_guessed
    stack.world.ec2.spot = {START - timedelta(days=1): SPOT}
    stack.world.wait(3600)
    stack.world.ec2.end(row_of(stack, launch_id).instance_id)
    stack.watch()
    assert row_of(stack, launch_id).actual < ON_DEMAND / 2


def test_a_price_by_which_jobs_were_charged_stays() -> None:
    """Else the jobs of a launch would cost more than the launch (I16)."""
    stack, launch_id = launched_somewhere()
    row = row_of(stack, launch_id)
    stack.world.store.write(replace(row, heartbeat_at=START))
    instance = stack.world.ec2.seen[row.instance_id]
    placed = row_of(stack, launch_id).placed(instance, price=SPOT, guessed=False)
    assert (placed.zone, placed.price, placed.price_guessed) == ("us-east-1a", ON_DEMAND, True)


def test_another_launchs_instance_teaches_nothing() -> None:
    stack, launch_id = launched_somewhere()
    row = row_of(stack, launch_id)
    other = replace(stack.world.ec2.seen[row.instance_id], instance_id="i-other")
    assert row.placed(other, price=1, guessed=False) is row

"""Money is reserved before anything starts, and comes back when it was not used."""

from __future__ import annotations

import pytest

from arcspot.domain.budget import Fleet, Ledger, cost_usd_micros, usd_to_micros, worst_case_usd_micros
from arcspot.errors import ConfigurationError, Conflict, FleetPaused, NoMoney, NoSlot
from arcspot.services import money
from tests.fakes.driving import GOOD_TASK, Stack
from tests.fakes.memory import settings


def test_the_worst_case_covers_the_dearest_type_until_the_last_killer_acts() -> None:
    worst = worst_case_usd_micros(
        instance_types=("g4dn.xlarge", "g4dn.2xlarge"),
        on_demand_usd_micros={"g4dn.xlarge": 526_000, "g4dn.2xlarge": 752_000},
        max_lifetime_seconds=7200,
        margin_seconds=300,
        disk_gb=0,
    )
    assert worst == -(-(752_000 + 5_000) * 7500 // 3600)


def test_a_type_without_a_known_price_is_never_launched() -> None:
    with pytest.raises(ConfigurationError, match=r"p4d\.24xlarge"):
        worst_case_usd_micros(
            instance_types=("p4d.24xlarge",),
            on_demand_usd_micros={},
            max_lifetime_seconds=60,
            margin_seconds=0,
            disk_gb=0,
        )


def test_ec2_bills_at_least_a_minute() -> None:
    one, sixty = (cost_usd_micros(price_usd_micros_per_hour=360_000, seconds=s, disk_gb=0) for s in (1, 60))
    assert one == sixty > 0


@pytest.mark.parametrize("amount", ["-1", "nan", "a dollar", "inf"])
def test_an_amount_that_is_none_is_refused(amount: str) -> None:
    with pytest.raises(ConfigurationError):
        usd_to_micros(amount)


def test_reserving_takes_money_and_a_slot_together() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    cap, available, reserved, settled = stack.books
    assert (reserved, settled) == (stack.settings.reserve, 0)
    assert available == cap - stack.settings.reserve
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert fleet.slots_available == 1
    assert launch_id in stack.world.workflow.started


def test_without_money_nothing_is_written_and_nothing_starts() -> None:
    stack = Stack(settings(cap=1000))
    stack.drop("tasks/b/one.json", GOOD_TASK)
    assert stack.scale() == []
    assert stack.books == (1000, 1000, 0, 0)
    assert stack.world.workflow.started == {}
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert fleet.waits_for == "budget"
    with pytest.raises(NoMoney):
        money.reserve(stack.ports, stack.settings, "by-hand", stack.world.now)


def test_a_paused_fleet_starts_nothing_and_says_so() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    money.pause(stack.ports, stack.settings, stack.world.now, paused=True, reason="holiday")
    assert stack.scale() == []
    with pytest.raises(FleetPaused, match="holiday"):
        money.reserve(stack.ports, stack.settings, "by-hand", stack.world.now)
    money.pause(stack.ports, stack.settings, stack.world.now, paused=False, reason="")
    assert len(stack.scale()) == 1


def test_settling_books_the_true_cost_once_and_gives_the_rest_back() -> None:
    stack = Stack()
    runner = stack.one_running()
    stack.world.wait(600)
    spent = stack.retire(runner.launch_id)
    expected = cost_usd_micros(price_usd_micros_per_hour=157_800, seconds=600, disk_gb=75)
    assert spent == expected
    cap = stack.settings.cap
    assert stack.books == (cap, cap - expected, 0, expected)
    assert money.settle(stack.ports, stack.settings, runner.launch_id, stack.world.now) == expected
    assert stack.books == (cap, cap - expected, 0, expected)


def test_a_changed_cap_is_followed_and_the_books_still_balance() -> None:
    stack = Stack()
    stack.one_running()
    stack.settings = settings(cap=usd_to_micros("0.5"))
    money.open_books(stack.ports, stack.settings, stack.world.now)
    cap, available, reserved, _ = stack.books
    assert cap == 500_000
    assert available == cap - reserved < 0
    stack.drop("tasks/b/two.json", {**GOOD_TASK, "test": [{"input": [[9]]}]})
    assert stack.scale() == []


def test_each_threshold_is_mailed_once_a_month() -> None:
    stack = Stack(settings(cap=int(1.9 * settings().reserve), slots=1))
    stack.one_running()
    stack.watch()
    stack.watch()
    subjects = [subject for subject, _ in stack.world.mail.sent]
    assert subjects == ["arcspot: 50% of the 2026-11 budget is committed"]


def test_a_slot_is_never_given_back_twice() -> None:
    with pytest.raises(Conflict):
        Fleet.opened(2).give_back()
    with pytest.raises(NoSlot):
        Fleet.opened(0).take()


def test_the_books_tell_the_truth_when_a_launch_costs_more_than_its_worst_case() -> None:
    ledger = Ledger.opened("2026-11", 100).reserve(60).settle(60, 130)
    assert (ledger.available, ledger.settled) == (-30, 130)
    assert ledger.balanced

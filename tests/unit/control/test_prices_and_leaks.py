"""What an hour costs, who pays for an instance nobody wanted, and what a new month begins with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from arcspot.domain.budget import cost_usd_micros
from arcspot.domain.launching import Instance, Launch
from arcspot.services import money
from tests.fakes.driving import Runner, Stack, task
from tests.fakes.memory import START, settings

DAY_S = 24 * 3600
ON_DEMAND = 526_000
SPOT = 157_800


def cost(price: int, seconds: float) -> int:
    return cost_usd_micros(price_usd_micros_per_hour=price, seconds=seconds, disk_gb=75)


def subjects(stack: Stack) -> list[str]:
    return [subject for subject, _ in stack.world.mail.sent]


def stray(kind: str = "g4dn.xlarge", *, seconds: float = 600) -> Instance:
    """An instance that ended without anybody having paid for it."""
    return Instance(
        instance_id="i-stray",
        state="terminated",
        instance_type=kind,
        zone="us-east-1a",
        market="spot",
        launched_at=START,
        launch_id="lost",
        ended_at=START + timedelta(seconds=seconds),
    )


@pytest.mark.parametrize(
    ("instance", "booked"),
    [
        (stray(), cost(ON_DEMAND, 600)),
        (stray(seconds=1), cost(ON_DEMAND, 60)),
        (stray(seconds=-5), cost(ON_DEMAND, 60)),
        (stray("g4dn.2xlarge"), cost(752_000, 600)),
        (stray("p5.48xlarge"), cost(1_204_000, 600)),  # nobody knows its price: the dearest that is known
    ],
)
def test_a_leak_is_booked_once_at_its_dearest_and_mailed(instance: Instance, booked: int) -> None:
    stack = Stack()
    for _ in range(2):
        assert money.book_leak(stack.ports, stack.settings, instance, stack.world.now) == booked
    cap = stack.settings.cap
    assert stack.books == (cap, cap - booked, 0, booked)
    assert subjects(stack) == ["arcspot: an instance ran that no launch had paid for"]
    assert "lost" in stack.world.mail.sent[0][1]
    leak = stack.world.store.leak("i-stray")
    assert leak is not None
    assert (leak.usd_micros, leak.launch_id) == (booked, "lost")


def test_a_leak_larger_than_the_cap_is_still_booked_and_stops_everything() -> None:
    stack = Stack(settings(cap=1_000))
    money.book_leak(stack.ports, stack.settings, stray(), stack.world.now)
    _, available, _, settled = stack.books
    assert available < 0 < settled


def test_the_price_list_is_asked_once_a_day() -> None:
    stack = Stack()
    stack.world.price_list.says = {"g4dn.xlarge": 600_000}
    for hours in (0, 12, 11.9):
        stack.world.wait(hours * 3600)
        money.refresh_prices(stack.ports, stack.settings, stack.world.now)
        assert stack.world.price_list.asked == 1
    stack.world.wait(3600)
    stack.world.price_list.says = {"g4dn.xlarge": 700_000}
    money.refresh_prices(stack.ports, stack.settings, stack.world.now)
    assert money.read_prices(stack.ports) == {"g4dn.xlarge": 700_000}


def test_prices_stay_as_they_were_while_the_list_does_not_answer() -> None:
    stack = Stack()
    stack.world.price_list.says = {"g4dn.xlarge": 600_000}
    money.refresh_prices(stack.ports, stack.settings, stack.world.now)
    stack.world.price_list.says = {}
    stack.world.wait(DAY_S)
    for _ in range(2):
        money.refresh_prices(stack.ports, stack.settings, stack.world.now)
    assert money.read_prices(stack.ports) == {"g4dn.xlarge": 600_000}
    assert stack.world.price_list.asked == 2, "a list that is down is not asked each minute"


@pytest.mark.parametrize(
    ("read", "overrides", "price"),
    [
        ({}, {}, ON_DEMAND),
        ({"g4dn.xlarge": 600_000}, {}, 600_000),
        ({"g4dn.xlarge": 600_000}, {"g4dn.xlarge": 400_000}, 400_000),
        ({"other": 9_000_000}, {}, ON_DEMAND),
    ],
)
def test_the_worst_case_is_reserved_at_the_operators_price_else_the_read_one(
    read: dict[str, int], overrides: dict[str, int], price: int
) -> None:
    stack = Stack(settings(price_overrides=overrides, instance_types=("g4dn.xlarge", *read)[:1]))
    stack.world.price_list.says = read
    money.refresh_prices(stack.ports, stack.settings, stack.world.now)
    launch = money.reserve(stack.ports, stack.settings, "L", stack.world.now)
    assert launch.reserve == stack.books[2] == cost(price, 7200 + 300)


def served(stack: Stack, *, seconds: float = 1200) -> int:
    """What a launch of so many seconds is settled at."""
    runner = stack.one_running()
    stack.world.wait(seconds)
    return stack.retire(runner.launch_id)


@pytest.mark.parametrize(
    ("later", "hourly"),
    [
        ({}, SPOT),
        ({600: 300_000}, 300_000),
        ({600: 300_000, 700: 100_000}, 300_000),
        ({600: 100_000}, SPOT),
        ({-3600: 200_000, -1800: 120_000}, SPOT),  # before its time: 120,000 at its start, at most SPOT asked
        ({1300: 400_000}, SPOT),
        ({600: 900_000}, ON_DEMAND),
    ],
)
def test_a_launch_is_settled_at_the_dearest_spot_price_of_its_life_and_never_above_on_demand(
    later: dict[int, int], hourly: int
) -> None:
    stack = Stack()
    if any(at < 0 for at in later):
        stack.world.ec2.spot = {}
        hourly = 120_000
    stack.world.ec2.spot |= {START + timedelta(seconds=at): price for at, price in later.items()}
    assert served(stack) == cost(hourly, 1200)


def test_without_a_spot_price_a_launch_costs_what_it_would_on_demand() -> None:
    stack = Stack()
    stack.world.ec2.spot = {}
    assert served(stack) == cost(ON_DEMAND, 1200)


def test_an_on_demand_launch_costs_its_list_price_whatever_spot_does() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", task(1))
    money.reserve(stack.ports, stack.settings, "L", stack.world.now, market="on-demand")
    stack.boot("L")
    stack.world.wait(1200)
    assert stack.retire("L") == cost(ON_DEMAND, 1200)


def test_a_cap_lowered_below_what_is_promised_starts_nothing_and_ends_nothing() -> None:
    stack = Stack()
    runner = stack.one_running()
    stack.settings = replace(stack.settings, cap=stack.settings.reserve // 2)
    for n in range(40):
        stack.drop(f"tasks/b/{n}.json", task(n))
    assert stack.scale() == []
    stack.watch()
    cap, available, reserved, _ = stack.books
    assert available == cap - reserved < 0
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert fleet.waits_for == "budget"
    assert stack.world.ec2.living
    assert runner.claim(), "what runs goes on"


NEAR_MIDNIGHT = datetime(2026, 11, 30, 23, 50, tzinfo=UTC)


def over_the_turn_of_the_month(**changes: int) -> tuple[Stack, Runner]:
    stack = Stack(settings(**changes))
    stack.world.wait((NEAR_MIDNIGHT - START).total_seconds())
    runner = stack.one_running()
    stack.world.wait(20 * 60)
    runner.ask("heartbeat", leases=[])
    return stack, runner


def test_a_launch_is_paid_for_by_the_month_that_reserved_it() -> None:
    stack, runner = over_the_turn_of_the_month()
    stack.watch()
    cap = stack.settings.cap
    assert stack.books == (cap, cap, 0, 0), "December owes nothing"
    spent = stack.retire(runner.launch_id)
    assert stack.books == (cap, cap, 0, 0)
    november = stack.world.store.ledger("2026-11")
    assert november is not None
    assert (november.available, november.reserved, november.settled) == (cap - spent, 0, spent)
    row = stack.world.store.launch(runner.launch_id)
    assert isinstance(row, Launch)
    assert row.period == "2026-11"


def test_slots_know_no_month() -> None:
    stack, runner = over_the_turn_of_the_month(slots=1)
    stack.drop("tasks/b/two.json", task(2))
    runner.claim(8)
    assert stack.scale() == []
    stack.retire(runner.launch_id)
    assert len(stack.scale()) == 1


def test_each_threshold_is_mailed_once_a_month_and_again_in_the_next() -> None:
    stack, runner = over_the_turn_of_the_month(cap=int(1.2 * settings().reserve))
    stack.watch()
    stack.retire(runner.launch_id)
    stack.drop("tasks/b/two.json", task(2))
    stack.scale()
    stack.watch()
    assert [s for s in subjects(stack) if "%" in s] == [
        "arcspot: 80% of the 2026-11 budget is committed",  # 50 % was passed in the same step
        "arcspot: 80% of the 2026-12 budget is committed",
    ]


def test_a_threshold_passed_again_after_money_came_back_is_not_mailed_again() -> None:
    stack = Stack(settings(cap=int(1.9 * settings().reserve)))
    runner = stack.one_running()
    stack.retire(runner.launch_id)
    stack.drop("tasks/b/two.json", task(2))
    stack.scale()
    assert len([s for s in subjects(stack) if "%" in s]) == 1

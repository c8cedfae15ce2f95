"""Many writers of one row, on a clock of their own: all are served, and none takes another's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from arcspot.aws.pausing import FullJitter
from arcspot.domain.launching import Instance
from arcspot.domain.pausing import FIRST_S, LONGEST_S, TRIES, pause_seconds
from arcspot.errors import Conflict
from arcspot.ports import Pause
from arcspot.services import money
from arcspot.services.retry import until_written
from tests.fakes.driving import Stack
from tests.fakes.memory import START, settings
from tests.fakes.modelled import GET_S, PUT_S, Clock, Pausing, Slow

MANY = 64
WITHIN_S = 0.1


def all_at_once(clock: Clock, act: Callable[[int], Any], seed: int, many: int = MANY) -> list[Any]:
    """So many callers begin within a tenth of a second; what became of each."""
    rng = Random(seed)
    return clock.run([(WITHIN_S * rng.random(), lambda n=n: act(n)) for n in range(many)])  # type: ignore[misc]


def jitter(clock: Clock, seed: int) -> Pause:
    return Pausing(clock, Random(seed))


def at_once(clock: Clock, seed: int) -> Pause:
    """No pause at all: what it was before."""
    return lambda tries: None


def counted(
    pauses: Callable[[Clock, int], Pause], seed: int, many: int = MANY
) -> tuple[list[Any], int, Clock]:
    """Each of so many adds one to a row that all of them write."""
    stack, clock = Stack(), Clock()
    slow: Any = Slow(stack.world.store, clock)
    pause = pauses(clock, seed)

    def add(_: int) -> None:
        def act() -> None:
            known = slow.breaker()
            slow.write(replace(known, failures=known.failures + 1))

        until_written(act, pause)

    results = all_at_once(clock, add, seed, many)
    return results, stack.world.store.breaker().failures, clock


@pytest.mark.parametrize("seed", range(5))
def test_64_writers_of_one_row_are_all_served_in_seconds(seed: int) -> None:
    results, failures, clock = counted(jitter, seed)
    assert results == [None] * MANY
    assert failures == MANY
    # One can follow another no sooner than half a read and half a write after it.
    assert MANY * (GET_S + PUT_S) / 2 < clock.now < 5


def test_without_pauses_many_of_them_would_be_turned_away() -> None:
    results, failures, _ = counted(at_once, 0)
    lost = [result for result in results if isinstance(result, Conflict)]
    assert len(lost) > 10
    assert failures == MANY - len(lost)


def test_200_writers_of_one_row_are_all_served() -> None:
    """As many as runners that begin at once."""
    results, failures, clock = counted(jitter, 0, many=200)
    assert (results, failures) == ([None] * 200, 200)
    assert clock.now < 15


def test_the_same_history_is_the_same_again() -> None:
    assert counted(jitter, 3)[2].now == counted(jitter, 3)[2].now != counted(jitter, 4)[2].now


def gone(stack: Stack) -> list[str]:
    """Launches that are to be settled: each reserved, adopted, and shown as ended by EC2."""
    store, ids = stack.world.store, []
    for n in range(MANY):
        launch_id = f"launch-{n:03d}"
        row = money.reserve(stack.ports, stack.settings, launch_id, START)
        instance = Instance(f"i-{n:03d}", "running", "g4dn.xlarge", "us-east-1a", "spot", START, launch_id)
        known = store.launch(row.launch_id)
        assert known is not None
        store.write(known.adopted(instance, price=157_800).gone(now=START, ended_at=START))
        ids.append(launch_id)
    return ids


@pytest.mark.parametrize(("pauses", "all_of_them"), [(jitter, True), (at_once, False)])
def test_64_launches_settled_at_once_are_all_in_the_books(
    pauses: Callable[[Clock, int], Pause], all_of_them: bool
) -> None:
    stack, clock = Stack(settings(cap=10**9, slots=MANY)), Clock()
    ids = gone(stack)
    slow: Any = Slow(stack.world.store, clock)
    ports = replace(stack.ports, store=slow, pause=pauses(clock, 0))

    results = all_at_once(clock, lambda n: money.settle(ports, stack.settings, ids[n], START), 0)

    lost = [result for result in results if isinstance(result, Exception)]
    assert (lost == []) is all_of_them
    cap, available, reserved, spent = stack.books
    assert spent == sum(result for result in results if not isinstance(result, Exception))
    assert (reserved == 0) is all_of_them
    assert cap == available + reserved + spent
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert fleet.slots_available == MANY - len(lost)
    assert clock.now < 10


def test_a_pause_grows_to_its_ceiling_and_is_drawn_from_all_of_it() -> None:
    assert [pause_seconds(tries, 1.0) for tries in (1, 2, 3)] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert pause_seconds(TRIES, 1.0) == pause_seconds(10**6, 1.0) == LONGEST_S
    assert pause_seconds(5, 0.0) == 0.0
    assert pause_seconds(5, 0.25) == pause_seconds(5, 1.0) / 4


def test_all_pauses_together_fit_into_the_shortest_function() -> None:
    from arcspot_simulator.functions import TIMEOUTS_S

    assert sum(pause_seconds(tries, 1.0) for tries in range(1, TRIES)) < 0.75 * min(TIMEOUTS_S.values())


def test_the_real_pause_sleeps_for_what_it_drew() -> None:
    slept: list[float] = []
    pause = FullJitter(slept.append, Random(1))
    for tries in (1, 2, 3):
        pause(tries)
    rng = Random(1)
    assert slept == [pause_seconds(tries, rng.random()) for tries in (1, 2, 3)]

"""No function's cost grows faster than it may, in jobs or in instances; and one that does is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest

from arcspot.domain.jobs import JobState
from arcspot_simulator.functions import NAMES
from bench import growth
from bench.growth import Costs, Growth, faults, growths, measured, slope
from bench.growth_expected import EXPECTED
from bench.growth_rounds import Round, rounds
from bench.growth_world import BATCH, OURS, World


@pytest.fixture(scope="module")
def found() -> tuple[list[Growth], Costs]:
    return growth.small()


def test_every_round_of_every_function_grows_as_it_may(found: tuple[list[Growth], Costs]) -> None:
    assert faults(*found) == []


def test_every_function_and_every_verb_of_a_runner_is_walked() -> None:
    world = World(50, 2, few=25)
    names = [name for name, _ in rounds(world)]
    assert set(world.functions.invocations) == set(NAMES)
    verbs = {"hello", "claim", "heartbeat", "complete", "fail", "release", "bye"}
    assert {f"runner: {verb}" for verb in verbs} <= set(names)
    assert len(set(names)) == len(names)


def test_what_grows_as_expected_is_seen_to_grow(found: tuple[list[Growth], Costs]) -> None:
    by_name = {each.name: each for each in found[0]}
    assert by_name["ingest, all files"].jobs == pytest.approx(1.0, abs=0.05)
    assert by_name["watchdog, jobs left"].instances > 0.4


def test_an_accepted_file_is_one_get_and_no_delete(found: tuple[list[Growth], Costs]) -> None:
    for (jobs, _), costs in found[1].items():
        assert costs["ingest, all files"].s3_requests == jobs
        assert costs["ingest, the same messages again"].s3_requests == 0


def test_the_table_has_each_round_once_with_its_exponents(found: tuple[list[Growth], Costs]) -> None:
    lines = growth.table(found[1], found[0]).splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[4:]] == [each.name for each in found[0]]
    assert all(line.count("|") == lines[2].count("|") for line in lines[4:])


def dropping(world: World) -> Iterator[Round]:
    return islice(rounds(world), 4)


def planted(walk: Any = dropping, jobs: tuple[int, ...] = (40, 160)) -> list[str]:
    """What is wrong with a walk's rounds, those that it leaves out aside."""
    costs = measured(jobs, (2, 3), few=20, steps=True, walk=walk)
    grown = growths(costs)
    return faults(grown, costs, {each.name: EXPECTED[each.name] for each in grown})


def test_nothing_is_wrong_before_it_is_planted() -> None:
    assert planted() == []


class Planted:
    """A store through which a service asks for more than it should: at one verb, something else too."""

    def __init__(self, real: Any, verb: str, also: Callable[[Any, Sequence[Any]], object]) -> None:
        self._real, self._verb, self._also = real, verb, also

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if name != self._verb:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._also(self._real, args)
            return method(*args, **kwargs)

        return call


def with_planted(
    verb: str,
    also: Callable[[Any, Sequence[Any]], object],
    walk: Callable[[World], Iterable[Round]] = dropping,
) -> Callable[[World], Iterable[Round]]:
    def planting(world: World) -> Iterable[Round]:
        ports = world.functions.faulty
        world.functions.faulty = replace(ports, store=cast("Any", Planted(ports.store, verb, also)))
        return walk(world)

    return planting


def test_a_receipt_that_reads_the_whole_batch_is_caught() -> None:
    """As `_receipt` once did: each file looks at all files."""

    def all_of_them(store: Any, args: Sequence[Any]) -> None:
        for _ in args[0]:
            list(store.jobs_of_batch(BATCH))

    told = planted(with_planted("receipts", all_of_them))
    assert any(line.startswith("ingest, all files") and "at most 1" in line for line in told), told
    assert any(line.startswith("ingest, so many of them again") and "at most 0" in line for line in told)


def test_work_that_no_port_sees_is_caught_as_well() -> None:
    source = "def look(seen, key):\n    seen.append(key)\n    return [other.strip() for other in seen]\n"
    ours: dict[str, Any] = {}
    exec(compile(source, str(Path(OURS[0]) / "planted.py"), "exec"), ours)
    seen: list[str] = []

    def compared(store: Any, args: Sequence[Any]) -> None:
        for job in args[0]:
            ours["look"](seen, job.job_id)

    def anew(world: World) -> Iterable[Round]:
        seen.clear()
        return dropping(world)

    told = planted(with_planted("add", compared, anew), growth.SMALL_JOBS)
    assert any("ingest, all files: its steps grow with the jobs" in line for line in told), told


def test_a_round_that_begins_to_read_every_job_is_caught() -> None:
    walk = with_planted(
        "open_launches",
        lambda store, _: list(store.jobs_of_batch(BATCH, JobState.READY)),
        lambda world: ((n, c) for n, c in rounds(world) if n.startswith("watchdog")),
    )
    told = planted(walk)
    assert [line for line in told if line.startswith("watchdog, jobs left") and "with the jobs" in line]


@pytest.mark.parametrize(
    ("pair", "exponent"),
    [((10, 5, 100, 5), 0.0), ((10, 5, 100, 50), 1.0), ((10, 5, 100, 500), 2.0), ((10, 0, 100, 0), 0.0)],
)
def test_an_exponent_is_the_slope_of_the_logarithms(pair: tuple[float, ...], exponent: float) -> None:
    assert slope(*pair) == pytest.approx(exponent)


def test_a_round_without_a_written_exponent_is_told_of() -> None:
    costs = measured((50, 60), (2, 3), few=10, walk=lambda world: islice(rounds(world), 1))
    assert faults(growths(costs), costs, {}) == [
        "ingest, all files: its exponents are not in bench/growth_expected.py"
    ]
    assert "launch: no round of this name" in faults(growths(costs), costs)

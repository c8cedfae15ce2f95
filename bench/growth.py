"""How the cost of every function grows with jobs and instances; it fails where something grows faster.

    python -m bench growth               # 1,000, 10,000 and 100,000 jobs, 2, 10 and 50 instances: minutes
    python -m bench growth --small       # as the test in the suite does it: seconds

Costs are counted in the simulator's tables and priced in time by `arcspot_simulator/latency.py`: requests to
AWS, DynamoDB's units, S3's requests, and seconds. The exponent is the slope between the two largest sizes,
both logarithms, of whichever of those grows fastest.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.growth_expected import EXPECTED, TOLERANCE, Exponents
from bench.growth_rounds import Round, rounds
from bench.growth_world import Cost, World
from gpu_runner import saying

JOBS, INSTANCES = (1_000, 10_000, 100_000), (2, 10, 50)
SMALL_JOBS, SMALL_INSTANCES = (50, 200, 800), (2, 4, 16)
MEASURES = ("calls", "read_units", "write_units", "s3_requests", "seconds", "steps")
FEW = 100
Costs = Mapping[tuple[int, int], Mapping[str, Cost]]
"""(jobs, instances) → round → what it cost."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How one round grows: exponent in jobs and in instances, each with the measure that has it."""

    name: str
    jobs: float
    jobs_by: str
    instances: float
    instances_by: str


def measured(
    jobs: Sequence[int],
    instances: Sequence[int],
    *,
    few: int = FEW,
    steps: bool = False,
    walk: Callable[[World], Iterable[Round]] = rounds,
) -> dict[tuple[int, int], dict[str, Cost]]:
    """Every round at each number of jobs (with the middle number of instances), and the other way round."""
    middle_jobs, middle = jobs[len(jobs) // 2], instances[len(instances) // 2]
    found = {}
    for size in dict.fromkeys([*((n, middle) for n in jobs), *((middle_jobs, n) for n in instances)]):
        world = World(*size, few=few)
        world.counts_steps = steps
        found[size] = dict(walk(world))
    return found


def growths(costs: Costs) -> list[Growth]:
    """The exponents of each round, from the two largest sizes of each kind."""
    jobs, instances = (sorted({size[axis] for size in costs}) for axis in (0, 1))
    middle_jobs, middle = jobs[len(jobs) // 2], instances[len(instances) // 2]
    made = []
    for name in next(iter(costs.values())):
        by_jobs = [(n, costs[n, middle][name]) for n in jobs[-2:]]
        by_instances = [(n, costs[middle_jobs, n][name]) for n in instances[-2:]]
        made.append(Growth(name, *_steepest(by_jobs), *_steepest(by_instances)))
    return made


def _steepest(pair: Sequence[tuple[int, Cost]]) -> tuple[float, str]:
    (few, small), (many, large) = pair
    return max((slope(few, getattr(small, by), many, getattr(large, by), by), by) for by in MEASURES)


def slope(few: float, small: float, many: float, large: float, by: str = "calls") -> float:
    """Exponent of a cost that was `small` for `few` and `large` for `many`. None counts as one, or 10 ms."""
    least = 0.01 if by == "seconds" else 1.0
    return math.log(max(large, least) / max(small, least)) / math.log(many / few)


def faults(found: Sequence[Growth], costs: Costs, expected: Mapping[str, Exponents] = EXPECTED) -> list[str]:
    """What grows faster than it may, is not written down, or was cut off; each in words."""
    said = []
    for each in found:
        if each.name not in expected:
            said.append(f"{each.name}: its exponents are not in bench/growth_expected.py")
            continue
        for what, limit, exponent, by in (
            ("jobs", expected[each.name][0], each.jobs, each.jobs_by),
            ("instances", expected[each.name][1], each.instances, each.instances_by),
        ):
            if exponent > limit + TOLERANCE:
                said.append(
                    f"{each.name}: its {by} grow with the {what} to the power of {exponent:.2f}, "
                    f"at most {limit} is expected"
                )
    said += [f"{name}: no round of this name" for name in expected if name not in {g.name for g in found}]
    said += [
        f"{name}: cut off at its function's limit with {size[0]:,} jobs and {size[1]} instances"
        for size, by_name in costs.items()
        for name, cost in by_name.items()
        if cost.cut_off
    ]
    return said


def table(costs: Costs, found: Sequence[Growth]) -> str:
    """Markdown: each round's cost at each size, and its exponents."""
    sizes = sorted(costs)
    heads = [f"{jobs:,} × {instances}" for jobs, instances in sizes]
    rows = [
        "Requests · read units · write units · S3 requests · modelled seconds, for jobs × instances.",
        "",
        f"| round | {' | '.join(heads)} | exponent in jobs | in instances |",
        "|---" * (len(sizes) + 3) + "|",
    ]
    for each in found:
        cells = [_cell(costs[size][each.name]) for size in sizes]
        rows.append(f"| {each.name} | {' | '.join(cells)} | {each.jobs:.2f} | {each.instances:.2f} |")
    return "\n".join(rows) + "\n"


def _cell(cost: Cost) -> str:
    figures = (cost.calls, cost.read_units, cost.write_units, cost.s3_requests)
    told = " · ".join(f"{figure:,.0f}" for figure in figures)
    return f"{told} · {cost.seconds:,.1f} s" + (" **cut off**" if cost.cut_off else "")


def growth(jobs: Sequence[int] = JOBS, instances: Sequence[int] = INSTANCES) -> dict[str, Any]:
    """As `make bench` keeps it: the table, the exponents, and what is wrong with them."""
    costs = measured(jobs, instances)
    found = growths(costs)
    return {
        "table": table(costs, found),
        "exponents": {each.name: [round(each.jobs, 2), round(each.instances, 2)] for each in found},
        "faults": faults(found, costs),
    }


def small(walk: Callable[[World], Iterable[Round]] = rounds) -> tuple[list[Growth], Costs]:
    """What the suite measures: few jobs, and the work of our own code as well."""
    costs = measured(SMALL_JOBS, SMALL_INSTANCES, few=SMALL_JOBS[0] // 2, steps=True, walk=walk)
    return growths(costs), costs


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--small", action="store_true", help="50 to 800 jobs, 2 to 16 instances")
    parser.add_argument("--keep", type=Path, help="a file for the table, in Markdown")
    options = parser.parse_args(arguments)
    if options.small:
        found, costs = small()
        told, wrong = table(costs, found), faults(found, costs)
    else:
        whole = growth()
        told, wrong = whole["table"], whole["faults"]
    saying.out(*told.splitlines())
    if options.keep:
        options.keep.write_text(told)
    for line in _lines(wrong):
        saying.err(line)
    sys.exit(1 if wrong else 0)


def _lines(wrong: Sequence[str]) -> Iterator[str]:
    yield from (f"bench: {line}" for line in wrong)
    yield (
        f"bench: {len(wrong)} round(s) grow faster than they may" if wrong else "bench: all grow as expected"
    )

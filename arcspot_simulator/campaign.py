"""Many histories on all cores, and what they showed together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from arcspot_simulator.ablations import without
from arcspot_simulator.history import SMALL, Outcome, Size, play

CHUNK = 10


@dataclass(frozen=True, slots=True)
class Campaign:
    """The sum of histories; ratios are the worst of any. `violations` holds (seed, what broke)."""

    seeds: int = 0
    violations: tuple[tuple[int, str], ...] = ()
    worst_spend_over_cap: float = 0.0
    most_live_over_limit: float = 0.0
    jobs: int = 0
    jobs_done: int = 0
    jobs_lost: int = 0
    double_commits: int = 0
    launches: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    calls: dict[str, int] = field(default_factory=dict)

    def with_outcome(self, one: Outcome) -> Campaign:
        found = ((one.seed, one.violation),) if one.violation else ()
        calls = dict(self.calls)
        for name, count in one.calls.items():
            calls[name] = calls.get(name, 0) + count
        return replace(
            self,
            seeds=self.seeds + 1,
            violations=tuple(sorted(self.violations + found)),
            worst_spend_over_cap=max(self.worst_spend_over_cap, one.worst_spend_over_cap),
            most_live_over_limit=max(self.most_live_over_limit, one.most_live_over_limit),
            jobs=self.jobs + one.jobs,
            jobs_done=self.jobs_done + one.jobs_done,
            jobs_lost=self.jobs_lost + one.jobs_lost,
            double_commits=self.double_commits + one.double_commits,
            launches=self.launches + one.launches,
            steps=self.steps + one.steps,
            virtual_s=self.virtual_s + one.virtual_s,
            calls=calls,
        )

    def to_json(self) -> str:
        plain = asdict(self)
        plain["violations"] = [{"seed": seed, "what": what} for seed, what in self.violations]
        return json.dumps(plain, indent=2)


def run(
    seeds: int,
    *,
    first: int = 0,
    guard: str | None = None,
    size: Size = SMALL,
    workers: int | None = None,
    told: Callable[[Campaign], object] = lambda so_far: None,
    enough: Callable[[Campaign], bool] = lambda so_far: False,
) -> Campaign:
    """Play `seeds` histories from `first` on; `told` hears of each chunk, `enough` may end it early.

    The outcome of a seed depends on nothing but the seed, the size and the guard taken out.
    """
    so_far = Campaign()
    for outcomes in _chunks(seeds, first, guard, size, workers or os.cpu_count() or 1):
        for outcome in outcomes:
            so_far = so_far.with_outcome(outcome)
        told(so_far)
        if enough(so_far):
            break
    return so_far


def _chunks(seeds: int, first: int, guard: str | None, size: Size, workers: int) -> Iterator[list[Outcome]]:
    starts = range(first, first + seeds, CHUNK)
    work: list[tuple[int, int, str | None, Size]] = [
        (start, min(CHUNK, first + seeds - start), guard, size) for start in starts
    ]
    if workers == 1 or len(work) == 1:
        yield from map(_play_chunk, work)
        return
    pool = ProcessPoolExecutor(workers)
    try:
        for done in as_completed([pool.submit(_play_chunk, each) for each in work]):
            yield done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _play_chunk(asked: tuple[int, int, str | None, Size]) -> list[Outcome]:
    first, many, guard, size = asked
    with without(guard):
        return [play(seed, size=size) for seed in range(first, first + many)]


def story(seed: int, *, guard: str | None = None, size: Size = SMALL) -> Outcome:
    """One history once more, with its lines."""
    with without(guard):
        return play(seed, size=size, trace=True)


def summary(found: Campaign) -> dict[str, Any]:
    """The figures people look at first."""
    return {
        "worst spend ÷ cap": round(found.worst_spend_over_cap, 4),
        "most live ÷ limit": round(found.most_live_over_limit, 4),
        "jobs lost": found.jobs_lost,
        "results committed twice": found.double_commits,
    }

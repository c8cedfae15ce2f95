"""A small hypothesis: the task follows a rule short enough to be written down (`rules`).

Sure rules answer alone, in seconds. Doubtful ones leave their candidates to stand beside the network's: two
attempts are two ways to be right, and what a rule finds a network seldom does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .canvas import COLOURS, MAX_SIDE, Grid
from .confidence import of_each
from .decode import Candidate
from .errors import BadWeights
from .rules import agreeing
from .rules.grids import Cells
from .rules.kinds import rule_from_json
from .rules.reason import Explanation, explain
from .task import Task

NAME = "rules"
WEIGHTS = "rule_weights"
RULES = "rules"

SURE_WEIGHT, SURE_SHARE = agreeing.WEIGHT, agreeing.SHARE
"""Of the votes behind the first candidate, from which on the network is not asked. On the training tasks of
ARC-AGI-1 `python -m bench rules DIR` counts how often the rules are right above and below."""

MOST_RULES, MOST_TEXT, MOST_WEIGHT = 100, 1_000_000, 1e6
"""What rules that were kept may come to; a solve keeps 24 of them."""

FEWEST = 2
"""Demonstrations that it takes for a rule to be sure."""


@dataclass(frozen=True, slots=True)
class Voted:
    """A candidate of the rules for a test input. weight: of all rules that give it; rules: how many."""

    grid: Grid
    weight: float
    share: float
    rules: int

    def candidate(self) -> Candidate:
        return Candidate(self.grid, self.rules, self.share, 0.0)


@dataclass(frozen=True, slots=True)
class Reasoned:
    """The rules that vote, and for each test input their candidates, best first."""

    kept: tuple[Explanation, ...]
    ballots: tuple[tuple[Voted, ...], ...]

    def sure(self, demos: int) -> bool:
        return demos >= FEWEST and all(
            bool(found) and found[0].weight >= SURE_WEIGHT and found[0].share >= SURE_SHARE
            for found in self.ballots
        )

    def to_json(self) -> list[Any]:
        """[weight, rule] of each rule."""
        return [[one.weight, one.rule.to_json()] for one in self.kept]


def none(task: Task) -> Reasoned:
    """No rule, so no candidate for any test input."""
    return Reasoned((), tuple(() for _ in task.tests))


def reason(task: Task, *, seed: int, go_on: Callable[[], bool]) -> Reasoned:
    """Find rules for a task, until `go_on()` says no; perhaps none."""
    pairs = [(_cells(source), _cells(target)) for source, target in task.demos]
    tests = [_cells(test) for test in task.tests]
    return voted(explain(pairs, tests, np.random.default_rng(seed), go_on), task)


def voted(explanations: Sequence[Explanation], task: Task) -> Reasoned:
    """The candidates for each test input: those of possible sizes, by the sum of their rules' weights."""
    ballots = []
    for test in task.tests:
        grid = _cells(test)
        weights: dict[tuple[tuple[int, ...], ...], float] = {}
        counts: dict[tuple[tuple[int, ...], ...], int] = {}
        for one in explanations:
            told = one.rule.answer(grid)
            if told is None or not _possible(told):
                continue
            key = tuple(tuple(row) for row in told.tolist())
            weights[key] = weights.get(key, 0.0) + one.weight
            counts[key] = counts.get(key, 0) + 1
        total = sum(weights.values())
        ranked = sorted(weights, key=lambda key: (-weights[key], key))
        ballots.append(
            tuple(
                Voted([list(row) for row in key], weights[key], weights[key] / total, counts[key])
                for key in ranked
            )
        )
    return Reasoned(tuple(explanations), tuple(ballots))


def replay(task: Task, text: str) -> Reasoned:
    """The candidates of rules kept before (`to_json`, as text). Raises BadWeights."""
    try:
        told = json.loads(text)
        if len(told) > MOST_RULES or len(text) > MOST_TEXT:
            raise ValueError(f"{len(told):,} rules of {len(text):,} characters")
        return voted([Explanation(rule_from_json(rule), _weight(weight)) for weight, rule in told], task)
    except Exception as error:  # a rule is a program, and whoever wrote it chose how it fails
        raise BadWeights(f"the rules beside these weights are damaged: {error!r:.300}") from error


def alone(found: Sequence[Voted]) -> tuple[Grid, Grid]:
    """Two different attempts from the rules' candidates; there is at least one."""
    first = found[0].grid
    return first, found[1].grid if len(found) > 1 else changed(first)


def beside(found: Sequence[Voted], network: Sequence[tuple[Grid, float]]) -> tuple[Grid, Grid]:
    """Two different attempts: the likeliest of the rules' first two candidates and the network's two.

    network: at least two different grids, each with its chance to be right. A grid that both give has both
    chances; equal ones stay in order, the rules' before the network's.
    """
    chances: dict[str, float] = {}
    grids: dict[str, Grid] = {}
    for grid, chance in [*zip([one.grid for one in found], chances_of(found), strict=False), *network]:
        key = str(grid)
        grids.setdefault(key, grid)
        chances[key] = 1.0 - (1.0 - chances.get(key, 0.0)) * (1.0 - chance)
    first, second = sorted(chances, key=lambda key: -chances[key])[:2]
    return grids[first], grids[second]


def chances_of(found: Sequence[Voted]) -> list[float]:
    """The chances of the first two candidates to be right, never growing."""
    return of_each([one.candidate() for one in found[:2]], NAME, 1.0, [one.weight for one in found[:2]])


def changed(grid: Grid) -> Grid:
    """Another grid: nothing speaks for a second answer, but two attempts are always different."""
    other = [list(row) for row in grid]
    other[0][0] = (other[0][0] + 1) % COLOURS
    return other


def weights(reasoned: Reasoned) -> dict[str, torch.Tensor]:
    return {WEIGHTS: torch.tensor([one.weight for one in reasoned.kept], dtype=torch.float32)}


def _possible(told: Cells) -> bool:
    return bool(told.size) and max(told.shape) <= MAX_SIDE and told.min() >= 0 and told.max() < COLOURS


def _weight(value: Any) -> float:
    """Raises ValueError or TypeError on what can be no weight."""
    weight = float(value)
    if not 0 < weight <= MOST_WEIGHT:
        raise ValueError(f"{value!r} is no weight")
    return weight


def _cells(grid: Grid) -> Cells:
    return np.array(grid, np.int64)

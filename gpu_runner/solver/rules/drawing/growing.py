"""Rules that are repeated until nothing changes: what grows cell by cell, walks along, turns at obstacles.

One tree tells from what is near a cell what it becomes in the next round. It is learned from the rounds in
which the demonstrated output may have come about: a cell joins as soon as one beside it has its colour.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.grids import EIGHT, FOUR, NONE, Cells, Mask, background, ray, shifted
from gpu_runner.solver.rules.sights import DIRECTIONS, Sheet
from gpu_runner.solver.rules.terms import Allowed, GoOn, Pairs

KNIGHTS = tuple((dr, dc) for dr in (-2, -1, 1, 2) for dc in (-2, -1, 1, 2) if abs(dr) != abs(dc))

ROUNDS = 90
"""Rounds after which a rule that still changes something has no answer."""

FEWEST_ROUNDS = 3
"""A shorter growth is no growth: trees over a single look tell it better."""

MOST_CELLS = 40_000
"""Cells of all rounds from which a tree is learned."""

GROWN = 6
"""Trees that are tried for one way of growing."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """A tree over a cell's surroundings, used again and again."""

    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        now, beginning = grid, _Beginning(grid)
        for _ in range(ROUNDS):
            try:
                new = trees.answer(self.tree, beginning.sheet(now))
            except KeyError:
                return None
            if new is None or np.array_equal(new, now):
                return new
            now = new
        return None

    def to_json(self) -> Any:
        return ["repeated", self.tree.to_json()]


class _Beginning:
    """What stays the same over all rounds, and the surroundings of each cell in one of them."""

    def __init__(self, grid: Cells) -> None:
        self.grid, self.ground = grid, background(grid)
        self.rays = [ray(grid, self.ground, dr, dc)[0] for dr, dc in EIGHT]

    def sheet(self, now: Cells) -> Sheet:
        sheet = Sheet()
        grown = now != self.grid
        sheet.source("own", now)
        sheet.fact("own is ground", now == self.ground)
        sheet.fact("own is grown", grown)
        for far, name in ((1, "next"), (2, "second")):
            for direction, (dr, dc) in zip(DIRECTIONS, EIGHT, strict=True):
                near = shifted(now, far * dr, far * dc)
                sheet.source(f"{name} {direction}", near)
                sheet.fact(f"{name} {direction} is ground", near == self.ground)
                there = shifted(grown.astype(np.int64), far * dr, far * dc, 0) == 1
                sheet.fact(f"{name} {direction} is grown", there)
        for dr, dc in KNIGHTS:
            sheet.source(f"next {dr},{dc}", shifted(now, dr, dc))
        for direction, seen in zip(DIRECTIONS, self.rays, strict=True):
            sheet.source(f"seen {direction}", seen)
        sheet.fact("nothing is grown", np.full(now.shape, not grown.any()))
        return sheet


def rounds(source: Cells, target: Cells, ways: Sequence[tuple[int, int]], seed: int) -> list[Cells]:
    """The grids from the input to the output: in each round those cells join that have one of their new
    colour beside them, and where there are none, those beside the seed's colour (NONE: beside anything
    filled), or else all."""
    found, now, ground = [source], source, background(source)
    while not np.array_equal(now, target):
        open_ = now != target
        near = [shifted(now, dr, dc) for dr, dc in ways]
        joins = open_ & np.any([one == target for one in near], axis=0)
        if not joins.any():
            seeds = [(one != ground) & (one != NONE) if seed == NONE else one == seed for one in near]
            joins = open_ & np.any(seeds, axis=0)
        if not joins.any():
            joins = open_
        now = np.where(joins, target, now)
        found.append(now)
    return found


def repetitions(
    pairs: Pairs, rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> list[tuple[Repeated, float]]:
    """The rules of this kind that answer all demonstrations, and the weights of their votes."""
    if any(source.shape != target.shape for source, target in pairs):
        return []
    found: dict[trees.Node, float] = {}
    common = set(range(10)).intersection(*({*source.ravel().tolist()} for source, _ in pairs))
    tried: set[bytes] = set()
    for ways, seed in itertools.product((FOUR, EIGHT), (NONE, *sorted(common))):
        told = [rounds(source, target, ways, seed) for source, target in pairs]
        key = b"".join(grid.tobytes() for one in told for grid in one)
        if key in tried or max(len(one) for one in told) <= FEWEST_ROUNDS:
            continue
        tried.add(key)
        if sum(len(one) * one[0].size for one in told) > MOST_CELLS:
            continue
        learner = _learner(told, go_on)
        for n in range(GROWN if learner is not None else 0):
            tree = learner.grow(allowed(n, learner.names, rng)) if learner is not None and go_on() else None
            if tree is not None:
                found[tree] = found.get(tree, 0.0) + 2.0 ** -trees.leaves(tree)
    return [
        (Repeated(tree), weight)
        for tree, weight in found.items()
        if all(_agrees(Repeated(tree), source, target) for source, target in pairs)
    ]


def _agrees(rule: Repeated, source: Cells, target: Cells) -> bool:
    told = rule.answer(source)
    return told is not None and np.array_equal(told, target)


def _learner(told: Sequence[Sequence[Cells]], go_on: GoOn) -> trees.Learner | None:
    """Over the different surroundings of all rounds; the last round must change nothing."""
    facts: list[Mask] = []
    sources: list[Cells] = []
    wanted: list[Cells] = []
    names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    for grids in told:
        beginning = _Beginning(grids[0])
        for now, then in zip(grids, [*grids[1:], grids[-1]], strict=True):
            if not go_on():
                return None
            table = trees.Table.of([beginning.sheet(now)])
            names = table.fact_names, table.source_names
            packed = np.concatenate([np.packbits(table.facts, axis=1), table.sources + 1], 1).astype(np.uint8)
            _, first = np.unique(np.column_stack([packed, then.ravel()]), axis=0, return_index=True)
            facts.append(table.facts[first])
            sources.append(table.sources[first])
            wanted.append(then.ravel()[first])
    table = trees.Table(np.concatenate(facts), np.concatenate(sources), *names)
    return trees.Learner(table, np.concatenate(wanted))

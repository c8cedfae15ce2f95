"""Rules that draw a grid line by line: what a cell becomes follows from what is drawn before it.

One tree tells a cell's colour from what it sees of the input and from what stands behind it in the output: in
the lines before, or also in its own line (as in writing). So patterns go on, slanted lines are thrown back,
lines turn at obstacles. The tree is learned from the demonstrated outputs at once (teacher forcing, Williams
and Zipser 1989) and used cell after cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.grids import NONE, Cells, Mask, background, shifted
from gpu_runner.solver.rules.sights import Sheet, look, truth
from gpu_runner.solver.rules.terms import Allowed, GoOn, Pairs

Behind = tuple[int, int]
"""Where a cell looks, as steps down and across: to what is drawn before it."""

LINES: tuple[Behind, ...] = (*((-far, across) for far in (1, 2) for across in range(-2, 3)), (-3, 0))
"""Cells of the lines before at which a cell looks, as steps down and across."""

WRITTEN: tuple[Behind, ...] = ((0, -1), (0, -2), (0, -3), *LINES)
"""The same with those before it in its own line."""

SIDES: tuple[Callable[[Cells], Cells], ...] = (
    lambda grid: grid, lambda grid: grid[::-1], lambda grid: grid.T, lambda grid: grid.T[::-1],
    lambda grid: grid[:, ::-1], lambda grid: grid[::-1, ::-1], lambda grid: grid.T[:, ::-1],
    lambda grid: grid.T[::-1, ::-1],
)  # fmt: skip
"""The grid turned so that lines are drawn from the top on and cells from the left on."""

BACK: tuple[Callable[[Cells], Cells], ...] = (
    lambda grid: grid, lambda grid: grid[::-1], lambda grid: grid.T, lambda grid: grid[::-1].T,
    lambda grid: grid[:, ::-1], lambda grid: grid[::-1, ::-1], lambda grid: grid[:, ::-1].T,
    lambda grid: grid[::-1, ::-1].T,
)  # fmt: skip

LINEWISE = 4
"""The first sides: between lines drawn as a whole, the others do not differ from them."""

GROWN = 10
"""Trees that are tried for one direction."""

FIRST = 5
"""Trees after which none is hoped for."""

UNSURE = 0.15
"""What the choice among the directions, and so many facts, costs a tree's weight; the trees of several
directions often say the same."""


@dataclass(frozen=True, slots=True)
class Swept:
    """A tree over a cell's sights and what is drawn before it. side: an index of SIDES; written: the cell
    looks at its own line too."""

    side: int
    written: bool
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        turned = np.ascontiguousarray(SIDES[self.side](grid), np.int64)
        told = _Drawing(turned, WRITTEN if self.written else LINES).drawn(self.tree)
        return None if told is None else np.ascontiguousarray(BACK[self.side](told))

    def to_json(self) -> Any:
        return ["swept", self.side, self.written, self.tree.to_json()]


def swept_from_json(told: Any) -> Swept:
    """Raises ValueError on what no such rule wrote."""
    match told:
        case ["swept", int(side), bool(written), tree] if 0 <= side < (len(SIDES) if written else LINEWISE):
            return Swept(side, written, trees.from_json(tree))
    raise ValueError("no rule draws like this, line by line")


@lru_cache(maxsize=32)
def _seen(cells: bytes, shape: tuple[int, ...]) -> Sheet:
    return look(np.frombuffer(cells, np.int64).reshape(shape))


def _name(way: Behind) -> str:
    return f"drawn {-way[0]} back, {way[1]} across"


def _with_drawn(grid: Cells, told: Cells, ways: Sequence[Behind]) -> Sheet:
    """The sights of a grid, and what `told` shows before each cell."""
    seen, ground = _seen(grid.tobytes(), grid.shape), background(grid)
    sheet = Sheet(dict(seen.sources), dict(seen.facts))
    for way in ways:
        near = shifted(told, *way)
        sheet.source(_name(way), near)
        sheet.fact(f"{_name(way)} is ground", near == ground)
        sheet.fact(f"{_name(way)} is new", near != shifted(grid, *way))
    return sheet


Asked = Callable[[int, int], int]
"""asked(r, c): the colour, or the truth, at a cell before which all is drawn."""


class _Drawing:
    """A grid that is being drawn, cell after cell."""

    def __init__(self, grid: Cells, ways: Sequence[Behind]) -> None:
        self.seen = _seen(grid.tobytes(), grid.shape)
        self.own, self.ground = grid.tolist(), background(grid)
        self.height, self.width = grid.shape
        self.canvas = [[NONE] * self.width for _ in range(self.height)]
        self.ways = {_name(way): way for way in ways}

    def drawn(self, tree: trees.Node) -> Cells | None:
        """The whole grid; None where the tree asks for what is not known, or names no colour."""
        try:
            asked = self._node(tree)
        except KeyError:
            return None
        for r in range(self.height):
            for c in range(self.width):
                self.canvas[r][c] = asked(r, c)
        told = np.array(self.canvas, np.int64)
        return None if (told == NONE).any() else told

    def _node(self, node: trees.Node) -> Asked:
        if isinstance(node, trees.Leaf):
            return self._source(node.source)
        asked, true, false = self._fact(node.fact), self._node(node.true), self._node(node.false)
        return lambda r, c: true(r, c) if asked(r, c) else false(r, c)

    def _source(self, name: str) -> Asked:
        if name in self.ways:
            return self._behind(self.ways[name])
        if name.isdigit():
            colour = int(name)
            return lambda r, c: colour
        values = self.seen.sources[name].tolist()
        return lambda r, c: int(values[r][c])

    def _fact(self, name: str) -> Asked:
        """Like `sights.truth`, of a cell that is not yet there."""
        source, _, told = name.rpartition(" is ")
        if source not in self.ways:
            truths = truth(self.seen, name).tolist()
            return lambda r, c: int(truths[r][c])
        way = self.ways[source]
        behind = self._behind(way)
        if told == "ground":
            return lambda r, c: behind(r, c) == self.ground
        if told == "there":
            return lambda r, c: behind(r, c) != NONE
        if told == "own":
            return lambda r, c: behind(r, c) == self.own[r][c]
        if told == "new":
            return lambda r, c: self._is_new(r + way[0], c + way[1])
        if len(told) != 1 or told not in "0123456789":
            raise KeyError(name)
        colour = int(told)
        return lambda r, c: behind(r, c) == colour

    def _is_new(self, y: int, x: int) -> bool:
        return y >= 0 and 0 <= x < self.width and self.canvas[y][x] != self.own[y][x]

    def _behind(self, way: Behind) -> Asked:
        down, across = way

        def asked(r: int, c: int) -> int:
            y, x = r + down, c + across
            return self.canvas[y][x] if y >= 0 and 0 <= x < self.width else NONE

        return asked


def sweeps(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> list[tuple[Swept, float]]:
    """The rules of this kind that answer all demonstrations and at least one test, with their weights."""
    if any(source.shape != target.shape for source, target in pairs):
        return []
    found: dict[Swept, float] = {}
    for written in (False, True):
        for side in range(len(SIDES) if written else LINEWISE):
            found |= _swept(side, written, pairs, rng, go_on, allowed)
    return _united(found, tests)


def _united(found: dict[Swept, float], tests: Sequence[Cells]) -> list[tuple[Swept, float]]:
    """Of the rules that answer the tests alike the weightiest, with the weight of all: they are many, and a
    vote of one rule is read as well."""
    alike: dict[tuple[bytes | None, ...], list[tuple[Swept, float]]] = {}
    for rule, weight in sorted(found.items(), key=lambda one: -one[1]):
        told = [rule.answer(test) for test in tests]
        if any(answer is not None for answer in told):
            key = tuple(None if answer is None else answer.tobytes() for answer in told)
            alike.setdefault(key, []).append((rule, weight))
    return [(some[0][0], sum(weight for _, weight in some)) for some in alike.values()]


def _swept(
    side: int, written: bool, pairs: Pairs, rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> dict[Swept, float]:
    """Trees for one direction, and their weights."""
    ways = WRITTEN if written else LINES
    sheets, targets = [], []
    for pair in pairs:
        if not go_on():
            return {}
        grid, wanted = (np.ascontiguousarray(SIDES[side](one), np.int64) for one in pair)
        sheets.append(_with_drawn(grid, wanted, ways))
        targets.append(wanted)
    learner = trees.Learner(trees.Table.of(sheets), np.concatenate([t.ravel() for t in targets]))
    found: dict[Swept, float] = {}
    grown = 0
    for n in range(GROWN):
        if (n >= FIRST and not grown) or not go_on():
            break
        part = _part(n, learner.names, rng, allowed)
        tree = learner.grow(part)
        if tree is None:
            continue
        grown += 1
        weight = UNSURE * 2.0 ** -trees.leaves(tree) * learner.proof(targets, part)
        rule = Swept(side, written, tree)
        found[rule] = found.get(rule, 0.0) + weight
    return found


def _part(n: int, names: Sequence[str], rng: np.random.Generator, allowed: Allowed) -> Mask | None:
    """The facts that the n-th tree may use: all; those of what is drawn before; or as other trees' facts."""
    if n == 1:
        return np.array([name.startswith(("drawn", "own")) for name in names], bool)
    return allowed(max(0, n - 1), names, rng)

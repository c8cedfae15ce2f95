"""Explanations by programs: one that draws the output, or several whose drawings a tree chooses among.

A program that draws the right shape but not all cells is a sheet to look at: the tree sees the drawing, and
what the other programs of that shape have drawn there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.grids import NONE, Cells, Mask, background, components
from gpu_runner.solver.rules.sights import COLOURS, Sheet, look
from gpu_runner.solver.rules.terms import GoOn, Pairs, proof_of

from .search import Program, Searched, program_from_json, search

MOST_TRIED = 14_000
"""Steps tried in a search: two or three seconds."""

BASES = 5
"""Drawings that a tree looks at as a whole."""

OTHERS = 12
"""Drawings whose colours it may take over besides."""

MENDING = 5
"""Drawings besides these that are right where the others are not."""

MOST_LEAVES = 6

GROWN = 6
"""Trees for a base, each but the first over a part of the facts."""

MOST_EXACT = 8
"""Exact programs that vote, the cheapest."""

NEAR = 0.6
"""Of the demonstrated cells, from which on a program that draws so many is worth continuing."""

MOST_NEAR = 2

COUNTED = (1, 2, 3, 4)
"""Numbers of colours, objects and groups by which a tree may tell inputs apart."""

Part = Callable[[int, Sequence[str]], Mask | None]
"""The facts, of those with these names, that the n-th tree may use; None: all."""


@dataclass(frozen=True, slots=True)
class Composed:
    """What a program draws."""

    program: Program

    def answer(self, grid: Cells) -> Cells | None:
        return self.program.answer(grid)

    def to_json(self) -> Any:
        return ["program", self.program.to_json()]


STRETCHED, TILED = "stretched", "tiled"


@dataclass(frozen=True, slots=True)
class Layer:
    """A program whose drawing lies over another: as it is, or, where it is smaller, every cell of it grown to
    a block (stretched) or the whole of it repeated (tiled)."""

    program: Program
    fit: str = ""

    @property
    def name(self) -> str:
        return " ".join((*self.program.steps, self.fit)).rstrip()

    def over(self, grid: Cells, shape: tuple[int, ...]) -> Cells:
        """The cells that lie over a drawing of a grid with this shape; NONE where the sizes do not fit."""
        cells = self.program.answer(grid)
        if cells is not None and cells.shape == shape:
            return cells
        missing = np.full(shape, NONE, np.int64)
        if cells is None or not self.fit or shape[0] % cells.shape[0] or shape[1] % cells.shape[1]:
            return missing
        times = shape[0] // cells.shape[0], shape[1] // cells.shape[1]
        found: Cells = (
            np.tile(cells, times) if self.fit == TILED else cells.repeat(times[0], 0).repeat(times[1], 1)
        )
        return found

    def to_json(self) -> Any:
        steps = self.program.to_json()
        return [*steps, self.fit] if self.fit else steps


def layer_from_json(told: Any) -> Layer:
    """Raises ValueError."""
    if isinstance(told, list) and told and told[-1] in (STRETCHED, TILED):
        return Layer(program_from_json(told[:-1]), told[-1])
    return Layer(program_from_json(told))


@dataclass(frozen=True, slots=True)
class Recomposed:
    """A tree over what a program draws, which may take over colours from what others have drawn there."""

    base: Program
    others: tuple[Layer, ...]
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        sheet = sheet_of(grid, self.base, self.others)
        return None if sheet is None else trees.told(self.tree, sheet)

    def to_json(self) -> Any:
        return [
            "recomposed",
            self.base.to_json(),
            [other.to_json() for other in self.others],
            self.tree.to_json(),
        ]


def read(told: Any) -> Composed | Recomposed | None:
    """The rule that `to_json` told of; None where it is of another kind. Raises ValueError."""
    match told:
        case ["program", program]:
            return Composed(program_from_json(program))
        case ["recomposed", base, list(others), tree]:
            drawn = tuple(layer_from_json(other) for other in others)
            return Recomposed(program_from_json(base), drawn, trees.from_json(tree))
    return None


def sheet_of(grid: Cells, base: Program, others: Sequence[Layer]) -> Sheet | None:
    """The sights of the base's drawing, what is true of the whole input, by which a tree may choose between
    drawings, and, as sources, the drawings of the others; one that does not fit it says nothing."""
    drawn = base.answer(grid)
    if drawn is None:
        return None
    sheet = look(drawn)
    for other in others:
        sheet.source(other.name, other.over(grid, drawn.shape))
    for name, truth in _of_input(grid):
        sheet.fact(f"input {name}", np.full(drawn.shape, truth))
    return sheet


def _of_input(grid: Cells) -> Iterator[tuple[str, bool]]:
    """What is true of a whole grid."""
    filled = grid != background(grid)
    height, width = grid.shape
    for colour in range(1, COLOURS):
        yield f"has {colour}", bool((grid == colour).any())
    for name, by_colour in (("objects", True), ("groups", False)):
        found = len(components(grid, eight=True, by_colour=by_colour, within=filled)[0])
        for number in COUNTED:
            yield f"{name} = {number}", found == number
    colours = len(set(grid[filled].tolist()))
    for number in COUNTED:
        yield f"colours = {number}", colours == number
    yield "wider than tall", width > height
    yield "square", width == height
    yield "fuller above", bool(filled[: height // 2].sum() > filled[(height + 1) // 2 :].sum())
    yield "fuller on the left", bool(filled[:, : width // 2].sum() > filled[:, (width + 1) // 2 :].sum())
    yield "left-right alike", bool((grid == grid[:, ::-1]).all())
    yield "top-bottom alike", bool((grid == grid[::-1]).all())
    rim = np.concatenate([filled[0], filled[-1], filled[:, 0], filled[:, -1]])
    yield "filled at the border", bool(rim.any())


Drawing = Composed | Recomposed


@dataclass(frozen=True, slots=True)
class Composition:
    """rules: those that answer every demonstration, with the weights of their votes; near: where no program
    does, those that draw the right shapes and most of the cells, the best first."""

    rules: list[tuple[Drawing, float]]
    near: list[Program]


def composed(pairs: Pairs, tests: Sequence[Cells], go_on: GoOn, part: Part) -> Composition:
    targets = [target for _, target in pairs]
    found = search([*(source for source, _ in pairs), *tests], targets, go_on, MOST_TRIED)
    if found.exact:
        proof = proof_of(targets)
        cheapest = sorted(found.exact, key=lambda program: program.cost)[:MOST_EXACT]
        return Composition([(Composed(program), proof * _weight(program)) for program in cheapest], [])
    ranked = sorted(found.shaped, key=lambda one: (-one[1], one[0].cost))
    near = [program for program, right in ranked[:MOST_NEAR] if right >= NEAR]
    return Composition(list(_recomposed(pairs, found, go_on, part).values()), near)


def _weight(program: Program) -> float:
    return float(2.0 ** (2 - program.cost / 2))


def _recomposed(pairs: Pairs, found: Searched, go_on: GoOn, part: Part) -> dict[str, tuple[Drawing, float]]:
    ranked = [program for program, _ in sorted(found.shaped, key=lambda one: (-one[1], one[0].cost))]
    plain = sorted((program for program, _ in found.shaped), key=lambda program: program.cost)
    bases = list(dict.fromkeys([*ranked[: BASES - 2], *plain[: BASES - 1]]))[:BASES]
    targets = [target for _, target in pairs]
    wanted = np.concatenate([target.ravel() for target in targets])
    candidates = [Layer(program) for program in plain]
    candidates += [Layer(program, fit) for program in found.coarse for fit in (STRETCHED, TILED)]
    right = [_over_all(layer, pairs) == wanted for layer in candidates if go_on()]
    told: dict[str, tuple[Drawing, float]] = {}
    for base in bases:
        others = [Layer(one) for one in dict.fromkeys([*plain[: OTHERS // 2], *ranked]) if one != base]
        mending = _mending(right, _over_all(Layer(base), pairs) == wanted)
        others = list(dict.fromkeys([*others[:OTHERS], *(candidates[n] for n in mending)]))
        sheets = []
        for source, _ in pairs:
            sheet = sheet_of(source, base, others) if go_on() else None
            if sheet is None:
                return told
            sheets.append(sheet)
        table = trees.Table.of(sheets)
        learner = trees.Learner(table, wanted, most_leaves=MOST_LEAVES)
        for n in range(GROWN):
            facts = part(n, learner.names)
            tree = learner.grow(facts) if go_on() else None
            if tree is None:
                continue
            used = _sources(tree)
            kept = tuple(other for other in others if other.name in used)
            cost = base.cost + sum(other.program.cost for other in kept)
            weight = 2.0 ** (1 - trees.leaves(tree) - cost / 4)
            weight *= learner.proof(targets, facts)
            rule = Recomposed(base, kept, tree)
            text = json.dumps(rule.to_json())
            told[text] = (rule, weight + (told[text][1] if text in told else 0.0))
    return told


def _over_all(layer: Layer, pairs: Pairs) -> Cells:
    return np.concatenate([layer.over(source, target.shape).ravel() for source, target in pairs])


def _mending(right: Sequence[Mask], base: Mask) -> list[int]:
    """The numbers of drawings, each right in most of the cells in which the base and those before are not."""
    wrong, chosen = ~base, list[int]()
    while len(chosen) < MENDING and right:
        mended = [int((one & wrong).sum()) for one in right]
        best = int(np.argmax(mended))
        if not mended[best]:
            break
        chosen.append(best)
        wrong = wrong & ~right[best]
    return chosen


def _sources(tree: trees.Node) -> set[str]:
    """The names of sources that a tree mentions, in its leaves or its facts."""
    if isinstance(tree, trees.Leaf):
        return {tree.source}
    fact = tree.fact
    for tail in (" is own", " is there", *(f" is {colour}" for colour in range(10))):
        if fact.endswith(tail):
            fact = fact[: -len(tail)]
            break
    return {fact} | _sources(tree.true) | _sources(tree.false)

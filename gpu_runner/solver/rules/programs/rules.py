"""Explanations by programs: one that draws the output, or several whose drawings a tree chooses among.

A program that draws the right shape but not all cells is a sheet to look at: the tree sees the drawing, and
what the other programs of that shape have drawn there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.grids import NONE, Cells, Mask
from gpu_runner.solver.rules.sights import Sheet, look

from .search import Program, program_from_json, search

MOST_TRIED = 14_000
"""Steps tried in a search: two or three seconds."""

BASES = 5
"""Drawings that a tree looks at as a whole."""

OTHERS = 12
"""Drawings whose colours it may take over besides."""

MOST_LEAVES = 6

GROWN = 6
"""Trees for a base, each but the first over a part of the facts."""

PROVING = 12
"""Demonstrated cells below which an exact program proves less: of thousands some draw a few by chance."""

Pairs = Sequence[tuple[Cells, Cells]]
GoOn = Callable[[], bool]
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


@dataclass(frozen=True, slots=True)
class Recomposed:
    """A tree over what a program draws, which may take over colours from others' drawings of that shape."""

    base: Program
    others: tuple[Program, ...]
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
            drawn = tuple(program_from_json(other) for other in others)
            return Recomposed(program_from_json(base), drawn, trees.from_json(tree))
    return None


def sheet_of(grid: Cells, base: Program, others: Sequence[Program]) -> Sheet | None:
    """The sights of the base's drawing and, as sources, the drawings of the others; one of another
    shape says nothing."""
    drawn = base.answer(grid)
    if drawn is None:
        return None
    sheet = look(drawn)
    for other in others:
        cells = other.answer(grid)
        fits = cells is not None and cells.shape == drawn.shape
        sheet.source(
            " ".join(other.steps), cells if fits and cells is not None else np.full_like(drawn, NONE)
        )
    return sheet


Drawing = Composed | Recomposed


def composed(pairs: Pairs, tests: Sequence[Cells], go_on: GoOn, part: Part) -> list[tuple[Drawing, float]]:
    """Rules that answer every demonstration, with the weights of their votes."""
    targets = [target for _, target in pairs]
    found = search([*(source for source, _ in pairs), *tests], targets, go_on, MOST_TRIED)
    if found.exact:
        proof = proof_of(targets)
        return [(Composed(program), proof * _weight(program)) for program in found.exact[:8]]
    return list(_recomposed(pairs, found.shaped, go_on, part).values())


def proof_of(targets: Sequence[Cells]) -> float:
    """What a rule's exactness is worth: less than 1 where few cells are demonstrated."""
    return min(1.0, sum(target.size for target in targets) / PROVING)


def _weight(program: Program) -> float:
    return float(2.0 ** (2 - program.cost / 2))


def _recomposed(
    pairs: Pairs, shaped: Sequence[tuple[Program, float]], go_on: GoOn, part: Part
) -> dict[str, tuple[Drawing, float]]:
    ranked = [program for program, _ in sorted(shaped, key=lambda one: (-one[1], one[0].cost))]
    plain = [program for program, _ in shaped]
    bases = list(dict.fromkeys([*ranked[: BASES - 2], *plain[: BASES - 1]]))[:BASES]
    targets = [target for _, target in pairs]
    wanted = np.concatenate([target.ravel() for target in targets])
    found: dict[str, tuple[Drawing, float]] = {}
    for base in bases:
        others = [one for one in dict.fromkeys([*plain[: OTHERS // 2], *ranked]) if one != base][:OTHERS]
        sheets = []
        for source, _ in pairs:
            sheet = sheet_of(source, base, others) if go_on() else None
            if sheet is None:
                return found
            sheets.append(sheet)
        table = trees.Table.of(sheets)
        learner = trees.Learner(table, wanted, most_leaves=MOST_LEAVES)
        for n in range(GROWN):
            facts = part(n, learner.names)
            tree = learner.grow(facts) if go_on() else None
            if tree is None:
                continue
            used = _sources(tree)
            kept = tuple(other for other in others if " ".join(other.steps) in used)
            weight = 2.0 ** (1 - trees.leaves(tree) - sum(one.cost for one in (base, *kept)) / 4)
            weight *= learner.proof(targets, facts)
            rule = Recomposed(base, kept, tree)
            text = json.dumps(rule.to_json())
            found[text] = (rule, weight + (found[text][1] if text in found else 0.0))
    return found


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

"""Rules of simpler tasks, wrapped to be rules of the task.

    weighed = simplified(pairs, tests, rng, go_on, cut, draw)

Where input and output have one shape, trees are learned of each part, and drawings are looked for in the few
frames in which the demonstrations are most alike (trees alone explain nothing more there). For other shapes
trees and choices of a part are learned in many frames, of parts, and of parts in frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.facts import allowed
from gpu_runner.solver.rules.grids import Cells
from gpu_runner.solver.rules.kinds import Seen
from gpu_runner.solver.rules.sights import Sheet
from gpu_runner.solver.rules.terms import GoOn, Pairs, Rule, proof_of
from gpu_runner.solver.rules.views import PLAIN, View, same, views_for

from .simpler import Simpler, parted, recoloured, turned

Weighed = tuple[Rule, float]
Learn = Callable[[Pairs, Sequence[Cells]], Sequence[Weighed]]

FRAMES, BOTH, PARTS, FRAMES_OF_PARTS = 6, 2, 6, 1
"""Simpler tasks for trees: recoloured and as many turned; both, for so many colours and sides; of parts, and
each of these recoloured and turned."""

MOST_CELLS = 20_000
"""Cells of all simpler tasks at which trees look."""

TURNED, RECOLOURED, DRAWN_CELLS, LEAST_GAIN = 2, 1, 1000, 0.1
"""Simpler tasks in which drawings are looked for: how many, their cells at most, their gain at least. One
takes some seconds."""

GROWN, FIRST = 8, 5
"""Trees over a view, and after how many none is hoped for."""

MOST_LEAVES = 8

UNSURE, UNSURE_DRAWN = 0.3, 0.2
"""What the choice among some dozens of simpler tasks costs the weight of a tree, and of a drawing: found in
three of them, it is not yet sure."""

PROVED, UNPROVED = 2.0, 0.3
"""What it does to a tree's weight that each demonstration is, or is not, foretold by the others."""


def simplified(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn, cut: Learn, draw: Learn
) -> list[Weighed]:
    """The rules of this kind that answer all demonstrations and at least one test, with their weights.
    cut: learns choices of a part; draw: looks for drawings."""
    task = Simpler(pairs, tests, range(len(pairs)), lambda rule: rule)
    found: list[Weighed] = []
    some = _parts(task) if _same_shapes(task) else _many(task)
    cells = 0
    for simpler in some if go_on() else ():
        cells += simpler.cells
        if go_on() and cells <= MOST_CELLS:
            found += _wrapped(simpler, _seen(simpler, rng, go_on, cut), task, UNSURE)
    for simpler in _promising(task) if _same_shapes(task) and go_on() else ():
        if go_on():
            found += _wrapped(simpler, draw(simpler.pairs, simpler.tests), task, UNSURE_DRAWN)
    return found


def _same_shapes(task: Simpler) -> bool:
    return all(source.shape == target.shape for source, target in task.pairs)


def _parts(task: Simpler) -> list[Simpler]:
    return list(parted(task))[:PARTS]


def _promising(task: Simpler) -> Iterator[Simpler]:
    """The few that are worth the seconds that drawings take."""
    for one in (*turned(task)[:TURNED], *recoloured(task)[:RECOLOURED]):
        if one.gain > LEAST_GAIN and one.cells <= DRAWN_CELLS:
            yield one


def _many(task: Simpler) -> Iterator[Simpler]:
    """Those at which trees look, the most promising of each kind first."""
    colours, parts = recoloured(task), _parts(task)
    yield from turned(task)[:FRAMES]
    yield from colours[:FRAMES]
    yield from parts
    for one in colours[:BOTH]:
        yield from turned(one)[:BOTH]
    for one in parts:
        yield from recoloured(one)[:FRAMES_OF_PARTS]
        yield from turned(one)[:FRAMES_OF_PARTS]


def _wrapped(one: Simpler, rules: Sequence[Weighed], task: Simpler, unsure: float) -> Iterator[Weighed]:
    for rule, weight in rules:
        whole = one.wrap(rule)
        if any(whole.answer(test) is not None for test in task.tests) and all(
            _same(whole.answer(source), target) for source, target in task.pairs
        ):
            yield whole, unsure * weight


def _same(told: Cells | None, target: Cells) -> bool:
    return told is not None and np.array_equal(told, target)


def _seen(one: Simpler, rng: np.random.Generator, go_on: GoOn, cut: Learn) -> list[Weighed]:
    """Trees over what a cell sees; where outputs have other shapes, choices of a part and all views."""
    if _same_shapes(one):
        return _forest(same(PLAIN), one, rng, go_on)
    found = list(cut(one.pairs, one.tests))
    for view in views_for(one.pairs):
        found += _forest(view, one, rng, go_on)
    return found


def _forest(view: View, one: Simpler, rng: np.random.Generator, go_on: GoOn) -> list[Weighed]:
    sheets: list[Sheet] = []
    for source, target in one.pairs:
        sheet = view.sheet(source) if go_on() else None
        if sheet is None or sheet.shape != target.shape:
            return []
        sheets.append(sheet)
    if len({(*sheet.sources, *sheet.facts) for sheet in sheets}) > 1:
        return []
    table = trees.Table.of(sheets)
    wanted = np.concatenate([target.ravel() for _, target in one.pairs])
    learner = trees.Learner(table, wanted, most_leaves=MOST_LEAVES)
    found: dict[trees.Node, float] = {}
    for n in range(GROWN):
        tree = learner.grow(allowed(n, learner.names, rng)) if n < FIRST or found else None
        if tree is not None:
            found[tree] = found.get(tree, 0.0) + 2.0 ** -trees.leaves(tree)
    if not found:
        return []
    proof = _proof(table, wanted, sheets, one) * proof_of([target for _, target in one.pairs])
    return [(Seen(view, tree), proof * weight) for tree, weight in found.items()]


def _proof(table: trees.Table, wanted: Cells, sheets: Sequence[Sheet], one: Simpler) -> float:
    """Whether the tree over all demonstrations but one draws that one too, whichever is left out."""
    if len(set(one.groups)) < 3:
        return 1.0
    group = np.repeat(one.groups, [target.size for _, target in one.pairs])
    for left in sorted(set(one.groups)):
        keep = group != left
        rest = trees.Table(table.facts[keep], table.sources[keep], table.fact_names, table.source_names)
        tree = trees.Learner(rest, wanted[keep], most_leaves=MOST_LEAVES).grow()
        if tree is None or not all(
            _same(trees.told(tree, sheet), target)
            for number, sheet, (_, target) in zip(one.groups, sheets, one.pairs, strict=True)
            if number == left
        ):
            return UNPROVED
    return PROVED

"""Rules of simpler tasks, wrapped to be rules of the task.

    weighed = simplified(pairs, tests, rng, go_on, cut, deeper)

Trees are learned in every frame, of every kind of part, and of parts in frames; where they explain nothing,
the few simpler tasks whose pairs are most alike are asked for drawings and acts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.facts import allowed
from gpu_runner.solver.rules.grids import Cells
from gpu_runner.solver.rules.kinds import Seen
from gpu_runner.solver.rules.sights import Sheet
from gpu_runner.solver.rules.views import PLAIN, View, same, views_for

from .simpler import Pairs, Simpler, parted, recoloured, turned
from .wrapped import Inner

GoOn = Callable[[], bool]
Weighed = tuple[Inner, float]
Learn = Callable[[Pairs, Sequence[Cells]], Sequence[Weighed]]

FRAMES, BOTH, PARTS, FRAMES_OF_PARTS = 6, 2, 6, 1
"""Simpler tasks for trees: recoloured and as many turned; both, for so many colours and sides; of parts, and
each of these recoloured and turned."""

MOST_CELLS = 20_000
"""Cells of all simpler tasks at which trees look."""

DEEPER, DEEPER_CELLS, LEAST_GAIN = 2, 1000, 0.1
"""Turned tasks that are asked for drawings, their cells and their gain."""

GROWN, FIRST = 8, 5
"""Trees over a view, and after how many none is hoped for."""

MOST_LEAVES = 8

UNSURE = 0.3
"""What the choice among some dozens of simpler tasks costs a rule's weight."""

PROVED, UNPROVED = 2.0, 0.3
"""What it does to a tree's weight that each demonstration is, or is not, foretold by the others."""


def simplified(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn, cut: Learn, deeper: Learn
) -> list[Weighed]:
    """The rules of this kind that answer all demonstrations and at least one test, with their weights.
    cut: choices of a part; deeper: drawings and acts."""
    task = Simpler(pairs, tests, range(len(pairs)), lambda rule: rule)
    if all(source.shape == target.shape for source, target in pairs):
        return [one for simpler in _promising(task) for one in _asked(simpler, task, go_on, deeper)]
    found: list[Weighed] = []
    cells = 0
    for simpler in _many(task):
        cells += simpler.cells
        if go_on() and cells <= MOST_CELLS:
            found += _wrapped(simpler, _seen(simpler, rng, go_on, cut), task)
    return found


def _promising(task: Simpler) -> Iterator[Simpler]:
    """The few that are worth the seconds that drawings take."""
    sides, colours = turned(task), recoloured(task)
    both = [two for one in colours[:1] for two in turned(one)[:1]]
    for one in (*sides[:DEEPER], *colours[:1], *both):
        if one.gain > LEAST_GAIN and one.cells <= DEEPER_CELLS:
            yield one
    yield from [one for one in parted(task) if one.cells <= DEEPER_CELLS][:DEEPER]


def _asked(simpler: Simpler, task: Simpler, go_on: GoOn, learn: Learn) -> Iterator[Weighed]:
    if go_on():
        yield from _wrapped(simpler, learn(simpler.pairs, simpler.tests), task)


def _many(task: Simpler) -> Iterator[Simpler]:
    """Those at which trees look, the most promising of each kind first."""
    colours, parts = recoloured(task), list(parted(task))[:PARTS]
    yield from turned(task)[:FRAMES]
    yield from colours[:FRAMES]
    yield from parts
    for one in colours[:BOTH]:
        yield from turned(one)[:BOTH]
    for one in parts:
        yield from recoloured(one)[:FRAMES_OF_PARTS]
        yield from turned(one)[:FRAMES_OF_PARTS]


def _wrapped(one: Simpler, rules: Sequence[Weighed], task: Simpler) -> Iterator[Weighed]:
    for rule, weight in rules:
        whole = one.wrap(rule)
        if any(whole.answer(test) is not None for test in task.tests) and all(
            _same(whole.answer(source), target) for source, target in task.pairs
        ):
            yield whole, UNSURE * weight


def _same(told: Cells | None, target: Cells) -> bool:
    return told is not None and np.array_equal(told, target)


def _seen(one: Simpler, rng: np.random.Generator, go_on: GoOn, cut: Learn) -> list[Weighed]:
    """Trees over what a cell sees; where outputs have other shapes, choices of a part and all views."""
    if all(source.shape == target.shape for source, target in one.pairs):
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
    proof = _proof(table, wanted, sheets, one)
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

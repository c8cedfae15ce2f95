"""Explain a task by small rules, and let the rules vote.

    explanations = explain(pairs, tests, rng, go_on)

Every explanation answers all demonstrations exactly. Many are tried (trees over different facts, seen from
eight sides, choices of a part, mosaics), for what one of them overlooks another sees; a vote counts as much
as its rule is short (minimum description length: each further leaf halves it), as it foretells each
demonstration from the others, and as its answer keeps what all demonstrations have in common.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from . import trees
from .agreeing import agreed
from .arranging import arranged
from .before import CHANGES
from .canvas import canvases
from .drawing.growing import repetitions
from .drawing.rules import drawings
from .drawing.sweeping import sweeps
from .facts import allowed
from .grids import Cells, turned
from .hosting import hosted
from .kinds import After, Again, Continued, Cut, Seen, Uncovered
from .mosaics import mosaics
from .normal.rules import simplified
from .objects.rules import acted
from .picking import picked
from .plausible import Invariants
from .programs.rules import composed
from .programs.search import Program
from .selecting import Choice, choices
from .sights import Sheet, look, second_look
from .terms import GoOn, Pairs, Rule, proof_of
from .views import PICTURED, PLAIN, View, same, views_for

GROWN = 12
"""Trees tried for a view, each but the first over a random part of the facts."""

SIDES = 8
MOST_CELLS = 1800
"""Demonstrated cells up to which a task is also learned from all eight sides at once."""

ENOUGH = 1.0
"""Weight of what fills a canvas below which programs are looked for, where outputs have other shapes."""

SIZED = 0.3
"""What the choice of a canvas's size costs a rule's weight, so that none is sure alone."""

CONTINUING = 4
"""Bits of a program that cost the rules which draw on one."""

LATER = 0.25
"""What a change before costs a rule's weight: there are a dozen to choose from."""

KEPT = 24
"""Explanations that vote, the weightiest."""

ROUGH = (2, 3, 4, 6)
"""Leaves of the rough trees that a second look starts from."""

MOST_CHOICES = 12
"""Choices of a part for which a tree is grown."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A rule that answers every demonstration, and the weight of its vote."""

    rule: Rule
    weight: float


def explain(pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn) -> list[Explanation]:
    """The weightiest explanations that answer at least one test, best first; those found until `go_on()` says
    no, or until what is believed agrees."""
    hearing = Hearing(tests, Invariants(pairs))
    for found in _stages(pairs, tests, rng, go_on):
        hearing.hear(found)
        if not go_on() or hearing.settled():
            break
    return sorted(hearing.believed, key=lambda one: -one.weight)[:KEPT]


def _stages(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn
) -> Iterator[list[Explanation]]:
    """What each kind of rule explains, the quickest kinds first. Nobody looks for those not asked for."""
    reshaped = any(source.shape != target.shape for source, target in pairs)
    uncovered = [Explanation(Uncovered(mosaic), 4.0) for mosaic in mosaics(pairs)]
    yield uncovered + _explained(pairs, tests, rng, go_on)
    if reshaped:
        yield _weighed(picked(pairs, tests, go_on))
        yield _weighed(arranged(pairs, tests, go_on))
        yield _weighed(hosted(pairs, tests, rng, go_on, allowed))
    grown = repetitions(pairs, rng, go_on, allowed)
    yield _weighed([*grown, *drawings(pairs, tests, rng, go_on, allowed)])
    yield _weighed(sweeps(pairs, tests, rng, go_on, allowed))
    yield _weighed(acted(pairs, tests, rng, go_on, allowed))
    yield _after_changes(pairs, tests, rng, go_on)
    if reshaped:
        yield _drawn(pairs, tests, rng, go_on)
    yield _simplified(pairs, tests, rng, go_on)
    yield _looked_again(pairs, tests, rng, go_on)


class Hearing:
    """The explanations that answer at least one test, each believed as much as its least plausible answer
    allows."""

    def __init__(self, tests: Sequence[Cells], invariants: Invariants) -> None:
        self._tests, self._invariants = tests, invariants
        self.believed: list[Explanation] = []

    def hear(self, found: Iterable[Explanation]) -> None:
        for one in found:
            told = [(test, one.rule.answer(test)) for test in self._tests]
            trust = [self._invariants.trust(test, answer) for test, answer in told if answer is not None]
            if trust and min(trust) > 0:
                self.believed.append(Explanation(one.rule, one.weight * min(trust)))

    def settled(self) -> bool:
        return agreed([(one.rule, one.weight) for one in self.believed], self._tests)


def _weighed(found: Iterable[tuple[Rule, float]]) -> list[Explanation]:
    return [Explanation(rule, weight) for rule, weight in found]


def _simplified(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn
) -> list[Explanation]:
    """Rules of simpler tasks: turned, recoloured, part by part."""

    def cut(pairs: Pairs, tests: Sequence[Cells]) -> list[tuple[Rule, float]]:
        return [(one.rule, one.weight) for one in _chosen(pairs, tests, go_on)]

    def draw(pairs: Pairs, tests: Sequence[Cells]) -> list[tuple[Rule, float]]:
        return [*drawings(pairs, tests, rng, go_on, allowed)]

    return _weighed(simplified(pairs, tests, rng, go_on, cut, draw))


def _drawn(pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn) -> list[Explanation]:
    """Where outputs have other shapes: on a canvas whose sides follow from numbers, and by programs."""
    found: list[Explanation] = []
    for n, view in enumerate(canvases(pairs, tests) if go_on() else ()):
        sized = _grown(view, pairs, tests, rng, go_on)
        found += [Explanation(one.rule, SIZED * 0.5**n * one.weight) for one in sized]
    if sum(one.weight for one in found) < ENOUGH:
        drawn = composed(pairs, tests, go_on, lambda n, names: allowed(n, names, rng))
        found += _weighed(drawn.rules)
        if not agreed([(one.rule, one.weight) for one in found], tests):
            for program in drawn.near:
                found += _continued(program, pairs, tests, rng, go_on)
    return found


def _continued(
    program: Program, pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn
) -> list[Explanation]:
    """What a program has drawn in the right shapes, drawn on."""
    grids = [program.answer(grid) for grid in (*(source for source, _ in pairs), *tests)]
    known = [grid for grid in grids if grid is not None]
    if len(known) < len(grids):
        return []
    new = [(grid, target) for grid, (_, target) in zip(known, pairs, strict=False)]
    asked = known[len(pairs) :]
    found = _grown(same(PICTURED), new, asked, rng, go_on)
    if go_on():
        found += [Explanation(rule, weight) for rule, weight in drawings(new, asked, rng, go_on, allowed)]
        found += [Explanation(rule, weight) for rule, weight in acted(new, asked, rng, go_on, allowed)]
    cost = 2.0 ** -(program.cost / CONTINUING)
    return [Explanation(Continued(program, one.rule), cost * one.weight) for one in found]


def _explained(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn
) -> list[Explanation]:
    found = _chosen(pairs, tests, go_on) if go_on() else []
    for view in views_for(pairs):
        if go_on():
            found += _grown(view, pairs, tests, rng, go_on)
    return found


def _after_changes(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn
) -> list[Explanation]:
    """Explanations of the demonstrations with changed inputs, where the change does something to each."""
    found: list[Explanation] = []
    for name, change in CHANGES.items():
        if not go_on():
            break
        changed = [change(source) for source, _ in pairs]
        asked = [change(test) for test in tests]
        new = [
            (source, target)
            for source, (before, target) in zip(changed, pairs, strict=True)
            if source is not None and not np.array_equal(source, before)
        ]
        known = [test for test in asked if test is not None]
        if len(new) < len(pairs) or len(known) < len(tests):
            continue
        found += [
            Explanation(After(name, one.rule), one.weight * LATER)
            for one in _explained(new, known, rng, go_on)
            if isinstance(one.rule, Seen | Cut)
        ]
    return found


def _chosen(pairs: Pairs, tests: Sequence[Cells], go_on: GoOn) -> list[Explanation]:
    if all(source.shape == target.shape for source, target in pairs):
        return []
    grids, wanted = [source for source, _ in pairs], [target for _, target in pairs]
    found = []
    copied = choices(grids, lambda n, part: np.array_equal(part, wanted[n]), go_on)
    for n, choice in enumerate(copied):
        found.append(Explanation(Cut(choice, None), _weight_of(choice, n)))
    if found:
        return found
    tried: set[bytes] = set()
    for n, choice in enumerate(choices(grids, lambda n, part: part.shape == wanted[n].shape, go_on)):
        cuts = [choice.cut(grid) for grid in [*grids, *tests]]
        key = b"".join(b"-" if cut is None else cut.tobytes() + bytes(cut.shape) for cut in cuts)
        if key in tried:
            continue
        tried.add(key)
        if len(tried) > MOST_CHOICES or not go_on():
            break
        sheets = [look(cut, place=False) for cut in cuts[: len(grids)] if cut is not None]
        learner = trees.Learner(trees.Table.of(sheets), _flat(wanted), most_leaves=6)
        tree = learner.grow()
        if tree is not None:
            weight = _weight_of(choice, n) * 2.0 ** -trees.leaves(tree) * learner.proof(wanted)
            found.append(Explanation(Cut(choice, tree), weight))
    return found


def _weight_of(choice: Choice, before: int) -> float:
    """Choices come plainest first; one by a trait's value is bound to numbers that a test need not have."""
    return (0.5 if choice.how == "is" else 1.0) * 0.97**before


def _grown(
    view: View, pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn
) -> list[Explanation]:
    """Trees over a view: as it is, and learned from eight sides at once: that asks more and proves more."""
    found: dict[str, Explanation] = {}
    targets = [target for _, target in pairs]
    plain = view.name not in ("summary", "canvas") and (view.name != "same" or view.numbers[0] == PLAIN)
    sided = plain and view.name == "same" and sum(s.size for s, _ in pairs) <= MOST_CELLS
    for sides in (1, SIDES) if sided else (1,):
        seen = [(turned(s, n), turned(t, n)) for s, t in pairs for n in range(sides)]
        sheets = _sheets(view, seen, tests, go_on)
        if sheets is None or not go_on():
            continue
        learner = trees.Learner(trees.Table.of(sheets), _flat([target for _, target in seen]))
        for n in range(GROWN if sides == 1 else GROWN // 2):
            if not go_on():
                break
            part = allowed(n, learner.names, rng)
            tree = learner.grow(part)
            if tree is None:
                continue
            weight = 2.0 ** -trees.leaves(tree) * (4.0 if sides > 1 else 1.0)
            weight *= (1.0 if plain else 0.5) * learner.proof(targets, part) * proof_of(targets)
            text = json.dumps(tree.to_json())
            if text in found:
                weight += found[text].weight
            found[text] = Explanation(Seen(view, tree), weight)
    return list(found.values())


def _looked_again(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn
) -> list[Explanation]:
    """Where no tree explains the demonstrations: rough ones, and trees over what those make of the grids."""
    if any(source.shape != target.shape for source, target in pairs):
        return []
    found: dict[str, Explanation] = {}
    for kind in (PLAIN, PICTURED):
        view = same(kind)
        sheets = _sheets(view, pairs, tests, go_on)
        if sheets is None:
            break
        targets = [target for _, target in pairs]
        wanted = _flat(targets)
        learner = trees.Learner(trees.Table.of(sheets), wanted)
        known: set[str] = set()
        for leaves in ROUGH:
            rough = learner.sketch(leaves)
            text = json.dumps(rough.to_json())
            if text in known or not go_on():
                continue
            known.add(text)
            middles = [trees.answer(rough, sheet) for sheet in sheets]
            looks = [
                second_look(source, middle)
                for (source, _), middle in zip(pairs, middles, strict=True)
                if middle is not None and go_on()
            ]
            if len(looks) < len(pairs):
                continue
            again = trees.Learner(trees.Table.of(looks), wanted)
            for n in range(GROWN // 2):
                part = allowed(n, again.names, rng)
                tree = again.grow(part) if go_on() else None
                if tree is None:
                    continue
                rule = Again(Seen(view, rough), tree)
                weight = 0.5 * 2.0 ** -(trees.leaves(rough) + trees.leaves(tree))
                weight *= again.proof(targets, part)
                key = json.dumps(rule.to_json())
                found[key] = Explanation(rule, weight + (found[key].weight if key in found else 0.0))
    return list(found.values())


def _sheets(view: View, pairs: Pairs, tests: Sequence[Cells], go_on: GoOn) -> list[Sheet] | None:
    """The sheets of the demonstrations; None where the shapes do not fit, a test has other sights, or there
    is no time left: a sheet of 30×30 cells takes tenths of a second."""
    seen = []
    for grid in [*(source for source, _ in pairs), *tests]:
        if not go_on():
            return None
        seen.append(view.sheet(grid))
    sheets, asked = seen[: len(pairs)], seen[len(pairs) :]
    names: set[tuple[str, ...]] = set()
    for sheet in [*sheets, *asked]:
        if sheet is None:
            return None
        names.add((*sheet.sources, *sheet.facts))
    if len(names) > 1:
        return None
    known = [sheet for sheet in sheets if sheet is not None]
    if any(sheet.shape != target.shape for sheet, (_, target) in zip(known, pairs, strict=True)):
        return None
    return known


def _flat(grids: Sequence[Cells]) -> Cells:
    return np.concatenate([grid.ravel() for grid in grids])

"""Rules of objects, read off the demonstrations: a few acts, and a tree that says which object does which.

    weighed = acted(pairs, tests, rng, go_on, allowed)

Of every act it is known which objects may have done it: whatever it draws is in the output. Acts that
together draw all that changes are taken, each the best beside those before; an object that draws nothing by
them stays. A tree over the objects' traits has to tell them apart, and every output has to come out exactly.
Where that explains nothing, an object may do several acts, each under its own way to part (`covering`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.grids import Cells, Mask
from gpu_runner.solver.rules.sights import Sheet, second_look
from gpu_runner.solver.rules.terms import Allowed, GoOn, Pairs

from .acts import ACTS
from .covering import Choice, Ruled, covering, without
from .parting import WAYS_OF_PARTING
from .picturing import Everyone, Pictured, drawing, pictures_of
from .stroke import Drawing, painted
from .things import SHADES, Things, alike, things_of
from .traits import facts_of
from .watching import Watched

MOST_LEAVES = 5

GROWN = 6
"""Trees that are tried over one choice of acts."""

OVER_CELLS = 8
"""Trees that are tried over the cells of what acts have drawn."""

RETOUCHED = 4
"""Choices of acts that explain a part, after which a tree takes a second look."""

UNSURE = 0.3
"""What the choice among some thousand acts costs a rule's weight."""

PROVED, UNPROVED = 2.0, 0.5
"""What it does to a rule's weight that each demonstration is, or is not, foretold by the others."""

DIGITS = tuple("0123456789")


@dataclass(frozen=True, slots=True)
class Acted:
    """Objects under one way to part a grid; the tree's leaves are acts, "name" or "name|colour"."""

    parting: str
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        strokes = self.strokes(grid)
        return None if strokes is None else painted(grid, strokes)

    def strokes(self, grid: Cells) -> list[Drawing] | None:
        """What the objects draw; None where one cannot, or there are none."""
        things = things_of(grid, self.parting)
        if things is None:
            return None
        facts = facts_of(things, self.parting)
        told = [_leaf_of(self.tree, facts, n) for n in range(len(things))]
        return None if None in told else drawings(things, [name for name in told if name is not None])

    def to_json(self) -> Any:
        return ["acted", self.parting, self.tree.to_json()]


@dataclass(frozen=True, slots=True)
class Together:
    """Rules of objects that all look at the same grid, each under its own way to part it."""

    rules: tuple[Acted, ...]

    def answer(self, grid: Cells) -> Cells | None:
        told = [rule.strokes(grid) for rule in self.rules]
        return (
            painted(grid, [one for some in told if some is not None for one in some])
            if None not in told
            else None
        )

    def to_json(self) -> Any:
        return ["together", *(rule.to_json() for rule in self.rules)]


@dataclass(frozen=True, slots=True)
class Retouched:
    """A tree over what a cell sees once objects have done their acts."""

    first: Together
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        rough = self.first.answer(grid)
        return None if rough is None else trees.told(self.tree, _second_look(grid, rough))

    def to_json(self) -> Any:
        return ["retouched", self.first.to_json(), self.tree.to_json()]


def _second_look(grid: Cells, rough: Cells) -> Sheet:
    return _kept_look(grid.tobytes(), rough.tobytes(), grid.shape)


@lru_cache(maxsize=8)
def _kept_look(cells: bytes, rough: bytes, shape: tuple[int, ...]) -> Sheet:
    """Several trees look at the same sheet of a test, and one takes tenths of a second."""
    before, after = (np.frombuffer(one, np.int64).reshape(shape) for one in (cells, rough))
    return second_look(before, after)


ObjectRule = Acted | Together | Pictured | Retouched


def acted_from_json(told: Any) -> ObjectRule:
    """Raises ValueError on what no rule of objects wrote."""
    match told:
        case ["acted", str(parting), tree] if parting in WAYS_OF_PARTING:
            rule = Acted(parting, trees.from_json(tree))
            for name in _leaves(rule.tree):
                _check(name)
            return rule
        case ["retouched", first, tree]:
            joined = acted_from_json(first)
            if isinstance(joined, Together):
                return Retouched(joined, trees.from_json(tree))
        case ["pictured", [*acts], tree]:
            return Pictured(tuple(_everyone_from_json(one) for one in acts), trees.from_json(tree))
        case ["together", _, *_]:
            rules = [acted_from_json(one) for one in told[1:]]
            single = tuple(one for one in rules if isinstance(one, Acted))
            if len(single) == len(rules):
                return Together(single)
    raise ValueError(f"no rule of objects: {told!r}"[:80])


def _everyone_from_json(told: Any) -> Everyone:
    match told:
        case [str(parting), str(name)] if parting in WAYS_OF_PARTING:
            _check(name)
            return parting, name
    raise ValueError(f"no rule of objects: {told!r}"[:80])


def _check(name: str) -> None:
    act, _, shade = name.partition("|")
    if act not in ACTS or (shade and shade not in SHADES and shade not in DIGITS):
        raise ValueError(f"no object does {name!r}")


def _leaves(node: trees.Node) -> list[str]:
    return [node.source] if isinstance(node, trees.Leaf) else _leaves(node.true) + _leaves(node.false)


def _leaf_of(node: trees.Node, facts: dict[str, Mask], n: int) -> str | None:
    while isinstance(node, trees.Split):
        if node.fact not in facts:
            return None
        node = node.true if facts[node.fact][n] else node.false
    return node.source


def drawings(things: Things, names: Sequence[str]) -> list[Drawing] | None:
    """What each object draws by its act; None where one cannot."""
    found: list[Drawing] = []
    for n, name in enumerate(names):
        drawn = drawing(things, n, name)
        if drawn is None:
            return None
        found.append(drawn)
    return found


def drawn_by(things: Things, names: Sequence[str]) -> Cells | None:
    """The grid after each object has done its act; None where one cannot."""
    drawn = drawings(things, names)
    return None if drawn is None else painted(things.grid, drawn)


def acted(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> list[tuple[ObjectRule, float]]:
    """The rules of this kind that answer all demonstrations and at least one test, with their weights."""
    if any(source.shape != target.shape for source, target in pairs):
        return []
    found: dict[ObjectRule, float] = {}
    seen: list[Watched] = []
    parted: list[list[Things]] = []
    for parting in WAYS_OF_PARTING:
        things = [things_of(source, parting) for source, _ in pairs]
        known = [one for one in things if one is not None]
        if len(known) < len(pairs) or not go_on():
            continue
        if any(alike(known, others) for others in parted):
            continue
        parted.append(known)
        watched = Watched(pairs, known, parting, go_on)
        seen.append(watched)
        for chosen in watched.choices():
            for rule, weight in _grown(watched, chosen, parting, pairs, rng, go_on, allowed):
                found[rule] = max(found.get(rule, 0.0), weight)
    if not found:
        whole, partly = covering(seen, go_on)
        found |= _together(whole, pairs, go_on)
        if not found:
            found |= _pictured(seen, pairs, rng, go_on, allowed)
            found |= _retouched(partly[:RETOUCHED], pairs, rng, go_on, allowed)
    return [
        (rule, weight)
        for rule, weight in found.items()
        if any(rule.answer(test) is not None for test in tests)
    ]


def _grown(
    watched: Watched,
    chosen: Sequence[str],
    parting: str,
    pairs: Pairs,
    rng: np.random.Generator,
    go_on: GoOn,
    allowed: Allowed,
) -> list[tuple[Acted, float]]:
    """Trees over one choice of acts that draw every output."""
    table, wanted = watched.table(chosen, parting, range(len(pairs)))
    learner = trees.Learner(table, wanted, most_leaves=MOST_LEAVES)
    found: dict[Acted, float] = {}
    for n in range(GROWN):
        tree = learner.grow(allowed(n, learner.names, rng)) if go_on() else None
        if tree is None:
            continue
        rule = Acted(parting, tree)
        if rule in found or all(_same(rule, source, target) for source, target in pairs):
            found[rule] = UNSURE * 2.0 ** (1 - trees.leaves(tree))
    if found and len(pairs) > 2 and go_on():
        proof = PROVED if _foretold(watched, chosen, parting, pairs) else UNPROVED
        found = {rule: weight * proof for rule, weight in found.items()}
    return list(found.items())


def _foretold(watched: Watched, chosen: Sequence[str], parting: str, pairs: Pairs) -> bool:
    """Whether a tree over all demonstrations but one draws that one too, whichever is left out."""
    for left, (source, target) in enumerate(pairs):
        table, wanted = watched.table(chosen, parting, [n for n in range(len(pairs)) if n != left])
        tree = trees.Learner(table, wanted, most_leaves=MOST_LEAVES).grow()
        if tree is None or not _same(Acted(parting, tree), source, target):
            return False
    return True


def _together(choices: Sequence[Choice], pairs: Pairs, go_on: GoOn) -> dict[ObjectRule, float]:
    """Where no one act of each object explains the outputs: several acts of the same objects, or of objects
    under several ways to part the grid."""
    found: dict[ObjectRule, float] = {}
    for chosen in choices:
        if not go_on():
            break
        rule = _joined(chosen)
        if not all(_same(rule, source, target) for source, target in pairs):
            continue
        size = sum(len(one.condition) for one in chosen) + len(chosen) - 1
        found[rule] = UNSURE * 2.0**-size
        if len(pairs) > 2:
            others = [without(chosen, left) for left in range(len(pairs))]
            foretold = all(
                some is not None and _same(_joined(some), *pair)
                for some, pair in zip(others, pairs, strict=True)
            )
            found[rule] *= PROVED if foretold else UNPROVED
    return found


def _pictured(
    seen: Sequence[Watched], pairs: Pairs, rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> dict[ObjectRule, float]:
    """Where objects' traits do not tell who does what: trees over cells."""
    acts, sheets = pictures_of(pairs, seen, go_on)
    grown = _forest(sheets, pairs, rng, go_on, allowed) if acts else {}
    return {Pictured(acts, tree): weight for tree, weight in grown.items()}


def _retouched(
    choices: Sequence[Choice], pairs: Pairs, rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> dict[ObjectRule, float]:
    """Where acts explain but a part: trees over what a cell sees once they are done."""
    found: dict[ObjectRule, float] = {}
    for chosen in choices:
        first = _joined(chosen)
        sheets = []
        for source, _ in pairs:
            rough = first.answer(source) if go_on() else None
            if rough is not None:
                sheets.append(second_look(source, rough))
        if len(sheets) == len(pairs):
            for tree, weight in _forest(sheets, pairs, rng, go_on, allowed).items():
                found[Retouched(first, tree)] = weight * 0.5 ** len(chosen)
    return found


def _forest(
    sheets: Sequence[Sheet], pairs: Pairs, rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> dict[trees.Node, float]:
    targets = [target for _, target in pairs]
    learner = trees.Learner(trees.Table.of(sheets), np.concatenate([target.ravel() for target in targets]))
    found: dict[trees.Node, float] = {}
    for n in range(OVER_CELLS):
        part = allowed(n, learner.names, rng)
        tree = learner.grow(part) if go_on() else None
        if tree is not None:
            weight = UNSURE * 2.0 ** -trees.leaves(tree) * learner.proof(targets, part)
            found[tree] = found.get(tree, 0.0) + weight
    return found


def _joined(chosen: Sequence[Ruled]) -> Together:
    return Together(tuple(Acted(one.watched.parting, one.tree()) for one in chosen))


def _same(rule: ObjectRule, source: Cells, target: Cells) -> bool:
    told = rule.answer(source)
    return told is not None and np.array_equal(told, target)

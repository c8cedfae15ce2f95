"""The output is a part of the input, redrawn: which part, by one or two of its traits, and how redrawn.

Where `selecting` looks for parts that are the output, here a step or two may be taken after (trimmed, one
colour removed, only its colour told), and a part may be the most of those that share a trait. The search
meets in the middle: which steps make the output of any part at all, before it asks which part it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .grids import Box, Cells, Mask, background
from .programs.measures import holes
from .programs.pieces import Piece
from .programs.search import STEPS
from .selecting import FAMILIES, Family, Part, part_of
from .sights import COLOURS
from .terms import GoOn, Pairs, Rule, proof_of

R = TypeVar("R", bound=Rule)

LARGE = 10**6
"""More than any trait's number."""

Numbers = npt.NDArray[np.int64]

MOST_PARTS = 60
"""Of a grid, beyond which a family is left out."""

MOST_WAYS = 6
"""Ways to redraw that are followed in a family."""

DREAMT = 0.05
"""What a second trait costs: there are hundreds."""

MOST_DREAMT = 0.25
"""What all rules by two traits weigh at most."""

MOST_WEIGHT = 0.9
"""Of all choices with the same answers: none is sure alone."""

FIRST_STEPS = (
    "ground zero", "trimmed", "without empty lines", "only the main colour", "without the main colour",
    "only the rarest colour", "without the rarest colour", "inside", "holes filled", "squeezed", "shrunk",
    *(f"{verb} {colour}" for verb in ("only", "without") for colour in range(1, COLOURS)),
)  # fmt: skip
"""The steps that another one may follow."""

DRAWS = {name: known for name, known in STEPS.items() if known.kind == "draw"}


def _cornered(grid: Cells) -> list[Part]:
    """The largest boxes whose corners have one colour, without the ground's."""
    ground = background(grid)
    parts = []
    for colour in range(COLOURS):
        rows, columns = np.nonzero(grid == colour)
        if colour == ground or not 4 <= len(rows) <= 40:
            continue
        for top, left in zip(rows.tolist(), columns.tolist(), strict=True):
            for bottom in np.flatnonzero(grid[:, left] == colour).tolist():
                for right in np.flatnonzero(grid[top] == colour).tolist():
                    if bottom > top + 1 and right > left + 1 and grid[bottom, right] == colour:
                        box = (top, left, bottom + 1, right + 1)
                        parts.append(part_of(grid, box, ground, colour=colour))
            if len(parts) > MOST_PARTS:
                return []
    return parts


def _densest(grid: Cells) -> list[Part]:
    """For each colour the box with the most of it, a cell of another colour outweighing one of it: what
    stands out from noise."""
    parts = []
    for colour in np.unique(grid).tolist():
        box = _best_box(np.where(grid == colour, 1, -1))
        parts.append(part_of(grid, box, background(grid), colour=colour))
    return parts


def _best_box(worth: Cells) -> Box:
    """The box whose cells are worth most together: of the columns' sums between every two rows the best run
    (Kadane, as in Bentley, Programming Pearls 1984)."""
    height, width = worth.shape
    above = np.vstack([np.zeros((1, width), np.int64), worth.cumsum(0)])
    tops, bottoms = np.triu_indices(height + 1, 1)
    sums = np.zeros((len(tops), width + 1), np.int64)
    np.cumsum(above[bottoms] - above[tops], axis=1, out=sums[:, 1:])
    gains = sums[:, 1:] - np.minimum.accumulate(sums, axis=1)[:, :-1]
    best, right = divmod(int(gains.argmax()), width)
    left = int(sums[best, : right + 1].argmin())
    return int(tops[best]), left, int(bottoms[best]), right + 1


def _whole(grid: Cells) -> list[Part]:
    return [part_of(grid, (0, 0, *grid.shape), background(grid))]


PARTINGS: dict[str, Family] = {
    **FAMILIES,
    "between equal corners": _cornered,
    "whole": _whole,
    "densest boxes": _densest,
}


@dataclass(frozen=True, slots=True)
class Trait:
    """how: any (all parts), most, fewest, only (the number occurs once), is (it has `value`)."""

    how: str
    name: str = ""
    value: int = 0

    def holds(self, numbers: Numbers) -> Mask:
        """For each part, of those whose numbers of this trait are given."""
        found: Mask = np.ones(len(numbers), bool)
        if self.how == "most":
            found = numbers == numbers.max(initial=0)
        elif self.how == "fewest":
            found = numbers == numbers.min(initial=LARGE)
        elif self.how == "only":
            counts = Counter(numbers.tolist())
            found = np.array([counts[number] == 1 for number in numbers.tolist()], bool)
        elif self.how == "is":
            found = numbers == self.value
        return found

    def to_json(self) -> Any:
        return [self.how, self.name, self.value]


@dataclass(frozen=True, slots=True)
class Picked:
    """Of a family's parts those with the first trait, of these the one with the second, redrawn by steps."""

    family: str
    first: Trait
    second: Trait
    steps: tuple[str, ...]

    def answer(self, grid: Cells) -> Cells | None:
        known = listed_of(self.family, grid)
        left = known.everyone()
        for trait in (self.first, self.second):
            if trait.how != "any" and trait.name not in known.names:
                return None
            left = known.narrowed(left, trait)
        return known.redrawn(left, self.steps)

    def to_json(self) -> Any:
        return ["picked", self.family, self.first.to_json(), self.second.to_json(), list(self.steps)]


def picked_from_json(told: Sequence[Any]) -> Picked:
    """Raises ValueError on what no such rule wrote."""
    match told:
        case [str(family), [*first], [*second], [*steps]] if family in PARTINGS:
            if all(isinstance(step, str) and step in DRAWS for step in steps):
                return Picked(family, trait_from_json(first), trait_from_json(second), tuple(steps))
    raise ValueError("a rule picks no known part")


def trait_from_json(told: Sequence[Any]) -> Trait:
    """Raises ValueError."""
    match told:
        case ["any" | "most" | "fewest" | "only" | "is" as how, str(name), int(value)]:
            return Trait(how, name, value)
    raise ValueError("a rule knows no such trait")


def redrawn(cells: Cells, steps: Sequence[str]) -> Cells | None:
    """The cells of a part after some steps; None where one does not apply."""
    pieces: tuple[Piece, ...] | None = (Piece(cells),)
    for name in steps:
        pieces = DRAWS[name].step(pieces, cells) if pieces else None
    return pieces[0].cells if pieces else None


@dataclass(frozen=True, slots=True)
class Listed:
    """A grid's parts, and their numbers, parts × traits."""

    parts: tuple[Part, ...]
    names: tuple[str, ...]
    numbers: Numbers

    def everyone(self) -> Numbers:
        return np.arange(len(self.parts))

    def narrowed(self, left: Numbers, trait: Trait) -> Numbers:
        """Of these parts those with the trait, which is one of `names` or none."""
        column = self.numbers[left, self.names.index(trait.name)] if trait.name else left
        return left[trait.holds(column)]

    def redrawn(self, chosen: Numbers, steps: Sequence[str]) -> Cells | None:
        """What the steps make of these parts; None where of some they make nothing, or something else."""
        drawn = [redrawn(self.parts[n].cells, steps) for n in chosen.tolist()]
        if not drawn or drawn[0] is None:
            return None
        return drawn[0] if all(one is not None and np.array_equal(one, drawn[0]) for one in drawn) else None


def listed_of(family: str, grid: Cells) -> Listed:
    """The parts of a grid; none where there are too many."""
    return _listed(family, grid.tobytes(), grid.shape)


@lru_cache(maxsize=256)
def _listed(family: str, told: bytes, shape: tuple[int, int]) -> Listed:
    grid = np.frombuffer(told, np.int64).reshape(shape)
    parts = PARTINGS[family](grid)
    if not 0 < len(parts) <= MOST_PARTS:
        return Listed((), (), np.zeros((0, 0), np.int64))
    traits = [part.traits | more for part, more in zip(parts, _more(parts, grid), strict=True)]
    names = tuple(sorted(set.intersection(*(set(one) for one in traits))))
    return Listed(tuple(parts), names, np.array([[one[name] for name in names] for one in traits], np.int64))


def _more(parts: Sequence[Part], grid: Cells) -> Iterator[dict[str, int]]:
    """Traits besides those that `selecting` knows."""
    ground = background(grid)
    counts = np.bincount(grid.ravel(), minlength=COLOURS)
    counts[ground] = 0
    rarest = int(np.where(counts > 0, counts, grid.size + 1).argmin())
    turned = [_unturned(part.cells != ground) for part in parts]
    alike = Counter(turned)
    palettes = [frozenset(part.cells.ravel().tolist()) - {ground} for part in parts]
    same = Counter(palettes)
    for n, part in enumerate(parts):
        inside = part.cells != ground
        seen = np.sort(np.bincount(part.cells.ravel(), minlength=COLOURS))
        height, width = part.cells.shape
        yield {
            "holes": holes(inside),
            "cells of the second colour": int(seen[-2]),
            "rarest of the grid": int((part.cells == rarest).sum()),
            "shape occurs, turned": alike[turned[n]],
            "palette occurs": same[palettes[n]],
            "long": int(max(height, width)),
            "taller than wide": int(height > width),
            "sides": height + width,
            "middle filled": int(inside[height // 2, width // 2]),
        }


def _unturned(mask: Mask) -> tuple[bytes, int]:
    """The same for a shape however it is turned or mirrored."""
    sides = [np.rot90(m, k) for m in (mask, mask[:, ::-1]) for k in range(4)]
    return min((side.tobytes(), side.shape[0]) for side in sides)


def picked(pairs: Pairs, tests: Sequence[Cells], go_on: GoOn) -> list[tuple[Picked, float]]:
    """Rules that answer every demonstration, of those with the same answers to the tests one with the
    weights of all."""
    ways = _Ways(pairs)
    votes: dict[tuple[bytes, ...], list[tuple[float, Picked]]] = {}
    for place, family in enumerate(PARTINGS):
        listed = []
        for grid in (*(source for source, _ in pairs), *tests):
            if not go_on():
                return []
            listed.append(listed_of(family, grid))
        if any(not one.parts or one.names != listed[0].names for one in listed):
            continue
        for steps, hits in ways.of([one.parts for one in listed[: len(pairs)]], go_on):
            answers = _Answers(steps, listed[len(pairs) :])
            for rule, cost in _rules(family, steps, listed, hits):
                key = answers.of(rule)
                if any(key):
                    bits = sum(DRAWS[step].cost for step in steps)
                    votes.setdefault(key, []).append((cost * 0.95**place * 2.0 ** (-bits / 2), rule))
    return united([(found, _weight(found)) for found in votes.values()], pairs)


def answers_of(rule: Rule, tests: Sequence[Cells]) -> tuple[bytes, ...]:
    """The same for rules with the same answers; an empty one where a test has none."""
    return tuple(_told(rule.answer(test)) for test in tests)


def _told(cells: Cells | None) -> bytes:
    return b"" if cells is None else bytes(cells.shape) + cells.tobytes()


class _Answers:
    """`answers_of` for rules of one family with the same steps, by the tests' parts. There are thousands of
    them: most begin with a trait seen before, and pick parts picked before."""

    def __init__(self, steps: tuple[str, ...], listed: Sequence[Listed]) -> None:
        self.steps, self.listed = steps, listed
        self.left: dict[Trait, list[Numbers]] = {}
        self.told: list[dict[bytes, bytes]] = [{} for _ in listed]

    def of(self, rule: Picked) -> tuple[bytes, ...]:
        if rule.first not in self.left:
            self.left[rule.first] = [one.narrowed(one.everyone(), rule.first) for one in self.listed]
        lefts = zip(self.listed, self.left[rule.first], self.told, strict=True)
        return tuple(self._one(known, left, told, rule.second) for known, left, told in lefts)

    def _one(self, known: Listed, left: Numbers, told: dict[bytes, bytes], second: Trait) -> bytes:
        chosen = known.narrowed(left, second)
        key = chosen.tobytes()
        if key not in told:
            told[key] = _told(known.redrawn(chosen, self.steps))
        return told[key]


def united(alike: Iterable[tuple[Sequence[tuple[float, R]], float]], pairs: Pairs) -> list[tuple[R, float]]:
    """Of rules with the same answers, (weight, rule) of each and the weight of all, the best one, with as
    much of that weight as leaves none sure alone."""
    told = [(max(found, key=lambda one: one[0])[1], weight) for found, weight in alike]
    proof = proof_of([target for _, target in pairs])
    share = proof * MOST_WEIGHT / max(1.0, sum(weight for _, weight in told))
    return sorted(((rule, share * weight) for rule, weight in told), key=lambda one: -one[1])


def _weight(found: Sequence[tuple[float, Picked]]) -> float:
    """Of rules with the same answers. By two traits something can always be picked: however many such rules,
    they do not count more than a plain one does."""
    plain = sum(weight for weight, rule in found if rule.second.how == "any")
    return plain + min(MOST_DREAMT, sum(weight for weight, rule in found if rule.second.how != "any"))


class _Ways:
    """The ways to redraw parts so that they are the outputs. What is known of a part is kept, for families
    share many."""

    def __init__(self, pairs: Pairs) -> None:
        self.targets = [target for _, target in pairs]
        self.first = int(np.argmin([source.size for source, _ in pairs]))
        self.known: dict[bytes, list[tuple[str, ...]]] = {}

    def of(
        self, listed: Sequence[Sequence[Part]], go_on: GoOn
    ) -> Iterator[tuple[tuple[str, ...], list[Mask]]]:
        """(steps, for each demonstration which of its parts they make the output), the cheapest first."""
        found: dict[tuple[str, ...], None] = {}
        for part in listed[self.first]:
            if not go_on():
                return
            found |= dict.fromkeys(self._makes(part.cells))
        given = 0
        for steps in sorted(found, key=lambda names: sum(DRAWS[name].cost for name in names)):
            hits = []
            for parts, target in zip(listed, self.targets, strict=True):
                drawn = [redrawn(part.cells, steps) for part in parts]
                hits.append(np.array([one is not None and np.array_equal(one, target) for one in drawn]))
                if not hits[-1].any():
                    break
            else:
                yield steps, hits
                given += 1
                if given == MOST_WAYS:
                    return

    def _makes(self, cells: Cells) -> list[tuple[str, ...]]:
        """The steps that make the first output of these cells."""
        key = bytes(cells.shape) + cells.tobytes()
        if key not in self.known:
            self.known[key] = list(_ways(cells, self.targets[self.first]))
        return self.known[key]


def _ways(cells: Cells, target: Cells) -> Iterator[tuple[str, ...]]:
    if np.array_equal(cells, target):
        yield ()
    begun: dict[bytes, tuple[str, Cells]] = {}
    for name, known in DRAWS.items():
        if known.stays and cells.shape != target.shape and name not in FIRST_STEPS:
            continue
        drawn = redrawn(cells, (name,))
        if drawn is None or np.array_equal(drawn, cells):
            continue
        if np.array_equal(drawn, target):
            yield (name,)
        elif name in FIRST_STEPS:
            begun.setdefault(bytes(drawn.shape) + drawn.tobytes(), (name, drawn))
    wanted = set(target.ravel().tolist())
    for first, middle in begun.values():
        if not wanted - {0} <= set(middle.ravel().tolist()):
            continue
        for name, known in DRAWS.items():
            if name.startswith("in ") or (known.stays and middle.shape != target.shape):
                continue
            drawn = redrawn(middle, (name,))
            if drawn is not None and np.array_equal(drawn, target):
                yield first, name


def _rules(
    family: str, steps: tuple[str, ...], listed: Sequence[Listed], hits: Sequence[Mask]
) -> Iterator[tuple[Picked, float]]:
    """(rule, what its traits cost) of those that pick right parts in all demonstrations."""
    names = listed[0].names
    shown = [one.numbers for one in listed[: len(hits)]]
    everyone = Trait("any")
    for n, name in ((0, ""), *enumerate(names)):
        for first in _traits(name, shown, hits, n):
            kept = [first.holds(numbers[:, n]) for numbers in shown]
            if not all((mask & hit).any() for mask, hit in zip(kept, hits, strict=True)):
                continue
            if all(hit[mask].all() for mask, hit in zip(kept, hits, strict=True)):
                yield Picked(family, first, everyone, steps), 0.5 if first.how == "is" else 1.0
                continue
            if first.how == "any":  # one trait alone is the turn of the others
                continue
            for how in ("most", "fewest"):
                good = np.ones(len(names), bool)
                for numbers, mask, hit in zip(shown, kept, hits, strict=True):
                    left = numbers[mask]
                    best = left.max(0) if how == "most" else left.min(0)
                    good &= ~((left == best) & ~hit[mask][:, None]).any(0)
                for m in np.flatnonzero(good).tolist():
                    yield Picked(family, first, Trait(how, names[m]), steps), DREAMT


def _traits(name: str, shown: Sequence[Numbers], hits: Sequence[Mask], n: int) -> Iterator[Trait]:
    if not name:
        yield Trait("any")
        return
    if all(len(set(numbers[:, n].tolist())) == 1 for numbers in shown):
        return
    yield from (Trait(how, name) for how in ("most", "fewest", "only"))
    for value in sorted(set(shown[0][hits[0], n].tolist())):
        yield Trait("is", name, value)

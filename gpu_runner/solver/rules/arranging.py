"""The output is several parts of the input side by side: which, in which order, and how each is redrawn.

Histograms, colours listed by size, panels in a row: a family's parts (`picking`), those of them that share
a trait, sorted by another, each redrawn by at most one step, laid across or down, and the line perhaps
repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .grids import Cells, Mask
from .picking import (
    DRAWS,
    PARTINGS,
    Listed,
    Trait,
    answers_of,
    listed_of,
    redrawn,
    trait_from_json,
    united,
)
from .selecting import Part
from .terms import GoOn, Pairs
from .views import MAX_SIDE

WAYS: tuple[tuple[str, ...], ...] = (
    (), ("dot",), ("trimmed",), ("dot of the rarest",), ("bar of its cells",), ("column of its cells",),
    ("inside",), ("ground zero",), ("in the main colour",), ("transposed",), ("mirrored left-right",),
    ("mirrored top-bottom",), ("colours by frequency across",), ("colours by frequency down",),
    ("squeezed",), ("bar of its colours",), ("column of its colours",),
)  # fmt: skip
"""How parts are redrawn."""

MOST_PARTS = 24

SQUARE = 31
"""As a number of repetitions: as many as make the output square."""

FILTERED = 0.15
"""What it costs that not all parts are laid: there are dozens of traits to tell them by."""

SORTED = 0.3
"""What an order by a trait costs."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """Of a family's parts those with a trait, sorted by the numbers of another (none: as they are listed),
    redrawn and laid in a line. times: how often the line is repeated beside itself."""

    family: str
    kept: Trait
    order: str
    downwards: bool
    steps: tuple[str, ...]
    across: bool
    times: int

    def answer(self, grid: Cells) -> Cells | None:
        known = listed_of(self.family, grid)
        asked = [name for name in (self.kept.name, self.order) if name]
        if not known.parts or any(name not in known.names for name in asked):
            return None
        chosen = np.arange(len(known.parts))
        if self.kept.name:
            chosen = chosen[self.kept.holds(known.numbers[:, known.names.index(self.kept.name)])]
        if self.order:
            numbers = known.numbers[chosen, known.names.index(self.order)]
            chosen = chosen[np.argsort(-numbers if self.downwards else numbers, kind="stable")]
        drawn = _all_redrawn([known.parts[n] for n in chosen.tolist()], self.steps)
        line = None if drawn is None else laid(drawn, self.across)
        return None if line is None else repeated(line, self.across, self.times)

    def to_json(self) -> Any:
        order = [self.order, self.downwards]
        return [
            "arranged", self.family, self.kept.to_json(), order, list(self.steps), self.across, self.times,
        ]  # fmt: skip


def arranged_from_json(told: Sequence[Any]) -> Arranged:
    """Raises ValueError on what no such rule wrote."""
    match told:
        case [
            str(family), [*kept], [str(order), bool(down)], [*steps], bool(across), int(times)
        ] if family in PARTINGS and 1 <= times <= SQUARE:  # fmt: skip
            if all(isinstance(step, str) and step in DRAWS for step in steps):
                return Arranged(family, trait_from_json(kept), order, down, tuple(steps), across, times)
    raise ValueError("a rule arranges no known parts")


def laid(drawn: Sequence[Cells], across: bool) -> Cells | None:
    """Grids side by side (or below each other), empty where one is shorter than the others; None where
    there are none, or too many."""
    if not drawn:
        return None
    breadth = max(cells.shape[0 if across else 1] for cells in drawn)
    length = sum(cells.shape[1 if across else 0] for cells in drawn)
    if max(breadth, length) > MAX_SIDE:
        return None
    line = np.zeros((breadth, length) if across else (length, breadth), np.int64)
    at = 0
    for cells in drawn:
        height, width = cells.shape
        if across:
            line[:height, at : at + width] = cells
        else:
            line[at : at + height, :width] = cells
        at += width if across else height
    return line


def repeated(line: Cells, across: bool, times: int) -> Cells | None:
    """A row below itself (a column beside itself) so many times; None where it is no line, or too many."""
    if times == 1:
        return line
    breadth, length = line.shape if across else line.shape[::-1]
    if breadth != 1:
        return None
    found: Cells = line.repeat(length if times == SQUARE else times, 0 if across else 1)
    return found


def arranged(pairs: Pairs, tests: Sequence[Cells], go_on: GoOn) -> list[tuple[Arranged, float]]:
    """Rules that answer every demonstration; of those with the same answers to the tests one, with the
    weights of all."""
    targets = [target for _, target in pairs]
    votes: dict[tuple[bytes, ...], list[tuple[float, Arranged]]] = {}
    for place, family in enumerate(PARTINGS):
        if not go_on():
            break
        listed = [listed_of(family, grid) for grid in (*(source for source, _ in pairs), *tests)]
        if any(not one.parts or one.names != listed[0].names for one in listed):
            continue
        if max(len(one.parts) for one in listed) > MOST_PARTS:
            continue
        shown = listed[: len(pairs)]
        kept = _Kept.of(shown)
        for across in (True, False):
            for times, lines in _lines(targets, across):
                for rule, cost in _rules(family, shown, kept, lines, across, times):
                    key = answers_of(rule, tests)
                    if any(key):
                        votes.setdefault(key, []).append((cost * 0.95**place, rule))
    return united([(found, sum(weight for weight, _ in found)) for found in votes.values()], pairs)


def _lines(targets: Sequence[Cells], across: bool) -> Iterator[tuple[int, list[Cells]]]:
    """(repetitions, the lines that are repeated) that may have made the outputs."""
    yield 1, list(targets)
    axis = 0 if across else 1
    cut = [target.take([0], axis) for target in targets]
    if any(target.shape[axis] == 1 for target in targets) or not all(
        (target == line).all() for target, line in zip(targets, cut, strict=True)
    ):
        return
    times = {target.shape[axis] for target in targets}
    if len(times) == 1:
        yield times.pop(), cut
    if all(target.shape[0] == target.shape[1] for target in targets):
        yield SQUARE, cut


def _rules(
    family: str, listed: Sequence[Listed], kept: _Kept, lines: Sequence[Cells], across: bool, times: int
) -> Iterator[tuple[Arranged, float]]:
    axis = 1 if across else 0
    for steps in WAYS:
        drawn = []
        for one in listed:
            cells = _all_redrawn(one.parts, steps)
            if cells is None:
                break
            drawn.append(cells)
        if len(drawn) < len(listed):
            continue
        fit = np.ones(len(kept.traits), bool)
        for masks, parts, line in zip(kept.masks, drawn, lines, strict=True):
            fit &= masks @ np.array([cells.shape[axis] for cells in parts]) == line.shape[axis]
        cost = 2.0 ** (-sum(DRAWS[step].cost for step in steps) / 2) * (0.5 if times > 1 else 1.0)
        for n in np.flatnonzero(fit).tolist():
            price = cost * (FILTERED if kept.traits[n].name else 1.0)
            for order, down, dear in _orders(listed, drawn, [m[n] for m in kept.masks], lines, across):
                yield Arranged(family, kept.traits[n], order, down, steps, across, times), price * dear


def _all_redrawn(parts: Sequence[Part], steps: Sequence[str]) -> list[Cells] | None:
    drawn = [cells for part in parts if (cells := redrawn(part.cells, steps)) is not None]
    return drawn if len(drawn) == len(parts) else None


@dataclass(frozen=True, slots=True)
class _Kept:
    """Traits that some parts of every demonstration have, several of one; masks: for each demonstration,
    bool [traits, parts]."""

    traits: list[Trait]
    masks: list[Mask]

    @classmethod
    def of(cls, listed: Sequence[Listed]) -> _Kept:
        traits = [Trait("any")]
        masks = [[np.ones(len(one.parts), bool) for one in listed]]
        for n, name in enumerate(listed[0].names):
            columns = [one.numbers[:, n] for one in listed]
            made = [Trait(how, name) for how in ("most", "fewest", "only")]
            shared = set.intersection(*(set(column.tolist()) for column in columns))
            for trait in (*made, *(Trait("is", name, value) for value in sorted(shared))):
                held = [trait.holds(column) for column in columns]
                if all(mask.any() for mask in held) and not all(mask.all() for mask in held):
                    traits.append(trait)
                    masks.append(held)
        several = [n for n, held in enumerate(masks) if any(mask.sum() > 1 for mask in held)]
        kept = [
            np.array([masks[n][m] for n in several], bool).reshape(len(several), len(one.parts))
            for m, one in enumerate(listed)
        ]
        return cls([traits[n] for n in several], kept)


def _orders(
    listed: Sequence[Listed],
    drawn: Sequence[Sequence[Cells]],
    masks: Sequence[Mask],
    lines: Sequence[Cells],
    across: bool,
) -> Iterator[tuple[str, bool, float]]:
    """(trait, whether downwards, cost) of the orders in which the parts make the lines."""
    left = [np.flatnonzero(mask) for mask in masks]
    colours = [np.bincount(line.ravel(), minlength=10)[1:] for line in lines]
    for where, parts, wanted in zip(left, drawn, colours, strict=True):
        found = sum(np.bincount(parts[n].ravel(), minlength=10)[1:] for n in where.tolist())
        if not np.array_equal(found, wanted):
            return

    def make(orders: Sequence[Cells]) -> bool:
        for order, parts, line in zip(orders, drawn, lines, strict=True):
            made = laid([parts[n] for n in order.tolist()], across)
            if made is None or not np.array_equal(made, line):
                return False
        return True

    if make(left):
        yield "", False, 1.0
    numbers = [one.numbers[where] for one, where in zip(listed, left, strict=True)]
    tried: dict[tuple[bytes, ...], bool] = {}
    for down in (False, True):
        sorted_ = [np.argsort(-n if down else n, axis=0, kind="stable") for n in numbers]
        for m, name in enumerate(listed[0].names):
            orders = [where[order[:, m]] for where, order in zip(left, sorted_, strict=True)]
            key = tuple(order.tobytes() for order in orders)
            if key not in tried:
                tried[key] = make(orders)
            if tried[key]:
                yield name, down, SORTED

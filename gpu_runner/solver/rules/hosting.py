"""The output lies over a box of the input: trees over what its cells see there.

Where `selecting` cuts a part out and looks at it alone, here the cells still see what lies around: the key
beside a frame, the line that goes through it, the pieces that fit into it (`fitting`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from . import trees
from .fitting import FITS, fitted
from .grids import NONE, Box, Cells, background
from .picking import Trait, listed_of, trait_from_json
from .sights import COLOURS, Sheet, look
from .terms import Allowed, GoOn, Pairs, proof_of

FAMILIES = (
    "box around everything", "boxes of colours", "insides of boxes of colours", "insides of frames",
    "between equal corners", "groups", "objects", "side-groups", "side-objects", "areas", "rectangles",
    "densest boxes",
)  # fmt: skip
"""Those of `picking` whose parts are boxes of the grid."""

PLAIN, PICTURED, FITTED = KINDS = (0, 1, 2)
"""What a cell sees: as in the whole grid, its pictures too, or the box alone and what fits into it."""

MOST_HOSTS = 3
GROWN = 8
"""Trees tried for a box and a kind of sights."""

MOST_LEAVES = 8

UNSURE = 0.3
"""What the choice of a box costs the weight of a tree."""

LATER = 0.7
"""What each box before costs: those come first whose cells are most like the outputs."""


@dataclass(frozen=True, slots=True)
class Host:
    """The box of the one part of a family that a trait tells."""

    family: str
    trait: Trait

    def box(self, grid: Cells) -> Box | None:
        known = listed_of(self.family, grid)
        if self.trait.name not in known.names:
            return None
        kept = self.trait.holds(known.numbers[:, known.names.index(self.trait.name)])
        boxes = {known.parts[n].box for n in np.flatnonzero(kept).tolist()}
        return boxes.pop() if len(boxes) == 1 else None

    def to_json(self) -> Any:
        return [self.family, self.trait.to_json()]


@dataclass(frozen=True, slots=True)
class Hosted:
    """A tree over the cells of a box."""

    host: Host
    kind: int
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        box = self.host.box(grid)
        return None if box is None else trees.told(self.tree, sheet_of(grid, box, self.kind))

    def to_json(self) -> Any:
        return ["hosted", self.host.to_json(), self.kind, self.tree.to_json()]


def hosted_from_json(told: Sequence[Any]) -> Hosted:
    """Raises ValueError on what no such rule wrote."""
    match told:
        case [[str(family), [*trait]], int(kind), tree] if family in FAMILIES and kind in KINDS:
            return Hosted(Host(family, trait_from_json(trait)), kind, trees.from_json(tree))
    raise ValueError("a rule lies over no known box")


def sheet_of(grid: Cells, box: Box, kind: int) -> Sheet:
    """The sights of the cells in a box."""
    return _sheet(grid.tobytes(), grid.shape, box, kind)


@lru_cache(maxsize=32)
def _sheet(told: bytes, shape: tuple[int, int], box: Box, kind: int) -> Sheet:
    grid = np.frombuffer(told, np.int64).reshape(shape)
    top, left, bottom, right = box
    here = slice(top, bottom), slice(left, right)
    if kind == FITTED:
        sheet = look(grid[here])
        for name in FITS:
            sheet.source(name, fitted(grid, box, name))
        return sheet
    whole = look(grid, pictures=kind == PICTURED)
    sheet = Sheet(
        {name: values[here] for name, values in whole.sources.items()},
        {name: values[here] for name, values in whole.facts.items()},
    )
    _place(sheet)
    _outside(sheet, grid, box)
    _keys(sheet, grid, box)
    return sheet


def _place(sheet: Sheet) -> None:
    """Where in the box a cell stands."""
    height, width = sheet.shape
    row, column = np.indices((height, width))
    down, across = np.minimum(row, height - 1 - row), np.minimum(column, width - 1 - column)
    sheet.number("ring of the box", np.minimum(down, across), (0, 1, 2))
    sheet.fact("corner of the box", (down == 0) & (across == 0))
    sheet.fact("upper half of the box", row < height - 1 - row)
    sheet.fact("left half of the box", column < width - 1 - column)


def _outside(sheet: Sheet, grid: Cells, box: Box) -> None:
    """The colours outside of the box, and those that are nowhere else."""
    top, left, bottom, right = box
    outside = np.ones(grid.shape, bool)
    outside[top:bottom, left:right] = False
    counts = np.bincount(grid[outside], minlength=COLOURS)
    counts[background(grid)] = 0
    inside = np.bincount(grid[~outside], minlength=COLOURS)
    for name, some in (("outside", counts), ("outside alone", np.where(inside == 0, counts, 0))):
        most = int(some.argmax()) if some.any() else NONE
        least = int(np.where(some > 0, some, grid.size + 1).argmin()) if some.any() else NONE
        sheet.source(f"most common {name}", np.full(sheet.shape, most))
        sheet.source(f"rarest {name}", np.full(sheet.shape, least))


def _keys(sheet: Sheet, grid: Cells, box: Box) -> None:
    """The colours a step or two aslant outside of the box's corners, each for the quarter nearest to it."""
    top, left, bottom, right = box
    height, width = sheet.shape
    row, column = np.indices((height, width))
    upper, before = row <= (height - 1) // 2, column <= (width - 1) // 2
    rim = np.pad(grid, 2, constant_values=NONE)
    for steps in (1, 2):
        rows = np.where(upper, top - steps, bottom - 1 + steps) + 2
        columns = np.where(before, left - steps, right - 1 + steps) + 2
        sheet.source(f"beyond the nearest corner, {steps}", rim[rows, columns])


def hosts(pairs: Pairs, tests: Sequence[Cells], go_on: GoOn) -> Iterator[tuple[Host, tuple[Box, ...]]]:
    """Hosts of the outputs' shapes, and their boxes in all grids, no two alike; those first whose cells are
    most like the outputs."""
    grids = [*(source for source, _ in pairs), *tests]
    found: dict[tuple[Box, ...], tuple[float, Host]] = {}
    for family in FAMILIES:
        if not go_on():
            break
        if not all(
            any(part.cells.shape == target.shape for part in listed_of(family, source).parts)
            for source, target in pairs
        ):
            continue
        for trait in _traits(family, grids[0]):
            host = Host(family, trait)
            boxes = _boxes(host, grids, pairs)
            if boxes is not None and boxes not in found:
                found[boxes] = _alike(boxes, pairs), host
    for boxes, (_, host) in sorted(found.items(), key=lambda one: -one[1][0]):
        yield host, boxes


def _traits(family: str, grid: Cells) -> Iterator[Trait]:
    known = listed_of(family, grid)
    for how in ("most", "fewest", "only"):
        for name in known.names:
            yield Trait(how, name)
    for name, column in zip(known.names, known.numbers.T, strict=True):
        for value in sorted(set(column.tolist())):
            yield Trait("is", name, value)


def _boxes(host: Host, grids: Sequence[Cells], pairs: Pairs) -> tuple[Box, ...] | None:
    boxes = []
    for n, grid in enumerate(grids):
        box = host.box(grid)
        if box is None or (n < len(pairs) and _cut(grid, box).shape != pairs[n][1].shape):
            return None
        boxes.append(box)
    return tuple(boxes)


def _cut(grid: Cells, box: Box) -> Cells:
    top, left, bottom, right = box
    return grid[top:bottom, left:right]


def _alike(boxes: Sequence[Box], pairs: Pairs) -> float:
    """The share of cells that are the outputs' already, on average."""
    shares = [(_cut(s, box) == t).mean() for box, (s, t) in zip(boxes, pairs, strict=False)]
    return float(np.mean(shares))


def hosted(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> list[tuple[Hosted, float]]:
    """Trees over the likeliest boxes, with their weights."""
    found: list[tuple[Hosted, float]] = []
    for place, (host, boxes) in enumerate(hosts(pairs, tests, go_on)):
        if place == MOST_HOSTS:
            break
        cost = UNSURE * (0.5 if host.trait.how == "is" else 1.0) * LATER**place
        for kind in KINDS:
            grown = _grown(host, boxes, kind, pairs, rng, go_on, allowed)
            found += [(rule, cost * weight) for rule, weight in grown]
    return found


def _grown(
    host: Host, boxes: Sequence[Box], kind: int, pairs: Pairs, rng: np.random.Generator, go_on: GoOn,
    allowed: Allowed,
) -> list[tuple[Hosted, float]]:  # fmt: skip
    targets = [target for _, target in pairs]
    sheets = []
    for (source, _), box in zip(pairs, boxes, strict=False):
        if not go_on():
            return []
        sheets.append(sheet_of(source, box, kind))
    if len({(*sheet.sources, *sheet.facts) for sheet in sheets}) > 1:
        return []
    wanted = np.concatenate([target.ravel() for target in targets])
    learner = trees.Learner(trees.Table.of(sheets), wanted, most_leaves=MOST_LEAVES)
    found: dict[str, tuple[Hosted, float]] = {}
    for n in range(GROWN):
        part = allowed(n, learner.names, rng)
        tree = learner.grow(part) if go_on() else None
        if tree is None:
            continue
        weight = (1.0 if kind == PLAIN else 0.5) * 2.0 ** -trees.leaves(tree)
        weight *= learner.proof(targets, part) * proof_of(targets)
        text = json.dumps(tree.to_json())
        found[text] = Hosted(host, kind, tree), weight + (found[text][1] if text in found else 0.0)
    return list(found.values())

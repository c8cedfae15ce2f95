"""Invertible changes of a grid that follow from the grid alone: sides turned, colours exchanged.

    frame = scheme.frame(grid)
    frame.back(frame.put(grid)) == grid

A rule that is learned on framed inputs and outputs answers a test in the test's own frame, and its answer is
put back. So one rule holds where demonstrations differ by a turn or by their colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_runner.solver.rules.grids import Cells, Mask, background, components, turned

COLOURS = 10
SAME_COLOURS = tuple(range(COLOURS))


@dataclass(frozen=True, slots=True)
class Frame:
    """side: quarter turns, 4 more with a flip left-right after them; colours[old] = new, a permutation."""

    side: int = 0
    colours: tuple[int, ...] = SAME_COLOURS

    def put(self, grid: Cells) -> Cells:
        return turned(np.array(self.colours, np.int64)[grid], self.side)

    def back(self, grid: Cells) -> Cells:
        own: Cells = np.argsort(self.colours)[grid]
        flat = own[:, ::-1] if self.side >= 4 else own
        return np.rot90(flat, -(self.side % 4))


Marks = Callable[[Cells], Mask | None]


def _filled(grid: Cells) -> Mask:
    found: Mask = grid != background(grid)
    return found


def _ranked(place: int) -> Marks:
    """Cells of the most common colour (0), the second, the rarest (-1), ground left out."""

    def marks(grid: Cells) -> Mask | None:
        counts = np.bincount(grid.ravel(), minlength=COLOURS)
        counts[background(grid)] = 0
        order = [int(colour) for colour in np.argsort(-counts, kind="stable") if counts[colour]]
        return None if len(order) < 2 else grid == order[place]

    return marks


def _group(largest: bool, by_colour: bool) -> Marks:
    def marks(grid: Cells) -> Mask | None:
        found, label = components(grid, eight=True, by_colour=by_colour, within=_filled(grid))
        if len(found) < 2:
            return None
        sizes = [one.size for one in found]
        best = max(sizes) if largest else min(sizes)
        return None if sizes.count(best) > 1 else label == sizes.index(best)

    return marks


def _whole_lines(grid: Cells) -> Mask | None:
    """Rows and columns filled with one colour from edge to edge."""
    filled = _filled(grid)
    rows = (grid == grid[:, :1]).all(1, keepdims=True) & filled
    columns = (grid == grid[:1]).all(0, keepdims=True) & filled
    found: Mask = rows | columns
    return found if found.any() and rows.any() != columns.any() else None


def _at_edges(grid: Cells) -> Mask:
    found = _filled(grid)
    found[1:-1, 1:-1] = False
    return found


MARKS: dict[str, Marks] = {
    "filled": _filled,
    "rarest": _ranked(-1),
    "most common": _ranked(0),
    "largest group": _group(largest=True, by_colour=False),
    "largest object": _group(largest=True, by_colour=True),
    "smallest object": _group(largest=False, by_colour=True),
    "whole lines": _whole_lines,
    "at edges": _at_edges,
}

WAYS: dict[str, tuple[int, ...]] = {
    "spun": (0, 1, 2, 3),
    "upside down": (0, 6),
    "flipped": (0, 4, 6, 2),
    "turned": tuple(range(8)),
    "laid": (0, 7),
    "laid and flipped": tuple(range(8)),
}
"""way → the sides to choose among."""


def side_of(marked: Mask, way: str) -> int:
    """The side on which the marked cells lie highest, then farthest to the left; `laid`: along rows."""
    return min(WAYS[way], key=lambda side: _order(turned(marked, side), way))


def _order(marked: Mask, way: str) -> tuple[float, ...]:
    rows, columns = np.nonzero(marked)
    if not len(rows):
        return ()
    height, width = marked.shape
    up = int((2 * rows - height + 1).sum())
    left = int((2 * columns - width + 1).sum())
    lies = rows.max() - rows.min() > columns.max() - columns.min()
    match way:
        case "laid":
            return (lies,)
        case "laid and flipped":
            return (lies, up, left)
        case "spun" | "upside down":
            return (up,)
    return (up, left)


Ranking = Callable[[Cells], Cells]


def _by_count(grid: Cells) -> Cells:
    return -np.bincount(grid.ravel(), minlength=COLOURS)


def _by_first(along: int) -> Ranking:
    """In reading order, or column by column."""

    def ranks(grid: Cells) -> Cells:
        flat = (grid.T if along else grid).ravel()
        return np.array([int((flat == c).argmax()) for c in range(COLOURS)])

    return ranks


def _by_largest(grid: Cells) -> Cells:
    """By the size of its largest component."""
    found, _ = components(grid, eight=True, by_colour=True, within=np.ones(grid.shape, bool))
    sizes = np.zeros(COLOURS, np.int64)
    for one in found:
        sizes[one.colours[0]] = max(sizes[one.colours[0]], one.size)
    return -sizes


def _by_box(grid: Cells) -> Cells:
    """By the area of the box around all its cells."""
    areas = np.zeros(COLOURS, np.int64)
    for colour in range(COLOURS):
        rows, columns = np.nonzero(grid == colour)
        if len(rows):
            areas[colour] = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    return -areas


def _by_edges(grid: Cells) -> Cells:
    """By how much of the grid's edge it has."""
    ring = np.ones(grid.shape, bool)
    ring[1:-1, 1:-1] = False
    return -np.bincount(grid[ring], minlength=COLOURS)


def _by_parts(grid: Cells) -> Cells:
    """By how many components it has, the fewest first."""
    found, _ = components(grid, eight=True, by_colour=True, within=np.ones(grid.shape, bool))
    return np.bincount([int(one.colours[0]) for one in found], minlength=COLOURS)


RANKINGS: dict[str, Ranking] = {
    "count": _by_count,
    "largest component": _by_largest,
    "box": _by_box,
    "first in rows": _by_first(0),
    "first in columns": _by_first(1),
    "edges": _by_edges,
    "components": _by_parts,
}


def exchanged(grid: Cells, ranking: str, fixed: Sequence[int]) -> tuple[int, ...]:
    """The grid's colours but the fixed ones, ranked, take the free places in order; so do the rest after
    them."""
    ranks = RANKINGS[ranking](grid)
    present = set(grid.ravel().tolist())
    free = [colour for colour in range(COLOURS) if colour not in fixed]
    order = sorted((c for c in free if c in present), key=lambda colour: int(ranks[colour]))
    order += [colour for colour in free if colour not in present]
    colours = list(range(COLOURS))
    for new, old in zip(free, order, strict=True):
        colours[old] = new
    return tuple(colours)


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a grid's frame is chosen. way: "" where sides stay; ranking: "" where colours stay."""

    way: str = ""
    marks: str = ""
    ranking: str = ""
    fixed: tuple[int, ...] = ()

    def frame(self, grid: Cells) -> Frame | None:
        side = 0
        if self.way:
            marked = grid == int(self.marks) if self.marks.isdigit() else MARKS[self.marks](grid)
            if marked is None:
                return None
            side = side_of(marked, self.way)
        return Frame(side, exchanged(grid, self.ranking, self.fixed) if self.ranking else SAME_COLOURS)

    def to_json(self) -> Any:
        return [self.way, self.marks, self.ranking, list(self.fixed)]


def scheme_from_json(told: Any) -> Scheme:
    """Raises ValueError on what is no scheme."""
    match told:
        case [str(way), str(marks), str(ranking), [*fixed]]:
            turns_known = way == "" or (way in WAYS and marks in (*MARKS, *"0123456789"))
            if turns_known and ranking in ("", *RANKINGS):
                return Scheme(way, marks, ranking, tuple(int(colour) for colour in fixed))
    raise ValueError(f"no scheme: {str(told)[:80]}")


def recolourings(pairs: Sequence[tuple[Cells, Cells]]) -> Iterator[Scheme]:
    """Colours by their role; those that outputs bring stay, and in turn the ground, all common ones, none."""
    have = [{*source.ravel().tolist()} for source, _ in pairs]
    brought = set[int]().union(*({*t.ravel().tolist()} - h for h, (_, t) in zip(have, pairs, strict=True)))
    common = set.intersection(*have)
    for fixed in dict.fromkeys(tuple(sorted(one)) for one in (brought | {0}, brought | common, brought)):
        for ranking in RANKINGS:
            yield Scheme(ranking=ranking, fixed=fixed)


def turns(grids: Sequence[Cells]) -> Iterator[Scheme]:
    """Sides by what is marked. grids: inputs and tests."""
    common = set.intersection(*({*grid.ravel().tolist()} - {background(grid)} for grid in grids))
    for marks in (*MARKS, *(str(colour) for colour in sorted(common))):
        for way in WAYS:
            yield Scheme(way, marks)

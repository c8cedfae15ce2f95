"""Parts of a grid that are examples of their own: boxes that do not overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gpu_runner.solver.rules.grids import Box, Cells, Mask, background, components
from gpu_runner.solver.rules.views import panel_lines

Cutter = Callable[[Cells], list[Box]]

MOST_PARTS = 60


def _panels(grid: Cells) -> list[Box]:
    lines = panel_lines(grid)
    return [] if lines is None else [(a, c, b, d) for a, b in lines[0] for c, d in lines[1]]


def _runs(inside: Mask) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _fields(grid: Cells) -> list[Box]:
    """Between whole lines of one colour that is not ground, of any sizes."""
    ground = background(grid)
    best: list[Box] = []
    for colour in range(10):
        rows, columns = (grid == colour).all(1), (grid == colour).all(0)
        if colour == ground or not (rows.any() or columns.any()):
            continue
        found = [(a, c, b, d) for a, b in _runs(~rows) for c, d in _runs(~columns)]
        if len(found) > len(best):
            best = found
    return best


def _groups(margin: int, by_colour: bool, eight: bool = True) -> Cutter:
    def cutter(grid: Cells) -> list[Box]:
        found, _ = components(grid, eight=eight, by_colour=by_colour, within=grid != background(grid))
        return _outermost([_widened(one.box, margin, grid.shape) for one in found])

    return cutter


def _widened(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    top, left, bottom, right = box
    return (
        max(0, top - margin),
        max(0, left - margin),
        min(shape[0], bottom + margin),
        min(shape[1], right + margin),
    )


def _outermost(boxes: Sequence[Box]) -> list[Box]:
    """Those in no other box."""
    unique = list(dict.fromkeys(boxes))
    return [box for box in unique if not any(_holds(other, box) for other in unique if other != box)]


def _holds(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def _rooms(grid: Cells) -> list[Box]:
    """Between walls of the most common colour beside ground: areas without it that fill their boxes."""
    counts = np.bincount(grid.ravel(), minlength=10)
    counts[background(grid)] = 0
    if not counts.any():
        return []
    found, _ = components(grid, eight=False, by_colour=False, within=grid != int(counts.argmax()))
    return [one.box for one in found if one.size == one.shape[0] * one.shape[1] and one.size > 1]


def _bands(axis: int) -> Cutter:
    """Between empty rows (axis 0) or columns (1)."""

    def cutter(grid: Cells) -> list[Box]:
        filled = (grid != background(grid)).any(1 - axis)
        height, width = grid.shape
        return [(a, 0, b, width) if axis == 0 else (0, a, height, b) for a, b in _runs(filled)]

    return cutter


def _lines(axis: int) -> Cutter:
    def cutter(grid: Cells) -> list[Box]:
        height, width = grid.shape
        if axis == 0:
            return [(n, 0, n + 1, width) for n in range(height)]
        return [(0, n, height, n + 1) for n in range(width)]

    return cutter


CUTTERS: dict[str, Cutter] = {
    "panels": _panels,
    "fields": _fields,
    "groups": _groups(0, by_colour=False),
    "groups and around": _groups(1, by_colour=False),
    "objects": _groups(0, by_colour=True),
    "side groups": _groups(0, by_colour=False, eight=False),
    "rooms": _rooms,
    "bands of rows": _bands(0),
    "bands of columns": _bands(1),
    "rows": _lines(0),
    "columns": _lines(1),
}


def parts_of(grid: Cells, cutter: str) -> list[Box] | None:
    """The boxes, in reading order; None where they overlap, or are none or too many."""
    boxes = sorted(CUTTERS[cutter](grid))
    if not 0 < len(boxes) <= MOST_PARTS:
        return None
    covered = np.zeros(grid.shape, np.int64)
    for top, left, bottom, right in boxes:
        covered[top:bottom, left:right] += 1
    return boxes if covered.max() == 1 else None


def cut(grid: Cells, box: Box) -> Cells:
    """A part as a grid of its own."""
    top, left, bottom, right = box
    return grid[top:bottom, left:right].copy()


def _arrangement(boxes: Sequence[Box]) -> tuple[int, int] | None:
    """(rows, columns) where the boxes, in order, stand in a whole table; None elsewhere."""
    rows, columns = sorted({box[0] for box in boxes}), sorted({box[1] for box in boxes})
    if [(box[0], box[1]) for box in boxes] == [(r, c) for r in rows for c in columns]:
        return len(rows), len(columns)
    return None


TABLES = ("table", "down", "across")


def ordered(boxes: Sequence[Box], table: str) -> tuple[int, int, list[Box]] | None:
    """(rows, columns, the boxes row by row) of a table in which answers are laid, one of `TABLES`."""
    match table:
        case "down":
            return len(boxes), 1, list(boxes)
        case "across":
            return 1, len(boxes), sorted(boxes, key=lambda box: (box[1], box[0]))
    shape = _arrangement(boxes)
    return None if shape is None else (*shape, list(boxes))

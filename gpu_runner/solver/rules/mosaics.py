"""A pattern with a piece covered: its symmetries, found in the rest, say what is beneath.

Symmetries are looked for in each grid anew (mirrors about any axis, transpositions, translations); the
demonstrations tell the colour of the cover and whether the whole pattern or the covered piece is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .grids import Cells, Mask
from .sights import COLOURS

LEAST_OVERLAP = 0.3
"""Share of the grid that a symmetry must map into the grid, both ends uncovered, before it is believed."""

MOST_COVERED = 0.6


@dataclass(frozen=True, slots=True)
class Mosaic:
    """cover: the colour that hides cells; piece: whether the answer is the covered box only."""

    cover: int
    piece: bool

    def answer(self, grid: Cells) -> Cells | None:
        """None where there is no cover, or some covered cell has no uncovered image."""
        covered = grid == self.cover
        if not covered.any() or covered.mean() > MOST_COVERED:
            return None
        whole = uncovered(grid, covered)
        if whole is None:
            return None
        if not self.piece:
            return whole
        rows, columns = np.nonzero(covered)
        return whole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]

    def to_json(self) -> Any:
        return [self.cover, int(self.piece)]


def mosaics(pairs: Sequence[tuple[Cells, Cells]]) -> Iterator[Mosaic]:
    """Those that answer every demonstration."""
    same = all(source.shape == target.shape for source, target in pairs)
    for cover in range(COLOURS):
        if not all((source == cover).any() for source, _ in pairs):
            continue
        rule = Mosaic(cover, piece=not same)
        told = (rule.answer(source) for source, _ in pairs)
        if all(
            found is not None and np.array_equal(found, target)
            for found, (_, target) in zip(told, pairs, strict=True)
        ):
            yield rule


def uncovered(grid: Cells, covered: Mask) -> Cells | None:
    """The grid with its covered cells taken from their images, None where one has none."""
    images = [image for image in _images(grid.shape) if _holds(grid, covered, *image)]
    found, hidden = grid.copy(), covered.copy()
    while hidden.any():
        before = int(hidden.sum())
        for row, column in images:
            fits = (row >= 0) & (row < grid.shape[0]) & (column >= 0) & (column < grid.shape[1]) & hidden
            r, c = np.nonzero(fits)
            y, x = row[r, c], column[r, c]
            known = ~hidden[y, x]
            found[r[known], c[known]] = found[y[known], x[known]]
            hidden[r[known], c[known]] = False
        if int(hidden.sum()) == before:
            return None
    return found


def _images(shape: tuple[int, int]) -> Iterator[tuple[Cells, Cells]]:
    """Where each symmetry takes each cell: (rows, columns), perhaps beyond the grid."""
    height, width = shape
    row, column = np.indices(shape)
    for axis in sorted(range(2 * width - 1), key=lambda a: abs(a - width + 1)):
        yield row, axis - column
    for axis in sorted(range(2 * height - 1), key=lambda a: abs(a - height + 1)):
        yield axis - row, column
    for off in sorted(range(-4, 5), key=abs):
        yield column + off, row - off
        yield (min(shape) - 1 + off) - column, (min(shape) - 1 + off) - row
    for down in range(0, height // 2 + 1):
        for across in range(-(width // 2), width // 2 + 1):
            if (down, across) > (0, 0):
                yield row + down, column + across
                yield row - down, column - across


def _holds(grid: Cells, covered: Mask, row: Cells, column: Cells) -> bool:
    height, width = grid.shape
    fits = (row >= 0) & (row < height) & (column >= 0) & (column < width) & ~covered
    y, x = row[fits], column[fits]
    known = ~covered[y, x]
    if known.sum() < LEAST_OVERLAP * grid.size:
        return False
    return bool((grid[fits][known] == grid[y[known], x[known]]).all())

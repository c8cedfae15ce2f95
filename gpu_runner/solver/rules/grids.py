"""Grids as arrays: connected components, rays, mirrors. Everything here is int8/int64 numpy, H × W."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

Array = TypeVar("Array", Cells, Mask)

Box = tuple[int, int, int, int]
"""top, left, bottom, right (exclusive)."""

Way = tuple[int, int]
"""Rows and columns of one step, each -1..1."""

NONE = -1
"""Where a colour is asked for and there is none."""

FOUR = ((-1, 0), (1, 0), (0, -1), (0, 1))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
EIGHT = FOUR + DIAGONAL


def background(grid: Cells) -> int:
    """0 where the grid has any, else the most common colour."""
    counts = np.bincount(grid.ravel(), minlength=10)
    return 0 if counts[0] else int(counts.argmax())


def turned(grid: Array, side: int) -> Array:
    """Quarter turns against the clock, `side` mod 4 of them; from 4 on with a flip after them."""
    quarter = np.rot90(grid, side % 4)
    return quarter[:, ::-1] if side >= 4 else quarter


def steps_to_edge(box: Box, shape: tuple[int, ...], way: Way) -> int:
    """How many steps a box can go on a grid until the edge is in its way."""
    up, left, down, right = box
    rows = {-1: up, 1: shape[0] - down, 0: 99}[way[0]]
    columns = {-1: left, 1: shape[1] - right, 0: 99}[way[1]]
    return int(min(rows, columns))


@dataclass(frozen=True, slots=True)
class Component:
    """A connected set of cells. rows, columns: where they are."""

    rows: Cells
    columns: Cells
    colours: Cells
    """The colours of its cells, in the same order."""
    box: Box = field(init=False)

    def __post_init__(self) -> None:
        top, left = int(self.rows.min()), int(self.columns.min())
        box = top, left, int(self.rows.max()) + 1, int(self.columns.max()) + 1
        object.__setattr__(self, "box", box)

    @property
    def size(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        top, left, bottom, right = self.box
        return bottom - top, right - left

    def mask(self) -> Mask:
        """The cells within the box."""
        top, left, bottom, right = self.box
        found = np.zeros((bottom - top, right - left), bool)
        found[self.rows - top, self.columns - left] = True
        return found


def components(grid: Cells, *, eight: bool, by_colour: bool, within: Mask) -> tuple[list[Component], Cells]:
    """Components of the cells in `within`, and each cell's component number, NONE elsewhere; `by_colour`:
    neighbours belong together only if their colours are equal."""
    grid = np.ascontiguousarray(grid, np.int64)
    found, marks = _components(grid.tobytes(), np.packbits(within).tobytes(), grid.shape, eight, by_colour)
    return list(found), marks.copy()


@lru_cache(maxsize=1024)
def _components(
    told: bytes, told_within: bytes, shape: tuple[int, int], eight: bool, by_colour: bool
) -> tuple[tuple[Component, ...], Cells]:
    """Rules ask for those of the same few grids again and again, and a large one takes milliseconds."""
    height, width = shape
    grid = np.frombuffer(told, np.int64).reshape(shape)
    bits = np.unpackbits(np.frombuffer(told_within, np.uint8), count=height * width)
    within = bits.reshape(shape).astype(bool)
    # Flat lists with a rim spare the innermost loop all questions about the edge.
    wide = width + 2
    steps = [dr * wide + dc for dr, dc in (EIGHT if eight else FOUR)]
    cells = _rimmed(grid if by_colour else np.zeros_like(grid), 0)
    open_ = _rimmed(within, False)
    marks = [NONE] * len(cells)
    found: list[Component] = []
    for start in np.flatnonzero(_framed(within, False)).tolist():
        if not open_[start]:
            continue
        number, colour, members = len(found), cells[start], [start]
        open_[start], marks[start] = False, number
        for at in members:  # which grows meanwhile
            for step in steps:
                near = at + step
                if open_[near] and cells[near] == colour:
                    open_[near], marks[near] = False, number
                    members.append(near)
        where = np.array(members)
        rows, columns = where // wide - 1, where % wide - 1
        found.append(Component(rows, columns, grid[rows, columns]))
    labels = np.array(marks, np.int64).reshape(height + 2, wide)
    return tuple(found), labels[1:-1, 1:-1].copy()


def _framed(values: npt.NDArray[Any], rim: int) -> npt.NDArray[Any]:
    """The values within a rim one cell wide."""
    height, width = values.shape
    found = np.full((height + 2, width + 2), rim, values.dtype)
    found[1:-1, 1:-1] = values
    return found


def _rimmed(values: npt.NDArray[Any], rim: int) -> list[Any]:
    flat: list[Any] = _framed(values, rim).ravel().tolist()
    return flat


def places(shape: tuple[int, ...]) -> tuple[Cells, Cells]:
    """The row and the column of every cell."""
    row, column = np.indices(shape)
    return row.astype(np.int64), column.astype(np.int64)


def shifted(values: Cells, dr: int, dc: int, fill: int = NONE) -> Cells:
    """values[r + dr, c + dc] at (r, c); `fill` beyond the edge."""
    height, width = values.shape
    moved = np.full_like(values, fill)
    if abs(dr) >= height or abs(dc) >= width:
        return moved
    rows = slice(max(0, -dr), min(height, height - dr))
    columns = slice(max(0, -dc), min(width, width - dc))
    from_rows = slice(max(0, dr), min(height, height + dr))
    from_columns = slice(max(0, dc), min(width, width + dc))
    moved[rows, columns] = values[from_rows, from_columns]
    return moved


def ray(grid: Cells, ground: int, dr: int, dc: int) -> tuple[Cells, Cells]:
    """(colour, distance) of the first cell in a direction that is neither ground nor the cell's own colour;
    NONE and 0 where the edge comes first."""
    colour, distance = np.full_like(grid, NONE), np.zeros_like(grid)
    for far in range(1, max(grid.shape)):
        seen = shifted(grid, far * dr, far * dc)
        new = (colour == NONE) & (seen != NONE) & (seen != ground) & (seen != grid)
        colour[new], distance[new] = seen[new], far
    return colour, distance


def mirrors(grid: Cells) -> dict[str, Cells]:
    """The colour at each cell's mirror place; NONE where a square is needed and the grid is none."""
    blank = np.full_like(grid, NONE)
    square = grid.shape[0] == grid.shape[1]
    return {
        "mirror left-right": grid[:, ::-1],
        "mirror top-bottom": grid[::-1],
        "half turn": grid[::-1, ::-1],
        "transposed": grid.T if square else blank,
        "transposed otherwise": grid[::-1, ::-1].T if square else blank,
        "quarter turn": np.rot90(grid) if square else blank,
        "quarter turn back": np.rot90(grid, -1) if square else blank,
    }

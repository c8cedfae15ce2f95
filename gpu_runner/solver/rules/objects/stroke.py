"""What an act of an object is, and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gpu_runner.solver.rules.grids import Cells, Component, background

from .things import Things


@dataclass(frozen=True, slots=True)
class Stroke:
    """Cells that an object draws; those beyond the edge do not count. colours: as many; None where one colour
    is still to be chosen. leaves: the object is gone from where it was."""

    rows: Cells
    columns: Cells
    colours: Cells | None = None
    leaves: bool = False


Act = Callable[[Things, int], Stroke | None]
"""act(things, n): what the n-th object draws; None where it cannot do this."""

Drawing = tuple[Stroke, Cells | int, Component]
"""Cells, their colours (one for each, or one for all), and the object that draws them."""


EMPTY = np.zeros(0, np.int64)

TURNS: dict[str, Callable[[Cells, Cells], tuple[Cells, Cells]]] = {
    "left-right": lambda r, c: (r, -c),
    "top-bottom": lambda r, c: (-r, c),
    "half": lambda r, c: (-r, -c),
    "quarter": lambda r, c: (c, -r),
    "quarter back": lambda r, c: (-c, r),
    "transposed": lambda r, c: (c, r),
}
MANY = {"both": ("left-right", "top-bottom", "half"), "round": ("quarter", "half", "quarter back")}


def turned(part: Component, name: str, middle: tuple[int, int], *, keeps: bool) -> Stroke | None:
    """A part mirrored or turned. middle: twice the place of the point about which it turns."""
    down, across = middle
    if (down + across) % 2 and name not in ("left-right", "top-bottom", "half", "both"):
        return None
    two_r, two_c = 2 * part.rows - down, 2 * part.columns - across
    turns = [TURNS[one](two_r, two_c) for one in MANY.get(name, (name,))]
    rows = np.concatenate([(r + down) // 2 for r, _ in turns])
    columns = np.concatenate([(c + across) // 2 for _, c in turns])
    return Stroke(rows, columns, np.tile(part.colours, len(turns)), leaves=not keeps)


def painted(grid: Cells, drawn: Sequence[Drawing]) -> Cells:
    """The grid after all drawings: first what leaves its place is gone from there."""
    canvas, ground = grid.copy(), background(grid)
    for stroke, _, part in drawn:
        if stroke.leaves:
            canvas[part.rows, part.columns] = ground
    height, width = canvas.shape
    for stroke, colours, _ in sorted(drawn, key=lambda one: one[0].leaves):
        rows, columns = stroke.rows, stroke.columns
        fits = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        canvas[rows[fits], columns[fits]] = colours[fits] if isinstance(colours, np.ndarray) else colours
    return canvas

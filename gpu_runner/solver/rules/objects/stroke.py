"""What an act of an object is, and what it draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gpu_runner.solver.rules.grids import Cells, Component

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

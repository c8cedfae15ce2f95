"""The steps by name: what can be done to a whole grid, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .fills import fills
from .grids import Cells
from .moves import moves
from .patterns import patterns
from .scenes import ANY, Step, scene_of
from .shapes import shapes
from .strokes import strokes

STEPS: dict[str, Step] = strokes() | fills() | moves() | shapes() | patterns()

Move = tuple[str, int]
"""A step's name and its colour, or ANY."""

Path = tuple[Move, ...]
"""Steps one after the other."""


def stepped(grid: Cells, move: Move) -> Cells | None:
    """The grid after one step; None where the step says nothing."""
    told = STEPS[move[0]](scene_of(grid), move[1])
    return None if told is None else np.ascontiguousarray(told, np.int64)


def followed(grid: Cells, path: Path) -> Cells | None:
    """The grid after all steps."""
    for move in path:
        told = stepped(grid, move)
        if told is None:
            return None
        grid = told
    return grid


def path_from_json(told: Any) -> Path:
    """Raises ValueError on anything that is not [[name, colour], …]."""
    if not isinstance(told, list):
        raise ValueError("a rule's path is a list of steps")
    found: list[Move] = []
    for one in told:
        match one:
            case [str(name), int(colour)] if name in STEPS and ANY <= colour <= 9:
                found.append((name, colour))
            case _:
                raise ValueError(f"a rule has no step {one!r}"[:80])
    return tuple(found)


def path_to_json(path: Sequence[Move]) -> Any:
    return [[name, colour] for name, colour in path]

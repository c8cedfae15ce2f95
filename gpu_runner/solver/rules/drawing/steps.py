"""The steps by name: what can be done to a whole grid, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_runner.solver.rules.grids import Cells, background

from .fills import fills
from .likes import likes
from .moves import moves
from .patterns import patterns
from .scenes import ANY, Step, scene_of
from .shapes import shapes
from .strokes import strokes

STEPS: dict[str, Step] = strokes() | fills() | moves() | shapes() | patterns() | likes()

Move = tuple[str, int]
"""A step's name and its colour, or ANY."""

Path = tuple[Move, ...]
"""Steps one after the other."""


def stepped(grid: Cells, move: Move) -> Cells | None:
    """The grid after one step; None where the step says nothing."""
    told = STEPS[move[0]](scene_of(grid), move[1])
    return None if told is None else np.ascontiguousarray(told, np.int64)


PAINTED = "painted"
"""Instead of a last step: whatever the steps before have changed takes one colour."""

RESTORED = "restored"
"""Instead of a last step: where the steps before left ground, the grid is as it was."""


def followed(grid: Cells, path: Path) -> Cells | None:
    """The grid after all steps."""
    told: Cells | None = grid
    for move in path:
        if told is None:
            return None
        told = finished(grid, told, move) if move[0] in (PAINTED, RESTORED) else stepped(told, move)
    return told


def finished(before: Cells, after: Cells, move: Move) -> Cells:
    if move[0] == PAINTED:
        return np.where(after != before, move[1], before)
    return np.where(after == background(before), before, after)


def path_from_json(told: Any) -> Path:
    """Raises ValueError on anything that is not [[name, colour], …]."""
    if not isinstance(told, list):
        raise ValueError("a rule's path is a list of steps")
    found: list[Move] = []
    for one in told:
        match one:
            case [str(name), int(colour)] if name in STEPS and ANY <= colour <= 9:
                found.append((name, colour))
            case [str(name), int(colour)] if name in (PAINTED, RESTORED) and 0 <= colour <= 9:
                found.append((name, colour))
            case _:
                raise ValueError(f"a rule has no step {one!r}"[:80])
    return tuple(found)


def path_to_json(path: Sequence[Move]) -> Any:
    return [[name, colour] for name, colour in path]

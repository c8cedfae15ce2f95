"""The ways in which an object may go or draw: fixed, or told by what is around it or in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpu_runner.solver.rules.drawing.moves import SLANTED
from gpu_runner.solver.rules.grids import NONE, Way

from .things import STRAIGHT, Things

Told = Callable[[Things, int], Way | None]
"""told(things, n): rows and columns of one step, each -1..1; None where there is no such way."""


def _always(way: Way) -> Told:
    return lambda things, n: way


def _to(things: Things, n: int, other: int) -> Way | None:
    if other in (NONE, n):
        return None
    way = things.toward(n, other)
    return None if way == (0, 0) else way


def _to_faced(things: Things, n: int) -> Way | None:
    return _to(things, n, things.faced[n])


def _to_edge(things: Things, n: int) -> Way | None:
    """To the edge of the grid that is nearest, if it is one."""
    up, left, down, right = things.boxes[n]
    height, width = things.grid.shape
    far = {(-1, 0): up, (1, 0): height - down, (0, -1): left, (0, 1): width - right}
    best = min(far.values())
    found = [way for way, distance in far.items() if distance == best]
    return found[0] if len(found) == 1 else None


def _to_minor(things: Things, n: int) -> Way | None:
    """From the middle of an object to its cells of the rarer colour."""
    part = things.parts[n]
    odd = part.colours == things.minors[n]
    if not odd.any():
        return None
    up, left, down, right = things.boxes[n]
    dr = 2 * part.rows[odd].mean() - (up + down - 1)
    dc = 2 * part.columns[odd].mean() - (left + right - 1)
    if abs(dr) > 2 * abs(dc):
        dc = 0.0
    if abs(dc) > 2 * abs(dr):
        dr = 0.0
    way = int(np.sign(dr)), int(np.sign(dc))
    return None if way == (0, 0) else way


def _through_gap(things: Things, n: int) -> Way | None:
    """Out of the one side of the box that the object leaves open."""
    mask = things.masks[n]
    sides = {(-1, 0): mask[0], (1, 0): mask[-1], (0, -1): mask[:, 0], (0, 1): mask[:, -1]}
    found = [way for way, side in sides.items() if not side.all()]
    return found[0] if len(found) == 1 else None


def _to_tip(things: Things, n: int) -> Way | None:
    """To the one side of the box that the object touches with the fewest cells."""
    mask = things.masks[n]
    sides = {(-1, 0): mask[0], (1, 0): mask[-1], (0, -1): mask[:, 0], (0, 1): mask[:, -1]}
    counts = {way: int(side.sum()) for way, side in sides.items()}
    found = [way for way, count in counts.items() if count == min(counts.values())]
    return found[0] if len(found) == 1 else None


def _along(things: Things, n: int) -> Way | None:
    """The way in which a line lies: right, or down."""
    mask = things.masks[n]
    height, width = mask.shape
    if height == 1 < width and mask.all():
        return 0, 1
    if width == 1 < height and mask.all():
        return 1, 0
    if height == width > 1 and mask.sum() == height:
        if mask.diagonal().all():
            return 1, 1
        if mask[::-1].diagonal().all():
            return 1, -1
    return None


def _slanting_to(things: Things, n: int) -> Way | None:
    """The slanting way on which the nearest other object lies."""
    other = things.nearest[n]
    if other in (NONE, n):
        return None
    up, left, down, right = things.boxes[n]
    top, lft, bottom, rgt = things.boxes[other]
    dr, dc = top + bottom - up - down, lft + rgt - left - right
    return (1 if dr > 0 else -1, 1 if dc > 0 else -1) if dr and dc and abs(abs(dr) - abs(dc)) < 4 else None


def _against(told: Told) -> Told:
    def back(things: Things, n: int) -> Way | None:
        way = told(things, n)
        return None if way is None else (-way[0], -way[1])

    return back


FIXED: dict[str, Told] = {name: _always(way) for name, way in STRAIGHT.items()}
DIAGONALS: dict[str, Told] = {name: _always(way) for name, way in SLANTED.items()}
TOLD: dict[str, Told] = {
    "to the faced": _to_faced,
    "from the faced": _against(_to_faced),
    "to the largest": lambda things, n: _to(things, n, things.largest),
    "to the unique": lambda things, n: _to(things, n, things.unique),
    "from the unique": _against(lambda things, n: _to(things, n, things.unique)),
    "to the near edge": _to_edge,
    "from the near edge": _against(_to_edge),
    "to its minor cells": _to_minor,
    "from its minor cells": _against(_to_minor),
    "along": _along,
    "back along": _against(_along),
    "to the nearest": lambda things, n: _to(things, n, things.nearest[n]),
    "to its like": lambda things, n: _to(things, n, things.like[n]),
    "to the smallest": lambda things, n: _to(things, n, things.smallest),
    "from the largest": _against(lambda things, n: _to(things, n, things.largest)),
    "slanting to the nearest": _slanting_to,
    "slanting from the nearest": _against(_slanting_to),
    "through its gap": _through_gap,
    "from its gap": _against(_through_gap),
    "to its tip": _to_tip,
    "from its tip": _against(_to_tip),
}


def _kept(name: str, told: Told) -> Told:
    def again(things: Things, n: int) -> Way | None:
        key = name, n
        if key not in things.kept:
            things.kept[key] = told(things, n)
        kept: Way | None = things.kept[key]
        return kept

    return again


TOLD = {name: _kept(name, told) for name, told in TOLD.items()}
WAYS: dict[str, Told] = FIXED | DIAGONALS | TOLD

"""Numbers that tell pieces apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from gpu_runner.solver.rules.grids import Cells, Mask, components

from .pieces import Piece
from .redrawing import main_colour

Measure = Callable[[Piece], int]

REMEMBERED = 1024
"""Pieces whose number a measure remembers: four steps ask for each of the same ones."""


def _cell_count(cells: Cells) -> int:
    return int((cells != 0).sum())


def _area(piece: Piece) -> int:
    return piece.cells.size


def _height(piece: Piece) -> int:
    return len(piece.cells)


def _width(piece: Piece) -> int:
    return len(piece.cells[0])


def _colours(cells: Cells) -> int:
    return len(set(cells.ravel().tolist()) - {0})


def _top(piece: Piece) -> int:
    return piece.top


def _left(piece: Piece) -> int:
    return piece.left


def _objects(cells: Cells) -> int:
    return len(components(cells, eight=True, by_colour=True, within=cells != 0)[0])


def holes(mask: Mask) -> int:
    """Sets of empty cells that no side-by-side way leads out of."""
    padded = np.pad(~mask, 1, constant_values=True)
    return len(components(padded.astype(np.int64), eight=False, by_colour=True, within=padded)[0]) - 1


def _holes(cells: Cells) -> int:
    return holes(cells != 0)


def _minor(cells: Cells) -> int:
    """Cells of the second colour."""
    counts = np.sort(np.bincount(cells.ravel(), minlength=10)[1:])
    return int(counts[-2])


def _symmetries(cells: Cells) -> int:
    return int((cells == cells[:, ::-1]).all()) + int((cells == cells[::-1]).all())


def _remembered(measure: Callable[[Cells], int]) -> Measure:
    """A measure of the cells alone, which is not taken twice of the same ones."""

    @lru_cache(maxsize=REMEMBERED)
    def measured(told: bytes, shape: tuple[int, int]) -> int:
        return measure(np.frombuffer(told, np.int64).reshape(shape))

    return lambda piece: measured(piece.cells.tobytes(), piece.cells.shape)


MEASURES: dict[str, Measure] = {
    "cells": _remembered(_cell_count), "area": _area, "height": _height, "width": _width,
    "colours": _remembered(_colours), "objects": _remembered(_objects), "holes": _remembered(_holes),
    "minor cells": _remembered(_minor), "symmetries": _remembered(_symmetries),
    "top": _top, "left": _left, "colour": _remembered(main_colour),
}  # fmt: skip

cell_count, symmetries = MEASURES["cells"], MEASURES["symmetries"]

"""Numbers that tell pieces apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpu_runner.solver.rules.grids import Mask, components

from .pieces import Piece
from .redrawing import main_colour

Measure = Callable[[Piece], int]


def cell_count(piece: Piece) -> int:
    return int((piece.cells != 0).sum())


def _area(piece: Piece) -> int:
    return piece.cells.size


def _height(piece: Piece) -> int:
    return len(piece.cells)


def _width(piece: Piece) -> int:
    return len(piece.cells[0])


def _colours(piece: Piece) -> int:
    return len(set(piece.cells.ravel().tolist()) - {0})


def _top(piece: Piece) -> int:
    return piece.top


def _left(piece: Piece) -> int:
    return piece.left


def _objects(piece: Piece) -> int:
    return len(components(piece.cells, eight=True, by_colour=True, within=piece.cells != 0)[0])


def holes(mask: Mask) -> int:
    """Sets of empty cells that no side-by-side way leads out of."""
    padded = np.pad(~mask, 1, constant_values=True)
    return len(components(padded.astype(np.int64), eight=False, by_colour=True, within=padded)[0]) - 1


def _holes(piece: Piece) -> int:
    return holes(piece.cells != 0)


def _minor(piece: Piece) -> int:
    """Cells of the second colour."""
    counts = np.sort(np.bincount(piece.cells.ravel(), minlength=10)[1:])
    return int(counts[-2])


def symmetries(piece: Piece) -> int:
    mask = piece.cells
    return int((mask == mask[:, ::-1]).all()) + int((mask == mask[::-1]).all())


MEASURES: dict[str, Measure] = {
    "cells": cell_count, "area": _area, "height": _height, "width": _width, "colours": _colours,
    "objects": _objects, "holes": _holes, "minor cells": _minor, "symmetries": symmetries,
    "top": _top, "left": _left, "colour": lambda piece: main_colour(piece.cells),
}  # fmt: skip

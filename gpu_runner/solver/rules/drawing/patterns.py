"""Steps that continue patterns: rows and columns that repeat, tiles, and the pictures of `images`."""

from __future__ import annotations

import numpy as np

from gpu_runner.solver.rules.grids import NONE, Cells, places
from gpu_runner.solver.rules.images import images

from .scenes import ANY, Scene, Step

OLD = ("pattern continued", "mirrored onto itself", "stamped", "attracted")
"""Pictures of `images` that no step here makes."""


def patterns() -> dict[str, Step]:
    """name → step."""
    found: dict[str, Step] = {
        "rows continued": _lines(False),
        "columns continued": _lines(True),
        "tiles continued": _tiled,
        "stripes continued": _striped,
        "columns sorted": _sorted(False, 1),
        "columns sorted back": _sorted(False, -1),
        "rows sorted": _sorted(True, 1),
        "rows sorted back": _sorted(True, -1),
    }
    for name in OLD:
        found[f"old {name}"] = _pictured(name)
    return found


def _lines(upright: bool) -> Step:
    """Every row's known cells repeated by the shortest period that they have, over the gaps: the ground, or
    the colour."""

    def step(scene: Scene, colour: int) -> Cells | None:
        gap = scene.ground if colour == ANY else colour
        canvas = (scene.grid.T if upright else scene.grid).copy()
        for row in canvas:
            known = row != gap
            if known.sum() >= 2 and not known.all():
                _continue(row, known)
        return canvas.T.copy() if upright else canvas

    return step


def _continue(row: Cells, known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    places = np.flatnonzero(known)
    first, last = int(places[0]), int(places[-1])
    span = row[first : last + 1].copy()
    for period in range(1, len(span)):
        if (span[period:] == span[:-period]).all():
            row[:] = span[(np.arange(len(row)) - first) % period]
            return


def _tiled(scene: Scene, colour: int) -> Cells | None:
    """The smallest tile whose repetition agrees with all known cells and tells all others."""
    gap = scene.ground if colour == ANY else colour
    grid = scene.grid
    height, width = grid.shape
    rows, columns = np.nonzero(grid != gap)
    if not 2 <= len(rows) < grid.size:
        return None
    shades = grid[rows, columns]
    sizes = [(p * q, p, q) for p in range(1, height + 1) for q in range(1, width + 1)]
    every = np.indices(grid.shape)
    for area, p, q in sorted(sizes):
        if area * 4 > 3 * grid.size:
            break
        table = np.full((p, q), NONE, np.int64)
        table[rows % p, columns % q] = shades
        if (table[rows % p, columns % q] == shades).all() and (table != NONE).all():
            told: Cells = table[every[0] % p, every[1] % q]
            return told
    return None


def _striped(scene: Scene, colour: int) -> Cells | None:
    """Rows, columns or diagonals of one colour each that come again and again: the shortest such period that
    agrees with all known cells and tells all others."""
    gap = scene.ground if colour == ANY else colour
    grid = scene.grid
    row, column = places(grid.shape)
    known = grid != gap
    if known.sum() < 2:
        return None
    for period in range(1, max(grid.shape)):
        for a, b in ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1)):
            which: Cells = (a * row + b * column) % period
            table = np.full(period, NONE, np.int64)
            table[which[known]] = grid[known]
            if (table != NONE).all() and (table[which] == grid)[known].all():
                told: Cells = table[which]
                return told
    return None


def _sorted(rows: bool, sign: int) -> Step:
    """Columns (or rows) ordered by how many of their cells are filled."""

    def step(scene: Scene, colour: int) -> Cells:
        count = scene.seeds(colour).sum(1 if rows else 0)
        order = np.argsort(sign * count, kind="stable")
        return scene.grid[order] if rows else scene.grid[:, order]

    return step


def _pictured(name: str) -> Step:
    def step(scene: Scene, colour: int) -> Cells | None:
        if colour != ANY:
            return None
        told = dict(images(scene.grid, scene.ground))[name]
        return None if (told == NONE).any() else told

    return step

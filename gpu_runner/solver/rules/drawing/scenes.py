"""A grid with what steps ask of it again and again: its ground, its parts, its cells of a colour."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from gpu_runner.solver.rules.grids import NONE, Cells, Component, Mask, Way, background, components, places

ANY = -1
"""Instead of a colour: every colour but the ground."""

OBJECTS, SIDE_OBJECTS, GROUPS, SIDE_GROUPS, ROOMS, WIDE_ROOMS = range(6)
"""Parts: of one colour (joined also by corners, or by sides only), of any colours, and the ground's."""

KINDS = {
    OBJECTS: (True, True), SIDE_OBJECTS: (False, True), GROUPS: (True, False), SIDE_GROUPS: (False, False),
    ROOMS: (False, True), WIDE_ROOMS: (True, True),
}  # fmt: skip


class Scene:
    """One grid, H × W, not to be changed; its parts are found when first asked for."""

    def __init__(self, grid: Cells) -> None:
        self.grid = grid
        self.ground = background(grid)
        self.filled: Mask = grid != self.ground
        self._parts: dict[int, tuple[list[Component], Cells]] = {}
        self._free: dict[Way, Cells] = {}

    def parts(self, kind: int) -> list[Component]:
        return self._found(kind)[0]

    def labels(self, kind: int) -> Cells:
        """The number of each cell's part, NONE where it has none."""
        return self._found(kind)[1]

    def seeds(self, colour: int) -> Mask:
        """The cells of a colour, or of any but the ground."""
        return self.filled if colour == ANY else self.filled & (self.grid == colour)

    def own(self, part: Component, colour: int) -> bool:
        """Whether a part shows the colour."""
        return colour == ANY or bool((part.colours == colour).any())

    def free(self, way: Way) -> Cells:
        """How many cells of ground lie ahead of each cell, before something else or the edge."""
        if way not in self._free:
            self._free[way] = _free_ahead(~self.filled, way)
        return self._free[way]

    def nearest(self, way: Way) -> Cells:
        """The first filled cell's colour in a direction; NONE where the edge comes first."""
        row, column = places(self.grid.shape)
        far = self.free(way) + 1
        y, x = row + far * way[0], column + far * way[1]
        height, width = self.grid.shape
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        seen = np.full_like(self.grid, NONE)
        seen[inside] = self.grid[y[inside], x[inside]]
        return seen

    def _found(self, kind: int) -> tuple[list[Component], Cells]:
        if kind not in self._parts:
            eight, by_colour = KINDS[kind]
            within = ~self.filled if kind in (ROOMS, WIDE_ROOMS) else self.filled
            self._parts[kind] = components(self.grid, eight=eight, by_colour=by_colour, within=within)
        return self._parts[kind]


def _free_ahead(ground: Mask, way: Way) -> Cells:
    """Counted line by line, from the edge to which the way leads."""
    if not way[0]:
        return _free_ahead(ground.T, (way[1], way[0])).T
    height, width = ground.shape
    free = np.zeros((height, width), np.int64)
    aside = way[1]
    mine = slice(max(0, -aside), min(width, width - aside))
    next_ = slice(max(0, aside), min(width, width + aside))
    for row in range(height - 2, -1, -1) if way[0] > 0 else range(1, height):
        ahead = row + way[0]
        free[row, mine] = np.where(ground[ahead, next_], free[ahead, next_] + 1, 0)
    return free


Step = Callable[[Scene, int], Cells | None]
"""step(scene, colour): another grid of the same shape, made of what has the colour; None where it says
nothing. The scene stays as it is."""


def scene_of(grid: Cells) -> Scene:
    """The scene of a grid, kept for a while: dozens of steps look at the same few."""
    return _scene(grid.tobytes(), grid.shape)


@lru_cache(maxsize=128)
def _scene(cells: bytes, shape: tuple[int, ...]) -> Scene:
    grid = np.frombuffer(cells, np.int64).reshape(shape)
    return Scene(grid)


def paint(canvas: Cells, rows: Cells, columns: Cells, colours: Cells | int, only: Mask | None = None) -> None:
    """Colour cells of a canvas; those beyond its edge, or where `only` is false, are left out."""
    height, width = canvas.shape
    fits = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    if only is not None:
        fits[fits] = only[rows[fits], columns[fits]]
    canvas[rows[fits], columns[fits]] = colours[fits] if isinstance(colours, np.ndarray) else colours


def main_colour(part: Component) -> int:
    return int(np.bincount(part.colours, minlength=10).argmax())


def minor_colour(part: Component) -> int:
    """The rarest colour of a part; NONE where it has but one."""
    counts = np.bincount(part.colours, minlength=10)
    some = np.flatnonzero(counts)
    return int(some[counts[some].argmin()]) if len(some) > 1 else NONE

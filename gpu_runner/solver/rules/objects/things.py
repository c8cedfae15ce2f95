"""The objects of a grid, and what each is to the others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from gpu_runner.solver.rules.drawing.scenes import Scene, main_colour, minor_colour
from gpu_runner.solver.rules.grids import NONE, Box, Cells, Component, Mask
from gpu_runner.solver.rules.views import panel_lines

from .parting import PANELS, WAYS_OF_PARTING

MOST = 40
"""Objects of a grid beyond which it has none: they would be noise."""

STRAIGHT = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


class Things:
    """The objects of one grid under one way to part it."""

    def __init__(self, grid: Cells, parting: str) -> None:
        self.scene = Scene(grid)
        self.grid = grid
        self.kept: dict[Hashable, Any] = {}
        """Whatever else is asked for again and again."""
        self.panelled = panel_lines(grid) if parting == PANELS else None
        self.parts, self.labels, boxes = WAYS_OF_PARTING[parting](self.scene)
        self.colours = [main_colour(part) for part in self.parts]
        self.minors = [minor_colour(part) for part in self.parts]
        self.boxes: list[Box] = [part.box for part in self.parts] if boxes is None else boxes
        self.masks = [_mask(part, box) for part, box in zip(self.parts, self.boxes, strict=True)]

    @cached_property
    def padded(self) -> list[Mask]:
        """The masks with an empty rim."""
        return [np.pad(mask, 1) for mask in self.masks]

    def __len__(self) -> int:
        return len(self.parts)

    @cached_property
    def gaps(self) -> Cells:
        """Cells between the boxes of two objects, straight or around a corner, N × N."""
        boxes = np.array(self.boxes, np.int64).reshape(-1, 4)
        top, left, bottom, right = (boxes[:, n] for n in range(4))
        down = np.maximum(0, np.maximum(top[:, None] - bottom[None], top[None] - bottom[:, None]))
        across = np.maximum(0, np.maximum(left[:, None] - right[None], left[None] - right[:, None]))
        found: Cells = down + across
        return found

    @cached_property
    def largest(self) -> int:
        """The one largest object; NONE where two are."""
        return _only_most([part.size for part in self.parts])

    @cached_property
    def smallest(self) -> int:
        """The one smallest object; NONE where two are."""
        return _only_most([-part.size for part in self.parts])

    @cached_property
    def unique(self) -> int:
        """The one object whose colour no other has; NONE where there are none or several."""
        counts = np.bincount(self.colours, minlength=10)
        found = [n for n, colour in enumerate(self.colours) if counts[colour] == 1]
        return found[0] if len(found) == 1 else NONE

    @cached_property
    def patterned(self) -> int:
        """The one object of the most colours."""
        return _only_most([len(set(part.colours.tolist())) for part in self.parts])

    @cached_property
    def nearest(self) -> list[int]:
        """Of each object the nearest other, NONE where it is alone."""
        if len(self) < 2:
            return [NONE] * len(self)
        far = self.gaps + np.eye(len(self), dtype=np.int64) * 999
        return [int(n) for n in far.argmin(1)]

    @cached_property
    def like(self) -> list[int]:
        """Of each object the nearest other of its colour; NONE where there is none."""
        colours = np.array(self.colours)
        far = np.where(colours[:, None] == colours[None], self.gaps, 999) + np.eye(len(self), dtype=int) * 999
        return [int(row.argmin()) if row.min() < 999 else NONE for row in far]

    @cached_property
    def shapes(self) -> list[tuple[tuple[int, ...], bytes]]:
        return [(mask.shape, mask.tobytes()) for mask in self.masks]

    @cached_property
    def turned_shapes(self) -> list[tuple[tuple[int, ...], bytes]]:
        """Of all sides of a shape the first, so that shapes that are alike when turned are equal."""
        found = []
        for mask in self.masks:
            sides = [np.rot90(one, k) for one in (mask, mask[::-1]) for k in range(4)]
            found.append(min((side.shape, side.tobytes()) for side in sides))
        return found

    @cached_property
    def _counts(self) -> Cells:
        counts: Cells = np.bincount(self.grid[self.scene.filled], minlength=10)
        return counts

    @cached_property
    def commonest(self) -> int:
        """The colour of the most filled cells; NONE where two have as many."""
        return _only_most(self._counts.tolist()) if self._counts.any() else NONE

    @cached_property
    def rarest(self) -> int:
        """The colour of the fewest filled cells."""
        return _only_most([-int(count) if count else -999 for count in self._counts])

    def toward(self, n: int, other: int) -> tuple[int, int]:
        """The straight way from one object to another; (0, 0) where they do not face each other."""
        up, left, down, right = self.boxes[n]
        top, lft, bottom, rgt = self.boxes[other]
        if left < rgt and right > lft:
            return (1, 0) if down <= top else (-1, 0) if up >= bottom else (0, 0)
        if up < bottom and down > top:
            return (0, 1) if right <= lft else (0, -1) if left >= rgt else (0, 0)
        return 0, 0

    @cached_property
    def faced(self) -> list[int]:
        """Of each object the nearest other that it faces; NONE where there is none."""
        found = []
        for n in range(len(self)):
            others = [m for m in range(len(self)) if m != n and self.toward(n, m) != (0, 0)]
            found.append(min(others, key=lambda m: int(self.gaps[n, m])) if others else NONE)
        return found

    def inside(self, n: int) -> int:
        """The one other colour within an object's box, but the ground; NONE where none or several are."""
        top, left, bottom, right = self.boxes[n]
        seen = set(self.grid[top:bottom, left:right].ravel().tolist())
        seen -= {self.colours[n], self.scene.ground}
        return seen.pop() if len(seen) == 1 else NONE

    def touching(self, n: int) -> int:
        """The one other colour beside an object, but the ground; NONE where none or several are."""
        rows, columns = around(self.parts[n], self.grid.shape)
        seen = set(self.grid[rows, columns].tolist()) - {self.scene.ground, self.colours[n]}
        return seen.pop() if len(seen) == 1 else NONE


def _mask(part: Component, box: Box) -> Mask:
    """The part's cells within a box."""
    top, left, bottom, right = box
    found = np.zeros((bottom - top, right - left), bool)
    found[part.rows - top, part.columns - left] = True
    return found


def _only_most(numbers: list[int]) -> int:
    if not numbers:
        return NONE
    top = max(numbers)
    return numbers.index(top) if numbers.count(top) == 1 else NONE


@lru_cache(maxsize=64)
def _things(cells: bytes, shape: tuple[int, ...], parting: str) -> Things | None:
    found = Things(np.frombuffer(cells, np.int64).reshape(shape), parting)
    return found if 0 < len(found) <= MOST else None


def things_of(grid: Cells, parting: str) -> Things | None:
    """The objects of a grid; None where it has none or too many."""
    return _things(grid.tobytes(), grid.shape, parting)


def alike(some: Sequence[Things], others: Sequence[Things]) -> bool:
    """Whether two ways to part the same grids give the same objects."""
    return all(np.array_equal(a.labels, b.labels) for a, b in zip(some, others, strict=True))


def around(part: Component, shape: tuple[int, ...], *, corners: bool = True) -> tuple[Cells, Cells]:
    """The cells of a grid that touch a part."""
    own: Mask = np.zeros((shape[0] + 2, shape[1] + 2), bool)
    own[part.rows + 1, part.columns + 1] = True
    grown = own.copy()
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            if corners or not (dr and dc):
                grown |= np.roll(own, (dr, dc), (0, 1))
    rows, columns = np.nonzero((grown & ~own)[1:-1, 1:-1])
    return rows.astype(np.int64), columns.astype(np.int64)


Shade = Callable[[Things, int], int]

SHADES: dict[str, Shade] = {
    "own": lambda things, n: things.colours[n],
    "minor": lambda things, n: things.minors[n],
    "inside": lambda things, n: things.inside(n),
    "touching": lambda things, n: things.touching(n),
    "faced": lambda things, n: _of(things, things.faced[n]),
    "nearest": lambda things, n: _of(things, things.nearest[n]),
    "unique": lambda things, n: _of(things, things.unique),
    "largest": lambda things, n: _of(things, things.largest),
    "twin": lambda things, n: _twin(things, n),
    "ground": lambda things, n: things.scene.ground,
    "smallest": lambda things, n: _of(things, things.smallest),
    "like it when turned": lambda things, n: _turned_twin(things, n),
    "of its size": lambda things, n: _only(
        [c for c, p in zip(things.colours, things.parts, strict=True) if p.size == things.parts[n].size],
        things.colours[n],
    ),
    "commonest": lambda things, n: things.commonest,
    "rarest": lambda things, n: things.rarest,
    "other": lambda things, n: _only(things.colours, things.colours[n]),
}
"""Colours that an object may take or draw with, beside fixed ones; NONE where there is none."""


def _of(things: Things, n: int) -> int:
    return NONE if n == NONE else things.colours[n]


def _twin(things: Things, n: int) -> int:
    """The colour of the others that have the same shape, if it is one and another."""
    return _only(
        [things.colours[m] for m, shape in enumerate(things.shapes) if shape == things.shapes[n]],
        things.colours[n],
    )


def _turned_twin(things: Things, n: int) -> int:
    """The same of those that have its shape when turned or mirrored."""
    own = things.turned_shapes[n]
    return _only(
        [things.colours[m] for m, shape in enumerate(things.turned_shapes) if shape == own], things.colours[n]
    )


def _only(colours: Sequence[int], but: int) -> int:
    seen = set(colours) - {but}
    return seen.pop() if len(seen) == 1 else NONE

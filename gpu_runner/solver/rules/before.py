"""What may be done to an input before a rule looks at it: trimmed, squeezed, cut to its largest group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .grids import Cells, background, components
from .views import panel_lines

Change = Callable[[Cells], Cells | None]


def _trimmed(grid: Cells) -> Cells | None:
    """Cut to the box around all that is not ground."""
    rows, columns = np.nonzero(grid != background(grid))
    if not len(rows):
        return None
    return grid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _squeezed(grid: Cells) -> Cells:
    """Of equal rows side by side only one, and so for columns."""
    rows = np.append(True, (grid[1:] != grid[:-1]).any(1))
    columns = np.append(True, (grid[:, 1:] != grid[:, :-1]).any(0))
    found: Cells = grid[rows][:, columns]
    return found


def _without_lines(grid: Cells) -> Cells | None:
    """The panels put together, without the lines between them."""
    lines = panel_lines(grid)
    if lines is None:
        return None
    rows = np.concatenate([np.arange(a, b) for a, b in lines[0]])
    columns = np.concatenate([np.arange(c, d) for c, d in lines[1]])
    found: Cells = grid[rows][:, columns]
    return found


def _shrunk(grid: Cells) -> Cells | None:
    """The smallest grid of which this one is an enlargement by a whole number."""
    height, width = grid.shape
    for times in range(min(height, width), 1, -1):
        if height % times == 0 and width % times == 0:
            small = grid[::times, ::times]
            if np.array_equal(np.kron(small, np.ones((times, times), np.int64)), grid):
                return small
    return None


def _cut(by_colour: bool, largest: bool) -> Change:
    """The box of the largest or the smallest component."""

    def change(grid: Cells) -> Cells | None:
        found, _ = components(grid, eight=True, by_colour=by_colour, within=grid != background(grid))
        if not found:
            return None
        sizes = [one.size for one in found]
        best = max(sizes) if largest else min(sizes)
        if sizes.count(best) != 1:
            return None
        top, left, bottom, right = found[sizes.index(best)].box
        return grid[top:bottom, left:right]

    return change


def _alone(largest: bool) -> Change:
    """Only the largest component of one colour, or all but it, on the ground."""

    def change(grid: Cells) -> Cells | None:
        ground = background(grid)
        found, _ = components(grid, eight=True, by_colour=True, within=grid != ground)
        if len(found) < 2:
            return None
        one = max(found, key=lambda component: component.size)
        result = np.full_like(grid, ground) if largest else grid.copy()
        result[one.rows, one.columns] = one.colours if largest else ground
        return result

    return change


def _without_noise(grid: Cells) -> Cells | None:
    """Without components of a single cell."""
    ground = background(grid)
    found, _ = components(grid, eight=True, by_colour=False, within=grid != ground)
    result = grid.copy()
    for one in found:
        if one.size == 1:
            result[one.rows, one.columns] = ground
    return result


def _inside(grid: Cells) -> Cells | None:
    """Without the outermost ring."""
    return grid[1:-1, 1:-1] if min(grid.shape) > 2 else None


def _without_rarest(grid: Cells) -> Cells | None:
    """The rarest colour taken for ground."""
    counts = np.bincount(grid.ravel(), minlength=10)
    ground = background(grid)
    counts[ground] = 0
    if (counts > 0).sum() < 2:
        return None
    rarest = int(np.where(counts > 0, counts, grid.size + 1).argmin())
    return np.where(grid == rarest, ground, grid)


CHANGES: dict[str, Change] = {
    "trimmed": _trimmed,
    "largest group cut": _cut(by_colour=False, largest=True),
    "smallest group cut": _cut(by_colour=False, largest=False),
    "largest object cut": _cut(by_colour=True, largest=True),
    "without lines": _without_lines,
    "shrunk": _shrunk,
    "squeezed": _squeezed,
    "without noise": _without_noise,
    "without the rarest": _without_rarest,
    "inside": _inside,
    "all but the largest": _alone(largest=False),
    "largest alone": _alone(largest=True),
}

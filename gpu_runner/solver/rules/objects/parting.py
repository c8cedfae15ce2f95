"""Ways to part a grid into objects."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpu_runner.solver.rules.drawing.scenes import (
    GROUPS,
    OBJECTS,
    SIDE_GROUPS,
    SIDE_OBJECTS,
    Scene,
)
from gpu_runner.solver.rules.drawing.scenes import ROOMS as GROUND
from gpu_runner.solver.rules.grids import NONE, Box, Cells, Component, Mask, components
from gpu_runner.solver.rules.views import panel_lines

Parted = tuple[list[Component], Cells, list[Box] | None]
"""The objects; the number of each cell's one, NONE elsewhere, H × W; their boxes, where those are wider than
what they hold."""
Parting = Callable[[Scene], Parted]

ROOMS, PANELS = "rooms", "panels"


def _joined(kind: int) -> Parting:
    return lambda scene: (scene.parts(kind), scene.labels(kind), None)


def _numbered(scene: Scene, labels: Cells) -> Parted:
    """Parts from any labels, numbered in the order in which they are met."""
    found, marks = [], np.full_like(scene.grid, NONE)
    rows, columns = np.nonzero(labels != NONE)
    told = labels[rows, columns]
    for n, label in enumerate(dict.fromkeys(told.tolist())):
        own = told == label
        found.append(Component(rows[own], columns[own], scene.grid[rows[own], columns[own]]))
        marks[rows[own], columns[own]] = n
    return found, marks, None


def _near(mask: Mask) -> Cells:
    """Labels of cells that are joined also across a gap of one cell."""
    spread = np.pad(mask, ((0, 1), (0, 1)))
    spread = spread | np.roll(spread, 1, 0)
    spread = spread | np.roll(spread, 1, 1)
    _, labels = components(spread.astype(np.int64), eight=True, by_colour=False, within=spread)
    return np.where(mask, labels[:-1, :-1], NONE)


def _clusters(scene: Scene) -> Parted:
    """Cells of one colour, joined also across a gap of one cell."""
    labels = np.full_like(scene.grid, NONE)
    for colour in range(10):
        mask = scene.filled & (scene.grid == colour)
        if mask.any():
            labels = np.where(mask, _near(mask) * 10 + colour, labels)
    return _numbered(scene, labels)


def _crowds(scene: Scene) -> Parted:
    """Cells of any colours, joined also across a gap of one cell."""
    return _numbered(scene, _near(scene.filled))


def _colours(scene: Scene) -> Parted:
    """All cells of a colour."""
    return _numbered(scene, np.where(scene.filled, scene.grid, NONE))


def _apart(scene: Scene) -> Parted:
    """Objects of the commonest colour, and groups of what is left without them."""
    counts = np.bincount(scene.grid[scene.filled], minlength=10)
    common = scene.filled & (scene.grid == counts.argmax())
    _, ones = components(scene.grid, eight=True, by_colour=False, within=common)
    _, others = components(scene.grid, eight=True, by_colour=False, within=scene.filled & ~common)
    return _numbered(scene, np.where(common, 2 * ones, np.where(others == NONE, NONE, 2 * others + 1)))


def _panels(scene: Scene) -> Parted:
    """What lies between whole lines of one colour, where those make panels of one size; no empty one."""
    runs = panel_lines(scene.grid)
    found: list[Component] = []
    boxes: list[Box] = []
    marks = np.full_like(scene.grid, NONE)
    for top, bottom in runs[0] if runs is not None else ():
        for left, right in runs[1] if runs is not None else ():
            rows, columns = np.nonzero(scene.filled[top:bottom, left:right])
            if len(rows):
                rows, columns = rows + top, columns + left
                marks[rows, columns] = len(found)
                found.append(Component(rows, columns, scene.grid[rows, columns]))
                boxes.append((top, left, bottom, right))
    return found, marks, boxes


WAYS_OF_PARTING: dict[str, Parting] = {
    "objects": _joined(OBJECTS), "groups": _joined(GROUPS), "side objects": _joined(SIDE_OBJECTS),
    "side groups": _joined(SIDE_GROUPS), ROOMS: _joined(GROUND), PANELS: _panels, "apart": _apart,
    "clusters": _clusters, "crowds": _crowds, "colours": _colours,
}  # fmt: skip

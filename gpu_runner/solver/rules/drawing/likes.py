"""Steps that recolour a part after another one: the nearest, the one in line, the one of the same outline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpu_runner.solver.rules.grids import Cells, Component

from .scenes import ANY, GROUPS, OBJECTS, Scene, Step, main_colour

Match = Callable[[Component, Component], float | None]
"""How far one part is from being another's model; None where it is none."""


def likes() -> dict[str, Step]:
    """name → step."""
    found: dict[str, Step] = {"colours in reverse order": _reversed}
    for kind, name in ((OBJECTS, "objects"), (GROUPS, "groups")):
        found[f"{name} coloured like the nearest"] = _after(kind, _distance)
        found[f"{name} coloured like the one in line"] = _after(kind, _in_line)
        found[f"{name} coloured like the same outline"] = _after(kind, _same_outline)
        found[f"{name} coloured like the same shape"] = _after(kind, _same_shape)
        found[f"{name} coloured like the same size"] = _after(kind, _same_size)
    return found


def _after(kind: int, match: Match) -> Step:
    """Parts of the colour take the colour of their best model among the others."""

    def step(scene: Scene, colour: int) -> Cells | None:
        if colour == ANY:
            return None
        mine = [part for part in scene.parts(kind) if main_colour(part) == colour]
        models = [(part, shade) for part in scene.parts(kind) if (shade := main_colour(part)) != colour]
        if not mine or not models or len(mine) * len(models) > 2000:
            return None
        canvas = scene.grid.copy()
        for part in mine:
            fits = [(far, shade) for model, shade in models if (far := match(part, model)) is not None]
            if fits:
                canvas[part.rows, part.columns] = min(fits)[1]
        return canvas

    return step


def _distance(one: Component, other: Component) -> float:
    up, left, down, right = one.box
    top, lft, bottom, rgt = other.box
    return max(up - bottom, top - down, 0) + max(left - rgt, lft - right, 0)


def _in_line(one: Component, other: Component) -> float | None:
    up, left, down, right = one.box
    top, lft, bottom, rgt = other.box
    facing = (up < bottom and top < down) or (left < rgt and lft < right)
    return _distance(one, other) if facing else None


def _same_outline(one: Component, other: Component) -> float | None:
    alike = one.shape == other.shape and bool((one.mask() == other.mask()).all())
    return 0.0 if alike else None


def _same_shape(one: Component, other: Component) -> float | None:
    """Turned or mirrored."""
    if one.size != other.size or sorted(one.shape) != sorted(other.shape):
        return None
    mask, model = one.mask(), other.mask()
    turned = [np.rot90(side, n) for side in (model, model[::-1]) for n in range(4)]
    return 0.0 if any(np.array_equal(mask, side) for side in turned) else None


def _same_size(one: Component, other: Component) -> float | None:
    return 0.0 if one.size == other.size else None


def _reversed(scene: Scene, colour: int) -> Cells | None:
    """The colours in the order in which they are met from the top left, each in place of its counterpart from
    the end; with a colour, that one stays."""
    row = scene.grid.ravel()
    met = [shade for shade in dict.fromkeys(row.tolist()) if shade != colour]
    table = np.arange(10)
    table[met] = met[::-1]
    told: Cells = table[scene.grid]
    return told

"""What an object may do with regard to another one: be mirrored about it, stretched or bent to it, completed
after it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpu_runner.solver.rules.grids import NONE, Cells, Component, Mask, Way

from .stroke import MANY, TURNS, Act, Stroke, turned
from .things import Things
from .ways import FIXED, TOLD, Told

Other = Callable[[Things, int], int]

OTHERS: dict[str, Other] = {
    "faced": lambda things, n: things.faced[n],
    "nearest": lambda things, n: things.nearest[n],
    "largest": lambda things, n: things.largest,
    "smallest": lambda things, n: things.smallest,
    "unique": lambda things, n: things.unique,
    "patterned": lambda things, n: things.patterned,
    "next of its colour": lambda things, n: things.like[n],
}
"""Another object, by what it is to the n-th; NONE where there is none."""

MOST_TIMES = 4
"""Sizes at which a model is tried, against its own."""


def _about(which: Other, name: str, *, keeps: bool) -> Act:
    """Mirrored or turned about the middle of another's box."""

    def act(things: Things, n: int) -> Stroke | None:
        other = which(things, n)
        if other in (NONE, n):
            return None
        up, left, down, right = things.boxes[other]
        return turned(things.parts[n], name, (up + down - 1, left + right - 1), keeps=keeps)

    return act


def _stretched(told: Told, *, over: bool) -> Act:
    """A full box grows until something is in its way, or over what is; its front goes along, and the line
    behind that is repeated."""

    def act(things: Things, n: int) -> Stroke | None:
        way = told(things, n)
        if way is None or (way[0] and way[1]) or not things.masks[n].all() or things.parts[n].size < 2:
            return None
        far = _free(things, n, way)
        if over:
            ahead = _ahead(things, n, way, far)
            if ahead is None:
                return None
            far += ahead
        up, left, down, right = things.boxes[n]
        own = things.grid[up:down, left:right]
        lines = own if way[0] else own.T
        lines = lines if sum(way) > 0 else lines[::-1]
        behind = lines[-2] if len(lines) > 1 else lines[-1]
        if not far:
            return None
        shown = np.concatenate([np.tile(behind, (far, 1)), lines[-1:]])
        along = np.arange(far + 1)
        wide = np.arange(own.shape[1] if way[0] else own.shape[0])
        front = {(1, 0): down - 1, (-1, 0): up, (0, 1): right - 1, (0, -1): left}[way]
        steps = np.repeat(front + sum(way) * along, len(wide))
        beside = np.tile(wide, far + 1) + (left if way[0] else up)
        rows, columns = (steps, beside) if way[0] else (beside, steps)
        return Stroke(rows, columns, shown.ravel())

    return act


def _strip(things: Things, n: int, way: Way) -> Cells:
    """The cells of the grid before a box, to the edge, from near to far: lines × width."""
    up, left, down, right = things.boxes[n]
    filled = things.scene.filled
    strip = {
        (1, 0): filled[down:, left:right],
        (-1, 0): filled[:up, left:right][::-1],
        (0, 1): filled[up:down, right:].T,
        (0, -1): filled[up:down, :left].T[::-1],
    }[way]
    found: Cells = strip.astype(np.int64)
    return found


def _free(things: Things, n: int, way: Way) -> int:
    """Empty lines before a box."""
    blocked: Mask = np.any(_strip(things, n, way), axis=1)
    return int(blocked.argmax()) if blocked.any() else len(blocked)


def _ahead(things: Things, n: int, way: Way, far: int) -> int | None:
    """Lines that what is in a box's way takes up; None where nothing is."""
    blocked: Mask = np.any(_strip(things, n, way), axis=1)[far:]
    if not len(blocked):
        return None
    return int((~blocked).argmax()) if (~blocked).any() else len(blocked)


def _bent(which: Other, *, down_first: bool) -> Act:
    """A line with one corner, over ground, from the middle of a box to that of another."""

    def act(things: Things, n: int) -> Stroke | None:
        other = which(things, n)
        if other in (NONE, n):
            return None
        r, c = _middle(things, n)
        y, x = _middle(things, other)
        rows, columns = np.arange(min(r, y), max(r, y) + 1), np.arange(min(c, x), max(c, x) + 1)
        at_column, at_row = (c, y) if down_first else (x, r)
        path_r = np.concatenate([rows, np.full(len(columns), at_row)])
        path_c = np.concatenate([np.full(len(rows), at_column), columns])
        free = ~things.scene.filled[path_r, path_c]
        return Stroke(path_r[free], path_c[free])

    return act


def _middle(things: Things, n: int) -> tuple[int, int]:
    up, left, down, right = things.boxes[n]
    return (up + down - 1) // 2, (left + right - 1) // 2


SIDES = ("as it is", *TURNS, "transposed otherwise")


def _side(rows: Cells, columns: Cells, name: str) -> tuple[Cells, Cells]:
    if name == "as it is":
        return rows, columns
    if name == "transposed otherwise":
        return -columns, -rows
    return TURNS[name](rows, columns)


def _modelled(sides: tuple[str, ...], *, scaled: bool) -> Act:
    """Completed after another object of which it shows a part, at least all the cells of one colour.
    `scaled`: the model may be enlarged here, and have another main colour."""

    def act(things: Things, n: int) -> Stroke | None:
        part, best, found = things.parts[n], 0, None
        for m, model in enumerate(things.parts):
            if m == n or not 2 <= model.size <= 150 or len(set(model.colours.tolist())) < 2:
                continue
            if model.size <= part.size and not scaled:
                continue
            for times in range(1, MOST_TIMES + 1) if scaled else (1,):
                for side in sides:
                    laid = _laid(part, model, side, times, things.colours[m] if scaled else NONE)
                    if laid is not None and laid[0] > best:
                        best, found = laid
        return found

    return act


def _laid(part: Component, model: Component, side: str, times: int, main: int) -> tuple[int, Stroke] | None:
    """(the cells that agree, the model so turned and enlarged where it agrees best with the part). main: the
    model's colour that takes the part's own other colour; NONE where it stays."""
    rows, columns = _side(model.rows, model.columns, side)
    colours = model.colours
    own = set(part.colours.tolist())
    if main != NONE:
        new = own - set(colours.tolist())
        if len(own) != 2 or len(new - {main}) != 1 or main in own:
            return None
        colours = np.where(colours == main, new.pop(), colours)
    if not own <= set(colours.tolist()):
        return None
    rows, columns = rows - rows.min(), columns - columns.min()
    if times > 1:
        grown = np.indices((times, times)).reshape(2, -1)
        rows = (rows[:, None] * times + grown[0]).ravel()
        columns = (columns[:, None] * times + grown[1]).ravel()
        colours = np.repeat(colours, times * times)
    shades = np.unique(part.colours)
    counts = {int(s): int((part.colours == s).sum()) for s in shades}
    whole = [s for s, count in counts.items() if count == int((colours == s).sum())]
    if not whole:
        return None
    place = np.full((int(rows.max()) + 1, int(columns.max()) + 1), NONE)
    place[rows, columns] = colours
    # All cells of a colour that the part shows whole lie where the model has them: that fixes the place.
    mine, its = part.colours == whole[0], colours == whole[0]
    dr = int(part.rows[mine].min() - rows[its].min())
    dc = int(part.columns[mine].min() - columns[its].min())
    r, c = part.rows - dr, part.columns - dc
    if r.min() < 0 or c.min() < 0 or r.max() >= place.shape[0] or c.max() >= place.shape[1]:
        return None
    if (place[r, c] != part.colours).any():
        return None
    return part.size, Stroke(rows + dr, columns + dc, colours)


def regarding() -> dict[str, Act]:
    """name → act."""
    found: dict[str, Act] = {}
    for which, other in OTHERS.items():
        for name in (*TURNS, *MANY):
            found[f"turned {name} about the {which}"] = _about(other, name, keeps=False)
            found[f"completed {name} about the {which}"] = _about(other, name, keeps=True)
        found[f"bent to the {which}, down first"] = _bent(other, down_first=True)
        found[f"bent to the {which}, across first"] = _bent(other, down_first=False)
    for name, told in (FIXED | {"to the faced": TOLD["to the faced"]}).items():
        found[f"stretched {name}, blocked"] = _stretched(told, over=False)
        found[f"stretched {name}, over it"] = _stretched(told, over=True)
    for side in SIDES:
        found[f"completed after its model, {side}"] = _modelled((side,), scaled=False)
    found["completed after its model, any side"] = _modelled(SIDES, scaled=False)
    found["completed after its model, any size"] = _modelled(SIDES, scaled=True)
    return found | _panel_acts()


def _enlarged(things: Things, n: int) -> Stroke | None:
    """Each cell of a panel fills the panel at its place."""
    if things.panelled is None:
        return None
    down, across = things.panelled
    up, left, bottom, right = things.boxes[n]
    if (len(down), len(across)) != (bottom - up, right - left):
        return None
    part = things.parts[n]
    rows, columns, colours = [], [], []
    for r, c, colour in zip(part.rows - up, part.columns - left, part.colours, strict=True):
        y, x = np.indices((bottom - up, right - left)).reshape(2, -1)
        rows.append(y + down[r][0])
        columns.append(x + across[c][0])
        colours.append(np.full(len(y), colour))
    return Stroke(np.concatenate(rows), np.concatenate(columns), np.concatenate(colours), leaves=True)


def _sent(colour: int, *, leaves: bool) -> Act:
    """A panel's cells go to the panel at the place of its one cell of a colour."""

    def act(things: Things, n: int) -> Stroke | None:
        if things.panelled is None:
            return None
        down, across = things.panelled
        up, left, _, _ = things.boxes[n]
        part = things.parts[n]
        own = np.flatnonzero(part.colours == colour)
        if len(own) != 1:
            return None
        r, c = int(part.rows[own[0]] - up), int(part.columns[own[0]] - left)
        if r >= len(down) or c >= len(across):
            return None
        rows, columns = part.rows - up + down[r][0], part.columns - left + across[c][0]
        return Stroke(rows, columns, part.colours, leaves=leaves)

    return act


def _everywhere(things: Things, n: int) -> Stroke | None:
    """A panel's cells in all panels."""
    if things.panelled is None:
        return None
    up, left, _, _ = things.boxes[n]
    part = things.parts[n]
    spots = [(r[0] - up, c[0] - left) for r in things.panelled[0] for c in things.panelled[1]]
    rows = np.concatenate([part.rows + dr for dr, _ in spots])
    columns = np.concatenate([part.columns + dc for _, dc in spots])
    return Stroke(rows, columns, np.tile(part.colours, len(spots)))


def _panel_acts() -> dict[str, Act]:
    found: dict[str, Act] = {"enlarged onto the panels": _enlarged, "copied to all panels": _everywhere}
    for colour in range(1, 10):
        found[f"sent to the place of its {colour}"] = _sent(colour, leaves=True)
        found[f"copied to the place of its {colour}"] = _sent(colour, leaves=False)
    return found

"""What an object may do: go, draw lines, be filled, mirrored, framed, replaced.

An act says which cells it draws. Some draw in the object's own colours; the others leave the colour open
(`SHADES`, or a fixed one).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gpu_runner.solver.rules.grids import NONE, Cells, Mask, Way, steps_to_edge

from .regarding import regarding
from .stroke import EMPTY, MANY, TURNS, Act, Stroke, turned
from .things import Things, around
from .traits import holes
from .ways import DIAGONALS, FIXED, TOLD, Told


def _stays(things: Things, n: int) -> Stroke:
    return Stroke(EMPTY, EMPTY, EMPTY)


def _vanishes(things: Things, n: int) -> Stroke:
    return Stroke(EMPTY, EMPTY, EMPTY, leaves=True)


def _recoloured(which: str) -> Act:
    """All cells of an object, or those of its minor or main colour, its rim, its inner cells."""

    def act(things: Things, n: int) -> Stroke | None:
        part = things.parts[n]
        if which == "all":
            return Stroke(part.rows, part.columns)
        if which in ("minor", "main"):
            keep = (part.colours == things.colours[n]) == (which == "main")
        else:
            mask = things.padded[n]
            deep = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
            top, left, _, _ = things.boxes[n]
            keep = deep[part.rows - top, part.columns - left] == (which == "inner")
        return Stroke(part.rows[keep], part.columns[keep])

    return act


def _room(things: Things, n: int, way: Way) -> int:
    """Steps that the object can go over ground, until something else or the edge is in its way."""
    part = things.parts[n]
    far = np.arange(1, steps_to_edge(part.box, things.grid.shape, way) + 1)[:, None]
    rows, columns = part.rows + far * way[0], part.columns + far * way[1]
    blocked = (things.scene.filled[rows, columns] & (things.labels[rows, columns] != n)).any(1)
    return int(blocked.argmax()) if blocked.any() else len(far)


def _counts(things: Things, n: int) -> dict[str, int]:
    part = things.parts[n]
    return {
        "1": 1, "2": 2, "3": 3, "its height": part.shape[0], "its width": part.shape[1],
        "its colours": len(set(part.colours.tolist())), "its size": part.size,
    }  # fmt: skip


COUNTED = ("1", "2", "3", "its height", "its width", "its colours", "its size")


def _on_its_way(told: Told, name: str, draw: Callable[[Things, int, Way], Stroke | None]) -> Act:
    """What an object draws in a way that it is told; kept, for several acts tell it the same way."""

    def act(things: Things, n: int) -> Stroke | None:
        way = told(things, n)
        if way is None:
            return None
        key = n, way, name
        if key not in things.kept:
            things.kept[key] = draw(things, n, way)
        kept: Stroke | None = things.kept[key]
        return kept

    return act


def _gone(told: Told, how: str) -> Act:
    def draw(things: Things, n: int, way: Way) -> Stroke:
        if how == "blocked":
            far = _room(things, n, way)
        elif how == "edge":
            far = steps_to_edge(things.boxes[n], things.grid.shape, way)
        else:
            far = _counts(things, n)[how]
        part = things.parts[n]
        return Stroke(part.rows + far * way[0], part.columns + far * way[1], part.colours, True)

    return _on_its_way(told, f"gone {how}", draw)


def _front(things: Things, n: int, way: Way, *, middle: bool) -> tuple[Cells, Cells] | None:
    """The cells of an object from which it may go on in a way; `middle`: the middle one of that side."""
    part = things.parts[n]
    up, left, down, right = things.boxes[n]
    if middle:
        if (way[0] and not way[1] and (right - left) % 2 == 0) or (
            way[1] and not way[0] and (down - up) % 2 == 0
        ):
            return None
        row = {-1: up, 1: down - 1, 0: (up + down - 1) // 2}[way[0]]
        column = {-1: left, 1: right - 1, 0: (left + right - 1) // 2}[way[1]]
        return np.array([row]), np.array([column])
    rows, columns = part.rows - up + 1 + way[0], part.columns - left + 1 + way[1]
    free = ~things.padded[n][rows, columns]
    return part.rows[free], part.columns[free]


def _ahead(things: Things, n: int, way: Way, *, middle: bool) -> tuple[Cells, Cells, Mask, Mask] | None:
    """The cells in front of an object, cells of its front × steps: rows, columns, whether they lie on the
    grid, and whether something is there."""
    front = _front(things, n, way, middle=middle)
    if front is None:
        return None
    height, width = things.grid.shape
    far = np.arange(1, max(height, width) + 1)
    rows = front[0][:, None] + far * way[0]
    columns = front[1][:, None] + far * way[1]
    fits = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    filled = np.zeros_like(fits)
    filled[fits] = things.scene.filled[rows[fits], columns[fits]]
    return rows, columns, fits, filled


def _rays(told: Told, how: str, *, middle: bool) -> Act:
    """Lines from an object on: until something is in the way, through everything, over ground alone, or of
    so many cells."""

    def draw(things: Things, n: int, way: Way) -> Stroke | None:
        key = "ahead", n, way, middle
        if key not in things.kept:
            things.kept[key] = _ahead(things, n, way, middle=middle)
        if things.kept[key] is None:
            return None
        rows, columns, fits, filled = things.kept[key]
        if how in COUNTED:
            fits = fits & (np.arange(fits.shape[1]) < _counts(things, n)[how])
        elif how == "through":
            fits = fits & (things.labels[np.where(fits, rows, 0), np.where(fits, columns, 0)] != n)
        elif how == "over ground":
            fits = fits & ~filled
        elif how == "blocked":
            fits = fits & ~np.maximum.accumulate(filled, axis=1)
        elif how == "dotted":
            fits = fits & ~filled & (np.arange(fits.shape[1]) % 2 == 1)
        elif how == "reaching":
            reaches = filled.any(1, keepdims=True)
            fits = fits & ~np.maximum.accumulate(filled, axis=1) & reaches
        elif how == "hit":
            fits = fits & filled & (np.add.accumulate(filled, axis=1) == 1)
        return Stroke(rows[fits], columns[fits])

    return _on_its_way(told, f"{middle} {how}", draw)


def _copied(told: Told, how: str) -> Act:
    """A copy beside the object, as it is or mirrored, or copies on and on; with a gap of one cell or none."""

    def draw(things: Things, n: int, way: Way) -> Stroke:
        part = things.parts[n]
        up, left, down, right = things.boxes[n]
        gap = 1 if "gap" in how else 0
        dr, dc = way[0] * (down - up + gap), way[1] * (right - left + gap)
        rows, columns = part.rows, part.columns
        if "mirrored" in how:
            rows = up + down - 1 - rows if way[0] else rows
            columns = left + right - 1 - columns if way[1] else columns
        times = np.arange(1, (max(things.grid.shape) if "on" in how.split() else 1) + 1)[:, None]
        return Stroke(
            (rows + times * dr).ravel(), (columns + times * dc).ravel(), np.tile(part.colours, len(times))
        )

    return _on_its_way(told, how, draw)


def _boxed(which: str) -> Act:
    """The holes of an object, the open cells of its box, its whole box, rings around."""

    def act(things: Things, n: int) -> Stroke | None:
        up, left, down, right = things.boxes[n]
        if which == "holes":
            rows, columns = np.nonzero(holes(things.masks[n]))
        elif which == "box left open":
            rows, columns = np.nonzero(~things.masks[n])
        elif which == "box":
            rows, columns = np.nonzero(np.ones_like(things.masks[n]))
        elif which == "inside of the box":
            rows, columns = np.nonzero(np.ones((max(0, down - up - 2), max(0, right - left - 2)), bool))
            rows, columns = rows + 1, columns + 1
        else:
            ring = np.ones((down - up + 2, right - left + 2), bool)
            ring[1:-1, 1:-1] = False
            rows, columns = np.nonzero(ring)
            rows, columns = rows - 1, columns - 1
        return Stroke(rows + up, columns + left)

    return act


def _ringed(*, corners: bool, over: bool) -> Act:
    def act(things: Things, n: int) -> Stroke:
        rows, columns = around(things.parts[n], things.grid.shape, corners=corners)
        keep: Mask = over | ~things.scene.filled[rows, columns]
        return Stroke(rows[keep], columns[keep])

    return act


def _turned(name: str, *, keeps: bool, about: str) -> Act:
    """An object mirrored or turned about the middle of its box, or of its cells of the rarer colour."""

    def act(things: Things, n: int) -> Stroke | None:
        part = things.parts[n]
        odd = part.colours == things.minors[n] if about == "minor" else np.ones(part.size, bool)
        if not odd.any():
            return None
        middle = (
            int(part.rows[odd].min() + part.rows[odd].max()),
            int(part.columns[odd].min() + part.columns[odd].max()),
        )
        return turned(part, name, middle, keeps=keeps)

    return act


def _hit_ringed(several: Sequence[Told], *, own: bool) -> Act:
    """A ring around the first cells that an object's lines hit, or those with the ring."""
    hits = _all([_rays(told, "hit", middle=False) for told in several])

    def act(things: Things, n: int) -> Stroke | None:
        stroke = hits(things, n)
        if stroke is None or not len(stroke.rows):
            return None
        rows = (stroke.rows[:, None] + RING[0]).ravel()
        columns = (stroke.columns[:, None] + RING[1]).ravel()
        if own:
            return Stroke(rows, columns)
        keep = ~np.isin(rows * 100 + columns, stroke.rows * 100 + stroke.columns)
        return Stroke(rows[keep], columns[keep])

    return act


RING = np.indices((3, 3)).reshape(2, -1) - 1


def _wide_ring(*, half: bool) -> Act:
    """Rings around an object's box, as many as it is wide, or half of that."""

    def act(things: Things, n: int) -> Stroke | None:
        up, left, down, right = things.boxes[n]
        wide = min(down - up, right - left)
        if half:
            if wide % 2:
                return None
            wide //= 2
        ring = np.ones((down - up + 2 * wide, right - left + 2 * wide), bool)
        ring[wide:-wide, wide:-wide] = False
        rows, columns = np.nonzero(ring)
        return Stroke(rows + up - wide, columns + left - wide)

    return act


def _bouncing(told: Told, *, at_edges: bool) -> Act:
    """Lines from an object's tips on that are thrown back by what is in their way, to the edge; or also by
    the edges, until they have met both."""

    def draw(things: Things, n: int, way: Way) -> Stroke | None:
        if not (way[0] and way[1]):
            return None
        height, width = things.grid.shape
        filled = things.scene.filled
        front = _front(things, n, way, middle=False)
        if front is None:
            return None
        rows, columns = [], []

        def shut(y: int, x: int) -> bool:
            if 0 <= y < height and 0 <= x < width:
                return bool(filled[y, x])
            return at_edges

        for r, c in zip(front[0].tolist(), front[1].tolist(), strict=True):
            (dr, dc), y, x = way, r, c
            for _ in range(2 * (height + width)):
                if shut(y + dr, x + dc):
                    side, above = shut(y, x + dc), shut(y + dr, x)
                    dr, dc = (
                        (dr, -dc) if side and not above else (-dr, dc) if above and not side else (-dr, -dc)
                    )
                    if shut(y + dr, x + dc):
                        break
                y, x = y + dr, x + dc
                if not (0 <= y < height and 0 <= x < width) or (y, x) == (r, c):
                    break
                rows.append(y)
                columns.append(x)
        return Stroke(np.array(rows, np.int64), np.array(columns, np.int64))

    return _on_its_way(told, f"bouncing {at_edges}", draw)


def _linked(*, over: bool) -> Act:
    """Straight lines to the nearest objects of the same colour that it faces, from row to row."""

    def act(things: Things, n: int) -> Stroke:
        rows, columns = [EMPTY], [EMPTY]
        up, left, down, right = things.boxes[n]
        for m in range(len(things)):
            way = things.toward(n, m) if m != n and things.colours[m] == things.colours[n] else (0, 0)
            top, lft, bottom, rgt = things.boxes[m]
            if way[0]:
                span = np.arange(min(down, bottom), max(up, top)), np.arange(max(left, lft), min(right, rgt))
            elif way[1]:
                span = np.arange(max(up, top), min(down, bottom)), np.arange(min(right, rgt), max(left, lft))
            else:
                continue
            rows.append(np.repeat(span[0], len(span[1])))
            columns.append(np.tile(span[1], len(span[0])))
        all_rows, all_columns = np.concatenate(rows), np.concatenate(columns)
        keep = over | ~things.scene.filled[all_rows, all_columns]
        return Stroke(all_rows[keep], all_columns[keep])

    return act


def _replaced(which: str) -> Act:
    """The largest object, or the one of the most colours, drawn over the middle of this one."""

    def act(things: Things, n: int) -> Stroke | None:
        other = things.largest if which == "largest" else things.patterned
        if other in (NONE, n):
            return None
        model, (up, left, down, right) = things.parts[other], things.boxes[n]
        top, lft, bottom, rgt = things.boxes[other]
        dr, dc = up + down - top - bottom, left + right - lft - rgt
        if dr % 2 or dc % 2:
            return None
        return Stroke(model.rows + dr // 2, model.columns + dc // 2, model.colours, leaves=True)

    return act


LINES = ("blocked", "over ground", "through", "reaching", "dotted", "hit")


def _all(acts: Sequence[Act]) -> Act:
    """Several lines at once."""

    def act(things: Things, n: int) -> Stroke | None:
        told = [stroke for one in acts if (stroke := one(things, n)) is not None]
        if not told:
            return None
        return Stroke(np.concatenate([s.rows for s in told]), np.concatenate([s.columns for s in told]))

    return act


SEVERAL = {
    "along it": (TOLD["along"], TOLD["back along"]),
    "to its minor cells and back": (TOLD["to its minor cells"], TOLD["from its minor cells"]),
    "across": (FIXED["left"], FIXED["right"]),
    "up and down": (FIXED["up"], FIXED["down"]),
    "straight": tuple(FIXED.values()),
    "slanted": tuple(DIAGONALS.values()),
    "all around": (*FIXED.values(), *DIAGONALS.values()),
}


def _acts() -> dict[str, Act]:
    found: dict[str, Act] = {"stays": _stays, "vanishes": _vanishes}
    for which in ("all", "minor", "main", "rim", "inner"):
        found[f"{which} recoloured"] = _recoloured(which)
    for which in ("holes", "box left open", "box", "inside of the box", "frame"):
        found[f"{which} filled"] = _boxed(which)
    for over in (False, True):
        top = ", over others" if over else ""
        found[f"ringed{top}"] = _ringed(corners=True, over=over)
        found[f"ringed at its sides{top}"] = _ringed(corners=False, over=over)
        found[f"linked to its like{top}"] = _linked(over=over)
    for name in (*TURNS, *MANY):
        for about in ("box", "minor"):
            found[f"turned {name} about its {about}"] = _turned(name, keeps=False, about=about)
            found[f"completed {name} about its {about}"] = _turned(name, keeps=True, about=about)
    for name, several in SEVERAL.items():
        for how in LINES:
            found[f"lines {name}, {how}"] = _all([_rays(told, how, middle=False) for told in several])
            found[f"line {name}, {how}"] = _all([_rays(told, how, middle=True) for told in several])
    for name, several in SEVERAL.items():
        found[f"hits {name} ringed"] = _hit_ringed(several, own=False)
        found[f"hits {name} and their rings"] = _hit_ringed(several, own=True)
    found["rings as wide as it"] = _wide_ring(half=False)
    found["rings half as wide as it"] = _wide_ring(half=True)
    for name, told in (DIAGONALS | TOLD).items():
        found[f"bouncing {name}"] = _bouncing(told, at_edges=False)
        found[f"bouncing {name}, at edges too"] = _bouncing(told, at_edges=True)
    for which in ("largest", "patterned"):
        found[f"replaced by the {which}"] = _replaced(which)
    for name, told in (FIXED | TOLD | DIAGONALS).items():
        for how in LINES:
            found[f"lines {name}, {how}"] = _rays(told, how, middle=False)
            found[f"line {name}, {how}"] = _rays(told, how, middle=True)
        for how in ("blocked", "edge"):
            found[f"gone {name}, {how}"] = _gone(told, how)
        for how in (
            "copied",
            "mirrored",
            "copied with gap",
            "mirrored with gap",
            "copied on",
            "copied on with gap",
        ):
            found[f"{how} {name}"] = _copied(told, how)
        if name not in DIAGONALS:
            for how in COUNTED:
                found[f"lines {name} by {how}"] = _rays(told, how, middle=False)
                found[f"gone {name} by {how}"] = _gone(told, how)
        else:
            found[f"gone {name} by 1"] = _gone(told, "1")
    return found | regarding()


ACTS = _acts()

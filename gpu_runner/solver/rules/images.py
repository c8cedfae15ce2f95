"""Pictures that a grid suggests: after gravity, mirrored object by object, its pattern continued.

Each is a source for every cell: where a rule moves things, a cell takes its colour from such a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .grids import NONE, Cells, Component, Mask, components, places, shifted

FALLS = ("down", "up", "left", "right")


def images(grid: Cells, ground: int) -> Iterator[tuple[str, Cells]]:
    """(name, picture) in one order for all grids; NONE where a picture says nothing."""
    filled = grid != ground
    objects, _ = components(grid, eight=True, by_colour=True, within=filled)
    groups, _ = components(grid, eight=True, by_colour=False, within=filled)
    for n, name in enumerate(FALLS):
        yield f"sand fallen {name}", sand_fallen(grid, ground, n)
        yield f"objects fallen {name}", _fallen(grid, ground, n)
    for name, parts in (("object", objects), ("group", groups)):
        yield f"{name}s mirrored left-right", _each(grid, ground, parts, lambda cut: cut[:, ::-1])
        yield f"{name}s mirrored top-bottom", _each(grid, ground, parts, lambda cut: cut[::-1])
        yield f"{name}s half turned", _each(grid, ground, parts, lambda cut: cut[::-1, ::-1])
    yield "pattern continued", continued(grid, ground)
    yield "mirrored onto itself", mirrored(grid, ground)
    yield "attracted", _attracted(grid, ground, objects)
    yield "stamped", _stamped(grid, ground, groups)
    yield from _legends(grid, groups)


def sand_fallen(grid: Cells, ground: int, direction: int) -> Cells:
    """Every filled cell falls by itself."""
    turned = _down(grid, direction)
    order = np.argsort(turned != ground, axis=0, kind="stable")
    return _up(np.take_along_axis(turned, order, axis=0), direction)


def _down(grid: Cells, direction: int) -> Cells:
    """Turned so that the direction is down."""
    return (grid, grid[::-1], grid.T[::-1], grid.T)[direction]


def _up(grid: Cells, direction: int) -> Cells:
    return (grid, grid[::-1], grid[::-1].T, grid.T)[direction]


def _fallen(grid: Cells, ground: int, direction: int) -> Cells:
    """Objects fall whole, the lowest first, onto the edge or what lies there already."""
    turned = _down(grid, direction)
    found, _ = components(turned, eight=True, by_colour=True, within=turned != ground)
    result = np.full_like(turned, ground)
    for one in sorted(found, key=lambda c: -int(c.rows.max())):
        fall, deepest = 0, turned.shape[0] - 1 - int(one.rows.max())
        while fall < deepest and (result[one.rows + fall + 1, one.columns] == ground).all():
            fall += 1
        result[one.rows + fall, one.columns] = one.colours
    return _up(result, direction)


def _attracted(grid: Cells, ground: int, objects: list[Component]) -> Cells:
    """Everything moves straight towards the largest object until it touches it."""
    if len(objects) < 2:
        return np.full_like(grid, NONE)
    centre = max(objects, key=lambda one: one.size)
    top, left, bottom, right = centre.box
    result = np.full_like(grid, ground)
    result[centre.rows, centre.columns] = centre.colours
    height, width = grid.shape
    others = [one for one in objects if one is not centre]
    others.sort(key=lambda one: _gap(one.box, centre.box))
    for one in others:
        up, lft, down, rgt = one.box
        dr, dc = 0, 0
        if lft < right and rgt > left:
            dr = 1 if down <= top else -1 if up >= bottom else 0
        elif up < bottom and down > top:
            dc = 1 if rgt <= left else -1 if lft >= right else 0
        rows, columns = one.rows, one.columns
        while dr or dc:
            rows_, columns_ = rows + dr, columns + dc
            inside = (rows_ >= 0) & (rows_ < height) & (columns_ >= 0) & (columns_ < width)
            if not inside.all() or (result[rows_, columns_] != ground).any():
                break
            rows, columns = rows_, columns_
        result[rows, columns] = one.colours
    return result


def _gap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> int:
    rows = max(one[0] - other[2], other[0] - one[2], 0)
    columns = max(one[1] - other[3], other[1] - one[3], 0)
    return rows + columns


def _each(grid: Cells, ground: int, parts: list[Component], turn: Callable[[Cells], Cells]) -> Cells:
    """Every part turned within its own box."""
    result = np.full_like(grid, ground)
    for part in parts:
        top, left, bottom, right = part.box
        own = np.full((bottom - top, right - left), ground)
        own[part.rows - top, part.columns - left] = part.colours
        turned = turn(own)
        where = turned != ground
        result[top:bottom, left:right][where] = turned[where]
    return result


def continued(grid: Cells, ground: int) -> Cells:
    """Ground cells filled by the translations under which no two filled cells differ."""
    height, width = grid.shape
    known = grid != ground
    if known.sum() < 4 or known.all():
        return np.full_like(grid, NONE)
    best: tuple[int, int, int] | None = None
    for down in range(height):
        for across in range(-width + 1, width):
            if (down, across) <= (0, 0):
                continue
            agreed = _agreed(grid, known, down, across)
            if agreed and (best is None or (down + abs(across)) < best[0]):
                best = (down + abs(across), down, across)
    if best is None:
        return np.full_like(grid, NONE)
    result = grid.copy()
    _, down, across = best
    for _ in range(max(height // max(down, 1), width // max(abs(across), 1)) + 1):
        for sign in (1, -1):
            moved = shifted(result, sign * down, sign * across, ground)
            new = (result == ground) & (moved != ground)
            result[new] = moved[new]
    return result


def _agreed(grid: Cells, known: Mask, down: int, across: int) -> bool:
    """Whether the shift maps enough filled cells onto filled cells, and none onto one of another colour, nor
    onto ground between filled cells."""
    moved = shifted(grid, down, across, NONE)
    there = shifted(known.astype(np.int64), down, across, 0) == 1
    both = known & there
    if both.sum() < max(3, known.sum() // 3) or (grid[both] != moved[both]).any():
        return False
    rows, columns = np.nonzero(known)
    box = np.zeros(grid.shape, bool)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    inside = box & (shifted(box.astype(np.int64), down, across, 0) == 1)
    return bool((known[inside] == there[inside]).all())


def mirrored(grid: Cells, ground: int) -> Cells:
    """Ground cells filled from mirror images about the axes on which the filled cells agree best."""
    height, width = grid.shape
    known = grid != ground
    row, column = places(grid.shape)
    result, some = grid.copy(), False
    for length, along in ((width, 1), (height, 0)):
        best, least = None, max(3, int(known.sum()) // 4)
        for axis in range(1, 2 * length - 2):
            y, x = (row, axis - column) if along else (axis - row, column)
            fits = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            image = np.full_like(grid, ground)
            image[fits] = grid[y[fits], x[fits]]
            both = known & (image != ground)
            if (grid[both] != image[both]).any():
                continue
            agreed = int(both.sum())
            if agreed > least and agreed >= 2 * int((known & fits & (image == ground)).sum()):
                best, least = (y, x, fits), agreed
        if best is not None:
            y, x, fits = best
            image = np.full_like(grid, ground)
            image[fits] = result[y[fits], x[fits]]
            new = (result == ground) & (image != ground)
            result[new] = image[new]
            some = True
    return result if some else np.full_like(grid, NONE)


def _stamped(grid: Cells, ground: int, groups: list[Component]) -> Cells:
    """The most colourful group copied over every lone cell that has one of its single cells' colour."""
    blank = np.full_like(grid, NONE)
    if len(groups) < 2:
        return blank
    model = max(groups, key=lambda one: (len(set(one.colours.tolist())), one.size))
    counts = np.bincount(model.colours, minlength=10)
    result = grid.copy()
    height, width = grid.shape
    used = False
    for one in groups:
        if one is model or one.size > 2:
            continue
        for r, c, colour in zip(one.rows.tolist(), one.columns.tolist(), one.colours.tolist(), strict=True):
            if counts[colour] != 1:
                continue
            at = int(np.flatnonzero(model.colours == colour)[0])
            rows = model.rows - model.rows[at] + r
            columns = model.columns - model.columns[at] + c
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            result[rows[inside], columns[inside]] = model.colours[inside]
            used = True
    return result if used else blank


def _legends(grid: Cells, groups: list[Component]) -> Iterator[tuple[str, Cells]]:
    """What small tables say of a cell's colour: groups two cells wide (or high) that are filled, read from
    the left to the right, from the right to the left, and so down and up."""
    for name, upright, turn in (
        ("right of it", False, False), ("left of it", False, True),
        ("below it", True, False), ("above it", True, True),
    ):  # fmt: skip
        table = np.full(10, NONE, np.int64)
        for group in groups:
            mask = group.mask()
            if mask.shape[0 if upright else 1] != 2 or not mask.all() or group.size > 20:
                continue
            top, left, bottom, right = group.box
            cut = grid[top:bottom, left:right]
            one, two = (cut[0], cut[1]) if upright else (cut[:, 0], cut[:, 1])
            if (one == two).any():
                continue
            for a, b in zip(one.tolist(), two.tolist(), strict=True):
                table[b if turn else a] = a if turn else b
        yield f"in the table {name}", table[grid]


def rooms(grid: Cells, ground: int) -> Iterator[tuple[str, Cells]]:
    """The one colour seen within the walls around a cell, the walls being the most common colour, or the
    second; and that of the cell's own panel."""
    counts = np.bincount(grid.ravel(), minlength=10)
    counts[ground] = 0
    order = np.argsort(-counts, kind="stable")
    for name, colour in (("walls", int(order[0])), ("second walls", int(order[1]))):
        result = np.full_like(grid, NONE)
        if counts[colour]:
            found, label = components(grid, eight=False, by_colour=False, within=grid != colour)
            for n, room in enumerate(found):
                seen = {int(c) for c in room.colours if c != ground}
                if len(seen) == 1:
                    result[label == n] = seen.pop()
        yield f"colour within {name}", result

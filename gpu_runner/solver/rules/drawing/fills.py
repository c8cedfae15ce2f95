"""Steps that fill and empty: what is enclosed, what is reached, boxes, outlines, insides, noise."""

from __future__ import annotations

import numpy as np

from gpu_runner.solver.rules.grids import (
    DIAGONAL,
    EIGHT,
    FOUR,
    NONE,
    Cells,
    Component,
    Mask,
    components,
    shifted,
)

from .scenes import (
    ANY,
    GROUPS,
    OBJECTS,
    ROOMS,
    SIDE_OBJECTS,
    WIDE_ROOMS,
    Scene,
    Step,
    main_colour,
    paint,
)

Ways = tuple[tuple[int, int], ...]


def fills() -> dict[str, Step]:
    """name → step."""
    found: dict[str, Step] = {
        "enclosed filled": _enclosed(ROOMS),
        "enclosed tightly filled": _enclosed(WIDE_ROOMS),
        "flooded": _flooded(FOUR),
        "flooded over corners": _flooded(EIGHT),
        "largest empty box filled": _empty_box,
        "lone cells smoothed": _smoothed(FOUR),
        "lonely cells smoothed": _smoothed(EIGHT),
        "healed": _healed,
        "colour removed": _removed,
        "colour alone": _alone,
        "holes of its box filled": _holes,
    }
    for kind, name in ((OBJECTS, "objects"), (SIDE_OBJECTS, "side-objects"), (GROUPS, "groups")):
        found[f"boxes of {name} filled"] = _boxes(kind, 0, inside=True)
        found[f"boxes around {name}"] = _boxes(kind, 1, inside=False)
        found[f"wide boxes around {name}"] = _boxes(kind, 2, inside=False)
    for tall, wide in ((2, 2), (3, 3), (1, 3), (3, 1), (2, 3), (3, 2)):
        found[f"only in blocks of {tall}×{wide}"] = _opened(tall, wide, False)
        found[f"ground in blocks of {tall}×{wide}"] = _opened(tall, wide, True)
    for name, ways in (("sides", FOUR), ("corners", DIAGONAL), ("neighbours", EIGHT)):
        found[f"grown to {name}"] = _grown(ways)
        found[f"hollowed by {name}"] = _hollowed(ways)
    return found


def _enclosed(kind: int) -> Step:
    """Ground that no way leads out of takes the colour that most of its walls have."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        height, width = canvas.shape
        for room in scene.parts(kind):
            top, left, bottom, right = room.box
            if top == 0 or left == 0 or bottom == height or right == width:
                continue
            walls = _beside(scene, room)
            if not len(walls):
                continue
            shade = int(np.bincount(walls, minlength=10).argmax())
            if colour in (ANY, shade):
                canvas[room.rows, room.columns] = shade
        return canvas

    return step


def _beside(scene: Scene, room: Component) -> Cells:
    """The colours beside a room that are not ground."""
    seen = []
    height, width = scene.grid.shape
    for dr, dc in FOUR:
        y, x = room.rows + dr, room.columns + dc
        fits = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        seen.append(scene.grid[y[fits], x[fits]])
    walls = np.concatenate(seen)
    found: Cells = walls[walls != scene.ground]
    return found


def _flooded(ways: Ways) -> Step:
    """A colour spreads over all ground that can be reached from it, the nearest one first."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = np.where(scene.seeds(colour), scene.grid, NONE)
        open_ = ~scene.filled
        for _ in range(canvas.size):
            new = canvas
            for dr, dc in ways:
                new = np.where((new == NONE) & open_, shifted(canvas, dr, dc), new)
            if np.array_equal(new, canvas):
                break
            canvas = new
        return np.where(canvas == NONE, scene.grid, canvas)

    return step


def _boxes(kind: int, ring: int, inside: bool) -> Step:
    """The ground in each part's box, or a ring around the box, in the part's main colour."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        for part in scene.parts(kind):
            shade = main_colour(part)
            if colour not in (ANY, shade) or (inside and part.size < 3):
                continue
            top, left, bottom, right = part.box
            rows, columns = np.indices((bottom - top + 2 * ring, right - left + 2 * ring))
            edge = (rows == 0) | (columns == 0) | (rows == rows.max()) | (columns == columns.max())
            where = np.ones(rows.shape, bool) if inside else edge
            paint(canvas, rows[where] + top - ring, columns[where] + left - ring, shade, ~scene.filled)
        return canvas

    return step


def _grown(ways: Ways) -> Step:
    """Ground beside a cell takes its colour."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        source = np.where(scene.seeds(colour), scene.grid, NONE)
        for dr, dc in ways:
            seen = shifted(source, dr, dc)
            where = ~scene.filled & (seen != NONE)
            canvas[where] = seen[where]
        return canvas

    return step


def _hollowed(ways: Ways) -> Step:
    """Cells with nothing but their own colour around them become ground."""

    def step(scene: Scene, colour: int) -> Cells:
        inner = scene.seeds(colour)
        for dr, dc in ways:
            inner = inner & (shifted(scene.grid, dr, dc) == scene.grid)
        return np.where(inner, scene.ground, scene.grid)

    return step


def _smoothed(ways: Ways) -> Step:
    """Cells with no like neighbour take the most common colour around them."""

    def step(scene: Scene, colour: int) -> Cells:
        grid = scene.grid
        near = np.stack([shifted(grid, dr, dc) for dr, dc in EIGHT])
        lone = np.ones(grid.shape, bool) if colour == ANY else grid == colour
        for dr, dc in ways:
            lone &= shifted(grid, dr, dc) != grid
        counts = np.stack([(near == shade).sum(0) for shade in range(10)])
        return np.where(lone, counts.argmax(0), grid)

    return step


def _healed(scene: Scene, colour: int) -> Cells | None:
    """Cells of a colour take over what is most common around them, from the outside inwards."""
    if colour == ANY:
        return None
    grid = scene.grid.copy()
    for _ in range(max(grid.shape)):
        gone = grid == colour
        if not gone.any():
            break
        near = np.stack([shifted(grid, dr, dc) for dr, dc in EIGHT])
        counts = np.stack([(near == shade).sum(0) if shade != colour else 0 * grid for shade in range(10)])
        where = gone & (counts.max(0) > 0)
        if not where.any():
            break
        grid = np.where(where, counts.argmax(0), grid)
    return grid


def _removed(scene: Scene, colour: int) -> Cells:
    return np.where(scene.seeds(colour), scene.ground, scene.grid)


def _alone(scene: Scene, colour: int) -> Cells:
    return np.where(scene.seeds(colour), scene.grid, scene.ground)


def _holes(scene: Scene, colour: int) -> Cells:
    """Of each object, what its outline encloses, whatever lies there, takes its colour."""
    canvas = scene.grid.copy()
    for part in sorted(scene.parts(OBJECTS), key=lambda one: -one.size):
        if part.size < 4 or not scene.own(part, colour):
            continue
        top, left, _, _ = part.box
        outside = np.pad(~part.mask(), 1, constant_values=True)
        rooms, _ = components(outside.astype(np.int64), eight=False, by_colour=True, within=outside)
        for room in rooms[1:]:
            canvas[room.rows - 1 + top, room.columns - 1 + left] = part.colours[0]
    return canvas


def _empty_box(scene: Scene, colour: int) -> Cells | None:
    """The largest box of nothing but ground, in the rarest colour; None where two are as large."""
    if colour == ANY:
        return None
    best, found = _largest_boxes(~scene.filled)
    if best < 4:
        return None
    canvas = scene.grid.copy()
    for top, left, bottom, right in found:
        canvas[top:bottom, left:right] = colour
    return canvas


def _largest_boxes(free: Mask) -> tuple[int, list[tuple[int, int, int, int]]]:
    height, width = free.shape
    best = 0
    found: list[tuple[int, int, int, int]] = []
    tall = np.zeros(width, np.int64)
    for bottom in range(height):
        tall = np.where(free[bottom], tall + 1, 0)
        heights = tall.tolist()
        for left in range(width):
            low = height
            for right in range(left, width):
                low = min(low, heights[right])
                if not low:
                    break
                area = low * (right - left + 1)
                if area > best:
                    best, found = area, []
                if area == best:
                    found.append((bottom + 1 - low, left, bottom + 1, right + 1))
    return best, found


def _opened(tall: int, wide: int, empty: bool) -> Step:
    """Only cells that lie in a block of their own colour stay; `empty`: ground in such a block takes the
    colour."""

    def step(scene: Scene, colour: int) -> Cells | None:
        if empty and colour == ANY:
            return None
        kept = np.zeros(scene.grid.shape, bool)
        for shade in [scene.ground] if empty else np.unique(scene.grid[scene.seeds(colour)]).tolist():
            mine = (scene.grid == shade).astype(np.int64)
            whole = np.ones(mine.shape, bool)
            for dr in range(tall):
                for dc in range(wide):
                    whole &= shifted(mine, dr, dc, 0) == 1
            for dr in range(tall):
                for dc in range(wide):
                    kept |= shifted(whole.astype(np.int64), -dr, -dc, 0) == 1
        if empty:
            return np.where(kept, colour, scene.grid)
        return np.where(scene.seeds(colour) & ~kept, scene.ground, scene.grid)

    return step

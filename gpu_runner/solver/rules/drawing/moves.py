"""Steps that move things: falling, drawn to each other, shifted by their own size, leaving trails."""

from __future__ import annotations

import numpy as np

from gpu_runner.solver.rules.grids import DIAGONAL, Cells, Component, steps_to_edge

from .scenes import ANY, GROUPS, OBJECTS, Scene, Step, paint

DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
SLANTED = dict(zip(("up-left", "up-right", "down-left", "down-right"), DIAGONAL, strict=True))


def moves() -> dict[str, Step]:
    """name → step."""
    found: dict[str, Step] = {}
    for name, way in DIRECTIONS.items():
        found[f"sand fallen {name}"] = _sand(way)
        found[f"objects fallen {name}"] = _fallen(OBJECTS, way, others=False)
        found[f"groups fallen {name}"] = _fallen(GROUPS, way, others=False)
        found[f"the others fallen {name}"] = _fallen(OBJECTS, way, others=True)
        found[f"objects moved {name} by their size"] = _by_size(OBJECTS, way, keep=False)
        found[f"grid rolled {name}"] = _rolled(way)
    for name, way in (DIRECTIONS | SLANTED).items():
        found[f"objects repeated {name}"] = _trail(OBJECTS, way, 0)
        found[f"groups repeated {name}"] = _trail(GROUPS, way, 0)
        found[f"objects repeated {name} with gaps"] = _trail(OBJECTS, way, 1)
        found[f"groups repeated {name} with gaps"] = _trail(GROUPS, way, 1)
        found[f"objects stepped {name}"] = _stepped(OBJECTS, way)
    found["objects drawn to the largest"] = _drawn(largest=True, along=False)
    found["others drawn to the colour"] = _drawn(largest=False, along=False)
    found["colour drawn to the others"] = _drawn_out
    found["cells drawn to their like"] = _drawn_home
    found["trails to the colour"] = _drawn(largest=False, along=True)
    return found


def _sand(way: tuple[int, int]) -> Step:
    """Each cell of the colour falls by itself onto the edge or what lies there."""

    def step(scene: Scene, colour: int) -> Cells:
        seeds = scene.seeds(colour)
        canvas = np.where(seeds, scene.ground, scene.grid)
        rows, columns = np.nonzero(seeds)
        order = np.argsort(-(rows * way[0] + columns * way[1]), kind="stable")
        height, width = canvas.shape
        cells, ground = canvas.tolist(), scene.ground
        for r, c in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            y, x = r, c
            while (
                0 <= y + way[0] < height
                and 0 <= x + way[1] < width
                and cells[y + way[0]][x + way[1]] == ground
            ):
                y, x = y + way[0], x + way[1]
            cells[y][x] = int(scene.grid[r, c])
        return np.array(cells, np.int64)

    return step


def _room(canvas: Cells, part: Component, way: tuple[int, int], ground: int) -> int:
    """How many steps a part can go until something or the edge is in its way."""
    far = np.arange(1, steps_to_edge(part.box, canvas.shape, way) + 1)[:, None]
    blocked = (canvas[part.rows + far * way[0], part.columns + far * way[1]] != ground).any(1)
    return int(blocked.argmax()) if blocked.any() else len(far)


def _fallen(kind: int, way: tuple[int, int], others: bool) -> Step:
    """Parts that show the colour (or all others) fall whole, the foremost first."""

    def step(scene: Scene, colour: int) -> Cells | None:
        if others and colour == ANY:
            return None
        moving = [part for part in scene.parts(kind) if scene.own(part, colour) != others]
        canvas = scene.grid.copy()
        for part in moving:
            canvas[part.rows, part.columns] = scene.ground
        moving.sort(key=lambda part: -int((part.rows * way[0] + part.columns * way[1]).max()))
        for part in moving:
            far = _room(canvas, part, way, scene.ground)
            canvas[part.rows + far * way[0], part.columns + far * way[1]] = part.colours
        return canvas

    return step


def _by_size(kind: int, way: tuple[int, int], keep: bool) -> Step:
    def step(scene: Scene, colour: int) -> Cells:
        moving = [part for part in scene.parts(kind) if scene.own(part, colour)]
        canvas = scene.grid.copy()
        if not keep:
            for part in moving:
                canvas[part.rows, part.columns] = scene.ground
        for part in moving:
            tall, wide = part.shape
            paint(canvas, part.rows + way[0] * tall, part.columns + way[1] * wide, part.colours)
        return canvas

    return step


def _stepped(kind: int, way: tuple[int, int]) -> Step:
    """Parts go one cell, but not over the edge."""

    def step(scene: Scene, colour: int) -> Cells:
        moving = [part for part in scene.parts(kind) if scene.own(part, colour)]
        canvas = scene.grid.copy()
        for part in moving:
            canvas[part.rows, part.columns] = scene.ground
        for part in moving:
            far = min(1, steps_to_edge(part.box, canvas.shape, way))
            canvas[part.rows + far * way[0], part.columns + far * way[1]] = part.colours
        return canvas

    return step


def _rolled(way: tuple[int, int]) -> Step:
    def step(scene: Scene, colour: int) -> Cells | None:
        return np.roll(scene.grid, way, (0, 1)) if colour == ANY else None

    return step


def _trail(kind: int, way: tuple[int, int], gap: int) -> Step:
    """Parts repeated on and on in a direction, over ground."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas, ground = scene.grid.copy(), ~scene.filled
        longest = max(canvas.shape)
        for part in scene.parts(kind):
            if not scene.own(part, colour):
                continue
            tall, wide = part.shape
            down, across = way[0] * (tall + gap), way[1] * (wide + gap)
            times = np.arange(1, longest // max(abs(down), abs(across)) + 1)[:, None]
            rows, columns = part.rows + times * down, part.columns + times * across
            paint(canvas, rows.ravel(), columns.ravel(), np.tile(part.colours, len(times)), ground)
        return canvas

    return step


def _toward(part: Component, centre: Component) -> tuple[int, int]:
    """The straight direction from one part to another; (0, 0) where they do not face each other."""
    top, left, bottom, right = centre.box
    up, lft, down, rgt = part.box
    if lft < right and rgt > left:
        return (1, 0) if down <= top else (-1, 0) if up >= bottom else (0, 0)
    if up < bottom and down > top:
        return (0, 1) if rgt <= left else (0, -1) if lft >= right else (0, 0)
    return 0, 0


def _gap(one: Component, other: Component) -> int:
    up, left, down, right = one.box
    top, lft, bottom, rgt = other.box
    return max(up - bottom, top - down, 0) + max(left - rgt, lft - right, 0)


def _pull(
    canvas: Cells, scene: Scene, moving: list[Component], centres: list[Component], along: bool
) -> None:
    """Each part goes straight to the nearest centre that it faces; `along`: and leaves its colour behind."""
    if not along:
        for part in moving:
            canvas[part.rows, part.columns] = scene.ground
    for part in sorted(moving, key=lambda one: min(_gap(one, centre) for centre in centres)):
        facing = [centre for centre in centres if _toward(part, centre) != (0, 0)]
        way = _toward(part, min(facing, key=lambda centre: _gap(part, centre))) if facing else (0, 0)
        far = (
            _room(canvas if not along else scene.grid, part, way, scene.ground) if facing and not along else 0
        )
        if along and facing:
            ahead = np.zeros(canvas.shape, np.int64)
            ahead[scene.filled] = 1
            ahead[part.rows, part.columns] = 0
            far = _room(ahead, part, way, 0)
            for times in range(1, far + 1):
                canvas[part.rows + times * way[0], part.columns + times * way[1]] = part.colours
        canvas[part.rows + far * way[0], part.columns + far * way[1]] = part.colours


def _drawn(largest: bool, along: bool) -> Step:
    """Everything goes to the largest object, or to those of the colour."""

    def step(scene: Scene, colour: int) -> Cells | None:
        objects = scene.parts(OBJECTS)
        if len(objects) < 2 or largest != (colour == ANY):
            return None
        if largest:
            centres = [max(objects, key=lambda one: one.size)]
        else:
            centres = [part for part in objects if scene.own(part, colour)]
        moving = [part for part in objects if all(part is not centre for centre in centres)]
        if not centres or not moving:
            return None
        canvas = scene.grid.copy()
        _pull(canvas, scene, moving, centres, along)
        return canvas

    return step


def _drawn_out(scene: Scene, colour: int) -> Cells | None:
    """The objects of the colour go to the nearest of the others that they face."""
    if colour == ANY:
        return None
    moving = [part for part in scene.parts(OBJECTS) if scene.own(part, colour)]
    centres = [part for part in scene.parts(OBJECTS) if not scene.own(part, colour)]
    if not moving or not centres:
        return None
    canvas = scene.grid.copy()
    _pull(canvas, scene, moving, centres, along=False)
    return canvas


def _drawn_home(scene: Scene, colour: int) -> Cells:
    """Single cells go to the nearest object of their own colour that they face, whatever lies between; those
    that face none vanish."""
    objects = scene.parts(OBJECTS)
    canvas = scene.grid.copy()
    single = [part for part in objects if part.size == 1 and scene.own(part, colour)]
    for part in single:
        canvas[part.rows, part.columns] = scene.ground
    for part in single:
        like = [one for one in objects if one.size > 1 and one.colours[0] == part.colours[0]]
        facing = [one for one in like if _toward(part, one) != (0, 0)]
        if facing:
            home = min(facing, key=lambda one: _gap(part, one))
            far, way = _gap(part, home), _toward(part, home)
            paint(canvas, part.rows + far * way[0], part.columns + far * way[1], part.colours)
    return canvas

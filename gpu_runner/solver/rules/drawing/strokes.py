"""Steps that draw lines: rays from cells, strokes drawn on, like cells joined, pointers followed."""

from __future__ import annotations

import numpy as np

from gpu_runner.solver.rules.grids import DIAGONAL, EIGHT, FOUR, NONE, Cells, Mask, shifted

from .scenes import ANY, GROUPS, OBJECTS, Scene, Step, main_colour, minor_colour

Ways = tuple[tuple[int, int], ...]

UNTIL, THROUGH, HITTING = range(3)
"""How far a ray goes: to the first thing in its way; to the edge, behind what lies there; or to the first
thing, and not at all where there is none."""

WAYS: dict[str, Ways] = {
    "up": ((-1, 0),), "down": ((1, 0),), "left": ((0, -1),), "right": ((0, 1),),
    "up-left": ((-1, -1),), "up-right": ((-1, 1),), "down-left": ((1, -1),), "down-right": ((1, 1),),
    "across": ((0, -1), (0, 1)), "upright": ((-1, 0), (1, 0)), "straight": FOUR, "slanted": DIAGONAL,
    "falling": ((-1, -1), (1, 1)), "rising": ((1, -1), (-1, 1)), "everywhere": EIGHT,
}  # fmt: skip


def strokes() -> dict[str, Step]:
    """name → step."""
    found: dict[str, Step] = {}
    for mode, name in ((UNTIL, "rays"), (THROUGH, "lines"), (HITTING, "shots")):
        for way, ways in WAYS.items():
            if mode != HITTING or len(ways) > 1:
                found[f"{name} {way}"] = _rays(ways, mode)
    for way in ("across", "upright", "straight", "slanted", "everywhere"):
        found[f"joined {way}"] = _joined(WAYS[way], over=False)
        found[f"joined over all {way}"] = _joined(WAYS[way], over=True)
    for way in ("straight", "slanted", "everywhere"):
        found[f"strokes drawn on {way}"] = _drawn_on(WAYS[way], UNTIL)
        found[f"strokes drawn through {way}"] = _drawn_on(WAYS[way], THROUGH)
    found["pointers followed"] = _pointers(1, own=False)
    found["pointers followed back"] = _pointers(-1, own=False)
    found["pointers followed in the main colour"] = _pointers(1, own=True)
    found["corners drawn on"] = _corners
    found["first hit coloured"] = _hits
    for name, turn in (("left", 1), ("right", -1)):
        for way in ("up", "down", "left", "right"):
            found[f"walks {way} turning {name}"] = _walks(WAYS[way][0], turn)
    for way in ("up-left", "up-right", "down-left", "down-right", "slanted"):
        found[f"bounces {way}"] = _bounces(WAYS[way])
    return found


def cast(canvas: Cells, source: Cells, start: Mask, way: tuple[int, int], ground: int, mode: int) -> None:
    """Draw the colours of `source` from the cells `start` in a direction over the canvas's ground. What lies
    in the way is what `source` shows."""
    height, width = source.shape
    rows, columns = np.nonzero(start)
    colours = source[rows, columns]
    drawn: list[tuple[Cells, Cells, Cells, Cells]] = []
    hit = np.zeros(len(rows), bool)
    alive = np.arange(len(rows))
    for _ in range(max(height, width)):
        rows, columns = rows + way[0], columns + way[1]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows, columns, alive = rows[inside], columns[inside], alive[inside]
        if not len(rows):
            break
        free = source[rows, columns] == ground
        if mode != THROUGH:
            hit[alive[~free]] = True
            rows, columns, alive = rows[free], columns[free], alive[free]
            drawn.append((rows, columns, colours[alive], alive))
        else:
            drawn.append((rows[free], columns[free], colours[alive[free]], alive[free]))
    for y, x, shade, who in drawn:
        where = hit[who] if mode == HITTING else np.ones(len(who), bool)
        canvas[y[where], x[where]] = shade[where]


def _rays(ways: Ways, mode: int) -> Step:
    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        for way in ways:
            cast(canvas, scene.grid, scene.seeds(colour), way, scene.ground, mode)
        return canvas

    return step


def _joined(ways: Ways, over: bool) -> Step:
    """Ground between two cells of one colour takes it; `over`: whatever else lies between is painted over."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        if over:
            _join_over(canvas, scene, colour, ways)
            return canvas
        seeds = scene.seeds(colour)
        for dr, dc in ways[: len(ways) // 2] if len(ways) == 2 else [w for w in ways if w > (0, 0)]:
            one, two = _nearest(scene, dr, dc), _nearest(scene, -dr, -dc)
            where = ~scene.filled & (one == two) & (one != NONE)
            if colour != ANY:
                where &= one == colour
            canvas[where] = one[where]
        return canvas if seeds.any() else scene.grid

    return step


def _nearest(scene: Scene, dr: int, dc: int) -> Cells:
    """The first filled cell's colour in a direction."""
    seen = np.full_like(scene.grid, NONE)
    for far in range(1, max(scene.grid.shape)):
        moved = shifted(np.where(scene.filled, scene.grid, NONE), far * dr, far * dc)
        seen = np.where(seen == NONE, moved, seen)
    return seen


def _join_over(canvas: Cells, scene: Scene, colour: int, ways: Ways) -> None:
    colours = np.unique(scene.grid[scene.seeds(colour)]).tolist()
    for shade in colours:
        mine = scene.grid == shade
        for dr, dc in [w for w in ways if w > (0, 0)]:
            one, two = np.zeros_like(mine), np.zeros_like(mine)
            for far in range(1, max(scene.grid.shape)):
                one |= shifted(mine.astype(np.int64), far * dr, far * dc, 0) == 1
                two |= shifted(mine.astype(np.int64), -far * dr, -far * dc, 0) == 1
            canvas[one & two] = shade


def _drawn_on(ways: Ways, mode: int) -> Step:
    """Strokes of at least two cells drawn on in their own direction."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        seeds = scene.seeds(colour)
        for dr, dc in ways:
            behind = shifted(scene.grid, -dr, -dc) == scene.grid
            beside = (shifted(scene.grid, dc, -dr) == scene.grid) | (
                shifted(scene.grid, -dc, dr) == scene.grid
            )
            cast(canvas, scene.grid, seeds & behind & ~beside, (dr, dc), scene.ground, mode)
        return canvas

    return step


def _pointers(sign: int, own: bool) -> Step:
    """From the cell that alone has another colour than its group, away from the group's middle (or over it,
    sign -1)."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        for part in scene.parts(GROUPS):
            minor = minor_colour(part)
            if minor == NONE or (colour not in (ANY, minor)):
                continue
            few = part.colours == minor
            middle = part.rows[~few].mean(), part.columns[~few].mean()
            start = np.zeros(scene.grid.shape, bool)
            start[part.rows[few], part.columns[few]] = True
            down = float(part.rows[few].mean() - middle[0])
            across = float(part.columns[few].mean() - middle[1])
            largest = max(abs(down), abs(across), 1e-9)
            dr = int(np.sign(down)) if abs(down) > 0.4 * largest else 0
            dc = int(np.sign(across)) if abs(across) > 0.4 * largest else 0
            if not (dr or dc):
                continue
            if sign < 0:
                start[:] = False
                start[part.rows, part.columns] = True
            source = scene.grid
            if own:
                source = scene.grid.copy()
                source[start] = main_colour(part)
            elif sign < 0:
                source = scene.grid.copy()
                source[start] = minor
            cast(canvas, source, start, (sign * dr, sign * dc), scene.ground, UNTIL)
        return canvas

    return step


def _corners(scene: Scene, colour: int) -> Cells:
    """From the corners of each object's box slanting outwards."""
    canvas = scene.grid.copy()
    for part in scene.parts(OBJECTS):
        if not scene.own(part, colour):
            continue
        top, left, bottom, right = part.box
        for r, dr in ((top, -1), (bottom - 1, 1)):
            for c, dc in ((left, -1), (right - 1, 1)):
                start = np.zeros(scene.grid.shape, bool)
                start[r, c] = scene.grid[r, c] == part.colours[0]
                cast(canvas, scene.grid, start, (dr, dc), scene.ground, UNTIL)
    return canvas


def _hits(scene: Scene, colour: int) -> Cells:
    """A larger group that a single cell faces takes that cell's colour where it is nearest."""
    canvas = scene.grid.copy()
    sizes = np.array([part.size for part in scene.parts(GROUPS)])
    label = scene.labels(GROUPS)
    height, width = canvas.shape
    for part in scene.parts(GROUPS):
        if part.size != 1 or not scene.own(part, colour):
            continue
        for dr, dc in FOUR:
            y, x = int(part.rows[0]) + dr, int(part.columns[0]) + dc
            while 0 <= y < height and 0 <= x < width and not scene.filled[y, x]:
                y, x = y + dr, x + dc
            if 0 <= y < height and 0 <= x < width and sizes[label[y, x]] > 1:
                canvas[y, x] = part.colours[0]
    return canvas


def _walks(way: tuple[int, int], turn: int) -> Step:
    """Each seed walks on over ground and turns by a quarter, always to one side, where something is in its
    way; at the edge it ends."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        height, width = canvas.shape
        for r, c in zip(*np.nonzero(scene.seeds(colour)), strict=True):
            dr, dc, y, x, turns = *way, int(r), int(c), 0
            for _ in range(4 * (height + width)):
                if not (0 <= y + dr < height and 0 <= x + dc < width) or turns > 3:
                    break
                if scene.grid[y + dr, x + dc] != scene.ground:
                    dr, dc, turns = (-dc, dr, turns + 1) if turn > 0 else (dc, -dr, turns + 1)
                    continue
                y, x, turns = y + dr, x + dc, 0
                canvas[y, x] = scene.grid[r, c]
        return canvas

    return step


def _bounces(ways: Ways) -> Step:
    """Slanting rays that are thrown back by the edges and by what lies in their way."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        height, width = canvas.shape

        def shut(y: int, x: int) -> bool:
            return not (0 <= y < height and 0 <= x < width) or bool(scene.filled[y, x])

        for r, c in zip(*np.nonzero(scene.seeds(colour)), strict=True):
            for down, across in ways:
                dr, dc, y, x = down, across, int(r), int(c)
                for _ in range(2 * (height + width)):
                    if shut(y + dr, x + dc):
                        side, above = shut(y, x + dc), shut(y + dr, x)
                        dr, dc = (
                            (dr, -dc)
                            if side and not above
                            else (-dr, dc)
                            if above and not side
                            else (-dr, -dc)
                        )
                        if shut(y + dr, x + dc):
                            break
                    y, x = y + dr, x + dc
                    canvas[y, x] = scene.grid[r, c]
        return canvas

    return step

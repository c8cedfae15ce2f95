"""Steps that draw lines: rays from cells, strokes drawn on, like cells joined, pointers followed."""

from __future__ import annotations

import numpy as np

from gpu_runner.solver.rules.grids import DIAGONAL, EIGHT, FOUR, NONE, Cells, Mask, Way, shifted

from .scenes import ANY, GROUPS, OBJECTS, Scene, Step, main_colour, minor_colour

Ways = tuple[Way, ...]

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


def cast(canvas: Cells, scene: Scene, start: Mask, way: Way, mode: int, source: Cells | None = None) -> None:
    """Draw the colours of the cells `start` in a direction over the scene's ground. source: what to take the
    colours from, if not from the scene itself."""
    rows, columns = np.nonzero(start)
    colours = (scene.grid if source is None else source)[rows, columns]
    if not len(rows):
        return
    to_edge = _to_edge(rows, columns, canvas.shape, way)
    far = to_edge if mode == THROUGH else scene.free(way)[rows, columns]
    if mode == HITTING:
        far = np.where(far < to_edge, far, 0)
    # Where lines cross, what is farther from its start lies above: painted step by step.
    step, who = np.nonzero(np.arange(1, far.max() + 1)[:, None] <= far)
    y, x = rows[who] + (step + 1) * way[0], columns[who] + (step + 1) * way[1]
    if mode == THROUGH:
        free = ~scene.filled[y, x]
        y, x, who = y[free], x[free], who[free]
    canvas[y, x] = colours[who]


def _to_edge(rows: Cells, columns: Cells, shape: tuple[int, ...], way: Way) -> Cells:
    """Steps from each place until the edge."""
    down = rows if way[0] < 0 else shape[0] - 1 - rows
    across = columns if way[1] < 0 else shape[1] - 1 - columns
    return down if not way[1] else across if not way[0] else np.minimum(down, across)


def _rays(ways: Ways, mode: int) -> Step:
    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        for way in ways:
            cast(canvas, scene, scene.seeds(colour), way, mode)
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
            one, two = scene.nearest((dr, dc)), scene.nearest((-dr, -dc))
            where = ~scene.filled & (one == two) & (one != NONE)
            if colour != ANY:
                where &= one == colour
            canvas[where] = one[where]
        return canvas if seeds.any() else scene.grid

    return step


def _join_over(canvas: Cells, scene: Scene, colour: int, ways: Ways) -> None:
    colours = np.unique(scene.grid[scene.seeds(colour)]).tolist()
    for shade in colours:
        mine = scene.grid == shade
        for dr, dc in [w for w in ways if w > (0, 0)]:
            canvas[_any_ahead(mine, dr, dc) & _any_ahead(mine, -dr, -dc)] = shade


def _any_ahead(mine: Mask, dr: int, dc: int) -> Mask:
    """Whether one of the cells lies in a direction, at any distance: twice as far in each round."""
    seen, far = shifted(mine.astype(np.int64), dr, dc, 0), 1
    while far < max(mine.shape):
        seen |= shifted(seen, far * dr, far * dc, 0)
        far *= 2
    found: Mask = seen == 1
    return found


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
            cast(canvas, scene, seeds & behind & ~beside, (dr, dc), mode)
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
            cast(canvas, scene, start, (sign * dr, sign * dc), UNTIL, source)
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
                cast(canvas, scene, start, (dr, dc), UNTIL)
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
        canvas, filled = scene.grid.tolist(), scene.filled.tolist()
        height, width = scene.grid.shape
        for r, c in np.argwhere(scene.seeds(colour)).tolist():
            shade = int(scene.grid[r, c])
            dr, dc, y, x, turns = *way, r, c, 0
            for _ in range(4 * (height + width)):
                if not (0 <= y + dr < height and 0 <= x + dc < width) or turns > 3:
                    break
                if filled[y + dr][x + dc]:
                    dr, dc, turns = (-dc, dr, turns + 1) if turn > 0 else (dc, -dr, turns + 1)
                    continue
                y, x, turns = y + dr, x + dc, 0
                canvas[y][x] = shade
        return np.array(canvas, np.int64)

    return step


def _bounces(ways: Ways) -> Step:
    """Slanting rays that are thrown back by the edges and by what lies in their way."""

    def step(scene: Scene, colour: int) -> Cells:
        height, width = scene.grid.shape
        # Lists with a rim spare the innermost loop all questions about the edge.
        canvas, shut = np.pad(scene.grid, 1).tolist(), np.pad(scene.filled, 1, constant_values=True).tolist()
        for r, c in (np.argwhere(scene.seeds(colour)) + 1).tolist():
            shade = int(scene.grid[r - 1, c - 1])
            for down, across in ways:
                dr, dc, y, x = down, across, r, c
                for _ in range(2 * (height + width)):
                    if shut[y + dr][x + dc]:
                        side, above = shut[y][x + dc], shut[y + dr][x]
                        dr, dc = (
                            (dr, -dc)
                            if side and not above
                            else (-dr, dc)
                            if above and not side
                            else (-dr, -dc)
                        )
                        if shut[y + dr][x + dc]:
                            break
                    y, x = y + dr, x + dc
                    canvas[y][x] = shade
        return np.array(canvas, np.int64)[1:-1, 1:-1]

    return step

"""Steps that work part by part: mirrored, made symmetric, kept by a trait, recoloured, stamped elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpu_runner.solver.rules.grids import NONE, Cells, Component, Mask

from .scenes import ANY, GROUPS, OBJECTS, Scene, Step, main_colour, minor_colour, paint

Turn = Callable[[Cells], Cells]

TURNS: tuple[Turn, ...] = (
    lambda cut: cut, lambda cut: cut[:, ::-1], lambda cut: cut[::-1], lambda cut: cut[::-1, ::-1],
    lambda cut: cut.T, lambda cut: cut[::-1, ::-1].T, np.rot90, lambda cut: np.rot90(cut, -1),
)  # fmt: skip

Trait = Callable[[Scene, list[Component]], list[bool]]


def shapes() -> dict[str, Step]:
    """name → step."""
    found: dict[str, Step] = {}
    for kind, name in ((OBJECTS, "objects"), (GROUPS, "groups")):
        found[f"{name} mirrored left-right"] = _each(kind, TURNS[1])
        found[f"{name} mirrored top-bottom"] = _each(kind, TURNS[2])
        found[f"{name} half turned"] = _each(kind, TURNS[3])
        found[f"{name} transposed"] = _each(kind, TURNS[4])
        found[f"{name} a quarter turned"] = _each(kind, TURNS[6])
        found[f"{name} a quarter turned back"] = _each(kind, TURNS[7])
        for way, turn in (("up", 2), ("down", 2), ("left", 1), ("right", 1)):
            found[f"{name} mirrored {way}wards"] = _beside(kind, way, TURNS[turn])
        found[f"{name} made alike left-right"] = _symmetric(kind, (1,))
        found[f"{name} made alike top-bottom"] = _symmetric(kind, (2,))
        found[f"{name} made alike both ways"] = _symmetric(kind, (1, 2, 3))
        found[f"{name} made alike from all sides"] = _symmetric(kind, tuple(range(8)))
        for trait, holds in TRAITS.items():
            found[f"only {name} that are {trait}"] = _kept(kind, holds, True)
            found[f"no {name} that are {trait}"] = _kept(kind, holds, False)
    found["alike left-right"] = _whole((1,))
    found["alike top-bottom"] = _whole((2,))
    found["alike both ways"] = _whole((1, 2, 3))
    found["alike from all sides"] = _whole(tuple(range(8)))
    found["centred on the colour"] = _centred
    found["groups in their minor colour"] = _recoloured(minor_colour)
    found["groups in their main colour"] = _recoloured(main_colour)
    found["groups with colours swapped"] = _swapped
    found["stamped"] = _stamped(turned=False)
    found["stamped turned"] = _stamped(turned=True)
    found["stamped on cells"] = _on_cells
    found["stamped at sizes"] = _stamped(turned=False, times=(1, 2, 3, 4))
    found["like shapes exchanged"] = _exchanged
    for kind, name in ((OBJECTS, "objects"), (GROUPS, "groups")):
        found[f"{name} turned onto themselves"] = _onto_itself(kind)
    found["all turned onto itself"] = _onto_itself(None)
    return found


def _cut(scene: Scene, part: Component) -> Cells:
    top, left, bottom, right = part.box
    own = np.full((bottom - top, right - left), scene.ground)
    own[part.rows - top, part.columns - left] = part.colours
    return own


def _lay(canvas: Cells, cut: Cells, top: int, left: int, ground: int, only: Mask | None = None) -> None:
    rows, columns = np.nonzero(cut != ground)
    paint(canvas, rows + top, columns + left, cut[rows, columns], only)


def _each(kind: int, turn: Turn) -> Step:
    def step(scene: Scene, colour: int) -> Cells:
        mine = [part for part in scene.parts(kind) if scene.own(part, colour)]
        canvas = scene.grid.copy()
        for part in mine:
            canvas[part.rows, part.columns] = scene.ground
        for part in mine:
            _lay(canvas, turn(_cut(scene, part)), part.box[0], part.box[1], scene.ground)
        return canvas

    return step


def _beside(kind: int, way: str, turn: Turn) -> Step:
    """A mirror image of each part beside it."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        for part in scene.parts(kind):
            if not scene.own(part, colour):
                continue
            cut = turn(_cut(scene, part))
            top, left, bottom, right = part.box
            at = {
                "up": (top - cut.shape[0], left), "down": (bottom, left),
                "left": (top, left - cut.shape[1]), "right": (top, right),
            }[way]  # fmt: skip
            _lay(canvas, cut, *at, scene.ground, ~scene.filled)
        return canvas

    return step


def _symmetric(kind: int, turns: tuple[int, ...]) -> Step:
    """The ground in each part's box filled with its turned images."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        for part in scene.parts(kind):
            if not scene.own(part, colour) or part.size < 3:
                continue
            cut = _cut(scene, part)
            if len(turns) > 3 and cut.shape[0] != cut.shape[1]:
                continue
            for n in turns:
                _lay(canvas, TURNS[n](cut), part.box[0], part.box[1], scene.ground, canvas == scene.ground)
        return canvas

    return step


def _whole(turns: tuple[int, ...]) -> Step:
    """Ground filled with the turned grid; with a colour, that is what is filled."""

    def step(scene: Scene, colour: int) -> Cells | None:
        grid = scene.grid
        if len(turns) > 3 and grid.shape[0] != grid.shape[1]:
            return None
        gap = scene.ground if colour == ANY else colour
        canvas = grid.copy()
        for n in turns:
            canvas = np.where(canvas == gap, TURNS[n](grid), canvas)
        return canvas

    return step


def _centred(scene: Scene, colour: int) -> Cells | None:
    """All that is filled repeated from four sides about the middle of what has the colour."""
    if colour == ANY:
        return None
    rows, columns = np.nonzero(scene.grid == colour)
    if not len(rows):
        return None
    down, across = int(rows.min() + rows.max()), int(columns.min() + columns.max())
    canvas = scene.grid.copy()
    y, x = np.nonzero(scene.filled)
    shades = scene.grid[y, x]
    for a, b in ((down - y, x), (y, across - x), (down - y, across - x)):
        paint(canvas, a, b, shades, canvas == scene.ground)
    if down - across in (-1, 1):
        return canvas
    turn = ((down - across) // 2 + x, (across - down) // 2 + y) if (down - across) % 2 == 0 else None
    if turn is not None and rows.max() - rows.min() == columns.max() - columns.min():
        a, b = turn
        for r, c in ((a, b), (down - a, b), (a, across - b), (down - a, across - b)):
            paint(canvas, r, c, shades, canvas == scene.ground)
    return canvas


def _sizes(parts: list[Component]) -> list[int]:
    return [part.size for part in parts]


def _alone(keys: list[object]) -> list[bool]:
    return [keys.count(key) == 1 for key in keys]


TRAITS: dict[str, Trait] = {
    "largest": lambda _, parts: [part.size == max(_sizes(parts)) for part in parts],
    "smallest": lambda _, parts: [part.size == min(_sizes(parts)) for part in parts],
    "single": lambda _, parts: [part.size == 1 for part in parts],
    "small": lambda _, parts: [part.size <= 3 for part in parts],
    "boxes": lambda _, parts: [bool(part.mask().all()) and part.size > 1 for part in parts],
    "at the edge": lambda scene, parts: [_at_edge(scene, part) for part in parts],
    "alone in size": lambda _, parts: _alone(list(_sizes(parts))),
    "alone in shape": lambda _, parts: _alone([(part.shape, part.mask().tobytes()) for part in parts]),
    "alone in colour": lambda _, parts: _alone([main_colour(part) for part in parts]),
    "of many colours": lambda _, parts: [len(set(part.colours.tolist())) > 1 for part in parts],
    "alike left-right": lambda _, parts: [
        bool((part.mask() == part.mask()[:, ::-1]).all()) for part in parts
    ],
}


def _at_edge(scene: Scene, part: Component) -> bool:
    top, left, bottom, right = part.box
    height, width = scene.grid.shape
    return top == 0 or left == 0 or bottom == height or right == width


def _kept(kind: int, holds: Trait, wanted: bool) -> Step:
    def step(scene: Scene, colour: int) -> Cells | None:
        parts = [part for part in scene.parts(kind) if scene.own(part, colour)]
        if not parts:
            return None
        canvas = scene.grid.copy()
        for part, held in zip(parts, holds(scene, parts), strict=True):
            if held != wanted:
                canvas[part.rows, part.columns] = scene.ground
        return canvas

    return step


def _recoloured(shade: Callable[[Component], int]) -> Step:
    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        for part in scene.parts(GROUPS):
            new = shade(part)
            if new != NONE and scene.own(part, colour):
                canvas[part.rows, part.columns] = new
        return canvas

    return step


def _swapped(scene: Scene, colour: int) -> Cells:
    """In groups of two colours each cell takes the other."""
    canvas = scene.grid.copy()
    for part in scene.parts(GROUPS):
        both = sorted(set(part.colours.tolist()))
        if len(both) == 2 and scene.own(part, colour):
            canvas[part.rows, part.columns] = np.where(part.colours == both[0], both[1], both[0])
    return canvas


def _stamped(turned: bool, times: tuple[int, ...] = (1,)) -> Step:
    """The most colourful group laid wherever its rare cells lie again: all but those of its main colour."""

    def step(scene: Scene, colour: int) -> Cells | None:
        groups = [part for part in scene.parts(GROUPS) if len(set(part.colours.tolist())) > 1]
        if not groups:
            return None
        best = max(len(set(part.colours.tolist())) for part in groups)
        canvas = scene.grid.copy()
        for model in groups:
            if len(set(model.colours.tolist())) == best or model.size > 4:
                free = scene.grid.copy()
                free[model.rows, model.columns] = scene.ground
                for n in sorted(times, reverse=True):
                    _stamp(canvas, free, scene, model, colour, TURNS if turned else TURNS[:1], n)
        return canvas

    return step


def _stamp(
    canvas: Cells,
    free: Cells,
    scene: Scene,
    model: Component,
    colour: int,
    turns: tuple[Turn, ...],
    times: int,
) -> None:
    """Lay the model, so many times as large, where its rare cells are found in `free`, and take them away
    there: a smaller one may not be found in them again."""
    main = main_colour(model) if colour == ANY else colour
    height, width = scene.grid.shape
    for turn in turns:
        cut = np.kron(turn(_cut(scene, model)), np.ones((times, times), np.int64))
        rows, columns = np.nonzero((cut != scene.ground) & (cut != main))
        if not len(rows):
            return
        shades = cut[rows, columns]
        spots = np.argwhere(free == shades[0])
        for r, c in spots.tolist():
            y, x = rows + (r - rows[0]), columns + (c - columns[0])
            if y.min() < 0 or x.min() < 0 or y.max() >= height or x.max() >= width:
                continue
            if (free[y, x] == shades).all():
                _lay(canvas, cut, int(r - rows[0]), int(c - columns[0]), scene.ground)
                if times > 1:
                    free[y, x] = scene.ground


def _on_cells(scene: Scene, colour: int) -> Cells | None:
    """The largest group copied with its middle on every single cell (of the colour), in that cell's place."""
    groups = scene.parts(GROUPS)
    if not groups:
        return None
    model = max(groups, key=lambda part: part.size)
    if model.size < 3 or model.size > 60:
        return None
    top, left, bottom, right = model.box
    middle = (top + bottom - 1) // 2, (left + right - 1) // 2
    canvas = scene.grid.copy()
    for part in groups:
        if part.size == 1 and scene.own(part, colour):
            rows, columns = model.rows - middle[0] + part.rows[0], model.columns - middle[1] + part.columns[0]
            paint(canvas, rows, columns, model.colours)
    return canvas


def _exchanged(scene: Scene, colour: int) -> Cells:
    """Groups of one colour (or of the colour) take the pattern of a colourful group of the same outline."""
    canvas = scene.grid.copy()
    groups = scene.parts(GROUPS)
    models = [part for part in groups if len(set(part.colours.tolist())) > 1]
    for part in groups:
        if len(set(part.colours.tolist())) > 1 or not scene.own(part, colour):
            continue
        for model in models:
            if part.shape == model.shape and (part.mask() == model.mask()).all():
                top, left, _, _ = part.box
                canvas[part.rows, part.columns] = _cut(scene, model)[part.rows - top, part.columns - left]
    return canvas


def _onto_itself(kind: int | None) -> Step:
    """Quarter turns about the middle on which most cells agree, drawn on the ground."""

    def step(scene: Scene, colour: int) -> Cells:
        canvas = scene.grid.copy()
        if kind is None:
            cells = [np.nonzero(scene.seeds(colour))]
        else:
            cells = [(part.rows, part.columns) for part in scene.parts(kind) if scene.own(part, colour)]
        for rows, columns in cells:
            if 4 <= len(rows) <= 200:
                _turned_about(canvas, scene, rows, columns)
        return canvas

    return step


def _turned_about(canvas: Cells, scene: Scene, rows: Cells, columns: Cells) -> None:
    """Twice the middle is (a, b); a cell (r, c) goes to (a - b + 2c) / 2, (a + b - 2r) / 2."""
    height, width = canvas.shape
    best, found = len(rows) // 3, None
    spots = {(int(r), int(c)): int(scene.grid[r, c]) for r, c in zip(rows, columns, strict=True)}
    low, high = int(rows.min() + rows.max()), int(columns.min() + columns.max())
    for a in range(low - 6, low + 7):
        for b in range(high - 6, high + 7):
            if (a + b) % 2:
                continue
            y, x = (a - b) // 2 + columns, (a + b) // 2 - rows
            fits = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            there = [spots.get(spot) for spot in zip(y[fits].tolist(), x[fits].tolist(), strict=True)]
            mine = scene.grid[rows[fits], columns[fits]].tolist()
            agreed = sum(one == two for one, two in zip(there, mine, strict=True))
            if agreed > best:
                best, found = agreed, (a, b)
    if found is None:
        return
    a, b = found
    shades = scene.grid[rows, columns]
    y, x = rows, columns
    for _ in range(3):
        y, x = (a - b) // 2 + x, (a + b) // 2 - y
        paint(canvas, y, x, shades, ~scene.filled)

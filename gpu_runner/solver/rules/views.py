"""Ways to lay an input over its output, so that each output cell can look at something.

A view gives the sheet of an output's cells without knowing the output; it does not fit a task where it gives
another shape than the demonstrations have. Which rule then holds between sheet and colours is for `trees`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .grids import NONE, Cells, Mask, background, components, mirrors
from .sights import COLOURS, Sheet, look
from .terms import Pairs

MAX_SIDE = 30

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class View:
    """sheet(grid): the sights of each output cell, None where the view does not fit the grid.
    name and numbers tell which one it is, for `kinds.view_named`."""

    name: str
    numbers: tuple[int, ...]
    sheet: Callable[[Cells], Sheet | None]

    def to_json(self) -> Any:
        return [self.name, *self.numbers]


def views_for(pairs: Pairs) -> Iterator[View]:
    """The views whose shapes fit all demonstrations, the plainest first."""
    shapes = [(source.shape, target.shape) for source, target in pairs]
    if all(source == target for source, target in shapes):
        for kind in (PLAIN, PLACED, PICTURED, PANELLED):
            yield same(kind)
        return
    up = {(t[0] / s[0], t[1] / s[1]) for s, t in shapes}
    if len(up) == 1:
        tall, wide = up.pop()
        if tall >= 1 and wide >= 1 and tall == int(tall) and wide == int(wide):
            yield enlarged(int(tall), int(wide))
        if tall <= 1 and wide <= 1 and (1 / tall) % 1 == 0 and (1 / wide) % 1 == 0:
            rows, columns = round(1 / tall), round(1 / wide)
            yield parts(rows, columns)
            yield blocks(rows, columns)
    outputs = {t for _, t in shapes}
    candidates: list[View] = [panels(), panel_cells()]
    if len(outputs) == 1:
        candidates.append(summary(*outputs.pop()))
    yield from candidates


PLAIN, PLACED, PICTURED, PANELLED = 0, 1, 2, 3


def same(kind: int) -> View:
    """Each output cell looks from its own place: PLAIN, with facts about the place, with pictures, or with
    what is known of the panel it stands in."""
    if kind == PANELLED:
        return View("same", (kind,), _panelled)
    return View("same", (kind,), lambda grid: look(grid, place=kind == PLACED, pictures=kind == PICTURED))


def enlarged(tall: int, wide: int) -> View:
    """The output is a whole number of times as large: cells grow to blocks, or the grid repeats as tiles."""

    def sheet(grid: Cells) -> Sheet | None:
        height, width = grid.shape
        if height * tall > MAX_SIDE or width * wide > MAX_SIDE:
            return None
        row, column = np.indices((height * tall, width * wide))
        found = Sheet()
        coarse = look(grid, place=False)
        block = (row // tall, column // wide)
        tile = (row % height, column % width)
        found.source("own", grid[block])
        found.source("tile", grid[tile])
        odd_row, odd_column = row // height % 2 == 1, column // width % 2 == 1
        up, across = height - 1 - tile[0], width - 1 - tile[1]
        found.source(
            "tile mirrored in turn",
            grid[np.where(odd_row, up, tile[0]), np.where(odd_column, across, tile[1])],
        )
        found.source(
            "tile mirrored first",
            grid[np.where(odd_row, tile[0], up), np.where(odd_column, tile[1], across)],
        )
        found.source("tile left-right", grid[tile[0], across])
        found.source("tile top-bottom", grid[up, tile[1]])
        found.source("tile half turned", grid[::-1, ::-1][tile])
        turned = mirrors(grid)
        for name in ("transposed", "quarter turn", "quarter turn back"):
            found.source(f"tile {name}", turned[name][tile])
        for name in ("most common", "second", "rarest", "ground"):
            found.source(name, coarse.sources[name][block])
        ground = background(grid)
        found.fact("own is ground", grid[block] == ground)
        found.fact("tile is ground", grid[tile] == ground)
        for name, values, limit in (
            ("row in block", row % tall, tall), ("column in block", column % wide, wide),
            ("tile row", row // height, tall), ("tile column", column // width, wide),
        ):  # fmt: skip
            found.number(name, values, tuple(range(min(limit, 6))))
        found.fact("diagonal of block", row % tall == column % wide)
        found.fact("other diagonal of block", row % tall + column % wide == wide - 1)
        for name, values in coarse.facts.items():
            found.fact(f"block {name}", values[block])
        for name, values in coarse.sources.items():
            if name.startswith(("next", "seen", "between", "nearest")):
                found.source(f"block {name}", values[block])
        lookaround = look(np.tile(grid, (tall, wide)))
        for name, values in lookaround.sources.items():
            if name.startswith(("next", "seen", "between")):
                found.source(f"tiled {name}", values)
        for name, values in lookaround.facts.items():
            if name.startswith(("filled", "alike", "sees")):
                found.fact(f"tiled {name}", values)
        return found

    return View("enlarged", (tall, wide), sheet)


def parts(rows: int, columns: int) -> View:
    """The input is so many equal parts without lines between; the output lies over all of them."""

    def sheet(grid: Cells) -> Sheet | None:
        height, width = grid.shape
        if height % rows or width % columns:
            return None
        h, w = height // rows, width // columns
        cut = [grid[r * h : (r + 1) * h, c * w : (c + 1) * w] for r in range(rows) for c in range(columns)]
        return _layers(cut)

    return View("parts", (rows, columns), sheet)


def panels() -> View:
    """The input is panels between lines; the output lies over all of them."""

    def sheet(grid: Cells) -> Sheet | None:
        found = split(grid)
        if found is None:
            return None
        cut = [panel for line in found for panel in line]
        if len({panel.shape for panel in cut}) != 1 or not 2 <= len(cut) <= 9:
            return None
        return _layers(cut)

    return View("panels", (), sheet)


def _layers(cut: Sequence[Cells]) -> Sheet:
    """Sights of grids that lie over each other. The number of layers is part of the names."""
    found = Sheet()
    ground = background(np.concatenate([layer.ravel() for layer in cut])[None])
    stack = np.stack(cut)
    filled = stack != ground
    for n, layer in enumerate(cut):
        found.source(f"layer {n} of {len(cut)}", layer)
        found.fact(f"layer {n} filled", filled[n])
    count = filled.sum(0)
    found.number("layers filled", count, tuple(range(len(cut) + 1)), tuple(range(1, len(cut))))
    highest, lowest = np.where(filled, stack, -1).max(0), np.where(filled, stack, 99).min(0)
    found.source("only colour", np.where(highest == lowest, highest, NONE))
    first = np.take_along_axis(stack, filled.argmax(0)[None], 0)[0]
    found.source("first filled", np.where(count > 0, first, ground))
    last = np.take_along_axis(stack, len(cut) - 1 - filled[::-1].argmax(0)[None], 0)[0]
    found.source("last filled", np.where(count > 0, last, ground))
    counts = np.stack([(stack == colour).sum(0) for colour in range(COLOURS)])
    found.source("majority", counts.argmax(0))
    found.fact("all layers alike", (stack == stack[:1]).all(0))
    size = filled.sum((1, 2))
    for name, n in (("fullest", int(size.argmax())), ("emptiest", int(size.argmin()))):
        found.source(f"{name} layer", cut[n])
    texts = [layer.tobytes() for layer in cut]
    shapes = [mask.tobytes() for mask in filled]
    for name, keys in (("layer that differs", texts), ("shape that differs", shapes)):
        alone = [n for n, key in enumerate(keys) if keys.count(key) == 1]
        found.source(name, cut[alone[0]] if len(alone) == 1 else np.full_like(cut[0], NONE))
    colours = [len(set(layer.ravel().tolist())) for layer in cut]
    found.source("most colourful layer", cut[int(np.argmax(colours))])
    if len(cut) <= 4:
        for n, layer in enumerate(cut):
            around = look(layer, place=False)
            for name, values in around.facts.items():
                if name.startswith(("filled", "room")):
                    found.fact(f"layer {n} {name}", values)
    return found


def _panelled(grid: Cells) -> Sheet | None:
    """The sights of a grid of panels: each cell's own, those of its panel among the panels, and what stands
    at the same place of others. None where there are no panels."""
    lines = panel_lines(grid)
    if lines is None:
        return None
    row_runs, column_runs = lines
    cut = [[grid[a:b, c:d] for c, d in column_runs] for a, b in row_runs]
    flat = [panel for line in cut for panel in line]
    ground = background(np.concatenate([panel.ravel() for panel in flat])[None])
    which = np.full(grid.shape, NONE, np.int64)
    inner = [np.zeros(grid.shape, np.int64), np.zeros(grid.shape, np.int64)]
    for n, (a, b) in enumerate(row_runs):
        for m, (c, d) in enumerate(column_runs):
            which[a:b, c:d] = n * len(column_runs) + m
            inner[0][a:b, c:d], inner[1][a:b, c:d] = np.indices((b - a, d - c))
    inside = which != NONE
    found = look(grid)
    found.fact("in a panel", inside)

    def spread(values: Cells) -> Cells:
        return np.append(values.ravel(), NONE)[np.where(inside, which, values.size)]

    among = _cells_of(cut, ground)
    for name, values in among.sources.items():
        found.source(f"panel's {name}", spread(values))
    for name, truths in among.facts.items():
        found.fact(f"panel's {name}", spread(truths.astype(np.int64)) == 1)
    number = np.array([int((panel != ground).sum()) for panel in flat])
    colours = np.array([len(set(panel.ravel().tolist()) - {ground}) for panel in flat])
    stack = np.stack(flat)

    def there(panel: Cells) -> Cells:
        return np.where(inside, panel[inner[0], inner[1]], NONE)

    found.source("there in the fullest panel", there(flat[int(number.argmax())]))
    found.source("there in the emptiest panel", there(flat[int(number.argmin())]))
    found.source("there in the most colourful panel", there(flat[int(colours.argmax())]))
    found.source("there in the first panel", there(flat[0]))
    found.source("there in the last panel", there(flat[-1]))
    filled = stack != ground
    highest, lowest = np.where(filled, stack, -1).max(0), np.where(filled, stack, 99).min(0)
    found.source("there in any panel", there(np.where(highest == lowest, highest, NONE)))
    if len(cut) == flat[0].shape[0] and len(cut[0]) == flat[0].shape[1]:
        found.source("panel's place in the fullest", spread(flat[int(number.argmax())]))
        found.source("panel's place in the most colourful", spread(flat[int(colours.argmax())]))
    return found


def split(grid: Cells) -> list[list[Cells]] | None:
    """The panels between whole lines of one colour, row by row; None where there are no such lines."""
    lines = panel_lines(grid)
    if lines is None:
        return None
    return [[grid[a:b, c:d] for c, d in lines[1]] for a, b in lines[0]]


Runs = list[tuple[int, int]]


def panel_lines(grid: Cells) -> tuple[Runs, Runs] | None:
    """The runs of rows and of columns that make panels of equal size between whole lines of one colour."""
    best: tuple[Runs, Runs] | None = None
    for colour in range(COLOURS):
        rows = (grid == colour).all(1)
        columns = (grid == colour).all(0)
        if not rows.any() and not columns.any():
            continue
        row_runs, column_runs = _runs(~rows), _runs(~columns)
        if len(row_runs) * len(column_runs) < 2:
            continue
        alike = len({b - a for a, b in row_runs}) == 1 and len({b - a for a, b in column_runs}) == 1
        if alike and (best is None or colour != background(grid)):
            best = row_runs, column_runs
    return best


def _runs(inside: Mask) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def blocks(tall: int, wide: int) -> View:
    """Each block of so many rows and columns becomes one cell."""

    def sheet(grid: Cells) -> Sheet | None:
        height, width = grid.shape
        if height % tall or width % wide:
            return None
        cut = [
            [grid[r : r + tall, c : c + wide] for c in range(0, width, wide)] for r in range(0, height, tall)
        ]
        return _cells_of(cut, background(grid))

    return View("blocks", (tall, wide), sheet)


def panel_cells() -> View:
    """Each panel between lines becomes one cell."""

    def sheet(grid: Cells) -> Sheet | None:
        found = split(grid)
        return None if found is None else _cells_of(found, background(grid))

    return View("panel cells", (), sheet)


def _cells_of(cut: list[list[Cells]], ground: int) -> Sheet:
    """Sights of panels of which each is one cell of the output."""
    flat = [panel for line in cut for panel in line]
    shape = (len(cut), len(cut[0]))

    def laid(values: Sequence[int]) -> Cells:
        return np.array(values, np.int64).reshape(shape)

    found = Sheet()
    counts = np.stack([np.bincount(panel.ravel(), minlength=COLOURS) for panel in flat])
    filled = counts.copy()
    filled[:, ground] = 0
    found.source("most", laid(counts.argmax(1).tolist()))
    some = filled.sum(1) > 0
    found.source("most filled", laid(np.where(some, filled.argmax(1), NONE).tolist()))
    found.source("most filled or ground", laid(np.where(some, filled.argmax(1), ground).tolist()))
    rare = np.where(filled > 0, filled, 999).argmin(1)
    found.source("least filled", laid(np.where(some, rare, NONE).tolist()))
    found.source("first cell", laid([int(panel[0, 0]) for panel in flat]))
    found.source(
        "middle cell", laid([int(panel[panel.shape[0] // 2, panel.shape[1] // 2]) for panel in flat])
    )
    number = filled.sum(1)
    found.number("filled", laid(number.tolist()), tuple(range(10)), tuple(range(2, 9)))
    found.fact("has most filled", laid(number.tolist()) == number.max())
    found.fact("has fewest filled", laid(number.tolist()) == number.min())
    found.fact("is all filled", laid([int((panel != ground).all()) for panel in flat]) == 1)
    texts = [panel.tobytes() for panel in flat]
    found.number("panel occurs", laid([texts.count(text) for text in texts]), (1, 2, 3), (2, 3, 4))
    shapes = [(panel != ground).tobytes() for panel in flat]
    found.number("shape occurs", laid([shapes.count(shape) for shape in shapes]), (1, 2, 3), (2, 3, 4))
    found.number("colours", laid((filled > 0).sum(1).tolist()), (0, 1, 2, 3), (2,))
    for colour in range(COLOURS):
        found.fact(f"has {colour}", laid((counts[:, colour] > 0).astype(int).tolist()) == 1)
        most = counts[:, colour]
        found.fact(f"has most {colour}", (laid(most.tolist()) == most.max()) & bool(most.max()))
    whole = look(found.sources["most filled or ground"], place=True)
    found.merge(whole, "among cells")
    return found


def summary(height: int, width: int) -> View:
    """Nothing of the output lies over the input: its cells know their place and the whole grid's figures."""

    def sheet(grid: Cells) -> Sheet | None:
        ground = background(grid)
        shape = (height, width)
        row, column = np.indices(shape)
        found = Sheet()
        around = look(grid, place=False)
        for name in ("most common", "second", "rarest", "ground", "largest object colour",
                     "smallest object colour", "largest group colour", "corner top left"):  # fmt: skip
            found.source(name, np.full(shape, int(around.sources[name].flat[0])))
        counts = np.bincount(grid.ravel(), minlength=COLOURS)
        counts[ground] = 0
        order = np.argsort(-counts, kind="stable")
        ranked = [int(colour) for colour in order if counts[colour]]
        found.source("colour by rank, row", _indexed(ranked, row))
        found.source("colour by rank, column", _indexed(ranked, column))
        order_seen = list(dict.fromkeys(int(v) for v in grid.ravel() if v != ground))
        across_seen = list(dict.fromkeys(int(v) for v in grid.T.ravel() if v != ground))
        found.source("colour from above, row", _indexed(order_seen, row))
        found.source("colour from the left, column", _indexed(across_seen, column))
        found.source("colour from above, column", _indexed(order_seen, column))
        found.source("colour from the left, row", _indexed(across_seen, row))
        objects, _ = components(grid, eight=True, by_colour=True, within=grid != ground)
        groups, _ = components(grid, eight=True, by_colour=False, within=grid != ground)
        along = row * width + column
        for name, count in (
            ("objects", len(objects)), ("groups", len(groups)), ("colours", len(ranked)),
            ("filled", int(counts.sum())),
            ("largest object", max((o.size for o in objects), default=0)),
        ):  # fmt: skip
            for value in range(1, 10):
                found.fact(f"{name} = {value}", np.full(shape, count == value))
                found.fact(f"{name} ≥ {value}", np.full(shape, count >= value))
            found.fact(f"place below {name}", along < count)
            found.fact(f"row below {name}", row < count)
            found.fact(f"column below {name}", column < count)
        for colour in range(COLOURS):
            found.fact(f"grid has {colour}", np.full(shape, bool((grid == colour).any())))
            single = [o for o in objects if o.colours[0] == colour]
            found.fact(f"place below objects of {colour}", along < len(single))
            found.fact(f"place below cells of {colour}", along < int((grid == colour).sum()))
        for name, values in (("left-right alike", grid[:, ::-1]), ("top-bottom alike", grid[::-1])):
            found.fact(f"grid {name}", np.full(shape, bool((grid == values).all())))
        for number in range(min(max(shape), 9)):
            found.fact(f"row = {number}", row == number)
            found.fact(f"column = {number}", column == number)
        found.fact("on the falling diagonal", row == column)
        found.fact("on the rising diagonal", row + column == width - 1)
        found.fact("chequered", (row + column) % 2 == 1)
        return found

    return View("summary", (height, width), sheet)


def _indexed(colours: Sequence[int], at: Cells) -> Cells:
    table = np.array([*colours[:30], *[NONE] * (31 - len(colours[:30]))], np.int64)
    return table[np.minimum(at, 30)]


VIEWS: dict[str, Callable[..., View]] = {
    "same": same, "enlarged": enlarged, "parts": parts, "panels": panels, "blocks": blocks,
    "panel cells": panel_cells, "summary": summary,
}  # fmt: skip

"""What a cell can see: colours it could take over, and facts about where it stands.

A `Sheet` describes every cell of one grid. Its *sources* are colours found elsewhere (0..9, NONE where there
is none); its *facts* are truths about the cell. Names, their number and their order are the same for every
grid, so that a rule learned on the demonstrations reads a test. What comes first is preferred where two
sights explain the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .grids import EIGHT, NONE, Cells, Component, Mask, background, components, mirrors, places, ray, shifted
from .images import images, rooms

COLOURS = 10
DIRECTIONS = ("up", "down", "left", "right", "up-left", "up-right", "down-left", "down-right")
OPPOSITE = ((0, 1), (2, 3), (4, 7), (5, 6))
AXES = ("vertical", "horizontal", "falling", "rising")


@dataclass(slots=True)
class Sheet:
    """sources, facts: name → values of every cell, H × W."""

    sources: dict[str, Cells] = field(default_factory=dict)
    facts: dict[str, Mask] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        height, width = next(iter(self.facts.values())).shape
        return height, width

    def source(self, name: str, values: Cells) -> None:
        self.sources[name] = values

    def fact(self, name: str, values: Mask) -> None:
        self.facts[name] = values

    def number(self, name: str, values: Cells, equal: tuple[int, ...], least: tuple[int, ...] = ()) -> None:
        """Facts that compare a number with fixed ones."""
        for value in equal:
            self.facts[f"{name} = {value}"] = values == value
        for value in least:
            self.facts[f"{name} ≥ {value}"] = values >= value

    def merge(self, other: Sheet, prefix: str) -> None:
        self.sources |= {f"{prefix} {name}": values for name, values in other.sources.items()}
        self.facts |= {f"{prefix} {name}": values for name, values in other.facts.items()}


def look(grid: Cells, *, place: bool = False, pictures: bool = False) -> Sheet:
    """The sights of a grid; `place`: with facts about absolute places, which seldom carry over;
    `pictures`: with the colours of `images`, among which chance finds some."""
    plain, ground = _plain(grid.tobytes(), grid.shape), background(grid)
    sheet = Sheet(dict(plain.sources), dict(plain.facts))
    if pictures:
        for name, values in (*images(grid, ground), *rooms(grid, ground)):
            sheet.source(name, values)
    if place:
        _place(sheet, grid)
    return sheet


@lru_cache(maxsize=64)
def _plain(cells: bytes, shape: tuple[int, ...]) -> Sheet:
    """The sights that all views share, kept for a while: most grids are looked at several times."""
    grid = np.frombuffer(cells, np.int64).reshape(shape)
    sheet = Sheet()
    ground = background(grid)
    sheet.source("own", grid)
    sheet.fact("own is ground", grid == ground)
    _objects(sheet, grid, ground)
    _neighbours(sheet, grid, ground)
    _rays(sheet, grid, ground)
    _lines(sheet, grid, ground)
    _whole(sheet, grid, ground)
    for name, values in mirrors(grid).items():
        sheet.source(name, values)
    return sheet


def _neighbours(sheet: Sheet, grid: Cells, ground: int) -> None:
    near = [shifted(grid, dr, dc) for dr, dc in EIGHT]
    for direction, seen in zip(DIRECTIONS, near, strict=True):
        sheet.source(f"next {direction}", seen)
    for name, part in (("sides", near[:4]), ("corners", near[4:]), ("neighbours", near)):
        filled = np.sum([(seen != NONE) & (seen != ground) for seen in part], axis=0)
        alike = np.sum([seen == grid for seen in part], axis=0)
        top = len(part) + 1
        sheet.number(f"filled {name}", filled, tuple(range(top)), tuple(range(2, top - 1)))
        sheet.number(f"alike {name}", alike, tuple(range(top)), tuple(range(2, top - 1)))


def _rays(sheet: Sheet, grid: Cells, ground: int) -> None:
    hits, distances = zip(*(ray(grid, ground, dr, dc) for dr, dc in EIGHT), strict=True)
    for direction, hit, distance in zip(DIRECTIONS, hits, distances, strict=True):
        sheet.source(f"seen {direction}", hit)
        sheet.fact(f"distance {direction} odd", (distance % 2 == 1) & (hit != NONE))
        sheet.number(f"distance {direction}", distance, (1, 2, 3))
    for axis, (one, two) in zip(AXES, OPPOSITE, strict=True):
        between = np.where(hits[one] == hits[two], hits[one], NONE)
        sheet.source(f"between {axis}", between)
        sheet.fact(f"something on both sides {axis}", (hits[one] != NONE) & (hits[two] != NONE))
        sheet.fact(f"middle {axis}", (distances[one] == distances[two]) & (hits[one] != NONE))
    straight, slanted = hits[:4], hits[4:]
    for name, part in (("straight", straight), ("slanted", slanted), ("all", hits)):
        seen = np.sum([hit != NONE for hit in part], axis=0)
        sheet.number(f"seen {name}", seen, (0, 1, len(part)), (2, 3))
        for colour in range(COLOURS):
            sheet.fact(f"sees {colour} {name}", np.any([hit == colour for hit in part], axis=0))
    far = np.stack([np.where(hit == NONE, 99, d) for hit, d in zip(hits, distances, strict=True)])
    for name, near in (("straight", far[:4]), ("all", far)):
        first = near.argmin(0)
        colour = np.take_along_axis(np.stack(hits), first[None], 0)[0]
        sheet.source(f"nearest {name}", colour)
        sheet.number(f"nearest {name} distance", near.min(0), (1, 2, 3))


def _lines(sheet: Sheet, grid: Cells, ground: int) -> None:
    filled = grid != ground
    for name, axis in (("row", 1), ("column", 0)):
        first = grid[:, :1] if axis else grid[:1]
        last = grid[:, -1:] if axis else grid[-1:]
        sheet.source(f"{name}'s first", np.broadcast_to(first, grid.shape))
        sheet.source(f"{name}'s last", np.broadcast_to(last, grid.shape))
        sheet.source(f"{name}'s colour", _only(grid, filled, axis))
        count = np.broadcast_to(filled.sum(axis, keepdims=True), grid.shape)
        sheet.number(f"filled in {name}", count, (0, 1, 2, 3, 4))
        sheet.fact(f"{name} is all filled", count == grid.shape[axis])
        plain = (grid == first).all(axis, keepdims=True)
        sheet.fact(f"{name} is of one colour", np.broadcast_to(plain, grid.shape))
        sheet.fact(f"{name} has most filled", count == count.max())
        for colour in range(COLOURS):
            has = (grid == colour).any(axis, keepdims=True)
            sheet.fact(f"{name} has {colour}", np.broadcast_to(has, grid.shape))
        same = [(grid == c).sum(axis, keepdims=True) * (grid == c) for c in range(COLOURS)]
        own = np.sum(same, axis=0)
        sheet.number(f"own colour in {name}", own, (1, 2, 3))


def _only(grid: Cells, filled: Mask, axis: int) -> Cells:
    """The one colour that fills cells of a row (axis 1) or column (axis 0), else NONE."""
    highest = np.where(filled, grid, -1).max(axis, keepdims=True)
    lowest = np.where(filled, grid, 99).min(axis, keepdims=True)
    return np.broadcast_to(np.where(highest == lowest, highest, NONE), grid.shape)


def _whole(sheet: Sheet, grid: Cells, ground: int) -> None:
    """Sources that are the same for every cell: colours of the whole grid."""
    counts = np.bincount(grid.ravel(), minlength=COLOURS)
    counts[ground] = 0
    order = [int(colour) for colour in np.argsort(-counts, kind="stable") if counts[colour]]

    def everywhere(colour: int) -> Cells:
        return np.full_like(grid, colour)

    sheet.source("most common", everywhere(order[0] if order else NONE))
    sheet.source("second", everywhere(order[1] if len(order) > 1 else NONE))
    sheet.source("rarest", everywhere(order[-1] if order else NONE))
    sheet.source("ground", everywhere(ground))
    sheet.number("colours in grid", everywhere(len(order)), (1, 2, 3))
    corners = [int(grid[r, c]) for r, c in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    for name, colour in zip(("top left", "top right", "bottom left", "bottom right"), corners, strict=True):
        sheet.source(f"corner {name}", everywhere(colour))
    for colour in range(1, COLOURS):
        sheet.fact(f"grid has {colour}", np.full(grid.shape, bool(counts[colour])))
    sheet.fact("own is most common", grid == (order[0] if order else NONE))
    sheet.fact("own is rarest", grid == (order[-1] if order else NONE))


def _objects(sheet: Sheet, grid: Cells, ground: int) -> None:
    filled = grid != ground
    for name, eight, by_colour, within in (
        ("object", True, True, filled),
        ("side-object", False, True, filled),
        ("group", True, False, filled),
        ("room", False, True, ~filled),
    ):
        found, label = components(grid, eight=eight, by_colour=by_colour, within=within)
        _about(sheet, name, grid, found, label, ground)


def _about(sheet: Sheet, name: str, grid: Cells, found: list[Component], label: Cells, ground: int) -> None:
    """Facts about the component a cell belongs to; false, and NONE, where it belongs to none."""
    known = label != NONE
    sizes = np.array([component.size for component in found] or [0])

    def told(values: npt.ArrayLike, otherwise: int = NONE) -> Cells:
        """A value for each component, spread over its cells."""
        table = np.append(np.asarray(values, np.int64), otherwise)
        return table[np.where(known, label, len(table) - 1)]

    facts = [_facts(grid, component, ground) for component in found]
    size = told(sizes[: len(found)], 0)
    sheet.fact(f"{name} is largest", known & (size == sizes.max()))
    sheet.fact(f"{name} is smallest", known & (size == sizes.min()))
    sheet.number(f"{name} size", size, (1, 2, 3, 4, 5, 6, 7, 8, 9), (3, 5, 7, 10, 15, 20))
    sheet.fact(f"{name} size odd", known & (size % 2 == 1))
    order = {value: rank for rank, value in enumerate(sorted(set(sizes.tolist()), reverse=True))}
    sheet.number(f"{name} rank", told([order[s] for s in sizes[: len(found)].tolist()]), (1, 2))
    for key in FACTS:
        values = [fact[key] for fact in facts]
        sheet.fact(f"{name} {key}", told(values, 0) == 1)
    for key, equal in NUMBERS.items():
        values = [fact[key] for fact in facts]
        number = told(values)
        sheet.number(f"{name} {key}", number, equal)
        if key in ("holes", "height", "width", "colours"):
            sheet.fact(f"{name} has most {key}", known & (number == max(values, default=0)))
            sheet.fact(f"{name} has fewest {key}", known & (number == min(values, default=0)))
    shapes = [component.mask().tobytes() + bytes(component.shape) for component in found]
    sheet.number(f"{name} shape occurs", told([shapes.count(shape) for shape in shapes]), (1, 2, 3), (2,))
    sheet.source(f"{name} around", told([fact["around"] for fact in facts]))
    sheet.source(f"{name} minor colour", told([fact["minor"] for fact in facts]))
    sheet.source(f"{name} major colour", told([fact["major"] for fact in facts]))
    if found:
        best, least = int(sizes.argmax()), int(sizes.argmin())
        sheet.source(f"largest {name} colour", np.full_like(grid, facts[best]["major"]))
        sheet.source(f"smallest {name} colour", np.full_like(grid, facts[least]["major"]))
    else:
        sheet.source(f"largest {name} colour", np.full_like(grid, NONE))
        sheet.source(f"smallest {name} colour", np.full_like(grid, NONE))
    _within(sheet, name, grid, found, label)


FACTS = ("touches border", "is a box", "is square", "is a line", "left-right alike", "top-bottom alike",
         "taller than wide", "has a hole", "touches another colour")  # fmt: skip
NUMBERS: dict[str, tuple[int, ...]] = {
    "holes": (0, 1, 2, 3, 4), "height": (1, 2, 3, 4, 5), "width": (1, 2, 3, 4, 5), "colours": (1, 2, 3),
}  # fmt: skip


def _facts(grid: Cells, component: Component, ground: int) -> dict[str, int]:
    mask = component.mask()
    top, left, bottom, right = component.box
    height, width = mask.shape
    counts = np.bincount(component.colours, minlength=COLOURS)
    present = [int(colour) for colour in np.argsort(-counts, kind="stable") if counts[colour]]
    around = _around(grid, component)
    holes = _holes(mask)
    others = [colour for colour in around if colour != ground]
    return {
        "touches border": int(top == 0 or left == 0 or (bottom, right) == grid.shape),
        "is a box": int(mask.all()),
        "is square": int(height == width),
        "is a line": int(min(height, width) == 1 and max(height, width) > 1),
        "left-right alike": int((mask == mask[:, ::-1]).all()),
        "top-bottom alike": int((mask == mask[::-1]).all()),
        "taller than wide": int(height > width),
        "has a hole": int(holes > 0),
        "touches another colour": int(bool(others)),
        "holes": holes,
        "height": height,
        "width": width,
        "colours": len(present),
        "around": around[0] if around else NONE,
        "minor": present[-1] if len(present) > 1 else NONE,
        "major": present[0],
    }


def _around(grid: Cells, component: Component) -> list[int]:
    """Colours beside a component, most common first."""
    height, width = grid.shape
    mine = np.zeros(grid.shape, bool)
    mine[component.rows, component.columns] = True
    seen: list[int] = []
    for dr, dc in EIGHT[:4]:
        y, x = component.rows + dr, component.columns + dc
        fits = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = y[fits], x[fits]
        outside = ~mine[y, x]
        seen += grid[y[outside], x[outside]].tolist()
    counts = np.bincount(np.array(seen or [0]), minlength=COLOURS) if seen else np.zeros(COLOURS, int)
    return [int(colour) for colour in np.argsort(-counts, kind="stable") if counts[colour]]


def _holes(mask: Mask) -> int:
    """Sets of cells within the box that no side-by-side way leads out of."""
    if min(mask.shape) < 3 or mask.all():
        return 0
    padded = np.pad(~mask, 1, constant_values=True)
    found, _ = components(padded.astype(np.int64), eight=False, by_colour=True, within=padded)
    return len(found) - 1


def _within(sheet: Sheet, name: str, grid: Cells, found: list[Component], label: Cells) -> None:
    """Where in its component's box a cell stands, and the colour at the mirrored place of the box."""
    boxes = np.array([component.box for component in found] or [(0, 0, 0, 0)])
    known = label != NONE
    mine = boxes[np.where(known, label, 0)]
    row, column = places(grid.shape)
    down, up = row - mine[..., 0], mine[..., 2] - 1 - row
    across, back = column - mine[..., 1], mine[..., 3] - 1 - column
    edge = (np.minimum(down, up) == 0) | (np.minimum(across, back) == 0)
    sheet.fact(f"edge of {name}", known & edge)
    sheet.fact(f"corner of {name}", known & (np.minimum(down, up) == 0) & (np.minimum(across, back) == 0))
    sheet.fact(f"middle of {name}", known & (down == up) & (across == back))
    sheet.fact(f"middle row of {name}", known & (down == up))
    sheet.fact(f"middle column of {name}", known & (across == back))
    ring = np.minimum(np.minimum(down, up), np.minimum(across, back))
    sheet.number(f"ring of {name}", np.where(known, ring, NONE), (0, 1, 2, 3))
    sheet.fact(f"ring of {name} odd", known & (ring % 2 == 1))
    if name != "side-object":
        sheet.fact(f"steps into {name} odd", known & ((down + across) % 2 == 1))
        sheet.fact(f"row in {name} odd", known & (down % 2 == 1))
        sheet.fact(f"column in {name} odd", known & (across % 2 == 1))
    inside = np.zeros(grid.shape, bool)
    for top_, left, bottom, right in boxes.tolist():
        inside[top_:bottom, left:right] = True
    sheet.fact(f"in a box of {name}", inside)


def _place(sheet: Sheet, grid: Cells) -> None:
    height, width = grid.shape
    row, column = places(grid.shape)
    for name, values in (("row", row), ("column", column)):
        sheet.fact(f"{name} odd", values % 2 == 1)
        sheet.number(f"{name} mod 3", values % 3, (0, 1, 2))
        sheet.number(f"{name}", values, (0, 1, 2, 3))
    sheet.number("row from below", height - 1 - row, (0, 1, 2, 3))
    sheet.number("column from right", width - 1 - column, (0, 1, 2, 3))
    sheet.fact("chequered", (row + column) % 2 == 1)
    sheet.number("diagonals mod 3", (row + column) % 3, (0, 1, 2))
    sheet.fact("on the falling diagonal", row == column)
    sheet.fact("on the rising diagonal", row + column == width - 1)
    ring = np.minimum(np.minimum(row, height - 1 - row), np.minimum(column, width - 1 - column))
    sheet.number("ring", ring, (0, 1, 2, 3))
    sheet.fact("ring odd", ring % 2 == 1)


def expand(sheet: Sheet) -> Iterator[tuple[str, Mask]]:
    """Every fact, those that compare sources among them, in one order for all grids."""
    yield from sheet.facts.items()
    own = sheet.sources.get("own")
    for name, values in sheet.sources.items():
        for colour in range(COLOURS):
            yield f"{name} is {colour}", values == colour
        if name != "own":
            yield f"{name} is there", values != NONE
            if own is not None:
                yield f"{name} is own", values == own


def expanded(sheet: Sheet) -> Mask:
    """What `expand` tells, facts × cells."""
    facts = np.stack([values.ravel() for values in sheet.facts.values()])
    names = list(sheet.sources)
    sources = np.stack([values.ravel() for values in sheet.sources.values()])
    compared = [sources[:, None] == np.arange(COLOURS)[:, None], (sources != NONE)[:, None]]
    kept = np.ones((len(names), COLOURS + 1), bool)
    if "own" in names:
        own = names.index("own")
        compared.append((sources == sources[own])[:, None])
        kept = np.ones((len(names), COLOURS + 2), bool)
        kept[own, COLOURS:] = False
    found: Mask = np.concatenate([facts, np.concatenate(compared, 1)[kept]])
    return found


def truth(sheet: Sheet, name: str) -> Mask:
    """The fact of this name among those that `expand` tells. Raises KeyError."""
    source, _, told = name.rpartition(" is ")
    values, own = sheet.sources.get(source), sheet.sources.get("own")
    found: Mask | None = None
    if values is not None and len(told) == 1 and told in "0123456789":
        found = values == int(told)
    elif values is not None and source != "own" and told == "there":
        found = values != NONE
    elif values is not None and own is not None and source != "own" and told == "own":
        found = values == own
    return sheet.facts[name] if found is None else found


def second_look(grid: Cells, drawn: Cells) -> Sheet:
    """The sights of what has been made of a grid, and the colour that was there before."""
    sheet = look(drawn)
    sheet.source("before", grid)
    return sheet

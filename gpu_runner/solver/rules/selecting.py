"""The output is a part of the input: which part, by what sets it apart from the others.

A *family* lists parts of a grid (components, boxes of a colour, panels, insides); a *choice* picks one
of them by a single trait: the most, the fewest, the only one that has it, the one that differs. What is then
done with the part (nothing, as a rule) is learned by `trees` where copying is not enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from .grids import Box, Cells, background, components
from .sights import COLOURS
from .views import split


@dataclass(slots=True, eq=False)
class Part:
    """cells: the part, as cut out; tell: tells its traits, once they are asked for. Most parts only show that
    none of their family is wanted."""

    cells: Cells
    tell: Callable[[], dict[str, int]]
    _told: dict[str, int] | None = None

    @property
    def traits(self) -> dict[str, int]:
        """name → number, the same names for all parts of a family."""
        if self._told is None:
            self._told = self.tell()
        return self._told

    @property
    def box(self) -> Box:
        """Where it was cut."""
        top, left = self.traits["top"], self.traits["left"]
        return top, left, top + self.cells.shape[0], left + self.cells.shape[1]


def part_of(grid: Cells, box: Box, ground: int, *, cells: Cells | None = None, colour: int | None = None,
            more: dict[str, int] | None = None) -> Part:  # fmt: skip
    """The part in a box; more: further traits."""
    top, left, bottom, right = box
    cut = grid[top:bottom, left:right] if cells is None else cells
    return Part(cut, lambda: _traits(grid, box, ground, cut, colour) | (more or {}))


def _traits(grid: Cells, box: Box, ground: int, cut: Cells, colour: int | None) -> dict[str, int]:
    top, left, bottom, right = box
    counts = np.bincount(cut.ravel(), minlength=COLOURS)
    filled = counts.copy()
    filled[ground] = 0
    inside = cut != ground
    height, width = cut.shape
    found, _ = components(cut, eight=True, by_colour=True, within=inside)
    traits = {
        "filled cells": int(inside.sum()),
        "area": height * width,
        "height": height,
        "width": width,
        "colours": int((filled > 0).sum()),
        "objects": len(found),
        "ground cells": int((~inside).sum()),
        "fullness": int(1000 * inside.mean()),
        "top": top,
        "left": left,
        "bottom": bottom,
        "right": right,
        "rarest colour's cells": int(filled[filled > 0].min()) if filled.any() else 0,
        "left-right alike": int((cut == cut[:, ::-1]).all()),
        "top-bottom alike": int((cut == cut[::-1]).all()),
        "shape left-right alike": int((inside == inside[:, ::-1]).all()),
        "shape top-bottom alike": int((inside == inside[::-1]).all()),
        "diagonal alike": int(height == width and (cut == cut.T).all()),
        "square": int(height == width),
        "at the border": int(top == 0 or left == 0 or bottom == grid.shape[0] or right == grid.shape[1]),
        "ring of one colour": int(len({*cut[0], *cut[-1], *cut[:, 0], *cut[:, -1]}) == 1),
        "colour": int(filled.argmax()) if colour is None else colour,
        "whole": int(inside.all()),
    }
    alike = ("left-right alike", "top-bottom alike", "diagonal alike")
    traits["alike in some way"] = max(traits[name] for name in alike)
    for value in range(1, COLOURS):
        traits[f"cells of {value}"] = int(counts[value])
    return traits


def _compared(parts: list[Part], ground: int) -> list[Part]:
    """With traits that compare a part with the others."""

    @cache
    def occurring() -> list[dict[str, int]]:
        contents = [part.cells.tobytes() + bytes(part.cells.shape) for part in parts]
        shapes = [(part.cells != ground).tobytes() + bytes(part.cells.shape) for part in parts]
        sizes = [part.cells.shape for part in parts]
        colours = [part.traits["colour"] for part in parts]
        counts = Counter(contents), Counter(shapes), Counter(sizes), Counter(colours)
        return [
            {
                "content occurs": counts[0][content],
                "shape occurs": counts[1][shape],
                "size occurs": counts[2][size],
                "colour occurs": counts[3][colour],
            }
            for content, shape, size, colour in zip(contents, shapes, sizes, colours, strict=True)
        ]

    def told(n: int) -> Callable[[], dict[str, int]]:
        return lambda: parts[n].traits | occurring()[n]

    return [Part(part.cells, told(n)) for n, part in enumerate(parts)]


def _components(eight: bool, by_colour: bool, *, alone: bool, ground_too: bool = False) -> Family:
    def family(grid: Cells) -> list[Part]:
        ground = background(grid)
        within = np.ones(grid.shape, bool) if ground_too else grid != ground
        found, _ = components(grid, eight=eight, by_colour=by_colour, within=within)
        parts = []
        for component in found:
            cells = None
            if alone:
                mask = component.mask()
                top, left, bottom, right = component.box
                cells = np.where(mask, grid[top:bottom, left:right], ground)
            parts.append(part_of(grid, component.box, ground, cells=cells, colour=int(component.colours[0])))
        return _compared(parts, ground)

    return family


def _colour_boxes(shrink: int) -> Family:
    def family(grid: Cells) -> list[Part]:
        ground = background(grid)
        parts = []
        for colour in range(COLOURS):
            rows, columns = np.nonzero(grid == colour)
            if not len(rows):
                continue
            box = (
                int(rows.min()) + shrink,
                int(columns.min()) + shrink,
                int(rows.max()) + 1 - shrink,
                int(columns.max()) + 1 - shrink,
            )
            if box[2] <= box[0] or box[3] <= box[1]:
                continue
            framed = int(len(rows) == 2 * (box[2] - box[0] + box[3] - box[1]) + 4)
            more = {"count": len(rows), "framed": framed}
            parts.append(part_of(grid, box, ground, colour=colour, more=more))
        return _compared(parts, ground)

    return family


def _insides() -> Family:
    """What boxes of components frame, without the frame."""

    def family(grid: Cells) -> list[Part]:
        ground = background(grid)
        found, _ = components(grid, eight=False, by_colour=True, within=np.ones(grid.shape, bool))
        parts = []
        for component in found:
            top, left, bottom, right = component.box
            if bottom - top < 3 or right - left < 3:
                continue
            cut = grid[top:bottom, left:right]
            edge = np.concatenate([cut[0], cut[-1], cut[:, 0], cut[:, -1]])
            if (edge != component.colours[0]).any():
                continue
            parts.append(
                part_of(
                    grid, (top + 1, left + 1, bottom - 1, right - 1), ground, colour=int(component.colours[0])
                )
            )
        return _compared(parts, ground)

    return family


def _panels(grid: Cells) -> list[Part]:
    found = split(grid)
    if found is None:
        return []
    ground = background(grid)
    return _compared(
        [part_of(panel, (0, 0, *panel.shape), ground) for line in found for panel in line], ground
    )


def _rectangles(grid: Cells) -> list[Part]:
    """Maximal boxes of a single colour besides the ground, and what is within them."""
    ground = background(grid)
    rows, columns = grid.shape
    parts = []
    for colour in range(COLOURS):
        inside = grid != colour
        row_runs = _whole_runs((~inside).all(1))
        column_runs = _whole_runs((~inside).all(0))
        if not row_runs and not column_runs:
            continue
        rest_rows, rest_columns = _rest(row_runs, rows), _rest(column_runs, columns)
        if not 2 <= len(rest_rows) * len(rest_columns) <= 40:
            continue
        parts += [
            part_of(grid, (a, c, b, d), ground, colour=colour) for a, b in rest_rows for c, d in rest_columns
        ]
    return _compared(parts, ground)


def _whole_runs(full: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], full.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _rest(runs: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    found, at = [], 0
    for start, end in [*runs, (length, length)]:
        if start > at:
            found.append((at, start))
        at = end
    return found


def _equal_parts(rows: int, columns: int) -> Family:
    """Equal parts without lines between."""

    def family(grid: Cells) -> list[Part]:
        height, width = grid.shape
        if height % rows or width % columns:
            return []
        h, w = height // rows, width // columns
        ground = background(grid)
        boxes = [(r * h, c * w, (r + 1) * h, (c + 1) * w) for r in range(rows) for c in range(columns)]
        return _compared([part_of(grid, box, ground) for box in boxes], ground)

    return family


def _filled_box(grid: Cells) -> list[Part]:
    """The box around all that is not ground, for every ground."""
    parts = []
    for colour in range(COLOURS):
        rows, columns = np.nonzero(grid != colour)
        if len(rows) in (0, grid.size):
            continue
        box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
        more = {"ground's cells": int((grid == colour).sum())}
        parts.append(part_of(grid, box, background(grid), colour=colour, more=more))
    return _compared(parts, background(grid))


Family = Callable[[Cells], list[Part]]

FAMILIES: dict[str, Family] = {
    "box around everything": _filled_box,
    "boxes of colours": _colour_boxes(0),
    "objects": _components(True, True, alone=False),
    "groups": _components(True, False, alone=False),
    "objects alone": _components(True, True, alone=True),
    "side-objects": _components(False, True, alone=False),
    "side-groups": _components(False, False, alone=False),
    "groups alone": _components(True, False, alone=True),
    "panels": _panels,
    "insides of boxes of colours": _colour_boxes(1),
    "insides of frames": _insides(),
    "rectangles": _rectangles,
    "areas": _components(False, True, alone=False, ground_too=True),
    "halves across": _equal_parts(1, 2),
    "halves down": _equal_parts(2, 1),
    "thirds across": _equal_parts(1, 3),
    "thirds down": _equal_parts(3, 1),
    "quarters": _equal_parts(2, 2),
    "ninths": _equal_parts(3, 3),
    "sixteenths": _equal_parts(4, 4),
}


MOST_PARTS = 150
"""Parts of a grid among which one is chosen."""


def parts_of(family: str, grid: Cells) -> Sequence[Part]:
    """The parts of a grid, kept for a while: dozens of choices pick among the same few."""
    return _parts_of(family, grid.tobytes(), grid.shape)


@lru_cache(maxsize=256)
def _parts_of(family: str, told: bytes, shape: tuple[int, ...]) -> Sequence[Part]:
    return FAMILIES[family](np.frombuffer(told, np.int64).reshape(shape))


@dataclass(frozen=True, slots=True)
class Choice:
    """how: most, fewest, only (the trait's value occurs once), is (the one with `value`), nth (in order)."""

    family: str
    how: str
    trait: str
    value: int = 0

    def pick(self, parts: Sequence[Part]) -> Part | None:
        """None where the choice is not clear."""
        if not parts:
            return None
        numbers = [part.traits[self.trait] for part in parts]
        if self.how in ("most", "fewest"):
            best = max(numbers) if self.how == "most" else min(numbers)
            chosen = [n for n, number in enumerate(numbers) if number == best]
        elif self.how == "only":
            counts = Counter(numbers)
            chosen = [n for n, number in enumerate(numbers) if counts[number] == 1]
            if len(parts) < 3:
                return None
        else:
            chosen = [n for n, number in enumerate(numbers) if number == self.value]
        if not chosen:
            return None
        same = {parts[n].cells.tobytes() + bytes(parts[n].cells.shape) for n in chosen}
        return parts[chosen[0]] if len(same) == 1 else None

    def cut(self, grid: Cells) -> Cells | None:
        found = self.pick(parts_of(self.family, grid))
        return None if found is None else found.cells


def choices(
    grids: Sequence[Cells], fits: Callable[[int, Cells], bool], go_on: Callable[[], bool]
) -> Iterator[Choice]:
    """Choices that pick, in every grid, a part of which `fits(grid's number, cells)` is true."""
    for name in FAMILIES:
        if not go_on():
            return
        listed: list[Sequence[Part]] = []
        for n, grid in enumerate(grids):
            parts = parts_of(name, grid)
            if not (0 < len(parts) <= MOST_PARTS and any(fits(n, part.cells) for part in parts)):
                break
            listed.append(parts)
        if len(listed) < len(grids):
            continue
        for trait in listed[0][0].traits:
            values = {part.traits[trait] for part in listed[0]}
            made = [Choice(name, how, trait) for how in ("most", "fewest", "only")]
            made += [Choice(name, "is", trait, value) for value in sorted(values)]
            for choice in made:
                picked = map(choice.pick, listed)
                if all(part is not None and fits(n, part.cells) for n, part in enumerate(picked)):
                    yield choice

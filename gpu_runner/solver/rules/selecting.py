"""The output is a part of the input: which part, by what sets it apart from the others.

A *family* lists parts of a grid (components, boxes of a colour, panels, insides); a *choice* picks one
of them by a single trait: the most, the fewest, the only one that has it, the one that differs. What is then
done with the part (nothing, as a rule) is learned by `trees` where copying is not enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .grids import Box, Cells, background, components
from .sights import COLOURS
from .views import split


@dataclass(frozen=True, slots=True)
class Part:
    """cells: the part, as cut out; traits: name → number, the same names for all parts of a family."""

    cells: Cells
    traits: dict[str, int]

    @property
    def box(self) -> Box:
        """Where it was cut."""
        top, left = self.traits["top"], self.traits["left"]
        return top, left, top + self.cells.shape[0], left + self.cells.shape[1]


def part_of(grid: Cells, box: tuple[int, int, int, int], ground: int, *, cells: Cells | None = None,
            colour: int | None = None) -> Part:  # fmt: skip
    """The part in a box, which is (top, left, bottom, right)."""
    top, left, bottom, right = box
    cut = grid[top:bottom, left:right] if cells is None else cells
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
    return Part(cut, traits)


def _compared(parts: list[Part], ground: int) -> list[Part]:
    """With traits that compare a part with the others."""
    contents = Counter(part.cells.tobytes() + bytes(part.cells.shape) for part in parts)
    shapes = Counter((part.cells != ground).tobytes() + bytes(part.cells.shape) for part in parts)
    sizes = Counter(part.cells.shape for part in parts)
    colours = Counter(part.traits["colour"] for part in parts)
    for part in parts:
        part.traits["content occurs"] = contents[part.cells.tobytes() + bytes(part.cells.shape)]
        part.traits["shape occurs"] = shapes[(part.cells != ground).tobytes() + bytes(part.cells.shape)]
        part.traits["size occurs"] = sizes[part.cells.shape]
        part.traits["colour occurs"] = colours[part.traits["colour"]]
    return parts


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
            part = part_of(grid, box, ground, colour=colour)
            part.traits["count"] = len(rows)
            part.traits["framed"] = int(len(rows) == 2 * (box[2] - box[0] + box[3] - box[1]) + 4)
            parts.append(part)
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


def _parts_of(rows: int, columns: int) -> Family:
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
        part = part_of(grid, box, background(grid), colour=colour)
        part.traits["ground's cells"] = int((grid == colour).sum())
        parts.append(part)
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
    "halves across": _parts_of(1, 2),
    "halves down": _parts_of(2, 1),
    "thirds across": _parts_of(1, 3),
    "thirds down": _parts_of(3, 1),
    "quarters": _parts_of(2, 2),
    "ninths": _parts_of(3, 3),
    "sixteenths": _parts_of(4, 4),
}


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
        if self.how == "most":
            chosen = [n for n, number in enumerate(numbers) if number == max(numbers)]
        elif self.how == "fewest":
            chosen = [n for n, number in enumerate(numbers) if number == min(numbers)]
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
        found = self.pick(FAMILIES[self.family](grid))
        return None if found is None else found.cells


def choices(
    grids: Sequence[Cells], fits: Callable[[int, Cells], bool], go_on: Callable[[], bool]
) -> Iterator[Choice]:
    """Choices that pick, in every grid, a part of which `fits(grid's number, cells)` is true."""
    for name, family in FAMILIES.items():
        if not go_on():
            return
        listed = [family(grid) for grid in grids]
        if not all(0 < len(parts) <= 150 for parts in listed):
            continue
        if not all(any(fits(n, part.cells) for part in parts) for n, parts in enumerate(listed)):
            continue
        for trait in listed[0][0].traits:
            values = {part.traits[trait] for part in listed[0]}
            made = [Choice(name, how, trait) for how in ("most", "fewest", "only")]
            made += [Choice(name, "is", trait, value) for value in sorted(values)]
            for choice in made:
                picked = [choice.pick(parts) for parts in listed]
                if all(part is not None and fits(n, part.cells) for n, part in enumerate(picked)):
                    yield choice

"""Rules around a rule of a simpler task: in a frame of the grid's own, or of one part after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_runner.solver.rules.grids import Box, Cells
from gpu_runner.solver.rules.terms import Rule
from gpu_runner.solver.rules.views import MAX_SIDE

from .frames import Scheme
from .parts import CUTTERS, TABLES, cut, ordered, parts_of

COPIED = "copied"
"""The layout in which parts stay where they are, and all around them."""

LAYOUTS = (COPIED, *TABLES)


@dataclass(frozen=True, slots=True)
class Framed:
    """A rule that looks at the grid in the frame of a scheme; its answer is put back."""

    scheme: Scheme
    rule: Rule

    def answer(self, grid: Cells) -> Cells | None:
        frame = self.scheme.frame(grid)
        if frame is None:
            return None
        told = self.rule.answer(frame.put(grid))
        return None if told is None or told.min() < 0 else frame.back(told)

    def to_json(self) -> Any:
        return ["framed", self.scheme.to_json(), self.rule.to_json()]


@dataclass(frozen=True, slots=True)
class Parted:
    """A rule of every part. layout: where its answers go, `COPIED` or a table."""

    cutter: str
    layout: str
    rule: Rule

    def answer(self, grid: Cells) -> Cells | None:
        boxes = parts_of(grid, self.cutter)
        if boxes is None:
            return None
        if self.layout != COPIED:
            return self._table(grid, boxes)
        drawn = grid.copy()
        for box in boxes:
            part = cut(grid, box)
            told = self.rule.answer(part)
            if told is None or told.shape != part.shape:
                return None
            drawn[box[0] : box[2], box[1] : box[3]] = told
        return drawn

    def _table(self, grid: Cells, boxes: list[Box]) -> Cells | None:
        table = ordered(boxes, self.layout)
        if table is None:
            return None
        rows, columns, order = table
        answers = [self.rule.answer(cut(grid, box)) for box in order]
        known = [one for one in answers if one is not None]
        if len(known) < len(answers) or len({one.shape for one in known}) > 1:
            return None
        height, width = known[0].shape
        if rows * height > MAX_SIDE or columns * width > MAX_SIDE:
            return None
        return np.block([known[n * columns : (n + 1) * columns] for n in range(rows)])

    def to_json(self) -> Any:
        return ["parted", self.cutter, self.layout, self.rule.to_json()]


def parted_from(cutter: str, layout: str, rule: Rule) -> Parted:
    """Raises ValueError on what no rule of parts wrote."""
    if cutter not in CUTTERS or layout not in LAYOUTS:
        raise ValueError(f"no parts are cut as {cutter!r} and laid as {layout!r}")
    return Parted(cutter, layout, rule)

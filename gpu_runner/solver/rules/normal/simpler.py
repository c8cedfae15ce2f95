"""Tasks made simpler: in frames of the grids' own (`frames`), and of one part after the other (`parts`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpu_runner.solver.rules.grids import Box, Cells, Mask, background
from gpu_runner.solver.rules.terms import Pairs, Rule

from .frames import Frame, Scheme, recolourings, turns
from .parts import CUTTERS, cut, ordered, parts_of
from .wrapped import COPIED, LAYOUTS, Framed, Parted

Alike = Callable[[Pairs, Sequence[Cells]], float]

MOST_EXAMPLES = 40
MOST_CELLS = 3000
"""Different parts, and their cells in all demonstrations, from which a rule is learned."""


@dataclass(frozen=True, slots=True)
class Simpler:
    """A simpler task. groups: the demonstration each pair is of; wrap: what makes its rule one of the task;
    gain: how much more alike its pairs are."""

    pairs: Pairs
    tests: Sequence[Cells]
    groups: Sequence[int]
    wrap: Callable[[Rule], Rule]
    gain: float = 0.0

    @property
    def cells(self) -> int:
        return sum(max(source.size, target.size) for source, target in self.pairs)

    @property
    def key(self) -> bytes:
        grids = [*(grid for pair in self.pairs for grid in pair), *self.tests]
        return b"".join(bytes(grid.shape) + grid.astype(np.int8).tobytes() for grid in grids)


def recoloured(task: Simpler) -> list[Simpler]:
    """The task with colours by their roles, no two ways alike, those first that make its pairs most alike;
    none that makes them less alike."""
    return _framed(task, recolourings(task.pairs), _colours_alike)


def turned(task: Simpler) -> list[Simpler]:
    """The task with its grids turned, no two ways alike, in the same order."""
    return _framed(task, turns([*(source for source, _ in task.pairs), *task.tests]), _sides_alike)


def _framed(task: Simpler, schemes: Iterator[Scheme], alike: Alike) -> list[Simpler]:
    found: list[Simpler] = []
    seen, before = {task.key}, alike(task.pairs, task.tests)
    for scheme in schemes:
        one = _in_frame(scheme, task)
        if one is not None and one.key not in seen:
            seen.add(one.key)
            gain = alike(one.pairs, one.tests) - before
            if gain > -EPSILON:
                found.append(replace(one, gain=gain))
    return sorted(found, key=lambda one: -one.gain)


EPSILON = 1e-6


def _in_frame(scheme: Scheme, task: Simpler) -> Simpler | None:
    """None where no grid or every grid changes in the same way."""
    grids = [*(source for source, _ in task.pairs), *task.tests]
    frames: list[Frame] = []
    for grid in grids:
        frame = scheme.frame(grid)
        if frame is None:
            return None
        frames.append(frame)
    if len({frame.side for frame in frames}) == 1 and not _exchanges(frames, grids):
        return None
    pairs = [(f.put(source), f.put(target)) for f, (source, target) in zip(frames, task.pairs, strict=False)]
    tests = [f.put(test) for f, test in zip(frames[len(pairs) :], task.tests, strict=True)]
    return Simpler(pairs, tests, task.groups, lambda rule: task.wrap(Framed(scheme, rule)))


def _exchanges(frames: Sequence[Frame], grids: Sequence[Cells]) -> bool:
    """Whether some colour comes from different ones."""
    olds: dict[int, int] = {}
    return any(
        olds.setdefault(frame.colours[old], old) != old
        for frame, grid in zip(frames, grids, strict=True)
        for old in set(grid.ravel().tolist())
    )


def _colours_alike(pairs: Pairs, tests: Sequence[Cells]) -> float:
    """How alike grids are by the colours they have, and demonstrations by the colours they change."""
    have = [{*grid.ravel().tolist()} for grid in [*(source for source, _ in pairs), *tests]]
    done = [
        {*zip(s[s != t].tolist(), t[s != t].tolist(), strict=True)}
        if s.shape == t.shape
        else {(0, colour) for colour in t.ravel().tolist()}
        for s, t in pairs
    ]
    return _alike(have) + _alike(done)


def _alike(sets: Sequence[set[Any]]) -> float:
    """What all have of what any has."""
    return len(set.intersection(*sets)) / max(1, len(set.union(*sets)))


def _sides_alike(pairs: Pairs, tests: Sequence[Cells]) -> float:
    """How alike the directions are in which something happens, and those in which inputs lean: lengths of
    the mean unit vectors."""
    ways = [_way(source, target) for source, target in pairs]
    leans = [_lean(grid) for grid in [*(source for source, _ in pairs), *tests]]
    return float(np.hypot(*np.mean(ways, axis=0)) + np.hypot(*np.mean(leans, axis=0)))


def _lean(grid: Cells) -> tuple[float, float]:
    """From the middle of the box around what is filled to where most of it is, of length 1 or 0."""
    rows, columns = np.nonzero(grid != background(grid))
    if not len(rows):
        return 0.0, 0.0
    return _unit(
        float(rows.mean()) - (int(rows.min()) + int(rows.max())) / 2,
        float(columns.mean()) - (int(columns.min()) + int(columns.max())) / 2,
    )


def _unit(down: float, across: float) -> tuple[float, float]:
    length = float(np.hypot(down, across))
    return (0.0, 0.0) if length < EPSILON else (down / length, across / length)


def _way(source: Cells, target: Cells) -> tuple[float, float]:
    """From the middle of what is filled to the middle of what changes, of length 1 or 0; in an output of
    another shape from its middle to the middle of what is filled."""
    if source.shape == target.shape:
        start, end = source != background(source), source != target
        middle = _middle(start)
    else:
        end = target != background(target)
        middle = ((target.shape[0] - 1) / 2, (target.shape[1] - 1) / 2)
    goal = _middle(end)
    if middle is None or goal is None:
        return 0.0, 0.0
    return _unit(goal[0] - middle[0], goal[1] - middle[1])


def _middle(mask: Mask) -> tuple[float, float] | None:
    rows, columns = np.nonzero(mask)
    return (float(rows.mean()), float(columns.mean())) if len(rows) else None


def parted(task: Simpler) -> Iterator[Simpler]:
    """Each part an example of its own, no two ways alike."""
    seen: set[bytes] = set()
    for cutter in CUTTERS:
        boxes = [parts_of(source, cutter) for source, _ in task.pairs]
        known = [some for some in boxes if some is not None]
        asked = _parts(task.tests, cutter)
        if len(known) < len(boxes) or asked is None or sum(map(len, known)) <= len(task.pairs):
            continue
        for layout in LAYOUTS:
            one = _each_part(task, known, asked, cutter, layout)
            if one is not None and one.key not in seen:
                seen.add(one.key)
                yield one


def _each_part(
    task: Simpler, boxes: Sequence[list[Box]], asked: list[Cells], cutter: str, layout: str
) -> Simpler | None:
    """None where parts contradict each other, or more than parts changes."""
    found: dict[tuple[bytes, tuple[int, ...]], tuple[Cells, Cells, int]] = {}
    for number, ((source, target), some) in enumerate(zip(task.pairs, boxes, strict=True)):
        laid = _laid(source, target, some, layout)
        if laid is None:
            return None
        for box, answer in laid:
            part = cut(source, box)
            known = found.setdefault((part.tobytes(), part.shape), (part, answer, number))
            if not np.array_equal(known[1], answer):
                return None
    pairs = [(part, answer) for part, answer, _ in found.values()]
    if not 1 < len(pairs) <= MOST_EXAMPLES or sum(part.size for part, _ in pairs) > MOST_CELLS:
        return None
    groups = [number for _, _, number in found.values()]
    return Simpler(pairs, asked, groups, lambda rule: Parted(cutter, layout, rule))


def _laid(source: Cells, target: Cells, boxes: Sequence[Box], layout: str) -> list[tuple[Box, Cells]] | None:
    """Each box and what becomes of it."""
    if (layout == COPIED) != (source.shape == target.shape):
        return None
    if layout == COPIED:
        around = source != target
        for top, left, bottom, right in boxes:
            around[top:bottom, left:right] = False
        return None if around.any() else [(box, cut(target, box)) for box in boxes]
    table = ordered(boxes, layout)
    if table is None or target.shape[0] % table[0] or target.shape[1] % table[1]:
        return None
    rows, columns, order = table
    answers = [answer for band in np.split(target, rows) for answer in np.split(band, columns, axis=1)]
    return list(zip(order, answers, strict=True))


def _parts(grids: Sequence[Cells], cutter: str) -> list[Cells] | None:
    """Every part of the grids, each once."""
    found: dict[tuple[bytes, tuple[int, ...]], Cells] = {}
    for grid in grids:
        boxes = parts_of(grid, cutter)
        if boxes is None:
            return None
        for box in boxes:
            part = cut(grid, box)
            found[part.tobytes(), part.shape] = part
    return list(found.values())

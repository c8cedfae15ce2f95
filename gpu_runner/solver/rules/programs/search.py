"""Short programs over pieces of a grid, and the search for those that draw the demonstrated outputs.

Values are told apart by what they draw on all inputs, the tests among them: of two programs that never differ
only the first is followed. The search is best first by cost, in bits, and by how near the values are to the
outputs: each has a hundred steps to try, so that only a few dozen can be followed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpu_runner.solver.rules.grids import Cells

from .assembling import assembly_steps
from .pieces import Piece, Pieces, Step, cutters
from .redrawing import SLOW, draw_steps


@dataclass(frozen=True, slots=True)
class Known:
    """A step and what it costs. kind: cut (one piece becomes several), draw (each for itself) or assemble;
    stays: whether it keeps the shape of every piece."""

    step: Step
    cost: int
    kind: str
    stays: bool = False


STEPS: dict[str, Known] = {
    **{name: Known(step, cost, "cut") for name, cost, step in cutters()},
    **{name: Known(step, cost, "draw", stays) for name, cost, stays, step in draw_steps()},
    **{name: Known(step, cost, "assemble") for name, cost, step in assembly_steps()},
}

LONGEST = 4
DEAREST = 12
"""Bits up to which programs are followed."""

MOST_DRAWN = 40
"""Values of the demonstrated shapes that are kept."""

MOST_COARSE = 60
"""Values that are kept of those whose sides go into the demonstrated ones."""


@dataclass(frozen=True, slots=True)
class Program:
    """Names of steps, first to last."""

    steps: tuple[str, ...]

    def answer(self, grid: Cells) -> Cells | None:
        pieces: Pieces | None = (Piece(grid),)
        for name in self.steps:
            pieces = STEPS[name].step(pieces, grid) if pieces else None
        return None if not pieces else one_of(pieces)

    @property
    def cost(self) -> int:
        return sum(STEPS[name].cost for name in self.steps)

    def to_json(self) -> Any:
        return list(self.steps)


def program_from_json(told: Any) -> Program:
    """Raises ValueError on what is no list of steps."""
    if not isinstance(told, list) or not all(isinstance(name, str) and name in STEPS for name in told):
        raise ValueError("a rule's program has unknown steps")
    return Program(tuple(told))


def one_of(pieces: Pieces) -> Cells | None:
    """The grid that is drawn: all pieces look the same."""
    cells = pieces[0].cells
    if any(not np.array_equal(piece.cells, cells) for piece in pieces[1:]):
        return None
    return cells


@dataclass(slots=True)
class Searched:
    """exact: programs that draw every output; shaped: those that draw all of its shape, with the share of
    cells that are right; coarse: those that draw something whose sides go into it. As they were found."""

    exact: list[Program] = field(default_factory=list)
    shaped: list[tuple[Program, float]] = field(default_factory=list)
    coarse: list[Program] = field(default_factory=list)
    tried: int = 0
    drawn: set[bytes] = field(default_factory=set)
    """What these draw: the same pieces cut elsewhere are another value, but no other drawing."""


Values = tuple[Pieces, ...]


def search(
    grids: Sequence[Cells], targets: Sequence[Cells], go_on: Callable[[], bool], most: int
) -> Searched:
    """Programs for the inputs `grids`, of which the first have known `targets`; at most so many values."""
    found = Searched()
    steps = _useful(grids, targets)
    start: Values = tuple((Piece(grid),) for grid in grids)
    seen = {_key(start)}
    heap: list[tuple[int, int, int, tuple[str, ...], Values]] = [(0, 0, 0, (), start)]
    colours = [frozenset(target.ravel().tolist()) - {0} for target in targets]
    while heap and found.tried < most and go_on():
        _, _, cost, names, values = heapq.heappop(heap)
        for name, known in _next(values, steps):
            dear = cost + known.cost
            if dear > DEAREST or (known.cost >= SLOW and len(names) > 1):
                continue
            last = len(names) + 1 == LONGEST
            if last and known.stays and values[0][0].cells.shape != targets[0].shape:
                continue
            found.tried += 1
            if (found.tried % 8 == 0 or known.cost >= SLOW) and not go_on():
                return found
            new = _applied(known.step, values, grids, targets if last else None)
            if new is None:
                continue
            key = _key(new)
            if key in seen:
                continue
            seen.add(key)
            program = Program((*names, name))
            if _noted(found, program, new, targets):
                continue
            if not last:
                turn = dear + _distance(new, targets, colours)
                heapq.heappush(heap, (turn, found.tried, dear, program.steps, new))
    return found


def _distance(values: Values, targets: Sequence[Cells], colours: Sequence[frozenset[int]]) -> int:
    """How far values are from the outputs, in bits: only a guess at which to follow first. colours: those
    drawn in the outputs."""
    far = 0
    near = {"size": True, "piece": True}
    for pieces, target, wanted in zip(values, targets, colours, strict=False):
        if not wanted <= set(np.concatenate([piece.cells.ravel() for piece in pieces]).tolist()):
            far = LACKING
        alike = [piece.cells for piece in pieces if piece.cells.shape == target.shape]
        near["size"] &= bool(alike)
        near["piece"] &= any(np.array_equal(cells, target) for cells in alike)
    return far - SIZED * near["size"] - FOUND * near["piece"]


LACKING, SIZED, FOUND = 2, 2, 2
"""Bits by which values come later that lack a colour of an output, and sooner that have a piece of every
output's size, or every output itself."""

Table = dict[str, Known]


def _useful(grids: Sequence[Cells], targets: Sequence[Cells]) -> Table:
    """Without steps that name a colour which is not in every input, or drawn in every output."""
    given = _shared([*grids])
    wanted = _shared(targets)
    table = {}
    for name, known in STEPS.items():
        verb, _, colour = name.rpartition(" ")
        if not colour.isdigit() or int(colour) in (wanted if verb == "in" else given):
            table[name] = known
    return table


def _shared(grids: Sequence[Cells]) -> set[int]:
    return set.intersection(*(set(grid.ravel().tolist()) for grid in grids))


def _next(values: Values, steps: Table) -> Iterator[tuple[str, Known]]:
    """The steps that may do something to such values."""
    several = any(len(pieces) > 1 for pieces in values)
    for name, known in steps.items():
        if known.kind == "cut" and several:
            continue
        if known.kind == "assemble" and not several and not name.startswith("repeated"):
            continue
        yield name, known


def _applied(
    step: Step, values: Values, grids: Sequence[Cells], targets: Sequence[Cells] | None
) -> Values | None:
    """The values after a step, None where it fails on one of them, or a demonstration's last one has not the
    target's shape."""
    new = []
    for n, (pieces, grid) in enumerate(zip(values, grids, strict=True)):
        after = step(pieces, grid)
        if not after:
            return None
        if targets is not None and n < len(targets) and after[0].cells.shape != targets[n].shape:
            return None
        new.append(after)
    return tuple(new)


def _noted(found: Searched, program: Program, values: Values, targets: Sequence[Cells]) -> bool:
    """Whether the program is exact; what draws the right shapes, or goes into them, is kept too."""
    right = total = 0
    if values[0][0].cells.shape != targets[0].shape:
        _note_coarse(found, program, values, targets)
        return False
    for pieces, target in zip(values, targets, strict=False):
        cells = pieces[0].cells
        if cells.shape != target.shape or one_of(pieces) is None:
            return False
        right += int((cells == target).sum())
        total += target.size
    if any(one_of(pieces) is None for pieces in values[len(targets) :]):
        return False
    key = _key([(Piece(pieces[0].cells),) for pieces in values])
    if key not in found.drawn:
        found.drawn.add(key)
        if right == total:
            found.exact.append(program)
        elif len(found.shaped) < MOST_DRAWN:
            found.shaped.append((program, right / total))
    return right == total


def _note_coarse(found: Searched, program: Program, values: Values, targets: Sequence[Cells]) -> None:
    if len(found.coarse) == MOST_COARSE:
        return
    for pieces, target in zip(values, targets, strict=False):
        (height, width), (tall, wide) = pieces[0].cells.shape, target.shape
        if tall % height or wide % width:
            return
    if any(one_of(pieces) is None for pieces in values):
        return
    key = _key([(Piece(pieces[0].cells),) for pieces in values])
    if key not in found.drawn:
        found.drawn.add(key)
        found.coarse.append(program)


def _key(values: Sequence[Pieces]) -> bytes:
    parts = []
    for pieces in values:
        for cells, top, left in pieces:
            parts.append(bytes((*cells.shape, top % 256, left % 256)))
            parts.append(cells.astype(np.int8).tobytes())
        parts.append(b"|")
    return b"".join(parts)

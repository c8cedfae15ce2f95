"""What a program works on: pieces of a grid that lie where they were cut, 0 where nothing is drawn.

A *step* takes all pieces and the grid they came from and gives other pieces, or None where it does not
apply. Here are the steps that cut a grid into pieces; `drawings` and `assembling` have the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gpu_runner.solver.rules.grids import Cells, Component, Mask, components
from gpu_runner.solver.rules.views import split

MAX_SIDE = 30
MOST_PIECES = 60
COLOURS = 10


class Piece(NamedTuple):
    """cells: H × W; top, left: where it was cut."""

    cells: Cells
    top: int = 0
    left: int = 0


Pieces = tuple[Piece, ...]
Step = Callable[[Pieces, Cells], Pieces | None]
Act = Callable[[Cells], Cells | None]
Cutter = Callable[[Cells], Sequence[Piece]]


def each(act: Act) -> Step:
    """A step that redraws every piece in its place."""

    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        drawn = []
        for piece in pieces:
            cells = act(piece.cells)
            if cells is None or not cells.size or max(cells.shape) > MAX_SIDE:
                return None
            drawn.append(Piece(cells, piece.top, piece.left))
        return tuple(drawn)

    return step


def cutting(cutter: Cutter) -> Step:
    """A step that takes one grid apart, in reading order."""

    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        if len(pieces) != 1:
            return None
        found = cutter(pieces[0].cells)
        if not 0 < len(found) <= MOST_PIECES:
            return None
        return tuple(sorted(found, key=lambda piece: (piece.top, piece.left)))

    return step


def trimmed_piece(piece: Piece) -> Piece:
    """Without empty rows and columns at its edges; as it is where it is empty."""
    rows, columns = np.flatnonzero(piece.cells.any(1)), np.flatnonzero(piece.cells.any(0))
    if not len(rows):
        return piece
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return Piece(piece.cells[top:bottom, left:right], piece.top + top, piece.left + left)


def _components(eight: bool, by_colour: bool, *, alone: bool) -> Cutter:
    def cutter(cells: Cells) -> list[Piece]:
        found, _ = components(cells, eight=eight, by_colour=by_colour, within=cells != 0)
        return [_piece_of(one, cells, alone) for one in found] if len(found) <= MOST_PIECES else []

    return cutter


def _piece_of(one: Component, cells: Cells, alone: bool) -> Piece:
    top, left, bottom, right = one.box
    cut = cells[top:bottom, left:right]
    return Piece(np.where(one.mask(), cut, 0) if alone else cut, top, left)


def _areas(cells: Cells) -> list[Piece]:
    """Components of one colour, the ground's as well."""
    found, _ = components(cells, eight=False, by_colour=True, within=np.ones(cells.shape, bool))
    return [_piece_of(one, cells, alone=False) for one in found] if len(found) <= MOST_PIECES else []


def _solid(cells: Cells) -> list[Piece]:
    """Areas that are whole boxes of one colour, ground or not."""
    found, _ = components(cells, eight=False, by_colour=True, within=np.ones(cells.shape, bool))
    boxes = [one for one in found if one.size == one.shape[0] * one.shape[1]]
    return [_piece_of(one, cells, alone=False) for one in boxes] if len(boxes) <= MOST_PIECES else []


def _colours(trimmed: bool) -> Cutter:
    """A piece for every colour: only its cells."""

    def cutter(cells: Cells) -> list[Piece]:
        found = []
        for colour in range(1, COLOURS):
            mask = cells == colour
            if mask.any():
                piece = Piece(np.where(mask, colour, 0))
                found.append(trimmed_piece(piece) if trimmed else piece)
        return found

    return cutter


def _panels(cells: Cells) -> list[Piece]:
    found = split(cells)
    if found is None:
        return []
    return [
        Piece(panel, r * 31, c * 31)  # apart from each other, wherever the lines were
        for r, line in enumerate(found)
        for c, panel in enumerate(line)
    ]


def _between_lines(cells: Cells) -> list[Piece]:
    """What lies between whole lines of one colour, of whatever sizes; the first colour that has them."""
    for colour in range(1, COLOURS):
        inside = cells != colour
        rows, columns = _runs(inside.any(1)), _runs(inside.any(0))
        if 2 <= len(rows) * len(columns) <= MOST_PIECES:
            return [Piece(cells[a:b, c:d], a, c) for a, b in rows for c, d in columns]
    return []


def _runs(inside: Mask) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _equal(rows: int, columns: int) -> Cutter:
    def cutter(cells: Cells) -> Sequence[Piece]:
        height, width = cells.shape
        if height % rows or width % columns or (height, width) == (rows, columns):
            return []
        h, w = height // rows, width // columns
        return [
            Piece(cells[r * h : r * h + h, c * w : c * w + w], r * h, c * w)
            for r in range(rows)
            for c in range(columns)
        ]

    return cutter


def _squares(cells: Cells) -> Sequence[Piece]:
    """Squares side by side, as wide as the grid's shorter side."""
    height, width = cells.shape
    short, long = min(cells.shape), max(cells.shape)
    if short == long or long % short:
        return []
    return _equal(height // short, width // short)(cells) if short > 1 else []


def _rows(cells: Cells) -> list[Piece]:
    return [Piece(cells[r : r + 1], r, 0) for r in range(cells.shape[0])]


def _columns(cells: Cells) -> list[Piece]:
    return [Piece(cells[:, c : c + 1], 0, c) for c in range(cells.shape[1])]


def _framed(cells: Cells) -> list[Piece]:
    """The insides of frames of one colour."""
    found, _ = components(cells, eight=False, by_colour=True, within=cells != 0)
    pieces = []
    for one in found:
        top, left, bottom, right = one.box
        if min(one.shape) < 3:
            continue
        cut = cells[top:bottom, left:right]
        if len({*cut[0].tolist(), *cut[-1].tolist(), *cut[:, 0].tolist(), *cut[:, -1].tolist()}) == 1:
            pieces.append(Piece(cut[1:-1, 1:-1], top + 1, left + 1))
    return pieces


def _cornered(cells: Cells) -> list[Piece]:
    """What lies within boxes whose four corners alone are marked with one colour."""
    pieces = []
    for colour in range(1, COLOURS):
        rows, columns = np.nonzero(cells == colour)
        if len(rows) != 4 or len(set(rows.tolist())) != 2 or len(set(columns.tolist())) != 2:
            continue
        top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
        if bottom - top > 1 and right - left > 1:
            pieces.append(Piece(cells[top + 1 : bottom, left + 1 : right], int(top) + 1, int(left) + 1))
    return pieces


def cutters() -> Iterator[tuple[str, int, Step]]:
    """(name, cost in bits, step) of those that take a grid apart."""
    for eight, way in ((True, ""), (False, "side-")):
        yield f"{way}objects", 2, cutting(_components(eight, True, alone=True))
        yield f"{way}groups", 2, cutting(_components(eight, False, alone=True))
    yield "boxes of objects", 3, cutting(_components(True, True, alone=False))
    yield "boxes of groups", 3, cutting(_components(True, False, alone=False))
    yield "areas", 4, cutting(_areas)
    yield "solid areas", 4, cutting(_solid)
    yield "colours", 2, cutting(_colours(trimmed=False))
    yield "trimmed colours", 3, cutting(_colours(trimmed=True))
    yield "panels", 1, cutting(_panels)
    yield "parts between lines", 2, cutting(_between_lines)
    yield "insides of frames", 3, cutting(_framed)
    yield "between corners", 4, cutting(_cornered)
    yield "halves across", 2, cutting(_equal(1, 2))
    yield "halves down", 2, cutting(_equal(2, 1))
    yield "quarters", 3, cutting(_equal(2, 2))
    yield "ninths", 3, cutting(_equal(3, 3))
    yield "squares", 2, cutting(_squares)
    yield "rows", 3, cutting(_rows)
    yield "columns", 3, cutting(_columns)

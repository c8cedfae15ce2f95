"""The steps of programs that order, choose and put together pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpu_runner.solver.rules.grids import Cells

from .measures import MEASURES, Measure, cell_count, symmetries
from .pieces import MAX_SIDE, Piece, Pieces, Step, trimmed_piece
from .redrawing import main_colour


def _sorted(measure: Measure, downwards: bool) -> Step:
    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        if len(pieces) < 2:
            return None
        return tuple(sorted(pieces, key=measure, reverse=downwards))

    return step


def _extreme(measure: Measure, most: bool) -> Step:
    """All pieces with the highest (lowest) number, where not all have it."""

    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        numbers = [measure(piece) for piece in pieces]
        wanted = max(numbers) if most else min(numbers)
        if len(pieces) < 2 or numbers.count(wanted) == len(numbers):
            return None
        return tuple(piece for piece, number in zip(pieces, numbers, strict=True) if number == wanted)

    return step


Key = Callable[[Piece], object]


def _alone(key: Key, alone: bool) -> Step:
    """The pieces that have no equal among the others, or those that have."""

    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        keys = [key(piece) for piece in pieces]
        counts = Counter(keys)
        kept = tuple(p for p, k in zip(pieces, keys, strict=True) if (counts[k] == 1) == alone)
        return kept if 0 < len(kept) < len(pieces) else None

    return step


def _content(piece: Piece) -> object:
    return piece.cells.tobytes(), piece.cells.shape


def _shape(piece: Piece) -> object:
    return (trimmed_piece(piece).cells != 0).tobytes(), piece.cells.shape


def _size(piece: Piece) -> object:
    return piece.cells.shape


def _kept(holds: Callable[[Piece, Cells], bool], wanted: bool) -> Step:
    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        kept = tuple(piece for piece in pieces if holds(piece, grid) == wanted)
        return kept if 0 < len(kept) < len(pieces) else None

    return step


def _bordering(piece: Piece, grid: Cells) -> bool:
    (top, left), (height, width) = piece[1:], piece.cells.shape
    return bool(top == 0 or left == 0 or (top + height, left + width) == grid.shape)


def _single(piece: Piece, grid: Cells) -> bool:
    return cell_count(piece) == 1


def _through(piece: Piece, grid: Cells) -> bool:
    """From one edge of the grid to the other."""
    return bool(len(piece.cells) == len(grid) or len(piece.cells[0]) == len(grid[0]))


def _whole(piece: Piece, grid: Cells) -> bool:
    return bool(piece.cells.all())


def _first(pieces: Pieces, grid: Cells) -> Pieces | None:
    return pieces[:1] if len(pieces) > 1 else None


def _last(pieces: Pieces, grid: Cells) -> Pieces | None:
    return pieces[-1:] if len(pieces) > 1 else None


def _without_copies(pieces: Pieces, grid: Cells) -> Pieces | None:
    """Of pieces that look the same only the first."""
    kept = {_content(piece): piece for piece in reversed(pieces)}
    return tuple(piece for piece in pieces if kept[_content(piece)] is piece)


def _most_frequent(pieces: Pieces, grid: Cells) -> Pieces | None:
    """One of those that look the same most often."""
    (first, count), *others = Counter(_content(piece) for piece in pieces).most_common(2)
    if len(pieces) < 3 or count < 2 or (others and others[0][1] == count):
        return None
    return tuple(piece for piece in pieces if _content(piece) == first)[:1]


# Putting together


def _overlaid(backwards: bool) -> Step:
    """Each where it was cut, on a grid as large as they need; what is drawn covers what came before."""

    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        if len(pieces) < 2:
            return None
        top, left = min(p.top for p in pieces), min(p.left for p in pieces)
        bottom = max(p.top + p.cells.shape[0] for p in pieces)
        right = max(p.left + p.cells.shape[1] for p in pieces)
        if max(bottom - top, right - left) > MAX_SIDE:
            return None
        return (Piece(_layered(pieces[::-1] if backwards else pieces, top, left, bottom, right), top, left),)

    return step


def _layered(pieces: Sequence[Piece], top: int, left: int, bottom: int, right: int) -> Cells:
    drawn = np.zeros((bottom - top, right - left), np.int64)
    for cells, down, across in pieces:
        height, width = cells.shape
        under = drawn[down - top : down - top + height, across - left : across - left + width]
        np.copyto(under, cells, where=cells != 0)
    return drawn


def _together(combine: Callable[[Cells, Sequence[Cells]], Cells]) -> Step:
    """Pieces of one size laid over each other. combine(how many are drawn at each cell, their cells)."""

    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        if len(pieces) < 2 or len({piece.cells.shape for piece in pieces}) > 1:
            return None
        drawn = [piece.cells for piece in pieces]
        return (Piece(combine(np.sum([cells != 0 for cells in drawn], axis=0), drawn)),)

    return step


def _on_top(count: Cells, drawn: Sequence[Cells]) -> Cells:
    found = np.zeros_like(drawn[0])
    for cells in drawn:
        np.copyto(found, cells, where=cells != 0)
    return found


def _below(count: Cells, drawn: Sequence[Cells]) -> Cells:
    return _on_top(count, drawn[::-1])


def _in_all(count: Cells, drawn: Sequence[Cells]) -> Cells:
    return np.where(count == len(drawn), drawn[0], 0)


def _in_one(count: Cells, drawn: Sequence[Cells]) -> Cells:
    return np.where(count == 1, np.max(drawn, axis=0), 0)


def _in_none(count: Cells, drawn: Sequence[Cells]) -> Cells:
    return np.where(count == 0, main_colour(np.concatenate([c.ravel() for c in drawn])), 0)


def _by_majority(count: Cells, drawn: Sequence[Cells]) -> Cells:
    stack = np.stack(drawn)
    most: Cells = np.stack([(stack == colour).sum(0) for colour in range(10)]).argmax(0)
    return most


def _stacked(down: bool | None, gap: int = 0) -> Step:
    """One after the other, in a column or a row; None: as they lie in the grid."""

    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        if len(pieces) < 2:
            return None
        upright = _spread(pieces) if down is None else down
        axis, across = (0, 1) if upright else (1, 0)
        breadth = max(piece.cells.shape[across] for piece in pieces)
        length = sum(piece.cells.shape[axis] + gap for piece in pieces) - gap
        if max(breadth, length) > MAX_SIDE:
            return None
        drawn = np.zeros((length, breadth) if upright else (breadth, length), np.int64)
        at = 0
        for cells, _, _ in pieces:
            height, width = cells.shape
            if upright:
                drawn[at : at + height, :width] = cells
            else:
                drawn[:height, at : at + width] = cells
            at += cells.shape[axis] + gap
        return (Piece(drawn),)

    return step


def _spread(pieces: Pieces) -> bool:
    """Whether they lie below rather than beside each other."""
    tops, lefts = [p.top for p in pieces], [p.left for p in pieces]
    return max(tops) - min(tops) > max(lefts) - min(lefts)


def _laid(pieces: Pieces, grid: Cells) -> Pieces | None:
    """In rows and columns as they lie, close together, missing ones left empty."""
    if len(pieces) < 3:
        return None
    rows, columns = _bands([p.top for p in pieces]), _bands([p.left for p in pieces])
    height = max(piece.cells.shape[0] for piece in pieces)
    width = max(piece.cells.shape[1] for piece in pieces)
    tall, wide = max(rows) + 1, max(columns) + 1
    if len(set(zip(rows, columns, strict=True))) < len(pieces):
        return None
    if max(tall * height, wide * width) > MAX_SIDE or min(tall, wide) < 2:
        return None
    drawn = np.zeros((tall * height, wide * width), np.int64)
    for piece, r, c in zip(pieces, rows, columns, strict=True):
        h, w = piece.cells.shape
        drawn[r * height : r * height + h, c * width : c * width + w] = piece.cells
    return (Piece(drawn),)


def _bands(starts: Sequence[int]) -> list[int]:
    """The number of each start among those not next to each other."""
    ordered = sorted(set(starts))
    number = {}
    band = -1
    for n, start in enumerate(ordered):
        band += n == 0 or start > ordered[n - 1] + 1
        number[start] = band
    return [number[start] for start in starts]


def _product(pieces: Pieces, grid: Cells) -> Pieces | None:
    """Of two pieces, one copy of the second for each cell drawn in the first."""
    if len(pieces) != 2:
        return None
    one, other = pieces[0].cells, pieces[1].cells
    if one.shape[0] * other.shape[0] > MAX_SIDE or one.shape[1] * other.shape[1] > MAX_SIDE:
        return None
    return (Piece(np.kron((one != 0).astype(np.int64), other)),)


def _swapped(pieces: Pieces, grid: Cells) -> Pieces | None:
    return pieces[::-1] if len(pieces) > 1 else None


def _counted(draw: Callable[[int], Cells]) -> Step:
    """As many cells as there are pieces, in the colour that most of them have."""

    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        colour = main_colour(np.concatenate([piece.cells.ravel() for piece in pieces]))
        return (Piece(draw(len(pieces)) * colour),) if len(pieces) <= MAX_SIDE else None

    return step


def _repeated(down: bool) -> Step:
    """One row (or column) repeated until the grid is square."""

    def step(pieces: Pieces, grid: Cells) -> Pieces | None:
        if len(pieces) != 1:
            return None
        cells = pieces[0].cells
        if cells.shape[0 if down else 1] != 1 or cells.size == 1:
            return None
        return (Piece(cells.repeat(cells.size, 0 if down else 1)),)

    return step


def _from_the_grid(pieces: Pieces, grid: Cells) -> Pieces | None:
    """What the whole grid has where the pieces lie."""
    cut = []
    for cells, top, left in pieces:
        height, width = cells.shape
        if top + height > grid.shape[0] or left + width > grid.shape[1]:
            return None
        cut.append(Piece(grid[top : top + height, left : left + width], top, left))
    return tuple(cut)


SHAPES: dict[str, Callable[[int], Cells]] = {
    "row": lambda count: np.ones((1, count), np.int64),
    "column": lambda count: np.ones((count, 1), np.int64),
    "diagonal": lambda count: np.eye(count, dtype=np.int64),
    "square": lambda count: np.ones((count, count), np.int64),
}


def assembly_steps() -> Iterator[tuple[str, int, Step]]:
    """(name, cost in bits, step) of those that look at several pieces."""
    for name, measure in MEASURES.items():
        dear = 0 if name in ("cells", "area") else 1
        yield f"most {name}", 2 + dear, _extreme(measure, True)
        yield f"fewest {name}", 2 + dear, _extreme(measure, False)
        yield f"sorted by {name}", 2 + dear, _sorted(measure, False)
        yield f"sorted down by {name}", 2 + dear, _sorted(measure, True)
    for name, key in (("content", _content), ("shape", _shape), ("size", _size),
                      ("colour", lambda piece: main_colour(piece.cells)),
                      ("symmetries", lambda piece: symmetries(piece) > 0)):  # fmt: skip
        yield f"alone in {name}", 3, _alone(key, True)
        yield f"with a twin in {name}", 3, _alone(key, False)
    for name, holds in (("bordering", _bordering), ("single", _single), ("through", _through),
                        ("whole", _whole)):  # fmt: skip
        yield f"kept if {name}", 3, _kept(holds, True)
        yield f"kept unless {name}", 3, _kept(holds, False)
    yield "first", 3, _first
    yield "last", 3, _last
    yield "reversed", 2, _swapped
    yield "without copies", 2, _without_copies
    yield "most frequent", 2, _most_frequent
    yield "overlaid", 1, _overlaid(False)
    yield "overlaid backwards", 2, _overlaid(True)
    for name, cost, combine in (
        ("first on top", 2, _below), ("last on top", 1, _on_top), ("in all", 1, _in_all),
        ("in one", 1, _in_one), ("in none", 2, _in_none), ("by majority", 2, _by_majority),
    ):  # fmt: skip
        yield f"together, {name}", cost, _together(combine)
    yield "stacked", 1, _stacked(None)
    yield "stacked down", 1, _stacked(True)
    yield "stacked across", 1, _stacked(False)
    yield "stacked down apart", 3, _stacked(True, 1)
    yield "stacked across apart", 3, _stacked(False, 1)
    yield "laid as they lie", 1, _laid
    yield "product", 2, _product
    for name, draw in SHAPES.items():
        yield f"a {name} of as many", 3, _counted(draw)
    yield "repeated down", 2, _repeated(True)
    yield "repeated across", 2, _repeated(False)
    yield "from the grid", 3, _from_the_grid

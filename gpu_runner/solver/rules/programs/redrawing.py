"""The steps of programs that draw every piece anew, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpu_runner.solver.rules.grids import Cells, Mask, components
from gpu_runner.solver.rules.images import continued, mirrored, sand_fallen

from .pieces import COLOURS, MAX_SIDE, Act, Pieces, Step, each, trimmed_piece


def _trim(pieces: Pieces, grid: Cells) -> Pieces | None:
    return tuple(trimmed_piece(piece) for piece in pieces)


def _squeezed(cells: Cells) -> Cells:
    """Of equal rows side by side only one, and so for columns."""
    rows = np.append(True, (cells[1:] != cells[:-1]).any(1))
    columns = np.append(True, (cells[:, 1:] != cells[:, :-1]).any(0))
    found: Cells = cells[rows][:, columns]
    return found


def _without_empty(cells: Cells) -> Cells:
    """Without empty rows and columns, also those within."""
    found: Cells = cells[cells.any(1)][:, cells.any(0)]
    return found


def _shrunk(cells: Cells) -> Cells | None:
    """The smallest grid of which this one is an enlargement by whole numbers."""
    found = cells
    for axis in (0, 1):
        length = found.shape[axis]
        for times in range(length, 1, -1):
            if length % times == 0:
                small = found.take(range(0, length, times), axis)
                if np.array_equal(small.repeat(times, axis), found):
                    found = small
                    break
    return found if found.shape != cells.shape else None


def _tile(cells: Cells) -> Cells | None:
    """The smallest tile of which the grid is a whole or broken repetition."""
    height, width = cells.shape
    row, column = np.indices(cells.shape)
    for h, w in sorted(((h, w) for h in range(1, height + 1) for w in range(1, width + 1)), key=_area):
        if (h <= height / 2 or w <= width / 2) and np.array_equal(cells[row % h, column % w], cells):
            return cells[:h, :w]
    return None


def _area(shape: tuple[int, int]) -> tuple[int, int]:
    return shape[0] * shape[1], shape[0]


def _counts(cells: Cells) -> Cells:
    counts = np.bincount(cells.ravel(), minlength=COLOURS)
    counts[0] = 0
    return counts


def main_colour(cells: Cells) -> int:
    """The most common colour drawn; 0 where nothing is."""
    counts = _counts(cells)
    return int(counts.argmax()) if counts.any() else 0


def _rarest(cells: Cells) -> int:
    counts = _counts(cells)
    return int(np.where(counts > 0, counts, 999).argmin()) if counts.any() else 0


def _only(which: Callable[[Cells], int]) -> Act:
    return lambda cells: np.where(cells == which(cells), cells, 0)


def _without(which: Callable[[Cells], int]) -> Act:
    return lambda cells: np.where(cells == which(cells), 0, cells)


def _named(colour: int) -> Callable[[Cells], int]:
    return lambda cells: colour


def _in_colour(colour: int) -> Act:
    return lambda cells: np.where(cells != 0, colour, 0)


def _in_main(cells: Cells) -> Cells:
    return np.where(cells != 0, main_colour(cells), 0)


def _in_rarest(cells: Cells) -> Cells:
    return np.where(cells != 0, _rarest(cells), 0)


def _inverted(cells: Cells) -> Cells:
    """Drawn where nothing was, in the most common colour."""
    return np.where(cells == 0, main_colour(cells), 0)


def _swapped(cells: Cells) -> Cells | None:
    """The two colours, ground or not, change places."""
    colours = sorted(set(cells.ravel().tolist()))
    return np.where(cells == colours[0], colours[1], colours[0]) if len(colours) == 2 else None


def _ground_zero(cells: Cells) -> Cells:
    """The most common colour taken for ground; 0 takes its place."""
    most = int(np.bincount(cells.ravel(), minlength=COLOURS).argmax())
    return np.where(cells == most, 0, np.where(cells == 0, most, cells))


def _enclosed(cells: Cells) -> Mask:
    """Empty cells from which no way leads out, side by side."""
    empty = np.pad(cells == 0, 1, constant_values=True)
    outside = np.zeros_like(empty)
    outside[[0, -1]] = True
    outside[:, [0, -1]] = True
    reached = 0
    while reached != (reached := int(outside.sum())):
        for grown, there in (
            (outside[1:], outside[:-1]), (outside[:-1], outside[1:]),
            (outside[:, 1:], outside[:, :-1]), (outside[:, :-1], outside[:, 1:]),
        ):  # fmt: skip
            grown |= there
            outside &= empty
    enclosed: Mask = (empty & ~outside)[1:-1, 1:-1]
    return enclosed


def _filled(cells: Cells) -> Cells:
    return np.where(_enclosed(cells), main_colour(cells), cells)


def _holes(cells: Cells) -> Cells:
    """Only the enclosed cells, in the most common colour."""
    return np.where(_enclosed(cells), main_colour(cells), 0)


def _hollow(cells: Cells) -> Cells:
    """Without cells that have none but their own colour on all four sides."""
    padded = np.pad(cells, 1)
    inner = np.ones(cells.shape, bool)
    for near in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        inner &= near == cells
    return np.where(inner, 0, cells)


def _inside(cells: Cells) -> Cells | None:
    """Without the outermost ring."""
    return cells[1:-1, 1:-1] if min(cells.shape) > 2 else None


def _ringed(cells: Cells) -> Cells:
    """With an empty ring around."""
    return np.pad(cells, 1)


def _edged(cells: Cells) -> Cells:
    """With the outermost cells repeated once more outside."""
    return np.pad(cells, 1, mode="edge")


def _half(side: int) -> Act:
    def act(cells: Cells) -> Cells | None:
        height, width = cells.shape
        if side in (0, 1):
            half = (height + 1) // 2
            return (cells[:half] if side == 0 else cells[-half:]) if height > 1 else None
        half = (width + 1) // 2
        return (cells[:, :half] if side == 2 else cells[:, -half:]) if width > 1 else None

    return act


def _times(number: Callable[[Cells], int]) -> Act:
    """Every cell grows to so many by so many."""

    def act(cells: Cells) -> Cells | None:
        times = number(cells)
        if not 2 <= times <= MAX_SIDE or max(cells.shape) * times > MAX_SIDE:
            return None
        return cells.repeat(times, 0).repeat(times, 1)

    return act


def _colour_count(cells: Cells) -> int:
    return int((_counts(cells) > 0).sum())


def _cell_count(cells: Cells) -> int:
    return int((cells != 0).sum())


def _fractal(inverted: bool) -> Act:
    """A copy of the grid for each of its cells that is drawn (or is not)."""

    def act(cells: Cells) -> Cells | None:
        height, width = cells.shape
        if max(height, width) > 5 or height * width == 1:
            return None
        return np.kron((cells == 0) if inverted else (cells != 0), cells).astype(np.int64)

    return act


def _mirrored_tiles(order: tuple[tuple[int, ...], ...]) -> Act:
    """Copies side by side: 0 as it is, 1 left-right, 2 top-bottom, 3 half turned."""

    def act(cells: Cells) -> Cells | None:
        if cells.shape[0] * len(order) > MAX_SIDE or cells.shape[1] * len(order[0]) > MAX_SIDE:
            return None
        sides = (cells, cells[:, ::-1], cells[::-1], cells[::-1, ::-1])
        return np.block([[sides[side] for side in line] for line in order])

    return act


def _quarter_turns(cells: Cells) -> Cells | None:
    """Four copies, each turned a quarter further, clockwise from the top left."""
    if cells.shape[0] != cells.shape[1] or cells.shape[0] > MAX_SIDE // 2:
        return None
    return np.block([[cells, np.rot90(cells, -1)], [np.rot90(cells), np.rot90(cells, 2)]])


def _dot(which: Callable[[Cells], int]) -> Act:
    return lambda cells: np.array([[which(cells)]], np.int64)


def _drawn_of(shape: Callable[[int], Cells], number: Callable[[Cells], int]) -> Act:
    """As many cells of the main colour as a count says, in a row, column, diagonal or square."""

    def act(cells: Cells) -> Cells | None:
        count = number(cells)
        return shape(count) * main_colour(cells) if 0 < count <= MAX_SIDE else None

    return act


def _bar(count: int) -> Cells:
    return np.ones((1, count), np.int64)


def _column(count: int) -> Cells:
    return np.ones((count, 1), np.int64)


def _diagonal(count: int) -> Cells:
    return np.eye(count, dtype=np.int64)


def _square(count: int) -> Cells:
    return np.ones((count, count), np.int64)


def _by_frequency(upright: bool) -> Act:
    """One cell for each colour drawn, the most common first."""

    def act(cells: Cells) -> Cells | None:
        counts = _counts(cells)
        ranked = np.array([c for c in np.argsort(-counts, kind="stable") if counts[c]], np.int64)
        if not len(ranked):
            return None
        return ranked[:, None] if upright else ranked[None]

    return act


def _without_noise(cells: Cells) -> Cells:
    """Without components of a single cell."""
    found, _ = components(cells, eight=True, by_colour=False, within=cells != 0)
    result = cells.copy()
    for one in found:
        if one.size == 1:
            result[one.rows, one.columns] = 0
    return result


def _restored(image: Callable[[Cells, int], Cells]) -> Act:
    def act(cells: Cells) -> Cells | None:
        found = image(cells, 0)
        return None if (found < 0).any() else found

    return act


def _fallen(direction: int) -> Act:
    return lambda cells: sand_fallen(cells, 0, direction)


def acts(colours: Sequence[int] = tuple(range(1, COLOURS))) -> Iterator[tuple[str, int, bool, Act]]:
    """(name, cost in bits, whether the shape stays, act) of those that draw a piece anew."""
    yield "mirrored left-right", 2, True, lambda cells: cells[:, ::-1]
    yield "mirrored top-bottom", 2, True, lambda cells: cells[::-1]
    yield "half turned", 2, True, lambda cells: cells[::-1, ::-1]
    yield "transposed", 2, False, lambda cells: cells.T
    yield "quarter turned", 3, False, lambda cells: np.rot90(cells)
    yield "quarter turned back", 3, False, lambda cells: np.rot90(cells, -1)
    yield "transposed otherwise", 3, False, lambda cells: cells[::-1, ::-1].T
    yield "squeezed", 2, False, _squeezed
    yield "without empty lines", 2, False, _without_empty
    yield "shrunk", 2, False, _shrunk
    yield "its tile", 3, False, _tile
    yield "only the main colour", 3, True, _only(main_colour)
    yield "without the main colour", 3, True, _without(main_colour)
    yield "only the rarest colour", 3, True, _only(_rarest)
    yield "without the rarest colour", 3, True, _without(_rarest)
    yield "in the main colour", 3, True, _in_main
    yield "in the rarest colour", 3, True, _in_rarest
    yield "inverted", 3, True, _inverted
    yield "two colours swapped", 3, True, _swapped
    yield "ground zero", 1, True, _ground_zero
    yield "holes filled", 3, True, _filled
    yield "only the holes", 3, True, _holes
    yield "hollow", 4, True, _hollow
    yield "inside", 3, False, _inside
    yield "ringed", 4, False, _ringed
    yield "edged", 4, False, _edged
    yield from ((f"{name} half", 4, False, _half(n)) for n, name in enumerate(HALVES))
    yield "twice as large", 3, False, _times(lambda cells: 2)
    yield "three times as large", 3, False, _times(lambda cells: 3)
    yield "times its colours", 3, False, _times(_colour_count)
    yield "times its cells", 3, False, _times(_cell_count)
    yield "times its height", 3, False, _times(lambda cells: cells.shape[0])
    yield "fractal", 3, False, _fractal(False)
    yield "inverted fractal", 4, False, _fractal(True)
    yield "twice across", 3, False, _mirrored_tiles(((0, 0),))
    yield "twice down", 3, False, _mirrored_tiles(((0,), (0,)))
    yield "mirrored beside", 3, False, _mirrored_tiles(((0, 1),))
    yield "mirrored below", 3, False, _mirrored_tiles(((0,), (2,)))
    yield "mirrored before", 4, False, _mirrored_tiles(((1, 0),))
    yield "mirrored above", 4, False, _mirrored_tiles(((2,), (0,)))
    yield "mirrored around", 3, False, _mirrored_tiles(((0, 1), (2, 3)))
    yield "mirrored around the end", 4, False, _mirrored_tiles(((3, 2), (1, 0)))
    yield "four turns", 4, False, _quarter_turns
    yield "dot", 2, False, _dot(main_colour)
    yield "dot of the rarest", 3, False, _dot(_rarest)
    for count, number in (("cells", _cell_count), ("colours", _colour_count)):
        yield f"bar of its {count}", 3, False, _drawn_of(_bar, number)
        yield f"column of its {count}", 3, False, _drawn_of(_column, number)
        yield f"diagonal of its {count}", 4, False, _drawn_of(_diagonal, number)
        yield f"square of its {count}", 4, False, _drawn_of(_square, number)
    yield "colours by frequency across", 3, False, _by_frequency(False)
    yield "colours by frequency down", 3, False, _by_frequency(True)
    yield "without noise", 3, True, _without_noise
    yield "pattern continued", SLOW, True, _restored(continued)
    yield "mirrored onto itself", SLOW, True, _restored(mirrored)
    yield from ((f"fallen {name}", 4, True, _fallen(n)) for n, name in enumerate(FALLS))
    for colour in colours:
        yield f"only {colour}", 4, True, _only(_named(colour))
        yield f"without {colour}", 4, True, _without(_named(colour))
        yield f"in {colour}", 4, True, _in_colour(colour)


SLOW = 5
"""What steps cost that take hundredths of a second; they are only taken early."""

HALVES = ("upper", "lower", "left", "right")
FALLS = ("down", "up", "left", "right")


def draw_steps() -> Iterator[tuple[str, int, bool, Step]]:
    """(name, cost in bits, whether shapes stay, step) for every piece alike."""
    yield "trimmed", 1, False, _trim
    for name, cost, stays, act in acts():
        yield name, cost, stays, each(act)

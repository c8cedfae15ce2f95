"""Outputs whose sides follow from a number of the input: a canvas of that size, on which the input is laid.

Where an output is as high as the input has colours, or twice as wide and one more, no output cell lies over
an input cell by itself. The canvas shows the input laid at its corners, repeated, stretched and continued,
and what of it can be counted along its rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from .fitting import packed
from .grids import NONE, Cells, background, components
from .sights import COLOURS, Sheet, look
from .terms import Pairs
from .views import MAX_SIDE, View, summary

Formula = Callable[[int], float]

FORMULAS: tuple[Formula, ...] = (
    lambda n: n, lambda n: 2 * n, lambda n: 3 * n, lambda n: n + 1, lambda n: n - 1, lambda n: n + 2,
    lambda n: n - 2, lambda n: n / 2, lambda n: n / 3, lambda n: n * 3 / 2, lambda n: 2 * n + 1,
    lambda n: 2 * n - 1, lambda n: n * n, lambda n: 4 * n, lambda n: n + 4, lambda n: 5 * n,
    lambda n: (n + 1) // 2, lambda n: (n - 1) / 2,
)  # fmt: skip

NUMBERS = (
    "constant", "height", "width", "colours", "objects", "groups", "filled cells", "most of a colour",
    "fewest of a colour", "longer side", "shorter side", "largest object", "filled height", "filled width",
    "height by colours", "width by colours", "height by cells", "width by cells", "empty cells",
    "height by empty cells", "width by empty cells",
)  # fmt: skip

MOST_SIZES = 3

ODD = 10
"""Places in the order of sizes that it costs one whose sides do not follow in the same way."""


def numbers_of(grid: Cells) -> tuple[int, ...]:
    """The numbers of a grid, as NUMBERS names them; the constant 1 first."""
    return _numbers(grid.tobytes(), grid.shape)


@lru_cache(maxsize=64)
def _numbers(told: bytes, shape: tuple[int, int]) -> tuple[int, ...]:
    grid = np.frombuffer(told, np.int64).reshape(shape)
    height, width = shape
    filled = grid != 0
    counts = np.bincount(grid.ravel(), minlength=COLOURS)[1:]
    some = counts[counts > 0]
    colours, cells = len(some), int(filled.sum())
    objects, _ = components(grid, eight=True, by_colour=True, within=filled)
    groups, _ = components(grid, eight=True, by_colour=False, within=filled)
    rows, columns = np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))
    return (
        1, height, width, colours, len(objects), len(groups), cells,
        int(some.max()) if colours else 0,
        int(some.min()) if colours else 0,
        max(height, width), min(height, width),
        max((one.size for one in objects), default=0),
        int(rows[-1] - rows[0]) + 1 if cells else 0,
        int(columns[-1] - columns[0]) + 1 if cells else 0,
        height * colours, width * colours, height * cells, width * cells, grid.size - cells,
        height * (grid.size - cells), width * (grid.size - cells),
    )  # fmt: skip


def length(grid: Cells, number: int, formula: int) -> int | None:
    """A side by a formula of a number; None where it is none."""
    if number == 0:
        return formula or None
    found = FORMULAS[formula](numbers_of(grid)[number])
    return int(found) if found == int(found) and 0 < found <= MAX_SIDE else None


def canvas(number: int, formula: int, across: int, across_formula: int) -> View:
    """A view of so many rows (the formula of a number; of the constant, the formula is the length itself) and
    columns. Raises ValueError where there is no such number or formula."""
    for one, other in ((number, formula), (across, across_formula)):
        if one >= len(NUMBERS) or (one and other >= len(FORMULAS)):
            raise ValueError(f"no side of a canvas is told by ({one}, {other})")

    def sheet(grid: Cells) -> Sheet | None:
        height, width = length(grid, number, formula), length(grid, across, across_formula)
        return None if height is None or width is None else _sheet(grid, height, width)

    return View("canvas", (number, formula, across, across_formula), sheet)


def canvases(pairs: Pairs, tests: Sequence[Cells]) -> Iterator[View]:
    """The plainest canvases of the demonstrated sizes, none of which gives all tests the size of another."""
    tall = list(_sides(pairs, 0))
    wide = list(_sides(pairs, 1))
    sizes = set()
    both = [(n, m) for n in range(len(tall)) for m in range(len(wide))]
    for n, m in sorted(both, key=lambda one: sum(one) + ODD * (not _alike(tall[one[0]], wide[one[1]]))):
        asked = tuple((length(test, *tall[n]), length(test, *wide[m])) for test in tests)
        if asked in sizes or any(None in size for size in asked):
            continue
        sizes.add(asked)
        yield canvas(*tall[n], *wide[m])
        if len(sizes) == MOST_SIZES:
            return


def _alike(side: tuple[int, int], across: tuple[int, int]) -> bool:
    """Whether both sides follow from the input in the same way."""
    if side[0] == across[0] == 0:
        return True
    as_wide = NUMBERS[side[0]].replace("height", "width")
    return side[1] == across[1] and as_wide == NUMBERS[across[0]]


def _sides(pairs: Pairs, axis: int) -> Iterator[tuple[int, int]]:
    """(number, formula) that give all outputs' lengths along an axis, the plainest first."""
    wanted = [target.shape[axis] for _, target in pairs]
    ordered = sorted(
        ((n, f) for n in range(1, len(NUMBERS)) for f in range(len(FORMULAS))),
        key=lambda one: (one[0] != 1 + axis) * 3 + one[0] / 4 + one[1],
    )
    alike = len(set(wanted)) == 1
    for place, (number, formula) in enumerate(ordered):
        if place == 2 and alike:
            yield 0, wanted[0]
        if all(length(source, number, formula) == n for (source, _), n in zip(pairs, wanted, strict=True)):
            yield number, formula


def _sheet(grid: Cells, height: int, width: int) -> Sheet:
    ground = background(grid)
    laid = np.full((height, width), ground)
    tall, wide = min(height, grid.shape[0]), min(width, grid.shape[1])
    laid[:tall, :wide] = grid[:tall, :wide]
    found = look(laid, place=True, pictures=True)
    row, column = np.indices((height, width))
    beyond = np.ones((height, width), bool)
    beyond[:tall, :wide] = False
    found.fact("beyond the input", beyond)
    _repetitions(found, grid, row, column)
    last = np.full((height, width), ground)
    last[height - tall :, width - wide :] = grid[grid.shape[0] - tall :, grid.shape[1] - wide :]
    found.source("laid at the end", last)
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = np.full((height, width), ground)
    middle[top : top + tall, left : left + wide] = grid[:tall, :wide]
    found.source("laid in the middle", middle)
    fit = packed(grid, height, width)
    found.source("packed", np.full((height, width), NONE) if fit is None else fit)
    _counted(found, grid, row, column)
    told = summary(height, width).sheet(grid)
    assert told is not None
    for name, values in told.sources.items():
        found.sources.setdefault(f"summed up {name}", values)
    for name, truths in told.facts.items():
        if not name.startswith(("row = ", "column = ")):  # of which larger canvases have more
            found.facts.setdefault(name, truths)
    return found


def _repetitions(found: Sheet, grid: Cells, row: Cells, column: Cells) -> None:
    height, width = grid.shape
    tall, wide = row.shape
    found.source("repeated", grid[row % height, column % width])
    there, back = row // height % 2 == 1, column // width % 2 == 1
    up, across = height - 1 - row % height, width - 1 - column % width
    found.source(
        "mirrored in turn", grid[np.where(there, up, row % height), np.where(back, across, column % width)]
    )
    found.source("stretched", grid[row * height // tall, column * width // wide])
    down, right = _period(grid), _period(grid.T)
    found.source("continued by its periods", grid[row % down, column % right])
    number, other = row // height, column // width
    found.number("repetition down", number, (0, 1, 2))
    found.number("repetition across", other, (0, 1, 2))
    told = dict(zip(NUMBERS, numbers_of(grid), strict=True))
    for name in ("colours", "objects", "filled cells", "empty cells"):
        found.fact(f"repetition below {name}", number * -(-wide // width) + other < told[name])


def _period(grid: Cells) -> int:
    """The rows after which a grid repeats itself, as far as it goes."""
    height = len(grid)
    alike = (period for period in range(1, height) if np.array_equal(grid[period:], grid[:-period]))
    return next(alike, height)


def _counted(found: Sheet, grid: Cells, row: Cells, column: Cells) -> None:
    """Colours and objects in order along rows and columns, and how far their numbers reach."""
    counts = np.bincount(grid.ravel(), minlength=COLOURS)
    counts[0] = 0
    ranked = [int(colour) for colour in np.argsort(-counts, kind="stable") if counts[colour]]
    objects, _ = components(grid, eight=True, by_colour=True, within=grid != 0)
    by_size = sorted(objects, key=lambda one: -one.size)
    across = sorted(objects, key=lambda one: one.box[1])
    for name, colours, sizes in (
        ("colours", ranked, [int(counts[colour]) for colour in ranked]),
        ("rarest colours", ranked[::-1], [int(counts[colour]) for colour in ranked[::-1]]),
        ("objects by size", [int(o.colours[0]) for o in by_size], [o.size for o in by_size]),
        ("objects from above", [int(o.colours[0]) for o in objects], [o.size for o in objects]),
        ("objects from the left", [int(o.colours[0]) for o in across], [o.size for o in across]),
    ):
        for way, along, reach in (("row", row, column), ("column", column, row)):
            found.source(f"{name}, {way} by {way}", _at(colours, along, NONE))
            found.fact(f"within the number of {name}, {way} by {way}", reach < _at(sizes, along, 0))


def _at(values: Sequence[int], along: Cells, otherwise: int) -> Cells:
    table = np.array([*values[:MAX_SIDE], *[otherwise] * (MAX_SIDE + 1 - len(values[:MAX_SIDE]))], np.int64)
    return table[np.minimum(along, MAX_SIDE)]

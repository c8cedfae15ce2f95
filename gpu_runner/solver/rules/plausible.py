"""What the demonstrations have in common, and what it tells against an answer that it does not keep.

    invariants = Invariants(pairs)
    weight *= invariants.trust(test, answer)

A relation between input and output that holds, or fails, in every demonstration (no cell of the ground stays,
as many objects before as after, the output symmetric) does the same in the test. Whatever explains the
demonstrations keeps them there; where a wrong rule meets something new it often breaks one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .grids import Cells, Component, Mask, background, components
from .sights import COLOURS
from .terms import Pairs

Told = Iterator[tuple[str, bool]]

BROKEN, DOUBTFUL = 0.1, 0.4
"""What a firm and a loose relation that is not kept leave of a weight."""

MOST_BROKEN, MOST_DOUBTFUL = 2, 2
"""Relations that count: many are broken together."""

FEWEST = 2
"""Demonstrations in which a relation has to hold alike."""


class Invariants:
    """The relations that are the same in all demonstrations of a task."""

    def __init__(self, pairs: Pairs) -> None:
        enough = len(pairs) >= FEWEST
        looks = [_Look(source, target) for source, target in pairs] if enough else []
        self.firm = _common([dict(_firm(look)) for look in looks])
        self.loose = _common([dict(_loose(look)) for look in looks])
        self._known: dict[tuple[bytes, bytes, tuple[int, ...]], float] = {}

    def trust(self, source: Cells, answer: Cells) -> float:
        """1 where the answer keeps all relations, less for each that it breaks; 0 where it is no grid."""
        if not answer.size or answer.min() < 0 or answer.max() >= COLOURS:
            return 0.0
        key = source.tobytes(), answer.tobytes(), answer.shape
        if key not in self._known:
            look = _Look(source, answer)
            broken = _unlike(self.firm, _firm(look))
            doubtful = _unlike(self.loose, _loose(look))
            factor = BROKEN ** min(broken, MOST_BROKEN) * DOUBTFUL ** min(doubtful, MOST_DOUBTFUL)
            self._known[key] = factor
        return self._known[key]


def _common(told: Sequence[dict[str, bool]]) -> dict[str, bool]:
    first = told[0] if told else {}
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in told)}


def _unlike(kept: dict[str, bool], told: Told) -> int:
    return sum(kept.get(name, value) != value for name, value in told)


class _Look:
    """An input and an output, and what several relations ask of them."""

    def __init__(self, source: Cells, target: Cells) -> None:
        self.source, self.target = source, target
        self.same = source.shape == target.shape
        self.ground, self.other_ground = background(source), background(target)
        self.before, self.after = (np.bincount(grid.ravel(), minlength=COLOURS) for grid in (source, target))
        self.objects, self.drawn = _objects(source), _objects(target)
        self.shapes, self.drawn_shapes = (
            sorted((one.shape, one.mask().tobytes()) for one in found) for found in (self.objects, self.drawn)
        )
        self.changed: Mask = source != target if self.same else np.zeros(source.shape, bool)


def _objects(grid: Cells) -> list[Component]:
    return components(grid, eight=True, by_colour=True, within=grid != background(grid))[0]


def _firm(look: _Look) -> Told:
    """Relations that, where all demonstrations agree on them, none of the tests broke."""
    has, had = look.after > 0, look.before > 0
    yield "no colour is new", bool(had[has].all())
    yield "no colour is lost", bool(has[had].all())
    yield "the same colours", bool((has == had).all())
    yield "one colour", int(has.sum()) == 1
    yield "as many cells of each colour", bool((look.before == look.after).all())
    yield "the same numbers of cells", bool((np.sort(look.before) == np.sort(look.after)).all())
    filled = int(look.before.sum() - look.before[look.ground])
    now_filled = int(look.after.sum() - look.after[look.other_ground])
    yield "as much is filled", filled == now_filled
    yield "no less is filled", filled <= now_filled
    yield "no more is filled", filled >= now_filled
    yield "black is there", bool(has[0])
    yield "rows are alike", bool((look.target == look.target[:1]).all())
    yield "columns are alike", bool((look.target == look.target[:, :1]).all())
    yield "objects keep their shapes", look.shapes == look.drawn_shapes
    sizes, now_sizes = (sorted(one.size for one in found) for found in (look.objects, look.drawn))
    yield "objects keep their sizes", sizes == now_sizes
    if not look.same:
        return
    changed, old, new = look.changed, look.source[look.changed], look.target[look.changed]
    yield "nothing changes", not changed.any()
    yield "only ground changes", bool((old == look.ground).all())
    yield "ground stays", bool((look.target[look.source == look.ground] == look.ground).all())
    yield "what changes becomes ground", bool((new == look.ground).all())
    yield "nothing becomes ground", bool((new != look.ground).all())
    yield "one colour changes", len(set(old.tolist())) == 1
    yield "changes to one colour", len(set(new.tolist())) == 1
    yield "rows change as a whole", bool((changed.all(1) | ~changed.any(1)).all())
    wholes = [changed[one.rows, one.columns] for one in look.objects]
    yield "objects change as a whole", all(bool(one.all()) or not one.any() for one in wholes)
    pairs = len(np.unique(look.source * COLOURS + look.target))
    yield "colours are exchanged", pairs == int(had.sum())


def _loose(look: _Look) -> Told:
    """Relations that some tests in a hundred broke."""
    target = look.target
    height, width = target.shape
    yield "the ground stays the same", look.ground == look.other_ground
    yield "two colours", int((look.after > 0).sum()) == 2
    yield "as many objects", len(look.objects) == len(look.drawn)
    yield "no fewer objects", len(look.objects) <= len(look.drawn)
    yield "no more objects", len(look.objects) >= len(look.drawn)
    yield "one object", len(look.drawn) == 1
    yield "left-right alike", np.array_equal(target, target[:, ::-1])
    yield "top-bottom alike", np.array_equal(target, target[::-1])
    yield "half turned alike", np.array_equal(target, target[::-1, ::-1])
    yield "transposed alike", np.array_equal(target, target.T)
    yield "transposed otherwise alike", np.array_equal(target, target[::-1, ::-1].T)
    yield "square", height == width
    shapes, drawn = set(look.shapes), set(look.drawn_shapes)
    yield "no shape is lost", shapes <= drawn
    yield "no shape is new", drawn <= shapes
    yield "objects of one shape", len(drawn) <= 1
    yield "objects are lines", all(min(one.shape) == 1 for one in look.drawn)
    yield "objects are single cells", all(one.size == 1 for one in look.drawn)
    largest, now_largest = (
        max((one.size for one in found), default=0) for found in (look.objects, look.drawn)
    )
    yield "the largest is as large", largest == now_largest
    if look.same:
        yield from _loose_changes(look)
    else:
        yield "is a part", _is_part(look.source, target)


def _loose_changes(look: _Look) -> Told:
    changed = look.changed
    areas, _ = components(changed.astype(np.int64), eight=True, by_colour=False, within=changed)
    yield "changes are single cells", all(one.size == 1 for one in areas)
    yield "half changes at most", 2 * int(changed.sum()) <= changed.size
    yield "an area turns to one colour", _of_one_colour(look.target, areas)
    yield "an area was of one colour", _of_one_colour(look.source, areas)
    yield "an object turns to one colour", _of_one_colour(look.target, look.objects)
    beside = np.pad(look.source != look.ground, 1)
    near = beside[:-2, 1:-1] | beside[2:, 1:-1] | beside[1:-1, :-2] | beside[1:-1, 2:]
    yield "an area touches something", all(bool(near[one.rows, one.columns].any()) for one in areas)


def _of_one_colour(grid: Cells, areas: Sequence[Component]) -> bool:
    seen = [grid[one.rows, one.columns] for one in areas]
    return all(bool((colours == colours[0]).all()) for colours in seen)


def _is_part(grid: Cells, part: Cells) -> bool:
    if part.shape[0] > grid.shape[0] or part.shape[1] > grid.shape[1]:
        return False
    return bool((sliding_window_view(grid, part.shape) == part).all((2, 3)).any())

"""What sets an object apart from the others: facts for a tree."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np

from gpu_runner.solver.rules.grids import NONE, Cells, Mask, components

from .things import STRAIGHT, Things, around, things_of


@lru_cache(maxsize=64)
def _facts(cells: bytes, shape: tuple[int, ...], parting: str) -> dict[str, Mask]:
    things = things_of(np.frombuffer(cells, np.int64).reshape(shape), parting)
    assert things is not None
    return _truths(things) | _compared(_numbers(things))


def facts_of(things: Things, parting: str) -> dict[str, Mask]:
    """name → whether it is true, for each object; the names are the same for every grid."""
    return _facts(things.grid.tobytes(), things.grid.shape, parting)


def _numbers(things: Things) -> dict[str, list[int]]:
    parts, boxes = things.parts, things.boxes
    colours, shapes = Counter(things.colours), Counter(things.shapes)
    turned = Counter(things.turned_shapes)
    beside = [_beside(things, n) for n in range(len(things))]
    tall = [part.shape[0] for part in parts]
    wide = [part.shape[1] for part in parts]
    lying = [
        int(((things.grid[t:b, x:r] != things.scene.ground) & (things.labels[t:b, x:r] != n)).sum())
        for n, (t, x, b, r) in enumerate(boxes)
    ]
    return {
        "size": [part.size for part in parts],
        "height": tall,
        "width": wide,
        "longest side": [max(pair) for pair in zip(tall, wide, strict=True)],
        "colours": [len(set(part.colours.tolist())) for part in parts],
        "box left open": [part.shape[0] * part.shape[1] - part.size for part in parts],
        "others in box": lying,
        "of its colour": [colours[colour] for colour in things.colours],
        "of its shape": [shapes[shape] for shape in things.shapes],
        "minor cells": [int((p.colours != c).sum()) for p, c in zip(parts, things.colours, strict=True)],
        "holes": [_hole_count(mask) for mask in things.masks],
        "of its shape when turned": [turned[shape] for shape in things.turned_shapes],
        "touched": [len(one) for one in beside],
        "faced": [
            sum(things.toward(n, m) != (0, 0) for m in range(len(things)) if m != n)
            for n in range(len(things))
        ],
        "row": [box[0] for box in boxes],
        "column": [box[1] for box in boxes],
        "distance to the nearest": [
            NONE if m == NONE else int(things.gaps[n, m]) for n, m in enumerate(things.nearest)
        ],
    }


def _compared(numbers: dict[str, list[int]]) -> dict[str, Mask]:
    found: dict[str, Mask] = {}
    for name, told in numbers.items():
        values = np.array(told, np.int64)
        counts = Counter(told)
        found[f"{name} is most"] = values == values.max()
        found[f"{name} is least"] = values == values.min()
        found[f"{name} only its own"] = np.array([counts[value] == 1 for value in told])
        if name in ("row", "column"):
            continue
        found[f"{name} odd"] = values % 2 == 1
        for value in range(7):
            found[f"{name} = {value}"] = values == value
        for value in (2, 3, 4, 6, 8):
            found[f"{name} ≥ {value}"] = values >= value
    return found


def _truths(things: Things) -> dict[str, Mask]:
    height, width = things.grid.shape
    colours = np.array(things.colours)
    boxes = np.array(things.boxes, np.int64)
    found: dict[str, Mask] = {}
    found["is solid"] = np.array([bool(mask.all()) for mask in things.masks])
    found["is square"] = np.array([part.shape[0] == part.shape[1] for part in things.parts])
    found["is taller than wide"] = np.array([part.shape[0] > part.shape[1] for part in things.parts])
    found["is symmetric left-right"] = np.array([bool((m == m[:, ::-1]).all()) for m in things.masks])
    found["is symmetric top-bottom"] = np.array([bool((m == m[::-1]).all()) for m in things.masks])
    found["has holes"] = np.array([_has_holes(mask) for mask in things.masks])
    found["touches the upper edge"] = boxes[:, 0] == 0
    found["touches the left edge"] = boxes[:, 1] == 0
    found["touches the lower edge"] = boxes[:, 2] == height
    found["touches the right edge"] = boxes[:, 3] == width
    found["touches an edge"] = np.any([found[name] for name in found if name.startswith("touches")], axis=0)
    found["touches another"] = np.array([_touches(things, n) for n in range(len(things))])
    found |= _relations(things)
    found["colour is the commonest"] = colours == things.commonest
    found["colour is the rarest"] = colours == things.rarest
    within = _within(boxes)
    found["lies in another's box"] = np.any(within, axis=1)
    found["has another in its box"] = np.any(within, axis=0)
    for name, other in (
        ("unique", things.unique),
        ("largest", things.largest),
        ("smallest", things.smallest),
    ):
        found[f"touches the {name}"] = np.array([other in _beside(things, n) for n in range(len(things))])
    for colour in range(10):
        found[f"colour is {colour}"] = colours == colour
        found[f"has {colour}"] = np.array([bool((part.colours == colour).any()) for part in things.parts])
    return found


def _within(boxes: Cells) -> Mask:
    """Whether the box of one object lies in that of another, N × N."""
    low = (boxes[:, None, :2] >= boxes[None, :, :2]).all(2)
    high = (boxes[:, None, 2:] <= boxes[None, :, 2:]).all(2)
    found: Mask = low & high & ~np.eye(len(boxes), dtype=bool)
    return found


def _relations(things: Things) -> dict[str, Mask]:
    count = range(len(things))
    found: dict[str, Mask] = {}
    ways = [[things.toward(n, m) if n != m else (0, 0) for m in count] for n in count]
    for name, way in STRAIGHT.items():
        found[f"faces another {name}"] = np.array([way in ways[n] for n in count])
        to_unique = [things.unique != NONE and ways[n][things.unique] == way for n in count]
        found[f"faces the unique {name}"] = np.array(to_unique)
    found["faces one of its colour"] = np.array(
        [any(ways[n][m] != (0, 0) and things.colours[m] == things.colours[n] for m in count) for n in count]
    )
    near = np.array([NONE if m == NONE else things.colours[m] for m in things.nearest])
    for colour in range(10):
        found[f"nearest is {colour}"] = near == colour
    return found


def _beside(things: Things, n: int) -> set[int]:
    """The other objects that one touches."""
    rows, columns = around(things.parts[n], things.grid.shape)
    return set(things.labels[rows, columns].tolist()) - {NONE, n}


def _hole_count(mask: Mask) -> int:
    shut = holes(mask)
    return (
        len(components(shut.astype(np.int64), eight=False, by_colour=False, within=shut)[0])
        if shut.any()
        else 0
    )


def _touches(things: Things, n: int) -> bool:
    rows, columns = around(things.parts[n], things.grid.shape)
    return bool((things.grid[rows, columns] != things.scene.ground).any())


def _has_holes(mask: Mask) -> bool:
    return bool(holes(mask).any())


def holes(mask: Mask) -> Mask:
    """The cells of a box that its object shuts in on all sides."""
    outside: Mask = np.pad(~mask, 1, constant_values=True)
    open_ = outside
    reached = np.zeros_like(open_)
    reached[0] = reached[-1] = reached[:, 0] = reached[:, -1] = True
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= open_
        if (grown == reached).all():
            return (open_ & ~reached)[1:-1, 1:-1]
        reached = grown

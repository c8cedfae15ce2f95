"""Trees over what a cell sees, and over what it would be if every object did an act.

An act's condition is then no trait of an object but one of a cell: where its lines meet something, on
which side of an object it is, what else is drawn there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.drawing.rules import Picture, sheet_with, telling
from gpu_runner.solver.rules.grids import NONE, Cells
from gpu_runner.solver.rules.sights import Sheet
from gpu_runner.solver.rules.terms import GoOn, Pairs

from .acts import ACTS
from .stroke import Drawing, painted
from .things import SHADES, Things, things_of
from .watching import STAYS, Watched, different

TRIED = 25
"""Acts under one way to part the grids that are drawn, those that explain most."""

Everyone = tuple[str, str]
"""A way to part a grid, and an act, "name" or "name|colour"."""


@dataclass(frozen=True, slots=True)
class Pictured:
    """A tree over what a cell sees, and over what every object's acts have drawn there."""

    acts: tuple[Everyone, ...]
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        sheet = _sheet(self.acts, grid.tobytes(), grid.shape)
        return None if sheet is None else trees.told(self.tree, sheet)

    def to_json(self) -> Any:
        return ["pictured", [list(one) for one in self.acts], self.tree.to_json()]


@lru_cache(maxsize=8)
def _sheet(acts: tuple[Everyone, ...], cells: bytes, shape: tuple[int, ...]) -> Sheet | None:
    grid = np.frombuffer(cells, np.int64).reshape(shape)
    return sheet_with(grid, [everyone(grid, *one) for one in acts])


def everyone(grid: Cells, parting: str, name: str) -> Cells | None:
    """The grid after every object that can do an act has done it; None where there are no objects."""
    things = things_of(grid, parting)
    return None if things is None else _all_draw(things, name)


def _all_draw(things: Things, name: str) -> Cells:
    told = [drawing(things, n, name) for n in range(len(things))]
    return painted(things.grid, [drawn for drawn in told if drawn is not None])


def drawing(things: Things, n: int, name: str) -> Drawing | None:
    """What an object draws by an act, "name" or "name|colour"; None where it cannot do it."""
    act, _, shade = name.partition("|")
    stroke = ACTS[act](things, n)
    if stroke is None:
        return None
    colours: Cells | int | None = stroke.colours
    if colours is None:
        colours = int(shade) if shade.isdigit() else SHADES[shade](things, n) if shade else NONE
        if colours == NONE and len(stroke.rows):
            return None
    return stroke, colours, things.parts[n]


def pictures_of(
    pairs: Pairs, seen: Sequence[Watched], go_on: GoOn
) -> tuple[tuple[Everyone, ...], list[Sheet]]:
    """The acts that together tell most of the cells that change, and the demonstrations' sheets with them."""
    pictures: list[Picture] = []
    names: list[Everyone] = []
    known: set[bytes] = set()
    for watched in seen:
        for name in _best(watched):
            if not go_on():
                return (), []
            grids = [_all_draw(things, name) for things in watched.things]
            key = b"".join(grid.tobytes() for grid in grids)
            if key in known:
                continue
            known.add(key)
            wrong = sum(int((g != t).sum()) for g, (_, t) in zip(grids, pairs, strict=True))
            pictures.append(Picture(((name, len(names)),), grids, wrong))
            names.append((watched.parting, name))
    chosen = telling(pairs, pictures) if pictures else []
    acts = tuple(names[one.path[0][1]] for one in chosen)
    sheets = []
    for n, (source, _) in enumerate(pairs):
        sheet = sheet_with(source, [one.grids[n] for one in chosen]) if go_on() and chosen else None
        if sheet is None:
            return (), []
        sheets.append(sheet)
    return acts, sheets


def _best(watched: Watched) -> list[str]:
    covers = watched.under.covers | watched.top.covers
    names = [name for name in covers if name != STAYS]
    if not names:
        return []
    united = np.zeros((len(names), int(watched.starts[-1])), bool)
    for k, name in enumerate(names):
        united[k, np.concatenate(covers[name])] = True
    order = different(united, np.argsort(-united.sum(1), kind="stable"))
    return [names[k] for k in order[:TRIED]]

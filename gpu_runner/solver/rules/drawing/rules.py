"""Rules that draw: steps one after the other (`steps`), and trees that choose among what steps have drawn.

A few hundred pictures of every demonstration are drawn by one step or two. One that is the output everywhere
is a rule. Of the others those that tell most of the cells that change become sources for a tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.grids import Cells
from gpu_runner.solver.rules.sights import Sheet, look, second_look
from gpu_runner.solver.rules.terms import Allowed, GoOn, Pairs

from .scenes import ANY
from .steps import (
    PAINTED,
    RESTORED,
    STEPS,
    Move,
    Path,
    finished,
    followed,
    path_from_json,
    path_to_json,
    stepped,
)

Weighed = tuple["Followed | Drawn | Redrawn", float]

FIRST = 40
"""Pictures of one step that are kept, the best."""

CONTINUED = 4
"""Pictures of one step that a second step is tried on."""

MOST_KNOWN = 4096
"""Drawn grids that are kept while pictures are looked for: some 30 MB of 30×30 cells."""

FINISHES = (PAINTED, RESTORED)

SOURCES = 10
"""Pictures among which a tree may choose."""

UNSURE = 0.3
"""What the choice among so many pictures costs a tree's weight."""

GROWN = 10
"""Trees that are tried over a sheet."""


@dataclass(frozen=True, slots=True)
class Followed:
    """Steps one after the other."""

    path: Path

    def answer(self, grid: Cells) -> Cells | None:
        return followed(grid, self.path)

    def to_json(self) -> Any:
        return ["followed", path_to_json(self.path)]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A tree over what a cell sees, and over what several paths have drawn there."""

    paths: tuple[Path, ...]
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        sheet = _sheet_with(self.paths, grid.tobytes(), grid.shape)
        return None if sheet is None else trees.told(self.tree, sheet)

    def to_json(self) -> Any:
        return ["drawn", [path_to_json(path) for path in self.paths], self.tree.to_json()]


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A tree over what a cell sees once a path has been followed."""

    path: Path
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        sheet = _sheet_after(self.path, grid.tobytes(), grid.shape)
        return None if sheet is None else trees.told(self.tree, sheet)

    def to_json(self) -> Any:
        return ["redrawn", path_to_json(self.path), self.tree.to_json()]


def drawn_from_json(told: Any) -> Followed | Drawn | Redrawn:
    """Raises ValueError on what none of the three wrote."""
    match told:
        case ["followed", path]:
            return Followed(path_from_json(path))
        case ["drawn", [*paths], tree]:
            return Drawn(tuple(path_from_json(path) for path in paths), trees.from_json(tree))
        case ["redrawn", path, tree]:
            return Redrawn(path_from_json(path), trees.from_json(tree))
    raise ValueError("a rule of this kind draws nothing")


def sheet_with(grid: Cells, drawn: Sequence[Cells | None]) -> Sheet | None:
    """What a cell sees, and its colour in each picture; None where a picture is missing."""
    seen = _seen(grid.tobytes(), grid.shape)
    sheet = Sheet(dict(seen.sources), dict(seen.facts))
    for n, picture in enumerate(drawn):
        if picture is None:
            return None
        sheet.source(f"picture {n}", picture)
    return sheet


@lru_cache(maxsize=8)
def _seen(cells: bytes, shape: tuple[int, ...]) -> Sheet:
    return look(np.frombuffer(cells, np.int64).reshape(shape))


@lru_cache(maxsize=8)
def _sheet_with(paths: tuple[Path, ...], cells: bytes, shape: tuple[int, ...]) -> Sheet | None:
    """A dozen trees look at the same sheet of a test, and one takes tenths of a second."""
    grid = np.frombuffer(cells, np.int64).reshape(shape)
    return sheet_with(grid, [followed(grid, path) for path in paths])


@lru_cache(maxsize=8)
def _sheet_after(path: Path, cells: bytes, shape: tuple[int, ...]) -> Sheet | None:
    grid = np.frombuffer(cells, np.int64).reshape(shape)
    drawn = followed(grid, path)
    return None if drawn is None else second_look(grid, drawn)


@dataclass(slots=True)
class Picture:
    """What a path draws of the demonstrations, then of the tests. wrong: demonstrated cells that differ."""

    path: Path
    grids: list[Cells]
    wrong: int


def drawings(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> list[Weighed]:
    """The rules of this kind that answer all demonstrations, where input and output have one shape."""
    if any(source.shape != target.shape for source, target in pairs):
        return []
    exact, partial = pictures(pairs, tests, go_on)
    exact.sort(key=lambda one: len(one.path))
    found: list[Weighed] = [
        (Followed(one.path), EXACT[len(one.path)] * 0.5**n) for n, one in enumerate(exact[:MOST_EXACT])
    ]
    if not partial:
        return found
    plain = [one for one in partial if one.path[-1][0] not in FINISHES]
    tried: set[tuple[Path, ...]] = set()
    for some in (plain, partial):
        chosen = telling(pairs, some) if some else []
        paths = tuple(one.path for one in chosen)
        if chosen and paths not in tried:
            found += _among(pairs, chosen, rng, go_on, allowed)
        tried.add(paths)
    closest = sorted(partial, key=lambda one: one.wrong)[:AFTER]
    for one in closest:
        found += _after(pairs, one, rng, go_on, allowed)
    return found


MOST_EXACT = 8
"""Exact paths that vote; no two answer the tests alike."""

EXACT = {1: 0.95, 2: 0.95, 3: 0.5}
"""Weight of the first exact path by its moves, of each further one half. Thousands were tried, so that none
is sure alone."""

AFTER = 3
"""Pictures that a tree takes a second look at."""


def pictures(pairs: Pairs, tests: Sequence[Cells], go_on: GoOn) -> tuple[list[Picture], list[Picture]]:
    """(those that are the outputs, the best others) of all that one step draws, or two."""
    studio = Studio(pairs, tests, go_on)
    start = Picture((), studio.grids, 0)
    moves = _moves(pairs)
    first = list(studio.drawn_from(start, moves))
    exact = [one for one in first if not one.wrong]
    if exact:
        return exact, []
    first.sort(key=lambda one: one.wrong)
    second: list[Picture] = []
    for one in [*first[:CONTINUED], *studio.prepared(start)]:
        if not any(move[0] in FINISHES for move in one.path):
            second += studio.drawn_from(one, studio.lively)
    exact = [one for one in second if not one.wrong]
    return exact, first[:FIRST] + [one for one in second if one.wrong]


def _moves(pairs: Pairs) -> list[Move]:
    """Every step with every colour that all demonstrated inputs have."""
    return [(name, colour) for name in STEPS for colour in (ANY, *_common([s for s, _ in pairs]))]


def _common(grids: Sequence[Cells]) -> list[int]:
    return sorted(set(range(10)).intersection(*({*grid.ravel().tolist()} for grid in grids)))


class Studio:
    """Where pictures of one task are drawn, none twice."""

    def __init__(self, pairs: Pairs, tests: Sequence[Cells], go_on: GoOn) -> None:
        self.grids = [source for source, _ in pairs] + list(tests)
        self.targets = [target for _, target in pairs]
        self.go_on = go_on
        self.known: dict[tuple[bytes, Move], Cells | None] = {}
        """Grid and move → what it draws: a step often leaves some of the grids as they are."""
        self.seen = {_key(self.grids)}
        self.lively: list[Move] = []
        """Moves that draw something of their own in the first demonstration."""
        self.left = pairs[0][0] != pairs[0][1]
        shades = [target[source != target] for source, target in pairs]
        self.shades = _common([shade for shade in shades if shade.size])

    def prepared(self, start: Picture) -> Iterator[Picture]:
        """Pictures with less on them, for a second step."""
        removals = [("colour removed", colour) for colour in _common(self.grids)]
        removals += [("colour alone", colour) for colour in _common(self.grids)]
        for move in [*removals, ("no objects that are single", ANY), ("only groups that are largest", ANY)]:
            grids = self._grids(start.grids, _texts(start), move)
            if grids is not None and _key(grids) not in self.seen and len(np.unique(grids[0])) > 1:
                yield Picture((move,), grids, 0)

    def drawn_from(self, start: Picture, moves: Sequence[Move]) -> Iterator[Picture]:
        """The new pictures that one more step draws, if it draws something right that was wrong in the first
        demonstration (most draw nothing there and are not tried on the others)."""
        own, target = self.grids[0], self.targets[0]
        tried: set[bytes] = set()
        texts = _texts(start)
        for n, move in enumerate(moves):
            if n % 8 == 0 and not self.go_on():
                return
            told = self._stepped(start.grids[0], texts[0], move)
            if told is None or told.shape != own.shape or np.array_equal(told, start.grids[0]):
                continue
            if not start.path:
                key = told.tobytes()
                if key not in tried:
                    self.lively.append(move)
                tried.add(key)
            ends = [end for end in self._ends(own, told, start) if self._helps(own, told, target, end)]
            grids = self._grids(start.grids, texts, move) if ends else None
            if grids is None:
                continue
            for end in ends:
                done = [
                    grid if end is None else finished(before, grid, end)
                    for before, grid in zip(self.grids, grids, strict=True)
                ]
                key = _key(done)
                if key not in self.seen:
                    self.seen.add(key)
                    wrong = sum(int((g != t).sum()) for g, t in zip(done, self.targets, strict=False))
                    yield Picture((*start.path, move, *([] if end is None else [end])), done, wrong)

    def _ends(self, own: Cells, told: Cells, start: Picture) -> Iterator[Move | None]:
        """Ways to finish a picture: as it is, in one colour, with what was there before."""
        yield None
        if start.path:
            yield (RESTORED, 0)
        for shade in self.shades:
            yield (PAINTED, shade)

    def _helps(self, own: Cells, told: Cells, target: Cells, end: Move | None) -> bool:
        if end is not None:
            told = finished(own, told, end)
        right = int((told == target)[self.left].sum())
        if end is None or not right:
            return right > 0
        return 2 * right >= int((told != own).sum())

    def _grids(self, start: Sequence[Cells], texts: Sequence[bytes], move: Move) -> list[Cells] | None:
        grids: list[Cells] = []
        for grid, text in zip(start, texts, strict=True):
            told = self._stepped(grid, text, move)
            if told is None or told.shape != grid.shape:
                return None
            grids.append(told)
        return grids

    def _stepped(self, grid: Cells, text: bytes, move: Move) -> Cells | None:
        """text: tells the grid apart."""
        key = text, move
        if key not in self.known:
            if len(self.known) == MOST_KNOWN:
                self.known.clear()
            self.known[key] = stepped(grid, move)
        return self.known[key]


def _texts(start: Picture) -> list[bytes]:
    return [bytes(grid.shape) + grid.astype(np.int8).tobytes() for grid in start.grids]


def _key(grids: Sequence[Cells]) -> bytes:
    return b"".join(grid.astype(np.int8).tobytes() for grid in grids)


def telling(pairs: Pairs, partial: Sequence[Picture]) -> list[Picture]:
    """The pictures that together tell most of the cells that change, each the best beside those before."""
    own, target = _flat([s for s, _ in pairs]), _flat([t for _, t in pairs])
    changed = own != target
    flat = np.stack([_flat(one.grids[: len(pairs)]) for one in partial])
    right = (flat == target) & changed
    false = ((flat != own) & (flat != target)).sum(1)
    open_ = changed.copy()
    found: list[Picture] = []
    for _ in range(SOURCES):
        gain = (right & open_).sum(1)
        value = gain * gain / (gain + false + 1.0)
        best = int(value.argmax())
        if gain[best] <= 0:
            break
        found.append(partial[best])
        open_ &= ~right[best]
        if not open_.any():
            open_ = changed.copy()
            false = np.where([any(one is p for p in found) for one in partial], 10**9, false)
    return found


def _among(
    pairs: Pairs, chosen: Sequence[Picture], rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> list[Weighed]:
    sheets = []
    for n, (source, _) in enumerate(pairs):
        if not go_on():
            return []
        sheet = sheet_with(source, [one.grids[n] for one in chosen])
        assert sheet is not None
        sheets.append(sheet)
    paths = tuple(one.path for one in chosen)
    return [(Drawn(paths, tree), weight) for tree, weight in _forest(pairs, sheets, rng, go_on, allowed)]


def _after(
    pairs: Pairs, one: Picture, rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> list[Weighed]:
    sheets = []
    for (source, _), drawn in zip(pairs, one.grids, strict=False):
        if not go_on():
            return []
        sheets.append(second_look(source, drawn))
    return [
        (Redrawn(one.path, tree), 0.5 * weight)
        for tree, weight in _forest(pairs, sheets, rng, go_on, allowed)
    ]


def _forest(
    pairs: Pairs, sheets: Sequence[Sheet], rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> list[tuple[trees.Node, float]]:
    """Trees that explain all demonstrations, and their weights."""
    targets = [target for _, target in pairs]
    learner = trees.Learner(trees.Table.of(sheets), _flat(targets))
    found: dict[trees.Node, float] = {}
    for n in range(GROWN):
        part = allowed(n, learner.names, rng)
        tree = learner.grow(part) if go_on() else None
        if tree is not None:
            weight = UNSURE * 2.0 ** -trees.leaves(tree) * learner.proof(targets, part)
            found[tree] = found.get(tree, 0.0) + weight
    return list(found.items())


def _flat(grids: Sequence[Cells]) -> Cells:
    return np.concatenate([grid.ravel() for grid in grids])

"""Rules of objects, read off the demonstrations: a few acts, and a tree that says which object does which.

    weighed = acted(pairs, tests, rng, go_on, allowed)

Of every act it is known which objects may have done it: whatever it draws is in the output. Acts that
together draw all that changes are taken, each the best beside those before; an object that draws nothing by
them stays. A tree over the objects' traits has to tell them apart, and every output has to come out exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.grids import NONE, Cells, Mask

from .acts import ACTS, Stroke
from .things import SHADES, WAYS_OF_PARTING, Things, alike, things_of
from .traits import facts_of

Pairs = Sequence[tuple[Cells, Cells]]
GoOn = Callable[[], bool]
Allowed = Callable[[int, Sequence[str], np.random.Generator], Mask | None]

STARTS = 10
"""Acts with which a choice of acts begins."""

MOST_ACTS = 4
"""Acts of one rule, beside staying."""

MOST_LEAVES = 5

GROWN = 6
"""Trees that are tried over one choice of acts."""

UNSURE = 0.3
"""What the choice among some thousand acts costs a rule's weight."""

PROVED, UNPROVED = 2.0, 0.5
"""What it does to a rule's weight that each demonstration is, or is not, foretold by the others."""

CROWDED = 60
"""Objects in all demonstrations beyond which some are asked first."""

STAYS = "stays"
DIGITS = tuple("0123456789")


@dataclass(frozen=True, slots=True)
class Acted:
    """Objects under one way to part a grid; the tree's leaves are acts, "name" or "name|colour"."""

    parting: str
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        things = things_of(grid, self.parting)
        if things is None:
            return None
        facts = facts_of(things, self.parting)
        told = [_leaf_of(self.tree, facts, n) for n in range(len(things))]
        return None if None in told else drawn_by(things, [name for name in told if name is not None])

    def to_json(self) -> Any:
        return ["acted", self.parting, self.tree.to_json()]


def acted_from_json(parting: str, told: Any) -> Acted:
    """Raises ValueError on what no rule of objects wrote."""
    tree = trees.from_json(told)
    if parting not in WAYS_OF_PARTING:
        raise ValueError(f"no way to part a grid is called {parting!r}")
    for name in _leaves(tree):
        act, _, shade = name.partition("|")
        if act not in ACTS or (shade and shade not in SHADES and shade not in DIGITS):
            raise ValueError(f"no object does {name!r}")
    return Acted(parting, tree)


def _leaves(node: trees.Node) -> list[str]:
    return [node.source] if isinstance(node, trees.Leaf) else _leaves(node.true) + _leaves(node.false)


def _leaf_of(node: trees.Node, facts: dict[str, Mask], n: int) -> str | None:
    while isinstance(node, trees.Split):
        if node.fact not in facts:
            return None
        node = node.true if facts[node.fact][n] else node.false
    return node.source


def drawn_by(things: Things, names: Sequence[str]) -> Cells | None:
    """The grid after each object has done its act; None where one cannot."""
    canvas = things.grid.copy()
    strokes: list[tuple[Stroke, Cells | int]] = []
    for n, name in enumerate(names):
        act, _, shade = name.partition("|")
        stroke = ACTS[act](things, n)
        if stroke is None:
            return None
        colours: Cells | int | None = stroke.colours
        if colours is None:
            colours = int(shade) if shade.isdigit() else SHADES[shade](things, n) if shade else NONE
            if colours == NONE and len(stroke.rows):
                return None
        if stroke.leaves:
            canvas[things.parts[n].rows, things.parts[n].columns] = things.scene.ground
        strokes.append((stroke, colours))
    height, width = canvas.shape
    for stroke, colours in sorted(strokes, key=lambda one: one[0].leaves):
        rows, columns = stroke.rows, stroke.columns
        fits = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        canvas[rows[fits], columns[fits]] = colours[fits] if isinstance(colours, np.ndarray) else colours
    return canvas


class Watched:
    """What the objects of all demonstrations may have done, under one way to part them."""

    def __init__(self, pairs: Pairs, things: Sequence[Things], go_on: GoOn) -> None:
        self.things = things
        self.targets = [target for _, target in pairs]
        self.changed = [source != target for source, target in pairs]
        self.starts = np.cumsum([0, *(source.size for source, _ in pairs)])
        self.objects = [(d, n) for d, some in enumerate(things) for n in range(len(some))]
        few = sorted(range(len(things)), key=lambda d: len(things[d]))[:2]
        crowded = len(self.objects) > CROWDED
        self.tasters = [at for at in self.objects if at[0] in few or not crowded]
        """What none of these does is not looked for: of many objects those of the two demonstrations with the
        fewest, which saves seconds."""
        self.shades = {name: [shade(things[d], n) for d, n in self.objects] for name, shade in SHADES.items()}
        self.may: dict[str, Mask] = {}
        """act → the objects that may have done it."""
        self.covers: dict[str, list[Cells]] = {}
        """act → for each object the changed cells, numbered through all demonstrations, that it explains."""
        for k, name in enumerate(ACTS):
            if k % 8 == 0 and not go_on():
                break
            self._watch(name)

    def _watch(self, name: str) -> None:
        seen = {at: self._seen(name, *at) for at in self.tasters}
        if name != STAYS and not any(one is not None and len(one[1]) for one in seen.values()):
            return
        self._note(name, [seen[at] if at in seen else self._seen(name, *at) for at in self.objects])

    def _note(self, name: str, seen: Sequence[tuple[int | None, Cells] | None]) -> None:
        none: Cells = np.zeros(0, np.int64)
        covers = [none if one is None else one[1] for one in seen]
        shades = {one[0] for one in seen if one is not None}
        if shades <= {None}:
            self.may[name] = np.array([one is not None for one in seen])
            self.covers[name] = covers
            return
        fixed = {str(shade): [shade] * len(seen) for shade in shades if isinstance(shade, int) and shade >= 0}
        for shade, colours in (fixed | self.shades).items():
            may = [
                one is not None and (one[0] is None or one[0] == colour)
                for one, colour in zip(seen, colours, strict=True)
            ]
            kept = [cover if ok else none for cover, ok in zip(covers, may, strict=True)]
            if any(len(cover) for cover in kept):
                self.may[f"{name}|{shade}"] = np.array(may)
                self.covers[f"{name}|{shade}"] = kept

    def _seen(self, name: str, d: int, n: int) -> tuple[int | None, Cells] | None:
        """(the colour in which it was drawn, None where any would do or it is the object's own; the changed
        cells it explains); None where the object has not done it."""
        stroke, target = ACTS[name](self.things[d], n), self.targets[d]
        if stroke is None:
            return None
        height, width = target.shape
        fits = (stroke.rows >= 0) & (stroke.rows < height) & (stroke.columns >= 0) & (stroke.columns < width)
        rows, columns = stroke.rows[fits], stroke.columns[fits]
        told, shade = target[rows, columns], None
        if stroke.colours is not None:
            if (told != stroke.colours[fits]).any():
                return None
        elif len(told):
            shade = int(told[0])
            if (told != shade).any():
                return None
        where = rows * width + columns
        if stroke.leaves:
            part = self.things[d].parts[n]
            own = part.rows * width + part.columns
            left = np.setdiff1d(own, where)
            if not self.changed[d].ravel()[left].all():
                return None
            where = np.concatenate([where, left])
        explained = where[self.changed[d].ravel()[where]]
        return shade, self.starts[d] + np.unique(explained)

    def choices(self) -> list[tuple[str, ...]]:
        """Some choices of acts that together explain every cell that changes."""
        names = [name for name in self.may if name != STAYS]
        if not names:
            return []
        total = int(self.starts[-1])
        covered = np.zeros((len(names), total), bool)
        for k, name in enumerate(names):
            covered[k, np.concatenate(self.covers[name])] = True
        covered = covered[:, np.concatenate([mask.ravel() for mask in self.changed])]
        order = np.argsort(-covered.sum(1), kind="stable")
        found: list[tuple[str, ...]] = []
        for first in _different(covered, order)[:STARTS]:
            chosen, open_ = [int(first)], ~covered[first]
            while open_.any() and len(chosen) < MOST_ACTS:
                gain = (covered & open_).sum(1)
                best = int(gain.argmax())
                if not gain[best]:
                    break
                chosen.append(best)
                open_ &= ~covered[best]
            if not open_.any():
                found.append(tuple(names[k] for k in chosen))
        return list(dict.fromkeys(found))

    def table(self, chosen: Sequence[str], parting: str, only: Sequence[int]) -> tuple[trees.Table, Cells]:
        """A table of the objects of some demonstrations, where a source is right (10) if its act is."""
        names = [STAYS, *chosen]
        gain = np.stack([[len(cover) for cover in self.covers[name]] for name in names], 1)
        may = np.stack([self.may[name] for name in names], 1)
        gain = np.where(may, gain, -1)
        right = may & (gain == gain.max(1, keepdims=True))
        keep = np.isin([d for d, _ in self.objects], only)
        facts = [facts_of(self.things[d], parting) for d in only]
        flat = np.concatenate([np.stack(list(one.values()), 1) for one in facts])
        table = trees.Table(flat, np.where(right, 10, NONE)[keep], tuple(facts[0]), tuple(names))
        return table, np.full(int(keep.sum()), 10)


def _different(covered: Mask, order: Cells) -> list[int]:
    """Acts that explain different cells, in order; of those that explain the same the first two."""
    seen: dict[bytes, int] = {}
    found = []
    for k in order.tolist():
        key = np.packbits(covered[k]).tobytes()
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= 2:
            found.append(k)
    return found


def acted(
    pairs: Pairs, tests: Sequence[Cells], rng: np.random.Generator, go_on: GoOn, allowed: Allowed
) -> list[tuple[Acted, float]]:
    """The rules of this kind that answer all demonstrations and at least one test, with their weights."""
    if any(source.shape != target.shape for source, target in pairs):
        return []
    found: dict[Acted, float] = {}
    parted: list[list[Things]] = []
    for parting in WAYS_OF_PARTING:
        things = [things_of(source, parting) for source, _ in pairs]
        known = [one for one in things if one is not None]
        if len(known) < len(pairs) or not go_on():
            continue
        if parting != "rooms" and any(alike(known, others) for others in parted):
            continue
        parted.append(known)
        watched = Watched(pairs, known, go_on)
        for chosen in watched.choices():
            for rule, weight in _grown(watched, chosen, parting, pairs, rng, go_on, allowed):
                found[rule] = max(found.get(rule, 0.0), weight)
    return [
        (rule, weight)
        for rule, weight in found.items()
        if any(rule.answer(test) is not None for test in tests)
    ]


def _grown(
    watched: Watched,
    chosen: Sequence[str],
    parting: str,
    pairs: Pairs,
    rng: np.random.Generator,
    go_on: GoOn,
    allowed: Allowed,
) -> list[tuple[Acted, float]]:
    """Trees over one choice of acts that draw every output."""
    table, wanted = watched.table(chosen, parting, range(len(pairs)))
    learner = trees.Learner(table, wanted, most_leaves=MOST_LEAVES)
    found: dict[Acted, float] = {}
    for n in range(GROWN):
        tree = learner.grow(allowed(n, learner.names, rng)) if go_on() else None
        if tree is None:
            continue
        rule = Acted(parting, tree)
        if rule in found or all(_same(rule, source, target) for source, target in pairs):
            found[rule] = UNSURE * 2.0 ** (1 - trees.leaves(tree))
    if found and len(pairs) > 2 and go_on():
        proof = PROVED if _foretold(watched, chosen, parting, pairs) else UNPROVED
        found = {rule: weight * proof for rule, weight in found.items()}
    return list(found.items())


def _foretold(watched: Watched, chosen: Sequence[str], parting: str, pairs: Pairs) -> bool:
    """Whether a tree over all demonstrations but one draws that one too, whichever is left out."""
    for left, (source, target) in enumerate(pairs):
        table, wanted = watched.table(chosen, parting, [n for n in range(len(pairs)) if n != left])
        tree = trees.Learner(table, wanted, most_leaves=MOST_LEAVES).grow()
        if tree is None or not _same(Acted(parting, tree), source, target):
            return False
    return True


def _same(rule: Acted, source: Cells, target: Cells) -> bool:
    told = rule.answer(source)
    return told is not None and np.array_equal(told, target)

"""Choose acts, each under a condition with which no object draws what is not so, until they explain all.

This is how rules are learned by covering (Fürnkranz 1999, "Separate-and-Conquer Rule Learning"), but over the
changed cells instead of examples: several acts may be the same object's, and may part the grid differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.grids import NONE, Cells, Mask
from gpu_runner.solver.rules.terms import GoOn

from .traits import facts_of
from .watching import STAYS, Layer, Watched, different

ASKED = 40
"""Acts under one way to part the grid for which conditions are looked for, those that explain most."""

PAIRED = 16
"""Of these, acts for which conditions of two facts are looked for too."""

STARTS = 10
"""Acts with which a choice of acts begins."""

MOST_TOGETHER = 4
"""Acts of one rule."""

FOLDED = 0.8
"""What each fact of a condition costs an act's worth against others."""

Condition = tuple[tuple[str, bool], ...]
"""Facts, and whether each is to be true; all of them together."""

Literals = tuple[Mask, list[Condition]]
"""Which objects each holds for, bool [objects, literals], and what each says."""


@dataclass(frozen=True, slots=True, eq=False)
class Ruled:
    """An act under a condition. covered: the changed cells that it explains, bool [changed cells]."""

    watched: Watched
    name: str
    condition: Condition
    covered: Mask
    layer: Layer

    def tree(self) -> trees.Node:
        node: trees.Node = trees.Leaf(self.name)
        for fact, wanted in reversed(self.condition):
            stays = trees.Leaf(STAYS)
            node = trees.Split(fact, node, stays) if wanted else trees.Split(fact, stays, node)
        return node


Choice = tuple[Ruled, ...]
"""Acts in the order in which they are drawn."""


class Ground:
    """The facts of all objects under one way to part the grids, as literals: each fact and its opposite."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        changed = np.concatenate([mask.ravel() for mask in watched.changed])
        self.changed: Cells = np.where(changed, np.cumsum(changed) - 1, NONE)
        things = watched.things
        facts = [facts_of(one, watched.parting) for one in things]
        self.names = list(facts[0])
        self.facts: Mask = np.concatenate([np.stack(list(one.values()), 1) for one in facts])
        self.grid = np.array([d for d, _ in watched.objects])

    def covers(self, layer: Layer, name: str) -> Mask:
        """The changed cells that each object explains by an act: bool [objects, changed cells]."""
        found = np.zeros((len(self.grid), int(self.changed.max()) + 1), bool)
        for n, cells in enumerate(layer.covers[name]):
            found[n, self.changed[cells]] = True
        return found

    def literals(self, only: Mask) -> Literals:
        """(bool [objects, literals], what each says); the first is always true. only: the objects."""
        always = np.ones((len(self.facts), 1), bool)
        both = np.concatenate([always, self.facts, ~self.facts], 1)
        told: list[Condition] = [(), *(((name, truth),) for truth in (True, False) for name in self.names)]
        _, first = np.unique(np.packbits(both[only], axis=0), axis=1, return_index=True)
        kept = np.sort(first)
        kept = kept[both[only][:, kept].any(0)]
        return both[:, kept], [told[k] for k in kept]

    def ruled(self, layer: Layer, name: str, literals: Literals, only: Mask, *, paired: bool) -> list[Ruled]:
        """An act under the best conditions of no or one fact, and of two where those explain more."""
        holds, told = literals
        may, covers = layer.may[name], self.covers(layer, name)
        wrong = (only & ~may).astype(np.float32)
        gain = np.where(only & may, covers.sum(1), 0).astype(np.float32)
        flat = holds.astype(np.float32)
        safe = (wrong @ flat) == 0
        worth = np.where(safe, gain @ flat, -1.0)
        best = int(worth.argmax())
        found = []
        if worth[best] > 0:
            found.append(
                Ruled(self.watched, name, told[best], np.any(covers[holds[:, best] & may], axis=0), layer)
            )
        if paired and max(worth[best], 0.0) < gain.sum():
            useful = np.flatnonzero((gain @ flat) > max(worth[best], 0.0))
            some = flat[:, useful]
            clash = (some * wrong[:, None]).T @ some
            both = np.where(clash == 0, (some * gain[:, None]).T @ some, -1.0)
            at = int(both.argmax())
            a, b = useful[at // len(useful)], useful[at % len(useful)]
            if both.ravel()[at] > max(worth[best], 0.0):
                where = holds[:, a] & holds[:, b]
                found.append(
                    Ruled(self.watched, name, told[a] + told[b], np.any(covers[where & may], axis=0), layer)
                )
        return found


def covering(seen: Sequence[Watched], go_on: GoOn) -> tuple[list[Choice], list[Choice]]:
    """(choices of acts that together explain every cell that changes, choices that explain some of them).

    What may lie under another comes first."""
    pool: list[Ruled] = []
    for watched in seen:
        if go_on():
            pool += _pooled(watched)
    if not pool:
        return [], []
    covered = np.stack([one.covered for one in pool])
    cost = np.array([FOLDED ** (len(one.condition) + (one.layer is one.watched.under)) for one in pool])
    starts = np.argsort(-(covered.sum(1) * cost), kind="stable")
    whole: dict[Choice, None] = {}
    partly: dict[Choice, None] = {}
    for first in different(covered, starts)[:STARTS]:
        chosen, open_ = [int(first)], ~covered[first]
        while open_.any() and len(chosen) < MOST_TOGETHER:
            partly[_layered([pool[k] for k in chosen])] = None
            worth = (covered & open_).sum(1) * cost
            best = int(worth.argmax())
            if not worth[best]:
                break
            chosen.append(best)
            open_ &= ~covered[best]
        if not open_.any():
            whole[_layered([pool[k] for k in sorted(chosen)])] = None
    return list(whole), list(partly)


def _layered(chosen: Sequence[Ruled]) -> Choice:
    return tuple(sorted(chosen, key=lambda one: one.layer is not one.watched.under))


def _pooled(watched: Watched) -> list[Ruled]:
    """Acts under one way to part the grids that explain something, under conditions."""
    ground = Ground(watched)
    only = np.ones(len(ground.grid), bool)
    literals = ground.literals(only)
    pool: list[Ruled] = []
    for layer in (watched.top, watched.under):
        names = [name for name in layer.may if name != STAYS]
        if not names:
            continue
        united = np.stack([ground.covers(layer, name).any(0) for name in names])
        order = different(united, np.argsort(-united.sum(1), kind="stable"))[:ASKED]
        for n, k in enumerate(order):
            pool += ground.ruled(layer, names[k], literals, only, paired=n < PAIRED)
    return pool


def without(chosen: Sequence[Ruled], left: int) -> list[Ruled] | None:
    """The same acts under the conditions that one finds without one of the demonstrations."""
    found = []
    for one in chosen:
        ground = Ground(one.watched)
        only = ground.grid != left
        rules = ground.ruled(one.layer, one.name, ground.literals(only), only, paired=True)
        if not rules:
            return None
        found.append(rules[-1])
    return found

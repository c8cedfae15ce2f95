"""What the objects of all demonstrations may have done."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.grids import NONE, Cells, Mask
from gpu_runner.solver.rules.terms import GoOn, Pairs

from .acts import ACTS
from .stroke import Stroke
from .things import SHADES, Things
from .traits import facts_of

STARTS = 10
"""Acts with which a choice of acts begins."""

MOST_ACTS = 4
"""Acts of one rule, beside staying."""

CROWDED, MOST_ASKED = 24, 40
"""Objects in all demonstrations beyond which some are asked first."""

STAYS = "stays"

Seen = tuple[int | None, Cells, bool]
"""The colour in which something was drawn, None where any would do or it is the object's own; the changed
cells that it explains; whether the output shows it whole, not under what else was drawn."""

SHOWN = 0.3
"""Cells of an act, as a share, that the output has to show where other acts may have drawn over it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """may: act → the objects that may have done it. covers: act → for each object the changed cells, numbered
    through all demonstrations, that it explains."""

    may: dict[str, Mask]
    covers: dict[str, list[Cells]]


class Watched:
    """What the objects of all demonstrations may have done, under one way to part them."""

    def __init__(self, pairs: Pairs, things: Sequence[Things], parting: str, go_on: GoOn) -> None:
        self.things = things
        self.parting = parting
        self.targets = [target for _, target in pairs]
        self.changed = [source != target for source, target in pairs]
        self.starts = np.cumsum([0, *(source.size for source, _ in pairs)])
        self.objects = [(d, n) for d, some in enumerate(things) for n in range(len(some))]
        few = sorted(range(len(things)), key=lambda d: len(things[d]))[:2]
        crowded = len(self.objects) > CROWDED
        some = [at for at in self.objects if at[0] in few or not crowded]
        self.tasters = some[:: 1 + len(some) // MOST_ASKED]
        """What none of these does is not looked for: of many objects some of those of the two demonstrations
        with the fewest, which saves seconds."""
        self.shades = {name: [shade(things[d], n) for d, n in self.objects] for name, shade in SHADES.items()}
        self.known: dict[tuple[int, int, int], tuple[Stroke, Seen | None]] = {}
        """Strokes by whose they are; alive, so that no other has their id. Many acts draw the same one."""
        self.alike: dict[Hashable, Seen | None] = {}
        """Strokes by what they draw: most have been drawn before by another act."""
        self.top, self.under = Layer({}, {}), Layer({}, {})
        """What the outputs show whole, and what may partly lie under something else."""
        for k, name in enumerate(ACTS):
            if k % 8 == 0 and not go_on():
                break
            self._watch(name)
        self.known.clear()
        self.alike.clear()
        for one in things:
            one.kept.clear()

    def _watch(self, name: str) -> None:
        seen = {at: self._seen(name, *at) for at in self.tasters}
        if name != STAYS and not any(one is not None and len(one[1]) for one in seen.values()):
            return
        self._note(name, [seen[at] if at in seen else self._seen(name, *at) for at in self.objects])

    def _note(self, name: str, seen: Sequence[Seen | None]) -> None:
        shades = {one[0] for one in seen if one is not None}
        if shades <= {None}:
            self._keep(name, [one is not None for one in seen], seen)
            return
        fixed = {str(shade): [shade] * len(seen) for shade in shades if isinstance(shade, int) and shade >= 0}
        for shade, colours in (fixed | self.shades).items():
            may = [
                one is not None and (one[0] is None or one[0] == colour)
                for one, colour in zip(seen, colours, strict=True)
            ]
            self._keep(f"{name}|{shade}", may, seen)

    def _keep(self, name: str, may: Sequence[bool], seen: Sequence[Seen | None]) -> None:
        none: Cells = np.zeros(0, np.int64)
        whole = [ok and (one is None or one[2]) for ok, one in zip(may, seen, strict=True)]
        for top, held in ((self.top, whole), (self.under, may)):
            covers = [one[1] if ok and one is not None else none for ok, one in zip(held, seen, strict=True)]
            if name == STAYS or any(len(cover) for cover in covers):
                top.may[name] = np.array(held, bool)
                top.covers[name] = covers
            if whole == list(may):
                break

    def _seen(self, name: str, d: int, n: int) -> Seen | None:
        """None where the object has not done it."""
        stroke = ACTS[name](self.things[d], n)
        if stroke is None:
            return None
        key = d, n, id(stroke)
        if key not in self.known:
            self.known[key] = stroke, self._explained_once(stroke, d, n)
        return self.known[key][1]

    def _explained_once(self, stroke: Stroke, d: int, n: int) -> Seen | None:
        cells = [stroke.rows, stroke.columns, *([] if stroke.colours is None else [stroke.colours])]
        whose = n if stroke.leaves else NONE
        key = d, whose, *(values.astype(np.int16).tobytes() for values in cells)
        if key not in self.alike:
            self.alike[key] = self._explained(stroke, d, n)
        return self.alike[key]

    def _explained(self, stroke: Stroke, d: int, n: int) -> Seen | None:
        target = self.targets[d]
        height, width = target.shape
        rows, columns, colours = stroke.rows, stroke.columns, stroke.colours
        fits = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        if not fits.all():
            rows, columns = rows[fits], columns[fits]
            colours = None if colours is None else colours[fits]
        told, shade, hidden = target[rows, columns], None, None
        if colours is not None:
            right = told == colours
        elif len(told):
            shade = int(told[0])
            right = told == shade
            if not right.all():
                shade = int(np.bincount(told).argmax())
                right = told == shade
        else:
            right = np.ones(0, bool)
        if not right.all():
            hidden = ~right
            if right.mean() < SHOWN or not self.changed[d][rows[hidden], columns[hidden]].all():
                return None
            rows, columns = rows[right], columns[right]
        where = rows * width + columns
        if stroke.leaves:
            part = self.things[d].parts[n]
            own = part.rows * width + part.columns
            left = np.setdiff1d(own, where)
            # What leaves a panel may be replaced there by the same from elsewhere.
            share = 0.5 if self.things[d].panelled is not None else 1.0
            if hidden is not None or self.changed[d].ravel()[left].sum() < share * len(left):
                return None
            where = np.concatenate([where, left])
        explained = where[self.changed[d].ravel()[where]]
        return shade, self.starts[d] + np.unique(explained), hidden is None

    def choices(self) -> list[tuple[str, ...]]:
        """Some choices of acts that together explain every cell that changes."""
        names = [name for name in self.top.may if name != STAYS]
        if not names:
            return []
        total = int(self.starts[-1])
        covered = np.zeros((len(names), total), bool)
        for k, name in enumerate(names):
            covered[k, np.concatenate(self.top.covers[name])] = True
        covered = covered[:, np.concatenate([mask.ravel() for mask in self.changed])]
        order = np.argsort(-covered.sum(1), kind="stable")
        found: list[tuple[str, ...]] = []
        for first in different(covered, order)[:STARTS]:
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
        gain = np.stack([[len(cover) for cover in self.top.covers[name]] for name in names], 1)
        may = np.stack([self.top.may[name] for name in names], 1)
        gain = np.where(may, gain, -1)
        right = may & (gain == gain.max(1, keepdims=True))
        keep = np.isin([d for d, _ in self.objects], only)
        facts = [facts_of(self.things[d], parting) for d in only]
        flat = np.concatenate([np.stack(list(one.values()), 1) for one in facts])
        table = trees.Table(flat, np.where(right, 10, NONE)[keep], tuple(facts[0]), tuple(names))
        return table, np.full(int(keep.sum()), 10)


def different(covered: Mask, order: Cells) -> list[int]:
    """Acts that explain different cells, in order; of those that explain the same the first two."""
    seen: dict[bytes, int] = {}
    found = []
    for k in order.tolist():
        key = np.packbits(covered[k]).tobytes()
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= 2:
            found.append(k)
    return found

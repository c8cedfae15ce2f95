"""Decision trees whose leaves take over a colour: small rules that explain every demonstrated cell.

A leaf does not name a colour only; it may say "the colour above" or "that of the largest object". A split is
chosen by how few bits it leaves open (ID3's information gain, Quinlan 1986, over right and wrong for each
leaf's best source). Only a tree that explains all cells counts, and the smaller one is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .grids import NONE, Cells, Mask
from .sights import COLOURS, Sheet, expand, expanded, truth

Matrix = npt.NDArray[np.float32]

UNPROVED, PROVED = 0.1, 2.0
"""What it does to a tree's weight that no demonstration, or each, is foretold by the others."""


@dataclass(frozen=True, slots=True)
class Table:
    """All cells of some grids. facts: bool [cells, facts]; sources: int64 [cells, sources]."""

    facts: Mask
    sources: Cells
    fact_names: tuple[str, ...]
    source_names: tuple[str, ...]

    @classmethod
    def of(cls, sheets: Sequence[Sheet]) -> Table:
        names = [name for name, _ in expand(sheets[0])]
        # Laid down fact by fact and turned at the end: a fact's cells lie side by side already.
        facts = [expanded(sheet) for sheet in sheets]
        flat = [np.stack([values.ravel() for values in sheet.sources.values()]) for sheet in sheets]
        return cls(
            np.concatenate(facts, 1).T, np.concatenate(flat, 1).T, tuple(names), tuple(sheets[0].sources)
        )


@dataclass(frozen=True, slots=True)
class Leaf:
    """source: a name; or the text of a colour, "0".."9"."""

    source: str

    def to_json(self) -> Any:
        return self.source


@dataclass(frozen=True, slots=True)
class Split:
    fact: str
    true: Node
    false: Node

    def to_json(self) -> Any:
        return [self.fact, self.true.to_json(), self.false.to_json()]


Node = Leaf | Split


COLOUR_NAMES = tuple(map(str, range(COLOURS)))


def from_json(told: Any) -> Node:
    """Raises ValueError on anything `to_json` does not write."""
    if isinstance(told, str):
        if told.isdigit() and told not in COLOUR_NAMES:
            raise ValueError(f"a rule's leaf {told[:20]!r} is no colour")
        return Leaf(told)
    if isinstance(told, list) and len(told) == 3 and isinstance(told[0], str):
        return Split(told[0], from_json(told[1]), from_json(told[2]))
    raise ValueError("a rule is a source's name or [fact, rule, rule]")


def leaves(node: Node) -> int:
    return 1 if isinstance(node, Leaf) else leaves(node.true) + leaves(node.false)


def answer(node: Node, sheet: Sheet) -> Cells | None:
    """The colours of all cells, H × W; None where a leaf's source is missing for one of them."""
    shape = sheet.shape
    found = np.full(shape, NONE, np.int64)

    def fill(at: Node, where: Mask) -> None:
        if isinstance(at, Leaf):
            values = np.full(shape, int(at.source)) if at.source.isdigit() else sheet.sources[at.source]
            found[where] = values[where]
        else:
            truths = truth(sheet, at.fact)
            fill(at.true, where & truths)
            fill(at.false, where & ~truths)

    fill(node, np.ones(shape, bool))
    return None if (found == NONE).any() else found


class Learner:
    """Grows trees on one table. `wanted`: int64 [cells], the demonstrated colours."""

    def __init__(self, table: Table, wanted: Cells, *, most_leaves: int = 12) -> None:
        self.most_leaves = most_leaves
        constants = [c for c in range(COLOURS) if (wanted == c).any()]
        sources = [*table.source_names, *(str(c) for c in constants)]
        right = np.concatenate([wanted == table.sources.T, *(wanted[None] == c for c in constants)])
        useful = _useful(right)
        self.sources = [sources[n] for n in useful]
        self.right = np.ascontiguousarray(right[useful].T, np.float32)
        # A fact that says the same as an earlier one everywhere cannot be told from it: the earlier stays.
        facts = np.ascontiguousarray(table.facts.T)
        seen: dict[bytes, int] = {}
        for n, packed in enumerate(np.packbits(facts, axis=1)):
            seen.setdefault(packed.tobytes(), n)
        first = np.array(list(seen.values()))
        inside = facts[first]
        some = inside.any(1) & ~inside.all(1)
        self.kept = first[some]
        self.facts = np.ascontiguousarray(inside[some].T, np.float32)
        self.names = [table.fact_names[n] for n in self.kept]
        self.places = {name: n for n, name in enumerate(self.names)}
        self.budget = 0
        self.shut: Mask | None = None
        self.known: dict[bytes, Matrix] = {}
        """Cells → the bits that each fact leaves open there: trees often begin alike."""

    def grow(self, allowed: Mask | None = None) -> Node | None:
        """The tree over all facts, or over the `allowed` ones (bool [facts]); None where it would need too
        many leaves."""
        self.shut = None if allowed is None else ~allowed
        self.budget = self.most_leaves
        return self._node(np.arange(len(self.right)), 0)

    def proof(self, grids: Sequence[Cells], allowed: Mask | None = None) -> float:
        """What leaving one out makes of the weight of a tree that `grow` has found: does a tree grown alike
        on the other demonstrations draw the one left out? grids: the demonstrated outputs; the table has
        the cells of each in turn, or of as many sides of each."""
        if len(grids) < 2:
            return 1.0
        sizes = np.array([grid.size for grid in grids])
        ends = np.cumsum(sizes) * (len(self.right) // int(sizes.sum()))
        cells = np.arange(len(self.right))
        self.shut = None if allowed is None else ~allowed
        foretold = 0
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            self.budget = self.most_leaves
            tree = self._node(np.concatenate([cells[:start], cells[end:]]), 0)
            foretold += tree is not None and self._explains(tree, cells[start:end])
        return float(UNPROVED * (PROVED / UNPROVED) ** (foretold / len(grids)))

    def _explains(self, node: Node, where: Cells) -> bool:
        if isinstance(node, Leaf):
            return bool(self.right[where, self.sources.index(node.source)].all())
        side = self.facts[where, self.places[node.fact]] > 0
        return self._explains(node.true, where[side]) and self._explains(node.false, where[~side])

    def sketch(self, most: int) -> Node:
        """The best tree of at most so many leaves, right or not: what a second look may start from."""
        self.shut = None
        where = np.arange(len(self.right))
        return self._sketched(where, most)

    def _sketched(self, where: Cells, most: int) -> Node:
        hits = self.right[where].sum(0)
        best = int(hits.argmax())
        found = self._split(where, hits) if most > 1 and hits[best] < len(where) else None
        if found is None:
            return Leaf(self.sources[best])
        chosen, side = found
        wrong = [len(part) - self.right[part].sum(0).max() for part in (where[side], where[~side])]
        # The further leaves go to the side with more errors left.
        more = [1, most - 1] if wrong[1] > wrong[0] else [most - 1, 1]
        return Split(
            self.names[chosen],
            self._sketched(where[side], more[0]),
            self._sketched(where[~side], more[1]),
        )

    def _node(self, where: Cells, open_: int) -> Node | None:
        """open_: nodes that are still to grow elsewhere, each of which takes a leaf at least."""
        hits = self.right[where].sum(0)
        best = int(hits.argmax())
        if hits[best] == len(where):
            self.budget -= 1
            return Leaf(self.sources[best]) if self.budget >= open_ else None
        found = self._split(where, hits) if self.budget > 1 + open_ else None
        if found is None:
            return None
        chosen, side = found
        true = self._node(where[side], open_ + 1)
        if true is None:
            return None
        false = self._node(where[~side], open_)
        if false is None:
            return None
        return Split(self.names[chosen], true, false)

    def _split(self, where: Cells, hits: Matrix) -> tuple[int, Mask] | None:
        """The fact that leaves the fewest bits open, and the cells for which it is true."""
        if not self.names:
            return None
        key = where.tobytes()
        if key not in self.known:
            self.known[key] = self._left_open(where, hits)
        bits = self.known[key]
        if self.shut is not None:
            bits = np.where(self.shut, np.inf, bits)
        chosen = int(bits.argmin())
        if not np.isfinite(bits[chosen]):
            return None
        return chosen, self.facts[where, chosen] > 0

    def _left_open(self, where: Cells, hits: Matrix) -> Matrix:
        """The bits that each fact leaves open; infinitely many where it parts nothing."""
        right, facts = self.right, self.facts
        if len(where) < len(right):
            right, facts = right[where], facts[where]
        true_count = facts.sum(0)
        true_hits = facts.T @ right
        false_hits = hits - true_hits
        false_count = len(where) - true_count
        bits = _bits(true_hits.max(1), true_count) + _bits(false_hits.max(1), false_count)
        bits[(true_count == 0) | (false_count == 0)] = np.inf
        return bits


def _useful(right: Mask) -> list[int]:
    """The sources (bool [sources, cells]) but those that are right only where a certain earlier one is right
    too: on no cells are they right more often, and of two that are as often right the earlier is taken."""
    some = right.astype(np.float32)
    both = some @ some.T
    covered = np.triu(both == both.diagonal(), 1).any(0)
    return np.flatnonzero(~covered).tolist()


def _bits(right: Matrix, count: Matrix) -> Matrix:
    """Entropy of right and wrong, times the number of cells."""
    wrong = count - right
    with np.errstate(divide="ignore", invalid="ignore"):
        one = np.where(right > 0, right * np.log2(right / count), 0.0)
        two = np.where(wrong > 0, wrong * np.log2(wrong / count), 0.0)
    found: Matrix = -(one + two)
    return found


def told(tree: Node, sheet: Sheet) -> Cells | None:
    """`answer`, or None where the sheet lacks what the tree asks for: a grid with other layers than the
    demonstrations has other sights, and a damaged tree asks for what no sheet has."""
    try:
        return answer(tree, sheet)
    except KeyError:
        return None

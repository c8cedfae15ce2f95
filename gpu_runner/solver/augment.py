"""Dihedral moves and colour permutations, with exact inverses.

Move d in 0..7 transposes (bit 0), then flips rows (bit 1), then flips columns (bit 2): the same order as in
`canvas.draw`. Colour 0 stays put: it is the background of most tasks, and a pretrained network knows it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .canvas import COLOURS, Grid

DIHEDRALS = 8
IDENTITY_COLOURS = tuple(range(COLOURS))


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to see a task: a dihedral move, and the new colour of each old one."""

    dihedral: int = 0
    colours: tuple[int, ...] = IDENTITY_COLOURS

    def apply(self, grid: Grid) -> Grid:
        return recolour(move(grid, self.dihedral), self.colours)

    def undo(self, grid: Grid) -> Grid:
        """The grid that `apply` turns into this one."""
        back = tuple(self.colours.index(colour) for colour in range(COLOURS))
        return recolour(unmove(grid, self.dihedral), back)


def move(grid: Grid, dihedral: int) -> Grid:
    rows = [list(row) for row in zip(*grid, strict=True)] if dihedral & 1 else [list(row) for row in grid]
    if dihedral & 2:
        rows = rows[::-1]
    return [row[::-1] for row in rows] if dihedral & 4 else rows


def unmove(grid: Grid, dihedral: int) -> Grid:
    rows = [row[::-1] for row in grid] if dihedral & 4 else [list(row) for row in grid]
    if dihedral & 2:
        rows = rows[::-1]
    return [list(row) for row in zip(*rows, strict=True)] if dihedral & 1 else rows


def recolour(grid: Grid, colours: Sequence[int]) -> Grid:
    return [[colours[cell] for cell in row] for row in grid]


def unmove_probabilities(scores: Tensor, variant: Variant) -> Tensor:
    """Undo a variant on per-cell colour scores: [height, width, COLOURS] as seen, to the original."""
    if variant.dihedral & 4:
        scores = scores.flip(1)
    if variant.dihedral & 2:
        scores = scores.flip(0)
    if variant.dihedral & 1:
        scores = scores.transpose(0, 1)
    return scores[..., torch.tensor(variant.colours, device=scores.device)]


def variants(count_dihedral: int, count_colours: int, seed: int) -> list[Variant]:
    """Every pairing of the first dihedral moves with colour permutations, the untouched task first."""
    rng = random.Random(seed)
    permutations = [IDENTITY_COLOURS]
    while len(permutations) < count_colours:
        permutations.append((0, *rng.sample(range(1, COLOURS), COLOURS - 1)))
    return [Variant(d, p) for p in permutations for d in range(count_dihedral)]


def as_tensors(views: Sequence[Variant], device: str | torch.device) -> tuple[Tensor, Tensor]:
    """(dihedral int64 [V], colours int64 [V, COLOURS])."""
    dihedral = torch.tensor([v.dihedral for v in views], device=device)
    return dihedral, torch.tensor([v.colours for v in views], device=device)

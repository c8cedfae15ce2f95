"""From grids to square canvases, by index arithmetic on the device.

A canvas is a square of even side S = 2·half; a grid is drawn on it at an integer scale and an offset that
input and output share. Cells hold 0..9 for colours, BACKGROUND outside the grid, and BORDER on the strip
right of and below the *output* rectangle, so that the network can say where its answer ends (as in VARC,
arXiv 2511.14761). Everything is batched: a `PairStore` stays on the device as uint8 and `draw` builds the
canvases of a whole batch, augmented, without a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

Grid = list[list[int]]

COLOURS = 10
BACKGROUND = 10
BORDER = 11
VOCABULARY = 12
MAX_SIDE = 30
HALVES = (4, 6, 8, 12, 16, 24, 32)
"""Canvas buckets: half of the side, which is also the number of 2×2 patches along a side. The two smallest
make a 3×3 task three times cheaper on a CPU than the third (20 tokens instead of 68)."""

DOUBLED_UP_TO = 7

NEAREST, FARTHEST = -2, 31
BOX_RANGE = FARTHEST - NEAREST + 1
"""Distances to an edge, in grid cells, are clamped to NEAREST..FARTHEST: BOX_RANGE embeddings an edge."""

OUTSIDE_WEIGHT = 0.1
"""Loss weight of a cell outside the answer and its border: easy, but it keeps the border readable."""


def half_for(longest_side: int, scale: int = 1) -> int:
    """The smallest bucket that holds a grid of this side, drawn at this scale, and its one-cell border."""
    for half in HALVES:
        if longest_side * scale + 1 <= 2 * half:
            return half
    raise ValueError(f"no canvas holds a side of {longest_side} at scale {scale}")


def base_scale(longest_side: int) -> int:
    """2 for grids of up to DOUBLED_UP_TO cells a side, else 1.

    At scale 2 and even offsets a patch is one cell. A rotation or a flip of a 3×3 grid is then learned in
    about 60 steps from random weights; with four neighbouring cells in a patch, cut differently at every
    offset, 188 steps only memorised the demonstrations. Offsets are multiples of this scale: at scale 1 they
    must take both parities, or the edge distances of a box of odd side are never seen among even ones.
    """
    return 2 if longest_side <= DOUBLED_UP_TO else 1


@dataclass(frozen=True, slots=True)
class PairStore:
    """Input/output pairs, resident on one device.

    cells: uint8 [pairs, 2, side, side], input then output, padded at the right and below.
    sizes: int64 [pairs, 2, 2], (height, width) of input and output.
    """

    cells: Tensor
    sizes: Tensor

    @classmethod
    def from_grids(cls, pairs: Sequence[tuple[Grid, Grid]], device: str | torch.device = "cpu") -> PairStore:
        side = max(max(len(g), len(g[0])) for pair in pairs for g in pair)
        cells = torch.zeros(len(pairs), 2, side, side, dtype=torch.uint8)
        sizes = torch.zeros(len(pairs), 2, 2, dtype=torch.int64)
        for p, pair in enumerate(pairs):
            for k, grid in enumerate(pair):
                height, width = len(grid), len(grid[0])
                cells[p, k, :height, :width] = torch.tensor(grid, dtype=torch.uint8)
                sizes[p, k] = torch.tensor([height, width])
        return cls(cells, sizes).to(device)

    def to(self, device: str | torch.device) -> PairStore:
        return PairStore(self.cells.to(device), self.sizes.to(device))

    @property
    def longest(self) -> Tensor:
        """int64 [pairs]: the longest side in each pair."""
        return self.sizes.flatten(1).amax(1)


@dataclass(frozen=True, slots=True)
class Placement:
    """How each sample of a batch of B is drawn.

    pair, dihedral, scale: int64 [B]; colours: int64 [B, 10], the new colour of each old one;
    offset: int64 [B, 2] in canvas cells (row, column); box_on: float [B, 2], 1 where the coordinates of the
    input box and of the output box are shown to the network.
    """

    pair: Tensor
    dihedral: Tensor
    colours: Tensor
    scale: Tensor
    offset: Tensor
    box_on: Tensor

    def part(self, samples: slice) -> Placement:
        return Placement(*(getattr(self, field.name)[samples] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Batch:
    """cells, target: int64 [B, S, S]; weight: float [B, S, S], summing to 1 in each sample; answer: bool
    [B, S, S], the cells of the output rectangle; coords: int64 [B, 2 axes, 4 edges, half]; box_on: [B, 2]."""

    cells: Tensor
    target: Tensor
    weight: Tensor
    answer: Tensor
    coords: Tensor
    box_on: Tensor

    def part(self, samples: slice) -> Batch:
        return Batch(*(getattr(self, field.name)[samples] for field in fields(self)))


def random_offsets(
    longest: Tensor, scale: Tensor, half: int, generator: torch.Generator, *, align: int = 1
) -> Tensor:
    """Offsets, int64 [B, 2], uniform over the places where the drawn pair and its border still fit."""
    room = (2 * half - 1 - longest * scale).clamp(min=0) // align + 1
    draw = torch.rand(len(longest), 2, generator=generator, device=longest.device)
    return (draw * room[:, None]).long() * align


def random_scales(
    longest: Tensor, half: int, generator: torch.Generator, *, base: int = 1, plain: float = 0.85
) -> Tensor:
    """Scales, int64 [B]: `base` with probability `plain`, else uniform over those that fit from there on."""
    most = ((2 * half - 1) // longest).clamp(min=1)
    draw = torch.rand(2, len(longest), generator=generator, device=longest.device)
    scaled = base + (draw[0] * (most - base + 1).clamp(min=1)).long()
    return torch.where(draw[1] < plain, base, scaled)


def turned_sizes(sizes: Tensor, dihedral: Tensor) -> Tensor:
    """Sizes [B, ..., 2] after the dihedral move: odd moves transpose, so height and width swap."""
    swap = (dihedral % 2 == 1).view(-1, *[1] * (sizes.dim() - 1))
    return torch.where(swap, sizes.flip(-1), sizes)


def draw(store: PairStore, at: Placement, half: int) -> Batch:
    """Draw a batch of pairs on canvases of side 2·half."""
    sizes = turned_sizes(store.sizes[at.pair], at.dihedral)
    side = 2 * half
    axis = torch.arange(side, device=store.cells.device)
    row = torch.div(axis[None] - at.offset[:, :1], at.scale[:, None], rounding_mode="floor")
    column = torch.div(axis[None] - at.offset[:, 1:], at.scale[:, None], rounding_mode="floor")
    source, inside_source = _paint(store.cells[at.pair, 0], sizes[:, 0], row, column, at)
    cells = torch.where(inside_source, source, BACKGROUND)
    goal, answer = _paint(store.cells[at.pair, 1], sizes[:, 1], row, column, at)
    border = _border(sizes[:, 1], at, axis)
    target = torch.where(answer, goal, torch.where(border, BORDER, BACKGROUND))
    weight = torch.where(answer | border, 1.0, OUTSIDE_WEIGHT)
    weight = weight / weight.sum((1, 2), keepdim=True)
    return Batch(cells, target, weight, answer, _coords(sizes, row, column), at.box_on)


def _paint(grids: Tensor, sizes: Tensor, row: Tensor, column: Tensor, at: Placement) -> tuple[Tensor, Tensor]:
    """The recoloured, turned grid under each canvas cell [B, S, S], and where there is one.

    Move d = transpose (bit 0), then flip rows (bit 1), then flip columns (bit 2); here it is undone to find
    the source cell of each canvas cell.
    """
    height, width = sizes[:, :1], sizes[:, 1:]
    inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[:, None, :]
    bits = at.dihedral[:, None]
    r = torch.where(bits // 2 % 2 == 1, height - 1 - row, row)
    c = torch.where(bits // 4 % 2 == 1, width - 1 - column, column)
    side = grids.shape[-1]
    r, c = r.clamp(0, side - 1)[:, :, None], c.clamp(0, side - 1)[:, None, :]
    index = torch.where(bits[:, :, None] % 2 == 1, c * side + r, r * side + c)
    batch, canvas = index.shape[0], index.shape[1:]
    old = grids.flatten(1).gather(1, index.flatten(1)).long()
    return at.colours.gather(1, old).view(batch, *canvas), inside


def _border(sizes: Tensor, at: Placement, axis: Tensor) -> Tensor:
    """bool [B, S, S]: the one-cell strip right of and below the output rectangle."""
    top, left = at.offset[:, :1], at.offset[:, 1:]
    bottom = top + sizes[:, :1] * at.scale[:, None]
    right = left + sizes[:, 1:] * at.scale[:, None]
    rows_on, rows_end = (axis >= top) & (axis <= bottom), axis == bottom
    columns_on, columns_end = (axis >= left) & (axis <= right), axis == right
    below = rows_end[:, :, None] & columns_on[:, None, :]
    return below | (rows_on[:, :, None] & columns_end[:, None, :])


def _coords(sizes: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Edge distances of each patch's first cell, in grid cells: int64 [B, axis, edge, half], from 0.

    Edges: near and far side of the input box, then of the output box.
    """
    lines = torch.stack([row[:, ::2], column[:, ::2]], 1)[:, :, None]  # [B, axis, 1, half]
    ends = sizes.transpose(1, 2)[..., None]  # [B, axis, box, 1]
    near = lines.expand(-1, -1, 2, -1)
    far = ends - 1 - lines
    edges = torch.stack([near, far], 3).flatten(2, 3)  # box-major: in near, in far, out near, out far
    return edges.clamp(NEAREST, FARTHEST) - NEAREST

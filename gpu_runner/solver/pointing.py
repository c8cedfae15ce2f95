"""The smallest hypothesis: every output cell is a copy of some input cell, found by position alone.

An output cell chooses among the input's cells by a table for each pair of edges: how far the one lies from an
edge of its box, less how far the other lies from an edge of its own. Mirrors, turns, transpositions, shifts,
crops, tilings and enlargements are all one entry of such a table, so a few thousand numbers learn them from two
demonstrations in a second, for grids of any size. Colours pass through a 10×10 map that starts as the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .canvas import COLOURS, Grid

REACH = 3
PENALTY = 3e-3
MAX_PAIRS = 120_000
STEPS = 160
SURE = 0.5


class Pointer(nn.Module):
    """Weights [SIGHTS, 4] of each pair of edges, a shift for each sight, and a colour map [COLOURS, COLOURS]."""

    SIGHTS = 12  # 4 distances to the output's edges, 4 wrapped at the input's size, 4 divided by the ratio

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((self.SIGHTS, 4), 0.3))
        self.colour = nn.Parameter(4.0 * torch.eye(COLOURS))

    def forward(self, cells: Tensor, sights: Tensor, edges: Tensor) -> Tensor:
        """Log-probabilities [outputs, COLOURS]. cells: int64 [inputs]; sights: int64 [outputs, SIGHTS];
        edges: int64 [inputs, 4]."""
        apart = (sights[:, None, :, None] - edges[None, :, None, :]).abs().clamp(max=REACH).float()
        chosen = -(apart * self.weight.clamp_min(0.0)).sum((2, 3))
        return (chosen.softmax(1) @ self.colour.softmax(1)[cells]).clamp_min(1e-9).log()


@dataclass(frozen=True, slots=True)
class Pair:
    """One demonstration as tensors, and the colours its output asks for (None for a test)."""

    cells: Tensor
    sights: Tensor
    edges: Tensor
    size: tuple[int, int]
    wanted: Tensor | None


def pair(source: Grid, size: tuple[int, int], target: Grid | None) -> Pair:
    height, width = len(source), len(source[0])
    return Pair(
        torch.tensor([cell for row in source for cell in row]),
        _sights(size, (height, width)),
        _edges((height, width)),
        size,
        None if target is None else torch.tensor([cell for row in target for cell in row]),
    )


def fits(pairs: Sequence[Pair]) -> bool:
    """Whether the hypothesis is small enough to be tried on these grids."""
    return max(len(p.sights) * len(p.cells) for p in pairs) <= MAX_PAIRS


def train(pairs: Sequence[Pair], go_on: Callable[[], bool]) -> Pointer | None:
    """Fit all pairs exactly, or None: a hypothesis that cannot fit is rejected."""
    model = Pointer()
    optimiser = torch.optim.Adam(
        [{"params": [model.weight], "lr": 0.1}, {"params": [model.colour], "lr": 0.1}], betas=(0.9, 0.95)
    )
    for step in range(STEPS):
        if not go_on():
            return None
        losses, exact = [], True
        for p in pairs:
            scores = model(p.cells, p.sights, p.edges)
            losses.append(F.nll_loss(scores, p.wanted))
            exact = exact and bool((scores.argmax(1) == p.wanted).all())
        total = torch.stack(losses).mean()
        if exact and float(total.detach()) < 0.03:
            return model
        # Few pairs of edges explain a rule; the weights of the others go to nothing.
        (total + PENALTY * model.weight.clamp_min(0).sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return model if exact else None


@torch.no_grad()
def answer(model: Pointer, asked: Pair) -> tuple[Grid, float]:
    """The grid, and the least sure cell's probability."""
    scores = model(asked.cells, asked.sights, asked.edges)
    best, colours = scores.max(1)
    height, width = asked.size
    rows = colours.view(height, width).tolist()
    return [[int(cell) for cell in row] for row in rows], float(best.min().exp())


def holds_out(pairs: Sequence[Pair], go_on: Callable[[], bool]) -> bool:
    """Leave-one-out: trained on the others, every demonstration is answered exactly."""
    for n, left_out in enumerate(pairs):
        model = train([p for i, p in enumerate(pairs) if i != n], go_on) if len(pairs) > 1 else None
        if model is None or left_out.wanted is None:
            return False
        grid, _ = answer(model, left_out)
        if [cell for row in grid for cell in row] != left_out.wanted.tolist():
            return False
    return True


def _edges(size: tuple[int, int]) -> Tensor:
    """Distances of each cell, row by row, to the top, bottom, left and right edge: int64 [cells, 4]."""
    height, width = size
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    return torch.stack([rows, height - 1 - rows, columns, width - 1 - columns], 1)


def _sights(size: tuple[int, int], source: tuple[int, int]) -> Tensor:
    plain = _edges(size)
    span = torch.tensor([source[0], source[0], source[1], source[1]])
    ratio = torch.tensor([max(1, size[0] // source[0])] * 2 + [max(1, size[1] // source[1])] * 2)
    return torch.cat([plain, plain % span, plain // ratio], 1)

"""The smallest hypothesis: every output cell is a copy of some input cell, found by position alone.

An output cell chooses among the input's cells by how far the one lies from each edge of its box and the
other from each edge of its own: one weight for each pair of edges. Mirrors, turns, transpositions, crops,
tilings and enlargements are a few of these weights, so some fifty numbers learn them from two demonstrations
in a fraction of a second, for grids of any size. Colours pass through a 10×10 map that starts as identity.

It is believed only if it also answers each demonstration when trained on the others (leave-one-out), or if it
fits all of them surely and the test brings no colour they lack; else the large network has its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .canvas import COLOURS, Grid
from .task import Task, size_of

NAME = "pointer"
REACH = 3  # beyond so many cells apart is as good as far apart
PENALTY = 3e-3
MAX_PAIRS = 12_000  # input cells × output cells: beyond, a step costs more than the network's
STEPS = 160
HOPELESS_STEP = 60
HOPELESS_LOSS = 0.5
FIT_LOSS = 0.03
SURE = 0.6
VERY_SURE = 0.9

GoOn = Callable[[float, float], bool]
"""Told the fraction done and the loss; False when there is no time left."""


class Pointer(nn.Module):
    """Weights [SIGHTS, 4] of each pair of edges, and a colour map [COLOURS, COLOURS]."""

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


@dataclass(frozen=True, slots=True)
class Fitted:
    """A pointer that answers every demonstration exactly."""

    model: Pointer
    steps: int
    loss_curve: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Pointed:
    """The answers, in order of the test inputs: two different grids each, and the least sure cell. held_out:
    whether leave-one-out was asked, and held."""

    fitted: Fitted
    attempts: tuple[tuple[Grid, Grid], ...]
    confidence: tuple[float, ...]
    held_out: bool


def point(task: Task, go_on: GoOn) -> Pointed | None:
    """Answer the task by position alone, or None where that hypothesis is not to be believed."""
    sizes = [task.answer_size(n) for n in range(len(task.tests))]
    if None in sizes or len(task.demos) < 2:
        return None
    pairs = [pair(source, size_of(target), target) for source, target in task.demos]
    if max(len(p.sights) * len(p.cells) for p in pairs) > MAX_PAIRS:
        return None
    fitted = fit(pairs, go_on)
    if fitted is None:
        return None
    found = replay(task, fitted.model.state_dict())
    confidence = tuple(sure for _, sure in found)
    if min(confidence) < SURE:
        return None
    held_out = not _plain(task, min(confidence)) and _holds_out(pairs, go_on)
    if not held_out and not _plain(task, min(confidence)):
        return None
    return Pointed(fitted, tuple(grids for grids, _ in found), confidence, held_out)


def replay(task: Task, weights: dict[str, Tensor]) -> list[tuple[tuple[Grid, Grid], float]]:
    """The answers of a fitted pointer: the same weights, the same answers."""
    model = Pointer()
    model.load_state_dict(weights)
    found = []
    for n, test in enumerate(task.tests):
        size = task.answer_size(n)
        assert size is not None
        found.append(_answer(model, pair(test, size, None)))
    return found


def fit(pairs: Sequence[Pair], go_on: GoOn) -> Fitted | None:
    """Fit all pairs exactly, or None: a hypothesis that cannot fit is rejected."""
    model = Pointer()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.9, 0.95))
    curve: list[tuple[int, float]] = []
    exact = False
    for step in range(STEPS):
        total, exact = _loss(model, pairs)
        told = float(total.detach())
        curve.append((step, round(told, 5)))
        if exact and told < FIT_LOSS:
            return Fitted(model, step, curve)
        if not go_on(step / STEPS, told) or (step == HOPELESS_STEP and told > HOPELESS_LOSS):
            return None
        # Few pairs of edges explain a rule; the weights of the others go to nothing.
        (total + PENALTY * model.weight.clamp_min(0).sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return Fitted(model, STEPS, curve) if exact else None


def _loss(model: Pointer, pairs: Sequence[Pair]) -> tuple[Tensor, bool]:
    losses, exact = [], True
    for p in pairs:
        assert p.wanted is not None
        scores = model(p.cells, p.sights, p.edges)
        losses.append(F.nll_loss(scores, p.wanted))
        exact = exact and bool((scores.argmax(1) == p.wanted).all())
    return torch.stack(losses).mean(), exact


def _plain(task: Task, sure: float) -> bool:
    """Whether a fit is to be believed as it is: very sure, and no test has a colour that it did not see."""
    known = {cell for source, _ in task.demos for row in source for cell in row}
    asked = {cell for test in task.tests for row in test for cell in row}
    return sure >= VERY_SURE and asked <= known


def _holds_out(pairs: Sequence[Pair], go_on: GoOn) -> bool:
    """Leave-one-out: trained on the others, every demonstration is answered exactly."""
    for n, left_out in enumerate(pairs):
        fitted = fit([p for i, p in enumerate(pairs) if i != n], go_on)
        if fitted is None or not _loss(fitted.model, [left_out])[1]:
            return False
    return True


@torch.no_grad()
def _answer(model: Pointer, asked: Pair) -> tuple[tuple[Grid, Grid], float]:
    """The grid, its rival (the least sure cell in its second colour), and how sure the least sure cell is."""
    scores = model(asked.cells, asked.sights, asked.edges)
    best, colours = scores.max(1)
    doubtful = int(best.argmin())
    rival = colours.clone()
    rival[doubtful] = int(scores[doubtful].topk(2).indices[1])
    height, width = asked.size

    def grid(flat: Tensor) -> Grid:
        return [[int(cell) for cell in row] for row in flat.view(height, width).tolist()]

    return (grid(colours), grid(rival)), float(best.min().exp())


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

"""A small hypothesis: the output is the input after one local rule has spread over it.

A recurrent convolution (a neural cellular automaton, as in Mordvintsev et al. 2020) for outputs of the
input's size: each cell keeps a few hidden numbers, looks at its eight neighbours, and is asked for its colour
at the end. Filling enclosed rooms is such a rule, applied many times. It is trained on all eight dihedral
images of the demonstrations and under shuffles of the colours that no output brings in, so that a handful of
cells cannot be learned by heart.

It is believed only if it fits the augmented demonstrations and the eight images of a test agree on one
answer; else the large network has its turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .canvas import COLOURS, Grid
from .task import Task, size_of

NAME = "spreader"
HIDDEN = 24
INSIDE = COLOURS
DIHEDRALS = 8
MAX_SIDE = 14
STEPS = 400
BATCH = 8
RATE = 5e-3
HOPELESS_STEP = 100
HOPELESS_FIT = 0.03
FIT = 0.97
AGREED = 6 / DIHEDRALS

GoOn = Callable[[float, float], bool]
"""Told the fraction done and the loss; False when there is no time left."""


class Spreader(nn.Module):
    """Colour planes and a plane that is 1 inside the grid; a state of HIDDEN numbers a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(COLOURS + 1, HIDDEN, 3, padding=1)
        self.look = nn.Conv2d(HIDDEN + COLOURS + 1, 2 * HIDDEN, 3, padding=1)
        self.write = nn.Conv2d(2 * HIDDEN, HIDDEN, 1)
        self.tell = nn.Conv2d(HIDDEN + COLOURS + 1, COLOURS, 1)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.tell.weight)

    def forward(self, planes: Tensor, rounds: int) -> Tensor:
        """Logits [B, COLOURS, side, side] of planes [B, COLOURS + 1, side, side], after so many rounds."""
        inside = planes[:, INSIDE:]
        state = torch.relu(self.read(planes)) * inside
        for _ in range(rounds):
            state = (state + self.write(torch.relu(self.look(torch.cat([state, planes], 1))))) * inside
        told: Tensor = self.tell(torch.cat([state, planes], 1)) + 4.0 * planes[:, :COLOURS]
        return told


@dataclass(frozen=True, slots=True)
class Spread:
    """The fitted rule; two different grids for each test input, and the share of views behind the first."""

    model: Spreader
    attempts: tuple[tuple[Grid, Grid], ...]
    confidence: tuple[float, ...]
    steps: int
    fit: float
    loss_curve: list[tuple[int, float]] = field(default_factory=list)


def spread(task: Task, *, seed: int, go_on: GoOn) -> Spread | None:
    """Answer the task by a local rule, or None where that hypothesis is not to be believed."""
    if len(task.demos) < 2 or task.longest > MAX_SIDE or not task.free_colours:
        return None
    if any(size_of(source) != size_of(target) for source, target in task.demos):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Spreader()
    steps, fit, curve = _train(model, task, seed, go_on)
    if fit < FIT:
        return None
    found = replay(task, model.state_dict())
    confidence = tuple(share for _, share in found)
    if min(confidence) < AGREED:
        return None
    return Spread(model.eval(), tuple(grids for grids, _ in found), confidence, steps, fit, curve)


@torch.no_grad()
def replay(task: Task, weights: dict[str, Tensor]) -> list[tuple[tuple[Grid, Grid], float]]:
    """The answers of a fitted rule: the eight images of each test vote."""
    model = Spreader()
    model.load_state_dict(weights)
    side = task.longest + 2
    answers = []
    for test in task.tests:
        planes = _planes([test], side)
        height, width = size_of(test)
        votes: Counter[tuple[tuple[int, ...], ...]] = Counter()
        for image in range(DIHEDRALS):
            told = _turned_back(model(_turned(planes, image), side + 2), image)[0, :, :height, :width]
            votes[tuple(tuple(row) for row in told.argmax(0).tolist())] += 1
        ranked = votes.most_common(2)
        first = [list(row) for row in ranked[0][0]]
        second = (
            [list(row) for row in ranked[1][0]] if len(ranked) > 1 else _rival(model, planes, first, side + 2)
        )
        answers.append(((first, second), ranked[0][1] / DIHEDRALS))
    return answers


def _rival(model: Spreader, planes: Tensor, first: Grid, rounds: int) -> Grid:
    """Another answer: the least sure cell in its second colour."""
    height, width = size_of(first)
    scores = model(planes, rounds)[0, :, :height, :width].softmax(0)
    doubtful = int(scores.max(0).values.argmin())
    row, column = divmod(doubtful, width)
    order = scores[:, row, column].argsort(descending=True).tolist()
    rival = [list(cells) for cells in first]
    rival[row][column] = next(int(c) for c in order if int(c) != first[row][column])
    return rival


def _train(model: Spreader, task: Task, seed: int, go_on: GoOn) -> tuple[int, float, list[tuple[int, float]]]:
    """Steps, moving exact share of augmented demonstrations, loss curve."""
    generator = torch.Generator().manual_seed(seed)
    side = task.longest + 2
    sources = _planes([source for source, _ in task.demos], side)
    targets = _planes([target for _, target in task.demos], side)
    free = torch.tensor(task.free_colours)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    fit, curve = 0.0, []
    for step in range(STEPS):
        chosen = torch.randint(len(sources), (BATCH,), generator=generator)
        image = int(torch.randint(DIHEDRALS, (1,), generator=generator))
        colours = torch.arange(COLOURS + 1)
        colours[free] = free[torch.randperm(len(free), generator=generator)]
        x = _turned(sources[chosen][:, colours], image)
        y = _turned(targets[chosen][:, colours], image)
        rounds = int(torch.randint(side // 2 + 3, side + 4, (1,), generator=generator))
        logits, inside = model(x, rounds), y[:, INSIDE] > 0
        wanted = y[:, :COLOURS].argmax(1)
        loss = F.cross_entropy(logits, wanted, reduction="none")[inside].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20) * (1 - step / STEPS)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        exact = ((logits.argmax(1) == wanted) | ~inside).flatten(1).all(1).float().mean()
        fit = 0.95 * fit + 0.05 * float(exact)
        told = float(loss.detach())
        curve.append((step, round(told, 5)))
        done = step > HOPELESS_STEP and fit >= FIT
        hopeless = step == HOPELESS_STEP and fit < HOPELESS_FIT
        if done or hopeless or not go_on(step / STEPS, told):
            break
    return len(curve), fit, curve


def _planes(grids: list[Grid], side: int) -> Tensor:
    """One-hot colours and the inside: float [grids, COLOURS + 1, side, side]."""
    planes = torch.zeros(len(grids), COLOURS + 1, side, side)
    for n, grid in enumerate(grids):
        cells = torch.tensor(grid)
        height, width = cells.shape
        planes[n, :COLOURS, :height, :width] = F.one_hot(cells, COLOURS).permute(2, 0, 1).float()
        planes[n, INSIDE, :height, :width] = 1
    return planes


def _turned(planes: Tensor, image: int) -> Tensor:
    turned = torch.rot90(planes, image % 4, (2, 3))
    return turned.flip(3) if image >= 4 else turned


def _turned_back(planes: Tensor, image: int) -> Tensor:
    return torch.rot90(planes.flip(3) if image >= 4 else planes, -(image % 4), (2, 3))

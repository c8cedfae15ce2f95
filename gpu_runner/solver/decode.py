"""Two attempts for each test input, from many views of it.

A view is a variant of the task drawn at one scale and offset. Each view gives a grid (a vote) and, for every
cell, log-probabilities of the colours; the network is not autoregressive, so the likelihood of any grid of
that size under the view comes free. Candidates are ranked by vote share plus mean log-likelihood a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .augment import Variant, as_tensors, unmove_probabilities
from .canvas import (
    BACKGROUND,
    BORDER,
    COLOURS,
    Grid,
    PairStore,
    Placement,
    draw,
    random_offsets,
    turned_sizes,
)
from .model import Solver
from .portfolio import Hypothesis
from .precision import Precision
from .sizes import Size
from .task import Task, size_of

KEPT = 8
"""Candidates reported for each test input."""


@dataclass(frozen=True, slots=True)
class Candidate:
    grid: Grid
    votes: int
    share: float
    log_likelihood: float
    """Mean over cells and same-size views, in nats."""

    @property
    def score(self) -> float:
        return self.share + self.log_likelihood

    def to_json(self) -> dict[str, Any]:
        return {
            "grid": self.grid,
            "votes": self.votes,
            "share": round(self.share, 4),
            "log_likelihood": round(self.log_likelihood, 5),
        }


@dataclass(slots=True)
class Ballot:
    """What the views of one test input said."""

    views: int = 0
    votes: dict[tuple[tuple[int, ...], ...], int] = field(default_factory=dict)
    log_probability: dict[Size, Tensor] = field(default_factory=dict)
    readable: dict[Size, int] = field(default_factory=dict)

    def add(self, scores: Tensor) -> None:
        """scores: [height, width, COLOURS] log-probabilities of one view, as the task has it."""
        grid = tuple(tuple(row) for row in scores.argmax(-1).tolist())
        size = (scores.shape[0], scores.shape[1])
        self.votes[grid] = self.votes.get(grid, 0) + 1
        self.readable[size] = self.readable.get(size, 0) + 1
        before = self.log_probability.get(size)
        self.log_probability[size] = scores.clone() if before is None else before + scores

    def candidates(self) -> list[Candidate]:
        """Best first; the argmax of each size's mean is a candidate even if no view voted for it."""
        means = {size: total / self.readable[size] for size, total in self.log_probability.items()}
        grids = self._voted(means)
        cast = max(sum(self.votes.values()), 1)
        found = []
        for cells, votes in grids.items():
            grid = [list(row) for row in cells]
            chosen = means[size_of(grid)].gather(-1, torch.tensor(grid)[..., None])
            found.append(Candidate(grid, votes, votes / cast, float(chosen.mean())))
        return sorted(found, key=lambda c: (-c.score, -c.votes, c.grid))

    def proposed(self) -> list[Grid]:
        """The grids of all candidates, and the runner-up where there is only one; in no order."""
        means = {size: total / self.readable[size] for size, total in self.log_probability.items()}
        grids = [[list(row) for row in cells] for cells in self._voted(means)]
        return [*grids, self.runner_up(grids[0])] if len(grids) == 1 else grids

    def _voted(self, means: Mapping[Size, Tensor]) -> dict[tuple[tuple[int, ...], ...], int]:
        """The votes of each candidate."""
        grids = dict(self.votes)
        for mean in means.values():
            grids.setdefault(tuple(tuple(row) for row in mean.argmax(-1).tolist()), 0)
        return grids

    def runner_up(self, winner: Grid) -> Grid:
        """The winner with its least certain cell changed to the next likely colour."""
        mean = self.log_probability[size_of(winner)] / self.readable[size_of(winner)]
        cells = torch.tensor(winner)[..., None]
        rivals = mean.scatter(-1, cells, float("-inf"))
        best, colour = rivals.max(-1)
        place = int((best - mean.gather(-1, cells)[..., 0]).argmax())
        row, column = divmod(place, len(winner[0]))
        changed = [list(line) for line in winner]
        changed[row][column] = int(colour[row, column])
        return changed


@dataclass(slots=True)
class Count:
    """A count of votes under way: a ballot for each test input, after so many batches of views."""

    ballots: list[Ballot]
    batches: int = 0


@torch.no_grad()
def decode(
    model: Solver,
    tokens: Tensor,
    chosen: Hypothesis,
    task: Task,
    *,
    seed: int,
    device: str,
    batch_size: int,
    batch_limit: int | None = None,
    go_on: Callable[[int], bool] = lambda done: True,
    count: Count | None = None,
    precision: Precision | None = None,
) -> list[Ballot]:
    """A ballot for each test input, from rounds of all variants over all test inputs.

    `go_on(batches done)` is asked before each batch; views not taken are missing from `Ballot.views`.
    `batch_limit` repeats a decoding that was cut short; `count` is one to go on with, and is kept up to date;
    precision is the one usual on the device where it is not given.
    """
    model.eval()
    count = count or Count([Ballot() for _ in task.tests])
    precision = precision or Precision.of(device)
    answers = [task.answer_size(n) for n in range(len(task.tests))]
    blank = [[[0] * (size or (1, 1))[1]] * (size or (1, 1))[0] for size in answers]
    store = PairStore.from_grids(list(zip(task.tests, blank, strict=True)), device)
    known = torch.tensor([size is not None for size in answers], device=device)
    batches = _views(store, known, chosen, task.half, task.scale, seed, batch_size)
    for done, (at, variant) in enumerate(batches):
        if done < count.batches:
            continue  # counted before: drawn again only for the random numbers
        if not go_on(done) or (batch_limit is not None and done >= batch_limit):
            break
        logits = _read(model, store, at, task.half, tokens[variant], precision)
        turned = turned_sizes(store.sizes[at.pair, 1], at.dihedral).tolist()
        for n, test in enumerate(at.pair.tolist()):
            size = (turned[n][0], turned[n][1]) if answers[test] is not None else None
            top, left = at.offset[n].tolist()
            scores = read_answer(logits[n], size, int(at.scale[n]), top, left)
            count.ballots[test].views += 1
            seen = Variant(int(at.dihedral[n]), tuple(at.colours[n].tolist()))
            if scores is not None:
                count.ballots[test].add(unmove_probabilities(scores, seen))
        count.batches = done + 1
    return count.ballots


def _read(
    model: Solver, store: PairStore, at: Placement, half: int, tokens: Tensor, precision: Precision
) -> Tensor:
    """Logits of a batch of views, on the host; in halves where the device has no room for all of them."""
    try:
        with precision.autocast():
            return model(draw(store, at, half), tokens).float().cpu()  # type: ignore[no-any-return]
    except torch.OutOfMemoryError:
        if len(tokens) == 1:
            raise
    torch.cuda.empty_cache()  # not above: there the error still holds the batch
    middle = len(tokens) // 2
    parts = [slice(0, middle), slice(middle, None)]
    return torch.cat([_read(model, store, at.part(part), half, tokens[part], precision) for part in parts])


def _views(
    store: PairStore,
    known: Tensor,
    chosen: Hypothesis,
    half: int,
    scale_of_task: int,
    seed: int,
    batch_size: int,
) -> Iterator[tuple[Placement, Tensor]]:
    """Batches of views, the untouched task's first placement first."""
    device = store.cells.device
    generator = torch.Generator(device).manual_seed(seed + 1)
    dihedral, colours = as_tensors(chosen.views, device)
    tests, count = len(store.cells), len(chosen.views)
    for round_number in range(chosen.rounds):
        variant = torch.arange(count, device=device).repeat_interleave(tests)
        pair = torch.arange(tests, device=device).repeat(count)
        longest = store.longest[pair]
        scale = torch.full_like(longest, scale_of_task)
        offset = random_offsets(longest, scale, half, generator, align=scale_of_task)
        shuffled = chosen.shuffles(count * tests, generator, plain=0 if round_number else count * tests)
        seen = colours[variant].gather(1, shuffled)
        for part in torch.split(torch.arange(count * tests, device=device), 2 * batch_size):
            box_on = torch.stack([torch.ones(len(part), device=device), known[pair[part]].float()], 1)
            at = Placement(pair[part], dihedral[variant[part]], seen[part], scale[part], offset[part], box_on)
            yield at, variant[part]


def read_answer(logits: Tensor, size: Size | None, scale: int, top: int, left: int) -> Tensor | None:
    """Log-probabilities [height, width, COLOURS] of one view, averaged over each cell's scale × scale block.

    Without a size the answer ends where the border says; None where no border can be read, or where the
    logits are no numbers.
    """
    if not bool(logits.isfinite().all()):
        return None
    size = size or read_size(logits.argmax(-1), scale, top, left)
    if size is None:
        return None
    height, width = size
    block = logits[top : top + height * scale, left : left + width * scale, :COLOURS].log_softmax(-1)
    if block.shape[:2] != (height * scale, width * scale):
        return None
    return block.reshape(height, scale, width, scale, COLOURS).mean((1, 3))


def read_size(canvas: Tensor, scale: int, top: int, left: int) -> Size | None:
    """The size of the answer from an argmax canvas [S, S], or None where its frame is not clear."""
    inside = canvas < BACKGROUND
    height, width = _run(inside[top:, left]), _run(inside[top, left:])
    bottom, right = top + height, left + width
    if not height or not width or height % scale or width % scale or max(bottom, right) >= len(canvas):
        return None
    framed = [canvas[bottom, left:right] == BORDER, canvas[top:bottom, right] == BORDER]
    if any(float(edge.float().mean()) < 0.5 for edge in framed):
        return None
    return height // scale, width // scale


def _run(line: Tensor) -> int:
    """How many cells from the start are true."""
    return int(line.int().cumprod(0).sum())


def attempts(ballot: Ballot, task: Task, test: int) -> tuple[Grid, Grid]:
    """Always two different grids, even where no view could be read."""
    ranked = ballot.candidates()
    if not ranked:
        return fallback(task, test)
    first = ranked[0].grid
    return first, ranked[1].grid if len(ranked) > 1 else ballot.runner_up(first)


def fallback(task: Task, test: int) -> tuple[Grid, Grid]:
    """An honest guess without a network: the input cut or padded to the expected size, and its rival."""
    grid = task.tests[test]
    height, width = task.answer_size(test) or size_of(task.demos[-1][1])
    first = [
        [grid[r][c] if r < len(grid) and c < len(grid[0]) else 0 for c in range(width)] for r in range(height)
    ]
    second = [list(row) for row in first]
    second[0][0] = (second[0][0] + 1) % COLOURS
    return first, second

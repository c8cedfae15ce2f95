"""Where a new task's tokens start: at those of the pretraining task that explains its demonstrations best."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .canvas import COLOURS, PairStore, Placement, draw, half_for
from .model import TASK_TOKENS, Solver
from .objective import loss
from .precision import Precision
from .task import Task, size_of

DEMOS = 2
"""Demonstrations compared, the smallest ones: enough to rank, and cheap."""

AT_ONCE = 1100
"""Canvas tokens a demonstration in one batch, so that a batch takes about as long on any canvas."""


@torch.no_grad()
def rank_tokens(
    model: Solver,
    task: Task,
    tokens: Tensor,
    *,
    device: str,
    go_on: Callable[[int], bool],
    at_once: int = AT_ONCE,
) -> list[tuple[float, int]]:
    """(loss in nats a cell, row of `tokens` [tasks, TASK_TOKENS, width]), lowest loss first.

    `go_on(rows done)` is asked before each batch; rows not reached are left out, and those without a loss.
    `at_once`: canvas tokens a demonstration in one batch.
    """
    demos = sorted(task.demos, key=lambda pair: sum(a * b for a, b in map(size_of, pair)))[:DEMOS]
    store = PairStore.from_grids(demos, device)
    count = len(demos)
    half = half_for(int(store.longest.max()), task.scale)
    found: list[tuple[float, int]] = []
    precision = Precision.of(device)
    rows_at_once = max(1, at_once // (half * half + TASK_TOKENS))
    for rows in torch.split(torch.arange(len(tokens)), rows_at_once):
        if not len(rows) or not go_on(len(found)):
            break
        pair = torch.arange(count, device=device).repeat(len(rows))
        zero = torch.zeros_like(pair)
        box_on = torch.ones(len(pair), 2, device=device)
        box_on[:, 1] = float(task.rule.known)
        colours = torch.arange(COLOURS, device=device).expand(len(pair), -1)
        at = Placement(pair, zero, colours, zero + task.scale, torch.stack([zero, zero], 1), box_on)
        batch = draw(store, at, half)
        with precision.autocast():
            logits = model(batch, tokens[rows].to(device).repeat_interleave(count, 0))
        for n, row in enumerate(rows.tolist()):
            part = slice(n * count, (n + 1) * count)
            found.append((float(loss(logits[part], batch.part(part))), row))
    return sorted((value, row) for value, row in found if math.isfinite(value))

"""The network that a solve starts from: a checkpoint at its nearest tokens, or random weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from . import snapshot
from .door import Door, SolveBudget
from .errors import BadWeights
from .flops import Meter
from .model import CONFIGS, Solver
from .nearest import rank_tokens
from .task import Task
from .weights import Checkpoint, build, read_checkpoint

DEFAULT_CONFIG = "xs"

log = logging.getLogger(__name__)


def usable(path: Path | None) -> Checkpoint | None:
    """The checkpoint; None, with a warning, where there is none to be used."""
    if path is None:
        return None
    try:
        return read_checkpoint(path)
    except BadWeights as error:
        log.warning("%s; starting from random weights", error)
        return None


def starting_network(
    pretrained: Checkpoint | None, budget: SolveBudget, task: Task, door: Door, meter: Meter
) -> tuple[Solver, list[list[Any]]]:
    """The network to adapt, and the pretraining tasks whose tokens explain the demonstrations best.

    The search may take a tenth of the budget; it needs about as long as ten training steps, and is not
    repeated.
    """
    journal = door.journal
    known = journal.found("start")
    if pretrained is None:
        journal.hold("start", lambda: snapshot.of_ranking([]))
        return from_scratch(budget, meter), []
    model = build(pretrained.config, pretrained.weights).to(budget.device)
    meter.watch(model)

    until = max(0.0, door.watch.left() - 0.1 * budget.seconds)  # however long the small ones before it took

    def go_on(done: int) -> bool:
        door.check("load", done / len(pretrained.tokens), None)
        return door.fits("load", within=door.watch.left() - until)

    if known is None:
        ranked = rank_tokens(model, task, pretrained.tokens, device=budget.device, go_on=go_on)[
            : snapshot.NEAREST
        ]
    else:
        ranked = snapshot.ranking(known, len(pretrained.tokens))
    journal.hold("start", lambda: snapshot.of_ranking(ranked))
    if ranked:
        model.mean_tokens.copy_(pretrained.tokens[ranked[0][1]])
    return model, [[pretrained.task_ids[row], round(value, 4)] for value, row in ranked]


def from_scratch(budget: SolveBudget, meter: Meter) -> Solver:
    """A network of random weights that follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(budget.seed)
        model = Solver(CONFIGS[DEFAULT_CONFIG]).to(budget.device)
    meter.watch(model)
    return model

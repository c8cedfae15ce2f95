"""predict(): the answers of what a solve left, from anybody's hands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from . import reasoning, second, small
from .decode import Ballot, decode
from .door import Attempts
from .errors import BadWeights
from .model import CONFIGS, TASK_TOKENS
from .optim import check_like
from .portfolio import hypothesis
from .task import Task
from .threads import threads_for
from .weights import build

TOKENS = "task_tokens"
LARGEST_BATCH = 1024

T = TypeVar("T")


def predict(
    task: dict[str, Any],
    adapted: dict[str, torch.Tensor],
    metadata: dict[str, str],
    *,
    device: str = "cpu",
) -> Attempts:
    """The answers of downloaded weights, without training: the same views, so the same answers.

    Raises BadTask or BadWeights."""
    checked = Task.from_json(task)
    if metadata.get("hypothesis") in small.NAMES:
        return small.replay(checked, adapted, metadata)
    known = {key: value for key, value in adapted.items() if not key.startswith(second.PREFIX)}
    ballots = _recounted(checked, known, metadata, device)
    beside = _without(second.PREFIX, adapted)
    if beside:
        ballots = second.pooled(
            ballots, _recounted(checked, beside, metadata | _without(second.PREFIX, metadata), device)
        )
    reasoned = reasoning.replay(checked, metadata.get(reasoning.RULES, "[]"))
    return small.answers(checked, ballots, reasoned, metadata)


def _recounted(
    task: Task, adapted: dict[str, torch.Tensor], metadata: dict[str, str], device: str
) -> list[Ballot]:
    """The votes of the same views of adapted weights. Raises BadWeights."""
    try:
        config, seed = CONFIGS[metadata["config"]], int(metadata["seed"])
        chosen = hypothesis(
            metadata["hypothesis"], task, seed=seed,
            dihedrals=int(metadata["dihedrals"]), colours=int(metadata["colours"]),
        )  # fmt: skip
        batches, batch_size = int(metadata["decode_batches"]), int(metadata["batch_size"])
        if not (0 <= seed < 2**63 - 1 and batches >= 0 and 1 <= batch_size <= LARGEST_BATCH):
            raise ValueError(f"seed {seed}, {batches} batches of {batch_size}")
        tokens = adapted[TOKENS].to(device)
        check_like(TOKENS, tokens, torch.zeros(len(chosen.views), TASK_TOKENS, config.width))
    except (KeyError, ValueError, AttributeError, RuntimeError) as error:
        raise BadWeights(f"the adaptation's metadata lacks or spoils {error}"[:500]) from error
    if (metadata.get("size_rule"), metadata.get("half")) != (task.rule.to_text(), str(task.half)):
        raise BadWeights("these weights were adapted to another task: its canvas or size rule differs")
    model = build(config, {key: value for key, value in adapted.items() if key != TOKENS}).to(device)
    with threads_for(task.half, device):
        return decode(
            model, tokens, chosen, task, seed=seed, device=device, batch_size=batch_size, batch_limit=batches
        )


def _without(prefix: str, named: Mapping[str, T]) -> dict[str, T]:
    """What has this prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}

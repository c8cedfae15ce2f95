"""What training minimises and what it watches."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .canvas import COLOURS, VOCABULARY, Batch


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean over samples of the weighted cross-entropy in nats per cell; a big grid counts as a small one."""
    cell = F.cross_entropy(logits.reshape(-1, VOCABULARY), batch.target.flatten(), reduction="none")
    return (cell.view(batch.weight.shape) * batch.weight).sum() / len(batch.weight)


def losses(logits: Tensor, batch: Batch) -> Tensor:
    """The same for each sample, float [B]."""
    cell = F.cross_entropy(logits.reshape(-1, VOCABULARY), batch.target.flatten(), reduction="none")
    return (cell.view(batch.weight.shape) * batch.weight).sum((1, 2))


def exact(logits: Tensor, batch: Batch) -> Tensor:
    """bool [B]: every cell of the answer right (best colour), and its border where the box is not given."""
    colour = logits[..., :COLOURS].argmax(-1)
    right = ((colour == batch.target) | ~batch.answer).flatten(1).all(1)
    given = batch.box_on[:, 1] > 0
    framed = ((logits.argmax(-1) == batch.target) | (batch.weight < batch.weight.amax((1, 2), True))).flatten(
        1
    )
    return right & (given | framed.all(1))

"""How much arithmetic a solve took: counted samples times closed formulas.

A multiply-add is two floating-point operations (FLOPs). Counted are the products of matrices, attention and
the convolution; not the norms, the rotary turns and other work cell by cell, nor the small hypotheses, which
are tiny beside the network. A sample trained on costs three times one that is only read: its backward pass
has two products for each of the forward pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .canvas import VOCABULARY
from .model import TASK_TOKENS, ModelConfig, Solver

NEWTON_SCHULZ_STEPS = 5
"""Iterations of Muon (`optim.py`); a test compares with what torch counts."""


def reading_flops(config: ModelConfig, half: int) -> int:
    """FLOPs of the forward pass of one sample on a canvas of half² patches."""
    patches, width, hidden = half * half, config.width, config.hidden
    tokens = patches + TASK_TOKENS
    attention = tokens * width * (3 * width + width) + 2 * tokens * tokens * width
    mixing = tokens * width * (2 * hidden + hidden) + 9 * patches * hidden
    head = patches * width * 4 * VOCABULARY
    return 2 * (config.layers * config.loops * (attention + mixing) + head)


def training_flops(config: ModelConfig, half: int) -> int:
    """FLOPs of the forward and backward pass of one sample."""
    return 3 * reading_flops(config, half)


def step_flops(config: ModelConfig) -> int:
    """FLOPs of one optimiser step, whatever the batch: Muon's iterations on the layers' matrices."""
    width, hidden = config.width, config.hidden
    matrices = [*[(width, width)] * 4, (width, 2 * hidden), (width, hidden)]
    short_long = [(min(shape), max(shape)) for shape in matrices]
    once = sum(2 * (2 * short * short * long + short**3) for short, long in short_long)
    return config.layers * NEWTON_SCHULZ_STEPS * once


@dataclass(slots=True)
class Meter:
    """What a network was asked to do: samples trained on and samples only read, by half of the canvas, and
    optimiser steps.

    `watch` sees every call of the network. The replay of a CUDA graph is none: `stepping.EagerStep.announce`
    calls the same hook for it.
    """

    trained: Counter[int] = field(default_factory=Counter)
    read: Counter[int] = field(default_factory=Counter)
    steps: int = 0

    def watch(self, model: Solver) -> None:
        """Count from now on what `model`, and every copy of it, is given."""

        # A closure and not a method: a deep copy of a network shares it, and so counts here as well.
        def seen(_: torch.nn.Module, given: tuple[Any, ...]) -> None:
            size, side = given[0].cells.shape[:2]
            if torch.is_grad_enabled():
                self.trained_on(size, half=side // 2)
            else:
                self.read[side // 2] += size

        model.register_forward_pre_hook(seen)

    def trained_on(self, samples: int, *, half: int) -> None:
        """One optimiser step on so many samples."""
        self.trained[half] += samples
        self.steps += 1

    def flops(self, config: ModelConfig, *, muon: bool = True) -> int:
        """All of it; AdamW's part of a step, a few operations a weight, is not counted."""
        return (
            sum(count * training_flops(config, half) for half, count in self.trained.items())
            + sum(count * reading_flops(config, half) for half, count in self.read.items())
            + muon * self.steps * step_flops(config)
        )

    def to_json(self) -> dict[str, Any]:
        return {"trained": _named(self.trained), "read": _named(self.read), "steps": self.steps}


def _named(counts: Mapping[int, int]) -> dict[str, int]:
    return {str(half): counts[half] for half in sorted(counts)}

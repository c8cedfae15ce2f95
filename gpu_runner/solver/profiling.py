"""How fast pretraining goes with batches of some sizes: a minute of measuring before hours of training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .pretraining import Pretraining

FACTORS = (0.25, 0.5, 1, 2, 4)
WARM_SHARE = 0.4
"""Of the time for a size: first kernels, recordings and the allocator are not what a long run sees."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one batch size gave; halved: the device had no room for it."""

    batch_tokens: int
    steps_s: float
    samples_s: float
    tflops: float
    halved: bool


def profile(begin: Callable[[int], Pretraining], *, around: int, seconds: float) -> list[Rate]:
    """The rates with batches of some sizes `around` a number of tokens; `begin(tokens)` starts a run."""
    sizes = [max(1, round(around * factor)) for factor in FACTORS]
    return [measure(begin(size), seconds / len(sizes)) for size in sizes]


def measure(run: Pretraining, seconds: float, now: Callable[[], float] = time.monotonic) -> Rate:
    _until(run, now() + WARM_SHARE * seconds, now)
    began, steps, samples, flops = now(), run.steps, run.samples, run.flops
    _until(run, began + (1 - WARM_SHARE) * seconds, now)
    took = max(now() - began, 1e-9)
    return Rate(
        run.batch_tokens,
        (run.steps - steps) / took,
        (run.samples - samples) / took,
        (run.flops - flops) / took / 1e12,
        halved=run.batch_tokens != run.settings.batch_tokens,
    )


def table(rates: list[Rate]) -> str:
    best = max(rates, key=lambda rate: rate.tflops)
    rows = ["batch tokens   steps/s   samples/s   TFLOP/s"]
    for rate in rates:
        note = "  (halved: no room)" if rate.halved else "  <- most" if rate is best else ""
        rows.append(
            f"{rate.batch_tokens:>12} {rate.steps_s:>9.2f} {rate.samples_s:>11.1f} {rate.tflops:>9.4f}{note}"
        )
    return "\n".join(rows)


def _until(run: Pretraining, end: float, now: Callable[[], float]) -> None:
    """Steps until `end`, one at least; then the device is waited for."""
    while True:
        run.step(0.0, None)
        if now() >= end:
            break
    if run.settings.device.startswith("cuda"):
        torch.cuda.synchronize()

"""What comes in and goes out of the solver: budget, progress, interruption, kept state, the answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch

from .canvas import Grid
from .errors import Interrupted
from .pace import TAIL_S, Clock, Watch, batch_of_views_s
from .resume import Journal

SOLVER_VERSION = "1.4.0"

Attempts = tuple[tuple[Grid, Grid], ...]

Only = Literal["rules", "network", "both"]
"""Who answers: the rules with nothing trained, the adapted network with nothing before it, or whoever is to
be believed."""


@dataclass(frozen=True, slots=True)
class SolveBudget:
    """seconds: deadline of the whole work, what was done before an interruption included, none left where it
    is not above 0; max_steps: at most so many optimiser steps a hypothesis; here: at most so many seconds in
    this call; adapt: False answers with the network as it was pretrained, to see what adapting adds: neither
    small hypotheses nor training, but it starts at the nearest tokens; second_seed: whether a doubtful answer
    may be adapted for a second time from another seed, where there is time; only: who answers, to tell apart
    what rules and what training solve. Raises ValueError where a number of seconds is not a number, or where
    `only` is unknown or leaves nobody to answer."""

    seconds: float
    seed: int = 0
    device: str = "cpu"
    max_steps: int | None = None
    here: float = math.inf
    adapt: bool = True
    second_seed: bool = True
    only: Only = "both"

    def __post_init__(self) -> None:
        if math.isnan(self.seconds) or math.isnan(self.here):
            raise ValueError(f"seconds is {self.seconds} and here is {self.here}: both are to be numbers")
        if self.only not in get_args(Only):
            raise ValueError(f"only is {self.only!r}: it is to be one of {', '.join(get_args(Only))}")
        if self.only == "rules" and not self.adapt:
            raise ValueError("only is 'rules' and adapt is False: that leaves nobody to answer")


class Progress(Protocol):
    """Told about every step; fraction is of the phase."""

    def __call__(self, *, phase: str, fraction: float, loss: float | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Solution:
    """attempts: two different grids for each test input; adapted: fp32 weights with the task's tokens;
    adapted_metadata: what `predict` needs beside them; metrics: JSON-able account of the run."""

    attempts: Attempts
    adapted: dict[str, torch.Tensor]
    adapted_metadata: dict[str, str]
    metrics: dict[str, Any]


class Door:
    """Time, progress, interruption and kept state for one call."""

    def __init__(
        self,
        clock: Clock,
        started: float,
        budget: SolveBudget,
        progress: Progress | None,
        should_stop: Callable[[], bool] | None,
        journal: Journal,
    ) -> None:
        before = journal.seconds_before
        seconds = min(budget.seconds, before + budget.here)
        self.watch = Watch(clock, started=started, seconds=seconds, before=before)
        self.progress, self.should_stop, self.journal = progress, should_stop, journal

    def check(self, phase: str, fraction: float, loss: float | None) -> None:
        """A piece of this phase is done. Raises Interrupted."""
        self.tell(phase, fraction, loss)
        self.watch.lap(phase)

    def tell(self, phase: str, fraction: float, loss: float | None) -> None:
        """Between two pieces. Raises Interrupted."""
        if self.should_stop is not None and self.should_stop():
            self.journal.save()
            raise Interrupted("asked to stop")
        self.journal.tick()
        if self.progress is not None:
            self.progress(phase=phase, fraction=min(fraction, 1.0), loss=loss)

    def fits(self, phase: str, *, within: float) -> bool:
        """Whether another piece of this phase fits into so many seconds."""
        return within > (self.watch.longest(phase) or 0.0)

    def views(self) -> Callable[[int], bool]:
        """Whether another batch of views fits; asked before each, told how many were counted."""
        first = True

        def go_on(done: int) -> bool:
            nonlocal first
            if first:
                self.tell("decode", done / (done + 4), None)
                self.watch.begin()
                first = False
            else:
                self.check("decode", done / (done + 4), None)
            longest = batch_of_views_s(self.watch.longest("decode"), self.watch.longest("adapt"))
            return self.watch.left() - TAIL_S > longest

        return go_on

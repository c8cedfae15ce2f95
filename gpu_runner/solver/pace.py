"""When to begin another piece of work before a deadline, from how long the last pieces took.

A piece cannot be cut: a step of training, a batch of views. One is begun only if the longest of the last few
of its kind would still fit, so the deadline is overrun by at most one piece, and only by one that takes
longer than all of those. The last piece alone would be a poor measure: where other processes hold the cores,
a step may take many times as long as the one before it.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable
from statistics import median

MEMORY = 8
"""Pieces remembered: a stall is believed to come back within so many, and forgotten after them."""

TAIL_S = 0.2
"""Kept for what follows the last view: ranking the candidates, copying the weights."""

LONGEST_S = 1e8
"""A deadline beyond this is none; so that it stays a number to compute with."""

Clock = Callable[[], float]
"""Seconds that only ever grow, such as time.monotonic."""


class Watch:
    """The time that one solve has, and how long its pieces of each kind took.

    `seconds` is for all calls together, `before` is what earlier calls used; this one began at `started`.
    """

    def __init__(self, clock: Clock, *, started: float, seconds: float, before: float = 0.0) -> None:
        self.clock, self.before = clock, before
        self.seconds = min(max(seconds, 0.0), LONGEST_S)
        self.began, self.since = started, clock()
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MEMORY))

    def used(self) -> float:
        """Seconds of work so far, those before an interruption included."""
        return self.before + self.clock() - self.began

    def left(self) -> float:
        return self.seconds - self.used()

    def begin(self) -> None:
        """The next piece begins now: what came before belongs to no piece."""
        self.since = self.clock()

    def lap(self, kind: str) -> None:
        """A piece of this kind has ended, and the next begins."""
        now = self.clock()
        self._recent[kind].append(now - self.since)
        self.since = now

    def longest(self, kind: str) -> float | None:
        """Of the last few pieces of this kind; None where there was none."""
        return max(self._recent[kind], default=None)

    def usual(self, kind: str) -> float:
        """The median of the last few pieces of this kind, 0 where there was none."""
        return median(self._recent[kind] or [0.0])


BATCH_OF_VIEWS = 2 / 3
"""Of a training step's time: twice the samples, no way back."""


def reserve_s(step_s: float, views: int, batch_size: int, *, most: float) -> float:
    """Seconds to keep for `views` views, in batches of twice `batch_size`, from a usual training step."""
    batches = math.ceil(views / (2 * batch_size))
    return min(most, step_s * BATCH_OF_VIEWS * batches + 0.3)


def batch_of_views_s(longest_batch: float | None, longest_step: float | None) -> float:
    """An upper estimate of a batch of views; from the training steps before the first one is measured."""
    if longest_batch is not None:
        return longest_batch
    return BATCH_OF_VIEWS * (longest_step or 0.0)

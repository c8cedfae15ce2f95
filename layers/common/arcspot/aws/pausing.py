"""Real pauses, with real chance."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from arcspot.domain.pausing import pause_seconds


@dataclass(frozen=True, slots=True)
class FullJitter:
    """`ports.Pause` on this machine's clock."""

    sleep: Callable[[float], object] = time.sleep
    rng: Random = field(default_factory=Random)

    def __call__(self, tries: int) -> None:
        self.sleep(pause_seconds(tries, self.rng.random()))

"""The words that all kinds of rules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from .grids import Cells, Mask

Pairs = Sequence[tuple[Cells, Cells]]
"""The demonstrations: input and output of each."""

GoOn = Callable[[], bool]
"""Whether there is time for another piece of the search."""

Allowed = Callable[[int, Sequence[str], np.random.Generator], Mask | None]
"""Which facts the n-th tree of a forest may use, bool [facts]; None for all."""


PROVING = 12
"""Demonstrated cells below which an exact rule proves less: of thousands some draw a few by chance."""


def proof_of(targets: Sequence[Cells]) -> float:
    """What a rule's exactness is worth: less than 1 where few cells are demonstrated."""
    return min(1.0, sum(target.size for target in targets) / PROVING)


class Rule(Protocol):
    """Answers a grid, or knows that it cannot."""

    def answer(self, grid: Cells) -> Cells | None: ...

    def to_json(self) -> Any: ...

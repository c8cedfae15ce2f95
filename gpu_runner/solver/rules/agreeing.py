"""Whether rules agree on the tests, so that no further ones have to be looked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .grids import Cells

WEIGHT, SHARE = 1.0, 0.9
"""Of a test's best answer, and of all votes, from which on rules agree: what makes them sure."""


class Answers(Protocol):
    def answer(self, grid: Cells) -> Cells | None: ...


def agreed(rules: Sequence[tuple[Answers, float]], tests: Sequence[Cells]) -> bool:
    """Whether every test has an answer with enough weight and votes. rules: each with its weight."""
    for test in tests:
        votes: dict[tuple[bytes, tuple[int, ...]], float] = {}
        for rule, weight in rules:
            told = rule.answer(test)
            if told is not None:
                key = told.tobytes(), told.shape
                votes[key] = votes.get(key, 0.0) + weight
        best = max(votes.values(), default=0.0)
        if best < WEIGHT or best < SHARE * sum(votes.values()):
            return False
    return True

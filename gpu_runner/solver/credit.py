"""Who proposed each attempt, so that what rules solve and what training solves can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .canvas import Grid
from .door import Attempts

NETWORK = "network"
"""The transformer, adapted or as it was pretrained, beside the names of the small hypotheses."""


def attempts_by(
    answers: Attempts, proposed: Sequence[Mapping[str, Sequence[Grid]]]
) -> list[dict[str, list[str]]]:
    """For each test input the sources of either attempt, by name; none where it only fills the place.

    proposed: for each test input all the grids that a source proposed.
    """
    return [
        {
            attempt: sorted(name for name, grids in sources.items() if grid in grids)
            for attempt, grid in zip(("attempt_1", "attempt_2"), pair, strict=True)
        }
        for pair, sources in zip(answers, proposed, strict=True)
    ]

"""A second adaptation from another seed, where the first leaves doubt: whether, and what its votes count for.

Two adaptations from the same start err in different places, so grids that both vote for gain on the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from .decode import Ballot

PREFIX = "second."
"""Before the names of all that the second adaptation leaves: kept parts, weights, metadata."""

LOW_SHARE = 0.5
"""Of the views, behind the winner: with less a test is in doubt."""

APART = 1_000_003
"""Between the seeds of the two, so that the second of seed 0 is not the first of seed 1."""


def seed_after(seed: int) -> int:
    return seed + APART


def goes_again(
    shares: Sequence[float], *, stopped_by: str, first_seconds: float, seconds_left: float, wanted: bool
) -> tuple[bool, str]:
    """Whether to adapt a second time, and why or why not.

    shares: the winner's share of the views of each test; stopped_by: what ended the first adaptation.
    """
    if not wanted:
        return False, "not wanted"
    low = min(shares)
    if stopped_by == "fit" and low >= LOW_SHARE:
        return False, f"no doubt: the demonstrations fit and the winner has {low:.0%} of the views"
    doubt = (
        f"the winner has {low:.0%} of the views" if stopped_by == "fit" else "the demonstrations do not fit"
    )
    if seconds_left < first_seconds:
        return False, f"{doubt}, but {seconds_left:.0f} s are too few for what took {first_seconds:.0f} s"
    return True, doubt


def counts(*, stopped_by: str, demo_fit: float, first_fit: float, views: int) -> bool:
    """Whether the second's votes count: not those of one that the deadline cut short of the first's fit."""
    return views > 0 and (stopped_by != "deadline" or demo_fit >= first_fit)


def pooled(first: Sequence[Ballot], second: Sequence[Ballot]) -> list[Ballot]:
    """The votes of both, a ballot for each test input."""
    return [_sum(one, other) for one, other in zip(first, second, strict=True)]


def _sum(one: Ballot, other: Ballot) -> Ballot:
    total = Ballot(one.views + other.views, dict(one.votes), dict(one.log_probability), dict(one.readable))
    for grid, votes in other.votes.items():
        total.votes[grid] = total.votes.get(grid, 0) + votes
    for size, scores in other.log_probability.items():
        before = total.log_probability.get(size)
        total.log_probability[size] = scores if before is None else before + scores
        total.readable[size] = total.readable.get(size, 0) + other.readable[size]
    return total

"""How long to wait before something is tried again: exponential, capped, with full jitter."""

from __future__ import annotations

FIRST_S = 0.04
LONGEST_S = 2.0
TRIES = 16
"""The pauses between so many tries are 21 s at the most: within every function's limit."""


def pause_seconds(tries: int, chance: float) -> float:
    """Seconds to wait after so many tries (1 or more) that met somebody else; `chance` is drawn from 0 to 1.

    Drawn from the whole range up to the ceiling: who collided once must not collide again.
    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    return chance * min(LONGEST_S, FIRST_S * 2.0 ** min(tries - 1, 30))

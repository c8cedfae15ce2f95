"""Read, decide, write; when somebody was faster, read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from arcspot.errors import Conflict, FleetPaused, NoMoney, NoSlot, StillServing

T = TypeVar("T")
ATTEMPTS = 12


def until_written(act: Callable[[], T]) -> T:
    """Run `act` until its conditional write succeeds, at most `ATTEMPTS` times.

    Only a lost race is tried again: NoMoney, NoSlot, FleetPaused and StillServing are answers, not races.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return act()
        except (NoMoney, NoSlot, FleetPaused, StillServing):
            raise
        except Conflict:
            continue
    return act()

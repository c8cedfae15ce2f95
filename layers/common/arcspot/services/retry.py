"""Read, decide, write; when somebody was faster, read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from arcspot.domain.pausing import TRIES
from arcspot.errors import Conflict, FleetPaused, NoMoney, NoSlot, StillServing, StoreBusy, WrongState
from arcspot.ports import Pause

T = TypeVar("T")
ANSWERS = (WrongState, NoMoney, NoSlot, FleetPaused, StillServing)


def until_written(act: Callable[[], T], pause: Pause) -> T:
    """Run `act` until its conditional write succeeds, at most `TRIES` times, with pauses between them.

    A lost race and a busy store are tried again; WrongState, NoMoney, NoSlot, FleetPaused and StillServing
    are answers. Raises what the last try raised: StoreBusy is never told as a Conflict.
    """
    for tries in range(1, TRIES):
        try:
            return act()
        except ANSWERS:
            raise
        except (Conflict, StoreBusy):
            pause(tries)
    return act()

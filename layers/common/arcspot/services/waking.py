"""Let the minute's rounds run while something is open, and only then.

The fleet's row says whether they run, the clock is a rule of EventBridge, and a slow round of the watchdog
that always runs repairs whatever became of the two. Waking turns the clock on before the row says so; falling
asleep writes the row before it turns the clock off, and then looks again: whoever came in between is seen by
one of the two (docs/decisions/069-a-clock-that-sleeps.md).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from arcspot.domain.budget import Fleet
from arcspot.errors import Conflict
from arcspot.ports import Event, Ports
from arcspot.services.afterwards import recorded
from arcspot.services.retry import until_written

LATER = timedelta(days=366)


def wake(ports: Ports, now: datetime, why: str, *, sure: bool = False) -> bool:
    """Have the minute's rounds run. Nothing is asked of the clock when the row says that they do.

    With `sure` the clock is turned on whatever the row says.
    """
    fleet = ports.store.fleet()
    if fleet is None or not (fleet.asleep or sure):
        return False
    ports.clock.wake()

    def act() -> bool:
        known = ports.store.fleet()
        if known is None or not known.asleep:
            return False
        ports.store.write(known.woken())
        return True

    woken = until_written(act, ports.pause)
    if woken:
        recorded(ports, Event("fleet", now, "wakes", why))
    return woken


def tend(ports: Ports, now: datetime, *, live: int, minute: bool, slow: bool) -> str:
    """Turn the clock on or off as the state asks; what is open, in a word ("" when nothing is).

    `live` instances were seen in this round, which the clock's `minute` or the `slow` schedule asked for.
    """
    fleet = ports.store.fleet()
    if fleet is None:
        return ""
    found = still_open(ports, fleet, now, live)
    if found:
        # A slow round trusts no row: somebody may have stopped between the row and the clock.
        wake(ports, now, found, sure=fleet.asleep or slow)
    elif not fleet.asleep:
        try:
            ports.store.write(fleet.asleep_now())
        except Conflict:
            return "changed"  # somebody reserves: the next round looks again
        recorded(ports, Event("fleet", now, "sleeps", "nothing is open"))
        _turn_off(ports, now, live)
    elif minute:
        _turn_off(ports, now, live)  # the row was written, and then somebody stopped
    return found


def still_open(ports: Ports, fleet: Fleet, now: datetime, live: int) -> str:
    """What the minute's rounds are needed for; "" when nothing is. Jobs that wait for a later try count."""
    if fleet.slots_taken:
        return "launches"
    if live:
        return "instances"
    if ports.store.batches_due():
        return "batches"
    return "jobs" if ports.store.ready_count(1, now + LATER) else ""


def _turn_off(ports: Ports, now: datetime, live: int) -> None:
    ports.clock.sleep()
    fleet = ports.store.fleet()
    if fleet is not None and (not fleet.asleep or still_open(ports, fleet, now, live)):
        wake(ports, now, "work came while the clock was turned off", sure=True)

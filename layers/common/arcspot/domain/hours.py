"""The hours in which instances may run: windows of the UTC day, `[start, end)`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from arcspot.errors import ConfigurationError

MINUTES_A_DAY = 24 * 60
_WINDOW = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of the UTC day, `[start, end)`; an end at or before the start is on the next day."""

    start: int
    end: int

    def holds(self, minute: int) -> bool:
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def windows(text: str) -> tuple[Window, ...]:
    """The windows of `22:00-06:00,12:00-13:30`; "" gives none, which means always.

    Raises ConfigurationError naming the part that is no window.
    """
    found = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = _WINDOW.fullmatch(part)
        hours = [int(digits) for digits in match.groups()] if match else []
        if not hours or hours[0] > 23 or hours[2] > 24 or max(hours[1], hours[3]) > 59:
            raise ConfigurationError(f"allowed hours: expected HH:MM-HH:MM in UTC, found {part!r}")
        start, end = 60 * hours[0] + hours[1], 60 * hours[2] + hours[3]
        if end > MINUTES_A_DAY or start == end:
            raise ConfigurationError(f"allowed hours: {part!r} is empty or ends after 24:00")
        found.append(Window(start, end))
    return tuple(found)


def allowed(at: datetime, hours: Sequence[Window]) -> bool:
    """Whether instances may run at a moment; without windows they always may."""
    minute = 60 * at.hour + at.minute
    return not hours or any(window.holds(minute) for window in hours)


def opens_in(at: datetime, hours: Sequence[Window]) -> int:
    """Minutes until the next allowed minute; 0 when it is allowed already."""
    minute = 60 * at.hour + at.minute
    return next(
        wait
        for wait in range(MINUTES_A_DAY + 1)
        if not hours or any(w.holds((minute + wait) % MINUTES_A_DAY) for w in hours)
    )

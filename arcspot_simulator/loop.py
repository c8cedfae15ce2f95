"""A virtual clock and the events on it: one thread, one order, no waiting."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# A month's end lies inside the second day, so that every history can cross it.
START = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


class Loop:
    """Events by time; those of one moment in the order they were set. Seconds since START."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self.after_each: Callable[[str], None] = lambda name: None
        self._events: list[tuple[float, int, str, Callable[[], object]]] = []
        self._set = 0

    @property
    def moment(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def at(self, when: float, name: str, act: Callable[[], object]) -> None:
        """Do something at a time (now, when that has passed)."""
        self._set += 1
        heapq.heappush(self._events, (max(when, self.now), self._set, name, act))

    def after(self, seconds: float, name: str, act: Callable[[], object]) -> None:
        self.at(self.now + seconds, name, act)

    def run(self, until: float) -> None:
        """Let everything happen up to a time, and stand there. May be called from inside an event."""
        while self._events and self._events[0][0] <= until:
            when, _, name, act = heapq.heappop(self._events)
            self.now = max(self.now, when)
            self.steps += 1
            act()
            self.after_each(name)
        self.now = max(self.now, until)

    @property
    def next_at(self) -> float | None:
        """When something will happen next; None when nothing will."""
        return self._events[0][0] if self._events else None

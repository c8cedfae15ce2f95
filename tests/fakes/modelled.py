"""Many callers at once on one virtual clock: their calls take modelled times, and nothing is ever waited for.

Each caller is a thread, of which one runs at a time: the one whose next moment is the earliest. So a history
depends on the times alone, and is the same again each time.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from arcspot.domain.pausing import pause_seconds

# Milliseconds of DynamoDB in one region, as issue 13 measured them: a read, a put, a transaction.
GET_S, PUT_S, TRANSACTION_S = 0.005, 0.006, 0.012


@dataclass
class Clock:
    """Virtual seconds, and the callers that wait for theirs."""

    now: float = 0.0
    _waiting: list[tuple[float, int, threading.Event]] = field(default_factory=list)
    _set: int = 0
    _free: threading.Event = field(default_factory=threading.Event)

    def sleep(self, seconds: float) -> None:
        """Let time pass for this caller, and the others go on meanwhile."""
        turn = threading.Event()
        self._enqueue(self.now + seconds, turn)
        self._free.set()
        turn.wait()

    def _enqueue(self, when: float, turn: threading.Event) -> None:
        self._set += 1
        heapq.heappush(self._waiting, (when, self._set, turn))

    def run(self, callers: Sequence[tuple[float, Callable[[], Any]]]) -> list[Any]:
        """Let each begin at its time and go on to its end; what each returned, or the error it raised."""
        results: list[Any] = [None] * len(callers)

        def live(n: int, turn: threading.Event, act: Callable[[], Any]) -> None:
            turn.wait()
            try:
                results[n] = act()
            except Exception as error:
                results[n] = error
            self._free.set()

        threads = []
        for n, (at, act) in enumerate(callers):
            turn = threading.Event()
            self._enqueue(at, turn)
            threads.append(threading.Thread(target=live, args=(n, turn, act), daemon=True))
        for thread in threads:
            thread.start()
        while self._waiting:
            when, _, turn = heapq.heappop(self._waiting)
            self.now = max(self.now, when)
            self._free.clear()
            turn.set()
            self._free.wait()
        for thread in threads:
            thread.join()
        return results


@dataclass
class Slow:
    """A store whose calls take their times; each takes effect in the middle of its own."""

    store: Any
    clock: Clock
    calls: int = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            half = (GET_S if name != "write" else TRANSACTION_S if len(args) > 1 else PUT_S) / 2
            self.calls += 1
            self.clock.sleep(half)
            try:
                return method(*args, **kwargs)
            finally:
                self.clock.sleep(half)

        return call


@dataclass
class Pausing:
    """`ports.Pause` on a virtual clock."""

    clock: Clock
    rng: Random

    def __call__(self, tries: int) -> None:
        self.clock.sleep(pause_seconds(tries, self.rng.random()))

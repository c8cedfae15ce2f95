"""What the threads of a runner tell each other: which jobs are in hand, and what must end.

The loop takes and drops jobs; the heartbeat, the IMDS watch and the signal handler only
put up notices; the solver reads one of them through `should_stop`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from gpu_runner.contract import Lease, Progress

# A job that was lost may come back to us under a new fence while work under the old one still ends.
_Key = tuple[str, int]

StopWhy = Literal["lost", "cancelled", "refused", "interrupted", "deadline"]
Ending = Literal["refused", "interrupted", "deadline"]

# After a recommendation to leave, or a drain, a job gets so long to come to its own end: the machine may be
# gone two minutes after the first word, and giving the job back with its state takes some of them.
GRACE_S = 30.0

# Enough to give everything back and say good-bye before the machine is switched off.
FAREWELL_S = 30.0


@dataclass(slots=True)
class _Held:
    lease: Lease
    spent_s: float = 0.0
    phase: str = "waiting"
    fraction: float = 0.0
    stop: Literal["lost", "cancelled"] | None = None


@dataclass(slots=True)
class Board:
    """Shared by all threads. Every `now` is the runner's own monotonic clock in seconds.

    The machine's seconds are shared out evenly among the jobs in hand, so that what the jobs of a launch cost
    adds up to what the machine cost while it worked.
    """

    deadline_at: float
    wake: threading.Event = field(default_factory=threading.Event)
    _held: dict[_Key, _Held] = field(default_factory=dict)
    _next: list[Lease] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _shared_until: float = 0.0
    _refused: bool = False
    _interrupted: bool = False
    _leaving: Literal["draining", "rebalance"] | None = None
    _leave_by: float = math.inf

    def take(self, lease: Lease, *, now: float) -> None:
        """Hold a job from now on; the heartbeat keeps its lease. Taking it twice is taking it once."""
        with self._lock:
            self._share_out(now)
            self._held.setdefault(_key(lease), _Held(lease))

    def drop(self, lease: Lease, *, now: float) -> None:
        """Hold the job no longer, whatever became of it."""
        with self._lock:
            self._share_out(now)
            self._held.pop(_key(lease), None)

    def in_hand(self, *, now: float) -> list[tuple[Lease, float]]:
        """The jobs to give back, each with its share of the machine's seconds; lost ones are not ours."""
        with self._lock:
            self._share_out(now)
            return [(h.lease, h.spent_s) for h in self._held.values() if h.stop != "lost"]

    def held(self) -> list[str]:
        """The jobs that this runner knows the server has leased to it."""
        with self._lock:
            return sorted({held.lease.job_id for held in self._held.values() if held.stop != "lost"})

    def has(self, lease: Lease) -> bool:
        """Whether exactly this lease is in hand already."""
        with self._lock:
            return _key(lease) in self._held

    def hand(self, leases: Sequence[Lease], *, now: float) -> None:
        """Hold what came with a result; the loop begins it as soon as it has a hand free."""
        with self._lock:
            self._share_out(now)
            for lease in leases:
                if _key(lease) not in self._held:
                    self._held[_key(lease)] = _Held(lease)
                    self._next.append(lease)

    def next_up(self) -> list[Lease]:
        """What came with results and is not begun yet; it is told once."""
        with self._lock:
            waiting, self._next = self._next, []
            return waiting

    def spent(self, lease: Lease, *, now: float) -> float:
        """The job's share of the machine's seconds so far; 0 for one that is not held."""
        with self._lock:
            self._share_out(now)
            held = self._held.get(_key(lease))
            return 0.0 if held is None else held.spent_s

    def _share_out(self, now: float) -> None:
        """Book the seconds since the last time. The lock is held."""
        for held in self._held.values():
            held.spent_s += (now - self._shared_until) / len(self._held)
        self._shared_until = now

    def report(self, lease: Lease, *, phase: str, fraction: float) -> None:
        """Note where a job is; the next heartbeat carries it."""
        with self._lock:
            held = self._held.get(_key(lease))
            if held is not None:
                held.phase, held.fraction = phase, fraction

    def progress(self) -> list[Progress]:
        """What a heartbeat says about each job in hand."""
        with self._lock:
            return [
                Progress(h.lease.job_id, h.lease.fence, h.phase, h.fraction)
                for h in self._held.values()
                if h.stop != "lost"
            ]

    def mark(self, job_id: str, stop: Literal["lost", "cancelled"]) -> None:
        """End one job, of several under the same name the oldest. What is lost stays lost."""
        with self._lock:
            own = [
                held for held in self._held.values() if held.lease.job_id == job_id and held.stop != "lost"
            ]
            if own:
                min(own, key=lambda held: held.lease.fence).stop = stop

    def refuse(self) -> None:
        """The server wants nothing more to do with us: stop everything."""
        self._refused = True
        self.wake.set()

    def interrupt(self) -> None:
        """The machine goes away soon: stop everything, give jobs back."""
        self._interrupted = True
        self.wake.set()

    def leave(self, why: Literal["draining", "rebalance"], *, now: float) -> None:
        """Claim nothing more, finish what can be finished soon, give the rest back."""
        self._leaving = self._leaving or why
        self._leave_by = min(self._leave_by, now + GRACE_S)
        self.wake.set()

    @property
    def leaving(self) -> Literal["draining", "rebalance"] | None:
        return self._leaving

    def seconds_left(self, *, now: float) -> float:
        """Seconds in which work may still happen, the farewell's seconds kept apart."""
        return self.deadline_at - FAREWELL_S - now

    def ending(self, *, now: float) -> Ending | None:
        """What ends the whole runner at once, if anything does."""
        if self._refused:
            return "refused"
        if self._interrupted or now >= self._leave_by:
            return "interrupted"
        return "deadline" if self.seconds_left(now=now) <= 0 else None

    def stop_why(self, lease: Lease, *, now: float) -> StopWhy | None:
        """Why work on this job must end now, or None. A lost or unknown job is lost."""
        with self._lock:
            held = self._held.get(_key(lease))
            own: StopWhy | None = held.stop if held is not None else "lost"
        return own or self.ending(now=now)


def _key(lease: Lease) -> _Key:
    return lease.job_id, lease.fence

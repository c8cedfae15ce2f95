"""Decide how many instances to start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from arcspot.domain.batches import Batch

# A backlog is counted no further: one of so many jobs wants whatever may be started. An index's rows of keys
# have about 120 bytes, so this is two pages of 1 MB (docs/decisions/074).
MANY = 10_000
# What a job takes of an instance at least, however quickly it is solved: claim, fetch, upload, complete.
LEAST_JOB_S = 1.0
# On their way at once before any instance has ever served, and for each that serves (docs/decisions/074).
FIRST_STEP = 8
STEP_PER_SERVING = 2
# Batches with a deadline that one round looks at, and how often (minutes) a long one is counted to its end.
MOST_URGENT = 20
COUNT_ALL_EVERY = 10
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backlog:
    """READY work. `oldest_wait_s` is how long its first job has been waiting; `urgent` holds
    (seconds of work, seconds left) of each batch with a deadline."""

    jobs: int
    work_s: float
    oldest_wait_s: float
    urgent: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """What limits the fleet right now. `spare` launches have room for work already (idle or booting);
    `booting` are on their way, `serving` have said hello, `staying` of them serve for longer than another
    boots.

    `vcpus_each` are those of the smallest allowed type, `vcpus_live` what counts against the quota
    already (None: one smallest for each live launch).
    """

    live: int
    spare: int
    slots: int
    available: int
    reserve: int
    quota_vcpus: int
    paused: str = ""
    breaker: str = ""
    closed_hours: str = ""
    fleet_version: int = 0
    asleep: bool = False
    booting: int = 0
    serving: int = 0
    staying: int = 0
    vcpus_each: int = 4
    vcpus_live: int | None = None

    @property
    def vcpus_free(self) -> int:
        used = self.live * self.vcpus_each if self.vcpus_live is None else self.vcpus_live
        return self.quota_vcpus - used


@dataclass(frozen=True, slots=True)
class Pace:
    """How eagerly to scale. Times in seconds; `max_step` launches at most in one round."""

    target_drain_s: float
    boot_s: float
    max_wait_s: float
    max_step: int = 4


@dataclass(frozen=True, slots=True)
class Decision:
    """How many launches to reserve, and in one word what keeps the rest waiting."""

    launches: int
    waits_for: str = ""


def step_of(*, booting: int, serving: int) -> int:
    """How many more may be on their way: twice as many as serve already, and at first `FIRST_STEP`.

    An instance that serves proves that image, network and estimate are right; until one does, what a fault of
    those can waste is a few boots, however often somebody asks. From then on the fleet doubles and more with
    each boot: 50 are reached in three boots.
    """
    return max(0, max(FIRST_STEP, STEP_PER_SERVING * serving) - booting)


def worth_s(pace: Pace) -> float:
    """Seconds of work that an instance is started for; a boot must pay for itself twice over."""
    return max(pace.target_drain_s, 2 * pace.boot_s)


def enough(room: Room, pace: Pace, each_s: float) -> int:
    """Jobs of so many seconds at which counting may stop: with more of them the decision is the same."""
    most = room.spare + max(0, min(_limits(room, pace).values()))
    decides = max(most * worth_s(pace), 2 * pace.boot_s) / each_s
    return min(MANY, int(max(decides, most)) + 2)


def wanted(backlog: Backlog, pace: Pace) -> int:
    """Instances that would drain the backlog in the target time; `MANY` jobs want all there may be."""
    if backlog.jobs == 0:
        return 0
    if backlog.jobs >= MANY:
        return MANY
    pays = 2 * pace.boot_s
    by_work = math.ceil(backlog.work_s / worth_s(pace))
    by_deadline = [math.ceil(work / max(left - pace.boot_s, pays)) for work, left in backlog.urgent]
    return max(1, min(max(by_work, *by_deadline) if by_deadline else by_work, backlog.jobs))


def cannot_meet(work_s: float, left_s: float, *, instances: int, pace: Pace) -> bool:
    """Whether even `instances` at once, booted now, need longer than what is left."""
    return instances < 1 or pace.boot_s + work_s / instances > left_s


def how_many(backlog: Backlog, room: Room, pace: Pace) -> Decision:
    """Start only what the backlog needs and every limit allows.

    The first limit that bites names the reason, so that a waiting job can show it.
    """
    want = wanted(backlog, pace) - room.spare
    if want <= 0 or _too_late(backlog, room, pace):
        return Decision(0)
    for reason in (room.paused and "paused", room.breaker, room.closed_hours and "hours"):
        if reason:
            return Decision(0, reason)
    few = backlog.work_s < 2 * pace.boot_s and backlog.jobs < MANY
    if few and backlog.oldest_wait_s < pace.max_wait_s and not backlog.urgent:
        return Decision(0, "company")
    limits = _limits(room, pace)
    tightest = min(limits, key=lambda name: limits[name])
    count = max(0, min(want, limits[tightest]))
    return Decision(count, tightest if count < want else "")


def _too_late(backlog: Backlog, room: Room, pace: Pace) -> bool:
    """Whether the instances at work are through with all that waits before another one has booted."""
    if not room.staying or backlog.urgent or backlog.jobs >= MANY:
        return False
    return backlog.work_s <= room.staying * pace.boot_s


def _limits(room: Room, pace: Pace) -> dict[str, int]:
    """Launches that each limit leaves, by its name."""
    return {
        "slots": room.slots,
        "budget": room.available // room.reserve if room.reserve > 0 else 0,
        "quota": room.vcpus_free // room.vcpus_each,
        "step": pace.max_step,
    }


def looked_at(batches: Sequence[Batch], now: datetime) -> list[Batch]:
    """The batches with a deadline that this round looks at: the nearest ones always, the others in turn."""
    urgent = sorted((b for b in batches if b.deadline), key=lambda b: (b.deadline, b.batch_id))
    always, others = urgent[: MOST_URGENT // 2], urgent[MOST_URGENT // 2 :]
    return always + turn(others, now, MOST_URGENT - len(always))


def turn(items: Sequence[T], now: datetime, most: int) -> list[T]:
    """At most so many of these, the next ones each minute: each comes round, whatever the others are."""
    if len(items) <= most:
        return list(items)
    start = int(now.timestamp() // 60) * most % len(items)
    return [items[(start + n) % len(items)] for n in range(most)]


def deciding_jobs(left_s: float, *, each_s: float, instances: int, pace: Pace) -> int:
    """Jobs of so many seconds with which `instances` cannot meet a deadline; fewer can be done in time."""
    return int(max(0.0, left_s - pace.boot_s) * max(0, instances) / each_s) + 2

"""Decide how many instances to start."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_STEP = 4


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
    """What limits the fleet right now. `spare` launches have room for work already (idle or booting).

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
    vcpus_each: int = 4
    vcpus_live: int | None = None

    @property
    def vcpus_free(self) -> int:
        used = self.live * self.vcpus_each if self.vcpus_live is None else self.vcpus_live
        return self.quota_vcpus - used


@dataclass(frozen=True, slots=True)
class Pace:
    """How eagerly to scale. Times in seconds."""

    target_drain_s: float
    boot_s: float
    max_wait_s: float
    max_step: int = MAX_STEP


@dataclass(frozen=True, slots=True)
class Decision:
    """How many launches to reserve, and in one word what keeps the rest waiting."""

    launches: int
    waits_for: str = ""


def wanted(backlog: Backlog, pace: Pace) -> int:
    """Instances that would drain the backlog in the target time; a boot must pay for itself twice over."""
    if backlog.jobs == 0:
        return 0
    pays = 2 * pace.boot_s
    by_work = math.ceil(backlog.work_s / max(pace.target_drain_s, pays))
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
    if want <= 0:
        return Decision(0)
    for reason in (room.paused and "paused", room.breaker, room.closed_hours and "hours"):
        if reason:
            return Decision(0, reason)
    alone = backlog.oldest_wait_s < pace.max_wait_s and backlog.work_s < 2 * pace.boot_s
    if alone and not backlog.urgent:
        return Decision(0, "company")
    limits = {
        "slots": room.slots,
        "budget": room.available // room.reserve if room.reserve > 0 else 0,
        "quota": room.vcpus_free // room.vcpus_each,
        "step": pace.max_step,
    }
    tightest = min(limits, key=lambda name: limits[name])
    count = max(0, min(want, limits[tightest]))
    return Decision(count, tightest if count < want else "")

"""scale: reserve what the backlog needs, then start one execution for each launch. Never talks to EC2."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from arcspot.domain.launching import LaunchState
from arcspot.domain.scaling import VCPUS_PER_SLOT, Backlog, Decision, Pace, Room, how_many
from arcspot.errors import Conflict, FleetPaused, NoMoney, NoSlot
from arcspot.ports import Ports
from arcspot.services import money
from arcspot.settings import Settings

LOOKS = 3


def scale(
    ports: Ports, settings: Settings, now: datetime, *, new_id: Callable[[datetime], str]
) -> tuple[Decision, list[str]]:
    """Reserve and start launches. Returns the decision and the ids started.

    Two of these may run at once (the schedule and a kick). Both would see the same backlog and
    start twice what it needs, so a reservation counts only on the fleet the decision was made for;
    whoever comes second looks again.
    """
    started: list[str] = []
    for _ in range(LOOKS):
        room = _room(ports, settings, now)
        decision = how_many(_backlog(ports, settings, now, room), room, _pace(settings))
        try:
            waits_for = _reserve_and_start(
                ports, settings, now, decision, room.fleet_version, new_id, started
            )
        except Conflict:
            continue
        money.note_waiting(ports, waits_for, now)
        break
    return decision, started


def _reserve_and_start(
    ports: Ports,
    settings: Settings,
    now: datetime,
    decision: Decision,
    fleet_version: int,
    new_id: Callable[[datetime], str],
    started: list[str],
) -> str:
    """Reserve and start what was decided, adding to `started`; what the rest waits for.

    Raises Conflict when overtaken.
    """
    for n in range(decision.launches):
        try:
            launch = money.reserve(ports, settings, new_id(now), now, fleet_version=fleet_version + n)
        except (NoMoney, NoSlot, FleetPaused) as refused:
            return {NoMoney: "budget", NoSlot: "slots", FleetPaused: "paused"}[type(refused)]
        start(ports, settings, launch.launch_id)
        started.append(launch.launch_id)
    return decision.waits_for


def start(ports: Ports, settings: Settings, launch_id: str) -> None:
    """Start the launch's execution; its name is the launch id, so a second start is no second launch."""
    ports.workflow.start(
        launch_id,
        {
            "launch_id": launch_id,
            "boot_timeout_s": settings.boot_timeout_s,
            "boot_heartbeat_s": max(1, settings.boot_timeout_s - 1),
            "serve_timeout_s": settings.max_lifetime_s + settings.margin_s,
            "silence_s": settings.silence_s,
            "gone_poll_s": settings.gone_poll_s,
            "error": {"Error": "", "Cause": ""},
        },
    )


def estimate_key(settings: Settings) -> str:
    """Jobs of one solver version and time budget share an estimate."""
    return f"{settings.solver_version}/{settings.task_budget_s}"


def estimated_seconds(ports: Ports, settings: Settings) -> float:
    known = ports.store.estimate(estimate_key(settings))
    return known.seconds if known else settings.task_budget_s / 2


def _backlog(ports: Ports, settings: Settings, now: datetime, room: Room) -> Backlog:
    first = ports.store.ready_jobs(1)
    if not first:
        return Backlog(jobs=0, work_s=0.0, oldest_wait_s=0.0)
    each = max(0.1, estimated_seconds(ports, settings))
    # Work beyond what every slot can chew in one drain time changes nothing: stop counting there.
    enough = int((room.slots + room.live + 1) * max(settings.target_drain_s, 2 * settings.boot_s) / each) + 1
    jobs = max(1, ports.store.ready_count(enough))
    since = first[0].ready_at or now
    return Backlog(jobs=jobs, work_s=jobs * each, oldest_wait_s=(now - since).total_seconds())


def _room(ports: Ports, settings: Settings, now: datetime) -> Room:
    ledger, fleet = money.open_books(ports, settings, now)
    breaker = ports.store.breaker()
    launches = ports.store.open_launches()
    booting = [launch for launch in launches if launch.state in (LaunchState.RESERVED, LaunchState.LAUNCHED)]
    idle = [
        launch
        for launch in launches
        if launch.state is LaunchState.ACTIVE and launch.active_leases == 0 and not launch.drain
    ]
    return Room(
        live=len(launches),
        spare=len(booting) + len(idle),
        slots=fleet.slots_available,
        available=ledger.available,
        reserve=settings.reserve,
        quota_vcpus=settings.quota_vcpus or settings.slots * VCPUS_PER_SLOT,
        paused="paused" if fleet.paused else "",
        fleet_version=fleet.version,
        breaker=_BREAKER_REASONS.get(breaker.error, "capacity") if breaker.open(now) else "",
    )


_BREAKER_REASONS = {
    "NoCapacity": "capacity",
    "QuotaExceeded": "quota",
    "LaunchThrottled": "throttle",
    "LaunchMisconfigured": "config",
    "LaunchUnknown": "capacity",
    "RunnerGaveUp": "runner",
}


def _pace(settings: Settings) -> Pace:
    return Pace(
        target_drain_s=settings.target_drain_s, boot_s=settings.boot_s, max_wait_s=settings.max_wait_s
    )

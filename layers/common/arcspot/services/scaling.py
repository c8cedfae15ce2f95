"""scale: reserve what the backlog needs, then start one execution for each launch. Never talks to EC2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zlib import crc32

from arcspot.domain.batches import Batch
from arcspot.domain.hours import allowed
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Launch, LaunchState
from arcspot.domain.preferring import wants_on_demand
from arcspot.domain.quotas import most_each, vcpus
from arcspot.domain.scaling import (
    COUNT_ALL_EVERY,
    LEAST_JOB_S,
    MANY,
    Backlog,
    Decision,
    Pace,
    Room,
    cannot_meet,
    deciding_jobs,
    enough,
    how_many,
    looked_at,
    step_of,
    worth_s,
)
from arcspot.errors import Conflict, FleetPaused, NoMoney, NoSlot
from arcspot.ports import Event, Ports
from arcspot.services import money, waking
from arcspot.services.afterwards import mailed, recorded, tried
from arcspot.settings import Settings

LOOKS = 3
# Why jobs wait when every slot is taken, and how often a full fleet is looked at.
FULL = "slots"
LOOKS_EVERY_MINUTES = 5
ALL = 10**9
# Of the jobs that wait so many are looked at where that matters: whether spot is too hard for them.
SAMPLE = 16
# An outage of everything but the instances that must cost no healthy runner its work (L3).
OUTAGE_SECONDS = 30 * 60
LONGEST_POLL_SECONDS = 10 * 60
# A quota that nobody has told limits nothing: MaxInstances alone does, and EC2 says no if it must.
UNLIMITED_VCPUS = 10**9


def scale(
    ports: Ports,
    settings: Settings,
    now: datetime,
    *,
    new_id: Callable[[datetime], str],
    kicked: bool = False,
) -> tuple[Decision, list[str]]:
    """Reserve and start launches. Returns the decision and the ids started.

    Whoever kicks has brought something that is open: the minute's rounds are woken for it, and always before
    anything is reserved.

    Two of these may run at once (the schedule and a kick). Both would see the same backlog and
    start twice what it needs, so a reservation counts only on the fleet the decision was made for;
    whoever comes second looks again.
    """
    started: list[str] = []
    if not kicked and _full(ports, settings, now):
        return Decision(launches=0, waits_for=FULL), started
    for look in range(1, LOOKS + 1):
        waiting = ports.store.ready_jobs(SAMPLE if settings.on_demand_fallback else 1, now)
        wanted = settings.on_demand_fallback and wants_on_demand(waiting)
        room, market, steady = _room(ports, settings, now, steady=wanted)
        if room.asleep and (kicked or waiting):
            waking.wake(ports, now, "kicked" if kicked else "jobs")
            room, market, steady = _room(ports, settings, now, steady=wanted)
        # One instance that nobody takes away is enough to try with; the next round starts spot ones again.
        pace = _pace(settings, room, most=1 if steady else None)
        backlog = _backlog(ports, settings, now, room, pace, waiting)
        decision = how_many(backlog, room, pace)
        try:
            waits_for = _reserve_and_start(ports, settings, now, decision, room, new_id, started, market)
        except Conflict:
            ports.pause(look)
            continue
        # Jobs that wait while an instance for them boots wait for that, and are told so.
        on_its_way = "boot" if backlog.jobs and not waits_for and (room.spare or started) else ""
        tried("noting why jobs wait", partial(money.note_waiting, ports, waits_for or on_its_way, now))
        break
    return decision, started


def _full(ports: Ports, settings: Settings, now: datetime) -> bool:
    """Whether every slot was taken when the last round looked, and still is: then there is nothing to decide.

    Now and then it is looked at all the same, for deadlines and for what waits.
    """
    fleet = ports.store.fleet()
    if fleet is None or now.minute % LOOKS_EVERY_MINUTES == 0:
        return False
    return fleet.waits_for == FULL and fleet.slots_available == 0 and fleet.slots_total == settings.slots


def _reserve_and_start(
    ports: Ports,
    settings: Settings,
    now: datetime,
    decision: Decision,
    room: Room,
    new_id: Callable[[datetime], str],
    started: list[str],
    market: str,
) -> str:
    """Reserve and start what was decided, adding to `started`; what the rest waits for.

    Raises Conflict when overtaken.
    """
    limited = room.quota_vcpus < UNLIMITED_VCPUS
    each = most_each(room.vcpus_free, decision.launches, settings.instance_types) if limited else 0
    for n in range(decision.launches):
        try:
            launch = money.reserve(
                ports,
                settings,
                new_id(now),
                now,
                fleet_version=room.fleet_version + n,
                market=market,
                vcpus=each,
            )
        except (NoMoney, NoSlot, FleetPaused) as refused:
            return {NoMoney: "budget", NoSlot: FULL, FleetPaused: "paused"}[type(refused)]
        started.append(launch.launch_id)
        # A launch that no execution took up is started by the watchdog, each minute until its hold is over.
        tried(f"starting {launch.launch_id}", partial(start, ports, settings, launch.launch_id))
    return decision.waits_for


def start(ports: Ports, settings: Settings, launch_id: str) -> None:
    """Start the launch's execution; its name is the launch id, so a second start is no second launch."""
    ports.workflow.start(launch_id, lifecycle_input(settings, launch_id))


def lifecycle_input(settings: Settings, launch_id: str) -> dict[str, Any]:
    """What RunnerLifecycle is started with. Step Functions refuses a heartbeat that is not below its timeout.

    https://docs.aws.amazon.com/step-functions/latest/dg/state-task.html#task-state-fields
    """
    boot_s = max(2, min(settings.boot_timeout_s, settings.max_lifetime_s))
    serve_s = settings.max_lifetime_s + settings.margin_s
    return {
        "launch_id": launch_id,
        "boot_timeout_s": boot_s,
        "boot_heartbeat_s": boot_s - 1,
        "serve_timeout_s": serve_s,
        # The watchdog ends a silent runner sooner, and knows whether the door itself was ill;
        # the state machine's own limit is for the time when there is no watchdog.
        "silence_s": max(1, min(settings.silence_s + OUTAGE_SECONDS, serve_s - 1)),
        "gone_poll_s": min(settings.gone_poll_s, LONGEST_POLL_SECONDS),
        "error": {"Error": "", "Cause": ""},
    }


def estimate_key(settings: Settings) -> str:
    """Jobs of one solver version and time budget share an estimate."""
    return f"{settings.solver_version}/{settings.task_budget_s}"


def estimated_seconds(ports: Ports, settings: Settings) -> float:
    known = ports.store.estimate(estimate_key(settings))
    return known.seconds if known else settings.task_budget_s / 2


def _backlog(
    ports: Ports, settings: Settings, now: datetime, room: Room, pace: Pace, waiting: Sequence[Job]
) -> Backlog:
    if not waiting:
        return Backlog(jobs=0, work_s=0.0, oldest_wait_s=0.0)
    each = max(LEAST_JOB_S, estimated_seconds(ports, settings))
    jobs = max(1, ports.store.ready_count(enough(room, pace, each), now))
    since = min(job.ready_at or now for job in waiting)
    return Backlog(
        jobs=jobs,
        work_s=jobs * each,
        oldest_wait_s=(now - since).total_seconds(),
        urgent=_urgent(ports, now, room, pace, each),
    )


def _urgent(
    ports: Ports, now: datetime, room: Room, pace: Pace, each: float
) -> tuple[tuple[float, float], ...]:
    """(work, time left) of batches with a deadline. One that cannot be met is said once, not overspent."""
    found = []
    # Both may be negative after a deploy that lowered them; what runs goes on all the same.
    instances = room.live + max(0, min(room.slots, room.available // max(1, room.reserve)))
    for batch in looked_at(ports.store.batches_due(), now):
        left = (batch.deadline - now).total_seconds() if batch.deadline else 0.0
        # One that is further off than a backlog is drained in asks for no more than the backlog itself.
        near = left - pace.boot_s < worth_s(pace)
        most = enough(room, pace, each) if near else 1
        late = 0 if batch.late_said else _counted_for_late(batch, now, left, each, instances, pace)
        waiting = ports.store.batch_count(batch.batch_id, JobState.READY, max(most, late))
        running = ports.store.batch_count(batch.batch_id, JobState.LEASED, max(1, late))
        if not waiting + running:
            continue
        if late and cannot_meet((waiting + running) * each, left, instances=instances, pace=pace):
            _say_late(ports, batch, each, instances, now)
        found.append((waiting * each, left))
    return tuple(found)


def _counted_for_late(
    batch: Batch, now: datetime, left: float, each: float, instances: int, pace: Pace
) -> int:
    """How far a batch is counted to know whether its deadline can be met: all the way only now and then."""
    decides = deciding_jobs(left, each_s=each, instances=instances, pace=pace)
    look, between = divmod(int(now.timestamp() // 60), LOOKS_EVERY_MINUTES)
    turn = look + crc32(batch.batch_id.encode("utf-8", "surrogatepass"))
    # In rounds that look at a full fleet, too.
    in_turn = between == 0 and turn % (COUNT_ALL_EVERY // LOOKS_EVERY_MINUTES) == 0
    return decides if in_turn else min(MANY, decides)


def _say_late(ports: Ports, batch: Batch, each: float, instances: int, now: datetime) -> None:
    # Once for each batch, so counted to its end: a person wants to know how much it is.
    left = [
        ports.store.batch_count(batch.batch_id, state, ALL) for state in (JobState.READY, JobState.LEASED)
    ]
    work_s = sum(left) * each
    try:
        ports.store.write(replace(batch, late_said=True))
    except Conflict:
        return  # new jobs came in meanwhile; the next round says it
    told = (
        f"{work_s / 60:.0f} minutes of work are left, at most {instances} instance(s) can run "
        f"within slots and budget, and the deadline is {batch.deadline:%Y-%m-%d %H:%M} UTC."
    )
    recorded(ports, Event(f"batch#{batch.batch_id}", now, "late", told))
    mailed(
        ports,
        f"arcspot: batch {batch.batch_id} will miss its deadline",
        f"{told}\n\nNothing is overspent to meet it: the work goes on as fast as the limits allow.\n",
    )


def _room(ports: Ports, settings: Settings, now: datetime, *, steady: bool) -> tuple[Room, str, bool]:
    """What limits the fleet, and the market the next launch is asked for in.

    With `steady` that is on-demand unless such a launch is open already; the last value says whether it is.
    """
    ledger, fleet = money.open_books(ports, settings, now)
    breaker = ports.store.breaker()
    launches = ports.store.open_launches()
    # One that EC2 has refused, its money held until that is proven, is waited for by nobody.
    booting = [
        launch
        for launch in launches
        if launch.state is LaunchState.LAUNCHED
        or (launch.state is LaunchState.RESERVED and not launch.reason)
    ]
    idle = [
        launch
        for launch in launches
        if launch.state is LaunchState.ACTIVE and launch.active_leases == 0 and not launch.drain
    ]
    two_boots = 2 * timedelta(seconds=settings.boot_s)
    # The index may not show a launch whose slot is taken already: each such may be of the largest type.
    unseen = max(0, fleet.slots_total - fleet.slots_available - len(launches))
    steady = steady and all(launch.market != "on-demand" for launch in launches)
    wanted = "on-demand" if steady else breaker.market(fallback=settings.on_demand_fallback)
    market, quota = _market(settings, launches, unseen, wanted)
    room = Room(
        live=len(launches),
        spare=len(booting) + len(idle),
        booting=len(booting),
        serving=sum(launch.state is LaunchState.ACTIVE for launch in launches),
        staying=sum(launch.serving and launch.hard_deadline - now > two_boots for launch in launches),
        slots=fleet.slots_available,
        available=ledger.available,
        reserve=settings.reserve_at(money.read_prices(ports)),
        closed_hours="" if allowed(now, settings.allowed_hours) else "hours",
        **_quota_room(settings, launches, unseen, market, quota),
        paused="paused" if fleet.paused else "",
        fleet_version=fleet.version,
        asleep=fleet.asleep,
        breaker=_BREAKER_REASONS.get(breaker.error, "capacity") if breaker.open(now) else "",
    )
    return room, market, steady and market == "on-demand"


def _quota_room(
    settings: Settings, launches: Sequence[Launch], unseen: int, market: str, quota: int
) -> dict[str, int]:
    """What a quota leaves. A quota that nobody has told counts nothing, so no type has to be countable."""
    if not quota:
        return {"quota_vcpus": UNLIMITED_VCPUS}
    return {
        "quota_vcpus": quota,
        "vcpus_each": min(vcpus(name) for name in settings.instance_types),
        "vcpus_live": _counted(settings, launches, unseen, market),
    }


def _market(settings: Settings, launches: Sequence[Launch], unseen: int, wanted: str) -> tuple[str, int]:
    """Where to ask, and that market's quota (vCPUs; 0 when nobody has told it).

    Spot is asked again when the on-demand quota has no room: what cannot be had there must not be waited for.
    """
    if wanted != "on-demand":
        return wanted, settings.quota_vcpus
    quota = settings.on_demand_quota_vcpus
    if quota:
        smallest = min(vcpus(name) for name in settings.instance_types)
        if quota - _counted(settings, launches, unseen, wanted) < smallest:
            return "spot", settings.quota_vcpus
    return wanted, quota


def _counted(settings: Settings, launches: Sequence[Launch], unseen: int, market: str) -> int:
    """vCPUs that open launches of a market may count against its quota: the most where nobody knows yet, and
    for each of the `unseen`, of whichever market."""
    largest = max(vcpus(name) for name in settings.instance_types)
    return unseen * largest + sum(
        vcpus(launch.instance_type) if launch.instance_type else launch.vcpus or largest
        for launch in launches
        if (launch.market or "spot") == market
    )


_BREAKER_REASONS = {
    "NoCapacity": "capacity",
    "QuotaExceeded": "quota",
    "LaunchThrottled": "throttle",
    "LaunchMisconfigured": "config",
    "LaunchPostponed": "refused",
    "LaunchUnknown": "capacity",
    "RunnerGaveUp": "runner",
}


def _pace(settings: Settings, room: Room, *, most: int | None) -> Pace:
    step = step_of(booting=room.booting, serving=room.serving)
    return Pace(
        target_drain_s=settings.target_drain_s,
        boot_s=settings.boot_s,
        max_wait_s=settings.max_wait_s,
        max_step=step if most is None else min(most, step),
    )

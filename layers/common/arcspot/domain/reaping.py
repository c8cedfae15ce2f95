"""Decide what the watchdog does, from what EC2 shows and what the tables intend.

EC2 is the truth about existence, the tables about intent. "Cannot see" is never "dead":
a row loses its instance only once EC2 says `terminated`, or has not known it for longer
than `VISIBILITY_SECONDS` (describe lags by up to a minute).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from arcspot.domain.launching import Instance, Launch, LaunchState, hold_over

VISIBILITY_SECONDS = 300
# Events make rounds follow each other within milliseconds; a second look counts only after this.
ORPHAN_GRACE = timedelta(seconds=50)
RUNNING = (LaunchState.LAUNCHED, LaunchState.ACTIVE)


class Act(StrEnum):
    ADOPT = "adopt"
    RELEASE = "release"
    RETIRE = "retire"
    SETTLE = "settle"
    KILL_ORPHAN = "kill_orphan"
    BOOK_LEAK = "book_leak"
    RESTART = "restart"
    ARM = "arm"
    DRAIN = "drain"
    WARN = "warn"
    PLACE = "place"


@dataclass(frozen=True, slots=True)
class Suspects:
    """What the watchdog remembers between rounds: instances nobody intended and since when, and
    when it last found runner_api ill."""

    since: Mapping[str, datetime]
    door_ill_at: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, to one launch or one instance, and why.

    `silent`: nothing was heard of the runner, so its jobs count a silent death.
    `error` names the end for the state machine, "" when the execution goes on by itself.
    """

    act: Act
    launch_id: str
    instance_id: str
    reason: str
    silent: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the watchdog waits before it acts. Seconds; `gpu_kill` ends a launch whose GPU idles."""

    silence_s: int
    gpu_idle_s: int = 0
    gpu_kill: bool = False
    stuck_reserved_s: int = 120


def steps(
    launches: Iterable[Launch],
    instances: Iterable[Instance],
    *,
    now: datetime,
    patience: Patience,
    suspects: Mapping[str, datetime],
    accounted: Collection[str] = (),
    door_ill_at: datetime | None = None,
    open_hours: bool = True,
) -> list[Step]:
    """What to do this round.

    `suspects` maps orphans to when an earlier round saw them first; `accounted` are instances
    that are gone and paid for; silence is counted from the last moment runner_api was ill.
    """
    seen = {instance.instance_id: instance for instance in instances}
    by_launch: dict[str, Launch] = {launch.launch_id: launch for launch in launches}
    plan: list[Step] = []
    for launch in by_launch.values():
        step = _for_launch(launch, seen, now, patience, door_ill_at) or _lesser(
            launch, seen.get(launch.instance_id), now, patience, open_hours
        )
        plan += [step] if step else []
    for instance in seen.values():
        if orphan(instance, by_launch):
            if ripe(instance, suspects.get(instance.instance_id), now):
                plan.append(_stranger(Act.KILL_ORPHAN, instance, "no open launch intends this instance"))
        elif instance.gone and stranger(instance, by_launch) and instance.instance_id not in accounted:
            plan.append(_stranger(Act.BOOK_LEAK, instance, "it ended and no launch has paid for it"))
    return plan


def stranger(instance: Instance, open_launches: Mapping[str, Launch]) -> bool:
    """Whether an instance is not the one of an open launch."""
    launch = open_launches.get(instance.launch_id)
    if launch is None:
        return True
    return bool(launch.instance_id) and launch.instance_id != instance.instance_id


def orphan(instance: Instance, open_launches: Mapping[str, Launch]) -> bool:
    """Whether an instance that costs money belongs to no open launch."""
    return instance.alive and stranger(instance, open_launches)


def ripe(instance: Instance, since: datetime | None, now: datetime) -> bool:
    """Whether an orphan has been one for two looks apart: only then is it not just new.

    Its own age counts too: a round that was held up remembers its first look as earlier than it was.
    """
    return since is not None and now - max(since, instance.launched_at) >= ORPHAN_GRACE


def _stranger(act: Act, instance: Instance, reason: str) -> Step:
    return Step(act, instance.launch_id, instance.instance_id, reason)


def _for_launch(
    launch: Launch,
    seen: Mapping[str, Instance],
    now: datetime,
    patience: Patience,
    door_ill_at: datetime | None,
) -> Step | None:
    if launch.state is LaunchState.RESERVED:
        return _for_reserved(launch, seen, now, patience)
    instance = seen.get(launch.instance_id)
    if launch.state is LaunchState.GONE:
        return Step(Act.SETTLE, launch.launch_id, launch.instance_id, launch.reason or "instance is gone")
    if instance is not None and instance.gone:
        return Step(Act.SETTLE, launch.launch_id, launch.instance_id, launch.reason or "instance terminated")
    if instance is None and _long_unseen(launch, now):
        return Step(Act.SETTLE, launch.launch_id, launch.instance_id, "EC2 no longer knows the instance")
    if launch.state is LaunchState.DRAINING:
        return Step(Act.RETIRE, launch.launch_id, launch.instance_id, launch.reason or "draining")
    return _overdue(launch, now, patience, door_ill_at)


def _for_reserved(
    launch: Launch, seen: Mapping[str, Instance], now: datetime, patience: Patience
) -> Step | None:
    mine = next((i for i in seen.values() if i.launch_id == launch.launch_id), None)
    if mine is not None:
        return Step(Act.ADOPT, launch.launch_id, mine.instance_id, "found by its tag")
    if hold_over(launch, now):
        return Step(
            Act.RELEASE, launch.launch_id, "", launch.reason or "no instance appeared within 15 minutes"
        )
    # An execution that began and failed before it asked EC2 cannot be started again (its name is taken):
    # restarting is tried until the hold is over, then the money goes back.
    stuck = now - launch.created_at > timedelta(seconds=patience.stuck_reserved_s)
    if launch.attempted_at is None and stuck:
        return Step(Act.RESTART, launch.launch_id, "", "reserved, but no execution took it up")
    return None


def _long_unseen(launch: Launch, now: datetime) -> bool:
    # `started_at` may be when EC2 was first asked: after minutes of throttling the instance is seconds old.
    known = (launch.started_at, launch.adopted_at, launch.heartbeat_at, launch.created_at)
    since = max(filter(None, known))
    return now - since > timedelta(seconds=VISIBILITY_SECONDS)


def _overdue(launch: Launch, now: datetime, patience: Patience, door_ill_at: datetime | None) -> Step | None:
    def retire(reason: str, error: str, *, silent: bool = False) -> Step:
        return Step(Act.RETIRE, launch.launch_id, launch.instance_id, reason, silent=silent, error=error)

    if now >= launch.hard_deadline:
        return retire("hard deadline passed", "DeadlinePassed")
    if launch.state is LaunchState.LAUNCHED and now >= launch.boot_deadline:
        return retire("never said hello before its boot deadline", "BootTimedOut")
    if launch.state is LaunchState.ACTIVE and launch.heartbeat_at is not None:
        # A runner that found the door shut could not be heard, however well it was.
        quiet = now - max(filter(None, (launch.heartbeat_at, door_ill_at)))
        if quiet > timedelta(seconds=patience.silence_s):
            return retire(f"silent for {int(quiet.total_seconds())} s", "RunnerSilent", silent=True)
    if patience.gpu_kill and _gpu_idles(launch, now, patience):
        return retire("GPU idle while it holds work", "GpuIdle")
    return None


def _lesser(
    launch: Launch, instance: Instance | None, now: datetime, patience: Patience, open_hours: bool
) -> Step | None:
    """What is worth doing for a launch that needs nothing urgently."""

    def step(act: Act, reason: str) -> Step:
        return Step(act, launch.launch_id, launch.instance_id, reason)

    if launch.state not in RUNNING:
        return None
    if instance is not None and _unplaced(launch, instance):
        return step(Act.PLACE, "EC2 shows where it is by now")
    if not launch.armed:
        return step(Act.ARM, "no schedule ends its instance yet")
    if not open_hours and not launch.drain:
        return step(Act.DRAIN, "outside the allowed hours")
    if _gpu_idles(launch, now, patience) and not launch.gpu_warned:
        return step(Act.WARN, "GPU idle while it holds work")
    return None


def _unplaced(launch: Launch, instance: Instance) -> bool:
    """Whether an instance tells what its launch does not know yet."""
    return (not launch.zone and bool(instance.zone)) or (
        not launch.instance_type and bool(instance.instance_type)
    )


def _gpu_idles(launch: Launch, now: datetime, patience: Patience) -> bool:
    since = launch.gpu_idle_since
    return bool(patience.gpu_idle_s and since and now - since >= timedelta(seconds=patience.gpu_idle_s))

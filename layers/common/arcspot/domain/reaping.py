"""Decide what the watchdog does, from what EC2 shows and what the tables intend.

EC2 is the truth about existence, the tables about intent. "Cannot see" is never "dead":
a row loses its instance only once EC2 says `terminated`, or has not known it for longer
than `VISIBILITY_SECONDS` (describe lags by up to a minute).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from arcspot.domain.launching import Instance, Launch, LaunchState, hold_over

VISIBILITY_SECONDS = 300
# Events make rounds follow each other within milliseconds; a second look counts only after this.
ORPHAN_GRACE = timedelta(seconds=50)


class Act(StrEnum):
    ADOPT = "adopt"
    RELEASE = "release"
    RETIRE = "retire"
    SETTLE = "settle"
    KILL_ORPHAN = "kill_orphan"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Suspects:
    """Instances nobody intended, as the last round saw them, and since when."""

    since: Mapping[str, datetime]
    version: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, to one launch or one instance, and why."""

    act: Act
    launch_id: str
    instance_id: str
    reason: str
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the watchdog waits before it acts. Seconds."""

    silence_s: int
    stuck_reserved_s: int = 120


def steps(
    launches: Iterable[Launch],
    instances: Iterable[Instance],
    *,
    now: datetime,
    patience: Patience,
    suspects: Mapping[str, datetime],
) -> list[Step]:
    """What to do this round. `suspects` maps orphans seen in an earlier round to when that was."""
    seen = {instance.instance_id: instance for instance in instances}
    by_launch: dict[str, Launch] = {launch.launch_id: launch for launch in launches}
    plan = [step for launch in by_launch.values() if (step := _for_launch(launch, seen, now, patience))]
    plan += [
        Step(
            Act.KILL_ORPHAN, instance.launch_id, instance.instance_id, "no open launch intends this instance"
        )
        for instance in seen.values()
        if orphan(instance, by_launch) and instance.instance_id in suspects
    ]
    return plan


def orphan(instance: Instance, open_launches: Mapping[str, Launch]) -> bool:
    """Whether an instance that costs money belongs to no open launch."""
    if not instance.alive:
        return False
    launch = open_launches.get(instance.launch_id)
    if launch is None:
        return True
    return bool(launch.instance_id) and launch.instance_id != instance.instance_id


def _for_launch(
    launch: Launch, seen: Mapping[str, Instance], now: datetime, patience: Patience
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
    return _overdue(launch, now, patience)


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
    since = max(filter(None, (launch.started_at, launch.heartbeat_at, launch.created_at)))
    return now - since > timedelta(seconds=VISIBILITY_SECONDS)


def _overdue(launch: Launch, now: datetime, patience: Patience) -> Step | None:
    def retire(reason: str, *, silent: bool) -> Step:
        return Step(Act.RETIRE, launch.launch_id, launch.instance_id, reason, silent=silent)

    if now >= launch.hard_deadline:
        return retire("hard deadline passed", silent=False)
    if launch.state is LaunchState.LAUNCHED and now >= launch.boot_deadline:
        return retire("never said hello before its boot deadline", silent=False)
    quiet_since = launch.heartbeat_at
    if launch.state is LaunchState.ACTIVE and quiet_since is not None:
        quiet = now - quiet_since
        if quiet > timedelta(seconds=patience.silence_s):
            return retire(f"silent for {int(quiet.total_seconds())} s", silent=True)
    return None

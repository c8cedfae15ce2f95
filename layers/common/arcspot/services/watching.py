"""watchdog: hold EC2 against the tables, each minute, and finish whatever somebody left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from arcspot.domain.launching import Instance, Launch, LaunchState
from arcspot.domain.reaping import ORPHAN_GRACE, Act, Patience, Step, Suspects, orphan, steps
from arcspot.errors import ItemsFailed
from arcspot.ports import Event, Ports
from arcspot.services import launching, money, retiring, scaling
from arcspot.services.retry import until_written
from arcspot.settings import Settings


@dataclass(frozen=True, slots=True)
class Round:
    """What one round saw and did, for the metrics."""

    live_instances: int
    open_launches: int
    oldest_launch_s: float
    actions: tuple[Step, ...]
    available: int
    reserved: int
    settled: int
    cap: int


def watch(ports: Ports, settings: Settings, now: datetime) -> Round:
    """One round. One try for each item; raises ItemsFailed at the end if any failed."""
    ledger, _ = money.open_books(ports, settings, now)
    # Launches first: an instance started after this read belongs to a row already in it, or to one reserved
    # later, which the second look (two rounds for orphans) is there for.
    launches = ports.store.open_launches()
    instances = ports.compute.instances()
    plan = steps(
        launches,
        instances,
        now=now,
        patience=Patience(silence_s=settings.silence_s),
        suspects=_suspects(ports, launches, instances, now),
    )
    seen = {instance.instance_id: instance for instance in instances}
    failures: dict[str, str] = {}

    def attempt(item: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # one bad item must not keep the others from being handled
            failures[item] = f"{type(error).__name__}: {error}"

    for step in plan:
        attempt(step.launch_id or step.instance_id, lambda step=step: take(ports, settings, step, seen, now))  # type: ignore[misc]
    for launch in launches:
        if launch.active_leases:
            attempt(f"leases of {launch.launch_id}", lambda launch=launch: _expire(ports, launch, now))  # type: ignore[misc]
    attempt(f"thresholds of {ledger.period}", lambda: money.announce(ports, ledger.period, now))
    if failures:
        raise ItemsFailed(failures)
    return Round(
        live_instances=sum(instance.alive for instance in instances),
        open_launches=len(launches),
        oldest_launch_s=max((now - launch.created_at).total_seconds() for launch in launches)
        if launches
        else 0.0,
        actions=tuple(plan),
        available=ledger.available,
        reserved=ledger.reserved,
        settled=ledger.settled,
        cap=ledger.cap,
    )


def take(ports: Ports, settings: Settings, step: Step, seen: dict[str, Instance], now: datetime) -> None:
    """Do one step of the plan."""
    ports.store.record(Event(f"launch#{step.launch_id}", now, f"watchdog {step.act}", step.reason))
    match step.act:
        case Act.ADOPT:
            launching.adopt(ports, settings, step.launch_id, seen[step.instance_id], now)
        case Act.RELEASE:
            money.release(ports, step.launch_id, step.reason, now)
        case Act.RESTART:
            scaling.start(ports, settings, step.launch_id)
        case Act.RETIRE:
            retiring.reclaim(ports, step.launch_id, reason=step.reason, silent=step.silent, now=now)
            retiring.terminate(ports, step.launch_id, now)
        case Act.SETTLE:
            instance = seen.get(step.instance_id)
            retiring.reclaim(ports, step.launch_id, reason=step.reason, silent=False, now=now)
            retiring.mark_gone(
                ports, step.launch_id, ended_at=instance.ended_at if instance else None, now=now
            )
            retiring.settle(ports, settings, step.launch_id, silent=False, now=now)
        case Act.KILL_ORPHAN:
            ports.compute.terminate(step.instance_id)


def warn(ports: Ports, instance_id: str, reason: str, now: datetime) -> bool:
    """A spot warning arrived: the instance gets no more work. False when it is not ours."""
    instance = ports.compute.instance(instance_id)
    if instance is None or not instance.launch_id:
        return False

    def act() -> bool:
        row = ports.store.launch(instance.launch_id)
        if row is None or not row.state.open or row.drain:
            return False
        ports.store.write(row.asked_to_drain(reason=reason))
        return True

    if until_written(act):
        ports.store.record(Event(f"launch#{instance.launch_id}", now, "warned", reason))
    return True


def _suspects(
    ports: Ports, launches: list[Launch], instances: list[Instance], now: datetime
) -> dict[str, datetime]:
    """Orphans already seen in an earlier round; this round's are remembered for the next."""
    by_launch = {launch.launch_id: launch for launch in launches}
    orphans = [i.instance_id for i in instances if orphan(i, by_launch)]

    def act() -> Suspects:
        known = ports.store.suspects()
        updated = replace(known, since={i: known.since.get(i, now) for i in orphans})
        if dict(updated.since) != dict(known.since):
            ports.store.write(updated)
        return known

    earlier = until_written(act)
    return {i: since for i, since in earlier.since.items() if now - since >= ORPHAN_GRACE}


def _expire(ports: Ports, launch: Launch, now: datetime) -> None:
    """Take back leases whose time ran out on a launch that is otherwise alive."""
    for job in ports.store.jobs_of_launch(launch.launch_id):
        expired = job.lease is not None and job.lease.expires_at < now
        if expired and launch.state is not LaunchState.RESERVED:
            retiring.reclaim_job(
                ports, job.job_id, launch.launch_id, reason="its lease ran out", silent=True, now=now
            )

"""watchdog: hold EC2 against the tables, each minute, and finish whatever somebody left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from arcspot.domain.hours import allowed
from arcspot.domain.launching import Instance, Launch, LaunchState
from arcspot.domain.reaping import Act, Patience, Step, Suspects, orphan, steps, stranger
from arcspot.errors import BootTimedOut, GpuIdle, InstanceGone, ItemsFailed, RunnerSilent, StillServing
from arcspot.ports import Event, Ports
from arcspot.services import attending, launching, money, retiring, scaling, waking
from arcspot.services.afterwards import mailed, recorded, tried
from arcspot.services.retry import until_written
from arcspot.settings import Settings


@dataclass(frozen=True, slots=True)
class Round:
    """What one round saw and did, for the metrics."""

    live_instances: int
    open_launches: int
    oldest_launch_s: float
    actions: tuple[Step, ...]
    stuck: tuple[str, ...]
    leaks: int
    available: int
    reserved: int
    settled: int
    cap: int


def watch(
    ports: Ports, settings: Settings, now: datetime, *, minute: bool = False, slow: bool = False
) -> Round:
    """One round. One try for each item; raises ItemsFailed (with the Round in `seen`) if any failed.

    Asked for by the clock's `minute`, by the `slow` schedule, or by an event.
    """
    ledger, _ = money.open_books(ports, settings, now)
    # Launches first: an instance started after this read belongs to a row already in it, or to one reserved
    # later, which the second look (two rounds for orphans) is there for.
    launches = ports.store.open_launches()
    instances = ports.compute.instances()
    suspects, door_ill_at = _remembered(ports, settings, launches, instances, now)
    plan = steps(
        launches,
        instances,
        now=now,
        patience=Patience(
            silence_s=settings.silence_s, gpu_idle_s=settings.gpu_idle_s, gpu_kill=settings.gpu_idle_kill
        ),
        suspects=suspects,
        accounted=_accounted(ports, launches, instances),
        door_ill_at=door_ill_at,
        open_hours=allowed(now, settings.allowed_hours),
    )
    seen = {instance.instance_id: instance for instance in instances}
    items: list[tuple[str, Callable[[], object]]] = [
        (f"{step.act} {step.launch_id or step.instance_id}", partial(take, ports, settings, step, seen, now))
        for step in plan
    ]
    looks = slow or attending.turn(now)
    items += [
        (f"leases of {launch.launch_id}", partial(_expire, ports, settings, launch, door_ill_at, now))
        for launch in launches
        if launch.leases and looks
    ]
    items += [
        (f"life of {launch.launch_id}", partial(_outlives, ports, launch.launch_id, now))
        for launch in launches
        if not launch.outlived and launch.outlives(now) and _alive(seen, launch.instance_id)
    ]
    items += [
        (f"thresholds of {ledger.period}", partial(money.announce, ports, ledger.period, now)),
        ("prices", partial(money.refresh_prices, ports, settings, now)),
    ]
    stuck: list[str] = []
    if looks:
        items.append(("stuck jobs", partial(attending.attend, ports, settings, now, stuck)))
    failures = each(items)
    live = sum(instance.alive for instance in instances)
    # What could not be done is tried again within the minute: then the clock is not put to sleep.
    tend = partial(waking.tend, ports, now, live=live, minute=minute, slow=slow)
    awake = partial(waking.wake, ports, now, "items that failed", sure=slow)
    failures |= each([("the clock", awake if failures else tend)])
    found = Round(
        live_instances=live,
        open_launches=len(launches),
        oldest_launch_s=max(((now - launch.created_at).total_seconds() for launch in launches), default=0.0),
        actions=tuple(plan),
        stuck=tuple(stuck),
        leaks=sum(step.act is Act.BOOK_LEAK for step in plan),
        available=ledger.available,
        reserved=ledger.reserved,
        settled=ledger.settled,
        cap=ledger.cap,
    )
    if failures:
        raise ItemsFailed(failures, found)
    return found


def each(items: Iterable[tuple[str, Callable[[], object]]]) -> dict[str, str]:
    """Try every item once; what failed and why. One bad item must not keep the others from being handled."""
    failures: dict[str, str] = {}
    for name, act in items:
        try:
            act()
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {error}"
    return failures


def take(ports: Ports, settings: Settings, step: Step, seen: dict[str, Instance], now: datetime) -> None:
    """Do one step of the plan."""
    recorded(ports, Event(f"launch#{step.launch_id}", now, f"watchdog {step.act}", step.reason))
    match step.act:
        case Act.ADOPT:
            launching.adopt(ports, settings, step.launch_id, seen[step.instance_id], now)
        case Act.RELEASE:
            money.release(ports, step.launch_id, step.reason, now)
        case Act.RESTART:
            scaling.start(ports, settings, step.launch_id)
        case Act.RETIRE:
            _retire(ports, settings, step, now)
        case Act.SETTLE:
            _settle(ports, settings, step, seen.get(step.instance_id), now)
        case Act.KILL_ORPHAN:
            ports.compute.terminate(step.instance_id)
        case Act.BOOK_LEAK:
            money.book_leak(ports, settings, seen[step.instance_id], now)
        case Act.PLACE:
            launching.place(ports, settings, step.launch_id, seen[step.instance_id], now)
        case Act.ARM:
            launching.arm(ports, step.launch_id, now)
        case Act.DRAIN:
            _drain(ports, step.launch_id, step.reason)
        case Act.WARN:
            _warn_of_idle_gpu(ports, step, now)


def _settle(ports: Ports, settings: Settings, step: Step, instance: Instance | None, now: datetime) -> None:
    row = ports.store.launch(step.launch_id)
    retiring.reclaim(ports, step.launch_id, reason=step.reason, silent=False, now=now)
    retiring.mark_gone(ports, step.launch_id, ended_at=instance.ended_at if instance else None, now=now)
    retiring.settle(ports, settings, step.launch_id, silent=False, now=now)
    # An execution that still waits for this runner would wait until its heartbeat is overdue: it does
    # where this word is lost. One that knows of the end already waits for no answer.
    if row is not None:
        tried("ending the execution", lambda: launching.end(ports, row, InstanceGone.__name__, step.reason))


def _retire(ports: Ports, settings: Settings, step: Step, now: datetime) -> None:
    row = ports.store.launch(step.launch_id)
    unheard = step.error in (RunnerSilent.__name__, BootTimedOut.__name__)
    try:
        retiring.reclaim(
            ports,
            step.launch_id,
            reason=step.reason,
            silent=step.silent,
            stalled=step.error == GpuIdle.__name__,
            now=now,
            unless_heard_s=settings.silence_s / 2 if unheard else 0.0,
        )
    except StillServing as heard:
        recorded(ports, Event(f"launch#{step.launch_id}", now, "heard after all", str(heard)))
        return
    retiring.terminate(ports, step.launch_id, now)
    if row is not None and step.error:
        tried("ending the execution", lambda: launching.end(ports, row, step.error, step.reason))


def _alive(seen: Mapping[str, Instance], instance_id: str) -> bool:
    return instance_id in seen and seen[instance_id].alive


def _outlives(ports: Ports, launch_id: str, now: datetime) -> None:
    """Note that every killer of an instance has failed: an end that nobody tells is booked later then."""

    def act() -> None:
        row = ports.store.launch(launch_id)
        if row is not None and row.state.open and not row.outlived:
            ports.store.write(replace(row, outlived=True))

    until_written(act, ports.pause)


def _drain(ports: Ports, launch_id: str, reason: str) -> bool:
    """Give a launch no more work; False when it needs no telling."""

    def act() -> bool:
        row = ports.store.launch(launch_id)
        if row is None or not row.state.open or row.drain:
            return False
        ports.store.write(row.asked_to_drain(reason=reason))
        return True

    return until_written(act, ports.pause)


def _warn_of_idle_gpu(ports: Ports, step: Step, now: datetime) -> None:
    def act() -> bool:
        row = ports.store.launch(step.launch_id)
        if row is None or row.gpu_warned or row.gpu_idle_since is None:
            return False
        ports.store.write(replace(row, gpu_warned=True))
        return True

    if until_written(act, ports.pause):
        mailed(
            ports,
            "arcspot: a GPU idles while its runner holds work",
            f"{step.instance_id} (launch {step.launch_id}) has leased jobs, but its GPU does nothing. "
            f"Look at logs/{step.launch_id}/ in the bucket. It ends at its deadline at the latest; with "
            "the parameter GpuIdleAction=kill the watchdog ends it at once.\n",
        )


def warn(ports: Ports, instance_id: str, reason: str, now: datetime) -> bool:
    """A spot warning arrived: the instance gets no more work. False when it is not ours."""
    instance = ports.compute.instance(instance_id)
    if instance is None or not instance.launch_id:
        return False
    if _drain(ports, instance.launch_id, reason):
        recorded(ports, Event(f"launch#{instance.launch_id}", now, "warned", reason))
    return True


def _remembered(
    ports: Ports, settings: Settings, launches: list[Launch], instances: list[Instance], now: datetime
) -> tuple[dict[str, datetime], datetime | None]:
    """Orphans already seen in an earlier round, and when runner_api was last ill.

    This round's orphans and illness are remembered for the next. The bell is rung only where a runner has
    been quiet for half of the time after which it is called silent: whoever was heard since shows that the
    door works.
    """
    by_launch = {launch.launch_id: launch for launch in launches}
    orphans = [i.instance_id for i in instances if orphan(i, by_launch)]
    quiet = timedelta(seconds=settings.silence_s / 2)
    doubtful = any(
        launch.state is LaunchState.ACTIVE and now - (launch.heartbeat_at or launch.created_at) >= quiet
        for launch in launches
    )
    ill = doubtful and not ports.bell()

    def act() -> tuple[Suspects, Suspects]:
        known = ports.store.suspects()
        since = {i: known.since.get(i, now) for i in orphans}
        updated = replace(known, since=since, door_ill_at=now if ill else known.door_ill_at)
        if (dict(updated.since), updated.door_ill_at) != (dict(known.since), known.door_ill_at):
            ports.store.write(updated)
        return known, updated

    earlier, updated = until_written(act, ports.pause)
    return dict(earlier.since), updated.door_ill_at


def _accounted(ports: Ports, launches: list[Launch], instances: list[Instance]) -> set[str]:
    """Of the instances that are gone and belong to no open launch, those whose cost is in the books."""
    by_launch = {launch.launch_id: launch for launch in launches}
    paid = set()
    for instance in instances:
        if instance.gone and stranger(instance, by_launch):
            row = ports.store.launch(instance.launch_id) if instance.launch_id else None
            # A row that is open by now and has this instance will be settled like any other.
            if (row is not None and row.instance_id == instance.instance_id) or ports.store.leak(
                instance.instance_id
            ):
                paid.add(instance.instance_id)
    return paid


def _expire(
    ports: Ports, settings: Settings, launch: Launch, door_ill_at: datetime | None, now: datetime
) -> None:
    """Take back leases whose time ran out on a launch that was heard after that.

    Who was heard and did not ask for more no longer works on the job. Who was not heard is judged as
    silent, all its jobs with it: were they taken back one by one before, no job would ever be seen to
    kill its runners. While runner_api was ill no lease could be extended, so each gets its full time
    again after that.
    """
    healed = door_ill_at + timedelta(seconds=settings.lease_s) if door_ill_at else None
    for job in ports.store.jobs(launch.leases).values():
        if job.lease is None or job.lease.launch_id != launch.launch_id:
            continue
        ran_out = max(filter(None, (job.lease.expires_at, healed)))
        if ran_out < now and launch.heartbeat_at and launch.heartbeat_at >= ran_out:
            retiring.reclaim_job(
                ports, job.job_id, launch.launch_id, reason="its lease ran out", silent=False, now=now
            )

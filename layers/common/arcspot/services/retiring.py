"""retire: reclaim leases, save the console, terminate, confirm, settle. Every step may be repeated."""

from __future__ import annotations

from datetime import datetime

from arcspot.domain.launching import Launch, LaunchState
from arcspot.errors import Conflict, RecordMissing, RunnerGaveUp, StillServing
from arcspot.ports import Event, Ports
from arcspot.services import launching, money
from arcspot.services.afterwards import recorded, tried
from arcspot.services.retry import until_written
from arcspot.settings import Settings


def reclaim(
    ports: Ports,
    launch_id: str,
    *,
    reason: str,
    silent: bool,
    now: datetime,
    unless_heard_s: float = 0.0,
    stalled: bool = False,
) -> int:
    """Close the launch to new work and take every lease back. Returns how many jobs are READY again or ended.

    DRAINING is written before any lease is taken: from then on the launch can claim nothing,
    so no job can be killed between the look and the act.

    Whoever acts because nothing was heard gives `unless_heard_s`: a runner heard within so many
    seconds keeps its work, and StillServing is raised. It may have spoken after the judgement.
    """

    def drain() -> None:
        row = _row(ports, launch_id)
        if row.state is LaunchState.ACTIVE and row.heartbeat_at and unless_heard_s:
            quiet = (now - row.heartbeat_at).total_seconds()
            if quiet < unless_heard_s:
                raise StillServing(f"launch {launch_id} was heard {quiet:.0f} s ago; it keeps its work")
        drained = row.draining(reason=reason, force=True)
        if drained == row:
            return
        if row.state is LaunchState.LAUNCHED:
            # In one write: nobody comes back here for a breaker that did not open.
            error = RunnerGaveUp(f"the instance of {launch_id} never said hello: {reason}")
            ports.store.write(drained, *launching.tripped(ports, error, now))
        else:
            ports.store.write(drained)

    until_written(drain, ports.pause)
    return reclaim_jobs(ports, _row(ports, launch_id), reason=reason, silent=silent, now=now, stalled=stalled)


def reclaim_jobs(
    ports: Ports, row: Launch, *, reason: str, silent: bool, now: datetime, stalled: bool = False
) -> int:
    """Take back every job that a launch holds; how many. One that fails keeps no other with it.

    Raises the first fault once all were tried: whoever calls comes again.
    """
    taken, fault = 0, None
    for job_id in row.leases:
        try:
            taken += reclaim_job(
                ports, job_id, row.launch_id, reason=reason, silent=silent, now=now, stalled=stalled
            )
        except Exception as error:
            fault = fault or error
    if fault is not None:
        raise fault
    return taken


def reclaim_job(
    ports: Ports,
    job_id: str,
    launch_id: str,
    *,
    reason: str,
    silent: bool,
    now: datetime,
    stalled: bool = False,
) -> bool:
    """Take one job back from a launch; False when the launch no longer has it."""

    def act() -> bool:
        job, row = ports.store.job(job_id), _row(ports, launch_id)
        if job is None or job.lease is None or job.lease.launch_id != launch_id:
            return False
        reclaimed = job.reclaimed(now=now, silent=silent, why=reason, stalled=stalled)
        ports.store.write(reclaimed, row.returned(job_id, uploads=job.uploads))
        return True

    taken = until_written(act, ports.pause)
    if taken:
        recorded(ports, Event(f"job#{job_id}", now, "reclaimed", f"from {launch_id}: {reason}"))
    return taken


def terminate(ports: Ports, launch_id: str, now: datetime) -> str:
    """Save the console, then ask EC2 to end the launch's one instance. Returns its id, "" without one."""
    row = _row(ports, launch_id)
    if not row.instance_id or not row.state.open:
        return ""
    # Evidence is worth having, but never worth an instance that goes on costing.
    tried("saving the console", lambda: _save_console(ports, row))
    ports.compute.terminate(row.instance_id)
    recorded(ports, Event(f"launch#{launch_id}", now, "terminate", row.instance_id))
    return row.instance_id


def _save_console(ports: Ports, row: Launch) -> None:
    console = ports.compute.console(row.instance_id)
    if console:
        ports.objects.write(f"logs/{row.launch_id}/console.txt", console.encode(), content_type="text/plain")


def gone(ports: Ports, launch_id: str, now: datetime) -> bool:
    """Whether EC2 says the instance is terminated; then the row says so too."""
    row = _row(ports, launch_id)
    if row.state in (LaunchState.GONE, LaunchState.SETTLED, LaunchState.RELEASED) or not row.instance_id:
        return True
    instance = ports.compute.instance(row.instance_id)
    if instance is None or not instance.gone:
        return False
    mark_gone(ports, launch_id, ended_at=instance.ended_at, now=now)
    return True


def mark_gone(ports: Ports, launch_id: str, *, ended_at: datetime | None, now: datetime) -> None:
    def act() -> None:
        row = _row(ports, launch_id)
        marked = row.gone(now=now, ended_at=ended_at)
        if marked != row:
            ports.store.write(marked)

    until_written(act, ports.pause)


def settle(ports: Ports, settings: Settings, launch_id: str, *, silent: bool, now: datetime) -> int:
    """Book the cost of a launch whose instance is gone. Returns micro-dollars.

    Raises Conflict when the instance is not known to be gone.
    """
    row = _row(ports, launch_id)
    if row.state is LaunchState.RELEASED:
        return 0
    if row.state not in (LaunchState.GONE, LaunchState.SETTLED):
        raise Conflict(f"launch {launch_id} is {row.state}: EC2 has not said that {row.instance_id} is gone")
    reclaim_jobs(ports, row, reason=row.reason or "its instance is gone", silent=silent, now=now)
    tried("looking for its zone", lambda: _place(ports, settings, row, now))
    actual = money.settle(ports, settings, launch_id, now)
    # A timer that stays fires once at the deadline, on an instance that is gone, and deletes itself.
    tried("disarming the timer", lambda: ports.timers.disarm(launch_id))
    tried("kicking report", lambda: ports.kick("report"))
    return actual


def _place(ports: Ports, settings: Settings, row: Launch, now: datetime) -> None:
    """The last look at an instance whose zone nobody saw: EC2 shows it for about an hour after its end."""
    if row.zone or row.state is not LaunchState.GONE:
        return
    instance = ports.compute.instance(row.instance_id)
    if instance is not None:
        launching.place(ports, settings, row.launch_id, instance, now)


def _row(ports: Ports, launch_id: str) -> Launch:
    row = ports.store.launch(launch_id)
    if row is None:
        raise RecordMissing(f"no launch {launch_id}")
    return row

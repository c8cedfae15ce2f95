"""Find jobs that nobody moves: READY and never claimed, or LEASED and held by nobody.

Neither should happen: a lease and the launch that holds it are written together. This is the look
that does not trust it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from arcspot.domain.jobs import Job, JobState
from arcspot.ports import Event, Ports
from arcspot.services.afterwards import recorded
from arcspot.services.retry import until_written
from arcspot.settings import Settings

MAX_BATCHES = 20


def attend(ports: Ports, settings: Settings, now: datetime) -> list[str]:
    """Free unattended jobs, note the oldest one that is never claimed; what was found, in words."""
    found = [
        f"unattended: {job.job_id}"
        for batch in ports.store.batches_due()[:MAX_BATCHES]
        if ports.store.batch_count(batch.batch_id, JobState.LEASED, 1)
        for job in list(ports.store.jobs_of_batch(batch.batch_id, JobState.LEASED))
        if not _held(ports, job) and _freed(ports, job.job_id, now)
    ]
    fleet = ports.store.fleet()
    oldest = next(iter(ports.store.ready_jobs(1, now)), None)
    # A job that waits for a reason of the fleet's (budget, hours, ...) is not stuck; its reason is shown.
    if oldest and oldest.ready_at and fleet and fleet.waits_for in ("", "boot"):
        waits = now - oldest.ready_at
        if waits > timedelta(seconds=settings.max_lifetime_s):
            found.append(f"never claimed: {oldest.job_id} waits for {int(waits.total_seconds())} s")
    return found


def _held(ports: Ports, job: Job) -> bool:
    row = ports.store.launch(job.lease.launch_id) if job.lease else None
    return row is not None and row.state.open and job.job_id in row.leases


def _freed(ports: Ports, job_id: str, now: datetime) -> bool:
    def act() -> bool:
        job = ports.store.job(job_id)
        if job is None or job.lease is None or _held(ports, job):
            return False
        ports.store.write(job.reclaimed(now=now, silent=False, why="unattended: its launch no longer has it"))
        return True

    freed = until_written(act, ports.pause)
    if freed:
        recorded(ports, Event(f"job#{job_id}", now, "unattended", "its launch no longer had it"))
    return freed

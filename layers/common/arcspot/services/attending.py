"""Find jobs that nobody moves: READY and never claimed, or LEASED and held by nobody.

Neither should happen: a lease and the launch that holds it are written together. This is the look
that does not trust it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Launch
from arcspot.errors import ItemsFailed
from arcspot.ports import Event, Ports
from arcspot.services.afterwards import recorded
from arcspot.services.retry import until_written
from arcspot.settings import Settings

# What should not happen is looked for now and then: in each round it was a third of the watchdog's reads.
EVERY_MINUTES = 5
# As many batches as one round asks; the next round goes on behind them.
BATCHES_A_ROUND = 500


def turn(now: datetime) -> bool:
    """Whether this minute's round looks for stuck jobs."""
    return now.minute % EVERY_MINUTES == 0


def attend(ports: Ports, settings: Settings, now: datetime, found: list[str] | None = None) -> list[str]:
    """Free unattended jobs, note the oldest one that is never claimed; what was found, in words.

    Raises ItemsFailed at the end when a batch could not be looked at; `found` has what was found even so.
    """
    found = [] if found is None else found
    failures: dict[str, str] = {}
    held: dict[str, Launch] = {launch.launch_id: launch for launch in ports.store.open_launches()}
    due = [batch.batch_id for batch in ports.store.batches_due(failures)]
    for batch_id in in_turn(due, now):
        try:
            _attend(ports, batch_id, held, now, found)
        except Exception as error:  # of this batch; the others have theirs
            failures[f"batch {batch_id}"] = f"{type(error).__name__}: {error}"
    try:
        found += _never_claimed(ports, settings, now)
    except Exception as error:
        failures["never claimed"] = f"{type(error).__name__}: {error}"
    if failures:
        raise ItemsFailed(failures, found)
    return found


def in_turn(batch_ids: Sequence[str], now: datetime, most: int = BATCHES_A_ROUND) -> list[str]:
    """So many of these as one round asks, others the next time: every one has its turn."""
    ordered = sorted(batch_ids)
    if len(ordered) <= most:
        return ordered
    start = int(now.timestamp() // (60 * EVERY_MINUTES)) * most % len(ordered)
    return (ordered[start:] + ordered[:start])[:most]


def _attend(ports: Ports, batch_id: str, held: Mapping[str, Launch], now: datetime, found: list[str]) -> None:
    if not ports.store.batch_count(batch_id, JobState.LEASED, 1):
        return
    for job in list(ports.store.jobs_of_batch(batch_id, JobState.LEASED)):
        row = held.get(job.lease.launch_id) if job.lease else None
        # The launches were read once, by an index and some time ago: whoever seems unheld is looked at anew.
        if (row is None or job.job_id not in row.leases) and _freed(ports, job.job_id, now):
            found.append(f"unattended: {job.job_id}")


def _never_claimed(ports: Ports, settings: Settings, now: datetime) -> Iterator[str]:
    fleet = ports.store.fleet()
    oldest = next(iter(ports.store.ready_jobs(1, now)), None)
    # A job that waits for a reason of the fleet's (budget, hours, ...) is not stuck; its reason is shown.
    if oldest and oldest.ready_at and fleet and fleet.waits_for in ("", "boot"):
        waits = now - oldest.ready_at
        if waits > timedelta(seconds=settings.max_lifetime_s):
            yield f"never claimed: {oldest.job_id} waits for {int(waits.total_seconds())} s"


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

"""status: one look at a stack's jobs, launches and money, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from arcspot.domain import waiting
from arcspot.domain.batches import refused_job
from arcspot.domain.budget import Fleet, Ledger, cost_usd_micros, period_of
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Launch, LaunchState
from arcspot.errors import RowUnreadable
from arcspot.services.contents import contents
from arcspot_cli import faults
from arcspot_cli.faults import Fault
from arcspot_cli.rows import Slimming, Through, slim
from arcspot_cli.target import Target

if TYPE_CHECKING:
    from arcspot.aws.dynamo import DynamoStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Look:
    """A stack at one moment. `faults` are the rows that cannot be read."""

    now: datetime
    jobs: tuple[Job, ...]
    launches: tuple[Launch, ...]
    ledger: Ledger | None
    fleet: Fleet | None
    disk_gb: int
    faults: tuple[Fault, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        known = Counter(str(job.state) for job in self.jobs)
        return {str(state): known[state] for state in JobState if known[state]}

    @property
    def over(self) -> bool:
        """No job is waiting or running."""
        return all(job.state.terminal for job in self.jobs)

    @property
    def waits_for(self) -> str:
        """Why READY jobs wait, in words; "" when nothing keeps them."""
        if self.fleet is None or not self.counts.get("READY") or not self.fleet.waits_for:
            return ""
        return waiting.WORDS.get(self.fleet.waits_for, self.fleet.waits_for)

    def cost_so_far(self, launch: Launch) -> int:
        """Micro-dollars a launch has cost by now."""
        if not launch.state.open or launch.started_at is None:
            return launch.actual
        seconds = (min(self.now, launch.gone_at or self.now) - launch.started_at).total_seconds()
        return cost_usd_micros(
            price_usd_micros_per_hour=launch.price, seconds=max(0.0, seconds), disk_gb=self.disk_gb
        )


def look(
    target: Target,
    now: datetime,
    *,
    batch: str | None = None,
    job_ids: Sequence[str] | None = None,
    through: Through = iter,
) -> Look:
    """Read everything once; with `batch` or `job_ids` only those jobs. Launches and money are the stack's.

    A row that cannot be read is one of the look's faults, and hides nothing else.
    """
    store = target.store
    store.bad_rows.clear()
    rows: Iterable[Job]
    if job_ids is not None:
        rows = store.jobs(job_ids).values()
    else:
        rows = _lines(store, batch) if batch else _all(store)
    jobs = tuple(slim(job) for job in through(rows))
    launches = tuple(sorted(store.every_launch(), key=lambda launch: launch.created_at))
    ledger = _read(store, lambda: store.ledger(period_of(now)))
    fleet = _read(store, store.fleet)
    return Look(
        now=now,
        jobs=jobs,
        launches=launches,
        ledger=ledger,
        fleet=fleet,
        disk_gb=int(target.parameters.get("DiskGb") or 0),
        faults=tuple(faults.of_rows(store.bad_rows)),
    )


def _read(store: DynamoStore, one: Callable[[], T | None]) -> T | None:
    """One row; None, and told with the others that cannot be read, if it cannot."""
    try:
        return one()
    except RowUnreadable as error:
        store.bad_rows[error.key] = error
        return None


def lines_of_batch(store: DynamoStore, batch: str) -> tuple[Job, ...]:
    """A line for each task dropped into the batch, whoever answers it, and for each file refused."""
    return tuple(_lines(store, batch))


def _lines(store: DynamoStore, batch: str) -> Iterator[Job]:
    found = contents(Slimming(store), batch)
    for entry in found.entries:
        yield replace(entry.job, input=replace(entry.job.input, task_id=entry.task_id))
    yield from map(refused_job, found.refused)


def _all(store: DynamoStore) -> Iterator[Job]:
    yield from store.every_job()
    yield from (refused_job(receipt) for receipt in store.every_receipt() if receipt.refused)


def as_json(seen: Look) -> dict[str, Any]:
    """The look as JSON-able data; money in micro-dollars, times in ISO 8601."""
    ledger, fleet = seen.ledger, seen.fleet
    return {
        "at": seen.now.isoformat(),
        "jobs": seen.counts,
        "running": [
            {
                "job_id": job.job_id,
                "task_id": job.task_id,
                "phase": job.lease.phase,
                "fraction": job.lease.fraction,
                "launch_id": job.lease.launch_id,
            }
            for job in seen.jobs
            if job.lease
        ],
        "waiting": [
            {"job_id": job.job_id, "task_id": job.task_id, "waits_for": reason, "since": since.isoformat()}
            for job in seen.jobs
            if (told := waiting.why(job, fleet))
            for reason, since in [told]
        ],
        "ended_badly": [
            {"job_id": job.job_id, "task_id": job.task_id, "state": str(job.state), "reason": job.reason}
            for job in seen.jobs
            if job.state in (JobState.DEAD, JobState.REJECTED, JobState.CANCELLED)
        ],
        "launches": [
            {
                "launch_id": launch.launch_id,
                "state": str(launch.state),
                "instance_id": launch.instance_id,
                "instance_type": launch.instance_type,
                "market": launch.market,
                "cost_usd_micros": seen.cost_so_far(launch),
                "reason": launch.reason,
            }
            for launch in seen.launches
        ],
        "ledger": None
        if ledger is None
        else {
            "period": ledger.period,
            "cap": ledger.cap,
            "available": ledger.available,
            "reserved": ledger.reserved,
            "settled": ledger.settled,
        },
        "waits_for": fleet.waits_for if fleet else "",
        "waits_since": fleet.waits_since.isoformat() if fleet and fleet.waits_since else None,
        **faults.as_json(seen.faults),
    }


def current(launches: tuple[Launch, ...], *, finished: int = 3) -> list[Launch]:
    """The open launches and the last few that are over."""
    over = [launch for launch in launches if launch.state in (LaunchState.SETTLED, LaunchState.RELEASED)]
    return [launch for launch in launches if launch not in over] + over[-finished:]

"""status: one look at a stack's jobs, launches and money, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from arcspot.aws.dynamo import DynamoStore
from arcspot.domain import waiting
from arcspot.domain.batches import refused_job
from arcspot.domain.budget import Fleet, Ledger, cost_usd_micros, period_of
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Launch, LaunchState
from arcspot.services.contents import contents
from arcspot_cli.target import Target


@dataclass(frozen=True, slots=True)
class Look:
    """A stack at one moment."""

    now: datetime
    jobs: tuple[Job, ...]
    launches: tuple[Launch, ...]
    ledger: Ledger | None
    fleet: Fleet | None
    disk_gb: int

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
    target: Target, now: datetime, *, batch: str | None = None, job_ids: Sequence[str] | None = None
) -> Look:
    """Read everything once; with `batch` or `job_ids` only those jobs. Launches and money are the stack's."""
    store = target.store
    if job_ids is not None:
        jobs = tuple(store.jobs(job_ids).values())
    else:
        jobs = lines_of_batch(store, batch) if batch else _all(store)
    launches = tuple(sorted(store.every_launch(), key=lambda launch: launch.created_at))
    return Look(
        now=now,
        jobs=jobs,
        launches=launches,
        ledger=store.ledger(period_of(now)),
        fleet=store.fleet(),
        disk_gb=int(target.parameters.get("DiskGb") or 0),
    )


def lines_of_batch(store: DynamoStore, batch: str) -> tuple[Job, ...]:
    """A line for each task dropped into the batch, whoever answers it, and for each file refused."""
    found = contents(store, batch)
    lines = (replace(e.job, input=replace(e.job.input, task_id=e.task_id)) for e in found.entries)
    return (*lines, *(refused_job(receipt) for receipt in found.refused))


def _all(store: DynamoStore) -> tuple[Job, ...]:
    refused = (refused_job(receipt) for receipt in store.every_receipt() if receipt.refused)
    return (*store.every_job(), *refused)


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
    }


def current(launches: tuple[Launch, ...], *, finished: int = 3) -> list[Launch]:
    """The open launches and the last few that are over."""
    over = [launch for launch in launches if launch.state in (LaunchState.SETTLED, LaunchState.RELEASED)]
    return [launch for launch in launches if launch not in over] + over[-finished:]

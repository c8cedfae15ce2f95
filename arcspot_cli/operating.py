"""pause, resume, cancel, cost: an operator's hand on a running stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from arcspot.domain.budget import Fleet
from arcspot.domain.jobs import Job
from arcspot.domain.launching import Launch
from arcspot.services.retry import until_written
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target


def pause(target: Target, reason: str) -> Fleet:
    """No launch starts from now on; what runs goes on. Done twice is done once."""
    return _set_paused(target, paused=True, reason=reason)


def resume(target: Target) -> Fleet:
    """Launches may start again; a breaker that waited for a person is closed."""

    def close() -> None:
        breaker = target.store.breaker()
        if breaker.error:
            target.store.write(breaker.closed())

    until_written(close, target.pause)
    return _set_paused(target, paused=False, reason="")


def named(target: Target, job_ids: Sequence[str], batch: str | None) -> list[Job]:
    """The jobs a person named, each once. Raises CommandFailed for an id or a batch nobody knows."""
    known = target.store.jobs(list(dict.fromkeys(job_ids)))
    unknown = [job_id for job_id in job_ids if job_id not in known]
    if unknown:
        raise CommandFailed(f"no job {', '.join(unknown)}; `arcspot status --json` lists the ids")
    of_batch = {job.job_id: job for job in target.store.jobs_of_batch(batch)} if batch else {}
    if batch and not of_batch:
        raise CommandFailed(f"no job is in a batch {batch!r}; a batch is called as the folder below tasks/")
    return list((known | of_batch).values())


def cancel(target: Target, jobs: list[Job], now: datetime) -> list[Job]:
    """Cancel jobs that are not over; a running one stops at its next heartbeat. The jobs it changed."""
    changed: list[Job] = []
    for job in jobs:

        def act(job_id: str = job.job_id) -> Job | None:
            known = target.store.job(job_id)
            cancelled = known.cancel(now=now) if known else None
            if cancelled is None or cancelled == known:
                return None
            target.store.write(cancelled)
            return cancelled

        result = until_written(act, target.pause)
        if result is not None:
            changed.append(result)
    return changed


@dataclass(frozen=True, slots=True)
class Bill:
    """What a month's launches cost. Micro-dollars."""

    period: str
    cap: int
    settled: int
    reserved: int
    launches: tuple[Launch, ...]
    jobs: int
    jobs_usd_micros: int

    @property
    def overhead(self) -> int:
        """Boot and idle time: what launches cost beyond their jobs (I16)."""
        return max(0, sum(launch.actual for launch in self.launches) - self.jobs_usd_micros)


def bill(target: Target, period: str) -> Bill:
    """The month's bill as the ledger has it. Raises CommandFailed when nothing ran in that month."""
    ledger = target.store.ledger(period)
    if ledger is None:
        raise CommandFailed(f"no ledger for {period}: nothing was launched in that month")
    launches = tuple(launch for launch in target.store.every_launch() if launch.period == period)
    jobs = [
        job
        for job in target.store.every_job()
        if job.updated_at.strftime("%Y-%m") == period and job.run_s_total
    ]
    return Bill(
        period=period,
        cap=ledger.cap,
        settled=ledger.settled,
        reserved=ledger.reserved,
        launches=tuple(sorted(launches, key=lambda launch: launch.created_at)),
        jobs=len(jobs),
        jobs_usd_micros=sum(job.cost_usd_micros for job in jobs),
    )


def bill_json(told: Bill) -> dict[str, Any]:
    return {
        "period": told.period,
        "cap": told.cap,
        "settled": told.settled,
        "reserved": told.reserved,
        "jobs": told.jobs,
        "jobs_usd_micros": told.jobs_usd_micros,
        "overhead_usd_micros": told.overhead,
        "launches": [
            {
                "launch_id": x.launch_id,
                "state": str(x.state),
                "type": x.instance_type,
                "market": x.market,
                "cost": x.actual,
            }
            for x in told.launches
        ],
    }


def _set_paused(target: Target, *, paused: bool, reason: str) -> Fleet:
    def act() -> Fleet:
        fleet = target.store.fleet() or Fleet.opened(int(target.parameters.get("MaxInstances") or 0))
        changed = replace(fleet, paused=paused, pause_reason=reason if paused else "")
        if changed != fleet or fleet.version == 0:
            target.store.write(changed)
        return changed

    return until_written(act, target.pause)

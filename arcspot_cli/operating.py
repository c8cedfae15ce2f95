"""pause, resume, cancel, cost: an operator's hand on a running stack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from arcspot.domain.budget import Fleet
from arcspot.domain.jobs import Job
from arcspot.domain.launching import Launch
from arcspot.services.retry import until_written
from arcspot_cli import faults, showing
from arcspot_cli.errors import CommandFailed
from arcspot_cli.faults import Fault
from arcspot_cli.rows import Through, slim
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


def named(target: Target, job_ids: Sequence[str], batch: str | None, *, through: Through = iter) -> list[Job]:
    """The jobs a person named, each once; rows that cannot be read are in the store's `bad_rows`.

    Raises CommandFailed for an id or a batch nobody knows.
    """
    bad = target.store.bad_rows
    bad.clear()
    known = target.store.jobs(list(dict.fromkeys(job_ids)))
    unknown = [job_id for job_id in job_ids if job_id not in known and job_id not in bad]
    if unknown:
        raise CommandFailed(f"no job {', '.join(unknown)}; `arcspot status --json` lists the ids")
    of_batch = {job.job_id: slim(job) for job in through(target.store.jobs_of_batch(batch))} if batch else {}
    if batch and not of_batch and not bad:
        raise CommandFailed(f"no job is in a batch {batch!r}; a batch is called as the folder below tasks/")
    return list((known | of_batch).values())


def cancel(
    target: Target,
    jobs: Iterable[Job],
    now: datetime,
    *,
    failed: Callable[[Fault], object] = lambda fault: showing.say(str(fault)),
) -> list[Job]:
    """Cancel jobs that are not over; a running one stops at its next heartbeat. The jobs it changed.

    `failed` hears of each that could not be cancelled; the others are.
    """
    changed: list[Job] = []
    for job in jobs:
        if job.state.terminal:
            continue

        def act(job_id: str = job.job_id) -> Job | None:
            known = target.store.job(job_id)
            cancelled = known.cancel(now=now) if known else None
            if cancelled is None or cancelled == known:
                return None
            target.store.write(cancelled)
            return cancelled

        try:
            result = until_written(act, target.pause)
        except Exception as error:
            failed(Fault(job.task_id, faults.words(error), job.job_id))
            continue
        if result is not None:
            changed.append(result)
    return changed


@dataclass(frozen=True, slots=True)
class Bill:
    """What a month's launches cost. Micro-dollars. `faults` are the rows that cannot be read: not in it."""

    period: str
    cap: int
    settled: int
    reserved: int
    launches: tuple[Launch, ...]
    jobs: int
    jobs_usd_micros: int
    faults: tuple[Fault, ...] = ()

    @property
    def overhead(self) -> int:
        """Boot and idle time: what launches cost beyond their jobs (I16)."""
        return max(0, sum(launch.actual for launch in self.launches) - self.jobs_usd_micros)


def bill(target: Target, period: str, *, through: Through = iter) -> Bill:
    """The month's bill as the ledger has it. Raises CommandFailed when nothing ran in that month."""
    ledger = target.store.ledger(period)
    if ledger is None:
        raise CommandFailed(f"no ledger for {period}: nothing was launched in that month")
    target.store.bad_rows.clear()
    launches = tuple(launch for launch in target.store.every_launch() if launch.period == period)
    costs = [
        job.cost_usd_micros
        for job in through(target.store.every_job())
        if job.updated_at.strftime("%Y-%m") == period and job.run_s_total
    ]
    return Bill(
        period=period,
        cap=ledger.cap,
        settled=ledger.settled,
        reserved=ledger.reserved,
        launches=tuple(sorted(launches, key=lambda launch: launch.created_at)),
        jobs=len(costs),
        jobs_usd_micros=sum(costs),
        faults=tuple(faults.of_rows(target.store.bad_rows)),
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
        **faults.as_json(told.faults),
    }


def _set_paused(target: Target, *, paused: bool, reason: str) -> Fleet:
    def act() -> Fleet:
        fleet = target.store.fleet() or Fleet.opened(int(target.parameters.get("MaxInstances") or 0))
        changed = replace(fleet, paused=paused, pause_reason=reason if paused else "")
        if changed != fleet or fleet.version == 0:
            target.store.write(changed)
        return changed

    return until_written(act, target.pause)

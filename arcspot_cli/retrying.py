"""retry: jobs that ended without an answer are tried again. First the plan, then its doing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from arcspot.domain.batches import Batch
from arcspot.domain.jobs import Job, JobState
from arcspot.ports import Event
from arcspot.services.retry import until_written
from arcspot_cli import faults
from arcspot_cli.faults import Fault
from arcspot_cli.operating import named
from arcspot_cli.rows import Through, slim
from arcspot_cli.target import Target

REVIVABLE = (JobState.DEAD, JobState.CANCELLED)
WHY_LEFT = {
    JobState.READY: "it waits for its turn already",
    JobState.LEASED: "it is being worked on",
    JobState.DONE: "it has its answer",
    JobState.REJECTED: "its file was refused; mend the file and drop it again",
}


@dataclass(frozen=True, slots=True)
class Retries:
    """Jobs to try again (or that will be), those left as they are, and those with which it went wrong."""

    again: tuple[Job, ...]
    left: tuple[Job, ...]
    faults: tuple[Fault, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "retried": [_plain(job) for job in self.again],
            "left": [{**_plain(job), "state": str(job.state), "why": why_left(job)} for job in self.left],
            **faults.as_json(self.faults),
        }


def plan(
    target: Target, job_ids: Sequence[str], *, batch: str | None, dead: bool, through: Through = iter
) -> Retries:
    """What a retry of these jobs would do; `dead` leaves nothing but the DEAD ones of a batch, or of all.

    A row that cannot be read is one of the faults, and stops nothing else.

    Raises CommandFailed for an id or a batch nobody knows.
    """
    target.store.bad_rows.clear()
    if dead:
        jobs = named(target, (), batch) if batch else target.store.every_job()
        again = tuple(slim(job) for job in through(jobs) if job.state is JobState.DEAD)
        return Retries(again, (), tuple(faults.of_rows(target.store.bad_rows)))
    named_ones = named(target, job_ids, batch, through=through)
    return Retries(
        again=tuple(job for job in named_ones if job.state in REVIVABLE),
        left=tuple(job for job in named_ones if job.state not in REVIVABLE),
        faults=tuple(faults.of_rows(target.store.bad_rows)),
    )


def carry_out(target: Target, planned: Retries, now: datetime) -> Retries:
    """Do it, job by job; what became of each. Stopped half-way, the rest is planned the next time."""
    again: list[Job] = []
    left, bad = list(planned.left), list(planned.faults)
    for job in planned.again:
        act = partial(_revive, target, job, now)
        try:
            now_is, revived = until_written(act, target.pause)
        except Exception as error:
            bad.append(Fault(job.task_id, faults.words(error), job.job_id))
            continue
        (again if revived else left).append(now_is)
    return Retries(tuple(again), tuple(left), tuple(bad))


def kick(target: Target) -> None:
    """Have the stack look now: its minute's rounds may sleep, and a slow one may be five minutes away."""
    from botocore.exceptions import BotoCoreError, ClientError

    from arcspot.aws.messages import AsyncInvoke

    with suppress(ClientError, BotoCoreError):
        AsyncInvoke(target.client("lambda"), target.stack)("scale")


def _revive(target: Target, job: Job, now: datetime) -> tuple[Job, bool]:
    known = target.store.job(job.job_id) or job
    if known.state not in REVIVABLE:
        return known, False  # somebody else was faster
    revived = known.revived(now=now)
    batch = target.store.batch(known.batch_id) or Batch(known.batch_id, created_at=now, report_due_at=None)
    # In one write, and the batch's row even if it is due already: whoever reports the batch just now,
    # from before this job came back, must not be able to call it reported.
    target.store.write(revived, batch.due(now))
    target.store.record(Event(f"job#{job.job_id}", now, "retried", f"by hand, was {known.state}"))
    return revived, True


def why_left(job: Job) -> str:
    if job.state is JobState.LEASED and job.cancelled:
        return "it is being cancelled; try again when its runner has let it go"
    return WHY_LEFT[job.state]


def _plain(job: Job) -> dict[str, str]:
    return {"job_id": job.job_id, "task_id": job.task_id, "batch": job.batch_id}

"""heal: a job whose file nobody can fetch gets the file that was dropped under a good key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from arcspot.domain import names
from arcspot.domain.jobs import Job, JobState
from arcspot.ports import Event, Ports
from arcspot.services.retry import until_written

SPOILT = (JobState.READY, JobState.LEASED, JobState.DEAD)


def heal(ports: Ports, made: Sequence[Job], new: set[str], now: datetime) -> set[str]:
    """Give known jobs that point to a key no URL can carry the input of those just `made`; the ids healed.

    Such jobs are of a release that took any key. One that was given up is tried again; one that is answered
    or was cancelled stays. Nothing is read where every job is new.
    """
    known = {job.job_id: job for job in made if job.job_id not in new}
    found = ports.store.jobs(list(known)) if known else {}
    return {job_id for job_id in found if _spoilt(found[job_id]) and _point(ports, known[job_id], now)}


def _spoilt(job: Job) -> bool:
    return job.state in SPOILT and names.path_fault(job.input.key) is not None


def _point(ports: Ports, good: Job, now: datetime) -> bool:
    healed = False

    def act() -> None:
        nonlocal healed
        job = ports.store.job(good.job_id)
        healed = job is not None and _spoilt(job)
        if job is not None and healed:
            ports.store.write(job.pointed_at(good.input, batch_id=good.batch_id, now=now))

    until_written(act)
    if healed:
        ports.store.record(Event(f"job#{good.job_id}", now, "healed", good.input.key))
    return healed

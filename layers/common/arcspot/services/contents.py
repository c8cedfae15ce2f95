"""What a batch holds: every task that was dropped into it, whoever answers it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from arcspot.domain.batches import Receipt
from arcspot.domain.jobs import Job
from arcspot.ports import Store

# An index shows what was written within seconds; a count may be too high by a call that was repeated.
LAG = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Entry:
    """One task of a dropped file and its job. `ours`: the batch brought the job, and pays for it.

    A job that stands for several tasks of the batch (twins) is paid for by the first of them.
    """

    task_id: str
    job: Job
    ours: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """A batch's tasks in the order of its files' keys, and their receipts.

    `expired` are (task id, job id) whose job's row is there no more.
    """

    entries: tuple[Entry, ...]
    receipts: tuple[Receipt, ...]
    expired: tuple[tuple[str, str], ...]

    def seen_by(self, now: datetime, files: int) -> bool:
        """Whether the index shows all of a batch's receipts: so many, or those of some time ago alone."""
        return len(self.receipts) >= files or all(now - r.handled_at > LAG for r in self.receipts)

    @property
    def refused(self) -> tuple[Receipt, ...]:
        return tuple(receipt for receipt in self.receipts if receipt.refused)

    @property
    def jobs(self) -> dict[str, Job]:
        return {entry.job.job_id: entry.job for entry in self.entries}


def contents(store: Store, batch_id: str) -> Contents:
    """Read a batch whole: its receipts, and each of their jobs fresh.

    A job that the batch brought and no receipt names is in it too: its file was overwritten since, or an
    earlier release made it, which left no receipts in the table.
    """
    receipts = sorted(store.receipts_of_batch(batch_id), key=lambda receipt: receipt.key)
    named = [entry for receipt in receipts for entry in receipt.entries]
    ids = dict.fromkeys(job_id for _, job_id in named)
    brought = [job_id for job_id in store.job_ids_of_batch(batch_id) if job_id not in ids]
    jobs = store.jobs([*ids, *brought])
    named += [(jobs[job_id].task_id, job_id) for job_id in brought if job_id in jobs]
    entries, paid = [], set[str]()
    for task_id, job_id in named:
        if job := jobs.get(job_id):
            entries.append(Entry(task_id, job, ours=job.batch_id == batch_id and job_id not in paid))
            paid.add(job_id)
    return Contents(
        entries=tuple(entries),
        receipts=tuple(receipts),
        expired=tuple((task_id, job_id) for task_id, job_id in named if job_id not in jobs),
    )

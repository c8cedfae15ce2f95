"""What a batch holds: every task that was dropped into it, whoever answers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from arcspot.domain.batches import Receipt, refused_job
from arcspot.domain.jobs import Job
from arcspot.errors import RowUnreadable
from arcspot.ports import Store

JOBS_AT_ONCE = 1_000
EARLIER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Place:
    """One task of a batch: in which version of which file it lies, and the job that stands for it.

    `first`: of the batch's tasks with this job, the one that pays for it; `twin` is that one's id for the
    others. `latest`: of those with this id, the one dropped last, whose answer is submitted.
    """

    task_id: str
    job_id: str
    key: str
    object_version: str
    dropped_at: datetime
    first: bool = True
    twin: str = ""
    latest: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file of a batch that has faults, as one line."""

    task_id: str
    key: str
    refused_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch by its receipts, in the order of its files' keys; no job is read for it."""

    places: tuple[Place, ...]
    refused: tuple[Refusal, ...]
    files: int


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

    @property
    def refused(self) -> tuple[Receipt, ...]:
        return tuple(receipt for receipt in self.receipts if receipt.refused)

    @property
    def jobs(self) -> dict[str, Job]:
        return {entry.job.job_id: entry.job for entry in self.entries}


def contents(store: Store, batch_id: str) -> Contents:
    """Read a batch whole: its receipts, and each of their jobs fresh."""
    receipts: list[Receipt] = []
    plan = planned(store, batch_id, receipts)
    jobs = store.jobs([place.job_id for place in plan.places if place.first])
    return Contents(
        entries=tuple(
            Entry(place.task_id, job, ours=place.first and job.batch_id == batch_id)
            for place in plan.places
            if (job := jobs.get(place.job_id))
        ),
        receipts=tuple(sorted(receipts, key=lambda receipt: receipt.key)),
        expired=tuple((p.task_id, p.job_id) for p in plan.places if p.job_id not in jobs),
    )


def planned(store: Store, batch_id: str, receipts: list[Receipt] | None = None) -> Plan:
    """What lies in a batch. The same task dropped twice is one place, in the file dropped last.

    Most tasks are named by no receipt: theirs is not listed, for the job that the batch brought says all of
    it. So does the job of a file that was overwritten since. `receipts` takes those that are listed.
    """
    places: dict[tuple[str, str], Place] = {}
    refused: list[Refusal] = []
    newest: dict[str, Receipt] = {}
    for receipt in store.receipts_of_batch(batch_id):
        newest[receipt.object_key] = receipt
        if receipts is not None:
            receipts.append(receipt)
        if receipt.refused:
            line = refused_job(receipt)
            refused.append(Refusal(line.task_id, receipt.key, receipt.handled_at, line.reason))
        for place in _places(receipt):
            known = places.get((place.task_id, place.job_id))
            if known is None or (known.dropped_at, known.key) < (place.dropped_at, place.key):
                places[place.task_id, place.job_id] = place
    brought = _brought(store, list(store.job_ids_of_batch(batch_id)), places)
    files = len(newest) + len({place.key for place in brought if place.key})
    found = [*places.values(), *_in_order(store, batch_id, brought, newest)]
    # In the order of keys, and within a file in the file's: sorting keeps what is equal as it was.
    found.sort(key=lambda place: (not place.key, place.key))
    refused.sort(key=lambda refusal: refusal.key)
    return Plan(tuple(_told_apart(found)), tuple(refused), files)


def _in_order(
    store: Store, batch_id: str, brought: list[Place], newest: dict[str, Receipt]
) -> Iterable[Place]:
    """These places, those of a file's earlier versions before that of its newest.

    An event of an earlier version may come late, and its job is made late then.
    """
    versions: dict[str, set[str]] = {}
    for place in brought:
        versions.setdefault(place.key, set()).add(place.object_version)
    unsure = [key for key, found in versions.items() if len(found) > 1 and key and key not in newest]
    for receipt in _receipts_of(store, batch_id, unsure):
        newest[receipt.object_key] = receipt
    for place in brought:
        last = newest.get(place.key)
        late = last is not None and place.object_version != last.object_version
        at = (
            min(place.dropped_at, last.handled_at - EARLIER)
            if last is not None and late
            else place.dropped_at
        )
        yield replace(place, dropped_at=at) if at != place.dropped_at else place


def _receipts_of(store: Store, batch_id: str, keys: list[str]) -> Iterable[Receipt]:
    """The receipts of these files, dropped into the batch or taken in by the run that it is."""
    named = [name for key in keys for name in (key, f"runs/{batch_id}/{key}")]
    return (each for each in store.receipts(named).values() if each.batch_id == batch_id) if named else ()


def _places(receipt: Receipt) -> Iterable[Place]:
    # One text for all of a file's tasks, not one each: a batch may have 100,000.
    key, version, at = receipt.object_key, receipt.object_version, receipt.handled_at
    return (Place(task_id, job_id, key, version, at) for task_id, job_id in receipt.entries)


def _brought(store: Store, job_ids: list[str], known: Mapping[tuple[str, str], Place]) -> list[Place]:
    """The places of jobs that the batch brought, by their own rows, but for those `known`.

    Of a job that is known under a twin's id the own id is looked for, too.
    """
    places: list[Place] = []
    named = {job_id for _, job_id in known}
    unread: dict[str, RowUnreadable] = {}
    # Of a batch of 100,000 only the places are kept.
    for start in range(0, len(job_ids), JOBS_AT_ONCE):
        read = _read(store, job_ids[start : start + JOBS_AT_ONCE], fresh=False)
        unread |= read.unread
        places += (
            Place(job.task_id, job.job_id, job.input.key, job.input.object_version, job.created_at)
            for job in read.jobs.values()
            if (job.task_id, job.job_id) not in known
        )
    places.sort(key=lambda place: (place.key, place.dropped_at, place.task_id, place.job_id))
    # Of what cannot be read nothing is known but its name: it stands behind all others.
    lost = {job_id: error for job_id, error in unread.items() if job_id not in named}
    moments = [place.dropped_at for place in (*known.values(), *places)]
    if lost and not moments:
        raise next(iter(lost.values()))
    return places + [Place(job_id, job_id, "", "", max(moments)) for job_id in lost]


def _told_apart(places: list[Place]) -> Iterable[Place]:
    """Each with what it is among the others: who pays for a job, and whose answer has the id."""
    payers: dict[str, str] = {}
    latest: dict[str, Place] = {}
    for place in places:
        other = latest.get(place.task_id)
        if other is None or (other.dropped_at, other.key) <= (place.dropped_at, place.key):
            latest[place.task_id] = place
    for place in places:
        first = place.job_id not in payers
        payer = payers.setdefault(place.job_id, place.task_id)
        last = latest[place.task_id] is place
        if first and last:
            yield place
        else:
            yield replace(place, first=first, twin="" if first else payer, latest=last)


@dataclass(frozen=True, slots=True)
class Read:
    """Jobs as they were read; `unread` has why others could not be. Expired ones are in neither."""

    jobs: Mapping[str, Job]
    unread: Mapping[str, RowUnreadable]


def jobs_of(store: Store, places: Iterable[Place]) -> Read:
    """The jobs of these places, each read once. A row that cannot be read hides no other."""
    return _read(store, [place.job_id for place in places])


def _read(store: Store, job_ids: Sequence[str], *, fresh: bool = True) -> Read:
    ids = dict.fromkeys(job_ids)
    unread: dict[str, RowUnreadable] = {}
    while ids:
        try:
            return Read(store.jobs(list(ids), fresh=fresh), unread)
        except RowUnreadable as error:
            if error.key not in ids:
                raise
            unread[error.key] = error
            del ids[error.key]
    return Read({}, unread)

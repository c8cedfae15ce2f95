"""ingest: a task file dropped into the bucket becomes jobs, or a refusal that says why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from arcspot.domain import names, tasks
from arcspot.domain.batches import Batch, Receipt, in_parts, refused_in_words
from arcspot.domain.jobs import DEFAULT_LANE, Job, JobState, TaskInput
from arcspot.domain.tasks import Fault, Task
from arcspot.errors import ObjectUnreadable, RecordMissing
from arcspot.ports import Event, Fetched, Ports, Store
from arcspot.services.afterwards import recorded
from arcspot.services.retry import until_written
from arcspot.services.scaling import estimated_seconds
from arcspot.settings import Settings

TASKS_PREFIX = names.TASKS
DEFAULT_BATCH = names.DEFAULT_BATCH
batch_of = names.batch_of
# What is read at once: a function of 1 GB holds it, parsed as well.
# The jobs of a group are made a microsecond apart, the last one at the group's own moment.
MADE_WITHIN = timedelta(milliseconds=100)
# A folder of files comes in over a minute: `scale` is kicked for the first of them, and looks each minute.
KICKED_WITHIN = timedelta(seconds=10)
GROUP_FILES = 100
GROUP_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Dropped:
    """One version of one object, as an event or a listing tells of it.

    `run` names the run of a recurring submission: it is the batch, and part of every job's id,
    so that the same tasks are worked on again.
    """

    key: str
    size: int
    object_version: str = ""
    sequencer: str = ""
    run: str = ""

    @property
    def told_of(self) -> str:
        """What its receipt is kept under: a recurring run's never hides that of the file itself."""
        return f"runs/{self.run}/{self.key}" if self.run else self.key

    @property
    def batch_id(self) -> str:
        return self.run or batch_of(self.key)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: the jobs it stands for (new or known), and its faults in words.

    `stale`: a later version was handled already. `gone`: there is no such file any more, or never was one
    where the object only marks a folder. `error` is what kept it from being handled; nothing is known of it
    then, and it is worth another try. `kicked`: files of its batch came in a moment ago, so that `scale` was
    kicked.
    """

    key: str
    batch_id: str
    jobs: tuple[tuple[str, str, bool], ...] = ()  # (task id, job id, new)
    refusals: tuple[str, ...] = ()
    stale: bool = False
    gone: bool = False
    error: Exception | None = None
    kicked: bool = False

    @property
    def new_jobs(self) -> int:
        return sum(new for _, _, new in self.jobs)


def config_of(settings: Settings, run: str = "") -> dict[str, Any]:
    """The configuration every job of this stack runs with; part of the job's id."""
    config: dict[str, Any] = {"budget_s": settings.task_budget_s, "model": "auto", "seed": 0}
    return {**config, "run": run} if run else config


def ingest(ports: Ports, settings: Settings, dropped: Dropped, now: datetime) -> Outcome:
    """Turn one dropped object into jobs. Doing it again changes nothing and costs nothing.

    Raises what kept it from being handled.
    """
    (outcome,) = ingest_together(ports, settings, [dropped], now)
    if outcome.error is not None:
        raise outcome.error
    return outcome


def groups(drops: Iterable[Dropped]) -> list[list[Dropped]]:
    """Files to be handled together: as many as memory holds, none of them twice."""
    made: list[list[Dropped]] = []
    size, keys = 0, set[str]()
    for dropped in drops:
        full = made and (len(made[-1]) >= GROUP_FILES or size + dropped.size > GROUP_BYTES)
        if not made or full or dropped.told_of in keys:
            made.append([])
            size, keys = 0, set()
        made[-1].append(dropped)
        size += dropped.size
        keys.add(dropped.told_of)
    return made


def ingest_together(
    ports: Ports, settings: Settings, drops: Sequence[Dropped], now: datetime
) -> list[Outcome]:
    """The outcome of each file of a group, in order. What is wrong with one is its own.

    The calls are shared: two reads for all, each write of a row or an object several at once.
    """
    try:
        return _together(ports, settings, drops, now)
    except Exception as error:
        if len(drops) == 1:
            return [Outcome(key=drops[0].key, batch_id=drops[0].batch_id, error=error)]
    # One of them, or the world: each alone tells.
    return [ingest_together(ports, settings, [dropped], now)[0] for dropped in drops]


def _together(ports: Ports, settings: Settings, drops: Sequence[Dropped], now: datetime) -> list[Outcome]:
    known = ports.store.receipts([dropped.told_of for dropped in drops])
    read = _read(ports, [dropped for dropped in drops if not _handled(known.get(dropped.told_of), dropped)])
    files = [(dropped, file) for dropped, file in read.items() if isinstance(file, _File)]
    made = _jobs(ports, settings, files, now)
    outcomes = {dropped: file for dropped, file in read.items() if isinstance(file, Outcome)}
    changed: list[tuple[Receipt | None, Receipt]] = []
    for dropped, file in files:
        before = known.get(dropped.told_of)
        outcomes[dropped], receipt = _settled(settings, dropped, file, before, made, now)
        if receipt.refusals or (before and before.refusals):
            _say_refused(ports, dropped, file, receipt)
        if before is None or not receipt.says_the_same_as(before):
            changed.append((before, receipt))
    outcomes |= {d: _as_before(d, known[d.told_of]) for d in drops if d not in outcomes}
    handled = [o for o in outcomes.values() if not (o.error or o.gone or o.stale)]
    batches = {outcome.batch_id for outcome in handled}
    # Due before the receipts are there, so that they are reported if this is the last thing that happens.
    before_this = {batch_id: _due(ports, batch_id, now, touched=False) for batch_id in batches}
    written = _write_receipts(ports, [receipt for _, receipt in changed])
    fresh = Counter(receipt.batch_id for receipt in written if receipt.version == 0)
    # What such a file held before is a place of its own in the batch now, told of by its job alone.
    fresh.update(after.batch_id for before, after in changed if before and _leaves_a_job(before, after))
    for batch_id in {receipt.batch_id for _, receipt in changed}:
        _due(ports, batch_id, now, files=fresh[batch_id])
    if events := [event for outcome in handled for event in _events(outcome, now)]:
        recorded(ports, *events)
    joined = {batch_id for batch_id, batch in before_this.items() if batch.touched_within(KICKED_WITHIN, now)}
    return [replace(outcomes[d], kicked=outcomes[d].batch_id in joined) for d in drops]


def _leaves_a_job(before: Receipt, after: Receipt) -> bool:
    return not before.listed and after.listed and not set(before.entries) <= set(after.entries)


def _handled(before: Receipt | None, dropped: Dropped) -> bool:
    """Whether this version of the object, or a later one, has its receipt."""
    if before is None or not dropped.sequencer:
        return False
    return before.sequencer == dropped.sequencer or before.later_than(dropped.sequencer)


def _as_before(dropped: Dropped, before: Receipt) -> Outcome:
    if before.later_than(dropped.sequencer):
        return Outcome(key=dropped.key, batch_id=dropped.batch_id, stale=True)
    jobs = tuple((task_id, job_id, False) for task_id, job_id in before.entries)
    return Outcome(key=dropped.key, batch_id=dropped.batch_id, jobs=jobs, refusals=before.refusals)


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was read: its tasks and faults, and exactly which version of which content it was."""

    tasks: tuple[Task, ...]
    faults: tuple[Fault, ...]
    version: str
    etag: str = ""
    refused: int = 1
    places: tuple[tuple[int, int], ...] = ()


def _read(ports: Ports, drops: Sequence[Dropped]) -> dict[Dropped, _File | Outcome]:
    """Each as a file; as an outcome, what cannot be read now or is there no more."""
    found: dict[Dropped, _File | Outcome] = {}
    for dropped in drops:
        fault = tasks.key_fault(dropped.key) or tasks.size_fault(dropped.key, dropped.size)
        if names.folder_marker(dropped.key, dropped.size):
            found[dropped] = Outcome(key=dropped.key, batch_id=dropped.batch_id, gone=True)
        elif fault is not None:
            found[dropped] = _File((), (fault,), dropped.object_version)
    wanted = [dropped for dropped in drops if dropped not in found]
    bodies = ports.objects.fetch_many([(d.key, d.object_version or None) for d in wanted])
    return found | {d: _file(d, body) for d, body in zip(wanted, bodies, strict=True)}


def _file(dropped: Dropped, body: Fetched | Exception) -> _File | Outcome:
    if isinstance(body, Fetched):
        file = tasks.read_task_file(dropped.key, body.body)
        # The version that was read is the one that runs, whatever is dropped there meanwhile.
        version = dropped.object_version or body.version
        return _File(file.tasks, file.faults, version, body.etag, file.refused, file.places)
    if isinstance(body, ObjectUnreadable):
        fault = Fault("$", "an object that can be read", str(body))
        return _File((), (fault,), dropped.object_version)
    gone = isinstance(body, RecordMissing)
    if gone and dropped.object_version:
        # No try will find it again; who dropped it hears of that once.
        fault = Fault("$", "the version that was dropped", "nothing: it was deleted before it was read")
        return _File((), (fault,), dropped.object_version)
    error = None if gone else body
    return Outcome(key=dropped.key, batch_id=dropped.batch_id, gone=gone, error=error)


def _jobs(
    ports: Ports, settings: Settings, files: Sequence[tuple[Dropped, _File]], now: datetime
) -> dict[str, Job]:
    """Every job of these files as it is in the table."""
    if not any(file.tasks for _, file in files):
        return {}
    seconds = estimated_seconds(ports, settings)
    batches = {batch_id: ports.store.batch(batch_id) for batch_id in {d.batch_id for d, _ in files}}
    wanted: list[Job] = []
    first = now - (sum(len(file.tasks) for _, file in files) - 1) * timedelta(microseconds=1)
    for dropped, file in files:
        batch = batches[dropped.batch_id]
        lane = batch.lane if batch else DEFAULT_LANE
        for task, place in zip(file.tasks, file.places, strict=True):
            # A microsecond apart, so that the tasks of a file are worked on in the file's order.
            moment = first + len(wanted) * timedelta(microseconds=1)
            wanted.append(_job(settings, dropped, file.version, task, place, seconds, lane, moment))
    found = ports.store.add(wanted)
    for job in wanted:
        if found[job.job_id].needs_a_file and found[job.job_id].input != job.input:
            found[job.job_id] = _read_from(ports, job, now)
    return found


def _read_from(ports: Ports, dropped: Job, now: datetime) -> Job:
    """A job that has no file that can be read, with the file that was dropped now."""

    def act() -> Job:
        job = ports.store.job(dropped.job_id)
        if job is None or not job.needs_a_file:
            return job or dropped
        awake = job if job.state is not JobState.DEAD else job.revived(now=now)
        _list_receipt(ports.store, job)  # the job will not tell of that file any more
        batch_id = job.batch_id if names.path_fault(job.input.key) is None else dropped.batch_id
        again = replace(
            awake, input=dropped.input, batch_id=batch_id, reason="its file was dropped again", updated_at=now
        )
        ports.store.write(again)
        return replace(again, version=again.version + 1)

    return until_written(act, ports.pause)


def _list_receipt(store: Store, job: Job) -> None:
    """Have the receipt of the file that a job is read from in the index of its batch."""
    run = job.config.get("run")
    key = f"runs/{run}/{job.input.key}" if run else job.input.key
    receipt = store.receipts([key]).get(key)
    if receipt is not None and not receipt.listed:
        store.write(replace(receipt, listed=True))


def _job(
    settings: Settings,
    dropped: Dropped,
    version: str,
    task: Task,
    place: tuple[int, ...],
    estimate_s: float,
    lane: int,
    now: datetime,
) -> Job:
    config = config_of(settings, dropped.run)
    return Job(
        job_id=tasks.job_id(task, config, settings.solver_version),
        batch_id=dropped.batch_id,
        input=TaskInput(
            bucket=settings.bucket,
            key=dropped.key,
            object_version=version,
            task_id=task.task_id,
            place=place,
        ),
        config=config,
        solver_version=settings.solver_version,
        created_at=now,
        updated_at=now,
        ready_at=now,
        lane=lane,
        estimate_s=estimate_s,
    )


def _settled(
    settings: Settings,
    dropped: Dropped,
    file: _File,
    before: Receipt | None,
    made: Mapping[str, Job],
    now: datetime,
) -> tuple[Outcome, Receipt]:
    """What a file came to, for whoever asks now and for the table."""
    config = config_of(settings, dropped.run)
    jobs: dict[str, tuple[str, str, bool]] = {}
    entries = []
    for task in file.tasks:
        job_id = tasks.job_id(task, config, settings.solver_version)
        # Two equal tasks in one file are one job: only the first of them is new.
        new = job_id not in jobs and _first_in(made[job_id], dropped, file.version, task.task_id)
        jobs[job_id] = (task.task_id, job_id, new)
        entries.append((task.task_id, job_id, new))
    refusals = tuple(tasks.describe(dropped.key, fault) for fault in file.faults)
    receipt = Receipt(
        key=dropped.told_of,
        batch_id=dropped.batch_id,
        handled_at=now,
        object_version=file.version,
        # What a listing told of has none; a late event is still known by the last one.
        sequencer=dropped.sequencer or (before.sequencer if before else ""),
        etag=file.etag,
        entries=tuple((task_id, job_id) for task_id, job_id, _ in entries),
        refusals=refused_in_words(refusals),
        refused=file.refused,
        listed=not (before is None and not file.faults and _brings_one_job(entries, made, now)),
        version=before.version if before else 0,
    )
    return Outcome(dropped.key, dropped.batch_id, tuple(entries), refusals), receipt


def _brings_one_job(entries: Sequence[tuple[str, str, bool]], made: Mapping[str, Job], now: datetime) -> bool:
    """Whether a file is one task whose job was made just now: its row says all that a receipt would say.

    A job that was there before may have come from another file, and be moved from it.
    """
    if len(entries) != 1 or not entries[0][2]:
        return False
    return now - MADE_WITHIN <= made[entries[0][1]].created_at <= now


def _first_in(job: Job, dropped: Dropped, version: str, task_id: str) -> bool:
    """Whether this file is the one the job was made of: the same again for a call that is repeated."""
    origin = (job.batch_id, job.input.key, job.input.object_version, job.input.task_id)
    return origin == (dropped.batch_id, dropped.key, version, task_id)


def _events(outcome: Outcome, now: datetime) -> list[Event]:
    """What no row keeps: a refusal is cleared by the file's next version. Of a job its own row says all."""
    if not outcome.refusals:
        return []
    return [Event(f"file#{outcome.key}", now, "rejected", outcome.refusals[0][:500])]


def _say_refused(ports: Ports, dropped: Dropped, file: _File, receipt: Receipt) -> None:
    """One object for whoever looks into the bucket; it goes when the file is mended."""
    key = rejected_key(dropped.told_of)
    if not file.faults:
        ports.objects.delete(key)
        return
    document = {
        "key": dropped.key,
        "version": file.version,
        "sequencer": dropped.sequencer,
        "refused": receipt.refused,
        "faults": [{"path": f.path, "expected": f.expected, "found": f.found} for f in file.faults],
        "messages": [tasks.describe(dropped.key, fault) for fault in file.faults],
    }
    text = json.dumps(document, ensure_ascii=False, indent=1)
    ports.objects.write(key, text.encode("utf-8", "backslashreplace"), content_type="application/json")


def _write_receipts(ports: Ports, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Write each; of two that tell of one file the later version stays. Those nobody else had written."""
    rows = [row for receipt in receipts for row in in_parts(receipt)]
    more = [row for row in rows if row.part]
    # Parts are new or the same as what is there; the first rows say that they count.
    ports.store.write_each(more)
    firsts = [row for row in rows if not row.part]
    lost = ports.store.write_each(firsts)
    for row in lost:
        until_written(lambda row=row: _write_receipt(ports.store, row), ports.pause)  # type: ignore[misc]
    return [row for row in firsts if row not in lost]


def _write_receipt(store: Store, receipt: Receipt) -> None:
    there = store.receipts([receipt.key]).get(receipt.key)
    if there is None or not there.later_than(receipt.sequencer):
        # Two versions came at once: which of their jobs is the file's is told by the receipt alone.
        store.write(replace(receipt, version=there.version if there else 0, listed=True))


def _due(ports: Ports, batch_id: str, now: datetime, *, files: int = 0, touched: bool = True) -> Batch:
    return until_written(
        lambda: batch_due(ports.store, batch_id, now, files=files, touched=touched), ports.pause
    )


def batch_due(store: Store, batch_id: str, now: datetime, *, files: int = 0, touched: bool = True) -> Batch:
    """Have a batch reported once its jobs are over; the batch as it was before.

    Without `touched` it may be due already. A report that has read the batch before this writes nothing:
    whoever counts on it looks again.
    """
    batch = store.batch(batch_id) or Batch(batch_id=batch_id, created_at=now, report_due_at=None)
    if touched or batch.report_due_at is None or batch.version == 0:
        store.write(batch.due(now, files))
    return batch


def rejected_key(key: str) -> str:
    """Where the refusal of a key is kept for people: shortened where it would be longer than S3 takes."""
    return names.derived_key("rejected/", key)

"""ingest: a task file dropped into the bucket becomes jobs, or a refusal that says why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

from arcspot.domain import tasks
from arcspot.domain.jobs import DEFAULT_LANE, Batch, Job, JobState, TaskInput
from arcspot.errors import RecordMissing
from arcspot.ports import Event, Ports, Store
from arcspot.services.retry import until_written
from arcspot.services.scaling import estimated_seconds
from arcspot.settings import Settings

TASKS_PREFIX = "tasks/"
DEFAULT_BATCH = "default"


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


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a file: the jobs it stands for (new or known), and its faults in words."""

    key: str
    batch_id: str
    jobs: tuple[tuple[str, str, bool], ...]  # (task id, job id, new)
    refusals: tuple[str, ...]
    stale: bool = False

    @property
    def new_jobs(self) -> int:
        return sum(new for _, _, new in self.jobs)


def batch_of(key: str) -> str:
    """The batch a key belongs to: the first folder below `tasks/`."""
    first, slash, _ = key.removeprefix(TASKS_PREFIX).partition("/")
    return first if slash and first else DEFAULT_BATCH


def config_of(settings: Settings, run: str = "") -> dict[str, Any]:
    """The configuration every job of this stack runs with; part of the job's id."""
    config: dict[str, Any] = {"budget_s": settings.task_budget_s, "model": "auto", "seed": 0}
    return {**config, "run": run} if run else config


def submit_again(
    ports: Ports,
    settings: Settings,
    *,
    prefix: str,
    name: str,
    now: datetime,
    enough_time: Callable[[], bool] = lambda: True,
) -> tuple[list[Receipt], int]:
    """A recurring submission's turn: every file below `prefix` becomes jobs of the batch `name-<time>`.

    The same turn told twice is one run: its name has the minute in it, and a file that has the run's
    receipt is not read again. So a turn is worked off in pieces: returns the receipts of this piece,
    and how many files there was not `enough_time` for. A piece does at least one file, whatever the time.
    """
    run = f"{name}-{now:%Y%m%dT%H%M}"
    told = _receipted(ports, f"runs/{run}/")
    every = [key for key in ports.objects.keys(prefix) if key.endswith(".json")]
    waiting = [key for key in every if f"runs/{run}/{key}" not in told]
    receipts: list[Receipt] = []
    for key in waiting:
        if receipts and not enough_time():
            break
        dropped = Dropped(key=key, size=ports.objects.size(key) or 0, run=run)
        receipts.append(ingest(ports, settings, dropped, now))
    # A call that died between a file's receipt and its batch left a batch nobody would report.
    if len(waiting) < len(every) and _unreported(ports, run):
        until_written(lambda: batch_due(ports.store, run, now))
    return receipts, len(waiting) - len(receipts)


def ingest(ports: Ports, settings: Settings, dropped: Dropped, now: datetime) -> Receipt:
    """Turn one dropped object into jobs. Doing it again changes nothing and costs nothing."""
    key = dropped.key
    if _stale(ports, dropped):
        return Receipt(key=key, batch_id=_batch_id(dropped), jobs=(), refusals=(), stale=True)
    fault = tasks.key_fault(key) or tasks.size_fault(key, dropped.size)
    if fault is None:
        body = ports.objects.read(key, version=dropped.object_version or None)
        file = tasks.read_task_file(key, body)
    else:
        file = tasks.TaskFile(tasks=(), faults=(fault,))
    seconds = estimated_seconds(ports, settings)
    batch = ports.store.batch(_batch_id(dropped))
    lane = batch.lane if batch else DEFAULT_LANE
    new = ports.store.add(
        # A microsecond apart, so that the tasks of a file are worked on in the file's order.
        [
            _job(settings, dropped, task, seconds, lane, now + n * timedelta(microseconds=1))
            for n, task in enumerate(file.tasks)
        ]
    )
    receipt = _receipt(settings, dropped, file, new)
    _write_receipts(ports, dropped, file, receipt, now)
    if receipt.new_jobs or receipt.refusals or _unreported(ports, receipt.batch_id):
        until_written(lambda: batch_due(ports.store, receipt.batch_id, now))
    return receipt


def sweep(ports: Ports, settings: Settings, now: datetime) -> list[Receipt]:
    """Ingest every object below `tasks/` that has no receipt: what no event told of."""
    told = _receipted(ports)
    return [
        ingest(ports, settings, Dropped(key=key, size=ports.objects.size(key) or 0), now)
        for key in ports.objects.keys(TASKS_PREFIX)
        if key not in told
    ]


def _receipted(ports: Ports, below: str = "") -> set[str]:
    """What receipts are kept under, of those below a folder."""
    return {
        key.removeprefix(prefix).removesuffix(".json")
        for prefix in ("accepted/", "rejected/")
        for key in ports.objects.keys(prefix + below)
    }


def _batch_id(dropped: Dropped) -> str:
    return dropped.run or batch_of(dropped.key)


def _job(
    settings: Settings, dropped: Dropped, task: tasks.Task, estimate_s: float, lane: int, now: datetime
) -> Job:
    config = config_of(settings, dropped.run)
    return Job(
        job_id=tasks.job_id(task, config, settings.solver_version),
        batch_id=_batch_id(dropped),
        input=TaskInput(
            bucket=settings.bucket,
            key=dropped.key,
            object_version=dropped.object_version,
            task_id=task.task_id,
        ),
        config=config,
        solver_version=settings.solver_version,
        created_at=now,
        updated_at=now,
        ready_at=now,
        lane=lane,
        estimate_s=estimate_s,
    )


def _receipt(settings: Settings, dropped: Dropped, file: tasks.TaskFile, new: set[str]) -> Receipt:
    config = config_of(settings, dropped.run)
    jobs: list[tuple[str, str, bool]] = []
    for task in file.tasks:
        job_id = tasks.job_id(task, config, settings.solver_version)
        # Two equal tasks in one file are one job: only the first of them is new.
        first = job_id in new and all(job_id != known for _, known, _ in jobs)
        jobs.append((task.task_id, job_id, first))
    refusals = tuple(tasks.describe(dropped.key, fault) for fault in file.faults)
    return Receipt(key=dropped.key, batch_id=_batch_id(dropped), jobs=tuple(jobs), refusals=refusals)


def _write_receipts(
    ports: Ports, dropped: Dropped, file: tasks.TaskFile, receipt: Receipt, now: datetime
) -> None:
    known = {"key": dropped.key, "version": dropped.object_version, "sequencer": dropped.sequencer}
    if file.faults:
        faults = [{"path": f.path, "expected": f.expected, "found": f.found} for f in file.faults]
        messages = list(receipt.refusals)
        # The receipt after the row: whoever goes on after a crash looks for receipts only.
        ports.store.add([_rejected(dropped, receipt, now)])
        _put(ports, rejected_key(_told_of(dropped)), {**known, "faults": faults, "messages": messages})
        ports.store.record(Event(f"file#{dropped.key}", now, "rejected", messages[0][:500]))
    else:
        ports.objects.delete(rejected_key(_told_of(dropped)))
    if file.tasks:
        jobs = [{"task_id": task, "job_id": job, "new": new} for task, job, new in receipt.jobs]
        _put(ports, accepted_key(_told_of(dropped)), {**known, "batch_id": receipt.batch_id, "jobs": jobs})
        ports.store.record(
            *(Event(f"job#{job}", now, "accepted", dropped.key) for _, job, new in receipt.jobs if new)
        )


def _rejected(dropped: Dropped, receipt: Receipt, now: datetime) -> Job:
    mark = hashlib.sha256(f"{dropped.key}\n{dropped.object_version}".encode()).hexdigest()[:24]
    return Job(
        job_id=f"rejected-{mark}",
        batch_id=receipt.batch_id,
        input=TaskInput(
            bucket="", key=dropped.key, object_version=dropped.object_version, task_id=tasks.stem(dropped.key)
        ),
        config={},
        solver_version="",
        created_at=now,
        updated_at=now,
        estimate_s=0.0,
        state=JobState.REJECTED,
        reason=receipt.refusals[0][:500],
    )


def batch_due(store: Store, batch_id: str, now: datetime) -> None:
    """Have a batch reported once its jobs are over."""
    batch = store.batch(batch_id) or Batch(batch_id=batch_id, created_at=now, report_due_at=None)
    due = batch.due(now)
    if due != batch or batch.version == 0:
        store.write(due)


def _unreported(ports: Ports, batch_id: str) -> bool:
    """Whether the batch has jobs that no report is due for: what a call that died halfway leaves behind."""
    batch = ports.store.batch(batch_id)
    if batch is not None and batch.report_due_at:
        return False
    jobs = sum(1 for _ in ports.store.jobs_of_batch(batch_id))
    return jobs > (batch.reported_jobs if batch else 0)


def _stale(ports: Ports, dropped: Dropped) -> bool:
    """Whether a later version of the object was handled already.

    Sequencers of one key compare as hexadecimal numbers of equal width.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    if not dropped.sequencer:
        return False
    for receipt_key in (accepted_key(_told_of(dropped)), rejected_key(_told_of(dropped))):
        try:
            seen = str(json.loads(ports.objects.read(receipt_key)).get("sequencer", ""))
        except RecordMissing:
            continue
        width = max(len(seen), len(dropped.sequencer))
        if seen.zfill(width) > dropped.sequencer.zfill(width):
            return True
    return False


def _told_of(dropped: Dropped) -> str:
    """What receipts are kept under: a recurring run's never hide those of the file itself."""
    return f"runs/{dropped.run}/{dropped.key}" if dropped.run else dropped.key


def accepted_key(key: str) -> str:
    return f"accepted/{key}.json"


def rejected_key(key: str) -> str:
    return f"rejected/{key}.json"


def _put(ports: Ports, key: str, document: Mapping[str, Any]) -> None:
    ports.objects.write(
        key, json.dumps(document, ensure_ascii=False, indent=1).encode(), content_type="application/json"
    )


def drops_in(message: Mapping[str, Any], bucket: str = "") -> Sequence[Dropped]:
    """The objects below `tasks/` that a message tells of: S3's own notification, or EventBridge's event.

    S3's own notification has URL-encoded keys; EventBridge's has them plain. S3's first message to a queue is
    a test and tells of none. With `bucket`, what happens in any other bucket is not ours.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    if "detail" in message:
        told = [message["detail"]]
    else:
        told = [
            {**record["s3"], "object": _decoded(record["s3"]["object"])}
            for record in message.get("Records", ())
            if str(record.get("eventName", "")).startswith("ObjectCreated:")
        ]
    return tuple(
        _dropped(each["object"])
        for each in told
        if str(each.get("object", {}).get("key", "")).startswith(TASKS_PREFIX)
        and bucket in ("", each.get("bucket", {}).get("name", bucket))
    )


def _decoded(item: Mapping[str, Any]) -> dict[str, Any]:
    """An object of S3's own notification in the words of EventBridge's event."""
    return {**item, "key": unquote_plus(str(item["key"])), "version-id": item.get("versionId", "")}


def _dropped(item: Mapping[str, Any]) -> Dropped:
    version = str(item.get("version-id", ""))
    return Dropped(
        key=str(item["key"]),
        size=int(item.get("size", 0)),
        # Of an object that was put before the bucket kept versions.
        object_version="" if version == "null" else version,
        sequencer=str(item.get("sequencer", "")),
    )

"""submit: check task files, upload the good ones, tell the bad ones apart."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from arcspot.domain import tasks
from arcspot.domain.jobs import Batch
from arcspot.errors import RecordMissing
from arcspot.services.ingesting import TASKS_PREFIX, accepted_key, rejected_key
from arcspot.services.retry import until_written
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target


@dataclass(frozen=True, slots=True)
class Upload:
    """One local file, its key in the bucket, and what is wrong with it (in words)."""

    path: Path
    key: str
    body: bytes
    tasks: int
    refusals: tuple[str, ...]

    @property
    def wanted(self) -> bool:
        return self.tasks > 0


@dataclass(slots=True)
class Submission:
    """What became of the files. `jobs` maps job ids to task ids."""

    batch: str
    uploaded: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    jobs: dict[str, str] = field(default_factory=dict)
    new_jobs: int = 0


def find(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """Every task file below the paths, with its name relative to the path that was given.

    Raises CommandFailed when a path is missing, or two files would get the same name in the batch.
    """
    found: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*.json") if p.is_file())
            if not inside:
                raise CommandFailed(f"{path}: no *.json file in this folder")
            found += [(p, p.relative_to(path).as_posix()) for p in inside]
        elif path.is_file():
            found.append((path, path.name))
        else:
            raise CommandFailed(f"{path}: no such file or folder")
    _refuse_clashes(found)
    return found


def _refuse_clashes(found: list[tuple[Path, str]]) -> None:
    taken: dict[str, Path] = {}
    for path, name in found:
        other = taken.setdefault(name, path)
        if other.resolve() != path.resolve():
            raise CommandFailed(
                f"{other} and {path} would both be {name} in the batch, and one would replace the other; "
                "submit them one by one with different --batch names, or give their common folder"
            )


def check(path: Path, key: str) -> Upload:
    """Read one file as `ingest` will, with the same words for what is wrong."""
    name = str(path)
    fault = tasks.key_fault(key) or tasks.size_fault(key, path.stat().st_size)
    if fault is not None:
        return Upload(path, key, b"", 0, (tasks.describe(name, fault),))
    body = path.read_bytes()
    file = tasks.read_task_file(key, body)
    return Upload(path, key, body, len(file.tasks), tuple(tasks.describe(name, f) for f in file.faults))


def batch_name(paths: Iterable[Path]) -> str:
    """A batch is named after its first folder (or file)."""
    first = next(iter(paths)).resolve()
    return re.sub(r"[^\w.-]+", "-", first.stem if first.is_file() else first.name).strip("-.") or "batch"


def prepare(
    target: Target, batch: str, now: datetime, *, lane: int | None, deadline: datetime | None
) -> None:
    """Write down a batch's lane and deadline before its files arrive; `ingest` makes the jobs by them."""
    if lane is None and deadline is None:
        return

    def act() -> None:
        known = target.store.batch(batch) or Batch(batch_id=batch, created_at=now, report_due_at=None)
        target.store.write(
            replace(
                known,
                lane=known.lane if lane is None else lane,
                deadline=deadline or known.deadline,
                late_said=False,
            )
        )

    until_written(act)


def submit(
    target: Target, uploads: Iterable[Upload], batch: str, *, done: Callable[[Upload], None] = lambda _: None
) -> Submission:
    """Upload what is good and not there yet. Stopped half-way and run again, it goes on."""
    told = Submission(batch)
    client, bucket = target.client("s3"), target.output("BucketName")
    for upload in uploads:
        told.refused += upload.refusals
        if upload.wanted:
            if _there(client, bucket, upload):
                told.unchanged.append(upload.key)
            else:
                client.put_object(
                    Bucket=bucket, Key=upload.key, Body=upload.body, ContentType="application/json"
                )
                told.uploaded.append(upload.key)
        done(upload)
    return told


def receive(target: Target, told: Submission) -> bool:
    """Read the receipts `ingest` has written so far into `told`; whether all are there."""
    complete = True
    told.jobs, told.new_jobs = {}, 0
    for key in (*told.uploaded, *told.unchanged):
        receipt = _receipt(target, accepted_key(key))
        if receipt is None:
            complete = complete and _receipt(target, rejected_key(key)) is not None
            continue
        for job in receipt["jobs"]:
            told.jobs[job["job_id"]] = job["task_id"]
            told.new_jobs += bool(job["new"])
    return complete


def key_for(batch: str, name: str) -> str:
    return f"{TASKS_PREFIX}{batch}/{name}"


def _receipt(target: Target, key: str) -> dict[str, Any] | None:
    try:
        receipt: dict[str, Any] = json.loads(target.bucket.read(key))
    except RecordMissing:
        return None
    return receipt


def _there(client: Any, bucket: str, upload: Upload) -> bool:
    from botocore.exceptions import ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=upload.key)
    except ClientError:
        return False
    return str(head.get("ETag", "")).strip('"') == hashlib.md5(upload.body, usedforsecurity=False).hexdigest()

"""submit: check task files, upload the good ones, tell the bad ones apart."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from arcspot.domain import tasks
from arcspot.domain.batches import Batch
from arcspot.services.ingesting import TASKS_PREFIX
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
    """What became of the files. `replaced` are those uploaded over others; `jobs`: job id to task id."""

    batch: str
    uploaded: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    jobs: dict[str, str] = field(default_factory=dict)
    new_jobs: int = 0


def find(paths: Iterable[Path], *, say: Callable[[str], object] = lambda _: None) -> list[tuple[Path, str]]:
    """Every task file below the paths, once, with its name in the batch: relative to the path given.

    Files that would share a name keep the folders that tell them apart, and `say` hears of it.
    Raises CommandFailed when a path is missing, or no names are left that differ.
    """
    found: dict[Path, tuple[Path, str]] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*.json") if p.is_file())
            if not inside:
                raise CommandFailed(f"{path}: no *.json file in this folder")
            files = [(p, p.relative_to(path).as_posix()) for p in inside]
        elif path.is_file():
            files = [(path, path.name)]
        else:
            raise CommandFailed(f"{path}: no such file or folder")
        for file, name in files:
            found.setdefault(_place(file), (file, name))
    return _told_apart(list(found.values()), say)


def _told_apart(found: list[tuple[Path, str]], say: Callable[[str], object]) -> list[tuple[Path, str]]:
    """The same files with names of their own: else one would replace the other in the bucket."""
    alike: dict[str, list[Path]] = {}
    for path, name in found:
        alike.setdefault(name, []).append(path)
    longer: dict[Path, str] = {}
    for paths in alike.values():
        if len(paths) == 1:
            continue
        places = [_place(path) for path in paths]
        above = os.path.commonpath(places)
        for path, place in zip(paths, places, strict=True):
            longer[path] = place.relative_to(above).as_posix()
    named = [(path, longer.get(path, name)) for path, name in found]
    _refuse_clashes(named)
    if longer:
        shown = ", ".join(list(longer.values())[:2]) + (", …" if len(longer) > 2 else "")
        say(f"{len(longer)} files share a name with another and keep their folders: {shown}")
    return named


def _place(path: Path) -> Path:
    # The file's own name stays: a task is called after it, and not after what a link points to.
    return path.parent.resolve() / path.name


def _refuse_clashes(named: list[tuple[Path, str]]) -> None:
    taken: dict[str, Path] = {}
    for path, name in named:
        other = taken.setdefault(name, path)
        if other != path:
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
            there = _md5_there(client, bucket, upload.key)
            if there == hashlib.md5(upload.body, usedforsecurity=False).hexdigest():
                told.unchanged.append(upload.key)
            else:
                client.put_object(
                    Bucket=bucket, Key=upload.key, Body=upload.body, ContentType="application/json"
                )
                told.uploaded.append(upload.key)
                told.replaced += [upload.key] if there else []
        done(upload)
    return told


def receive(target: Target, told: Submission) -> bool:
    """Read the receipts `ingest` has written so far into `told`; whether all are there."""
    keys = [*told.uploaded, *told.unchanged]
    receipts = target.store.receipts(keys)
    told.jobs, told.new_jobs = {}, 0
    for receipt in receipts.values():
        told.jobs |= {job_id: task_id for task_id, job_id in receipt.entries}
    uploaded = set(told.uploaded)
    jobs = target.store.jobs(list(told.jobs)).values()
    told.new_jobs = sum(job.input.key in uploaded and job.batch_id == told.batch for job in jobs)
    return len(receipts) == len(set(keys))


def key_for(batch: str, name: str) -> str:
    return f"{TASKS_PREFIX}{batch}/{name}"


def _md5_there(client: Any, bucket: str, key: str) -> str:
    """The MD5 of the object that is there, as S3 tells it for a single upload; "" when there is none."""
    from botocore.exceptions import ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except ClientError:
        return ""
    return str(head.get("ETag", "")).strip('"')

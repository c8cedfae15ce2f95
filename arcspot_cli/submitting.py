"""submit: check task files, upload the good ones, tell the bad ones apart."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

from arcspot.domain import names, tasks
from arcspot.domain.batches import Batch, Receipt
from arcspot.domain.jobs import Job, JobState
from arcspot.services.ingesting import TASKS_PREFIX
from arcspot.services.retry import until_written
from arcspot_cli import kaggle
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target

JOINED = "~"
"""Between the folders of a name that has to keep them."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One local file, its key in the bucket, what is wrong with it, and what else is to be said of it."""

    path: Path
    key: str
    body: bytes
    tasks: int
    refusals: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def wanted(self) -> bool:
        return self.tasks > 0


@dataclass(slots=True)
class Submission:
    """What became of the files.

    `replaced` are those uploaded over others; `versions`: key to the object's version; `jobs`: job id to task
    id. `new_jobs` came of this upload, `answered` were answered before, `twins` are tasks beyond one a job.
    """

    batch: str
    uploaded: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    new_jobs: int = 0
    answered: int = 0
    twins: int = 0


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
    return _told_apart(kaggle.without_solutions(list(found.values()), say), say)


def flat(
    found: Iterable[tuple[Path, str]], *, say: Callable[[str], object] = lambda _: None
) -> list[tuple[Path, str]]:
    """The same files with names that have no folders, as a batch has none.

    A name is the file's own, with its folders before it where another file has the same one: `say` hears of
    that, for a file's only task is called after it. Raises CommandFailed when no names are left that differ.
    """
    named = list(found)
    times = Counter(path.name for path, _ in named)
    made = [(path, path.name if times[path.name] == 1 else name.replace("/", JOINED)) for path, name in named]
    _refuse_clashes(made)
    if longer := [name for path, name in made if name != path.name]:
        shown = ", ".join(longer[:2]) + (", …" if len(longer) > 2 else "")
        say(f"{len(longer)} files are called after their folders too, and so are their tasks: {shown}")
    return made


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


def _or_refused(read: Callable[[Path, str], Upload]) -> Callable[[Path, str], Upload]:
    """A file that this machine does not let us read is refused, and stops no other."""

    @wraps(read)
    def tried(path: Path, key: str) -> Upload:
        try:
            return read(path, key)
        except OSError as error:
            why = f"{path}: cannot be read ({error.strerror}); allow it, or leave the file out"
            return Upload(path, key, b"", 0, (why,))

    return tried


@_or_refused
def check(path: Path, key: str) -> Upload:
    """Read one file as `ingest` will, with the same words for what is wrong."""
    name = str(path)
    fault = tasks.key_fault(key) or tasks.size_fault(key, path.stat().st_size)
    if fault is not None:
        return Upload(path, key, b"", 0, (tasks.describe(name, fault),))
    body, notes = kaggle.body_of(path)
    file = tasks.read_task_file(key, body)
    refusals = tuple(tasks.describe(name, fault) for fault in file.faults)
    return Upload(path, key, body, len(file.tasks), refusals, notes)


def batch_name(paths: Iterable[Path]) -> str:
    """A batch is named after its first folder (or file)."""
    first = next(iter(paths)).resolve()
    return names.plain(first.stem if first.is_file() else first.name)


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

    until_written(act, target.pause)


def submit(
    target: Target, uploads: Iterable[Upload], batch: str, *, done: Callable[[Upload], None] = lambda _: None
) -> Submission:
    """Upload what is good and not there yet. Stopped half-way and run again, it goes on."""
    told = Submission(batch)
    client, bucket = target.client("s3"), target.output("BucketName")
    for upload in uploads:
        told.refused += upload.refusals
        if upload.wanted:
            there, version = _there(client, bucket, upload.key)
            if there == hashlib.md5(upload.body, usedforsecurity=False).hexdigest():
                told.unchanged.append(upload.key)
            else:
                put = client.put_object(
                    Bucket=bucket, Key=upload.key, Body=upload.body, ContentType="application/json"
                )
                version = (put or {}).get("VersionId", "")
                told.uploaded.append(upload.key)
                told.replaced += [upload.key] if there else []
            told.versions[upload.key] = version
        done(upload)
    return told


def receive(target: Target, told: Submission) -> bool:
    """Read the receipts `ingest` has written so far into `told`; whether all are there.

    The receipt of another version of a file does not count: `ingest` has not come to this one yet.
    """
    keys = {*told.uploaded, *told.unchanged}
    receipts = [r for r in target.store.receipts(list(keys)).values() if _is_for(r, told.versions[r.key])]
    entries = [entry for receipt in receipts for entry in receipt.entries]
    told.jobs = {job_id: task_id for task_id, job_id in entries}
    told.twins = len(entries) - len(told.jobs)
    jobs = target.store.jobs(list(told.jobs)).values()
    new = {job.job_id for job in jobs if _came_of(job, told)}
    told.new_jobs = len(new)
    told.answered = sum(job.state is JobState.DONE and job.job_id not in new for job in jobs)
    return len(receipts) == len(keys)


def _is_for(receipt: Receipt, version: str) -> bool:
    return not version or receipt.object_version in ("", version)


def _came_of(job: Job, told: Submission) -> bool:
    """Whether the job was made of a file that was uploaded now, and not of what lay there before."""
    version = told.versions.get(job.input.key, "")
    same = not version or job.input.object_version == version
    return job.input.key in told.uploaded and job.batch_id == told.batch and same


def key_for(batch: str, name: str) -> str:
    return f"{TASKS_PREFIX}{batch}/{name}"


def _there(client: Any, bucket: str, key: str) -> tuple[str, str]:
    """MD5, as S3 tells it for a single upload, and version of the object there; "" if there is none."""
    from botocore.exceptions import ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except ClientError:
        return "", ""
    return str(head.get("ETag", "")).strip('"'), str(head.get("VersionId", ""))

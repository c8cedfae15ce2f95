"""results: bring answers home, whole or not at all, each file checked against its manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcspot.domain import scoring, tasks
from arcspot.domain.jobs import Job, JobState
from arcspot.errors import RecordMissing
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target

MANIFEST = "manifest.json"
SUBMISSION = "submission.json"
REPORT = "report.html"
OURS = (SUBMISSION, REPORT)  # files beside the folders: no folder is called so


@dataclass(frozen=True, slots=True)
class Answer:
    """One task's finished job, as it lies in a local folder."""

    task_id: str
    job: Job
    folder: Path
    fresh: bool

    @property
    def renamed(self) -> bool:
        """Whether another task of the same id has the folder of that name."""
        return self.folder.name != self.task_id

    @property
    def attempts(self) -> tuple[scoring.Attempts, ...]:
        return scoring.read_prediction(json.loads((self.folder / "prediction.json").read_text()))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A task id that a dropped file gave, and the job that stands for it."""

    task_id: str
    job_id: str


def wanted(target: Target, batch: str | None) -> list[Wanted]:
    """Every (task id, job) that the receipts of a batch name, or those of all dropped files.

    Receipts and not jobs, because one job may answer the same task in several files.
    """
    receipts = target.store.receipts_of_batch(batch) if batch else target.store.every_receipt()
    # Without a batch, what was dropped: the turns of a schedule repeat tasks, and are asked for by name.
    named = (
        entry
        for receipt in sorted(receipts, key=lambda receipt: receipt.key)
        if batch or not receipt.key.startswith("runs/")
        for entry in receipt.entries
    )
    return [Wanted(task_id, job_id) for task_id, job_id in dict.fromkeys(named)]


def folder_names(asked: Iterable[Wanted], jobs: Mapping[str, Job]) -> dict[tuple[str, str], str]:
    """A folder for each: the task id, or with a piece of the job id where other tasks have the same id.

    Who came first has the plain name, so that what comes later renames nothing.
    """
    asked = sorted(asked, key=lambda w: (jobs[w.job_id].created_at, w.job_id))
    ids = {item.task_id for item in asked}
    names: dict[tuple[str, str], str] = {}
    taken = set(OURS)
    for item in asked:
        longer = (f"{item.task_id}~{item.job_id[:n]}" for n in range(8, len(item.job_id) + 1))
        free = (name for name in longer if name not in taken | ids)
        name = next(free, item.job_id) if item.task_id in taken else item.task_id
        taken.add(name)
        names[item.task_id, item.job_id] = name
    return names


def get(
    target: Target, out: Path, *, batch: str | None, done: Callable[[Answer], None] = lambda _: None
) -> list[Answer]:
    """Download every finished job's files into `out/<task id>/`; what is there already is left alone."""
    asked = wanted(target, batch)
    jobs = target.store.jobs([item.job_id for item in asked])
    asked = [item for item in asked if item.job_id in jobs]
    names = folder_names(asked, jobs)
    answers = []
    for item in asked:
        job = jobs[item.job_id]
        if job.state is not JobState.DONE:
            continue
        folder = out / names[item.task_id, item.job_id]
        answer = Answer(item.task_id, job, folder, fetch(target, job, folder))
        done(answer)
        answers.append(answer)
    if answers:
        _submission(out, answers)
        _report(target, out, batch)
    return answers


def fetch(target: Target, job: Job, folder: Path) -> bool:
    """One job's files, checked, then moved into place; False when they were there. Raises CommandFailed."""
    manifest_bytes = _read(target, job.result_prefix + MANIFEST)
    if (folder / MANIFEST).is_file() and (folder / MANIFEST).read_bytes() == manifest_bytes:
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.parent / f".{folder.name}.{os.getpid()}.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        for name, body in _files(target, job, json.loads(manifest_bytes)):
            (beside / name).write_bytes(body)
        (beside / MANIFEST).write_bytes(manifest_bytes)
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return True


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer as it is in the bucket, and its task if the file is still there."""

    task_id: str
    job: Job
    task: tasks.Task | None
    attempts: tuple[scoring.Attempts, ...]


def shown(target: Target, task_ids: Collection[str], *, batch: str | None) -> Iterator[Shown]:
    """Every finished answer to tasks of these ids; nothing is downloaded into a folder."""
    asked = [item for item in wanted(target, batch) if item.task_id in task_ids]
    jobs = target.store.jobs([item.job_id for item in asked])
    for item in asked:
        job = jobs.get(item.job_id)
        if job is not None and job.state is JobState.DONE:
            prediction = json.loads(_read(target, job.result_prefix + "prediction.json"))
            task = known_task(target, job)
            yield Shown(item.task_id, job, task, scoring.read_prediction(prediction))


def known_task(target: Target, job: Job) -> tasks.Task | None:
    """The task a job came from, with its solution when the file had one; None when the file is gone."""
    try:
        body = target.bucket.read(job.input.key, version=job.input.object_version or None)
    except RecordMissing:
        return None
    found = [task for task in tasks.read_task_file(job.input.key, body).tasks if task.task_id == job.task_id]
    return found[0] if found else None


def _files(target: Target, job: Job, manifest: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name, told in manifest["files"].items():
        if Path(name).name != name or name.startswith("."):
            raise CommandFailed(f"{job.result_prefix}{MANIFEST} names {name!r}, which is no plain file name")
        body = _read(target, job.result_prefix + name)
        if hashlib.sha256(body).hexdigest() != told["sha256"]:
            raise CommandFailed(
                f"{job.result_prefix}{name} is not what its manifest promises; run the command "
                "again, and if it stays so, look at the object's versions"
            )
        yield name, body


def _read(target: Target, key: str) -> bytes:
    try:
        return target.bucket.read(key)
    except RecordMissing as error:
        raise CommandFailed(f"{error}; it was removed from the bucket") from error


def _submission(out: Path, answers: list[Answer]) -> None:
    # By the folder's name: the task id, unless two different tasks of these files share one.
    predictions = {a.folder.name: json.loads((a.folder / "prediction.json").read_text()) for a in answers}
    _replace(out / SUBMISSION, json.dumps(scoring.submission(predictions)).encode())


def _report(target: Target, out: Path, batch: str | None) -> None:
    if batch is None:
        return
    try:
        _replace(out / REPORT, target.bucket.read(f"reports/{batch}/index.html"))
    except RecordMissing:
        return  # written within a minute of the last job's end; the answers do not wait for it


def _replace(path: Path, body: bytes) -> None:
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(body)
    beside.replace(path)

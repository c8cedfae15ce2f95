"""One answer into one folder: whole or not at all, and never over what is not ours.

A folder is ours if a document in it names a job and a fence, as `manifest.json` and `arcspot.json` do. What
else lies in such a folder stays. No folder is ever removed, and no file but one that the manifest beside it
names.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcspot.domain import documents
from arcspot.domain.jobs import Job
from arcspot_cli import unpacking
from arcspot_cli.errors import CommandFailed
from arcspot_cli.unpacking import ABOUT, MANIFEST, PREDICTION, Left, Promise


@dataclass(frozen=True, slots=True)
class Attempt:
    """Whose files a folder holds."""

    job_id: str
    fence: int


def deliver(bucket: unpacking.Objects, task_id: str, job: Job, folder: Path, spare: Path) -> bool:
    """Have a finished job's files in `folder`; False when all of them were there.

    `spare` is a path of the same file system where nothing is. Raises CommandFailed, with the next step, when
    the folder is not ours or the answer is not what it should be.
    """
    attempt, there = Attempt(job.job_id, job.fence), _attempt_in(folder)
    if there == attempt and _complete(folder, task_id):
        return False
    left = unpacking.left(bucket, job)
    fetched = _fetch(left, spare, beside=folder if there == attempt else None)
    (spare / ABOUT).write_bytes(_about(task_id, attempt))
    (spare / MANIFEST).write_bytes(left.manifest)
    if there is None:
        with suppress(FileNotFoundError):
            folder.rmdir()  # it is empty, or this fails
        spare.rename(folder)
        return True
    stale = [] if there == attempt else [n for n in _promises_in(folder) if n not in left.promises]
    for name in (*fetched, ABOUT, MANIFEST):  # the manifest last: until then the files are fetched again
        (spare / name).replace(folder / name)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return True


def _fetch(left: Left, spare: Path, *, beside: Path | None) -> list[str]:
    """The files that are not in `beside` as they are promised, into `spare`. Their names."""

    def have(name: str, promise: Promise) -> bool:
        return beside is not None and _kept(beside / name, promise)

    spare.mkdir(parents=True)
    names = []
    for name, body in left.files(have):
        if name == PREDICTION:
            unpacking.attempts(left.prefix + name, body)
        (spare / name).write_bytes(body)
        names.append(name)
    return names


def _attempt_in(folder: Path) -> Attempt | None:
    """Whose files are in the folder, None where it is not there or empty. Raises CommandFailed."""
    if not os.path.lexists(folder):
        return None
    if folder.is_symlink() or not folder.is_dir():
        raise CommandFailed(
            f"{folder} is no folder of arcspot's and stays as it is: move it, and run this again"
        )
    for name in (ABOUT, MANIFEST):
        told = _document(folder / name)
        job_id, fence = told.get("job_id"), told.get("fence")
        if isinstance(job_id, str) and type(fence) is int:
            return Attempt(job_id, fence)
    if any(folder.iterdir()):
        raise CommandFailed(
            f"{folder} holds no answer that arcspot brought, so it stays as it is: "
            "move it, or name another DIRECTORY, and run this again"
        )
    return None


def _complete(folder: Path, task_id: str) -> bool:
    """Whether every file is there as the manifest beside it promises, under the name of this task."""
    promises = _promises_in(folder)
    return (
        bool(promises)
        and _document(folder / ABOUT).get("task_id") == task_id
        and all(_kept(folder / name, promise) for name, promise in promises.items())
    )


def _kept(path: Path, promise: Promise) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if promise.size is not None and path.stat().st_size != promise.size:
        return False
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == promise.sha256


def _promises_in(folder: Path) -> dict[str, Promise]:
    try:
        return unpacking.promised(_document(folder / MANIFEST))
    except ValueError:
        return {}


def _document(path: Path) -> Mapping[str, Any]:
    """A small JSON object of ours; empty where there is none."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > unpacking.MAX_MANIFEST_BYTES:
        return {}
    try:
        told = documents.parsed(path.read_bytes())
    except ValueError:
        return {}
    return told if isinstance(told, Mapping) else {}


def _about(task_id: str, attempt: Attempt) -> bytes:
    """`arcspot.json`: the task's id as it was given, whatever its folder is called. In ASCII."""
    told = {"task_id": task_id, "job_id": attempt.job_id, "fence": attempt.fence}
    return (json.dumps(told, indent=1) + "\n").encode()

"""One answer into one folder: whole or not at all, and never over what is not ours.

A folder is ours if a document in it names a job and a fence, as `manifest.json` and `arcspot.json` do. What
else lies in such a folder stays. No folder is ever removed, and no file but one that the manifest beside it
names; one of a name that no runner of ours gives only where its bytes are as that manifest says.

What an instance left is a stranger's: of its files those that are `unpacking.TAKEN` are written, and the
picture is drawn here.
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

from arcspot.domain import documents, results
from arcspot.domain.jobs import Job
from arcspot_cli import faults, unpacking
from arcspot_cli.errors import CommandFailed
from arcspot_cli.picturing import Pictures
from arcspot_cli.unpacking import ABOUT, MANIFEST, PICTURE, PREDICTION, TAKEN, Left, Promise

_DRAWN = "picture_sha256"
"""In `arcspot.json`: the picture that was drawn here, or null where there is none to draw."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Whose files a folder holds."""

    job_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a folder. `unknown` are files of a result that no runner of ours leaves: not written.
    `undrawn` says why there is no picture, where there should be one.
    """

    fresh: bool
    unknown: tuple[str, ...] = ()
    undrawn: str = ""


def deliver(
    bucket: unpacking.Objects, pictures: Pictures, task_id: str, job: Job, folder: Path, spare: Path
) -> Delivered:
    """Have a finished job's files in `folder`; not `fresh` when all of them were there.

    `spare` is a path of the same file system where nothing is. Raises CommandFailed, with the next step, when
    the folder is not ours or the answer is not what it should be.
    """
    attempt, there = Attempt(job.job_id, job.fence), _attempt_in(folder)
    if there == attempt and _complete(folder, task_id):
        return Delivered(fresh=False)
    left = unpacking.left(bucket, job)
    written = _fetch(left, spare, beside=folder if there == attempt else None)
    about: dict[str, Any] = {"task_id": task_id, "job_id": attempt.job_id, "fence": attempt.fence}
    about[_DRAWN], undrawn = None, ""
    if PICTURE in left.promises:
        answer = (spare if PREDICTION in written else folder) / PREDICTION
        try:
            drawn = pictures.draw(task_id, job, unpacking.attempts(str(answer), answer.read_bytes()))
        except Exception as fault:  # the answer is worth more than its picture, which the next call draws
            undrawn = faults.words(fault)
            del about[_DRAWN]
        else:
            if drawn is not None:
                about[_DRAWN] = hashlib.sha256(drawn).hexdigest()
                (spare / PICTURE).write_bytes(drawn)
                written.append(PICTURE)
    (spare / ABOUT).write_bytes((json.dumps(about, indent=1) + "\n").encode())
    (spare / MANIFEST).write_bytes(left.manifest)
    result = Delivered(True, tuple(left.unknown), undrawn)
    if there is None:
        with suppress(FileNotFoundError):
            folder.rmdir()  # it is empty, or this fails
        spare.rename(folder)
        return result
    stale = [name for name in _written_by_us(folder) if name not in {*left.taken, *written}]
    for name in (*written, ABOUT, MANIFEST):  # the manifest last: until then the files are fetched again
        (spare / name).replace(folder / name)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return result


def _fetch(left: Left, spare: Path, *, beside: Path | None) -> list[str]:
    """The files that are not in `beside` as they are promised, into `spare`. Their names."""

    def have(name: str, promise: Promise) -> bool:
        return beside is not None and _kept(beside / name, promise)

    spare.mkdir(parents=True)
    names = []
    for name, body in left.files(have):
        (spare / name).write_bytes(body)
        names.append(name)
    return names


def _written_by_us(folder: Path) -> list[str]:
    """Files of the folder that its manifest names; earlier releases wrote them whatever they are called."""
    promises = _promises_in(folder)
    return [name for name, told in promises.items() if name in results.FILES or _kept(folder / name, told)]


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
    """Whether every file is there as the manifest beside it promises, under the name of this task, and the
    picture as it was drawn here.
    """
    promises, about = _promises_in(folder), _document(folder / ABOUT)
    drawn = about.get(_DRAWN)
    return (
        bool(promises)
        and about.get("task_id") == task_id
        and all(_kept(folder / name, promise) for name, promise in promises.items() if name in TAKEN)
        and (_DRAWN in about or set(promises) <= set(TAKEN))  # else an earlier release wrote all of them
        and (drawn is None or _kept(folder / PICTURE, Promise(str(drawn), None)))
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

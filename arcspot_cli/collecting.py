"""What lies beside the answers' folders: `submission.json` with every task's id, and the batch's report."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arcspot.aws.bucket import AT_ONCE
from arcspot.domain import documents, scoring, tasks
from arcspot.domain.jobs import Job
from arcspot.domain.reporters import report_folder
from arcspot_cli import faults, unpacking
from arcspot_cli.errors import CommandFailed
from arcspot_cli.faults import Fault
from arcspot_cli.folders import OUR_OWN, OURS, REPORT, SUBMISSION, Wanted
from arcspot_cli.target import Target
from arcspot_cli.together import together

if TYPE_CHECKING:
    from arcspot_cli.fetching import Answer

STATE = f"{OUR_OWN}.json"
PAGE = "index.html"
MAX_REPORT_BYTES = 1024 * 1024 * 1024  # 100,000 answers take some 300 MB
Failed = Callable[[Fault], object]


def collect(
    target: Target,
    out: Path,
    batch: str | None,
    asked: Sequence[Wanted],
    jobs: Mapping[str, Job],
    answers: Mapping[Wanted, Answer],
    failed: Failed,
) -> int:
    """Write both files. One that cannot be written, or was changed by somebody, is told and left as it is.

    Returns how many ids have a placeholder in a submission that was put together here.
    """
    blank: list[str] = []

    def submission() -> Iterator[bytes]:
        reported = _reported(target, batch, SUBMISSION, failed) if _is_told_whole(target, batch) else None
        if reported:
            return iter((reported,))
        return _submission(target, asked, jobs, answers, failed, blank.append)

    def page() -> Iterator[bytes]:
        # Written within a minute of the last job's end; the answers do not wait for it.
        found = _reported(target, batch, PAGE, failed)
        return iter((found,) if found else ())

    for name, make in ((SUBMISSION, submission), (REPORT, page)):
        try:
            _write(out, name, make)
        except Exception as error:
            failed(Fault(name, faults.words(error)))
    return len(blank)


def _is_told_whole(target: Target, batch: str | None) -> bool:
    """Whether the batch's report tells of everything in it: none is due."""
    row = target.store.batch(batch) if batch else None
    return row is not None and row.report_due_at is None


def _reported(target: Target, batch: str | None, name: str, failed: Failed) -> bytes | None:
    """A file of the batch's report; None where there is none, or it is told that it cannot be read."""
    key = f"{report_folder(batch or '')}{name}"
    try:
        if batch is None or target.bucket.size(key) is None:
            return None
        return unpacking.read(target.bucket, key, most=MAX_REPORT_BYTES)
    except Exception as error:
        failed(Fault(key, faults.words(error)))
        return None


def _submission(
    target: Target,
    asked: Sequence[Wanted],
    jobs: Mapping[str, Job],
    answers: Mapping[Wanted, Answer],
    failed: Failed,
    blank: Callable[[str], object],
) -> Iterator[bytes]:
    """Kaggle's file, id by id: the answer, or a placeholder pair for each test input of one in `blank`."""
    given: dict[str, Answer] = {}
    for answer in sorted(answers.values(), key=lambda each: (each.renamed, each.folder.name)):
        # Two tasks of one id are two answers: who came first has the id, the other its folder's name.
        given[answer.folder.name if answer.task_id in given else answer.task_id] = answer
    missing = {item.task_id: item.job_id for item in asked if item.task_id not in given}
    tests = _test_inputs(target, [jobs[job_id] for job_id in missing.values() if job_id in jobs])
    before = b"{"
    for name in sorted({*given, *missing}):
        pairs = _pairs(given[name], failed) if name in given else None
        if pairs is None:
            blank(name)
            pairs = scoring.placeholder(tests.get(missing.get(name, ""), 1))
        yield before + json.dumps(name).encode() + b": " + json.dumps(pairs).encode()
        before = b",\n "
    yield b"}\n"


def _pairs(answer: Answer, failed: Failed) -> list[dict[str, list[list[int]]]] | None:
    try:
        return scoring.write_prediction(answer.attempts)
    except Exception as error:
        failed(Fault(answer.task_id, faults.words(error)))
        return None


def _test_inputs(target: Target, jobs: Sequence[Job]) -> dict[str, int]:
    """How many test inputs the tasks of these jobs have, by job id; those whose file can be read."""
    wanted: dict[tuple[str, str], dict[str, list[str]]] = {}
    for job in jobs:
        of_file = wanted.setdefault((job.input.key, job.input.object_version), {})
        of_file.setdefault(job.task_id, []).append(job.job_id)

    def read(place: tuple[str, str]) -> dict[str, int]:
        key, version = place
        file = tasks.read_task_file(key, target.bucket.read(key, version=version or None))
        counts = {task.task_id: len(task.test_inputs) for task in file.tasks}
        return {i: counts[name] for name, ids in wanted[place].items() for i in ids if name in counts}

    found: dict[str, int] = {}
    for _, counts, error in together(read, wanted, at_once=AT_ONCE):
        if error is not None:
            faults.words(error)  # goes on unless nothing can be read at all: a placeholder needs no more
        found |= counts or {}
    return found


def _write(out: Path, name: str, make: Callable[[], Iterator[bytes]]) -> None:
    """Write a file in one move, unless one is there that is not as it was left. Raises CommandFailed."""
    path, known = out / name, _known(out)
    if os.path.lexists(path) and (
        path.is_symlink() or not path.is_file() or _sha256(path) not in known[name]
    ):
        raise CommandFailed(f"{path} is not as arcspot left it, so it stays: move it, and run this again")
    pieces = make()
    first = next(pieces, None)
    if first is None:
        return
    beside = out / f"{OUR_OWN}-{name}.part"
    try:
        with beside.open("wb") as opened:
            opened.write(first)
            opened.writelines(pieces)
        written = _sha256(beside)
        # Both, until the new one is there: whatever stops this, the file that is there is known as ours.
        _remember(out, {**known, name: [*known[name][-1:], written]})
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class _Written:
    """What `.arcspot.json` beside the answers holds."""

    written: dict[str, list[str]]


def _known(out: Path) -> dict[str, list[str]]:
    """The sums of the files that were written here, by name."""
    try:
        written = documents.read(_Written, (out / STATE).read_bytes()).written
        return {name: written.get(name, []) for name in OURS}
    except (OSError, ValueError):
        return {name: [] for name in OURS}


def _remember(out: Path, written: Mapping[str, Sequence[str]]) -> None:
    beside = out / f"{STATE}.part"
    beside.write_text(json.dumps({"written": written}, indent=1) + "\n", encoding="utf-8")
    beside.replace(out / STATE)

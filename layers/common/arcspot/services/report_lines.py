"""The lines of a report: each task of a batch with its answer, read in slices that bound memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from arcspot.domain import scoring
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.predictions import parse_prediction
from arcspot.domain.tallying import JobLine, answered_by
from arcspot.domain.tasks import MAX_FILE_BYTES, Task, read_task_file
from arcspot.errors import AnswerRefused, RecordMissing
from arcspot.ports import Fetched, Objects
from arcspot.services import results
from arcspot.services.contents import Place, Read, Refusal

SLICE = 32
"""As many objects as are read at once: files of at most 16 MiB, answers of at most 1 MiB."""
MAX_WORDS = 300
EXPIRED = "its row was kept for 90 days and is gone; its answer, if it had one, is in results/"
Source = tuple[str, str | None]


def lines(
    objects: Objects, batch_id: str, places: Sequence[Place], read: Read, *, patient: bool
) -> Iterator[JobLine]:
    """A line for each place, in order. Each file of a slice is read and parsed once.

    What cannot be read is a fault of its line. `patient`: an error that may pass by itself, or that nobody
    knows, is raised.
    """
    jobs, files = read.jobs, dict[Source, Mapping[str, Task] | str]()
    for start in range(0, len(places), SLICE):
        some = places[start : start + SLICE]
        sources = dict.fromkeys(_source(place) for place in some if place.key)
        files = {source: files[source] for source in sources if source in files}
        for source, file in _files(objects, [s for s in sources if s not in files], patient=patient):
            files[source] = file
        done = (job for place in some if (job := jobs.get(place.job_id)) and job.state is JobState.DONE)
        found = results.predictions(objects, list(dict.fromkeys(job.result_prefix for job in done)))
        for place in some:
            job = jobs.get(place.job_id)
            answer = found.get(job.result_prefix) if job and job.state is JobState.DONE else None
            if patient and isinstance(answer, Exception) and not isinstance(answer, results.LASTING):
                raise answer
            file = files.get(_source(place), {})
            try:
                line = _line(batch_id, place, job, file, answer)
            except Exception as fault:
                if patient:
                    raise
                line = untold(_line(batch_id, place, job, {}, None), fault)
                line = replace(line, task=None if isinstance(file, str) else file.get(place.task_id))
            why = read.unread.get(place.job_id)
            yield replace(line, state="UNREADABLE", reason="", fault=_words(why)) if why else line


def refused_line(refusal: Refusal) -> JobLine:
    """A file with faults, as one line; there is no answer to submit for it."""
    return JobLine(refusal.task_id, "", str(JobState.REJECTED), refusal.reason, submitted=False)


def untold(line: JobLine, fault: Exception) -> JobLine:
    """The line without what somebody brought, for one that cannot be told or drawn as it is."""
    bare = replace(line, task=None, attempts=(), score=None, by="", device="", note="")
    return replace(bare, fault=f"it cannot be shown: {_words(fault)}")


def _source(place: Place) -> Source:
    return place.key, place.object_version or None


def _files(
    objects: Objects, sources: Sequence[Source], *, patient: bool
) -> Iterator[tuple[Source, Mapping[str, Task] | str]]:
    """Each file's tasks by id, or why it cannot be read; no tasks of one that its owner removed."""
    # By its newest version, where none is known, a file may have any size: more than the limit is refused.
    bodies = results.fetched(objects, sources, last=MAX_FILE_BYTES + 1)
    for source, body in zip(sources, bodies, strict=True):
        if isinstance(body, Fetched):
            try:
                found = {task.task_id: task for task in read_task_file(source[0], body.body).tasks}
            except Exception as fault:
                if patient:
                    raise
                yield source, _words(fault)
            else:
                yield source, found
        elif isinstance(body, RecordMissing):
            yield source, {}
        elif patient and not isinstance(body, results.LASTING):
            raise body
        else:
            yield source, _words(body)


def _line(
    batch_id: str,
    place: Place,
    job: Job | None,
    file: Mapping[str, Task] | str,
    answer: bytes | Exception | None,
) -> JobLine:
    task = file.get(place.task_id) if not isinstance(file, str) else None
    attempts, fault = _attempts(task, answer)
    if isinstance(file, str):
        fault = "; ".join(filter(None, (f"its file cannot be read: {file}", fault)))
    line = JobLine(
        task_id=place.task_id,
        job_id=place.job_id,
        state="EXPIRED",
        reason=EXPIRED,
        attempts=attempts,
        task=task,
        score=scoring.score_task(task, attempts) if task is not None else None,
        note="; ".join(_notes(batch_id, place, job, gone=not isinstance(file, str) and task is None)),
        fault=fault,
        submitted=place.latest,
    )
    if job is None:
        return line
    ours = place.first and job.batch_id == batch_id
    return replace(
        line,
        state=str(job.state),
        reason=job.reason,
        seconds=job.run_s_total if ours else None,
        cost_usd_micros=job.cost_usd_micros if ours else 0,
        device=str(job.summary.get("device", "")),
        by=answered_by(job.summary),
    )


def _attempts(
    task: Task | None, answer: bytes | Exception | None
) -> tuple[tuple[scoring.Attempts, ...], str]:
    """A job's answer, and why there is none."""
    if answer is None:
        return (), ""
    if isinstance(answer, Exception):
        return (), f"its answer cannot be read: {_words(answer)}"
    try:
        attempts = parse_prediction(answer)
    except AnswerRefused as refused:
        return (), f"its answer cannot be used: {_words(refused)}"
    tests = len(task.test_inputs) if task is not None else len(attempts)
    if len(attempts) > tests:
        return (), f"its answer cannot be used: {len(attempts)} pairs of attempts for {tests} test input(s)"
    if len(attempts) < tests:
        return attempts, f"its answer has no attempts for {tests - len(attempts)} of {tests} test inputs"
    return attempts, ""


def _notes(batch_id: str, place: Place, job: Job | None, *, gone: bool) -> Iterator[str]:
    if not place.first:
        yield f"one job with {place.twin}"
    elif job is not None and job.batch_id != batch_id:
        yield "answered before" if job.state is JobState.DONE else f"a job of batch {job.batch_id}"
    if not place.latest:
        yield "this id was dropped again with another content, whose answer is submitted"
    if gone:
        yield "its file is gone"


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:MAX_WORDS]

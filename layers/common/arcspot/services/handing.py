"""Hand a job's task out: its demonstrations and bare test inputs, and nothing else of the file it came in.

A runner is not trusted with more: not with a URL of the file, which holds every other task and, in ARC's own
sets, all solutions. Of the pinned version just the task's own bytes are read, and what they say has to make
the job's id again, which names the task's content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from arcspot.domain import tasks
from arcspot.domain.jobs import Job
from arcspot.domain.tasks import Task
from arcspot.errors import ObjectUnreadable, RecordMissing, TaskFileRefused
from arcspot.ports import Fetched, Objects, Part

UNUSABLE = (RecordMissing, ObjectUnreadable, TaskFileRefused)
"""What no further try mends: RecordMissing and TaskFileRefused ever, ObjectUnreadable until somebody acts."""
TOGETHER_BYTES = 4 * 1024 * 1024
"""So many are in memory at once, or one task: the function has 256 MB, and an earlier release's job is read
from its whole file."""
MOST_TASK_BYTES = 576 * 1024
"""More than any task that `domain.tasks` takes has, as it is handed out: 100 demonstrations and 100
test inputs of 30 x 30 are 549 KiB. Eight of them, the most that one answer holds, are 4.3 MiB of the 6 MB
that Lambda lets a function answer; a task above it ends its job like one that cannot be read.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


def handed(objects: Objects, jobs: Sequence[Job]) -> dict[str, str | Exception]:
    """Job id → its task as JSON text, or what keeps it from being handed out (`UNUSABLE` for good)."""
    found: dict[str, str | Exception] = {}
    for group in _groups(jobs):
        bodies = objects.parts([_part(job) for job in group])
        for job, body in zip(group, bodies, strict=True):
            found[job.job_id] = _task(job, body)
    return found


def _part(job: Job) -> Part:
    where = job.input
    begin, end = where.place or (0, tasks.MAX_FILE_BYTES)
    return Part(where.key, where.object_version or None, begin, end)


def _groups(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    group: list[Job] = []
    size = 0
    for job in jobs:
        part = _part(job)
        length = part.end - part.begin
        if group and size + length > TOGETHER_BYTES:
            yield group
            group, size = [], 0
        group.append(job)
        size += length
    if group:
        yield group


def _task(job: Job, body: Fetched | Exception) -> str | Exception:
    if isinstance(body, Exception):
        return body
    try:
        task = tasks.task_in(job.task_id, body.body) if job.input.place else _in_file(job, body.body)
        return _text(_own(job, task))
    except TaskFileRefused as refused:
        return refused


def _in_file(job: Job, body: bytes) -> Task:
    """The task in a whole file, where no place is known. A file of one task may hold it without a name."""
    file = tasks.read_task_file(f"{job.task_id}.json", body, only=job.task_id)
    for task in file.tasks:
        if task.task_id == job.task_id:
            return task
    why = tasks.describe(job.input.key, file.faults[0]) if file.faults else "it is not in the file any more"
    raise TaskFileRefused(f"task {job.task_id}: {why}")


def _own(job: Job, task: Task) -> Task:
    """The task, if it is the one that the job was made of. Raises TaskFileRefused."""
    if tasks.job_id(task, job.config, job.solver_version) != job.job_id:
        raise TaskFileRefused(
            f"{job.input.key} holds another task {job.task_id} than the one it held when it was dropped"
        )
    return task


def _text(task: Task) -> str:
    text = tasks.canonical(task).decode()
    if len(text) > MOST_TASK_BYTES:
        raise TaskFileRefused(f"task {task.task_id}: expected {MOST_TASK_BYTES:,} bytes, found {len(text):,}")
    return text

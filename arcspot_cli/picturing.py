"""The picture beside an answer, drawn here.

An SVG file may hold a script that runs when somebody opens it, so none of an instance's making is written.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from arcspot.domain import drawing, scoring
from arcspot.domain.jobs import Job
from arcspot.domain.tasks import MAX_FILE_BYTES, Task, read_task_file
from arcspot.errors import RecordMissing
from arcspot.ports import Objects

MOST_FILES = 16
"""As many task files as are kept in memory; a batch has its tasks in one file or in many small ones."""
Source = tuple[str, str | None]


class Pictures:
    """Draws answers with their tasks; each task file is read once while it is kept. For many threads."""

    def __init__(self, bucket: Objects) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._files: OrderedDict[Source, _File] = OrderedDict()

    def draw(self, task_id: str, job: Job, attempts: Sequence[scoring.Attempts]) -> bytes | None:
        """As the runner draws it, without the solution; None where the task is not in the bucket any more.

        Raises whatever the bucket does.
        """
        task = self._file(job).tasks(self._bucket).get(job.task_id)
        if task is None:
            return None
        return drawing.svg_task(task, attempts, None, title=task_id).encode()

    def _file(self, job: Job) -> _File:
        source = job.input.key, job.input.object_version or None
        with self._lock:
            file = self._files.setdefault(source, _File(source))
            self._files.move_to_end(source)
            if len(self._files) > MOST_FILES:
                self._files.popitem(last=False)
            return file


class _File:
    """A task file that the first who asks reads while others wait. One that failed is read anew."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._tasks: Mapping[str, Task] | None = None

    def tasks(self, bucket: Objects) -> Mapping[str, Task]:
        key, version = self._source
        with self._lock:
            if self._tasks is None:
                try:
                    body = bucket.read(key, version=version, last=MAX_FILE_BYTES + 1)
                except RecordMissing:
                    self._tasks = {}
                else:
                    self._tasks = {task.task_id: task for task in read_task_file(key, body).tasks}
            return self._tasks

"""One job from lease to delivered files: read its task, solve, write, upload."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from arcspot.domain.drawing import svg_task
from arcspot.domain.tasks import (
    MAX_FILE_BYTES,
    Task,
    describe,
    read_task_file,
    task_in,
    to_json,
    without_solutions,
)
from arcspot.errors import TaskFileRefused
from gpu_runner import artefacts
from gpu_runner.artefacts import Maker
from gpu_runner.checkpoint import Checkpoints
from gpu_runner.contract import Api, FileFact, Json, Lease
from gpu_runner.solving import ShouldStop, Solver, Stopped, TellProgress, pick_model
from gpu_runner.transfer import Transfer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A result that lies in S3, not yet committed."""

    files: tuple[FileFact, ...]
    summary: Json


class Work(Protocol):
    """Do one job up to its upload. Raises Stopped when `should_stop` says so."""

    def __call__(
        self, lease: Lease, *, seconds: float, progress: TellProgress, should_stop: ShouldStop
    ) -> Delivered: ...


@dataclass(frozen=True, slots=True)
class Workshop:
    """The real Work: everything it needs was handed in."""

    api: Api
    transfer: Transfer
    solve: Solver
    maker: Maker
    models: Path
    scratch: Path
    now: Callable[[], float]
    checkpoints: Checkpoints

    def __call__(
        self, lease: Lease, *, seconds: float, progress: TellProgress, should_stop: ShouldStop
    ) -> Delivered:
        """Read, solve and upload within the job's budget, about `seconds` of solving here at most."""
        progress("fetching", 0.0)
        task = self._task(lease)
        model, reason = pick_model(self.models, lease.config.model, device=self.maker.device)
        log.info("model: %s", reason, extra={"job": lease.job_id})
        began = self.now()
        solved = self.solve(
            without_solutions(to_json(task)),
            seconds=lease.budget_s,
            here=seconds,
            seed=lease.config.seed,
            model=model,
            keep=self.checkpoints.fetch(lease),
            progress=progress,
            should_stop=should_stop,
        )
        if len(solved.attempts) != len(task.test_inputs):
            raise ValueError(f"{len(solved.attempts)} answers for {len(task.test_inputs)} test inputs")
        figures: Json = {
            "seconds": round(self.now() - began, 3),
            "seed": lease.config.seed,
            "budget_s": seconds,
            "model": model.name if model else None,
        }
        picture = svg_task(task, solved.attempts, None, title=task.task_id)
        folder = Path(tempfile.mkdtemp(prefix="result-", dir=self.scratch))
        try:
            files = artefacts.write(
                folder, lease=lease, solved=solved, figures=figures, picture=picture, maker=self.maker
            )
            if should_stop():
                raise Stopped("asked to stop before the upload")
            progress("uploading", 1.0)
            self.transfer.deliver(files, self.api.uploads(lease=lease, purpose="result", files=files))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Delivered(tuple(files), artefacts.summary(solved.metrics, figures))

    def _task(self, lease: Lease) -> Task:
        """The lease's task, its test outputs unknown. Raises TaskFileRefused, and as `Transfer` does."""
        if lease.task:
            return replace(task_in(lease.task_id, lease.task.encode()), test_outputs=None)
        return read_task(lease, self.transfer.fetch(lease.input_url, max_bytes=MAX_FILE_BYTES))


def read_task(lease: Lease, body: bytes) -> Task:
    """The job's task in the whole file that a server of an earlier release gives.

    It has no test outputs then: a solver must not even see their sizes.

    A file with one task holds it without a name, so the file is read under the job's
    task id. Raises TaskFileRefused when the task is not in it.
    """
    key = f"{lease.task_id}.json"
    found = read_task_file(key, body, only=lease.task_id)
    for task in found.tasks:
        if task.task_id == lease.task_id:
            return replace(task, test_outputs=None)
    why = describe(key, found.faults[0]) if found.faults else "no such task in the file"
    raise TaskFileRefused(f"task {lease.task_id} cannot be read: {why}")

"""Batches that are over, and what a report of them says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from arcspot.domain.jobs import Job, JobState
from arcspot.domain.results import RESULT
from arcspot.ports import Ports
from arcspot.services.reporting import Reported, report_round
from tests.fakes.driving import Stack, result_of

RIGHT, WRONG = [[7]], [[8]]


def puzzle(seed: int, *, tests: int = 1, solved: bool = True) -> dict[str, Any]:
    """A task that no other seed gives; its solution, where it has one, is always `RIGHT`."""
    cells = [[(seed // 10**n) % 10 for n in range(6)]]
    each = [{"input": [[n % 10, *cells[0]]]} for n in range(tests)]
    known = [{**pair, "output": RIGHT} for pair in each] if solved else each
    return {"train": [{"input": cells, "output": cells}], "test": known}


def pairs(*grids: list[list[int]]) -> list[dict[str, Any]]:
    return [{"attempt_1": grid, "attempt_2": WRONG} for grid in grids]


def end(stack: Stack, job: Job, state: JobState = JobState.DONE, answer: object = None) -> None:
    """Let a job be over; an answer is bytes, or anything JSON can say."""
    prefix = f"results/{job.job_id}/1/" if state is JobState.DONE else ""
    over = replace(
        job, state=state, ready_at=None, result_prefix=prefix, updated_at=stack.world.now,
        run_s_total=5.0, cost_usd_micros=100, reason="" if prefix else "of no interest",
    )  # fmt: skip
    stack.world.store.write(over)
    if prefix and isinstance(answer, bytes):  # as earlier releases left it
        stack.world.objects.write(prefix + "prediction.json", answer, content_type="application/json")
    elif prefix:
        body = result_of(job.job_id, answer or pairs(RIGHT))
        stack.world.objects.write(prefix + RESULT, body, content_type="application/zip")


def end_all(stack: Stack, answers: Mapping[str, object] | None = None) -> None:
    """Every READY job is answered, by task id where an answer is given."""
    for job in stack.world.store.every(Job):
        if job.state is JobState.READY:
            end(stack, job, answer=(answers or {}).get(job.task_id))


def of(stack: Stack, task_id: str) -> Job:
    (job,) = [job for job in stack.world.store.every(Job) if job.task_id == task_id]
    return job


def round_of(stack: Stack, ports: Ports | None = None, **more: Any) -> list[str]:
    """The batches that a round reported, in which nothing failed."""
    found = report_round(ports or stack.ports, stack.settings, stack.world.now, **more)
    assert (found.failures, found.faults) == ({}, {})
    return found.batches


def failing_round(stack: Stack, **more: Any) -> Reported:
    """A round in which something failed."""
    found = report_round(stack.ports, stack.settings, stack.world.now, **more)
    assert found.failures or found.faults
    return found


@dataclass(frozen=True)
class Told:
    """A batch's report as it lies in the bucket."""

    bodies: Mapping[str, bytes]
    folder: str

    def json(self, name: str) -> Any:
        return json.loads(self.bodies[self.folder + name])

    @property
    def submission(self) -> Any:
        return self.json("submission.json")

    @property
    def summary(self) -> Any:
        return self.json("summary.json")

    @property
    def page(self) -> str:
        return self.bodies[self.folder + "index.html"].decode()

    @property
    def rows(self) -> int:
        return sum(body.decode().count("<details") for key, body in self.bodies.items() if ".html" in key)


def told(stack: Stack, batch: str) -> Told:
    folder = f"reports/{batch}/"
    bodies = {key: body for key, body in stack.world.objects.bodies.items() if key.startswith(folder)}
    return Told(bodies, folder)


def mails(stack: Stack, batch: str = "") -> list[tuple[str, str]]:
    return [(subject, body) for subject, body in stack.world.mail.sent if f"batch {batch}" in subject]

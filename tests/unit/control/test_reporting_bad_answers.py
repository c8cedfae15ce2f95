"""The report of a batch of which one answer is none: the others are told and scored as ever."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arcspot.domain.jobs import Job
from arcspot.services import reporting
from tests.fakes.driving import Stack, task

ANSWER = {"attempt_1": [[0]], "attempt_2": [[1]]}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps([{"attempt_1": [[0]]}]).encode(),
        json.dumps([ANSWER, ANSWER]).encode(),
        json.dumps([]).encode(),
        json.dumps({"attempt_1": [[0]]}).encode(),
        json.dumps([{**ANSWER, "attempt_2": [["1"]]}]).encode(),
        json.dumps([{**ANSWER, "attempt_2": [[0] * 99]}]).encode(),
        b"[" * 100_000,
        b"\xff",
        b"",
        b" " * (2 << 20),
    ],
)
def test_one_bad_answer_stops_no_report(body: bytes) -> None:
    fake = Stack()
    known = {name: {**task(n), "test": [{"input": [[0]], "output": [[1]]}]} for n, name in enumerate("abc")}
    fake.drop("tasks/x/all.json", known)
    runner = fake.boot(fake.scale()[0])
    while leases := runner.claim():
        runner.complete(leases[0])
    (bad,) = [job for job in fake.world.store.every(Job) if job.task_id == "b"]
    spoil(fake, bad, body)
    assert reporting.report_finished(fake.ports, fake.settings, fake.world.now) == ["x"]
    summary: dict[str, Any] = json.loads(fake.world.objects.read("reports/x/summary.json"))
    assert summary["counts"] == {"DONE": 3}
    submission = json.loads(fake.world.objects.read("reports/x/submission.json"))
    assert [submission["a"], submission["c"]] == [[ANSWER], [ANSWER]]


def spoil(fake: Stack, job: Job, body: bytes) -> None:
    """Leave the job's answer as earlier releases did, alone and with these bytes."""
    bodies = fake.world.objects.bodies
    for key in [key for key in bodies if key.startswith(job.result_prefix)]:
        del bodies[key]
    bodies[job.result_prefix + "prediction.json"] = body

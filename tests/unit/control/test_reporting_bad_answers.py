"""The report of a batch of which one answer is none: the others are told and scored as ever."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arcspot.domain import drawing, results, scoring
from arcspot.domain.jobs import Job
from arcspot.domain.reporters import PATIENCE
from arcspot.services import report_lines, reporting
from tests.fakes.driving import Stack, task
from tests.fakes.forging import Member, forged
from tests.fakes.reported import end_all, failing_round, mails, of, puzzle, round_of, told

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


class Surprise(Exception):
    """An error that no reader knows."""


READERS: dict[str, tuple[Any, str]] = {
    "unpacking": (results, "part"),
    "reading the answer": (report_lines, "parse_prediction"),
    "scoring": (scoring, "score_task"),
    "drawing": (drawing, "svg_task"),
    "reading the task": (report_lines, "read_task_file"),
}


@pytest.mark.parametrize("error", [Surprise, MemoryError, RecursionError, KeyError, AssertionError])
@pytest.mark.parametrize("reader", READERS)
def test_whatever_one_answer_raises_its_batch_is_reported(
    reader: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waited for as long as it may pass, and then a fault of that line alone, which is told."""
    stack, calls = Stack(), 0
    for n in range(3):
        stack.drop(f"tasks/m/m{n}.json", puzzle(n))
    end_all(stack)
    where, name = READERS[reader]
    real = getattr(where, name)

    def second(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error("what nobody thought of")
        return real(*args, **more)

    monkeypatch.setattr(where, name, second)
    for _ in range(PATIENCE):
        calls = 0
        assert "batch m" in failing_round(stack).failures
        stack.world.wait(3600)
    calls = 0
    found = failing_round(stack)
    assert (found.batches, found.failures) == (["m"], {})
    assert list(found.faults) == ["1 task(s) of batch m"]
    report = told(stack, "m")
    assert [fault["task_id"] for fault in report.summary["faults"]] == ["m1"]
    assert "what nobody thought of" in report.page
    assert (report.rows, set(report.submission), len(mails(stack, "m"))) == (3, {"m0", "m1", "m2"}, 2)
    assert round_of(stack) == []


@pytest.mark.parametrize("method", [1, 9, 12, 14, 93, 95, 98, 99])
def test_an_answer_packed_by_another_method_is_told_in_the_first_report(method: int) -> None:
    stack = Stack()
    for n in range(3):
        stack.drop(f"tasks/m/m{n}.json", puzzle(n))
    end_all(stack)
    odd = forged([Member("prediction.json", b"\xff" * 40, method=method, size=100)])
    stack.world.objects.bodies[of(stack, "m1").result_prefix + results.RESULT] = odd
    assert failing_round(stack).batches == ["m"]
    (fault,) = told(stack, "m").summary["faults"]
    assert (fault["task_id"], f"method {method}" in fault["why"]) == ("m1", True)

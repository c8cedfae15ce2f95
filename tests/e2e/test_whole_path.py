"""A task file dropped into a bucket comes back solved; whatever happens, the money adds up.

    pytest -m e2e

Deadlines here only end a hang: a busy machine may take its time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from arcspot.domain import results, scoring, tasks
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import LaunchState
from arcspot_cli.local.stack import control
from gpu_runner import solver
from tests.e2e.little_tasks import little_task
from tests.e2e.whole_stack import WholeStack, eventually, hex_sha256

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

GOOD, OTHER = little_task(1), little_task(2)
THIRD = little_task(3, side=20)  # at work for some seconds: there has to be time to cut the power
ODD_KEY = "tasks/whole path/ein +Bild ü 図 100%.json"
RAGGED = b'{"train": [{"input": [[1, 2], [3]], "output": [[1]]}], "test": [{"input": [[1]]}]}'


def test_a_good_a_malformed_and_a_repeated_file(whole: WholeStack, tmp_path: Path) -> None:
    batch = "whole path"
    good, bad, again = (f"tasks/{batch}/{name}.json" for name in ("recolour", "ragged", "the same again"))
    whole.drop(bad, RAGGED)
    whole.drop(good, GOOD)
    whole.drop(ODD_KEY, OTHER)

    # One file is wrong: it says which, where and what was expected; the others go on.
    refusal = eventually("the malformed file is refused", lambda: _found(whole, f"rejected/{bad}.json"))
    assert refusal["key"] == bad
    assert [fault["path"] for fault in refusal["faults"]] == ["$.train[0].input[1]"]
    assert refusal["messages"][0].startswith(
        f"{bad}: at $.train[0].input[1] expected a row as long as the first"
    )
    receipt = eventually("the good file is accepted", lambda: whole.receipt(good))
    ((task_id, job_id),) = receipt.entries
    assert (task_id, receipt.refusals) == ("recolour", ())
    assert receipt.object_version
    odd = eventually("the odd key is accepted", lambda: whole.receipt(ODD_KEY))
    assert odd.object_key == ODD_KEY

    job = eventually("the good task is answered", lambda: _over(whole, batch, job_id))
    assert_answered_rightly(whole, job, GOOD, tmp_path / "good")
    odd_job = eventually("the odd one is, too", lambda: _over(whole, batch, odd.entries[0][1]))
    assert odd_job.task_id == "ein +Bild ü 図 100%"
    assert_answered_rightly(whole, odd_job, OTHER, tmp_path / "odd")

    # The same puzzle under another name is the same job: no second launch, no second bill.
    eventually("all instances are gone and paid for", lambda: _settled(whole))
    before = whole.launches()
    whole.drop(again, GOOD)
    repeat = eventually("the duplicate has its receipt", lambda: whole.receipt(again))
    assert repeat.entries == (("the same again", job_id),)
    assert set(whole.jobs(batch)) == {job_id, odd_job.job_id}
    assert whole.jobs(batch)[job_id] == job
    assert whole.launches() == before

    submission = eventually("the batch is reported", lambda: _submission(whole, batch, 3))
    packed = {results.RESULT: whole.read(job.result_prefix + results.RESULT)}
    answer = results.document(packed, results.PREDICTION)
    assert submission["the same again"] == submission["recolour"] == answer
    page = whole.read(f"reports/{batch}/index.html").decode()
    assert "recolour" in page
    assert "ragged" in page
    assert_books_balance(whole)


def test_a_runner_that_dies_at_work_is_replaced_and_paid_for(whole: WholeStack, tmp_path: Path) -> None:
    batch, key = "power cut", "tasks/power cut/recolour.json"
    known = {launch.launch_id for launch in whole.launches()}
    whole.drop(key, THIRD)
    receipt = eventually("the file is accepted", lambda: whole.receipt(key))
    job_id = receipt.entries[0][1]

    # Only once it is at work: a runner that dies before its hello would open the breaker instead.
    victim = eventually("a runner is at work", lambda: _at_work(whole, batch, job_id), every=0.3)
    launch = next(row for row in whole.launches() if row.launch_id == victim)
    control(whole.local, launch.instance_id, "crash")

    job = eventually("the job is answered after all", lambda: _over(whole, batch, job_id), seconds=900)
    assert job.fence == 2, "the second lease is the one that delivered"
    assert job.failures == 0, "a power cut is not the task's fault"
    assert_answered_rightly(whole, job, THIRD, tmp_path)
    assert "reclaimed" in whole.events(f"job#{job_id}")

    eventually("all instances are gone and paid for", lambda: _settled(whole))
    new = [row for row in whole.launches() if row.launch_id not in known]
    assert len(new) == 2
    packed = {results.RESULT: whole.read(job.result_prefix + results.RESULT)}
    assert results.document(packed, results.MANIFEST)["launch_id"] != victim
    eventually("the batch is reported", lambda: _submission(whole, batch, 1))
    assert_books_balance(whole, cut_short=victim)


def assert_answered_rightly(whole: WholeStack, job: Job, body: bytes, folder: Path) -> None:
    """The artefacts of a job are whole, true, and right."""
    assert job.state is JobState.DONE, job.reason
    folder.mkdir(exist_ok=True)
    names = {"prediction.json", "adapted.safetensors", "metrics.json", "picture.svg", "manifest.json"}
    files = results.unpacked(whole.read(job.result_prefix + results.RESULT))
    assert set(files) == names
    assert whole.keys(job.result_prefix) == {job.result_prefix + results.RESULT}, "one PUT"
    for name, content in files.items():
        (folder / name).write_bytes(content)

    manifest = json.loads(files["manifest.json"])
    assert manifest["job_id"] == job.job_id
    assert manifest["files"] == {
        name: {"bytes": len(content), "sha256": hex_sha256(content)}
        for name, content in files.items()
        if name != "manifest.json"
    }

    (task,) = tasks.read_task_file("task.json", body).tasks
    prediction = json.loads(files["prediction.json"])
    assert [set(answer) for answer in prediction] == [{"attempt_1", "attempt_2"}] * len(task.test_inputs)
    attempts = scoring.read_prediction(prediction)
    assert all(first != second for first, second in attempts)
    scored = scoring.score_task(task, attempts)
    assert scored is not None
    assert scored.pass_at_2 == 1.0

    # The weights alone give the same answers again, on the user's own machine.
    weights = folder / "adapted.safetensors"
    with safe_open(weights, framework="pt") as opened:
        metadata = opened.metadata()
    unsolved = tasks.without_solutions(tasks.to_json(task))
    again = solver.predict(unsolved, load_file(weights), metadata)
    assert scoring.write_prediction(again) == prediction

    metrics = json.loads(files["metrics.json"])
    assert metrics["votes"][0][0]["grid"] == [list(row) for row in attempts[0][0]]
    assert metrics["device"] == "cpu"
    assert metrics["seconds"] > 0
    assert files["picture.svg"].lstrip().startswith(b"<svg")


def assert_books_balance(whole: WholeStack, *, cut_short: str = "") -> None:
    """Nothing lives, nothing is reserved, every launch is paid for, and the sums are right.

    The execution of a launch whose instance died says so; all others succeeded.
    """
    launches = whole.launches()
    assert launches
    assert {launch.state for launch in launches} == {LaunchState.SETTLED}
    states = whole.instance_states()
    assert {states.get(launch.instance_id, "terminated") for launch in launches} == {"terminated"}
    ended = {launch.launch_id: whole.execution(launch.launch_id) for launch in launches}
    assert ended == {name: "FAILED" if name == cut_short else "SUCCEEDED" for name in ended}
    # Each launch was armed with a schedule that would have ended it, and none of them is left.
    assert all("armed" in whole.events(f"launch#{name}") for name in ended)
    assert whole.schedules().isdisjoint(ended)
    fleet = whole.fleet()
    assert fleet.slots_available == fleet.slots_total
    for ledger in whole.ledgers():
        assert ledger.balanced
        assert ledger.reserved == 0
    settled = sum(ledger.settled for ledger in whole.ledgers())
    assert settled == sum(launch.actual for launch in launches) > 0


def _found(whole: WholeStack, key: str) -> dict[str, Any] | None:
    return whole.document(key) if key in whole.keys(key) else None


def _over(whole: WholeStack, batch: str, job_id: str) -> Job | None:
    job = whole.jobs(batch)[job_id]
    return job if job.state.terminal else None


def _at_work(whole: WholeStack, batch: str, job_id: str) -> str | None:
    """The launch that has claimed a job and works on it."""
    lease = whole.jobs(batch)[job_id].lease
    return lease.launch_id if lease else None


def _settled(whole: WholeStack) -> bool:
    """Whether every launch is closed and every execution has ended."""
    launches = whole.launches()
    return bool(launches) and all(
        not row.state.open and whole.execution(row.launch_id) != "RUNNING" for row in launches
    )


def _submission(whole: WholeStack, batch: str, count: int) -> dict[str, Any] | None:
    found = _found(whole, f"reports/{batch}/submission.json")
    return found if found is not None and len(found) == count else None

"""A file under a key that nothing can be done with: refused in words, and nothing of it stays behind."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from arcspot.domain.batches import Sweep
from arcspot.domain.jobs import Job, JobState
from arcspot.errors import TaskFileRefused
from arcspot.services import ingesting, notices
from arcspot.services.ingesting import Dropped, rejected_key
from arcspot.services.sweeping import submit_again, sweep
from tests.fakes.driving import GOOD_TASK, Stack, task

BAD_KEYS = [
    "tasks/../x.json",
    "tasks/./x.json",
    "tasks/b/../x.json",
    "tasks//x.json",
    "tasks/b//x.json",
    "tasks/team/monday/x.json",
    "tasks/2026/11/27/x.json",
    "tasks/ b/x.json",
    f"tasks/{'b' * 250}/x.json",
    f"tasks/b/{'x' * 890}.json",
    *(f"tasks/b/{'x' * (length - 8)}" for length in range(1010, 1025)),
    f"tasks/{'b' * 1000}/x.json",
    "tasks/b\nc/x.json",
]


def jobs(stack: Stack) -> list[Job]:
    return [row for row in stack.world.store.rows.values() if isinstance(row, Job)]


def short(key: str) -> str:
    return f"{repr(key)[:24]}-{len(key)}"


@pytest.mark.parametrize("key", BAD_KEYS, ids=short)
def test_a_bad_key_is_one_refusal_and_no_job(key: str) -> None:
    stack = Stack()
    receipt = stack.drop(key, GOOD_TASK)
    assert (receipt.jobs, len(receipt.refusals)) == ((), 1)
    refused = json.loads(stack.world.objects.bodies[rejected_key(key)])
    assert refused["key"] == key
    (kept,) = stack.world.store.receipts_of_batch(receipt.batch_id)
    assert (kept.key, kept.refused, kept.entries) == (key, 1, ())
    assert jobs(stack) == []
    assert all(len(written.encode()) <= 1024 for written in stack.world.objects.bodies)


@pytest.mark.parametrize("key", BAD_KEYS, ids=short)
def test_the_same_task_under_a_good_key_is_a_new_job_that_can_be_fetched(key: str) -> None:
    stack = Stack()
    stack.drop(key, GOOD_TASK)
    good = stack.drop("tasks/monday/x.json", GOOD_TASK)
    assert good.new_jobs == 1
    (job,) = jobs(stack)
    assert (job.batch_id, job.input.key) == ("monday", "tasks/monday/x.json")


@pytest.mark.parametrize("key", BAD_KEYS, ids=short)
def test_a_key_that_was_told_is_not_told_again_by_the_sweep(key: str) -> None:
    stack = Stack()
    stack.drop(key, GOOD_TASK)
    stack.drop("tasks/b/good.json", task(3))
    assert sweep(stack.ports, stack.settings, stack.world.now).outcomes == ()


@pytest.mark.parametrize(
    "key", ["tasks/x/", "tasks/", "tasks/a/b/", "tasks//", "tasks/x_$folder$", "tasks/../"]
)
def test_a_folder_marker_of_the_console_is_silence(key: str) -> None:
    stack = Stack()
    for receipt in (
        stack.drop(key, b""),
        *sweep(stack.ports, stack.settings, stack.world.now).outcomes,
    ):
        assert (receipt.jobs, receipt.refusals) == ((), ())
    assert list(stack.world.objects.bodies) == [key]
    rows = stack.world.store.rows.values()
    assert [row for row in rows if not isinstance(row, Sweep)] == []
    assert list(stack.world.store.events) == []


def test_a_file_whose_key_ends_in_a_slash_is_no_marker() -> None:
    stack = Stack()
    assert "ends in a slash" in stack.drop("tasks/x/", GOOD_TASK).refusals[0]


def test_a_key_that_s3_cannot_have_is_passed_over() -> None:
    event = {"detail": {"object": {"key": "tasks/b/\ud800.json", "size": 3}}}
    assert notices.drops_in(event) == ()


def test_what_does_not_end_in_json_is_read_like_any_other() -> None:
    stack = Stack()
    assert stack.drop("tasks/b/x", GOOD_TASK).new_jobs == 1
    assert stack.drop("tasks/b/notes.txt", b"hello").refusals


@pytest.mark.parametrize(
    "key", [f"recurring/a/{'x' * 990}.json", "recurring/a/../x.json", "recurring/a//x.json"], ids=short
)
def test_a_bad_key_of_a_recurring_submission_is_told_once_a_turn(key: str) -> None:
    stack = Stack()
    for each in (key, "recurring/a/good.json"):
        stack.world.objects.dropped(each, json.dumps(GOOD_TASK).encode())

    def turn() -> list[bool]:
        receipts, _ = submit_again(
            stack.ports, stack.settings, prefix="recurring/a/", name="nightly", now=stack.world.now
        )
        return sorted(bool(receipt.refusals) for receipt in receipts)

    assert turn() == [False, True]
    assert turn() == []
    stack.world.wait(60)
    assert turn() == [False, True]


@pytest.mark.parametrize("name", ["a/b", "..\\x", "x" * 190, "a\n"])
def test_a_turn_whose_batch_could_not_be_reported_starts_nothing(name: str) -> None:
    stack = Stack()
    stack.world.objects.write("recurring/a/x.json", json.dumps(GOOD_TASK).encode(), content_type="")
    with pytest.raises(TaskFileRefused, match="expected a batch name"):
        submit_again(stack.ports, stack.settings, prefix="recurring/a/", name=name, now=stack.world.now)
    assert stack.world.store.rows == {}


def test_of_many_bad_tasks_every_one_is_counted() -> None:
    stack = Stack()
    stack.drop("tasks/b/x.json", {"good": GOOD_TASK} | {f"bad{n}": {} for n in range(250)})
    (kept,) = stack.world.store.receipts_of_batch("b")
    assert kept.refused == 250
    assert json.loads(stack.world.objects.bodies[rejected_key("tasks/b/x.json")])["refused"] == 250
    stack.drop("tasks/b/x.json", {"good": GOOD_TASK})
    (kept,) = stack.world.store.receipts_of_batch("b")
    assert kept.refused == 0


def test_a_marker_beside_files_costs_the_sweep_no_word() -> None:
    stack = Stack()
    stack.world.objects.write("tasks/x/", b"", content_type="")
    ingesting.ingest(stack.ports, stack.settings, Dropped("tasks/x/", 0), stack.world.now)
    assert stack.drop("tasks/x/a.json", GOOD_TASK).new_jobs == 1


def spoilt(stack: Stack, **changes: object) -> str:
    """A job as an earlier release made it of `tasks/../x.json`; its id."""
    ((_, job_id, _),) = stack.drop("tasks/b/x.json", GOOD_TASK).jobs
    job = stack.world.store.jobs([job_id])[job_id]
    there = replace(job.input, key="tasks/../x.json")
    stack.world.store.write(replace(job, input=there, batch_id="..", **changes))  # type: ignore[arg-type]
    return job_id


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"state": JobState.DEAD, "ready_at": None, "failures": 3, "reason": "404"},
        {"state": JobState.LEASED, "ready_at": None},
    ],
    ids=["ready", "dead", "leased"],
)
def test_the_same_task_under_a_good_key_heals_the_job_a_bad_one_spoilt(changes: dict[str, object]) -> None:
    stack = Stack()
    job_id = spoilt(stack, **changes)
    receipt = stack.drop("tasks/monday/x.json", GOOD_TASK)
    assert receipt.jobs == (("x", job_id, True),)
    healed = stack.world.store.jobs([job_id])[job_id]
    assert (healed.input.key, healed.batch_id, healed.failures) == ("tasks/monday/x.json", "monday", 0)
    assert healed.state is (JobState.LEASED if changes.get("state") is JobState.LEASED else JobState.READY)
    stack.drop("tasks/monday/x.json", GOOD_TASK)
    assert stack.world.store.jobs([job_id])[job_id] == healed, "once is enough"


@pytest.mark.parametrize("state", [JobState.DONE, JobState.CANCELLED])
def test_what_is_over_for_good_is_left_alone(state: JobState) -> None:
    stack = Stack()
    job_id = spoilt(stack, state=state, ready_at=None)
    assert stack.drop("tasks/monday/x.json", GOOD_TASK).new_jobs == 0
    assert stack.world.store.jobs([job_id])[job_id].state is state


def test_a_job_given_up_for_another_reason_is_not_tried_again() -> None:
    stack = Stack()
    ((_, job_id, _),) = stack.drop("tasks/b/x.json", GOOD_TASK).jobs
    job = stack.world.store.jobs([job_id])[job_id]
    stack.world.store.write(replace(job, state=JobState.DEAD, ready_at=None))
    assert stack.drop("tasks/monday/x.json", GOOD_TASK).new_jobs == 0
    assert stack.world.store.jobs([job_id])[job_id].state is JobState.DEAD

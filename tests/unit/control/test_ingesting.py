"""A dropped file becomes jobs or a refusal in words; dropping it again costs nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from arcspot.domain.batches import Batch
from arcspot.domain.jobs import JobState
from arcspot.domain.tasks import MAX_FILE_BYTES
from arcspot.services import ingesting, notices
from arcspot.services.contents import contents, planned
from arcspot.services.ingesting import Dropped
from arcspot.services.reporting import report_finished
from arcspot.services.sweeping import submit_again, sweep
from tests.fakes.driving import GOOD_TASK, Stack, task


def states(stack: Stack, batch: str) -> list[str]:
    found = contents(stack.world.store, batch)
    return sorted([*(str(entry.job.state) for entry in found.entries), *("REJECTED" for _ in found.refused)])


def test_the_same_task_under_another_name_is_the_same_job() -> None:
    stack = Stack()
    first = stack.drop("tasks/a/one.json", GOOD_TASK)
    solved = {**GOOD_TASK, "test": [{"input": [[5, 6]], "output": [[6, 5]]}], "note": "extra"}
    again = stack.drop("tasks/b/two words + ü.json", solved)
    assert (first.new_jobs, again.new_jobs) == (1, 0)
    assert first.jobs[0][1] == again.jobs[0][1]
    (receipt,) = stack.world.store.receipts(["tasks/b/two words + ü.json"]).values()
    assert receipt.entries == (("two words + ü", first.jobs[0][1]),)


def test_a_bad_file_is_refused_in_words_and_the_others_go_on() -> None:
    stack = Stack()
    bad = {"train": [{"input": [[1, 12]], "output": [[1]]}], "test": [{"input": [[1]]}]}
    stack.drop("tasks/b/bad.json", bad)
    stack.drop("tasks/b/good.json", GOOD_TASK)
    refused = json.loads(stack.world.objects.bodies["rejected/tasks/b/bad.json.json"])
    assert refused["faults"][0]["path"] == "$.train[0].input[0][1]"
    assert "tasks/b/bad.json" in refused["messages"][0]
    assert states(stack, "b") == ["READY", "REJECTED"]


def test_in_a_file_of_many_one_bad_task_does_not_lose_the_good_ones() -> None:
    stack = Stack()
    receipt = stack.drop("tasks/b/many.json", {"good": GOOD_TASK, "bad": {"train": []}, "fine": task(7)})
    assert [task_id for task_id, _, _ in receipt.jobs] == ["good", "fine"]
    assert len(receipt.refusals) == 1
    assert "rejected/tasks/b/many.json.json" in stack.world.objects.bodies
    assert states(stack, "b") == ["READY", "READY", "REJECTED"]


def test_a_mended_file_loses_its_refusal() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", b"not json")
    assert "rejected/tasks/b/one.json.json" in stack.world.objects.bodies
    stack.drop("tasks/b/one.json", GOOD_TASK)
    assert "rejected/tasks/b/one.json.json" not in stack.world.objects.bodies
    assert states(stack, "b") == ["READY"], "and its refusal is counted no more"


def test_a_late_event_of_an_older_version_is_passed_over() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK, sequencer="00B0")
    late = stack.drop("tasks/b/one.json", task(1), sequencer="00A9")
    assert late.stale
    assert len(stack.world.store.jobs_of_batch("b")) == 1  # type: ignore[arg-type]


def test_the_same_event_twice_leaves_the_same_state() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK, sequencer="00A9")
    before = dict(stack.world.store.rows)
    stack.drop("tasks/b/one.json", GOOD_TASK, sequencer="00A9")
    assert stack.world.store.rows == before


def test_a_file_too_large_is_refused_without_being_read() -> None:
    stack = Stack()
    receipt = ingesting.ingest(
        stack.ports, stack.settings, Dropped(key="tasks/huge.json", size=MAX_FILE_BYTES + 1), stack.world.now
    )
    assert receipt.refusals
    assert receipt.batch_id == "default"


def test_the_sweep_finds_what_no_event_told_of() -> None:
    stack = Stack()
    stack.world.objects.write("tasks/b/lost.json", json.dumps(GOOD_TASK).encode(), content_type="")
    stack.drop("tasks/b/told.json", task(3))
    swept = sweep(stack.ports, stack.settings, stack.world.now)
    assert [outcome.key for outcome in swept.outcomes] == ["tasks/b/lost.json"]


@pytest.mark.parametrize(("key", "batch"), [("tasks/a.json", "default"), ("tasks/x/y/a.json", "x")])
def test_a_batch_is_the_first_folder_below_tasks(key: str, batch: str) -> None:
    assert ingesting.batch_of(key) == batch


def test_an_eventbridge_key_is_taken_as_it_is() -> None:
    event = {
        "detail": {"object": {"key": "tasks/a b+c.json", "size": 3, "version-id": "v", "sequencer": "1"}}
    }
    assert notices.drops_in(event) == (Dropped("tasks/a b+c.json", 3, "v", "1"),)
    assert notices.drops_in({"detail": {"object": {"key": "results/x"}}}) == ()


def told_by_s3(key: str, **item: Any) -> dict[str, Any]:
    """S3's own notification of one object, as a queue gets it."""
    told = {"key": key, "size": 3, "versionId": "v", "sequencer": "1", **item}
    about = {"bucket": {"name": "bucket"}, "object": told}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": about}]}


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("tasks/a+b%2Bc.json", "tasks/a b+c.json"),
        ("tasks/%C3%A9+%25.json", "tasks/é %.json"),
        ("tasks/team/%E3%81%82%3F%23.json", "tasks/team/あ?#.json"),
        ("tasks/plain.json", "tasks/plain.json"),
    ],
)
def test_s3s_own_notification_has_an_encoded_key(sent: str, key: str) -> None:
    assert notices.drops_in(told_by_s3(sent)) == (Dropped(key, 3, "v", "1"),)


def test_s3s_first_message_to_a_queue_is_a_test_and_tells_of_nothing() -> None:
    test = {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": "2026-11-27T10:00:00Z",
        "Bucket": "bucket",
    }
    assert notices.drops_in(test) == ()


def test_what_is_no_new_task_file_of_this_bucket_is_silence() -> None:
    assert notices.drops_in(told_by_s3("results/x")) == ()
    other = told_by_s3("tasks/x.json")
    assert notices.drops_in(other, "bucket") == (Dropped("tasks/x.json", 3, "v", "1"),)
    assert notices.drops_in(other, "another") == ()
    other["Records"][0]["eventName"] = "ObjectRemoved:Delete"
    assert notices.drops_in(other) == ()
    told = {"detail": {"bucket": {"name": "another"}, "object": {"key": "tasks/x.json"}}}
    assert notices.drops_in(told, "bucket") == ()


def test_one_message_may_tell_of_many_objects_and_of_ones_without_a_version() -> None:
    two = [*told_by_s3("tasks/x.json")["Records"], *told_by_s3("tasks/y.json", versionId="null")["Records"]]
    assert [(d.key, d.object_version) for d in notices.drops_in({"Records": two})] == [
        ("tasks/x.json", "v"),
        ("tasks/y.json", ""),
    ]


def test_a_batch_is_reported_and_mailed_once_when_all_of_it_is_over() -> None:
    stack = Stack()
    stack.drop("tasks/b/bad.json", b"{")
    runner = stack.one_running()
    assert report_finished(stack.ports, stack.settings, stack.world.now) == []
    (lease,) = runner.claim()
    runner.complete(lease)
    assert report_finished(stack.ports, stack.settings, stack.world.now) == ["b"]
    assert report_finished(stack.ports, stack.settings, stack.world.now) == []
    assert [s for s, _ in stack.world.mail.sent if "batch" in s] == ["arcspot: batch b: 1 answered, $0.0002"]
    submission = json.loads(stack.world.objects.bodies["reports/b/submission.json"])
    assert submission["one"] == [{"attempt_1": [[0]], "attempt_2": [[1]]}]
    assert b"one" in stack.world.objects.bodies["reports/b/index.html"]


def test_after_everything_no_instance_and_no_reservation_is_left() -> None:
    stack = Stack()
    for n in range(6):
        stack.drop(f"tasks/b/{n}.json", task(n))
    for launch_id in stack.scale():
        runner = stack.boot(launch_id)
        while leases := runner.claim():
            runner.complete(leases[0])
        runner.ask("bye", why="idle")
        stack.retire(launch_id)
    assert {job.state for job in stack.world.store.jobs_of_batch("b")} == {JobState.DONE}
    assert stack.world.ec2.living == []
    assert stack.books[2] == 0


@pytest.fixture(autouse=True)
def one_at_a_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of turns are counted in files here, not in groups of a hundred."""
    if "turn" in request.node.name or "piece" in request.node.name:
        monkeypatch.setattr(ingesting, "GROUP_FILES", 1)


def piece(stack: Stack, *, files: int = 100) -> tuple[list[ingesting.Outcome], int]:
    """What an invocation with time for so many files does of a turn."""
    left = iter(range(files - 1))
    return submit_again(
        stack.ports,
        stack.settings,
        prefix="recurring/nightly/",
        name="nightly",
        now=stack.world.now,
        enough_time=lambda: next(left, None) is not None,
    )


def again(stack: Stack) -> list[ingesting.Outcome]:
    receipts, left = piece(stack)
    assert left == 0
    return receipts


def recurring() -> Stack:
    stack = Stack()
    for name, body in {"one.json": GOOD_TASK, "two.json": task(2), "notes.txt": {}}.items():
        stack.world.objects.write(f"recurring/nightly/{name}", json.dumps(body).encode(), content_type="")
    return stack


def test_a_recurring_submission_told_twice_in_its_minute_is_one_run() -> None:
    stack = recurring()
    assert [receipt.new_jobs for receipt in again(stack)] == [1, 1]
    before = dict(stack.world.store.rows)
    stack.world.wait(59)
    assert again(stack) == [], "each file has its receipt"
    assert stack.world.store.rows == before
    assert states(stack, "nightly-20261123T1200") == ["READY", "READY"]


def test_the_next_run_works_on_the_same_tasks_again_in_a_batch_of_its_own() -> None:
    stack = recurring()
    first = again(stack)
    stack.world.wait(24 * 3600)
    second = again(stack)
    assert [receipt.batch_id for receipt in second] == ["nightly-20261124T1200"] * 2
    assert {r.jobs[0][1] for r in first}.isdisjoint(r.jobs[0][1] for r in second)
    assert stack.drop("tasks/b/one.json", GOOD_TASK).new_jobs == 1, "a plain drop is none of these runs"
    told = "runs/nightly-20261123T1200/recurring/nightly/one.json"
    assert stack.world.store.receipts([told])[told].object_key == "recurring/nightly/one.json"


def test_an_empty_folder_is_an_empty_run() -> None:
    assert again(Stack()) == []


def heap(count: int) -> Stack:
    stack = Stack()
    for n in range(count):
        stack.world.objects.write(
            f"recurring/nightly/{n}.json", json.dumps(task(n)).encode(), content_type=""
        )
    return stack


def test_a_turn_too_long_for_one_invocation_is_worked_off_in_pieces() -> None:
    stack = heap(5)
    done = []
    for left in (3, 1, 0):
        receipts, told_left = piece(stack, files=2)
        assert told_left == left
        done += [receipt.key for receipt in receipts]
    assert sorted(done) == [f"recurring/nightly/{n}.json" for n in range(5)], "each once"
    assert states(stack, "nightly-20261123T1200") == ["READY"] * 5
    assert piece(stack) == ([], 0)


def test_a_piece_does_a_file_however_late_it_is() -> None:
    # Else a turn whose listing takes all the time would ask for itself for ever.
    receipts, left = piece(heap(3), files=0)
    assert (len(receipts), left) == (1, 2)


def test_a_refused_file_is_not_read_again_in_its_turn_but_in_the_next() -> None:
    stack = heap(1)
    stack.world.objects.write("recurring/nightly/bad.json", b"{}", content_type="")
    assert [bool(receipt.refusals) for receipt in again(stack)] == [False, True]
    assert again(stack) == []
    stack.world.wait(60)
    assert [bool(receipt.refusals) for receipt in again(stack)] == [False, True]


class PowerCut(BaseException):
    """The process ends where this is raised."""


@pytest.mark.parametrize("moment", range(1, 40))
def test_a_turn_cut_off_anywhere_is_finished_by_the_next_try(moment: int) -> None:
    stack, calls = heap(2), 0
    stack.world.objects.write("recurring/nightly/bad.json", b"{}", content_type="")

    def cut(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment:
                raise PowerCut
            return original(*args, **kwargs)

        return call

    store, objects = stack.world.store, stack.world.objects
    with pytest.MonkeyPatch.context() as patch:
        for port, names in (
            (store, ("add", "write", "write_each", "record")),
            (objects, ("write", "delete")),
        ):
            for name in names:
                patch.setattr(port, name, cut(getattr(port, name)))
        with suppress(PowerCut):
            piece(stack)

    again(stack)
    batch = "nightly-20261123T1200"
    assert states(stack, batch) == ["READY", "READY", "REJECTED"]
    told = store.batch(batch)
    assert told is not None
    assert told.report_due_at is not None
    assert planned(store, batch).files == 3
    assert told.files <= 3, "a lower bound"


def test_a_file_gets_the_lane_of_its_batch() -> None:
    stack = Stack()
    stack.world.store.write(Batch("urgent", stack.world.now, None, lane=0))
    stack.drop("tasks/b/first.json", task(1))
    stack.world.wait(60)
    stack.drop("tasks/urgent/late.json", task(2))
    assert [(job.batch_id, job.lane) for job in stack.world.store.ready_jobs(9, stack.world.now)] == [
        ("urgent", 0),
        ("b", 1),
    ]
    (batch,) = [batch for batch in stack.world.store.batches_due() if batch.batch_id == "urgent"]
    assert batch.lane == 0


def test_the_tasks_of_a_file_are_worked_on_in_its_order() -> None:
    stack = Stack()
    names = [f"task-{n * 7 % 40:02d}" for n in range(40)]
    stack.drop("tasks/b/many.json", {name: task(n) for n, name in enumerate(names)})
    stack.world.wait(1)
    stack.drop("tasks/b/later.json", task(99))
    assert [job.task_id for job in stack.world.store.ready_jobs(99, stack.world.now)] == [*names, "later"]

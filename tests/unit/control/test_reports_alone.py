"""One bad thing never stops the others: each batch and each answer of a report stands alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from arcspot.domain.batches import Batch
from arcspot.domain.jobs import JobState
from arcspot.domain.reporters import MAX_TROUBLES, PATIENCE, SAID_AFTER, TURN, Reporter, report_folder
from arcspot.errors import Conflict, ItemsFailed
from arcspot.services import attending
from arcspot.services.reporting import report_finished, report_round
from arcspot_simulator.bucket import MemoryObjects
from tests.fakes.driving import Stack, task
from tests.fakes.house import functions
from tests.fakes.memory import START
from tests.fakes.reported import RIGHT, end, end_all, failing_round, mails, of, pairs, puzzle, round_of, told


def two_batches(answer: object = None) -> Stack:
    """Batches a and z of one task, whose answers are fine, and batch m of three, one of them odd."""
    stack = Stack()
    for batch in "az":
        stack.drop(f"tasks/{batch}/{batch}.json", puzzle(ord(batch)))
    for n in range(3):
        stack.drop(f"tasks/m/m{n}.json", puzzle(n))
    end(stack, of(stack, "m1"), answer=answer)
    end_all(stack)
    return stack


ODD = {
    "half of a pair": b'[{"attempt_1": [[0]]}]',
    "60 MiB": b"[" + b" " * (60 << 20) + b"]",
    "nothing": b"",
    "no list": b"7",
    "null": b"null",
    "NaN": b"[NaN]",
    "deep": b"[" * 100_000,
    "a huge number": b'[{"attempt_1": [[%s]], "attempt_2": [[0]]}]' % (b"9" * 5000),
    "no text": b"\xff\xfe\x00",
    "no colours": b'[{"attempt_1": [[true]], "attempt_2": [[1.0]]}]',
    "ragged": b'[{"attempt_1": [[1], [1, 2]], "attempt_2": [[0]]}]',
    "too many pairs": b'[{"attempt_1": [[7]], "attempt_2": [[7]]}, {"attempt_1": [[7]], "attempt_2": [[7]]}]',
    "an object": b'{"attempt_1": [[0]], "attempt_2": [[0]]}',
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_an_odd_answer_is_a_line_with_its_reason_and_stops_nothing(body: bytes) -> None:
    stack = two_batches(body)
    failed = failing_round(stack)
    assert failed.batches == ["a", "m", "z"]
    assert (failed.failures, list(failed.faults)) == ({}, ["1 task(s) of batch m"])
    report = told(stack, "m")
    assert (report.summary["faulty"], report.summary["placeholder_tasks"]) == (1, 1)
    assert report.summary["faults"][0]["task_id"] == "m1"
    assert "its answer cannot be " in report.summary["faults"][0]["why"]
    assert "its answer cannot be " in report.page
    assert report.submission["m0"] == pairs(RIGHT)
    assert "its answer cannot be " in mails(stack, "m")[0][1]
    assert round_of(stack) == [], "it is over: told once, mailed once, alarmed once"
    assert len(mails(stack)) == 3


def lose_answer(stack: Stack, job_id: str) -> None:
    stack.world.objects.delete(f"results/{job_id}/1/result.zip")


def archive_answer(stack: Stack, job_id: str) -> None:
    stack.world.objects.unreadable.add(f"results/{job_id}/1/result.zip")


def archive_file(stack: Stack, job_id: str) -> None:
    stack.world.objects.unreadable.add("tasks/m/m1.json")


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (lose_answer, "it was removed"),
        (archive_answer, "archived"),
        (archive_file, "its file cannot be read"),
    ],
)
def test_an_object_that_cannot_be_had_is_a_line_with_its_reason(
    happens: Callable[[Stack, str], None], why: str
) -> None:
    stack = two_batches()
    happens(stack, of(stack, "m1").job_id)
    assert failing_round(stack).batches == ["a", "m", "z"]
    assert why in told(stack, "m").page
    assert why in str(told(stack, "m").summary["faults"])


def test_what_could_not_be_read_and_can_be_now_is_told_when_its_file_is_dropped_again() -> None:
    stack = two_batches()
    archive_answer(stack, of(stack, "m1").job_id)
    failing_round(stack)
    stack.world.objects.unreadable.clear()
    stack.drop("tasks/m/m1.json", puzzle(1))
    assert round_of(stack) == ["m"]
    assert told(stack, "m").summary["faulty"] == 0


class Broken(MemoryObjects):
    """A bucket that fails for what has a word in its key, and the third time for what has none."""

    word: str = ""

    def fetch_many(self, wanted: Any, *, last: int | None = None) -> Any:
        found = super().fetch_many(wanted, last=last)
        return [
            RuntimeError("InternalError") if self.word and self.word in key else each
            for (key, _), each in zip(wanted, found, strict=True)
        ]

    def write(self, key: str, body: bytes, *, content_type: str) -> None:
        if self.word and self.word in key:
            raise RuntimeError("SlowDown")
        super().write(key, body, content_type=content_type)


def broken(word: str) -> Stack:
    stack = Stack()
    stack.world.objects = Broken()
    for batch in ("a", "m", "z"):
        stack.drop(f"tasks/{batch}/{batch}1.json", puzzle(ord(batch)))
    end_all(stack)
    stack.world.objects.word = word
    return stack


def test_a_batch_that_raises_stops_no_other_is_mailed_of_once_and_tried_ever_more_slowly() -> None:
    stack = broken("reports/m/")
    failed = failing_round(stack)
    assert failed.batches == ["a", "z"]
    assert failed.failures == {"batch m": "RuntimeError: SlowDown"}
    with pytest.raises(ItemsFailed, match="SlowDown"):
        report_finished(stack.ports, stack.settings, stack.world.wait(60))
    tries = 2
    for _ in range(180):
        stack.world.wait(60)
        found = report_round(stack.ports, stack.settings, stack.world.now)
        tries += bool(found.failures)
    assert SAID_AFTER < tries < 12
    told_of = [subject for subject, _ in stack.world.mail.sent if "fails" in subject]
    assert told_of == ["arcspot: the report of batch m fails"]
    stack.world.objects.word = ""  # type: ignore[attr-defined]
    stack.world.wait(3600)
    assert round_of(stack) == ["m"]
    assert stack.world.store.reporter().troubles == {}


def test_an_error_nobody_knows_is_waited_for_and_in_the_end_told_as_a_fault() -> None:
    stack = broken("m1.json")
    for _ in range(PATIENCE):
        assert "batch m" in failing_round(stack).failures
        stack.world.wait(3600)
    assert failing_round(stack).batches == ["m"]
    assert "InternalError" in told(stack, "m").summary["faults"][0]["why"]
    assert round_of(stack) == []


def test_a_row_of_a_batch_that_cannot_be_counted_stops_no_other() -> None:
    stack = two_batches()
    count = stack.world.store.batch_count

    def counted(batch_id: str, state: JobState, at_most: int) -> int:
        if batch_id == "a":
            raise RuntimeError("no such index")
        return count(batch_id, state, at_most)

    stack.world.store.batch_count = counted  # type: ignore[method-assign]
    failed = failing_round(stack)
    assert (failed.batches, list(failed.failures)) == (["m", "z"], ["batch a"])


def test_thirty_batches_that_wait_keep_the_one_that_is_over_from_nothing() -> None:
    stack = Stack()
    for n in range(30):
        stack.drop(f"tasks/a{n:02}/x.json", puzzle(n))
    stack.drop("tasks/z/z.json", puzzle(99))
    end(stack, of(stack, "z"))
    assert round_of(stack) == ["z"]


def test_a_look_at_batches_that_wait_writes_nothing() -> None:
    stack = Stack()
    for n in range(5):
        stack.drop(f"tasks/a{n}/x.json", puzzle(n))
    writes = stack.world.store.writes
    assert round_of(stack) == []
    assert stack.world.store.writes == writes


@pytest.mark.parametrize("over", [True, False])
def test_with_time_for_one_batch_a_round_each_has_its_turn(over: bool) -> None:
    stack = Stack()
    for n in range(6):
        stack.drop(f"tasks/b{n}/x.json", puzzle(n))
    if over:
        end_all(stack)
    else:
        end(stack, stack.world.store.jobs_of_batch("b5")[0])  # type: ignore[index]
    reported = [batch for _ in range(6) for batch in round_of(stack, enough_time=lambda: False)]
    assert sorted(reported) == ([f"b{n}" for n in range(6)] if over else ["b5"])


@pytest.mark.parametrize(
    "name", ["n" * 1018, "ü" * 509, "..", ".", "漢" * 339, "x" * 1017], ids=lambda n: n[:2]
)
def test_a_name_that_makes_no_key_gets_a_folder_that_does(name: str) -> None:
    folder = report_folder(name)
    assert len(f"{folder}parts/0100-100.json".encode()) <= 1024
    assert not {".", ".."} & set(folder.split("/"))
    assert folder.startswith("reports/")
    assert folder.count("/") == 2
    assert report_folder(name + "x") != folder


def test_a_batch_of_a_very_long_name_is_reported_beside_the_others() -> None:
    stack = two_batches()
    name = "n" * 1018
    job = replace(of(stack, "m0"), job_id="long", batch_id=name, version=0)
    stack.world.store.write(job)
    stack.world.store.write(Batch(name, START, report_due_at=START))
    assert round_of(stack) == ["a", "m", name, "z"]
    assert stack.world.objects.bodies[report_folder(name) + "index.html"]


def test_two_reports_never_run_at_once_and_a_dead_ones_turn_ends() -> None:
    stack = two_batches()
    seen: list[Any] = []
    write = stack.world.objects.write

    def meanwhile(key: str, body: bytes, *, content_type: str) -> None:
        if "reports/" in key and not seen:
            seen.append(round_of(stack, owner="another"))
        write(key, body, content_type=content_type)

    stack.world.objects.write = meanwhile  # type: ignore[method-assign]
    assert round_of(stack, owner="one") == ["a", "m", "z"]
    assert seen == [[]]
    assert len(mails(stack)) == 3


class PowerCut(BaseException):
    """The function ends here."""


def test_whoever_dies_loses_the_turn_and_the_batch_in_hand_comes_after_the_others() -> None:
    stack = two_batches()
    write = stack.world.objects.write

    def dies(key: str, body: bytes, *, content_type: str) -> None:
        if key.startswith("reports/a/"):
            raise PowerCut  # say, it needs more memory than there is
        write(key, body, content_type=content_type)

    stack.world.objects.write = dies  # type: ignore[method-assign]
    with pytest.raises(PowerCut):
        round_of(stack, owner="one")
    assert round_of(stack, owner="two") == [], "its turn may still go on"
    stack.world.now += TURN
    with pytest.raises(PowerCut):
        round_of(stack, owner="two")
    assert (len(mails(stack, "m")), len(mails(stack, "z"))) == (1, 1)
    stack.world.now += TURN
    assert round_of(stack, owner="three") == [], "it is tried ever more slowly"
    assert stack.world.store.reporter().tries("a") == 2
    stack.world.objects.write = write  # type: ignore[method-assign]
    stack.world.wait(60)
    assert round_of(stack, owner="four, with more memory") == ["a"]
    assert stack.world.store.reporter().troubles == {}


def test_a_turn_is_longer_than_the_function_may_run_and_no_longer_than_it_must() -> None:
    limit = timedelta(seconds=functions()["report"]["Timeout"])
    assert limit < TURN <= limit + timedelta(minutes=2)


def test_the_troubles_that_are_remembered_are_as_many_as_a_row_holds() -> None:
    row = Reporter()
    for n in range(300):
        row = row.failed(f"b{n}", "w" * 5000, START)
    assert len(row.troubles) == MAX_TROUBLES
    assert row.tries("b299") == 1
    with pytest.raises(Conflict):
        row.taken("one", START).taken("two", START)


def test_a_mail_that_is_refused_keeps_no_other_batch_from_its_report() -> None:
    stack = two_batches()
    send = stack.world.mail.send

    def refuse(subject: str, body: str) -> None:
        if "batch a" in subject:
            raise RuntimeError("SNS does not answer")
        send(subject, body)

    stack.world.mail.send = refuse  # type: ignore[method-assign]
    assert round_of(stack) == ["a", "m", "z"]
    assert len(mails(stack)) == 2
    assert told(stack, "a").rows == 1
    assert stack.world.store.batches_due() == []


def test_a_write_that_is_told_as_lost_and_was_not_is_mailed_all_the_same() -> None:
    stack = two_batches()
    write = stack.world.store.write

    def ambiguous(*records: Any) -> None:
        write(*records)
        if isinstance(records[0], Batch | Reporter):
            raise Conflict("version is not what was read")

    stack.world.store.write = ambiguous  # type: ignore[method-assign]
    assert round_of(stack) == ["a", "m", "z"]
    assert len(mails(stack)) == 3


def test_a_file_dropped_while_a_report_is_written_is_in_the_next_one() -> None:
    stack = two_batches()
    write = stack.world.objects.write

    def meanwhile(key: str, body: bytes, *, content_type: str) -> None:
        write(key, body, content_type=content_type)
        if key == "reports/m/index.html" and not stack.world.store.batch("m").told:  # type: ignore[union-attr]
            stack.world.objects.write = write  # type: ignore[method-assign]
            stack.drop("tasks/m/late.json", puzzle(77))

    stack.world.objects.write = meanwhile  # type: ignore[method-assign]
    assert round_of(stack) == ["a", "z"]
    end_all(stack)
    assert round_of(stack) == ["m"]
    assert told(stack, "m").rows == 4
    assert len(mails(stack, "m")) == 1


# --- the watchdog's look ------------------------------------------------------------------


def stuck_among(stack: Stack, batches: int) -> str:
    """A lease that no launch has, in the last of so many batches that are due; its job."""
    for n in range(batches):
        now = stack.world.now
        stack.world.store.write(Batch(f"a{n:04}", now, report_due_at=now))
    stack.drop("tasks/z/z.json", task(5))
    (job,) = stack.world.store.jobs_of_batch("z")
    stack.world.store.write(job.claimed(launch_id="nobody", now=stack.world.now, lease_seconds=60))
    return job.job_id


def test_a_stuck_job_is_found_behind_twenty_batches_that_wait() -> None:
    stack = Stack()
    job_id = stuck_among(stack, 25)
    assert attending.attend(stack.ports, stack.settings, stack.world.now) == [f"unattended: {job_id}"]


def test_of_very_many_batches_every_one_has_its_turn_within_minutes() -> None:
    stack = Stack()
    job_id = stuck_among(stack, 1_700)
    found: list[str] = []
    for _ in range(4):
        found += attending.attend(stack.ports, stack.settings, stack.world.wait(60))
    assert found == [f"unattended: {job_id}"]


def test_a_batch_that_cannot_be_looked_at_hides_no_stuck_job_and_is_told_of() -> None:
    stack = Stack()
    job_id = stuck_among(stack, 3)
    count = stack.world.store.batch_count

    def counted(batch_id: str, state: JobState, at_most: int) -> int:
        if batch_id == "a0001":
            raise RuntimeError("no such index")
        return count(batch_id, state, at_most)

    stack.world.store.batch_count = counted  # type: ignore[method-assign]
    found: list[str] = []
    with pytest.raises(ItemsFailed, match="a0001"):
        attending.attend(stack.ports, stack.settings, stack.world.now, found)
    assert found == [f"unattended: {job_id}"]
    with pytest.raises(ItemsFailed) as failed:
        stack.watch()
    assert "stuck jobs" in failed.value.failures

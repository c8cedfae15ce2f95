"""A report tells of every task that was dropped into its batch, whoever answered it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

from arcspot.domain.batches import MAX_LAG, Batch
from arcspot.domain.jobs import JobState
from tests.fakes.driving import Stack
from tests.fakes.reported import (
    RIGHT,
    WRONG,
    end,
    end_all,
    failing_round,
    mails,
    of,
    pairs,
    puzzle,
    round_of,
    told,
)

BLANK = {"attempt_1": [[0, 0], [0, 0]], "attempt_2": [[0, 0], [0, 0]]}


def monday() -> Stack:
    """Three tasks answered on Monday."""
    stack = Stack()
    for n in range(3):
        stack.drop(f"tasks/monday/{n}.json", puzzle(n))
    end_all(stack)
    assert round_of(stack) == ["monday"]
    stack.world.wait(24 * 3600)
    return stack


def test_tuesdays_batch_of_mondays_tasks_and_a_new_one_has_all_four_and_a_mail() -> None:
    stack = monday()
    for n in range(4):
        stack.drop(f"tasks/tuesday/{n}.json", puzzle(n))
    end_all(stack)
    assert round_of(stack) == ["tuesday"]
    report = told(stack, "tuesday")
    assert report.rows == 4
    assert sorted(report.submission) == ["0", "1", "2", "3"]
    assert report.page.count("answered before") == 3
    assert (report.summary["counts"], report.summary["cost_usd_micros"]) == ({"DONE": 4}, 100)
    assert len(mails(stack, "tuesday")) == 1


def test_wednesdays_batch_that_is_all_known_has_its_rows_and_a_mail_too() -> None:
    stack = monday()
    for n in range(3):
        stack.drop(f"tasks/wednesday/other-name-{n}.json", puzzle(n))
    assert round_of(stack) == ["wednesday"]
    report = told(stack, "wednesday")
    assert report.rows == 3
    assert report.submission["other-name-0"] == pairs(RIGHT)
    assert (report.summary["cost_usd_micros"], report.summary["pass_at_1"]) == (0, 1.0)
    assert len(mails(stack, "wednesday")) == 1


def test_the_same_files_dropped_again_into_the_same_batch_are_no_second_mail() -> None:
    stack = monday()
    for n in range(3):
        stack.drop(f"tasks/monday/{n}.json", puzzle(n), object_version=f"v{4 + n}", sequencer="0B")
    assert round_of(stack) == []
    assert stack.world.store.batches_due() == []
    assert len(mails(stack)) == 1


def test_a_new_file_in_an_old_batch_is_a_mail_of_all_of_it() -> None:
    stack = monday()
    stack.drop("tasks/monday/3.json", puzzle(3))
    end_all(stack)
    assert round_of(stack) == ["monday"]
    assert told(stack, "monday").rows == 4
    assert len(mails(stack)) == 2


def test_twins_are_two_rows_and_one_price() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", puzzle(1))
    stack.drop("tasks/b/two.json", puzzle(1))
    end_all(stack)
    assert round_of(stack) == ["b"]
    report = told(stack, "b")
    assert report.rows == 2
    assert report.submission == {"one": pairs(RIGHT), "two": pairs(RIGHT)}
    assert report.summary["cost_usd_micros"] == 100
    assert "one job with one" in report.page


def test_of_one_id_with_two_contents_both_are_shown_and_the_later_dropped_is_submitted() -> None:
    stack = Stack()
    stack.drop("tasks/b/z.json", {"same": puzzle(1)})
    first = of(stack, "same")
    stack.world.wait(60)
    stack.drop("tasks/b/a.json", {"same": puzzle(2)})
    end(stack, first, answer=pairs(RIGHT))
    end_all(stack, {"same": pairs([[3]])})
    assert round_of(stack) == ["b"]
    report = told(stack, "b")
    assert report.rows == 2
    assert report.submission == {"same": pairs([[3]])}
    assert report.page.count("whose answer is submitted") == 1


def test_the_same_task_in_two_files_is_one_row() -> None:
    stack = Stack()
    stack.drop("tasks/b/all.json", {"one": puzzle(1), "two": puzzle(2)})
    stack.drop("tasks/b/one.json", puzzle(1))
    end_all(stack)
    round_of(stack)
    assert told(stack, "b").rows == 2


def test_a_batch_waits_for_the_unfinished_job_of_another_and_asks_for_that_one_alone() -> None:
    stack = Stack()
    stack.drop("tasks/first/1.json", puzzle(1))
    stack.drop("tasks/second/1.json", puzzle(1))
    assert round_of(stack) == []
    row = stack.world.store.batch("second")
    assert row is not None
    assert row.waits_for == of(stack, "1").job_id
    read: list[str] = []
    original = stack.world.store.receipts_of_batch
    stack.world.store.receipts_of_batch = lambda b: [read.append(b), *original(b)][1:]  # type: ignore[method-assign,func-returns-value]
    writes = stack.world.store.writes
    for _ in range(5):
        assert round_of(stack) == []
    assert (read, stack.world.store.writes) == ([], writes)
    end_all(stack)
    assert round_of(stack) == ["first", "second"]


def test_a_job_whose_row_expired_is_told_of_and_has_a_placeholder() -> None:
    stack = Stack()
    stack.drop("tasks/sunday/1.json", puzzle(1))
    end_all(stack)
    stack.world.wait(24 * 3600)
    for n in range(3):
        stack.drop(f"tasks/monday/{n}.json", puzzle(n))
    end_all(stack)
    assert sorted(round_of(stack)) == ["monday", "sunday"]
    job = of(stack, "1")
    del stack.world.store.rows["job", job.job_id]
    stack.drop("tasks/monday/3.json", puzzle(3))
    end_all(stack)
    assert round_of(stack) == ["monday"]
    report = told(stack, "monday")
    assert report.summary["counts"] == {"DONE": 3, "EXPIRED": 1}
    assert report.submission["1"] == [BLANK]
    assert report.summary["pass_at_2"] == 0.75


def test_a_batch_of_nothing_but_refusals_is_reported() -> None:
    stack = Stack()
    stack.drop("tasks/b/bad.json", b"{")
    assert round_of(stack) == ["b"]
    report = told(stack, "b")
    assert (report.rows, report.submission) == (1, {})
    assert report.summary["counts"] == {"REJECTED": 1}


def test_a_batch_whose_files_are_all_gone_is_reported_with_its_answers() -> None:
    stack = Stack()
    for n in range(2):
        stack.drop(f"tasks/b/{n}.json", puzzle(n))
        stack.world.objects.delete(f"tasks/b/{n}.json")
    stack.world.objects.versions.clear()
    end_all(stack)
    assert round_of(stack) == ["b"]
    report = told(stack, "b")
    assert report.submission == {"0": pairs(RIGHT), "1": pairs(RIGHT)}
    assert report.page.count("its file is gone") == 2
    assert report.summary["scored_tasks"] == 0


def test_a_batch_some_of_whose_receipts_expired_is_not_waited_for_for_ever() -> None:
    stack = Stack()
    stack.drop("tasks/b/1.json", puzzle(1))
    end_all(stack)
    row = stack.world.store.batch("b")
    assert row is not None
    stack.world.store.write(replace(row, files=7))
    assert round_of(stack) == [], "an index may lag by seconds"
    stack.world.now += MAX_LAG
    assert round_of(stack) == ["b"]


def test_a_batch_that_came_to_nothing_is_due_no_longer_and_mailed_never() -> None:
    stack = Stack()
    now = stack.world.now
    stack.world.store.write(Batch("nothing", now, report_due_at=now))
    assert round_of(stack) == []
    assert len(stack.world.store.batches_due()) == 1
    stack.world.now = now + MAX_LAG + timedelta(seconds=1)
    assert round_of(stack) == []
    assert stack.world.store.batches_due() == []
    assert stack.world.mail.sent == []


def test_every_id_is_in_the_submission_and_what_is_missing_is_counted_aloud() -> None:
    stack = Stack()
    stack.drop("tasks/b/all.json", {f"t{n}": puzzle(n, tests=2) for n in range(4)})
    end(stack, of(stack, "t0"), answer=pairs(RIGHT, RIGHT))
    end(stack, of(stack, "t1"), answer=pairs(RIGHT))  # one of two
    end(stack, of(stack, "t2"), JobState.DEAD)
    end(stack, of(stack, "t3"), JobState.CANCELLED)
    assert "no attempts for 1 of 2" in str(failing_round(stack).faults)
    report = told(stack, "b")
    assert report.submission == {
        "t0": pairs(RIGHT, RIGHT),
        "t1": [*pairs(RIGHT), BLANK],
        "t2": [BLANK, BLANK],
        "t3": [BLANK, BLANK],
    }
    summary = report.summary
    assert (summary["placeholder_tasks"], summary["placeholder_test_inputs"]) == (3, 5)
    words = "submission.json has placeholders for 5 test inputs of 3 tasks."
    assert words in report.page
    assert words in mails(stack, "b")[0][1]


def test_the_score_is_over_all_tasks_given_and_the_answered_ones_are_told_beside_it() -> None:
    stack = Stack()
    stack.drop("tasks/b/all.json", {f"t{n}": puzzle(n) for n in range(4)})
    stack.drop("tasks/b/unknown.json", puzzle(9, solved=False))
    end(stack, of(stack, "t0"))
    end(stack, of(stack, "t1"), answer=pairs(WRONG))
    end(stack, of(stack, "t2"), JobState.DEAD)
    end(stack, of(stack, "t3"), JobState.CANCELLED)
    end(stack, of(stack, "unknown"))
    assert round_of(stack) == ["b"]
    summary = told(stack, "b").summary
    assert (summary["pass_at_2"], summary["scored_tasks"]) == (0.25, 4)
    assert (summary["pass_at_2_of_answered"], summary["scored_answered_tasks"]) == (0.5, 2)
    (subject, body) = mails(stack, "b")[0]
    assert "1 of 4 right" in subject
    assert "25.0% (two attempts), 25.0% (first attempt), of all 4 tasks given" in body
    assert "50.0% (two attempts), 50.0% (first attempt), of the 2 answered ones" in body
    page = told(stack, "b").page
    assert "of all 4 given with solutions" in page
    assert "of 2 with solutions" in page


def test_the_submission_is_what_kaggle_reads() -> None:
    stack = Stack()
    stack.drop('tasks/b/odd "name" é.json', puzzle(1))
    stack.drop("tasks/b/two.json", puzzle(2))
    end_all(stack)
    round_of(stack)
    raw = stack.world.objects.bodies["reports/b/submission.json"]
    assert json.loads(raw) == {'odd "name" é': pairs(RIGHT), "two": pairs(RIGHT)}

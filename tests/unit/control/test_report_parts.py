"""A large report is made page by page; cut off anywhere, it goes on to the same bytes and one mail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from arcspot.domain.jobs import Job, JobState
from arcspot.domain.reporters import TURN
from arcspot.domain.tallying import Tally
from arcspot.errors import Conflict
from arcspot.ports import Ports
from arcspot.services import report_lines, report_parts
from tests.fakes.driving import Stack
from tests.fakes.reported import RIGHT, end, end_all, failing_round, mails, of, pairs, puzzle, round_of, told

TASKS = 17


class PowerCut(BaseException):
    """The function ends here."""


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_parts, "ONE_PAGE", 6)
    monkeypatch.setattr(report_parts, "PAGE_LINES", 5)
    monkeypatch.setattr(report_parts, "FRAGMENT_BYTES", 100)
    monkeypatch.setattr(report_lines, "SLICE", 2)


def large() -> Stack:
    """A batch of files of one task, one of many tasks, twins, a refusal and a task given up: 4 pages."""
    stack = Stack()
    for n in range(8):
        stack.drop(f"tasks/b/f{n}.json", puzzle(n))
    stack.drop("tasks/b/many.json", {f"t{n}": puzzle(100 + n) for n in range(7)})
    stack.drop("tasks/b/twin.json", puzzle(3))
    stack.drop("tasks/b/bad.json", b"{")
    end(stack, of(stack, "f5"), JobState.DEAD)
    end_all(stack, {"t2": pairs([[1]])})
    return stack


class Cut:
    """A port whose calls are counted together with those of the others; one of them never happens."""

    def __init__(self, real: Any, calls: Iterator[int], at: int, after: bool, made: list[str]) -> None:
        self._real, self._calls, self._at, self._after, self._made = real, calls, at, after, made

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            number = next(self._calls)
            self._made.append(name)
            if number == self._at and not self._after:
                raise PowerCut
            found = method(*args, **kwargs)
            if number == self._at:
                raise PowerCut
            return found

        return call


def cut(stack: Stack, at: int, *, after: bool = False) -> tuple[Ports, list[str]]:
    calls, made = count(), list[str]()
    ports = stack.ports
    wrapped = {
        name: Cut(getattr(ports, name), calls, at, after, made) for name in ("store", "objects", "mail")
    }
    return replace(ports, **wrapped), made


def ending(stack: Stack) -> dict[str, bytes]:
    """The report's bytes, but for the time it was written at."""
    moment = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?\+00:00| UTC)"
    return {key: re.sub(moment, b"then", body) for key, body in told(stack, "b").bodies.items()}


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_cut_at_every_call_it_ends_with_the_same_bytes_and_one_mail(after: bool) -> None:
    stack = large()
    ports, made = cut(stack, -1)
    assert round_of(stack, ports) == ["b"]
    whole = ending(stack)
    assert len(made) > 50
    for at, name in enumerate(made):
        stack = large()
        ports, _ = cut(stack, at, after=after)
        with pytest.raises(PowerCut):
            round_of(stack, ports)
        stack.world.now += 2 * TURN
        for _ in range(2):
            round_of(stack)
            stack.world.wait(3600)
        assert ending(stack) == whole, (at, name)
        assert stack.world.store.batches_due() == []
        # A mail is told at most once: what dies between the table and the mail has no way to know.
        lost = at in (len(made) - 2, len(made) - 3, len(made) - 4) and not mails(stack)
        assert len(mails(stack)) == 1 or lost, (at, name)


def test_with_time_for_one_page_a_call_it_ends_with_the_same_bytes_and_makes_no_page_twice() -> None:
    stack = large()
    round_of(stack)
    whole = ending(stack)
    stack = large()
    written: list[str] = []
    write = stack.world.objects.write

    def watched(key: str, body: bytes, *, content_type: str) -> None:
        written.append(key)
        write(key, body, content_type=content_type)

    stack.world.objects.write = watched  # type: ignore[method-assign]
    calls = 0
    while stack.world.store.batches_due():
        round_of(stack, enough_time=lambda: False)
        calls += 1
        assert calls < 9
    assert calls == 5, "a page each, then all together"
    assert ending(stack) == whole
    assert len(written) == len(set(written))
    assert len(mails(stack)) == 1


def test_the_pages_and_the_submission_tell_of_every_task_once() -> None:
    stack = large()
    round_of(stack)
    report = told(stack, "b")
    pages = sorted(key for key in report.bodies if key.startswith("reports/b/page-"))
    assert pages == [f"reports/b/page-{n:04}.html" for n in range(1, 5)]
    assert report.rows == TASKS
    assert len(report.submission) == TASKS - 1, "a file that is no task has no id to submit"
    assert report.submission["t2"] == pairs([[1]])
    for key in pages:
        assert f'href="{key.rpartition("/")[2]}"' in report.page
    assert "<details" not in report.page
    assert (report.summary["counts"], report.summary["scored_tasks"]) == (
        {"DONE": 15, "DEAD": 1, "REJECTED": 1},
        16,
    )
    assert report.summary["pass_at_2"] == 14 / 16
    assert (report.summary["cost_usd_micros"], report.summary["placeholder_tasks"]) == (1500, 1)


def test_a_small_batch_is_three_objects_and_no_parts() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", puzzle(1))
    end_all(stack)
    round_of(stack)
    assert sorted(told(stack, "b").bodies) == [
        f"reports/b/{name}" for name in ("index.html", "submission.json", "summary.json")
    ]


def test_after_one_retry_only_the_page_it_is_on_is_made_again() -> None:
    stack = large()
    round_of(stack)
    stack.world.wait(60)
    job = of(stack, "f5")
    revived = job.revived(now=stack.world.now)
    row = stack.world.store.batch("b")
    assert row is not None
    stack.world.store.write(revived, row.due(stack.world.now))
    assert round_of(stack) == []
    end(stack, replace(revived, version=revived.version + 1))
    read: list[str] = []
    fetch = stack.world.objects.fetch_many

    def watched(wanted: Sequence[tuple[str, str | None]], *, last: int | None = None) -> Any:
        read.extend(key for key, _ in wanted)
        return fetch(wanted, last=last)

    stack.world.objects.fetch_many = watched  # type: ignore[method-assign]
    assert round_of(stack) == ["b"]
    assert len([key for key in read if key.startswith("results/")]) == 5
    assert told(stack, "b").submission["f5"] == pairs(RIGHT)
    assert len(mails(stack)) == 2


def test_a_part_that_was_damaged_or_is_another_releases_is_made_again() -> None:
    stack = large()
    round_of(stack, enough_time=lambda: False)
    stack.world.objects.bodies["reports/b/parts/0001.json"] = b'{"mark": "x"}'
    assert round_of(stack) == ["b"]
    assert told(stack, "b").rows == TASKS


def test_a_job_that_is_at_work_again_ends_a_report_halfway() -> None:
    stack = large()
    jobs = stack.world.store.jobs
    asked = count(1)

    def meanwhile(job_ids: Sequence[str], *, fresh: bool = True) -> dict[str, Job]:
        if fresh and next(asked) == 7:  # between the look at all jobs and the third page
            job = of(stack, "t6")
            stack.world.store.write(replace(job, state=JobState.READY, ready_at=stack.world.now))
        return jobs(job_ids, fresh=fresh)

    stack.world.store.jobs = meanwhile  # type: ignore[method-assign]
    assert round_of(stack) == []
    stack.world.store.jobs = jobs  # type: ignore[method-assign]
    assert round_of(stack) == []
    end_all(stack)
    assert round_of(stack) == ["b"]


def test_a_large_answer_leaves_memory_in_pieces() -> None:
    stack = large()
    end_all(stack)
    round_of(stack)
    pieces = [key for key in told(stack, "b").bodies if re.search(r"parts/0001-\d{3}\.json", key)]
    assert len(pieces) > 1
    assert len(told(stack, "b").submission) == TASKS - 1


def test_a_fault_on_a_page_is_told_in_the_whole() -> None:
    stack = large()
    stack.world.objects.unreadable.add(of(stack, "t4").result_prefix + "result.zip")
    failed = failing_round(stack)
    assert failed.batches == ["b"]
    assert told(stack, "b").summary["faults"][0]["task_id"] == "t4"
    assert round_of(stack) == []


@pytest.mark.parametrize("parts", [1, 3])
def test_tallies_of_parts_add_up_and_outlive_json(parts: int) -> None:
    stack = large()
    round_of(stack)
    keys = [key for key in told(stack, "b").bodies if re.fullmatch(r"reports/b/parts/\d{4}\.json", key)]
    tallies = [json.loads(stack.world.objects.bodies[key])["tally"] for key in keys]
    total = Tally()
    for data in tallies[::parts]:
        assert Tally.from_json(data).to_json() == data
        total.merge(Tally.from_json(data))
    assert total.lines == sum(sum(data["counts"].values()) for data in tallies[::parts])


def test_calls_and_bytes_of_a_report_grow_as_its_tasks_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_parts, "PAGE_LINES", 20)
    monkeypatch.setattr(report_lines, "SLICE", 32)

    def calls(tasks: int) -> int:
        stack = Stack()
        stack.drop("tasks/b/many.json", {f"t{n:04}": puzzle(n) for n in range(tasks)})
        end_all(stack)
        ports, made = cut(stack, -1)
        assert round_of(stack, ports) == ["b"]
        return len(made)

    once, twice, thrice = calls(100), calls(200), calls(300)
    assert twice - once == thrice - twice


Act = Callable[[Stack], object]


def drop_more(stack: Stack) -> None:
    stack.drop("tasks/b/zz.json", puzzle(999))


@pytest.mark.parametrize("act", [drop_more], ids=["a file more"])
def test_what_changes_between_two_calls_is_in_the_end(act: Act) -> None:
    stack = large()
    round_of(stack, enough_time=lambda: False)
    act(stack)
    end_all(stack)
    for _ in range(8):
        round_of(stack, enough_time=lambda: False)
    assert told(stack, "b").rows == TASKS + 1
    assert len(mails(stack)) == 1


def test_a_commit_that_lost_is_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = large()
    write = stack.world.store.write

    def lost(*records: Any) -> None:
        if getattr(records[0], "told", ""):
            raise Conflict("somebody was faster")
        write(*records)

    monkeypatch.setattr(stack.world.store, "write", lost)
    assert round_of(stack) == []
    assert mails(stack) == []
    monkeypatch.undo()
    assert round_of(stack) == ["b"]
    assert len(mails(stack)) == 1

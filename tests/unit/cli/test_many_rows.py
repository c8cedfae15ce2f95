"""A hundred thousand rows: what is kept of them, how often they are read, and what is said meanwhile."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest

from arcspot.domain.jobs import Job, JobState
from arcspot_cli import commands_status, fetching, looking, rows, showing
from tests.fakes.driving import Stack, task

from .here import on, solve_all


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def answered(count: int) -> Stack:
    fake = Stack()
    fake.drop("tasks/b/all.json", {f"t{n}": task(n) for n in range(count)})
    solve_all(fake, fake.boot(fake.scale()[0]))
    for job in fake.world.store.every(Job):
        fake.world.store.write(replace(job, summary={"curve": "x" * 3000}))
    return fake


def test_a_look_keeps_of_a_job_what_people_look_at() -> None:
    fake = answered(5)
    fake.drop("tasks/b/late.json", task(99))
    seen = looking.look(on(fake), fake.world.now, batch="b")
    assert seen.counts == {"READY": 1, "DONE": 5}
    assert len(seen.jobs) == 6
    assert all(job.config == {} and job.summary == {} for job in seen.jobs)


def test_what_results_get_holds_of_a_job_has_no_summary() -> None:
    fake = answered(3)
    asked = fetching.wanted(on(fake), "b")
    jobs = fetching.known_jobs(on(fake), asked, pytest.fail)
    assert len(jobs) == 3
    assert all(job.summary == {} and job.state is JobState.DONE for job in jobs.values())


def test_many_jobs_are_looked_at_less_often() -> None:
    assert [commands_status.pause_s(n) for n in (0, 1, 1_000, 100_000)] == [2.0, 2.0, 2.0, 200.0]


def test_a_terminal_sees_how_many_rows_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert sum(rows.counted(range(2_500))) == sum(range(2_500))
    assert [text for text in terminal.getvalue().split("\r") if text][:2] == [
        "1,000 rows read",
        "2,000 rows read",
    ]


def test_a_terminal_sees_how_far_fetching_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with showing.steps(2, "fetching") as step:
        step()
        step()
    assert "fetching" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_a_pipe_sees_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    assert len(list(rows.counted(range(2_500)))) == 2_500
    with showing.steps(2, "fetching") as step:
        step()
    assert pipe.getvalue() == ""

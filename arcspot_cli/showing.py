"""How things look in a terminal. Data goes to stdout, progress and remarks to stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from arcspot.domain import drawing, reporting, scoring, waiting
from arcspot.domain.edges import line as line_of
from arcspot.domain.jobs import JobState
from arcspot.domain.tasks import Task
from arcspot_cli import terminal
from arcspot_cli.looking import Look, current
from arcspot_cli.rows import on_a_terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SHOWN_WAITING = 10


def colours(stream: object = sys.stdout) -> bool:
    """Colour only on a terminal, and never against NO_COLOR (no-color.org)."""
    return not os.environ.get("NO_COLOR") and bool(getattr(stream, "isatty", bool)())


def say(text: str = "") -> None:
    """A remark for the person who looks on: stderr, at once."""
    terminal.err(text)


@contextmanager
def no_steps(length: int, label: str) -> Iterator[Callable[[], None]]:
    """How far something is, for nobody."""
    yield lambda: None


@contextmanager
def steps(length: int, label: str) -> Iterator[Callable[[], None]]:
    """How far something is: a bar on stderr where that is a terminal, else nothing."""
    if not on_a_terminal():
        yield lambda: None
        return
    with terminal.bar(length, label) as bar:
        yield lambda: bar.update(1)


def answer(task: Task, attempts: Sequence[scoring.Attempts]) -> list[str]:
    """One task's test inputs, attempts and (when known) truth, side by side: lines of `terminal.drawn`."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 140)
    lines = drawing.terminal_task(task, attempts, task.test_outputs, width=width, colour=colours())
    return [*lines, ""]


def verdict(task: Task | None, attempts: Sequence[scoring.Attempts]) -> str:
    """`right`, `wrong`, `1 of 2 right`, or that the solution is not known."""
    score = scoring.score_task(task, attempts) if task is not None else None
    if score is None:
        return "solution not known"
    if score.all_right:
        return "right"
    return "wrong" if not score.right_at_2 else f"{score.right_at_2} of {score.tests} test inputs right"


@dataclass(slots=True)
class Pace:
    """When a line is worth saying: at once when a job changed its state, else every so often."""

    every_s: float = 10.0
    said_at: float = float("-inf")
    counts: dict[str, int] = field(default_factory=dict)

    def worth_saying(self, seen: Look, at_s: float) -> bool:
        if seen.counts == self.counts and at_s - self.said_at < self.every_s:
            return False
        self.counts, self.said_at = seen.counts, at_s
        return True


def line(seen: Look) -> str:
    """A look in one line, for logs and pipes."""
    counts = (
        ", ".join(f"{n} {reporting.STATE_WORDS[state]}" for state, n in seen.counts.items()) or "no jobs yet"
    )
    running = ", ".join(
        f"{job.task_id} {job.lease.phase} {job.lease.fraction:.0%}" for job in seen.jobs if job.lease
    )
    money = f"; {reporting.usd(seen.ledger.settled)} spent" if seen.ledger else ""
    reserved = (
        f", {reporting.usd(seen.ledger.reserved)} reserved" if seen.ledger and seen.ledger.reserved else ""
    )
    waits = f"; waits for {seen.waits_for}" if seen.waits_for else ""
    bad = f"; {len(seen.faults)} row(s) cannot be read" if seen.faults else ""
    return f"{counts}{f' ({running})' if running else ''}{money}{reserved}{waits}{bad}"


def _waiting(seen: Look) -> list[tuple[str, str, str]]:
    """Task, reason and since when of every job that waits, the oldest first."""
    found = [(why, job) for job in seen.jobs if (why := waiting.why(job, seen.fleet))]
    found.sort(key=lambda pair: pair[1].ready_at or pair[1].created_at)
    return [(job.task_id, reason, f"{since:%H:%M:%S} UTC") for (reason, since), job in found]


def console(stream: TextIO | None = None) -> Console:
    """Where tables go. What stands between brackets is a task's name or a reason, and never markup."""
    from rich.console import Console

    no_color = not colours(stream or sys.stdout)
    return Console(file=stream, highlight=False, markup=False, emoji=False, no_color=no_color)


def tables(seen: Look) -> RenderableType:
    """A look as tables: jobs, what runs, instances, money."""
    from rich.console import Group
    from rich.table import Table

    class Rows(Table):
        def add_row(self, *cells: Any, **more: Any) -> None:
            super().add_row(*map(line_of, cells), **more)

    def grid(*columns: str) -> Table:
        table = Rows(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        return table

    jobs = grid("jobs", "")
    for state, n in seen.counts.items():
        jobs.add_row(reporting.STATE_WORDS[state], str(n))
    if not seen.counts:
        jobs.add_row("none yet; drop some: arcspot submit PATH", "")
    parts: list[RenderableType] = [jobs]
    if seen.waits_for and seen.fleet:
        since = f" (since {seen.fleet.waits_since:%H:%M:%S} UTC)" if seen.fleet.waits_since else ""
        parts += ["", line_of(f"waits for {seen.waits_for}{since}")]
    held_up = _waiting(seen)
    if held_up:
        queue = grid("waiting", "for", "since")
        for row in held_up[:SHOWN_WAITING]:
            queue.add_row(*row)
        if len(held_up) > SHOWN_WAITING:
            queue.add_row(f"and {len(held_up) - SHOWN_WAITING} more (--json has all)", "", "")
        parts += ["", queue]
    running = [job for job in seen.jobs if job.lease]
    if running:
        now = grid("running", "phase", "done", "instance")
        for job in running:
            assert job.lease is not None
            now.add_row(job.task_id, job.lease.phase, f"{job.lease.fraction:.0%}", job.lease.launch_id)
        parts += ["", now]
    bad = [job for job in seen.jobs if job.state in (JobState.DEAD, JobState.REJECTED)]
    if bad:
        faults = grid("not answered", "why")
        for job in bad[:20]:
            faults.add_row(job.input.key if job.state is JobState.REJECTED else job.task_id, job.reason)
        parts += ["", faults]
    if seen.faults:
        unread = grid("cannot be read", "why")
        for fault in seen.faults[:20]:
            unread.add_row(fault.what, fault.why)
        if len(seen.faults) > 20:
            unread.add_row(f"and {len(seen.faults) - 20} more (--json has all)", "")
        parts += ["", unread]
    shown = current(seen.launches)
    if shown:
        instances = grid("instances", "state", "type", "cost", "")
        for launch in shown:
            instances.add_row(
                launch.instance_id or launch.launch_id,
                str(launch.state),
                " ".join(filter(None, (launch.instance_type, launch.market))),
                reporting.usd(seen.cost_so_far(launch)),
                launch.reason,
            )
        parts += ["", instances]
    if seen.ledger:
        money = grid(line_of("money " + seen.ledger.period), "cap", "available", "reserved", "spent")
        money.add_row(
            "",
            *(
                reporting.usd(x)
                for x in (seen.ledger.cap, seen.ledger.available, seen.ledger.reserved, seen.ledger.settled)
            ),
        )
        parts += ["", money]
    return Group(*parts)

"""What the small rules alone answer: no network, no other hypothesis.

    python -m bench rules DIR
    python -m bench rules DIR --seconds 18 --json rules.json

DIR holds task files with known test outputs. They are taken away before a rule is looked for and come back
only to score. Printed are pass@1 and pass@2 (a task that no rule explains scores 0), how often the rules were
sure and right, the seconds a task, and how often the first candidate was right by its weight and share: what
the thresholds in gpu_runner/solver/reasoning.py rest on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from arcspot.domain import scoring, tasks
from bench.machine import commit, machine, today
from gpu_runner import saying
from gpu_runner.solver import reasoning
from gpu_runner.solver.task import Task

PROJECT = Path(__file__).resolve().parents[1]
WEIGHTS = tuple(sorted({0.0, 0.002, 0.02, 0.1, 0.3, reasoning.SURE_WEIGHT, 3.0}))
SHARES = tuple(sorted({0.0, 0.5, reasoning.SURE_SHARE}))
"""Lower ends of the table's bins; each ends where the next begins."""


@dataclass(frozen=True, slots=True)
class First:
    """The best candidate for one test input, and whether it is right."""

    weight: float
    share: float
    right: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One task. pass_at_1, pass_at_2: fractions of its test inputs; firsts: of those with a candidate."""

    task: str
    seconds: float
    sure: bool
    pass_at_1: float
    pass_at_2: float
    rules: int
    firsts: tuple[First, ...]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench rules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="task files with known test outputs")
    parser.add_argument(
        "--seconds", type=float, default=48.0, help="for each task at most (48: two fifths of 2 min)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="every task's figures")
    options = parser.parse_args(arguments)
    known = _tasks(options.folder)
    if not known:
        parser.error(f"no task with known test outputs below {options.folder}")
    rows = []
    for n, task in enumerate(known, 1):
        rows.append(measure(task, seconds=options.seconds, seed=options.seed))
        _tell(n, len(known), rows)
    if options.json is not None:
        about: dict[str, Any] = {"machine": machine(), "commit": commit(PROJECT), "date": today()}
        settings = {"seconds": options.seconds, "seed": options.seed}
        told = [asdict(row) for row in rows]
        options.json.write_text(json.dumps(about | settings | {"tasks": told}, indent=2) + "\n")
    saying.out(*report(rows).splitlines())


def measure(task: tasks.Task, *, seconds: float, seed: int) -> Row:
    """The rules on one task; its outputs are looked at only after them."""
    given = Task.from_json(tasks.without_solutions(tasks.to_json(task)))
    began = time.perf_counter()
    found = reasoning.reason(given, seed=seed, go_on=lambda: time.perf_counter() - began < seconds)
    took = time.perf_counter() - began
    attempts = [reasoning.alone(ballot) if ballot else ((), ()) for ballot in found.ballots]
    scored = scoring.score_task(task, attempts)
    assert scored is not None
    assert task.test_outputs is not None
    firsts = tuple(
        First(ballot[0].weight, ballot[0].share, scoring.as_grid(ballot[0].grid) == truth)
        for ballot, truth in zip(found.ballots, task.test_outputs, strict=True)
        if ballot
    )
    sure = found.sure(len(given.demos))
    return Row(task.task_id, took, sure, scored.pass_at_1, scored.pass_at_2, len(found.kept), firsts)


def report(rows: Sequence[Row]) -> str:
    count = len(rows)
    one, two = sum(row.pass_at_1 for row in rows), sum(row.pass_at_2 for row in rows)
    explained, sure = sum(row.rules > 0 for row in rows), [row for row in rows if row.sure]
    right = sum(row.pass_at_1 == 1.0 for row in sure)
    seconds = sorted(row.seconds for row in rows)
    ninth = seconds[min(count - 1, int(0.9 * count))]
    lines = [
        f"{count} tasks, {explained} with a rule.",
        f"pass@1 {one:g} of {count} ({one / count:.1%}), pass@2 {two:g} of {count} ({two / count:.1%}).",
        f"Sure of {len(sure)}; {right} of these right at the first attempt.",
        f"Seconds a task: median {median(seconds):.1f}, p90 {ninth:.1f}, most {seconds[-1]:.1f}.",
        "",
        "The first candidate of a test input: right, of how many.",
        "",
        reliability([first for row in rows for first in row.firsts]),
    ]
    return "\n".join(lines)


def reliability(firsts: Sequence[First]) -> str:
    """A table of weights down and shares across."""
    head = " | ".join(f"share {_span(SHARES, n)}" for n in range(len(SHARES)))
    lines = [f"| weight | {head} |", "|" + "---|" * (len(SHARES) + 1)]
    for down in range(len(WEIGHTS)):
        cells = []
        for across in range(len(SHARES)):
            here = [
                first.right
                for first in firsts
                if (_place(WEIGHTS, first.weight), _place(SHARES, first.share)) == (down, across)
            ]
            cells.append(f"{sum(here)} of {len(here)}" if here else "–")
        lines.append(f"| {_span(WEIGHTS, down)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _place(ends: Sequence[float], value: float) -> int:
    return max(n for n, end in enumerate(ends) if n == 0 or value >= end)


def _span(ends: Sequence[float], n: int) -> str:
    return f"≥ {ends[n]:g}" if n + 1 == len(ends) else f"{ends[n]:g} to {ends[n + 1]:g}"


def _tasks(folder: Path) -> list[tasks.Task]:
    """All tasks below a folder whose outputs are known; what is none is named and left out."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        read = tasks.read_task_file(path.name, path.read_bytes())
        for fault in read.faults:
            saying.err(f"bench: {tasks.describe(path.name, fault)}")
        found += [task for task in read.tasks if task.test_outputs is not None]
    return found


def _tell(done: int, of: int, rows: Sequence[Row]) -> None:
    """One line that is written over on a terminal; elsewhere a line for every twentieth task."""
    line = f"bench: {done} of {of} tasks, pass@2 {sum(row.pass_at_2 for row in rows):g}"
    if sys.stderr.isatty():
        saying.rewritten(line, last=done == of)
    elif done % 20 == 0 or done == of:
        saying.err(line)

"""CompressARC and arcspot on the same tasks, the same CPU and the same seconds a task.

    python -m bench compressarc --checkout DIR --tasks DIR --limit 20 --budget 60

--checkout is a checkout of iliao2345/CompressARC, whose code arcspot neither ships nor copies; --tasks a
folder of task files with known test outputs. The two take turns, one process at a time. Their seconds begin
after Python has loaded torch. Test outputs are taken away before either sees a task.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arcspot.domain import scoring, tasks
from bench.machine import commit, machine, today

PROJECT = Path(__file__).resolve().parents[1]
ADAPTER = PROJECT / "bench" / "compressarc_adapter.py"
PUBLISHED_STEPS = 2000
GRACE_S = 120.0
"""Beyond its budget, after which a process is ended: a start of Python and one step on large grids."""


@dataclass(frozen=True, slots=True)
class Run:
    """One solver on one task. score: fraction of test inputs answered; why: what went wrong, if anything."""

    score: float
    right: bool
    seconds: float | None
    steps: int | None
    why: str = ""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench compressarc",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkout", type=Path, required=True, help="a checkout of CompressARC")
    parser.add_argument("--tasks", type=Path, required=True, help="folder of task files")
    parser.add_argument("--limit", type=int, default=20, help="so many tasks, the first by name")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds a task, for each of the two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=PUBLISHED_STEPS, help="CompressARC's most steps")
    options = parser.parse_args(arguments)
    if not options.checkout.is_dir():
        parser.error(f"no folder {options.checkout}; clone iliao2345/CompressARC there")
    chosen = sorted(options.tasks.glob("*.json"))[: options.limit]
    if not chosen:
        parser.error(f"no *.json in {options.tasks}")

    rows: dict[str, tuple[Run, Run]] = {}
    for number, path in enumerate(chosen, 1):
        read = tasks.read_task_file(path.name, path.read_bytes()).tasks
        if len(read) != 1 or read[0].test_outputs is None:
            say(f"{path.name}: left out, it is no single task with known test outputs")
            continue
        theirs = compressarc(read[0], options)
        ours = arcspot(path, options)
        rows[path.stem] = (theirs, ours)
        say(f"{number} of {len(chosen)}: {path.stem}: CompressARC {_cell(theirs)}, arcspot {_cell(ours)}")
    if not rows:
        parser.error(f"none of the files in {options.tasks} is a task with known test outputs")

    out = PROJECT / "bench" / "out" / "compressarc.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"machine": machine(), "commit": commit(PROJECT), "date": today()}
    settings = {"budget_s": options.budget, "seed": options.seed, "steps": options.steps}
    told = {name: {"compressarc": asdict(t), "arcspot": asdict(o)} for name, (t, o) in rows.items()}
    out.write_text(json.dumps(about | settings | {"tasks": told}, indent=2) + "\n")
    print(table(rows, budget=options.budget), end="")


def compressarc(task: tasks.Task, options: argparse.Namespace) -> Run:
    """CompressARC on one task, in a process of its own and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="compressarc-") as folder:
        given, out = Path(folder) / f"{task.task_id}.json", Path(folder) / "answer.json"
        given.write_text(json.dumps(tasks.without_solutions(tasks.to_json(task))))
        command = (
            *(sys.executable, str(ADAPTER), str(options.checkout.resolve()), str(given)),
            *(str(options.budget), str(options.steps), str(options.seed), str(out)),
        )
        why = _ended(command, options.budget, folder)
        if why or not out.exists():
            return Run(0.0, False, None, None, why or "it wrote no answer")
        found = json.loads(out.read_text())
    scored = scoring.score_task(task, [(one, two) for one, two in found["attempts"]])
    assert scored is not None
    return Run(scored.pass_at_2, scored.all_right, found["seconds"], found["steps"])


def arcspot(path: Path, options: argparse.Namespace) -> Run:
    """Our solver on one task, as `bench.one_task` runs it."""
    module = (sys.executable, "-m", "bench.one_task")
    command = (*module, str(path), str(options.budget), str(options.seed))
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=options.budget + GRACE_S, cwd=PROJECT
        )
    except subprocess.TimeoutExpired:
        return Run(0.0, False, None, None, "ended after its time")
    if ran.returncode:
        return Run(0.0, False, None, None, _last_line(ran.stderr))
    found = json.loads(ran.stdout)
    return Run(found["score"], found["right"], found["seconds"], found["steps"])


def table(rows: dict[str, tuple[Run, Run]], *, budget: float) -> str:
    """Both solvers side by side, and under it who solved what."""
    lines = ["| task | CompressARC | s | steps | arcspot | s | steps |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {name} | {_told(theirs)} | {_told(ours)} |" for name, (theirs, ours) in rows.items()]
    count = len(rows)
    both = sum(t.right and o.right for t, o in rows.values())
    theirs_only = sum(t.right and not o.right for t, o in rows.values())
    ours_only = sum(o.right and not t.right for t, o in rows.values())
    means = [sum(pair[n].score for pair in rows.values()) / count for n in (0, 1)]
    spent = [sum(pair[n].seconds or 0.0 for pair in rows.values()) for n in (0, 1)]
    failed = sum(bool(pair[n].why) for pair in rows.values() for n in (0, 1))
    lines += [
        "",
        f"{count} tasks, {budget:g} s each: solved by both {both}, by CompressARC alone {theirs_only}, "
        f"by arcspot alone {ours_only}, by neither {count - both - theirs_only - ours_only}.",
        f"Score: CompressARC {means[0]:.1%} in {spent[0]:.0f} s, arcspot {means[1]:.1%} in {spent[1]:.0f} s."
        + (f" {failed} runs came to no answer." if failed else ""),
    ]
    return "\n".join(lines) + "\n"


def _told(run: Run) -> str:
    if run.why:
        return f"– ({run.why}) | – | –"
    return f"{_cell(run)} | {run.seconds:g} | {run.steps}"


def _cell(run: Run) -> str:
    if run.why:
        return run.why
    return "right" if run.right else "wrong" if not run.score else f"{run.score:.0%}"


def _ended(command: Sequence[str], budget: float, folder: str) -> str:
    """What went wrong, empty where nothing did."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=budget + GRACE_S, cwd=folder)
    except subprocess.TimeoutExpired:
        return "ended after its time"
    return _last_line(ran.stderr) if ran.returncode else ""


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].replace("|", "/") if lines else "it ended without a word"


def say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)

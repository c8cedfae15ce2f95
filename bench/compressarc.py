"""CompressARC and arcspot on the same tasks, the same CPU and the same seconds a task.

    python -m bench compressarc --checkout DIR --tasks DIR --limit 20 --budget 60

--checkout is a checkout of iliao2345/CompressARC, whose code arcspot neither ships nor copies; --tasks a
folder of task files with known test outputs. The two take turns, one process at a time. Their seconds begin
after Python has loaded torch. Test outputs are taken away before either sees a task.

--clock cpu gives each of the two so many seconds of its processor instead of the wall's: the same on a
machine that does other work, where a process waits for its turn.

Every task's result is kept in bench/out/compressarc-BUDGETs.json: Ctrl-C prints what there is, and the same
command goes on from there. --again begins anew.
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
from gpu_runner import saying

PROJECT = Path(__file__).resolve().parents[1]
ADAPTER = PROJECT / "bench" / "compressarc_adapter.py"
PUBLISHED_STEPS = 2000
WAITS = 10.0
"""So many times its seconds of the processor may a process last."""
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
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="whose seconds are counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=PUBLISHED_STEPS, help="CompressARC's most steps")
    parser.add_argument("--again", action="store_true", help="do not go on from what an earlier run kept")
    options = parser.parse_args(arguments)
    if not options.checkout.is_dir():
        parser.error(f"no folder {options.checkout}; clone iliao2345/CompressARC there")
    chosen = sorted(options.tasks.glob("*.json"))[: options.limit]
    if not chosen:
        parser.error(f"no *.json in {options.tasks}")

    out = PROJECT / "bench" / "out" / f"compressarc-{options.budget:g}s.json"
    about: dict[str, Any] = {"machine": machine(), "commit": commit(PROJECT), "date": today()}
    settings = {
        "budget_s": options.budget,
        "clock": options.clock,
        "seed": options.seed,
        "steps": options.steps,
    }
    kept = {} if options.again else read_kept(out, settings)
    rows: dict[str, tuple[Run, Run]] = {}
    try:
        for number, path in enumerate(chosen, 1):
            pair = kept.get(path.stem) or measured(path, options)
            if pair is None:
                say(f"{path.name}: left out, it is no single task with known test outputs")
                continue
            rows[path.stem] = pair
            told = {name: {"compressarc": asdict(t), "arcspot": asdict(o)} for name, (t, o) in rows.items()}
            _write(out, about | settings | {"tasks": told})
            cells = f"CompressARC {_cell(pair[0])}, arcspot {_cell(pair[1])}"
            say(f"{number} of {len(chosen)}: {path.stem}: {cells}" + " (kept)" * (path.stem in kept))
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        if not rows:
            sys.exit(130)
    if not rows:
        parser.error(f"none of the files in {options.tasks} is a task with known test outputs")
    saying.out(*table(rows, budget=options.budget).splitlines())


def measured(path: Path, options: argparse.Namespace) -> tuple[Run, Run] | None:
    """Both on one task file, CompressARC first; None where it is no single task with known test outputs."""
    read = tasks.read_task_file(path.name, path.read_bytes()).tasks
    if len(read) != 1 or read[0].test_outputs is None:
        return None
    return compressarc(read[0], options), arcspot(path, options)


def read_kept(out: Path, settings: dict[str, Any]) -> dict[str, tuple[Run, Run]]:
    """What an earlier run with the same settings kept; nothing where there was none."""
    if not out.exists():
        return {}
    told = json.loads(out.read_text())
    if {name: told.get(name) for name in settings} != settings:
        return {}
    return {
        name: (Run(**pair["compressarc"]), Run(**pair["arcspot"])) for name, pair in told["tasks"].items()
    }


def _write(out: Path, told: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_suffix(".part")
    beside.write_text(json.dumps(told, indent=2) + "\n")
    beside.replace(out)


def compressarc(task: tasks.Task, options: argparse.Namespace) -> Run:
    """CompressARC on one task, in a process of its own and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="compressarc-") as folder:
        given, out = Path(folder) / f"{task.task_id}.json", Path(folder) / "answer.json"
        given.write_text(json.dumps(tasks.without_solutions(tasks.to_json(task))))
        command = (
            *(sys.executable, str(ADAPTER), str(options.checkout.resolve()), str(given)),
            *(str(options.budget), str(options.steps), str(options.seed), str(out), options.clock),
        )
        why = _ended(command, patience_s(options), folder)
        if why or not out.exists():
            return Run(0.0, False, None, None, why or "it wrote no answer")
        found = json.loads(out.read_text())
    scored = scoring.score_task(task, [(one, two) for one, two in found["attempts"]])
    assert scored is not None
    return Run(scored.pass_at_2, scored.all_right, found["seconds"], found["steps"])


def arcspot(path: Path, options: argparse.Namespace) -> Run:
    """Our solver on one task, as `bench.one_task` runs it."""
    module = (sys.executable, "-m", "bench.one_task")
    command = (*module, str(path), str(options.budget), str(options.seed), options.clock)
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=patience_s(options), cwd=PROJECT
        )
    except subprocess.TimeoutExpired:
        return Run(0.0, False, None, None, "ended after its time")
    if ran.returncode:
        return Run(0.0, False, None, None, _last_line(ran.stderr))
    found = json.loads(ran.stdout)
    return Run(found["score"], found["right"], found["seconds"], found["steps"])


def patience_s(options: argparse.Namespace) -> float:
    """Seconds of the wall after which a process is ended; one that counts its processor's waits for turns."""
    return float(options.budget) * (1.0 if options.clock == "wall" else WAITS) + GRACE_S


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


def _ended(command: Sequence[str], patience: float, folder: str) -> str:
    """What went wrong, empty where nothing did."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=patience, cwd=folder)
    except subprocess.TimeoutExpired:
        return "ended after its time"
    return _last_line(ran.stderr) if ran.returncode else ""


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].replace("|", "/") if lines else "it ended without a word"


def say(line: str) -> None:
    saying.err(f"bench: {line}")

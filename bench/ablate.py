"""Change one thing in the solver's network at a time, and see what held-out tasks say to it.

    python -m bench ablate DIR
    python -m bench ablate DIR --only base,adamw,mean --seeds 0,1
    python -m bench ablate DIR --table

DIR holds ARC-AGI-1's training tasks and RE-ARC, as for pretraining (docs/solver.md). --hold-out of its tasks
are left out of every checkpoint trained here, and measured on where they are small. Each arm is an experiment
of docs/experiments.md: the network alone, no rules, for a number of samples instead of seconds. Compared are
pass@2, the nats a cell by which the truth became likelier than in the base arm, on the same tasks and seeds,
with a 95 % interval by the bootstrap over tasks, and the seconds of training on one core.

Checkpoints and every task's result are kept in --work: Ctrl-C loses the one under way, the same command
goes on. Several calls with different --only may run at once, after the base's checkpoint is there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arcspot.domain import tasks
from arcspot_cli.evaluation.comparing import interval
from bench.ablation import Arm, Row, arms, checkpoints, measured, pretrained, settings_of, suits
from bench.machine import commit, machine, today
from gpu_runner import saying
from gpu_runner.solver.corpus import held_out_of, load_corpus
from gpu_runner.solver.errors import SolverError
from gpu_runner.solver.model import Solver
from gpu_runner.solver.progress import Line
from gpu_runner.solver.weights import build, read_checkpoint, write_checkpoint

PROJECT = Path(__file__).resolve().parents[1]
BASE = "base"


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    known = arms(options.samples)
    names = options.only.split(",") if options.only else list(known)
    if unknown := sorted(set(names) - set(known)):
        _parser().error(f"no arm {', '.join(unknown)}; there are {', '.join(known)}")
    try:
        held = held_out(options.data, options.hold_out)[: options.tasks]
        for name in () if options.table else names:
            _measure(known[name], held, options)
    except SolverError as why:
        sys.exit(f"bench: {why}")
    except KeyboardInterrupt:
        sys.exit("bench: stopped; the same command goes on from here")
    rows = {name: _kept(_file(options, known[name])) for name in known}
    saying.out(*table(rows, known).splitlines())


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench ablate", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("data", type=Path, metavar="DIR", help="folder with training/ and rearc.npz.xz")
    p.add_argument("--work", type=Path, default=PROJECT / "bench" / "out" / "ablate", metavar="FOLDER")
    p.add_argument("--only", metavar="ARM,…", help="these arms; all otherwise")
    p.add_argument("--table", action="store_true", help="measure nothing, print what is kept")
    p.add_argument("--hold-out", type=int, default=80, help="tasks left out of the pretraining")
    p.add_argument("--tasks", type=int, default=40, help="at most so many of them are measured on")
    p.add_argument("--samples", type=int, default=640, help="to adapt with, in the base arm")
    p.add_argument("--tflop", type=float, default=40.0, help="each checkpoint is trained on")
    p.add_argument("--batch-tokens", type=int, default=2048, help="canvas tokens a step of pretraining")
    p.add_argument("--seeds", default="0", help="of the adaptations, as 0,1,2")
    return p


def held_out(data: Path, count: int) -> list[tasks.Task]:
    """The small ones of the tasks that no checkpoint here has seen. Raises BadData."""
    paths = {path.stem: path for path in sorted((data / "training").glob("*.json"))}
    found: list[tasks.Task] = []
    for name in held_out_of(paths, count):
        found += tasks.read_task_file(f"{name}.json", paths[name].read_bytes()).tasks
    return [task for task in found if suits(task)]


def _measure(arm: Arm, held: Sequence[tasks.Task], options: argparse.Namespace) -> None:
    """All tasks and seeds of an arm, but those kept."""
    file, line = _file(options, arm), Line()
    rows = _kept(file)
    for seed in map(int, options.seeds.split(",")):
        left = [task for task in held if (task.task_id, seed) not in {(r.task, r.seed) for r in rows}]
        if not left:
            continue
        model, tokens = _checkpoint(arm.checkpoint, options, line)
        for n, task in enumerate(left, 1):
            rows.append(measured(model, tokens, task, arm, seed=seed))
            about: dict[str, Any] = {"machine": machine(), "commit": commit(PROJECT), "date": today()}
            _write(file, about | {"arm": arm.name, "rows": [asdict(row) for row in rows]})
            line.draw(f"bench: {arm.name}, seed {seed}: {n} of {len(left)} tasks", float(n))
        line.keep(f"bench: {arm.name}, seed {seed}: {sum(row.score for row in rows):g} of {len(rows)} solved")


def _checkpoint(name: str, options: argparse.Namespace, line: Line) -> tuple[Solver, torch.Tensor]:
    """The kept one, or a new one, trained and kept."""
    wanted = checkpoints()[name]
    file = options.work / f"{name}-{options.tflop:g}-{options.hold_out}.safetensors"
    if not file.exists():
        settings = settings_of(wanted, tflop=options.tflop, batch_tokens=options.batch_tokens, seed=0)
        corpus = load_corpus(
            options.data, per_task=300, longest=2 * max(wanted.mix) - 1, seed=0, hold_out=options.hold_out
        )
        shown = [0.0]

        def tell(done: float, loss: float, fit: float) -> None:
            text = f"bench: checkpoint {name}: {done:.0%}, loss {loss:.3f}, fit {fit:.2f}"
            line.draw(text, done * 1000)
            if done - shown[0] >= 0.1:
                shown[0] = done
                line.keep(text)

        model, tokens = pretrained(settings, corpus, boxes=wanted.boxes, tell=tell)
        write_checkpoint(file, settings.config, model.state_dict(), tokens=tokens, task_ids=corpus.task_ids)
    known = read_checkpoint(file)
    model = build(known.config, known.weights)
    model.box.requires_grad_(wanted.boxes)
    return model, known.tokens


def _file(options: argparse.Namespace, arm: Arm) -> Path:
    found: Path = options.work / f"{arm.name}-{options.samples}-{options.tflop:g}-{options.hold_out}.json"
    return found


def _kept(file: Path) -> list[Row]:
    if not file.exists():
        return []
    return [Row(**row) for row in json.loads(file.read_text())["rows"]]


def _write(file: Path, told: dict[str, Any]) -> None:
    """Beside and renamed: Ctrl-C leaves the file as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}.part")
    beside.write_text(json.dumps(told, indent=1) + "\n")
    beside.replace(file)


def table(rows: Mapping[str, Sequence[Row]], known: Mapping[str, Arm]) -> str:
    """Each arm beside the base on the tasks and seeds that both have; then E5, views and orders, over all."""
    base = {(row.task, row.seed): row for row in rows.get(BASE, ())}
    if not base:
        return "Nothing of the base arm is kept yet.\n"
    lines = [
        "| arm | what | tasks·seeds | of base | pass@2 | won, lost | nats a cell | cells | s, base | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(known[name], base, mine) for name, mine in rows.items() if mine]
    every = [row for some in rows.values() for row in some]
    lines += ["", f"Answered of {len(every)}, all arms, by views and order: {_by_views(every)}."]
    return "\n".join(lines) + "\n"


def _line(arm: Arm, base: Mapping[tuple[str, int], Row], mine: Sequence[Row]) -> str:
    pairs = [(base[row.task, row.seed], row) for row in mine if (row.task, row.seed) in base]
    if not pairs:
        return f"| {arm.name} | {arm.question} | 0 | | | | | | | |"
    count = len(pairs)
    gains = _by_task((row.task, row.nats - before.nats) for before, row in pairs)
    low, high = interval(gains, rng=np.random.default_rng(0))
    won = sum(row.score > before.score for before, row in pairs)
    lost = sum(row.score < before.score for before, row in pairs)
    then, now = (sum(pair[n].score for pair in pairs) for n in (0, 1))
    cells = sum(row.cells - before.cells for before, row in pairs) / count
    before_s, now_s = (sum(pair[n].seconds for pair in pairs) / count for n in (0, 1))
    return (
        f"| {arm.name} | {arm.question} | {count} | {then:g} | {now:g} | {won}, {lost} | "
        f"{gains.mean():+.3f} ({low:+.3f} to {high:+.3f}) | {cells:+.1%} | {before_s:.1f} | {now_s:.1f} |"
    )


def _by_task(gains: Iterator[tuple[str, float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The mean over seeds, a task each: seeds of one task are no tasks more."""
    found: dict[str, list[float]] = {}
    for task, gain in gains:
        found.setdefault(task, []).append(gain)
    return np.array([sum(each) / len(each) for each in found.values()])


def _by_views(rows: Sequence[Row]) -> str:
    names = [name for name in rows[0].ranked if all(name in row.ranked for row in rows)]
    return ", ".join(f"{name} {sum(row.ranked[name] for row in rows):g}" for name in names)

"""Steps of test-time training on a GPU: eager, replayed as CUDA graphs, and several tasks stacked.

    python -m bench gpu                          # canvases of half 8, 12 and 16 with the solver's own batches
    python -m bench gpu --half 8 --seconds 30    # one of them, longer
    python -m bench gpu --config m --device cuda:1

Tasks are random, so that none is ever fitted. Writes `bench/out/gpu.json`. The exit status is 1 where there
is no GPU that this torch has code for.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.machine import commit, machine, today
from gpu_runner import saying
from gpu_runner.solver.canvas import HALVES, MAX_SIDE, half_for
from gpu_runner.solver.devices import allow_tf32, check_device
from gpu_runner.solver.errors import UnsupportedDevice
from gpu_runner.solver.flops import step_flops, training_flops
from gpu_runner.solver.model import CONFIGS, ModelConfig, Solver
from gpu_runner.solver.portfolio import SPECIFIC, hypothesis
from gpu_runner.solver.stacking import adapt_stacked, tasks_that_fit
from gpu_runner.solver.stepping import GraphedSteps
from gpu_runner.solver.task import Task
from gpu_runner.solver.train import CUDA, Adaptation, Recipe

PROJECT = Path(__file__).resolve().parents[1]
STACKS = (2, 4, 8, 16)
TASKS_HALVES = tuple(half for half in HALVES if half <= half_for(MAX_SIDE))
"""A task's canvases; larger ones hold grids drawn at a larger scale, in pretraining only."""
WARM_SHARE = 0.3
"""Of each measurement's seconds, before it counts: first kernels, recordings, the allocator."""

Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One way of stepping. steps_s: optimiser steps of all tasks together a second."""

    way: str
    half: int
    batch: int
    tasks: int
    steps_s: float
    tflops: float


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--half", type=int, choices=TASKS_HALVES, action="append", help="half of a canvas's side"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row of the table")
    parser.add_argument("--config", choices=sorted(CONFIGS), default="xs")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args(arguments)
    if not options.device.startswith("cuda"):
        parser.error("graphs are CUDA's: --device is cuda or cuda:N")
    try:
        about = check_device(options.device)
    except UnsupportedDevice as why:
        sys.exit(f"bench gpu: this measurement needs a GPU. {why}")
    allow_tf32()
    torch.cuda.set_device(options.device)
    saying.err(f"bench: on {about}")
    rows: list[Row] = []
    for half in options.half or (8, 12, 16):
        for row in measured(CONFIGS[options.config], CUDA, half, options.seconds, device=options.device):
            saying.err(f"bench: {row}")
            rows.append(row)
    found: dict[str, Any] = {
        "machine": machine(), "commit": commit(PROJECT), "date": today(), "device": about,
        "config": options.config, "torch": torch.__version__, "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    out = PROJECT / "bench" / "out" / "gpu.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    saying.out(*table(rows).splitlines())


def measured(
    config: ModelConfig, recipe: Recipe, half: int, seconds: float, *, device: str, now: Now = time.monotonic
) -> Iterator[Row]:
    """Eager, graphs (on a GPU), and stacks of as many tasks as fit."""
    recipe = replace(recipe, samples=10**9, patience=1.0)

    def begin(seed: int, *, graphed: bool = False) -> Adaptation:
        return adaptation(config, recipe, half, seed=seed, device=device, graphed=graphed)

    def row(way: str, tasks: Sequence[Adaptation], until: Callable[[float], object]) -> Row:
        steps, samples = _rate(tasks, until, seconds, device, now)
        flops = samples * training_flops(config, half) + steps * step_flops(config)
        return Row(way, half, recipe.batch_size(half), len(tasks), steps, flops / 1e12)

    def one_alone(way: str, *, graphed: bool) -> Row:
        task = begin(0, graphed=graphed)
        return row(way, [task], lambda end: task.finish(lambda: end - now(), lambda *_: None))

    def all_at_once(tasks: list[Adaptation]) -> Row:
        return row("stacked", tasks, lambda end: adapt_stacked(tasks, lambda: end - now()))

    yield one_alone("eager", graphed=False)
    if device.startswith("cuda"):
        yield one_alone("graphs", graphed=True)
    for count in STACKS:
        if count > _room(config, recipe, half, device):
            break
        yield all_at_once([begin(seed) for seed in range(count)])


def adaptation(
    config: ModelConfig, recipe: Recipe, half: int, *, seed: int, device: str, graphed: bool
) -> Adaptation:
    """Of a random task whose grids need canvases of this half; its steps eager, or as graphs."""
    torch.manual_seed(seed)
    task = random_task(half, seed)
    chosen = hypothesis(SPECIFIC, task, dihedrals=recipe.dihedrals, colours=recipe.colours, seed=seed)
    found = Adaptation(
        Solver(config).to(device), task, chosen, recipe,
        seed=seed, device=device, max_steps=None, seconds=1e9,
    )  # fmt: skip
    if isinstance(found.step, GraphedSteps) and not graphed:
        found.step = found.step.step
    return found


def random_task(half: int, seed: int) -> Task:
    """Two pairs and a test of random colours, as large as canvases of this half hold."""
    rng = random.Random(seed)
    side = {4: 3, 6: 5, 8: 7}.get(half, min(2 * half - 1, MAX_SIDE))  # up to 7 at scale 2

    def grid() -> list[list[int]]:
        return [[rng.randrange(10) for _ in range(side)] for _ in range(side)]

    pairs = [{"input": grid(), "output": grid()} for _ in range(2)]
    return Task.from_json({"train": pairs, "test": [{"input": grid()}]})


def _rate(
    tasks: Sequence[Adaptation], until: Callable[[float], object], seconds: float, device: str, now: Now
) -> tuple[float, float]:
    """Steps and samples of all tasks a second, after a warm-up."""
    until(now() + WARM_SHARE * seconds)
    _wait(device)
    before = sum(t.result.steps for t in tasks), sum(t.result.samples for t in tasks)
    began = now()
    until(began + (1 - WARM_SHARE) * seconds)
    _wait(device)
    took = max(now() - began, 1e-9)
    after = sum(t.result.steps for t in tasks), sum(t.result.samples for t in tasks)
    return (after[0] - before[0]) / took, (after[1] - before[1]) / took


def _room(config: ModelConfig, recipe: Recipe, half: int, device: str) -> int:
    free = torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else 2**30
    views = recipe.dihedrals * recipe.colours
    return tasks_that_fit(free, config, half=half, batch=recipe.batch_size(half), views=views)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def table(rows: Sequence[Row]) -> str:
    """Markdown; the factor is over one eager task on the same canvas."""
    found = ["| half | batch | way | tasks | steps/s | factor | TFLOP/s |", "|---|---|---|---|---|---|---|"]
    eager = {row.half: row.steps_s for row in rows if row.way == "eager"}
    for row in rows:
        factor = row.steps_s / max(eager.get(row.half, 0.0), 1e-9)
        found.append(
            f"| {row.half} | {row.batch} | {row.way} | {row.tasks} | {row.steps_s:.1f} "
            f"| {factor:.2f} | {row.tflops:.3f} |"
        )
    return "\n".join(found)

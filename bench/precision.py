"""Steps of test-time training on this CPU in fp32 and in bf16, taken in turn so that both see the same load.

    python -m bench precision
    python -m bench precision --rounds 20 --half 8 --config m

Printed are, by canvas, the median seconds a step in each, their ratio round by round (median, least, most),
and whether the solver would choose bf16 here; then the same for Muon's part of a step, matrix by matrix in
fp32 beside all of one shape at once in bf16. Writes `bench/out/precision.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from unittest import mock

import torch

from bench.gpu import TASKS_HALVES, adaptation
from bench.machine import commit, machine, today
from gpu_runner import saying
from gpu_runner.solver import precision
from gpu_runner.solver.model import CONFIGS, ModelConfig, Solver
from gpu_runner.solver.optim import Optimiser, muon_moves
from gpu_runner.solver.train import CPU, Adaptation, Recipe

PROJECT = Path(__file__).resolve().parents[1]
WARM_STEPS = 2

Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Row:
    """Seconds of each step, in the order taken: the n-th of both are neighbours in time."""

    half: int
    batch: int
    fp32_s: tuple[float, ...]
    bf16_s: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """bf16's share of fp32's seconds, round by round, least first."""
        return sorted(b / a for a, b in zip(self.fp32_s, self.bf16_s, strict=True))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench precision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--half", type=int, choices=TASKS_HALVES, action="append")
    parser.add_argument("--rounds", type=int, default=12, help="a step of each, so many times")
    parser.add_argument("--config", choices=sorted(CONFIGS), default="xs")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = [measured(CONFIGS[options.config], CPU, half, options.rounds) for half in options.half or (8, 12)]
    out = PROJECT / "bench" / "out" / "precision.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    about = {"machine": machine(), "commit": commit(PROJECT), "date": today(), "torch": torch.__version__}
    settings = {
        "config": options.config,
        "threads": options.threads,
        "bf16_here": precision.multiplies_bf16(),
    }
    moves = muon(CONFIGS[options.config], options.rounds)
    told = about | settings | {"rows": [asdict(row) for row in rows], "muon": asdict(moves)}
    out.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    saying.out(*table(rows).splitlines())
    saying.out(
        f"Muon's part of a step of {options.config}: {1000 * median(moves.fp32_s):.0f} ms matrix by matrix "
        f"in fp32, {1000 * median(moves.bf16_s):.0f} ms at once in bf16; ratio {_ratio(moves)}"
    )
    saying.out(f"The solver computes in {'bf16' if precision.multiplies_bf16() else 'fp32'} on this CPU.")


def measured(
    config: ModelConfig, recipe: Recipe, half: int, rounds: int, *, now: Now = time.perf_counter
) -> Row:
    """A step in fp32, one in bf16, and so on, after a few of each that do not count."""
    both = [_begin(config, recipe, half, bf16=bf16) for bf16 in (False, True)]
    taken: list[list[float]] = [[], []]
    for n in range(WARM_STEPS + rounds):
        for task, seconds in zip(both, taken, strict=True):
            batch, variant = task.supply.batch(recipe.largest, n)
            began = now()
            task.step(batch, variant, 1.0)
            if n >= WARM_STEPS:
                seconds.append(now() - began)
    return Row(half, recipe.batch_size(half), tuple(taken[0]), tuple(taken[1]))


def muon(config: ModelConfig, rounds: int, *, now: Now = time.perf_counter) -> Row:
    """Muon's moves of all matrices of the layers; half and batch have no meaning here and are 0."""
    torch.manual_seed(0)
    model = Solver(config)
    optimiser = Optimiser(model, torch.nn.Parameter(model.mean_tokens), rate=1.0, token_rate=1.0)
    directions = [torch.randn_like(matrix) for matrix in optimiser.matrices]
    ways: tuple[Callable[[], object], ...] = (
        lambda: [muon_moves([each]) for each in directions],
        lambda: muon_moves(directions, torch.bfloat16),
    )
    taken: list[list[float]] = [[], []]
    for n in range(WARM_STEPS + rounds):
        for way, seconds in zip(ways, taken, strict=True):
            began = now()
            way()
            if n >= WARM_STEPS:
                seconds.append(now() - began)
    return Row(0, 0, tuple(taken[0]), tuple(taken[1]))


def _begin(config: ModelConfig, recipe: Recipe, half: int, *, bf16: bool) -> Adaptation:
    with mock.patch.object(precision, "multiplies_bf16", return_value=bf16):
        return adaptation(config, recipe, half, seed=0, device="cpu", graphed=False)


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = ["| half | batch | fp32, s a step | bf16, s a step | bf16 ÷ fp32 |", "|---|---|---|---|---|"]
    return "\n".join(
        head
        + [
            f"| {row.half} | {row.batch} | {median(row.fp32_s):.3f} | {median(row.bf16_s):.3f} "
            f"| {_ratio(row)} |"
            for row in rows
        ]
    )


def _ratio(row: Row) -> str:
    ratios = row.ratios
    return f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"

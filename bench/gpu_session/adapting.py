"""Test-time training on a device, without rules: what the network alone answers, and how fast each way is.

Test outputs are read here to score, and taken away before anything is adapted.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from gpu_runner.solver.canvas import Grid
from gpu_runner.solver.decode import attempts, decode
from gpu_runner.solver.errors import BadData, BadTask
from gpu_runner.solver.execution import Execution
from gpu_runner.solver.model import Solver
from gpu_runner.solver.nearest import rank_tokens
from gpu_runner.solver.portfolio import hypothesis, names_for
from gpu_runner.solver.precision import Precision
from gpu_runner.solver.stacking import adapt_stacked, tasks_that_fit
from gpu_runner.solver.task import Task
from gpu_runner.solver.train import Adaptation, Adapted, Recipe
from gpu_runner.solver.weights import Checkpoint, build

STACKED = "stacked"
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

ROWS_AT_ONCE = 32768
"""Canvas tokens a batch in the search for the nearest tokens: a datacentre GPU is not busy below."""

DECODING_SHARE = 0.35
"""Of a way's seconds, for the views of tasks that were adapted at once."""

log = logging.getLogger(__name__)

Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Known:
    """A task with its solution, which only scoring sees."""

    name: str
    task: Task
    truths: tuple[Grid, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """How tasks are adapted for how many seconds: one after the other, each step executed in some way, or
    several stacked; precision None is the one usual on the device."""

    name: str
    stacked: bool
    execution: Execution
    precision: str | None
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Way:
        """From "graphs+fp16=20": choices of `Execution`, "eager" or "stacked", perhaps a number type, and
        seconds. Raises ValueError."""
        name, _, seconds = text.partition("=")
        parts = name.split("+")
        precision = next((part for part in parts if part in PRECISIONS), None)
        rest = [part for part in parts if part not in PRECISIONS]
        stacked = STACKED in rest
        execution = Execution.parse(",".join(part for part in rest if part != STACKED))
        if not seconds or float(seconds) <= 0:
            raise ValueError(f"{text!r} has no seconds: expected is a way such as graphs+fp16=20")
        if stacked and execution.graphs:
            raise ValueError(f"{text!r}: stacked steps are not recorded as graphs")
        return cls(name, stacked, execution, precision, float(seconds))


@dataclass(frozen=True, slots=True)
class Row:
    """One task, adapted one way. score: the share of its tests that one of two attempts answers; seconds: of
    the whole task, and for tasks adapted at once their part."""

    way: str
    task: str
    half: int
    score: float
    fit: float
    stopped_by: str
    steps: int
    samples: int
    seconds: float


@dataclass(slots=True)
class Account:
    """What one way did in its seconds."""

    way: str
    rows: list[Row] = field(default_factory=list)
    training_seconds: float = 0.0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        samples, steps = sum(row.samples for row in self.rows), sum(row.steps for row in self.rows)
        took = max(self.training_seconds, 1e-9)
        return {
            "way": self.way, "tasks": len(self.rows), "solved": sum(row.score for row in self.rows),
            "steps_s": round(steps / took, 2), "samples_s": round(samples / took, 1),
            "training_seconds": round(self.training_seconds, 2), "error": self.error,
            "rows": [asdict(row) for row in self.rows],
        }  # fmt: skip


def read_tasks(folder: Path) -> list[Known]:
    """Every task of a folder that says its solutions. Raises BadData."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            told = json.loads(path.read_text())
            truths = tuple(pair["output"] for pair in told["test"])
            found.append(Known(path.stem, Task.from_json(told), truths))
        except (OSError, ValueError, LookupError, TypeError, BadTask) as why:
            raise BadData(f"{path} is no ARC task with its solutions: {why!r}") from why
    if not found:
        raise BadData(
            f"there is no task in {folder}: JSON files of ARC tasks with their solutions are expected"
        )
    return found


def run(
    way: Way, known: Sequence[Known], checkpoint: Checkpoint, recipe: Recipe, *, seed: int, device: str,
    now: Now = time.monotonic,
) -> Account:  # fmt: skip
    """Adapt to tasks in their order until the way's seconds are over; each ends within them or does not
    count. What goes wrong is told in the account."""
    account = Account(way.name)
    try:
        one = _at_once if way.stacked else _one_by_one
        one(account, way, known, _Bench(checkpoint, recipe, way, seed, device, now))
    except Exception as why:  # whatever a device says: the other ways are measured all the same
        log.exception("%s ended early", way.name)
        account.error = f"{type(why).__name__}: {str(why).splitlines()[:1]}"
    return account


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all tasks of a way have in common."""

    checkpoint: Checkpoint
    recipe: Recipe
    way: Way
    seed: int
    device: str
    now: Now

    def precision(self) -> Precision:
        if self.way.precision is None:
            return Precision.of(self.device)
        return Precision(PRECISIONS[self.way.precision], self.device.partition(":")[0])

    def begin(self, model: Solver, task: Task, seconds: float) -> Adaptation:
        """From the nearest tokens, as the solver begins."""
        start, recipe = copy.deepcopy(model), self.recipe
        ranked = rank_tokens(
            start,
            task,
            self.checkpoint.tokens,
            device=self.device,
            go_on=lambda done: True,
            at_once=ROWS_AT_ONCE,
        )
        if ranked:
            start.mean_tokens.copy_(self.checkpoint.tokens[ranked[0][1]])
        chosen = hypothesis(
            names_for(task)[0], task, dihedrals=recipe.dihedrals, colours=recipe.colours, seed=self.seed
        )
        return Adaptation(
            start, task, chosen, recipe, seed=self.seed, device=self.device, max_steps=None, seconds=seconds,
            execution=self.way.execution, precision=self.precision(),
        )  # fmt: skip

    def model(self) -> Solver:
        return build(self.checkpoint.config, self.checkpoint.weights).to(self.device)

    def score(self, known: Known, adapted: Adapted) -> float:
        ballots = decode(
            adapted.model, adapted.tokens, adapted.chosen, known.task, seed=self.seed, device=self.device,
            batch_size=adapted.batch_size, precision=self.precision(),
        )  # fmt: skip
        answers = [attempts(ballot, known.task, n) for n, ballot in enumerate(ballots)]
        return sum(truth in pair for truth, pair in zip(known.truths, answers, strict=True)) / len(answers)

    def row(self, known: Known, adapted: Adapted, seconds: float) -> Row:
        score, fit = self.score(known, adapted), round(adapted.demo_fit, 4)
        return Row(
            self.way.name, known.name, known.task.half, score, fit, adapted.stopped_by, adapted.steps,
            adapted.samples, round(seconds, 3),
        )  # fmt: skip

    def wait(self) -> float:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return self.now()


def _one_by_one(account: Account, way: Way, known: Sequence[Known], bench: _Bench) -> None:
    model, end = bench.model(), bench.now() + way.seconds
    for each in known:
        if (began := bench.now()) >= end:
            return
        adapting = bench.begin(model, each.task, end - began)
        clock = bench.wait()
        adapted = adapting.finish(lambda: end - bench.now(), lambda *_: None)
        account.training_seconds += bench.wait() - clock
        row = bench.row(each, adapted, bench.now() - began)
        if adapted.stopped_by == "deadline":
            return  # it had less than its time: no figure of this way
        account.rows.append(row)


def _at_once(account: Account, way: Way, known: Sequence[Known], bench: _Bench) -> None:
    """In stacks of as many tasks of one canvas as fit; each stack has its part of the seconds."""
    model, left = bench.model(), len(known)
    end = bench.now() + way.seconds
    for group in _stacks(known, bench):
        began = bench.now()
        mine = (end - began) * len(group) / left
        left -= len(group)
        training = mine * (1 - DECODING_SHARE)
        adapting = [bench.begin(model, each.task, training) for each in group]
        clock = bench.wait()
        until = began + training
        found = adapt_stacked(adapting, lambda until=until: until - bench.now())  # type: ignore[misc]
        trained = bench.wait() - clock
        account.training_seconds += trained
        for each, adapted in zip(group, found, strict=True):
            views = bench.now()
            part = (clock - began + trained) / len(group)
            account.rows.append(bench.row(each, adapted, part + bench.now() - views))


def _stacks(known: Sequence[Known], bench: _Bench) -> Iterator[list[Known]]:
    """Tasks of one canvas together, the smallest canvases first."""
    by_half: dict[int, list[Known]] = {}
    for each in known:
        by_half.setdefault(each.task.half, []).append(each)
    for half, members in sorted(by_half.items()):
        free = torch.cuda.mem_get_info(bench.device)[0] if bench.device.startswith("cuda") else 2**30
        size = tasks_that_fit(
            free, bench.checkpoint.config, half=half, batch=bench.recipe.batch_size(half),
            views=bench.recipe.dihedrals * bench.recipe.colours,
        )  # fmt: skip
        for start in range(0, len(members), size):
            yield members[start : start + size]


def table(accounts: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a way."""
    head = ["| way | tasks | solved | steps/s | samples/s | s of training | note |", f"|{'---|' * 7}"]
    rows = [
        f"| {each['way']} | {each['tasks']} | {each['solved']:g} | {each['steps_s']:g} "
        f"| {each['samples_s']:g} | {each['training_seconds']:g} | {each['error'] or ''} |"
        for each in accounts
    ]
    return "\n".join(head + rows)

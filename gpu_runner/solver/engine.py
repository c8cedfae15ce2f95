"""solve() and predict(): the solver's two doors."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from . import pointing, spreading
from .canvas import Grid
from .decode import KEPT, Ballot, attempts, decode
from .errors import BadWeights, Interrupted
from .model import CONFIGS, Solver, count_parameters
from .nearest import rank_tokens
from .portfolio import LEAST_VIEWS, hypothesis, names_for
from .task import Task
from .threads import threads_for
from .train import Adapted, Recipe, adapt, recipe_for
from .weights import Checkpoint, build, read_checkpoint

SOLVER_VERSION = "1.0.0"
DEFAULT_CONFIG = "xs"
TOKENS = "task_tokens"

log = logging.getLogger(__name__)

Attempts = tuple[tuple[Grid, Grid], ...]


@dataclass(frozen=True, slots=True)
class SolveBudget:
    """seconds: deadline of the whole call; max_steps: at most so many optimiser steps."""

    seconds: float
    seed: int = 0
    device: str = "cpu"
    max_steps: int | None = None


class Progress(Protocol):
    """Told about every step; fraction is of the phase."""

    def __call__(self, *, phase: str, fraction: float, loss: float | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Solution:
    """attempts: two different grids for each test input; adapted: fp32 weights with the task's tokens;
    adapted_metadata: what `predict` needs beside them; metrics: JSON-able account of the run."""

    attempts: Attempts
    adapted: dict[str, torch.Tensor]
    adapted_metadata: dict[str, str]
    metrics: dict[str, Any]


def solve(
    task: dict[str, Any],
    budget: SolveBudget,
    checkpoint: Path | None,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Solution:
    """Adapt a network to the task's demonstrations and answer its test inputs.

    Without a usable checkpoint the network starts from random weights: a warning, not a failure. The answers
    depend only on task, budget.seed, device and thread count unless the deadline cuts the work short
    (metrics' stopped_by is then "deadline"). Raises BadTask, or Interrupted soon after `should_stop()`.
    """
    started = time.monotonic()
    checked = Task.from_json(task)
    door = _Door(started, budget, progress, should_stop)
    door.check("load", 0.0, None)
    small = _small(checked, budget, door)
    if small is not None:
        return small
    pretrained = _checkpoint(checkpoint)
    recipe = recipe_for(budget.device)
    with threads_for(checked.half, budget.device):
        reserve = _Reserve(len(checked.tests), recipe, budget.seconds)
        start, nearest = _start(pretrained, budget, checked, door)
        adapted = _best_hypothesis(checked, start, recipe, budget, door, reserve)
        model = adapted.model
        ballots = decode(
            model, adapted.tokens, adapted.chosen, checked, seed=budget.seed, device=budget.device,
            batch_size=adapted.batch_size, go_on=lambda done: door.may_decode(done, adapted),
        )  # fmt: skip
    answers = tuple(attempts(ballot, checked, n) for n, ballot in enumerate(ballots))
    door.check("decode", 1.0, None)
    weights = {key: value.detach().float().cpu().clone() for key, value in model.state_dict().items()}
    weights[TOKENS] = adapted.tokens.float().cpu().clone()
    metadata = _metadata(model, checked, budget, recipe, adapted, door.batches)
    metrics = _metrics(adapted, ballots, pretrained, model, budget, time.monotonic() - started)
    metrics["nearest_pretraining_tasks"] = nearest
    return Solution(answers, weights, metadata, metrics)


def predict(
    task: dict[str, Any],
    adapted: dict[str, torch.Tensor],
    metadata: dict[str, str],
    *,
    device: str = "cpu",
) -> Attempts:
    """The answers of downloaded weights, without training: the same views, so the same answers.

    Raises BadTask or BadWeights."""
    checked = Task.from_json(task)
    if metadata.get("hypothesis") in (pointing.NAME, spreading.NAME):
        return _replayed(checked, adapted, metadata)
    try:
        config, seed = CONFIGS[metadata["config"]], int(metadata["seed"])
        chosen = hypothesis(
            metadata["hypothesis"], checked, seed=seed,
            dihedrals=int(metadata["dihedrals"]), colours=int(metadata["colours"]),
        )  # fmt: skip
        batches, batch_size = int(metadata["decode_batches"]), int(metadata["batch_size"])
        tokens = adapted[TOKENS].to(device)
    except (KeyError, ValueError) as error:
        raise BadWeights(f"the adaptation's metadata lacks or spoils {error}") from error
    if (metadata.get("size_rule"), metadata.get("half")) != (checked.rule.to_text(), str(checked.half)):
        raise BadWeights("these weights were adapted to another task: its canvas or size rule differs")
    model = build(config, {key: value for key, value in adapted.items() if key != TOKENS}).to(device)
    with threads_for(checked.half, device):
        ballots = decode(
            model,
            tokens,
            chosen,
            checked,
            seed=seed,
            device=device,
            batch_size=batch_size,
            batch_limit=batches,
        )
    return tuple(attempts(ballot, checked, n) for n, ballot in enumerate(ballots))


def _small(task: Task, budget: SolveBudget, door: _Door) -> Solution | None:
    """The small hypotheses first: where one is to be believed, it costs a fraction of the network."""
    started = time.monotonic()

    def until(share: float, phase: str) -> Callable[[float, float], bool]:
        def go_on(fraction: float, loss: float) -> bool:
            door.check(phase, fraction, loss)
            return door.left() > (1 - share) * budget.seconds

        return go_on

    with threads_for(task.half, budget.device):
        pointed = pointing.point(task, until(0.1, "point"))
        if pointed is not None:
            return _small_solution(
                task, budget, pointing.NAME, pointed.fitted.model, pointed.attempts, pointed.confidence,
                steps=pointed.fitted.steps, fit=1.0, curve=pointed.fitted.loss_curve, started=started,
            )  # fmt: skip
        spread = spreading.spread(task, seed=budget.seed, go_on=until(0.4, "spread"))
        if spread is not None:
            return _small_solution(
                task, budget, spreading.NAME, spread.model, spread.attempts, spread.confidence,
                steps=spread.steps, fit=spread.fit, curve=spread.loss_curve, started=started,
            )  # fmt: skip
    return None


def _small_solution(
    task: Task,
    budget: SolveBudget,
    name: str,
    model: torch.nn.Module,
    answers: Attempts,
    confidence: tuple[float, ...],
    *,
    steps: int,
    fit: float,
    curve: list[tuple[int, float]],
    started: float,
) -> Solution:
    weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
    metadata = {
        "solver_version": SOLVER_VERSION,
        "hypothesis": name,
        "size_rule": task.rule.to_text(),
        "longest": str(task.longest),
    }
    metrics = {
        "solver_version": SOLVER_VERSION,
        "checkpoint": None,
        "config": name,
        "parameters": sum(value.numel() for value in weights.values()),
        "device": "cpu",
        "seed": budget.seed,
        "seconds": round(time.monotonic() - started, 3),
        "steps": steps,
        "samples": steps * len(task.demos),
        "stopped_by": "fit",
        "hypothesis": name,
        "rejected": [],
        "demo_fit": round(fit, 4),
        "loss_curve": [list(at) for at in curve],
        "views": [1 if name == pointing.NAME else spreading.DIHEDRALS for _ in task.tests],
        "votes": [[] for _ in task.tests],
        "confidence": [round(sure, 4) for sure in confidence],
        "nearest_pretraining_tasks": [],
    }
    return Solution(answers, weights, metadata, metrics)


def _replayed(task: Task, adapted: dict[str, torch.Tensor], metadata: dict[str, str]) -> Attempts:
    """The answers of a small hypothesis' downloaded weights. Raises BadWeights."""
    sizes = [task.answer_size(n) for n in range(len(task.tests))]
    known = (metadata.get("size_rule"), metadata.get("longest"))
    if known != (task.rule.to_text(), str(task.longest)) or None in sizes:
        raise BadWeights("these weights were adapted to another task: its sizes differ")
    replay = pointing.replay if metadata["hypothesis"] == pointing.NAME else spreading.replay
    try:
        return tuple(grids for grids, _ in replay(task, adapted))
    except RuntimeError as error:
        raise BadWeights(f"these are no weights of a {metadata['hypothesis']}: {error}") from error


def _best_hypothesis(
    task: Task,
    start: Solver,
    recipe: Recipe,
    budget: SolveBudget,
    door: _Door,
    reserve: _Reserve,
) -> Adapted:
    """The first hypothesis that fits its demonstrations, else the one that comes closest."""
    best: Adapted | None = None
    for name in names_for(task):
        adapted = adapt(
            copy.deepcopy(start), task,
            hypothesis(name, task, dihedrals=recipe.dihedrals, colours=recipe.colours, seed=budget.seed),
            recipe, seed=budget.seed, device=budget.device, max_steps=budget.max_steps,
            time_left=lambda: door.left() - reserve.seconds,
            check=lambda step, of, loss: reserve.learn(door, step, of, loss),
        )  # fmt: skip
        if best is not None:
            adapted.earlier = [*best.earlier, best.account()]
        if best is None or adapted.demo_fit >= best.demo_fit:
            best = adapted
        if adapted.stopped_by != "rejected":
            break
    assert best is not None
    return best


class _Door:
    """Clock, progress and interruption for one call."""

    def __init__(
        self,
        started: float,
        budget: SolveBudget,
        progress: Progress | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self.ends = started + budget.seconds
        self.progress, self.should_stop = progress, should_stop
        self.batches = 0

    def left(self) -> float:
        return self.ends - time.monotonic()

    def check(self, phase: str, fraction: float, loss: float | None) -> None:
        if self.should_stop is not None and self.should_stop():
            raise Interrupted("asked to stop")
        if self.progress is not None:
            self.progress(phase=phase, fraction=min(fraction, 1.0), loss=loss)

    def may_decode(self, done: int, adapted: Adapted) -> bool:
        """A batch of views costs about two thirds of a training step: twice the samples, no way back."""
        self.check("decode", done / (done + 4), None)
        self.batches = done
        allowed = self.left() > adapted.step_seconds
        self.batches += allowed
        return allowed


class _Reserve:
    """Seconds to keep for decoding, learned from the training steps: views cost a third of a sample."""

    def __init__(self, tests: int, recipe: Recipe, seconds: float) -> None:
        self.views = tests * max(LEAST_VIEWS, 4 * recipe.dihedrals * recipe.colours)
        self.most = 0.3 * seconds
        self.seconds = min(0.5, self.most)
        self.batch = 1
        self.half_way = time.monotonic()

    def learn(self, door: _Door, step: int, of: int, loss: float | None) -> None:
        now = time.monotonic()
        spent, self.half_way = now - self.half_way, now
        if step > 1:
            per_batch = 0.8 * spent
            self.seconds = min(self.most, max(self.seconds, per_batch * math.ceil(self.views / 32) + 0.3))
        door.check("adapt", step / of, loss)


def _checkpoint(path: Path | None) -> Checkpoint | None:
    if path is None:
        return None
    try:
        return read_checkpoint(path)
    except BadWeights as error:
        log.warning("%s; starting from random weights", error)
        return None


def _start(
    pretrained: Checkpoint | None, budget: SolveBudget, task: Task, door: _Door
) -> tuple[Solver, list[list[Any]]]:
    """The network to adapt, and the pretraining tasks whose tokens explain the demonstrations best.

    The search may take a tenth of the budget; it needs about as long as ten training steps.
    """
    if pretrained is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(budget.seed)
            return Solver(CONFIGS[DEFAULT_CONFIG]).to(budget.device), []
    model = build(pretrained.config, pretrained.weights).to(budget.device)

    def go_on(done: int) -> bool:
        door.check("load", done / len(pretrained.tokens), None)
        return door.left() > 0.9 * budget.seconds

    ranked = rank_tokens(model, task, pretrained.tokens, device=budget.device, go_on=go_on)
    if ranked:
        model.mean_tokens.copy_(pretrained.tokens[ranked[0][1]])
    return model, [[pretrained.task_ids[row], round(value, 4)] for value, row in ranked[:5]]


def _metadata(
    model: Solver, task: Task, budget: SolveBudget, recipe: Recipe, adapted: Adapted, batches: int
) -> dict[str, str]:
    return {
        "solver_version": SOLVER_VERSION,
        "config": model.config.name,
        "half": str(task.half),
        "size_rule": task.rule.to_text(),
        "seed": str(budget.seed),
        "hypothesis": adapted.chosen.name,
        "dihedrals": str(recipe.dihedrals),
        "colours": str(recipe.colours),
        "batch_size": str(adapted.batch_size),
        "decode_batches": str(batches),
    }


def _metrics(
    adapted: Adapted,
    ballots: list[Ballot],
    pretrained: Checkpoint | None,
    model: Solver,
    budget: SolveBudget,
    seconds: float,
) -> dict[str, Any]:
    ranked = [ballot.candidates() for ballot in ballots]
    known = None if pretrained is None else {"name": pretrained.name, "sha256": pretrained.sha256}
    return {
        "solver_version": SOLVER_VERSION,
        "checkpoint": known,
        "config": model.config.name,
        "parameters": count_parameters(model) + adapted.tokens.numel(),
        "device": budget.device,
        "seed": budget.seed,
        "seconds": round(seconds, 3),
        "steps": adapted.steps,
        "samples": adapted.samples,
        "stopped_by": adapted.stopped_by,
        "hypothesis": adapted.chosen.name,
        "rejected": adapted.earlier,
        "demo_fit": round(adapted.demo_fit, 4),
        "loss_curve": [list(point) for point in adapted.loss_curve],
        "views": [ballot.views for ballot in ballots],
        "votes": [[c.to_json() for c in found[:KEPT]] for found in ranked],
        "confidence": [round(found[0].share, 4) if found else 0.0 for found in ranked],
    }

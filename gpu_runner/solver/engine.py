"""solve(): the small hypotheses first, then the network, adapted and read in many views."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first optimiser would load it: 1 to 7 s that a deadline would have to pay for

from . import reasoning, second, small, snapshot
from .confidence import of_candidates
from .decode import KEPT, Ballot, Count, decode
from .door import SOLVER_VERSION, Door, Progress, Solution, SolveBudget
from .errors import BadState, SolverError
from .flops import Meter
from .model import Solver, count_parameters
from .pace import Clock, reserve_s
from .portfolio import LEAST_VIEWS, Hypothesis, hypothesis, names_for
from .predicting import TOKENS
from .resume import Journal, Part, number, understood
from .starting import from_scratch, starting_network, usable
from .task import Task
from .threads import threads_for
from .train import Adaptation, Adapted, Recipe, recipe_for
from .weights import Checkpoint, sha256_of

log = logging.getLogger(__name__)


def solve(
    task: dict[str, Any],
    budget: SolveBudget,
    checkpoint: Path | None,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    keep: Path | None = None,
    clock: Clock = time.monotonic,
) -> Solution:
    """Adapt a network to the task's demonstrations and answer its test inputs.

    Without a usable checkpoint the network starts from random weights: a warning, not a failure. The answers
    depend only on task, budget.seed, device and thread count unless the deadline cuts the work short
    (metrics' stopped_by is then "deadline"). Raises BadTask, or Interrupted soon after `should_stop()`. The
    deadline is overrun by at most one step or batch, one that takes longer than the last eight did.

    `keep` is a file for the state of the work: written every minute and before Interrupted is raised, and
    gone on from when it is there at the start, to the same answers. One that does not fit is a warning, told
    in the metrics (`state_refused`), and a fresh start. Only the rules are kept of the small hypotheses;
    the others are repeated.
    """
    started = clock()
    checked = Task.from_json(task)
    identity = _identity(checked, budget, checkpoint)

    def attempt(journal: Journal) -> Solution:
        door = Door(clock, started, budget, progress, should_stop, journal)
        return _solve(checked, budget, checkpoint, door)

    resumed = False
    try:
        journal = Journal.open(keep, identity, clock=clock)
        resumed = journal.resumed
        return attempt(journal)
    except BadState as why:
        refused = str(why)
    except SolverError:
        raise
    except Exception as why:
        if not resumed:
            raise
        # Every value was looked at before it was believed; what still fails is no reason to lose the job.
        log.exception("the work failed after it was taken up")
        refused = f"the work ended in {type(why).__name__}: {why}"
    log.warning("the kept state is of no use: %s; starting over", refused[:500])
    found = attempt(Journal(keep, identity, clock=clock))
    found.metrics["state_refused"] = refused[:500]
    return found


def _solve(task: Task, budget: SolveBudget, checkpoint: Path | None, door: Door) -> Solution:
    """Raises BadState while it takes up what an earlier run left."""
    budget, journal = replace(budget, seconds=door.watch.seconds), door.journal
    door.check("load", 0.0, None)
    reasoned, believed = small.ask(task, budget, door)
    if believed is not None:
        return believed
    pretrained = usable(checkpoint)
    recipe = recipe_for(budget.device)
    with threads_for(task.half, budget.device):
        meter = _meter(journal)
        began = _began(door)
        start, nearest = starting_network(pretrained, budget, task, door, meter)
        first = _run(task, start, recipe, budget, door)
        again, why = _again(
            task, start, first, recipe, budget, door, meter, began, pretrained=pretrained is not None
        )
    ballots = first.count.ballots
    if again is not None and again.counts_beside(first):
        ballots = second.pooled(ballots, again.count.ballots)
    weights, metadata = first.weights(), _metadata(task, recipe, first)
    metadata[reasoning.RULES] = json.dumps(reasoned.to_json())
    answers = small.answers(task, ballots, reasoned, metadata)
    door.check("decode", 1.0, None)
    metrics = _metrics(first.adapted, ballots, pretrained, budget, door.watch.used())
    small.stand_beside(metrics, reasoned)
    metrics["attempts_by"] = small.proposers(answers, ballots, reasoned)
    metrics["seeds"], metrics["second_seed"] = [budget.seed], {"why": why}
    if again is not None:
        metrics["second_seed"] |= again.account()
        if again.counts_beside(first):
            metrics["seeds"].append(again.seed)
            weights |= {second.PREFIX + key: value for key, value in again.weights().items()}
            metadata |= {second.PREFIX + key: value for key, value in again.metadata().items()}
    metrics["work"], metrics["flops"] = (
        meter.to_json(),
        meter.flops(first.adapted.model.config, muon=recipe.muon),
    )
    metrics["small_seconds"] = round(began, 3)
    metrics["seconds_before"] = round(journal.seconds_before, 3)
    metrics["nearest_pretraining_tasks"] = nearest
    return Solution(answers, weights, metadata, metrics)


@dataclass(frozen=True, slots=True)
class _Run:
    """One adaptation and the votes of its views."""

    seed: int
    adapted: Adapted
    count: Count

    def weights(self) -> dict[str, torch.Tensor]:
        state = self.adapted.model.state_dict()
        found = {key: value.detach().float().cpu().clone() for key, value in state.items()}
        return {**found, TOKENS: self.adapted.tokens.float().cpu().clone()}

    def metadata(self) -> dict[str, str]:
        """What repeats the decoding."""
        return {
            "seed": str(self.seed),
            "hypothesis": self.adapted.chosen.name,
            "batch_size": str(self.adapted.batch_size),
            "decode_batches": str(self.count.batches),
        }

    def counts_beside(self, first: _Run) -> bool:
        mine, views = self.adapted, sum(ballot.views for ballot in self.count.ballots)
        return second.counts(
            stopped_by=mine.stopped_by, demo_fit=mine.demo_fit, first_fit=first.adapted.demo_fit, views=views
        )

    def account(self) -> dict[str, Any]:
        return {**self.adapted.account(), "seed": self.seed, "stopped_by": self.adapted.stopped_by}


def _run(
    task: Task,
    start: Solver,
    recipe: Recipe,
    budget: SolveBudget,
    door: Door,
    *,
    names: tuple[str, ...] | None = None,
    prefix: str = "",
) -> _Run:
    """Adapt and count the votes. What is kept of it has names that begin with `prefix`."""
    if budget.adapt:
        adapted = _best_hypothesis(task, start, recipe, budget, door, names or names_for(task), prefix)
    else:
        adapted = _as_pretrained(task, start, recipe, budget)
    count = _count(task, door.journal, prefix)
    decode(
        adapted.model, adapted.tokens, adapted.chosen, task, seed=budget.seed, device=budget.device,
        batch_size=adapted.batch_size, go_on=door.views(), count=count,
    )  # fmt: skip
    return _Run(budget.seed, adapted, count)


def _again(
    task: Task,
    start: Solver,
    first: _Run,
    recipe: Recipe,
    budget: SolveBudget,
    door: Door,
    meter: Meter,
    began: float,
    *,
    pretrained: bool,
) -> tuple[_Run | None, str]:
    """The second run where there is one, and why or why not. That it takes place is decided only once."""
    journal, known = door.journal, door.journal.found("again")
    if known is not None:
        with understood():
            why = str(known.facts["why"])[:200]
    else:
        ranked = [ballot.candidates() for ballot in first.count.ballots]
        goes, why = second.goes_again(
            [found[0].share if found else 0.0 for found in ranked],
            stopped_by=first.adapted.stopped_by,
            first_seconds=door.watch.used() - began,
            seconds_left=door.watch.left(),
            wanted=budget.second_seed and budget.adapt,
        )
        log.info("second seed: %s (%s)", "yes" if goes else "no", why)
        if not goes:
            return None, why
    journal.hold("again", lambda: Part({"why": why}))
    budget = replace(budget, seed=second.seed_after(budget.seed))
    names = (first.adapted.chosen.name,)
    if not pretrained:
        start = from_scratch(budget, meter)
    return _run(task, start, recipe, budget, door, names=names, prefix=second.PREFIX), why


def _began(door: Door) -> float:
    """Seconds used when the network's work began, earlier calls included."""
    known = door.journal.found("began")
    with understood():
        used = door.watch.used() if known is None else number(known.facts, "used")
    door.journal.hold("began", lambda: Part({"used": used}))
    return used


def _best_hypothesis(
    task: Task,
    start: Solver,
    recipe: Recipe,
    budget: SolveBudget,
    door: Door,
    names: tuple[str, ...],
    prefix: str,
) -> Adapted:
    """The first of the hypotheses that fits its demonstrations, else the one that comes closest."""

    def choose(name: str) -> Hypothesis:
        return hypothesis(name, task, dihedrals=recipe.dihedrals, colours=recipe.colours, seed=budget.seed)

    views = len(task.tests) * max(LEAST_VIEWS, 4 * recipe.dihedrals * recipe.colours)
    size, most = recipe.batch_size(task.half), 0.3 * max(door.watch.left(), 0.0)

    def time_left() -> float:
        reserve = reserve_s(door.watch.usual("adapt"), views, size, most=most)
        return door.watch.left() - reserve - (door.watch.longest("adapt") or 0.0)

    journal = door.journal
    ended, running = f"{prefix}best", f"{prefix}adapting"
    done, begun = journal.found(ended), journal.found(running)
    best = None if done is None else _best_so_far(done, start, choose, recipe)
    if best is not None and begun is None:
        return best  # only views were still to be counted
    with understood():
        names = names[names.index(begun.facts["hypothesis"]) if begun else 0 :]
    for name in names:
        under_way = Adaptation(
            copy.deepcopy(start), task, choose(name), recipe,
            seed=budget.seed, device=budget.device, max_steps=budget.max_steps, seconds=time_left(),
        )  # fmt: skip
        if begun is not None:
            snapshot.take_up(begun, under_way)
            log.info("resumed at step %d of hypothesis %s", under_way.result.steps, name)
            begun = None
        journal.hold(running, partial(snapshot.of_adaptation, under_way))
        door.watch.begin()
        adapted = under_way.finish(time_left, lambda step, of, loss: door.check("adapt", step / of, loss))
        if best is not None:
            adapted.earlier = [*best.earlier, best.account()]
        if best is None or adapted.demo_fit >= best.demo_fit:
            best = adapted
        journal.drop(running)
        journal.hold(ended, partial(snapshot.of_adapted, best))
        if adapted.stopped_by not in ("rejected", "diverged"):
            break
    assert best is not None
    return best


def _best_so_far(done: Part, start: Solver, choose: Callable[[str], Hypothesis], recipe: Recipe) -> Adapted:
    """Raises BadState."""
    return snapshot.adapted(done, copy.deepcopy(start), choose, largest=recipe.largest)


def _as_pretrained(task: Task, start: Solver, recipe: Recipe, budget: SolveBudget) -> Adapted:
    """The network as it starts, in the place of an adapted one: every view has the same tokens."""
    chosen = hypothesis(
        names_for(task)[0], task, dihedrals=recipe.dihedrals, colours=recipe.colours, seed=budget.seed
    )
    tokens = start.mean_tokens.repeat(len(chosen.views), 1, 1)
    size = recipe.batch_size(task.half)
    return Adapted(start, tokens, chosen, stopped_by="unadapted", batch_size=size, batch_limit=recipe.largest)


def _meter(journal: Journal) -> Meter:
    """The account of the network's work, gone on with where an earlier run left one."""
    known = journal.found("work")
    meter = Meter() if known is None else snapshot.meter(known)
    journal.hold("work", lambda: snapshot.of_meter(meter))
    return meter


def _count(task: Task, journal: Journal, prefix: str) -> Count:
    """The votes to go on counting: none, or those an earlier run counted."""
    known = journal.found(f"{prefix}votes")
    count = Count([Ballot() for _ in task.tests]) if known is None else snapshot.count(known, len(task.tests))
    if known is not None:
        log.info("resumed after %d batches of views", count.batches)
    journal.hold(f"{prefix}votes", partial(snapshot.of_count, count))
    return count


def _identity(task: Task, budget: SolveBudget, checkpoint: Path | None) -> str:
    """Names the solves that may go on from each other's state."""
    start = sha256_of(checkpoint) if checkpoint is not None and checkpoint.is_file() else None
    kind = budget.device.partition(":")[0]
    facts = [SOLVER_VERSION, task.demos, task.tests, budget.seed, kind, budget.max_steps, start]
    facts += [budget.adapt, budget.second_seed, budget.only]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _metadata(task: Task, recipe: Recipe, run: _Run) -> dict[str, str]:
    return {
        "solver_version": SOLVER_VERSION,
        "config": run.adapted.model.config.name,
        "half": str(task.half),
        "size_rule": task.rule.to_text(),
        "dihedrals": str(recipe.dihedrals),
        "colours": str(recipe.colours),
        small.DEMO_FIT: f"{run.adapted.demo_fit:.4f}",
        **run.metadata(),
    }


def _metrics(
    adapted: Adapted,
    ballots: list[Ballot],
    pretrained: Checkpoint | None,
    budget: SolveBudget,
    seconds: float,
) -> dict[str, Any]:
    model = adapted.model
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
        "demo_fit": round(adapted.demo_fit, 4) if budget.adapt else None,
        "loss_curve": [list(point) for point in adapted.loss_curve],
        "views": [ballot.views for ballot in ballots],
        "votes": [[c.to_json() for c in found[:KEPT]] for found in ranked],
        "confidence": [of_candidates(found, adapted.chosen.name, adapted.demo_fit) for found in ranked],
    }

"""The small hypotheses: each costs a fraction of the network, and one to be believed answers alone.

Smallest first: `pointing`, `reasoning` (the rules), `spreading`. Rules in doubt stay, to stand beside the
network's attempts, and answer as well as they can where they are to answer alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from . import credit, pointing, reasoning, spreading
from .confidence import Evidence, of_candidates, of_each, probability
from .decode import Ballot, Candidate, attempts, fallback
from .door import SOLVER_VERSION, Attempts, Door, Solution, SolveBudget
from .errors import BadState, BadWeights
from .flops import Meter
from .resume import Part, understood
from .task import Task
from .threads import threads_for

DEMO_FIT = "demo_fit"
"""In the metadata of adapted weights: how much the network's own candidates are worth beside the rules'."""

NAMES = (pointing.NAME, reasoning.NAME, spreading.NAME)

UNANSWERED = "unanswered"
"""In the metadata of rules that answered alone: the test inputs that no rule of them answers, if any."""


def ask(task: Task, budget: SolveBudget, door: Door) -> tuple[reasoning.Reasoned, Solution | None]:
    """The rules found, and the answer of whoever is to be believed; None where the network has to work."""
    if budget.only == "network":
        return reasoning.none(task), None
    if budget.only == "rules":
        reasoned = find_rules(task, budget, door)
        return reasoned, _rules_at_any_rate(task, budget, door, reasoned)
    fresh = door.journal.found("start") is None and budget.adapt  # else they were asked before
    believed = by_pointer(task, budget, door) if fresh else None
    if believed is not None:
        return reasoning.none(task), believed
    reasoned = find_rules(task, budget, door)
    return reasoned, by_rules_or_spreader(task, budget, door, reasoned) if fresh else None


def find_rules(task: Task, budget: SolveBudget, door: Door) -> reasoning.Reasoned:
    """The rules found for the task: those an earlier call found, else within two fifths of the budget. Where
    there is little time they are worth more than so much more training."""
    known = door.journal.found("rules")
    if known is not None:
        with understood():
            text = str(known.facts["rules"])
        try:
            found = reasoning.replay(task, text)
        except BadWeights as why:
            raise BadState(str(why)) from why
    elif not budget.adapt or door.watch.left() <= 0:
        return reasoning.none(task)
    else:
        goes = True

        def go_on() -> bool:
            nonlocal goes
            if goes:  # once time is up no further piece begins, however often it is asked for
                door.check("reason", 0.0, None)
                goes = _time_for_rules(budget, door)
            return goes

        door.watch.begin()
        found = reasoning.reason(task, seed=budget.seed, go_on=go_on)
    text = json.dumps(found.to_json())
    door.journal.hold("rules", lambda: Part({"rules": text}))
    return found


def _time_for_rules(budget: SolveBudget, door: Door) -> bool:
    return door.fits("reason", within=door.watch.left() - 0.6 * budget.seconds)


def answers(
    task: Task,
    ballots: Sequence[Ballot],
    reasoned: reasoning.Reasoned,
    metadata: Mapping[str, str],
) -> Attempts:
    """The likeliest two of the network's and the rules' candidates. metadata: what tells of the adaptation,
    the same here and where it was downloaded. Raises BadWeights."""
    try:
        name, demo_fit = metadata["hypothesis"], float(metadata[DEMO_FIT])
        if not 0 <= demo_fit <= 1:
            raise ValueError(f"{DEMO_FIT} of {demo_fit}")
    except (KeyError, ValueError) as error:
        raise BadWeights(f"the adaptation's metadata lacks or spoils {error}") from error
    found = []
    for n, ballot in enumerate(ballots):
        chances = [*of_each(ballot.candidates(), name, demo_fit), 0.0, 0.0]
        network = list(zip(attempts(ballot, task, n), chances, strict=False))
        found.append(reasoning.beside(reasoned.ballots[n], network))
    return tuple(found)


def proposers(
    answers: Attempts, ballots: Sequence[Ballot], reasoned: reasoning.Reasoned
) -> list[dict[str, list[str]]]:
    """Who proposed each attempt, of the network's views and the rules."""
    pairs = zip(ballots, reasoned.ballots, strict=True)
    proposed = [
        {credit.NETWORK: ballot.proposed(), reasoning.NAME: [one.grid for one in found]}
        for ballot, found in pairs
    ]
    return credit.attempts_by(answers, proposed)


def by_pointer(task: Task, budget: SolveBudget, door: Door) -> Solution | None:
    """The pointer's answer where it is to be believed: the cheapest of all."""
    left, go_on = _share(budget, door, 0.1, "point")
    with threads_for(task.half, budget.device):
        pointed = pointing.point(task, go_on) if left() > 0 else None
    if pointed is None:
        return None
    return _solution(
        task, budget, pointing.NAME, pointed.fitted.model.state_dict(), pointed.attempts, pointed.confidence,
        held_out=pointed.held_out, steps=pointed.fitted.steps, fit=1.0, curve=pointed.fitted.loss_curve,
        seconds=door.watch.used(),
    )  # fmt: skip


def by_rules_or_spreader(
    task: Task, budget: SolveBudget, door: Door, reasoned: reasoning.Reasoned
) -> Solution | None:
    """The answer of sure rules, else of the spreader; None where the network has to work."""
    if reasoned.sure(len(task.demos)):
        return _by_reason(task, budget, reasoned, seconds=door.watch.used())
    left, go_on = _share(budget, door, 0.5, "spread")
    with threads_for(task.half, budget.device):
        spread = spreading.spread(task, seed=budget.seed, go_on=go_on) if left() > 0 else None
    if spread is None:
        return None
    return _solution(
        task, budget, spreading.NAME, spread.model.state_dict(), spread.attempts, spread.confidence,
        steps=spread.steps, fit=spread.fit, curve=spread.loss_curve, seconds=door.watch.used(),
    )  # fmt: skip


def _share(
    budget: SolveBudget, door: Door, share: float, phase: str
) -> tuple[Callable[[], float], Callable[[float, float], bool]]:
    """Seconds left until so much of the budget is used, and what a small hypothesis asks after each step."""

    def left() -> float:
        return door.watch.left() - (1 - share) * budget.seconds

    def go_on(fraction: float, loss: float) -> bool:
        door.check(phase, fraction, loss)
        return door.fits(phase, within=left())

    door.watch.begin()
    return left, go_on


def _by_reason(task: Task, budget: SolveBudget, reasoned: reasoning.Reasoned, *, seconds: float) -> Solution:
    """The answer of rules alone: sure ones, or whichever there are."""
    answers = _ruled(task, reasoned)
    sure = tuple(found[0].share if found else 0.0 for found in reasoned.ballots)
    solution = _solution(
        task, budget, reasoning.NAME, reasoning.weights(reasoned), answers, sure,
        steps=0, fit=1.0 if reasoned.kept else 0.0, curve=[], seconds=seconds,
    )  # fmt: skip
    solution.adapted_metadata[reasoning.RULES] = json.dumps(reasoned.to_json())
    if unanswered := _unanswered(reasoned):
        solution.adapted_metadata[UNANSWERED] = json.dumps(unanswered)
    solution.metrics["views"] = [len(reasoned.kept) for _ in task.tests]
    solution.metrics["votes"] = [[] for _ in task.tests]
    stand_beside(solution.metrics, reasoned)
    solution.metrics["attempts_by"] = proposers(answers, [Ballot() for _ in task.tests], reasoned)
    return solution


def _rules_at_any_rate(task: Task, budget: SolveBudget, door: Door, reasoned: reasoning.Reasoned) -> Solution:
    """The answer of the rules there are, sure or not; a guess where there is none."""
    solution = _by_reason(task, budget, reasoned, seconds=door.watch.used())
    if not reasoned.sure(len(task.demos)):
        if not _time_for_rules(budget, door):
            solution.metrics["stopped_by"] = "deadline"
        elif not reasoned.kept:
            solution.metrics["stopped_by"] = "no rule"
        solution.metrics["confidence"] = [_sureness(found) for found in reasoned.ballots]
    return solution


def _ruled(task: Task, reasoned: reasoning.Reasoned) -> Attempts:
    """The rules' attempts; where they have no candidate, those of a ballot without a vote."""
    return tuple(
        reasoning.alone(found) if found else fallback(task, n) for n, found in enumerate(reasoned.ballots)
    )


def _unanswered(reasoned: reasoning.Reasoned) -> list[int]:
    """The test inputs for which no rule has a candidate."""
    return [n for n, found in enumerate(reasoned.ballots) if not found]


def _solution(
    task: Task,
    budget: SolveBudget,
    name: str,
    state: Mapping[str, torch.Tensor],
    answers: Attempts,
    sure: tuple[float, ...],
    *,
    held_out: bool = False,
    steps: int,
    fit: float,
    curve: list[tuple[int, float]],
    seconds: float,
) -> Solution:
    weights = {key: value.detach().clone() for key, value in state.items()}
    views = 1 if name == pointing.NAME else spreading.DIHEDRALS
    ranked = [
        [
            Candidate(grid, round(share * views), share, math.log(max(share, 1e-9)))
            for grid, share in zip(pair, (each, 1.0 - each), strict=True)
        ]
        for pair, each in zip(answers, sure, strict=True)
    ]
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
        "seconds": round(seconds, 3),
        "small_seconds": round(seconds, 3),
        "steps": steps,
        "samples": steps * len(task.demos),
        "stopped_by": "fit",
        "hypothesis": name,
        "rejected": [],
        "demo_fit": round(fit, 4),
        "loss_curve": [list(at) for at in curve],
        "seeds": [budget.seed],
        "views": [views for _ in task.tests],
        "votes": [[c.to_json() | {"held_out": held_out} for c in found] for found in ranked],
        "confidence": [of_candidates(found, name, fit, held_out=held_out) for found in ranked],
        "nearest_pretraining_tasks": [],
        "work": Meter().to_json(),
        "flops": 0,
        "attempts_by": credit.attempts_by(answers, [{name: pair} for pair in answers]),
    }
    return Solution(answers, weights, metadata, metrics)


def replay(task: Task, adapted: dict[str, torch.Tensor], metadata: Mapping[str, str]) -> Attempts:
    """The answers of one of them, from what it left. Raises BadWeights."""
    if metadata["hypothesis"] == reasoning.NAME:
        return _by_rules(task, metadata)
    return _by_weights(task, adapted, metadata)


def _by_rules(task: Task, metadata: Mapping[str, str]) -> Attempts:
    """Raises BadWeights."""
    replayed = reasoning.replay(task, metadata.get(reasoning.RULES, "[]"))
    unanswered = _unanswered(replayed)
    if json.dumps(unanswered) != metadata.get(UNANSWERED, "[]"):
        raise BadWeights("these are rules of another task: they do not answer it")
    if unanswered:
        _check_sizes(task, metadata)
    return _ruled(task, replayed)


def _by_weights(task: Task, adapted: dict[str, torch.Tensor], metadata: Mapping[str, str]) -> Attempts:
    """The answers of a small hypothesis' downloaded weights. Raises BadWeights."""
    _check_sizes(task, metadata)
    if None in [task.answer_size(n) for n in range(len(task.tests))]:
        raise BadWeights("these weights were adapted to another task: its sizes are not known")
    again = pointing.replay if metadata["hypothesis"] == pointing.NAME else spreading.replay
    try:
        return tuple(grids for grids, _ in again(task, adapted))
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadWeights(f"these are no weights of a {metadata['hypothesis']}: {error}") from error


def _check_sizes(task: Task, metadata: Mapping[str, str]) -> None:
    """Raises BadWeights."""
    known = (metadata.get("size_rule"), metadata.get("longest"))
    if known != (task.rule.to_text(), str(task.longest)):
        raise BadWeights("these weights were adapted to another task: its sizes differ")


def stand_beside(metrics: dict[str, Any], reasoned: reasoning.Reasoned) -> None:
    """The rules' candidates before the network's; what both found is told once."""
    metrics["rules"] = len(reasoned.kept)
    if "confidence" in metrics:
        metrics["confidence"] = [
            max(sure, _sureness(found))
            for sure, found in zip(metrics["confidence"], reasoned.ballots, strict=True)
        ]
    for n, found in enumerate(reasoned.ballots):
        named = [
            one.candidate().to_json() | {"by": reasoning.NAME, "weight": one.weight} for one in found[:2]
        ]
        grids = [one["grid"] for one in named]
        metrics["votes"][n] = named + [one for one in metrics["votes"][n] if one["grid"] not in grids]


def _sureness(found: Sequence[reasoning.Voted]) -> float:
    """The probability that the first or the second candidate of the rules is right."""
    if not found:
        return 0.0
    rival = found[1].share if len(found) > 1 else 0.0
    seen = Evidence(reasoning.NAME, found[0].share, rival, 0.0, 1.0, weight=found[0].weight)
    return round(probability(seen), 4)

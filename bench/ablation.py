"""The solver's network with one thing changed at a time, and what the change does to held-out tasks.

An `Arm` is a change: of the pretraining (its checkpoint is trained here, from random weights, on as many
FLOPs as every other) or of the adaptation to a task. Tasks are training tasks of ARC-AGI-1 that no checkpoint
has seen, small enough for hundreds of adaptations on a CPU, and of a size that their rule foretells.
No result depends on a clock; one only tells how long it took.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from arcspot.domain import scoring, tasks
from gpu_runner.solver.canvas import HALVES
from gpu_runner.solver.corpus import Corpus
from gpu_runner.solver.decode import Ballot, Candidate, Count, decode
from gpu_runner.solver.flops import step_flops, training_flops
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.nearest import rank_tokens
from gpu_runner.solver.portfolio import hypothesis, names_for
from gpu_runner.solver.pretraining import VARIANTS_PER_TASK, Pretraining, Settings
from gpu_runner.solver.task import Task
from gpu_runner.solver.threads import threads_for
from gpu_runner.solver.train import Adaptation, Recipe

SMALL_MIX = {4: 0.25, 6: 0.35, 8: 0.4}
"""Share of pretraining steps by half a canvas's side; grids of up to 15 cells."""

LONGEST = 15
DECAY_SHARE = 0.25

UNLIKELY = -math.log(10)
"""Nats a cell of a truth that no view could be asked about: as likely as by chance."""

VIEWS = (8, 24, 48)
"""Views after which the votes are looked at too; all of them are some 96."""

BASE = Recipe(8, 3, 6_000, 1400, 4, 32, rate=2e-3, token_rate=1e-2)
"""What the others are compared with: the solver's recipe for a CPU until these experiments changed it."""

RANKS: dict[str, Callable[[Candidate], tuple[float, ...]]] = {
    "votes": lambda one: (-one.votes, -one.log_likelihood),
    "likelihood": lambda one: (-one.log_likelihood, -one.votes),
    "both": lambda one: (-one.score, -one.votes),
}
"""Orders of the candidates; "both" is the solver's."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """How a checkpoint is trained: a configuration, a mix of canvases, with or without box coordinates and
    variants."""

    config: str = "xs"
    mix: Mapping[int, float] = field(default_factory=lambda: SMALL_MIX)
    boxes: bool = True
    plain_share: float | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """One change. checkpoint: the name of a `Pretrained`; start: where the task tokens begin, "nearest",
    "mean" or "random"; moves: which weights adapt, by name; larger: demonstrations one canvas larger than
    they need."""

    name: str
    question: str
    checkpoint: str = "xs"
    recipe: Recipe = BASE
    start: str = "nearest"
    moves: Callable[[str], bool] = lambda name: True
    larger: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One task, adapted to once. score: pass@2 of the network alone; cells: share of the truth's cells that
    are the likeliest; nats: the truth's mean log-likelihood a cell; fit: of the augmented demonstrations;
    seconds: of one core, to train (the search for the nearest tokens and the views are the same in every
    arm); ranked: pass@2 by views and order of the candidates."""

    task: str
    seed: int
    score: float
    cells: float
    nats: float
    fit: float
    samples: int
    steps: int
    gflop: float
    seconds: float
    ranked: dict[str, float]


def checkpoints() -> dict[str, Pretrained]:
    wide = {4: 0.2, 6: 0.25, 8: 0.3, 12: 0.25}
    return {
        "xs": Pretrained(),
        "xs3": Pretrained("xs3"),
        "xs6": Pretrained("xs6"),
        "no-boxes": Pretrained(boxes=False),
        "no-variants": Pretrained(plain_share=1.0),
        "to-24": Pretrained(mix=wide),
    }


def arms(samples: int) -> dict[str, Arm]:
    """All of them, the one that the others are compared with first."""
    base = replace(BASE, samples=samples, patience=1.0)

    def sized(factor: float) -> Recipe:
        tokens, smallest, largest = (
            max(1, int(size * factor)) for size in (base.batch_tokens, base.smallest, base.largest)
        )
        return replace(base, batch_tokens=tokens, smallest=smallest, largest=largest)

    rows = [
        Arm("base", "–"),
        Arm("xs3", "E1: three layers, three loops", checkpoint="xs3"),
        Arm("xs6", "E1: six layers, untied", checkpoint="xs6"),
        Arm("no-boxes", "E2: no box coordinates", checkpoint="no-boxes"),
        Arm("no-variants", "E3: no dihedral × colour tokens in pretraining", checkpoint="no-variants"),
        Arm("to-24", "E4: canvases up to 24 in pretraining", checkpoint="to-24"),
        Arm("larger", "E4: demonstrations on the next larger canvas", larger=True),
        Arm("half-samples", "E6: half the samples", recipe=replace(base, samples=samples // 2)),
        Arm("twice-samples", "E6: twice the samples", recipe=replace(base, samples=samples * 2)),
        Arm("no-stop", "E6: no stop by fit", recipe=replace(base, fit_goal=2.0)),
        Arm("half-batch", "E7: half the batch, twice the steps", recipe=sized(0.5)),
        Arm("quarter-batch", "E7: a quarter of the batch, four times the steps", recipe=sized(0.25)),
        Arm("twice-batch", "E7: twice the batch, half the steps", recipe=sized(2)),
        Arm("quarter-adamw", "E7: a quarter of the batch and AdamW", recipe=replace(sized(0.25), muon=False)),
        Arm("eighth-adamw", "E7: an eighth of the batch and AdamW", recipe=replace(sized(0.125), muon=False)),
        Arm("adamw", "E7: AdamW on the matrices as well", recipe=replace(base, muon=False)),
        Arm("half-rate", "E7: half the rates", recipe=_rated(base, 0.5)),
        Arm("twice-rate", "E7: twice the rates", recipe=_rated(base, 2)),
        Arm("tokens", "E8: only task tokens and norms adapt", moves=_small),
        Arm("no-attention", "E8: all but attention adapts", moves=lambda n: not n.endswith(("qkv", "out"))),
        Arm("mean", "E9: tokens start at the mean", start="mean"),
        Arm("random", "E9: tokens start at random", start="random"),
        Arm("one-view", "no dihedral views", recipe=replace(base, dihedrals=1)),
    ]
    return {arm.name: arm if arm.recipe is not BASE else replace(arm, recipe=base) for arm in rows}


def _rated(recipe: Recipe, factor: float) -> Recipe:
    return replace(recipe, rate=recipe.rate * factor, token_rate=recipe.token_rate * factor)


def _small(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in {"norm", "norm_attention", "norm_gate", "gain", "step"}


def settings_of(wanted: Pretrained, *, tflop: float, batch_tokens: int, seed: int) -> Settings:
    """Seconds are TFLOP here: `Pretraining` asks only for shares of them."""
    settings = Settings(
        config=CONFIGS[wanted.config], seconds=tflop, decay_seconds=DECAY_SHARE * tflop, rate=2e-3,
        batch_tokens=batch_tokens, mix=dict(wanted.mix), early_loops=2, early_share=0.0, warmup=150,
        report_seconds=math.inf, seed=seed, device="cpu",
    )  # fmt: skip
    return settings if wanted.plain_share is None else replace(settings, plain_share=wanted.plain_share)


def pretrained(
    settings: Settings, corpus: Corpus, *, boxes: bool, tell: Callable[[float, float, float], None]
) -> tuple[Solver, Tensor]:
    """The averaged network after `settings.seconds` TFLOP, and its task tokens [tasks, TASK_TOKENS, width].

    `tell(share done, loss, fit)` is called after every step."""
    run = Pretraining(settings, corpus)
    if not boxes:
        with torch.no_grad():
            run.model.box.zero_()
            run.average[[p is run.model.box for p in run.model.parameters()].index(True)].zero_()
        run.model.box.requires_grad_(False)
    while (done := run.flops / 1e12) < settings.seconds:
        loss, fit = run.step(done, None)
        tell(done / settings.seconds, float(loss), float(fit))
    model, tokens = run.averaged()
    model.box.requires_grad_(boxes)
    return model, tokens[::VARIANTS_PER_TASK].detach().clone()


def suits(task: tasks.Task) -> bool:
    """Whether a task can be measured on: small, its outputs known and as large as its size rule says."""
    truths = task.test_outputs
    if truths is None:
        return False
    given = Task.from_json(tasks.without_solutions(tasks.to_json(task)))
    sizes = [given.answer_size(n) == (len(truth), len(truth[0])) for n, truth in enumerate(truths)]
    return all(sizes) and given.longest <= LONGEST


def measured(
    model: Solver,
    tokens: Tensor,
    task: tasks.Task,
    arm: Arm,
    *,
    seed: int,
    clock: Callable[[], float] = time.process_time,
) -> Row:
    """Adapt to one task and ask for its tests; their outputs are looked at only to score."""
    assert task.test_outputs is not None
    given = Task.from_json(tasks.without_solutions(tasks.to_json(task)))
    with threads_for(given.half, "cpu"):
        adapting = _adaptation(model, tokens, given, arm, seed)
        began = clock()
        adapted = adapting.finish(lambda: 1.0, lambda step, of, loss: None)
        took = clock() - began
        count = Count([Ballot() for _ in given.tests])
        truths, ranked = task.test_outputs, {}

        def look(done: int) -> bool:
            for views in VIEWS:
                if min(ballot.views for ballot in count.ballots) >= views and f"{views} both" not in ranked:
                    ranked.update(_ranked(count.ballots, truths, f"{views}"))
            return True

        decode(
            adapted.model, adapted.tokens, adapted.chosen, given, seed=seed, device="cpu",
            batch_size=adapted.batch_size, go_on=look, count=count,
        )  # fmt: skip
    ranked |= _ranked(count.ballots, truths, "all")
    seen = [_seen(ballot, truth) for ballot, truth in zip(count.ballots, truths, strict=True)]
    config = adapted.model.config
    halves = {half: len(pairs) for half, pairs in adapting.supply.by_half.items()}
    a_sample = sum(training_flops(config, half) * n for half, n in halves.items()) / sum(halves.values())
    flops = adapted.samples * a_sample + arm.recipe.muon * adapted.steps * step_flops(config)
    return Row(
        task.task_id, seed, ranked["all both"], _mean([s[0] for s in seen]), _mean([s[1] for s in seen]),
        adapted.demo_fit, adapted.samples, adapted.steps, flops / 1e9, took, ranked,
    )  # fmt: skip


def _adaptation(model: Solver, tokens: Tensor, given: Task, arm: Arm, seed: int) -> Adaptation:
    start = copy.deepcopy(model)
    _place_tokens(start, tokens, given, arm.start, seed)
    for name, weight in start.named_parameters():
        weight.requires_grad_(weight.requires_grad and arm.moves(name))
    recipe = arm.recipe
    chosen = hypothesis(
        names_for(given)[0], given, dihedrals=recipe.dihedrals, colours=recipe.colours, seed=seed
    )
    torch.manual_seed(seed)
    found = Adaptation(start, given, chosen, recipe, seed=seed, device="cpu", max_steps=None, seconds=1.0)
    if arm.larger:
        found.supply.by_half = {_next(half): pairs for half, pairs in found.supply.by_half.items()}
    return found


def _place_tokens(start: Solver, tokens: Tensor, given: Task, where: str, seed: int) -> None:
    if where == "nearest":
        ranked = rank_tokens(start, given, tokens, device="cpu", go_on=lambda done: True)
        start.mean_tokens.copy_(tokens[ranked[0][1]])
    elif where == "random":
        start.mean_tokens.normal_(std=0.1, generator=torch.Generator().manual_seed(seed))


def _next(half: int) -> int:
    return HALVES[min(HALVES.index(half) + 1, len(HALVES) - 1)]


def _ranked(ballots: Sequence[Ballot], truths: Sequence[Any], views: str) -> dict[str, float]:
    """pass@2 by the order of the candidates."""
    found = {}
    for name, order in RANKS.items():
        right = [
            truth in [scoring.as_grid(one.grid) for one in sorted(ballot.candidates(), key=order)[:2]]
            for ballot, truth in zip(ballots, truths, strict=True)
        ]
        found[f"{views} {name}"] = _mean(right)
    return found


def _seen(ballot: Ballot, truth: Any) -> tuple[float, float]:
    """Share of cells right, and nats a cell of the truth."""
    size = (len(truth), len(truth[0]))
    total = ballot.log_probability.get(size)
    if total is None:
        return 0.0, UNLIKELY
    mean, wanted = total / ballot.readable[size], torch.tensor(truth)
    right = float((mean.argmax(-1) == wanted).float().mean())
    return right, float(mean.gather(-1, wanted[..., None]).mean())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

"""Test-time training: all weights, on augmented demonstrations of one task.

Every variant of the task (dihedral move × colour permutation) is a task of its own with its own tokens, as in
VARC (arXiv 2511.14761). Training ends when the demonstrations, as augmented, are answered exactly; then the
rate cools down over a few more steps. Neither the loss nor any test grid has a say.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .augment import as_tensors
from .canvas import Batch, PairStore, Placement, draw, half_for, random_offsets, random_scales
from .execution import Execution
from .model import TASK_TOKENS, Solver
from .optim import Optimiser
from .portfolio import Hypothesis
from .precision import Precision
from .stepping import EagerStep, GraphedSteps
from .task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to adapt. samples: the most to train on; batch_tokens: canvas tokens a step, between the batch
    sizes `smallest` and `largest`; fit_goal: exact share at which to cool down, over `cool_share` of the
    steps so far; window: samples that share is measured on; patience: share of the samples after which a
    hypothesis is rejected if fewer than a fifth of its demonstrations are right; muon: whether it moves the
    matrices, or AdamW does."""

    dihedrals: int
    colours: int
    samples: int
    batch_tokens: int
    smallest: int
    largest: int
    rate: float
    token_rate: float
    fit_goal: float = 0.98
    window: int = 128
    least_samples: int = 640
    cool_share: float = 0.2
    box_dropout: float = 0.1
    check_every: int = 4
    patience: float = 0.4
    muon: bool = True

    def batch_size(self, half: int) -> int:
        wanted = self.batch_tokens // (half * half + TASK_TOKENS)
        return max(self.smallest, min(self.largest, wanted))


CPU = Recipe(8, 3, 6_000, 350, 1, 8, rate=2e-3, token_rate=1e-2, muon=False)
"""Many small steps: of as many samples, a quarter of the batch makes more (docs/experiments.md, E7), and
without Muon's iterations, a third of such a step, it takes no longer."""
CUDA = Recipe(8, 8, 16_000, 8192, 16, 32, rate=5e-4, token_rate=2.5e-3)


def recipe_for(device: str) -> Recipe:
    return CUDA if device.startswith("cuda") else CPU


@dataclass(slots=True)
class Adapted:
    """An adapted network and how it got there."""

    model: Solver
    tokens: Tensor
    chosen: Hypothesis
    steps: int = 0
    samples: int = 0
    demo_fit: float = 0.0
    stopped_by: str = "deadline"
    """fit, samples, deadline, rejected or unadapted."""
    loss_curve: list[tuple[int, float]] = field(default_factory=list)
    batch_size: int = 1
    batch_limit: int = 1
    earlier: list[dict[str, Any]] = field(default_factory=list)

    def account(self) -> dict[str, Any]:
        """What to report of a hypothesis that another one replaced."""
        return {"hypothesis": self.chosen.name, "steps": self.steps, "demo_fit": round(self.demo_fit, 4)}


GOLDEN = (math.sqrt(5) - 1) / 2


class Demonstrations:
    """An endless supply of augmented demonstrations of one task."""

    def __init__(self, task: Task, chosen: Hypothesis, recipe: Recipe, seed: int, device: str) -> None:
        self.store = PairStore.from_grids(task.demos, device)
        self.by_half = _by_half(self.store.longest.tolist(), task.scale, device)
        self.scale, self.recipe, self.device = task.scale, recipe, device
        self.dihedral, self.colours = as_tensors(chosen.views, device)
        self.chosen = chosen
        self.ruled = task.rule.known
        self.generator = torch.Generator(device).manual_seed(seed)

    def batch(self, largest: int, turn: int = 0) -> tuple[Batch, Tensor]:
        """A batch of at most `largest` samples on one canvas, and each one's variant number, int64 [B].

        Each demonstration goes on the smallest canvas that holds it; all are drawn equally often, a small
        one in fewer and larger batches. On a GPU the canvas is chosen by the number of the turn, evenly
        spread: to read a random number would wait for all that the GPU still has to do.
        """
        g, device = self.generator, self.device
        sizes = {half: min(largest, self.recipe.batch_size(half)) for half in self.by_half}
        shares = torch.tensor([len(pairs) / sizes[half] for half, pairs in self.by_half.items()])
        on_gpu = self.store.cells.is_cuda
        place = torch.tensor([turn * GOLDEN % 1]) if on_gpu else torch.rand(1, generator=g)
        drawn = int((place * shares.sum() > shares.cumsum(0)).sum())
        half, members = list(self.by_half.items())[min(drawn, len(shares) - 1)]
        size = sizes[half]
        pair = members[torch.randint(len(members), (size,), generator=g, device=device)]
        variant = torch.randint(len(self.dihedral), (size,), generator=g, device=device)
        longest = self.store.longest[pair]
        scale = random_scales(longest, half, g, base=self.scale)
        offset = random_offsets(longest, scale, half, g, align=self.scale)
        box_on = (torch.rand(size, 2, generator=g, device=device) >= self.recipe.box_dropout).float()
        if not self.ruled:
            box_on[:, 1] = 0
        colours = self.colours[variant].gather(1, self.chosen.shuffles(size, g, plain=size // 8))
        at = Placement(pair, self.dihedral[variant], colours, scale, offset, box_on)
        return draw(self.store, at, half), variant


def _by_half(longest: list[int], scale: int, device: str) -> dict[int, Tensor]:
    """Pair numbers by the smallest canvas that holds them."""
    found: dict[int, list[int]] = {}
    for pair, side in enumerate(longest):
        found.setdefault(half_for(side, scale), []).append(pair)
    return {half: torch.tensor(found[half], device=device) for half in sorted(found)}


class Adaptation:
    """One adaptation under way: everything that a step changes.

    `model` is trained in place; `seconds` is what the training has, for the rate's way down before a
    deadline; execution and precision are those usual on the device where they are not given.
    """

    def __init__(
        self,
        model: Solver,
        task: Task,
        chosen: Hypothesis,
        recipe: Recipe,
        *,
        seed: int,
        device: str,
        max_steps: int | None,
        seconds: float,
        execution: Execution | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.tokens = nn.Parameter(model.mean_tokens.repeat(len(chosen.views), 1, 1).to(device))
        size = recipe.batch_size(task.half)
        self.result = Adapted(model, self.tokens, chosen, batch_size=size, batch_limit=recipe.largest)
        self.supply = Demonstrations(task, chosen, recipe, seed, device)
        on_gpu = device.startswith("cuda")
        self.precision = precision or Precision.of(device)
        self.optimiser = Optimiser(
            model, self.tokens, rate=recipe.rate, token_rate=recipe.token_rate, on_device=on_gpu,
            muon=recipe.muon, products=self.precision.dtype,
        )  # fmt: skip
        planned = math.ceil(recipe.samples / size)
        if max_steps is not None:
            planned = max(0, min(max_steps, planned))
        self.schedule = Schedule(recipe, planned, seconds, rejectable=bool(chosen.free))
        execution = execution or Execution.usual(device)
        model.execute(execution)
        step = EagerStep(model, self.tokens, self.optimiser, self.precision)
        self.step = GraphedSteps(step) if execution.graphs else step

    def finish(
        self, time_left: Callable[[], float], check: Callable[[int, int, float | None], None]
    ) -> Adapted:
        """Train to the end. `time_left()` gives seconds until the last step has to begin; `check(step, of,
        loss)` is called after every step, with nothing half done, and may raise Interrupted."""
        result, schedule = self.result, self.schedule
        result.model.train()
        while result.steps < schedule.end and (left := time_left()) > 0:
            stepped = self._step(schedule.factor(result.steps, left))
            if stepped is not None:
                shown = self.take(*stepped, self.optimiser.skipped)
                check(result.steps, schedule.end, shown)
        return self.ended()

    def take(self, value: Tensor, right: Tensor, skipped: Tensor) -> float | None:
        """Note a step that was taken. The mean loss of the last few, where it was time to read it."""
        self.result.steps += 1
        self.result.samples += len(right)
        shown = self.schedule.watch(self.result, value, right)
        if not self.schedule.pending and int(skipped) >= self.precision.patience:
            log.warning("no finite gradients in %d steps on end: training ends", self.precision.patience)
            self.schedule.give_up(self.result)
        return shown

    def ended(self) -> Adapted:
        """What came of it, whether at its end or before."""
        result, schedule = self.result, self.schedule
        result.stopped_by = schedule.reason if result.steps >= schedule.end else "deadline"
        result.demo_fit = schedule.fit
        result.tokens = self.tokens.detach()
        result.model.eval()
        return result

    def counted(self, batch: Batch, fits: Tensor) -> Tensor:
        """For each sample 1 right, 0 wrong, −1 not counted (its boxes were hidden), int32 [B]."""
        hidden = (batch.box_on[:, 0] == 0) | ((batch.box_on[:, 1] == 0) & self.supply.ruled)
        return fits.int().masked_fill(hidden, -1)

    def _step(self, factor: float) -> tuple[Tensor, Tensor] | None:
        """Loss and what is `counted`. None, and a smaller batch from now on, where the device had no room;
        raises where one sample is too many."""
        try:
            batch, variant = self.supply.batch(self.result.batch_limit, self.result.steps)
            value, fits = self.step(batch, variant, factor)
        except torch.OutOfMemoryError:
            if self.result.batch_limit == 1:
                raise
        else:
            return value, self.counted(batch, fits)
        self.shrink()  # not above: there the error still holds the step's tensors
        return None

    def shrink(self) -> None:
        """Half the batch. The weights and the optimiser are as they were before the step."""
        result = self.result
        result.batch_limit = result.batch_size = max(1, min(result.batch_limit, result.batch_size) // 2)
        log.warning("no room on the device: batches of at most %d from now on", result.batch_limit)
        self.step.forget()
        torch.cuda.empty_cache()


class Schedule:
    """The schedule of one adaptation: steady until the demonstrations fit, then cooling."""

    def __init__(self, recipe: Recipe, planned: int, seconds: float, *, rejectable: bool) -> None:
        self.recipe, self.end, self.seconds = recipe, planned, max(seconds, 1e-9)
        self.cool_from = planned - int(planned * recipe.cool_share)
        self.reject_at = int(recipe.patience * planned) if rejectable else planned
        self.reason = "samples"
        self.fit = 0.0
        self.recent: deque[int] = deque(maxlen=recipe.window)
        self.pending: list[tuple[Tensor, Tensor]] = []

    def factor(self, step: int, left: float) -> float:
        """Warm up over 10 steps; cool linearly to 5 % by the last step or the deadline."""
        cooling = (self.end - step) / max(self.end - self.cool_from, 1)
        closing = left / (self.seconds * self.recipe.cool_share)
        return min(1.0, (step + 1) / 10, max(0.05, min(cooling, closing)))

    def watch(self, result: Adapted, value: Tensor, right: Tensor) -> float | None:
        """Every few steps read the device's numbers; begin to cool once the demonstrations fit."""
        self.pending.append((value, right))
        if len(self.pending) < self.recipe.check_every and result.steps < self.end:
            return None
        values = torch.stack([v for v, _ in self.pending])
        finite = values[values.isfinite()]
        mean = float(finite.mean()) if len(finite) else None
        self.recent.extend(r for r in torch.cat([r for _, r in self.pending]).tolist() if r >= 0)
        self.pending.clear()
        if mean is not None:
            result.loss_curve.append((result.steps, round(mean, 5)))
        self.fit = sum(self.recent) / max(len(self.recent), 1)
        settled = (
            len(self.recent) >= self.recipe.window * 3 // 4 and result.samples >= self.recipe.least_samples
        )
        if self.reason == "samples" and settled and self.fit >= self.recipe.fit_goal:
            self.reason, self.cool_from = "fit", result.steps
            self.end = min(self.end, result.steps + max(8, int(result.steps * self.recipe.cool_share)))
        if self.reject_at <= result.steps < self.end and self.fit < 0.2:
            self.reason, self.end = "rejected", result.steps
        return mean

    def give_up(self, result: Adapted) -> None:
        """End here: the steps change nothing any more."""
        self.reason, self.end = "diverged", result.steps

"""Several adaptations at once on one device: every weight has a leading task dimension.

A small network leaves most of a GPU idle. Here one pass computes a step of several tasks: products become
batched ones, the convolution a grouped one with a group for each channel of each task, and attention has
more samples. Every task keeps its own batches, rates, clipping, loss scale, skipped steps and end: it gets
the numbers it would get alone, but for the order of sums. Tasks whose next batch has the same shape step
together, whoever has finished takes no more part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .canvas import VOCABULARY, Batch
from .model import TASK_TOKENS, ModelConfig
from .objective import exact, losses
from .optim import BETAS, CLIP, LOOK_AHEAD, MOMENTUM, muon_moves
from .precision import GROW_AFTER
from .train import Adaptation, Adapted

EPSILON = 1e-8
"""AdamW's, as torch has it."""

TOKENS = "tokens"

log = logging.getLogger(__name__)

Draw = tuple[Batch, Tensor]


def adapt_stacked(
    adaptations: Sequence[Adaptation],
    time_left: Callable[[], float],
    check: Callable[[int, int, float | None], None] = lambda step, of, loss: None,
) -> list[Adapted]:
    """Train all to their ends, in place. Of one configuration and on one device, fresh or taken up.

    `time_left()` gives seconds until the last step has to begin. `check(steps, of, None)` is called between
    two steps with the sums over all tasks, with nothing half done, and may raise: the adaptations then are
    where they were after the last step.
    """
    stack = Stack(adaptations)
    for each in adaptations:
        each.result.model.train()
    try:
        while (going := _going(adaptations)) and (left := time_left()) > 0:
            for group in _same_shape(adaptations, going):
                stack.step(group, left)
            steps = sum(each.result.steps for each in adaptations)
            check(steps, sum(each.schedule.end for each in adaptations), None)
    finally:
        stack.hand_back()
    return [each.ended() for each in adaptations]


def tasks_that_fit(free_bytes: int, config: ModelConfig, *, half: int, batch: int, views: int) -> int:
    """How many adaptations of `batch` samples on canvases of half² patches may be stacked; at least 1.

    A fifth of the free memory is left for what the allocator cannot use and for the step's temporaries.
    """
    return max(1, int(0.8 * free_bytes) // bytes_per_task(config, half=half, batch=batch, views=views))


def bytes_per_task(config: ModelConfig, *, half: int, batch: int, views: int) -> int:
    """An upper estimate of one adaptation's memory in fp32: autocast takes less for what it keeps.

    Weights, gradients and two moments; for the backward pass what every layer keeps of every token, in loops
    of its width and its hidden width; and logits with their log-softmax and gradients.
    """
    width, hidden, patches = config.width, config.hidden, half * half
    matrices = config.layers * (4 * width * width + 3 * width * hidden + 9 * hidden)
    tables = (8 * VOCABULARY + config.loops) * width + 8 * 33 * width + views * TASK_TOKENS * width
    kept = config.layers * config.loops * (KEPT_WIDTHS * width + KEPT_HIDDENS * hidden)
    activations = (patches + TASK_TOKENS) * kept + patches * (4 * VOCABULARY * 4 + 8 * width)
    return 4 * (4 * (matrices + tables) + batch * activations)


KEPT_WIDTHS, KEPT_HIDDENS = 20, 9
"""Numbers a token that a layer keeps for its way back, in widths and in hidden widths; see the test."""


def _going(adaptations: Sequence[Adaptation]) -> list[int]:
    return [n for n, each in enumerate(adaptations) if each.result.steps < each.schedule.end]


def _same_shape(adaptations: Sequence[Adaptation], going: Iterable[int]) -> list[dict[int, Draw]]:
    """A batch for each task, those of one shape together."""
    groups: dict[tuple[int, ...], dict[int, Draw]] = {}
    for n in going:
        each = adaptations[n]
        drawn = each.supply.batch(each.result.batch_limit, each.result.steps)
        groups.setdefault(tuple(drawn[0].cells.shape), {})[n] = drawn
    return list(groups.values())


@dataclass(slots=True)
class Moving:
    """One kind of weight of all tasks, [tasks, ...], and what its optimiser remembers: a momentum for Muon's,
    two moments for AdamW's."""

    weight: Tensor
    first: Tensor
    second: Tensor | None

    def of(self, tasks: Tensor | None) -> Moving:
        """Those of some tasks; None: all."""
        if tasks is None:
            return self
        second = None if self.second is None else self.second[tasks]
        return Moving(self.weight[tasks], self.first[tasks], second)

    def take(self, new: Moving, tasks: Tensor | None) -> None:
        for name in ("weight", "first", "second"):
            mine, theirs = getattr(self, name), getattr(new, name)
            if tasks is None:
                setattr(self, name, theirs)
            elif mine is not None:
                mine[tasks] = theirs


class Stack:
    """The weights and optimisers of several adaptations, with a leading task dimension."""

    def __init__(self, adaptations: Sequence[Adaptation]) -> None:
        self.adaptations = adaptations
        self.at_once = len(adaptations)
        first = adaptations[0]
        self.skeleton = first.result.model
        if any(each.result.model.config != self.skeleton.config for each in adaptations):
            raise ValueError("only adaptations of one configuration can be stacked")
        self.device = first.tokens.device
        self.views = max(len(each.tokens) for each in adaptations)
        self.scaled = first.precision.scaler.is_enabled()
        self.moving = self._gather()
        self.steps = torch.tensor([_adam_steps(each) for each in adaptations], device=self.device)
        self.skipped = torch.stack([each.optimiser.skipped for each in adaptations])
        scales = [each.precision.scale if self.scaled else 1.0 for each in adaptations]
        self.scale = torch.tensor(scales, device=self.device)
        good = [each.precision.good_steps if self.scaled else 0 for each in adaptations]
        self.good = torch.tensor(good, device=self.device)

    def step(self, group: dict[int, Draw], left: float) -> None:
        """One step of the tasks in `group`, whose batches have one shape. Without room for all of them at
        once, half as many at once from now on; without room for one, half of its batch."""
        if len(group) > self.at_once:
            members = list(group.items())
            for start in range(0, len(members), self.at_once):
                self.step(dict(members[start : start + self.at_once]), left)
            return
        try:
            self._step(group, left)
        except torch.OutOfMemoryError:
            alone = self.adaptations[next(iter(group))]
            if len(group) == 1 and alone.result.batch_limit == 1:
                raise
        else:
            return
        torch.cuda.empty_cache()  # not above: there the error still holds the step's tensors
        if len(group) == 1:
            alone.shrink()
            return
        self.at_once = len(group) // 2
        log.warning("no room on the device for %d tasks at once: %d from now on", len(group), self.at_once)
        self.step(group, left)

    def _step(self, group: dict[int, Draw], left: float) -> None:
        doing = [self.adaptations[n] for n in group]
        tasks = None if len(group) == len(self.adaptations) else self._tensor(list(group))
        factors = [each.schedule.factor(each.result.steps, left) for each in doing]
        drawn = list(group.values())
        batch = _joined([each for each, _ in drawn])
        offsets = [rows + n * self.views for n, (_, rows) in enumerate(drawn)]
        now = {name: moving.of(tasks) for name, moving in self.moving.items()}
        value, fits, gradients = self._gradients(now, batch, torch.cat(offsets), tasks)
        self._move(now, gradients, doing, self._tensor(factors), tasks)
        parts = fits.view(len(group), -1)
        for n, ((own, _), each) in enumerate(zip(drawn, doing, strict=True)):
            each.take(value[n], each.counted(own, parts[n]), self.skipped[list(group)[n]])

    def _gradients(
        self, now: dict[str, Moving], batch: Batch, rows: Tensor, tasks: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of each task, float [tasks]; exact answers, bool [tasks·B]; unscaled gradients."""
        weights = {name: moving.weight.detach().requires_grad_() for name, moving in now.items()}
        table = weights[TOKENS]
        own = {name: weight for name, weight in weights.items() if name != TOKENS}
        with self.adaptations[0].precision.autocast():
            given = (batch, table.flatten(0, 1)[rows])
            logits = torch.func.functional_call(self.skeleton, own, given)
        value = losses(logits, batch).view(len(table), -1).mean(1)
        scale = self.scale if tasks is None else self.scale[tasks]
        found = torch.autograd.grad((value * scale).sum(), list(weights.values()))
        gradients = {
            name: gradient / _along(scale, gradient) if self.scaled else gradient
            for name, gradient in zip(weights, found, strict=True)
        }
        return value.detach(), exact(logits.detach(), batch), gradients

    @torch.no_grad()
    def _move(
        self,
        now: dict[str, Moving],
        gradients: dict[str, Tensor],
        doing: Sequence[Adaptation],
        factors: Tensor,
        tasks: Tensor | None,
    ) -> None:
        """Clip each task's whole gradient, then move its weights; a task whose gradients are not all finite
        stays as it was."""
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
        norm = torch.stack(squares).sum(0).sqrt()
        fine = norm.isfinite()
        clip = (CLIP / (norm + 1e-6)).clamp(max=1.0)
        self._count(fine, tasks)
        optimiser = doing[0].optimiser
        rate, token_rate = (factors * full for full in optimiser.rates)
        step = self.steps if tasks is None else self.steps[tasks]
        clipped = {name: gradient * _along(clip, gradient) for name, gradient in gradients.items()}
        momenta = {n: m.first.lerp(clipped[n], MOMENTUM) for n, m in now.items() if m.second is None}
        directions = [clipped[name].lerp(momentum, LOOK_AHEAD) for name, momentum in momenta.items()]
        moves = dict(zip(momenta, muon_moves(directions, optimiser.products), strict=True))
        for name, moving in now.items():
            if moving.second is None:  # as in `Optimiser`, for a stack of matrices with a rate each
                each = _along(rate, moving.weight)
                weight = moving.weight * (1 - each * optimiser.decay) - each * moves[name]
                new = Moving(weight, momenta[name], None)
            else:
                new = _adamw(moving, clipped[name], token_rate if name == TOKENS else rate, step)
            for part in ("weight", "first", "second"):
                before, after = getattr(moving, part), getattr(new, part)
                if before is not None:
                    setattr(new, part, torch.where(_along(fine, before), after, before))
            self.moving[name].take(new, tasks)

    def _count(self, fine: Tensor, tasks: Tensor | None) -> None:
        """Steps of each task, those it skipped on end, and its loss scale: as torch's GradScaler moves it."""
        at = slice(None) if tasks is None else tasks
        self.steps[at] += fine.long()
        self.skipped[at] = torch.where(fine, 0, self.skipped[at] + 1)
        if self.scaled:
            good = torch.where(fine, self.good[at] + 1, 0)
            grown = good == GROW_AFTER
            self.scale[at] *= torch.where(fine, torch.where(grown, 2.0, 1.0), 0.5)
            self.good[at] = torch.where(grown, 0, good)

    def _gather(self) -> dict[str, Moving]:
        """The weights of all tasks by name, `TOKENS` with as many views as the task with the most has."""
        found = {}
        for name, _ in self.skeleton.named_parameters():
            weights, firsts, seconds = [], [], []
            for each in self.adaptations:
                weight = each.result.model.get_parameter(name)
                first, second = _remembered(each, weight)
                weights.append(weight.detach())
                firsts.append(first)
                seconds.append(second)
            muon = seconds[0] is None
            stacked = None if muon else torch.stack([s for s in seconds if s is not None])
            found[name] = Moving(torch.stack(weights), torch.stack(firsts), stacked)
        every = [(each.tokens.detach(), *_remembered(each, each.tokens)) for each in self.adaptations]
        padded = [torch.stack([self._padded(t[k]) for t in every]) for k in range(3)]
        found[TOKENS] = Moving(padded[0], padded[1], padded[2])
        return found

    def _padded(self, tokens: Tensor | None) -> Tensor:
        assert tokens is not None
        more = torch.zeros(self.views - len(tokens), *tokens.shape[1:], device=tokens.device)
        return torch.cat([tokens, more])

    @torch.no_grad()
    def hand_back(self) -> None:
        """Put weights, optimisers and scales into the adaptations: each can go on alone, or be kept."""
        steps, scales, goods = self.steps.tolist(), self.scale.tolist(), self.good.tolist()
        for n, each in enumerate(self.adaptations):
            places = dict(each.result.model.named_parameters()) | {TOKENS: each.tokens}
            for name, place in places.items():
                moving = self.moving[name]
                place.copy_(moving.weight[n, : len(place)])
                if moving.second is None:
                    _momentum(each, place).copy_(moving.first[n])
                elif steps[n]:
                    each.optimiser.adam.state[place] = {
                        "step": torch.tensor(float(steps[n]), device=self.device),
                        "exp_avg": moving.first[n, : len(place)].clone(),
                        "exp_avg_sq": moving.second[n, : len(place)].clone(),
                    }
            each.optimiser.skipped.copy_(self.skipped[n])
            each.precision.take_up(scales[n], goods[n])

    def _tensor(self, numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, device=self.device)


def _adamw(moving: Moving, gradient: Tensor, rate: Tensor, step: Tensor) -> Moving:
    """AdamW without decay (Loshchilov, Hutter 2019), the step's number and rate of each task."""
    assert moving.second is not None
    first = moving.first.lerp(gradient, 1 - BETAS[0])
    second = moving.second.lerp(gradient.square(), 1 - BETAS[1])
    count = step.clamp(min=1).float()
    ahead, below = _along(1 - BETAS[0] ** count, first), _along((1 - BETAS[1] ** count).sqrt(), first)
    weight = moving.weight - _along(rate, first) / ahead * first / (second.sqrt() / below + EPSILON)
    return Moving(weight, first, second)


def _along(vector: Tensor, like: Tensor) -> Tensor:
    """A number for each task, [tasks], beside a stack [tasks, ...]."""
    return vector.view(-1, *[1] * (like.dim() - 1))


def _joined(batches: Sequence[Batch]) -> Batch:
    return Batch(*(torch.cat([getattr(each, field.name) for each in batches]) for field in fields(Batch)))


def _momentum(each: Adaptation, matrix: Tensor) -> Tensor:
    place = next(n for n, known in enumerate(each.optimiser.matrices) if known is matrix)
    return each.optimiser.momenta[place]


def _remembered(each: Adaptation, weight: Tensor) -> tuple[Tensor, Tensor | None]:
    """Momentum and None of one of Muon's matrices, else AdamW's two moments."""
    if any(known is weight for known in each.optimiser.matrices):
        return _momentum(each, weight), None
    state = each.optimiser.adam.state.get(weight) or {}
    zero = torch.zeros_like(weight, requires_grad=False)
    return state.get("exp_avg", zero), state.get("exp_avg_sq", zero)


def _adam_steps(each: Adaptation) -> int:
    state = each.optimiser.adam.state.get(each.tokens) or {}
    return int(state.get("step", 0))

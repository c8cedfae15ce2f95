"""One training step: forward, backward, optimiser. Eager, or recorded once and replayed as a CUDA graph.

A step of a small network is a thousand launches of tiny kernels, and a GPU waits for most of them. A graph is
launched at once; it reads its batch from buffers that stay in place, so there is one for each shape of batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from .canvas import Batch
from .model import Solver, looked_up
from .objective import exact, loss
from .optim import Optimiser
from .precision import Precision

REHEARSALS = 3
"""Steps taken on the buffers before a graph is recorded: torch asks for some, and they are real steps."""

log = logging.getLogger(__name__)

Told = tuple[Tensor, Tensor]
"""The loss, float [], and which samples were answered exactly, bool [B]."""


class StepRunner(Protocol):
    """Takes one step on a batch. rows: int64 [B], each sample's row of the token table; factor: of the rates;
    loops: fewer than the network has. May raise torch.OutOfMemoryError; then call `forget` and go on."""

    def __call__(self, batch: Batch, rows: Tensor, factor: float, *, loops: int | None = None) -> Told: ...

    def forget(self) -> None:
        """Drop what a step that was cut short left, gradients first; weights are as before it."""


class EagerStep:
    """A step as torch runs it, operation by operation."""

    def __init__(self, model: Solver, tokens: Tensor, optimiser: Optimiser, precision: Precision) -> None:
        self.model, self.tokens = model, tokens
        self.optimiser, self.precision = optimiser, precision

    def __call__(self, batch: Batch, rows: Tensor, factor: float, *, loops: int | None = None) -> Told:
        self.optimiser.set_rates(factor)
        return self.at_set_rates(batch, rows, loops=loops)

    def at_set_rates(self, batch: Batch, rows: Tensor, *, loops: int | None = None) -> Told:
        """Nothing in here depends on numbers of the host, so that it can be recorded."""
        with self.precision.autocast():
            logits = self.model(batch, self._tokens_of(rows), loops=loops)
        value = loss(logits, batch)
        self.precision.descend(value, self.optimiser)
        return value.detach(), exact(logits.detach(), batch)

    def _tokens_of(self, rows: Tensor) -> Tensor:
        if not self.model.execution.one_hot:
            return self.tokens[rows]
        found = looked_up(rows[:, None], self.tokens.flatten(1), len(self.tokens))
        return found.view(len(rows), *self.tokens.shape[1:])

    def announce(self, batch: Batch, rows: Tensor) -> None:
        """Tell whoever watches the network (`flops.Meter`) of a step that runs without a call of it."""
        for hook in self.model._forward_pre_hooks.values():
            hook(self.model, (batch, rows))

    def forget(self) -> None:
        self.optimiser.forget()
        self.precision.forget()


class Recorder(Protocol):
    """Where and how a step is recorded: `CudaGraphs`, or a stand-in for tests."""

    def rehearse(self, body: Callable[[], Told]) -> Told:
        """Run it where it will be recorded."""

    def record(self, body: Callable[[], Told]) -> Callable[[], Told]:
        """Record it without running it; what comes back runs it, into the same outputs each time. Raises
        RuntimeError where it cannot be recorded."""


class CudaGraphs:
    """Recorder of CUDA graphs. They share their memory: only one runs at a time, and what it tells is copied
    before the next one starts."""

    def __init__(self) -> None:
        self.side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def rehearse(self, body: Callable[[], Told]) -> Told:
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            told = body()
        torch.cuda.current_stream().wait_stream(self.side)
        return told

    def record(self, body: Callable[[], Told]) -> Callable[[], Told]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.side):
            told = body()

        def replay() -> Told:
            graph.replay()
            return told

        return replay


@dataclass(slots=True)
class Slot:
    """The place of one shape of batch: buffers, the steps rehearsed on them, and the recording."""

    batch: Batch
    rows: Tensor
    rehearsed: int = 0
    replay: Callable[[], Told] | None = None
    recordable: bool = True

    @classmethod
    def like(cls, batch: Batch, rows: Tensor) -> Slot:
        return cls(
            Batch(*(torch.empty_like(getattr(batch, field.name)) for field in fields(Batch))),
            torch.empty_like(rows),
        )

    def fill(self, batch: Batch, rows: Tensor) -> None:
        for field in fields(Batch):
            getattr(self.batch, field.name).copy_(getattr(batch, field.name))
        self.rows.copy_(rows)


@dataclass(frozen=True, slots=True)
class Place:
    """All that a step changes, as it was."""

    weights: list[Tensor]
    moments: list[Tensor]
    scale: float
    good_steps: int

    @classmethod
    def of(cls, step: EagerStep) -> Place:
        weights, moments = ([t.detach().clone() for t in part] for part in _changing(step))
        return cls(weights, moments, step.precision.scale, step.precision.good_steps)

    @torch.no_grad()
    def go_back(self, step: EagerStep) -> None:
        for part, kept in zip(_changing(step), (self.weights, self.moments), strict=True):
            for tensor, value in zip(part, kept, strict=True):
                tensor.copy_(value)
        step.precision.take_up(self.scale, self.good_steps)


def _changing(step: EagerStep) -> tuple[list[Tensor], list[Tensor]]:
    """The weights; and the moments, once a first step has made them."""
    optimiser = step.optimiser
    kept = [value for state in optimiser.adam.state.values() for value in state.values()]
    return list(optimiser.all), [*optimiser.momenta, *kept, optimiser.skipped]


def _distance(one: Sequence[Tensor], two: Sequence[Tensor]) -> float:
    apart = torch._foreach_sub([t.detach() for t in one], [t.detach() for t in two])
    return float(torch.stack(torch._foreach_norm(apart)).norm())


UNLIKE = 0.5
"""How far apart, in lengths of the step, a replay and an eager step may end: half precision and sums in
another order make some of it; a recording gone wrong stands still, goes elsewhere or gives no numbers."""


class GraphedSteps:
    """Steps recorded for each shape of batch and then replayed: the same steps, without their launches.

    Where a recording fails, or does not do what an eager step does, steps of that shape go on eagerly, and
    the log says why.
    """

    def __init__(self, step: EagerStep, recorder: Callable[[], Recorder] = CudaGraphs) -> None:
        self.step, self.new_recorder = step, recorder
        self.recorder: Recorder | None = None
        self.slots: dict[tuple[int, int, int | None], Slot] = {}

    def __call__(self, batch: Batch, rows: Tensor, factor: float, *, loops: int | None = None) -> Told:
        if self.recorder is None:
            self.recorder = self.new_recorder()
        half, size = batch.cells.shape[1] // 2, len(rows)
        slot = self.slots.get((half, size, loops))
        if slot is None:
            slot = self.slots[half, size, loops] = Slot.like(batch, rows)
        if not slot.recordable:
            return self.step(batch, rows, factor, loops=loops)
        slot.fill(batch, rows)
        self.step.optimiser.set_rates(factor)

        def body() -> Told:
            return self.step.at_set_rates(slot.batch, slot.rows, loops=loops)

        if slot.rehearsed < REHEARSALS:
            slot.rehearsed += 1
            return self.recorder.rehearse(body)
        if slot.replay is not None:
            self.step.announce(slot.batch, slot.rows)
            value, fits = slot.replay()
            return value.clone(), fits.clone()
        try:
            slot.replay, told = self._record(self.recorder, body)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as why:
            log.warning(
                "no CUDA graph for %d samples of side %d: %s; steps go on eagerly", size, 2 * half, why
            )
            slot.recordable = False
            self.step.forget()
            return self.step(batch, rows, factor, loops=loops)
        return told

    def _record(self, recorder: Recorder, body: Callable[[], Told]) -> tuple[Callable[[], Told], Told]:
        """The recording, and what its first replay told. It is believed only if it moves the weights as an
        eager step from the same place does; else RuntimeError, with everything where it was."""
        step, before = self.step, Place.of(self.step)
        recorder.rehearse(body)
        eager = [weight.detach().clone() for weight in step.optimiser.all]
        before.go_back(step)
        replay = recorder.record(body)
        value, fits = replay()
        moved = _distance(eager, before.weights)
        if not _distance(eager, step.optimiser.all) <= UNLIKE * moved + 1e-9:
            before.go_back(step)
            raise RuntimeError("its first replay moved the weights otherwise than an eager step")
        return replay, (value.clone(), fits.clone())

    def forget(self) -> None:
        """Drop the recordings too: they hold memory, and batches will have another shape."""
        self.slots.clear()
        self.recorder = None
        self.step.forget()

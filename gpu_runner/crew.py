"""Several jobs at once, each solved in a process of its own.

One process would not do: rules are Python, and Python's threads take turns. It also keeps a job's misfortune
to itself: a GPU context that is broken, or memory that ran out, ends one worker and not the runner.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import multiprocessing
import os
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from arcspot.errors import ArcspotError
from gpu_runner.contract import Json
from gpu_runner.logs import log_to
from gpu_runner.solving import GridRows, ShouldStop, Solved, Solver, Stopped, TellProgress

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2
STOPS_WITHIN_S = 15.0
"""A solver told to stop has so long to keep its state: it cuts the minute after a notice."""

STARTS_WITHIN_S = 180.0
"""Torch is read from a cold disk and a GPU wakes."""

LATE_S = 60.0
"""Past its seconds, after which a worker is taken to hang: a kernel that never ends heeds nothing else."""

MakeSolver = Callable[[], Solver]


class WorkerDied(ArcspotError):
    """A job's process ended without a word: killed for memory, or by a fault in native code."""


class WorkerHangs(ArcspotError):
    """A job's process did not come back long after its time was up, and was ended."""


class Slate(ctypes.Structure):
    """Memory that a worker shares with the runner. Plain values without a lock: a worker that is killed while
    it holds one would take the runner with it."""

    _fields_ = (
        ("stop", ctypes.c_bool),
        ("pid", ctypes.c_int),
        ("fraction", ctypes.c_double),
        ("phase", ctypes.c_char * 32),
    )


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is asked: the arguments of `Solver`, and where to put the weights."""

    task: Json
    seconds: float
    here: float
    seed: int
    model: Path | None
    keep: Path
    weights: Path


@dataclass(frozen=True, slots=True)
class Found:
    """`Solved` without its weights: those lie in a file."""

    attempts: tuple[tuple[GridRows, GridRows], ...]
    metrics: Mapping[str, Any]


class Crew:
    """A Solver for as many threads as it has workers, in as many processes."""

    def __init__(self, make: MakeSolver, *, size: int, launch_id: str) -> None:
        # A fork would copy a GPU context that cannot be shared.
        context = multiprocessing.get_context("spawn")
        self._workers = [Worker(make, context, launch_id) for _ in range(size)]
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def __call__(
        self,
        task: Json,
        *,
        seconds: float,
        here: float,
        seed: int,
        model: Path | None,
        keep: Path,
        progress: TellProgress,
        should_stop: ShouldStop,
    ) -> Solved:
        """As `Solver`. Raises WorkerDied or WorkerHangs too."""
        order = Order(task, seconds, here, seed, model, keep, keep.with_suffix(".adapted"))
        worker = self._free.get()
        try:
            found = worker.solve(order, progress, should_stop)
        finally:
            self._free.put(worker)

        def save_weights(path: Path) -> None:
            shutil.move(order.weights, path)

        return Solved(found.attempts, found.metrics, save_weights)

    def start(self) -> None:
        """Start all workers; they load torch and wake the GPU while the runner says hello."""
        for worker in self._workers:
            worker.start()

    def close(self) -> None:
        for worker in self._workers:
            worker.end()


class Worker:
    """One process, started anew whenever it ended. One thread at a time."""

    def __init__(self, make: MakeSolver, context: SpawnContext, launch_id: str) -> None:
        self._make, self._context, self._launch_id = make, context, launch_id
        self._slate = context.RawValue(Slate)
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._slate.pid = 0
            self._pool = ProcessPoolExecutor(
                1,
                mp_context=self._context,
                initializer=_begin,
                initargs=(self._make, self._slate, self._launch_id),
            )
            self._pool.submit(os.getpid)
        return self._pool

    def solve(self, order: Order, progress: TellProgress, should_stop: ShouldStop) -> Found:
        self._slate.stop, self._slate.phase, self._slate.fraction = False, b"", 0.0
        order.weights.unlink(missing_ok=True)
        try:
            return self._watched(self.start().submit(_solve, order), order, progress, should_stop)
        except Stopped:
            raise
        except BrokenProcessPool as why:
            self.end()
            raise WorkerDied("the job's process ended without a word; perhaps memory ran out") from why
        except BaseException:
            self.end()  # whatever it was, the next job gets a fresh process and a fresh GPU context
            raise

    def end(self) -> None:
        """End the process, now; does nothing where none runs."""
        if self._pool is None:
            return
        if self._slate.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._slate.pid, signal.SIGKILL)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None

    def _watched(
        self, future: Future[Found], order: Order, progress: TellProgress, should_stop: ShouldStop
    ) -> Found:
        seconds = min(order.seconds, order.here)
        asked_at, ends_by = math.inf, time.monotonic() + STARTS_WITHIN_S
        at_work = False
        while True:
            try:
                return future.result(timeout=LOOK_EVERY_S)
            except TimeoutError:
                if future.done():  # the solver's own
                    raise
            now = time.monotonic()
            phase = self._slate.phase.decode(errors="replace")
            if phase:
                progress(phase, self._slate.fraction)
            if phase and not at_work:
                at_work, ends_by = True, now + seconds + LATE_S
            if asked_at == math.inf and should_stop():
                self._slate.stop, asked_at = True, now
            if now - asked_at > STOPS_WITHIN_S:
                self.end()
                raise Stopped(f"the job's process did not stop within {STOPS_WITHIN_S:g} s and was ended")
            if now > ends_by:
                what = (
                    f"still in phase {phase!r} long after its {seconds:g} s" if phase else "it did not start"
                )
                raise WorkerHangs(f"the job's process was ended: {what}")


# In the worker ----------------------------------------------------------------------------------------------
_own: tuple[Solver, Slate] | None = None


def _begin(make: MakeSolver, slate: Slate, launch_id: str) -> None:
    """The first thing a worker does. All processes of a service get its signals: the runner heeds them."""
    global _own
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    slate.pid = os.getpid()
    threading.Thread(target=_end_with_the_runner, daemon=True).start()
    log_to(sys.stdout, launch_id)
    _own = make(), slate


def _end_with_the_runner() -> None:
    """A runner that is killed cannot end its workers, and they would hold the GPU."""
    runner = multiprocessing.parent_process()
    assert runner is not None, "a worker is started by the runner"
    runner.join()
    os._exit(1)


def _solve(order: Order) -> Found:
    assert _own is not None, "the initializer comes first"
    solver, slate = _own

    def progress(phase: str, fraction: float) -> None:
        slate.fraction, slate.phase = fraction, phase.encode()[:31]

    found = solver(
        order.task,
        seconds=order.seconds,
        here=order.here,
        seed=order.seed,
        model=order.model,
        keep=order.keep,
        progress=progress,
        should_stop=lambda: slate.stop,
    )
    found.save_weights(order.weights)
    return Found(found.attempts, found.metrics)

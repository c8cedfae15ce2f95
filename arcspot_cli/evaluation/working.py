"""Ask the solver in processes of its own: one question each at a time, none of them left behind.

Each worker talks to us over a pipe of its own. Ours is the only other end, so a worker that waits for a
question sees at once that we are gone, even after SIGKILL; one that solves looks for its parent where the
solver asks whether to stop. A worker that dies costs the answer to one question and is replaced.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol

from arcspot_cli.evaluation.asking import Answer, Failed, Question, ShouldStop, Solve, Stopped

Reply = Answer | Failed | None
"""None where the work was stopped."""

POLL_S = 0.5
GRACE_S = 20.0
"""A worker asks whether to stop after every step of its solver, and then keeps its state."""


class Crew(Protocol):
    """Answers questions in any order. After `stopping()` it takes no new ones and ends those under way."""

    def __call__(
        self, questions: Iterable[tuple[str, Question]], stopping: ShouldStop
    ) -> Iterator[tuple[str, Reply]]: ...


def reply(solve: Solve, question: Question, should_stop: ShouldStop) -> Reply:
    """The solver's answer, or what it raised, as a value: one task never ends the others."""
    try:
        return solve(question, should_stop)
    except Stopped:
        return None
    except Exception as fault:
        return Failed(f"{type(fault).__name__}: {fault}")


def here(solve: Solve) -> Crew:
    """In this process, one after the other."""

    def crew(questions: Iterable[tuple[str, Question]], stopping: ShouldStop) -> Iterator[tuple[str, Reply]]:
        for key, question in questions:
            if stopping():
                return
            yield key, reply(solve, question, stopping)

    return crew


def processes(solve: Solve, jobs: int, *, clock: Callable[[], float] = time.monotonic) -> Crew:
    """In `jobs` processes; `solve` must be picklable."""

    def crew(questions: Iterable[tuple[str, Question]], stopping: ShouldStop) -> Iterator[tuple[str, Reply]]:
        context = multiprocessing.get_context("spawn")
        told_to_stop = context.Event()
        to_ask = iter(questions)
        busy: dict[Connection, tuple[SpawnProcess, str]] = {}
        idle = [_Worker.start(solve, told_to_stop) for _ in range(jobs)]
        until: float | None = None
        try:
            while True:
                if until is None and stopping():
                    told_to_stop.set()
                    until = clock() + GRACE_S
                while until is None and idle and (asked := next(to_ask, None)) is not None:
                    process, pipe = idle.pop()
                    with suppress(OSError):  # one that died while idle is found out below
                        pipe.send(asked[1])
                    busy[pipe] = process, asked[0]
                if not busy or (until is not None and clock() > until):
                    return
                for ready in wait(list(busy), POLL_S):
                    assert isinstance(ready, Connection)
                    process, key = busy.pop(ready)
                    try:
                        answer: Reply = ready.recv()
                        idle.append((process, ready))
                    except (EOFError, OSError):
                        process.join(GRACE_S)
                        answer = Failed(f"its process died ({_ending(process.exitcode)})")
                        idle.append(_Worker.start(solve, told_to_stop))
                    yield key, answer
        finally:
            told_to_stop.set()
            _dismiss([*idle, *((process, pipe) for pipe, (process, _) in busy.items())])

    return crew


class _Worker:
    @staticmethod
    def start(solve: Solve, told_to_stop: object) -> tuple[SpawnProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(solve, theirs, told_to_stop, os.getpid()), daemon=True)
        # Ctrl-C reaches the whole process group. A worker is told to stop by us, and must not die of it even
        # while its interpreter starts, so it inherits a signal that is ignored.
        with _ignored(signal.SIGINT):
            process.start()
        theirs.close()
        return process, ours


class _ignored:
    """A signal ignored for a moment; only the main thread may do that, elsewhere nothing happens."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __enter__(self) -> None:
        self.before: object = None
        with suppress(ValueError):
            self.before = signal.signal(self.number, signal.SIG_IGN)

    def __exit__(self, *ended: object) -> None:
        if self.before is not None:
            signal.signal(self.number, self.before)  # type: ignore[arg-type]


def _work(solve: Solve, pipe: Connection, told_to_stop: ShouldStop, parent: int) -> None:
    """A worker's life."""
    is_set: ShouldStop = told_to_stop.is_set  # type: ignore[attr-defined]

    def should_stop() -> bool:
        return is_set() or os.getppid() != parent

    with suppress(EOFError, OSError):
        while True:
            pipe.send(reply(solve, pipe.recv(), should_stop))


def _dismiss(workers: list[tuple[SpawnProcess, Connection]]) -> None:
    for _, pipe in workers:
        pipe.close()
    for process, _ in workers:
        process.join(1.0)
        if process.is_alive():
            process.terminate()
            process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join()


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"signal {-status}; signal 9 is often memory: fewer --jobs may help"
    return f"exit status {status}"

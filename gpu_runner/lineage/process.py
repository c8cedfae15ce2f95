"""The one background process: begun, found again by its id and start time, held, told to end.

Linux only: /proc says whether a process id still is the process that was begun.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

LOWEST_PRIORITY = 19
Alive = Literal["running", "paused", "gone"]


class Refused(Exception):
    """It cannot be done: says why, and what to try next."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was begun. started_ticks: its process's start, in clock ticks since the machine's; config,
    seconds: what it was begun with; began_with, counts_from: see `standing`; stopping: it was told to end."""

    pid: int
    started_ticks: int
    config: str
    seconds: float
    began_with: int
    counts_from: int
    stopping: bool = False


TYPES = {
    "pid": int, "started_ticks": int, "config": str, "seconds": float, "began_with": int, "counts_from": int,
    "stopping": bool,
}  # fmt: skip
"""Of a record's fields. Nothing of arcspot reads them: where models are trained there is no arcspot."""


def read_stat(text: str) -> tuple[str, int]:
    """State letter and start time of /proc/PID/stat (proc(5), fields 3 and 22); the name may hold spaces."""
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def alive(run: Run, stat: str | None) -> Alive:
    """What the stat line of its id says of a run. A recycled id is another process; a zombie has ended."""
    if stat is None:
        return "gone"
    state, ticks = read_stat(stat)
    if ticks != run.started_ticks or state in "ZX":
        return "gone"
    return "paused" if state in "Tt" else "running"


def stat_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None


def look(run: Run | None) -> Alive:
    return "gone" if run is None else alive(run, stat_of(run.pid))


def record_of(folder: Path) -> Path:
    return folder / "process.json"


def read_run(folder: Path) -> Run | None:
    """The run that was begun here last; None where none was, or its record cannot be read."""
    try:
        told = json.loads(record_of(folder).read_text())
        if {name: type(value) for name, value in told.items()} not in (TYPES, {**TYPES, "seconds": int}):
            return None
        run = Run(**told)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return run if 1 < run.pid < 2**31 else None  # 0 and 1 are everybody's


def write_run(folder: Path, run: Run) -> None:
    beside = folder / "process.json.part"
    beside.write_text(json.dumps(asdict(run), indent=2) + "\n")
    beside.replace(record_of(folder))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No two starts or keeps at once. The kernel drops the lock with the process that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise Refused("another start or keep is at work here: wait for it") from fault
        yield


def begin(command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> tuple[int, int]:
    """Start it in a session of its own at the lowest priority; its id and start time."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=dict(env),
            start_new_session=True,
        )  # fmt: skip
    os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST_PRIORITY)
    stat = stat_of(process.pid)
    if stat is None:
        process.kill()
        raise Refused("there is no /proc here to know the process by: the lineage needs Linux")
    process.returncode = 0  # it outlives this command: nobody waits for it
    return process.pid, read_stat(stat)[1]


def hold(run: Run, *, still: bool) -> None:
    with suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGSTOP if still else signal.SIGCONT)


def cut_off(run: Run) -> None:
    with suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)


def end(
    folder: Path,
    run: Run,
    *,
    patience_s: float,
    tell: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Ask it to end once (a second SIGTERM would cut it off) and wait until it has written everything.

    Raises Refused when it takes longer than `patience_s`.
    """
    hold(run, still=False)
    if not run.stopping:
        write_run(folder, replace(run, stopping=True))
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGTERM)
    waited = 0.0
    while look(run) != "gone":
        if waited >= patience_s:
            raise Refused(
                f"process {run.pid} still writes after {waited:.0f} s: ask again, it was told to end"
            )
        if waited % 10 == 0:
            tell(f"waiting for process {run.pid} to end its step and write ({waited:.0f} s)")
        sleep(0.5)
        waited += 0.5

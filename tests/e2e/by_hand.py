"""Find and kill processes of one stack as a person would: by the process table, with SIGKILL."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from arcspot_cli.local.processes import read_records
from tests.e2e.whole_stack import WholeStack


def runner_of(whole: WholeStack, instance_id: str) -> int | None:
    """The pid of the runner in the process group of an instance of this stack, None before it runs."""
    records = read_records(Path(whole.local.state_dir) / "processes")
    group = next((record.pid for record in records if record.name == f"instance-{instance_id}"), None)
    for pid, pgid, command in _table():
        if pgid == group and command.endswith("-m gpu_runner"):
            return pid
    return None


def workers_of(whole: WholeStack, function: str) -> list[int]:
    """The pids of the emulator's workers for a function; their command line names the stack's own folder."""
    folder = Path(whole.local.state_dir) / "tmp" / f"ministack-lambda-{whole.local.stack_name}-{function}-"
    return [pid for pid, _, command in _table() if f"{folder}" in command]


def kill(pid: int) -> bool:
    """SIGKILL; False when it was gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def at_rest(pids: list[int]) -> bool:
    """Whether none of them used the processor for a moment."""
    before = [_ticks(pid) for pid in pids]
    time.sleep(0.3)
    return bool(pids) and before == [_ticks(pid) for pid in pids]


def freeze(pids: list[int]) -> None:
    """SIGSTOP: a call that comes stays unanswered."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)


@dataclass(slots=True)
class InTheMiddle:
    """Kills the workers of a function with a call in their hands, for certain: they are stopped first, and
    killed once a call lies unread in one's pipe. None stopped is let go."""

    whole: WholeStack
    function: str
    _since: float | None = None

    def hold(self) -> None:
        """Stop the warm workers: who comes next finds no answer."""
        freeze(workers_of(self.whole, self.function))

    def strike(self, *, patience: float = 15.0) -> int:
        """Kill all, once one has a call; returns how many were killed, 0 while none has one.

        A worker caught in the middle of its work has read its call: after `patience` seconds without another
        one they are killed all the same.
        """
        pids = workers_of(self.whole, self.function)
        if not pids:
            return 0
        freeze(pids)
        if self._since is None:
            self._since = time.monotonic()
        if not any(map(_unread, pids)) and time.monotonic() < self._since + patience:
            return 0
        self._since = None
        return sum(map(kill, pids))


def has_a_call(pids: list[int]) -> bool:
    """Whether a call lies unread in the pipe of one of them."""
    return any(map(_unread, pids))


def _unread(pid: int) -> int:
    """Bytes in the pipe that is a process's standard input (FIONREAD, pipe(7)); 0 once it is gone."""
    with suppress(OSError):
        pipe = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
        try:
            told = fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4)
        finally:
            os.close(pipe)
        return int.from_bytes(told, sys.byteorder)
    return 0


def _ticks(pid: int) -> int:
    """Processor time so far, in clock ticks (fields 14 and 15 of proc_pid_stat(5)); 0 once it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


def _table() -> list[tuple[int, int, str]]:
    """(pid, process group, command line) of every process."""
    told = subprocess.run(
        ["ps", "-eww", "-o", "pid=,pgid=,args="], capture_output=True, text=True, check=True
    )
    rows = (line.split(maxsplit=2) for line in told.stdout.splitlines())
    return [(int(row[0]), int(row[1]), row[2]) for row in rows if len(row) == 3]

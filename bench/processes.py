"""Time commands in fresh processes, and watch the memory of all that a command starts."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
SAMPLE_SECONDS = 0.5


def timed(
    command: Sequence[str], *, runs: int, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Wall-clock milliseconds of a command, each run in a fresh process, after one to warm the disk."""
    samples = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
        samples.append(1000 * (time.perf_counter() - began))
    return summary(samples[1:])


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and the samples themselves, rounded."""
    return {
        "median": round(statistics.median(samples), 1),
        "least": round(min(samples), 1),
        "most": round(max(samples), 1),
        "samples": [round(sample, 1) for sample in samples],
    }


class PeakMemory:
    """The greatest sum of resident memory over this process and all its descendants.

    Resident pages that processes share count once for each, so the machine's use is lower: the
    proportional size, which splits them, is kept beside. Descendants that outlive their parents
    are counted too: this process adopts them (Linux only).
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.peak_proportional_bytes = 0
        self.peak_processes: dict[str, int] = {}
        """Name → bytes at the peak."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            found = resident(os.getpid())
            total = sum(size for _, size, _ in found)
            proportional = sum(share for _, _, share in found)
            self.peak_proportional_bytes = max(self.peak_proportional_bytes, proportional)
            if total > self.peak_bytes:
                self.peak_bytes, self.peak_processes = total, {}
                for name, size, _ in found:
                    self.peak_processes[name] = self.peak_processes.get(name, 0) + size


def resident(root: int) -> list[tuple[str, int, int]]:
    """Name, resident and proportional bytes of a process and of all that descend from it."""
    page = os.sysconf("SC_PAGE_SIZE")
    children: dict[int, list[int]] = {}
    facts: dict[int, tuple[Path, int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            _, _, rest = (folder / "stat").read_text().rpartition(")")
            pid, fields = int(folder.name), rest.split()
            facts[pid] = (folder, int(fields[21]) * page)  # fields 4 and 24 of proc_pid_stat(5)
            children.setdefault(int(fields[1]), []).append(pid)
    found, ahead = [], [root]
    while ahead:
        pid = ahead.pop()
        with suppress(KeyError, OSError):
            folder, size = facts[pid]
            found.append((_name(folder), size, _proportional(folder)))
        ahead += children.get(pid, [])
    return found


def _proportional(folder: Path) -> int:
    """Resident bytes with each shared page split among those who share it: proc_pid_smaps(5)."""
    for line in (folder / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _name(folder: Path) -> str:
    """The program: a Python module or script by its own name."""
    words = [word.decode(errors="replace") for word in (folder / "cmdline").read_bytes().split(b"\0") if word]
    program = Path(words[0]).name if words else "?"
    if program.startswith("python") and len(words) > 1:
        if words[1] == "-m" and len(words) > 2:
            return words[2]
        return "python" if words[1].startswith("-") else Path(words[1]).name
    return program

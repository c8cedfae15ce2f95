"""Start, recognise and stop our own processes, and never anybody else's.

A process is known by its pid *and* its start time, because pids are reused. Records are
files in one folder, written as the processes start, so that whatever is left after a crash
can still be found and stopped exactly.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from arcspot.domain import documents

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process that leads its own process group."""

    name: str
    pid: int
    started: str
    """Start time in the kernel's own notation; only ever compared for equality."""

    def __post_init__(self) -> None:
        """Raises ValueError for what no process of ours is called or numbered: 0 and 1 are everybody's."""
        if not NAME.fullmatch(self.name) or not 1 < self.pid < 2**31 or not self.started:
            raise ValueError(f"no process: {self.name[:60]!r}, {self.pid}")


def start_time(pid: int) -> str | None:
    """When a process started, or None when there is no such process (a zombie counts as none)."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        state, ticks = fields[0], fields[19]  # fields 3 and 22 of proc_pid_stat(5)
        return None if state in "ZX" else f"{_boot()}+{ticks}"
    told = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return None if not told or told.startswith("Z") else told.partition(" ")[2].strip()


def _boot() -> str:
    """This boot of the machine: clock ticks and pids start anew with each."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def alive(record: ProcessRecord) -> bool:
    """Whether that very process still runs."""
    return start_time(record.pid) == record.started


def _left_behind(record: ProcessRecord) -> bool:
    """Whether the leader is gone but its group is not.

    The kernel gives a pid to nobody else while a group of that number exists, so such a
    group is still the one that was recorded, as long as the machine was not restarted.
    """
    same_boot = record.started.startswith(_boot())
    return same_boot and start_time(record.pid) is None and group_alive(record.pid)


def write_record(folder: Path, record: ProcessRecord) -> None:
    """Keep a record, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{record.name}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(record)))
    draft.replace(folder / f"{record.name}.json")


def record_self(folder: Path, name: str) -> None:
    """Let a process record itself too: its starter may have died before it could."""
    started = start_time(os.getpid())
    if started is not None:
        write_record(folder, ProcessRecord(name=name, pid=os.getpid(), started=started))


def read_records(folder: Path) -> list[ProcessRecord]:
    """All records of a folder; unreadable ones (a half-written draft) are skipped."""
    records = []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError):
            record = documents.read(ProcessRecord, path.read_bytes(), most=MOST_BYTES)
            if record.name == path.stem:  # else forgetting it would remove another file
                records.append(record)
    return records


def forget(folder: Path, name: str) -> None:
    """Drop a record; no matter if it is gone already."""
    (folder / f"{name}.json").unlink(missing_ok=True)


def spawn(
    name: str,
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    output: IO[bytes],
    cwd: Path | None = None,
    passed: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a command as the leader of its own process group and record it; `passed` are file descriptors."""
    process = subprocess.Popen(
        command,
        env=dict(environment),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(passed),
    )
    started = start_time(process.pid)
    if started is not None:
        write_record(folder, ProcessRecord(name=name, pid=process.pid, started=started))
    return process


def detach(process: subprocess.Popen[bytes]) -> None:
    """Let a process outlive us: `Popen` then neither waits for it nor warns about it."""
    process.returncode = 0


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal the process group a process leads; no matter if it is gone already."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def group_alive(pid: int) -> bool:
    """Whether any process of that group is left; zombies nobody collects don't count."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if not Path("/proc/self/stat").exists():
        return True
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(group) == pid and state not in "ZX":
                return True
    return False


def stop(records: Iterable[ProcessRecord], *, grace_seconds: float = 5.0) -> None:
    """End exactly these processes with their groups: ask first, then insist, then see them gone."""
    ours = [record for record in records if alive(record) or _left_behind(record)]
    for record in ours:
        signal_group(record.pid, signal.SIGTERM)
        signal_group(record.pid, signal.SIGCONT)
    end = time.monotonic() + grace_seconds
    while ours and time.monotonic() < end:
        _reap(ours)
        ours = [record for record in ours if group_alive(record.pid)]
        time.sleep(0.05)
    for record in ours:
        signal_group(record.pid, signal.SIGKILL)
    end = time.monotonic() + grace_seconds
    while any(group_alive(record.pid) for record in ours) and time.monotonic() < end:
        _reap(ours)
        time.sleep(0.05)


def _reap(records: Iterable[ProcessRecord]) -> None:
    """Collect those that are our own children, so that they do not stay as zombies."""
    for record in records:
        with suppress(ChildProcessError):
            os.waitpid(record.pid, os.WNOHANG)

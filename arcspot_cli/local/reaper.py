"""End process groups when the one who started them dies, however suddenly.

The instance host keeps a pipe to this process and writes ``+<group>`` when an instance
starts and ``-<group>`` when it is gone. The pipe closes with the host, even if the host is
killed with SIGKILL; what is still registered then is killed.

    python -m arcspot_cli.local.reaper      (started by the instance host, reads stdin)
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from arcspot_cli.local.processes import ProcessRecord, forget, signal_group, start_time, write_record


class Reaper:
    """The host's end of the pipe."""

    def __init__(self, records_dir: Path) -> None:
        self._records_dir = records_dir
        self._process = subprocess.Popen(
            [sys.executable, "-m", "arcspot_cli.local.reaper"],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started = start_time(self._process.pid)
        if started is not None:
            record = ProcessRecord(name="reaper", pid=self._process.pid, started=started)
            write_record(records_dir, record)

    def watch(self, group: int) -> None:
        """From now on this process group dies with us."""
        self._tell(f"+{group}")

    def release(self, group: int) -> None:
        """This process group has ended by itself."""
        self._tell(f"-{group}")

    def close(self) -> None:
        """Let the reaper do its work and wait for it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=10)
        forget(self._records_dir, "reaper")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def remaining(lines: Iterable[str]) -> set[int]:
    """The groups that were registered and not released when the lines end."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def main() -> None:
    """Read until the host is gone, then kill what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the end of the pipe ends this process
    for group in remaining(sys.stdin):
        signal_group(group, signal.SIGKILL)


if __name__ == "__main__":
    main()

"""One emulated instance: a process group that runs the real user data beside its own metadata service."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from arcspot_cli.local.imds import Facts, MetadataServer
from arcspot_cli.local.processes import forget, group_alive, signal_group, spawn

SHUTDOWN = r"""#!/bin/sh
# shutdown(8) for an emulated instance: it asks the instance host, never the machine.
when=now
for argument in "$@"; do
  case "$argument" in
    -c) rm -f "$ARCSPOT_INSTANCE_DIR/shutdown-at"; exit 0 ;;
    -*) ;;
    now|+[0-9]*) when=$argument; break ;;
    *) echo "shutdown: only 'now' and '+MINUTES' are understood here: $argument" >&2; exit 2 ;;
  esac
done
minutes=${when#+}
[ "$when" = now ] && minutes=0
echo $(( $(date +%s) + minutes * 60 )) > "$ARCSPOT_INSTANCE_DIR/.shutdown-at" &&
  mv "$ARCSPOT_INSTANCE_DIR/.shutdown-at" "$ARCSPOT_INSTANCE_DIR/shutdown-at"
"""


class GroupWatch(Protocol):
    """Whoever ends our process groups if we can't."""

    def watch(self, group: int) -> None: ...
    def release(self, group: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Machine:
    """What every instance of a host shares."""

    endpoint_url: str
    region: str
    instances_dir: Path
    records_dir: Path
    threads: int


def environment(machine: Machine, directory: Path, metadata_url: str) -> dict[str, str]:
    """All an instance sees: no keys, no home, nothing of the person who started the stack."""
    commands = (directory / "bin", Path(sys.executable).parent, "/usr/local/bin", "/usr/bin", "/bin")
    return {
        "AWS_ENDPOINT_URL": machine.endpoint_url,
        "AWS_DEFAULT_REGION": machine.region,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata_url,
        "ARCSPOT_INSTANCE_DIR": str(directory),
        "HOME": str(directory),
        "TMPDIR": str(directory / "tmp"),
        "PATH": ":".join(str(folder) for folder in commands),
        "OMP_NUM_THREADS": str(machine.threads),
    }


def furnish(directory: Path, user_data: bytes) -> Path:
    """An instance's disk: user data, a `shutdown` of its own, a place for temporary files."""
    for folder in ("bin", "tmp"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for name in ("shutdown", "poweroff"):
        command = directory / "bin" / name
        command.write_text(SHUTDOWN)
        command.chmod(0o755)
    script = directory / "user-data.sh"
    script.write_bytes(user_data)
    return script


class Instance:
    """A running instance. Its process group ending is the machine being off."""

    def __init__(self, facts: Facts, server: MetadataServer, machine: Machine, watch: GroupWatch) -> None:
        self.facts = facts
        self._server = server
        self._machine = machine
        self._watch = watch
        self.directory = machine.instances_dir / facts.instance_id
        script = furnish(self.directory, facts.user_data)
        self._console: IO[bytes] = (self.directory / "console.log").open("ab")
        self._process: subprocess.Popen[bytes] = spawn(
            self.record_name,
            ["bash", str(script)],
            folder=machine.records_dir,
            environment=environment(machine, self.directory, server.url),
            output=self._console,
            cwd=self.directory,
        )
        watch.watch(self._process.pid)

    @property
    def record_name(self) -> str:
        """Under which its process is recorded."""
        return f"instance-{self.facts.instance_id}"

    @property
    def pid(self) -> int:
        """Its first process, which leads the group."""
        return self._process.pid

    def off(self, *, now: float) -> bool:
        """Whether the machine has shut itself down, or its shutdown timer (UTC epoch) is due."""
        if self._process.poll() is not None:
            return True
        with suppress(OSError, ValueError):
            return now >= float((self.directory / "shutdown-at").read_text())
        return False

    def freeze(self) -> None:
        """Stop every process where it is: a machine that hangs."""
        signal_group(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen machine go on."""
        signal_group(self.pid, signal.SIGCONT)

    def crash(self) -> None:
        """The power is gone: no process gets to say goodbye."""
        signal_group(self.pid, signal.SIGKILL)

    def kill(self, *, grace_seconds: float = 5.0) -> None:
        """Shut down as EC2 does on terminate: ask every process, insist after the grace."""
        signal_group(self.pid, signal.SIGTERM)
        self.thaw()
        end = time.monotonic() + grace_seconds
        while self._anyone_left() and time.monotonic() < end:
            time.sleep(0.05)
        self.crash()
        self._process.wait()
        self._watch.release(self.pid)
        forget(self._machine.records_dir, self.record_name)
        self._server.close()
        self._console.close()

    def _anyone_left(self) -> bool:
        self._process.poll()
        return group_alive(self.pid)

    def summary(self) -> Mapping[str, object]:
        """For the control port."""
        return {
            "instance_id": self.facts.instance_id,
            "instance_type": self.facts.instance_type,
            "pid": self.pid,
            "tags": dict(self.facts.tags),
            "console": str(self.directory / "console.log"),
        }


def kill_all(instances: list[Instance], *, grace_seconds: float = 5.0) -> None:
    """Kill several at once, so that their graces don't add up."""
    threads = [
        threading.Thread(target=instance.kill, kwargs={"grace_seconds": grace_seconds})
        for instance in instances
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

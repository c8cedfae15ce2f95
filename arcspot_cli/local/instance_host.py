"""Play EC2: run the user data of every running instance of a stack as a local process group.

    python -m arcspot_cli.local.instance_host --stack arcspot-local --endpoint-url http://127.0.0.1:4566 \
        --region us-east-1 --state-dir .arcspot/local --socket 3 --max-instances 2

EC2's API stays the truth about which instances exist: the host looks at it twice a second,
boots what is new, kills what was terminated and terminates what has shut itself down.
A control port plays the bad days: interruptions, hangs, crashes.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from arcspot_cli import terminal
from arcspot_cli.local import keys
from arcspot_cli.local.control import ControlServer
from arcspot_cli.local.ec2 import CachedCredentials, Cloud, EmulatedCloud, utc_text
from arcspot_cli.local.emulator import RECORDS
from arcspot_cli.local.errors import LocalStackError
from arcspot_cli.local.imds import Metadata, MetadataServer, Notices
from arcspot_cli.local.instance import GroupWatch, Instance, Machine, kill_all
from arcspot_cli.local.ports import inherited
from arcspot_cli.local.processes import record_self
from arcspot_cli.local.proof import Unproven
from arcspot_cli.local.reaper import Reaper

POLL_SECONDS = 0.5
ENDPOINT_LOST_SECONDS = 10.0
"""With the emulator silent for so long, the host takes it for dead and leaves too."""


class InstanceHost:
    """The instances that run on this machine."""

    def __init__(
        self,
        cloud: Cloud,
        machine: Machine,
        watch: GroupWatch,
        *,
        notice_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._cloud = cloud
        self._machine = machine
        self._watch = watch
        self._notice_seconds = notice_seconds
        self._say = say
        self._lock = threading.Lock()
        self._running: dict[str, Instance] = {}
        self._notices: dict[str, Notices] = {}
        self._reclaim_at: dict[str, float] = {}

    def round(self, *, now: float) -> None:
        """One look at EC2 (`now` is UTC epoch seconds): boot, kill, terminate."""
        live = self._cloud.live_instances()
        with self._lock:
            gone = [self._running.pop(name) for name in list(self._running) if name not in live]
            off = [name for name, instance in self._running.items() if instance.off(now=now)]
            due = [name for name, at in self._reclaim_at.items() if name in self._running and now >= at]
        for instance in gone:
            self._say(f"{instance.facts.instance_id} terminated")
        kill_all(gone)
        for name in {*off, *due}:
            self._say(f"{name} {'shut down' if name in off else 'reclaimed'}, terminating")
            self._cloud.terminate(name)
        for name, description in live.items():
            if name not in self._running:
                self._boot(name, description)

    def _boot(self, name: str, description: Mapping[str, Any]) -> None:
        facts = self._cloud.facts(description)
        notices = Notices()
        server = MetadataServer(Metadata(facts, notices, CachedCredentials(self._cloud, description)))
        try:
            instance = Instance(facts, server, self._machine, self._watch)
        except OSError:
            server.close()
            raise
        with self._lock:
            self._running[name] = instance
            self._notices[name] = notices
        self._say(f"{name} booted as process {instance.pid}")

    def command(self, name: str, verb: str) -> bool:
        """Do a control verb to an instance; False if there is no such instance or verb."""
        with self._lock:
            instance = self._running.get(name)
        if instance is None:
            return False
        verbs: dict[str, Callable[[], None]] = {
            "interrupt": lambda: self._interrupt(name),
            "rebalance": lambda: self._rebalance(name),
            "freeze": instance.freeze,
            "thaw": instance.thaw,
            "crash": instance.crash,
        }
        if verb not in verbs:
            return False
        verbs[verb]()
        self._say(f"{name} {verb}")
        return True

    def _interrupt(self, name: str) -> None:
        end = datetime.now(UTC) + timedelta(seconds=self._notice_seconds)
        self._notices[name].spot_action = {"action": "terminate", "time": utc_text(end)}
        self._reclaim_at[name] = end.timestamp()
        self._cloud.announce_interruption(name)

    def _rebalance(self, name: str) -> None:
        self._notices[name].rebalance = {"noticeTime": utc_text(datetime.now(UTC))}

    def summaries(self) -> list[Mapping[str, object]]:
        """All running instances, for the control port."""
        with self._lock:
            return [instance.summary() for instance in self._running.values()]

    def close(self, *, grace_seconds: float = 2.0) -> None:
        """Kill everything."""
        with self._lock:
            instances = list(self._running.values())
            self._running.clear()
        kill_all(instances, grace_seconds=grace_seconds)


def serve(host: InstanceHost, stopped: threading.Event, say: Callable[[str], None]) -> None:
    """Look again and again until stopped, or until the endpoint is silent too long, or somebody else's."""
    answered_at = time.monotonic()
    while not stopped.is_set():
        try:
            host.round(now=time.time())
            answered_at = time.monotonic()
        except Unproven as stranger:
            say(f"{stranger}; leaving")
            return
        except (BotoCoreError, ClientError, OSError) as error:
            say(f"this round failed: {error}")
            if time.monotonic() - answered_at > ENDPOINT_LOST_SECONDS:
                say("the endpoint is gone; leaving")
                return
        stopped.wait(POLL_SECONDS)


def main() -> None:
    """Run until SIGTERM or SIGINT; nothing that was started here outlives this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", required=True)
    parser.add_argument("--endpoint-url", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True, help="the control port's, bound: a descriptor")
    parser.add_argument("--max-instances", type=int, default=2)
    parser.add_argument("--notice-seconds", type=float, default=120.0)
    options = parser.parse_args()
    state_dir = options.state_dir.resolve()

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    record_self(state_dir / RECORDS, "instance-host")

    def say(line: str) -> None:
        terminal.err(f"{utc_text(datetime.now(UTC))} {line}")

    machine = Machine(
        endpoint_url=options.endpoint_url,
        region=options.region,
        instances_dir=state_dir / "instances",
        records_dir=state_dir / RECORDS,
        threads=max(1, (os.cpu_count() or 1) // options.max_instances),
    )
    try:
        key = keys.read(state_dir)
        at = inherited(options.socket)
    except LocalStackError as error:
        terminal.err(f"error: {error}")
        sys.exit(1)
    cloud = EmulatedCloud.connect(options.stack, options.endpoint_url, options.region, key)
    reaper = Reaper(state_dir / RECORDS)
    host = InstanceHost(cloud, machine, reaper, notice_seconds=options.notice_seconds, say=say)
    control = ControlServer(host, key, at)
    try:
        serve(host, stopped, say)
    finally:
        control.close()
        host.close()
        reaper.close()


if __name__ == "__main__":
    main()

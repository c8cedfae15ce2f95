"""The instance host follows EC2: boots what is new, kills what is gone, terminates what is off."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arcspot_cli.local.control import ControlServer
from arcspot_cli.local.instance import Machine
from arcspot_cli.local.instance_host import InstanceHost
from arcspot_cli.local.processes import group_alive, read_records
from arcspot_cli.local.signing import signed_headers
from tests.unit.local.conftest import FakeCloud
from tests.unit.local.strangers import KEY

NOW = 1_800_000_000.0
FOREVER = b"#!/bin/bash\necho ready > ready\nsleep 60\n"


class Watched(list[str]):
    """Notes what a reaper would be told."""

    def watch(self, group: int) -> None:
        self.append(f"+{group}")

    def release(self, group: int) -> None:
        self.append(f"-{group}")


@pytest.fixture
def host(cloud: FakeCloud, machine: Machine) -> Iterator[InstanceHost]:
    host = InstanceHost(cloud, machine, Watched(), notice_seconds=120, say=lambda line: None)
    yield host
    host.close(grace_seconds=0)


def until(what: Callable[[], bool]) -> None:
    """Let another process get there; it takes milliseconds."""
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def only(host: InstanceHost) -> int:
    (summary,) = host.summaries()
    pid = summary["pid"]
    assert isinstance(pid, int)
    return pid


def terminated(host: InstanceHost, cloud: FakeCloud) -> bool:
    """Whether one more round terminates every instance."""
    host.round(now=time.time())
    return not cloud.user_data


def directory(machine: Machine, name: str = "i-1") -> Path:
    return machine.instances_dir / name


def test_a_new_instance_runs_its_user_data(host: InstanceHost, cloud: FakeCloud, machine: Machine) -> None:
    cloud.user_data["i-1"] = b"#!/bin/bash\necho hello from $ARCSPOT_INSTANCE_DIR\nenv > env\nsleep 60\n"
    host.round(now=NOW)
    until(lambda: "PATH" in _read(directory(machine) / "env"))
    assert f"hello from {directory(machine)}" in (directory(machine) / "console.log").read_text()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_an_instance_sees_no_keys_and_nobodys_home(
    host: InstanceHost, cloud: FakeCloud, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "real")
    monkeypatch.setenv("SOMEBODYS_SECRET", "real")
    cloud.user_data["i-1"] = b"#!/bin/bash\nenv > .env && mv .env env\nsleep 60\n"
    host.round(now=NOW)
    until(lambda: (directory(machine) / "env").exists())
    seen = dict(line.split("=", 1) for line in _read(directory(machine) / "env").splitlines())
    assert set(seen) - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        "AWS_ENDPOINT_URL",
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "ARCSPOT_INSTANCE_DIR",
        "HOME",
        "TMPDIR",
        "PATH",
        "OMP_NUM_THREADS",
    }
    assert seen["HOME"] == str(directory(machine))


def test_a_terminated_instance_is_killed_with_its_children(
    host: InstanceHost, cloud: FakeCloud, machine: Machine
) -> None:
    cloud.user_data["i-1"] = FOREVER
    host.round(now=NOW)
    until(lambda: (directory(machine) / "ready").exists())
    group = only(host)
    cloud.terminate("i-1")
    host.round(now=NOW)
    assert not group_alive(group)
    assert not host.summaries()
    assert not read_records(machine.records_dir)


def test_a_frozen_instance_can_still_be_terminated(host: InstanceHost, cloud: FakeCloud) -> None:
    cloud.user_data["i-1"] = FOREVER
    host.round(now=NOW)
    group = only(host)
    assert host.command("i-1", "freeze")
    cloud.terminate("i-1")
    host.round(now=NOW)
    assert not group_alive(group)


@pytest.mark.parametrize("ending", [b"exit 0\n", b"exit 7\n", b"shutdown -h now; sleep 60\n"])
def test_an_instance_that_shuts_itself_down_is_terminated(
    host: InstanceHost, cloud: FakeCloud, ending: bytes
) -> None:
    cloud.user_data["i-1"] = b"#!/bin/bash\n" + ending
    host.round(now=NOW)
    until(lambda: terminated(host, cloud))
    host.round(now=NOW)
    assert not host.summaries()


def test_a_shutdown_timer_ends_the_instance_when_it_is_due_and_not_before(
    host: InstanceHost, cloud: FakeCloud, machine: Machine
) -> None:
    cloud.user_data["i-1"] = b"#!/bin/bash\nshutdown -h +90\nsleep 60\n"
    began = time.time()
    host.round(now=began)
    until(lambda: (directory(machine) / "shutdown-at").exists())
    host.round(now=began + 89 * 60)
    assert "i-1" in cloud.user_data
    host.round(now=began + 91 * 60)
    assert "i-1" not in cloud.user_data


def test_a_shutdown_can_be_called_off(host: InstanceHost, cloud: FakeCloud, machine: Machine) -> None:
    cloud.user_data["i-1"] = b"#!/bin/bash\nshutdown -h +1\nshutdown -c\ntouch called-off\nsleep 60\n"
    host.round(now=NOW)
    until(lambda: (directory(machine) / "called-off").exists())
    host.round(now=time.time() + 3600)
    assert "i-1" in cloud.user_data


def test_a_crashed_instance_is_terminated(host: InstanceHost, cloud: FakeCloud) -> None:
    cloud.user_data["i-1"] = FOREVER
    host.round(now=NOW)
    assert host.command("i-1", "crash")
    until(lambda: terminated(host, cloud))


def test_an_interruption_is_announced_and_then_done(host: InstanceHost, cloud: FakeCloud) -> None:
    cloud.user_data["i-1"] = FOREVER
    host.round(now=NOW)
    began = time.time()
    assert host.command("i-1", "interrupt")
    assert cloud.announced == ["i-1"]
    host.round(now=began + 100)
    assert "i-1" in cloud.user_data
    host.round(now=began + 130)
    assert "i-1" not in cloud.user_data


def test_what_does_not_exist_obeys_no_command(host: InstanceHost, cloud: FakeCloud) -> None:
    assert not host.command("i-9", "crash")
    cloud.user_data["i-1"] = FOREVER
    host.round(now=NOW)
    assert not host.command("i-1", "explode")


def test_an_instance_is_booted_once(host: InstanceHost, cloud: FakeCloud) -> None:
    cloud.user_data["i-1"] = FOREVER
    host.round(now=NOW)
    group = only(host)
    host.round(now=NOW)
    assert only(host) == group


def test_every_group_is_handed_to_the_reaper_and_taken_back(cloud: FakeCloud, machine: Machine) -> None:
    watched = Watched()
    host = InstanceHost(cloud, machine, watched, notice_seconds=120, say=lambda line: None)
    cloud.user_data["i-1"] = FOREVER
    host.round(now=NOW)
    group = only(host)
    host.close(grace_seconds=0)
    assert watched == [f"+{group}", f"-{group}"]


def test_the_control_port_lists_instances_and_passes_commands_on(
    host: InstanceHost, cloud: FakeCloud
) -> None:
    cloud.user_data["i-1"] = FOREVER
    host.round(now=NOW)
    control = ControlServer(host, KEY)

    def ask(path: str, method: str) -> Any:
        url = f"{control.url}/{path}"
        request = urllib.request.Request(url, method=method, headers=signed_headers(KEY, method, url))
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())

    try:
        (seen,) = ask("instances", "GET")
        assert seen["instance_id"] == "i-1"
        assert ask("instances/i-1/interrupt", "POST") == {"done": "interrupt"}
        assert cloud.announced == ["i-1"]
        with pytest.raises(urllib.error.HTTPError) as refusal:
            ask("instances/i-9/interrupt", "POST")
        refusal.value.close()
        assert refusal.value.code == 404
    finally:
        control.close()

"""A port is ours from the moment it has a number, and is passed on without a gap."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from arcspot_cli.local import keys, proof
from arcspot_cli.local import stack as local
from arcspot_cli.local.control import ControlServer
from arcspot_cli.local.errors import LocalStackError
from arcspot_cli.local.ports import bound, inherited, number
from tests.unit.local.strangers import KEY
from tests.unit.local.test_proof import _Nobody

OPTIONS = {"none": (), "reuse": (socket.SO_REUSEADDR,), "both": (socket.SO_REUSEADDR, socket.SO_REUSEPORT)}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_nobody_takes_a_port_between_its_choice_and_its_use(options: tuple[int, ...]) -> None:
    """Also with every option by which sockets share a port, before it listens and after."""

    def taken(port: int) -> None:
        with socket.socket() as thief:
            for option in options:
                thief.setsockopt(socket.SOL_SOCKET, option, 1)
            with pytest.raises(OSError, match="in use"):
                thief.bind(("127.0.0.1", port))

    with bound(3) as sockets:
        assert len({number(one) for one in sockets}) == 3
        for one in sockets:
            taken(number(one))
        control = ControlServer(_Nobody(), KEY, sockets[0])
        try:
            assert control.port == number(sockets[0])
            taken(control.port)
            proof.prove(control.url, KEY, proof.INSTANCE_HOST)
        finally:
            control.close()


def test_both_processes_get_their_ports_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = local.Places.of(tmp_path)
    (places.state_dir / "logs").mkdir(parents=True)
    said = "import sys, socket; print(socket.socket(fileno=int(sys.argv[sys.argv.index('--socket')+1])))"
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{said}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    options = local.LocalOptions(project_dir=tmp_path)
    with bound(2) as (door, control_door):
        numbers = number(door), number(control_door)
        local._start_emulator(places, door)
        local._start_host(options, places, "http://127.0.0.1:1", control_door)
        assert door.fileno() == control_door.fileno() == -1, "none is kept here"
    for name, port in zip(("emulator", "instance-host"), numbers, strict=True):
        while not places.log(name).read_text().endswith("\n"):
            os.sched_yield()
        assert f"laddr=('127.0.0.1', {port})" in places.log(name).read_text()


def test_what_is_no_socket_of_this_machine_is_refused() -> None:
    with Path(os.devnull).open() as file, pytest.raises(LocalStackError, match="--socket"):
        inherited(file.fileno())
    with pytest.raises(LocalStackError, match="--socket"):
        inherited(-1)
    with socket.socket() as unbound, pytest.raises(LocalStackError, match=r"found 0\.0\.0\.0:0"):
        inherited(os.dup(unbound.fileno()))


@pytest.mark.parametrize("module", ["emulator", "instance_host"])
def test_a_process_without_its_socket_ends_with_a_word(module: str, tmp_path: Path) -> None:
    keys.keep(tmp_path, KEY)
    more = ["--stack", "s", "--endpoint-url", "http://127.0.0.1:1", "--region", "r"]
    command = [sys.executable, "-m", f"arcspot_cli.local.{module}", "--state-dir", str(tmp_path)]
    command += ["--socket", "99", *(more if module == "instance_host" else [])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "error: --socket" in ended.stderr
    assert "Traceback" not in ended.stderr

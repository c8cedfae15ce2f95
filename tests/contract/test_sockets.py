"""Every place in the code that opens a port is known, on this machine only, and behind the gate if it acts.

A new one fails here: put it behind `arcspot_cli/local/gate.py` (`doors.Handler`, or `emulator_gate.Gate`),
then name it below.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arcspot_cli.local import control, doors, emulator_gate, imds
from arcspot_cli.local.keys import draw

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("arcspot_cli", "arcspot_simulator", "bench", "functions", "gpu_runner", "layers", "lineage")
OPENERS = frozenset(
    [
        "bind",
        "listen",
        "create_server",
        "start_server",
        "start_unix_server",
        "create_unix_server",
        "create_datagram_endpoint",
        "serve",
        "serve_forever",
        "run_simple",
        "make_server",
        "HTTPServer",
        "ThreadingHTTPServer",
        "TCPServer",
        "UDPServer",
        "UnixStreamServer",
        "ThreadingTCPServer",
        "ForkingTCPServer",
        "WSGIServer",
        "SimpleXMLRPCServer",
        "DocXMLRPCServer",
        "Listener",
        "BaseManager",
        "SyncManager",
        "Manager",
        "init_process_group",
        "TCPStore",
        "start_http_server",
        "ThreadedMotoServer",
        "SummaryWriter",
        "debugpy",
        "set_trace",
        "RemotePdb",
    ]
)
"""Names by which the standard library, and what we have installed, begin to listen."""
KNOWN = {
    (
        "arcspot_cli/local/doors.py",
        "ThreadingHTTPServer",
    ): "control port and instance metadata, behind the gate",
    ("arcspot_cli/local/doors.py", "serve_forever"): "the same server",
    ("arcspot_cli/local/emulator.py", "serve"): "MiniStack's main, after `guard` has put the gate before it",
    (
        "arcspot_cli/local/instance_host.py",
        "serve",
    ): "its loop; the ports that it opens are the two of doors.py",
    ("arcspot_cli/local/ports.py", "bind"): "what is passed on to the emulator and to the control port",
    ("bench/silent_aws.py", "start_server"): "a measurement's: answers all with the same, and does nothing",
    ("bench/silent_aws.py", "serve"): "what answers there",
    ("gpu_runner/assembly.py", "serve"): "the runner's loop over its jobs",
}
SCRIPTS = ("*.sh", "*.yaml", "*.yml", "*.toml", "*.json", "Makefile")
LISTENING_SCRIPTS = ("http.server", "nc -l", "ncat -l", "socat", "debugpy", "jupyter", "tensorboard")


def names_used(path: Path) -> Iterator[str]:
    """Whatever is called, passed on or subclassed by one of the names."""
    told = path.read_text()
    if not any(name in told for name in OPENERS):
        return
    for node in ast.walk(ast.parse(told)):
        if isinstance(node, ast.Name) and node.id in OPENERS:
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr in OPENERS:
            yield node.attr


def listeners(*folders: str) -> set[tuple[str, str]]:
    return {
        (path.relative_to(ROOT).as_posix(), name)
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for name in names_used(path)
    }


def test_every_place_that_opens_a_port_is_known() -> None:
    assert listeners(*SHIPPED) == set(KNOWN)


def test_no_script_opens_one() -> None:
    scripts = [path for folder in SHIPPED for kind in SCRIPTS for path in (ROOT / folder).rglob(kind)]
    assert scripts
    for path in (*scripts, ROOT / "template.yaml", ROOT / "Makefile"):
        told = path.read_text()
        assert not [word for word in LISTENING_SCRIPTS if word in told], path


def test_every_handler_asks_for_a_key_of_its_own() -> None:
    def below(kind: type) -> Iterator[type]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    nobody: Any = None
    made = (control._handler(nobody, draw()), imds._handler(nobody, "/x"))
    assert set(made) <= set(below(doors.Handler))
    for handler in below(doors.Handler):
        assert "admit" in vars(handler), handler
        assert not {"parse_request", "handle_one_request", "handle"} & set(vars(handler)), handler


def test_what_a_port_is_opened_with_names_this_machine() -> None:
    """Also those of the tests, which play AWS for a moment."""
    assert doors.LOOPBACK == "127.0.0.1"
    for folder in ("tests", *SHIPPED):
        for path in (ROOT / folder).rglob("*.py"):
            told = path.read_text()
            if not any(word in told for word in ("HTTPServer", "start_server", "bind(")):
                continue
            for node in ast.walk(ast.parse(told)):
                if not isinstance(node, ast.Call):
                    continue
                called = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                if called in ("HTTPServer", "ThreadingHTTPServer", "bind"):
                    address = ast.unparse(node.args[0])
                    assert address.startswith(("('127.0.0.1',", "(LOOPBACK,")), f"{path}: {address}"
                if called == "start_server":
                    assert ast.unparse(node.args[1]) == "'127.0.0.1'", path


def test_the_emulators_own_paths_that_are_open_are_few() -> None:
    code = ("/_ministack/lambda-layers/", "/_ministack/lambda-code/")
    assert ("/_ministack/health", *code) == emulator_gate.OPEN_INSIDE

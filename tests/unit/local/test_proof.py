"""What answers at a port of ours is believed when it proves to hold the stack's key, and never before."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from arcspot_cli.errors import CommandFailed
from arcspot_cli.local import instance_host, keys, ports, proof
from arcspot_cli.local import stack as local
from arcspot_cli.local.control import ControlServer
from arcspot_cli.local.ec2 import EmulatedCloud
from arcspot_cli.local.errors import LocalStackError
from arcspot_cli.local.gate import Refused, Request
from arcspot_cli.local.instance import Machine
from arcspot_cli.local.instance_host import InstanceHost
from arcspot_cli.local.processes import ProcessRecord, start_time
from arcspot_cli.main import main
from arcspot_cli.target import Choice, resolve
from tests.unit.local.strangers import KEY, proving, say, statuses

OTHERS = keys.AccessKey("LOCALKEYOFANOTHERONE", "a-secret-of-another-stack")
RUNS = base64.b64encode(b"#!/bin/bash\necho run > run\n").decode()
XML = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
INSTANCES = (
    f"<DescribeInstancesResponse {XML}><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>"
    "<imageId>ami-1</imageId><instanceType>g4dn.xlarge</instanceType><placement><availabilityZone>us-east-1a"
    "</availabilityZone></placement></item></instancesSet></item></reservationSet></DescribeInstancesResponse>"
)
USER_DATA = (
    f"<DescribeInstanceAttributeResponse {XML}><instanceId>i-1</instanceId><userData><value>{RUNS}</value>"
    "</userData></DescribeInstanceAttributeResponse>"
)

Say = Callable[[int, str], tuple[int, Mapping[str, str], bytes]]
"""What a stranger says of a request for a proof: its own port, the path that was asked for."""


def _passed_on(to: str) -> Say:
    """Ask the real one, which listens elsewhere, and give its answer as one's own."""

    def say_it(port: int, path: str) -> tuple[int, Mapping[str, str], bytes]:
        real = proving(to, KEY)
        try:
            wire = HTTPConnection("127.0.0.1", real.port, timeout=5)
            wire.request("GET", path)
            told = wire.getresponse().read()
            wire.close()
        finally:
            real.close()
        assert len(told) == 64, "the real one answers"
        return 200, {}, told

    return say_it


def _sent_on(port: int, path: str) -> tuple[int, Mapping[str, str], bytes]:
    return 307, {"Location": f"http://127.0.0.1:{port}/elsewhere"}, b""


STRANGERS: Mapping[str, Say] = {
    "yes to everything": lambda port, path: (200, {}, b"{}"),
    "nothing": lambda port, path: (200, {}, b""),
    "no": lambda port, path: (404, {}, b""),
    "an error": lambda port, path: (500, {}, b"\xff" * 64),
    "the nonce": lambda port, path: (200, {}, path.partition("?")[2].encode()),
    "another key": lambda port, path: (
        200,
        {},
        proof.Prover(proof.EMULATOR, OTHERS.secret_access_key).answer(port, path.partition("?")[2]).encode(),
    ),
    "an older answer": lambda port, path: (
        200,
        {},
        proof.Prover(proof.EMULATOR, KEY.secret_access_key).answer(port, "0" * 64).encode(),
    ),
    "the answer of our emulator at another port": _passed_on(proof.EMULATOR),
    "the answer of our instance host": _passed_on(proof.INSTANCE_HOST),
    "another place": _sent_on,
    "no end": lambda port, path: (200, {"Content-Length": "99999999"}, b"0" * 100_000),
}


@contextmanager
def stranger(says: Say) -> Iterator[tuple[str, list[str]]]:
    """A program at a port, without our key: it plays an emulator with an instance, and notes what it saw."""
    seen: list[str] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, headers, told = 200, {}, b"{}"  # type: int, Mapping[str, str], bytes
            if self.path.startswith(proof.PATH):
                status, headers, told = says(self.server.server_address[1], self.path)
            elif "Action=DescribeInstances" in body:
                told = INSTANCES.encode()
            elif "Action=" in body:
                told = USER_DATA.encode()
            if not self.path.startswith(proof.PATH):
                seen.append(f"{self.command} {self.path} {body}")
            self.send_response(status)
            for name, value in {"Content-Length": str(len(told)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def honest(port: int, path: str) -> tuple[int, Mapping[str, str], bytes]:
    """What only our emulator can say."""
    nonce = path.partition("?")[2]
    return 200, {}, proof.Prover(proof.EMULATOR, KEY.secret_access_key).answer(port, nonce).encode()


@pytest.fixture(params=STRANGERS)
def fake(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    with stranger(STRANGERS[request.param]) as at:
        yield at


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "template.yaml").write_text("Resources: {}\n")
    return tmp_path


def described(project: Path, at: str) -> local.LocalStack:
    """A stack whose process is there, and whose two ports are now somebody's."""
    started = start_time(os.getpid())
    assert started is not None
    stack = local.LocalStack(
        endpoint_url=at,
        region="us-east-1",
        stack_name="arcspot-local",
        control_url=at,
        state_dir=str(project / ".arcspot" / "local"),
        started_at="2026-01-01T00:00:00+00:00",
        processes=(ProcessRecord("emulator", os.getpid(), started),),
        key=KEY,
    )
    (project / ".arcspot" / "local").mkdir(parents=True)
    keys.keep(project / ".arcspot" / "local", KEY)
    (project / ".arcspot" / "local.json").write_text(stack.description())
    return stack


def quiet(line: str) -> None:
    """No progress wanted."""


def test_a_stranger_at_our_ports_is_believed_by_nobody(
    fake: tuple[str, list[str]], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, seen = fake
    stack = described(project, at)
    monkeypatch.chdir(project)
    for name in stack.environment():
        monkeypatch.setenv(name, "somebody's")
    for said in ("", at):
        with pytest.raises(LocalStackError, match="does not hold the key"):
            resolve(Choice(project_dir=project), {"AWS_ENDPOINT_URL": said} if said else {})
    assert os.environ["AWS_ACCESS_KEY_ID"] == "somebody's"
    for ask in (
        lambda: local.up(local.LocalOptions(project_dir=project), report=quiet),
        lambda: local.status(project),
        lambda: local.control(stack, "i-1", "crash"),
    ):
        with pytest.raises(LocalStackError, match="does not hold the key"):
            ask()
    told = CliRunner().invoke(main, ["local", "env"])
    assert told.exit_code != 0
    assert KEY.access_key_id not in told.output
    assert not seen, "nor is anything asked of it"


def test_a_key_in_the_environment_is_used_with_its_own_stack_alone(
    fake: tuple[str, list[str]], tmp_path: Path
) -> None:
    """As `local env` left it, when that stack has died and another program has its port."""
    at, seen = fake
    said = {"AWS_ENDPOINT_URL": at, **KEY.environment()}
    for endpoint in (at, at.replace("127.0.0.1", "localhost"), "http://example.com:1", "https://example.com"):
        with pytest.raises(LocalStackError, match="the key"):
            resolve(Choice(project_dir=tmp_path), {**said, "AWS_ENDPOINT_URL": endpoint})
    assert not seen
    with pytest.raises(CommandFailed, match="does not answer"):
        resolve(Choice(project_dir=tmp_path), {**said, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    other = {**said, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}
    assert resolve(Choice(project_dir=tmp_path), other).endpoint_url == at
    with stranger(honest) as (ours, _):
        assert resolve(Choice(project_dir=tmp_path), {**said, "AWS_ENDPOINT_URL": ours}).endpoint_url == ours


def connected(at: str) -> EmulatedCloud:
    return EmulatedCloud.connect("s", at, "us-east-1", KEY)


def test_an_instance_of_a_stranger_never_runs(
    fake: tuple[str, list[str]], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was found: whoever had the emulator's port had his user data run."""
    at, seen = fake
    said: list[str] = []
    watch: Any = None  # nothing is started that anybody could watch
    host = InstanceHost(connected(at), machine, watch, notice_seconds=120, say=said.append)
    monkeypatch.setattr(instance_host, "POLL_SECONDS", 0)
    instance_host.serve(host, threading.Event(), said.append)
    assert len(seen) == 1
    assert "does not hold the key" in said[-1]
    assert not host.summaries()
    assert not machine.instances_dir.exists() or not list(machine.instances_dir.iterdir())


def test_the_emulator_itself_is_believed() -> None:
    """So that what is refused above is refused for the proof alone."""
    with stranger(honest) as (at, _):
        cloud = connected(at)
        (instance,) = cloud.live_instances().values()
        assert cloud.facts(instance).user_data == base64.b64decode(RUNS)


def test_a_stranger_who_comes_after_the_answer_is_not_believed_either() -> None:
    answers = iter([honest, STRANGERS["yes to everything"]])
    with stranger(lambda port, path: next(answers)(port, path)) as (at, _):
        cloud = connected(at)
        (instance,) = cloud.live_instances().values()
        with pytest.raises(proof.Unproven):
            cloud.facts(instance)


def test_up_deploys_nothing_to_a_stranger(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes the port between its choice and the emulator's start gets no template, and no code is run."""
    sam = project / "sam"
    sam.write_text(f'#!/bin/sh\nmkdir -p {project}/.arcspot/build\necho "$@" >> {project}/asked\n')
    sam.chmod(0o755)
    monkeypatch.setenv("ARCSPOT_SAM", str(sam))
    with stranger(STRANGERS["yes to everything"]) as (at, seen):
        monkeypatch.setattr(local, "_start_emulator", lambda places, at: None)
        monkeypatch.setattr(ports, "number", lambda one: int(at.rpartition(":")[2]))
        with pytest.raises(LocalStackError, match="is not this stack's emulator: it does not hold the key"):
            local.up(local.LocalOptions(project_dir=project), report=quiet)
    assert not seen
    (asked,) = (project / "asked").read_text().splitlines()
    assert asked.startswith("build ")
    assert local.load(project) is None


def test_each_process_answers_for_itself_and_its_own_port() -> None:
    control = ControlServer(_Nobody(), KEY)
    try:
        proof.prove(control.url, KEY, proof.INSTANCE_HOST)
        with pytest.raises(proof.Unproven):
            proof.prove(control.url, KEY, proof.EMULATOR)
        with pytest.raises(proof.Unproven):
            proof.prove(control.url, OTHERS, proof.INSTANCE_HOST)
        told = say(control.port, f"GET {proof.PATH}?{'0' * 64} HTTP/1.1\r\nHost: evil\r\n\r\n".encode())
        assert statuses(told) == [HTTPStatus.FORBIDDEN], "no web page asks for one"
    finally:
        control.close()
    with pytest.raises(OSError, match="refused"):
        proof.prove(control.url, KEY, proof.INSTANCE_HOST)


class _Nobody:
    def summaries(self) -> list[Mapping[str, object]]:
        return []

    def command(self, name: str, verb: str) -> bool:
        return False


@pytest.mark.parametrize(
    "query", ["", "0", "0" * 63, "0" * 65, "g" * 64, "A" * 64, "0" * 63 + "\n", "nonce=x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_question_for_a_proof_is_one_nonce_or_is_refused(method: str, query: str) -> None:
    with pytest.raises(Refused):
        proof.asked(Request.of(method, f"{proof.PATH}?{query}", []))
    assert proof.asked(Request.of(method, f"/another{proof.PATH}?{'0' * 64}", [])) is None
    assert proof.asked(Request.of("GET", f"{proof.PATH}?{'0' * 64}", [])) == "0" * 64


def test_a_proof_tells_no_secret() -> None:
    prover = proof.Prover(proof.EMULATOR, KEY.secret_access_key)
    assert KEY.secret_access_key not in repr(prover)
    answers = {
        proof.Prover(name, key.secret_access_key).answer(port, nonce)
        for name in (proof.EMULATOR, proof.INSTANCE_HOST)
        for key in (KEY, OTHERS)
        for port in (1, 2)
        for nonce in ("0" * 64, "1" * 64)
    }
    assert len(answers) == 16

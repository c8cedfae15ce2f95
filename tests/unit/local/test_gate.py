"""Nobody without the key, and no web page with it, gets through a port that the local stack opens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypercorn.asyncio import serve
from hypercorn.config import Config

from arcspot_cli.local import emulator_gate, gate, proof, signing
from arcspot_cli.local.control import ControlServer
from arcspot_cli.local.emulator_gate import Gate
from arcspot_cli.local.gate import Kind, Refused, Request
from arcspot_cli.local.imds import TTL_HEADER, Metadata, MetadataServer, Notices
from arcspot_cli.local.ports import bound, number
from tests.unit.local.conftest import CREDENTIALS, FACTS
from tests.unit.local.strangers import ATTACKS, INSIDE, KEY, Door, say, statuses, wrong_signatures

SECRETS = {KEY.access_key_id: signing.Secret(KEY.secret_access_key)}
PROVER = proof.Prover(proof.EMULATOR, KEY.secret_access_key)
CORS = ((b"Access-Control-Allow-Origin", b"*"), (b"access-control-expose-headers", b"*"))


class Emulator:
    """An application that answers anything, with CORS as MiniStack does, and notes what it saw."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        self._seen.append(f"{scope['method']} {scope['path']} {body.decode()}".strip())
        status = 500 if scope["path"] == "/fails" else 200
        await send({"type": "http.response.start", "status": status, "headers": CORS})
        await send({"type": "http.response.body", "body": b"done"})


def route(method: str, path: str, headers: Mapping[str, str], query: Mapping[str, Sequence[str]]) -> str:
    """The service of a request, for an application that goes by what a request looks like."""
    if path.startswith("/bucket/"):
        return "s3"
    return headers.get("x-amz-target", "arcspot").partition(".")[0]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Door]:
    """The gate in front of an application, behind the emulator's own HTTP server."""
    with bound(1) as (at,):
        port = number(at)
    door = Door(port, "POST", "/2015-03-31/functions")
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    loop, stop, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def until_stopped() -> None:
        up.set()
        await stop.wait()

    guarded = Gate(Emulator(door.seen), port, SECRETS.get, route, PROVER)
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(serve(guarded, config, shutdown_trigger=until_stopped))
    )
    thread.start()
    assert up.wait(10)
    yield door
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


class Host:
    """Obeys everything, and notes it."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    def summaries(self) -> list[Mapping[str, object]]:
        self._seen.append("instances")
        return []

    def command(self, name: str, verb: str) -> bool:
        self._seen.append(f"{name} {verb}")
        return True


@pytest.fixture(scope="module")
def control() -> Iterator[Door]:
    seen: list[str] = []
    server = ControlServer(Host(seen), KEY)
    yield Door(server.port, "POST", "/instances/i-1/crash", seen=seen)
    server.close()


class Tokens(set[str]):
    """Tokens that were given out, noted also as what was seen."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self._seen = seen

    def add(self, token: str) -> None:
        super().add(token)
        self._seen.append("token")


@pytest.fixture(scope="module")
def metadata() -> Iterator[Door]:
    seen: list[str] = []
    server = MetadataServer(Metadata(FACTS, Notices(), lambda: CREDENTIALS, Tokens(seen)))
    path = server.url.partition(f":{server.port}")[2] + "/latest/api/token"
    yield Door(server.port, "PUT", path, {TTL_HEADER: "60"}, signs=False, seen=seen)
    server.close()


DOORS = ("emulator", "control", "metadata")


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    found: Door = request.getfixturevalue(request.param)
    found.seen.clear()
    return found


def refused(door: Door, sent: bytes) -> None:
    told = say(door.port, sent)
    assert all(400 <= status < 500 for status in statuses(told)), told
    assert b"access-control-" not in told.lower(), told
    assert not door.seen, told


def test_who_holds_the_key_is_let_in(door: Door) -> None:
    told = say(door.port, door.good())
    assert statuses(told) == [200], told
    assert len(door.seen) == 1
    assert b"access-control-" not in told.lower()


def test_our_own_name_does_as_well(door: Door) -> None:
    assert statuses(say(door.port, door.good(hosts=(f"localhost:{door.port}",)))) == [200]


@pytest.mark.parametrize("name", ATTACKS)
def test_a_stranger_is_refused_before_anything_sees_it(door: Door, name: str) -> None:
    refused(door, ATTACKS[name](door))


def test_version_2_is_not_spoken(emulator: Door) -> None:
    """An HTTP/1.1 client can ask for it (h2c), and each stream is then a request of its own."""
    emulator.seen.clear()
    request = Request.of("POST", emulator.good_path, _headers(emulator.good()))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ask(version: str) -> int:
        sent.clear()
        headers = [(name.encode(), value.encode()) for name, value in request.headers]
        scope = {
            "type": "http",
            "http_version": version,
            "method": "POST",
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": b"",
            "headers": headers,
        }
        await Gate(Emulator(emulator.seen), emulator.port, SECRETS.get, route, PROVER)(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(ask("1.1")) == 200
    assert asyncio.run(ask("2")) == 403
    assert len(emulator.seen) == 1


def _headers(sent: bytes) -> list[tuple[str, str]]:
    lines = sent.decode().partition("\r\n\r\n")[0].split("\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


@pytest.mark.parametrize("path", INSIDE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_emulators_own_paths_need_a_key_too(emulator: Door, method: str, path: str) -> None:
    emulator.seen.clear()
    refused(
        emulator, f"{method} {path} HTTP/1.1\r\nHost: {emulator.host}\r\nConnection: close\r\n\r\n".encode()
    )


@pytest.mark.parametrize("path", ["/_ministack/reset", "/%5fministack/config", "/_aws/x", "/_alb/lb"])
def test_the_emulators_switches_stay_shut_with_a_key(emulator: Door, path: str) -> None:
    emulator.seen.clear()
    refused(emulator, Door(emulator.port, "POST", path).good())


@pytest.mark.parametrize("name", ["emulator", "control"])
def test_only_a_signature_with_the_key_counts(name: str, request: pytest.FixtureRequest) -> None:
    door: Door = request.getfixturevalue(name)
    door.seen.clear()
    for what, sent in wrong_signatures(door):
        assert sent != door.good(), what
        refused(door, sent)


def test_the_way_to_metadata_is_told_to_its_instance_alone(metadata: Door) -> None:
    metadata.seen.clear()
    secret = metadata.good_path.split("/")[1]
    assert len(secret) > 40
    for path in ("", "/" + secret[:-1], "/" + secret + "x", "/" + secret.swapcase()):
        refused(metadata, Door(metadata.port, "PUT", path + "/latest/api/token", {TTL_HEADER: "60"}).good())
    refused(metadata, metadata.good(more=(("X-Forwarded-For", "10.0.0.1"),)))


def test_what_hides_behind_a_request_is_a_request_of_its_own(door: Door) -> None:
    hidden = f"POST /instances/i-1/crash HTTP/1.1\r\nHost: {door.host}\r\nConnection: close\r\n\r\n".encode()
    say(door.port, door.good() + hidden)
    say(door.port, door.good(more=(("Content-Length", "0"), ("Connection", "keep-alive"))) + hidden)
    say(door.port, door.good(more=(("Connection", "keep-alive"),)) + hidden)
    assert len(door.seen) == 3, "each time the first, and never the second"


def test_a_refused_body_is_no_request(door: Door) -> None:
    hidden = door.good()
    told = say(door.port, door.good(hosts=("evil.example",), body=hidden))
    assert statuses(told) in ([403], [400], []), told
    assert not door.seen


def test_two_ways_of_length_hide_nothing(emulator: Door) -> None:
    emulator.seen.clear()
    hidden = f"POST /hidden HTTP/1.1\r\nHost: {emulator.host}\r\nConnection: close\r\n\r\n".encode()
    for lengths in (
        (("Content-Length", "4"), ("Transfer-Encoding", "chunked")),
        (("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "identity")),
        (("Transfer-Encoding", "xchunked"),),
    ):
        say(emulator.port, emulator.good(more=lengths) + b"0\r\n\r\n" + hidden)
    assert not [what for what in emulator.seen if "hidden" in what]


def test_an_error_of_the_emulator_carries_no_cors_either(emulator: Door) -> None:
    told = say(emulator.port, Door(emulator.port, "GET", "/fails").good())
    assert statuses(told) == [500]
    assert b"access-control-" not in told.lower()


def test_a_body_that_is_not_the_signed_one_is_refused(emulator: Door) -> None:
    emulator.seen.clear()
    refused(emulator, emulator.good(body=b'{"Code": "other"}'))


def test_a_body_whose_hash_was_signed_is_held_against_it(emulator: Door) -> None:
    """As S3's clients sign: the head alone passes, and the body comes after."""
    emulator.seen.clear()
    asked = AWSRequest("PUT", f"http://{emulator.host}/bucket/key", data=b"mine")
    S3SigV4Auth(Credentials(KEY.access_key_id, KEY.secret_access_key), "s3", "us-east-1").add_auth(asked)
    upload = Door(
        emulator.port, "PUT", "/bucket/key", dict(asked.headers.items()), signs=False, seen=emulator.seen
    )
    refused(upload, upload.good(body=b"evil"))
    assert statuses(say(upload.port, upload.good(body=b"mine"))) == [200]
    assert emulator.seen == ["PUT /bucket/key mine"]


@pytest.mark.parametrize("service", ["s3", "sts", "ec2"])
def test_what_is_signed_for_one_service_reaches_no_other(emulator: Door, service: str) -> None:
    emulator.seen.clear()
    headers = signing.signed_headers(
        KEY, "POST", f"http://{emulator.host}/2015-03-31/functions", service=service
    )
    refused(emulator, Door(emulator.port, "POST", "/2015-03-31/functions", headers, signs=False).good())


@pytest.mark.parametrize("path", ["/iceberg/v1/config", "/v2/_catalog", "/v20180820/tags/x", "/oauth2/token"])
def test_no_path_leads_past_the_service_that_was_signed_for(emulator: Door, path: str) -> None:
    emulator.seen.clear()
    refused(emulator, Door(emulator.port, "POST", path).good())


def test_a_body_without_a_hash_is_kept_only_so_far(emulator: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator.seen.clear()
    monkeypatch.setattr(emulator_gate, "MAX_UNPROVEN_BYTES", 1000)
    refused(emulator, emulator.good(body=b"x" * 1001))
    stranger = emulator.good(body=b"x" * 500_000).replace(KEY.access_key_id.encode(), b"AKIAX")
    refused(emulator, stranger)


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:80/x", "127.0.0.1:80", "*", "", "//evil.example/x?", "?x"]
)
def test_a_target_is_a_path(target: str) -> None:
    request = Request.of("GET", target, [("Host", "127.0.0.1:80")])
    if target.startswith("/"):
        gate.foreign(request, 80)
        return
    with pytest.raises(Refused) as refusal:
        gate.foreign(request, 80)
    assert refusal.value.kind is Kind.FOREIGN


def test_metadata_without_a_host_header_says_nothing_of_what_was_sent(metadata: Door) -> None:
    told = say(metadata.port, b"GET /<script> HTTP/9.9\r\n\r\n" + b"<script>\r\n\r\n")
    assert b"<script>" not in told

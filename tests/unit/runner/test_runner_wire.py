"""What the runner says on the wire: calls of runner_api, the proof of identity, presigned HTTP."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import pytest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import EndpointConnectionError

from arcspot.errors import BadRequest, LaunchClosed, LeaseLost, NotYourself
from gpu_runner.api import ApiSilent, CallFailed, RunnerApi, lambda_invoke
from gpu_runner.artefacts import fact
from gpu_runner.contract import Left, Offered, Returned, UploadTarget
from gpu_runner.identity import proof, sts_endpoint
from gpu_runner.transfer import Transfer, TransferFailed, TransferRefused
from tests.unit.runner.runner_fakes import Clock, lease


class Server:
    """Answers with what was queued; an exception is raised instead. Keeps the requests."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []

    def __call__(self, request: bytes) -> bytes:
        self.requests.append(json.loads(request))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def ok(**result: Any) -> dict[str, Any]:
    return {"ok": True, "result": result}


TERMS = ok(secret="s3cret", deadline_in_s=7000, idle_s=120, heartbeat_s=20, lease_s=120, parallel=1)


def client(server: Server, clock: Clock | None = None) -> RunnerApi:
    clock = clock or Clock()
    return RunnerApi(server, "launch-1", clock.now, clock.sleep, random.Random(1))


def test_every_call_after_hello_carries_the_secret_and_hello_the_proof() -> None:
    server = Server(TERMS, ok(leases=[], drain=True))
    api = client(server)
    api.hello(instance_id="i-1", prove=lambda: {"url": "u", "headers": {}}, host={"device": "cpu"})
    assert api.claim(want=2).drain
    hello, claim = server.requests
    assert "secret" not in hello
    assert hello["proof"] == {"url": "u", "headers": {}}
    assert claim == {"verb": "claim", "launch_id": "launch-1", "want": 2, "secret": "s3cret"}


def test_each_try_of_hello_brings_a_fresh_proof() -> None:
    proofs = iter(range(9))
    server = Server(CallFailed("throttled"), TERMS)
    client(server).hello(instance_id="i", prove=lambda: {"url": str(next(proofs)), "headers": {}}, host={})
    assert [each["proof"]["url"] for each in server.requests] == ["0", "1"]


def test_a_lease_is_read_with_its_configuration() -> None:
    row = {
        "job_id": "j", "task_id": "t", "fence": 3, "expires_in_s": 120, "input_url": "u", "budget_s": 50,
        "checkpoint_url": None, "config": {"seed": 5, "budget_s": 40.0, "model": "xs.safetensors"},
    }  # fmt: skip
    (read,) = client(Server(ok(leases=[row], drain=False))).claim(want=1).leases
    assert read.checkpoint is None
    assert (read.fence, read.budget_s, read.config.seed, read.config.model) == (3, 50.0, 5, "xs.safetensors")


@pytest.mark.parametrize(
    ("said", "offered"),
    [
        ({"checkpoint_url": "u", "checkpoint": {"bytes": 9, "sha256": "ab"}}, Offered("u", 9, "ab")),
        ({"checkpoint_url": "u", "checkpoint": None}, None),  # nothing to check it by: not to be trusted
        ({"checkpoint_url": None, "checkpoint": None}, None),
        ({}, None),
    ],
)
def test_an_earlier_runners_checkpoint_is_read_only_with_its_checksum(said: Any, offered: Any) -> None:
    row = {"job_id": "j", "task_id": "t", "fence": 3, "input_url": "u", "budget_s": 50, **said}
    (read,) = client(Server(ok(leases=[row], drain=False))).claim(want=1).leases
    assert read.checkpoint == offered


@pytest.mark.parametrize("refusal", [NotYourself, LaunchClosed, LeaseLost, BadRequest])
def test_a_refusal_becomes_the_error_it_names_and_is_not_retried(refusal: type[Exception]) -> None:
    server = Server({"ok": False, "error": refusal.__name__, "message": "why"})
    with pytest.raises(refusal, match="why"):
        client(server).bye(why="idle")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "nonsense", [b"", b"null", b"{}", {"ok": False, "error": "Conflict"}, {"ok": True, "result": None}]
)
def test_an_answer_that_is_none_is_tried_again(nonsense: Any) -> None:
    server = Server(nonsense, ok())
    client(server).bye(why="idle")
    assert len(server.requests) == 2


def test_patience_ends_within_a_minute() -> None:
    clock, server = Clock(), Server(CallFailed("no network"))
    with pytest.raises(ApiSilent, match="no network"):
        client(server, clock).bye(why="idle")
    assert clock.now() - 1000 <= 60
    assert len(server.requests) > 5


def test_in_a_hurry_patience_ends_within_ten_seconds() -> None:
    clock = Clock()
    api = client(Server(CallFailed("no network")), clock)
    api.hurry()
    with pytest.raises(ApiSilent):
        api.bye(why="interrupted")
    assert clock.now() - 1000 <= 10


def test_release_says_how_long_each_job_was_worked_on() -> None:
    server = Server(ok())
    client(server).release(leases=[Returned(lease("a", fence=2), 12.5)], why="interrupted")
    rows = [{"job_id": "a", "fence": 2, "seconds": 12.5, "checkpoint": None}]
    assert server.requests[0]["leases"] == rows


def test_release_says_what_the_next_runner_may_go_on_from() -> None:
    server = Server(ok())
    left = Left("checkpoints/a/2/state.safetensors", 9, "f" * 64)
    client(server).release(leases=[Returned(lease("a", fence=2), 1.0, left)], why="interrupted")
    record = {"key": "checkpoints/a/2/state.safetensors", "bytes": 9, "sha256": "f" * 64}
    assert server.requests[0]["leases"][0]["checkpoint"] == record


class Lambda:
    """boto3's Lambda client as far as the runner knows it."""

    def __init__(self, body: bytes, *, error: str | None = None, fault: Exception | None = None) -> None:
        self.body, self.error, self.fault = body, error, fault

    def invoke(self, **_: object) -> dict[str, Any]:
        if self.fault:
            raise self.fault
        body = self.body
        payload = type("Body", (), {"read": lambda self: body})()
        return {"Payload": payload} | ({"FunctionError": self.error} if self.error else {})


def test_an_answer_of_the_function_is_passed_on() -> None:
    assert lambda_invoke(Lambda(b"{}"), "api")(b"") == b"{}"


@pytest.mark.parametrize(
    "broken",
    [
        Lambda(b'{"errorType": "X"}', error="Unhandled"),
        Lambda(b"", fault=EndpointConnectionError(endpoint_url="u")),
    ],
)
def test_a_function_error_and_a_dead_connection_are_failed_calls(broken: Lambda) -> None:
    with pytest.raises(CallFailed):
        lambda_invoke(broken, "api")(b"")


def verify(url: str, headers: dict[str, str], secret_key: str) -> bool:
    """Signature version 4 by the book, as STS checks it; shares no code with botocore."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(query)
    canonical_query = "&".join(
        sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in query if k != "X-Amz-Signature")
    )
    present = {"host": parts.netloc} | {k.lower(): v for k, v in headers.items()}
    signed = given["X-Amz-SignedHeaders"].split(";")
    lines = [f"{name}:{present.get(name, '')}" for name in signed]
    empty = hashlib.sha256(b"").hexdigest()
    request = "\n".join(["GET", parts.path, canonical_query, *lines, "", ";".join(signed), empty])
    _, date, region, service, _ = given["X-Amz-Credential"].split("/")
    scope = f"{date}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", given["X-Amz-Date"], scope, digest])
    key = f"AWS4{secret_key}".encode()
    for word in (date, region, service, "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest() == given["X-Amz-Signature"]


def signed_proof() -> dict[str, Any]:
    keys = ReadOnlyCredentials("AKID", "SECRET", "session/token+=")
    return proof(
        "launch-1", credentials=keys, region="eu-west-1", endpoint="https://sts.eu-west-1.amazonaws.com"
    )


def test_the_proof_holds_before_anyone_who_checks_signatures() -> None:
    made = signed_proof()
    assert verify(made["url"], made["headers"], "SECRET")


def test_the_proof_is_worthless_for_another_launch() -> None:
    assert not verify(signed_proof()["url"], {"x-arcspot-launch": "launch-2"}, "SECRET")


def test_the_proof_asks_only_who_we_are_and_lives_a_minute() -> None:
    query = parse_qs(urlsplit(signed_proof()["url"]).query)
    assert query["Action"] == ["GetCallerIdentity"]
    assert query["X-Amz-SignedHeaders"] == ["host;x-arcspot-launch"]
    assert int(query["X-Amz-Expires"][0]) <= 60
    assert query["X-Amz-Security-Token"] == ["session/token+="]


def test_the_proof_goes_to_the_regions_own_sts() -> None:
    assert sts_endpoint("eu-west-1", {}) == "https://sts.eu-west-1.amazonaws.com"
    assert sts_endpoint("cn-north-1", {}).endswith(".amazonaws.com.cn")
    assert (
        sts_endpoint("eu-west-1", {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566/"}) == "http://127.0.0.1:4566"
    )


class Bucket:
    """A web server that answers with queued status codes, then serves and keeps objects."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.objects: dict[str, bytes] = {}
        self.order: list[str] = []
        self.headers: dict[str, str] = {}
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def answer(self, code: int, body: bytes = b"") -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                if bucket.codes:
                    return self.answer(bucket.codes.pop(0), b"<Error/>")
                return self.answer(200, bucket.objects[self.path])

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if bucket.codes:
                    return self.answer(bucket.codes.pop(0), b"<Error/>")
                bucket.objects[self.path] = body
                bucket.order.append(self.path)
                bucket.headers = dict(self.headers)
                return self.answer(200)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    served = Bucket()
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def transfer() -> Iterator[Transfer]:
    made = Transfer(sleep=Clock().sleep)
    yield made
    made.pool.clear()


def test_an_object_is_fetched_through_passing_trouble(bucket: Bucket, transfer: Transfer) -> None:
    bucket.objects["/task"] = b"{}"
    bucket.codes = [503, 500]
    assert transfer.fetch(f"{bucket.url}/task", max_bytes=10) == b"{}"


def test_a_refused_object_is_asked_for_once(bucket: Bucket, transfer: Transfer) -> None:
    bucket.codes = [403, 403]
    with pytest.raises(TransferRefused, match="403"):
        transfer.fetch(f"{bucket.url}/task?X-Amz-Signature=hush", max_bytes=10)
    assert bucket.codes == [403]


def test_a_presigned_query_is_in_no_message(bucket: Bucket, transfer: Transfer) -> None:
    bucket.codes = [500] * 9
    with pytest.raises(TransferFailed) as caught:
        transfer.fetch(f"{bucket.url}/task?X-Amz-Signature=hush", max_bytes=10)
    assert "hush" not in str(caught.value)


def test_an_object_larger_than_allowed_is_refused(bucket: Bucket, transfer: Transfer) -> None:
    bucket.objects["/task"] = b"x" * 11
    with pytest.raises(TransferRefused, match="larger"):
        transfer.fetch(f"{bucket.url}/task", max_bytes=10)


def test_files_are_delivered_in_order_with_their_headers(
    bucket: Bucket, transfer: Transfer, tmp_path: Path
) -> None:
    files = []
    for name in ("z.json", "manifest.json"):
        (tmp_path / name).write_text(name)
        files.append(fact(tmp_path / name))
    bucket.codes = [503]
    transfer.deliver(
        files, {f.name: UploadTarget(f"{bucket.url}/{f.name}", {"x-sum": f.sha256}) for f in files}
    )
    assert bucket.order == ["/z.json", "/manifest.json"]
    assert bucket.headers["x-sum"] == files[-1].sha256


def test_a_file_that_changed_since_it_was_announced_is_not_sent(transfer: Transfer, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    announced = fact(path)
    path.write_text("another")
    with pytest.raises(TransferRefused, match="announced"):
        transfer.deliver([announced], {"a": UploadTarget("http://127.0.0.1:9/a", {})})

"""The gate in front of the AWS emulator: an ASGI application around it.

Nothing of the emulator sees a request that `gate.foreign` refuses or that is not signed with a key of this
stack: its own, or one that its STS handed out for a role. What was signed for one service reaches no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

from arcspot_cli.local import gate, proof, refusals, signing
from arcspot_cli.local.gate import Kind, Refused, Request
from arcspot_cli.local.proof import Prover
from arcspot_cli.local.signing import Claim, Lookup

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Route = Callable[[str, str, Mapping[str, str], Mapping[str, Sequence[str]]], str]
"""The service that an application takes a request for: method, path, headers, query."""

MAX_UNPROVEN_BYTES = 128 << 20
"""Of a body that must be read before its signature can be checked; Lambda's largest upload is half of it."""
MAX_DRAINED_BYTES = 1 << 20
DRAIN_SECONDS = 2.0
HEALTH = "/_ministack/health"
OPEN_INSIDE = (HEALTH, "/_ministack/lambda-layers/", "/_ministack/lambda-code/")
"""The emulator's own paths that something of ours asks for. No bucket's name begins with `_`."""
OTHER_PLANES = ("/iceberg", "/v2/", "/v20180820/", "/oauth2/", "/restapis/", "/WriteGetObjectResponse")
"""Paths that the emulator answers before it asks which service is meant; none is of a service of ours."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets signed requests of this machine's programs through to `app`."""

    app: App
    port: int
    lookup: Lookup
    route: Route
    prover: Prover
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await _close(receive, send)
            return
        send = without_cors(send)
        request = _request(scope)
        body = _Body(receive)
        try:
            gate.foreign(request, self.port)
            nonce = proof.asked(request)
            if nonce is not None:
                await _tell(200, {}, self.prover.answer(self.port, nonce).encode(), send)
                return
            _inside(request, scope["http_version"])
            replayed = await self._proven(request, scope["path"], body)
        except Refused as refused:
            await _refuse(request, refused, send)
            if refused.kind is not Kind.FOREIGN:
                await body.drain()  # a client that is still sending would miss the answer
            return
        except Disconnected:
            return
        await self.app(scope, replayed, send)

    async def _proven(self, request: Request, path: str, body: _Body) -> Receive:
        """The body of a request that is signed, as the app is to receive it. Raises Refused."""
        claim = signing.read_claim(request)
        signing.known(claim, self.lookup, self.clock())  # before anything of the body is kept
        whole = await body.whole(MAX_UNPROVEN_BYTES) if claim.declared is None else None
        checked = signing.check(request, self.lookup, now=self.clock(), body=lambda: whole or b"")
        self._one_service(request, path, checked.claim)
        if checked.body_is_free:
            return body.receive
        if whole is None:
            whole = await body.whole()
        checked.body(whole)
        return _replay(whole, body.receive)

    def _one_service(self, request: Request, path: str, claim: Claim) -> None:
        """What is signed for a service is for that service. Raises Refused."""
        if path.startswith(OPEN_INSIDE):
            return
        query = parse_qs(request.query, keep_blank_values=True)
        asked = self.route(request.method, path, dict(request.headers), query)
        if asked != claim.service or path.startswith(OTHER_PLANES):
            raise Refused(
                Kind.WRONG_SIGNATURE, f"Credential: signed for {claim.service!r}, and not for what is asked"
            )


class Disconnected(Exception):
    """The client left before its request was whole."""


class _Body:
    """The body of a request, read at most once."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self._ended = False

    async def whole(self, most: int | None = None) -> bytes:
        """All of it. Raises Refused when it is larger than `most` bytes."""
        parts, size = [], 0
        while not self._ended:
            part = await self._next()
            parts.append(part)
            size += len(part)
            if most is not None and size > most:
                raise Refused(Kind.TOO_LARGE, f"the body is larger than {most >> 20} MiB")
        return b"".join(parts)

    async def drain(self) -> None:
        """Read on for a moment, and keep nothing."""
        left = MAX_DRAINED_BYTES
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._ended and left > 0:
                    left -= len(await self._next())
        except (TimeoutError, Disconnected):
            return

    async def _next(self) -> bytes:
        message = await self.receive()
        if message["type"] != "http.request":
            raise Disconnected
        self._ended = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part


def without_cors(send: Send) -> Send:
    """Send every answer without a word of CORS: no page may read any."""

    async def send_without(message: Message) -> None:
        if "headers" in message:
            kept = [
                (name, value)
                for name, value in message["headers"]
                if not bytes(name).lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": kept}
        await send(message)

    return send_without


def _request(scope: MutableMapping[str, Any]) -> Request:
    raw = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    target = raw.decode("latin-1") + ("?" + query.decode("latin-1") if query else "")
    headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return Request.of(scope["method"], target, headers)


def _inside(request: Request, version: str) -> None:
    """Keep shut what nothing of ours needs, for holders of a key too: HTTP/2, the emulator's switches."""
    if version not in ("1.0", "1.1"):
        raise Refused(Kind.FOREIGN, f"HTTP/{version}: expected HTTP/1.1")
    path = unquote(request.path)
    if path.startswith("/_") and not path.startswith(OPEN_INSIDE):
        raise Refused(Kind.FOREIGN, f"{path}: the emulator's own paths are closed")


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, then what comes after it (the client leaving)."""
    waiting = [body]

    async def again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again


async def _refuse(request: Request, refused: Refused, send: Send) -> None:
    told = refusals.answer(request, refused)
    headers = {**told.headers, "Content-Length": str(len(told.body))}
    if refused.kind is Kind.FOREIGN:
        headers["Connection"] = "close"
    await _tell(told.status, headers, b"" if request.method == "HEAD" else told.body, send)


async def _tell(status: int, headers: Mapping[str, str], body: bytes, send: Send) -> None:
    whole = {"Content-Length": str(len(body)), **headers}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in whole.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _close(receive: Receive, send: Send) -> None:
    """No WebSocket: none of the services that the stack uses speaks it."""
    await receive()
    await send({"type": "websocket.close", "code": 1008})

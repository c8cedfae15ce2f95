"""The small HTTP servers of the instance host, each behind the gate.

Control port and instance metadata are handlers of this kind. One connection is one request: what follows
the first is never read, so nothing can be hidden behind it. Bodies are never read at all.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from arcspot_cli.local import gate, proof, refusals
from arcspot_cli.local.gate import Refused, Request

PATIENCE_SECONDS = 10.0
LOOPBACK = "127.0.0.1"


class Handler(BaseHTTPRequestHandler):
    """A request that comes to a `do_…` method has passed the gate, and `admit`."""

    protocol_version = "HTTP/1.0"  # no second request on a connection
    timeout = PATIENCE_SECONDS
    prover: proof.Prover | None = None
    """Of a door whose callers ask who is behind it."""

    def admit(self, request: Request) -> None:
        """Let a request pass that holds this door's key. Raises Refused."""
        raise NotImplementedError

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.close_connection = True
        request = Request.of(self.command, self.path, self.headers.items())
        try:
            port = cast(ThreadingHTTPServer, self.server).server_port
            gate.foreign(request, port)
            nonce = proof.asked(request) if self.prover else None
            if self.prover and nonce is not None:
                self.answer(HTTPStatus.OK, self.prover.answer(port, nonce).encode())
                return False
            self.admit(request)
        except Refused as refused:
            told = refusals.answer(request, refused)
            self.answer(HTTPStatus(told.status), told.body, told.headers)
            return False
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the instance host itself tells what was done, and runners poll every few seconds."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A bare status: the standard page would repeat what a stranger sent."""
        self.close_connection = True
        self.answer(HTTPStatus(code))

    def answer(self, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server:
    """Answers on a port of 127.0.0.1, any free one without a bound socket, until closed."""

    def __init__(self, handler: type[Handler], at: socket.socket | None = None) -> None:
        self._server = ThreadingHTTPServer((LOOPBACK, 0), handler, bind_and_activate=at is None)
        if at is not None:
            self._server.socket.close()
            self._server.socket = at
            self._server.server_address = at.getsockname()
            self._server.server_name, self._server.server_port = at.getsockname()
            self._server.server_activate()
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self.port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

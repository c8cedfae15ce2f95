"""The instance host's control port: look at instances, and give them bad days.

GET  /instances
POST /instances/<id>/interrupt | rebalance | freeze | thaw | crash
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol


class Controlled(Protocol):
    """What the control port acts on."""

    def summaries(self) -> Sequence[Mapping[str, object]]: ...
    def command(self, name: str, verb: str) -> bool: ...


class ControlServer:
    """Listens on 127.0.0.1 only."""

    def __init__(self, host: Controlled, port: int) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(host))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _handler(host: Controlled) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the host itself tells what was done."""

        def do_GET(self) -> None:
            if self.path == "/instances":
                self._answer(HTTPStatus.OK, host.summaries())
            else:
                self._answer(HTTPStatus.NOT_FOUND, {"message": "try GET /instances"})

        def do_POST(self) -> None:
            parts = self.path.strip("/").split("/")
            if len(parts) == 3 and parts[0] == "instances" and host.command(parts[1], parts[2]):
                self._answer(HTTPStatus.OK, {"done": parts[2]})
            else:
                self._answer(HTTPStatus.NOT_FOUND, {"message": "no such instance or verb"})

        def _answer(self, status: HTTPStatus, body: object) -> None:
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    return Handler

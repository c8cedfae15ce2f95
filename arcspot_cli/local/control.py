"""The instance host's control port: look at instances, and give them bad days.

GET  /instances
POST /instances/<id>/interrupt | rebalance | freeze | thaw | crash

Each request is signed with the stack's access key, as requests to AWS are (`signing.signed_headers`).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Protocol

from arcspot_cli.local import proof, signing
from arcspot_cli.local.doors import Handler, Server
from arcspot_cli.local.gate import Request
from arcspot_cli.local.keys import AccessKey


class Controlled(Protocol):
    """What the control port acts on."""

    def summaries(self) -> Sequence[Mapping[str, object]]: ...
    def command(self, name: str, verb: str) -> bool: ...


class ControlServer(Server):
    """Listens on 127.0.0.1 only, and obeys who holds the key."""

    def __init__(self, host: Controlled, key: AccessKey, at: socket.socket | None = None) -> None:
        super().__init__(_handler(host, key), at)


def _handler(host: Controlled, key: AccessKey) -> type[Handler]:
    secret = signing.Secret(key.secret_access_key)

    class ControlHandler(Handler):
        prover = proof.Prover(proof.INSTANCE_HOST, key.secret_access_key)

        def admit(self, request: Request) -> None:
            known = {key.access_key_id: secret}
            signing.check(request, known.get, now=datetime.now(UTC))

        def do_GET(self) -> None:
            if self.path == "/instances":
                self._told(HTTPStatus.OK, host.summaries())
            else:
                self._told(HTTPStatus.NOT_FOUND, {"message": "try GET /instances"})

        def do_POST(self) -> None:
            parts = self.path.strip("/").split("/")
            if len(parts) == 3 and parts[0] == "instances" and host.command(parts[1], parts[2]):
                self._told(HTTPStatus.OK, {"done": parts[2]})
            else:
                self._told(HTTPStatus.NOT_FOUND, {"message": "no such instance or verb"})

        def _told(self, status: HTTPStatus, body: object) -> None:
            self.answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    return ControlHandler

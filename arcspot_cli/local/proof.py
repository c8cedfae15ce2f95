"""What answers at a port of ours proves that it holds the stack's key, before anything it says is believed.

Any user of this machine can listen on a port that nobody has: while a process of ours starts, or after it
died. The caller sends a nonce; the answer is an HMAC of it with the stack's secret, for this one port of
this one process. Passed on from another port of the stack, or kept from another time, it is worth nothing.

    GET /_arcspot/proof?<nonce>     64 hexadecimal digits; the answer is 64 more

The question needs no signature and tells nothing: an HMAC of one's own nonce says nothing of the key
(RFC 2104), and signatures are made with another key and other texts.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from arcspot_cli.local.errors import LocalStackError
from arcspot_cli.local.gate import Kind, Refused, Request
from arcspot_cli.local.keys import AGAIN, AccessKey

PATH = "/_arcspot/proof"
EMULATOR = "emulator"
INSTANCE_HOST = "instance-host"
_NONCE = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Unproven(LocalStackError):
    """Something answers at a port of ours that does not hold the stack's key."""


@dataclass(frozen=True, slots=True)
class Prover:
    """One process of a stack, as it answers for itself."""

    name: str
    secret: str = field(repr=False)

    def answer(self, port: int, nonce: str) -> str:
        """What nobody without the secret can say."""
        told = f"arcspot-proof\n{self.name}\n{port}\n{nonce}"
        return hmac.new(self.secret.encode(), told.encode(), hashlib.sha256).hexdigest()


def asked(request: Request) -> str | None:
    """The nonce of a request for a proof, None for any other request. Raises Refused."""
    if request.path != PATH:
        return None
    if request.method != "GET" or not _NONCE.fullmatch(request.query):
        raise Refused(Kind.FOREIGN, f"expected GET {PATH}?<64 hexadecimal digits>")
    return request.query


def prove(url: str, key: AccessKey, name: str, *, timeout: float = 10.0) -> None:
    """Have what answers at a port of ours prove that it is the process of that name.

    `timeout` is in seconds. Raises OSError when nothing answers, Unproven when something else does.
    """
    at = urlsplit(url)
    port = (at.port or 0) if at.hostname in ("127.0.0.1", "localhost") else 0
    if not port:
        raise Unproven(f"{url}: expected a port of 127.0.0.1, for the key is a local stack's; {AGAIN}")
    nonce = secrets.token_hex(32)
    expected = Prover(name, key.secret_access_key).answer(port, nonce)
    # No proxy and no redirect: whoever is at this port answers for itself.
    wire = HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        wire.request("GET", f"{PATH}?{nonce}")
        told = wire.getresponse().read(len(expected) + 1)
    except HTTPException:
        told = b""
    finally:
        wire.close()
    if not hmac.compare_digest(told, expected.encode()):
        raise Unproven(
            f"what answers at {url} is not this stack's {name}: it does not hold the key. Another program, "
            f"perhaps of another user, has that port; {AGAIN}"
        )

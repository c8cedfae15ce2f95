"""Who may talk to a port of the local stack: programs that hold its key, and no web page.

Every port that we open asks `foreign` first, before a byte of a body is read: browsers always tell a page's
origin and the host they were sent to, so a page elsewhere gives itself away whatever it sends, also one
whose name was pointed at this machine (DNS rebinding). What passes still needs a key; see `signing`.

    arcspot_cli/local/emulator_gate.py   the AWS emulator
    arcspot_cli/local/doors.py           control port and instance metadata
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
"""What AWS's APIs use. OPTIONS is how a browser asks whether a page may; here no page may."""


class Kind(StrEnum):
    """Why a request is refused; `refusals` gives each the code that AWS's services use."""

    FOREIGN = "foreign"
    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown key"
    EXPIRED_KEY = "expired key"
    WRONG_SIGNATURE = "wrong signature"
    OUT_OF_TIME = "out of time"
    WRONG_BODY = "wrong body"
    TOO_LARGE = "too large"


class Refused(Exception):
    """A request goes no further; the message says why, and what to do."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class Request:
    """The head of an HTTP request, as it came."""

    method: str
    path: str
    """Still percent-encoded."""
    query: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order they came, repeated ones each."""

    @classmethod
    def of(cls, method: str, target: str, headers: Iterable[tuple[str, str]]) -> Request:
        """From a request line's method and target."""
        path, _, query = target.partition("?")
        return cls(method, path, query, tuple((name.lower(), value.strip(" \t")) for name, value in headers))

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for found, value in self.headers if found == name]

    def one(self, name: str) -> str | None:
        """A header's value, None without it. Raises Refused when it came more than once."""
        values = self.all(name)
        if len(values) > 1:
            raise Refused(Kind.MALFORMED, f"header {name}: expected one value, found {len(values)}")
        return values[0] if values else None


def own_hosts(port: int) -> frozenset[str]:
    """The only hosts that a request to our port can mean. No name that DNS gives away is among them."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def foreign(request: Request, port: int) -> None:
    """Let a request pass that may come from a program on this machine. Raises Refused otherwise.

    A host other than ours is a name that somebody pointed here (DNS rebinding), or a proxy's. Browsers send
    Origin with everything but plain GETs, Referer with most, Sec-Fetch-Site with all (Fetch standard,
    sections 3.2 and "Fetch Metadata"); none of our clients sends any. We serve no page, so none is ours.
    """
    hosts = request.all("host")
    if len(hosts) != 1 or hosts[0] not in own_hosts(port):
        told = " and ".join(map(repr, hosts)) or "none"
        raise Refused(Kind.FOREIGN, f"Host: expected 127.0.0.1:{port}, found {told}")
    if not request.path.startswith("/"):
        raise Refused(Kind.FOREIGN, "request target: expected a path, found a whole address or none")
    for name in ("origin", "referer"):
        if request.all(name):
            raise Refused(Kind.FOREIGN, f"{name.capitalize()}: no web page talks to a local stack")
    if any(site not in ("none", "same-origin") for site in request.all("sec-fetch-site")):
        raise Refused(Kind.FOREIGN, "Sec-Fetch-Site: no web page talks to a local stack")
    if request.all("upgrade"):
        raise Refused(Kind.FOREIGN, "Upgrade: nothing but HTTP is spoken here")
    if request.method not in METHODS:
        raise Refused(Kind.FOREIGN, f"{request.method}: expected one of {', '.join(sorted(METHODS))}")
    _one_length(request)


def _one_length(request: Request) -> None:
    """No request whose end two readers would see in two places."""
    lengths, codings = request.all("content-length"), request.all("transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Refused(Kind.MALFORMED, "expected one Content-Length or one Transfer-Encoding")
    if not all(length.isascii() and length.isdigit() for length in lengths):
        raise Refused(Kind.MALFORMED, "Content-Length: expected a number")

"""What a web page, or anybody without the key, can send to a port of this machine, as bytes on the wire."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from arcspot_cli.local import proof, signing
from arcspot_cli.local.doors import Handler, Server
from arcspot_cli.local.gate import Kind, Refused, Request
from arcspot_cli.local.keys import AccessKey

KEY = AccessKey("LOCALKEYOFTHISSTACK2", "a-secret-of-this-stack")
EVIL = "evil.example"


@dataclass
class Door:
    """A port of ours that answers, with one request that it takes."""

    port: int
    good_method: str
    good_path: str
    good_headers: Mapping[str, str] = field(default_factory=dict)
    signs: bool = True
    seen: list[str] = field(default_factory=list)
    """What came through the gate."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def good(
        self,
        *,
        method: str | None = None,
        target: str | None = None,
        hosts: tuple[str, ...] | None = None,
        more: tuple[tuple[str, str], ...] = (),
        version: str = "HTTP/1.1",
        body: bytes = b"",
    ) -> bytes:
        """The request that it takes, signed, with something about it changed before it was signed."""
        hosts = (self.host,) if hosts is None else hosts
        method = method or self.good_method
        headers = dict(self.good_headers)
        if self.signs:
            signed_for = hosts[-1] if hosts and re.fullmatch(r"[\w.:-]+", hosts[-1]) else self.host
            url = f"http://{signed_for}{self.good_path}"
            headers |= signing.signed_headers(KEY, method, url)
        lines = [f"{method} {target or self.good_path} {version}".rstrip()]
        lines += [f"Host: {host}" for host in hosts]
        lines += [f"{name}: {value}" for name, value in (*headers.items(), *more)]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        if "Connection" not in dict(more):
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def proving(name: str, key: AccessKey) -> Server:
    """A process that proves to hold a key, and does nothing else."""

    class Proving(Handler):
        prover = proof.Prover(name, key.secret_access_key)

        def admit(self, request: Request) -> None:
            raise Refused(Kind.FOREIGN, "proves, and nothing else")

    return Server(Proving)


def say(port: int, sent: bytes) -> bytes:
    """Send bytes, and read until the other side ends it."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
        wire.sendall(sent)
        told = b""
        with suppress(ConnectionResetError):
            while part := wire.recv(65536):
                told += part
        return told


def listening(pid: int) -> list[str]:
    """`address:port` of every TCP socket that a process listens on (proc(5), in hexadecimal as there)."""
    held = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return sorted(row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in held)


def loopback(port: int) -> str:
    """A port of 127.0.0.1 as `listening` tells it, on a little-endian machine."""
    return f"0100007F:{port:04X}"


def statuses(told: bytes) -> list[int]:
    """The status of each answer in what came back, without 100 and 101."""
    found = [line.split(b" ")[1] for line in told.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    return [int(status) for status in found if int(status) >= 200]


Attack = Callable[[Door], bytes]


def with_header(name: str, value: str) -> Attack:
    """A signed request with one more header; `{port}` stands for the door's."""
    return lambda door: door.good(more=((name, value.format(port=door.port)),))


def with_hosts(*hosts: str) -> Attack:
    """A signed request to other hosts than the door's."""
    return lambda door: door.good(hosts=tuple(host.format(port=door.port) for host in hosts))


def plain(method: str, path: str, *headers: str, body: str = "") -> Attack:
    """An unsigned request to the right host, as a page's form or `fetch` in mode no-cors sends it."""

    def attack(door: Door) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {door.host}", "Connection: close", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    return attack


FROM_A_PAGE: Mapping[str, Attack] = {
    "a page of another site": with_header("Origin", f"https://{EVIL}"),
    "a page of a file or a sandbox": with_header("Origin", "null"),
    "a page of another port": with_header("Origin", "http://localhost:3000"),
    "a page of our own port": with_header("Origin", "http://127.0.0.1:{port}"),
    "an origin of nothing": with_header("Origin", ""),
    "a link on a page": with_header("Referer", f"https://{EVIL}/page"),
    "a request across sites": with_header("Sec-Fetch-Site", "cross-site"),
    "a request across ports": with_header("Sec-Fetch-Site", "same-site"),
    "two words on the site": lambda door: door.good(
        more=(("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site"))
    ),
}
REBOUND: Mapping[str, Attack] = {
    "another name": with_hosts(f"{EVIL}:{{port}}"),
    "another name without a port": with_hosts(EVIL),
    "our address without a port": with_hosts("127.0.0.1"),
    "our address and another port": with_hosts("127.0.0.1:1"),
    "our address with a dot": with_hosts("127.0.0.1.:{port}"),
    "our name with a dot": with_hosts("localhost.:{port}"),
    "our name in capitals": with_hosts("LOCALHOST:{port}"),
    "our address, shortened": with_hosts("127.1:{port}"),
    "our address as a number": with_hosts("2130706433:{port}"),
    "our address in hexadecimal": with_hosts("0x7f.1:{port}"),
    "another address of this machine": with_hosts("127.0.0.2:{port}"),
    "every address": with_hosts("0.0.0.0:{port}"),
    "version 6": with_hosts("[::1]:{port}"),
    "version 4 in version 6": with_hosts("[::ffff:127.0.0.1]:{port}"),
    "a user before it": with_hosts("user@127.0.0.1:{port}"),
    "a name that ends as ours": with_hosts(f"127.0.0.1.{EVIL}:{{port}}"),
    "a name below ours": with_hosts("bucket.localhost:{port}"),
    "a bucket's name": with_hosts("bucket.s3.localhost:{port}"),
    "a name that means this machine": with_hosts("127.0.0.1.nip.io:{port}"),
    "a list": with_hosts("127.0.0.1:{port}, evil.example"),
    "an empty host": with_hosts(""),
    "no host": with_hosts(),
    "no host in version 1.0": lambda door: door.good(hosts=(), version="HTTP/1.0"),
    "no version at all": lambda door: door.good(version=""),
    "two hosts, ours last": with_hosts(EVIL, "127.0.0.1:{port}"),
    "two hosts, ours first": with_hosts("127.0.0.1:{port}", EVIL),
    "ours twice": with_hosts("127.0.0.1:{port}", "127.0.0.1:{port}"),
    "a host on two lines": with_hosts("127.0.0.1:{port}\r\n evil.example"),
    "what a proxy says instead": lambda door: door.good(
        hosts=(EVIL,), more=(("X-Forwarded-Host", door.host), ("Forwarded", f"host={door.host}"))
    ),
    "a whole address": lambda door: door.good(target=f"http://{EVIL}{door.good_path}"),
    "a whole address, ours": lambda door: door.good(target=f"http://{door.host}{door.good_path}"),
    "an authority": lambda door: door.good(target=door.host),
}
OTHER_WAYS: Mapping[str, Attack] = {
    "may a page": lambda door: door.good(
        method="OPTIONS", more=(("Access-Control-Request-Method", "POST"), ("Origin", f"https://{EVIL}"))
    ),
    "what may anybody": lambda door: door.good(method="OPTIONS"),
    "an asterisk": lambda door: door.good(method="OPTIONS", target="*"),
    "an echo": lambda door: door.good(method="TRACE"),
    "a tunnel": lambda door: door.good(method="CONNECT", target=f"{EVIL}:443"),
    "a word of no meaning": lambda door: door.good(method="BREW"),
    "a web socket": lambda door: door.good(
        method="GET",
        more=(
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Origin", f"https://{EVIL}"),
        ),
    ),
    "a web socket of a program": lambda door: door.good(
        method="GET",
        more=(
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ),
    ),
    "another protocol": lambda door: door.good(more=(("Connection", "Upgrade"), ("Upgrade", "gopher"))),
    "version 2 from the start": lambda door: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "two lengths": lambda door: door.good(more=(("Content-Length", "0"), ("Content-Length", "5"))),
    "a length that is none": lambda door: door.good(more=(("Content-Length", "-1"),)),
    "a page's form": plain(
        "POST", "/", f"Origin: https://{EVIL}", "Content-Type: application/x-www-form-urlencoded", body="a=b"
    ),
    "a page's form with a file": plain(
        "POST", "/bucket", "Content-Type: multipart/form-data; boundary=x", body="--x--\r\n"
    ),
    "a simple request": plain(
        "POST", "/2015-03-31/functions", "Content-Type: text/plain", f"Origin: https://{EVIL}", body="{}"
    ),
    "a simple request without an origin": plain(
        "POST", "/2015-03-31/functions/f/invocations", "Content-Type: text/plain", body="{}"
    ),
    "an image": plain("GET", "/bucket/key", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"),
    "control": plain("POST", "/instances/i-1/crash", "Content-Type: text/plain"),
    "instances": plain("GET", "/instances"),
    "a metadata token": plain("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60"),
    "metadata": plain("GET", "/latest/meta-data/iam/security-credentials/"),
}
ATTACKS: Mapping[str, Attack] = {**FROM_A_PAGE, **REBOUND, **OTHER_WAYS}

INSIDE = (
    "/health",
    "/_ministack/health",
    "/_localstack/health",
    "/_ministack/ready",
    "/_ministack/reset",
    "/_ministack/config",
    "/_ministack/rds/iam-auth",
    "/_ministack/lambda-code/000000000000/us-east-1/f",
    "/_ministack/lambda-layers/000000000000/us-east-1/l/1/content",
    "/_aws/execute-api/api/stage/path",
    "/_aws/sqs/messages",
    "/_alb/lb/path",
    "/%5Fministack/reset",
    "/latest/meta-data/",
    "/oauth2/authorize",
    "/",
)
"""Paths that the emulator answers by itself, some of which change it."""


def wrong_signatures(door: Door) -> Iterator[tuple[str, bytes]]:
    """The request that a door takes, signed with anything but its key, or not as it was sent."""
    good = door.good()
    signature = good.partition(b"Signature=")[2][:64]
    yield "another signature", good.replace(signature, b"0" * 64)
    yield "another path", good.replace(door.good_path.encode(), door.good_path.encode() + b"x", 1)
    yield "a query", good.replace(door.good_path.encode(), door.good_path.encode() + b"?x=y", 1)
    yield "another method", good.replace(door.good_method.encode(), b"DELETE", 1)
    yield "another day", good.replace(b"X-Amz-Date: 20", b"X-Amz-Date: 19")
    yield "no date", good.replace(b"X-Amz-Date", b"X-Other-Date")
    yield "a host that is not signed", good.replace(b"SignedHeaders=host;", b"SignedHeaders=")
    yield "an older algorithm", good.replace(b"AWS4-HMAC-SHA256", b"AWS3-HMAC-SHA256")
    yield "another algorithm", good.replace(b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256")
    yield "the id alone", good.replace(b", Signature=" + signature, b"")
    yield "two", good.replace(b"\r\nAuthorization", b"\r\nAuthorization: x\r\nAuthorization", 1)
    for key in ("test", "000000000000", "AKIAIOSFODNN7EXAMPLE", "", KEY.access_key_id.lower()):
        yield f"the key {key!r}", good.replace(KEY.access_key_id.encode(), key.encode())
    for said in ("Bearer " + KEY.access_key_id, "Basic dGVzdDp0ZXN0", f"AWS {KEY.access_key_id}:c2ln", ""):
        head, _, rest = good.partition(b"Authorization: ")
        yield f"{said!r}", head + f"Authorization: {said}\r\n".encode() + rest.partition(b"\r\n")[2]

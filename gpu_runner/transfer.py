"""Fetch and deliver bytes over presigned URLs.

A broken connection or a 5xx is tried again with full jitter; a 4xx is an answer and is not. Of those, 409
says that another request for the same key was under way, and 412 that an object is there already.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import urllib3

from arcspot.errors import ArcspotError
from gpu_runner.contract import FileFact, UploadTarget

log = logging.getLogger(__name__)

TRIES = 5
TRIED_AGAIN = (408, 409, 429)
LONGEST_PAUSE_S = 8.0
CONNECT_S = 5.0
READ_S = 30.0
HURRIED_READ_S = 8.0


def hurried_pool() -> urllib3.PoolManager:
    """Connections that give up soon, for what has to fit into the minute after a spot notice."""
    timeout = urllib3.Timeout(connect=CONNECT_S, read=HURRIED_READ_S)
    return urllib3.PoolManager(timeout=timeout, retries=False)


class ThereAlready(ArcspotError):
    """S3 answered 412: an object is under that key already, and the URL takes no second one."""


class TransferRefused(ArcspotError):
    """S3 answered with a 4xx, or with other bytes than agreed: no retry can help."""


class TransferFailed(ArcspotError):
    """No usable answer in several tries: the network or S3, not the job."""


@dataclass(slots=True)
class Transfer:
    """Presigned HTTP. Raises TransferRefused and TransferFailed; safe to use from several threads."""

    sleep: Callable[[float], object]
    pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S), retries=False
        )
    )
    rng: random.Random = field(default_factory=random.Random)
    tries: int = TRIES

    def fetch(self, url: str, *, max_bytes: int) -> bytes:
        """The object's bytes; refused when there are more than `max_bytes`."""
        body = self._send("GET", url, {}, None, max_bytes=max_bytes)
        if len(body) > max_bytes:
            raise TransferRefused(f"{_shown(url)} is larger than the {max_bytes:,} bytes allowed")
        return body

    def deliver(self, files: Sequence[FileFact], targets: Mapping[str, UploadTarget]) -> None:
        """PUT the files in the given order, so that whoever sees the last one can read all.

        A file that is there already was delivered by a try whose answer was lost: nobody else has a URL
        for this attempt's keys. The server holds its checksum against the one that is announced to it.
        """
        for fact in files:
            body = fact.path.read_bytes()
            if len(body) != fact.size:
                raise TransferRefused(f"{fact.name} has {len(body):,} bytes, not {fact.size:,} as announced")
            target = targets.get(fact.name)
            if target is None:
                raise TransferRefused(f"no upload URL was given for {fact.name}")
            try:
                self._send("PUT", target.url, dict(target.headers), body, max_bytes=0)
            except ThereAlready:
                log.info("%s is there already", fact.name)

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, *, max_bytes: int
    ) -> bytes:
        why = ""
        for tried in range(self.tries):
            if tried:
                pause = self.rng.uniform(0, min(LONGEST_PAUSE_S, 0.5 * 2**tried))
                log.warning("%s %s failed (%s), again in %.1f s", method, _shown(url), why, pause)
                self.sleep(pause)
            try:
                status, answer = self._once(method, url, headers, body, max_bytes)
            except (urllib3.exceptions.HTTPError, OSError) as fault:
                why = f"{type(fault).__name__}: {fault}"
                continue
            if 200 <= status < 300:
                return answer
            why = f"HTTP {status}: {answer[:300].decode(errors='replace')}"
            if status == 412:
                raise ThereAlready(f"{method} {_shown(url)}: {why}")
            if 400 <= status < 500 and status not in TRIED_AGAIN:
                raise TransferRefused(f"{method} {_shown(url)}: {why}")
        raise TransferFailed(f"{method} {_shown(url)} failed {self.tries} times: {why}")

    def _once(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, max_bytes: int
    ) -> tuple[int, bytes]:
        """One request; reads one byte more than allowed, so that too much can be told."""
        answer = self.pool.request(
            method, url, headers=headers, body=body, preload_content=False, redirect=False
        )
        try:
            status: int = answer.status
            wanted = max_bytes + 1 if status < 300 else 1024
            received: bytes = answer.read(wanted) if method == "GET" or status >= 300 else b""
            declared = answer.headers.get("Content-Length")
            if method == "GET" and status < 300 and declared and len(received) < min(int(declared), wanted):
                raise OSError(f"only {len(received)} of {declared} bytes came")
            return status, received
        finally:
            answer.drain_conn()
            answer.release_conn()


def _shown(url: str) -> str:
    """The URL without its query: a presigned query is a secret and has no place in a log."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"

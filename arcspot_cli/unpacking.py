"""What a runner left of one attempt, as files: out of `result.zip`, or one by one as earlier releases did."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from arcspot.domain import results
from arcspot.domain.jobs import Job
from arcspot.domain.results import MANIFEST, RESULT
from arcspot.errors import ObjectUnreadable, RecordMissing, ResultBroken
from arcspot.ports import Objects
from arcspot.services.results import predictions
from arcspot_cli.errors import CommandFailed

T = TypeVar("T")
AGAIN = "run the command again, and if it stays so, look at the object's versions"


@dataclass(frozen=True, slots=True)
class Left:
    """A result in the bucket. `manifest` is its manifest's bytes; `end` those of `result.zip` that were read
    for it, or None where the result's files are objects of their own."""

    bucket: Objects
    prefix: str
    manifest: bytes
    end: bytes | None

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Every file but the manifest, checked against it. Raises CommandFailed."""
        if self.end is None:
            yield from self._one_by_one()
            return
        whole = self.end
        if len(whole) >= results.END_BYTES:
            whole = _read(self.bucket, self.prefix + RESULT)
        files = _checked(self.prefix, lambda: results.unpacked(whole))
        if files.pop(MANIFEST) != self.manifest:
            raise CommandFailed(f"{self.prefix}{RESULT} changed while it was read; {AGAIN}")
        yield from files.items()

    def _one_by_one(self) -> Iterator[tuple[str, bytes]]:
        manifest = _checked(self.prefix, lambda: results.document({MANIFEST: self.manifest}, MANIFEST))
        told = manifest.get("files") if isinstance(manifest, dict) else None
        if not isinstance(told, dict) or not all(isinstance(sums, dict) for sums in told.values()):
            raise CommandFailed(f"{self.prefix}{MANIFEST} does not name the files of a result")
        for name, sums in told.items():
            if Path(name).name != name or name.startswith("."):
                raise CommandFailed(f"{self.prefix}{MANIFEST} names {name!r}, which is no plain file name")
            body = _read(self.bucket, self.prefix + name)
            if hashlib.sha256(body).hexdigest() != sums.get("sha256"):
                raise CommandFailed(f"{self.prefix}{name} is not what its manifest promises; {AGAIN}")
            yield name, body


def left(bucket: Objects, job: Job) -> Left:
    """Look for a job's result; its end alone is read. Raises CommandFailed."""
    prefix = job.result_prefix
    try:
        end = bucket.read(prefix + RESULT, last=results.END_BYTES)
    except ObjectUnreadable as error:
        raise CommandFailed(str(error)) from error
    except RecordMissing:
        return Left(bucket, prefix, _read(bucket, prefix + MANIFEST), None)
    return Left(bucket, prefix, _checked(prefix, lambda: results.part({RESULT: end}, MANIFEST)), end)


def prediction(bucket: Objects, job: Job) -> bytes:
    """The bytes of a job's answer. Raises CommandFailed."""
    found = predictions(bucket, [job.result_prefix])[job.result_prefix]
    if isinstance(found, Exception):
        raise CommandFailed(f"{job.result_prefix}: {found}")
    return found


def _checked(prefix: str, look: Callable[[], T]) -> T:
    try:
        return look()
    except ResultBroken as fault:
        raise CommandFailed(f"{prefix}: {fault}; {AGAIN}") from fault


def _read(bucket: Objects, key: str) -> bytes:
    try:
        return bucket.read(key)
    except ObjectUnreadable as error:
        raise CommandFailed(str(error)) from error
    except RecordMissing as error:
        raise CommandFailed(f"{error}; it was removed from the bucket") from error

"""What a runner left of one attempt, as files, each held against its manifest.

They are in one `result.zip`, or objects of their own as runners of earlier releases left them.

Nothing in the bucket is trusted: sizes are asked before anything is read, names are plain or refused, and
whatever is wrong is one CommandFailed that names the object and the next step.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from arcspot.domain import documents, results, scoring
from arcspot.domain.jobs import Job
from arcspot.domain.results import MANIFEST, METRICS, PICTURE, PREDICTION, RESULT, WEIGHTS
from arcspot.errors import AnswerRefused, EndTooShort, ObjectUnreadable, RecordMissing, ResultBroken
from arcspot.ports import Objects
from arcspot_cli import faults, folders
from arcspot_cli.errors import CommandFailed

__all__ = [
    "ABOUT", "MANIFEST", "PICTURE", "PREDICTION", "TAKEN", "Left", "Objects", "Promise", "attempts", "left",
    "prediction", "promised", "read",
]  # fmt: skip

T = TypeVar("T")
ABOUT = "arcspot.json"
"""Written beside a result's files; none of them may be called so."""

TAKEN = (WEIGHTS, METRICS, PREDICTION)
"""All that is taken of a result: data that no system opens as a program or a page."""

MAX_JSON_BYTES = 4 * 1024 * 1024
"""Of metrics, and of the head of weights: rules in it have up to a million characters, escaped."""

MAX_MANIFEST_BYTES = 1024 * 1024
MAX_FILE_BYTES = 128 * 1024 * 1024  # weights have 1 to 20 MB
MAX_FILES = 100
AGAIN = "run the command again, and if it stays so, look at the object's versions"
_ONE_AT_A_TIME = threading.Lock()  # hostile JSON takes a hundred times its size in memory
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Promise:
    """What a manifest says of a file. `size` is None where it says nothing."""

    sha256: str
    size: int | None


Have = Callable[[str, Promise], bool]
"""Whether a file is there already, as it is promised."""


@dataclass(frozen=True, slots=True)
class Left:
    """A result in the bucket: its manifest's bytes, and what that promises by the files' names.

    `end` is the end of `result.zip`, read for the manifest; None where the files are objects of their own.
    """

    bucket: Objects
    prefix: str
    manifest: bytes
    promises: Mapping[str, Promise]
    end: bytes | None = None

    def files(self, have: Have = lambda name, promise: False) -> Iterator[tuple[str, bytes]]:
        """Of the files that are `TAKEN`, those that are not there already. Raises CommandFailed."""
        wanted = {name: told for name, told in self.taken.items() if not have(name, told)}
        found = self._apart(wanted) if self.end is None else self._unpacked(self.end, wanted)
        for name, body in found:
            _check(self.prefix + name, body)
            yield name, body

    @property
    def taken(self) -> dict[str, Promise]:
        return {name: told for name, told in self.promises.items() if name in TAKEN}

    @property
    def unknown(self) -> list[str]:
        """Names that no runner of ours gives a file; such files stay in the bucket."""
        return sorted(set(self.promises) - set(results.FILES))

    def _apart(self, wanted: Mapping[str, Promise]) -> Iterator[tuple[str, bytes]]:
        for name, promise in wanted.items():
            key = self.prefix + name
            most = scoring.MAX_PREDICTION_BYTES if name == PREDICTION else MAX_FILE_BYTES
            body = read(self.bucket, key, most=most, size=promise.size)
            if hashlib.sha256(body).hexdigest() != promise.sha256:
                raise CommandFailed(f"{key} is not what its manifest promises; {AGAIN}")
            yield name, body

    def _unpacked(self, end: bytes, wanted: Mapping[str, Promise]) -> Iterator[tuple[str, bytes]]:
        key = self.prefix + RESULT
        if not wanted:
            return
        whole = end if len(end) < results.END_BYTES else read(self.bucket, key, most=results.MOST_OF_A_RESULT)
        try:
            files = results.unpacked(whole)
        except ResultBroken as fault:
            raise _broken(key, fault) from fault
        if files[MANIFEST] != self.manifest:
            raise CommandFailed(f"{key} changed while it was read; {AGAIN}")
        for name in wanted:
            yield name, files[name]


def left(bucket: Objects, job: Job) -> Left:
    """Look for a job's result, of `result.zip` at its end alone. Raises CommandFailed."""
    prefix = job.result_prefix
    key = prefix + RESULT
    if not _there(bucket, key):
        manifest = read(bucket, prefix + MANIFEST, most=MAX_MANIFEST_BYTES)
        return Left(bucket, prefix, manifest, _promises(prefix + MANIFEST, manifest, job))
    end, manifest = _document(bucket, key, MANIFEST)
    return Left(bucket, prefix, manifest, _promises(f"{key}: {MANIFEST}", manifest, job), end)


def prediction(bucket: Objects, job: Job, *, tests: int | None = None) -> tuple[scoring.Attempts, ...]:
    """A job's answer alone. Raises CommandFailed."""
    key = job.result_prefix + RESULT
    if _there(bucket, key):
        return attempts(f"{key}: {PREDICTION}", _document(bucket, key, PREDICTION)[1], tests=tests)
    key = job.result_prefix + PREDICTION
    return attempts(key, read(bucket, key, most=scoring.MAX_PREDICTION_BYTES), tests=tests)


def attempts(key: str, body: bytes, *, tests: int | None = None) -> tuple[scoring.Attempts, ...]:
    """The attempts in the bytes of a prediction. Raises CommandFailed, which names `key`."""
    try:
        return scoring.parse_prediction(body, tests=tests)
    except AnswerRefused as error:
        raise CommandFailed(f"{key} is no answer: {error}; its job's log tells why") from error


def read(bucket: Objects, key: str, *, most: int, size: int | None = None) -> bytes:
    """An object of at most `most` bytes, and of `size` where that is known. Raises CommandFailed."""

    def asked() -> bytes:
        found = bucket.size(key)
        if found is None:
            raise CommandFailed(f"{key}: {faults.GONE}")
        if size is not None and found != size:
            raise CommandFailed(f"{key} has {found:,} bytes and its manifest promises {size:,}; {AGAIN}")
        if found > most:
            raise CommandFailed(
                f"{key} has {found:,} bytes; no more than {most:,} are read, so it stays there"
            )
        return bucket.read(key)

    return _said(key, asked)


def _there(bucket: Objects, key: str) -> bool:
    return _said(key, lambda: bucket.size(key)) is not None


def _document(bucket: Objects, key: str, name: str) -> tuple[bytes, bytes]:
    """The end of a `result.zip` and the document of this name in it. Raises CommandFailed."""
    end = _said(key, lambda: bucket.read(key, last=results.END_BYTES))
    try:
        try:
            return end, results.part({RESULT: end}, name)
        except EndTooShort:
            more = _said(key, lambda: bucket.read(key, last=results.LONG_END_BYTES))
            return end, results.part({RESULT: more}, name)
    except ResultBroken as fault:
        raise _broken(key, fault) from fault


def _broken(key: str, fault: ResultBroken) -> CommandFailed:
    return CommandFailed(f"{key}: {fault}; {AGAIN}")


def _said(key: str, act: Callable[[], T]) -> T:
    """What it gives, every fault of the bucket in words. Raises CommandFailed."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return act()
    except RecordMissing as error:
        raise CommandFailed(f"{key}: {faults.GONE}") from error
    except (BotoCoreError, ClientError, ObjectUnreadable) as error:
        raise CommandFailed(f"{key}: {faults.words(error)}") from error


def promised(manifest: object) -> dict[str, Promise]:
    """The files that a parsed manifest names. Raises ValueError, in words, for one that is none."""
    files = manifest.get("files") if isinstance(manifest, Mapping) else None
    if not isinstance(files, Mapping):
        raise ValueError('expected an object with "files"')
    if len(files) > MAX_FILES:
        raise ValueError(f"expected at most {MAX_FILES} files; found {len(files):,}")
    if PREDICTION not in files:
        raise ValueError(f"it names no {PREDICTION}")
    if len({folders.same(name) for name in files} | {MANIFEST, ABOUT}) < len(files) + 2:
        raise ValueError(f"two of its names are one to some systems, or one is {MANIFEST} or {ABOUT}")
    return {name: _promise(name, told) for name, told in files.items()}


def _promise(name: str, told: object) -> Promise:
    if folders.plain(name) != name or name.startswith("."):
        raise ValueError(f"it names {name[:200]!r}, which is no plain file name")
    sha256, size = (told.get("sha256"), told.get("bytes")) if isinstance(told, Mapping) else (None, None)
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"it gives no sha256 of {name}")
    if size is not None and (type(size) is not int or size < 0):
        raise ValueError(f"it gives no size of {name}")
    return Promise(sha256, size)


def _check(key: str, body: bytes) -> None:
    """That a file is of the kind that its name says. Raises CommandFailed."""
    name = key.rpartition("/")[2]
    if name == PREDICTION:
        attempts(key, body)
        return
    try:
        with _ONE_AT_A_TIME:
            if name == WEIGHTS:
                _check_safetensors(body)
            elif not isinstance(documents.parsed(body, most=MAX_JSON_BYTES), dict):
                raise ValueError("expected a JSON object")
    except ValueError as fault:
        raise CommandFailed(f"{key} is not what a runner leaves: {fault}; {AGAIN}") from fault


def _check_safetensors(body: bytes) -> None:
    """That it holds tensors and nothing else. Raises ValueError, in words.

    Source: https://huggingface.co/docs/safetensors/index#format
    """
    size = int.from_bytes(body[:8], "little")
    if size > len(body) - 8:
        raise ValueError("expected a safetensors file, which begins with the size of its JSON")
    header = documents.parsed(body[8 : 8 + size], most=MAX_JSON_BYTES)
    if body[8:9] != b"{" or not isinstance(header, dict):
        raise ValueError("expected the tensors' names in a JSON object")
    places = [_place(told) for name, told in header.items() if name != "__metadata__"]
    end = 0
    for begin, following in sorted(places):
        if begin != end or following < begin:
            raise ValueError("expected tensors one behind the other")
        end = following
    if 8 + size + end != len(body):
        raise ValueError("expected nothing behind its tensors")


def _place(told: object) -> tuple[int, int]:
    match told:
        case {"data_offsets": [int(begin), int(end)]}:
            return begin, end
    raise ValueError('expected "data_offsets" of each tensor')


def _promises(key: str, body: bytes, job: Job) -> dict[str, Promise]:
    try:
        manifest: Any = documents.parsed(body)
        promises = promised(manifest)
    except ValueError as error:
        raise CommandFailed(f"{key} is no manifest: {error}; {AGAIN}") from error
    for name, known in (("job_id", job.job_id), ("fence", job.fence)):
        if manifest.get(name, known) != known:
            raise CommandFailed(f"{key} tells of another {name}, {manifest[name]!r:.100}; {AGAIN}")
    return promises

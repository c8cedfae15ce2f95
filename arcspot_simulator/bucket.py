"""The bucket in memory: versions of what was dropped, and PUTs of exactly what was promised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from arcspot.errors import KeyRefused, ObjectUnreadable, RecordMissing
from arcspot.ports import Fetched, Listed, Part, Stored
from arcspot_simulator.limits import object_key_fault, presigned_fault, refuse, stored_key_fault

# Of these every version is kept, as in S3; of the rest the newest alone.
VERSIONED = ("tasks", "recurring", "checkpoints")
VERSION = "?versionId="


@dataclass
class MemoryObjects:
    """`ports.Objects`. Keys are listed in order, as S3 lists them, one folder at a time."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    versions: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)
    newest: dict[str, str] = field(default_factory=dict, repr=False)
    unreadable: set[str] = field(default_factory=set)
    trouble: Callable[[str, str], Exception | None] = lambda verb, key: None
    written: int = 0
    modified_at: dict[str, datetime] = field(default_factory=dict, repr=False)
    clock: Callable[[], datetime] = lambda: datetime.fromtimestamp(0, UTC)
    _listed: dict[str, tuple[int, list[str]]] = field(default_factory=dict, repr=False)
    _counts: dict[str, int] = field(default_factory=dict, repr=False)

    def read(self, key: str, *, version: str | None = None, last: int | None = None) -> bytes:
        found = self._fetch(key, version, last)
        if isinstance(found, Exception):
            raise found
        return found.body

    def fetch_many(
        self, wanted: Sequence[tuple[str, str | None]], *, last: int | None = None
    ) -> list[Fetched | Exception]:
        return [self._fetch(key, version, last) for key, version in wanted]

    def parts(self, wanted: Sequence[Part]) -> list[Fetched | Exception]:
        return [self._part(part) for part in wanted]

    def _part(self, part: Part) -> Fetched | Exception:
        found = self._fetch(part.key, part.version)
        if isinstance(found, Exception):
            return found
        return replace(found, body=found.body[part.begin : part.end])

    def _fetch(self, key: str, version: str | None, last: int | None = None) -> Fetched | Exception:
        return self.trouble("read", key) or self._found(key, version, last)

    def _found(self, key: str, version: str | None, last: int | None = None) -> Fetched | Exception:
        if key in self.unreadable:
            return ObjectUnreadable(f"{key}: it is archived")
        if version and (key, version) in self.versions:
            body = self.versions[key, version]
        elif key in self.bodies and version in (None, "", self.newest.get(key, "")):
            body, version = self.bodies[key], self.newest.get(key, "")
        else:
            return RecordMissing(key)
        return Fetched(body if last is None else body[-last:], version or "", _etag(body))

    def listing(self, prefix: str, after: str = "") -> Iterable[Listed]:
        for key in self.keys(prefix):
            if key > after:
                body = self.bodies[key]
                yield Listed(key, len(body), self.modified_at.get(key, self.clock()), _etag(body))

    def read_many(self, wanted: Sequence[tuple[str, str | None]]) -> Mapping[tuple[str, str | None], bytes]:
        found = {(key, version): self._fetch(key, version) for key, version in wanted}
        return {asked: each.body for asked, each in found.items() if isinstance(each, Fetched)}

    def write(self, key: str, body: bytes, *, content_type: str) -> None:
        refuse(object_key_fault(key), error=KeyRefused)
        if failed := self.trouble("write", key):
            raise failed
        self._store(key, body)

    def dropped(self, key: str, body: bytes) -> None:
        """What a person put there: S3 itself takes `.` and `..` from whoever sends them as they are."""
        refuse(stored_key_fault(key), error=KeyRefused)
        self._store(key, body)

    def write_parts(self, key: str, parts: Iterable[bytes], *, content_type: str) -> None:
        self.write(key, b"".join(parts), content_type=content_type)

    def _store(self, key: str, body: bytes) -> None:
        if key not in self.bodies:
            self._changed(key)
        self.bodies[key] = body
        if key.partition("/")[0] in VERSIONED:
            self.written += 1
            self.modified_at[key] = self.clock()
            self.newest[key] = f"v{self.written}"
            self.versions[key, self.newest[key]] = body

    def _changed(self, key: str) -> None:
        folder = key.partition("/")[0]
        self._counts[folder] = self._counts.get(folder, 0) + 1

    def delete(self, key: str) -> None:
        refuse(object_key_fault(key), error=KeyRefused)
        self.newest.pop(key, None)
        if self.bodies.pop(key, None) is not None:
            self._changed(key)

    def keys(self, prefix: str) -> Iterable[str]:
        """Sorted anew only when the top folder has changed: sweeps list 100,000 keys each hour."""
        folder, slash, _ = prefix.partition("/")
        if not slash:  # no one folder's changes tell whether this list is still true
            return sorted(key for key in self.bodies if key.startswith(prefix))
        changes, known = self._listed.get(folder, (-1, []))
        if changes != self._counts.get(folder, 0):
            known = sorted(key for key in self.bodies if key.startswith(folder))
            self._listed[folder] = (self._counts.get(folder, 0), known)
        return [key for key in known if key.startswith(prefix)]

    def size(self, key: str) -> int | None:
        return len(self.bodies[key]) if key in self.bodies else None

    def stored(self, key: str) -> Stored | None:
        body = self.bodies.get(key)
        if body is None:
            return None
        return Stored(len(body), hashlib.sha256(body).hexdigest(), self.newest.get(key, ""))

    def presign_get(self, key: str, *, version: str | None, seconds: int) -> str:
        refuse(presigned_fault(seconds))
        return f"memory://{key}{VERSION if version else ''}{version or ''}"

    def get(self, url: str) -> bytes:
        """What a runner does with a presigned URL. Raises RecordMissing, ObjectUnreadable."""
        key, _, version = url.removeprefix("memory://").partition(VERSION)
        found = self._found(key, version or None)
        if isinstance(found, Exception):
            raise found
        return found.body

    def presign_put(
        self, key: str, *, sha256_hex: str, size: int, seconds: int, once: bool = False
    ) -> tuple[str, Mapping[str, str]]:
        refuse(object_key_fault(key), error=KeyRefused)
        refuse(presigned_fault(seconds))
        return f"memory://{key}", {"sha256": sha256_hex} | ({"if-none-match": "*"} if once else {})

    def put(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """What a runner does with a presigned URL; S3's status. Raises ValueError for any other bytes.

        S3 looks at the condition before it looks at the bytes: 412 where an object is there already.
        """
        key = url.removeprefix("memory://")
        if headers.get("if-none-match") == "*" and key in self.bodies:
            return 412
        if hashlib.sha256(body).hexdigest() != headers["sha256"]:
            raise ValueError("400 BadDigest")
        self._store(key, body)
        return 200


def _etag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()

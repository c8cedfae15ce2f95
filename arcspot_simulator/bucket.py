"""The bucket in memory: the newest version of each object, and PUTs of exactly what was promised."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from arcspot.errors import RecordMissing


@dataclass
class MemoryObjects:
    """`ports.Objects`. Keys are listed in order, as S3 lists them, one folder at a time."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    _listed: dict[str, tuple[int, list[str]]] = field(default_factory=dict, repr=False)
    _counts: dict[str, int] = field(default_factory=dict, repr=False)

    def read(self, key: str, *, version: str | None = None, last: int | None = None) -> bytes:
        if key not in self.bodies:
            raise RecordMissing(key)
        return self.bodies[key] if last is None else self.bodies[key][-last:]

    def read_many(
        self, wanted: Sequence[tuple[str, str | None]], *, last: int | None = None
    ) -> Mapping[tuple[str, str | None], bytes]:
        return {
            (key, version): self.read(key, version=version, last=last)
            for key, version in wanted
            if key in self.bodies
        }

    def write(self, key: str, body: bytes, *, content_type: str) -> None:
        self._store(key, body)

    def _store(self, key: str, body: bytes) -> None:
        if key not in self.bodies:
            self._changed(key)
        self.bodies[key] = body

    def _changed(self, key: str) -> None:
        folder = key.partition("/")[0]
        self._counts[folder] = self._counts.get(folder, 0) + 1

    def delete(self, key: str) -> None:
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

    def presign_get(self, key: str, *, version: str | None, seconds: int) -> str:
        return f"memory://{key}"

    def presign_put(
        self, key: str, *, sha256_hex: str, size: int, seconds: int
    ) -> tuple[str, Mapping[str, str]]:
        return f"memory://{key}", {"sha256": sha256_hex}

    def put(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """What a runner does with a presigned URL. Raises ValueError for any other bytes."""
        if hashlib.sha256(body).hexdigest() != headers["sha256"]:
            raise ValueError("400 BadDigest")
        self._store(url.removeprefix("memory://"), body)

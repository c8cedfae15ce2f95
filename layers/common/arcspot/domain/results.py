"""A result: all files of one attempt in one object, and how they are read out of it again.

`result.zip` holds what a result is made of; every system can open it. Its small files are the last in
it, so that the end of the object gives them without the weights before them. Results of earlier
releases are objects of their own, one for each file; they are read as well.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from arcspot.domain import documents
from arcspot.errors import EndTooShort, ResultBroken

RESULT = "result.zip"
PREDICTION, METRICS, MANIFEST = "prediction.json", "metrics.json", "manifest.json"
WEIGHTS, PICTURE = "adapted.safetensors", "picture.svg"
LAST = (METRICS, PREDICTION, MANIFEST)
"""In this order at the end of `result.zip`; what a result of earlier releases had at least."""

NAMES = (RESULT, WEIGHTS, PICTURE, *LAST)
"""All that a runner delivers, of this release and of earlier ones."""

END_BYTES = 32 * 1024
"""So much of its end usually holds the last two files and the list of all."""

MOST_OF_A_DOCUMENT = 1024 * 1024
LONG_END_BYTES = 2 * MOST_OF_A_DOCUMENT
"""Where the usual end does not reach back to a document that is read all the same."""

MOST_OF_A_RESULT = 128 * 1024 * 1024
MOST_OF_A_LIST = 16 * 1024
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# The end of a ZIP file: signature, then among others the size of its list at byte 12.
# https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT section 4.3.16
_END, _END_BYTES = b"PK\x05\x06", 22
# So that the same files always give the same bytes: a PUT that is repeated is seen to be the same.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def missing(names: Iterable[str]) -> str:
    """What a result lacks to be whole, in words; nothing where nothing is missing."""
    have = set(names)
    if RESULT in have or have >= set(LAST):
        return ""
    return f"expected {RESULT}, or each of {', '.join(sorted(LAST))} (as earlier releases deliver them)"


def pack(files: Mapping[str, bytes]) -> bytes:
    """The bytes of `result.zip`: weights as they are, all else compressed, the small files last."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in [*(name for name in files if name not in LAST), *(n for n in LAST if n in files)]:
            info = zipfile.ZipInfo(name, _NO_TIME)
            info.compress_type = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return packed.getvalue()


def part(objects: Mapping[str, bytes], name: str) -> bytes:
    """One of a result's documents, at most 1 MiB.

    `objects` are what lies under the result's prefix, by name: `result.zip` whole or its end, or the
    files of an earlier release. Raises ResultBroken; EndTooShort where the end does not reach back to it.
    """
    if RESULT in objects:
        with _Archive(objects[RESULT]) as archive:
            return archive.read(name, most=MOST_OF_A_DOCUMENT)
    if name not in objects:
        raise ResultBroken(f"{name} is not there; it was removed from the bucket")
    if len(objects[name]) > MOST_OF_A_DOCUMENT:
        raise ResultBroken(f"{name} has more than {MOST_OF_A_DOCUMENT:,} bytes")
    return objects[name]


def document(objects: Mapping[str, bytes], name: str) -> Any:
    """One of a result's documents as JSON. Raises ResultBroken, as `part` does."""
    try:
        return documents.parsed(part(objects, name))
    except documents.Unfit as fault:
        raise ResultBroken(f"{name} is no JSON: {str(fault)[:200]}") from fault


def unpacked(body: bytes) -> dict[str, bytes]:
    """All files of a `result.zip` by name, each checked against the manifest among them.

    Raises ResultBroken: nothing of a result that is not whole is to be used.
    """
    with _Archive(body) as archive:
        names = archive.names()
        if MANIFEST not in names:
            raise ResultBroken(f"{RESULT} holds no {MANIFEST}")
        left, files = MOST_OF_A_RESULT, {}
        for name in names:
            files[name] = archive.read(name, most=left)
            left -= len(files[name])
    told = document(files, MANIFEST)
    sums = told.get("files") if isinstance(told, dict) else None
    if not isinstance(sums, dict) or set(sums) != set(names) - {MANIFEST}:
        raise ResultBroken(f"{MANIFEST} does not name exactly the files of {RESULT}")
    for name, known in sums.items():
        if not isinstance(known, dict) or known.get("sha256") != sha256(files[name]).hexdigest():
            raise ResultBroken(f"{name} is not what {MANIFEST} promises")
    return files


class _Archive:
    """A ZIP file, or the end of one, that trusts nobody."""

    def __init__(self, body: bytes) -> None:
        at = body.rfind(_END)
        if at < 0 or len(body) - at < _END_BYTES:
            raise ResultBroken(f"{RESULT} is no ZIP file")
        (listed,) = struct.unpack_from("<I", body, at + 12)
        if listed > MOST_OF_A_LIST:  # also what a file of more than 4 GiB says here
            raise ResultBroken(f"{RESULT} lists too many files")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(body))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as fault:
            raise ResultBroken(f"{RESULT} is no whole ZIP file: {fault}") from fault

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def names(self) -> list[str]:
        """Plain, and each once: as safe as the names of files can be."""
        names = self._zip.namelist()
        odd = next((name for name in names if not _PLAIN_NAME.fullmatch(name)), None)
        if odd is not None:
            raise ResultBroken(f"{RESULT} holds {odd[:200]!r}, which is no plain file name")
        if len({name.casefold() for name in names}) < len(names):
            raise ResultBroken(f"{RESULT} holds a file of the same name twice")
        return names

    def read(self, name: str, *, most: int) -> bytes:
        try:
            info = self._zip.getinfo(name)
        except KeyError:
            raise ResultBroken(f"{RESULT} holds no {name}") from None
        if info.header_offset < 0:
            raise EndTooShort(f"{name} begins before the end of {RESULT} that was read")
        if info.file_size > most:
            raise ResultBroken(f"{name} in {RESULT} has more than {most:,} bytes")
        try:
            with self._zip.open(info) as opened:
                body = opened.read(most + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error) as fault:
            raise ResultBroken(f"{name} in {RESULT} cannot be read: {fault}") from fault
        except (RuntimeError, NotImplementedError) as fault:  # encrypted, or a method Python has not
            raise ResultBroken(f"{name} in {RESULT} cannot be read: {fault}") from fault
        if len(body) != info.file_size:
            raise ResultBroken(f"{name} in {RESULT} has not the size its list tells")
        return body

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

FILES = (WEIGHTS, PICTURE, METRICS, PREDICTION)
"""All that a result is made of beside its manifest."""

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
# Section 4.3.15: what stands right before that in a ZIP64 file. Its sizes would be believed instead.
_LOCATOR, _LOCATOR_BYTES = b"PK\x06\x07", 20
# Section 4.3.7: signature, version, flags, method, time and date, CRC, sizes, lengths of name and more.
_HEADER = struct.Struct("<4s2sHH4sIIIHH")
_LISTED_BYTES = 46  # a file in the list, without its name; section 4.3.12
# Others (bzip2, LZMA) unpack more than they are asked for, and take memory as the file tells them to.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FLAGS = 0x0806  # how hard it was compressed, and a name in UTF-8; section 4.4.4
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
        return _Archive(objects[RESULT]).read(name, most=MOST_OF_A_DOCUMENT)
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
    archive = _Archive(body)
    names = archive.names
    if MANIFEST not in names:
        raise ResultBroken(f"{RESULT} holds no {MANIFEST}")
    if archive.begins:
        raise ResultBroken(f"{RESULT} is no plain ZIP file: expected its first file at its beginning")
    left, files = MOST_OF_A_RESULT, {}
    for name in names:
        files[name] = archive.read(name, most=left)
        left -= len(files[name])
    told = document({MANIFEST: files[MANIFEST]}, MANIFEST)  # of this one, also where another lies in it
    sums = told.get("files") if isinstance(told, dict) else None
    if not isinstance(sums, dict) or set(sums) != set(names) - {MANIFEST}:
        raise ResultBroken(f"{MANIFEST} does not name exactly the files of {RESULT}")
    for name, known in sums.items():
        if not isinstance(known, dict) or known.get("sha256") != sha256(files[name]).hexdigest():
            raise ResultBroken(f"{name} is not what {MANIFEST} promises")
    return files


class _Archive:
    """A ZIP file, or the end of one, that trusts nobody.

    Of ZIP's many forms it takes the one that `pack` writes, and refuses what that does not need: other
    methods than stored and deflated, encryption, sizes told behind a file, ZIP64, comments, more fields,
    bytes between files or files that share theirs. Raises ResultBroken.
    """

    def __init__(self, body: bytes) -> None:
        at = body.rfind(_END)
        if at < 0 or len(body) - at < _END_BYTES:
            raise ResultBroken(f"{RESULT} is no ZIP file")
        (listed,) = struct.unpack_from("<I", body, at + 12)
        if listed > MOST_OF_A_LIST:  # also what a file of more than 4 GiB says here
            raise ResultBroken(f"{RESULT} lists too many files")
        if len(body) - at > _END_BYTES:
            raise ResultBroken(f"{RESULT} is no plain ZIP file: expected nothing behind its list")
        if body[max(0, at - _LOCATOR_BYTES) : at].startswith(_LOCATOR):
            raise ResultBroken(f"{RESULT} is no plain ZIP file: expected no ZIP64")
        try:
            with zipfile.ZipFile(io.BytesIO(body)) as archive:  # its list alone; `read` reads the files
                infos = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as fault:
            raise ResultBroken(f"{RESULT} is no whole ZIP file: {fault}") from fault
        for info in infos:
            _check_entry(info)
        self._body = body
        self._infos = {info.filename: info for info in infos}
        self.names = [info.filename for info in infos]
        if len({name.casefold() for name in self.names}) < len(self.names):
            raise ResultBroken(f"{RESULT} holds a file of the same name twice")
        if sum(_LISTED_BYTES + len(name) for name in self.names) != listed:
            raise ResultBroken(f"{RESULT} is no plain ZIP file: its list has more than its files")
        begins = [*(info.header_offset for info in infos), at - listed]
        self.begins = begins[0]
        for info, following in zip(infos, begins[1:], strict=True):
            if _data_at(info) + info.compress_size != following:
                raise ResultBroken(f"{info.filename} in {RESULT} does not end where the next file begins")

    def read(self, name: str, *, most: int) -> bytes:
        """The bytes of a file; no more than `most` are ever unpacked. Raises EndTooShort as well."""
        info = self._infos.get(name)
        if info is None:
            raise ResultBroken(f"{RESULT} holds no {name}")
        if info.header_offset < 0:
            raise EndTooShort(f"{name} begins before the end of {RESULT} that was read")
        if info.file_size > most:
            raise ResultBroken(f"{name} in {RESULT} has more than {most:,} bytes")
        if self._body[info.header_offset : _data_at(info)] != _header(info, self._body):
            raise ResultBroken(f"{name} in {RESULT} cannot be read: it and the list tell of it differently")
        packed = memoryview(self._body)[_data_at(info) :][: info.compress_size]
        body = bytes(packed)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                body = inflater.decompress(packed, info.file_size + 1)
            except zlib.error as fault:
                raise ResultBroken(f"{name} in {RESULT} cannot be read: {fault}") from fault
            if len(body) <= info.file_size and (not inflater.eof or inflater.unused_data):
                raise ResultBroken(f"{name} in {RESULT} cannot be read: expected one deflated file")
        if len(body) != info.file_size:
            raise ResultBroken(f"{name} in {RESULT} cannot be read: it has not the size its list tells")
        if zlib.crc32(body) != info.CRC:
            raise ResultBroken(f"{name} in {RESULT} cannot be read: its checksum is another")
        return body


def _check_entry(info: zipfile.ZipInfo) -> None:
    """That a file is listed as `pack` lists it, under a name that is safe anywhere. Raises ResultBroken."""
    if not _PLAIN_NAME.fullmatch(info.orig_filename):
        raise ResultBroken(f"{RESULT} holds {info.orig_filename[:200]!r}, which is no plain file name")
    if info.compress_type not in _METHODS:
        found, expected = f"packed by method {info.compress_type}", "0, stored, or 8, deflated"
        raise ResultBroken(f"{info.filename} in {RESULT} is {found}; expected {expected}")
    if info.flag_bits & ~_FLAGS:
        found, expected = f"flags {info.flag_bits:#x}", "no encryption, and sizes before the file"
        raise ResultBroken(f"{info.filename} in {RESULT} has {found}; expected {expected}")


def _data_at(info: zipfile.ZipInfo) -> int:
    return info.header_offset + _HEADER.size + len(info.filename)


def _header(info: zipfile.ZipInfo, body: bytes) -> bytes:
    """What stands before a file that is as the list tells; its version and time may be any."""
    anything = body[info.header_offset + 4 :][:2], body[info.header_offset + 10 :][:4]
    facts = info.CRC, info.compress_size, info.file_size, len(info.filename), 0
    how = info.flag_bits, info.compress_type
    return _HEADER.pack(b"PK\x03\x04", anything[0], *how, anything[1], *facts) + info.filename.encode()

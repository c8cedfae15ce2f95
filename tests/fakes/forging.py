"""ZIP files that lie: every field of a header, of the list and of its end as a test wants it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

# https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT sections 4.3.7, 4.3.12 and 4.3.16
_HEADER = "<4s2xHH4xIIIHH"
_LISTED = "<4s4xHH4xIIIHHH8xI"
_END = b"PK\x05\x06"


@dataclass(frozen=True)
class Member:
    """A file as it is told of; what is None is what it really is. `here` tells otherwise in its header."""

    name: str
    packed: bytes
    flags: int = 0
    method: int = 0
    crc: int | None = None
    packed_size: int | None = None
    size: int | None = None
    extra: bytes = b""
    comment: bytes = b""
    at: int | None = None
    behind: bytes = b""
    """Bytes between this file and the next."""
    here: dict[str, int] = field(default_factory=dict)


def forged(members: Sequence[Member], *, listed: bytes = b"", end: bytes = b"") -> bytes:
    """The ZIP file. `listed` stands behind its list, `end` behind everything."""
    body, its_list = b"", b""
    for each in members:
        at, name = len(body) if each.at is None else each.at, each.name.encode()
        told = {
            "flags": each.flags,
            "method": each.method,
            "crc": zlib.crc32(each.packed) if each.crc is None else each.crc,
            "packed": len(each.packed) if each.packed_size is None else each.packed_size,
            "size": len(each.packed) if each.size is None else each.size,
        }
        lengths = len(name), len(each.extra)
        here = {**told, **each.here}.values()
        body += struct.pack(_HEADER, b"PK\x03\x04", *here, *lengths) + name + each.extra
        body += each.packed + each.behind
        its_list += struct.pack(_LISTED, b"PK\x01\x02", *told.values(), *lengths, len(each.comment), at)
        its_list += name + each.extra + each.comment
    count, size = len(members), len(its_list) + len(listed)
    last = struct.pack("<4s4xHHIIH", _END, count, count, size, len(body), len(end))
    return body + its_list + listed + last + end

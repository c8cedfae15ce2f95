"""A ZIP file of any form but ours is refused before anything of it is unpacked, whoever made it.

`FORGED` has a file for each way in which one can differ from what `results.pack` writes.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from arcspot.domain import results
from arcspot.errors import ResultBroken
from tests.fakes.forging import Member, forged

BODY = json.dumps([{"attempt_1": [[1, 2], [3, 4]], "attempt_2": [[1, 2], [3, 4]]}]).encode()
SUMS = json.dumps({"files": {"prediction.json": {"sha256": hashlib.sha256(BODY).hexdigest()}}}).encode()
MANIFEST = Member("manifest.json", SUMS)


def deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def lying(packed: bytes = BODY, **told: Any) -> bytes:
    return forged([Member("prediction.json", packed, **told), MANIFEST])


def lzma_told(properties: bytes) -> bytes:
    """LZMA as in a ZIP file: version, length of its properties, these, and nothing of worth."""
    return b"\x09\x04" + struct.pack("<H", len(properties)) + properties + b"\0" * 64


ZIP64 = struct.pack("<HHQQ", 1, 16, len(BODY), len(BODY))
FORGED: dict[str, Callable[[], bytes]] = {
    **{f"method {method}": partial(lying, method=method) for method in range(1, 100) if method != 8},
    "method 65535": lambda: lying(method=65535),
    "a bomb of bzip2": lambda: lying(bz2.compress(b"\0" * (32 << 20)), method=12, size=100),
    "no properties of LZMA": lambda: lying(lzma_told(b"\xff" * 5), method=14, size=100),
    "4 GiB for LZMA": lambda: lying(lzma_told(b"\x5d\xff\xff\xff\xff"), method=14, size=100),
    "a bomb of a small size": lambda: lying(deflated(b"\0" * (32 << 20)), method=8, size=100),
    "a small size": lambda: lying(deflated(BODY), method=8, size=len(BODY) - 1, crc=zlib.crc32(BODY[:-1])),
    "a large size": lambda: lying(deflated(BODY), method=8, size=len(BODY) + 1, crc=zlib.crc32(BODY)),
    "a size of nothing": lambda: lying(size=0),
    "a torn file": lambda: lying(deflated(BODY)[:-2], method=8, size=len(BODY), crc=zlib.crc32(BODY)),
    "more behind": lambda: lying(deflated(BODY) + b"x", method=8, size=len(BODY), crc=zlib.crc32(BODY)),
    "stored and longer": lambda: lying(BODY + b"x", size=len(BODY), crc=zlib.crc32(BODY)),
    "another checksum": lambda: lying(crc=1),
    **{f"flag {1 << bit:#x}": partial(lying, flags=1 << bit) for bit in range(16) if not 0x806 >> bit & 1},
    "sizes behind it": lambda: lying(flags=8, here={"crc": 0, "packed": 0, "size": 0}, behind=b"PK\7\x08"),
    "ZIP64 sizes": lambda: lying(extra=ZIP64, size=0xFFFFFFFF, packed_size=0xFFFFFFFF),
    "more fields": lambda: lying(extra=b"\x75\x70\x02\0ab"),
    "a comment": lambda: lying(comment=b"x"),
    "bytes behind it": lambda: lying(behind=b"x"),
    "a header with another method": lambda: lying(here={"method": 8}),
    "a header with another flag": lambda: lying(here={"flags": 1}),
    "a header with another size": lambda: lying(here={"size": 1}),
    "a header with another packed size": lambda: lying(here={"packed": 1}),
    "two files in one place": lambda: forged(
        [Member("prediction.json", BODY), Member("prediction.jsom", b"", size=len(BODY), at=0), MANIFEST]
    ),
    "a file over the next": lambda: forged(
        [Member("prediction.json", BODY, packed_size=len(BODY) + 40, size=len(BODY) + 40), MANIFEST]
    ),
    "an order of its own": lambda: forged([Member("prediction.json", BODY, at=200), MANIFEST]),
    "bytes in its list": lambda: forged([Member("prediction.json", BODY), MANIFEST], listed=b"x" * 60),
    "a ZIP64 end": lambda: forged(
        [Member("prediction.json", BODY), MANIFEST], listed=b"PK\6\7" + b"\0" * 16
    ),
    "a comment of all": lambda: forged([Member("prediction.json", BODY), MANIFEST], end=b"x"),
    "a name that ends early": lambda: forged([Member("prediction.json\0.exe", BODY), MANIFEST]),
}  # fmt: skip


def test_a_zip_made_by_hand_as_ours_are_is_read() -> None:
    packed = deflated(BODY)
    for each in (lying(), lying(packed, method=8, size=len(BODY), crc=zlib.crc32(BODY)), lying(flags=0x806)):
        assert results.unpacked(each)["prediction.json"] == BODY
        assert results.part({"result.zip": each}, "prediction.json") == BODY


@pytest.mark.parametrize("name", FORGED)
def test_a_zip_of_a_form_that_ours_have_not_is_refused_unpacked(name: str) -> None:
    body = FORGED[name]()
    tracemalloc.start()
    try:
        with pytest.raises(ResultBroken):
            results.part({"result.zip": body}, "prediction.json")
        with pytest.raises(ResultBroken):
            results.unpacked(body)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_what_stands_before_a_zip_is_refused_where_all_of_it_is_read() -> None:
    with pytest.raises(ResultBroken, match="at its beginning"):
        results.unpacked(b"#!/bin/sh\n" + lying())

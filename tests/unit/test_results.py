"""A result in one object: what goes in comes out, from its end too, and nothing that is broken does."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain import results
from arcspot.errors import EndTooShort, ObjectUnreadable, ResultBroken
from arcspot.ports import Fetched
from arcspot.services.results import predictions
from arcspot_simulator.bucket import MemoryObjects

ANSWER = [{"attempt_1": [[1]], "attempt_2": [[2]]}]
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB that no end reaches over


def sums(body: bytes) -> dict[str, Any]:
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def files(**more: bytes) -> dict[str, bytes]:
    """A result's files with their manifest; `more` by name without its suffix."""
    found = {
        "adapted.safetensors": WEIGHTS,
        "picture.svg": b"<svg/>",
        "metrics.json": b'{"loss": [1, null]}',
        "prediction.json": json.dumps(ANSWER).encode(),
    } | {f"{name}.json": body for name, body in more.items()}
    told = {"job_id": "j", "files": {name: sums(body) for name, body in found.items()}}
    return {**found, "manifest.json": json.dumps(told).encode()}


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A ZIP file of anybody's making."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name), body, method)
    return packed.getvalue()


def with_sums(*members: tuple[str, bytes]) -> bytes:
    told = {"files": {name: sums(body) for name, body in members}}
    return zipped(*members, ("manifest.json", json.dumps(told).encode()))


# What goes in comes out ------------------------------------------------------------------------------------
def test_every_file_comes_out_as_it_went_in() -> None:
    assert results.unpacked(results.pack(files())) == files()


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9._-]{0,20}", fullmatch=True), st.binary(), max_size=5))
def test_files_of_any_content_come_out_as_they_went_in(others: dict[str, bytes]) -> None:
    others.pop("manifest.json", None)
    told = {"files": {name: sums(body) for name, body in others.items()}}
    whole = {**others, "manifest.json": json.dumps(told).encode()}
    assert results.unpacked(results.pack(whole)) == whole


def test_the_end_of_a_result_gives_its_documents_without_its_weights() -> None:
    end = results.pack(files())[-results.END_BYTES :]
    for name in results.LAST:
        assert results.part({"result.zip": end}, name) == files()[name]
    assert results.document({"result.zip": end}, "prediction.json") == ANSWER
    with pytest.raises(EndTooShort):
        results.part({"result.zip": end}, "adapted.safetensors")


def test_results_of_earlier_releases_are_read_the_same_way() -> None:
    apart = files()
    assert results.document(apart, "prediction.json") == ANSWER
    assert results.document(apart, "manifest.json")["job_id"] == "j"


@pytest.mark.parametrize(
    ("names", "whole"),
    [
        (["result.zip"], True),
        (["result.zip", "more.bin"], True),
        (["prediction.json", "metrics.json", "manifest.json"], True),
        (["prediction.json", "metrics.json"], False),
        (["adapted.safetensors"], False),
    ],
)
def test_a_result_is_one_object_or_what_earlier_releases_left(names: list[str], whole: bool) -> None:
    assert (not results.missing(names)) == whole


# What is broken ---------------------------------------------------------------------------------------------
def flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


GOOD = with_sums(("prediction.json", b"[]"))
OTHER = json.dumps({"files": {"a": sums(b"2")}}).encode()
BOMB = zipped(("prediction.json", b"0" * (64 << 20)), method=zipfile.ZIP_DEFLATED)
MANY = zipped(*((f"{n:09d}", b"") for n in range(500)), ("manifest.json", b"{}"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no ZIP file"),
        (b"PK", "no ZIP file"),
        (b"not a zip at all" * 99, "no ZIP file"),
        (GOOD[:-30], "no ZIP file"),
        (b"PK\x05\x06" + b"\xff" * 18, "too many"),
        (b"PK\x05\x06" + b"\x00" * 4 + b"\x09\x00" * 2 + b"\x40\x00\x00\x00" * 2 + b"\x00\x00", "ZIP file"),
        (flipped(GOOD, GOOD.index(b"[]")), "cannot be read"),
        (MANY, "too many"),
        (with_sums(("../x", b"")), "no plain file name"),
        (with_sums(("/etc/x", b"")), "no plain file name"),
        (with_sums(("a\\b", b"")), "no plain file name"),
        (with_sums((".git", b"")), "no plain file name"),
        (with_sums(("d/", b"")), "no plain file name"),
        (with_sums(("a", b""), ("A", b"")), "twice"),
        (zipped(("a", b"")), "no manifest.json"),
        (zipped(("a", b""), ("manifest.json", b"[]")), "does not name"),
        (zipped(("a", b""), ("manifest.json", b'{"files": {"a": 1}}')), "promises"),
        (zipped(("a", b""), ("manifest.json", b'{"files": {}}')), "does not name"),
        (zipped(("a", b"1"), ("manifest.json", OTHER)), "promises"),
    ],
)  # fmt: skip
def test_of_a_broken_result_nothing_is_unpacked_and_the_reason_is_told(body: bytes, words: str) -> None:
    with pytest.raises(ResultBroken, match=words):
        results.unpacked(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (BOMB, "more than"),
        (zipped(("metrics.json", b"{}")), "holds no prediction.json"),
        (zipped(("prediction.json", b"nonsense")), "no JSON"),
        (zipped(("prediction.json", b"\xff\xfe")), "no JSON"),
        (zipped(("prediction.json", b"[" * 200_000)), "no JSON"),
    ],
)
def test_a_broken_answer_is_told_and_never_unpacked_beyond_its_limit(body: bytes, words: str) -> None:
    with pytest.raises(ResultBroken, match=words):
        results.document({"result.zip": body}, "prediction.json")


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        ({}, "not there"),
        ({"prediction.json": b"0" * (results.MOST_OF_A_DOCUMENT + 1)}, "more than"),
        ({"prediction.json": b"{"}, "no JSON"),
    ],
)
def test_a_broken_answer_of_an_earlier_release_is_told_too(apart: dict[str, bytes], words: str) -> None:
    with pytest.raises(ResultBroken, match=words):
        results.document(apart, "prediction.json")


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_whatever_byte_is_wrong_it_is_a_whole_result_or_a_broken_one(at: int, by: int) -> None:
    body = GOOD[:at] + bytes([GOOD[at] ^ by]) + GOOD[at + 1 :]
    with contextlib.suppress(ResultBroken):
        assert results.unpacked(body)["prediction.json"] == b"[]"


# Many at once -----------------------------------------------------------------------------------------------
class Counting(MemoryObjects):
    """A bucket that knows what it was asked and how much it gave."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        super().__init__(bodies)
        self.asked: list[str] = []
        self.given = 0

    def _fetch(self, key: str, version: str | None, last: int | None = None) -> Fetched | Exception:
        found = super()._fetch(key, version, last)
        if isinstance(found, Fetched):
            self.asked.append(key)
            self.given += len(found.body)
        return found


def bucket(**prefixes: Callable[[], dict[str, bytes]]) -> Counting:
    made = {each: make() for each, make in prefixes.items()}
    return Counting({f"{each}/{name}": body for each in made for name, body in made[each].items()})


def test_each_answer_is_one_short_read_whatever_the_weights_weigh() -> None:
    objects = bucket(**{f"r{n}": lambda: {"result.zip": results.pack(files())} for n in range(20)})
    found = predictions(objects, [f"r{n}/" for n in range(20)])
    assert list(found.values()) == [files()["prediction.json"]] * 20
    assert sorted(objects.asked) == sorted(f"r{n}/result.zip" for n in range(20))
    assert objects.given <= 20 * results.END_BYTES


def test_one_bad_answer_is_told_and_the_others_are_read() -> None:
    objects = bucket(
        good=lambda: {"result.zip": results.pack(files())},
        old=lambda: files(),
        torn=lambda: {"result.zip": results.pack(files())[:-9]},
        huge=lambda: {"prediction.json": b"[" * (60 << 20)},
        bomb=lambda: {"result.zip": BOMB},
    )
    objects.unreadable.add("away/result.zip")
    found = predictions(objects, ["torn/", "good/", "gone/", "away/", "old/", "huge/", "bomb/"])
    assert isinstance(found.pop("away/"), ObjectUnreadable)
    assert found.pop("good/") == found.pop("old/") == files()["prediction.json"]
    assert all(isinstance(each, ResultBroken) for each in found.values())
    assert set(found) == {"torn/", "gone/", "huge/", "bomb/"}
    assert "removed" in str(found["gone/"])
    assert objects.given < 4 * results.LONG_END_BYTES


def test_an_answer_that_begins_before_the_end_that_is_read_is_read_all_the_same() -> None:
    noise = "".join(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(2000))
    answer = json.dumps([{"attempt_1": [[1]], "attempt_2": [[2]], "noise": noise}]).encode()
    objects = bucket(r=lambda: {"result.zip": results.pack(files(prediction=answer))})
    assert predictions(objects, ["r/"]) == {"r/": answer}
    assert len(objects.asked) == 2

"""One bad answer: told in a line with the next step, while all the others come home."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from arcspot.domain.jobs import Job
from arcspot_cli import fetching
from tests.fakes.driving import Stack

from .here import on, typed
from .left import ANSWER, WEIGHTS, answered, bucket, folders, leave, refused


def overwrite(name: str, body: bytes) -> Callable[[Stack, Job], object]:
    return lambda fake, job: fake.world.objects.bodies.update({job.result_prefix + name: body})


def refuse(name: str, error: Exception) -> Callable[[Stack, Job], object]:
    return lambda fake, job: bucket(fake).refusing.update({job.result_prefix + name: error})


def remove(name: str) -> Callable[[Stack, Job], object]:
    return lambda fake, job: fake.world.objects.bodies.pop(job.result_prefix + name)


def answer_is(body: bytes) -> Callable[[Stack, Job], object]:
    return lambda fake, job: leave(fake, job, {"prediction.json": body})


def naming(name: str) -> Callable[[Stack, Job], object]:
    return lambda fake, job: leave(fake, job, {"prediction.json": ANSWER, name: b"x"})


def manifest_is(document: Any) -> Callable[[Stack, Job], object]:
    return overwrite("manifest.json", json.dumps(document).encode())


DEEP = b"[" * 200_000
BAD: dict[str, tuple[Callable[[Stack, Job], object], str]] = {
    "the manifest is no JSON": (overwrite("manifest.json", b"<Error>"), "no manifest"),
    "the manifest is no text": (overwrite("manifest.json", b"\xff\xfe"), "no manifest"),
    "the manifest is empty": (overwrite("manifest.json", b""), "no manifest"),
    "the manifest is a list": (manifest_is([]), 'an object with "files"'),
    "the manifest is null": (manifest_is(None), 'an object with "files"'),
    "the manifest is deep": (overwrite("manifest.json", DEEP), "levels of nesting"),
    "the manifest is huge": (overwrite("manifest.json", b" " * (2 << 20)), "no more than 1,048,576"),
    "files are a list": (manifest_is({"files": ["prediction.json"]}), 'an object with "files"'),
    "files are none": (manifest_is({"files": {}}), "names no prediction.json"),
    "a file is text": (manifest_is({"files": {"prediction.json": "x"}}), "no sha256"),
    "a sum is a number": (manifest_is({"files": {"prediction.json": {"sha256": 5}}}), "no sha256"),
    "a sum is short": (manifest_is({"files": {"prediction.json": {"sha256": "ab"}}}), "no sha256"),
    "a size is text": (
        manifest_is({"files": {"prediction.json": {"sha256": "0" * 64, "bytes": "9"}}}),
        "no size",
    ),
    "another job's": (
        lambda fake, job: leave(fake, job, {"prediction.json": ANSWER}, job_id="z"),
        "another job_id",
    ),
    "another fence's": (
        lambda fake, job: leave(fake, job, {"prediction.json": ANSWER}, fence=99),
        "another fence",
    ),
    "a name with slashes": (naming("../../evil"), "no plain file name"),
    "an absolute name": (naming("/etc/cron.d/x"), "no plain file name"),
    "a name with backslashes": (naming("..\\evil"), "no plain file name"),
    "a hidden name": (naming(".bashrc"), "no plain file name"),
    "a device": (naming("NUL"), "no plain file name"),
    "a name that ends in a dot": (naming("x."), "no plain file name"),
    "its own manifest": (naming("manifest.json"), "two of its names"),
    "its own manifest in capitals": (naming("MANIFEST.JSON"), "two of its names"),
    "our own note": (naming("arcspot.json"), "two of its names"),
    "a name twice": (naming("Prediction.json"), "two of its names"),
    "a file is missing": (remove("adapted.safetensors"), "removed from the bucket"),
    "the manifest is missing": (remove("manifest.json"), "removed from the bucket"),
    "a file has another size": (
        overwrite("adapted.safetensors", b"short"),
        f"its manifest promises {len(WEIGHTS)}",
    ),
    "a file has other bytes": (
        overwrite("adapted.safetensors", WEIGHTS[::-1]),
        "not what its manifest promises",
    ),
    "an answer of 60 MiB": (answer_is(b" " * (60 << 20)), "no more than 1,048,576 are read"),
    "an answer with one attempt": (answer_is(b'[{"attempt_1": [[0]]}]'), "attempt_2 expected a grid"),
    "an answer of text": (answer_is(ANSWER.replace(b"1]]", b'"1"]]')), "expected a colour"),
    "an answer of NaN": (answer_is(ANSWER.replace(b"1]]", b"NaN]]")), "NaN"),
    "a deep answer": (answer_is(DEEP), "levels of nesting"),
    "an empty answer": (answer_is(b""), "an empty file"),
    "archived": (refuse("prediction.json", refused("InvalidObjectState")), "restore-object"),
    "under a foreign key": (refuse("manifest.json", refused("AccessDenied")), "kms:Decrypt"),
    "under a disabled key": (refuse("prediction.json", refused("KMS.DisabledException")), "kms:Decrypt"),
    "gone between two looks": (refuse("prediction.json", refused("NoSuchKey")), "removed from the bucket"),
    "throttled": (refuse("prediction.json", refused("SlowDown")), "run the same command again later"),
    "AWS is ill": (refuse("prediction.json", refused("InternalError", "We\nare")), "InternalError: We are"),
    "a torn connection": (
        refuse("prediction.json", ConnectionClosedError(endpoint_url="https://s3")),
        "no whole answer came",
    ),
    "a slow connection": (
        refuse("prediction.json", ReadTimeoutError(endpoint_url="https://s3")),
        "no whole answer came",
    ),
    "a fault of ours": (refuse("prediction.json", RuntimeError("oh")), "please report it"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_answer_of_three_leaves_the_other_two_on_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, words = BAD[name]
    fake, jobs = answered("one", "bad", "two")
    spoil(fake, jobs["bad"])
    out = tmp_path / "out"
    told = typed(fake, monkeypatch, "results", "get", str(out), "--batch", "b")
    assert told.exit_code == 1
    assert folders(out) == {"one", "two"}
    (line,) = [line for line in told.stderr.splitlines() if line.startswith("bad: ")]
    assert words in line
    assert "Traceback" not in told.output
    assert "2 answer(s)" in told.stdout
    submission = json.loads((out / "submission.json").read_text())
    assert set(submission) == {"one", "bad", "two"}
    assert submission["one"] == json.loads(ANSWER)
    assert submission["bad"] == [{"attempt_1": [[0, 0], [0, 0]], "attempt_2": [[0, 0], [0, 0]]}]
    again = typed(fake, monkeypatch, "results", "get", str(out), "--batch", "b", "--json")
    rows = {row["task_id"]: row for row in json.loads(again.stdout)}
    assert again.exit_code == 1
    assert set(rows) == {"one", "bad", "two"}
    assert words in rows["bad"]["fault"]
    assert (rows["bad"]["job_id"], rows["bad"]["folder"]) == (jobs["bad"].job_id, None)
    assert (rows["one"]["fault"], rows["one"]["fresh"]) == (None, False)


def test_a_huge_answer_is_not_even_read(tmp_path: Path) -> None:
    fake, jobs = answered("bad")
    leave(fake, jobs["bad"], {"prediction.json": b" " * (60 << 20)})
    assert fetching.get(on(fake), tmp_path, batch="b", failed=lambda _: None) == []
    assert jobs["bad"].result_prefix + "prediction.json" not in bucket(fake).reads


@pytest.mark.parametrize("name", BAD)
def test_one_bad_answer_is_shown_beside_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, _ = BAD[name]
    fake, jobs = answered("one", "bad", "two")
    spoil(fake, jobs["bad"])
    told = typed(fake, monkeypatch, "results", "show", "one", "bad", "two", "--json")
    rows = {row["task_id"]: row for row in json.loads(told.stdout)}
    assert set(rows) == {"one", "bad", "two"}
    assert [rows[each]["verdict"] for each in ("one", "two")] == ["solution not known"] * 2
    assert told.exit_code == (1 if "fault" in rows["bad"] else 0)


def test_a_task_file_that_cannot_be_read_costs_the_drawing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, jobs = answered("one")
    bucket(fake).refusing[jobs["one"].input.key] = refused("InvalidObjectState")
    told = typed(fake, monkeypatch, "results", "show", "one")
    assert told.exit_code == 1
    assert "solution not known" in told.stdout
    assert "tasks/b/all.json: it is archived" in told.stderr


@pytest.mark.parametrize(
    "error",
    [refused("ExpiredToken"), refused("NoSuchBucket"), EndpointConnectionError(endpoint_url="https://s3")],
)
def test_what_stops_every_answer_is_said_once(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, jobs = answered("one", "two", "three")
    for job in jobs.values():
        bucket(fake).refusing[job.result_prefix + "manifest.json"] = error
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert told.exit_code == 1
    assert len([line for line in told.stderr.splitlines() if "AWS says" in line]) == 1
    assert list(tmp_path.iterdir()) == []

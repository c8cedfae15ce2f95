"""Which files a submission takes, under which names, and that none replaces another unsaid."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from arcspot_cli import submitting
from arcspot_cli.errors import CommandFailed
from tests.fakes.driving import GOOD_TASK


@dataclass
class Shelf:
    """A bucket as `submit` uses it, and the target that leads to it."""

    bodies: dict[str, bytes] = field(default_factory=dict)

    def client(self, service: str) -> Shelf:
        assert service == "s3"
        return self

    def output(self, name: str) -> str:
        return name

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        if Key not in self.bodies:
            raise ClientError({"Error": {"Code": "404"}}, "HeadObject")
        return {"ETag": f'"{hashlib.md5(self.bodies[Key], usedforsecurity=False).hexdigest()}"'}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:
        self.bodies[Key] = Body


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(GOOD_TASK))


def names(*paths: Path) -> list[str]:
    return [name for _, name in submitting.find(paths)]


def test_two_files_of_one_name_keep_the_folders_that_tell_them_apart(tmp_path: Path) -> None:
    a, b, alone = tmp_path / "a" / "x.json", tmp_path / "b" / "x.json", tmp_path / "b" / "y.json"
    put(a, b, alone)
    said: list[str] = []
    found = submitting.find([a, b, alone], say=said.append)
    assert found == [(a, "a/x.json"), (b, "b/x.json"), (alone, "y.json")]
    assert said == ["2 files share a name with another and keep their folders: a/x.json, b/x.json"]


def test_two_folders_with_the_same_names_inside_lose_nothing(tmp_path: Path) -> None:
    put(*(tmp_path / folder / "in" / f"{n}.json" for folder in ("a", "b") for n in (1, 2)))
    assert names(tmp_path / "a", tmp_path / "b") == [
        "a/in/1.json", "a/in/2.json", "b/in/1.json", "b/in/2.json",
    ]  # fmt: skip


def test_relative_paths_are_told_apart_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "x.json", tmp_path / "b" / "x.json")
    monkeypatch.chdir(tmp_path / "b")
    assert names(Path("x.json"), Path("../x.json")) == ["b/x.json", "x.json"]


def test_names_that_differ_are_left_as_they_are_and_nothing_is_said(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.json", tmp_path / "b" / "y.json")
    said: list[str] = []
    found = submitting.find([tmp_path / "a", tmp_path / "b"], say=said.append)
    assert ([name for _, name in found], said) == (["x.json", "y.json"], [])


def test_a_file_that_was_named_twice_is_one_upload(tmp_path: Path) -> None:
    file = tmp_path / "a" / "x.json"
    put(file)
    assert submitting.find([file, tmp_path / "a", tmp_path / "a" / ".." / "a" / "x.json"]) == [
        (file, "x.json")
    ]


def test_where_even_the_folders_do_not_tell_files_apart_both_are_named(tmp_path: Path) -> None:
    put(tmp_path / "all" / "a" / "x.json", tmp_path / "a" / "x.json", tmp_path / "b" / "x.json")
    with pytest.raises(CommandFailed, match=r"all/a/x\.json and .*/a/x\.json would both be a/x\.json"):
        submitting.find([tmp_path / "all", tmp_path / "a", tmp_path / "b"])


def test_a_file_uploaded_over_another_content_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    put(file)
    shelf = Shelf()

    def submit() -> submitting.Submission:
        return submitting.submit(shelf, [submitting.check(file, "tasks/b/x.json")], "b")  # type: ignore[arg-type]

    first, again = submit(), submit()
    assert (first.uploaded, first.replaced, again.unchanged) == (["tasks/b/x.json"], [], ["tasks/b/x.json"])
    file.write_text(json.dumps(GOOD_TASK, indent=1))
    assert submit().replaced == ["tasks/b/x.json"]

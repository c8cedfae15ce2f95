"""`submit`: a batch is called what was given or nothing happens, and what is counted is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from arcspot.domain import names
from arcspot.services.contents import planned
from arcspot.services.ingesting import Dropped, ingest
from arcspot_cli import scheduling, submitting
from arcspot_cli import target as targets
from arcspot_cli.errors import CommandFailed
from arcspot_cli.main import main
from tests.fakes.driving import GOOD_TASK, Stack, task
from tests.unit.test_names import BAD

from .here import S3, on, solve_all, typed

TAKES_A_BATCH = (
    ("submit", "one.json"), ("status",), ("results", "get", "out"), ("results", "show", "one"),
    ("cancel",), ("retry",),
)  # fmt: skip


def put(path: Path, document: Any = GOOD_TASK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("name", [name for name in BAD if "\0" not in name], ids=lambda name: repr(name)[:20])
@pytest.mark.parametrize("command", TAKES_A_BATCH, ids=" ".join)
def test_a_name_no_batch_can_have_is_refused_before_anything_is_done(
    command: tuple[str, ...], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "one.json")

    def reached(_: object) -> Any:
        raise AssertionError("the stack was looked for")

    monkeypatch.setattr(targets, "resolve", reached)
    told = CliRunner().invoke(main, [*command, "--batch", name])
    assert (told.exit_code, told.stdout) == (2, "")
    assert names.A_BATCH in " ".join(told.stderr.split())
    assert BAD[name] in " ".join(told.stderr.split())


@pytest.mark.parametrize("name", ["a b", "ü", "2026-11-27", "x" * names.MAX_BATCH_BYTES, "..a", "BATCH#b"])
def test_a_good_name_is_the_batch_as_it_was_given(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack()
    told = typed(stack, monkeypatch, "submit", str(put(tmp_path / "one.json")), "--batch", name, "--json")
    assert json.loads(told.stdout)["batch"] == name
    (place,) = planned(stack.world.store, name).places
    assert place.key == f"tasks/{name}/one.json"


@pytest.mark.parametrize("folder", ["a b", "...", "x" * 250, "ü" * 120, "-", "a\nb"])
def test_a_folders_name_makes_a_name_that_a_batch_can_have(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    assert names.batch_fault(submitting.batch_name([tmp_path / folder])) is None


def test_folders_in_a_folder_are_no_folders_of_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "corpus" / "AboveBelow" / "AboveBelow1.json", task(1))
    put(tmp_path / "corpus" / "Center" / "deep" / "Center1.json", task(2))
    put(tmp_path / "corpus" / "top.json", task(3))
    stack = Stack()
    told = typed(stack, monkeypatch, "submit", str(tmp_path / "corpus"), "--json")
    document = json.loads(told.stdout)
    assert sorted(document["jobs"].values()) == ["AboveBelow1", "Center1", "top"]
    assert sorted(document["uploaded"]) == [
        "tasks/corpus/AboveBelow1.json", "tasks/corpus/Center1.json", "tasks/corpus/top.json",
    ]  # fmt: skip


def test_files_of_one_name_are_called_after_their_folders_and_that_is_said(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.json")
    put(tmp_path / "b" / "c" / "x.json")
    put(tmp_path / "b" / "y.json")
    said: list[str] = []
    found = submitting.flat(submitting.find([tmp_path]), say=said.append)
    assert [name for _, name in found] == ["a~x.json", "b~c~x.json", "y.json"]
    assert said == [
        "2 files are called after their folders too, and so are their tasks: a~x.json, b~c~x.json"
    ]


def test_names_that_would_meet_without_their_folders_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.json")
    put(tmp_path / "b" / "x.json")
    put(tmp_path / "a~x.json")
    with pytest.raises(CommandFailed, match=r"would both be a~x\.json"):
        submitting.flat(submitting.find([tmp_path]))


# --- counts ------------------------------------------------------------------------------


def counts(stack: Stack, monkeypatch: pytest.MonkeyPatch, path: Path, batch: str) -> tuple[int, int, int]:
    told = typed(stack, monkeypatch, "submit", str(path), "--batch", batch, "--json")
    document = json.loads(told.stdout)
    return len(document["jobs"]), document["new_jobs"], document["answered_before"]


def test_new_is_what_this_submission_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, folder = Stack(), tmp_path / "tasks"
    runner = stack.one_running()
    for n in range(3):
        put(folder / f"{n}.json", task(n))
    assert counts(stack, monkeypatch, folder, "monday") == (3, 3, 0)
    assert counts(stack, monkeypatch, folder, "monday") == (3, 0, 0), "the same again makes nothing"
    solve_all(stack, runner)
    put(folder / "3.json", task(3))
    assert counts(stack, monkeypatch, folder, "tuesday") == (4, 1, 3)
    assert counts(stack, monkeypatch, folder, "tuesday") == (4, 0, 3)


def test_of_a_file_that_was_changed_only_what_is_new_in_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, path = Stack(), tmp_path / "many.json"
    assert counts(stack, monkeypatch, put(path, {"a": task(1), "b": task(2)}), "b") == (2, 2, 0)
    assert counts(stack, monkeypatch, put(path, {"a": task(1), "b": task(2), "c": task(3)}), "b") == (3, 1, 0)


def test_an_event_told_twice_makes_nothing_less_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, path, put_once = Stack(), put(tmp_path / "one.json"), S3.put_object

    def told_twice(self: S3, **given: Any) -> dict[str, Any]:
        answer = put_once(self, **given)
        again = Dropped(given["Key"], len(given["Body"]), object_version=answer["VersionId"])
        ingest(stack.ports, stack.settings, again, stack.world.now)
        return answer

    monkeypatch.setattr(S3, "put_object", told_twice)
    assert counts(stack, monkeypatch, path, "b") == (1, 1, 0)


def test_twins_are_one_job_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack()
    put(tmp_path / "t" / "a.json")
    put(tmp_path / "t" / "b.json")
    told = typed(stack, monkeypatch, "submit", str(tmp_path / "t"))
    assert told.stdout.rstrip().endswith("1 job(s), 1 of them new; 1 task(s) share a job with another")


def test_the_receipt_of_an_earlier_content_is_not_taken_for_that_of_the_new_one(tmp_path: Path) -> None:
    stack = Stack()
    stack.drop("tasks/b/x.json", task(1))
    upload = submitting.check(put(tmp_path / "x.json", task(2)), "tasks/b/x.json")
    told = submitting.Submission("b")
    told.uploaded.append(upload.key)
    stack.world.objects.write(upload.key, upload.body, content_type="")
    told.versions[upload.key] = stack.world.objects.newest[upload.key]
    assert not submitting.receive(on(stack), told)
    assert (told.jobs, told.new_jobs) == ({}, 0)
    stack.drop("tasks/b/x.json", upload.body)
    told.versions[upload.key] = stack.world.objects.newest[upload.key]
    assert submitting.receive(on(stack), told)
    assert (len(told.jobs), told.new_jobs) == (1, 1)


# --- schedules ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("a/../b", 'the folder ".."'),
        ("a/./b", 'the folder "."'),
        ("..", 'the folder ".."'),
        ("a//b", "a folder without a name"),
        ("a\nb", "control characters"),
        ("a\ud800", "broken unicode"),
        ("x" * 850, "861 bytes"),
    ],
)
def test_a_prefix_below_which_no_file_could_be_submitted_is_refused(prefix: str, found: str) -> None:
    with pytest.raises(CommandFailed, match="is no folder: expected one of at most 800 bytes") as told:
        scheduling.below_recurring(prefix)
    assert found in str(told.value)


def test_the_longest_run_of_a_schedule_is_a_batch() -> None:
    assert names.batch_fault("n" * 40 + "-20261127T2200") is None

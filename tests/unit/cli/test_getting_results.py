"""`results get`: what is somebody's stays, what is there is not fetched, and Ctrl-C leaves nothing half."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arcspot.domain.jobs import Job, JobState
from arcspot_cli import fetching
from arcspot_cli.fetching import Answer
from tests.fakes.driving import GOOD_TASK, Stack, task

from .here import on, solve_all, typed
from .left import ANSWER, WEIGHTS, Bucket, answered, bucket, folders, promise, refused


# Folders that are somebody's ------------------------------------------------------------------------------
def a_file(path: Path) -> None:
    path.write_text("mine")


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "HEAD").write_text("mine")


def a_link(path: Path) -> None:
    a_folder(path.parent / "elsewhere")
    path.symlink_to(path.parent / "elsewhere", target_is_directory=True)


def a_dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def a_folder_with_a_manifest(document: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        a_folder(path)
        (path / "manifest.json").write_text(json.dumps(document))

    return make


SOMEBODYS = {
    "a file": a_file,
    "a folder": a_folder,
    "a link": a_link,
    "a dangling link": a_dangling_link,
    "a web page's manifest": a_folder_with_a_manifest({"name": "app", "files": {"HEAD": {}}}),
    "a manifest that names a job and no fence": a_folder_with_a_manifest({"job_id": "x", "files": {}}),
    "a manifest whose fence is text": a_folder_with_a_manifest({"job_id": "x", "fence": "1"}),
    "a manifest that is a list": a_folder_with_a_manifest(["job_id", "fence"]),
}


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def everything(path: Path) -> dict[str, bytes | str]:
    """Every path below, with what it is."""
    return {
        str(each.relative_to(path)): str(each.readlink()) if each.is_symlink() else _bytes(each)
        for each in sorted(path.rglob("*"))
    }  # fmt: skip


@pytest.mark.parametrize("task_id", [".git", "src", "Desktop"])
@pytest.mark.parametrize("kind", SOMEBODYS)
def test_what_somebody_has_there_is_left_alone_and_told(
    kind: str, task_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SOMEBODYS[kind](tmp_path / task_id)
    before = everything(tmp_path)
    fake, _ = answered("one", task_id)
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert told.exit_code == 1
    (line,) = [line for line in told.stderr.splitlines() if line.startswith(f"{task_id}: ")]
    assert "move it" in line
    after = everything(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert (tmp_path / "one" / "prediction.json").read_bytes() == ANSWER


@pytest.mark.parametrize("name", ["submission.json", "report.html"])
def test_a_file_that_somebody_has_there_is_left_alone_and_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("mine")
    fake, _ = answered("one")
    fake.world.objects.write("reports/b/index.html", b"<html>", content_type="")
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert told.exit_code == 1
    assert f"{name}: " in told.stderr
    assert (tmp_path / name).read_text() == "mine"
    assert (tmp_path / "one" / "prediction.json").read_bytes() == ANSWER
    (tmp_path / name).unlink()
    assert typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b").exit_code == 0
    assert (tmp_path / name).read_text() != "mine"
    assert typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b").exit_code == 0


def test_a_directory_that_is_a_file_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").write_text("mine")
    fake, _ = answered("one")
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path / "out"))
    assert (told.exit_code, (tmp_path / "out").read_text()) == (1, "mine")
    assert "is a file; name a folder" in told.stderr


def test_a_folder_of_ours_is_replaced_and_what_somebody_put_into_it_stays(tmp_path: Path) -> None:
    """Of another job, as after `results get` of another batch into the same folder."""
    fake, jobs = answered("one")
    (tmp_path / "one").mkdir()
    old = {"prediction.json": b"[]", "picture.svg": b"<svg/>"}
    manifest = {"job_id": "other", "fence": 3, "files": {name: promise(body) for name, body in old.items()}}
    for name, body in {**old, "notes.txt": b"mine", "manifest.json": json.dumps(manifest).encode()}.items():
        (tmp_path / "one" / name).write_bytes(body)
    (answer,) = fetching.get(on(fake), tmp_path, batch="b")
    assert answer.fresh
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        "prediction.json", "adapted.safetensors", "manifest.json", "arcspot.json", "notes.txt",
    }  # fmt: skip
    assert (tmp_path / "one" / "prediction.json").read_bytes() == ANSWER
    about = json.loads((tmp_path / "one" / "arcspot.json").read_text())
    ours = {"task_id": "one", "job_id": jobs["one"].job_id, "fence": jobs["one"].fence}
    assert about == {**ours, "picture_sha256": None}


@pytest.mark.parametrize(
    "task_id", ["../x", "/x", "C:\\x", "CON", "nul.txt", "x.", "x ", "x" * 300, "a\udc80", ""]
)
def test_an_id_that_no_file_should_give_stays_within_the_folder(
    task_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ingest` takes no such id; whoever wrote one past it harms nobody."""
    fake, jobs = answered("one")
    asked = [fetching.Wanted("one", jobs["one"].job_id), fetching.Wanted(task_id, jobs["one"].job_id)]
    monkeypatch.setattr(fetching, "wanted", lambda target, batch: asked)
    out = tmp_path / "a" / "out"
    answers = fetching.get(on(fake), out, batch="b")
    assert len(answers) == 2
    assert [path.name for path in (*tmp_path.iterdir(), *out.parent.iterdir())] == ["a", "out"]
    found = {json.loads((out / name / "arcspot.json").read_text())["task_id"] for name in folders(out)}
    assert found == {"one", task_id}


def test_the_twins_of_arc_agi_1_are_one_job_and_two_folders(tmp_path: Path) -> None:
    fake = Stack()
    for name in ("070dd51e", "40853293"):
        fake.drop(f"tasks/b/{name}.json", GOOD_TASK)
    assert len(fake.world.store.every(Job)) == 1
    solve_all(fake, fake.boot(fake.scale()[0]))
    answers = fetching.get(on(fake), tmp_path, batch="b")
    assert sorted(answer.folder.name for answer in answers) == ["070dd51e", "40853293"]
    assert set(json.loads((tmp_path / "submission.json").read_text())) == {"070dd51e", "40853293"}


# Again, resumed, interrupted ------------------------------------------------------------------------------
def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    fake, _ = answered("one", "two")
    fetching.get(on(fake), tmp_path, batch="b")
    bucket(fake).reads.clear()
    answers = fetching.get(on(fake), tmp_path, batch="b")
    assert [answer.fresh for answer in answers] == [False, False]
    assert [key for key in bucket(fake).reads if key.startswith("results/")] == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(WEIGHTS[:-1]),
        lambda path: path.write_bytes(WEIGHTS[::-1]),
        lambda path: (path.unlink(), path.symlink_to("/dev/null")),
    ],
)
def test_of_a_damaged_folder_only_the_damaged_file_is_fetched(
    harm: Callable[[Path], object], tmp_path: Path
) -> None:
    fake, jobs = answered("one")
    fetching.get(on(fake), tmp_path, batch="b")
    harm(tmp_path / "one" / "adapted.safetensors")
    bucket(fake).reads.clear()
    (answer,) = fetching.get(on(fake), tmp_path, batch="b")
    prefix = jobs["one"].result_prefix
    assert answer.fresh
    fetched = [key for key in bucket(fake).reads if key.startswith("results/")]
    assert fetched == [prefix + "manifest.json", prefix + "adapted.safetensors"]
    assert (tmp_path / "one" / "adapted.safetensors").read_bytes() == WEIGHTS
    assert not (tmp_path / "one" / "adapted.safetensors").is_symlink()


def test_a_folder_of_an_earlier_release_is_taken_over_without_its_files_being_fetched(tmp_path: Path) -> None:
    fake, jobs = answered("one")
    fetching.get(on(fake), tmp_path, batch="b")
    (tmp_path / "one" / "arcspot.json").unlink()
    bucket(fake).reads.clear()
    fetching.get(on(fake), tmp_path, batch="b")
    assert [key for key in bucket(fake).reads if key.startswith("results/")] == [
        jobs["one"].result_prefix + "manifest.json"
    ]


@pytest.mark.parametrize("where", ["manifest.json", "prediction.json", "adapted.safetensors"])
def test_ctrl_c_leaves_nothing_half_written(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, jobs = answered(*(f"t{n}" for n in range(6)))
    bucket(fake).refusing[jobs["t3"].result_prefix + where] = KeyboardInterrupt
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert told.exit_code == 130
    for folder in folders(tmp_path):
        assert not folder.startswith("."), "nothing of what was under way is left"
        for name, known in json.loads((tmp_path / folder / "manifest.json").read_text())["files"].items():
            assert promise((tmp_path / folder / name).read_bytes()) == known
    assert "t3" not in folders(tmp_path)
    bucket(fake).refusing.clear()
    assert typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b").exit_code == 0
    assert folders(tmp_path) == set(jobs)


def test_answers_are_fetched_several_at_once(tmp_path: Path) -> None:
    fake, _ = answered(*(f"t{n}" for n in range(8)))
    together = threading.Barrier(8, timeout=20)  # passes only when all eight wait at the same time

    class Meeting(Bucket):
        def read(self, key: str, **more: Any) -> bytes:
            if key.endswith("adapted.safetensors"):
                together.wait()
            return super().read(key, **more)

    meeting = Meeting()
    meeting.bodies = fake.world.objects.bodies
    fake.world.objects = meeting
    assert len(fetching.get(on(fake), tmp_path, batch="b")) == 8


def test_each_answer_is_told_once_as_it_comes_and_all_in_the_order_asked_for(tmp_path: Path) -> None:
    fake, jobs = answered("one", "two", "three")
    told: list[Answer] = []
    answers = fetching.get(on(fake), tmp_path, batch="b", done=told.append)
    assert {answer.task_id for answer in told} == set(jobs)
    assert [answer.task_id for answer in answers] == ["one", "two", "three"]


# What lies beside the folders -----------------------------------------------------------------------------
def test_a_submission_has_every_id_and_says_how_many_are_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = answered("one")
    two_tests = {**task(7), "test": [{"input": [[1]]}, {"input": [[2]]}]}
    fake.drop("tasks/b/later.json", two_tests)
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert told.exit_code == 0
    assert "1 id(s) without an answer have a placeholder" in told.stderr
    submission = json.loads((tmp_path / "submission.json").read_text())
    assert {name: len(pairs) for name, pairs in submission.items()} == {"one": 1, "later": 2}


def test_a_reports_submission_is_taken_while_the_report_tells_of_everything(tmp_path: Path) -> None:
    fake, _ = answered("one")
    batch = fake.world.store.batch("b")
    assert batch is not None
    reported = b'{"one": "as reported"}'
    fake.world.objects.write("reports/b/submission.json", reported, content_type="")
    fetching.get(on(fake), tmp_path, batch="b")
    assert json.loads((tmp_path / "submission.json").read_text())["one"] == json.loads(ANSWER), (
        "a report is due"
    )
    fake.world.store.write(batch.reported(1))
    fetching.get(on(fake), tmp_path, batch="b")
    assert (tmp_path / "submission.json").read_bytes() == reported


def test_a_report_that_cannot_be_read_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = answered("one")
    batch = fake.world.store.batch("b")
    assert batch is not None
    fake.world.store.write(batch.reported(1))
    for name in ("submission.json", "index.html"):
        fake.world.objects.write(f"reports/b/{name}", b"{}", content_type="")
        bucket(fake).refusing[f"reports/b/{name}"] = refused("InvalidObjectState")
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert told.exit_code == 1
    assert told.stderr.count("archived") == 2
    assert set(json.loads((tmp_path / "submission.json").read_text())) == {"one"}


def test_a_job_that_is_not_over_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Stack()
    fake.drop("tasks/b/one.json", GOOD_TASK)
    assert [job.state for job in fake.world.store.every(Job)] == [JobState.READY]
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path / "out"))
    assert (told.exit_code, told.stdout) == (0, "")
    assert not (tmp_path / "out").exists()

"""`results get`: one bad answer, one odd folder, one Ctrl-C, and what they leave of all the others."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from arcspot.domain.jobs import Job, JobState
from arcspot_cli import fetching
from arcspot_cli.fetching import Answer
from arcspot_simulator.bucket import MemoryObjects
from tests.fakes.driving import GOOD_TASK, Stack, task
from tests.fakes.memory import World

from .here import on, solve_all, typed

ANSWER = json.dumps([{"attempt_1": [[0]], "attempt_2": [[1]]}]).encode()
WEIGHTS = b"weights" * 100


class Bucket(MemoryObjects):
    """A bucket whose objects may refuse to be read, and that counts what is."""

    def __init__(self) -> None:
        super().__init__()
        self.refusing: dict[str, Exception | type[BaseException]] = {}
        self.reads: list[str] = []

    def read(self, key: str, **more: Any) -> bytes:
        self.reads.append(key)
        if key in self.refusing:
            raise self.refusing[key]
        return super().read(key, **more)


def promise(body: bytes) -> dict[str, Any]:
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def leave(fake: Stack, job: Job, files: dict[str, bytes], **more: Any) -> None:
    """What a runner of an earlier release leaves of a job, instead of what is there."""
    bodies = fake.world.objects.bodies
    for key in [key for key in bodies if key.startswith(job.result_prefix)]:
        del bodies[key]
    manifest = {"job_id": job.job_id, "fence": job.fence, "files": {n: promise(b) for n, b in files.items()}}
    for name, body in {**files, "manifest.json": json.dumps({**manifest, **more}).encode()}.items():
        bodies[job.result_prefix + name] = body


def answered(*names: str) -> tuple[Stack, dict[str, Job]]:
    """A stack whose batch `b` has these tasks, all answered. The jobs by task id."""
    fake = Stack(world=World(objects=Bucket()))
    fake.drop("tasks/b/all.json", {name: task(n) for n, name in enumerate(names)})
    solve_all(fake, fake.boot(fake.scale()[0]))
    jobs = {job.task_id: job for job in fake.world.store.jobs_of_batch("b")}
    for job in jobs.values():
        leave(fake, job, {"prediction.json": ANSWER, "adapted.safetensors": WEIGHTS})
    bucket(fake).reads.clear()
    return fake, jobs


def bucket(fake: Stack) -> Bucket:
    assert isinstance(fake.world.objects, Bucket)
    return fake.world.objects


def folders(out: Path) -> set[str]:
    return {path.name for path in out.iterdir() if path.is_dir()} if out.exists() else set()


def refused(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "GetObject")


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
    "the manifest is deep": (overwrite("manifest.json", DEEP), "nests without end"),
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
    "a file has another size": (overwrite("adapted.safetensors", b"short"), "its manifest promises 700"),
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
    assert about == {"task_id": "one", "job_id": jobs["one"].job_id, "fence": jobs["one"].fence}


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

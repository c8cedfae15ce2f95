"""`results get` writes data alone: what an instance calls its files and draws is a stranger's."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from safetensors.numpy import save

from arcspot.domain import results
from arcspot.domain.jobs import Job
from tests.fakes.driving import Stack, task

from .here import typed
from .left import ANSWER, WEIGHTS, answered, bucket, leave, promise, refused, safetensors

SCRIPT = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
ODD = {
    "START-HERE.html": b"<script>1</script>", "weights.pkl": b"x", "setup.bat": b"calc", "autorun.inf": b"",
    "requirements.txt": b"evil", "conftest.py": b"1", "Makefile": b"all:", "picture.html": b"x",
    "picture.svg.lnk": b"x", "desktop.ini": b"", "index.js": b"x",
}  # fmt: skip
WHOLE = {"prediction.json": ANSWER, "adapted.safetensors": WEIGHTS, "metrics.json": b"{}"}
OURS = {*WHOLE, "picture.svg", "manifest.json", "arcspot.json"}


def pack(fake: Stack, job: Job, files: dict[str, bytes]) -> None:
    """What an instance packs into its `result.zip`, instead of what is there."""
    leave(fake, job, {})
    sums = {name: promise(body) for name, body in files.items()}
    manifest = json.dumps({"job_id": job.job_id, "fence": job.fence, "files": sums}).encode()
    bodies = fake.world.objects.bodies
    del bodies[job.result_prefix + "manifest.json"]
    bodies[job.result_prefix + results.RESULT] = results.pack({**files, "manifest.json": manifest})


LEAVING = {"in one object": pack, "as earlier releases": leave}


@pytest.mark.parametrize("how", LEAVING)
def test_only_what_runners_leave_is_written_and_the_rest_is_told(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, jobs = answered("one")
    more = {"result.zip": results.pack({"manifest.json": b"{}"})} if how == "in one object" else {}
    LEAVING[how](fake, jobs["one"], {**WHOLE, "picture.svg": SCRIPT, **ODD, **more})
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert (told.exit_code, told.stderr.count("one: ")) == (0, 1)
    assert {path.name for path in (tmp_path / "one").iterdir()} == OURS
    assert "1 answer(s) came with files that no runner of arcspot leaves" in told.stderr
    assert "Makefile" in told.stderr
    bucket(fake).reads.clear()
    again = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert (again.exit_code, [key for key in bucket(fake).reads if key.startswith("results/")]) == (0, [])


@pytest.mark.parametrize("how", LEAVING)
def test_the_picture_is_drawn_here_of_the_task_and_the_answer(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, jobs = answered("one", "two")
    for job in jobs.values():
        LEAVING[how](fake, job, {**WHOLE, "picture.svg": SCRIPT})
    bucket(fake).reads.clear()
    assert typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b").exit_code == 0
    assert bucket(fake).reads.count("tasks/b/all.json") == 1
    for name in jobs:
        body = (tmp_path / name / "picture.svg").read_bytes()
        tags = {each.tag.rpartition("}")[2] for each in ElementTree.fromstring(body).iter()}
        assert {"svg", "text"} <= tags
        assert "script" not in tags
    (tmp_path / "one" / "picture.svg").write_bytes(SCRIPT)
    assert typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b").exit_code == 0
    assert b"script" not in (tmp_path / "one" / "picture.svg").read_bytes()


def test_without_its_task_an_answer_comes_without_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, jobs = answered("one")
    pack(fake, jobs["one"], {**WHOLE, "picture.svg": SCRIPT})
    bucket(fake).refusing["tasks/b/all.json"] = refused("SlowDown")
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert (told.exit_code, "1 picture(s) are not drawn" in told.stderr) == (0, True)
    assert {path.name for path in (tmp_path / "one").iterdir()} == OURS - {"picture.svg"}
    bucket(fake).refusing.clear()
    typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert {path.name for path in (tmp_path / "one").iterdir()} == OURS, "the next call draws it"


def test_what_an_earlier_release_wrote_of_a_stranger_goes_and_what_a_person_wrote_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, jobs = answered("one")
    job, files = jobs["one"], {**WHOLE, "picture.svg": SCRIPT, "setup.bat": b"calc", "notes.txt": b"theirs"}
    pack(fake, job, files)
    packed = fake.world.objects.bodies[job.result_prefix + results.RESULT]
    (tmp_path / "one").mkdir()
    about = {"task_id": "one", "job_id": job.job_id, "fence": job.fence}
    there = {**results.unpacked(packed), "arcspot.json": json.dumps(about).encode(), "notes.txt": b"mine"}
    for name, body in there.items():
        (tmp_path / "one" / name).write_bytes(body)
    assert typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b").exit_code == 0
    assert {path.name for path in (tmp_path / "one").iterdir()} == {*OURS, "notes.txt"}
    assert (tmp_path / "one" / "notes.txt").read_bytes() == b"mine"
    assert b"script" not in (tmp_path / "one" / "picture.svg").read_bytes()


NO_WEIGHTS = {
    "a pickle": b"\x80\x04K\x01.",
    "a ZIP file": results.pack({"data.pkl": b"\x80\x04K\x01."}),
    "a ZIP file behind tensors": WEIGHTS + results.pack({"data.pkl": b"\x80\x04K\x01."}),
    "a page": b"<html><script>1</script>",
    "nothing": b"",
    "torn": safetensors(b"12345678")[:-1],
}


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("what", [*NO_WEIGHTS, "metrics that are a page"])
def test_a_file_of_another_kind_than_its_name_is_a_fault_of_one_answer(
    what: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, jobs = answered("one", "bad")
    odd = {"adapted.safetensors": NO_WEIGHTS[what]} if what in NO_WEIGHTS else {"metrics.json": b"<html>"}
    LEAVING[how](fake, jobs["bad"], {**WHOLE, **odd})
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert told.exit_code == 1
    assert "is not what a runner leaves" in told.stderr
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"one"}


@pytest.mark.parametrize("shapes", [[], [(0,)], [()], [(3, 4), (0,), (2, 2)]])
def test_weights_as_safetensors_writes_them_come_home(
    shapes: list[tuple[int, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {f"w{n}": np.ones(shape, np.float16) for n, shape in enumerate(shapes)}
    body = save(tensors, metadata={"rules": '["x", {"y": "' + '"' * 1_000_000 + '"}]'})
    fake, jobs = answered("one")
    pack(fake, jobs["one"], {**WHOLE, "adapted.safetensors": body})
    assert typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b").exit_code == 0
    assert (tmp_path / "one" / "adapted.safetensors").read_bytes() == body


def test_an_id_with_markup_is_text_in_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, jobs = answered("<script>1<")
    (job,) = jobs.values()
    pack(fake, job, {**WHOLE, "picture.svg": SCRIPT})
    fake.drop("tasks/b/more.json", task(9))
    assert typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b").exit_code == 0
    (picture,) = tmp_path.glob("*/picture.svg")
    assert b"<script" not in picture.read_bytes()

"""One bad `result.zip`: told in a line with the next step, while all the others come home."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from arcspot.domain.jobs import Job
from tests.fakes.driving import result_of

from .here import typed
from .left import answered, folders


def zipped(*members: tuple[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, body in members:
            archive.writestr(name, body)
    return whole.getvalue()


BAD: dict[str, Callable[[Job], bytes]] = {
    "torn": lambda job: result_of(job.job_id)[:-9],
    "empty": lambda job: b"",
    "no ZIP file": lambda job: b"<Error>" * 99,
    "another job's": lambda job: result_of("z"),
    "no answer": lambda job: result_of(job.job_id, [1]),
    "one attempt": lambda job: result_of(job.job_id, [{"attempt_1": [[0]]}]),
    "an answer of 60 MiB": lambda job: result_of(job.job_id, "x" * (60 << 20)),
    "a name with slashes": lambda job: zipped(("../x", b""), ("manifest.json", b"{}")),
    "no manifest": lambda job: zipped(("prediction.json", b"[]")),
    "a manifest that is a list": lambda job: zipped(("manifest.json", b"[]")),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_result_of_three_leaves_the_other_two_on_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, jobs = answered("one", "bad", "two")
    fake.world.objects.bodies[jobs["bad"].result_prefix + "result.zip"] = BAD[name](jobs["bad"])
    told = typed(fake, monkeypatch, "results", "get", str(tmp_path), "--batch", "b")
    assert told.exit_code == 1
    assert folders(tmp_path) == {"one", "two"}
    assert len([line for line in told.stderr.splitlines() if line.startswith("bad: ")]) == 1
    assert "Traceback" not in told.output
    shown = typed(fake, monkeypatch, "results", "show", "one", "bad", "two", "--json")
    assert {row["task_id"] for row in json.loads(shown.stdout)} == {"one", "bad", "two"}

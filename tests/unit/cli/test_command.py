"""The command line: the same words as ingest, data on stdout, a next step in every error."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from arcspot.domain.jobs import JobState
from arcspot_cli import looking, showing, submitting
from arcspot_cli.errors import CommandFailed
from arcspot_cli.local import keys, proof
from arcspot_cli.local import stack as local
from arcspot_cli.main import main
from arcspot_cli.target import Choice, resolve
from tests.fakes.driving import GOOD_TASK, Stack
from tests.fakes.memory import START
from tests.unit.local.strangers import proving

BAD = {"train": [{"input": [[1, 12]], "output": [[1]]}], "test": [{"input": [[1]]}]}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a local stack, and no AWS environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def test_every_command_shows_lines_to_paste() -> None:
    for command in ("submit", "status", "demo", "cost", "pause", "resume", "cancel", "check", "cleanup"):
        told = run(command, "--help").output
        assert "Examples:" in told, command
        assert f"arcspot {command}" in told or f" {command}" in told


def test_help_loads_nothing_of_weight() -> None:
    script = (
        "import sys; from arcspot_cli.main import main; main(['--help'], standalone_mode=False); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    heavy = {"boto3", "botocore", "torch", "numpy", "rich", "arcspot_simulator", "multiprocessing"}
    assert not heavy & set(ast.literal_eval(told.splitlines()[-1]))


def test_a_missing_file_is_one_sentence(nowhere: Path) -> None:
    told = run("submit", "absent.json")
    assert told.exit_code == 1
    assert told.output == "Error: absent.json: no such file or folder\n"


def test_asking_for_a_local_stack_that_is_not_up_says_how_to_start_it(nowhere: Path) -> None:
    told = run("--local", "status")
    assert told.exit_code == 1
    assert "arcspot local up" in told.output


def test_submit_refuses_in_the_words_of_ingest(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(BAD))
    upload = submitting.check(path, "tasks/b/bad.json")
    assert not upload.wanted
    ingested = Stack().drop(str(path), BAD).refusals
    assert upload.refusals == ingested
    assert "$.train[0].input[0][1]" in upload.refusals[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"\xff\xfe",
        b'{"train": [], "test": []}',
        b'{"train": [{"input": [[NaN]], "output": [[1]]}], "test": [{"input": [[1]]}]}',
        b"[" * 5000,
        b" " * (6 * 1024 * 1024),
        json.dumps({str(n): GOOD_TASK for n in range(10_001)}).encode(),
    ],
    ids=[
        "zero bytes",
        "no json",
        "no object",
        "no utf-8",
        "no demonstrations",
        "nan",
        "deep",
        "6 MiB",
        "10,001 tasks",
    ],
)
def test_what_is_no_task_file_is_refused_at_submit(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(body)
    upload = submitting.check(path, "tasks/b/x.json")
    assert not upload.wanted
    assert len(upload.refusals) == 1
    assert str(path) in upload.refusals[0]


def test_a_folder_is_searched_and_its_names_kept(tmp_path: Path) -> None:
    (tmp_path / "in ner").mkdir()
    (tmp_path / "a.json").write_text(json.dumps(GOOD_TASK))
    (tmp_path / "in ner" / "ü+.json").write_text(json.dumps(GOOD_TASK))
    (tmp_path / "notes.txt").write_text("x")
    assert [name for _, name in submitting.find([tmp_path])] == ["a.json", "in ner/ü+.json"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandFailed, match="json file in this folder"):
        submitting.find([tmp_path / "empty"])


def test_the_endpoint_is_the_only_difference(nowhere: Path) -> None:
    there = resolve(Choice(project_dir=nowhere), {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    assert (there.endpoint_url, there.stack) == ("http://127.0.0.1:1", "arcspot")
    aws = resolve(Choice(project_dir=nowhere, where="aws"), {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    assert aws.endpoint_url is None
    named = resolve(Choice(project_dir=nowhere, stack="mine", region="eu-west-1"), {})
    assert (named.stack, named.label) == ("mine", "AWS eu-west-1")


def test_the_endpoint_of_the_local_stack_brings_its_key(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keys.AccessKey("LOCALKEY", "its secret")
    emulator = proving(proof.EMULATOR, key)
    up = local.LocalStack(
        endpoint_url=emulator.url,
        region="us-east-1",
        stack_name="arcspot-local",
        control_url="http://127.0.0.1:2",
        state_dir=str(nowhere),
        started_at="2026-01-01T00:00:00+00:00",
        processes=(),
        key=key,
    )
    monkeypatch.setattr(local, "load", lambda project_dir: up)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", *up.environment()):
        monkeypatch.setenv(name, "somebody's")
    other = resolve(Choice(project_dir=nowhere), {"AWS_ENDPOINT_URL": "http://127.0.0.1:10"})
    assert os.environ["AWS_ACCESS_KEY_ID"] == "somebody's"
    assert other.endpoint_url == "http://127.0.0.1:10"
    try:
        ours = resolve(Choice(project_dir=nowhere), {"AWS_ENDPOINT_URL": f"{emulator.url}/"})
    finally:
        emulator.close()
    assert (ours.endpoint_url, ours.stack) == (emulator.url, "arcspot-local")
    assert os.environ["AWS_ACCESS_KEY_ID"] == "LOCALKEY"
    assert "AWS_SESSION_TOKEN" not in os.environ


def look_at(stack: Stack) -> looking.Look:
    store = stack.world.store
    return looking.Look(
        now=stack.world.now,
        jobs=tuple(looking.lines_of_batch(store, "b")),  # type: ignore[arg-type]
        launches=tuple(store.launches()),
        ledger=store.ledger("2026-11"),
        fleet=store.fleet(),
        disk_gb=75,
    )


def test_status_tells_what_runs_and_what_it_costs() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    stack.drop("tasks/b/bad.json", BAD)
    stack.world.wait(600)
    seen = look_at(stack)
    assert showing.line(seen).startswith("1 running, 1 rejected (one claimed 0%); $0.0000 spent, $1.")
    told = looking.as_json(seen)
    assert told["running"][0]["job_id"] == lease["job_id"]
    assert told["launches"][0]["cost_usd_micros"] > 20_000
    assert told["ended_badly"][0]["state"] == JobState.REJECTED
    assert not seen.over


def test_status_says_why_jobs_wait() -> None:
    stack = Stack()
    stack.settings = type(stack.settings)(**{**_fields(stack), "cap": 5})
    stack.drop("tasks/b/one.json", GOOD_TASK)
    stack.scale()
    assert "waits for budget" in showing.line(look_at(stack))


def _fields(stack: Stack) -> dict[str, Any]:
    return {name: getattr(stack.settings, name) for name in stack.settings.__slots__}


def test_a_line_is_said_when_a_job_changes_and_else_only_now_and_then() -> None:
    stack = Stack()
    runner = stack.one_running()
    pace = showing.Pace(every_s=10)
    assert pace.worth_saying(look_at(stack), 0)
    assert not pace.worth_saying(look_at(stack), 5)
    runner.claim()
    assert pace.worth_saying(look_at(stack), 6)
    assert pace.worth_saying(look_at(stack), 16)


def test_nothing_is_drawn_in_colour_against_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert showing.colours(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not showing.colours(Terminal())


def test_a_look_at_a_later_time_costs_more() -> None:
    stack = Stack()
    stack.one_running()
    first = look_at(stack)
    later = looking.Look(START + timedelta(hours=1), *(getattr(first, n) for n in first.__slots__[1:]))
    assert later.cost_so_far(later.launches[0]) > first.cost_so_far(first.launches[0])

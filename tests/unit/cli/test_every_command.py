"""What all commands have in common: --json that is nothing but JSON, and Ctrl-C that is one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from arcspot_cli import commands_status, demonstrating
from arcspot_cli import target as targets
from arcspot_cli.evaluation import running
from arcspot_cli.local import stack as local
from arcspot_cli.main import main
from arcspot_simulator import campaign
from tests.fakes.driving import GOOD_TASK, Stack, task

from .here import given_up, solve_all, the_job, typed

# Every command with the least that it must be given.
LEAST = {
    "submit": ["one.json"],
    "status": [],
    "results get": ["out"],
    "results show": ["one"],
    "demo": [],
    "evaluate": ["."],
    "cost": [],
    "pause": [],
    "resume": [],
    "cancel": ["job"],
    "retry": ["job"],
    "schedule add": ["nightly", "--prefix", "a", "--rate", "1 day"],
    "schedule list": [],
    "schedule remove": ["nightly"],
    "simulate": [],
    "check": [],
    "prune": [],
    "cleanup": [],
    "local up": [],
    "local down": [],
    "local env": [],
    "local status": [],
    **{f"local {verb}": ["i-1"] for verb in ("interrupt", "rebalance", "freeze", "thaw", "crash")},
}


def leaves(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield before + name, command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one task file and no local stack."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.json").write_text(json.dumps(GOOD_TASK))
    return tmp_path


def test_every_command_is_looked_at_here() -> None:
    assert {name for name, _ in leaves(main)} == set(LEAST)


@pytest.mark.parametrize("name", LEAST)
def test_every_command_speaks_json_and_shows_lines_to_paste(name: str) -> None:
    command = dict(leaves(main))[name]
    assert "--json" in {option for parameter in command.params for option in parameter.opts}
    assert f"arcspot {name}" in (command.epilog or "")


@pytest.mark.parametrize("name", LEAST)
def test_ctrl_c_ends_every_command_with_one_sentence(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(targets, "resolve", interrupted)
    monkeypatch.setattr(demonstrating, "run", interrupted)
    monkeypatch.setattr(running, "run", interrupted)
    monkeypatch.setattr(campaign, "run", interrupted)
    for act in ("up", "down", "load", "status"):
        monkeypatch.setattr(local, act, interrupted)
    told = CliRunner().invoke(main, [*name.split(), *LEAST[name]])
    assert (told.exit_code, told.stdout) == (130, "")
    assert told.stderr.endswith("stopped; what was done stays, and the same command may be run again\n")
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("pause why", {"paused": True, "reason": "why"}),
        ("resume", {"paused": False}),
        ("results get out", []),
        ("cleanup", {"stack": "here", "bucket": "BucketName", "done": False}),
        ("local status", {"up": False, "endpoint_url": None, "instances": [], "left_over": []}),
    ],
)
def test_in_json_there_is_nothing_else_on_stdout(
    arguments: str, expected: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = typed(Stack(), monkeypatch, *arguments.split(), "--json")
    assert json.loads(told.stdout) == expected


def test_the_bill_is_told_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Stack()
    fake.one_running()
    told = json.loads(typed(fake, monkeypatch, "cost", "--month", "2026-11", "--json").stdout)
    assert (told["settled"], len(told["launches"])) == (0, 1)


def test_cancelled_jobs_and_those_that_were_over_are_told_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Stack()
    over = given_up(fake)
    fake.drop("tasks/b/two.json", task(2))
    told = json.loads(typed(fake, monkeypatch, "cancel", "--batch", "b", "--json").stdout)
    assert told == {
        "cancelled": [{"job_id": the_job(fake, "two").job_id, "task_id": "two", "state": "CANCELLED"}],
        "left": [{"job_id": over.job_id, "task_id": "one", "state": "DEAD"}],
    }


@pytest.fixture
def solved_while_we_wait(monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack that answers all its jobs whenever the command would sleep."""
    fake = Stack()

    def work(seconds: float) -> None:
        runner = fake.boot(fake.scale()[0])
        solve_all(fake, runner)

    monkeypatch.setattr(commands_status.time, "sleep", work)
    return fake


def test_a_watch_in_json_is_a_line_for_each_look_worth_it(
    solved_while_we_wait: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved_while_we_wait.drop("tasks/b/one.json", GOOD_TASK)
    told = typed(solved_while_we_wait, monkeypatch, "status", "--watch", "--json")
    assert [json.loads(line)["jobs"] for line in told.stdout.splitlines()] == [{"READY": 1}, {"DONE": 1}]


def test_submit_that_waits_keeps_its_looks_off_its_json(
    solved_while_we_wait: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = typed(solved_while_we_wait, monkeypatch, "submit", "one.json", "--batch", "b", "--wait", "--json")
    assert told.exit_code == 0
    document = json.loads(told.stdout)
    assert (document["uploaded"], document["new_jobs"]) == (["tasks/b/one.json"], 1)
    assert "1 waiting" in told.stderr
    assert "1 answered" in told.stderr


def test_submit_that_waits_shows_its_looks_on_stdout_to_a_person(
    solved_while_we_wait: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = typed(solved_while_we_wait, monkeypatch, "submit", "one.json", "--batch", "b", "--wait")
    assert [line.split(";")[0] for line in told.stdout.splitlines()[1:]] == ["1 waiting", "1 answered"]


def test_the_demo_in_json_draws_on_stderr(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def played(*_: Any, show: Any, began: float, **__: Any) -> demonstrating.Story:
        show("a drawing")
        return demonstrating.Story(began, tasks=1, answered=1)

    monkeypatch.setattr(demonstrating, "run", played)
    told = CliRunner().invoke(main, ["demo", "--json"])
    assert json.loads(told.stdout)["answered"] == 1
    assert told.stderr.startswith("a drawing\n")
    assert CliRunner().invoke(main, ["demo"]).stdout.startswith("a drawing\n")

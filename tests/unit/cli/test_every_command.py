"""What all commands have in common: --json that is nothing but JSON, and Ctrl-C that is one sentence."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
from click.testing import CliRunner

from arcspot_cli import cleaning, commands_status, demonstrating, rehearsing
from arcspot_cli import target as targets
from arcspot_cli.errors import CommandFailed
from arcspot_cli.evaluation import running
from arcspot_cli.local import stack as local
from arcspot_cli.main import main
from arcspot_simulator import campaign
from tests.fakes import house
from tests.fakes.driving import GOOD_TASK, Stack, task

from .here import Here, given_up, solve_all, the_job, typed

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
    "rehearse": [],
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
    monkeypatch.setattr(rehearsing, "run", interrupted)
    if name == "rehearse":
        monkeypatch.setenv(targets.TARGET_VARIABLE, "local")
    for act in ("up", "down", "load", "status"):
        monkeypatch.setattr(local, act, interrupted)
    told = CliRunner().invoke(main, [*name.split(), *LEAST[name]])
    assert (told.exit_code, told.stdout) == (130, "")
    assert told.stderr.endswith("stopped; what was done stays, and the same command may be run again\n")
    assert "Traceback" not in told.stderr


# Commands of this machine alone, and `rehearse`, which makes its stack and has to be told where.
WITHOUT_A_STACK = (
    "demo",
    "evaluate",
    "simulate",
    "rehearse",
    *(name for name in LEAST if name.startswith("local ")),
)


@pytest.mark.parametrize("name", [name for name in LEAST if name not in WITHOUT_A_STACK])
def test_no_command_reaches_aws_unless_somebody_says_aws(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No local stack is up here: what was meant for one must not find a real account instead."""
    for variable in ("AWS_ENDPOINT_URL", targets.TARGET_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    reached: list[str] = []

    def client(self: Any, service: str) -> Any:
        reached.append(service)
        raise CommandFailed(f"reached {service}")

    monkeypatch.setattr(targets.Target, "client", client)
    arguments = [*name.split(), *LEAST[name]] + (["--yes", "arcspot"] if name == "cleanup" else [])
    for before in ([], ["--stack", "arcspot"], ["--local"]):
        told = CliRunner().invoke(main, [*before, *arguments])
        assert (told.exit_code, reached) == (1, []), told.output
        assert "no local stack is up in this folder" in told.stderr
    told = CliRunner().invoke(main, ["--aws", *arguments])
    assert reached, "and with --aws it does"


@pytest.mark.parametrize("name", [name for name in LEAST if name in WITHOUT_A_STACK and name != "simulate"])
def test_commands_of_this_machine_make_no_client_of_aws(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: Any, **__: Any) -> Any:
        raise AssertionError("a client was made")

    monkeypatch.setattr(boto3.Session, "client", reached)
    monkeypatch.setattr(demonstrating, "run", lambda *_, began, **__: demonstrating.Story(began))
    monkeypatch.setattr(running, "run", lambda *_, **__: (_ for _ in ()).throw(CommandFailed("not here")))
    monkeypatch.setattr(local, "up", lambda *_, **__: (_ for _ in ()).throw(CommandFailed("not here")))
    told = CliRunner().invoke(main, [*name.split(), *LEAST[name]])
    assert not isinstance(told.exception, AssertionError)


def test_one_function_picks_the_target_of_every_command() -> None:
    """`resolve` is called by what all commands share and by two that say where: the demo, the rehearsal."""
    callers = {
        path.name
        for path in (house.ROOT / "arcspot_cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("resolve", "Target")
    }
    assert callers == {"commands.py", "demonstrating.py", "rehearsing.py", "target.py"}
    importing = {
        str(path.relative_to(house.ROOT / "arcspot_cli"))
        for path in (house.ROOT / "arcspot_cli").rglob("*.py")
        if re.search(r"^\s*import boto3", path.read_text(), re.M)
    }
    assert importing == {"target.py", "local/ec2.py"}, "and nobody makes sessions past it"


@pytest.mark.parametrize(
    ("arguments", "typed_in", "goes"),
    [
        (["--yes", "here"], "", True),
        ([], "here\n", True),
        (["--yes", "there"], "", False),
        ([], "there\n", False),
        ([], "y\n", False),
        ([], "", False),
        (["--json"], "here\n", False),
    ],
)
def test_cleanup_goes_on_only_when_the_stack_itself_is_named(
    arguments: list[str], typed_in: str, goes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "resolve", lambda choice: Here(Stack()))
    cleaned: list[str] = []

    def clean(target: Any, now: Any, *, say: Any) -> cleaning.Cleaned:
        cleaned.append(target.stack)
        return cleaning.Cleaned({"tables": ["a"]}, {"tables": []})

    monkeypatch.setattr(cleaning, "clean", clean)
    told = CliRunner().invoke(main, ["cleanup", *arguments], input=typed_in)
    assert (told.exit_code, cleaned) == ((0, ["here"]) if goes else (1, [])), told.output
    assert ("nothing is left" in told.stdout) == goes


def test_a_bare_yes_is_no_answer() -> None:
    assert CliRunner().invoke(main, ["cleanup", "--yes"]).exit_code == 2


def test_what_is_left_is_an_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "resolve", lambda choice: Here(Stack()))
    left = cleaning.Cleaned({}, {"volumes": ["vol-1"]})
    monkeypatch.setattr(cleaning, "clean", lambda *_, **__: left)
    told = CliRunner().invoke(main, ["cleanup", "--yes", "here", "--json"])
    assert told.exit_code == 1
    assert json.loads(told.stdout)["left"] == {"volumes": ["vol-1"]}
    assert json.loads(told.stdout)["done"] is False


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
        show("a task", ["a drawing"])
        return demonstrating.Story(began, tasks=1, answered=1)

    monkeypatch.setattr(demonstrating, "run", played)
    told = CliRunner().invoke(main, ["demo", "--json"])
    assert json.loads(told.stdout)["answered"] == 1
    assert told.stderr.startswith("\na task\na drawing\n")
    assert CliRunner().invoke(main, ["demo"]).stdout.startswith("\na task\na drawing\n")


def test_every_module_of_the_command_line_can_be_the_first_that_is_imported() -> None:
    """Commands import when they run, so any of them may begin: a circle shows only from one side."""
    program = """
import importlib, pathlib, sys
for path in sorted(pathlib.Path("arcspot_cli").glob("*.py")):
    for name in [name for name in sys.modules if name.split(".")[0] == "arcspot_cli"]:
        del sys.modules[name]
    importlib.import_module(f"arcspot_cli.{path.stem}")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=house.ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

"""`arcspot schedule` as a user types it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from arcspot_cli import target as targets
from arcspot_cli.main import main

from .conftest import Cloud
from .test_recurring import Deployed

NIGHTLY = ("schedule", "add", "nightly", "--prefix", "a", "--cron", "cron(0 22 * * ? *)")


class Told(Deployed):
    stack, label = "arcspot-test", "moto"

    def output(self, name: str) -> str:
        return "bucket" if name == "BucketName" else super().output(name)


@pytest.fixture(autouse=True)
def deployed(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "resolve", lambda choice: Told(cloud))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def test_added_listed_removed(cloud: Cloud) -> None:
    cloud.ports.objects.write("recurring/a/one.json", b"{}", content_type="application/json")
    told = run(*NIGHTLY)
    assert (told.exit_code, told.stdout) == (
        0,
        "nightly: cron(0 22 * * ? *) submits recurring/a/, 1 file(s) now\n",
    )
    assert " ".join(run("schedule", "list").stdout.split()) == "nightly cron(0 22 * * ? *) recurring/a/"
    (row,) = json.loads(run("schedule", "list", "--json").stdout)
    assert row == {
        "name": "nightly", "prefix": "recurring/a/", "when": "cron(0 22 * * ? *)", "state": "ENABLED",
    }  # fmt: skip
    assert run("schedule", "remove", "nightly").exit_code == 0
    assert run("schedule", "list").stdout == ""


def test_in_json_there_is_nothing_else_on_stdout() -> None:
    row = {"name": "nightly", "prefix": "recurring/a/", "when": "cron(0 22 * * ? *)", "state": "ENABLED"}
    assert json.loads(run(*NIGHTLY, "--json").stdout) == {**row, "files": 0}
    assert json.loads(run("schedule", "list", "--json").stdout) == [row]
    assert json.loads(run("schedule", "remove", "nightly", "--json").stdout) == {"removed": "nightly"}


def test_an_empty_folder_is_told_with_the_command_that_fills_it() -> None:
    told = run(*NIGHTLY)
    assert told.exit_code == 0
    assert "aws s3 cp FOLDER s3://bucket/recurring/a/ --recursive" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "next_step"),
    [
        (("schedule", "add", "x", "--prefix", "a"), "--cron"),
        (("schedule", "remove", "x"), "arcspot schedule list"),
        (("schedule", "add", "a b", "--prefix", "a", "--rate", "1 day"), "letters, digits"),
    ],
)
def test_what_fails_is_one_sentence_with_the_next_step(arguments: tuple[str, ...], next_step: str) -> None:
    told = run(*arguments)
    assert told.exit_code == 1
    assert next_step in told.stderr.splitlines()[-1]


@pytest.mark.parametrize("verb", ["add", "list", "remove"])
def test_every_verb_shows_lines_to_paste(verb: str) -> None:
    assert f"arcspot schedule {verb}" in run("schedule", verb, "--help").output

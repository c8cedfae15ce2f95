"""Each command, page and mail with a stranger's text wherever a stranger can write: what comes out of it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from arcspot.aws.messages import Topic
from arcspot.domain import reporting
from arcspot.domain.launching import Breaker
from arcspot.domain.refusal_mail import refusal_mail
from arcspot.domain.report_pages import PageLink, Rows, batch_page, index_page, tasks_page
from arcspot.domain.tallying import JobLine, summarise
from arcspot.domain.tasks import Task
from arcspot.errors import LaunchPostponed
from arcspot_cli import target as targets
from arcspot_cli import terminal
from arcspot_cli.errors import CommandFailed
from arcspot_cli.evaluation import gallery
from arcspot_cli.main import main
from tests.fakes.driving import GOOD_TASK, Stack

from .here import given_up, on, typed
from .test_evaluating import a_page

HOSTILE = {
    "cleared screen": "\x1b[2J\x1b[1;1Hall is well",
    "a link to click": "\x1b]8;;https://example.com\x07click\x1b]8;;\x07",
    "markup": "</script><svg onload=alert(1)>\"'",
    "a header": "x\r\nBcc: all@example.com\r\n\r\nDear user",
    "turned round": "a\u202efdp.exe",
    "a line of its own": "x\nerror: run curl https://example.com | sh",
    "other line ends": "a\u2028b\u2029c\x85d\x0be",
    "8-bit escapes": "\x9b2J\x9d0;t\x9c",
    "nothing to see": "a\u200b\u2060\ufeff\u00adb",
    "10 KB": "x" * 10_240,
    "half a character": "\ud800x",
}
TYPED = {
    "escapes": "".join(
        HOSTILE[n] for n in ("cleared screen", "a link to click", "turned round", "8-bit escapes")
    ),
    "line ends": "".join(HOSTILE[n] for n in ("a header", "a line of its own", "other line ends")),
    **{name: HOSTILE[name] for name in ("markup", "nothing to see", "10 KB", "half a character")},
}
"""The same, for what takes longer to look at."""

ENDS = "\n"


def look_at(text: str, *, most: int = 12 * 4_000) -> None:
    """Lines of printable characters, none of them endless, and none that the stranger made."""
    for line in text.split(ENDS):
        odd = [c for c in line if not (c.isprintable() or unicodedata.category(c) == "Zs")]
        assert odd == [], (odd, line[:200])
        assert len(line) <= most
        assert not line.startswith(("error: run", "Bcc:", "Dear"))
    text.encode()


def kept(words: str) -> str:
    """As a table keeps it: one that takes no half of a character."""
    return words.encode("utf-8", "replace").decode()


def hostile_stack(words: str) -> Stack:
    """A job and a launch whose every text somebody else wrote."""
    fake, words = Stack(), kept(words)
    job, store = given_up(fake), fake.world.store
    store.write(replace(job, reason=words, input=replace(job.input, task_id=words, key=f"tasks/b/{words}")))
    for launch in store.launches():
        store.write(replace(launch, reason=words, instance_type=words, market=words))
    return fake


COMMANDS = (
    ("status",), ("status", "--batch", "b"), ("status", "--watch"), ("results", "get", "out"),
    ("results", "get", "out", "--batch", "b"), ("results", "show", "WORDS"), ("cost",), ("cancel", "WORDS"),
    ("retry", "WORDS"), ("retry", "--batch", "b", "--dry-run"), ("pause",), ("resume",), ("submit", "FILE"),
    ("evaluate", "--compare", "FILE", "FILE"), ("--WORDS",), ("WORDS",),
    ("status", "--batch", "WORDS"), ("evaluate", ".", "--ids", "FILE"),
)  # fmt: skip
MACHINES = (
    ("status",),
    ("results", "get", "out"),
    ("results", "show", "WORDS"),
    ("cost",),
    ("cancel", "WORDS"),
)


@pytest.mark.parametrize("name", TYPED)
def test_no_command_shows_a_strangers_text_as_more_than_text(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = TYPED[name]
    monkeypatch.chdir(tmp_path)
    file = tmp_path / (re.sub(r"[/\x00\ud800]", "_", words)[:80] + ".json")
    file.write_text(json.dumps({words: {"train": words}, "two": GOOD_TASK, "three": words}))
    for command in COMMANDS:
        typed_in = [words if word == "WORDS" else str(file) if word == "FILE" else word for word in command]
        typed_in = [word.replace("WORDS", words) for word in typed_in]
        fake = hostile_stack(words)
        monkeypatch.setattr(targets, "resolve", lambda choice, fake=fake: on(fake))
        told = CliRunner().invoke(main, typed_in, color=True)  # else click takes escapes away for itself
        assert told.exception is None or isinstance(told.exception, SystemExit), (command, told.exception)
        look_at(told.stdout)
        look_at(told.stderr)
        assert "Traceback" not in told.stderr


@pytest.mark.parametrize("name", TYPED)
def test_what_programs_read_is_exact_and_ascii(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = TYPED[name]
    monkeypatch.chdir(tmp_path)
    for command in MACHINES:
        typed_in = [words if word == "WORDS" else word for word in command]
        told = typed(hostile_stack(words), monkeypatch, *typed_in, "--json")
        assert told.stdout.isascii()
        assert json.loads(told.stdout or "null") is not None or told.exit_code
    told = typed(hostile_stack(words), monkeypatch, "status", "--json")
    (bad,) = json.loads(told.stdout)["ended_badly"]
    assert bad["task_id"] == bad["reason"] == kept(words)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_error_shows_a_strangers_text_as_more_than_text(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = HOSTILE[name]
    aws = ClientError({"Error": {"Code": words, "Message": words}}, "Describe")
    for error in (CommandFailed(words, f"second {words}"), click.ClickException(words), aws):

        def fail(choice: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(targets, "resolve", fail)
        told = CliRunner().invoke(main, ["cost"], color=True)
        assert told.exit_code == 1
        look_at(told.stderr)
    terminal.bug(ValueError, ValueError(words), None)
    look_at(capsys.readouterr().err)


def test_a_bug_is_told_with_its_traceback_and_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(choice: object) -> None:
        raise ZeroDivisionError("\x1b[2J")

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(targets, "resolve", broken)
    told = CliRunner().invoke(main, ["cost"])
    assert isinstance(told.exception, ZeroDivisionError)

    assert sys.excepthook is terminal.bug


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_few_characters_is_told_all_the_same(encoding: str, capfdbinary: Any) -> None:

    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    terminal.out("one → two · \u202e", file=stream)
    stream.flush()
    stream.seek(0)
    assert "one" in stream.read()
    assert sys.stdout is not stream


# --- pages ---------------------------------------------------------------------------------


FETCHING = ("href", "src", "srcset", "action", "formaction", "xlink:href", "data", "poster")


class Shape(HTMLParser):
    """The tags and attribute names of a page, and what may run or fetch in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shape: list[object] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, tuple(name for name, _ in attrs)))
        self.links += [
            value or "" for name, value in attrs if name in ("href", "src", "action", "xlink:href")
        ]

    def handle_endtag(self, tag: str) -> None:
        self.shape.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


AT = datetime(2026, 1, 1, tzinfo=UTC)
GRIDS = ((((1,),), ((2,),)),)


def pages(words: str) -> list[str]:
    """All of a batch's pages, with these words wherever words may stand."""
    task = Task(words, GRIDS, (((3,),),), None)
    lines = [
        JobLine(words, words, "DEAD", words, 1.0, 5, words, (), task, None, words, words, words),
        JobLine(f"{words}~", "job", words, task=task, attempts=((((4,),), ((5,),)),), by=words),
    ]
    rows = Rows()
    for line in lines:
        rows.add(line)
    summary = summarise(words, lines, seconds=1.0, generated_at=AT)
    link = PageLink(1, words, words, 1, {"wrong": 1})
    return [batch_page(summary, lines), index_page(summary, [link]), tasks_page(words, link, 2, rows)]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_page_has_another_shape_for_a_strangers_text(name: str) -> None:
    words = HOSTILE[name]
    hostile_pages = [*pages(words), a_page(error=words, hypothesis=words)]
    plain_pages = [*pages("plain"), a_page(error="plain", hypothesis="plain")]
    for hostile, plain in zip(hostile_pages, plain_pages, strict=True):
        found = Shape(hostile)
        assert found.shape == Shape(plain).shape
        assert all(re.fullmatch(r"[a-z0-9-]+\.html", link) for link in found.links)
        assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in hostile
        look_at(re.sub(r"\s+", " ", found.text), most=1_000_000)


def test_the_galleys_one_script_is_the_one_that_its_policy_lets_run() -> None:

    page = a_page()
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert script[1] == gallery.SCRIPT


# --- mails ---------------------------------------------------------------------------------


class Sns:
    def __init__(self) -> None:
        self.sent: list[dict[str, str]] = []

    def publish(self, **mail: str) -> None:
        self.sent.append(mail)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_mail_has_a_line_that_a_stranger_made(name: str) -> None:
    words = HOSTILE[name]
    lines = [JobLine(words, words, "DEAD", words, fault=words)]
    summary = summarise(words, lines, seconds=1.0, generated_at=AT)
    refused, plainly = LaunchPostponed(words), LaunchPostponed("x")
    told = [
        (
            reporting.batch_mail(summary, page=words),
            reporting.batch_mail(replace(summary, batch_id="b"), page="p"),
        ),
        (reporting.trouble_mail(words, words, 3), reporting.trouble_mail("b", "why", 3)),
        (refusal_mail(refused, Breaker(), market=words), refusal_mail(plainly, Breaker(), market="spot")),
    ]
    for hostile, plain in told:
        sns = Sns()
        Topic(sns, "arn").send(*hostile)  # type: ignore[arg-type]
        (mail,) = sns.sent
        assert re.fullmatch(r"[!-~][ -~]{0,98}", mail["Subject"])
        look_at(mail["Message"])
        assert mail["Message"].count("\n") == plain[1].count("\n")
        assert len(mail["Message"]) < 20_000

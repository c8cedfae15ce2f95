"""What is told of one item: a line with the next step; what every item would say ends the command."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import click
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError
from click.testing import CliRunner

from arcspot.domain import edges
from arcspot.errors import ObjectUnreadable, RecordMissing, RowUnreadable
from arcspot_cli import faults, submitting
from arcspot_cli.commands import emit
from arcspot_cli.errors import CommandFailed
from arcspot_cli.faults import Fault
from tests.fakes.driving import GOOD_TASK, Stack

from .here import given_up, typed
from .left import answered


def said(code: str, operation: str = "GetObject") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "as AWS says"}}, operation)


def caused(code: str) -> Exception:
    unreadable = ObjectUnreadable("s3://bucket/key: it is archived")
    unreadable.__cause__ = said(code)
    return unreadable


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (said("InvalidObjectState"), "restore-object"),
        (said("AccessDenied"), "kms:Decrypt"),
        (said("403", "HeadObject"), "kms:Decrypt"),
        (said("KMS.NotFoundException"), "kms:Decrypt"),
        (said("KMSInvalidStateException"), "kms:Decrypt"),
        (said("NoSuchKey"), "list-object-versions"),
        (said("SlowDown"), "later"),
        (said("ThrottlingException", "GetSchedule"), "later"),
        (said("ProvisionedThroughputExceededException", "PutItem"), "later"),
        (said("AccessDenied", "ListThings"), "AWS says AccessDenied: as AWS says"),
        (caused("InvalidObjectState"), "restore-object"),
        (caused("KMS.DisabledException"), "kms:Decrypt"),
        (ObjectUnreadable("key: it is archived"), "run the same command again"),
        (RecordMissing("key"), "key"),
        (RowUnreadable("JobsTable", "k", "no state"), "update this one, else mend or delete the row"),
        (PermissionError(errno.EACCES, "Permission denied", "f"), "Permission denied"),
        (ZeroDivisionError("oh"), "please report it"),
    ],
)
def test_every_error_is_a_line_with_a_next_step(error: Exception, words: str) -> None:
    line = faults.words(error)
    assert words in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        *(
            said(code)
            for code in ("ExpiredToken", "InvalidAccessKeyId", "NoSuchBucket", "RequestTimeTooSkewed")
        ),
        NoCredentialsError(),
        ConnectTimeoutError(endpoint_url="https://s3"),
    ],
)
def test_what_every_item_would_say_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        faults.words(error)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_ends_the_command_in_one_sentence(number: int) -> None:
    with pytest.raises(CommandFailed, match="make room"):
        faults.words(OSError(number, "No space left on device"))


def test_what_others_wrote_does_not_move_the_terminals_cursor() -> None:
    assert edges.line(Fault("a\x1b[2Jb\n", "c\ud800")) == "a\\x1b[2Jb\\n: c\\ud800"


@pytest.mark.parametrize("watching", [(), ("--watch",)])
@pytest.mark.parametrize("words", ["[/x]", "[red]", "[/INST] \x1b[2J\n", ":smile:", "[link=file:///]"])
def test_what_others_wrote_is_shown_as_it_is_and_stops_no_table(
    words: str, watching: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Stack()
    job = given_up(fake)
    fake.world.store.write(replace(job, reason=words, input=replace(job.input, task_id=words)))
    told = typed(fake, monkeypatch, "status", *watching)
    assert told.exit_code == 0, told.output
    assert watching or edges.line(words) in " ".join(told.stdout.split())
    assert "\x1b[2J" not in told.stdout


def test_json_with_half_a_surrogate_pair_is_still_json() -> None:
    @click.command()
    def told() -> None:
        emit({"id": "a\ud800", "other": "ü"})

    result = CliRunner().invoke(told)
    assert json.loads(result.stdout) == {"id": "a\ud800", "other": "ü"}


def test_a_folder_that_may_not_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr("tempfile.mkdtemp", refused)
    told = typed(answered("one")[0], monkeypatch, "results", "get", str(tmp_path))
    assert told.exit_code == 1
    assert "Permission denied; name a folder that you may write to" in told.stderr


def test_one_file_that_cannot_be_read_keeps_no_other_from_being_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "bad", "c"):
        (tmp_path / f"{name}.json").write_text(json.dumps(GOOD_TASK))

    def no_size(key: str, size_bytes: int) -> None:
        if key.endswith("bad.json"):
            raise PermissionError(errno.EACCES, "Permission denied", key)

    monkeypatch.setattr(submitting.tasks, "size_fault", no_size)
    told = typed(Stack(), monkeypatch, "submit", str(tmp_path), "--batch", "b", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["uploaded"] == ["tasks/b/a.json", "tasks/b/c.json"]
    assert "bad.json: cannot be read (Permission denied)" in told.stderr

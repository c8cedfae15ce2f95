"""Only processes we started are stopped, and all of them are."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arcspot_cli.local.processes import (
    ProcessRecord,
    alive,
    forget,
    group_alive,
    read_records,
    record_self,
    spawn,
    start_time,
    stop,
    write_record,
)
from arcspot_cli.local.reaper import Reaper, remaining


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "log").open("wb") as log:
        process = _spawn(tmp_path, log, "sleep 60 & wait")
        yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _spawn(folder: Path, log: object, script: str) -> subprocess.Popen[bytes]:
    return spawn(
        "sleeper",
        ["/bin/sh", "-c", script],
        folder=folder / "records",
        environment={"PATH": "/usr/bin:/bin"},
        output=log,  # type: ignore[arg-type]
    )


def test_a_started_process_is_recorded_at_once(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (record,) = read_records(tmp_path / "records")
    assert record == ProcessRecord("sleeper", sleeper.pid, record.started)
    assert alive(record)


def test_stopping_ends_the_whole_group(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    records = read_records(tmp_path / "records")
    stop(records)
    assert not group_alive(sleeper.pid)
    assert not alive(records[0])
    sleeper.wait()


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = _spawn(tmp_path, log, "trap '' TERM; echo deaf; while :; do sleep 1; done")
        while "deaf" not in (tmp_path / "log").read_text():
            time.sleep(0.01)
        stop(read_records(tmp_path / "records"), grace_seconds=0.1)
    assert not group_alive(process.pid)
    process.wait()


def test_children_of_a_dead_leader_are_stopped_too(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = _spawn(tmp_path, log, "sleep 60 & sleep 0.1")
        process.wait()
        assert group_alive(process.pid)
        stop(read_records(tmp_path / "records"))
    assert not group_alive(process.pid)


def test_a_reused_pid_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    stop([ProcessRecord("another", sleeper.pid, "another time")])
    assert sleeper.poll() is None


def test_a_process_that_never_was_has_no_start_time() -> None:
    assert start_time(2**22 + 1) is None
    assert start_time(os.getpid()) is not None


def test_stopping_nothing_is_fine() -> None:
    stop([ProcessRecord("gone", 2**22 + 1, "long ago")])


def test_records_can_be_forgotten_and_a_broken_one_is_skipped(tmp_path: Path) -> None:
    record_self(tmp_path, "me")
    write_record(tmp_path, ProcessRecord("other", 2, "then"))
    (tmp_path / "broken.json").write_text("{")
    assert [record.name for record in read_records(tmp_path)] == ["me", "other"]
    forget(tmp_path, "me")
    forget(tmp_path, "me")
    assert [record.name for record in read_records(tmp_path)] == ["other"]


def test_the_reaper_remembers_what_was_not_taken_back() -> None:
    assert remaining(["+1\n", "+2\n", "-1\n", "-9\n"]) == {2}


def test_the_reaper_kills_what_its_host_left(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    reaper = Reaper(tmp_path / "records")
    reaper.watch(sleeper.pid)
    reaper.close()
    assert sleeper.wait(timeout=5) == -signal.SIGKILL

"""`up` cleans up after itself, `down` after anybody, and `status` changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arcspot_cli.local import keys, proof
from arcspot_cli.local import stack as local
from arcspot_cli.local.errors import LocalStackError
from arcspot_cli.local.processes import ProcessRecord, group_alive, read_records, spawn, start_time
from tests.unit.local.strangers import proving

ITS_KEY = keys.AccessKey("LOCALKEY", "its secret")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "template.yaml").write_text("Resources: {}\n")
    return tmp_path


def quiet(line: str) -> None:
    """No progress wanted."""


def described(project: Path, record: ProcessRecord, at: str = "http://127.0.0.1:1") -> local.LocalStack:
    """A stack description whose only process is the given one."""
    stack = local.LocalStack(
        endpoint_url=at,
        region="us-east-1",
        stack_name="arcspot-local",
        control_url="http://127.0.0.1:2",
        state_dir=str(project / ".arcspot" / "local"),
        started_at="2026-01-01T00:00:00+00:00",
        processes=(record,),
        key=ITS_KEY,
    )
    (project / ".arcspot" / "local").mkdir(parents=True, exist_ok=True)
    keys.keep(project / ".arcspot" / "local", stack.key)
    (project / ".arcspot" / "local.json").write_text(stack.description())
    return stack


def this_process() -> ProcessRecord:
    started = start_time(os.getpid())
    assert started is not None
    return ProcessRecord("emulator", os.getpid(), started)


def test_a_name_that_aws_would_refuse_is_refused_here_too(project: Path) -> None:
    options = local.LocalOptions(project_dir=project, stack_name="x" * 60)
    with pytest.raises(LocalStackError, match="end at 64"):
        local.up(options, report=quiet)


def test_nothing_is_up_in_a_fresh_project(project: Path) -> None:
    assert local.load(project) is None
    assert local.status(project) == local.LocalStatus(stack=None)


def test_a_described_stack_whose_processes_run_is_up(project: Path) -> None:
    emulator = proving(proof.EMULATOR, ITS_KEY)
    stack = described(project, this_process(), emulator.url)
    assert local.load(project) == stack
    said: list[str] = []
    try:
        assert local.up(local.LocalOptions(project_dir=project), report=said.append) == stack
    finally:
        emulator.close()
    assert said == [f"already up at {emulator.url}, since 2026-01-01T00:00:00+00:00"]


def test_a_description_outlived_by_its_processes_counts_for_nothing(project: Path) -> None:
    described(project, ProcessRecord("emulator", os.getpid(), "another time"))
    assert local.load(project) is None


def test_a_broken_description_counts_for_nothing(project: Path) -> None:
    (project / ".arcspot").mkdir()
    (project / ".arcspot" / "local.json").write_text('{"endpoint_url": ')
    assert local.load(project) is None


def test_clients_of_the_stack_get_its_endpoint_and_its_key_alone(project: Path) -> None:
    seen = described(project, this_process()).environment()
    assert seen["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert seen["AWS_ACCESS_KEY_ID"] == "LOCALKEY"
    assert seen["AWS_SECRET_ACCESS_KEY"] == "its secret"


def test_the_key_lies_where_only_its_owner_reads_it(project: Path) -> None:
    stack = described(project, this_process())
    home = project / ".arcspot"
    kept = home / "local" / keys.KEY_FILE
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "its secret" not in (home / "local.json").read_text()
    assert "its secret" not in repr(stack)
    home.chmod(0o755)  # as an older arcspot left it
    local.down(project, report=quiet)
    assert home.stat().st_mode & 0o777 == 0o700
    assert not kept.exists()


@pytest.mark.parametrize("kept", ["", "{}", "[]", '{"access_key_id": 1, "secret_access_key": "x"}', None])
def test_a_stack_without_a_key_counts_for_nothing(project: Path, kept: str | None) -> None:
    """As one of an older arcspot, which `up` ends to start anew."""
    described(project, this_process())
    path = project / ".arcspot" / "local" / keys.KEY_FILE
    if kept is None:
        path.unlink()
    else:
        path.write_text(kept)
    assert local.load(project) is None
    with pytest.raises(LocalStackError, match=r"access-key\.json.*arcspot local down"):
        keys.read(path.parent)


def test_an_instance_host_that_does_not_answer_says_what_to_do(project: Path) -> None:
    stack = described(project, this_process())
    with pytest.raises(LocalStackError, match="arcspot local down"):
        local.status(project)
    with pytest.raises(LocalStackError, match="arcspot local down"):
        local.control(stack, "i-1", "interrupt")


def test_down_ends_what_a_crash_left_and_can_be_repeated(project: Path) -> None:
    state = project / ".arcspot" / "local"
    (state / "logs").mkdir(parents=True)
    with (state / "logs" / "emulator.log").open("wb") as log:
        left = spawn(
            "emulator", ["sleep", "60"], folder=state / "processes", environment=os.environ, output=log
        )
    assert [record.pid for record in local.status(project).left_over] == [left.pid]
    local.down(project, report=quiet)
    assert not group_alive(left.pid)
    left.wait()
    assert [entry.name for entry in state.iterdir()] == ["logs"]
    local.down(project, report=quiet)


def test_up_without_sam_says_how_to_get_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCSPOT_SAM", "/nowhere/sam")
    with pytest.raises(LocalStackError, match="make setup"):
        local.up(local.LocalOptions(project_dir=project), report=quiet)


def test_up_outside_a_project_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCSPOT_SAM", "/bin/true")
    with pytest.raises(LocalStackError, match=r"no template\.yaml"):
        local.up(local.LocalOptions(project_dir=tmp_path), report=quiet)


def test_a_failed_up_leaves_nothing_running(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sam = project / "sam"
    sam.write_text("#!/bin/sh\necho the template is wrong\nexit 1\n")
    sam.chmod(0o755)
    monkeypatch.setenv("ARCSPOT_SAM", str(sam))
    pids: list[int] = []

    def note(line: str) -> None:
        records = read_records(project / ".arcspot" / "local" / "processes")
        pids.extend(record.pid for record in records)

    with pytest.raises(LocalStackError, match="the template is wrong"):
        local.up(local.LocalOptions(project_dir=project), report=note)
    assert pids
    assert not any(group_alive(pid) for pid in pids)
    assert local.status(project) == local.LocalStatus(stack=None)


def test_a_running_stack_of_an_older_arcspot_is_ended_by_the_next_up(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = project / ".arcspot" / "local"
    (state / "logs").mkdir(parents=True)
    with (state / "logs" / "emulator.log").open("wb") as log:
        old = spawn(
            "emulator", ["sleep", "60"], folder=state / "processes", environment=os.environ, output=log
        )
    (record,) = read_records(state / "processes")
    described(project, record)
    (state / keys.KEY_FILE).unlink()
    monkeypatch.setenv("ARCSPOT_SAM", "/nowhere/sam")  # what `up` would do next does not matter here
    said: list[str] = []
    with pytest.raises(LocalStackError, match="make setup"):
        local.up(local.LocalOptions(project_dir=project), report=said.append)
    assert "without a key" in said[0]
    assert not group_alive(old.pid)
    old.wait()


def test_only_one_up_or_down_works_at_a_time(project: Path) -> None:
    with local._alone(local.Places.of(project)), pytest.raises(LocalStackError, match="wait for it"):
        local.down(project, report=quiet)


def test_a_stack_with_a_home_of_its_own_leaves_the_project_alone(project: Path, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    home.mkdir()
    stack = described(project, this_process())
    (home / "local.json").write_text((project / ".arcspot" / "local.json").read_text())
    (project / ".arcspot" / "local.json").unlink()
    assert local.load(project, home) == stack
    assert local.load(project) is None
    with local._alone(local.Places.of(project, home)):
        local.down(project, report=quiet)  # the project's own is not the one that is busy

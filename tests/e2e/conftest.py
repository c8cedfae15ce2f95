"""Real stacks for the end-to-end tests: the real template by the real SAM CLI, in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from arcspot_cli.local import stack as local
from arcspot_cli.local.processes import group_alive, read_records
from tests.e2e.whole_stack import WholeStack

PROJECT = Path(__file__).resolve().parents[2]
PATIENT = {
    "TaskBudgetSeconds": "300",
    "IdleSeconds": "6",
    "HeartbeatSeconds": "2",
    "LeaseSeconds": "45",
    "SilenceSeconds": "45",
}
"""Template parameters: leave soon when idle, but a busy machine is slow, neither wrong nor dead."""


ILL_TREATED = {**PATIENT, "SilenceSeconds": "40", "HeartbeatSeconds": "1"}
"""For the stack that is killed by hand: who falls silent is missed soon."""


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeStack]:
    """A stack that is up; when it goes down, nothing it started is left."""
    with up(tmp_path_factory.mktemp("stack"), PATIENT) as stack:
        yield stack


@pytest.fixture(scope="module")
def ill_treated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeStack]:
    """A stack of its own for tests that kill parts of it: its executions do not all end well."""
    with up(tmp_path_factory.mktemp("ill-treated"), ILL_TREATED) as stack:
        yield stack


@contextmanager
def up(home: Path, parameters: Mapping[str, str]) -> Iterator[WholeStack]:
    """One instance at a time; afterwards no process is left that ever named `home`."""
    options = local.LocalOptions(project_dir=PROJECT, home=home, max_instances=1, parameters=parameters)
    stack = local.up(options, report=print)
    records = home / "local" / "processes"
    groups = {record.pid for record in read_records(records)}
    try:
        yield WholeStack.connect(stack, home)
    finally:
        groups |= {record.pid for record in read_records(records)}
        local.down(PROJECT, home=home, report=print)
    assert groups, "no process was ever recorded"
    left = [pid for pid in groups if group_alive(pid)] + mentioning(home)
    assert not left, f"processes of the stack are left: {left}"
    assert local.status(PROJECT, home) == local.LocalStatus(stack=None)


def mentioning(home: Path) -> list[int]:
    """Processes whose command line or environment names the stack's home: nobody else's can."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue  # it ended, or is somebody else's
        if str(home).encode() in told:
            found.append(int(process.name))
    return found

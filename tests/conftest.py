"""In every test: requests that AWS would refuse are failures. And how tests are spread over processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.limits import Watch, watching

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

OWN_STACK = "test_killed_by_hand.py"
"""The one file of tests/e2e that does not share the session's stack."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more process than cores: the whole stack's tests wait more than they work."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """A file's tests stay in one process, with its fixtures; so do the files that share the whole stack.

    xdist's own groups (`--dist loadgroup`) are no groups under pytest 9.2: they are written into a node's
    `_nodeid`, which nobody reads there. And xdist would begin with the files of the most tests, where those
    that take longest have few.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = PurePosixPath(nodeid.partition("::")[0])
            shares = file.parent.name == "e2e" and file.name != OWN_STACK
            return str(file.parent if shares else file)

    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of the whole stack begin first, because they take longest."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(autouse=True)
def no_make_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test` tells the programs it starts that a make runs above them: a make that a test runs would
    speak of the folder it enters and take over the flags."""
    for name in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKECMDGOALS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def requests_made(request: pytest.FixtureRequest) -> Iterator[Watch]:
    """The requests of this test; each is held against botocore's model and the services' limits.

    A test that means to build a bad one says so: `@pytest.mark.refused_by_aws`.
    """
    with watching() as watch:
        yield watch
    if request.node.get_closest_marker("refused_by_aws") is None:
        assert watch.faults == []

"""In every test: requests that AWS would refuse are failures. And how tests are spread over processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.limits import Watch, watching

WHOLE_STACK = "whole"
"""The session's fixture that brings a stack up: whoever needs it shares one process."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of its own
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A file's tests stay in one process, with its fixtures; those of the whole stack begin first, because
    they take longest."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        shares = WHOLE_STACK in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group(WHOLE_STACK if shares else str(item.path)))
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

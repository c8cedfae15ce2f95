"""How tests are spread over processes where pytest-xdist runs them (`make test`)."""

from __future__ import annotations

import pytest

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

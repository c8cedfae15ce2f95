"""How the tests are spread over processes: what a file's fixtures cost is paid once."""

from __future__ import annotations

import pytest

RAN: list[str] = []


@pytest.mark.parametrize("turn", range(8))
def test_a_files_tests_run_in_one_process(turn: int, request: pytest.FixtureRequest) -> None:
    """What was chosen of this file has run here, up to this test."""
    RAN.append(request.node.nodeid)
    chosen = [item.nodeid for item in request.session.items if item.path == request.node.path]
    assert chosen[: len(RAN)] == RAN

"""What holds in every test: a request that AWS would refuse is a failure, wherever it is built."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.limits import Watch, watching


@pytest.fixture(autouse=True)
def requests_made(request: pytest.FixtureRequest) -> Iterator[Watch]:
    """The requests of this test; each is held against botocore's model and the services' limits.

    A test that means to build a bad one says so: `@pytest.mark.refused_by_aws`.
    """
    with watching() as watch:
        yield watch
    if request.node.get_closest_marker("refused_by_aws") is None:
        assert watch.faults == []

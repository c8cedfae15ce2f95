"""Say hello until the server believes us."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from arcspot.errors import LaunchClosed, NotYourself
from gpu_runner.contract import Json, Terms

log = logging.getLogger(__name__)

# EC2 answers DescribeInstances from replicas that may lag behind a launch by up to a minute
# (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/query-api-troubleshooting.html#eventual-consistency),
# so a first refusal may only mean that nobody has seen us yet.
BELIEVE_WITHIN_S = 45.0
PAUSE_S = 5.0


class Hello(Protocol):
    """The one verb of `runner_api` that needs no secret."""

    def hello(self, *, instance_id: str, prove: Callable[[], Json], host: Json) -> Terms: ...


def greet(
    api: Hello,
    *,
    instance_id: str,
    prove: Callable[[], Json],
    host: Json,
    now: Callable[[], float],
    sleep: Callable[[float], object],
) -> Terms:
    """`hello`, repeated for a while when refused. Raises the last refusal, and ApiSilent."""
    began = now()
    while True:
        try:
            return api.hello(instance_id=instance_id, prove=prove, host=host)
        except (NotYourself, LaunchClosed) as refusal:
            if now() - began + PAUSE_S > BELIEVE_WITHIN_S:
                raise
            log.warning("not believed yet (%s: %s)", type(refusal).__name__, refusal)
            sleep(PAUSE_S)

"""Notice that EC2 wants the machine back.

A spot notice comes two minutes ahead, best effort, as `spot/instance-action`; a rebalance
recommendation may come earlier and may come to nothing
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html).
So a notice stops work at once, a recommendation gives the running job half a minute to come to its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from gpu_runner.board import Board

log = logging.getLogger(__name__)

POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class Notice:
    """What EC2 announced: `action` is final, `rebalance` a recommendation."""

    kind: Literal["action", "rebalance"]
    detail: str


class Metadata(Protocol):
    """The two IMDS documents that announce trouble; None while there is nothing."""

    def spot_action(self) -> str | None: ...

    def rebalance(self) -> str | None: ...


def look(imds: Metadata) -> Notice | None:
    """Ask IMDS once. The final notice outranks the recommendation."""
    action = imds.spot_action()
    if action is not None:
        return Notice("action", action)
    recommendation = imds.rebalance()
    return None if recommendation is None else Notice("rebalance", recommendation)


def watch_once(imds: Metadata, board: Board, *, now: Callable[[], float]) -> Notice | None:
    """Put a notice up on the board. An unreachable IMDS is no notice; the next poll asks again."""
    try:
        notice = look(imds)
    except OSError as fault:
        log.warning("IMDS did not answer: %s", fault)
        return None
    if notice is None:
        return None
    if notice.kind == "action":
        log.warning("spot notice: %s", notice.detail)
        board.interrupt()
    elif board.leaving is None:
        log.warning("rebalance recommended: %s", notice.detail)
        board.leave("rebalance", now=now())
    return notice

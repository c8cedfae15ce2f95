"""Say in the log what a person should look at.

Every line whose field `attention` says `needed` counts in the stack's one metric of that name, and one alarm
mails (AttentionFilter in template.yaml). What it was is in the line. Lambda itself says what no handler can:
that it ended a function that took too long or whose process died.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from arcspot.errors import LaunchRefused, StillServing

MARK = {"attention": "needed"}
MOST_CHARACTERS = 1000
# Raised for the state machine, which goes on by their names: answers, not failures.
ANSWERS = (LaunchRefused, StillServing)

Handler = Callable[[Any, Any], dict[str, Any]]


class Log(Protocol):
    """As much of a logger as is needed."""

    def error(self, msg: object, *, extra: Mapping[str, object]) -> object: ...
    def exception(self, msg: object, *, extra: Mapping[str, object]) -> object: ...


def tell(logger: Log, what: str, **about: object) -> None:
    """Have a person look at something that went wrong though the function goes on."""
    logger.error(what[:MOST_CHARACTERS], extra={**MARK, **about})


def told(logger: Log) -> Callable[[Handler], Handler]:
    """Decorate a handler: whatever it raises, except an answer, is told and raised."""

    def decorated(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def calling(event: Any, context: Any) -> dict[str, Any]:
            try:
                return handler(event, context)
            except ANSWERS:
                raise
            except Exception:
                logger.exception("failed", extra=MARK)
                raise

        return calling

    return decorated

"""runner_api: the only door for an instance. A refusal is an answer, not an error of the function."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from random import Random
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.attention import told
from arcspot.aws.compose import from_environment
from arcspot.domain.edges import log_line
from arcspot.errors import BadRequest, Conflict, RowRefused, RunnerRefused, StoreBusy, TooManyRequests
from arcspot.services.admitting import Admission
from arcspot.services.asking import MOST_WORDS, shown
from arcspot.services.serving import Door

logger = Logger(json_serializer=log_line)
# Kept from call to call, as long as Lambda keeps this environment.
admission = Admission()


@logger.inject_lambda_context
@told(logger)
def handler(event: object, context: LambdaContext) -> dict[str, Any]:
    settings, ports = from_environment()
    now = datetime.now(UTC)
    door = Door(
        ports=ports,
        settings=settings,
        now=now,
        admission=admission,
        new_secret=lambda: secrets.token_urlsafe(32),
        rng=Random(secrets.token_urlsafe(8)),
    )
    # Nothing is known of the request yet: what goes into the log of it is short.
    about = {n: shown(event.get(n)) for n in ("verb", "launch_id")} if isinstance(event, dict) else {}
    try:
        result = door.handle(event)
    except TooManyRequests as refused:
        # A line for each would be a bill of its own.
        if many := admission.to_tell(now):
            logger.warning("too many requests", extra={**about, "refused": many})
        return {"ok": False, "error": type(refused).__name__, "message": str(refused)}
    except RunnerRefused as refused:
        why = shown(str(refused), MOST_WORDS)
        logger.warning("refused", extra={**about, "error": type(refused).__name__, "why": why})
        return {"ok": False, "error": type(refused).__name__, "message": why}
    except RowRefused as refused:
        # The gate should have found it. No try helps this request, and a function that fails is tried again.
        why = shown(str(refused), MOST_WORDS)
        logger.warning("no row holds it", extra={**about, "error": type(refused).__name__, "why": why})
        return {"ok": False, "error": BadRequest.__name__, "message": why}
    except (StoreBusy, Conflict) as busy:
        # Nothing is lost: the runner asks again, as after a call that never arrived.
        why = shown(str(busy), MOST_WORDS)
        logger.warning("busy", extra={**about, "error": type(busy).__name__, "why": why})
        return {"ok": False, "error": StoreBusy.__name__, "message": why}
    logger.debug("answered", extra=about)
    return {"ok": True, "result": result}

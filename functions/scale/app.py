"""scale: each minute, and when kicked, reserve and start what the backlog needs."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.attention import told
from arcspot.aws.compose import from_environment
from arcspot.domain.edges import log_line
from arcspot.services.scaling import scale

logger = Logger(json_serializer=log_line)


def new_launch_id(now: datetime) -> str:
    """Sortable by time, unique by chance, short enough for an execution name and a client token."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


@logger.inject_lambda_context
@told(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    settings, ports = from_environment()
    decision, started = scale(
        ports, settings, datetime.now(UTC), new_id=new_launch_id, kicked=bool(event.get("kicked"))
    )
    logger.info(
        "scaled", extra={"wanted": decision.launches, "launches": started, "waits_for": decision.waits_for}
    )
    return {"started": started, "waits_for": decision.waits_for}

"""launch: the state machine's hand on EC2, and the keeper of its callback tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.attention import told
from arcspot.aws.compose import from_environment
from arcspot.domain.edges import log_line
from arcspot.errors import ConfigurationError
from arcspot.services.launching import launch, wait_for

logger = Logger(json_serializer=log_line)


@logger.inject_lambda_context
@told(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`step` is launch, boot or serve; the last two bring `token`. Raises LaunchRefused subclasses."""
    settings, ports = from_environment()
    step, launch_id = event["step"], event["launch_id"]
    logger.append_keys(launch_id=launch_id)
    if step == "launch":
        placed = launch(ports, settings, launch_id, datetime.now(UTC))
        logger.info("launched", extra=placed)
        return placed
    if step not in ("boot", "serve"):
        raise ConfigurationError(f"step must be launch, boot or serve, found {step!r}")
    wait_for(ports, launch_id, phase=step, token=event["token"])
    return {}

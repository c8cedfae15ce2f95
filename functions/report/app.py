"""report: pages, a submission file and a mail for each batch whose jobs are all over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.attention import told
from arcspot.aws.compose import from_environment
from arcspot.domain.edges import log_line
from arcspot.errors import ItemsFailed
from arcspot.services.reporting import report_round

logger = Logger(json_serializer=log_line)
# Kept for one more page of 1,000 tasks, or for putting a report's parts together.
ENOUGH_MS = 90_000
# Whoever ends a launch kicks; the clock's minutes are for what nobody kicked for.
EVERY_MINUTES = 3


@logger.inject_lambda_context
@told(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Raises ItemsFailed when a batch failed or an answer could not be read; the others were reported."""
    now = datetime.now(UTC)
    if event.get("clock") == "minute" and now.minute % EVERY_MINUTES:
        return {"batches": []}
    settings, ports = from_environment()
    found = report_round(
        ports,
        settings,
        now,
        owner=context.aws_request_id,
        enough_time=lambda: context.get_remaining_time_in_millis() >= ENOUGH_MS,
    )
    if found.batches:
        logger.info("reported", extra={"batches": found.batches})
    if found.failures or found.faults:
        raise ItemsFailed(found.failures | found.faults, found.batches)
    return {"batches": found.batches}

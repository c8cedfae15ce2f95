"""report: a page, a submission file and a mail for each batch whose jobs are all over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.attention import told
from arcspot.aws.compose import from_environment
from arcspot.services.reporting import report_finished

logger = Logger()


@logger.inject_lambda_context
@told(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    settings, ports = from_environment()
    reported = report_finished(ports, settings, datetime.now(UTC))
    if reported:
        logger.info("reported", extra={"batches": reported})
    return {"batches": reported}

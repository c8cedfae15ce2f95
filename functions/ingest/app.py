"""ingest: S3 → EventBridge → SQS → jobs. Also swept hourly for what no event told of,
and asked by schedules that submit a prefix again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.aws.compose import from_environment
from arcspot.services.ingesting import drops_in, ingest, submit_again, sweep

logger = Logger()
# Kept for one more file: the largest has 10,000 tasks, each a write.
ENOUGH_MS = 40_000


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns the ids of the messages that failed; only those come again."""
    settings, ports = from_environment()
    if "Records" not in event:
        now, again = datetime.now(UTC), event.get("submit_again")
        receipts = (
            submit_again(ports, settings, prefix=again["prefix"], name=again["name"], now=_turn(again, now))
            if again
            else sweep(ports, settings, now)
        )
        if any(receipt.new_jobs for receipt in receipts):
            ports.kick("scale")
        return {"files": len(receipts), "new_jobs": sum(receipt.new_jobs for receipt in receipts)}
    failed: list[dict[str, str]] = []
    new_jobs = 0
    for record in event["Records"]:
        if context.get_remaining_time_in_millis() < ENOUGH_MS:
            # Files as large as they may be: the rest comes again, and nothing was begun that dies halfway.
            failed.append({"itemIdentifier": record["messageId"]})
            continue
        try:
            for dropped in drops_in(json.loads(record["body"])):
                receipt = ingest(ports, settings, dropped, datetime.now(UTC))
                new_jobs += receipt.new_jobs
                logger.info(
                    "ingested", extra={"key": receipt.key, "jobs": len(receipt.jobs), "new": receipt.new_jobs}
                )
        except Exception:  # one poisoned message must not send its neighbours round again
            logger.exception("message failed", extra={"message_id": record["messageId"]})
            failed.append({"itemIdentifier": record["messageId"]})
    if new_jobs:
        ports.kick("scale")
    return {"batchItemFailures": failed}


def _turn(again: dict[str, Any], now: datetime) -> datetime:
    """When the schedule was due: a turn that is told again, minutes later, is still the same run."""
    try:
        return datetime.fromisoformat(str(again.get("at", "")))
    except ValueError:
        return now  # asked by hand, or by an emulator that does not fill the moment in

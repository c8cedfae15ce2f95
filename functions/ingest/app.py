"""ingest: S3 → SQS → jobs. Also swept hourly for what no event told of,
and asked by schedules that submit a prefix again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.attention import MARK, told
from arcspot.aws.compose import from_environment
from arcspot.ports import Ports
from arcspot.services.ingesting import Receipt, drops_in, ingest, submit_again, sweep
from arcspot.settings import Settings

logger = Logger()
# Kept for one more file: the largest has 10,000 tasks, each a write.
ENOUGH_MS = 40_000


@logger.inject_lambda_context
@told(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns the ids of the messages that failed; only those come again."""
    settings, ports = from_environment()
    if event.get("submit_again"):
        return _take_turn(ports, settings, event["submit_again"], context)
    if "Records" not in event:
        return _told(ports, sweep(ports, settings, datetime.now(UTC)))
    failed: list[dict[str, str]] = []
    something = False
    for record in event["Records"]:
        if context.get_remaining_time_in_millis() < ENOUGH_MS:
            # Files as large as they may be: the rest comes again, and nothing was begun that dies halfway.
            failed.append({"itemIdentifier": record["messageId"]})
            continue
        try:
            for dropped in drops_in(json.loads(record["body"]), settings.bucket):
                receipt = ingest(ports, settings, dropped, datetime.now(UTC))
                something = something or not receipt.stale
                logger.info(
                    "ingested", extra={"key": receipt.key, "jobs": len(receipt.jobs), "new": receipt.new_jobs}
                )
        except Exception:  # one poisoned message must not send its neighbours round again
            logger.exception("message failed", extra={**MARK, "message_id": record["messageId"]})
            failed.append({"itemIdentifier": record["messageId"]})
    # Refusals too: their batch is due, and the rounds that report it may sleep.
    if something:
        ports.kick("scale")
    return {"batchItemFailures": failed}


def _take_turn(
    ports: Ports, settings: Settings, again: dict[str, Any], context: LambdaContext
) -> dict[str, Any]:
    """As much of a recurring submission's turn as there is time for; another invocation does the rest."""
    due = _turn(again, datetime.now(UTC))
    receipts, left = submit_again(
        ports,
        settings,
        prefix=again["prefix"],
        name=again["name"],
        now=due,
        enough_time=lambda: context.get_remaining_time_in_millis() >= ENOUGH_MS,
    )
    told = _told(ports, receipts)
    if left:
        # With the moment filled in: a turn asked for by hand would otherwise go on as another run.
        # If Lambda does not take it, this raises, and Lambda tells the first event again itself.
        ports.kick("ingest", {"submit_again": {**again, "at": due.isoformat()}})
    return {**told, "files_left": left}


def _told(ports: Ports, receipts: list[Receipt]) -> dict[str, Any]:
    new_jobs = sum(receipt.new_jobs for receipt in receipts)
    if receipts:
        ports.kick("scale")
    return {"files": len(receipts), "new_jobs": new_jobs}


def _turn(again: dict[str, Any], now: datetime) -> datetime:
    """When the schedule was due: a turn that is told again, minutes later, is still the same run."""
    try:
        return datetime.fromisoformat(str(again.get("at", "")))
    except ValueError:
        return now  # asked by hand, or by an emulator that does not fill the moment in

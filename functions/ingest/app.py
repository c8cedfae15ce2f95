"""ingest: S3 → SQS → jobs. Also swept hourly for what no event told of,
and asked by schedules that submit a prefix again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot import attention
from arcspot.aws.compose import from_environment
from arcspot.domain.edges import log_line
from arcspot.errors import ItemsFailed
from arcspot.ports import Ports
from arcspot.services import notices
from arcspot.services.afterwards import tried
from arcspot.services.ingesting import Dropped, Outcome, groups, ingest_together
from arcspot.services.sweeping import submit_again, sweep
from arcspot.settings import Settings

logger = Logger(json_serializer=log_line)
# Kept for one more group of files: the largest file has 10,000 tasks, each a write.
ENOUGH_MS = 40_000
# An asynchronous invocation takes no more: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SENT_ANEW_BYTES = 200_000


@logger.inject_lambda_context
@attention.told(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns the ids of the messages that failed; only those come again."""
    settings, ports = from_environment()
    if event.get("submit_again"):
        return _take_turn(ports, settings, event["submit_again"], context)
    if "Records" not in event:
        return _sweep(ports, settings, context)
    failed = _take(ports, settings, event["Records"], context)
    if failed and event.get("sent_anew"):
        raise ItemsFailed(failed)  # no queue sees what is returned; Lambda itself tells them again
    return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}


def _take(
    ports: Ports, settings: Settings, records: list[dict[str, Any]], context: LambdaContext
) -> dict[str, str]:
    """Handle messages in groups; what failed, and why. What there is no time for goes to another invocation.

    Given back to the queue it would count as received, and a message is received five times at most.
    """
    failed: dict[str, str] = {}
    told: dict[Dropped, dict[str, Any]] = {}
    for record in records:
        try:
            told |= dict.fromkeys(notices.read(record["body"], settings.bucket), record)
        except Exception as error:  # one poisoned message must not send its neighbours round again
            logger.exception("message failed", extra={**attention.MARK, "message_id": record["messageId"]})
            failed[record["messageId"]] = f"{type(error).__name__}: {error}"
    something = False
    waiting = groups(told)
    while waiting:
        group = waiting.pop(0)
        for dropped, outcome in zip(
            group, ingest_together(ports, settings, group, datetime.now(UTC)), strict=True
        ):
            something = something or not (outcome.stale or outcome.kicked)
            _log(outcome)
            if outcome.error is not None:
                failed[told[dropped]["messageId"]] = f"{type(outcome.error).__name__}: {outcome.error}"
        if waiting and context.get_remaining_time_in_millis() < ENOUGH_MS:
            break
    # Refusals and answers of before too: their batch is to be reported, and the rounds that do it may sleep.
    if something:
        tried("kicking scale", lambda: ports.kick("scale"))
    left = [told[dropped] for group in waiting for dropped in group]
    for some in _sized(left):
        try:
            ports.kick("ingest", {"sent_anew": True, "Records": some})
        except Exception as error:  # then the queue tells them again
            failed |= {record["messageId"]: f"not sent anew: {error}" for record in some}
    return failed


def _sized(records: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Messages in loads that an invocation takes, without what nobody reads."""
    load: list[dict[str, Any]] = []
    size = 0
    for record in ({"messageId": r["messageId"], "body": r["body"]} for r in records):
        length = len(json.dumps(record))
        if load and size + length > SENT_ANEW_BYTES:
            yield load
            load, size = [], 0
        load.append(record)
        size += length
    if load:
        yield load


def _log(outcome: Outcome) -> None:
    if outcome.error is not None:
        about = {**attention.MARK, "key": outcome.key}
        logger.error("file failed", extra=about, exc_info=outcome.error)
        return
    extra = {"key": outcome.key, "jobs": len(outcome.jobs), "new": outcome.new_jobs}
    logger.info("ingested", extra={**extra, "refused": len(outcome.refusals)})


def _sweep(ports: Ports, settings: Settings, context: LambdaContext) -> dict[str, Any]:
    found = sweep(ports, settings, datetime.now(UTC), enough_time=lambda: _enough(context))
    told = _told(ports, list(found.outcomes))
    if found.more:
        ports.kick("ingest", {"sweep": True})
    if found.failures:
        raise ItemsFailed(found.failures)
    return told


def _enough(context: LambdaContext) -> bool:
    return context.get_remaining_time_in_millis() >= ENOUGH_MS


def _take_turn(
    ports: Ports, settings: Settings, again: dict[str, Any], context: LambdaContext
) -> dict[str, Any]:
    """As much of a recurring submission's turn as there is time for; another invocation does the rest."""
    notices.check_turn(again)
    due = _turn(again, datetime.now(UTC))
    outcomes, left = submit_again(
        ports,
        settings,
        prefix=again["prefix"],
        name=again["name"],
        now=due,
        enough_time=lambda: _enough(context),
    )
    told = _told(ports, outcomes)
    if left:
        # With the moment filled in: a turn asked for by hand would otherwise go on as another run.
        # If Lambda does not take it, this raises, and Lambda tells the first event again itself.
        ports.kick("ingest", {"submit_again": {**again, "at": due.isoformat()}})
    failures = {outcome.key: str(outcome.error) for outcome in outcomes if outcome.error}
    if failures:
        raise ItemsFailed(failures)
    return {**told, "files_left": left}


def _told(ports: Ports, outcomes: list[Outcome]) -> dict[str, Any]:
    new_jobs = 0
    for outcome in outcomes:
        new_jobs += outcome.new_jobs
        if outcome.error is not None:
            _log(outcome)
    if outcomes:
        tried("kicking scale", lambda: ports.kick("scale"))
    return {"files": len(outcomes), "new_jobs": new_jobs}


def _turn(again: dict[str, Any], now: datetime) -> datetime:
    """When the schedule was due: a turn that is told again, minutes later, is still the same run."""
    try:
        return datetime.fromisoformat(str(again.get("at", "")))
    except ValueError:
        return now  # asked by hand, or by an emulator that does not fill the moment in

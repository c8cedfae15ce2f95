"""watchdog: bring tables and EC2 together, and the clock to rest or to run.

Each minute while something is open, slowly always, and when EC2 tells of an instance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.attention import tell, told
from arcspot.aws.compose import from_environment
from arcspot.domain.budget import MICROS
from arcspot.domain.edges import log_line
from arcspot.errors import ItemsFailed
from arcspot.services.watching import Round, warn, watch
from arcspot.settings import Settings

logger = Logger(json_serializer=log_line)
WARNINGS = {
    "EC2 Spot Instance Interruption Warning": "spot interruption announced",
    "EC2 Instance Rebalance Recommendation": "spot rebalance recommended",
}


@logger.inject_lambda_context
@told(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Raises ItemsFailed when any item could not be handled; the others were."""
    settings, ports = from_environment()
    now = datetime.now(UTC)
    kind = event.get("detail-type", "")
    if kind in WARNINGS:
        ours = warn(ports, str(event["detail"]["instance-id"]), WARNINGS[kind], now)
        if not ours:
            return {"ours": False}
    try:
        clock = event.get("clock")
        seen = watch(ports, settings, now, minute=clock == "minute", slow=clock == "slow")
    except ItemsFailed as some:
        # A red round is the one whose figures matter most.
        if isinstance(some.seen, Round):
            _say(settings, some.seen, failed=len(some.failures))
        raise
    _say(settings, seen, failed=0)
    for step in seen.actions:
        logger.warning("acted", extra={"act": str(step.act), "launch_id": step.launch_id, "why": step.reason})
    return {"actions": [f"{step.act} {step.launch_id or step.instance_id}" for step in seen.actions]}


def _say(settings: Settings, seen: Round, *, failed: int) -> None:
    """What a person should look at, and the round in metrics where the stack was asked for them."""
    for job in seen.stuck:
        tell(logger, f"stuck job: {job}")
    if seen.leaks:
        tell(logger, "leak: an instance ended that no launch has paid for", instances=seen.leaks)
    if settings.metrics:
        _publish(settings.stack, seen, failed=failed)


def _publish(stack: str, seen: Round, *, failed: int) -> None:
    """The round in CloudWatch's embedded metric format, with the stack as its only dimension."""
    # Loaded where it is wanted: most stacks publish none, and a metric costs 0.30 USD a month.
    from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

    figures = {
        "LiveInstances": (MetricUnit.Count, seen.live_instances),
        "OpenLaunches": (MetricUnit.Count, seen.open_launches),
        "OldestLaunch": (MetricUnit.Seconds, seen.oldest_launch_s),
        "Leaks": (MetricUnit.Count, seen.leaks),
        "StuckJobs": (MetricUnit.Count, len(seen.stuck)),
        "FailedItems": (MetricUnit.Count, failed),
        "AvailableUsd": (MetricUnit.Count, seen.available / MICROS),
        "ReservedUsd": (MetricUnit.Count, seen.reserved / MICROS),
        "SettledUsd": (MetricUnit.Count, seen.settled / MICROS),
    }
    metrics = EphemeralMetrics()
    metrics.service = (
        ""  # else Powertools adds it as a second dimension, and an alarm on {Stack} sees nothing
    )
    metrics.add_dimension(name="Stack", value=stack)
    for name, (unit, value) in figures.items():
        metrics.add_metric(name=name, unit=unit, value=value)
    # Not by the decorator: it warns of every event that has no metrics, and hides an ItemsFailed behind that.
    metrics.flush_metrics()

"""watchdog: each minute, and when EC2 tells of an instance, bring tables and EC2 together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.aws.compose import from_environment
from arcspot.domain.budget import MICROS
from arcspot.services.watching import warn, watch

logger = Logger()
metrics = Metrics()
WARNINGS = {
    "EC2 Spot Instance Interruption Warning": "spot interruption announced",
    "EC2 Instance Rebalance Recommendation": "spot rebalance recommended",
}


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Raises ItemsFailed when any item could not be handled; the others were."""
    settings, ports = from_environment()
    now = datetime.now(UTC)
    kind = event.get("detail-type", "")
    if kind in WARNINGS:
        ours = warn(ports, str(event["detail"]["instance-id"]), WARNINGS[kind], now)
        if not ours:
            return {"ours": False}
    seen = watch(ports, settings, now)
    metrics.add_dimension(name="Stack", value=settings.stack)
    metrics.add_metric(name="LiveInstances", unit=MetricUnit.Count, value=seen.live_instances)
    metrics.add_metric(name="OpenLaunches", unit=MetricUnit.Count, value=seen.open_launches)
    metrics.add_metric(name="OldestLaunch", unit=MetricUnit.Seconds, value=seen.oldest_launch_s)
    for name, amount in (
        ("Available", seen.available),
        ("Reserved", seen.reserved),
        ("Settled", seen.settled),
    ):
        metrics.add_metric(name=f"{name}Usd", unit=MetricUnit.Count, value=amount / MICROS)
    # Not by the decorator: it warns of every event that has no metrics, and hides an ItemsFailed behind that.
    metrics.flush_metrics()
    for step in seen.actions:
        logger.warning("acted", extra={"act": str(step.act), "launch_id": step.launch_id, "why": step.reason})
    return {"actions": [f"{step.act} {step.launch_id or step.instance_id}" for step in seen.actions]}

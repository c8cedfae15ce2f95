"""retire: what the state machine does once an instance is done, one repeatable step a call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from arcspot.attention import told
from arcspot.aws.compose import from_environment
from arcspot.domain.edges import log_line
from arcspot.errors import ConfigurationError, GpuIdle
from arcspot.services import retiring
from arcspot.services.afterwards import tried

logger = Logger(json_serializer=log_line)

# What SendTaskFailure and the states' own timeouts say, in words for a job's history.
SILENT_ERRORS = ("States.HeartbeatTimeout", "States.Timeout", "RunnerSilent")
REASONS = {
    "States.HeartbeatTimeout": "its runner fell silent",
    "States.Timeout": "its runner ran out of time",
    "RunnerInterrupted": "spot interruption",
    "RunnerGaveUp": "its runner gave up",
    "RunnerSilent": "its runner fell silent",
    "DeadlinePassed": "its hard deadline passed",
    "BootTimedOut": "its runner never said hello",
    "GpuIdle": "its GPU idled while it held work",
    "InstanceGone": "its instance is gone",
}


@logger.inject_lambda_context
@told(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`step` is reclaim, terminate or settle; `error` is what ended the service, if anything did.

    Executions that began under an earlier release ask for `gone` before they settle.
    """
    settings, ports = from_environment()
    step, launch_id, now = event["step"], event["launch_id"], datetime.now(UTC)
    error = str((event.get("error") or {}).get("Error", ""))
    logger.append_keys(launch_id=launch_id)
    match step:
        case "reclaim":
            reason = REASONS.get(error, error or "served")
            silent = error in SILENT_ERRORS
            count = retiring.reclaim(
                ports,
                launch_id,
                reason=reason,
                silent=silent,
                stalled=error == GpuIdle.__name__,
                now=now,
                unless_heard_s=settings.silence_s / 2 if silent else 0.0,
            )
            if count:
                tried("kicking scale", lambda: ports.kick("scale"))
            return {"reclaimed": count}
        case "terminate":
            return {"instance_id": retiring.terminate(ports, launch_id, now)}
        case "gone":
            return {"gone": retiring.gone(ports, launch_id, now)}
        case "settle":
            if not retiring.gone(ports, launch_id, now):
                return {"gone": False, "usd_micros": 0}
            silent = error in SILENT_ERRORS
            usd_micros = retiring.settle(ports, settings, launch_id, silent=silent, now=now)
            return {"gone": True, "usd_micros": usd_micros}
        case _:
            raise ConfigurationError(f"step must be reclaim, terminate, gone or settle, found {step!r}")

"""The control plane's bill, line by line: for 1,000 tasks, and for a month in which nothing happens.

    python -m bench cost

Calls are counted in a calm simulated history of the real handlers, everything that stands is read from
`template.yaml`, and both are priced by AWS's lists (`arcspot_simulator/tariff.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from arcspot_simulator.history import History, Size
from arcspot_simulator.metering import Meter
from arcspot_simulator.tariff import LEFT_OUT, PRICES, Bill, mean
from bench import standing
from gpu_runner.logs import shipping_times

TASKS, INSTANCES = 1_000, 4
# One history may need a few more launches for its last minutes than another.
SEEDS = range(5)


def cost(project: Path) -> dict[str, Any]:
    """The bill of 1,000 tasks on four instances beyond what stands, and of a month without any.

    The first is the mean of `SEEDS` histories, in which jobs take other times.
    """
    template = standing.read(project)
    idle, idle_s, _ = _history(template, 0, seed=0)
    runs = [_history(template, TASKS, seed=seed) for seed in SEEDS]
    work = mean([busy.without(idle.times(busy_s / idle_s)) for busy, busy_s, _ in runs])
    meter = runs[0][2]
    month = _month(template, idle.times(standing.HOURS * 3600 / idle_s))
    kept = _kept(meter)
    return {
        "tasks": TASKS,
        "usd": round(work.total_usd, 5),
        "lines": _lines(work),
        "standing_usd_a_month": round(month.total_usd, 3),
        "standing_lines": _lines(month),
        "kept_usd_a_month": round(kept.total_usd, 5),
        "kept_lines": _lines(kept),
        "left_out": list(LEFT_OUT),
    }


def _lines(bill: Bill) -> dict[str, dict[str, float]]:
    return {
        name: {"units": round(bill.units[name], 3), "usd": round(micros / 1e6, 6)}
        for name, micros in bill.usd_micros.items()
        if abs(bill.units[name]) > 1e-9
    }


def _history(template: Mapping[str, Any], tasks: int, *, seed: int) -> tuple[Bill, float, Meter]:
    """Units of one calm history, its seconds, and what it was counted with."""
    history = History(
        seed, size=Size(days=1, files=tasks or 1, instances=INSTANCES, storm=0.0, spread_hours=0.02)
    )
    if not tasks:
        history.size = Size(days=1, files=0, instances=INSTANCES, storm=0.0)
        history._plan = lambda: None  # type: ignore[method-assign]
    history.every_minute()
    meter = history.meter(standing.shape(template))
    outcome = history.live()
    if outcome.violation or outcome.jobs_done != tasks:
        raise RuntimeError(f"the calm history went wrong: {outcome}")
    _ship_logs(meter, history)
    units: dict[str, float] = dict(meter.units)
    units[standing.gb_seconds_line(template)] = meter.gb_seconds
    units["Step Functions transitions"] = history.stack.workflow.transitions
    units["EventBridge Scheduler invocations"] = sum(history.stack.scheduled.values())
    return Bill(units), outcome.virtual_s, meter


def _ship_logs(meter: Meter, history: History) -> None:
    """Each runner ships its log now and then, and at its end: an upload URL from the door, and one PUT."""
    for machine in history.stack.ec2.machines.values():
        lived = (machine.ended_at or history.loop.now) - machine.started
        times = takewhile(lambda at: at < lived, accumulate(shipping_times()))  # noqa: B023
        for _ in (*times, lived):
            meter.invoked("runner_api", meter.last_call("runner_api"))  # it is warm by its other calls
            meter.called("runner_api", "store.launch", ("",), None, seconds=0.005)
            meter.stored(f"logs/{machine.launch_id}/runner.log", 20_000)


def _month(template: Mapping[str, Any], calls: Bill) -> Bill:
    """A month of an idle stack: its rounds, and what is charged for standing there."""
    units: dict[str, float] = dict(calls.units)
    minutes = standing.HOURS * 60
    units["SQS requests"] = units.get("SQS requests", 0) + standing.POLLS_A_MINUTE * minutes
    units["CloudWatch alarms, months"] = standing.alarms(template)
    units["CloudWatch custom metrics, months"] = standing.metrics(template)
    keys = standing.encrypted_with_kms(template)
    if keys:
        # Three functions that look each minute, each at nearly every table.
        units["KMS requests"] = keys * 3 * standing.HOURS * 3600 / standing.KEY_KEPT_S
    units["CloudWatch logs kept, byte-months"] = units.get("CloudWatch logs taken in, bytes", 0)
    return Bill(units)


def _kept(meter: Meter) -> Bill:
    """A month of keeping what 1,000 tasks leave, their weights not counted."""
    tables = meter.bytes_kept(of="tables")
    return Bill(
        {
            "S3 kept, byte-months": meter.bytes_kept(of="objects"),
            "DynamoDB kept, byte-months": tables,
            "DynamoDB recovery to any moment, byte-months": tables,
            "CloudWatch logs kept, byte-months": meter.units["CloudWatch logs taken in, bytes"],
        }
    )


def lines(found: Mapping[str, Any]) -> str:
    """The bill as Markdown."""
    told = [
        f"{found['tasks']:,} tasks, in cents: **{100 * found['usd']:.2f}**",
        "",
        *_table(found["lines"], 100, "cents"),
        "",
        f"A month in which nothing happens, in USD: **{found['standing_usd_a_month']:.2f}**",
        "",
        *_table(found["standing_lines"], 1, "USD"),
        "",
        f"Keeping what they leave for a month, in cents: **{100 * found['kept_usd_a_month']:.3f}**",
        "",
        *_table(found["kept_lines"], 100, "cents"),
        "",
        "Left out: " + "; ".join(found["left_out"]) + ".",
        "",
    ]
    return "\n".join(told)


def _table(of: Mapping[str, Mapping[str, float]], factor: int, unit: str) -> list[str]:
    rows = [f"| line | units | list price of 1 million | {unit} |", "|---|---|---|---|"]
    return rows + [
        f"| {name} | {each['units']:,.0f} | ${PRICES[name].usd_micros:,.4g} | {factor * each['usd']:.3f} |"
        for name, each in of.items()
    ]

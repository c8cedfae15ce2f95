"""The simulator's own figures, and what the control plane's calls cost. Virtual days, real decisions."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from arcspot_simulator.ablations import GUARDS
from arcspot_simulator.history import History, Size
from arcspot_simulator.tariff import Bill, Meter

SEEDS = 2_000
ABLATED_SEEDS = 500
LOAD = {"files": 100_000, "instances": 64, "days": 30}
TASKS = 1_000


def simulate(project: Path, say: Any) -> dict[str, Any]:
    """All histories, each ablation until it is caught, and the load test, as a user would run them."""
    command = [str(project / ".venv/bin/arcspot"), "simulate", "--json"]
    found: dict[str, Any] = {"histories": _timed([*command, "--seeds", str(SEEDS)])}
    say(f"{SEEDS} histories in {found['histories']['seconds']} s")
    found["ablations"] = {}
    for guard in GUARDS:
        each = _timed([*command, "--seeds", str(ABLATED_SEEDS), "--ablate", guard])
        found["ablations"][guard] = {"caught": bool(each["violations"]), "first": each["violations"][:1]}
        say(f"without {guard}: {'caught' if each['violations'] else 'NOT caught'}")
    sizes = [f"--{name}={value}" for name, value in LOAD.items()]
    found["load"] = LOAD | _timed([*command, "--seeds", "1", *sizes])
    found["load"]["peak_bytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return found


def cost() -> dict[str, Any]:
    """The control plane's bill for 1,000 tasks on four instances, and for a month without any."""
    busy, _ = _bill(TASKS)
    idle, days = _bill(0)
    work = busy.without(idle)
    return {
        "tasks": TASKS,
        "usd": round(work.total_usd, 5),
        "usd_micros": {name: round(value, 1) for name, value in work.usd_micros.items()},
        "units": {name: round(work.units.get(name, 0), 1) for name in work.usd_micros},
        "standing_usd_a_month": round(idle.total_usd * 30 / days, 3),
    }


def _bill(tasks: int) -> tuple[Bill, float]:
    history = History(0, size=Size(days=1, files=tasks or 1, instances=4, storm=0.0, spread_hours=0.02))
    if not tasks:
        history.size = Size(days=1, files=0, instances=4, storm=0.0)
        history._plan = lambda: None  # type: ignore[method-assign]
    history.every_minute()
    meter = history.stack.functions.meter = Meter()
    outcome = history.live()
    if outcome.violation or outcome.jobs_done != tasks:
        raise RuntimeError(f"the calm history went wrong: {outcome}")
    units: dict[str, float] = dict(meter.units)
    units["Step Functions transitions"] = history.stack.workflow.transitions
    units["EventBridge Scheduler invocations"] = sum(history.stack.ticks.values())
    # A message is sent, received and deleted; the last two in batches of ten.
    units["SQS requests"] = tasks * 1.2
    return Bill(units), outcome.virtual_s / 86400


def _timed(command: list[str]) -> dict[str, Any]:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    found.pop("calls", None)
    return found | {"seconds": round(time.monotonic() - began, 1)}

"""The simulator's own figures: histories, guards and the load test, as a user would run them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from arcspot_simulator.ablations import GUARDS

SEEDS = 2_000
ABLATED_SEEDS = 500
LOAD = {"files": 100_000, "instances": 64, "days": 30}


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


def _timed(command: list[str]) -> dict[str, Any]:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    found.pop("calls", None)
    return found | {"seconds": round(time.monotonic() - began, 1)}

"""Seconds-long measurements: handler imports, `arcspot --help`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.processes import summary, timed

RUNS = 7
IMPORT = """
import sys
sys.path[:0] = sys.argv[1:]
from time import perf_counter, process_time
began, worked = perf_counter(), process_time()
import app
print(1000 * (perf_counter() - began), 1000 * (process_time() - worked))
"""


def imports(project: Path) -> dict[str, Any]:
    """Milliseconds to import each handler in a fresh process, and of an empty process beside it.

    As on Lambda, the function's folder, the layer's code and installed packages are there, the layer's as
    bytecode. The processor's own time stands beside the wall clock: a busy machine adds to the second mostly.
    """
    python = sys.executable
    handlers: dict[str, Any] = {}
    bytecode = TemporaryDirectory()
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    environment["PYTHONPYCACHEPREFIX"] = bytecode.name
    for app in sorted((project / "functions").glob("*/app.py")):
        paths = (str(app.parent), str(project / "layers" / "common"))
        command = (python, "-c", IMPORT, *paths)
        told = [
            subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            ).stdout.split()
            for _ in range(RUNS + 1)
        ][1:]
        handlers[app.parent.name] = {
            "import_ms": summary([float(wall) for wall, _ in told]),
            "import_cpu_ms": summary([float(cpu) for _, cpu in told]),
        }
    bytecode.cleanup()
    return {
        "handlers": handlers,
        "empty_process_ms": timed((python, "-c", "pass"), runs=RUNS),
        "slowest_ms": max(each["import_ms"]["median"] for each in handlers.values()),
    }


def help_text(project: Path) -> dict[str, Any]:
    """Milliseconds of `arcspot --help`, the process's start included."""
    command = Path(sys.executable).with_name("arcspot")
    return {"help_ms": timed((str(command), "--help"), runs=RUNS)}

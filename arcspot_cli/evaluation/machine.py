"""What an evaluation ran on: without it, its seconds say nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from arcspot_cli.evaluation.solving import Means


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def described(using: Means) -> dict[str, Any]:
    return {
        "system": platform.system(),
        "cpu": _processor(Path("/proc/cpuinfo")),
        "cores": cores(),
        "load_1min": round(os.getloadavg()[0], 2),
        "gpu": using.gpu,
        "python": platform.python_version(),
        "torch": using.torch,
    }


def _processor(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()

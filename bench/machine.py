"""What the figures were measured on: without it a figure says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Cores, processor, memory, Python, and how busy the machine is right now."""
    return {
        "cores": os.cpu_count() or 1,
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "ram_gib": round(int(_field(Path("/proc/meminfo"), "MemTotal").split()[0] or 0) / 2**20, 1),
        "python": platform.python_version(),
        "system": platform.system(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def commit(project: Path) -> str:
    """The commit that is measured, marked when files differ from it."""
    try:
        name = _git(project, "rev-parse", "--short", "HEAD")
        changed = _git(project, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name} with changes" if changed else name


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def _git(project: Path, *arguments: str) -> str:
    command = ("git", "-C", str(project), *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _field(file: Path, name: str) -> str:
    """The value of the first `name: value` line, "0" where the system has no such file."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return "0"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")

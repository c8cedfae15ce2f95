"""What machine is this? Asks `nvidia-smi`, which is quick and needs no torch."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Callable, Sequence

# Of a GPU's memory for each job: half a GiB for its process, the rest for a batch on the largest canvas.
JOB_BYTES = 3 * 1024**3

Ask = Callable[[Sequence[str]], str | None]


def run_quietly(command: Sequence[str]) -> str | None:
    """A command's output, or None when it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def gpu_name(ask: Ask = run_quietly) -> str | None:
    """The first GPU's name, or None without one."""
    return _first(ask(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]))


def gpu_utilisation(ask: Ask = run_quietly) -> float | None:
    """Percent of the last sampling period in which the first GPU was busy, or None."""
    said = _first(ask(["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]))
    try:
        return None if said is None else float(said)
    except ValueError:  # "[N/A]" on cards that do not count
        return None


def torch_version() -> str | None:
    """The installed torch's version, without importing it."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def pick_device() -> tuple[str, str]:
    """`("cuda" | "cpu", why)`. Imports torch.

    Raises UnsupportedDevice when there is a GPU that this torch has no code for: a GPU is paid
    for, so quietly falling back to the CPU would waste it.
    """
    from gpu_runner.solver import devices  # before torch: it says how torch's threads wait

    if not devices.has_gpu():
        return "cpu", "torch sees no GPU"
    why = devices.check_device("cuda")
    devices.allow_tf32()
    return "cuda", why


def at_once(device: str, *, cores: int, free_bytes: int) -> int:
    """How many jobs this machine does at the same time, each in a process of its own.

    While one job looks for rules on the CPU others train on the GPU, and a GPU mostly waits for the launches
    of a single small network. One core is left to the runner itself. On a CPU one job has all cores.
    """
    if device != "cuda":
        return 1
    return max(1, min(cores - 1, free_bytes // JOB_BYTES))


def free_gpu_bytes(ask: Ask = run_quietly) -> int:
    """Memory that nobody uses on the first GPU; 0 where that cannot be told."""
    said = _first(ask(["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]))
    try:
        return 0 if said is None else int(said) * 1024**2
    except ValueError:
        return 0


def _first(said: str | None) -> str | None:
    lines = [line.strip() for line in (said or "").splitlines() if line.strip()]
    return lines[0] if lines else None

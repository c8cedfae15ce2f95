"""The real solver, as the evaluation asks it. Imports torch, but only when called."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from arcspot_cli.errors import CommandFailed
from arcspot_cli.evaluation.asking import Answer, Question, ShouldStop, Stopped


@dataclass(frozen=True, slots=True)
class TorchSolver:
    """`asking.Solve`; on a CPU with so many of torch's threads."""

    threads: int

    def __call__(self, question: Question, should_stop: ShouldStop) -> Answer:
        from gpu_runner import solver  # sets how threads wait, so before torch

        import torch  # isort: skip

        torch.set_num_threads(self.threads)
        budget = solver.SolveBudget(
            seconds=question.seconds, seed=question.seed, device=question.device, adapt=question.adapt,
            only=question.only,
        )  # fmt: skip
        began = time.monotonic()
        try:
            found = solver.solve(
                question.task, budget, question.checkpoint, should_stop=should_stop, keep=question.keep
            )
        except solver.Interrupted as ended:
            raise Stopped(str(ended)) from ended
        before = float(found.metrics.get("seconds_before", 0.0))
        if question.keep is not None:
            question.keep.unlink(missing_ok=True)
        took = round(before + time.monotonic() - began, 3)
        return Answer(tuple(found.attempts), took, dict(found.metrics), peak_mib())


def peak_mib() -> int:
    """The most resident memory that this process has had; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(told / 2**20 if sys.platform == "darwin" else told / 2**10)


@dataclass(frozen=True, slots=True)
class Means:
    """What tasks are solved with: device, checkpoint (None: random weights), digests of it and the code."""

    device: str
    checkpoint: Path | None
    sha256: str | None
    solver_version: str
    solver_code: str
    torch: str
    gpu: str | None


def means(device: str, model: Path | None) -> Means:
    """The device and checkpoint to use: those named, else a GPU where there is one and the bundle's model.

    Raises CommandFailed for a device that is not there, and for a checkpoint that cannot be used: the solver
    would start from random weights, and its figures would be taken for the checkpoint's.
    """
    import gpu_runner
    from gpu_runner import solver
    from gpu_runner.solver.devices import check_device
    from gpu_runner.solver.weights import read_checkpoint
    from gpu_runner.solving import ModelMissing, pick_model

    import torch  # isort: skip

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        check_device(str(torch.device(device)))
    except (solver.SolverError, RuntimeError) as fault:
        raise CommandFailed(f"--device {device}: {str(fault).splitlines()[0]}") from fault
    bundled = Path(gpu_runner.__file__).parent / "models"
    try:
        chosen = model or pick_model(bundled, "auto", device=device)[0]
        sha256 = read_checkpoint(chosen).sha256 if chosen is not None else None
    except (ModelMissing, solver.BadWeights) as fault:
        raise CommandFailed(f"{fault}; --model takes a checkpoint that `pretrain` wrote") from fault
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    code = _code(Path(solver.__file__).parent)
    return Means(device, chosen, sha256, solver.SOLVER_VERSION, code, str(torch.__version__), gpu)


def _code(folder: Path) -> str:
    """Names the solver's source: results of two are not to be taken for those of one."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(path.relative_to(folder).as_posix().encode() + b"\n" + path.read_bytes())
    return found.hexdigest()[:12]

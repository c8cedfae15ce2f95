"""The seam to the solver: what the runner needs of it, and the one place that imports torch.

The solver gets a task whose test outputs were taken away before, a seed and seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from arcspot.domain import documents
from arcspot.errors import ArcspotError
from gpu_runner.contract import Json

GridRows = Sequence[Sequence[int]]
ShouldStop = Callable[[], bool]
TellProgress = Callable[[str, float], None]


class Stopped(ArcspotError):
    """Work on a job ended because somebody asked for it."""


class ModelMissing(ArcspotError):
    """The job names a model that this bundle does not carry."""


@dataclass(frozen=True, slots=True)
class Solved:
    """What a solver found: two different answers for each test input, weights, figures."""

    attempts: tuple[tuple[GridRows, GridRows], ...]
    metrics: Mapping[str, Any]
    save_weights: Callable[[Path], None]


class Solver(Protocol):
    """Solve one task without its test outputs within `seconds`, at most `here` of them in this call.

    Asks `should_stop` often and raises Stopped when it says so. The file `keep` is where the state of the
    work is kept, and gone on from where an earlier call left one; the seconds in it count.
    """

    def __call__(
        self,
        task: Json,
        *,
        seconds: float,
        here: float,
        seed: int,
        model: Path | None,
        keep: Path,
        progress: TellProgress,
        should_stop: ShouldStop,
    ) -> Solved: ...


MANIFEST = "manifest.json"
MANIFEST_FORM = '{"auto": {"cpu": "NAME.safetensors", "cuda": "NAME.safetensors"}}'


def pick_model(folder: Path, name: str, *, device: str) -> tuple[Path | None, str]:
    """The checkpoint to start from and why; None when the bundle carries none.

    "auto" takes what `manifest.json` in `folder` names for the kind of device. Raises ModelMissing
    for a name that is not one of the files in `folder`, and where the manifest cannot be followed.
    """
    models = {path.name: path for path in folder.glob("*.safetensors")}
    if name != "auto":
        if name not in models:
            has = ", ".join(sorted(models)) or "none"
            raise ModelMissing(f"no model {name!r} in the bundle; it has: {has}")
        return models[name], "named by the job"
    manifest = folder / MANIFEST
    if not models and not manifest.exists():
        return None, "no model in the bundle: from scratch"
    chosen = _named_by(manifest, device.partition(":")[0])
    if chosen not in models:
        raise ModelMissing(f"{manifest} names {chosen!r}, and that file is not in {folder}")
    return models[chosen], f"auto on {device}: {chosen} by the manifest"


def _named_by(manifest: Path, kind: str) -> str:
    """What the manifest names for "cpu" or "cuda". Raises ModelMissing."""
    try:
        name = documents.parsed(manifest.read_bytes())["auto"][kind]
    except (OSError, ValueError, LookupError, TypeError) as fault:
        raise ModelMissing(
            f"{manifest} says no model for {kind} ({fault!r}); expected is {MANIFEST_FORM}"
        ) from fault
    if not isinstance(name, str):
        raise ModelMissing(f"{manifest} names {name!r} for {kind}; expected is {MANIFEST_FORM}")
    return name


def torch_solver(*, device: str) -> Solver:
    """The real solver. Imports torch here and nowhere else, since that takes seconds."""
    from safetensors.torch import save_file

    from gpu_runner import solver

    def solve(
        task: Json,
        *,
        seconds: float,
        here: float,
        seed: int,
        model: Path | None,
        keep: Path,
        progress: TellProgress,
        should_stop: ShouldStop,
    ) -> Solved:
        def tell(*, phase: str, fraction: float = 0.0, **_: object) -> None:
            progress(phase, fraction)

        budget = solver.SolveBudget(seconds=seconds, here=here, seed=seed, device=device)
        try:
            found = solver.solve(task, budget, model, progress=tell, should_stop=should_stop, keep=keep)
        except solver.Interrupted as ended:
            raise Stopped(str(ended) or "the solver was asked to stop") from ended

        def save_weights(path: Path) -> None:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in found.adapted.items()}
            save_file(tensors, path, metadata=found.adapted_metadata)

        return Solved(tuple(found.attempts), found.metrics, save_weights)

    return solve


def solver_version() -> str:
    """The version the solver gives itself (imports torch)."""
    from gpu_runner import solver

    return str(solver.SOLVER_VERSION)

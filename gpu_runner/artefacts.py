"""Write what a job leaves behind: answers, weights, figures, a picture, and last the manifest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpu_runner.contract import FileFact, Json, Lease
from gpu_runner.solving import GridRows, Solved

SUMMARY_BYTES = 3500  # the contract allows 4 KiB for the summary


@dataclass(frozen=True, slots=True)
class Maker:
    """Who made a result: goes into its metrics and manifest."""

    launch_id: str
    instance_id: str
    device: str
    gpu: str | None
    torch: str | None
    runner_version: str
    solver_version: str


def write(
    folder: Path, *, lease: Lease, solved: Solved, figures: Json, picture: str, maker: Maker
) -> list[FileFact]:
    """Fill an empty `folder` and return its files in the order of delivery, the manifest last.

    `figures` are the runner's own measurements (seconds, model); they win over the
    solver's metrics of the same name.
    """
    _write_json(folder / "prediction.json", prediction(solved.attempts))
    solved.save_weights(folder / "adapted.safetensors")
    identity = {"job_id": lease.job_id, "task_id": lease.task_id, "fence": lease.fence}
    _write_json(folder / "metrics.json", {**solved.metrics, **figures, **identity, **asdict(maker)})
    (folder / "picture.svg").write_text(picture, encoding="utf-8")
    names = ("prediction.json", "adapted.safetensors", "metrics.json", "picture.svg")
    facts = [fact(folder / name) for name in names]
    manifest = identity | {
        "launch_id": maker.launch_id,
        "solver_version": maker.solver_version,
        "files": {each.name: {"bytes": each.size, "sha256": each.sha256} for each in facts},
    }
    _write_json(folder / "manifest.json", manifest)
    return [*facts, fact(folder / "manifest.json")]


def prediction(attempts: Sequence[tuple[GridRows, GridRows]]) -> list[Json]:
    """The answers in Kaggle's form, one entry for each test input."""
    return [{"attempt_1": _rows(first), "attempt_2": _rows(second)} for first, second in attempts]


def fact(path: Path, *, name: str | None = None) -> FileFact:
    """Size and SHA-256 of a file, to be delivered under its own name or another."""
    body = path.read_bytes()
    return FileFact(name or path.name, path, len(body), hashlib.sha256(body).hexdigest())


def summary(metrics: Mapping[str, Any], figures: Mapping[str, Any]) -> Json:
    """The single figures worth a row in a table: numbers and short words, never curves."""
    short: Json = {}
    for name, value in sorted({**metrics, **figures}.items()):
        plain = plain_json(value)
        if not isinstance(plain, bool | int | float | str) or (isinstance(plain, str) and len(plain) > 120):
            continue
        if len(json.dumps({**short, name: plain}).encode()) > SUMMARY_BYTES:
            break
        short[name] = plain
    return short


def plain_json(value: Any) -> Any:
    """The value as strict JSON can carry it: NaN and infinity become null, numpy scalars numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(each) for each in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # numpy and torch, without importing either
        return plain_json(value.tolist())
    return str(value)


def _rows(grid: GridRows) -> list[list[int]]:
    return [[int(cell) for cell in row] for row in grid]


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(plain_json(content), allow_nan=False, sort_keys=True) + "\n", encoding="utf-8")

"""Write what a job leaves behind: answers, weights, figures, a picture and a manifest, in one file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arcspot.domain import results
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
    """Fill an empty `folder` with `result.zip` and return what is to be delivered.

    One object, because each PUT costs as much as twelve reads (docs/decisions/071). `figures` are the
    runner's own measurements (seconds, model); they win over the solver's metrics of the same name.
    """
    solved.save_weights(folder / results.WEIGHTS)
    identity = {"job_id": lease.job_id, "task_id": lease.task_id, "fence": lease.fence}
    files = {
        results.WEIGHTS: (folder / results.WEIGHTS).read_bytes(),
        results.PICTURE: picture.encode(),
        results.METRICS: _json({**solved.metrics, **figures, **identity, **asdict(maker)}),
        results.PREDICTION: _json(prediction(solved.attempts)),
    }
    (folder / results.WEIGHTS).unlink()
    manifest = identity | {
        "launch_id": maker.launch_id,
        "solver_version": maker.solver_version,
        "files": {
            name: {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            for name, body in files.items()
        },
    }
    packed = folder / results.RESULT
    packed.write_bytes(results.pack({**files, results.MANIFEST: _json(manifest)}))
    return [fact(packed)]


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


def _json(content: object) -> bytes:
    return (json.dumps(plain_json(content), allow_nan=False, sort_keys=True) + "\n").encode()

"""The data of a session in one folder: a borrowed machine gets nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from gpu_runner.solver.corpus import EXPECTED, REARC
from gpu_runner.solver.errors import BadData

MOST_BYTES = 64 * 2**20
"""What a borrowed machine takes along of files that git ignores."""

VALIDATION = "validation"


def pack(data: Path, validation: Path | None, ids: Sequence[str], out: Path) -> int:
    """Copy the pretraining data, and the tasks `ids` of the folder `validation`, to the folder `out`; what
    was there is replaced. Returns its size in bytes. Raises BadData where something is missing or too large.
    """
    training = sorted((data / "training").glob("*.json"))
    if not training or not (data / REARC).is_file():
        raise BadData(f"{data} has no pretraining data: {EXPECTED}")
    wanted = {Path("training") / path.name: path for path in training} | {Path(REARC): data / REARC}
    for name in ids if validation is not None else ():
        source = (validation or Path()) / f"{name}.json"
        if not source.is_file():
            raise BadData(f"there is no task {name} in {validation}: a file {name}.json is expected")
        wanted[Path(VALIDATION) / source.name] = source
    size = sum(path.stat().st_size for path in wanted.values())
    if size > MOST_BYTES:
        raise BadData(f"{data} is {size / 2**20:.1f} MiB packed; at most {MOST_BYTES >> 20} MiB travel")
    shutil.rmtree(out, ignore_errors=True)
    for place, path in wanted.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / place)
    return size


def read_ids(file: Path) -> list[str]:
    """Task ids, one a line; what follows a # is a comment. Raises BadData where there is none."""
    try:
        lines = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as why:
        raise BadData(f"{file} cannot be read as a list of task ids: {why}") from why
    if not any(lines):
        raise BadData(f"{file} names no task: a task id on each line is expected")
    return [line for line in lines if line]

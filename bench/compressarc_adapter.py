"""Run CompressARC on one task on this CPU until its time is up, and write its two best answers.

    python compressarc_adapter.py CHECKOUT TASK.json SECONDS STEPS SEED OUT.json [wall|cpu]

Runs by itself: nothing of arcspot is imported, and all of CompressARC comes from CHECKOUT. What is asked of
it, as its own solve_task.py does: preprocessing.Task(name, problem, None), arc_compressor.ARCCompressor(task)
with `weights_list`, solution_selection.Logger(task) with `solution_most_frequent` and
`solution_second_most_frequent`, and train.take_step(task, model, optimizer, step, logger).
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULES = ("preprocessing", "arc_compressor", "solution_selection", "train")
NEEDED = (
    ("preprocessing", "Task"),
    ("arc_compressor", "ARCCompressor"),
    ("solution_selection", "Logger"),
    ("train", "take_step"),
)
RATE, BETAS = 0.01, (0.5, 0.9)
"""Its published settings of Adam."""


class Missing(Exception):
    """The checkout lacks something that the adapter asks of it."""


def main() -> None:
    checkout, task, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[6])
    seconds, steps, seed = float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    clock = time.process_time if sys.argv[7:] == ["cpu"] else time.monotonic
    try:
        code = load(checkout)
        found = run(code, task.stem, json.loads(task.read_text()), seconds, steps, seed, clock)
    except Missing as why:
        sys.exit(f"compressarc: {why}")
    beside = out.with_suffix(".part")
    beside.write_text(json.dumps(found))
    beside.replace(out)


def load(checkout: Path) -> dict[str, Any]:
    """The checkout's modules, on the CPU. Raises Missing, naming the file or the name that is not there."""
    for name in MODULES:
        if not (checkout / f"{name}.py").is_file():
            raise Missing(f"{checkout.name} has no {name}.py: is it a checkout of iliao2345/CompressARC?")
    sys.path.insert(0, str(checkout))
    _stay_on_the_cpu()
    _do_without_drawing()
    code: dict[str, Any] = {}
    for name in MODULES:
        try:
            code[name] = importlib.import_module(name)
        except ImportError as why:
            raise Missing(f"{name}.py cannot be imported: {why}; install what it needs beside torch") from why
    for module, name in NEEDED:
        if not hasattr(code[module], name):
            raise Missing(f"{module}.py has no {name}: another version than the one this was written for")
    return code


def run(
    code: dict[str, Any],
    name: str,
    problem: dict[str, Any],
    seconds: float,
    steps: int,
    seed: int,
    clock: Callable[[], float],
) -> dict[str, Any]:
    """Train until the longest of the last steps would no longer fit, `steps` at most."""
    import torch
    import torch._dynamo  # as arcspot does: the first optimiser would load it on the task's time

    began = clock()
    torch.manual_seed(seed)
    task = code["preprocessing"].Task(name, problem, None)
    model = code["arc_compressor"].ARCCompressor(task)
    logger = code["solution_selection"].Logger(task)
    if not hasattr(model, "weights_list"):
        raise Missing("ARCCompressor has no weights_list: another version than the one this was written for")
    nothing = tuple(((0, 0), (0, 0)) for _ in problem["test"])
    logger.solution_most_frequent = logger.solution_second_most_frequent = nothing
    optimizer = torch.optim.Adam(model.weights_list, lr=RATE, betas=BETAS)
    recent: list[float] = []
    step, last = 0, clock()
    while step < steps and last - began + max(recent[-8:], default=0.0) < seconds:
        code["train"].take_step(task, model, optimizer, step, logger)
        step, now = step + 1, clock()
        recent.append(now - last)
        last = now
    pairs = zip(logger.solution_most_frequent, logger.solution_second_most_frequent, strict=True)
    attempts = [[[[int(cell) for cell in row] for row in grid] for grid in pair] for pair in pairs]
    return {"attempts": attempts, "steps": step, "seconds": round(clock() - began, 1)}


def _stay_on_the_cpu() -> None:
    """Its modules make a GPU the default device as they are imported: now they get the CPU."""
    import torch

    real = torch.set_default_device
    torch.set_default_device = lambda device: real("cpu")
    real("cpu")


def _do_without_drawing() -> None:
    """Its modules import plots and a progress bar; where those are not installed, empty ones will do.

    train.py imports visualization.py, and solution_selection.py matplotlib.pyplot itself.
    """
    drawing = ("visualization", "matplotlib", "matplotlib.pyplot")
    for package, names in (("matplotlib", drawing), ("tqdm", ("tqdm",))):
        if importlib.util.find_spec(package) is not None:
            continue
        for name in names:
            empty: Any = types.ModuleType(name)
            empty.__spec__ = importlib.machinery.ModuleSpec(name, None)  # torch asks whether tqdm is there
            empty.tqdm = empty.trange = iter
            sys.modules[name] = empty


if __name__ == "__main__":
    main()

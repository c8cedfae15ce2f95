"""The weights a runner uploads answer the task again as the run that made them did."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from gpu_runner.solver import predict
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.weights import write_checkpoint
from gpu_runner.solving import torch_solver

from .test_engine import TASK

# Each grid upside down: the pointer's work.
FLIP = {
    "train": [
        {"input": [[1, 2], [0, 3], [4, 0]], "output": [[4, 0], [0, 3], [1, 2]]},
        {"input": [[5, 0], [4, 4], [1, 1]], "output": [[1, 1], [4, 4], [5, 0]]},
        {"input": [[0, 2], [3, 5], [2, 2]], "output": [[2, 2], [3, 5], [0, 2]]},
    ],
    "test": [{"input": [[3, 0], [1, 5], [4, 2]]}],
}


@pytest.mark.parametrize(("task", "seconds"), [(FLIP, 60.0), (TASK, 4.0)], ids=["pointer", "network"])
def test_a_downloaded_file_predicts_what_its_run_answered(tmp_path, task, seconds):
    torch.manual_seed(0)
    model = tmp_path / "tiny.safetensors"
    write_checkpoint(model, CONFIGS["tiny"], Solver(CONFIGS["tiny"]).state_dict())
    solved = torch_solver(device="cpu")(
        task, seconds=seconds, here=seconds, seed=0, model=model, keep=tmp_path / "state",
        progress=lambda phase, fraction: None, should_stop=lambda: False,
    )  # fmt: skip
    file = tmp_path / "adapted.safetensors"
    solved.save_weights(file)
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    assert predict(task, load_file(file), metadata) == solved.attempts
    if task is FLIP:
        assert solved.attempts[0][0] == [[4, 2], [1, 5], [3, 0]]

"""The GPU's measurement, on a CPU with a tiny network: all of it but graphs."""

import dataclasses

import pytest

from bench import gpu
from gpu_runner.solver.model import CONFIGS
from gpu_runner.solver.train import CUDA


def test_without_a_gpu_it_says_so_and_ends_with_1(monkeypatch, capsys):
    monkeypatch.setattr("gpu_runner.solver.devices.has_gpu", lambda: False)
    with pytest.raises(SystemExit) as ended:
        gpu.main([])
    assert "needs a GPU" in str(ended.value.code)  # a text: Python prints it and ends with 1


def test_a_cpu_is_no_device_for_it(capsys):
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--device", "cpu"])
    assert ended.value.code == 2


@pytest.mark.parametrize("half", gpu.TASKS_HALVES)
def test_a_random_task_fills_the_canvas_it_is_for(half):
    assert gpu.random_task(half, 0).half == half


def test_one_task_and_stacks_are_measured_and_tabled(monkeypatch):
    monkeypatch.setattr(gpu, "STACKS", (2, 3))
    monkeypatch.setattr(gpu, "_room", lambda *_: 2)
    recipe = dataclasses.replace(CUDA, batch_tokens=100, smallest=2, largest=4)
    rows = list(gpu.measured(CONFIGS["tiny"], recipe, 4, 0.3, device="cpu"))
    assert [(row.way, row.tasks) for row in rows] == [("eager", 1), ("stacked", 2)]
    assert all(row.steps_s > 0 and row.tflops > 0 for row in rows)
    _, _, eager, stacked = gpu.table(rows).splitlines()
    assert "| eager | 1 |" in eager
    assert "| 1.00 |" in eager
    assert "| stacked | 2 |" in stacked

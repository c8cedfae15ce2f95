"""fp32 beside bf16 on a CPU: both take real steps, and neighbours in time are compared."""

import dataclasses

import pytest
import torch

from bench import precision
from gpu_runner.solver.model import CONFIGS
from gpu_runner.solver.train import CPU


def test_each_round_takes_a_step_in_both_and_the_first_ones_do_not_count(monkeypatch):
    types = []
    begin = precision._begin
    monkeypatch.setattr(precision, "_begin", lambda *a, **k: types.append(begin(*a, **k)) or types[-1])
    ticks = iter(range(1000))
    recipe = dataclasses.replace(CPU, batch_tokens=100, smallest=2, largest=4)
    row = precision.measured(CONFIGS["tiny"], recipe, 4, 3, now=lambda: float(next(ticks)))
    assert [each.precision.dtype for each in types] == [torch.float32, torch.bfloat16]
    assert row == precision.Row(4, 4, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))


def test_the_table_has_medians_and_the_ratios_of_neighbours():
    row = precision.Row(8, 20, (1.0, 2.0, 4.0), (0.5, 1.5, 1.0))
    assert row.ratios == pytest.approx([0.25, 0.5, 0.75])
    assert precision.table([row]).splitlines()[-1] == "| 8 | 20 | 2.000 | 1.000 | 0.50 (0.25 to 0.75) |"


def test_muons_moves_are_measured_in_turn_too():
    ticks = iter(range(1000))
    row = precision.muon(CONFIGS["tiny"], 2, now=lambda: float(next(ticks)))
    assert (row.fp32_s, row.bf16_s) == ((1.0, 1.0), (1.0, 1.0))

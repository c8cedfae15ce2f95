"""The closed formulas agree with what torch counts, and the meter sees all of a solve's work."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpu_runner.solver import Interrupted, SolveBudget, predict, reasoning, solve, train
from gpu_runner.solver.canvas import COLOURS, PairStore, Placement, draw
from gpu_runner.solver.flops import Meter, reading_flops, step_flops, training_flops
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.objective import loss
from gpu_runner.solver.optim import orthogonal
from gpu_runner.solver.weights import read_checkpoint, write_checkpoint

from .conftest import nothing
from .test_engine import QUICK, TASK


def a_batch(size, half):
    store = PairStore.from_grids([([[1, 2]], [[2, 1]])], "cpu")
    zero = torch.zeros(size, dtype=torch.long)
    colours = torch.arange(COLOURS).expand(size, -1)
    at = Placement(zero, zero, colours, zero + 1, torch.stack([zero, zero], 1), torch.ones(size, 2))
    return draw(store, at, half)


def depthwise_backward(grad, given, weight, *rest, **_):
    """For the weights' gradient torch takes a grouped convolution for a full one: this is the right count."""
    size, channels, height, width = grad
    return 2 * (2 * size * channels * height * width * weight[2] * weight[3])


def counted(act):
    mapping = {torch.ops.aten.convolution_backward: depthwise_backward}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        act()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["tiny", "xs", "m6"])
@pytest.mark.parametrize("half", [4, 8])
def test_the_formulas_count_what_torch_counts(name, half):
    config, size = CONFIGS[name], 3
    model, batch = Solver(config), a_batch(size, half)
    tokens = model.mean_tokens.repeat(size, 1, 1).requires_grad_()
    with torch.no_grad():
        assert counted(lambda: model(batch, tokens)) == size * reading_flops(config, half)
    assert counted(lambda: loss(model(batch, tokens), batch).backward()) == size * training_flops(
        config, half
    )


@pytest.mark.parametrize("name", ["tiny", "xs", "m6"])
def test_the_optimisers_step_costs_what_torch_counts(name):
    layers = Solver(CONFIGS[name]).layers
    queries_keys_values = [part for layer in layers for part in layer.qkv.detach().chunk(3)]
    others = [matrix.detach() for layer in layers for matrix in (layer.out, layer.gate, layer.down)]
    matrices = [torch.randn_like(matrix) for matrix in (*queries_keys_values, *others)]
    assert counted(lambda: [orthogonal(matrix) for matrix in matrices]) == step_flops(CONFIGS[name])


def test_copies_of_a_watched_network_are_counted_too():
    meter, model = Meter(), Solver(CONFIGS["tiny"])
    meter.watch(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin(a_batch(2, 4), twin.mean_tokens.repeat(2, 1, 1))
    twin(a_batch(3, 6), twin.mean_tokens.repeat(3, 1, 1))
    assert meter.to_json() == {"trained": {"6": 3}, "read": {"4": 2}, "steps": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    write_checkpoint(path, CONFIGS["tiny"], Solver(CONFIGS["tiny"]).state_dict())
    return path


@pytest.mark.usefixtures("no_rules")
@pytest.mark.parametrize("muon", [True, False])
def test_a_solve_accounts_for_the_work_of_every_hypothesis_and_view(checkpoint, monkeypatch, muon):
    monkeypatch.setattr(train, "CPU", replace(train.CPU, muon=muon))
    metrics = solve(TASK, replace(QUICK, second_seed=False), checkpoint).metrics
    work, steps = metrics["work"], metrics["steps"] + sum(r["steps"] for r in metrics["rejected"])
    assert work["steps"] == steps
    assert sum(work["read"].values()) == sum(metrics["views"])
    assert sum(work["trained"].values()) > metrics["samples"], "the rejected hypothesis trained as well"
    assert metrics["flops"] == sum(
        [
            *(n * training_flops(CONFIGS["tiny"], int(half)) for half, n in work["trained"].items()),
            *(n * reading_flops(CONFIGS["tiny"], int(half)) for half, n in work["read"].items()),
            muon * steps * step_flops(CONFIGS["tiny"]),
        ]
    )


def test_without_adapting_the_pretrained_network_answers_alone(checkpoint):
    found = solve(TASK, SolveBudget(seconds=60, adapt=False), checkpoint)
    metrics = found.metrics
    assert (metrics["steps"], metrics["samples"], metrics["work"]["trained"]) == (0, 0, {})
    assert (metrics["stopped_by"], metrics["demo_fit"]) == ("unadapted", None)
    assert min(metrics["views"]) >= 96
    assert all(first != second for first, second in found.attempts)
    assert predict(TASK, found.adapted, found.adapted_metadata) == found.attempts


def test_without_adapting_no_weight_moves(checkpoint):
    found = solve(TASK, SolveBudget(seconds=60, adapt=False), checkpoint)
    before = read_checkpoint(checkpoint).weights
    assert all(torch.equal(found.adapted[key], before[key]) for key in before)


@pytest.fixture(scope="module")
def whole(checkpoint):
    """The account of the same solve without an interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reasoning, "reason", nothing)
        return solve(TASK, QUICK, checkpoint).metrics


# 4 steps of the hypothesis that is rejected, 6 of the next, 12 calls for views; then the second seed's.
@pytest.mark.parametrize("moment", [("point", 3), ("adapt", 3), ("adapt", 9), ("decode", 5), ("adapt", 14)])
@pytest.mark.usefixtures("no_rules")
def test_an_interruption_changes_nothing_in_the_account(checkpoint, whole, tmp_path, moment):
    phases = []

    def progress(*, phase, fraction, loss):
        phases.append(phase)

    def enough():
        return (phases[-1], phases.count(phases[-1])) == moment if phases else False

    keep = tmp_path / "state"
    with pytest.raises(Interrupted):
        solve(TASK, QUICK, checkpoint, progress=progress, should_stop=enough, keep=keep)
    resumed = solve(TASK, QUICK, checkpoint, keep=keep).metrics
    assert (resumed["work"], resumed["flops"]) == (whole["work"], whole["flops"])

"""Every way to execute a step computes the same step."""

from dataclasses import fields

import pytest
import torch

from gpu_runner.solver.canvas import PairStore, Placement, draw
from gpu_runner.solver.execution import CHOICES, Execution
from gpu_runner.solver.model import CONFIGS, Solver, convolved, shifted
from gpu_runner.solver.optim import Optimiser
from gpu_runner.solver.precision import Precision
from gpu_runner.solver.stepping import EagerStep


def test_each_choice_is_a_field_and_comes_back_from_its_name():
    assert [field.name for field in fields(Execution)] == list(CHOICES)
    for name in CHOICES:
        assert str(Execution.parse(name)) == name
    assert str(Execution.parse("narrow,graphs")) == "graphs,narrow"
    assert Execution.parse(str(Execution())) == Execution()
    with pytest.raises(ValueError, match=r"called 'grahps'; there are graphs, shifts"):
        Execution.parse("grahps")


def test_graphs_are_usual_on_a_gpu_only():
    assert Execution.usual("cuda:1") == Execution(graphs=True)
    assert Execution.usual("cpu") == Execution()


def batch_of():
    """Two samples, of one the input box hidden and of the other the output box."""
    store = PairStore.from_grids([([[1, 2, 3], [4, 5, 6]], [[6], [5]]), ([[7]], [[8, 9, 0]])])
    two = torch.arange(2)
    at = Placement(
        two, 3 * two, torch.arange(10).repeat(2, 1), 1 + two, two[:, None].repeat(1, 2), torch.eye(2)
    )
    return draw(store, at, 4)


def stepped(execution, precision):
    """Loss, answers and weights after two steps."""
    torch.manual_seed(0)
    model = Solver(CONFIGS["tiny"])
    for layer in model.layers:  # begin at zero: nothing behind them would be seen
        torch.nn.init.normal_(layer.out, std=0.1)
        torch.nn.init.normal_(layer.down, std=0.1)
    tokens = torch.nn.Parameter(model.mean_tokens.repeat(3, 1, 1))
    model.execute(execution)
    step = EagerStep(
        model, tokens, Optimiser(model, tokens, rate=1e-3, token_rate=1e-3, muon=False), precision
    )
    told = [step(batch_of(), torch.tensor([2, 0]), 1.0)[0] for _ in range(2)]
    return torch.stack(told), [weight.detach() for weight in (*model.parameters(), tokens)]


@pytest.mark.parametrize("name", ["shifts", "one_hot", "narrow", "shifts,one_hot,narrow"])
def test_a_step_is_the_same_however_it_is_executed(name):
    fp32 = Precision(torch.float32, "cpu")
    losses, weights = stepped(Execution(), fp32)
    again, others = stepped(Execution.parse(name), fp32)
    assert torch.allclose(losses, again, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(weights, others, strict=True))


def test_narrow_keeps_the_residual_in_autocasts_type():
    seen = []
    model = Solver(CONFIGS["tiny"])
    model.execute(Execution(narrow=True))
    model.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(batch_of(), model.mean_tokens.repeat(2, 1, 1))
    assert set(seen) == {torch.bfloat16}


def test_narrow_steps_in_bf16_come_close_to_fp32():
    losses, _ = stepped(Execution(), Precision(torch.float32, "cpu"))
    again, _ = stepped(Execution.parse("narrow,one_hot,shifts"), Precision(torch.bfloat16, "cpu"))
    assert torch.allclose(losses, again, rtol=0.02)


@pytest.mark.parametrize("tasks", [0, 2])
def test_nine_shifts_are_the_convolution_for_one_kernel_or_one_a_task(tasks):
    torch.manual_seed(0)
    image = torch.randn(4, 5, 5, 6)
    kernel = torch.randn(*([tasks] if tasks else []), 6, 1, 3, 3)
    expected = convolved(image.permute(0, 3, 1, 2), kernel).permute(0, 2, 3, 1)
    assert torch.allclose(shifted(image, kernel), expected, atol=1e-5)

"""Tasks that are adapted together get what they would get alone."""

import pytest
import torch

from gpu_runner.solver.canvas import Batch, PairStore, Placement, draw
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.objective import loss
from gpu_runner.solver.portfolio import hypothesis
from gpu_runner.solver.precision import Precision
from gpu_runner.solver.stacking import Stack, adapt_stacked, bytes_per_task, tasks_that_fit
from gpu_runner.solver.task import Task
from gpu_runner.solver.train import Adaptation, Recipe

SMALL = [{"input": [[1, 2], [0, 3]], "output": [[3, 9]]}, {"input": [[5, 0], [4, 4]], "output": [[9, 5]]}]
WIDE = {"input": [[5] * 9] * 3, "output": [[9, 5]]}  # on a larger canvas
TASKS = [
    Task.from_json({"train": train, "test": [{"input": [[7, 0], [1, 6]]}]})
    for train in (SMALL, [SMALL[0], WIDE], [{"input": [[4]], "output": [[4]]}])
]
RECIPE = Recipe(2, 2, 4000, 120, 2, 4, rate=2e-3, token_rate=1e-2, least_samples=40, window=16)
ENDLESS = 1e9


def adaptation(n, *, max_steps=14, names=("specific", "specific", "exchangeable")):
    torch.manual_seed(n)
    task = TASKS[n]
    chosen = hypothesis(names[n], task, dihedrals=2, colours=2 + n, seed=n)
    return Adaptation(
        Solver(CONFIGS["tiny"]), task, chosen, RECIPE,
        seed=n, device="cpu", max_steps=max_steps, seconds=ENDLESS,
    )  # fmt: skip


def alone(under_way):
    return under_way.finish(lambda: ENDLESS, lambda *_: None)


def same(one, two, tolerance=2e-4):
    mine = [*one.model.state_dict().values(), one.tokens]
    theirs = [*two.model.state_dict().values(), two.tokens]
    return all(torch.allclose(a, b, atol=tolerance) for a, b in zip(mine, theirs, strict=True))


def account(found):
    return found.steps, found.samples, found.stopped_by, found.demo_fit


def test_each_task_of_a_stack_gets_the_numbers_it_gets_alone():
    """Three tasks with different numbers of steps, views and canvases."""
    steps = (14, 9, 12)
    expected = [alone(adaptation(n, max_steps=most)) for n, most in enumerate(steps)]
    found = adapt_stacked([adaptation(n, max_steps=most) for n, most in enumerate(steps)], lambda: ENDLESS)
    for mine, theirs in zip(found, expected, strict=True):
        assert account(mine) == account(theirs)
        assert same(mine, theirs)
        assert [s for s, _ in mine.loss_curve] == [s for s, _ in theirs.loss_curve]
        losses = [value for _, value in theirs.loss_curve]
        assert [value for _, value in mine.loss_curve] == pytest.approx(losses, abs=1e-3)
        assert not mine.model.training


def test_a_task_that_fits_stops_while_the_others_go_on():
    """The last task copies one cell: it is fitted in a few dozen steps."""
    expected = alone(adaptation(2, max_steps=200))
    short = adaptation(0, max_steps=expected.steps + 5)
    stacked = [short, adaptation(2, max_steps=200)]
    found = adapt_stacked(stacked, lambda: ENDLESS)
    assert found[1].stopped_by == expected.stopped_by == "fit"
    assert found[0].steps == expected.steps + 5
    assert abs(found[1].steps - expected.steps) <= 8  # sums are ordered differently: a sample may tip


def test_a_stack_that_is_interrupted_leaves_each_task_where_it_was():
    expected = [alone(adaptation(n)) for n in (0, 1)]
    stacked = [adaptation(n) for n in (0, 1)]

    def stop(step, of, value):
        if step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt_stacked(stacked, lambda: ENDLESS, stop)
    assert [each.result.steps for each in stacked] == [6, 6]
    assert same(alone(stacked[0]), expected[0])
    assert same(adapt_stacked(stacked[1:], lambda: ENDLESS)[0], expected[1])


def test_a_deadline_ends_all_of_them():
    left = iter([5.0] * 4 + [0.0] * 9)
    found = adapt_stacked([adaptation(n) for n in (0, 2)], lambda: next(left))
    assert [(each.steps, each.stopped_by) for each in found] == [(4, "deadline")] * 2


def test_a_task_without_finite_gradients_ends_and_harms_nobody():
    expected = alone(adaptation(0))
    sick, well = adaptation(1), adaptation(0)
    with torch.no_grad():
        sick.tokens[:] = float("nan")
    before = [p.detach().clone() for p in sick.result.model.parameters()]
    found = adapt_stacked([sick, well], lambda: ENDLESS)
    assert found[0].stopped_by == "diverged"
    assert all(torch.equal(a, b) for a, b in zip(before, sick.result.model.parameters(), strict=True))
    assert account(found[1]) == account(expected)
    assert same(found[1], expected)


def test_in_half_precision_each_task_has_its_own_loss_scale():
    stacked = [adaptation(n) for n in (0, 2)]
    for each, scale in zip(stacked, (2.0**40, 2.0**10), strict=True):
        each.precision = Precision(torch.float16, "cpu", scale=scale)
    found = adapt_stacked(stacked, lambda: ENDLESS)
    assert stacked[0].precision.scale < 2.0**40
    assert stacked[1].precision.scale == 2.0**10
    assert stacked[1].precision.good_steps == found[1].steps
    assert same(found[1], alone(adaptation(2)), tolerance=0.05)


class Full:
    """A device with room for `most` samples at once."""

    def __init__(self, stacked, most):
        self.most, self.refused = most, 0
        stacked[0].result.model.register_forward_pre_hook(self.look)

    def look(self, model, given):
        if len(given[0].cells) > self.most:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_without_room_for_all_tasks_the_stack_is_split_and_the_answers_are_the_same(caplog):
    expected = [alone(adaptation(n, max_steps=5)) for n in (0, 1)]
    stacked = [adaptation(n, max_steps=5) for n in (0, 1)]
    full = Full(stacked, 4)
    found = adapt_stacked(stacked, lambda: ENDLESS)
    assert full.refused == 1
    assert all(same(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
    assert "no room on the device for 2 tasks at once" in caplog.text


def test_without_room_for_one_task_its_batch_is_halved():
    stacked = [adaptation(0, max_steps=6) for _ in range(2)]
    full = Full(stacked, 2)
    found = adapt_stacked(stacked, lambda: ENDLESS)
    assert [each.batch_limit for each in found] == [2, 2]
    assert [each.steps for each in found] == [6, 6]
    full.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        adapt_stacked([*stacked[:1], adaptation(0)], lambda: ENDLESS)


def test_networks_of_two_configurations_are_not_stacked():
    other = adaptation(1)
    other.result.model = Solver(CONFIGS["xs"])
    with pytest.raises(ValueError, match="one configuration"):
        Stack([adaptation(0), other])


def kept_bytes(config, half, batch):
    """What torch keeps of a forward pass for the way back, each storage once."""
    model = Solver(config)
    grid = [[1] * (2 * half - 1)] * 2
    store = PairStore.from_grids([(grid, grid)])
    zero = torch.zeros(batch, dtype=torch.int64)
    at = Placement(
        zero, zero, torch.arange(10).repeat(batch, 1), zero + 1,
        zero[:, None].repeat(1, 2), torch.ones(batch, 2),
    )  # fmt: skip
    given: Batch = draw(store, at, half)
    tokens = model.mean_tokens.repeat(batch, 1, 1).requires_grad_()
    seen, weights = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(model(given, tokens), given)
        return sum(seen.values())


@pytest.mark.parametrize(("name", "half", "batch"), [("xs", 6, 2), ("xs", 12, 1), ("m", 8, 1)])
def test_the_memory_of_a_task_is_estimated_a_little_above_what_torch_keeps(name, half, batch):
    config = CONFIGS[name]
    per_sample = bytes_per_task(config, half=half, batch=batch, views=1)
    per_sample -= bytes_per_task(config, half=half, batch=0, views=1)
    kept = kept_bytes(config, half, batch)
    assert kept < per_sample < 1.6 * kept


def test_as_many_tasks_are_stacked_as_the_free_memory_holds():
    shape = {"half": 16, "batch": 16, "views": 64}
    one = bytes_per_task(CONFIGS["xs"], **shape)
    assert [tasks_that_fit(int(n * one / 0.8) + 9, CONFIGS["xs"], **shape) for n in (0, 1, 2, 7)] == [
        1,
        1,
        2,
        7,
    ]
    assert tasks_that_fit(15 * 2**30, CONFIGS["xs"], half=32, batch=16, views=64) >= 1
    sizes = [
        tasks_that_fit(15 * 2**30, CONFIGS["xs"], half=half, batch=16, views=64) for half in (4, 8, 16, 32)
    ]
    assert sizes == sorted(sizes, reverse=True)

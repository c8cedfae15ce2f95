"""A step is the same step on static buffers, left on the device, in half precision; a bad one is skipped."""

import logging
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_runner import solver
from gpu_runner.solver.canvas import Batch, PairStore, Placement, draw
from gpu_runner.solver.decode import decode
from gpu_runner.solver.flops import Meter
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.optim import Optimiser
from gpu_runner.solver.portfolio import hypothesis
from gpu_runner.solver.precision import Precision, dtype_for, dtype_on_cpu
from gpu_runner.solver.precision import multiplies_bf16 as asks_the_cpu
from gpu_runner.solver.stepping import REHEARSALS, EagerStep, GraphedSteps
from gpu_runner.solver.task import Task
from gpu_runner.solver.train import Adaptation, Demonstrations, Recipe
from gpu_runner.solver.weights import build, read_checkpoint

MODELS = Path(solver.__file__).parents[1] / "models"

TASK = Task.from_json(
    {
        "train": [
            {"input": [[1, 2], [0, 3]], "output": [[3, 9]]},
            {"input": [[5] * 9] * 3, "output": [[9, 5]]},  # on a larger canvas
        ],
        "test": [{"input": [[7, 0], [1, 6]]}],
    }
)
RECIPE = Recipe(2, 2, 200, 200, 2, 6, rate=2e-3, token_rate=1e-2, least_samples=10**6)
FP32 = Precision(torch.float32, "cpu")


def adaptation(*, max_steps=20, recipe=RECIPE):
    torch.manual_seed(0)
    chosen = hypothesis("specific", TASK, dihedrals=2, colours=2, seed=0)
    model = Solver(CONFIGS["tiny"])
    return Adaptation(model, TASK, chosen, recipe, seed=0, device="cpu", max_steps=max_steps, seconds=1e9)


def finish(under_way, check=lambda *_: None):
    return under_way.finish(lambda: 1e9, check)


def weights(found):
    return [*found.model.parameters(), found.tokens]


def close(found, expected, tolerance=1e-5):
    return all(
        torch.allclose(a, b, atol=tolerance) for a, b in zip(weights(found), weights(expected), strict=True)
    )


def step_of(*, on_device=False, precision=FP32):
    torch.manual_seed(0)
    model = Solver(CONFIGS["tiny"])
    tokens = torch.nn.Parameter(model.mean_tokens.repeat(4, 1, 1))
    optimiser = Optimiser(model, tokens, rate=2e-3, token_rate=1e-2, on_device=on_device)
    return EagerStep(model, tokens, optimiser, precision)


def batches(count):
    chosen = hypothesis("specific", TASK, dihedrals=2, colours=2, seed=0)
    supply = Demonstrations(TASK, chosen, RECIPE, 0, "cpu")
    return [supply.batch(6) for _ in range(count)]


def state(step):
    return [p.detach().clone() for p in (*step.model.parameters(), step.tokens)]


def same(one, two, tolerance=1e-5):
    return all(torch.allclose(a, b, atol=tolerance) for a, b in zip(one, two, strict=True))


class Straight:
    """A recorder whose recordings run the step again."""

    def __init__(self):
        self.rehearsed = self.recorded = self.replayed = 0

    def rehearse(self, body):
        self.rehearsed += 1
        return body()

    def record(self, body):
        self.recorded += 1

        def replay():
            self.replayed += 1
            return body()

        return replay


class Refuses(Straight):
    def __init__(self, why):
        super().__init__()
        self.why = why

    def record(self, body):
        raise self.why


def test_steps_on_static_buffers_give_the_numbers_of_eager_steps():
    eager, graphed, recorder = step_of(), step_of(), Straight()
    steps = GraphedSteps(graphed, lambda: recorder)
    given = batches(24)
    for n, (batch, rows) in enumerate(given):
        value, right = eager(batch, rows, min(1.0, n / 5))
        again, right_again = steps(batch, rows, min(1.0, n / 5))
        assert torch.equal(value, again)
        assert torch.equal(right, right_again)
    assert all(torch.equal(a, b) for a, b in zip(state(eager), state(graphed), strict=True))
    shapes = {(batch.cells.shape[1], len(rows)) for batch, rows in given}
    assert len(shapes) == recorder.recorded == 2
    assert recorder.rehearsed == 2 * (REHEARSALS + 1)  # one is what the recording is compared with
    assert recorder.replayed == len(given) - 2 * REHEARSALS


class Unseen(Straight):
    """As a graph: nobody sees the network called while it is replayed."""

    def __init__(self, model):
        super().__init__()
        self.hooks = model._forward_pre_hooks

    def record(self, body):
        def replay():
            hooks = dict(self.hooks)
            self.hooks.clear()
            told = body()
            self.hooks.update(hooks)
            return told

        return replay


def test_replayed_steps_count_as_work():
    """What a recording is compared with is work too: a step for each of two shapes."""
    step, meter = step_of(), Meter()
    meter.watch(step.model)
    steps, given = GraphedSteps(step, lambda: Unseen(step.model)), batches(16)
    for batch, rows in given:
        steps(batch, rows, 1.0)
    assert meter.steps == len(given)
    assert sum(meter.trained.values()) == sum(len(rows) for _, rows in given)


class Wrong(Straight):
    """Recordings that do not do what the step does."""

    def __init__(self, step, how):
        super().__init__()
        self.step, self.how = step, how

    def record(self, body):
        def replay():
            told = body()
            if self.how == "moves back":
                self.step.tokens.data.mul_(2)
            elif self.how == "gives no numbers":
                self.step.tokens.data.fill_(float("nan"))
            return told

        return replay if self.how != "stands still" else lambda: (torch.tensor(0.0), torch.ones(6).bool())


@pytest.mark.parametrize("how", ["moves back", "gives no numbers", "stands still"])
def test_a_recording_that_does_something_else_than_the_step_is_not_believed(how, caplog):
    eager, graphed = step_of(), step_of()
    steps = GraphedSteps(graphed, lambda: Wrong(graphed, how))
    for batch, rows in batches(12):
        eager(batch, rows, 1.0)
        steps(batch, rows, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(state(eager), state(graphed), strict=True))
    assert "otherwise than an eager step" in caplog.text


def test_what_a_step_told_is_not_changed_by_the_next_one():
    steps = GraphedSteps(step_of(), Straight)
    told = [steps(batch, rows, 1.0) for batch, rows in batches(8)]
    kept = [(float(value), right.tolist()) for value, right in told]
    steps(*batches(1)[0], 1.0)
    assert [(float(value), right.tolist()) for value, right in told] == kept


def test_a_step_that_cannot_be_recorded_goes_on_eagerly_and_the_log_says_why(caplog):
    recorder = Refuses(RuntimeError("operation not permitted when stream is capturing"))
    eager, graphed = step_of(), step_of()
    steps = GraphedSteps(graphed, lambda: recorder)
    for batch, rows in batches(20):
        eager(batch, rows, 1.0)
        steps(batch, rows, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(state(eager), state(graphed), strict=True))
    assert caplog.text.count("not permitted when stream is capturing") == 2  # once a shape


def test_a_recording_without_room_is_told_as_no_room():
    steps = GraphedSteps(step_of(), lambda: Refuses(torch.OutOfMemoryError("no room")))
    given = [(batch, rows) for batch, rows in batches(20) if batch.cells.shape[1] == 8]
    for batch, rows in given[:REHEARSALS]:
        steps(batch, rows, 1.0)
    with pytest.raises(torch.OutOfMemoryError):
        steps(*given[REHEARSALS], 1.0)
    steps.forget()
    assert steps.slots == {}


def test_a_step_left_on_the_device_is_the_same_step():
    plain, left = step_of(), step_of(on_device=True)
    for n, (batch, rows) in enumerate(batches(12)):
        plain(batch, rows, min(1.0, n / 5))
        left(batch, rows, min(1.0, n / 5))
    assert same(state(plain), state(left))
    assert int(left.optimiser.skipped) == 0


def spoil(step):
    for p in step.optimiser.all:
        p.grad = torch.ones_like(p)
    step.optimiser.all[3].grad.view(-1)[0] = float("nan")
    step.optimiser.step()


@pytest.mark.parametrize("on_device", [False, True])
def test_gradients_that_are_no_numbers_change_nothing_and_are_counted(on_device):
    bad, good = step_of(on_device=on_device), step_of(on_device=on_device)
    for n, (batch, rows) in enumerate(batches(6)):
        bad(batch, rows, 1.0)
        good(batch, rows, 1.0)
        if n in (2, 3):
            spoil(bad)
            spoil(bad)
            assert int(bad.optimiser.skipped) == 2
    assert int(bad.optimiser.skipped) == 0
    assert all(torch.equal(a, b) for a, b in zip(state(bad), state(good), strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("on_device", [False, True])
def test_half_precision_learns_like_single_precision(on_device, dtype):
    half = step_of(on_device=on_device, precision=Precision(dtype, "cpu"))
    plain = step_of()
    for batch, rows in batches(10):
        last, _ = half(batch, rows, 1.0)
        expected, _ = plain(batch, rows, 1.0)
    assert float(last) == pytest.approx(float(expected), rel=0.05)
    assert all(value.dtype is torch.float32 for value in state(half))


@pytest.mark.parametrize("on_device", [False, True])
def test_an_overflow_skips_the_step_and_halves_the_scale(on_device):
    step = step_of(on_device=on_device, precision=Precision(torch.float16, "cpu", scale=2.0**40))
    (batch, rows), *_ = batches(1)
    before = state(step)
    step(batch, rows, 1.0)
    assert step.precision.scale == 2.0**39
    assert int(step.optimiser.skipped) == 1
    assert all(torch.equal(a, b) for a, b in zip(before, state(step), strict=True))
    for _ in range(40):
        step(batch, rows, 1.0)
    assert int(step.optimiser.skipped) == 0
    assert not same(before, state(step))


def test_recorded_steps_of_all_shapes_share_one_loss_scale_even_after_one_was_cut_short():
    step = step_of(on_device=True, precision=Precision(torch.float16, "cpu"))
    steps = GraphedSteps(step, Straight)
    for n, (batch, rows) in enumerate(batches(12)):
        steps(batch, rows, 1.0)
        if n == 0:
            scale = step.precision.scaler._scale
        if n == 6:
            step.precision.scaler.unscale_(step.optimiser)
            step.forget()
    assert step.precision.scaler._scale is scale
    assert step.precision.good_steps == 12


def test_the_loss_scale_is_kept_and_taken_up():
    one, two = (Precision(torch.float16, "cpu") for _ in range(2))
    one.take_up(512.0, 7)
    two.take_up(one.scale, one.good_steps)
    two.forget()
    assert (two.scale, two.good_steps) == (512.0, 7)
    FP32.take_up(512.0, 7)
    assert (FP32.scale, FP32.good_steps) == (1.0, 0)


def test_the_type_is_bf16_where_the_card_has_it():
    assert [dtype_for(c) for c in ((7, 0), (7, 5), (8, 0), (8, 6), (9, 0))] == [
        torch.float16, torch.float16, torch.bfloat16, torch.bfloat16, torch.bfloat16,
    ]  # fmt: skip
    assert dtype_on_cpu(bf16=True) is torch.bfloat16
    assert dtype_on_cpu(bf16=False) is torch.float32
    assert Precision.of("cpu").dtype is torch.float32


def test_a_cpu_that_multiplies_bf16_computes_in_it(bf16):
    assert Precision.of("cpu").dtype is torch.bfloat16


def test_a_torch_that_cannot_tell_counts_as_a_cpu_without_bf16(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert not asks_the_cpu()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert asks_the_cpu()


def test_training_that_gives_no_numbers_any_more_ends_with_the_weights_it_had(caplog):
    under_way = adaptation()
    ends = []

    def check(step, of, value):
        if step == 4:
            ends.append([w.detach().clone() for w in weights(under_way.result)])
            under_way.result.model.register_forward_hook(lambda *told: told[-1] * float("nan"))

    found = finish(under_way, check)
    assert found.stopped_by == "diverged"
    assert 4 < found.steps < 20
    assert all(torch.equal(a, b) for a, b in zip(ends[0], weights(found), strict=True))
    assert all(value == value for _, value in found.loss_curve)
    assert "no finite gradients" in caplog.text


def test_one_bad_step_is_survived():
    under_way, seen = adaptation(), []

    def spoil_once(*told):
        seen.append(1)
        return told[-1] * float("nan") if len(seen) == 5 else told[-1]

    under_way.result.model.register_forward_hook(spoil_once)
    found = finish(under_way)
    assert (found.stopped_by, found.steps) == ("samples", 20)
    assert all(bool(w.isfinite().all()) for w in weights(found))


class Full:
    """A device without room for more than `most` samples, noticed in the forward or in the backward pass."""

    def __init__(self, model, most, *, backward):
        self.most, self.backward, self.refused = most, backward, 0
        model.register_forward_hook(self.look)

    def look(self, model, given, logits):
        if len(logits) <= self.most:
            return logits
        self.refused += 1
        if not self.backward:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Refused.apply(logits)


class Refused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits):
        return logits.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("backward", [False, True])
def test_without_room_the_batch_is_halved_and_nothing_else_changes(backward, caplog):
    recipe = Recipe(2, 2, 200, 10**6, 2, 8, rate=2e-3, token_rate=1e-2, least_samples=10**6)
    under_way = adaptation(recipe=recipe, max_steps=6)
    before = [w.detach().clone() for w in weights(under_way.result)]
    full = Full(under_way.result.model, 2, backward=backward)
    seen = []

    def check(step, of, value):
        seen.append(step)
        assert all(p.grad is None for p in under_way.optimiser.all)

    assert under_way._step(1.0) is None
    assert under_way._step(1.0) is None
    assert all(torch.equal(a, b) for a, b in zip(before, weights(under_way.result), strict=True))
    assert all(p.grad is None for p in under_way.optimiser.all)
    assert under_way.optimiser.adam.state_dict()["state"] == {}
    found = finish(under_way, check)
    assert (full.refused, found.batch_limit, found.batch_size, found.samples) == (2, 2, 2, 12)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert "no room" in caplog.text


def test_a_single_sample_without_room_is_the_end():
    under_way = adaptation(recipe=Recipe(2, 2, 50, 50, 1, 1, rate=1e-3, token_rate=1e-2))
    Full(under_way.result.model, 0, backward=False)
    with pytest.raises(torch.OutOfMemoryError):
        finish(under_way)


def test_views_without_room_are_read_in_halves_to_the_same_votes():
    under_way = adaptation()
    result = under_way.result

    def ballots():
        return decode(result.model, under_way.tokens, result.chosen, TASK, seed=0, device="cpu", batch_size=8)

    expected = ballots()
    full = Full(result.model, 3, backward=False)
    found = ballots()
    assert full.refused > 0
    assert [(b.views, b.votes) for b in found] == [(b.views, b.votes) for b in expected]
    full.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        ballots()


def test_a_gpus_adaptation_steps_on_buffers_and_answers_as_a_cpus(caplog):
    """All of the path but the capture itself: device-side decisions, graphed steps, the same answers."""
    plain, graphed = adaptation(), adaptation()
    graphed.optimiser = Optimiser(
        graphed.result.model, graphed.tokens, rate=2e-3, token_rate=1e-2, on_device=True
    )
    step = EagerStep(graphed.result.model, graphed.tokens, graphed.optimiser, FP32)
    graphed.step = GraphedSteps(step, Straight)
    with caplog.at_level(logging.WARNING):
        assert close(finish(plain), finish(graphed))
    assert caplog.text == ""


def test_every_shape_attention_sees_has_heads_of_a_multiple_of_eight_and_no_mask(monkeypatch):
    seen = []
    real = torch.nn.functional.scaled_dot_product_attention

    def look(q, k, v, *args, **more):
        seen.append((q.shape[-1], args, more))
        return real(q, k, v, *args, **more)

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", look)
    (batch, rows), *_ = batches(1)
    for config in CONFIGS.values():
        model = Solver(config)
        model(Batch(*(getattr(batch, name) for name in Batch.__slots__)), model.mean_tokens[None][0 * rows])
    assert seen
    assert all(head % 8 == 0 and args == () and more == {} for head, args, more in seen)


class StandsStill(torch.optim.SGD):
    """In AdamW's place on a device that its fused step does not know."""

    def __init__(self, groups, **more):
        super().__init__(groups)

    def step(self):
        pass


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nothing_in_a_recorded_step_reads_a_number_or_touches_the_host(monkeypatch, dtype):
    """Tensors on "meta" have no numbers: whatever would wait for a GPU cannot work on them. AdamW's own
    kernel is left out."""
    monkeypatch.setattr("torch.optim.AdamW", StandsStill)
    device = "meta"
    pairs = PairStore(
        torch.zeros(3, 2, 5, 5, dtype=torch.uint8, device=device),
        torch.ones(3, 2, 2, dtype=torch.int64, device=device),
    )
    zero = torch.zeros(4, dtype=torch.int64, device=device)
    colours = torch.arange(10, device=device).repeat(4, 1)
    box_on = torch.ones(4, 2, device=device)
    batch = draw(pairs, Placement(zero, zero, colours, zero + 1, torch.stack([zero, zero], 1), box_on), 8)
    model = Solver(CONFIGS["tiny"]).to(device)
    tokens = torch.nn.Parameter(torch.zeros(6, 4, 32, device=device))
    optimiser = Optimiser(model, tokens, rate=1e-3, token_rate=1e-2, on_device=True)
    step = EagerStep(model, tokens, optimiser, Precision(dtype, "cpu"))
    step(batch, zero, 0.5)  # what is made once is made now
    optimiser.set_rates(0.5)
    with HostWatch() as watch:
        value, fits = step.at_set_rates(batch, zero)
    assert (value.device.type, fits.device.type) == ("meta", "meta")
    assert watch.seen == set()


class HostWatch(TorchDispatchMode):
    """Operators that take or make tensors on the host."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        made = operator(*args, **(kwargs or {}))
        for tensor in (*args, made):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
                self.seen.add(operator.overloadpacket.__name__)
        return made


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_a_shipped_checkpoint_reads_in_half_precision_as_in_single(path):
    known = read_checkpoint(path)
    model = build(known.config, known.weights)
    for batch, rows in batches(4):
        tokens = model.mean_tokens.expand(len(rows), -1, -1)
        with torch.no_grad():
            plain = model(batch, tokens)
            with Precision(torch.float16, "cpu").autocast():
                half = model(batch, tokens)
        assert bool(half.isfinite().all())
        assert float((plain - half).abs().max()) < 0.1
        assert float((plain.argmax(-1) == half.argmax(-1)).float().mean()) > 0.99

"""The network's promises, on a tiny one."""

import pytest
import torch

from gpu_runner.solver.canvas import PairStore, Placement, draw
from gpu_runner.solver.errors import BadWeights
from gpu_runner.solver.model import CONFIGS, ModelConfig, Solver, count_parameters
from gpu_runner.solver.objective import exact, loss
from gpu_runner.solver.optim import Optimiser, muon_moves, orthogonal
from gpu_runner.solver.weights import read_checkpoint, write_checkpoint


def batch_of(offset: int = 0, box: float = 1.0):
    store = PairStore.from_grids([([[1, 2], [3, 4]], [[4, 3], [2, 1]])])
    zero = torch.tensor([0])
    at = Placement(
        zero, zero, torch.arange(10)[None], zero + 2, torch.full((1, 2), offset), torch.full((1, 2), box)
    )
    return draw(store, at, 6)


@pytest.fixture
def model():
    torch.manual_seed(0)
    found = Solver(CONFIGS["tiny"])
    for name, p in found.named_parameters():
        if name.endswith(("out", "down")):
            torch.nn.init.normal_(p, std=0.2)
    return found


def test_the_default_network_has_about_three_quarters_of_a_million_parameters():
    assert 0.75e6 < count_parameters(Solver(CONFIGS["xs"])) < 0.8e6


def test_heads_of_an_odd_size_are_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        ModelConfig("odd", width=36, hidden=32, heads=3, layers=1, loops=1)


def test_only_relative_positions_matter_inside(model):
    """Attention sees no absolute place: shifting a drawing shifts the attention's answer.

    The canvas edge itself is felt by the background tokens around, so one layer's attention is compared.
    """
    layer = model.layers[0]
    from gpu_runner.solver.model import rotary

    cos, sin = rotary(6, 16, torch.device("cpu"))
    x = torch.randn(1, 2, 32)
    tokens = torch.zeros(2, 4 + 36, 32)
    tokens[0, [4, 4 + 7]] = x
    tokens[1, [4 + 14, 4 + 21]] = x
    found = layer.attend(tokens, cos, sin)
    assert torch.allclose(found[0, 4], found[1, 4 + 14], atol=1e-5)


def test_hidden_boxes_leave_no_trace(model):
    shown, hidden = batch_of(), batch_of(box=0.0)
    with torch.no_grad():
        before = model(hidden, model.mean_tokens[None])
        assert not torch.allclose(model(shown, model.mean_tokens[None]), before)
        model.box.mul_(3)
        assert torch.equal(model(hidden, model.mean_tokens[None]), before)


def test_an_answer_is_exact_only_when_every_cell_and_an_unknown_frame_are_right():
    batch, hidden = batch_of(), batch_of(box=0.0)
    perfect = torch.nn.functional.one_hot(batch.target, 12).float()
    assert exact(perfect, batch).all()
    assert exact(perfect, hidden).all()
    frameless = perfect.clone()
    frameless[0, 4, 0] = torch.nn.functional.one_hot(torch.tensor(10), 12)
    assert exact(frameless, batch).all()
    assert not exact(frameless, hidden).any()
    wrong = perfect.clone()
    wrong[0, 0, 0] = torch.nn.functional.one_hot(torch.tensor(9), 12)
    assert not exact(wrong, batch).any()


def test_the_optimiser_lowers_the_loss(model):
    batch, tokens = batch_of(), torch.nn.Parameter(model.mean_tokens.clone()[None])
    optimiser = Optimiser(model, tokens, rate=3e-3, token_rate=1e-2)
    losses = []
    for _ in range(40):
        value = loss(model(batch, tokens), batch)
        value.backward()
        optimiser.set_rates(1.0)
        optimiser.step()
        losses.append(value.item())
    assert losses[-1] < 0.5 * losses[0]


def test_orthogonalised_matrices_have_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((8, 24), (24, 8)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert 0.5 < float(values.min()) <= float(values.max()) < 1.4


MATRICES = ((24, 8), (8, 8), (8, 8), (20, 8), (8, 10), (2, 24, 8))


def test_matrices_that_are_stacked_move_as_each_does_alone():
    torch.manual_seed(0)
    directions = [torch.randn(shape) for shape in MATRICES]
    together = muon_moves(directions)
    for direction, move in zip(directions, together, strict=True):
        parts = direction.chunk(3 if direction.shape[-2] == 3 * direction.shape[-1] else 1, -2)
        alone = [orthogonal(part) * 0.2 * max(part.shape[-2:]) ** 0.5 for part in parts]
        assert torch.allclose(move, torch.cat(alone, -2), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_products_in_half_precision_keep_the_direction_even_of_tiny_gradients(dtype):
    torch.manual_seed(0)
    directions = [1e-9 * torch.randn(shape) for shape in MATRICES]  # below what fp16 can tell from zero
    for full, half in zip(muon_moves(directions), muon_moves(directions, dtype), strict=True):
        assert half.dtype is torch.float32
        assert torch.cosine_similarity(full.flatten(), half.flatten(), dim=0) > 0.99


def test_the_network_runs_in_bf16_close_to_fp32(model):
    batch = batch_of()
    with torch.no_grad():
        plain = model(batch, model.mean_tokens[None])
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(batch, model.mean_tokens[None])
    assert torch.allclose(plain, rough, atol=0.2)


def test_a_checkpoint_comes_back_in_half_precision(tmp_path, model):
    path = tmp_path / "deep" / "tiny.safetensors"
    digest = write_checkpoint(path, CONFIGS["tiny"], model.state_dict())
    found = read_checkpoint(path)
    assert (found.config.name, found.sha256) == ("tiny", digest)
    assert all(torch.equal(v, model.state_dict()[k].half().float()) for k, v in found.weights.items())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_torn_or_foreign_checkpoint_is_refused(tmp_path, model):
    path = tmp_path / "a.safetensors"
    with pytest.raises(BadWeights, match="cannot read"):
        read_checkpoint(path)
    write_checkpoint(path, CONFIGS["xs"], model.state_dict())
    with pytest.raises(BadWeights, match="do not fit"):
        read_checkpoint(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadWeights, match="cannot read"):
        read_checkpoint(path)
    sick = {k: v * float("nan") for k, v in model.state_dict().items()}
    write_checkpoint(path, CONFIGS["tiny"], sick)
    with pytest.raises(BadWeights, match="not finite"):
        read_checkpoint(path)

"""One thing changed at a time: what an arm changes, what is kept, and how arms are compared."""

import io
import json
import lzma
from dataclasses import replace

import numpy as np
import pytest
import torch

from arcspot.domain import tasks
from bench import ablate, ablation
from bench.ablation import Pretrained, Row, arms, measured, pretrained, settings_of, suits
from gpu_runner.solver.corpus import held_out_of, load_corpus
from gpu_runner.solver.model import CONFIGS, TASK_TOKENS, Solver
from gpu_runner.solver.task import Task

GRIDS = ([[1, 2], [3, 4]], [[5, 0], [6, 7]], [[8, 8], [9, 1]])
NAMES = ("aa", "bb", "cc", "dd")


def task_json(size=None):
    pairs = [{"input": grid, "output": [row[::-1] for row in grid]} for grid in GRIDS]
    if size is not None:
        pairs[2] = {"input": [[1] * size], "output": [[1] * size]}
    return {"train": pairs[:2], "test": pairs[2:]}


def task_of(name="aa", **of):
    return tasks.read_task_file(f"{name}.json", json.dumps(task_json(**of)).encode()).tasks[0]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "training").mkdir(parents=True)
    for name in NAMES:
        (folder / "training" / f"{name}.json").write_text(json.dumps(task_json()))
    raw = io.BytesIO()
    cells, shapes = np.arange(6, dtype=np.uint8), np.array([[1, 3], [1, 3]], np.uint8)
    np.savez(raw, ids=np.array([NAMES[0]]), counts=np.array([1]), shapes=shapes, cells=cells)
    (folder / "rearc.npz.xz").write_bytes(lzma.compress(raw.getvalue()))
    return folder


@pytest.fixture
def tiny(monkeypatch):
    """Every checkpoint a tiny one."""
    one = torch.get_num_threads()
    torch.set_num_threads(1)
    known = {
        name: replace(each, config="tiny", mix={4: 1.0}) for name, each in ablation.checkpoints().items()
    }
    for module in (ablate, ablation):
        monkeypatch.setattr(module, "checkpoints", lambda: known)
    yield
    torch.set_num_threads(one)


def call(data, work, only, *more):
    common = ["--hold-out", "2", "--samples", "16", "--tflop", "0.00001", "--batch-tokens", "40"]
    ablate.main([str(data), "--work", str(work), "--only", only, *common, *more])


def test_arms_are_measured_on_held_out_tasks_and_go_on_from_what_is_kept(
    tiny, data, tmp_path, capsys, monkeypatch
):
    work = tmp_path / "work"
    call(data, work, "base,adamw", "--seeds", "0,1")
    shown = capsys.readouterr().out
    assert [line.split("|")[1:4] for line in shown.splitlines()[2:4]] == [
        [" base ", " – ", " 4 "],
        [" adamw ", " E7: AdamW on the matrices as well ", " 4 "],
    ]
    (file,) = work.glob("base-*.json")
    rows = json.loads(file.read_text())["rows"]
    assert {row["task"] for row in rows} == set(held_out_of(NAMES, 2))
    assert {(row["seed"], row["samples"]) for row in rows} == {(0, 32), (1, 32)}  # one batch, of 32
    (checkpoint,) = work.glob("*.safetensors")
    before = checkpoint.stat().st_mtime_ns

    def again(*_, **__):
        raise AssertionError("measured although it was kept")

    monkeypatch.setattr(ablate, "measured", again)
    call(data, work, "base,adamw", "--seeds", "0,1")
    assert capsys.readouterr().out == shown
    with pytest.raises(AssertionError, match="although"):
        call(data, work, "base", "--seeds", "2")
    assert checkpoint.stat().st_mtime_ns == before


def test_bad_orders_are_told(data, tmp_path, capsys):
    with pytest.raises(SystemExit):
        call(data, tmp_path, "base,nonsense")
    assert "no arm nonsense; there are base, xs3" in capsys.readouterr().err
    (data / "rearc.npz.xz").unlink()
    with pytest.raises(SystemExit, match="rearc"):
        call(data, tmp_path, "base")
    call(data, tmp_path, "base", "--table")
    assert capsys.readouterr().out == "Nothing of the base arm is kept yet.\n"


def test_a_checkpoint_without_boxes_never_learns_any(tiny, data):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    wanted = Pretrained("tiny", {4: 1.0}, plain_share=1.0)
    settings = settings_of(wanted, tflop=3e-5, batch_tokens=40, seed=0)
    told = []
    model, tokens = pretrained(settings, corpus, boxes=False, tell=lambda *each: told.append(each))
    assert len(told) > 1
    assert tokens.shape == (len(NAMES), TASK_TOKENS, CONFIGS["tiny"].width)
    assert not model.box.any()
    assert not model.box.requires_grad
    learned, _ = pretrained(settings, corpus, boxes=True, tell=lambda *each: None)
    assert learned.box.any()
    arm = arms(16)["no-boxes"]
    adapting = ablation._adaptation(model, tokens, given(), arm, 0)
    assert not adapting.finish(lambda: 1.0, lambda *_: None).model.box.any()


def given():
    return Task.from_json(tasks.without_solutions(tasks.to_json(task_of())))


def moved(arm):
    """Names of the weights that an adaptation moves."""
    torch.manual_seed(0)
    model = Solver(CONFIGS["tiny"])
    for name, weight in model.named_parameters():
        if name.endswith(("out", "down")):  # zero at first: nothing before them would have a gradient
            torch.nn.init.normal_(weight, std=0.1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    tokens = torch.randn(2, TASK_TOKENS, CONFIGS["tiny"].width)
    adapted = ablation._adaptation(model, tokens, given(), arm, 0).finish(lambda: 1.0, lambda *_: None)
    return {
        name.rsplit(".", 1)[-1]
        for name, weight in adapted.model.named_parameters()
        if not torch.equal(weight, before[name])
    }


def test_an_arm_moves_only_its_weights():
    known = arms(32)  # one step
    norms = {"norm", "norm_attention", "norm_gate", "gain", "step"}
    assert moved(known["tokens"]) == norms
    assert moved(known["base"]) == norms | {"qkv", "out", "gate", "down", "kernel", "cell", "box", "head"}
    assert moved(known["no-attention"]) == moved(known["base"]) - {"qkv", "out"}
    assert moved(known["adamw"]) == moved(known["base"])


def test_each_arm_differs_from_the_base_in_one_thing():
    known = arms(640)
    base = known["base"]
    for name, arm in known.items():
        changed = [
            field
            for field in ("checkpoint", "recipe", "start", "moves", "larger")
            if getattr(arm, field) != getattr(base, field)
        ]
        assert len(changed) == (name != "base"), name
        assert arm.checkpoint in ablation.checkpoints()
    assert known["half-batch"].recipe.batch_size(8) * 2 == base.recipe.batch_size(8)
    assert known["twice-batch"].recipe.batch_size(4) == 2 * base.recipe.batch_size(4)


def test_the_start_of_the_tokens():
    torch.manual_seed(0)
    model = Solver(CONFIGS["tiny"])
    tokens = torch.randn(3, TASK_TOKENS, CONFIGS["tiny"].width)
    known = arms(16)
    starts = {
        name: ablation._adaptation(model, tokens, given(), known[name], 0).tokens[0].detach()
        for name in ("base", "mean", "random")
    }
    assert any(torch.equal(starts["base"], each) for each in tokens)
    assert torch.equal(starts["mean"], model.mean_tokens)
    assert not any(torch.equal(starts["random"], each) for each in [*tokens, model.mean_tokens])
    larger = ablation._adaptation(model, tokens, given(), known["larger"], 0)
    assert list(larger.supply.by_half) == [6]  # the next after 4


def test_only_small_tasks_of_a_known_size_are_measured_on():
    assert suits(task_of())
    assert suits(task_of(size=15))
    assert not suits(task_of(size=16))
    unlike = task_json()
    unlike["test"][0]["output"] = [[1]]
    assert not suits(tasks.read_task_file("a.json", json.dumps(unlike).encode()).tasks[0])


def test_a_measurement_says_how_likely_the_truth_is():
    torch.manual_seed(0)
    tokens = torch.randn(2, TASK_TOKENS, CONFIGS["tiny"].width)
    row = measured(
        Solver(CONFIGS["tiny"]), tokens, task_of(), arms(32)["base"], seed=0, clock=iter((5.0, 7.5)).__next__
    )
    assert (row.task, row.seed, row.samples, row.steps) == ("aa", 0, 32, 1)
    assert row.nats == pytest.approx(np.log(1 / 12), abs=0.7)  # it has learned nothing yet
    assert 0 <= row.cells <= 1
    assert row.gflop > 0
    assert row.seconds == 2.5
    assert set(row.ranked) == {
        f"{views} {order}" for views in (8, 24, 48, "all") for order in ("votes", "likelihood", "both")
    }


def row(task, seed, score, nats, seconds=1.0):
    return Row(task, seed, score, 0.5, nats, 1.0, 64, 2, 3.0, seconds, {"all both": score, "8 both": 0.0})


def test_arms_are_compared_on_the_tasks_and_seeds_both_have():
    known = {name: arm for name, arm in arms(640).items() if name in ("base", "mean")}
    rows = {
        "base": [
            row("a", 0, 0.0, -1.0),
            row("a", 1, 0.0, -1.0),
            row("b", 0, 1.0, -0.5),
            row("c", 0, 1.0, -0.1),
        ],
        "mean": [
            row("a", 0, 1.0, -0.4, 5.0),
            row("a", 1, 1.0, -0.8),
            row("b", 0, 0.0, -0.9),
            row("d", 0, 1.0, 0.0),
        ],
    }
    lines = ablate.table(rows, known).splitlines()
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    # a: +0.6 and +0.2, so +0.4; b: −0.4
    assert cells[2:6] == ["3", "1", "2", "2, 1"]
    assert cells[6].lstrip("+-") == "0.000 (-0.400 to +0.400)"
    assert cells[8:] == ["1.0", "2.3"]  # (5 + 1 + 1) / 3
    assert lines[-1] == "Answered of 8, all arms, by views and order: all both 5, 8 both 0."
    rows["base"][0].ranked.pop("8 both")
    assert ablate.table(rows, known).splitlines()[-1].endswith("order: all both 5.")

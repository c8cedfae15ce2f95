"""A pretraining run writes a checkpoint and its card, and can be continued."""

import io
import json
import lzma

import numpy as np
import pytest
import torch

from gpu_runner.solver.corpus import load_corpus, pools
from gpu_runner.solver.model import CONFIGS
from gpu_runner.solver.pretrain import Pretraining, Settings, main, rate_factor
from gpu_runner.solver.weights import read_checkpoint, sha256_of


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "training").mkdir(parents=True)
    small, large = [[1, 2], [3, 4]], [[5] * 20]
    for name, grid in (("aa", small), ("bb", large)):
        pair = {"input": grid, "output": grid}
        (folder / "training" / f"{name}.json").write_text(json.dumps({"train": [pair], "test": [pair]}))
    cells = np.arange(6 * 3, dtype=np.uint8) % 10
    shapes = np.array([[1, 3], [1, 3]] * 3, np.uint8)
    raw = io.BytesIO()
    np.savez(raw, ids=np.array(["aa", "zz"]), counts=np.array([2, 1]), shapes=shapes, cells=cells)
    (folder / "rearc.npz.xz").write_bytes(lzma.compress(raw.getvalue()))
    return folder


def test_the_corpus_keeps_known_tasks_that_fit_and_no_test_pair(data):
    corpus = load_corpus(data, per_task=9, longest=15, seed=0)
    assert corpus.task.tolist() == [0, 0, 0]  # one demonstration and two generated pairs of "aa"
    assert {tuple(g) for g in corpus.pairs.cells[1:, 0, 0, :3].tolist()} == {(0, 1, 2), (6, 7, 8)}
    assert {tuple(g) for g in corpus.pairs.cells[1:, 1, 0, :3].tolist()} == {(3, 4, 5), (9, 0, 1)}
    assert corpus.test_task.tolist() == [0]
    assert len(load_corpus(data, per_task=1, longest=15, seed=0).task) == 2


def test_pools_hold_each_pair_once_a_scale_in_its_smallest_bucket(data):
    found = pools(load_corpus(data, per_task=9, longest=30, seed=0))
    assert {key: sorted(pool.pair.tolist()) for key, pool in found.items()} == {
        (4, 1): [0, 2, 3],
        (12, 1): [1],
        (4, 2): [0, 2, 3],
        (24, 2): [1],
    }


def settings(**changes):
    plain = {
        "config": CONFIGS["tiny"], "seconds": 100.0, "decay_seconds": 20.0, "rate": 1e-3, "batch_tokens": 40,
        "mix": {4: 1.0}, "early_loops": 1, "early_share": 0.0, "warmup": 10, "report_seconds": 1e9, "seed": 0,
        "device": "cpu",
    }  # fmt: skip
    return Settings(**(plain | changes))


def test_the_rate_warms_up_stays_and_decays():
    factors = [rate_factor(*at, settings()) for at in ((0, 0), (9, 1), (500, 79), (500, 90), (500, 100))]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])


def test_a_continued_run_takes_the_same_steps_as_one_left_alone(data):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    alone, first, second = (Pretraining(settings(), corpus) for _ in range(3))
    for _ in range(4):
        alone.step(0.0, None)
    for _ in range(2):
        first.step(0.0, None)
    second.load(first.state())
    for _ in range(2):
        second.step(0.0, None)
    assert (second.steps, second.samples) == (alone.steps, alone.samples)
    for mine, theirs in zip(second.average, alone.average, strict=True):
        assert torch.equal(mine, theirs)


def test_the_command_writes_weights_a_card_and_a_state(data, tmp_path, capsys):
    out, state = tmp_path / "models" / "t.safetensors", tmp_path / "t.pt"
    command = ["--data", str(data), "--out", str(out), "--state", str(state), "--config", "tiny"]
    command += ["--seconds", "0.4", "--decay-seconds", "0.1", "--mix", "8:1", "--batch-tokens", "40"]
    main(command)
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["sha256"] == sha256_of(out) == read_checkpoint(out).sha256
    assert card["steps"] > 0
    first = torch.load(state, weights_only=True)["counters"][0]
    main(command)
    assert json.loads(out.with_suffix(".json").read_text())["steps"] > first > 0
    assert "parameters" in capsys.readouterr().out

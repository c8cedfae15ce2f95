"""Weights, rules and data that anybody wrote: an answer, or the solver's own error, and never another."""

from __future__ import annotations

import json
import lzma

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gpu_runner.solver import SolveBudget, predict, solve
from gpu_runner.solver.corpus import REARC, load_corpus
from gpu_runner.solver.errors import BadData, BadState, BadWeights
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.pretraining import Pretraining
from gpu_runner.solver.resume import understood
from gpu_runner.solver.rules import trees
from gpu_runner.solver.weights import FORMAT, read_checkpoint

from .test_bad_input import checkpoint, well_formed  # noqa: F401
from .test_downloaded import FLIP
from .test_engine import TASK
from .test_foreign_state import tensors_instead

TEXTS = ("", "x", "0", "-1", "3", "1e9", "9" * 30, "nan", "[]", "[5]", "[[1, [1]]]", "\u202e", "pointer")


@pytest.fixture(scope="module")
def answers(checkpoint):  # noqa: F811
    """A network's and a pointer's answer: task, weights, metadata."""
    found = {}
    for name, task, budget in (
        ("network", TASK, SolveBudget(seconds=5, max_steps=0, second_seed=False, only="network")),
        ("pointer", FLIP, SolveBudget(seconds=60)),
    ):
        solved = solve(task, budget, checkpoint)
        found[name] = task, solved.adapted, solved.adapted_metadata
    assert found["pointer"][2]["hypothesis"] == "pointer"
    return found


def answered_or_refused(task, weights, metadata):
    try:
        well_formed(predict(task, weights, metadata), len(task["test"]))
    except BadWeights:
        return 1
    return 0


@pytest.mark.parametrize("name", ["network", "pointer"])
def test_any_metadata_of_weights_answers_or_is_refused(answers, name):
    task, weights, metadata = answers[name]
    refused = 0
    for key in metadata:
        refused += answered_or_refused(task, weights, {k: v for k, v in metadata.items() if k != key})
        refused += sum(answered_or_refused(task, weights, metadata | {key: text}) for text in TEXTS)
    assert refused > 5


@pytest.mark.parametrize("name", ["network", "pointer"])
def test_any_tensor_of_weights_answers_or_is_refused(answers, name):
    task, weights, metadata = answers[name]
    refused = 0
    keys = ["task_tokens", "head", "mean_tokens"] if name == "network" else list(weights)
    for key in keys:
        refused += answered_or_refused(task, {k: v for k, v in weights.items() if k != key}, metadata)
        for _, value in tensors_instead(weights[key]):
            refused += answered_or_refused(task, weights | {key: value}, metadata)
    assert refused > 5


def test_any_tensor_of_a_checkpoint_is_read_or_refused(tmp_path):
    weights = Solver(CONFIGS["tiny"]).state_dict()
    metadata = {"format": FORMAT, "config": "tiny", "task_ids": "a,b"}
    tokens = torch.zeros(2, *weights["mean_tokens"].shape)
    refused = 0
    for key, value in (("head", weights["head"]), ("pretrained_tokens", tokens)):
        for _, instead in tensors_instead(value):
            path = tmp_path / "model.safetensors"
            save_file(weights | {"pretrained_tokens": tokens, key: instead}, path, metadata=metadata)
            try:
                read_checkpoint(path)
            except BadWeights:
                refused += 1
    assert refused > 5


KINDS = [
    ["seen", ["plain"], ["a", "1", "same"]],
    ["again", ["seen", ["plain"], "1"], "2"],
    ["after", "nothing", ["seen", ["plain"], "1"]],
    ["cut", ["objects", "most", "size", 3], None],
    ["arranged", "objects", ["any", "", 0], ["size", True], [], True, 2],
    ["picked", "objects", ["most", "size", 1], ["any", "", 0], []],
    ["framed", ["", "", "", []], ["seen", ["plain"], "1"]],
    ["swept", 0, True, "1"],
    ["mosaic", [0, 1]],
    ["repeated", "1"],
]


@pytest.mark.parametrize("rule", KINDS, ids=lambda rule: rule[0])
def test_a_rule_of_any_numbers_answers_or_is_refused(answers, rule):
    task, _, metadata = answers["pointer"]
    told = {"hypothesis": "rules", "size_rule": metadata["size_rule"], "longest": metadata["longest"]}
    for weight in (1.0, -1, 1e300, "x", None, 10**30):
        answered_or_refused(task, {}, told | {"rules": json.dumps([[weight, rule]] * 2)})
    deep: object = "1"
    for _ in range(3000):
        deep = ["a", deep, "1"]
    for text in ("[" * 100_000, '{"a": 1}', "5", '"x"', "[[1, 2, 3]]", "[" + "[1, []]," * 200 + "[1, []]]"):
        assert answered_or_refused(task, {}, told | {"rules": text})


def test_a_leaf_is_one_of_ten_colours():
    assert trees.from_json("9") == trees.Leaf("9")
    for text in ("10", "999999999", "٣"):  # objects were told apart by arrays of so many rows
        with pytest.raises(ValueError, match="no colour"):
            trees.from_json(["a fact", "1", text])


@pytest.fixture
def run_of_nobody(monkeypatch):
    """Enough of a pretraining run to be loaded into."""
    run = object.__new__(Pretraining)
    run.corpus = type("Corpus", (), {"task_ids": ["a"]})()
    run.tokens = torch.nn.Parameter(torch.zeros(1, 4, 32))
    run.model = Solver(CONFIGS["tiny"])
    run.settings = type("Settings", (), {"config": CONFIGS["tiny"], "seed": 0})()
    run.average = []
    return run


@pytest.mark.parametrize(
    "state",
    [5, [], {}, {"tokens": 1}, {"tokens": torch.zeros(0)}, {"tokens": torch.zeros(1, 4, 32), "weights": 7}],
    ids=str,
)
def test_a_run_that_is_none_is_refused(run_of_nobody, tmp_path, state):
    path = tmp_path / "run.pt"
    torch.save(state, path)
    with pytest.raises(BadState), understood():
        run_of_nobody.load(torch.load(path, weights_only=True))


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04", b"\x80\x02cos\nsystem\n.", b"hello"])
def test_bytes_that_are_no_run_are_refused_and_run_nothing(tmp_path, body):
    path = tmp_path / "run.pt"
    path.write_bytes(body)
    with pytest.raises(BadState), understood():
        torch.load(path, weights_only=True)


def archive(**arrays):
    import io

    body = io.BytesIO()
    np.savez(body, **arrays)
    return lzma.compress(body.getvalue())


def told_as(packed, size):
    """The ZIP file, whose list says so of its first file's size."""
    at = packed.index(b"PK\x01\x02") + 24
    return packed[:at] + size.to_bytes(4, "little") + packed[at + 4 :]


def repacked(name):
    """Good arrays, packed by another method, and told to be so small or so large."""
    import io
    import zipfile

    arrays = {"ids": ["t"], "counts": [1], "shapes": [[[1, 1], [1, 1]]], "cells": [0, 0]}
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", getattr(zipfile, name)) as made:
        for key, value in arrays.items():
            raw = io.BytesIO()
            np.save(raw, np.array(value, np.uint8 if key == "cells" else None))
            made.writestr(f"{key}.npy", raw.getvalue())
    return body.getvalue()


ARCHIVES = {
    "bzip2 within": lzma.compress(repacked("ZIP_BZIP2")),
    "LZMA within": lzma.compress(repacked("ZIP_LZMA")),
    "4 GiB told": lzma.compress(told_as(repacked("ZIP_STORED"), 0xFFFFFFFE)),
    "torn": archive(ids=np.array(["a"]))[:40],
    "no archive": lzma.compress(b"hello"),
    "no arrays": archive(),
    "counts that do not fit": archive(
        ids=np.array(["t"]), counts=np.array([99]), shapes=np.ones((1, 2, 2)), cells=np.zeros(2, np.uint8)
    ),
    "shapes that are words": archive(
        ids=np.array(["t"]), counts=np.array([1]), shapes=np.array(["x"]), cells=np.zeros(2, np.uint8)
    ),
    "pickled objects": archive(
        ids=np.array([{}], dtype=object), counts=np.array([1]), shapes=np.ones((1, 2, 2)), cells=np.zeros(2)
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_generated_pairs_that_are_none_are_refused(tmp_path, name):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "t.json").write_text(json.dumps(FLIP | {"test": FLIP["train"][:1]}))
    (tmp_path / REARC).write_bytes(ARCHIVES[name])
    with pytest.raises(BadData):
        load_corpus(tmp_path, per_task=1, longest=10, seed=0, device="cpu")


def test_generated_pairs_that_numpy_packed_either_way_are_read(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "t.json").write_text(json.dumps(FLIP | {"test": FLIP["train"][:1]}))
    for name in ("ZIP_STORED", "ZIP_DEFLATED"):
        (tmp_path / REARC).write_bytes(lzma.compress(repacked(name)))
        assert load_corpus(tmp_path, per_task=1, longest=10, seed=0, device="cpu").task_ids == ["t"]


@pytest.mark.parametrize(
    "text", ["5", "[]", "[" * 100_000, '{"train": [{"input": [[300]], "output": [[1]]}]}']
)
def test_pretraining_tasks_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "t.json").write_text(text)
    (tmp_path / REARC).write_bytes(ARCHIVES["no arrays"])
    with pytest.raises(BadData):
        load_corpus(tmp_path, per_task=1, longest=10, seed=0, device="cpu")

"""Whatever the task, the checkpoint or the time: two different grids a test input, or a clear error."""

import json
import time

import pytest
import torch
from safetensors.torch import save_file

from gpu_runner.solver import BadTask, SolveBudget, predict, solve
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.weights import write_checkpoint

QUICK = SolveBudget(seconds=5, max_steps=2, second_seed=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    model = Solver(CONFIGS["tiny"])
    tokens = torch.randn(40, *model.mean_tokens.shape)
    ids = [f"{n:08x}" for n in range(40)]
    write_checkpoint(path, CONFIGS["tiny"], model.state_dict(), tokens=tokens, task_ids=ids)
    return path


@pytest.fixture
def tiny_from_scratch(monkeypatch):
    monkeypatch.setattr("gpu_runner.solver.starting.DEFAULT_CONFIG", "tiny")


def grid(height, width, *, shift=0):
    """No rule makes one of these of another: the network has to work."""
    return [[(3 * r * r + 5 * c + r * c + shift) % 10 for c in range(width)] for r in range(height)]


def pair(source, target, shift=0):
    return {"input": grid(*source, shift=shift), "output": grid(*target, shift=7 * shift + 3)}


def task(pairs, tests):
    return {"train": pairs, "test": [{"input": each} for each in tests]}


TASKS = {
    "one demonstration": task([pair((3, 3), (3, 3))], [grid(3, 3, shift=4)]),
    "one demonstration of another size": task([pair((3, 4), (2, 5))], [grid(5, 5, shift=4)]),
    "three test inputs": task(
        [pair((3, 3), (3, 3), n) for n in range(3)], [grid(3, 3, shift=4), grid(2, 5), grid(6, 1)]
    ),
    "an output larger than anything seen": task(
        [pair((2, 2), (6, 6), n) for n in range(2)], [grid(10, 10, shift=4)]
    ),
    "an output that the size rule puts beyond 30 cells": task(
        [pair((2, 2), (6, 6), n) for n in range(2)], [grid(11, 11, shift=4)]
    ),
    "an output smaller than a cell by the size rule": task(
        [pair((6, 6), (2, 2), n) for n in range(2)], [grid(2, 2, shift=4)]
    ),
    "identical demonstrations": task([pair((3, 3), (3, 3))] * 4, [grid(3, 3, shift=4)]),
    "contradictory demonstrations": task(
        [
            {"input": grid(3, 3), "output": grid(3, 3, shift=1)},
            {"input": grid(3, 3), "output": grid(3, 3, shift=2)},
        ],
        [grid(3, 3, shift=4)],
    ),
    "contradictory sizes": task(
        [{"input": grid(3, 3), "output": grid(2, 2)}, {"input": grid(3, 3), "output": grid(5, 1)}],
        [grid(3, 3)],
    ),
    "a test input that is a demonstration's": task([pair((3, 3), (3, 3), n) for n in (0, 1)], [grid(3, 3)]),
    "30 by 30 everything": task([pair((30, 30), (30, 30), n) for n in range(2)], [grid(30, 30, shift=4)]),
    "1 by 1 everything": task(
        [{"input": [[n]], "output": [[(n * n + 1) % 10]]} for n in range(3)], [[[5]], [[9]]]
    ),
    "from 1 by 1 to 30 by 30": task([pair((1, 1), (30, 30), n) for n in range(2)], [grid(1, 1, shift=4)]),
    "from 30 by 30 to 1 by 1": task([pair((30, 30), (1, 1), n) for n in range(2)], [grid(30, 30, shift=4)]),
    "a row of 30": task([pair((1, 30), (1, 30), n) for n in range(2)], [grid(1, 30, shift=4)]),
    "one colour only": task([{"input": [[0] * 3] * 3, "output": [[0] * 3] * 3}] * 2, [[[0] * 3] * 3]),
}


def well_formed(attempts, tests):
    assert len(attempts) == tests
    for first, second in attempts:
        assert first != second
        for answer in (first, second):
            assert 1 <= len(answer) <= 30
            assert 1 <= len(answer[0]) <= 30
            assert all(len(row) == len(answer[0]) for row in answer)
            assert all(type(cell) is int and 0 <= cell <= 9 for row in answer for cell in row)


@pytest.mark.parametrize("name", TASKS)
def test_any_task_gets_two_different_grids_for_each_test_input(checkpoint, name):
    found = solve(TASKS[name], QUICK, checkpoint)
    well_formed(found.attempts, len(TASKS[name]["test"]))
    assert len(found.metrics["confidence"]) == len(TASKS[name]["test"])
    assert all(0.0 <= sure <= 1.0 for sure in found.metrics["confidence"])
    json.dumps(found.metrics, allow_nan=False)
    assert predict(TASKS[name], found.adapted, found.adapted_metadata) == found.attempts


@pytest.mark.parametrize("seconds", [0.0, float("-inf"), 0.05])
@pytest.mark.parametrize("name", ["three test inputs", "30 by 30 everything", "1 by 1 everything"])
def test_no_time_at_all_is_still_an_answer(checkpoint, name, seconds):
    began = time.monotonic()
    found = solve(TASKS[name], SolveBudget(seconds=seconds), checkpoint)
    assert time.monotonic() - began < 10
    well_formed(found.attempts, len(TASKS[name]["test"]))
    json.dumps(found.metrics, allow_nan=False)
    assert predict(TASKS[name], found.adapted, found.adapted_metadata) == found.attempts


@pytest.mark.usefixtures("no_rules")
def test_no_steps_at_all_are_still_an_answer(checkpoint):
    found = solve(TASKS["three test inputs"], SolveBudget(seconds=5, max_steps=0), checkpoint)
    well_formed(found.attempts, 3)
    assert found.metrics["steps"] == 0


def test_seconds_that_are_no_number_are_refused(checkpoint):
    with pytest.raises(ValueError, match="seconds"):
        solve(TASKS["one demonstration"], SolveBudget(seconds=float("nan")), checkpoint)


TASK = TASKS["three test inputs"]


def truncated(path, body):
    path.write_bytes(body[: len(body) // 2])


def empty(path, body):
    path.write_bytes(b"")


def text(path, body):
    path.write_text("version https://example.org/spec/v1\nsize 2179984\n")


def a_folder(path, body):
    path.mkdir()


def without_metadata(path, body):
    save_file(Solver(CONFIGS["tiny"]).state_dict(), path)


def of_another_format(path, body):
    save_file({"x": torch.zeros(1)}, path, metadata={"format": "pt", "config": "tiny"})


def of_another_shape(path, body):
    write_checkpoint(path, CONFIGS["tiny"], {"head": torch.zeros(3, 3)})


def with_weights_that_are_not_finite(path, body):
    weights = Solver(CONFIGS["tiny"]).state_dict()
    weights["head"][0, 0] = float("inf")
    write_checkpoint(path, CONFIGS["tiny"], weights)


def with_tokens_that_are_not_finite(path, body):
    weights = Solver(CONFIGS["tiny"]).state_dict()
    tokens = torch.full((1, *weights["mean_tokens"].shape), float("nan"))
    write_checkpoint(path, CONFIGS["tiny"], weights, tokens=tokens, task_ids=["a"])


SPOILT = [
    truncated,
    empty,
    text,
    a_folder,
    without_metadata,
    of_another_format,
    of_another_shape,
    with_weights_that_are_not_finite,
    with_tokens_that_are_not_finite,
]


@pytest.mark.usefixtures("no_rules")
@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_spoilt_checkpoint_is_a_warning_and_a_random_start(
    tiny_from_scratch, checkpoint, tmp_path, caplog, spoil
):
    path = tmp_path / "xs.safetensors"
    spoil(path, checkpoint.read_bytes())
    found = solve(TASK, QUICK, path)
    well_formed(found.attempts, 3)
    assert found.metrics["checkpoint"] is None
    assert "random weights" in caplog.text


MALFORMED = {
    "no object": [],
    "nothing at all": None,
    "no test": {"train": TASK["train"]},
    "no demonstration": {"train": [], "test": TASK["test"]},
    "no test input": {"train": TASK["train"], "test": []},
    "train is a number": {"train": 3, "test": TASK["test"]},
    "train is text": {"train": "abc", "test": TASK["test"]},
    "a demonstration is a list": {"train": [[[1]]], "test": TASK["test"]},
    "a demonstration without an output": {"train": [{"input": [[1]]}], "test": TASK["test"]},
    "31 rows": {"train": TASK["train"], "test": [{"input": [[1]] * 31}]},
    "31 columns": {"train": TASK["train"], "test": [{"input": [[1] * 31]}]},
    "no rows": {"train": TASK["train"], "test": [{"input": []}]},
    "no columns": {"train": TASK["train"], "test": [{"input": [[]]}]},
    "ragged": {"train": TASK["train"], "test": [{"input": [[1], [1, 2]]}]},
    "colour 10": {"train": TASK["train"], "test": [{"input": [[10]]}]},
    "colour −1": {"train": TASK["train"], "test": [{"input": [[-1]]}]},
    "a fraction": {"train": TASK["train"], "test": [{"input": [[1.0]]}]},
    "true": {"train": TASK["train"], "test": [{"input": [[True]]}]},
    "a row is text": {"train": TASK["train"], "test": [{"input": ["12"]}]},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_task_is_a_clear_error(name):
    with pytest.raises(BadTask):
        solve(MALFORMED[name], QUICK, None)


@pytest.mark.usefixtures("no_rules")
@pytest.mark.parametrize("name", ["head", "cell", "layers.0.qkv", "layers.0.down"])
def test_weights_that_make_the_training_diverge_are_no_crash(tmp_path, name):
    torch.manual_seed(0)
    weights = Solver(CONFIGS["tiny"]).state_dict()
    weights[name][:] = 60_000.0
    path = tmp_path / "huge.safetensors"
    write_checkpoint(path, CONFIGS["tiny"], weights)
    found = solve(TASK, SolveBudget(seconds=5, max_steps=12, second_seed=False), path)
    well_formed(found.attempts, 3)
    json.dumps(found.metrics, allow_nan=False)
    assert all(bool(value.isfinite().all()) for value in found.adapted.values())
    assert predict(TASK, found.adapted, found.adapted_metadata) == found.attempts


@pytest.mark.usefixtures("no_rules")
def test_losses_that_are_no_numbers_end_the_training_with_an_answer(monkeypatch, checkpoint):
    real = Solver.forward

    def forward(self, *given, **named):
        logits = real(self, *given, **named)
        return logits * float("nan") if torch.is_grad_enabled() else logits

    monkeypatch.setattr(Solver, "forward", forward)
    found = solve(TASK, SolveBudget(seconds=20, max_steps=200, second_seed=False), checkpoint)
    well_formed(found.attempts, 3)
    json.dumps(found.metrics, allow_nan=False)
    assert found.metrics["stopped_by"] == "diverged"
    assert found.metrics["demo_fit"] == 0.0
    assert predict(TASK, found.adapted, found.adapted_metadata) == found.attempts


def test_views_that_are_no_numbers_are_an_answer_of_the_expected_size(monkeypatch, checkpoint):
    monkeypatch.setattr(
        Solver, "forward", lambda self, batch, tokens, **_: torch.full((*batch.cells.shape, 12), float("nan"))
    )
    found = solve(TASK, SolveBudget(seconds=5, max_steps=0), checkpoint)
    well_formed(found.attempts, 3)
    json.dumps(found.metrics, allow_nan=False)


def test_endless_time_is_no_trouble(checkpoint):
    found = solve(TASK, SolveBudget(seconds=float("inf"), max_steps=2), checkpoint)
    well_formed(found.attempts, 3)
    assert len(found.metrics["nearest_pretraining_tasks"]) == 5
    json.dumps(found.metrics, allow_nan=False)

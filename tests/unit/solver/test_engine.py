"""solve() and predict() from end to end, with a tiny network."""

import copy
import json

import pytest
import torch

from gpu_runner.solver import (
    BadTask,
    BadWeights,
    Interrupted,
    SolveBudget,
    predict,
    reasoning,
    solve,
    starting,
)
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.weights import read_checkpoint, write_checkpoint

# Drawn by lot: no small hypothesis is sure of it, the network has to work.
TASK = {
    "train": [
        {"input": [[1, 0, 3], [0, 7, 0], [2, 5, 5]], "output": [[4, 0, 9], [9, 4, 6], [0, 6, 4]]},
        {"input": [[0, 3, 0], [5, 5, 1], [0, 2, 8]], "output": [[9, 9, 0], [4, 0, 6], [6, 4, 9]]},
        {"input": [[5, 2, 2], [8, 0, 0], [1, 3, 7]], "output": [[6, 4, 4], [0, 9, 9], [9, 0, 6]]},
    ],
    "test": [{"input": [[0, 1, 6], [3, 0, 2], [7, 8, 0]]}, {"input": [[2, 2, 0], [0, 4, 1], [5, 0, 3]]}],
}
ROWS = {
    "train": [{name: grid[:1] for name, grid in pair.items()} for pair in TASK["train"]],
    "test": [{"input": each["input"][:1]} for each in TASK["test"]],
}
"""Its first rows: as long a way, and rules are looked for in a quarter of the time."""
QUICK = SolveBudget(seconds=60, max_steps=6)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    write_checkpoint(path, CONFIGS["tiny"], Solver(CONFIGS["tiny"]).state_dict())
    return path


def well_formed(attempts, tests):
    assert len(attempts) == tests
    for first, second in attempts:
        assert first != second
        for grid in (first, second):
            assert all(len(row) == len(grid[0]) for row in grid)
            assert all(0 <= cell <= 9 for row in grid for cell in row)


@pytest.mark.usefixtures("no_rules")
def test_every_test_input_gets_two_different_attempts(checkpoint):
    found = solve(TASK, QUICK, checkpoint)
    well_formed(found.attempts, 2)
    assert json.loads(json.dumps(found.metrics))["checkpoint"]["name"] == "tiny.safetensors"
    assert found.metrics["stopped_by"] in {"samples", "rejected", "fit"}
    assert all(type(v) is str for v in found.adapted_metadata.values())


def test_the_same_seed_gives_the_same_answers_and_weights(checkpoint):
    one, two = (solve(ROWS, QUICK, checkpoint) for _ in range(2))
    assert one.attempts == two.attempts
    assert all(torch.equal(one.adapted[k], two.adapted[k]) for k in one.adapted)


def test_test_outputs_have_no_influence_at_all(checkpoint):
    leaking = copy.deepcopy(ROWS)
    leaking["test"][0]["output"] = [[9] * 30] * 30
    one, two = solve(ROWS, QUICK, checkpoint), solve(leaking, QUICK, checkpoint)
    assert one.attempts == two.attempts
    assert all(torch.equal(one.adapted[k], two.adapted[k]) for k in one.adapted)


@pytest.mark.usefixtures("no_rules")
def test_downloaded_weights_predict_the_same_answers(checkpoint):
    found = solve(TASK, QUICK, checkpoint)
    assert predict(TASK, found.adapted, found.adapted_metadata) == found.attempts


@pytest.mark.usefixtures("no_rules")
def test_weights_of_another_task_are_refused(checkpoint):
    found = solve(TASK, QUICK, checkpoint)
    other = {"train": [{"input": [[1] * 20], "output": [[1]]}], "test": [{"input": [[1] * 20]}]}
    with pytest.raises(BadWeights, match="another task"):
        predict(other, found.adapted, found.adapted_metadata)
    with pytest.raises(BadWeights):
        predict(TASK, found.adapted, {})


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_a_deadline_already_past_still_gives_a_valid_answer(checkpoint, seconds):
    found = solve(TASK, SolveBudget(seconds=seconds), checkpoint)
    well_formed(found.attempts, 2)
    assert found.metrics["stopped_by"] == "deadline"
    assert predict(TASK, found.adapted, found.adapted_metadata) == found.attempts


@pytest.mark.usefixtures("no_rules")
def test_a_missing_checkpoint_is_a_warning_and_random_weights(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(starting, "DEFAULT_CONFIG", "tiny")
    found = solve(TASK, QUICK, tmp_path / "none.safetensors")
    well_formed(found.attempts, 2)
    assert found.metrics["checkpoint"] is None
    assert "random weights" in caplog.text


def test_asking_to_stop_interrupts_within_a_step(checkpoint):
    steps = []

    def progress(*, phase, fraction, loss):
        steps.append((phase, fraction))
        assert 0.0 <= fraction <= 1.0

    with pytest.raises(Interrupted):
        solve(TASK, QUICK, checkpoint, progress=progress, should_stop=lambda: len(steps) >= 3)
    assert len(steps) == 3


def test_a_malformed_task_is_refused_before_any_work():
    with pytest.raises(BadTask):
        solve({"train": [], "test": []}, QUICK, None)


def test_an_output_of_unknown_size_is_no_crash(checkpoint):
    task = {
        "train": [{"input": [[1, 2]], "output": [[1]]}, {"input": [[1, 2]], "output": [[1, 2, 2]]}],
        "test": [{"input": [[2, 2]]}],
    }
    well_formed(solve(task, QUICK, checkpoint).attempts, 1)


@pytest.mark.usefixtures("no_rules")
def test_a_rejected_hypothesis_gives_way_to_the_next(checkpoint):
    metrics = solve(TASK, QUICK, checkpoint).metrics
    assert [r["hypothesis"] for r in metrics["rejected"]] == ["exchangeable"]
    assert metrics["hypothesis"] == "specific"


@pytest.mark.usefixtures("no_rules")
def test_a_task_starts_at_the_tokens_that_explain_its_demonstrations_best(checkpoint):
    found = solve(TASK, QUICK, checkpoint)
    assert found.metrics["nearest_pretraining_tasks"] == []
    weights = read_checkpoint(checkpoint).weights
    tokens = torch.stack([weights["mean_tokens"] * k for k in (1, -2, 5)])
    write_checkpoint(checkpoint, CONFIGS["tiny"], weights, tokens=tokens, task_ids=["a", "b", "c"])
    nearest = solve(TASK, QUICK, checkpoint).metrics["nearest_pretraining_tasks"]
    assert {name for name, _ in nearest} == {"a", "b", "c"}
    assert [value for _, value in nearest] == sorted(value for _, value in nearest)
    assert predict(TASK, found.adapted, found.adapted_metadata) == found.attempts


def test_slow_rules_take_nothing_from_the_search_for_the_nearest_tokens(checkpoint, monkeypatch):
    weights, late = read_checkpoint(checkpoint).weights, 0.0
    tokens = torch.stack([weights["mean_tokens"] * k for k in (1, -2)])
    write_checkpoint(checkpoint, CONFIGS["tiny"], weights, tokens=tokens, task_ids=["a", "b"])

    def slow_rules(task, **_):
        nonlocal late
        late += 11.0
        return reasoning.Reasoned((), tuple(() for _ in task.tests))

    monkeypatch.setattr(reasoning, "reason", slow_rules)
    budget = SolveBudget(seconds=100, max_steps=2)
    found = solve(TASK, budget, checkpoint, clock=lambda: late)
    assert {name for name, _ in found.metrics["nearest_pretraining_tasks"]} == {"a", "b"}
    assert found.metrics["small_seconds"] == 11.0


def test_tokens_without_their_task_ids_are_refused(checkpoint):
    weights = read_checkpoint(checkpoint).weights
    write_checkpoint(checkpoint, CONFIGS["tiny"], weights, tokens=torch.zeros(2, 4, 32), task_ids=["a"])
    with pytest.raises(BadWeights, match="task ids"):
        read_checkpoint(checkpoint)

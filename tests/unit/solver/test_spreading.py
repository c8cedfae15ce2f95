"""A local rule that spreads: believed only when it fits and the test's images agree."""

import pytest
import torch

from gpu_runner.solver import BadWeights, predict, reasoning, solve, spreading, starting
from gpu_runner.solver.engine import SolveBudget
from gpu_runner.solver.spreading import DIHEDRALS, Spreader, replay, spread
from gpu_runner.solver.task import Task


def outlined(rows):
    """Every empty cell beside a coloured one becomes 4."""
    height, width = len(rows), len(rows[0])

    def near(r, c):
        return any(
            rows[y][x]
            for y in range(max(0, r - 1), min(height, r + 2))
            for x in range(max(0, c - 1), min(width, c + 2))
        )

    return [[cell or (4 if near(r, c) else 0) for c, cell in enumerate(row)] for r, row in enumerate(rows)]


def dotted(height, width, *dots):
    rows = [[0] * width for _ in range(height)]
    for r, c, colour in dots:
        rows[r][c] = colour
    return rows


INPUTS = [
    dotted(5, 5, (1, 1, 2)),
    dotted(5, 6, (3, 4, 3), (0, 0, 3)),
    dotted(6, 5, (2, 2, 1)),
    dotted(6, 6, (4, 1, 5)),
]
TASK = {
    "train": [{"input": rows, "output": outlined(rows)} for rows in INPUTS[:-1]],
    "test": [{"input": INPUTS[-1]}],
}


# Drawn by lot: no hypothesis but the network may be sure of it.
RULELESS = {
    "train": [
        {"input": [[1, 0, 3], [0, 7, 0], [2, 5, 5]], "output": [[4, 0, 9], [9, 4, 6], [0, 6, 4]]},
        {"input": [[0, 3, 0], [6, 6, 1], [0, 2, 8]], "output": [[9, 9, 0], [4, 0, 6], [6, 4, 9]]},
        {"input": [[5, 2, 2], [8, 0, 0], [1, 3, 7]], "output": [[6, 4, 4], [0, 9, 9], [9, 0, 6]]},
    ],
    "test": [{"input": [[0, 1, 6], [3, 0, 2], [7, 8, 0]]}],
}


def find_nothing(task, **_):
    return reasoning.Reasoned((), tuple(() for _ in task.tests))


def test_a_local_rule_is_learned_and_its_weights_give_the_answer_again(monkeypatch):
    monkeypatch.setattr(reasoning, "reason", find_nothing)  # they would have answered before it
    found = solve(TASK, SolveBudget(seconds=600), None)
    assert found.metrics["hypothesis"] == "spreader"
    first, second = found.attempts[0]
    assert first == outlined(INPUTS[-1])
    assert second != first
    assert predict(TASK, found.adapted, found.adapted_metadata) == found.attempts
    with pytest.raises(BadWeights):
        predict(TASK, {}, found.adapted_metadata)


@pytest.mark.parametrize(
    "train",
    [
        [{"input": [[1]], "output": [[2]]}],
        [{"input": [[1, 2]], "output": [[1]]}, {"input": [[1, 3]], "output": [[1]]}],
        [{"input": [[1] * 20], "output": [[1] * 20]}] * 2,
    ],
    ids=["one demonstration", "another size", "too large"],
)
def test_where_no_local_rule_can_be_known_none_is_tried(train, monkeypatch):
    def never(*_):
        raise AssertionError("trained")

    monkeypatch.setattr(spreading, "_train", never)
    task = Task.from_json({"train": train, "test": [{"input": train[0]["input"]}]})
    assert spread(task, seed=0, go_on=lambda fraction, loss: True) is None


def test_without_time_no_local_rule_is_believed():
    assert spread(Task.from_json(TASK), seed=0, go_on=lambda fraction, loss: False) is None


def test_images_that_disagree_are_not_believed(monkeypatch):
    monkeypatch.setattr(spreading, "_train", lambda *_: (1, 1.0, [(0, 0.0)]))
    monkeypatch.setattr(spreading, "replay", lambda *_: [(([[1]], [[2]]), 5 / DIHEDRALS)])
    assert spread(Task.from_json(TASK), seed=0, go_on=lambda fraction, loss: True) is None


def test_the_network_has_its_turn_when_no_small_hypothesis_is_believed(monkeypatch):
    monkeypatch.setattr(starting, "DEFAULT_CONFIG", "tiny")
    monkeypatch.setattr(spreading, "STEPS", 3)
    found = solve(RULELESS, SolveBudget(seconds=60, max_steps=3), None)
    assert found.metrics["config"] == "tiny"


def test_an_image_turned_and_turned_back_is_itself():
    planes = torch.rand(1, 3, 4, 4)
    for image in range(DIHEDRALS):
        turned = spreading._turned(planes, image)
        assert torch.equal(spreading._turned_back(turned, image), planes)


def test_two_attempts_differ_even_when_all_images_agree():
    torch.manual_seed(0)
    (((first, second), share),) = replay(Task.from_json(TASK), Spreader().state_dict())
    assert share == 1.0
    assert first != second

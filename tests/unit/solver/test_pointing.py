"""The smallest hypothesis: position alone explains the answer, or it is not believed."""

import random

import pytest

from gpu_runner.solver import BadWeights, SolveBudget, predict, solve
from gpu_runner.solver.pointing import point
from gpu_runner.solver.task import Task


def grid(rng, height, width):
    return [[rng.randrange(10) for _ in range(width)] for _ in range(height)]


def mirrored(rows):
    return [row[::-1] for row in rows]


def turned(rows):
    return mirrored(rows[::-1])


def transposed(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def doubled(rows):
    return [[cell for cell in row for _ in range(2)] for row in rows for _ in range(2)]


def tiled(rows):
    return [row * 2 for row in rows] * 2


def task_of(rule, sizes, *, seed=0):
    rng = random.Random(seed)
    inputs = [grid(rng, *size) for size in sizes]
    train = [{"input": rows, "output": rule(rows)} for rows in inputs[:-1]]
    return {"train": train, "test": [{"input": inputs[-1]}]}, rule(inputs[-1])


def always(fraction, loss):
    return True


@pytest.mark.parametrize("rule", [mirrored, turned, transposed, doubled, tiled])
def test_a_rule_of_position_is_learned_for_a_size_never_seen(rule):
    sizes = [(3, 3), (4, 4), (5, 5)] if rule is transposed else [(3, 4), (4, 3), (3, 5), (5, 4)]
    task, truth = task_of(rule, sizes)
    found = point(Task.from_json(task), always)
    assert found is not None
    first, second = found.attempts[0]
    assert first == truth
    assert second != first


def test_a_recolouring_by_a_table_is_learned_too():
    table = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    task, truth = task_of(lambda rows: [[table[c] for c in row] for row in rows], [(5, 6)] * 4)
    found = point(Task.from_json(task), always)
    assert found is not None
    assert found.attempts[0][0] == truth


def test_what_position_cannot_explain_is_not_believed():
    rng = random.Random(1)
    noise = {"train": [{"input": grid(rng, 3, 3), "output": grid(rng, 3, 3)} for _ in range(3)]}
    assert point(Task.from_json({**noise, "test": [{"input": grid(rng, 3, 3)}]}), always) is None


def test_one_demonstration_is_too_little_to_believe():
    task, _ = task_of(mirrored, [(3, 3), (3, 3)])
    assert point(Task.from_json(task), always) is None


def test_without_time_there_is_no_pointer():
    task, _ = task_of(mirrored, [(3, 3)] * 4)
    assert point(Task.from_json(task), lambda fraction, loss: False) is None


def test_downloaded_weights_give_the_answer_again_and_no_other_task_takes_them():
    task, truth = task_of(mirrored, [(3, 4), (4, 3), (3, 5), (5, 4)])
    found = solve(task, SolveBudget(seconds=60), None)
    assert found.attempts[0][0] == truth
    assert found.metrics["hypothesis"] == "pointer"
    assert len(found.metrics["loss_curve"]) > 1
    assert predict(task, found.adapted, found.adapted_metadata) == found.attempts
    other, _ = task_of(doubled, [(3, 4), (4, 3), (3, 5)])
    with pytest.raises(BadWeights):
        predict(other, found.adapted, found.adapted_metadata)
    with pytest.raises(BadWeights):
        predict(task, {}, found.adapted_metadata)

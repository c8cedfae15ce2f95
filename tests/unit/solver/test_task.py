"""A task is checked before it reaches the device, and its test outputs never are read."""

import pytest

from gpu_runner.solver.errors import BadTask, SolverError
from gpu_runner.solver.sizes import SizeRule, size_rule
from gpu_runner.solver.task import Task

PAIR = {"input": [[1, 2]], "output": [[2, 1]]}


@pytest.mark.parametrize(
    "grid",
    [[], [[]], [[1], [1, 2]], [[10]], [[-1]], [[1.0]], [[True]], [["1"]], [[0] * 31], [[0]] * 31, None, 7],
)
def test_a_malformed_grid_is_refused_by_name(grid):
    with pytest.raises(BadTask, match=r"test\[0\]\.input"):
        Task.from_json({"train": [PAIR], "test": [{"input": grid}]})


@pytest.mark.parametrize("task", [{}, {"train": [], "test": []}, {"train": [PAIR], "test": []}, {"train": 3}])
def test_a_task_without_pairs_is_refused(task):
    with pytest.raises(SolverError):
        Task.from_json(task)


def test_a_test_output_of_any_kind_changes_nothing():
    plain = {"train": [PAIR], "test": [{"input": [[3, 4]]}]}
    leaking = {"train": [PAIR], "test": [{"input": [[3, 4]], "output": "not even a grid"}]}
    assert Task.from_json(plain) == Task.from_json(leaking)


@pytest.mark.parametrize(
    ("pairs", "kind", "asked", "expected"),
    [
        ([((3, 3), (3, 3)), ((4, 5), (4, 5))], "same", (7, 2), (7, 2)),
        ([((3, 3), (1, 1)), ((4, 5), (1, 1))], "constant", (7, 2), (1, 1)),
        ([((3, 3), (6, 9)), ((2, 2), (4, 6))], "ratio", (5, 4), (10, 12)),
        ([((4, 6), (2, 2)), ((8, 3), (4, 1))], "ratio", (6, 9), (3, 3)),
        ([((4, 6), (2, 2)), ((8, 3), (4, 1))], "ratio", (5, 9), None),
        ([((3, 3), (6, 6)), ((3, 3), (6, 6))], "ratio", (4, 4), (8, 8)),
        ([((3, 3), (2, 5)), ((3, 3), (4, 1))], "unknown", (3, 3), None),
        ([((10, 10), (30, 30))], "ratio", (11, 11), None),
    ],
)
def test_the_size_rule_is_the_simplest_that_holds(pairs, kind, asked, expected):
    rule = size_rule(pairs)
    assert (rule.kind, rule.size(*asked)) == (kind, expected)
    assert SizeRule.from_text(rule.to_text()) == rule

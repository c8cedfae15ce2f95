"""Scores: exact or not, two attempts, every task the same weight."""

from __future__ import annotations

import json

import pytest

from arcspot.domain.scoring import (
    Score,
    read_prediction,
    score,
    score_task,
    submission,
    total,
    write_prediction,
)
from arcspot.domain.tasks import task_from_json

A, B, C = ((1, 2),), ((2, 1),), ((1,), (2,))


def test_either_attempt_counts_for_pass_at_2_and_only_the_first_for_pass_at_1() -> None:
    result = score([(A, B), (B, A), (B, B), (A, A)], [A, A, A, A])
    assert result == Score(tests=4, right_at_1=2, right_at_2=3)
    assert (result.pass_at_1, result.pass_at_2, result.all_right) == (0.5, 0.75, False)


def test_one_wrong_cell_or_another_shape_is_simply_wrong() -> None:
    assert score([(B, C)], [A]).right_at_2 == 0
    assert score([(C, A)], [A]) == Score(1, 0, 1)


def test_a_missing_answer_is_wrong_and_a_surplus_one_an_error() -> None:
    assert score([], [A, B]) == Score(2, 0, 0)
    assert score([(A, A)], [A, B]) == Score(2, 1, 1)
    with pytest.raises(ValueError, match="2 pairs of attempts"):
        score([(A, A), (A, A)], [A])
    with pytest.raises(ValueError, match="0 known outputs"):
        score([], [])


def test_lists_and_tuples_are_the_same_grid() -> None:
    assert score([([[1, 2]], [[0]])], [A]).all_right


def test_a_task_without_known_outputs_has_no_score() -> None:
    pair = {"input": [[1]], "output": [[2]]}
    unknown = task_from_json("t", {"train": [pair], "test": [{"input": [[1]]}]})
    known = task_from_json("t", {"train": [pair], "test": [pair]})
    assert score_task(unknown, [(A, B)]) is None
    assert score_task(known, [(((2,),), A)]) == Score(1, 1, 1)


def test_each_task_weighs_the_same_however_many_tests_it_has() -> None:
    batch = total([Score(1, 1, 1), Score(4, 0, 1)])
    assert batch is not None
    assert (batch.tasks, batch.all_right) == (2, 1)
    assert (batch.pass_at_1, batch.pass_at_2) == (0.5, 0.625)
    assert total([]) is None


def test_a_prediction_survives_json() -> None:
    attempts = ((A, B), (C, A))
    written = json.loads(json.dumps(write_prediction(attempts)))
    assert written[0] == {"attempt_1": [[1, 2]], "attempt_2": [[2, 1]]}
    assert read_prediction(written) == attempts


def test_a_submission_has_every_task_in_order_and_nothing_but_the_attempts() -> None:
    noisy = [{**write_prediction([(A, B)])[0], "votes": [[3]]}]
    result = submission({"b": noisy, "a": write_prediction([(C, C), (A, A)])})
    assert list(result) == ["a", "b"]
    assert result["b"] == [{"attempt_1": [[1, 2]], "attempt_2": [[2, 1]]}]
    assert len(result["a"]) == 2

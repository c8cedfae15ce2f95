"""Score answers as ARC does: two attempts a test input, a grid is right or it is not.

Kaggle's ARC Prize and ARC-AGI's own harness give a task the fraction of its test inputs
that either attempt answers exactly (pass@2), and a set of tasks the mean of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arcspot.domain.predictions import MAX_PREDICTION_BYTES, Attempts, parse_prediction, read_prediction
from arcspot.domain.tasks import Grid, Task

__all__ = [
    "MAX_PREDICTION_BYTES",
    "Attempts",
    "parse_prediction",
    "read_prediction",
]

GridLike = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Score:
    """How many of a task's test inputs were answered exactly."""

    tests: int
    right_at_1: int
    right_at_2: int

    @property
    def pass_at_1(self) -> float:
        """Fraction of test inputs whose first attempt is exactly right, 0..1."""
        return self.right_at_1 / self.tests

    @property
    def pass_at_2(self) -> float:
        """Fraction of test inputs with either attempt exactly right, 0..1."""
        return self.right_at_2 / self.tests

    @property
    def all_right(self) -> bool:
        """True when every test input has an exact answer among its two attempts."""
        return self.right_at_2 == self.tests


@dataclass(frozen=True, slots=True)
class BatchScore:
    """Means over the tasks whose outputs are known."""

    tasks: int
    all_right: int
    pass_at_1: float
    pass_at_2: float


def as_grid(rows: GridLike) -> Grid:
    """The same grid as tuples of plain ints, so that grids compare whatever they were made of."""
    return tuple(tuple(int(cell) for cell in row) for row in rows)


def write_prediction(attempts: Iterable[tuple[GridLike, GridLike]]) -> list[dict[str, list[list[int]]]]:
    """The JSON-ready form of ``prediction.json``; the inverse of `predictions.read_prediction`."""
    return [
        {
            name: [list(row) for row in as_grid(grid)]
            for name, grid in (("attempt_1", one), ("attempt_2", two))
        }
        for one, two in attempts
    ]


def score(attempts: Sequence[tuple[GridLike, GridLike]], truths: Sequence[GridLike]) -> Score:
    """Compare the attempts of one task with its known test outputs, in the same order.

    A test input without attempts counts as wrong. Raises ValueError when there is no
    known output, or when there are more attempts than test inputs.
    """
    if not truths or len(attempts) > len(truths):
        raise ValueError(
            f"{len(attempts)} pairs of attempts cannot be scored with {len(truths)} known outputs"
        )
    hits = [
        (as_grid(one) == as_grid(truth), as_grid(two) == as_grid(truth))
        for (one, two), truth in zip(attempts, truths, strict=False)
    ]
    return Score(len(truths), sum(first for first, _ in hits), sum(first or second for first, second in hits))


def score_task(task: Task, attempts: Sequence[tuple[GridLike, GridLike]]) -> Score | None:
    """The score of one task, or None when its test outputs are not known."""
    return None if task.test_outputs is None else score(attempts, task.test_outputs)


def total(scores: Iterable[Score]) -> BatchScore | None:
    """The mean over tasks, each task weighing the same; None for no tasks."""
    each = list(scores)
    if not each:
        return None
    return BatchScore(
        tasks=len(each),
        all_right=sum(one.all_right for one in each),
        pass_at_1=sum(one.pass_at_1 for one in each) / len(each),
        pass_at_2=sum(one.pass_at_2 for one in each) / len(each),
    )


def placeholder(tests: int) -> list[dict[str, list[list[int]]]]:
    """What a submission has for a task without an answer: Kaggle's own sample grid, for each test input.

    https://www.kaggle.com/competitions/arc-prize-2025/overview/evaluation
    """
    blank = [[0, 0], [0, 0]]
    return [{"attempt_1": blank, "attempt_2": blank} for _ in range(tests)]


def submission(predictions: Mapping[str, Sequence[Mapping[str, GridLike]]]) -> dict[str, Any]:
    """Kaggle's ``submission.json``: task id to its ``prediction.json``, ids in order.

    Raises AnswerRefused.
    """
    return {
        task_id: write_prediction(read_prediction(predictions[task_id])) for task_id in sorted(predictions)
    }

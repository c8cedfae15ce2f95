"""Votes become two different attempts."""

import torch

from gpu_runner.solver.canvas import BACKGROUND, BORDER, VOCABULARY
from gpu_runner.solver.decode import Ballot, attempts, fallback, read_answer, read_size
from gpu_runner.solver.task import Task

TASK = Task.from_json({"train": [{"input": [[1, 2]], "output": [[2, 1]]}], "test": [{"input": [[3, 4]]}]})


def scores(grid: list[list[int]], sure: float = 5.0) -> torch.Tensor:
    return (sure * torch.nn.functional.one_hot(torch.tensor(grid), 10)).log_softmax(-1)


def test_the_grid_most_views_agree_on_comes_first():
    ballot = Ballot()
    for grid in ([[4, 3]], [[3, 3]], [[4, 3]]):
        ballot.add(scores(grid))
    assert attempts(ballot, TASK, 0) == ([[4, 3]], [[3, 3]])
    assert [c.votes for c in ballot.candidates()] == [2, 1]


def test_between_equal_votes_the_likelier_grid_wins():
    ballot = Ballot()
    ballot.add(scores([[4, 3]], sure=1.0))
    ballot.add(scores([[3, 3]], sure=9.0))
    assert attempts(ballot, TASK, 0)[0] == [[3, 3]]


def test_a_unanimous_vote_still_gives_a_second_attempt_with_the_least_certain_cell_changed():
    ballot = Ballot()
    view = scores([[4, 3]])
    view[0, 1] = torch.tensor([0.0, 0, 0, 2, 0, 0, 0, 1.9, 0, 0]).log_softmax(-1)
    ballot.add(view)
    assert attempts(ballot, TASK, 0) == ([[4, 3]], [[4, 7]])


def test_without_a_readable_view_the_fallback_gives_two_different_grids():
    assert attempts(Ballot(), TASK, 0) == fallback(TASK, 0) == ([[3, 4]], [[4, 4]])


def canvas(height: int, width: int, top: int, left: int) -> torch.Tensor:
    found = torch.full((16, 16), BACKGROUND)
    found[top : top + height + 1, left : left + width + 1] = BORDER
    found[top : top + height, left : left + width] = 3
    return found


def test_the_border_says_how_large_the_answer_is():
    assert read_size(canvas(4, 6, 2, 1), 1, 2, 1) == (4, 6)
    assert read_size(canvas(4, 6, 2, 1), 2, 2, 1) == (2, 3)


def test_an_answer_without_a_clear_frame_is_dropped():
    torn = canvas(4, 6, 2, 1)
    torn[6] = BACKGROUND
    assert read_size(torn, 1, 2, 1) is None
    assert read_size(canvas(3, 6, 2, 1), 2, 2, 1) is None
    assert read_size(torch.full((16, 16), BACKGROUND), 1, 0, 0) is None
    assert read_size(torch.full((16, 16), 5), 1, 0, 0) is None


def test_a_cell_drawn_as_a_block_is_averaged_over_the_block():
    logits = torch.zeros(16, 16, VOCABULARY)
    logits[2:4, 2:4, 7] = torch.tensor([[4.0, 4.0], [4.0, 0.0]])
    found = read_answer(logits, (1, 1), 2, 2, 2)
    assert found is not None
    assert found.shape == (1, 1, 10)
    assert int(found.argmax()) == 7

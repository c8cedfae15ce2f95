"""A second seed where the first leaves doubt and time; the pooled votes, solved and predicted."""

import pytest
import torch

from gpu_runner.solver import BadWeights, SolveBudget, predict, second, solve
from gpu_runner.solver.decode import Ballot
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.second import counts, goes_again, pooled
from gpu_runner.solver.weights import write_checkpoint

from .test_resume import TASK

pytestmark = pytest.mark.usefixtures("rules_once")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    write_checkpoint(path, CONFIGS["tiny"], Solver(CONFIGS["tiny"]).state_dict())
    return path


def ask(shares=(0.9,), *, stopped_by="fit", first=10.0, left=20.0, wanted=True):
    goes, why = goes_again(
        shares, stopped_by=stopped_by, first_seconds=first, seconds_left=left, wanted=wanted
    )
    assert why
    return goes


def test_a_doubtful_answer_with_time_left_is_adapted_for_again():
    assert ask(shares=(0.9, 0.3))
    assert ask(stopped_by="samples")
    assert ask(shares=(0.0,), stopped_by="rejected", left=10.0)


def test_a_sure_answer_too_little_time_or_no_wish_end_the_work():
    assert not ask(shares=(0.9, 0.5))
    assert not ask(shares=(0.3,), left=9.9)
    assert not ask(shares=(0.3,), wanted=False)


def test_a_second_run_cut_short_of_the_first_ones_fit_has_no_vote():
    assert counts(stopped_by="fit", demo_fit=1.0, first_fit=0.5, views=96)
    assert counts(stopped_by="samples", demo_fit=0.2, first_fit=0.5, views=96)
    assert counts(stopped_by="deadline", demo_fit=0.6, first_fit=0.5, views=8)
    assert not counts(stopped_by="deadline", demo_fit=0.4, first_fit=0.5, views=8)
    assert not counts(stopped_by="fit", demo_fit=1.0, first_fit=0.5, views=0)


def ballot(*grids):
    """One vote for each grid, by a view that is sure of it."""
    found = Ballot(views=len(grids))
    for grid in grids:
        scores = torch.full((len(grid), len(grid[0]), 10), -5.0)
        found.add(scores.scatter(-1, torch.tensor(grid)[..., None], -0.1))
    return found


def test_pooled_votes_are_those_of_one_ballot_with_all_the_views():
    grids = [[[1, 2]], [[1, 2]], [[3, 4]], [[5, 0]], [[3, 4]], [[3, 4]], [[6], [7]]]
    (both,) = pooled([ballot(*grids[:3])], [ballot(*grids[3:])])
    alone = ballot(*grids)
    assert both.views == alone.views == 7
    assert both.votes == alone.votes
    assert both.readable == alone.readable
    assert [c.grid for c in both.candidates()] == [c.grid for c in alone.candidates()]
    assert max(both.candidates(), key=lambda c: c.votes).grid == [[3, 4]]


def test_pooling_leaves_the_ballots_as_they_were():
    one, other = ballot([[1]]), ballot([[2]])
    before = {size: scores.clone() for size, scores in one.log_probability.items()}
    pooled([one], [other])
    assert one.votes == {((1,),): 1}
    assert other.votes == {((2,),): 1}
    assert all(torch.equal(one.log_probability[size], scores) for size, scores in before.items())


@pytest.fixture(scope="module")
def twice(checkpoint, rules_once):
    return solve(TASK, SolveBudget(seconds=600, max_steps=4), checkpoint)


def test_both_adaptations_are_in_the_file_and_predict_the_pooled_answers(checkpoint, twice):
    once = solve(TASK, SolveBudget(seconds=600, max_steps=4, second_seed=False), checkpoint)
    assert twice.metrics["seeds"] == [0, second.seed_after(0)]
    assert once.metrics["seeds"] == [0]
    assert twice.metrics["views"] == [2 * views for views in once.metrics["views"]]
    beside = {key for key in twice.adapted if key.startswith(second.PREFIX)}
    assert {key.removeprefix(second.PREFIX) for key in beside} == set(once.adapted)
    assert all(torch.equal(twice.adapted[key], once.adapted[key]) for key in once.adapted)
    assert predict(TASK, twice.adapted, twice.adapted_metadata) == twice.attempts
    assert predict(TASK, once.adapted, once.adapted_metadata) == once.attempts


def test_a_second_adaptation_that_lacks_its_metadata_or_weights_is_refused(twice):
    kept = dict(twice.adapted)
    del kept[f"{second.PREFIX}task_tokens"]
    with pytest.raises(BadWeights):
        predict(TASK, kept, twice.adapted_metadata)
    with pytest.raises(BadWeights):
        predict(TASK, twice.adapted, twice.adapted_metadata | {"second.seed": "x"})


def test_from_scratch_the_second_seed_starts_at_other_weights(monkeypatch):
    monkeypatch.setattr("gpu_runner.solver.starting.DEFAULT_CONFIG", "tiny")
    found = solve(TASK, SolveBudget(seconds=600, max_steps=1), None)
    assert found.metrics["seeds"] == [0, second.seed_after(0)]
    assert not torch.equal(found.adapted["cell"], found.adapted["second.cell"])
    assert predict(TASK, found.adapted, found.adapted_metadata) == found.attempts


def test_the_pretrained_network_alone_has_no_second_seed(checkpoint):
    assert solve(TASK, SolveBudget(seconds=600, adapt=False), checkpoint).metrics["seeds"] == [0]

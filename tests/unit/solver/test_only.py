"""Rules alone, the network alone, or both: who answers, who is not asked, and who proposed what."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import pytest
import torch
from safetensors.torch import load, save

from arcspot_cli.evaluation import asking
from gpu_runner.solver import BadWeights, Only, SolveBudget, engine, predict, reasoning, solve
from gpu_runner.solver.credit import attempts_by
from gpu_runner.solver.decode import Ballot, attempts
from gpu_runner.solver.task import Task

from .test_downloaded import FLIP
from .test_engine import ROWS as TASK
from .test_engine import checkpoint, well_formed  # noqa: F401  # checkpoint is a fixture
from .test_reasoning import SMALLEST, SURE, never

# One input with two outputs: no rule explains it.
RIDDLE = {
    "train": [
        {"input": [[1, 2], [0, 3]], "output": [[3, 9]]},
        {"input": [[1, 2], [0, 3]], "output": [[9, 3]]},
    ],
    "test": [{"input": [[7, 0], [1, 6]]}, {"input": [[2, 2], [8, 0]]}],
}
RULES = SolveBudget(seconds=60, only="rules")
NETWORK = SolveBudget(seconds=60, only="network", max_steps=6, second_seed=False)


def predicted(task, found):
    """From the bytes a runner would upload."""
    return predict(task, load(save(found.adapted)), found.adapted_metadata)


@pytest.fixture(scope="module")
def of_no_rule():
    return solve(RIDDLE, RULES, None)


def test_rules_alone_answer_what_they_are_sure_of_as_they_do_before_a_network():
    found, before = solve(SURE, RULES, None), solve(SURE, replace(RULES, only="both"), None)
    assert found.attempts[0][0] == SMALLEST
    assert (found.attempts, found.adapted_metadata) == (before.attempts, before.adapted_metadata)
    assert found.metrics["confidence"] == before.metrics["confidence"]
    assert found.metrics["attempts_by"][0]["attempt_1"] == ["rules"]


@pytest.mark.usefixtures("never_trained")
def test_rules_alone_answer_in_doubt_too_and_nothing_is_trained():
    found = solve(TASK, RULES, None)
    well_formed(found.attempts, 2)
    assert found.metrics["rules"] > 0
    kept = reasoning.replay(Task.from_json(TASK), found.adapted_metadata[reasoning.RULES])
    assert not kept.sure(len(TASK["train"]))
    assert found.attempts == tuple(reasoning.alone(ballot) for ballot in kept.ballots)
    assert (found.metrics["hypothesis"], found.metrics["steps"], found.metrics["flops"]) == ("rules", 0, 0)
    assert set(found.adapted) == {reasoning.WEIGHTS}
    assert max(found.metrics["confidence"]) < 0.5, "a doubtful rule is not told as a sure one"
    assert predicted(TASK, found) == found.attempts


@pytest.fixture
def never_trained(monkeypatch):
    """Every network's training would go through one of these."""

    def trained(*_, **__):
        raise AssertionError("a network was trained")

    monkeypatch.setattr(torch.Tensor, "backward", trained)
    monkeypatch.setattr(torch.optim.Optimizer, "__init__", trained)


@pytest.mark.usefixtures("never_trained")
def test_where_no_rule_is_found_two_guesses_fill_the_place_and_nobody_proposed_them():
    found = solve(RIDDLE, RULES, None)
    well_formed(found.attempts, 2)
    assert (found.metrics["rules"], found.metrics["steps"], found.metrics["demo_fit"]) == (0, 0, 0.0)
    assert found.metrics["stopped_by"] == "no rule"
    assert found.attempts == tuple(attempts(Ballot(), Task.from_json(RIDDLE), n) for n in range(2))
    assert found.metrics["attempts_by"] == [{"attempt_1": [], "attempt_2": []}] * 2
    assert all(sure < 0.1 for sure in found.metrics["confidence"])
    json.dumps(found.metrics)


def test_guesses_of_no_rule_are_predicted_again_and_refused_for_another_task(of_no_rule):
    assert predicted(RIDDLE, of_no_rule) == of_no_rule.attempts
    with pytest.raises(BadWeights, match="another task"):
        predict(SURE, of_no_rule.adapted, of_no_rule.adapted_metadata)
    larger = {"train": [{"input": [[1] * 9], "output": [[2] * 9]}], "test": [{"input": [[3] * 9]}] * 2}
    with pytest.raises(BadWeights, match="its sizes differ"):
        predict(larger, of_no_rule.adapted, of_no_rule.adapted_metadata)


def test_without_time_rules_alone_still_answer_and_say_why():
    found = solve(SURE, replace(RULES, seconds=0.0), None)
    well_formed(found.attempts, 1)
    assert found.metrics["stopped_by"] == "deadline"
    assert predicted(SURE, found) == found.attempts


@pytest.mark.parametrize("task", [SURE, FLIP], ids=["a rule's", "the pointer's"])
def test_the_network_alone_works_where_others_would_have_been_believed(task, checkpoint, monkeypatch):  # noqa: F811
    monkeypatch.setattr(reasoning, "reason", never)
    found = solve(task, NETWORK, checkpoint)
    assert found.metrics["hypothesis"] in ("exchangeable", "specific")
    assert found.metrics["steps"] > 0
    assert found.metrics["rules"] == 0
    assert {name for by in found.metrics["attempts_by"][0].values() for name in by} == {"network"}
    assert predicted(task, found) == found.attempts


def test_both_tell_whose_each_attempt_is(checkpoint):  # noqa: F811
    found = solve(TASK, replace(NETWORK, only="both", max_steps=2), checkpoint)
    ruled = reasoning.replay(Task.from_json(TASK), found.adapted_metadata[reasoning.RULES])
    assert found.metrics["rules"] > 0
    for pair, by, ballot in zip(found.attempts, found.metrics["attempts_by"], ruled.ballots, strict=True):
        grids = [one.grid for one in ballot]
        assert [("rules" in sources) for sources in by.values()] == [grid in grids for grid in pair]
        assert all(by.values()), "whatever rules did not say, the network did"


def test_evaluate_offers_what_the_solver_understands():
    assert get_args(asking.Only) == get_args(Only)


def test_a_pointer_that_answers_alone_is_named():
    found = solve(FLIP, SolveBudget(seconds=60), None)
    assert found.metrics["attempts_by"] == [{"attempt_1": ["pointer"], "attempt_2": ["pointer"]}]


@pytest.mark.parametrize(
    ("proposed", "expected"),
    [
        ({"rules": [[[1]]], "network": [[[1]], [[2]]]}, (["network", "rules"], ["network"])),
        ({"rules": [[[2]]], "network": []}, ([], ["rules"])),
        ({"rules": [], "network": []}, ([], [])),
    ],
)
def test_an_attempt_is_of_all_who_proposed_exactly_this_grid(proposed, expected):
    (told,) = attempts_by((([[1]], [[2]]),), [proposed])
    assert (told["attempt_1"], told["attempt_2"]) == expected


def test_a_single_candidate_and_the_next_likely_one_are_both_proposed():
    ballot = Ballot()
    assert ballot.proposed() == []
    ballot.add(torch.tensor([[[0.5, 0.3, *[0.025] * 8]]]).log())
    assert sorted(ballot.proposed()) == [[[0]], [[1]]]
    assert list(attempts(ballot, Task.from_json(TASK), 0)) == ballot.proposed()


def test_state_kept_for_one_way_of_answering_is_of_no_use_to_another():
    task = Task.from_json(TASK)
    names = {engine._identity(task, SolveBudget(seconds=5, only=only), None) for only in get_args(Only)}
    assert len(names) == 3


@pytest.mark.parametrize("wrong", [{"only": "luck"}, {"only": "rules", "adapt": False}])
def test_a_budget_that_leaves_nobody_to_answer_is_refused(wrong):
    with pytest.raises(ValueError, match="only is"):
        SolveBudget(seconds=5, **wrong)

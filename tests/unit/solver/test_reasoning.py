"""Rules as the solver uses them: their votes, beside a network's attempts, kept, and read again."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpu_runner.solver import (
    BadWeights,
    Interrupted,
    SolveBudget,
    predict,
    reasoning,
    small,
    solve,
    spreading,
)
from gpu_runner.solver.decode import Ballot
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.reasoning import FEWEST, SURE_SHARE, SURE_WEIGHT, Reasoned, Voted
from gpu_runner.solver.rules.kinds import rule_from_json
from gpu_runner.solver.rules.reason import Explanation
from gpu_runner.solver.rules.trees import Leaf
from gpu_runner.solver.task import Task
from gpu_runner.solver.weights import write_checkpoint

OWN = ["seen", ["same", 0], "own"]
MIRRORED = ["seen", ["same", 0], "mirror left-right"]
ALL_FIVE = ["seen", ["same", 0], "5"]


def boxes(height, width, *told):
    """A grid with boxes: (top, left, height, width, colour)."""
    rows = [[0] * width for _ in range(height)]
    for top, left, tall, wide, colour in told:
        for r in range(top, top + tall):
            rows[r][left : left + wide] = [colour] * wide
    return rows


# The answer is the smallest box.
SURE = {
    "train": [
        {"input": boxes(8, 9, (0, 0, 3, 3, 2), (4, 5, 2, 2, 5), (5, 0, 3, 2, 2)), "output": [[5, 5]] * 2},
        {"input": boxes(7, 7, (0, 0, 1, 3, 4), (2, 1, 3, 4, 1), (6, 3, 1, 4, 6)), "output": [[4, 4, 4]]},
        {"input": boxes(9, 8, (1, 1, 4, 4, 8), (7, 1, 1, 2, 3), (0, 6, 4, 2, 1)), "output": [[3, 3]]},
    ],
    "test": [{"input": boxes(9, 9, (0, 0, 3, 4, 1), (5, 5, 3, 3, 7), (6, 0, 2, 1, 9))}],
}
SMALLEST = [[9], [9]]
# Drawn by lot: rules that explain it are long.
DOUBTFUL = {
    "train": [
        {"input": [[1, 0, 3], [0, 7, 0], [2, 5, 5]], "output": [[4, 0, 9], [9, 4, 6], [0, 6, 4]]},
        {"input": [[0, 3, 0], [6, 6, 1], [0, 2, 8]], "output": [[9, 9, 0], [4, 0, 6], [6, 4, 9]]},
        {"input": [[5, 2, 2], [8, 0, 0], [1, 3, 7]], "output": [[6, 4, 4], [0, 9, 9], [9, 0, 6]]},
    ],
    "test": [{"input": [[0, 1, 6], [3, 0, 2], [7, 8, 0]]}],
}
ROWS = {
    "train": [{name: grid[:1] for name, grid in pair.items()} for pair in DOUBTFUL["train"]],
    "test": [{"input": DOUBTFUL["test"][0]["input"][:1]}],
}
"""As doubtful, and explained in a quarter of the time."""
QUICK = SolveBudget(seconds=600, max_steps=3, second_seed=False)

SHORT = 2


@pytest.fixture(autouse=True)
def short_spreading(monkeypatch):
    monkeypatch.setattr(spreading, "STEPS", SHORT)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    write_checkpoint(path, CONFIGS["tiny"], Solver(CONFIGS["tiny"]).state_dict())
    return path


def explained(*weighted):
    return [Explanation(rule_from_json(rule), weight) for rule, weight in weighted]


def asked(*tests):
    return Task.from_json({"train": SURE["train"], "test": [{"input": rows} for rows in tests]})


def test_rules_that_say_the_same_add_up_and_the_weightiest_answer_comes_first():
    symmetric, other = [[1, 2, 1]], [[1, 2, 3]]
    rules = explained((OWN, 0.25), (MIRRORED, 0.25), (ALL_FIVE, 0.3))
    first, second = reasoning.voted(rules, asked(symmetric, other)).ballots
    assert [(one.grid, one.weight, one.rules) for one in first] == [
        ([[1, 2, 1]], 0.5, 2),
        ([[5, 5, 5]], 0.3, 1),
    ]
    assert [one.grid for one in second] == [[[5, 5, 5]], [[1, 2, 3]], [[3, 2, 1]]]
    assert all(sum(one.share for one in found) == pytest.approx(1.0) for found in (first, second))


def test_a_candidate_that_can_be_no_grid_has_no_vote():
    too_large = rule_from_json(["seen", ["enlarged", 2, 2], "own"])
    no_colour = replace(rule_from_json(OWN), tree=Leaf("10"))  # from a file it would be refused
    rules = [Explanation(rule, 1.0) for rule in (too_large, no_colour)]
    (found,) = reasoning.voted(rules, asked([[1] * 20])).ballots
    assert found == ()


def found_with(weight, share):
    return Voted([[1]], weight, share, 1)


def test_rules_are_sure_when_each_test_has_one_weighty_answer_and_enough_was_shown():
    good = (found_with(SURE_WEIGHT, SURE_SHARE),)
    assert Reasoned((), (good, good)).sure(FEWEST)
    assert not Reasoned((), (good, good)).sure(FEWEST - 1)
    for worse in ((), (found_with(SURE_WEIGHT / 2, 1.0),), (found_with(4.0, SURE_SHARE - 0.1),)):
        assert not Reasoned((), (good, worse)).sure(FEWEST)


grids = st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=1, max_size=2)
small_pairs = st.tuples(grids, grids).filter(lambda pair: pair[0] != pair[1])
ballots = st.lists(
    st.builds(Voted, grids, st.floats(1e-4, 4.0), st.floats(0.0, 1.0), st.just(1)),
    max_size=3,
    unique_by=lambda one: str(one.grid),
).map(lambda found: tuple(sorted(found, key=lambda one: -one.weight)))


chances = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)).map(lambda pair: sorted(pair, reverse=True))


@given(ballots, small_pairs, chances)
def test_beside_the_network_the_likeliest_two_different_grids_are_the_attempts(found, network, chances):
    first, second = reasoning.beside(found, list(zip(network, chances, strict=True)))
    assert first != second
    ruled = [one.grid for one in found[:2]]
    assert first in (*ruled, *network)
    assert second in (*ruled, *network)
    if not found:
        assert (first, second) == network
    elif chances[0] == 0.0:
        assert first == ruled[0]
    elif chances[1] == 1.0 and network[0] not in ruled:
        assert first == network[0]


def test_a_grid_that_rules_and_network_both_give_comes_before_either_alone():
    found = (Voted([[1]], 0.05, 0.5, 3), Voted([[2]], 0.05, 0.5, 3))
    (likely, _) = reasoning.chances_of(found)
    attempts = reasoning.beside(found, [([[3]], likely * 1.01), ([[2]], likely * 0.9)])
    assert attempts == ([[2]], [[3]])


def test_a_network_that_does_not_fit_its_demonstrations_comes_after_rules_that_do():
    ballot = Ballot()
    for colours in ([9], [9], [8]):
        ballot.add(torch.nn.functional.one_hot(torch.tensor([colours]), 10).float().mul(4).log_softmax(-1))
    task = asked([[1]])
    found = Reasoned((), ((Voted([[1]], 0.1, 0.6, 3), Voted([[2]], 0.07, 0.4, 3)),))
    told = {"hypothesis": "specific", small.DEMO_FIT: "0.05"}
    assert small.answers(task, [ballot], found, told) == (([[1]], [[2]]),)
    told = {"hypothesis": "specific", small.DEMO_FIT: "1.0"}
    assert [[9]] in small.answers(task, [ballot], found, told)[0]
    with pytest.raises(BadWeights, match="demo_fit"):
        small.answers(task, [ballot], found, {"hypothesis": "specific"})


@given(ballots.filter(bool))
def test_rules_alone_give_two_different_attempts(found):
    first, second = reasoning.alone(found)
    assert first == found[0].grid
    assert first != second
    assert len(found) == 1 or second == found[1].grid


@pytest.fixture(scope="module")
def reasoned():
    """The rules of a task, each looked for once."""
    return cache(lambda told: reasoning.reason(Task.from_json(json.loads(told)), seed=3, go_on=lambda: True))


@pytest.mark.parametrize("task", [SURE, DOUBTFUL], ids=["sure", "doubtful"])
def test_kept_rules_give_the_same_candidates_again(reasoned, task):
    known = Task.from_json(task)
    found = reasoned(json.dumps(task))
    again = reasoning.replay(known, json.dumps(found.to_json()))
    assert again.ballots == found.ballots
    assert all(again.ballots)
    assert again.to_json() == found.to_json()


def test_the_same_seed_finds_the_same_rules(reasoned):
    again = reasoning.reason(Task.from_json(DOUBTFUL), seed=3, go_on=lambda: True)
    assert again.to_json() == reasoned(json.dumps(DOUBTFUL)).to_json()


def test_sure_rules_answer_alone_and_are_replayed():
    found = solve(SURE, QUICK, None)
    assert found.metrics["hypothesis"] == reasoning.NAME
    ((first, second),) = found.attempts
    assert first == SMALLEST
    assert first != second
    assert found.metrics["confidence"][0] > 0.5
    assert found.metrics["votes"][0][0]["grid"] == first
    assert found.metrics["votes"][0][0]["by"] == reasoning.NAME
    assert predict(SURE, found.adapted, found.adapted_metadata) == found.attempts
    json.dumps(found.metrics)


@pytest.fixture(scope="module")
def whole(checkpoint):
    """A doubtful task solved without an interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spreading, "STEPS", SHORT)
        return solve(ROWS, QUICK, checkpoint)


def test_doubtful_rules_stand_beside_the_network_and_both_are_replayed(whole):
    assert whole.metrics["hypothesis"] in ("exchangeable", "specific")
    assert whole.metrics["rules"] > 0
    by = {vote.get("by") for vote in whole.metrics["votes"][0]}
    assert by == {reasoning.NAME, None}
    ruled = reasoning.replay(Task.from_json(ROWS), whole.adapted_metadata[reasoning.RULES])
    assert ruled.ballots[0][0].grid in whole.attempts[0]
    assert predict(ROWS, whole.adapted, whole.adapted_metadata) == whole.attempts


def test_without_adapting_no_rule_is_looked_for(checkpoint, monkeypatch):
    monkeypatch.setattr(reasoning, "reason", never)
    found = solve(SURE, SolveBudget(seconds=600, adapt=False), checkpoint)
    assert found.metrics["rules"] == 0
    assert predict(SURE, found.adapted, found.adapted_metadata) == found.attempts


def never(*_, **__):
    raise AssertionError("the rules were looked for again")


DAMAGED = {
    "no JSON": "[[",
    "empty": "",
    "no list": "7",
    "no rule": "[[1.0]]",
    "no weight": json.dumps([["heavy", OWN]]),
    "a weight below zero": json.dumps([[-1.0, OWN]]),
    "an endless weight": "[[Infinity, " + json.dumps(OWN) + "]]",
    "an unknown kind": json.dumps([[1.0, ["guess", 1]]]),
    "an unknown view": json.dumps([[1.0, ["seen", ["nowhere", 0], "own"]]]),
    "a view without a name": json.dumps([[1.0, ["seen", [], "own"]]]),
    "too many numbers": json.dumps([[1.0, ["seen", ["same", 0, 1, 2], "own"]]]),
    "a torn tree": json.dumps([[1.0, ["seen", ["same", 0], ["own is 1", "2"]]]]),
    "an unknown family": json.dumps([[1.0, ["cut", ["cousins", "most", "area", 0], None]]]),
    "an unknown trait": json.dumps([[1.0, ["cut", ["objects", "most", "beauty", 0], None]]]),
    "a mosaic without a cover": json.dumps([[1.0, ["mosaic", []]]]),
    "parts of nothing": json.dumps([[1.0, ["seen", ["parts", 0, 0], "own"]]]),
    "nested without an end": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_damaged_rules_are_bad_weights(text):
    with pytest.raises(BadWeights, match="damaged"):
        reasoning.replay(Task.from_json(SURE), text)


def test_rules_of_another_task_are_refused():
    found = solve(SURE, QUICK, None)
    other = {"train": SURE["train"], "test": [{"input": [[5]]}]}
    metadata = found.adapted_metadata | {reasoning.RULES: "[]"}
    with pytest.raises(BadWeights, match="another task"):
        predict(other, found.adapted, metadata)
    with pytest.raises(BadWeights, match="damaged"):
        predict(SURE, found.adapted, metadata | {reasoning.RULES: "{"})


class StopAt:
    """Asks to stop once this phase has been told of so often."""

    def __init__(self, phase, times):
        self.phase, self.left = phase, times

    def progress(self, *, phase, fraction, loss):
        self.left -= phase == self.phase

    def should_stop(self):
        return self.left <= 0


def interrupted(task, checkpoint, keep, *, phase, times=1):
    watch = StopAt(phase, times)
    with pytest.raises(Interrupted):
        solve(task, QUICK, checkpoint, progress=watch.progress, should_stop=watch.should_stop, keep=keep)


@pytest.mark.parametrize("phase", ["adapt", "decode"])
def test_rules_found_before_an_interruption_are_not_looked_for_again(
    checkpoint, whole, tmp_path, monkeypatch, phase
):
    keep = tmp_path / "state.safetensors"
    interrupted(ROWS, checkpoint, keep, phase=phase)
    monkeypatch.setattr(reasoning, "reason", never)
    found = solve(ROWS, QUICK, checkpoint, keep=keep)
    assert found.attempts == whole.attempts
    assert found.adapted_metadata == whole.adapted_metadata


def test_an_interruption_among_the_rules_costs_them_only(checkpoint, tmp_path):
    keep = tmp_path / "state.safetensors"
    interrupted(SURE, checkpoint, keep, phase="reason", times=3)
    found = solve(SURE, QUICK, checkpoint, keep=keep)
    assert found.attempts[0][0] == SMALLEST


def test_kept_rules_that_are_damaged_are_a_warning_and_a_fresh_start(
    checkpoint, whole, tmp_path, monkeypatch, caplog
):
    keep = tmp_path / "state.safetensors"
    real = reasoning.Reasoned.to_json
    monkeypatch.setattr(reasoning.Reasoned, "to_json", lambda self: [["heavy", "rule"]])
    interrupted(ROWS, checkpoint, keep, phase="adapt")
    monkeypatch.setattr(reasoning.Reasoned, "to_json", real)
    assert solve(ROWS, QUICK, checkpoint, keep=keep).attempts == whole.attempts
    assert "starting over" in caplog.text

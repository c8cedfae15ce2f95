"""A kept state whose checksum is right and whose insides are anybody's: a fresh start, never a crash.

Whoever can write to the bucket can make such a file. Each value of the two states, one left in the middle
of an adaptation and one among the votes, is replaced by each other kind of value, and each tensor by others.
What is taken up after that must work: the next steps are taken, the votes are counted.
"""

from __future__ import annotations

import contextlib
import copy
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gpu_runner.solver import SolveBudget, reasoning, resume, snapshot, solve
from gpu_runner.solver.decode import attempts
from gpu_runner.solver.errors import BadState, BadWeights
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.optim import Optimiser
from gpu_runner.solver.portfolio import hypothesis
from gpu_runner.solver.task import Task
from gpu_runner.solver.train import CPU, Adaptation
from tests.fakes.mutations import VALUES, mutants

from .test_resume import TASK, both_optimisers, checkpoint, left, rewrite, run  # noqa: F401

CHECKED = Task.from_json(TASK)
pytestmark = pytest.mark.usefixtures("rules_once")


@pytest.fixture(scope="module")
def states(left, tmp_path_factory):  # noqa: F811
    """The parts of both states, by name."""
    found, folder = {}, tmp_path_factory.mktemp("states")
    for name, body in left.items():
        path = folder / f"{name}.safetensors"
        path.write_bytes(body)
        with safe_open(path, framework="pt") as file:
            identity = json.loads(file.metadata()["state"])["identity"]
        found[name], _ = resume.read(path, identity)
    return found


def choose(name):
    return hypothesis(name, CHECKED, dihedrals=CPU.dihedrals, colours=CPU.colours, seed=0)


class Enough(Exception):
    """Two steps were taken."""


def go_on_adapting(part):
    """Take it up and train on: only BadState may come of it."""
    under_way = Adaptation(
        Solver(CONFIGS["tiny"]), CHECKED, choose("specific"), CPU,
        seed=0, device="cpu", max_steps=6, seconds=1.0,
    )  # fmt: skip
    snapshot.take_up(part, under_way)
    taken = 0

    def check(step, of, loss):
        nonlocal taken
        taken += 1
        if taken == 2:
            raise Enough

    with contextlib.suppress(Enough):
        under_way.finish(lambda: 1.0, check)
    json.dumps(under_way.result.account(), allow_nan=False)
    json.dumps(under_way.result.loss_curve, allow_nan=False)


def go_on_counting(part):
    count = snapshot.count(part, len(CHECKED.tests))
    for n, ballot in enumerate(count.ballots):
        first, second = attempts(ballot, CHECKED, n)
        assert first != second
        json.dumps([c.to_json() for c in ballot.candidates()], allow_nan=False)


def go_on_with_best(part):
    found = snapshot.adapted(part, Solver(CONFIGS["tiny"]), choose, largest=CPU.largest)
    json.dumps(found.account(), allow_nan=False)
    assert 1 <= found.batch_size <= CPU.largest


TAKERS = {
    ("adapt", "adapting"): go_on_adapting,
    ("decode", "best"): go_on_with_best,
    ("decode", "votes"): go_on_counting,
    ("decode", "work"): lambda part: snapshot.meter(part).flops(CONFIGS["tiny"]),
    ("decode", "start"): lambda part: snapshot.ranking(part, 3),
}


def tensors_instead(value):
    """Other tensors in the place of one."""
    yield "empty", torch.zeros(0)
    yield "a number", torch.zeros(())
    yield "one more axis", value[None].clone()
    yield "whole numbers", torch.zeros(value.shape, dtype=torch.int64)
    yield "doubles", torch.zeros(value.shape, dtype=torch.float64)
    yield "halves", torch.zeros(value.shape, dtype=torch.float16)
    yield "no numbers", torch.full(value.shape, float("nan"))
    yield "infinite", torch.full(value.shape, float("inf"))
    yield "below zero", torch.full(value.shape, -1.0)
    yield "huge", torch.full(value.shape, 3e38)
    yield "bytes", torch.full(value.shape, 255, dtype=torch.uint8)
    yield "yes and no", torch.ones(value.shape, dtype=torch.bool)


@pytest.mark.parametrize(("of", "name"), TAKERS)
def test_any_fact_of_a_state_works_or_is_refused(states, of, name):
    part = states[of][name]
    refused = 0
    for facts in mutants(part.facts, VALUES):
        try:
            TAKERS[of, name](resume.Part(facts, dict(part.tensors)))
        except BadState:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize(("of", "name"), [("adapt", "adapting"), ("decode", "best"), ("decode", "votes")])
def test_any_tensor_of_a_state_works_or_is_refused(states, of, name):
    part = states[of][name]
    refused = 0
    one_of_each = {key.rsplit("/", 1)[-1] if "/" in key else key: key for key in part.tensors}
    for key in one_of_each.values():
        without = {other: value for other, value in part.tensors.items() if other != key}
        instead = [without | {key: value} for _, value in tensors_instead(part.tensors[key])]
        for tensors in (without, *instead):
            try:
                TAKERS[of, name](resume.Part(copy.deepcopy(part.facts), tensors))
            except BadState:
                refused += 1
    assert refused > 5


def spoil_step(value):
    return lambda state, tensors: tensors.update({"adapting/adam/0/step": value})


SPOILT = {
    "an empty step of AdamW's": spoil_step(torch.zeros(0)),
    "a step of AdamW's below zero": spoil_step(torch.tensor(-1.0)),
    "moments without a step": lambda state, tensors: tensors.pop("adapting/adam/0/step"),
    "a time of zero for the schedule, and votes to come": lambda state, tensors: state["parts"]["adapting"][
        "schedule"
    ].update(seconds=0, pending=[[1.0, 0]]),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_state_with_the_right_checksum_never_ends_a_solve(checkpoint, left, tmp_path, name):  # noqa: F811
    keep = tmp_path / "state.safetensors"
    keep.write_bytes(left["adapt"])
    rewrite(keep, change=SPOILT[name])
    found, watch = run(checkpoint, keep)
    assert len(found.attempts) == len(TASK["test"])
    assert found.metrics["state_refused"]
    assert ("point", 1) in watch.seen


def test_what_nobody_looked_for_is_a_fresh_start_too(checkpoint, left, tmp_path, monkeypatch):  # noqa: F811
    keep = tmp_path / "state.safetensors"
    keep.write_bytes(left["adapt"])
    rewrite(keep, change=SPOILT["an empty step of AdamW's"])

    def unchecked(self, momenta, moments):
        groups = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": moments, "param_groups": groups})

    monkeypatch.setattr(Optimiser, "take_up", unchecked)
    found, _ = run(checkpoint, keep)
    assert "ended in" in found.metrics["state_refused"]


def test_a_failure_without_a_kept_state_is_told_as_it_is(checkpoint, tmp_path, monkeypatch):  # noqa: F811
    def broken(*_, **__):
        raise ZeroDivisionError("of the solver's own")

    monkeypatch.setattr("gpu_runner.solver.engine._best_hypothesis", broken)
    with pytest.raises(ZeroDivisionError):
        solve(TASK, SolveBudget(seconds=600, max_steps=1), checkpoint, keep=tmp_path / "state")


def test_a_generator_beyond_its_numbers_is_refused(states):
    part = states["adapt"]["adapting"]
    spoilt = part.tensors["generator"].clone()
    spoilt[8:12] = torch.tensor([624], dtype=torch.int32).view(torch.uint8)
    spoilt[16:24] = torch.tensor([600], dtype=torch.int64).view(torch.uint8)
    with pytest.raises(BadState, match="no place"):
        go_on_adapting(resume.Part(part.facts, part.tensors | {"generator": spoilt}))


def test_a_header_that_is_none_of_ours_is_refused(tmp_path):
    path = tmp_path / "state"
    for text in ("", "5", "[]", '{"identity": "x"}', "[" * 100_000, "1" * 5000):
        digest = resume._digest(text, {})
        save_file({}, path, metadata={"format": resume.FORMAT, "state": text, "sha256": digest})
        with pytest.raises(BadState):
            resume.read(path, "x")


RULE = ["seen", ["plain"], ["a fact", "1", ["b", "2", "same"]]]


def test_rules_of_anybody_work_or_are_refused():
    refused = 0
    for told in mutants([[1.0, RULE], [0.5, ["program", ["crop"]]], [2.0, ["mosaic", [0, 1]]]], VALUES):
        try:
            found = reasoning.replay(CHECKED, json.dumps(told))
            json.dumps([[one.share for one in ballot] for ballot in found.ballots], allow_nan=False)
        except BadWeights:
            refused += 1
    assert refused > 5

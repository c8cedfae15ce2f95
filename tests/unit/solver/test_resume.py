"""Interrupted and resumed: the same answer to the bit, and never a crash over a state that does not fit."""

import json
import logging
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gpu_runner.solver import Interrupted, SolveBudget, predict, resume, solve, train
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.weights import write_checkpoint

# The first and the last contradict each other: no rule explains it. Sizes are known, so that votes have
# likelihoods to carry.
TASK = {
    "train": [
        {"input": [[1, 2], [0, 3]], "output": [[3, 9]]},
        {"input": [[5, 0], [4, 4]], "output": [[9, 5]]},
        {"input": [[1, 2], [0, 3]], "output": [[9, 3]]},
    ],
    "test": [{"input": [[7, 0], [1, 6]]}, {"input": [[2, 2], [8, 0]]}],
}
QUICK = SolveBudget(seconds=600, max_steps=6)
pytestmark = pytest.mark.usefixtures("rules_once")
TIMES = {"seconds", "seconds_before", "small_seconds"}


@pytest.fixture(autouse=True, scope="module")
def both_optimisers():
    """As on a GPU, where Muon has momenta to keep beside AdamW's moments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CPU", replace(train.CPU, muon=True))
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    model = Solver(CONFIGS["tiny"])
    tokens = torch.randn(3, *model.mean_tokens.shape)
    write_checkpoint(path, CONFIGS["tiny"], model.state_dict(), tokens=tokens, task_ids=["a", "b", "c"])
    return path


class Watch:
    """Sees every step of a solve as (phase, how often so far), and may end it at one of them."""

    def __init__(self, stop_at=None):
        self.seen, self.stop_at = [], stop_at

    def progress(self, *, phase, fraction, loss):
        self.seen.append((phase, sum(known == phase for known, _ in self.seen) + 1))

    def should_stop(self):
        return bool(self.seen) and self.seen[-1] == self.stop_at


def run(checkpoint, keep=None, stop_at=None, task=TASK, budget=QUICK):
    watch = Watch(stop_at)
    try:
        found = solve(
            task, budget, checkpoint, progress=watch.progress, should_stop=watch.should_stop, keep=keep
        )
    except Interrupted:
        return None, watch
    return found, watch


@pytest.fixture(scope="module")
def whole(checkpoint):
    """The same solve without an interruption."""
    return run(checkpoint)[0]


def same(found, whole):
    assert found.attempts == whole.attempts
    assert found.adapted.keys() == whole.adapted.keys()
    assert all(torch.equal(found.adapted[key], whole.adapted[key]) for key in whole.adapted)
    assert found.adapted_metadata == whole.adapted_metadata
    told, expected = ({k: v for k, v in m.items() if k not in TIMES} for m in (found.metrics, whole.metrics))
    assert told == expected


@pytest.fixture(scope="module")
def left(checkpoint, tmp_path_factory):
    """What two interrupted solves left: one in its second hypothesis, one while it counted votes."""
    bodies = {}
    for stop_at in (("adapt", 8), ("decode", 3)):
        path = tmp_path_factory.mktemp("left") / "state.safetensors"
        assert run(checkpoint, path, stop_at)[0] is None
        bodies[stop_at[0]] = path.read_bytes()
    return bodies


@pytest.fixture
def kept(left, tmp_path):
    """A state left in the middle of the second hypothesis."""
    path = tmp_path / "state.safetensors"
    path.write_bytes(left["adapt"])
    return path


@pytest.fixture
def starts_over(checkpoint, caplog):
    """Whether a solve with this state warns and begins at the beginning."""

    def ask(path, **more):
        caplog.clear()
        _, watch = run(checkpoint, path, ("point", 1), **more)
        return "starting over" in caplog.text and watch.seen[-1] == ("point", 1)

    return ask


# 4 steps of "exchangeable", rejected, 6 of "specific", 4 batches of views; then 6 and 4 of the second seed.
AGAIN, AGAIN_VIEWS = (11, 14), (5, 7)


@pytest.mark.parametrize(
    "stop_at",
    [("adapt", step) for step in (1, 3, 8, *AGAIN)] + [("decode", batch) for batch in (1, 3, *AGAIN_VIEWS)],
)
def test_a_resumed_solve_gives_the_same_answer(checkpoint, whole, tmp_path, stop_at):
    keep = tmp_path / "state.safetensors"
    assert run(checkpoint, keep, stop_at)[0] is None
    same(run(checkpoint, keep)[0], whole)


def test_a_solve_interrupted_again_and_again_gives_the_same_answer(checkpoint, whole, tmp_path):
    keep = tmp_path / "state.safetensors"
    found, stops = None, 0
    while found is None:
        found, watch = run(checkpoint, keep, ("adapt", 2) if stops < 3 else ("decode", 2))
        stops += found is None
    assert stops >= 4
    assert watch.seen[1:] != []
    same(found, whole)


def test_in_bf16_too_a_resumed_solve_gives_the_same_answer(checkpoint, tmp_path, bf16):
    expected, _ = run(checkpoint)
    keep = tmp_path / "state"
    assert run(checkpoint, keep, ("adapt", 4))[0] is None
    same(run(checkpoint, keep)[0], expected)
    assert predict(TASK, expected.adapted, expected.adapted_metadata) == expected.attempts


def test_a_resumed_solve_does_not_repeat_what_was_done(checkpoint, kept, caplog):
    with caplog.at_level(logging.INFO):
        _, watch = run(checkpoint, kept)
    assert "resumed at step" in caplog.text
    assert "of hypothesis specific" in caplog.text
    assert not any(phase in ("point", "spread") for phase, _ in watch.seen)
    assert ("load", 2) not in watch.seen


def test_random_weights_are_the_same_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr("gpu_runner.solver.starting.DEFAULT_CONFIG", "tiny")
    keep = tmp_path / "state.safetensors"
    assert run(None, keep, ("adapt", 3))[0] is None
    same(run(None, keep)[0], run(None)[0])


def test_time_used_before_an_interruption_counts(checkpoint, kept):
    used = rewrite(kept, seconds=600.0)
    assert used > 0
    late = run(checkpoint, kept)[0]
    assert late.metrics["stopped_by"] == "deadline"
    assert late.metrics["seconds_before"] == 600.0
    assert late.metrics["seconds"] >= 600.0


def test_a_shorter_time_here_does_not_shorten_what_was_done_before(checkpoint, whole, kept):
    rewrite(kept, seconds=100.0)
    same(run(checkpoint, kept, budget=SolveBudget(seconds=600, max_steps=6, here=290))[0], whole)


def test_the_state_is_written_now_and_then_without_being_asked_for(checkpoint, tmp_path, monkeypatch):
    keep = tmp_path / "state.safetensors"
    run(checkpoint, keep)
    assert not keep.exists()
    monkeypatch.setattr(resume, "EVERY_S", 0.0)
    run(checkpoint, keep)
    assert keep.exists()
    assert list(tmp_path.iterdir()) == [keep]


def test_a_disk_that_refuses_costs_the_state_and_nothing_else(
    checkpoint, whole, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(resume, "EVERY_S", 0.0)
    same(run(checkpoint, tmp_path / "missing" / "state.safetensors")[0], whole)
    assert "not kept" in caplog.text


def rewrite(path, *, seconds=None, change=None, lie=False):
    """Write the file anew with one thing changed; its checksum is right again unless `lie`."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    state = json.loads(metadata["state"])
    before = state["seconds"]
    if seconds is not None:
        state["seconds"] = seconds
    if change is not None:
        change(state, tensors)
    text = json.dumps(state)
    digest = metadata["sha256"] if lie else resume._digest(text, tensors)
    save_file(tensors, path, metadata={"format": metadata["format"], "state": text, "sha256": digest})
    return before


CHANGES = {
    "steps as text": lambda s, t: s["parts"]["adapting"].update(steps="7"),
    "steps below zero": lambda s, t: s["parts"]["adapting"].update(steps=-1),
    "a huge batch": lambda s, t: s["parts"]["adapting"].update(batch_limit=10**15),
    "an unknown hypothesis": lambda s, t: s["parts"]["adapting"].update(hypothesis="guess"),
    "no schedule": lambda s, t: s["parts"]["adapting"].pop("schedule"),
    "an endless schedule": lambda s, t: s["parts"]["adapting"]["schedule"].update(end=10**12),
    "a row that is none": lambda s, t: s["parts"]["start"].update(ranked=[[0.1, 3]]),
    "facts that are none": lambda s, t: s["parts"].update(adapting=[1, 2]),
    "no parts": lambda s, t: s.pop("parts"),
    "negative time": lambda s, t: s.update(seconds=-1),
    "weights missing": lambda s, t: t.pop("adapting/weights/head"),
    "tokens of another shape": lambda s, t: t.update({"adapting/tokens": torch.zeros(1, 4, 32)}),
    "a momentum of another shape": lambda s, t: t.update({"adapting/momentum/0": torch.zeros(1)}),
    "moments of another shape": lambda s, t: t.update({"adapting/adam/0/exp_avg": torch.zeros(1)}),
    "weights that are not numbers": lambda s, t: t["adapting/weights/head"].fill_(float("nan")),
    "a generator of nobody": lambda s, t: t.update({"adapting/generator": torch.zeros(3, dtype=torch.uint8)}),
    "a tensor of no part": lambda s, t: t.update({"elsewhere/x": torch.zeros(1)}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_state_that_does_not_fit_is_a_warning_and_a_fresh_start(starts_over, kept, name):
    rewrite(kept, change=CHANGES[name])
    assert starts_over(kept)


@pytest.mark.parametrize("spoil", ["torn", "empty", "text", "changed", "another format"])
def test_a_file_that_is_no_state_is_a_warning_and_a_fresh_start(starts_over, kept, spoil):
    body = kept.read_bytes()
    if spoil == "changed":
        rewrite(kept, change=lambda state, tensors: tensors["adapting/tokens"].add_(1e-3), lie=True)
    elif spoil == "another format":
        save_file({"x": torch.zeros(1)}, kept)
    else:
        kept.write_bytes({"torn": body[: len(body) // 2], "empty": b"", "text": b"hello" * 99}[spoil])
    assert starts_over(kept)


def test_a_fresh_start_over_a_spoiled_state_gives_the_same_answer(checkpoint, whole, kept):
    rewrite(kept, change=CHANGES["a generator of nobody"])
    found = run(checkpoint, kept)[0]
    assert "generator" in found.metrics.pop("state_refused").lower()
    same(found, whole)


def test_a_state_of_another_seed_or_task_is_not_gone_on_from(starts_over, kept):
    body = kept.read_bytes()  # a fresh start soon writes a state of its own in the file's place
    assert starts_over(kept, budget=SolveBudget(seconds=600, max_steps=6, seed=1))
    kept.write_bytes(body)
    assert starts_over(kept, task={**TASK, "test": TASK["test"][:1]})
    kept.write_bytes(body)
    assert not starts_over(kept)


VOTES = {
    "batches that are no number": lambda s, t: s["parts"]["votes"].update(batches=True),
    "a ballot missing": lambda s, t: s["parts"]["votes"]["ballots"].pop(),
    "a colour that is none": lambda s, t: s["parts"]["votes"]["ballots"][0]["votes"].append([[[1, 99]], 1]),
    "a grid of no view's size": lambda s, t: s["parts"]["votes"]["ballots"][0]["votes"].append([[[1]], 1]),
    "scores of another shape": lambda s, t: t.update({"votes/0/1x2": torch.zeros(1, 1, 10)}),
    "no hypothesis": lambda s, t: s["parts"]["best"].pop("hypothesis"),
}


@pytest.mark.parametrize("name", VOTES)
def test_votes_that_do_not_fit_are_a_warning_and_a_fresh_start(starts_over, left, tmp_path, name):
    path = tmp_path / "state.safetensors"
    path.write_bytes(left["decode"])
    rewrite(path, change=VOTES[name])
    assert starts_over(path)


def test_a_second_seed_once_begun_goes_on_though_time_would_no_longer_suffice(checkpoint, whole, tmp_path):
    keep = tmp_path / "state.safetensors"
    assert whole.metrics["seeds"] == [0, 1_000_003]
    assert run(checkpoint, keep, ("adapt", AGAIN[0]))[0] is None
    rewrite(keep, seconds=450.0)
    found, watch = run(checkpoint, keep)
    same(found, whole)
    assert sum(phase == "adapt" for phase, _ in watch.seen) == 16 - (AGAIN[0] + 1)

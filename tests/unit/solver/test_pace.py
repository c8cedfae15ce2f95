"""The deadline: work is begun only where the longest of the last pieces would fit. No real time passes."""

import random

import pytest
import torch

from gpu_runner.solver import SolveBudget, solve
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.pace import MEMORY, Watch, batch_of_views_s, reserve_s
from gpu_runner.solver.weights import write_checkpoint

# The first and the last contradict each other: no rule explains it.
TASK = {
    "train": [
        {"input": [[1, 2], [0, 3]], "output": [[3, 9]]},
        {"input": [[5, 0], [4, 4]], "output": [[9, 5]]},
        {"input": [[1, 2], [0, 3]], "output": [[9, 3]]},
    ],
    "test": [{"input": [[7, 0], [1, 6]]}, {"input": [[2, 2], [8, 0]]}],
}


class FakeClock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Starved:
    """Every piece of work takes as long as `durations` says; what runs past the deadline is noted."""

    def __init__(self, clock, durations):
        self.clock, self.durations = clock, durations
        self.pieces = []

    def progress(self, *, phase, fraction, loss):
        if (phase, fraction) in (("load", 0.0), ("decode", 0.0), ("decode", 1.0)):
            return  # before the first piece, or all is done
        took = next(self.durations)
        self.clock.now += took
        self.pieces.append((phase, took))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    model = Solver(CONFIGS["tiny"])
    tokens = torch.randn(90, *model.mean_tokens.shape)
    ids = [str(n) for n in range(90)]
    write_checkpoint(path, CONFIGS["tiny"], model.state_dict(), tokens=tokens, task_ids=ids)
    return path


def solved(checkpoint, durations, seconds):
    """The solution, the pieces of work, and seconds past the deadline."""
    clock = FakeClock()
    starved = Starved(clock, iter(durations))
    found = solve(TASK, SolveBudget(seconds=seconds), checkpoint, progress=starved.progress, clock=clock)
    return found, starved.pieces, clock.now - 1000.0 - seconds


def wild(seed):
    """Mostly quick, some a hundred times as long."""
    rng = random.Random(seed)
    while True:
        yield rng.choice([0.05, 0.1, 0.2, 0.4]) * (rng.choice([10.0, 100.0]) if rng.random() < 0.1 else 1.0)


def steady(seconds):
    while True:
        yield seconds


@pytest.mark.parametrize("seconds", [0.0, 3.0, 30.0, 118.0])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_pieces_take_the_deadline_is_overrun_by_at_most_one(checkpoint, seed, seconds):
    found, pieces, over = solved(checkpoint, wild(seed), seconds)
    assert over <= (pieces[-1][1] if pieces else 0.0) + 1e-9
    assert all(first != second for first, second in found.attempts)


@pytest.mark.parametrize("step", [0.3, 1.0, 2.5])
def test_with_steady_steps_the_deadline_is_kept_and_views_are_counted(checkpoint, step):
    found, pieces, over = solved(checkpoint, steady(step), 60.0)
    assert over <= 0.0
    assert over > -3 * step - 1.0
    assert found.metrics["stopped_by"] == "deadline"
    assert sum(found.metrics["views"]) > 0
    assert ("adapt", step) in pieces


def test_one_long_step_among_the_last_is_reckoned_with_though_the_very_last_was_short(checkpoint):
    every_fifth = (step for _ in range(10**4) for step in (0.1, 0.1, 0.1, 0.1, 9.0))
    _, _, over = solved(checkpoint, every_fifth, 100.0)
    assert over <= 0.0


def test_time_used_before_counts_and_a_stall_is_forgotten():
    clock = FakeClock()
    watch = Watch(clock, started=clock.now, seconds=50.0, before=20.0)
    assert (watch.used(), watch.left()) == (20.0, 30.0)
    assert watch.longest("adapt") is None
    clock.now += 7.0
    watch.lap("adapt")
    assert watch.longest("adapt") == 7.0
    for _ in range(MEMORY):
        clock.now += 1.0
        watch.lap("adapt")
    assert watch.longest("adapt") == watch.usual("adapt") == 1.0
    clock.now += 5.0
    watch.begin()
    clock.now += 0.5
    watch.lap("decode")
    assert watch.longest("decode") == 0.5
    assert watch.longest("adapt") == 1.0
    assert watch.left() == 30.0 - 7.0 - MEMORY - 5.5


def test_the_reserve_grows_with_the_step_and_has_a_limit():
    assert reserve_s(0.0, 96, 4, most=30.0) == 0.3
    assert reserve_s(1.0, 96, 4, most=30.0) == pytest.approx(12 * 2 / 3 + 0.3)
    assert reserve_s(9.0, 96, 4, most=30.0) == 30.0


def test_before_the_first_batch_of_views_a_training_step_tells_how_long_it_takes():
    assert batch_of_views_s(None, None) == 0.0
    assert batch_of_views_s(None, 3.0) == pytest.approx(2.0)
    assert batch_of_views_s(5.0, 3.0) == 5.0

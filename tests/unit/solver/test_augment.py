"""Every variant has an exact inverse."""

import torch

from gpu_runner.solver.augment import Variant, unmove_probabilities, variants
from gpu_runner.solver.portfolio import EXCHANGEABLE, SPECIFIC, hypothesis, names_for
from gpu_runner.solver.task import Task

GRID = [[0, 1, 2], [3, 4, 5]]


def test_undoing_a_variant_gives_the_grid_back():
    for variant in variants(8, 3, seed=1):
        assert variant.undo(variant.apply(GRID)) == GRID


def test_the_eight_moves_of_an_asymmetric_grid_are_all_different():
    assert len({str(Variant(d).apply(GRID)) for d in range(8)}) == 8


def test_probabilities_are_turned_back_like_grids():
    for variant in variants(8, 2, seed=3):
        seen = torch.nn.functional.one_hot(torch.tensor(variant.apply(GRID)), 10).float()
        assert unmove_probabilities(seen, variant).argmax(-1).tolist() == GRID


def test_the_untouched_task_comes_first_and_the_background_keeps_its_colour():
    found = variants(8, 3, seed=0)
    assert found[0] == Variant()
    assert len(set(found)) == 24
    assert all(v.colours[0] == 0 for v in found)


def task_of(*demos):
    pairs = [{"input": i, "output": o} for i, o in demos]
    return Task.from_json({"train": pairs, "test": [{"input": demos[0][0]}]})


def test_colours_the_outputs_bring_in_are_never_shuffled():
    task = task_of(([[0, 3]], [[1, 3]]), ([[0, 2]], [[1, 2]]))
    chosen = hypothesis(EXCHANGEABLE, task, dihedrals=8, colours=3, seed=0)
    shuffles = chosen.shuffles(64, torch.Generator().manual_seed(0), plain=8)
    assert (shuffles[:, :2] == torch.tensor([0, 1])).all()
    assert (shuffles[:8] == torch.arange(10)).all()
    assert (shuffles.sort(1).values == torch.arange(10)).all()
    assert len(set(map(tuple, shuffles.tolist()))) > 40


def test_a_recolouring_by_a_table_has_only_specific_colours():
    assert names_for(task_of(([[3]], [[4]]), ([[1]], [[5]]))) == (SPECIFIC,)
    assert names_for(task_of(([[3, 1]], [[1, 3]]))) == (EXCHANGEABLE, SPECIFIC)

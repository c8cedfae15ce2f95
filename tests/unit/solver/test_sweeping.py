"""Rules that draw a grid line by line."""

import numpy as np
import pytest

from gpu_runner.solver.rules.drawing.sweeping import BACK, LINEWISE, SIDES, Swept, sweeps
from gpu_runner.solver.rules.kinds import rule_from_json
from gpu_runner.solver.rules.trees import Leaf, Split
from tests.unit.solver.small_grids import always, cells, drawn, every_fact


def thrown_back(grid):
    """A cell in the first line goes down slanting, and is thrown back by the edges."""
    told = grid.copy()
    height, width = grid.shape
    c, step = int(np.flatnonzero(grid[0])[0]), 1
    for r in range(1, height):
        if not 0 <= c + step < width:
            step = -step
        c += step
        told[r, c] = grid[0].max()
    return told


def started(height, width, column):
    grid = np.zeros((height, width), np.int64)
    grid[0, column] = 3
    return grid


def test_a_slanted_line_is_thrown_back_by_the_edges_of_a_larger_grid():
    pairs = [
        (grid, thrown_back(grid))
        for grid in (started(9, 3, 0), started(10, 4, 0), started(12, 5, 1), started(9, 6, 2))
    ]
    test = started(16, 7, 0)
    found = sweeps(pairs, [test], np.random.default_rng(0), always, every_fact)
    best, _ = max(found, key=lambda one: one[1])
    assert np.array_equal(best.answer(test), thrown_back(test))
    answers = [rule.answer(test).tobytes() for rule, _ in found]
    assert len(set(answers)) == len(answers)


def test_every_rule_found_answers_the_demonstrations_and_comes_back_from_json():
    pairs = [(grid, thrown_back(grid)) for grid in (started(6, 3, 0), started(7, 4, 1))]
    found = sweeps(pairs, [started(8, 5, 0)], np.random.default_rng(0), always, every_fact)
    assert {rule.written for rule, _ in found} == {False, True}
    for rule, weight in found:
        assert weight > 0
        assert all(np.array_equal(rule.answer(source), target) for source, target in pairs)
        assert rule_from_json(rule.to_json()) == rule


@pytest.mark.parametrize("side", range(len(SIDES)))
def test_a_grid_that_is_turned_comes_back(side):
    grid = drawn(3, 5, range(10), 1)
    assert np.array_equal(BACK[side](SIDES[side](grid)), grid)


def test_a_line_looks_at_the_line_drawn_before_it():
    downwards = Swept(
        0, False, Split("drawn 1 back, 0 across is there", Leaf("drawn 1 back, 0 across"), Leaf("own"))
    )
    assert downwards.answer(cells("120", "000", "003")).tolist() == cells("120", "120", "120").tolist()
    leftwards = Swept(3, False, downwards.tree)
    assert leftwards.answer(cells("001", "020")).tolist() == cells("111", "000").tolist()


def test_a_cell_that_writes_looks_at_its_own_line():
    tree = Split(
        "own is ground",
        Split("drawn 0 back, -1 across is there", Leaf("drawn 0 back, -1 across"), Leaf("0")),
        Leaf("own"),
    )
    assert Swept(0, True, tree).answer(cells("0103", "2000")).tolist() == cells("0113", "2222").tolist()


@pytest.mark.parametrize(
    ("fact", "yes", "no", "told"),
    [("new", "0", "2", "2020"), ("ground", "2", "0", "0202"), ("own", "2", "0", "0202"),
     ("2", "0", "2", "2020"), ("there", "0", "2", "2000")],
)  # fmt: skip
def test_facts_about_what_is_drawn_are_those_of_the_moment(fact, yes, no, told):
    tree = Split(f"drawn 0 back, -1 across is {fact}", Leaf(yes), Leaf(no))
    assert Swept(0, True, tree).answer(cells("0000")).tolist() == cells(told).tolist()


def test_a_tree_that_asks_for_what_no_grid_shows_has_no_answer():
    grid = cells("10", "01")
    assert Swept(0, False, Leaf("drawn 0 back, -1 across")).answer(grid) is None
    assert Swept(0, False, Leaf("drawn 1 back, 0 across")).answer(grid) is None
    assert Swept(0, False, Split("drawn 1 back, 0 across is odd", Leaf("1"), Leaf("2"))).answer(grid) is None
    assert Swept(0, False, Split("no such fact", Leaf("1"), Leaf("2"))).answer(grid) is None


def test_without_time_or_with_other_shapes_nothing_is_swept():
    pairs = [(cells("10"), cells("11"))] * 2
    assert sweeps(pairs, [cells("10")], np.random.default_rng(0), lambda: False, every_fact) == []
    other = [(cells("10"), cells("1"))] * 2
    assert sweeps(other, [cells("10")], np.random.default_rng(0), always, every_fact) == []


@pytest.mark.parametrize(
    "told",
    [["swept"], ["swept", LINEWISE, False, "own"], ["swept", -1, True, "own"],
     ["swept", len(SIDES), True, "own"], ["swept", 0, 1, "own"], ["swept", 0, True, []]],
)  # fmt: skip
def test_a_damaged_sweep_is_a_value_error(told):
    with pytest.raises(ValueError, match="rule"):
        rule_from_json(told)

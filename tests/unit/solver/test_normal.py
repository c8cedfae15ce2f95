"""Rules of simpler tasks: in a frame of the grid's own, or of one part after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_runner.solver.rules.kinds import rule_from_json
from gpu_runner.solver.rules.normal.frames import MARKS, RANKINGS, WAYS, Frame, Scheme, exchanged
from gpu_runner.solver.rules.normal.parts import CUTTERS, parts_of
from gpu_runner.solver.rules.normal.rules import simplified
from gpu_runner.solver.rules.normal.simpler import Simpler, parted, recoloured, turned
from gpu_runner.solver.rules.normal.wrapped import COPIED, Parted
from tests.unit.solver.small_grids import always, cells, drawn

GRIDS = st.builds(
    drawn,
    st.integers(1, 8),
    st.integers(1, 8),
    st.sampled_from([[0, 1], [0, 0, 0, 2, 3], [4, 5], [7]]),
    st.integers(0, 99),
)


class Shown:
    """A rule that answers what it was shown."""

    def __init__(self, pairs):
        self.pairs = pairs

    def answer(self, grid):
        return next((target for source, target in self.pairs if np.array_equal(source, grid)), None)

    def to_json(self):
        return "shown"


def nothing(pairs, tests):
    return []


def task_of(pairs, tests):
    return Simpler(pairs, tests, range(len(pairs)), lambda rule: rule)


@given(GRIDS, st.integers(0, 7), st.permutations(range(10)))
def test_what_is_put_into_a_frame_comes_back(grid, side, colours):
    frame = Frame(side, tuple(colours))
    assert np.array_equal(frame.back(frame.put(grid)), grid)


@given(GRIDS, st.integers(0, 7), st.sampled_from(sorted(MARKS)))
@settings(max_examples=50, deadline=None)
def test_a_turned_grid_stands_in_its_frame_as_the_grid_does(grid, side, marks):
    scheme = Scheme("turned", marks)
    frame, other = scheme.frame(grid), scheme.frame(Frame(side).put(grid))
    assert (frame is None) == (other is None)
    if frame is not None:
        marked = MARKS[marks](frame.put(grid)), MARKS[marks](other.put(Frame(side).put(grid)))
        middles = [np.argwhere(mask).mean(0).round(9).tolist() for mask in marked if mask.any()]
        shapes = {frame.put(grid).shape, other.put(Frame(side).put(grid)).shape}
        assert len(shapes) > 1 or not middles or middles[0] == pytest.approx(middles[1])


@given(GRIDS, st.sampled_from(sorted(RANKINGS)), st.sets(st.integers(0, 9)))
@settings(max_examples=50, deadline=None)
def test_colours_are_exchanged_and_fixed_ones_stay(grid, ranking, fixed):
    colours = exchanged(grid, ranking, tuple(sorted(fixed)))
    assert sorted(colours) == list(range(10))
    assert all(colours[colour] == colour for colour in fixed)


@given(GRIDS, st.sampled_from(sorted(CUTTERS)))
@settings(max_examples=40, deadline=None)
def test_parts_do_not_overlap_and_come_back_to_their_places(grid, cutter):
    boxes = parts_of(grid, cutter)
    if boxes is None:
        return
    parts = [grid[top:bottom, left:right] for top, left, bottom, right in boxes]
    assert sum(part.size for part in parts) <= grid.size
    same = Parted(cutter, COPIED, Shown([(part, part) for part in parts]))
    assert np.array_equal(same.answer(grid), grid)


def test_every_way_gives_one_of_its_sides():
    grid = cells("100", "120", "000")
    assert all(Scheme(way, "filled").frame(grid).side in sides for way, sides in WAYS.items())


DOWN = cells("0100", "0000", "0020", "0000")
ACROSS = cells("0000", "1000", "0020", "0000")
"""A line of 3 goes from the 1 towards the 2's row, or column."""

FALLS = [(DOWN, cells("0100", "0300", "0320", "0300")), (ACROSS, cells("0000", "1333", "0020", "0000"))]


def test_grids_turned_so_that_the_same_happens_on_the_same_side_come_first():
    best = turned(task_of(FALLS, [ACROSS]))[0]
    assert best.gain > 0
    assert len({bool(np.ptp(np.argwhere(t == 3)[:, 1])) for _, t in best.pairs}) == 1


def recolour(grid, one, two):
    table = np.arange(10)
    table[[1, 2]] = one, two
    return table[grid]


def test_colours_by_role_make_demonstrations_alike():
    grid, target = cells("1112", "1110"), cells("1111", "1112")
    pairs = [(recolour(grid, *c), recolour(target, *c)) for c in ((3, 4), (5, 6), (7, 8))]
    best = recoloured(task_of(pairs[:2], [pairs[2][0]]))[0]
    assert np.array_equal(best.pairs[0][0], best.pairs[1][0])
    assert np.array_equal(best.pairs[0][1], best.pairs[1][1])
    rule = best.wrap(Shown(best.pairs))
    assert np.array_equal(rule.answer(pairs[2][0]), pairs[2][1])


def test_a_task_whose_grids_all_turn_alike_is_no_simpler():
    grid = cells("10", "00")
    assert turned(task_of([(grid, grid), (grid, grid)], [grid])) == []


PANELS = cells("105100", "005010")
MIRRORED = cells("015001", "005010")


def test_each_panel_is_an_example():
    task = task_of([(PANELS, MIRRORED)], [PANELS])
    simpler = next(one for one in parted(task) if len(one.pairs) == 2)
    rule = simpler.wrap(Shown(simpler.pairs))
    assert np.array_equal(rule.answer(PANELS), MIRRORED)


def test_a_part_that_becomes_two_things_is_no_example():
    grid, target = cells("105105", "005005"), cells("105205", "005005")
    ways = [one.wrap(Shown([])).to_json() for one in parted(task_of([(grid, target)], [grid]))]
    assert ways
    assert all(cutter != "panels" for _, cutter, *_ in ways)


def test_answers_of_parts_are_laid_in_a_table():
    doubled = Shown([(cells(name), cells(name * 2)) for name in "1234"])
    told = Parted("panels", "table", doubled).answer(cells("152", "555", "354"))
    assert np.array_equal(told, cells("1122", "3344"))


def test_a_part_without_an_answer_leaves_the_grid_without_one():
    rule = Parted("panels", "copied", Shown([(cells("1"), cells("2"))]))
    assert rule.answer(cells("151")) is not None
    assert rule.answer(cells("152")) is None


def painted(colours):
    grid, target = cells("1112", "1110"), cells("1111", "1112")
    return recolour(grid, *colours), recolour(target, *colours)


def test_what_is_learned_of_simpler_demonstrations_answers_in_the_colours_of_the_test():
    pairs, (test, truth) = [painted((3, 4)), painted((5, 6))], painted((7, 8))
    found = simplified(
        pairs, [test], np.random.default_rng(0), always, nothing, lambda some, _: [(Shown(some), 1.0)]
    )
    assert any(np.array_equal(rule.answer(test), truth) for rule, _ in found)
    assert all(weight < 1.0 for _, weight in found)


def test_a_rule_of_a_simpler_task_comes_back_from_json():
    grids = [recolour(drawn(3, 4, [0, 0, 1, 2, 2, 2], n), 3 + n, 9 - n) for n in range(4)]
    pairs = [(grid, np.kron(grid, np.ones((2, 2), np.int64))) for grid in grids]
    found = simplified(pairs[:3], [grids[3]], np.random.default_rng(0), always, nothing, nothing)
    assert found
    for rule, _ in found:
        again = rule_from_json(rule.to_json())
        assert again.to_json() == rule.to_json()
        assert np.array_equal(again.answer(grids[0]), pairs[0][1])


def test_trees_that_explain_a_few_cells_weigh_less():
    grids = [recolour(drawn(3, 4, [0, 0, 1, 2, 2, 2], n), 3 + n, 9 - n) for n in range(4)]
    told = []
    for times in (1, 4):
        pairs = [(grid, np.full((times, times), grid.max())) for grid in grids]
        found = simplified(pairs[:3], [grids[3]], np.random.default_rng(0), always, nothing, nothing)
        told.append(max(weight for _, weight in found))
    assert told[0] < told[1]


def test_nothing_is_found_without_time():
    pairs = [painted((3, 4)), painted((5, 6))]
    assert not simplified(
        pairs,
        [pairs[0][0]],
        np.random.default_rng(0),
        lambda: False,
        nothing,
        lambda some, _: [(Shown(some), 1)],
    )


@pytest.mark.parametrize(
    "told",
    [
        ["framed", ["spun", "nothing", "", []], ["mosaic", [1, 0]]],
        ["framed", ["gone", "filled", "", []], ["mosaic", [1, 0]]],
        ["framed", ["", "", "beauty", []], ["mosaic", [1, 0]]],
        ["framed", ["spun", "filled", "", []], ["nothing"]],
        ["parted", "slices", "copied", ["mosaic", [1, 0]]],
        ["parted", "panels", "heap", ["mosaic", [1, 0]]],
    ],
)
def test_damaged_rules_are_no_rules(told):
    with pytest.raises(ValueError, match=r"no |damaged"):
        rule_from_json(told)

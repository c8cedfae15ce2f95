"""Steps over whole grids, the rules that draw with them, and rules that are repeated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_runner.solver.rules.agreeing import agreed
from gpu_runner.solver.rules.drawing.growing import Repeated, repetitions, rounds
from gpu_runner.solver.rules.drawing.rules import Drawn, Followed, Redrawn, drawings
from gpu_runner.solver.rules.drawing.scenes import ANY, scene_of
from gpu_runner.solver.rules.drawing.steps import PAINTED, RESTORED, STEPS, followed, path_from_json, stepped
from gpu_runner.solver.rules.grids import EIGHT, FOUR, NONE
from gpu_runner.solver.rules.kinds import rule_from_json
from gpu_runner.solver.rules.trees import Leaf, Split
from tests.unit.solver.small_grids import always, cells, drawn, every_fact

# Steps

SHOWN = {
    ("rays right", ANY): (cells("1020", "0000"), cells("1122", "0000")),
    ("lines right", 1): (cells("1020", "0000"), cells("1121", "0000")),
    ("shots across", 1): (cells("10020", "00010"), cells("11120", "00010")),
    ("joined across", ANY): (cells("3003", "4005"), cells("3333", "4005")),
    ("strokes drawn on slanted", ANY): (cells("1000", "0100", "0000"), cells("1000", "0100", "0010")),
    ("pointers followed", ANY): (cells("00000", "11200", "00000"), cells("00000", "11222", "00000")),
    ("bounces down-right", ANY): (cells("10000", "00000"), cells("10101", "01010")),
    ("walks right turning right", 2): (cells("2003", "0000", "0000"), cells("2223", "0020", "0020")),
    ("enclosed filled", ANY): (cells("1110", "1010", "1110"), cells("1110", "1110", "1110")),
    ("flooded", 2): (cells("2010", "0010", "0010"), cells("2210", "2210", "2210")),
    ("boxes of objects filled", ANY): (cells("100", "010", "001"), cells("111", "111", "111")),
    ("boxes around objects", ANY): (cells("0000", "0000", "0030"), cells("0000", "0333", "0333")),
    ("grown to sides", ANY): (cells("000", "030", "000"), cells("030", "333", "030")),
    ("hollowed by sides", ANY): (cells("4440", "4440", "4440"), cells("4440", "4040", "4440")),
    ("largest empty box filled", 5): (cells("5000", "0000", "0050"), cells("5555", "0555", "0050")),
    ("lines down", 3): (cells("30", "00", "10", "00", "00"), cells("30", "30", "10", "30", "30")),
    ("shots upright", 3): (cells("0", "0", "0", "3", "0", "1"), cells("0", "0", "0", "3", "3", "1")),
    ("joined over all straight", 4): (cells("4014", "0000", "4000"), cells("4444", "4000", "4000")),
    ("sand fallen down", 1): (cells("12", "00"), cells("02", "10")),
    ("objects fallen right", ANY): (cells("1100", "0120"), cells("0110", "0012")),
    ("others drawn to the colour", 7): (cells("70003", "70000"), cells("73000", "70000")),
    ("cells drawn to their like", ANY): (cells("40050", "44000"), cells("40000", "44000")),
    ("objects repeated right", 6): (cells("66000", "06000"), cells("66666", "06060")),
    ("groups mirrored rightwards", ANY): (cells("1200", "0200"), cells("1221", "0220")),
    ("groups made alike left-right", ANY): (cells("123", "020"), cells("123", "020")),
    ("only objects that are largest", ANY): (cells("1102", "0100"), cells("1100", "0100")),
    ("no objects that are single", ANY): (cells("1102", "0100"), cells("1100", "0100")),
    ("groups with colours swapped", ANY): (cells("120", "110"), cells("210", "220")),
    ("like shapes exchanged", 8): (cells("12088", "34088"), cells("12012", "34034")),
    ("objects coloured like the same outline", 5): (cells("550", "003", "770"), cells("770", "003", "770")),
    ("objects coloured like the nearest", 5): (cells("500", "000", "370"), cells("300", "000", "370")),
    ("colours in reverse order", ANY): (cells("112", "134"), cells("443", "421")),
    ("rows continued", ANY): (cells("121000",), cells("121212",)),
    ("stripes continued", ANY): (cells("123000", "230000", "300000"), cells("123123", "231231", "312312")),
    ("only in blocks of 2×2", ANY): (cells("1101", "1100", "0010"), cells("1100", "1100", "0000")),
    ("first hit coloured", 3): (cells("30088", "00088"), cells("30038", "00088")),
}  # fmt: skip


@pytest.mark.parametrize("move", SHOWN, ids=lambda move: move[0])
def test_a_step_draws_what_its_name_says(move):
    before, after = SHOWN[move]
    assert stepped(before, move).tolist() == after.tolist()


@settings(max_examples=25, deadline=None)
@given(
    st.builds(drawn, st.integers(1, 9), st.integers(1, 9), st.just([0, 0, 0, 1, 2]), st.integers(0, 999)),
    st.sampled_from([ANY, 0, 1, 2, 7]),
)
def test_every_step_leaves_its_grid_alone_and_gives_one_of_the_same_shape(grid, colour):
    kept = grid.copy()
    for name in STEPS:
        told = stepped(grid, (name, colour))
        assert np.array_equal(grid, kept), name
        if told is not None:
            assert told.shape == grid.shape, name
            assert told.min() >= 0, name
            assert told.max() <= 9, name


def ahead(grid, row, column, way):
    """The colours that lie ahead of a cell, up to the edge."""
    height, width = grid.shape
    seen = []
    while 0 <= (row := row + way[0]) < height and 0 <= (column := column + way[1]) < width:
        seen.append(int(grid[row, column]))
    return seen


@settings(max_examples=25, deadline=None)
@given(st.builds(drawn, st.integers(1, 9), st.integers(1, 9), st.just([0, 0, 0, 1, 2]), st.integers(0, 999)))
def test_a_scene_knows_how_much_ground_lies_ahead_of_a_cell_and_what_is_behind_it(grid):
    scene = scene_of(grid)
    for way in EIGHT:
        for (row, column), free in np.ndenumerate(scene.free(way)):
            seen = ahead(grid, row, column, way)
            filled = [n for n, colour in enumerate(seen) if colour != scene.ground]
            assert free == (filled[0] if filled else len(seen))
            assert scene.nearest(way)[row, column] == (seen[filled[0]] if filled else NONE)


def test_a_path_may_end_in_one_colour_or_with_what_was_there():
    grid = cells("1020", "5000")
    assert followed(grid, (("rays right", 1), (PAINTED, 7))).tolist() == cells("1720", "5000").tolist()
    path = (("colour removed", 2), ("rays right", 1), (RESTORED, 0))
    assert followed(grid, path).tolist() == cells("1111", "5000").tolist()


@pytest.mark.parametrize(
    "told", [None, 3, [["rays nowhere", 1]], [["rays up", 11]], [["rays up"]], ["rays up"]]
)
def test_a_damaged_path_is_a_value_error(told):
    with pytest.raises(ValueError, match="rule"):
        path_from_json(told)


# Rules that draw

CROSSES = [cells("00000", "00300", "00000", "00000"), cells("000000", "000000", "000020"),
           cells("0000", "0500", "0000", "0000", "0000"), cells("0000000", "0040000", "0000000")]  # fmt: skip


def crossed(grid):
    return followed(grid, (("rays straight", ANY),))


def fallen_and_filled(grid):
    return followed(grid, (("objects fallen down", ANY), ("enclosed filled", ANY)))


def right_if_red(grid):
    """Red cells shine to the right, all others down."""
    told = grid.copy()
    for r, c in np.argwhere(grid):
        if grid[r, c] == 2:
            told[r, c:] = 2
        else:
            told[r:, c] = grid[r, c]
    return told


RED = [
    cells("0400000", "0000000", "0000200", "0000000"),
    cells("002000", "000000", "030000", "000000"), cells("000000", "200000", "000004", "000000"),
    cells("000000", "000030", "002000", "000000", "000000"), cells("04000", "00000", "00020", "00000"),
]  # fmt: skip
HOLLOW = [cells("1110", "1010", "1110", "0000", "0000"), cells("02220", "02020", "02220", "00000"),
          cells("3333", "3003", "3333", "0000")]  # fmt: skip


@pytest.mark.parametrize(
    ("way", "shown"), [(crossed, CROSSES), (fallen_and_filled, HOLLOW), (right_if_red, RED)]
)
def test_what_is_drawn_is_found_and_comes_back_from_json(way, shown):
    pairs = [(grid, way(grid)) for grid in shown[:-1]]
    found = drawings(pairs, shown[-1:], np.random.default_rng(0), always, every_fact)
    best, weight = max(found, key=lambda one: one[1])
    assert weight > 0
    assert np.array_equal(best.answer(shown[-1]), way(shown[-1]))
    for rule, _ in found:
        assert all(np.array_equal(rule.answer(source), target) for source, target in pairs)
        again = rule_from_json(rule.to_json())
        assert again == rule


def test_without_time_nothing_is_drawn():
    pairs = [(grid, right_if_red(grid)) for grid in RED]
    assert drawings(pairs, RED[:1], np.random.default_rng(0), lambda: False, every_fact) == []
    assert repetitions(pairs, np.random.default_rng(0), lambda: False, every_fact) == []


def test_the_same_seed_finds_the_same_rules():
    pairs = [(grid, right_if_red(grid)) for grid in RED[:3]]

    def half(n, names, rng):
        return rng.random(len(names)) < 0.5

    one, two = (drawings(pairs, RED[3:], np.random.default_rng(5), always, half) for _ in range(2))
    assert one == two


def test_a_tree_chooses_among_pictures():
    paths = ((("rays right", ANY),), (("rays down", ANY),))
    rule = Drawn(paths, Split("row has 2", Leaf("picture 0"), Leaf("picture 1")))
    assert (
        rule.answer(cells("000", "200", "000", "003", "000")).tolist()
        == cells("000", "222", "200", "203", "203").tolist()
    )


def test_a_tree_takes_a_second_look_at_a_picture():
    rule = Redrawn((("enclosed filled", ANY),), Split("before is own", Leaf("own"), Leaf("6")))
    assert rule.answer(cells("111", "101", "111")).tolist() == cells("111", "161", "111").tolist()


def test_a_rule_over_sights_that_a_grid_does_not_have_has_no_answer():
    grid = cells("10", "01")
    assert Drawn((), Leaf("picture 4")).answer(grid) is None
    assert Redrawn((), Split("no such fact", Leaf("1"), Leaf("2"))).answer(grid) is None
    assert Repeated(Leaf("nowhere")).answer(grid) is None
    assert Followed((("healed", ANY),)).answer(grid) is None


@pytest.mark.parametrize(
    "told",
    [["followed"], ["followed", [["up", 1]]], ["drawn", None, "own"], ["drawn", [[["rays up", -1]]], 3],
     ["redrawn", [["rays up", "1"]], "own"], ["repeated", []], ["repeated", "own", "own"]],
)  # fmt: skip
def test_a_damaged_drawing_is_a_value_error(told):
    with pytest.raises(ValueError, match="rule"):
        rule_from_json(told)


# When drawings are asked for


def test_rules_agree_where_one_answer_has_weight_and_nearly_all_votes_for_every_test():
    tests = [cells("12"), cells("30")]
    same, other = Followed(()), Followed((("grid rolled right", ANY),))
    assert agreed([(same, 0.6), (Followed((("rays up", ANY),)), 0.5)], tests)
    assert not agreed([(same, 0.9)], tests)
    assert not agreed([(same, 2.0), (other, 0.5)], tests)
    assert not agreed([(Followed((("healed", ANY),)), 3.0)], tests)


# Rules that are repeated


def dodging(grid):
    """A red cell at the bottom grows upwards and steps to the right of what is in its way."""
    told = grid.copy()
    bottom = grid.shape[0] - 1
    for column in np.flatnonzero(grid[bottom] == 2):
        r, c = bottom, int(column)
        while r > 0:
            if grid[r - 1, c] == 5:
                c += 1
                told[r, c] = 2
            r -= 1
            told[r, c] = 2
    return told


WALLS = [
    cells("00000000", "00000000", "00000000", "05000000", "00000000", "02000200"),
    cells("000000000", "000000000", "000500000", "000000000", "000000500", "000000000", "020200200"),
    cells("0000000000", "0050000000", "0000000000", "0000000000", "0000050000", "0000000000", "0020020000"),
]
LAST = cells("00000000", "00000000", "00005000", "00000000", "00050000", "00000000", "00000000", "02020000")


def test_what_dodges_an_obstacle_is_found_and_goes_on_in_a_longer_grid():
    pairs = [(grid, dodging(grid)) for grid in WALLS]
    found = repetitions(pairs, np.random.default_rng(0), always, every_fact)
    rule, _ = max(found, key=lambda one: one[1])
    assert np.array_equal(rule.answer(LAST), dodging(LAST))
    assert rule_from_json(rule.to_json()) == rule


def test_rounds_lead_from_the_input_to_the_output_one_ring_at_a_time():
    source, target = cells("100000"), cells("111111")
    told = rounds(source, target, FOUR, NONE)
    assert [grid.sum() for grid in told] == [1, 2, 3, 4, 5, 6]
    assert len(rounds(cells("100", "000", "000"), np.ones((3, 3), np.int64), EIGHT, 1)) == 3


def test_a_rule_that_never_comes_to_rest_has_no_answer():
    blinking = Repeated(Split("own is 1", Leaf("2"), Leaf("1")))
    assert blinking.answer(cells("12")) is None


def test_a_short_growth_is_left_to_other_rules():
    pairs = [(cells("100"), cells("111"))] * 2
    assert repetitions(pairs, np.random.default_rng(0), always, every_fact) == []

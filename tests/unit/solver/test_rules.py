"""Small rules: what they see, how they are learned, and what they explain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_runner.solver.rules import grids, trees
from gpu_runner.solver.rules.before import CHANGES
from gpu_runner.solver.rules.grids import NONE, components
from gpu_runner.solver.rules.kinds import rule_from_json, view_named
from gpu_runner.solver.rules.mosaics import Mosaic, mosaics
from gpu_runner.solver.rules.reason import explain
from gpu_runner.solver.rules.selecting import FAMILIES, Choice, Part, choices
from gpu_runner.solver.rules.sights import Sheet, expand, truth
from gpu_runner.solver.rules.views import PICTURED, PLACED, PLAIN, VIEWS, same, split, views_for


def cells(*rows):
    """One grid from rows of digits."""
    return np.array([[int(cell) for cell in row] for row in rows], np.int64)


def always():
    return True


def explained(pairs, tests, go_on=always):
    return explain(pairs, tests, np.random.default_rng(0), go_on)


# Grids


def test_components_are_joined_by_sides_or_corners_within_a_colour_or_across():
    grid = cells("1020", "0100", "0022")
    filled = grid != 0

    def sizes(**how):
        return sorted(one.size for one in components(grid, within=filled, **how)[0])

    assert sizes(eight=False, by_colour=True) == [1, 1, 1, 2]
    assert sizes(eight=True, by_colour=True) == [1, 2, 2]
    assert sizes(eight=True, by_colour=False) == [5]
    _, label = components(grid, eight=True, by_colour=True, within=filled)
    assert (label == NONE).tolist() == (~filled).tolist()
    assert label[0, 0] == label[1, 1] != label[0, 2]


def test_a_component_knows_its_box_and_its_cells_within():
    grid = cells("000", "030", "033")
    (one,), _ = components(grid, eight=False, by_colour=True, within=grid == 3)
    assert one.box == (1, 1, 3, 3)
    assert one.shape == (2, 2)
    assert one.mask().tolist() == [[True, False], [True, True]]


def test_a_ray_tells_the_first_other_colour_and_how_far_it_is():
    colour, distance = grids.ray(cells("10023"), 0, 0, 1)
    assert colour.tolist() == [[2, 2, 2, 3, NONE]]
    assert distance.tolist() == [[3, 2, 1, 1, 0]]


def test_a_shift_leaves_nothing_beyond_the_edge():
    grid = cells("12", "34")
    assert grids.shifted(grid, 1, 0).tolist() == [[3, 4], [NONE, NONE]]
    assert grids.shifted(grid, 0, -1, fill=7).tolist() == [[7, 1], [7, 3]]
    assert (grids.shifted(grid, 2, 0) == NONE).all()


def test_mirrors_that_need_a_square_say_nothing_elsewhere():
    grid = cells("12", "34")
    seen = grids.mirrors(grid)
    assert seen["half turn"].tolist() == [[4, 3], [2, 1]]
    assert seen["transposed"].tolist() == [[1, 3], [2, 4]]
    assert seen["quarter turn back"].tolist() == [[3, 1], [4, 2]]
    wide = grids.mirrors(cells("123"))
    assert wide.keys() == seen.keys()
    assert wide["mirror left-right"].tolist() == [[3, 2, 1]]
    assert (wide["transposed"] == NONE).all()


def test_the_ground_is_black_where_there_is_any():
    assert grids.background(cells("110", "111")) == 0
    assert grids.background(cells("443", "411")) == 4


# What a cell sees


def drawn(height, width, colours, seed):
    return np.random.default_rng(seed).choice(colours, (height, width)).astype(np.int64)


sides = st.integers(1, 30)
any_grid = st.builds(
    drawn, sides, sides, st.lists(st.integers(0, 9), min_size=1, max_size=10), st.integers(0, 99)
)
KINDS = (PLAIN, PLACED, PICTURED)


@settings(max_examples=25, deadline=None)
@given(any_grid)
def test_every_grid_has_the_same_sights_in_the_same_order(grid):
    for kind in KINDS:
        known, sheet = same(kind).sheet(cells("120", "030")), same(kind).sheet(grid)
        assert [name for name, _ in expand(sheet)] == [name for name, _ in expand(known)]
        assert list(sheet.sources) == list(known.sources)
        assert all(values.shape == grid.shape for values in sheet.sources.values())
        assert all(values.min() >= NONE and values.max() <= 9 for values in sheet.sources.values())
        assert all(values.shape == grid.shape and values.dtype == bool for values in sheet.facts.values())


@settings(max_examples=10, deadline=None)
@given(any_grid)
def test_a_fact_asked_for_alone_is_the_one_among_all(grid):
    sheet = same(PICTURED).sheet(grid)
    assert all(np.array_equal(truth(sheet, name), values) for name, values in expand(sheet))
    with pytest.raises(KeyError):
        truth(sheet, "own is there")


def test_a_cell_sees_its_neighbours_and_what_lies_in_its_direction():
    sheet = same(0).sheet(cells("300", "004", "050"))
    assert sheet.sources["next right"][1, 1] == 4
    assert sheet.sources["seen left"][0, 2] == 3
    assert sheet.sources["rarest"][0, 0] in (3, 4, 5)
    assert sheet.facts["own is ground"].sum() == 6
    named = dict(expand(sheet))
    assert named["own is 5"].sum() == 1
    assert named["next right is there"][:, 2].tolist() == [False, False, False]


def test_a_picture_shows_what_would_be_after_gravity_and_in_a_mirror():
    seen = same(PICTURED).sheet(cells("120", "100", "003")).sources
    assert seen["sand fallen down"].tolist() == cells("000", "100", "123").tolist()
    assert seen["sand fallen left"].tolist() == cells("120", "100", "300").tolist()
    assert seen["objects fallen up"].tolist() == cells("123", "100", "000").tolist()
    assert seen["groups mirrored left-right"].tolist() == cells("210", "010", "003").tolist()


def test_a_change_before_trims_or_squeezes_or_does_not_apply():
    grid = cells("0000", "0110", "0110", "0020")
    assert CHANGES["trimmed"](grid).tolist() == cells("11", "11", "02").tolist()
    assert CHANGES["squeezed"](grid).tolist() == cells("0000", "0110", "0020").tolist()
    assert CHANGES["shrunk"](np.kron(cells("12"), np.ones((3, 3), np.int64))).tolist() == [[1, 2]]
    assert CHANGES["trimmed"](cells("000")) is None


@settings(max_examples=20, deadline=None)
@given(st.builds(drawn, st.integers(1, 9), st.integers(1, 9), st.just([0, 0, 1, 2]), st.integers(0, 999)))
def test_a_changed_grid_is_a_grid_or_none(grid):
    for change in CHANGES.values():
        found = change(grid)
        assert found is None or (found.size and found.min() >= 0 and found.max() <= 9)


# Trees


def table_of(*sheets):
    return trees.Table.of(sheets)


def small_sheet(own, left):
    sheet = Sheet()
    sheet.source("own", np.array(own))
    sheet.source("left", np.array(left))
    sheet.fact("filled", np.array(own) > 0)
    return sheet


@settings(max_examples=20, deadline=None)
@given(st.builds(drawn, st.integers(1, 9), st.integers(1, 9), st.just([0, 0, 1, 2]), st.integers(0, 999)))
def test_a_table_has_the_facts_in_the_order_of_their_names(grid):
    sheet = same(PLAIN).sheet(grid)
    table = table_of(sheet)
    assert table.fact_names == tuple(name for name, _ in expand(sheet))
    assert np.array_equal(table.facts.T, [values.ravel() for _, values in expand(sheet)])


def test_a_source_that_is_right_only_where_an_earlier_one_is_right_is_left_out():
    sheet = small_sheet([[0, 5, 0, 7]], [[4, 5, 6, 6]])
    sheet.source("again", np.array([[4, 9, 9, 9]]))
    sheet.source("otherwise", np.array([[9, 9, 9, 7]]))
    learner = trees.Learner(table_of(sheet), np.array([4, 5, 6, 7]))
    assert learner.sources == ["own", "left"]


def test_a_tree_takes_over_colours_and_explains_every_cell():
    sheet = small_sheet([[0, 5, 0, 7]], [[4, 4, 6, 6]])
    wanted = np.array([4, 5, 6, 7])
    tree = trees.Learner(table_of(sheet), wanted).grow()
    assert trees.leaves(tree) == 2
    assert trees.answer(tree, sheet).ravel().tolist() == wanted.tolist()
    fresh = small_sheet([[8, 0, 0]], [[1, 2, 3]])
    assert trees.answer(tree, fresh).tolist() == [[8, 2, 3]]


def test_what_looks_alike_and_is_not_has_no_tree():
    sheet = small_sheet([[1, 1]], [[2, 2]])
    assert trees.Learner(table_of(sheet), np.array([3, 4])).grow() is None


def test_a_tree_with_too_many_leaves_is_none():
    sheet = small_sheet([[1, 2, 3, 4]], [[5, 5, 5, 5]])
    wanted = np.array([2, 3, 4, 5])
    assert trees.leaves(trees.Learner(table_of(sheet), wanted, most_leaves=4).grow()) == 4
    assert trees.Learner(table_of(sheet), wanted, most_leaves=3).grow() is None


def test_no_tree_is_grown_over_facts_that_are_shut():
    sheet = small_sheet([[0, 5]], [[4, 4]])
    learner = trees.Learner(table_of(sheet), np.array([4, 5]))
    assert learner.grow(np.zeros(len(learner.names), bool)) is None
    assert learner.grow(np.ones(len(learner.names), bool)) is not None


def test_a_source_that_is_missing_for_a_cell_leaves_no_answer():
    sheet = small_sheet([[1, 2]], [[NONE, 3]])
    assert trees.answer(trees.Leaf("left"), sheet) is None
    guarded = trees.Split("own is 1", trees.Leaf("9"), trees.Leaf("left"))
    assert trees.answer(guarded, sheet).tolist() == [[9, 3]]


names = st.sampled_from(["own", "next up", "7", "0"])
any_tree = st.recursive(
    names.map(trees.Leaf), lambda inner: st.builds(trees.Split, st.just("own is 1"), inner, inner)
)


@given(any_tree)
def test_a_tree_comes_back_from_json(tree):
    assert trees.from_json(tree.to_json()) == tree


@pytest.mark.parametrize("told", [None, 3, [], ["own is 1", "2"], ["own is 1", "2", None], [1, "2", "3"], {}])
def test_a_damaged_tree_is_a_value_error(told):
    with pytest.raises(ValueError, match="rule"):
        trees.from_json(told)


# Views


def shape_seen(view, grid):
    sheet = view.sheet(grid)
    return None if sheet is None else sheet.shape


def test_panels_are_what_lies_between_whole_lines():
    grid = cells("12532", "34501", "55555", "00511", "10522")
    found = split(grid)
    assert [[panel.tolist() for panel in line] for line in found] == [
        [[[1, 2], [3, 4]], [[3, 2], [0, 1]]],
        [[[0, 0], [1, 0]], [[1, 1], [2, 2]]],
    ]
    assert split(cells("12", "34")) is None


def test_each_view_gives_the_shape_of_its_outputs():
    grid = cells("120120", "300003", "001001", "200002")
    assert shape_seen(VIEWS["same"](0), grid) == (4, 6)
    assert shape_seen(VIEWS["enlarged"](2, 3), grid) == (8, 18)
    assert shape_seen(VIEWS["parts"](2, 3), grid) == (2, 2)
    assert shape_seen(VIEWS["blocks"](2, 3), grid) == (2, 2)
    assert shape_seen(VIEWS["summary"](1, 5), grid) == (1, 5)
    lined = cells("12512", "34534", "55555", "12534", "34512")
    assert shape_seen(VIEWS["panels"](), lined) == (2, 2)
    assert shape_seen(VIEWS["panel cells"](), lined) == (2, 2)


def test_a_view_that_does_not_fit_a_grid_says_so():
    grid = cells("123", "456", "789")
    assert shape_seen(VIEWS["parts"](2, 1), grid) is None
    assert shape_seen(VIEWS["blocks"](1, 2), grid) is None
    assert shape_seen(VIEWS["panels"](), grid) is None
    assert shape_seen(VIEWS["panel cells"](), grid) is None
    assert shape_seen(VIEWS["enlarged"](11, 1), grid) is None


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ((3, 4), (3, 4), "same"),
        ((2, 3), (4, 9), "enlarged"),
        ((2, 6), (2, 3), "parts"),
        ((4, 6), (2, 3), "blocks"),
        ((5, 7), (1, 3), "summary"),
    ],
)
def test_shapes_tell_which_views_may_fit(source, target, expected):
    pairs = [(np.ones(source, np.int64), np.ones(target, np.int64))] * 2
    found = list(views_for(pairs))
    assert expected in {view.name for view in found}
    for view in found:
        again = view_named(view.to_json())
        assert (again.name, again.numbers) == (view.name, view.numbers)


@pytest.mark.parametrize("told", [["summary", 31, 3], ["enlarged", -1, 2], ["blocks", 10**6, 1]])
def test_a_view_with_numbers_beyond_any_grid_is_a_value_error(told):
    with pytest.raises(ValueError, match=r"beyond 0\.\.30"):
        view_named(told)


def test_square_and_other_grids_have_the_same_sights_when_enlarged():
    view = view_named(["enlarged", 2, 2])
    square, wide = view.sheet(np.ones((3, 3), np.int64)), view.sheet(np.ones((3, 5), np.int64))
    assert square is not None
    assert wide is not None
    assert (list(square.sources), list(square.facts)) == (list(wide.sources), list(wide.facts))


def test_an_unknown_view_is_a_value_error():
    with pytest.raises(ValueError, match="no view"):
        view_named(["elsewhere", 1])


# Parts of the input


def test_a_choice_is_by_the_most_the_fewest_or_what_only_one_has():
    grid = cells("110002", "110000", "000030", "004030")

    def cut(how, trait, value=0):
        found = Choice("objects", how, trait, value).cut(grid)
        return None if found is None else found.tolist()

    assert cut("most", "filled cells") == [[1, 1], [1, 1]]
    assert cut("fewest", "top") is None  # two begin in the first row
    assert cut("only", "height") is None  # two heights occur but once
    assert cut("only", "width") == [[1, 1], [1, 1]]
    assert cut("is", "colour", 3) == [[3], [3]]
    assert cut("is", "colour", 8) is None


def test_choices_pick_the_demonstrated_part_of_every_grid():
    demos = [cells("110", "110", "002"), cells("3000", "0044", "0044"), cells("55", "00", "60")]
    wanted = [cells("2"), cells("3"), cells("6")]
    found = list(choices(demos, lambda n, part: np.array_equal(part, wanted[n]), always))
    assert Choice("objects", "fewest", "filled cells") in found
    for choice in found:
        assert all(np.array_equal(choice.cut(grid), part) for grid, part in zip(demos, wanted, strict=True))
    assert list(choices(demos, lambda n, part: True, lambda: False)) == []


@settings(max_examples=25, deadline=None)
@given(
    st.builds(drawn, st.integers(1, 12), st.integers(1, 12), st.just([0, 0, 0, 1, 2, 5]), st.integers(0, 999))
)
def test_the_parts_of_a_family_have_the_same_traits_and_lie_within_the_grid(grid):
    for family in FAMILIES.values():
        parts = family(grid)
        assert len({tuple(part.traits) for part in parts}) <= 1
        for part in parts:
            assert 0 < part.cells.shape[0] <= grid.shape[0]
            assert 0 < part.cells.shape[1] <= grid.shape[1]


def test_a_part_tells_its_traits_once_and_only_when_asked():
    asked = []
    part = Part(cells("1"), lambda: asked.append("asked") or {"area": 1})
    assert not asked
    assert part.traits == part.traits == {"area": 1}
    assert asked == ["asked"]


# Mosaics


def symmetric(seed):
    """A pattern that is the same from four sides."""
    quarter = np.random.default_rng(seed).integers(1, 8, (5, 5))
    return np.block([[quarter, quarter[:, ::-1]], [quarter[::-1], quarter[::-1, ::-1]]])


def covered(seed, top, left):
    grid = symmetric(seed)
    grid[top : top + 3, left : left + 2] = 9
    return grid


def test_what_covers_a_symmetric_pattern_is_lifted():
    pairs = [(covered(1, 0, 1), symmetric(1)), (covered(2, 6, 3), symmetric(2))]
    assert list(mosaics(pairs)) == [Mosaic(9, piece=False)]
    assert np.array_equal(Mosaic(9, piece=False).answer(covered(3, 1, 4)), symmetric(3))
    assert np.array_equal(Mosaic(9, piece=True).answer(covered(3, 4, 5)), symmetric(3)[4:7, 5:7])


def test_a_repeated_pattern_is_restored_too():
    tile = cells("1234", "5678", "2143")
    whole = np.tile(tile, (3, 3))
    hidden = whole.copy()
    hidden[3:6, 4:8] = 0
    assert np.array_equal(Mosaic(0, piece=False).answer(hidden), whole)


def test_without_a_cover_or_a_symmetry_a_mosaic_has_no_answer():
    assert Mosaic(9, piece=False).answer(symmetric(1)) is None
    random = drawn(10, 10, list(range(9)), 4)
    random[2:4, 2:4] = 9
    assert Mosaic(9, piece=False).answer(random) is None
    assert Mosaic(9, piece=False).answer(np.full((3, 3), 9)) is None


# Explanations


def largest_in_red(grid):
    found, _ = components(grid, eight=False, by_colour=True, within=grid != 0)
    largest = max(found, key=lambda one: one.size)
    target = grid.copy()
    target[largest.rows, largest.columns] = 2
    return target


def with_line(grid):
    target = grid.copy()
    for r in range(grid.shape[0]):
        at = np.flatnonzero(grid[r])
        if len(at) == 2 and grid[r, at[0]] == grid[r, at[1]]:
            target[r, at[0] : at[1]] = grid[r, at[0]]
    return target


def smallest_cut_out(grid):
    found, _ = components(grid, eight=True, by_colour=True, within=grid != 0)
    top, left, bottom, right = min(found, key=lambda one: one.size).box
    return grid[top:bottom, left:right]


def overlaid(grid):
    left, right = np.hsplit(grid, 2)
    return np.where(right, right, left)


def mirrored_beside(grid):
    return np.hstack([grid, grid[:, ::-1]])


def lifted(grid):
    quarter = np.where(grid[:5, :5] != 9, grid[:5, :5], grid[::-1, ::-1][:5, :5])
    return np.block([[quarter, quarter[:, ::-1]], [quarter[::-1], quarter[::-1, ::-1]]])


TASKS = {
    "recolour the largest object": (
        largest_in_red,
        [
            cells("01100", "01101", "00001", "10000"),
            cells("10000", "00111", "11000", "00001"),
            cells("11001", "00001", "10011", "00000"),
            cells("00101", "10101", "10001", "00101"),
        ],
    ),
    "a line between equal cells": (
        with_line,
        [
            cells("000000", "030003", "000000", "400400"),
            cells("20020", "00000", "00000", "07070", "10000"),
            cells("0060060", "0000000", "5000500", "0080000"),
        ],
    ),
    "cut out the smallest object": (
        smallest_cut_out,
        [
            cells("22200000", "22200000", "22200550", "00000550"),
            cells("4440000", "0000111", "0000111", "6666000"),
            cells("88880001", "88880001", "88880000", "00003330"),
            cells("11100000", "11100770", "11100770", "00000770", "99000000"),
        ],
    ),
    "one half over the other": (
        overlaid,
        [cells("303550", "030005", "333500"), cells("033005", "300500", "003555"),
         cells("003050", "303005", "030550"), cells("330005", "003555", "300050")],
    ),
    "mirrored beside itself": (
        mirrored_beside,
        [cells("123", "405"), cells("6001", "2270"), cells("81", "19", "30")],
    ),
    "a covered mosaic": (lifted, [covered(1, 0, 1), covered(2, 6, 3), covered(3, 1, 7)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_the_weightiest_explanation_answers_the_test(name):
    rule, shown = TASKS[name]
    pairs = [(grid, rule(grid)) for grid in shown[:-1]]
    found = explained(pairs, shown[-1:])
    assert found
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)
    assert np.array_equal(found[0].rule.answer(shown[-1]), rule(shown[-1]))
    for one in found:
        assert all(np.array_equal(one.rule.answer(source), target) for source, target in pairs)
        again = rule_from_json(one.rule.to_json())
        assert all(np.array_equal(again.answer(grid), one.rule.answer(grid)) for grid in shown)


WAYS = [
    lambda grid: grid,
    lambda grid: grid[::-1],
    lambda grid: np.where(grid == 1, 4, grid),
    lambda grid: np.tile(grid, (2, 2)),
    lambda grid: grid[:1],
    lambda grid: grid * 3 % 7,
    lambda grid: np.full((1, 1), int((grid > 0).sum() % 10)),
    lambda grid: np.cumsum(grid, axis=1) % 10,
]
shown_grids = st.lists(
    st.builds(drawn, st.integers(1, 4), st.integers(1, 4), st.just([0, 0, 1, 2]), st.integers(0, 99)),
    min_size=2,
    max_size=4,
)


@settings(max_examples=20, deadline=None)
@given(shown_grids, st.sampled_from(WAYS), st.integers(1, 25))
def test_whatever_is_explained_every_demonstration_is_answered_exactly(shown, way, patience):
    asked = 0

    def go_on():
        nonlocal asked
        asked += 1
        return asked <= patience

    pairs = [(grid, way(grid)) for grid in shown[:-1]]
    for one in explained(pairs, shown[-1:], go_on):
        assert one.weight > 0
        assert one.rule.answer(shown[-1]) is not None
        assert all(np.array_equal(one.rule.answer(source), target) for source, target in pairs)


@pytest.mark.parametrize("name", TASKS)
def test_without_time_there_are_few_explanations_or_none(name):
    rule, shown = TASKS[name]
    found = explained([(grid, rule(grid)) for grid in shown[:-1]], shown[-1:], lambda: False)
    assert len(found) <= 1


def test_demonstrations_that_contradict_each_other_have_no_explanation():
    grid = cells("12", "30")
    assert explained([(grid, cells("12", "34")), (grid, cells("12", "35"))], [grid]) == []


@pytest.mark.parametrize(
    "told", [None, [], ["seen"], ["guess", 1], ["cut", ["cousins", "most", "area", 0], None], ["mosaic", [1]]]
)
def test_a_damaged_rule_is_a_value_error(told):
    with pytest.raises(ValueError, match="rule"):
        rule_from_json(told)

"""Boxes over which an output lies, and the pieces that are fitted into them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_runner.solver.rules.canvas import canvas
from gpu_runner.solver.rules.fitting import FITS, fitted, packed
from gpu_runner.solver.rules.grids import NONE
from gpu_runner.solver.rules.hosting import FITTED, PLAIN, Host, Hosted, hosted, hosts, sheet_of
from gpu_runner.solver.rules.kinds import rule_from_json
from gpu_runner.solver.rules.picking import PARTINGS, Trait
from gpu_runner.solver.rules.trees import Leaf, Split

from .small_grids import always, cells, drawn, every_fact

FRAMED = cells(
    "0222200",
    "0200200",
    "0200203",
    "0222200",
)
FRAME = Host("objects", Trait("most", "filled cells"))


def rows(grid):
    return ["".join(map(str, row)) for row in grid.tolist()]


def random():
    return np.random.default_rng(0)


def test_a_host_is_the_box_of_one_part():
    assert FRAME.box(FRAMED) == (0, 1, 4, 5)
    assert Host("objects", Trait("fewest", "height")).box(FRAMED) == (2, 6, 3, 7)
    assert Host("objects", Trait("most", "square")).box(FRAMED) is None  # both are
    assert Host("objects", Trait("most", "beauty")).box(FRAMED) is None


@pytest.mark.parametrize("kind", [PLAIN, FITTED])
def test_a_rule_over_a_host_is_read_back(kind):
    rule = Hosted(FRAME, kind, Leaf("own"))
    assert rows(rule.answer(FRAMED)) == ["2222", "2002", "2002", "2222"]
    assert rule_from_json(json.loads(json.dumps(rule.to_json()))) == rule


def test_a_cell_of_a_host_sees_what_lies_around():
    sheet = sheet_of(FRAMED, (0, 1, 4, 5), PLAIN)
    assert (sheet.sources["rarest outside alone"] == 3).all()
    assert rows(sheet.sources["seen right"])[2] == "3223"
    assert rows(sheet.facts["corner of the box"].astype(int)) == ["1001", "0000", "0000", "1001"]


def test_where_nothing_lies_outside_no_colour_is_known():
    sheet = sheet_of(cells("12", "21"), (0, 0, 2, 2), PLAIN)
    assert (sheet.sources["most common outside"] == NONE).all()


def test_a_frame_is_filled_with_the_colour_beside_it():
    pairs = [
        (FRAMED, cells("2222", "2332", "2332", "2222")),
        (cells("500888", "000808", "000808", "000888"), cells("888", "858", "858", "888")),
        (cells("00000", "11100", "10100", "11100", "00004"), cells("111", "141", "111")),
    ]
    test = cells("777700", "700700", "777700", "000060")
    told = hosted(pairs, [test], random(), always, every_fact)
    assert ["7777", "7667", "7777"] in [rows(rule.answer(test)) for rule, _ in told]
    for rule, weight in told:
        assert weight > 0
        assert all(np.array_equal(rule.answer(source), target) for source, target in pairs)


def test_hosts_are_most_like_the_outputs_first_and_no_two_alike():
    source = cells("11000", "12000", "00000", "00034", "00033")
    found = list(hosts([(source, cells("34", "33"))], [source], always))
    assert [boxes for _, boxes in found] == [((3, 3, 5, 5),) * 2, ((0, 0, 2, 2),) * 2]


def test_without_time_nothing_is_hosted():
    assert hosted([(FRAMED, cells("3"))], [FRAMED], random(), lambda: False, every_fact) == []


def fit(name, grid, box, expected):
    assert rows(fitted(cells(*grid), box, name)) == expected


def test_a_piece_is_laid_where_its_colours_meet_the_same_ones():
    grid = ["000000", "003000", "000000", "000004", "000000", "002300"]
    fit("matched", grid, (0, 0, 4, 6), ["000000", "023000", "000000", "000004"])


def test_a_piece_with_several_places_is_left_out():
    grid = ["003003", "000000", "000000", "002300"]
    fit("matched", grid, (0, 0, 2, 6), ["003003", "000000"])


def test_a_piece_is_enlarged_until_whole_blocks_meet():
    grid = ["000000", "330000", "330000", "000000", "000000", "000000", "034000"]
    fit("matched, enlarged", grid, (0, 0, 4, 6), ["000000", "334400", "334400", "000000"])


def test_a_piece_is_mirrored_to_meet_its_colours_beside_it():
    grid = ["500006", "500006", "000000", "066550", "060050"]
    fit("beside, turned", grid, (0, 0, 2, 6), ["555666", "550066"])


def test_a_piece_fills_the_hole_that_its_cells_in_the_same_colour_fit():
    grid = ["22222", "22022", "20022", "22222", "00000", "00000", "22400", "42400"]
    told = rows(fitted(cells(*grid), (0, 0, 4, 5), "locked, turned"))
    assert sum(row.count("0") for row in told) == 0
    assert sum(row.count("4") for row in told) == 3


def test_a_piece_is_as_large_as_a_frame_allows():
    grid = ["2222220", "2000020", "2000020", "2000020", "2000020", "2222220", "0000000", "1000000", "0100000"]
    told = ["222222", "211002", "211002", "200112", "200112", "222222"]
    fit("filling", grid, (0, 0, 6, 6), told)


def test_pieces_are_packed_so_that_a_box_is_full():
    pieces = cells("000010", "220000", "000000", "003300", "003000")
    assert rows(packed(pieces, 2, 3)) == ["331", "322"]
    assert packed(pieces, 2, 2) is None  # it has no room
    assert packed(pieces, 4, 4) is None  # there are several ways
    assert packed(cells("11"), 2, 3) is None  # one piece alone is no puzzle


def test_corners_are_packed_around_an_empty_middle():
    pieces = cells("0220044", "0020040", "0000000", "1000003", "1100033")
    assert rows(packed(pieces, 4, 4)) == ["4422", "4002", "1003", "1133"]


def test_a_canvas_shows_pieces_packed():
    pieces = cells("110003", "100033", "000000")
    sheet = canvas(0, 2, 0, 3).sheet(pieces)
    assert rows(sheet.sources["packed"]) == ["113", "133"]


def test_each_quarter_of_a_host_sees_the_colour_beyond_its_corner():
    grid = cells("100002", "055550", "050050", "050050", "055550", "300004")
    sheet = sheet_of(grid, (1, 1, 5, 5), PLAIN)
    assert rows(sheet.sources["beyond the nearest corner, 1"]) == ["1122", "1122", "3344", "3344"]
    assert (sheet.sources["beyond the nearest corner, 2"] == NONE).all()
    assert rows(sheet.facts["upper half of the box"].astype(int))[1:3] == ["1111", "0000"]


def test_the_densest_box_of_a_colour_stands_out_from_noise():
    grid = cells("12301", "04445", "24445", "14144", "30210")
    assert Host("densest boxes", Trait("most", "area")).box(grid) == (1, 1, 4, 4)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_no_box_holds_more_of_a_colour_against_others_than_the_densest(seed):
    grid = drawn(5, 6, (0, 1, 2), seed)
    worth = np.where(grid == 1, 1, -1)
    boxes = [
        (a, b, c, d) for a in range(5) for b in range(6) for c in range(a + 1, 6) for d in range(b + 1, 7)
    ]
    most = max(int(worth[a:c, b:d].sum()) for a, b, c, d in boxes)
    told = {part.traits["colour"]: part.box for part in PARTINGS["densest boxes"](grid)}
    for top, left, bottom, right in [told[1]] if 1 in told else []:
        assert worth[top:bottom, left:right].sum() == most


@given(seed=st.integers(0, 10**6), name=st.sampled_from(FITS))
@settings(max_examples=40, deadline=None)
def test_what_is_fitted_keeps_the_shape_of_the_box(seed, name):
    grid = drawn(8, 9, (0, 0, 0, 0, 1, 2, 3), seed)
    before = grid.copy()
    assert fitted(grid, (1, 2, 6, 7), name).shape == (5, 5)
    assert np.array_equal(grid, before)


@pytest.mark.parametrize(
    "told",
    [
        ["hosted", ["nothing", ["most", "area", 0]], 0, "own"],
        ["hosted", ["objects", ["best", "area", 0]], 0, "own"],
        ["hosted", ["objects", ["most", "area", 0]], 9, "own"],
        ["hosted", ["objects"], 0, "own"],
        ["hosted"],
    ],
)
def test_a_damaged_rule_is_a_value_error(told):
    with pytest.raises(ValueError, match="rule"):
        rule_from_json(told)


def test_a_tree_that_asks_for_unknown_sights_has_no_answer():
    assert Hosted(FRAME, PLAIN, Split("beautiful", Leaf("own"), Leaf("0"))).answer(FRAMED) is None

"""Rules in which each object does what a tree over its traits says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_runner.solver.rules.kinds import rule_from_json
from gpu_runner.solver.rules.objects.acts import ACTS
from gpu_runner.solver.rules.objects.parting import WAYS_OF_PARTING
from gpu_runner.solver.rules.objects.picturing import Pictured
from gpu_runner.solver.rules.objects.rules import Acted, Retouched, Together, acted, drawn_by
from gpu_runner.solver.rules.objects.things import MOST, SHADES, Things, things_of
from gpu_runner.solver.rules.objects.traits import facts_of
from gpu_runner.solver.rules.objects.ways import WAYS
from gpu_runner.solver.rules.sights import expand, second_look
from gpu_runner.solver.rules.trees import Leaf, Split
from tests.unit.solver.small_grids import always, cells, drawn, every_fact


def found_for(pairs, tests, go_on=always):
    return acted(pairs, tests, np.random.default_rng(0), go_on, every_fact)


GRIDS = st.builds(
    drawn,
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([[0, 1], [0, 0, 0, 2, 3], [4, 5]]),
    st.integers(0, 99),
)

DONE = {
    "gone right, blocked": (cells("1000", "0000"), cells("0001", "0000")),
    "gone from the near edge by 2": (cells("1000", "0000", "0000"), None),
    "lines down, blocked|2": (cells("110", "000", "030"), cells("110", "220", "230")),
    "line slanted, over ground|own": (cells("000", "010", "000"), cells("101", "010", "101")),
    "mirrored right": (cells("1200", "1000"), cells("1221", "1001")),
    "completed half about its box": (cells("110", "010", "010"), cells("110", "110", "110")),
    "holes filled|4": (cells("111", "101", "111"), cells("111", "141", "111")),
    "ringed at its sides|own": (cells("000", "010", "000"), cells("010", "111", "010")),
    "all recoloured|ground": (cells("101"), cells("000")),
    "vanishes": (cells("101"), cells("000")),
    "lines to its minor cells, over ground|minor": (cells("11200"), cells("11222")),
    "line right, hit|own": (cells("1022"), cells("1012")),
    "lines straight, reaching|3": (cells("102", "000"), cells("132", "000")),
    "hits straight ringed|5": (cells("000", "104", "000"), cells("055", "154", "055")),
    "rings half as wide as it|3": (
        cells("0000", "0110", "0110", "0000"),
        cells("3333", "3113", "3113", "3333"),
    ),
    "bouncing down-right|3": (cells("1000", "0000", "2222"), cells("1030", "0300", "2222")),
    "bouncing down-right, at edges too|3": (cells("100", "000"), cells("103", "030")),
    "lines along it, blocked|3": (cells("0110"), cells("3113")),
    "completed both about the nearest": (
        cells("10000", "00000", "00200", "00000", "00000"),
        cells("10001", "00000", "00200", "00000", "10001"),
    ),
    "stretched right, blocked": (cells("12003"), cells("11123")),
    "stretched to the faced, over it": (cells("12003"), cells("11112")),
    "bent to the nearest, down first|3": (cells("100", "000", "002"), cells("100", "300", "332")),
    "bent to the nearest, across first|3": (cells("100", "000", "002"), cells("133", "003", "002")),
    "completed after its model, left-right": (cells("1002310", "0000000"), cells("1322310", "0000000")),
    "replaced by the patterned": (cells("11023"), cells("23023")),
}


@pytest.mark.parametrize("name", DONE)
def test_an_object_does_what_its_act_says(name):
    before, after = DONE[name]
    things = Things(before, "groups")
    told = drawn_by(
        things,
        [name] * len(things) if name.startswith(("all", "van")) else [name] + ["stays"] * (len(things) - 1),
    )
    assert (told is None) if after is None else np.array_equal(told, after)


@given(GRIDS, st.sampled_from(sorted(WAYS_OF_PARTING)))
@settings(max_examples=12, deadline=None)
def test_every_act_of_every_object_draws_a_grid_of_the_same_shape_or_says_nothing(grid, parting):
    things = things_of(grid, parting)
    for n in range(min(2, len(things or ()))):
        rest = ["stays"] * (len(things) - 1)
        for name in ACTS:
            stroke = ACTS[name](things, n)
            for shade in ("", "5") if stroke is not None and stroke.colours is None else ("",):
                full = f"{name}|{shade}" if shade else name
                told = drawn_by(things, [*rest[:n], full, *rest[n:]])
                assert told is None or (told.shape == grid.shape and told.min() >= 0)
        assert all(-1 <= shade(things, n) <= 9 for shade in SHADES.values())
        assert all(way(things, n) != (0, 0) for way in WAYS.values())


@given(GRIDS, st.sampled_from(sorted(WAYS_OF_PARTING)))
@settings(max_examples=25, deadline=None)
def test_objects_have_the_same_traits_in_every_grid(grid, parting):
    things, known = things_of(grid, parting), things_of(cells("10", "02"), "objects")
    if things is not None:
        facts = facts_of(things, parting)
        assert list(facts) == list(facts_of(known, "objects"))
        assert all(len(values) == len(things) for values in facts.values())


def test_a_grid_without_objects_or_with_too_many_has_none():
    assert things_of(cells("000"), "objects") is None
    assert things_of(np.indices((2, MOST + 1)).sum(0) % 2 + np.int64(0), "side objects") is None


PARTED = {
    "apart": (cells("1120", "0113"), ["1111", "23"]),
    "clusters": (cells("10120", "00002"), ["11", "22"]),
    "crowds": (cells("10200030"), ["12", "3"]),
    "colours": (cells("10201"), ["11", "2"]),
    "panels": (cells("10520", "00503", "55555", "00500", "06500"), ["1", "23", "6"]),
}


@pytest.mark.parametrize("parting", PARTED)
def test_a_grid_is_parted_in_many_ways(parting):
    grid, wanted = PARTED[parting]
    things = things_of(grid, parting)
    assert ["".join(map(str, part.colours.tolist())) for part in things.parts] == wanted
    for n, part in enumerate(things.parts):
        assert (things.labels[part.rows, part.columns] == n).all()
        assert things.masks[n].sum() == part.size


def test_a_panel_fills_the_panels_at_the_places_of_its_cells():
    grid = cells("10500", "20500", "55555", "00503", "00500")
    wanted = cells("11500", "11500", "55555", "22500", "22500")
    assert np.array_equal(
        drawn_by(things_of(grid, "panels"), ["enlarged onto the panels", "vanishes"]), wanted
    )


def test_a_panel_goes_to_the_place_of_one_of_its_cells():
    grid = cells("10500", "02500", "55555", "00503", "00500")
    wanted = cells("00500", "00500", "55555", "00510", "00502")
    told = drawn_by(things_of(grid, "panels"), ["sent to the place of its 2", "vanishes"])
    assert np.array_equal(told, wanted)


def rings_over_falling_lines(grid):
    """Every object draws a line down; a ring around each lies over them."""
    things = things_of(grid, "objects")
    lines = drawn_by(things, ["lines down, over ground|7"] * len(things))
    rings = drawn_by(things, ["ringed|4"] * len(things))
    return np.where(rings != grid, rings, lines)


RINGED = [
    cells("00000000", "01000000", "00000000", "00000010", "00000000", "00000000"),
    cells("00000000", "00000010", "01000000", "00000000", "00000000", "00000000"),
    cells("00000000", "00010000", "00000000", "00000000", "00000000", "00000000"),
]


def test_an_object_does_several_acts_one_under_another():
    asked = cells("0000000", "0110000", "0000000", "0000000", "0000010", "0000000")
    found = found_for([(grid, rings_over_falling_lines(grid)) for grid in RINGED], [asked])
    rule, _ = max(found, key=lambda one: one[1])
    assert isinstance(rule, Together)
    again = rule_from_json(rule.to_json())
    assert again == rule
    assert np.array_equal(again.answer(asked), rings_over_falling_lines(asked))


def test_acts_together_have_no_answer_where_one_has_none():
    one, other = Acted("objects", Leaf("vanishes")), Acted("panels", Leaf("stays"))
    assert Together((one,)).answer(cells("10")) is not None
    assert Together((one, other)).answer(cells("10")) is None


def crossed_by_column(grid):
    """Lines left and right from every object, coloured by the column that a cell is in: by no object's
    trait."""
    things = things_of(grid, "objects")
    lines = drawn_by(things, ["lines across, through|3"] * len(things))
    columns = np.indices(grid.shape)[1] * 2 < grid.shape[1]
    return np.where((lines == 3) & columns, 4, lines)


def test_a_tree_over_cells_chooses_among_what_all_objects_draw():
    grids = [
        cells("0000000000", "0000100000", "0000000000", "0000000000", "0100000000", "0000000000"),
        cells("0000000000", "0000000000", "0000000010", "0000000000", "0000000000", "0010000000"),
        cells("0001000000", "0000000000", "0000000000", "0000001000", "0000000000", "0000000000"),
    ]
    asked = cells("0000000000", "0000000000", "0000010000", "0000000000", "0000000100", "0000000000")
    pairs = [(grid, crossed_by_column(grid)) for grid in grids]
    rule = Pictured((("objects", "lines across, through|3"),), Leaf("picture 0"))
    assert rule_from_json(rule.to_json()) == rule
    lines = drawn_by(things_of(asked, "objects"), ["lines across, through|3"] * 2)
    assert np.array_equal(rule.answer(asked), lines)
    found = [rule for rule, _ in found_for(pairs, [asked]) if isinstance(rule, Pictured)]
    assert found
    assert all(rule_from_json(rule.to_json()) == rule for rule in found)
    assert all(np.array_equal(rule.answer(grid), target) for rule in found for grid, target in pairs)


def test_a_tree_takes_a_second_look_at_what_acts_have_drawn():
    lines = Together((Acted("objects", Leaf("lines right, over ground|3")),))
    rule = Retouched(lines, Split("picture is 3", Leaf("7"), Leaf("own")))
    assert rule_from_json(rule.to_json()) == rule
    grid = cells("0100", "0000")
    name, where = next((name, t) for name, t in expand(second_look(grid, lines.answer(grid))) if t.any())
    first = Retouched(lines, Split(name, Leaf("7"), Leaf("own")))
    assert np.array_equal(first.answer(grid), np.where(where, 7, lines.answer(grid)))
    assert Retouched(Together((Acted("panels", Leaf("stays")),)), Leaf("own")).answer(grid) is None


def largest_falls(grid):
    """The largest object goes down to the edge, the others turn red."""
    things = things_of(grid, "objects")
    sizes = [part.size for part in things.parts]
    acts = ["gone down, edge" if size == max(sizes) else "all recoloured|2" for size in sizes]
    return drawn_by(things, acts)


SHOWN = [
    cells("11000", "11003", "00003", "00000", "00040"),
    cells("00400", "10400", "00400", "00000", "00033"),
    cells("30011", "00000", "00100", "11100", "00000"),
]
ASKED = cells("0666001", "0600001", "0000000", "5000040", "0000000")


def test_what_each_object_does_by_its_traits_is_found_and_comes_back_from_json():
    found = found_for([(grid, largest_falls(grid)) for grid in SHOWN], [ASKED])
    rule, _ = max(found, key=lambda one: one[1])
    again = rule_from_json(rule.to_json())
    assert again == rule
    assert np.array_equal(again.answer(ASKED), largest_falls(ASKED))


def test_whatever_is_found_draws_every_demonstration():
    pairs = [(grid, largest_falls(grid)) for grid in SHOWN]
    found = found_for(pairs, [ASKED])
    assert found
    assert all(np.array_equal(rule.answer(grid), target) for rule, _ in found for grid, target in pairs)


def test_a_rule_that_each_demonstration_foretells_weighs_more():
    pairs = [(grid, np.where(grid, 2, 0)) for grid in SHOWN]
    told, few = found_for(pairs, [ASKED]), found_for(pairs[:2], [ASKED])
    assert max(weight for _, weight in told) > max(weight for _, weight in few)


def test_without_time_or_with_other_shapes_no_object_does_anything():
    pairs = [(grid, largest_falls(grid)) for grid in SHOWN]
    assert found_for(pairs, [ASKED], lambda: False) == []
    assert found_for([(SHOWN[0], SHOWN[0][:2])], [ASKED]) == []


def test_the_same_seed_finds_the_same_rules():
    pairs = [(grid, largest_falls(grid)) for grid in SHOWN]
    assert found_for(pairs, [ASKED]) == found_for(pairs, [ASKED])


def test_a_rule_over_a_trait_or_a_colour_that_is_missing_has_no_answer():
    assert Acted("objects", Split("is blessed", Leaf("stays"), Leaf("stays"))).answer(ASKED) is None
    assert Acted("objects", Leaf("all recoloured|minor")).answer(ASKED) is None
    assert Acted("objects", Leaf("all recoloured")).answer(ASKED) is None


@pytest.mark.parametrize(
    "told",
    [
        ["acted", "herds", "stays"],
        ["acted", "objects", "flies"],
        ["acted", "objects", "all recoloured|12"],
        ["acted", "objects", "all recoloured|²"],
        ["acted", "objects", ["is solid", "stays"]],
        ["acted", 3, "stays"],
        ["acted", "objects", 3],
        ["together"],
        ["retouched", ["acted", "objects", "stays"], "own"],
        ["pictured", [["objects", "flies"]], "own"],
        ["pictured", [["herds", "stays"]], "own"],
        ["pictured", ["objects", "stays"], "own"],
        ["together", ["acted", "objects", "flies"]],
        ["together", ["together", ["acted", "objects", "stays"]]],
    ],
)
def test_a_damaged_rule_of_objects_is_a_value_error(told):
    with pytest.raises(ValueError, match=r"rule|no "):
        rule_from_json(told)

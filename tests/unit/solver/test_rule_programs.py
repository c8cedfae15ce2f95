"""Programs over pieces of a grid: what their steps do, how they are found, and what a tree adds."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.kinds import Continued, Seen, rule_from_json
from gpu_runner.solver.rules.programs import rules as composing
from gpu_runner.solver.rules.programs.rules import STRETCHED, TILED, Composed, Layer, Recomposed, composed
from gpu_runner.solver.rules.programs.search import STEPS, Program, search
from gpu_runner.solver.rules.reason import explain
from gpu_runner.solver.rules.views import PLAIN, same


def cells(*rows):
    """One grid from rows of digits."""
    return np.array([[int(cell) for cell in row] for row in rows], np.int64)


def always():
    return True


def every_fact(n, names):
    return None


def drawn(grid, *steps):
    found = Program(steps).answer(grid)
    return None if found is None else ["".join(map(str, row)) for row in found.tolist()]


OBJECTS = cells("110002", "110000", "000030", "004030")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (("objects", "most cells"), ["11", "11"]),
        (("objects", "dot", "stacked down"), ["1", "2", "3", "4"]),
        (("objects", "sorted down by cells", "dot", "stacked across"), ["1324"]),
        (("objects", "kept if single", "overlaid"), ["0002", "0000", "0000", "4000"]),
        (("colours", "together, last on top", "trimmed", "left half"), ["110", "110", "000", "004"]),
        (("objects", "a diagonal of as many"), ["1000", "0100", "0010", "0001"]),
        (("halves across", "together, in one"), ["112", "110", "030", "034"]),
        (("objects", "fewest top"), None),  # two of them, and they do not look the same
        (("only the rarest colour", "trimmed"), ["2"]),
        (("halves down", "last", "without empty lines"), ["03", "43"]),
        (("objects", "alone in size"), None),
    ],
)
def test_steps_follow_each_other(steps, expected):
    assert drawn(OBJECTS, *steps) == expected


def test_a_step_that_does_not_apply_leaves_no_answer():
    assert drawn(cells("123"), "panels") is None
    assert drawn(cells("123"), "stacked down") is None
    assert drawn(cells("000"), "times its colours") is None


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 999),
    st.lists(st.sampled_from(sorted(STEPS)), max_size=3),
)
def test_whatever_the_steps_an_answer_is_a_grid_of_colours(height, width, seed, steps):
    grid = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, 5], (height, width))
    before = grid.copy()
    for name in STEPS:
        found = Program((*steps, name)).answer(grid)
        if found is not None:
            assert found.ndim == 2
            assert found.size
            assert found.min() >= 0
            assert found.max() <= 9
    assert np.array_equal(grid, before)


COUNTED = [
    (cells("30003", "33000", "00300"), cells("30", "03")),
    (cells("4000", "0040", "4000"), cells("400", "040", "004")),
    (cells("0070", "0000"), cells("7")),
]


def test_the_search_finds_programs_for_all_demonstrations():
    found = search([source for source, _ in COUNTED], [target for _, target in COUNTED], always, 5000)
    assert Program(("objects", "a diagonal of as many")) in found.exact
    for program in found.exact:
        assert all(np.array_equal(program.answer(source), target) for source, target in COUNTED)
    stopped = search(
        [source for source, _ in COUNTED], [target for _, target in COUNTED], lambda: False, 5000
    )
    assert (stopped.exact, stopped.shaped) == ([], [])


def test_programs_of_which_none_is_told_apart_by_any_input_are_followed_once():
    grids = [source for source, _ in COUNTED]
    found = search(grids, [np.array([[9]])] * 3, always, 3000)
    drawings = [tuple(program.answer(grid).tobytes() for grid in grids) for program, _ in found.shaped]
    assert len(set(drawings)) == len(drawings)


def test_a_tree_over_what_a_program_draws_learns_the_rest():
    def rule(grid):
        trimmed = Program(("objects", "most cells")).answer(grid)
        return np.where(trimmed == 0, 7, trimmed)

    grids = [cells("1100", "1000", "0002"), cells("30000", "00440", "04400"), cells("600", "055", "500"),
             cells("20000", "02808", "00888")]  # fmt: skip
    pairs = [(grid, rule(grid)) for grid in grids[:3]]
    found = composed(pairs, grids[3:], always, every_fact).rules
    assert found
    best, weight = max(found, key=lambda one: one[1])
    assert isinstance(best, Recomposed)
    assert weight > 0
    assert np.array_equal(best.answer(grids[3]), rule(grids[3]))
    for one, _ in found:
        assert rule_from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Layer(Program(("trimmed",)), STRETCHED), ["1122", "1122", "3344", "3344"]),
        (Layer(Program(("trimmed",)), TILED), ["1212", "3434", "1212", "3434"]),
        (Layer(Program(("trimmed",)), ""), None),
        (Layer(Program(("panels",)), TILED), None),
    ],
)
def test_a_small_drawing_lies_over_a_larger_one_stretched_or_tiled(layer, expected):
    grid = cells("000", "012", "034")
    found = layer.over(grid, (4, 4))
    wanted = np.full((4, 4), -1) if expected is None else cells(*expected)
    assert np.array_equal(found, wanted)
    assert composing.layer_from_json(json.loads(json.dumps(layer.to_json()))) == layer


def test_a_small_key_colours_the_quarters_of_a_larger_part():
    def task(key, part):
        lines = np.full((9, 9), 8)
        lines[:2, :2] = key
        lines[3:, 3:] = np.where(part, 3, 0)
        lines[:2, 3:], lines[3:, :2] = 0, 0
        return lines, np.where(part, key.repeat(3, 0).repeat(3, 1), 0)

    rng = np.random.default_rng(4)
    keys = [cells("12", "45"), cells("61", "27"), cells("45", "91"), cells("97", "64")]
    shown = [task(key, rng.random((6, 6)) < 0.6) for key in keys]
    found = composed(shown[:3], [shown[3][0]], always, every_fact).rules
    best, _ = max(found, key=lambda one: one[1])
    assert np.array_equal(best.answer(shown[3][0]), shown[3][1])
    assert rule_from_json(json.loads(json.dumps(best.to_json()))) == best


def test_what_a_program_draws_explains_a_task():
    found = explain(COUNTED, [cells("2020", "0000", "0202")], np.random.default_rng(0), always)
    assert any(isinstance(one.rule, Composed) for one in found)
    assert np.array_equal(found[0].rule.answer(cells("2020", "0000", "0202")), np.eye(4, dtype=int) * 2)


def test_what_a_program_draws_in_the_right_shape_is_drawn_on():
    rule = Continued(Program(("trimmed",)), Seen(same(PLAIN), trees.Leaf("mirror left-right")))
    grid = cells("0000", "0120", "0340")
    assert np.array_equal(rule.answer(grid), cells("21", "43"))
    assert rule_from_json(json.loads(json.dumps(rule.to_json()))).answer(grid).tolist() == [[2, 1], [4, 3]]
    assert Continued(Program(("panels",)), rule.rule).answer(grid) is None


def test_programs_that_draw_most_of_the_outputs_are_told():
    def task(seed):
        grid = np.zeros((8, 8), np.int64)
        rng = np.random.default_rng(seed)
        grid[1:7, 2:7] = rng.choice([0, 3], (6, 5), p=[0.3, 0.7])
        grid[1, 2:7] = grid[6, 2:7] = 3
        wanted = grid[1:7, 2:7].copy()
        wanted[rng.integers(0, 6), rng.integers(0, 5)] = 9
        return grid, wanted

    shown = [task(seed) for seed in range(3)]
    near = composed(shown, [task(5)[0]], always, every_fact).near
    assert near
    assert all(program.answer(source).shape == target.shape for program in near for source, target in shown)


def test_a_single_drawn_cell_proves_less_than_a_grid():
    few = [(source, target[:1, :1]) for source, target in COUNTED]
    most = max(weight for _, weight in composed(few, [], always, every_fact).rules)
    assert most <= 0.5


@pytest.mark.parametrize(
    "told",
    [["program", "objects"], ["program", ["objects", "guess"]], ["program", [1]],
     ["recomposed", ["objects"], [["x"]], "own"],
     ["recomposed", ["objects"], [["tiled", "tiled"]], "own"],
     ["continued", ["objects"], ["continued", ["objects"], ["program", ["objects"]]]],
     ["continued", ["guess"], ["program", ["objects"]]], ["continued", ["objects"], None],
     ["recomposed", ["objects"], [], ["own"]], ["recomposed", ["objects"], None, "own"]],
)  # fmt: skip
def test_a_damaged_program_is_a_value_error(told):
    with pytest.raises(ValueError, match="rule"):
        rule_from_json(told)


def test_a_tree_that_asks_for_what_no_sheet_has_gives_no_answer():
    rule = Recomposed(Program(("objects", "most cells")), (), trees.Leaf("nothing known"))
    assert rule.answer(OBJECTS) is None
    assert composing.sheet_of(cells("000"), Program(("objects",)), ()) is None


def test_the_whole_input_tells_which_of_two_drawings_is_right():
    left, right = cells("120", "102", "010"), cells("310", "113", "110")
    pairs = [
        (np.hstack([one, other]), one if (one == 3).any() or (other == 3).any() else other)
        for one, other in ((left, right), (left, left.T), (right, left), (left[::-1], left[:, ::-1]))
    ]
    told = composed(pairs, [], always, every_fact).rules
    assert any("input has 3" in json.dumps(rule.to_json()) for rule, _ in told)
    for rule, _ in told:
        assert all(np.array_equal(rule.answer(source), target) for source, target in pairs)


def test_a_sheet_tells_what_is_true_of_the_input():
    sheet = composing.sheet_of(OBJECTS, Program(("objects", "most cells")), ())
    assert sheet.shape == (2, 2)
    for name, truth in (("input has 3", True), ("input has 5", False), ("input objects = 4", True),
                        ("input wider than tall", True), ("input filled at the border", True),
                        ("input top-bottom alike", False)):  # fmt: skip
        assert (sheet.facts[name] == truth).all()

"""Outputs of a size that follows from a number: which are found, what a canvas shows and explains."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_runner.solver.rules.canvas import FORMULAS, NUMBERS, canvas, canvases, length, numbers_of
from gpu_runner.solver.rules.kinds import rule_from_json, view_named
from gpu_runner.solver.rules.reason import explain


def cells(*rows):
    """One grid from rows of digits."""
    return np.array([[int(cell) for cell in row] for row in rows], np.int64)


def named(grid):
    return dict(zip(NUMBERS, numbers_of(grid), strict=True))


def test_the_numbers_of_a_grid_count_what_is_drawn():
    found = named(cells("01100", "00002", "00002", "00030"))
    assert (found["height"], found["width"], found["colours"]) == (4, 5, 3)
    assert (found["objects"], found["groups"], found["filled cells"]) == (3, 2, 5)
    assert (found["most of a colour"], found["fewest of a colour"]) == (2, 1)
    assert (found["filled height"], found["filled width"]) == (4, 4)
    assert (found["empty cells"], found["width by empty cells"]) == (15, 75)
    assert named(cells("00"))["most of a colour"] == 0


def test_a_canvas_tells_the_repetitions_that_come_before_a_count():
    grid = cells("10", "11")
    sheet = canvas(0, 4, 0, 6).sheet(grid)
    told = sheet.facts["repetition below filled cells"].astype(int).tolist()
    assert told == [[1] * 6] * 2 + [[0] * 6] * 2
    told = sheet.facts["repetition below empty cells"].astype(int).tolist()
    assert told == [[1, 1, 0, 0, 0, 0]] * 2 + [[0] * 6] * 2


def test_a_side_that_is_no_whole_number_of_cells_is_none():
    half = next(n for n, formula in enumerate(FORMULAS) if formula(4) == 2 and formula(5) == 2.5)
    assert length(cells("1234"), NUMBERS.index("width"), half) == 2
    assert length(cells("12345"), NUMBERS.index("width"), half) is None
    assert length(cells("0000"), NUMBERS.index("objects"), 0) is None
    assert length(np.ones((20, 20), np.int64), NUMBERS.index("height"), 1) is None
    assert length(cells("1"), 0, 7) == 7
    assert length(cells("1"), 0, 0) is None


def test_the_canvases_have_the_demonstrated_sizes_and_differ_on_the_tests():
    demos = [(cells("120", "000"), np.ones((2, 4), int)), (cells("123", "400", "000"), np.ones((4, 5), int))]
    tests = [cells("1000", "0000", "0002", "0301")]
    found = list(canvases(demos, tests))
    assert found
    for view in found:
        assert all(view.sheet(source).shape == target.shape for source, target in demos)
        assert view_named(view.to_json()).numbers == view.numbers
    shapes = [view.sheet(tests[0]).shape for view in found]
    assert len(set(shapes)) == len(shapes)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(0, 99)), min_size=2, max_size=3))
def test_whatever_the_grids_their_sights_on_a_canvas_have_the_same_names(shapes):
    grids = [np.random.default_rng(s).choice([0, 0, 1, 2, 5], (h, w)) for h, w, s in shapes]
    for numbers in ((0, 3, 0, 12), (1, 1, 2, 0), (1, 3, 2, 5)):
        sheets = [canvas(*numbers).sheet(grid) for grid in grids]
        assert len({(*sheet.sources, *sheet.facts) for sheet in sheets}) == 1
        for sheet in sheets:
            shown = [*sheet.sources.values(), *sheet.facts.values()]
            assert {values.shape for values in shown} == {sheet.shape}


@pytest.mark.parametrize("numbers", [(30, 0, 1, 0), (1, 30, 1, 0), (1, 0), (1, -1, 1, 0)])
def test_a_canvas_of_no_known_size_is_a_value_error(numbers):
    with pytest.raises(ValueError, match=r"canvas|damaged"):
        rule_from_json(["seen", ["canvas", *numbers], "own"])


def bars(grid):
    """A column for each colour, the most common first, as high as it has cells."""
    counts = np.bincount(grid.ravel(), minlength=10)
    counts[0] = 0
    ranked = [c for c in np.argsort(-counts, kind="stable") if counts[c]]
    drawn = np.zeros((counts.max(), len(ranked)), np.int64)
    for n, colour in enumerate(ranked):
        drawn[: counts[colour], n] = colour
    return drawn


def enlarged_by_colours(grid):
    times = len(set(grid.ravel().tolist()) - {0})
    return grid.repeat(times, 0).repeat(times, 1)


def continued(grid):
    """Half as high again, the rows going on as they began."""
    return grid[np.arange(len(grid) * 3 // 2) % 3]


TASKS = {
    "bars": (
        bars,
        [cells("1121", "3013"), cells("4445", "0044"), cells("7", "7", "8"), cells("909", "222", "220")],
    ),
    "enlarged by the number of colours": (
        enlarged_by_colours, [cells("10", "02"), cells("304", "050"), cells("33", "04"), cells("070", "189")],
    ),
    "continued": (
        continued,
        [np.tile(part, (2, 1)) for part in (
            cells("10", "01", "11"), cells("200", "022", "202"), cells("03", "03", "30"),
            cells("04", "44", "40"),
        )],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_the_weightiest_explanation_of_a_counted_size_answers_the_test(name):
    rule, shown = TASKS[name]
    pairs = [(grid, rule(grid)) for grid in shown[:-1]]
    found = explain(pairs, shown[-1:], np.random.default_rng(0), lambda: True)
    assert found
    assert np.array_equal(found[0].rule.answer(shown[-1]), rule(shown[-1]))
    for one in found:
        again = rule_from_json(one.rule.to_json())
        assert np.array_equal(again.answer(shown[-1]), one.rule.answer(shown[-1]))

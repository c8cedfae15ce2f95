"""Parts that are picked by a trait or two and redrawn: the rules, and how they are found."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gpu_runner.solver.rules import picking
from gpu_runner.solver.rules.kinds import rule_from_json
from gpu_runner.solver.rules.picking import Picked, Trait, answers_of, picked
from gpu_runner.solver.rules.reason import explain

from .small_grids import always, cells, drawn

ANY = Trait("any")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Picked("objects", Trait("most", "filled cells"), ANY, ()), ["11", "11"]),
        (Picked("objects", Trait("is", "filled cells", 1), Trait("most", "left"), ()), ["3"]),
        (Picked("objects", Trait("most", "holes"), ANY, ("dot",)), None),  # of two colours, none with holes
        (Picked("groups", Trait("is", "rarest of the grid", 1), ANY, ("without 3", "trimmed")), ["4"]),
        (Picked("whole", ANY, ANY, ("trimmed", "left half")), ["110", "110", "000", "004"]),
        (Picked("panels", ANY, ANY, ()), None),
        (Picked("objects", Trait("most", "beauty"), ANY, ()), None),
    ],
)
def test_a_part_is_picked_by_its_traits_and_redrawn(rule, expected):
    found = rule.answer(cells("110003", "110000", "000000", "004330"))
    assert (None if found is None else ["".join(map(str, row)) for row in found.tolist()]) == expected
    assert rule_from_json(json.loads(json.dumps(rule.to_json()))) == rule


def test_the_colour_of_the_part_with_a_hole_is_told():
    pairs = [
        (cells("111000", "101022", "111022", "000000"), cells("1")),
        (cells("330555", "330505", "000555", "440000"), cells("5")),
        (cells("000000", "077707", "070700", "077700"), cells("7")),
    ]
    tests = [cells("660000", "660888", "000808", "660888")]
    (rule, weight), *_ = picked(pairs, tests, always)
    assert rule.answer(tests[0]).tolist() == [[8]]
    assert 0 < weight < 1.0  # of one-cell outputs none is sure
    best = explain(pairs, tests, np.random.default_rng(0), always)[0]
    assert best.rule.answer(tests[0]).tolist() == [[8]]


def test_of_the_parts_that_share_a_trait_the_most_is_picked():
    source = cells("110000030", "110005500", "000005550", "440777000", "440070000")
    pairs = [(source, cells("550", "555")), (source[::-1], cells("555", "550"))]
    found = picked(pairs, [source[:, ::-1]], always)
    assert any(rule.answer(source[:, ::-1]).tolist() == [[0, 5, 5], [5, 5, 5]] for rule, _ in found)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_what_is_picked_answers_every_demonstration(seed):
    grids = [drawn(5, 6, (0, 0, 0, 1, 2, 3), seed + n) for n in range(3)]
    hidden = Picked("objects", Trait("most", "filled cells"), Trait("fewest", "left"), ("dot",))
    pairs = [(grid, target) for grid in grids[:2] if (target := hidden.answer(grid)) is not None]
    assume(len(pairs) == 2 and hidden.answer(grids[2]) is not None)
    found = picked(pairs, grids[2:], always)
    assert found
    for rule, weight in found:
        assert all(np.array_equal(rule.answer(source), target) for source, target in pairs)
        assert weight > 0
        kept = picking._Answers(rule.steps, [picking.listed_of(rule.family, grids[2])])
        assert [kept.of(rule), kept.of(rule)] == [answers_of(rule, grids[2:])] * 2


def test_without_time_nothing_is_picked():
    grid = cells("10", "02")
    assert picked([(grid, cells("1"))], [grid], lambda: False) == []


@pytest.mark.parametrize(
    "told",
    [
        ["picked", "nothing", ["any", "", 0], ["any", "", 0], []],
        ["picked", "objects", ["best", "", 0], ["any", "", 0], []],
        ["picked", "objects", ["any", "", 0], ["any", "", 0], ["stacked"]],
        ["picked", "objects", ["any"], ["any", "", 0], []],
        ["picked", "objects"],
    ],
)
def test_a_damaged_rule_is_a_value_error(told):
    with pytest.raises(ValueError, match="rule"):
        rule_from_json(told)

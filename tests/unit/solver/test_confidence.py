"""Confidence: a probability that grows with the evidence."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_runner.solver.confidence import COEFFICIENTS, Evidence, features, probability

SURE = Evidence("specific", 0.9, 0.05, -0.01, 1.0)
HALF = Evidence("specific", 0.5, 0.2, -0.1, 1.0)
LOST = Evidence("specific", 0.1, 0.1, -0.6, 0.3)

shares = st.floats(0.0, 1.0)
evidence = st.builds(
    Evidence,
    st.sampled_from(["pointer", "spreader", "exchangeable", "specific", "another"]),
    shares,
    shares,
    st.floats(-100.0, 0.0) | st.just(float("-inf")),
    shares,
    st.booleans(),
)


def test_every_feature_has_its_coefficient():
    assert features(SURE).keys() == COEFFICIENTS.keys()


def test_unanimous_views_are_likely_right_and_scattered_ones_hardly():
    assert probability(SURE) > 0.6
    assert 0.2 < probability(HALF) < 0.5
    assert probability(LOST) < 0.05


def test_a_pointer_that_holds_out_is_nearly_sure():
    pointer = Evidence("pointer", 0.95, 0.05, -0.05, 1.0)
    assert probability(pointer) > 0.8
    assert probability(replace(pointer, held_out=True)) > 0.9


@given(evidence)
def test_it_is_a_probability_whatever_the_evidence(seen):
    assert 0.0 <= probability(seen) <= 1.0
    assert all(-2.0 <= value <= 1.0 for value in features(seen).values())


@pytest.mark.parametrize("name", ["top_share", "log_likelihood", "demo_fit"])
@given(seen=evidence, more=st.floats(0.0, 1.0))
def test_more_of_what_speaks_for_an_answer_never_makes_it_less_likely(name, seen, more):
    now = getattr(seen, name)
    better = replace(seen, **{name: min(now + more, 0.0 if name == "log_likelihood" else 1.0)})
    assert probability(better) >= probability(seen)

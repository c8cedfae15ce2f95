"""Which zones a stack should use: those that offer what it may start, at most four."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot_cli.zones import MOST, best, judged

SMALL, LARGE = "g4dn.xlarge", "g4dn.2xlarge"


def zones(letters: str, region: str = "us-east-1") -> set[str]:
    return {region + letter for letter in letters}


def test_zones_that_offer_every_type_come_before_those_that_offer_some() -> None:
    assert best({SMALL: zones("abcdef"), LARGE: zones("bdef")}) == tuple(sorted(zones("bdef")))
    assert best({SMALL: zones("ab"), LARGE: zones("b")}) == ("us-east-1a", "us-east-1b")


def test_a_local_zone_is_no_zone_of_the_region() -> None:
    assert best({SMALL: {"us-west-2-lax-1a", "us-west-2b"}}) == ("us-west-2b",)


@given(st.dictionaries(st.sampled_from([SMALL, LARGE]), st.sets(st.sampled_from(sorted(zones("abcdef"))))))
def test_at_most_four_are_chosen_each_offers_something_and_none_is_forgotten(
    offers: dict[str, set[str]],
) -> None:
    chosen, offering = best(offers), set().union(*offers.values())
    assert set(chosen) <= offering
    assert len(chosen) == len(set(chosen)) == min(MOST, len(offering))


@pytest.mark.parametrize(
    ("offered", "used", "ok", "said"),
    [
        ("", "ab", False, "no zone of this region"),
        ("bcd", "ab", False, "us-east-1a; deploy again with Zones=us-east-1b,us-east-1c,us-east-1d"),
        ("cd", "ab", False, "us-east-1a, us-east-1b; deploy again with Zones=us-east-1c,us-east-1d"),
        ("abc", "ab", None, "2 of 3 zones in use; for more capacity deploy with Zones="),
        ("abcdef", "cdef", True, "us-east-1c, us-east-1d, us-east-1e, us-east-1f"),
        ("ab", "ab", True, "us-east-1a, us-east-1b"),
        ("a", "a", True, "us-east-1a"),
    ],
)
def test_a_stack_is_told_the_parameter_that_it_should_have(
    offered: str, used: str, ok: bool | None, said: str
) -> None:
    judgement = judged({SMALL: zones(offered)}, sorted(zones(used)))
    assert judgement[0] is ok
    assert said in judgement[1]


def test_before_the_first_deployment_the_parameter_is_told_too() -> None:
    assert judged({SMALL: zones("bd")}, None) == (
        None,
        "not deployed yet; deploy with Zones=us-east-1b,us-east-1d",
    )

"""The model that the ramp was chosen by: what speed wins, and what it is paid with."""

from __future__ import annotations

import pytest

from bench.ramp import CASES, RULES, Case, ramp, table

FOUR, CHOSEN = RULES["four a round"], RULES["on their way: twice what serves, at least eight"]
KNOWN, WRONG, KICKED, BROKEN = CASES[0], CASES[2], CASES[3], CASES[4]


def test_fifty_serve_sooner_than_with_four_a_round_and_cost_the_same() -> None:
    four, chosen = ramp(KNOWN, FOUR), ramp(KNOWN, CHOSEN)
    assert four.launches == chosen.launches == KNOWN.slots
    assert chosen.full_s < four.full_s
    assert chosen.drained_s < four.drained_s
    assert chosen.usd == pytest.approx(four.usd, rel=0.02)


@pytest.mark.parametrize("case", [WRONG, KICKED, BROKEN], ids=lambda case: case.name)
def test_what_is_not_as_it_was_believed_wastes_less_than_with_four_a_round(case: Case) -> None:
    four, chosen = ramp(case, FOUR), ramp(case, CHOSEN)
    assert chosen.launches < four.launches
    assert chosen.usd < four.usd
    assert chosen.busiest_minute <= 16


def test_the_table_has_each_case_with_each_rule() -> None:
    small = [Case("small", 20, 60, 60, slots=3), Case("broken", 20, 60, 60, slots=3, boots=False)]
    assert len(table(small).splitlines()) == 2 + 2 * len(RULES)

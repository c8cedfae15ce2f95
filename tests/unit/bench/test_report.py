"""The bench of a report runs the real service to its end, at a size that a test has time for."""

from __future__ import annotations

import pytest

from bench import report


@pytest.mark.parametrize(("limit_s", "rounds"), [(300.0, 1), (report.ENOUGH_S, 4)])
def test_a_report_comes_to_its_end_whatever_a_call_has_time_for(
    monkeypatch: pytest.MonkeyPatch, limit_s: float, rounds: int
) -> None:
    monkeypatch.setattr(report, "LIMIT_S", limit_s)  # no more than what is kept: a page a call
    found = report.measured(lambda line: None, [2_500])
    (each,) = found["sizes"]
    assert (each["rounds"], each["mails"]) == (rounds, 1)
    assert 0 < each["longest_s"] <= each["seconds"]
    assert each["peak_mb"] < found["memory_mb"]
    assert each["tasks"] == 2_500


def test_twice_the_tasks_are_twice_the_calls_and_no_more() -> None:
    sizes = report.measured(lambda line: None, [3_000, 6_000])["sizes"]
    assert sizes[1]["calls"] <= 2 * sizes[0]["calls"]

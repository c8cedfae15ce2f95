"""The bench of a report runs the real service to its end, at a size that a test has time for."""

from __future__ import annotations

import pytest

from arcspot.services import report_parts
from bench import report


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_parts, "ONE_PAGE", 60)
    monkeypatch.setattr(report_parts, "PAGE_LINES", 40)


@pytest.mark.parametrize(("limit_s", "rounds"), [(300.0, 1), (report.ENOUGH_S, 4)])
def test_a_report_comes_to_its_end_whatever_a_call_has_time_for(
    monkeypatch: pytest.MonkeyPatch, limit_s: float, rounds: int
) -> None:
    monkeypatch.setattr(report, "LIMIT_S", limit_s)  # no more than what is kept: a page a call
    found = report.measured(lambda line: None, [100])
    (each,) = found["sizes"]
    assert (each["rounds"], each["mails"]) == (rounds, 1)
    assert 0 < each["longest_s"] <= each["seconds"]
    assert each["peak_mb"] < found["memory_mb"]
    assert each["tasks"] == 100


def test_twice_the_tasks_are_twice_the_calls_and_no_more() -> None:
    sizes = report.measured(lambda line: None, [120, 240])["sizes"]
    assert sizes[1]["calls"] <= 2 * sizes[0]["calls"]

"""A launch's row, the breaker's and the money's: what each of their changes may do."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.budget import PRICES_KEEP, Prices
from arcspot.domain.launching import BACKOFF_MINUTES, CONTRACT, Breaker, Launch, LaunchState
from arcspot.errors import (
    LaunchClosed,
    LaunchMisconfigured,
    LaunchPostponed,
    LaunchRefused,
    LaunchThrottled,
    LaunchUnknown,
    NoCapacity,
    QuotaExceeded,
    RunnerGaveUp,
)
from tests.fakes.memory import START

ACTIVE = Launch(
    launch_id="L",
    period="2026-11",
    reserve=1,
    created_at=START,
    hard_deadline=START + timedelta(hours=2),
    boot_deadline=START + timedelta(minutes=15),
    state=LaunchState.ACTIVE,
    heartbeat_at=START,
    contract=CONTRACT,
)
KINDS = (
    NoCapacity,
    QuotaExceeded,
    LaunchThrottled,
    LaunchUnknown,
    LaunchPostponed,
    LaunchMisconfigured,
    RunnerGaveUp,
)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@given(st.lists(st.sampled_from("abcd")))
def test_a_launch_holds_exactly_the_jobs_it_was_lent_and_has_not_returned(moves: list[str]) -> None:
    row, held = ACTIVE, set[str]()
    for job_id in moves:
        row = row.returned(job_id) if job_id in held else row.lent(job_id)
        held ^= {job_id}
        assert (set(row.leases), row.active_leases) == (held, len(held))
    assert row.returned("never lent").leases == row.leases


@pytest.mark.parametrize("state", [state for state in LaunchState if state is not LaunchState.ACTIVE])
def test_only_an_active_launch_is_lent_work(state: LaunchState) -> None:
    with pytest.raises(LaunchClosed, match=str(state)):
        replace(ACTIVE, state=state).lent("a")


def test_a_draining_launch_is_lent_nothing_and_can_give_back_what_it_has() -> None:
    warned = ACTIVE.lent("a").asked_to_drain(reason="spot")
    with pytest.raises(LaunchClosed):
        warned.lent("b")
    assert warned.returned("a").leases == ()


def test_a_heartbeat_is_written_down_once_in_a_while() -> None:
    assert ACTIVE.heard(now=after(29), every_s=30) is ACTIVE
    assert ACTIVE.heard(now=after(30), every_s=30).heartbeat_at == after(30)


def test_a_gpu_idles_from_the_first_low_figure_until_the_next_high_one() -> None:
    row = ACTIVE.lent("a")
    row = row.heard(now=after(1), every_s=30, gpu_utilisation=4.9)
    assert row.gpu_idle_since == after(1), "noted at once, though the heartbeat itself need not be"
    assert row.heard(now=after(2), every_s=30, gpu_utilisation=0.0) is row
    row = replace(row, gpu_warned=True)
    working = row.heard(now=after(3), every_s=30, gpu_utilisation=5.0)
    assert (working.gpu_idle_since, working.gpu_warned) == (None, False)


def test_a_sign_of_life_without_a_figure_says_nothing_about_the_gpu() -> None:
    """A claim carries none. Were it taken for work, short jobs on a dead GPU would never be told of."""
    row = ACTIVE.lent("a").heard(now=after(1), gpu_utilisation=0.0)
    row = row.returned("a").lent("b")
    assert row.heard(now=after(9), gpu_utilisation=None).gpu_idle_since == after(1)
    assert ACTIVE.lent("a").heard(now=after(1), gpu_utilisation=None).gpu_idle_since is None


def test_without_work_a_gpu_may_idle() -> None:
    idle = ACTIVE.lent("a").heard(now=after(1), gpu_utilisation=0.0).returned("a")
    for figure in (0.0, None):
        assert idle.heard(now=after(2), gpu_utilisation=figure).gpu_idle_since is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_breaker_waits_longer_each_time_and_then_no_longer(kind: type[LaunchRefused]) -> None:
    steps = BACKOFF_MINUTES[kind.__name__]
    breaker, now = Breaker(), START
    for minutes in (*steps, steps[-1], steps[-1]):
        breaker = breaker.tripped(kind("no"), now=now)
        opens_at = now + timedelta(minutes=minutes)
        assert breaker.open_until == opens_at
        assert breaker.open(opens_at - timedelta(seconds=1))
        assert not breaker.open(opens_at)
        now = opens_at


@pytest.mark.parametrize("kind", KINDS)
def test_launches_refused_together_are_one_refusal(kind: type[LaunchRefused]) -> None:
    once = Breaker().tripped(kind("no"), now=START)
    assert once.tripped(kind("no"), now=START).tripped(kind("no"), now=START) == once


@given(st.lists(st.sampled_from(KINDS), max_size=5), st.lists(st.sampled_from(KINDS), max_size=5))
def test_what_waits_for_a_person_waits_a_day_whatever_else_is_refused(
    earlier: list[type[LaunchRefused]], later: list[type[LaunchRefused]]
) -> None:
    breaker = Breaker()
    for kind in (*earlier, LaunchMisconfigured, *later):
        breaker = breaker.tripped(kind("no"), now=START)
    assert (breaker.open(after(86_399)), breaker.open(after(86_400))) == (True, False)
    assert breaker.error == "LaunchMisconfigured", "a person is told what to mend"
    assert breaker.until_resumed
    milder = breaker.tripped(NoCapacity("no"), now=after(86_400))
    assert (milder.error, milder.until_resumed) == ("NoCapacity", False), "a person has mended it"
    assert not breaker.closed().open(START)


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=9), st.data())
def test_no_refusal_stops_launching_for_good(kinds: list[type[LaunchRefused]], data: st.DataObject) -> None:
    """An hour at most after whatever may pass by itself, a day after what only a person can mend."""
    breaker, now = Breaker(), START
    for kind in kinds:
        breaker = breaker.tripped(kind("no"), now=now)
        assert breaker.open_until is not None
        assert breaker.open_until - now <= timedelta(days=1)
        if not breaker.until_resumed:
            assert breaker.open_until - now <= timedelta(hours=1)
        now += timedelta(minutes=data.draw(st.integers(0, 2000)))


def test_a_row_that_an_earlier_version_had_stopped_for_good_is_tried_again() -> None:
    old = Breaker(failures=1, error="LaunchMisconfigured", until_resumed=True, open_until=None)
    assert not old.open(START)
    assert old.tripped(NoCapacity("no"), now=START).error == "NoCapacity"


@pytest.mark.parametrize(
    ("errors", "market"),
    [
        ([], "spot"),
        ([NoCapacity] * 2, "spot"),
        ([NoCapacity] * 3, "on-demand"),
        ([NoCapacity] * 9, "on-demand"),
        ([NoCapacity, QuotaExceeded, NoCapacity, NoCapacity], "spot"),
        ([QuotaExceeded] * 3, "spot"),
        ([LaunchUnknown] * 3, "spot"),
    ],
)
def test_on_demand_is_asked_for_once_spot_refused_every_step_and_if_allowed(
    errors: list[type[LaunchRefused]], market: str
) -> None:
    breaker = Breaker()
    for hours, kind in enumerate(errors):
        breaker = breaker.tripped(kind("no"), now=START + timedelta(hours=hours))
    assert breaker.market(fallback=True) == market
    assert breaker.market(fallback=False) == "spot"


def test_prices_are_kept_for_a_day_and_beyond_it_when_nobody_says_better() -> None:
    known = Prices({"a": 1, "b": 2}, START)
    assert not known.stale(START + PRICES_KEEP - timedelta(seconds=1))
    assert known.stale(START + PRICES_KEEP)
    later = known.updated({"b": 3}, START + PRICES_KEEP)
    assert (dict(later.on_demand), later.stale(START + PRICES_KEEP)) == ({"a": 1, "b": 3}, False)

"""When instances may run, and how many a deadline asks for."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.hours import MINUTES_A_DAY, Window, allowed, opens_in, windows
from arcspot.domain.scaling import Backlog, Pace, Room, cannot_meet, how_many, wanted
from arcspot.errors import ConfigurationError
from tests.fakes.memory import START

MIDNIGHT = START.replace(hour=0, minute=0)
PACE = Pace(target_drain_s=1800, boot_s=180, max_wait_s=60)
ROOM = Room(live=0, spare=0, slots=9, available=10**9, reserve=1, quota_vcpus=99)

minutes = st.integers(0, MINUTES_A_DAY - 1)
moments = minutes.map(lambda minute: MIDNIGHT + timedelta(minutes=minute))
pairs = st.tuples(minutes, st.integers(1, MINUTES_A_DAY)).filter(lambda pair: pair[0] != pair[1])
some_windows = st.lists(pairs.map(lambda pair: Window(*pair)), max_size=3).map(tuple)


def at(clock: str) -> datetime:
    hour, minute = clock.split(":")
    return MIDNIGHT + timedelta(hours=int(hour), minutes=int(minute))


def written(window: Window) -> str:
    return "-".join(f"{m // 60:02d}:{m % 60:02d}" for m in (window.start, window.end))


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("", ["00:00", "12:00", "23:59"], []),
        ("08:00-12:00", ["08:00", "11:59"], ["07:59", "12:00", "20:00"]),
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "21:59"]),
        ("18:00-24:00", ["18:00", "23:59"], ["00:00", "17:59"]),
        ("22:00-00:00", ["22:00", "23:59"], ["00:00"]),
        ("00:00-24:00", ["00:00", "23:59"], []),
        (" 08:00-09:00 , 12:00-13:30,", ["08:30", "13:29"], ["09:00", "11:59", "13:30"]),
    ],
)
def test_a_window_holds_its_first_minute_and_not_its_last(
    hours: str, inside: list[str], outside: list[str]
) -> None:
    assert [clock for clock in inside if not allowed(at(clock), windows(hours))] == []
    assert [clock for clock in outside if allowed(at(clock), windows(hours))] == []


@pytest.mark.parametrize(
    "part", ["8-12", "08:00", "24:00-06:00", "08:60-09:00", "08:00-24:01", "08:00-08:00", "08:00–12:00"]
)
def test_hours_that_are_none_are_refused_by_name(part: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        windows(f"01:00-02:00,{part}")
    assert repr(part) in str(refused.value)


@given(some_windows)
def test_windows_are_read_as_they_are_written(some: tuple[Window, ...]) -> None:
    assert windows(",".join(map(written, some))) == some


@given(moments, some_windows)
def test_it_opens_after_exactly_so_many_minutes(moment: datetime, some: tuple[Window, ...]) -> None:
    wait = opens_in(moment, some)
    assert allowed(moment + timedelta(minutes=wait), some)
    assert not any(allowed(moment + timedelta(minutes=earlier), some) for earlier in range(wait))


def test_outside_the_hours_nothing_starts_and_the_jobs_are_told_so() -> None:
    shut = Room(live=0, spare=0, slots=9, available=10**9, reserve=1, quota_vcpus=99, closed_hours="hours")
    backlog = Backlog(jobs=100, work_s=10_000, oldest_wait_s=500, urgent=((10_000, 60),))
    decision = how_many(backlog, shut, PACE)
    assert (decision.launches, decision.waits_for) == (0, "hours")


@pytest.mark.parametrize(
    ("left_s", "instances"),
    [
        (7200, 2),  # the ordinary pace is fast enough
        (1980, 2),  # the boot is counted in
        (780, 6),
        (100, 10),  # past saving: as fast as a boot still pays
        (-500, 10),
    ],
)
def test_a_nearer_deadline_asks_for_more_instances(left_s: float, instances: int) -> None:
    backlog = Backlog(jobs=100, work_s=3600, oldest_wait_s=500, urgent=((3600, left_s),))
    assert wanted(backlog, PACE) == instances


def test_an_urgent_batch_waits_for_no_company() -> None:
    small = {"jobs": 1, "work_s": 60.0, "oldest_wait_s": 0.0}
    assert how_many(Backlog(**small), ROOM, PACE).waits_for == "company"
    assert how_many(Backlog(**small, urgent=((60, 9000),)), ROOM, PACE).launches == 1


works = st.floats(1, 1e6)
lefts = st.floats(-1e5, 1e6)


@given(works, lefts, lefts, st.integers(1, 50))
def test_less_time_never_asks_for_fewer_and_more_instances_never_make_it_late(
    work: float, one: float, other: float, instances: int
) -> None:
    sooner, later = sorted((one, other))

    def wants(left: float) -> int:
        return wanted(Backlog(jobs=10**6, work_s=work, oldest_wait_s=0, urgent=((work, left),)), PACE)

    assert wants(sooner) >= wants(later) >= 1
    if cannot_meet(work, later, instances=instances, pace=PACE):
        assert cannot_meet(work, sooner, instances=instances, pace=PACE)
    if not cannot_meet(work, sooner, instances=instances, pace=PACE):
        assert not cannot_meet(work, sooner, instances=instances + 1, pace=PACE)


@given(works, lefts)
def test_what_is_asked_for_meets_a_deadline_that_can_be_met(work: float, left: float) -> None:
    asked = wanted(Backlog(jobs=10**6, work_s=work, oldest_wait_s=0, urgent=((work, left),)), PACE)
    if left >= 3 * PACE.boot_s + 1:  # sooner than that more boots than work would be paid for
        # One second in a million: the sum is made of floats.
        assert not cannot_meet(work, left * (1 + 1e-6), instances=asked, pace=PACE)


@pytest.mark.parametrize("instances", [0, -1])
def test_without_an_instance_no_deadline_is_met(instances: int) -> None:
    assert cannot_meet(1, 10**9, instances=instances, pace=PACE)

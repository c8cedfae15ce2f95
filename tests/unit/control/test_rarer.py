"""What is done now and then, not each time: that it is done soon enough, and by whom else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.jobs import SAMPLED, SETTLED_COUNT, Estimate, sampled
from arcspot.domain.launching import BEAT_EVERY_S, Launch, passed_on
from arcspot.domain.scaling import Backlog, Pace, Room, how_many
from arcspot.services import scaling
from arcspot.services.ingesting import KICKED_WITHIN
from gpu_runner.logs import SHIP_EVERY_S, SHIP_FIRST_S, shipping_times
from tests.fakes import house
from tests.fakes.driving import Stack, task

START = datetime(2026, 11, 28, 12, tzinfo=UTC)
PACE = Pace(target_drain_s=1800, boot_s=180, max_wait_s=60)
ROOM = Room(live=2, spare=0, slots=4, available=10**9, reserve=10**6, quota_vcpus=100, serving=2, staying=2)


def launched(boot_s: float = 900) -> Launch:
    later = START + timedelta(hours=2)
    return Launch("l", "2026-11", 1, START, later, START + timedelta(seconds=boot_s))


@given(gaps=st.lists(st.floats(1, 90), min_size=2, max_size=200), since_s=st.floats(0, 7200))
def test_step_functions_hears_of_a_runner_that_is_heard_every_ten_minutes(
    gaps: list[float], since_s: float
) -> None:
    noted, told = START + timedelta(seconds=since_s), [START + timedelta(seconds=since_s)]
    for gap in gaps:
        now = noted + timedelta(seconds=gap)
        if passed_on(launched(), noted, now):
            told.append(now)
        noted = now
    told.append(noted)
    assert max(after - before for before, after in pairwise(told)) <= timedelta(seconds=BEAT_EVERY_S + 90)


def test_until_the_boots_deadline_each_sign_of_life_is_told() -> None:
    noted = START + timedelta(seconds=610)
    assert passed_on(launched(900), noted, noted + timedelta(seconds=30))
    assert not passed_on(launched(300), noted, noted + timedelta(seconds=30))
    assert passed_on(launched(300), None, noted)


def test_the_log_is_shipped_soon_at_first_and_then_each_half_hour() -> None:
    waits = list(islice(shipping_times(), 20))
    assert waits[0] == SHIP_FIRST_S
    assert max(waits) == SHIP_EVERY_S
    assert all(before <= after <= 2 * before for before, after in pairwise(waits))
    assert sum(at < 7200 for at in accumulate(waits)) <= 12


def test_an_estimate_observes_the_first_jobs_and_then_a_part_of_all() -> None:
    ids = [f"{n:024x}" for n in range(4_000)]
    young, settled = Estimate("k", 60.0, SETTLED_COUNT - 1), Estimate("k", 60.0, SETTLED_COUNT)
    assert all(young.asks(job_id) for job_id in ids)
    share = sum(settled.asks(job_id) for job_id in ids) / len(ids)
    assert 0.5 / SAMPLED < share < 2 / SAMPLED
    assert [job_id for job_id in ids if settled.asks(job_id)] == [i for i in ids if sampled(i)]


@pytest.mark.parametrize(
    ("backlog", "room", "launches"),
    [
        ({"jobs": 6, "work_s": 360.0}, {}, 0),  # two at work are through in 180 s, as long as a boot
        ({"jobs": 7, "work_s": 361.0}, {}, 1),
        ({"jobs": 6, "work_s": 360.0}, {"staying": 0}, 1),  # both end soon
        ({"jobs": 6, "work_s": 360.0, "urgent": ((360.0, 400.0),)}, {}, 1),
        ({"jobs": 100, "work_s": 6000.0}, {}, 4),
    ],
)
def test_no_instance_is_started_for_what_is_done_before_it_has_booted(
    backlog: dict[str, Any], room: dict[str, Any], launches: int
) -> None:
    waiting = Backlog(**{"oldest_wait_s": 9_999.0, **backlog})
    assert how_many(waiting, replace(ROOM, **room), PACE).launches == launches


def full() -> Stack:
    """Every slot is taken, jobs wait, and a round has said so."""
    stack = Stack()
    for n in range(200):
        stack.drop(f"tasks/b/{n}.json", task(n))
    while stack.scale():
        stack.world.wait(1)
    stack.world.wait(60)
    stack.scale()
    fleet = stack.world.store.fleet()
    assert fleet
    assert (fleet.slots_available, fleet.waits_for) == (0, scaling.FULL)
    return stack


def reads_of_a_round(stack: Stack, **more: Any) -> list[str]:
    reads: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            reads.append(name)
            return getattr(stack.world.store, name)

    ports = replace(stack.ports, store=Counting())  # type: ignore[arg-type]
    scaling.scale(ports, stack.settings, stack.world.now, new_id=lambda now: "x", **more)
    return reads


def test_a_full_fleet_is_looked_at_now_and_then_or_when_somebody_kicks() -> None:
    stack = full()
    rounds = []
    for _ in range(2 * scaling.LOOKS_EVERY_MINUTES):
        stack.world.wait(60)
        rounds.append(len(reads_of_a_round(stack)))
    assert sorted(rounds)[:-2] == [1] * (len(rounds) - 2)
    assert max(rounds) > 5
    while stack.world.now.minute % scaling.LOOKS_EVERY_MINUTES == 0:
        stack.world.wait(60)
    assert len(reads_of_a_round(stack, kicked=True)) > 5


def test_a_slot_that_comes_free_is_seen_by_the_next_round() -> None:
    stack = full()
    (row, *_) = stack.world.store.open_launches()
    stack.boot(row.launch_id)
    stack.retire(row.launch_id)
    stack.world.wait(60)
    assert len(stack.scale()) == 1


def test_files_of_one_folder_kick_once_and_files_of_another_or_later_ones_again() -> None:
    stack = Stack()
    told = [stack.drop(f"tasks/b/{n}.json", task(n)).kicked for n in range(3)]
    assert told == [False, True, True]
    assert not stack.drop("tasks/other/0.json", task(9)).kicked
    stack.world.wait(KICKED_WITHIN.total_seconds() + 1)
    assert not stack.drop("tasks/b/late.json", task(10)).kicked


@pytest.mark.parametrize(("event", "minute", "looks"), [
    ({"clock": "minute"}, 0, True), ({"clock": "minute"}, 1, False), ({"clock": "minute"}, 3, True),
    ({}, 1, True), ({"kicked": True}, 2, True),
])  # fmt: skip
def test_report_looks_every_third_minute_and_when_kicked(
    event: dict[str, Any], minute: int, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = house.handler_module("report")

    class Asked(Exception):
        pass

    class Clock:
        @staticmethod
        def now(zone: Any) -> datetime:
            return START.replace(minute=minute)

    def asked() -> None:
        raise Asked

    monkeypatch.setattr(report, "datetime", Clock)
    monkeypatch.setattr(report, "from_environment", asked)
    inner = report.handler.__wrapped__.__wrapped__
    if looks:
        with pytest.raises(Asked):
            inner(event, None)
    else:
        assert inner(event, None) == {"batches": []}

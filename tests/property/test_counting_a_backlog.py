"""A backlog is counted as far as the decision needs it, and no step is longer than what serves has proven."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.batches import Batch
from arcspot.domain.jobs import Estimate, JobState
from arcspot.domain.scaling import (
    COUNT_ALL_EVERY,
    FIRST_STEP,
    LEAST_JOB_S,
    MANY,
    MOST_URGENT,
    Backlog,
    Pace,
    Room,
    cannot_meet,
    deciding_jobs,
    enough,
    how_many,
    looked_at,
    step_of,
    turn,
    worth_s,
)
from arcspot.services.scaling import estimate_key, scale
from tests.fakes.driving import Stack, task
from tests.fakes.memory import START, settings

rooms = st.builds(
    Room,
    live=st.integers(0, 60),
    spare=st.integers(0, 60),
    slots=st.integers(-5, 60),
    available=st.integers(-(10**7), 10**8),
    reserve=st.integers(0, 10**7),
    quota_vcpus=st.integers(0, 400),
    paused=st.sampled_from(["", "paused"]),
    breaker=st.sampled_from(["", "capacity"]),
    closed_hours=st.sampled_from(["", "hours"]),
    booting=st.integers(0, 60),
    serving=st.integers(0, 60),
)
paces = st.builds(
    Pace,
    target_drain_s=st.floats(1, 1e4),
    boot_s=st.floats(1, 1e3),
    max_wait_s=st.floats(0, 1e3),
    max_step=st.integers(0, 120),
)
jobs = st.one_of(st.integers(0, 300), st.integers(0, 3 * MANY), st.integers(MANY - 3, 10**7))
seconds = st.floats(LEAST_JOB_S, 1e4)
urgents = st.lists(st.tuples(st.floats(0, 1e7), st.floats(-1e5, 1e6)), max_size=3).map(tuple)


@given(rooms, paces, jobs, seconds, st.floats(0, 2e3), urgents)
def test_counting_further_never_changes_a_decision(
    room: Room, pace: Pace, many: int, each: float, waited: float, urgent: tuple[tuple[float, float], ...]
) -> None:
    counted = min(many, enough(room, pace, each))
    decided, known = (how_many(Backlog(n, n * each, waited, urgent), room, pace) for n in (counted, many))
    assert decided == known


@given(rooms, paces, seconds)
def test_no_more_is_counted_than_the_step_can_use(room: Room, pace: Pace, each: float) -> None:
    most = enough(room, pace, each)
    assert most <= MANY
    launches = room.spare + pace.max_step
    assert most <= max(launches * worth_s(pace), 2 * pace.boot_s, launches * each) / each + 2


@given(st.floats(-1e4, 1e6), seconds, st.integers(-2, 60), paces, st.integers(0, 10**6))
def test_a_deadline_is_judged_by_as_many_jobs_as_decide_it(
    left: float, each: float, instances: int, pace: Pace, many: int
) -> None:
    counted = min(many, deciding_jobs(left, each_s=each, instances=instances, pace=pace))
    judged = [cannot_meet(n * each, left, instances=instances, pace=pace) for n in (counted, many)]
    assert judged[0] == judged[1]


@given(st.integers(0, 100), st.integers(0, 100))
def test_on_their_way_are_a_few_at_first_and_then_twice_what_serves(booting: int, serving: int) -> None:
    step = step_of(booting=booting, serving=serving)
    assert 0 <= step <= max(FIRST_STEP, 2 * serving)
    assert booting + step >= min(FIRST_STEP, booting + FIRST_STEP)
    assert step == 0 or booting + step == max(FIRST_STEP, 2 * serving)
    assert (
        step_of(booting=booting, serving=serving + 1) >= step >= step_of(booting=booting + 1, serving=serving)
    )


def batches(count: int) -> list[Batch]:
    return [
        Batch(f"b{n:04}", START, START, deadline=START + timedelta(hours=n % 97, seconds=n))
        for n in range(count)
    ]


@given(st.integers(0, 200), st.integers(0, 10**6))
def test_every_batch_with_a_deadline_has_its_turn_and_the_nearest_always(count: int, minute: int) -> None:
    found = batches(count)
    nearest = {b.batch_id for b in sorted(found, key=lambda b: (b.deadline, b.batch_id))[: MOST_URGENT // 2]}
    rounds = count // (MOST_URGENT // 2) + 1
    looks = [
        {b.batch_id for b in looked_at(found, START + timedelta(minutes=minute + n))} for n in range(rounds)
    ]
    assert all(nearest <= look and len(look) <= MOST_URGENT for look in looks)
    assert set().union(*looks) == {b.batch_id for b in found}


def test_a_batch_without_a_deadline_is_nobodys_hurry() -> None:
    assert looked_at([replace(batches(1)[0], deadline=None)], START) == []


@given(st.lists(st.integers(), max_size=50), st.integers(0, 10**6), st.integers(1, 20))
def test_a_turn_is_no_longer_than_it_may_be(items: list[int], minute: int, most: int) -> None:
    assert len(turn(items, START + timedelta(minutes=minute), most)) == min(len(items), most)


@dataclass
class Counted:
    """A store with a backlog of any size, which notes how far it is counted."""

    real: Any
    ready: int = 0
    of_batch: int = 0
    asked: list[int] = field(default_factory=list)
    batch_asked: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def ready_count(self, at_most: int, now: datetime) -> int:
        self.asked.append(at_most)
        return min(at_most, self.ready)

    def batch_count(self, batch_id: str, state: JobState, at_most: int) -> int:
        self.batch_asked.append(at_most)
        return min(at_most, self.of_batch) if state is JobState.READY else 0


def busy(each_s: float, *, slots: int = 50, **counts: int) -> tuple[Stack, Counted]:
    """A stack with one READY job's row, and a store that says there are as many as wanted."""
    stack = Stack(settings(slots=slots, cap=10**9, target_drain_s=1800, boot_s=180))
    stack.drop("tasks/b/one.json", task(1))
    stack.world.store.write(Estimate(key=estimate_key(stack.settings), seconds=each_s))
    return stack, Counted(stack.world.store, **counts)


def scaled(stack: Stack, store: Counted) -> list[str]:
    ports = replace(stack.ports, store=store)
    return scale(ports, stack.settings, stack.world.now, new_id=lambda now: f"launch-{next(stack.ids):03d}")[
        1
    ]


@pytest.mark.parametrize("each_s", [0.01, 0.5, 10.0, 300.0])
def test_a_round_reads_no_more_of_100000_quick_jobs_than_its_step_can_use(each_s: float) -> None:
    stack, store = busy(each_s, ready=100_000)
    assert len(scaled(stack, store)) == FIRST_STEP
    assert max(store.asked) <= min(MANY, FIRST_STEP * 1800 / max(LEAST_JOB_S, each_s) + 2)


def test_a_round_without_room_counts_only_whether_there_is_work() -> None:
    stack, store = busy(10.0, slots=0, ready=100_000)
    assert scaled(stack, store) == []
    assert max(store.asked) <= 2 * 180 / 10 + 2


def test_however_often_it_is_kicked_only_a_few_boot_before_one_has_served() -> None:
    stack, store = busy(300.0, ready=100_000)
    started = [each for _ in range(30) for each in scaled(stack, store)]
    assert len(started) == FIRST_STEP
    for each in started:
        stack.boot(each)
    assert len(scaled(stack, store)) == 2 * FIRST_STEP


def test_hundreds_of_batches_with_deadlines_cost_a_round_no_more_than_a_few() -> None:
    stack, store = busy(10.0, ready=500, of_batch=3)
    for batch in batches(300):
        stack.world.store.write(replace(batch, deadline=START + timedelta(days=1)))
    scaled(stack, store)
    assert 0 < len(store.batch_asked) <= 2 * MOST_URGENT


def test_a_far_deadline_of_a_long_batch_is_counted_to_its_end_now_and_then_and_told_in_time() -> None:
    stack, store = busy(60.0, slots=2, ready=100_000, of_batch=100_000)
    batch = stack.world.store.batch("b")
    assert batch is not None
    # Two instances need 35 days for it.
    stack.world.store.write(replace(batch, deadline=START + timedelta(days=30)))
    rounds = 0
    while not [s for s, _ in stack.world.mail.sent if "miss its deadline" in s]:
        store.batch_asked.clear()
        scaled(stack, store)
        stack.world.wait(60)
        rounds += 1
        assert rounds <= COUNT_ALL_EVERY
    (told,) = [body for subject, body in stack.world.mail.sent if "miss its deadline" in subject]
    assert f"{100_000 * 60 / 60:.0f} minutes of work" in told
    store.batch_asked.clear()
    scaled(stack, store)
    assert max(store.batch_asked, default=0) <= 1, "said once, and read no more"

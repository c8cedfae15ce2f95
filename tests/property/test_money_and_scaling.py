"""Whatever happens in whatever order, the books balance and no launch starts without its worst case."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arcspot.aws.codec import decode, encode
from arcspot.domain.budget import Fleet, Ledger
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import LaunchState
from arcspot.domain.scaling import Backlog, Pace, Room, how_many
from arcspot.errors import ArcspotError, LaunchUnknown, NoCapacity, NoMoney
from tests.fakes.driving import Runner, Stack, task
from tests.fakes.memory import settings as stack_settings

amounts = st.integers(0, 10_000_000)


@given(amounts, st.lists(st.tuples(st.sampled_from(["reserve", "settle", "book", "cap"]), amounts, amounts)))
def test_any_sequence_of_bookings_balances_and_never_promises_more_than_there_is(
    cap: int, steps: list[tuple[str, int, int]]
) -> None:
    ledger = Ledger.opened("2026-11", cap)
    promised: list[int] = []
    for kind, one, other in steps:
        if kind == "reserve":
            before = ledger.available
            try:
                ledger = ledger.reserve(one)
                promised.append(one)
                assert one <= before
            except NoMoney:
                assert one > before
        elif kind == "settle" and promised:
            ledger = ledger.settle(promised.pop(), other)
        elif kind == "book":
            ledger = ledger.book(one)
        elif kind == "cap":
            ledger = ledger.with_cap(one)
        assert ledger.balanced
        assert ledger.reserved == sum(promised)


@given(st.lists(st.integers(0, 300), max_size=8))
def test_each_threshold_is_crossed_once(amounts_: list[int]) -> None:
    ledger, told = Ledger.opened("2026-11", 1000), []
    for amount in amounts_:
        ledger = ledger.book(amount)
        crossed = ledger.crossed()
        told += crossed
        ledger = ledger.told(crossed)
    assert len(told) == len(set(told))
    assert set(told) == {p for p in (50, 80, 100) if sum(amounts_) * 100 >= p * 1000}


backlogs = st.builds(
    Backlog, jobs=st.integers(0, 10**6), work_s=st.floats(0, 1e8), oldest_wait_s=st.floats(0, 1e5)
)
rooms = st.builds(
    Room,
    live=st.integers(0, 50),
    spare=st.integers(0, 50),
    slots=st.integers(0, 50),
    available=st.integers(-(10**7), 10**8),
    reserve=st.integers(1, 10**7),
    quota_vcpus=st.integers(0, 200),
    paused=st.sampled_from(["", "paused"]),
    breaker=st.sampled_from(["", "capacity"]),
    closed_hours=st.just(""),
)
paces = st.builds(
    Pace, target_drain_s=st.floats(1, 1e4), boot_s=st.floats(1, 1e3), max_wait_s=st.floats(0, 1e3)
)


@given(backlogs, rooms, paces)
def test_a_decision_never_spends_what_is_not_there(backlog: Backlog, room: Room, pace: Pace) -> None:
    decision = how_many(backlog, room, pace)
    n = decision.launches
    assert n >= 0
    assert n * room.reserve <= max(0, room.available)
    assert n <= max(0, room.slots)
    assert n <= max(0, room.quota_vcpus // 4 - room.live)
    assert n <= pace.max_step
    assert n <= backlog.jobs
    if room.paused or room.breaker or not backlog.jobs:
        assert n == 0


@given(backlogs, rooms, paces)
def test_whatever_keeps_a_wanted_launch_from_starting_has_a_name(
    backlog: Backlog, room: Room, pace: Pace
) -> None:
    decision = how_many(backlog, room, pace)
    if backlog.jobs and not room.spare and not room.staying and decision.launches == 0:
        assert decision.waits_for


@given(
    st.builds(Fleet, slots_total=st.integers(0, 9), slots_available=st.integers(-9, 9), waits_for=st.text())
)
def test_a_record_survives_the_table(fleet: Fleet) -> None:
    assert decode(Fleet, encode(fleet)) == fleet


class ControlPlane(RuleBasedStateMachine):
    """The real services over a fake world, driven in any order, with crashes and kills in between."""

    @initialize()
    def deploy(self) -> None:
        # Money for three launches at most, and two slots.
        self.stack = Stack(stack_settings(cap=int(3.5 * stack_settings().reserve)))
        self.dropped = 0
        self.runners: list[Runner] = []
        self.leases: list[tuple[Runner, dict[str, object]]] = []
        self.fences: dict[str, int] = {}
        self.results: dict[str, str] = {}
        self.stack.watch()

    @rule(many=st.integers(1, 12))
    def drop(self, many: int) -> None:
        for _ in range(many):
            self.stack.drop(f"tasks/b/{self.dropped}.json", task(self.dropped % 30))
            self.dropped += 1

    @rule(refusal=st.sampled_from([None, NoCapacity("none"), LaunchUnknown("timeout")]), behind=st.booleans())
    def scale_and_launch(self, refusal: NoCapacity | LaunchUnknown | None, behind: bool) -> None:
        ec2 = self.stack.world.ec2
        for launch_id in self.stack.scale():
            ec2.refusals = [refusal] if refusal else []
            ec2.started_behind_a_silence = behind
            try:
                self.runners.append(self.stack.boot(launch_id))
            except ArcspotError:
                ec2.refusals = []

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 99))
    def claim(self, which: int) -> None:
        runner = self.runners[which % len(self.runners)]
        try:
            for lease in runner.claim():
                assert lease["fence"] > self.fences.get(lease["job_id"], 0), "fences only grow (I7)"
                self.fences[lease["job_id"]] = lease["fence"]
                self.leases.append((runner, lease))
        except ArcspotError:
            pass

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 99), how=st.sampled_from(["complete", "complete", "fail", "release"]))
    def finish(self, which: int, how: str) -> None:
        runner, lease = self.leases.pop(which % len(self.leases))
        try:
            if how == "complete":
                runner.complete(lease)  # type: ignore[arg-type]
            elif how == "fail":
                runner.ask(
                    "fail", job_id=lease["job_id"], fence=lease["fence"], error="E", message="", seconds=1
                )
            else:
                held = {"job_id": lease["job_id"], "fence": lease["fence"], "seconds": 1}
                runner.ask("release", leases=[held], why="interrupted")
        except ArcspotError:
            pass

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 99), how=st.sampled_from(["idle", "interrupted", "spot kill", "retire"]))
    def end(self, which: int, how: str) -> None:
        runner = self.runners[which % len(self.runners)]
        try:
            if how == "spot kill":
                self.stack.world.ec2.end(runner.instance_id)
            elif how == "retire":
                self.stack.retire(runner.launch_id)
            else:
                runner.ask("bye", why=how)
        except ArcspotError:
            pass

    @rule(seconds=st.sampled_from([1, 30, 60, 130, 400, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.stack.world.wait(seconds)

    @rule()
    def watch(self) -> None:
        self.stack.watch()

    @invariant()
    def the_books_balance(self) -> None:
        cap, available, _, settled = self.stack.books  # asserts I1
        assert available >= 0
        open_reserves = sum(launch.reserve for launch in self.stack.world.store.open_launches())
        assert settled + open_reserves <= cap, "I2"

    @invariant()
    def no_more_instances_than_slots(self) -> None:
        assert len(self.stack.world.ec2.living) <= self.stack.settings.slots, "I3"

    @invariant()
    def a_committed_result_is_never_overwritten(self) -> None:
        for job in self.stack.world.store.jobs_of_batch("b"):
            if job.state is JobState.DONE:
                assert self.results.setdefault(job.job_id, job.result_prefix) == job.result_prefix, "I8, I9"
            else:
                assert job.job_id not in self.results

    @invariant()
    def leases_and_launches_agree(self) -> None:
        for launch in self.stack.world.store.launches():
            held = [
                j
                for j in self.stack.world.store.every(Job)
                if j.lease and j.lease.launch_id == launch.launch_id
            ]
            assert launch.active_leases == len(held) or not launch.state.open
            if launch.state in (LaunchState.SETTLED, LaunchState.RELEASED):
                assert held == []

    def teardown(self) -> None:
        """L2: left alone, every instance ends and every reservation comes back."""
        if not hasattr(self, "stack"):
            return
        for _ in range(6):
            self.stack.world.wait(timedelta(hours=1).total_seconds())
            self.stack.watch()
        assert self.stack.world.ec2.living == []
        assert self.stack.books[2] == 0
        fleet = self.stack.world.store.fleet()
        assert fleet is not None
        assert fleet.slots_available == fleet.slots_total
        assert {j.state for j in self.stack.world.store.jobs_of_batch("b")} <= {
            JobState.READY,
            JobState.DONE,
            JobState.DEAD,
        }


ControlPlane.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestControlPlane = ControlPlane.TestCase

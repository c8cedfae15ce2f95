"""Any function may die before or after any of its writes, and any call may come twice or not at all.

The services run over the fake world with Step Functions played: an execution calls launch and
retire as `runner_lifecycle.asl.json` does, each step at a time of hypothesis' choosing, and may be
lost altogether.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import LaunchState
from arcspot.errors import ArcspotError, ItemsFailed, LaunchRefused, LaunchUnknown, NoCapacity
from arcspot.ports import Record
from arcspot.services import launching, retiring, watching
from arcspot.services.reporting import report_finished
from tests.fakes.driving import Runner, Stack, task
from tests.fakes.memory import FakeEc2, MemoryStore
from tests.fakes.memory import settings as stack_settings

READY, LEASED, DONE = JobState.READY, JobState.LEASED, JobState.DONE
WAYS_TO_FINISH = ("complete", "complete", "fail", "release", "cancel")
LEGAL = {
    READY: {READY, LEASED, JobState.CANCELLED},
    LEASED: {READY, LEASED, DONE, JobState.DEAD, JobState.CANCELLED},
}


class PowerCut(BaseException):
    """The function's process ended here; no `except Exception` sees that."""


class MortalStore(MemoryStore):
    """Dies before (or right after) the write that `fuse` counts down to."""

    fuse: int = -1
    after: bool = False
    seen: list[tuple[Job, Job]]

    def write(self, *records: Record) -> None:
        self.fuse -= 1
        if self.fuse == 0 and not self.after:
            raise PowerCut
        for record in records:
            if isinstance(record, Job) and (old := self.job(record.job_id)):
                assert_legal(old, record)
        super().write(*records)
        if self.fuse == 0:
            raise PowerCut


class WatchfulEc2(FakeEc2):
    """Remembers whether anything was ended while its launch still held work."""

    store: MortalStore
    excused: bool = False

    def terminate(self, instance_id: str) -> None:
        known = self.seen.get(instance_id)
        row = self.store.launch(known.launch_id) if known else None
        if row is not None and row.instance_id == instance_id and row.state.open:
            assert row.active_leases == 0, "[I12] terminated with leases active"
        super().terminate(instance_id)


def assert_legal(old: Job, new: Job) -> None:
    if new.version != old.version:
        return  # this write is about to be refused
    assert not old.state.terminal or old == new, f"[I6] {old.state} is final"
    assert new.state in LEGAL.get(old.state, {old.state}), f"[I6] {old.state} → {new.state}"
    assert new.fence >= old.fence, "[I7]"
    assert not old.cancelled or new.state is not DONE, "[I18]"
    if new.interruptions > old.interruptions:
        assert new.failures == old.failures, "[I13]"


class AnythingDies(RuleBasedStateMachine):
    @initialize(many=st.sampled_from([0, 2, 5, 25]), claims=st.integers(0, 3))
    def deploy(self, many: int, claims: int) -> None:
        """Most of what can go wrong needs a runner at work, so there are some from the start."""
        self.stack = Stack(stack_settings(cap=int(4.5 * stack_settings().reserve)))
        self.world = self.stack.world
        self.store = self.world.store = MortalStore()
        self.ec2 = self.world.ec2 = WatchfulEc2()
        self.ec2.store = self.store
        self.dropped = 0
        self.accepted: set[str] = set()
        self.runners: list[Runner] = []
        self.held: list[tuple[Runner, dict[str, Any]]] = []
        self.committed: dict[str, str] = {}
        self.stack.watch()
        self.drop(many, again=False)
        self.scale()
        for which in range(len(self.world.workflow.started)):
            self.launch(which, None, behind=False, greets=True)
            if claims:
                self.claim(which, claims)

    def dying(self, act: Callable[[], object]) -> None:
        """Run one function, which may die on the way or be refused."""
        failures: dict[str, str] = {}
        try:
            act()
        except ItemsFailed as some:
            failures = some.failures
        except (PowerCut, ArcspotError):
            pass
        assert not failures, "the watchdog can always do what it decided to do"

    @rule(fuse=st.integers(1, 8), after=st.booleans())
    def light_a_fuse(self, fuse: int, after: bool) -> None:
        self.store.fuse, self.store.after = fuse, after

    @rule(many=st.integers(1, 8), again=st.booleans())
    def drop(self, many: int, again: bool) -> None:
        for n in range(many):
            number = n if again else self.dropped
            self.dropped += not again
            self.dying(lambda number=number: self.stack.drop(f"tasks/b/{number}.json", task(number)))  # type: ignore[misc]

    @rule()
    def scale(self) -> None:
        self.dying(self.stack.scale)

    @precondition(lambda self: self.world.workflow.started)
    @rule(
        which=st.integers(0, 9),
        refusal=st.sampled_from([None, None, None, NoCapacity("none"), LaunchUnknown("timeout")]),
        behind=st.booleans(),
        greets=st.sampled_from([True, True, False]),
    )
    def launch(self, which: int, refusal: LaunchRefused | None, behind: bool, greets: bool) -> None:
        launch_id = pick(self.world.workflow.started, which)
        self.ec2.refusals = [refusal] if refusal else []
        self.ec2.started_behind_a_silence = behind
        self.dying(lambda: self.stack.launch(launch_id))
        self.ec2.refusals = []
        instance_id = self.ec2.tokens.get(launch_id)
        if greets and instance_id and self.ec2.seen[instance_id].alive:
            known = (runner for runner in self.runners if runner.instance_id == instance_id)
            runner = next(known, None) or Runner(self.stack, launch_id, instance_id)
            self.dying(runner.hello)
            if runner not in self.runners:
                self.runners.append(runner)

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 9), phase=st.sampled_from(["boot", "serve"]))
    def the_state_machine_waits(self, which: int, phase: str) -> None:
        runner = pick(self.runners, which)
        token = f"{phase}-{runner.launch_id}"
        self.dying(lambda: launching.wait_for(self.stack.ports, runner.launch_id, phase=phase, token=token))

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 9), want=st.integers(1, 3))
    def claim(self, which: int, want: int) -> None:
        runner = pick(self.runners, which)
        if self.ec2.seen[runner.instance_id].alive:
            self.dying(lambda: self.held.extend((runner, lease) for lease in runner.claim(want)))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9), how=st.sampled_from(["complete", "complete", "fail", "release", "cancel"]))
    def finish(self, which: int, how: str) -> None:
        runner, lease = pick(self.held, which)  # stays in the list: it may be tried again, late or twice
        known = {"job_id": lease["job_id"], "fence": lease["fence"]}

        def cancel() -> None:
            job = self.store.job(lease["job_id"])
            assert job is not None
            self.store.write(job.cancel(now=self.world.now))

        acts: dict[str, Callable[[], object]] = {
            "complete": lambda: runner.complete(lease),
            "fail": lambda: runner.ask("fail", **known, error="E", message="", seconds=1),
            "release": lambda: runner.ask("release", leases=[{**known, "seconds": 1}], why="interrupted"),
            "cancel": cancel,
        }
        self.dying(acts[how])

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 9), meanwhile=st.sampled_from(["nothing", "cancelled", "expired"]))
    def work(self, which: int, meanwhile: str) -> None:
        """A job from claim to answer, while an operator or the watchdog takes it away."""
        runner, before = pick(self.runners, which), len(self.held)
        self.claim(which, 1)
        if len(self.held) == before:
            return
        if meanwhile == "cancelled":
            self.finish(0, "cancel")
        if meanwhile == "expired":
            self.world.wait(self.stack.settings.lease_s + 1)
            self.dying(lambda: runner.ask("heartbeat", leases=[], gpu_utilisation=None))
            self.watch()
            self.claim(which + 1, 8)
        _, lease = self.held[before]
        for _ in range(2):
            self.dying(lambda: runner.complete(lease))

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 9))
    def heartbeat(self, which: int) -> None:
        runner = pick(self.runners, which)
        mine = [
            {"job_id": lease["job_id"], "fence": lease["fence"], "phase": "train", "fraction": 0.5}
            for holder, lease in self.held
            if holder is runner
        ]
        self.dying(lambda: runner.ask("heartbeat", leases=mine[-8:], gpu_utilisation=None))

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 9), why=st.sampled_from(["idle", "interrupted", "gave_up", "deadline"]))
    def bye(self, which: int, why: str) -> None:
        self.dying(lambda: pick(self.runners, which).ask("bye", why=why))

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 9), announced=st.booleans())
    def spot_takes_it_back(self, which: int, announced: bool) -> None:
        instance_id = pick(self.runners, which).instance_id
        if announced:
            self.dying(lambda: watching.warn(self.stack.ports, instance_id, "spot", self.world.now))
        else:
            self.ec2.end(instance_id)

    @precondition(lambda self: self.world.workflow.started)
    @rule(which=st.integers(0, 9), step=st.sampled_from(["reclaim", "terminate", "gone", "settle"]))
    def retire(self, which: int, step: str) -> None:
        launch_id = pick(self.world.workflow.started, which)
        ports, now = self.stack.ports, self.world.now

        def reclaim() -> None:
            retiring.reclaim(ports, launch_id, reason="served", silent=False, now=now)

        def terminate() -> None:
            reclaim()  # the state machine never terminates before it reclaimed
            retiring.terminate(ports, launch_id, now)

        acts: dict[str, Callable[[], object]] = {
            "reclaim": reclaim,
            "terminate": terminate,
            "gone": lambda: retiring.gone(ports, launch_id, now),
            "settle": lambda: retiring.settle(ports, self.stack.settings, launch_id, silent=False, now=now),
        }
        self.dying(acts[step])

    @rule(seconds=st.sampled_from([1, 20, 61, 130, 301, 901]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule()
    def watch(self) -> None:
        self.dying(self.stack.watch)

    @rule()
    def an_execution_is_lost(self) -> None:
        if self.world.workflow.started:
            self.world.workflow.started.pop(next(iter(self.world.workflow.started)))

    @rule()
    def report(self) -> None:
        self.dying(lambda: report_finished(self.stack.ports, self.stack.settings, self.world.now))

    @invariant()
    def the_books_balance_and_the_cap_holds(self) -> None:
        cap, available, reserved, settled = self.stack.books  # asserts [I1]
        assert reserved == sum(launch.reserve for launch in self.store.open_launches())
        assert available >= 0, "[I2]"
        assert settled + reserved <= cap, "[I2]"

    @invariant()
    def slots_and_open_launches_agree(self) -> None:
        fleet = self.store.fleet()
        assert fleet is not None
        assert fleet.slots_total - fleet.slots_available == len(self.store.open_launches()), "[I3]"

    @invariant()
    def leases_and_launches_agree(self) -> None:
        for launch in self.store.launches():
            held = [j for j in self.store.every(Job) if j.lease and j.lease.launch_id == launch.launch_id]
            assert set(launch.leases) == {job.job_id for job in held}
            assert launch.state.open or not held
            assert all(job.state is LEASED for job in held), "[I7]"

    @invariant()
    def accepted_jobs_stay_and_results_stand(self) -> None:
        found = {job.job_id: job for job in self.store.jobs_of_batch("b")}
        assert self.accepted <= set(found), "[I10]"
        self.accepted = set(found)
        for job in found.values():
            if job.state is DONE:
                assert self.committed.setdefault(job.job_id, job.result_prefix) == job.result_prefix, "[I9]"
                assert job.result_prefix.endswith(f"/{job.fence}/"), "[I8]"
        assert set(self.committed) <= {j for j, job in found.items() if job.state is DONE}, "[I9]"

    def teardown(self) -> None:
        """Left alone by everybody but the watchdog, all money, slots and instances come back [L2, L3]."""
        if not hasattr(self, "store"):
            return
        self.store.fuse = -1
        for _ in range(8):
            self.world.wait(20 * 60)
            self.stack.watch()
        assert self.ec2.living == []
        assert self.stack.books[2] == 0
        fleet = self.store.fleet()
        assert fleet is not None
        assert fleet.slots_available == fleet.slots_total
        assert {row.state for row in self.store.launches()} <= {LaunchState.SETTLED, LaunchState.RELEASED}
        assert not [job for job in self.store.jobs_of_batch("b") if job.state is LEASED]
        self.work_it_all_off()

    def work_it_all_off(self) -> None:
        """With money, slots and capacity every job ends, and its batch is reported [L1]."""
        breaker = self.store.breaker()
        self.store.write(replace(breaker.closed(), version=breaker.version))
        self.stack.settings = replace(self.stack.settings, cap=100 * self.stack.settings.cap)
        self.stack.watch()
        for number in range(self.dropped):
            self.stack.drop(f"tasks/b/{number}.json", task(number))
        for launch_id in self.stack.scale():
            runner = self.stack.boot(launch_id)
            while leases := runner.claim():
                runner.complete(leases[0])
            runner.ask("bye", why="idle")
            self.stack.retire(launch_id)
        jobs = list(self.store.jobs_of_batch("b"))
        assert all(job.state.terminal for job in jobs)
        report_finished(self.stack.ports, self.stack.settings, self.world.now)
        assert self.store.batches_due() == []
        batch = self.store.batch("b")
        assert (batch.reported_jobs if batch else 0) == len(jobs)


def pick(items: Any, which: int) -> Any:
    """The newest for 0, and so on: what is old is rarely interesting."""
    listed = list(items)[::-1]
    return listed[which % len(listed)]


AnythingDies.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnythingDies = AnythingDies.TestCase

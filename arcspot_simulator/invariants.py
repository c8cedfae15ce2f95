"""What must hold: I1 to I20 after every step of a history, L1 to L3 at its end.

The checks look at rows as they are written and at the world as it is; they share nothing with the
code they judge but the records themselves. Each is described in docs/guarantees.md.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import NoReturn

from arcspot.domain import results, tasks
from arcspot.domain.budget import Fleet, Hold, Leak, Ledger
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Breaker, Launch, LaunchState
from arcspot.ports import Record
from arcspot.settings import MARGIN_SECONDS
from arcspot_simulator.cloud import FOREIGN, Machine
from arcspot_simulator.loop import START
from arcspot_simulator.runners import result
from arcspot_simulator.stack import Stack
from arcspot_simulator.weather import HOUR

LEGAL = {
    JobState.READY: {JobState.READY, JobState.LEASED, JobState.CANCELLED, JobState.DEAD},
    JobState.LEASED: {JobState.READY, JobState.LEASED, JobState.DONE, JobState.DEAD, JobState.CANCELLED},
}
# How long a fault may be felt after it is over: a lease, a silence, a round or two.
ECHO_S = 15 * 60.0
# Jobs that one launch may hold, whatever its runner asks for (docs/runner-contract.md).
MOST_LEASES = 8
# When an instance has ended, its launch is settled by the state machine or, at the latest, the watchdog.
SETTLED_WITHIN_S = 45 * 60.0
# A launch that nobody can find is released after 15 minutes (section 4), by a round of the watchdog.
FOUND_WITHIN_S = 45 * 60.0
# From EC2's words to the row that shuts launching: stalled calls and a retry lie between.
SAID_WITHIN_S = 10 * 60.0
EXPIRED_WITHIN_S = 20 * 60.0
FORWARD = {
    LaunchState.RESERVED: {LaunchState.LAUNCHED, LaunchState.RELEASED},
    LaunchState.LAUNCHED: {LaunchState.ACTIVE, LaunchState.DRAINING, LaunchState.GONE},
    LaunchState.ACTIVE: {LaunchState.DRAINING, LaunchState.GONE},
    LaunchState.DRAINING: {LaunchState.GONE},
    LaunchState.GONE: {LaunchState.SETTLED},
}
# An instance nobody intends: until it is seen (describe lags), held (15 min), looked at twice, ended.
ORPHAN_S = 45 * 60.0


class Violation(BaseException):
    """An invariant broke; the message starts with its name.

    No Exception: the watchdog, which gives every item one try, must not swallow it.
    """


class Invariants:
    """Watches one stack. Figures of the worst that was seen stay for the report."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.worst_spend_over_cap = 0.0
        self.most_live_over_limit = 0.0
        self.double_commits = 0
        self.lost = 0
        self.committed: dict[str, str] = {}
        self.promised: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()
        self.allowed: dict[str, int] = {}
        self.slots: list[tuple[float, int]] = [(0.0, stack.settings.slots)]
        self.taken = 0
        self.open: dict[str, Launch] = {}
        self.job_costs: Counter[str] = Counter()
        self.orphans: dict[str, float] = {}
        self.touched: set[str] = set()
        self.by_hand: set[str] = set()
        stack.store.on_write = self._written
        stack.ec2.on_ended = self._ended
        stack.ec2.on_terminate = self._terminating
        stack.ec2.on_over_quota = self._over_quota

    # Rows ------------------------------------------------------------------------------------------------
    def _written(self, before: Record | None, after: Record) -> None:
        if isinstance(after, Job):
            self._job(before if isinstance(before, Job) else None, after)
        elif isinstance(after, Launch):
            self._launch(before if isinstance(before, Launch) else None, after)
        elif isinstance(after, Hold):
            self.touched.add(after.period)
            opens, closes = before is None, isinstance(before, Hold) and not before.closed and after.closed
            self.held[after.period] += after.amount * (opens - closes)
        elif isinstance(after, Ledger):
            self.touched.add(after.period)
            self._ledger(before if isinstance(before, Ledger) else None, after)
        elif isinstance(after, Fleet):
            if after.slots_total != self.slots[-1][1]:
                self.slots.append((self.stack.loop.now, after.slots_total))
            self.touched.add("fleet")
        elif isinstance(after, Breaker):
            self._breaker(after)
        elif isinstance(after, Leak):
            self._fail("I2", f"a leak of {after.usd_micros} by {after.instance_id} was booked")

    def _breaker(self, after: Breaker) -> None:
        """L4: nothing EC2 says stops launching for good, and what may pass by itself for an hour at most."""
        if not after.error:
            return
        if after.open_until is None:
            self._fail("L4", f"{after.error} shuts launching without an end: {after.message}")
        now = self.stack.loop.now
        wait = self._at(after.open_until.timestamp()) - now
        if wait > HOUR and now - self.stack.ec2.person_needed_at > SAID_WITHIN_S:
            self._fail("L4", f"{after.error} shuts launching for {wait:.0f} s after {after.message!r}")

    def _over_quota(self, market: str, quota: int) -> None:
        """I3: whoever knows the quota does not ask for more."""
        told = self.stack.settings.quota_vcpus
        if market == "spot" and 0 < told <= quota:
            self._fail("I3", f"EC2 refused more than {quota} vCPUs, and the stack knows of {told}")

    def _job(self, before: Job | None, after: Job) -> None:
        if before is None:
            if after.state not in (JobState.READY, JobState.REJECTED):
                self._fail("I6", f"{after.job_id} begins as {after.state}")
            return
        healed = before.unread and after.state is JobState.READY and after.input != before.input
        if before.state.terminal and after != before and after.state is not before.state and not healed:
            self._fail("I9" if before.state is JobState.DONE else "I6", f"{after.job_id} was {before.state}")
        if not healed and after.state not in LEGAL.get(before.state, {before.state}):
            self._fail("I6", f"{after.job_id}: {before.state} → {after.state}")
        if after.fence < before.fence:
            self._fail("I7", f"{after.job_id}: fence {before.fence} → {after.fence}")
        if before.cancelled and after.state is JobState.DONE:
            self._fail("I18", f"{after.job_id} was cancelled and then done")
        if after.interruptions > before.interruptions and after.failures > before.failures:
            self._fail("I13", f"{after.job_id}: an interruption counted as a failure")
        if after.state is JobState.DEAD and after.reason.startswith("interrupted"):
            self._fail("I13", f"{after.job_id} is DEAD: {after.reason}")
        if after.state is JobState.DONE:
            self._done(before, after)
        if before.lease and not after.lease:
            self.job_costs[before.lease.launch_id] += after.cost_usd_micros - before.cost_usd_micros
            if after.state in (JobState.READY, JobState.DEAD):
                self._lost(before, after)
        if before.lease and after.lease and before.lease.launch_id != after.lease.launch_id:
            self._fail("I7", f"{after.job_id} went from lease to lease")

    def _done(self, before: Job, after: Job) -> None:
        known = self.committed.setdefault(after.job_id, after.result_prefix)
        if known != after.result_prefix or before.state is JobState.DONE:
            self.double_commits += 1
            self._fail("I8", f"{after.job_id} has results {known} and {after.result_prefix}")
        if not after.result_prefix.endswith(f"/{before.lease.fence if before.lease else 0}/"):
            self.double_commits += 1
            self._fail("I8", f"{after.job_id} committed {after.result_prefix} under lease {before.lease}")
        fence = before.lease.fence if before.lease else 0
        self._own_task(after, self.stack.given_to_runners.get((after.job_id, fence), ""))
        body = self.stack.objects.bodies.get(after.result_prefix + results.RESULT)
        if body != result(after.job_id, after.fence):
            self._fail("I8", f"{after.job_id}: {'another' if body else 'no'} result is in the bucket")

    def _own_task(self, job: Job, text: str) -> None:
        """I19: the task a runner was given is the one the job is for, and nothing but what a solver needs."""
        if not text:
            self._fail("I19", f"{job.job_id} is answered by a runner that was given no task")
        given = tasks.task_in(job.task_id, text.encode())
        if job.job_id != tasks.job_id(given, job.config, job.solver_version):
            self._fail("I19", f"{job.job_id} is answered by another task: {job.input.key} as it is now")
        if text.encode() != tasks.canonical(given):
            self._fail("I19", f"the runner of {job.job_id} was given more than there is to solve")

    def _lost(self, before: Job, after: Job) -> None:
        """I11: who takes a lease from a runner that is well?"""
        lease = before.lease
        assert lease is not None
        if not re.match(
            "its lease ran out|silent|served|unattended|its runner|States|Lambda|Runtime", after.reason
        ):
            return
        row = self.stack.store.launch(lease.launch_id)
        runner = self.stack.runners.get(row.instance_id) if row else None
        if row is None or runner is None or row.launch_id in self.by_hand:
            return
        past = self._at(row.hard_deadline.timestamp()) <= self.stack.loop.now
        if runner.well_for(ECHO_S) and not past:
            held = [w.lease["job_id"] for w in runner.hands] + [x["job_id"] for x in runner.waiting]
            if after.job_id in held and not self._door_was_ill():
                self._fail("I11", f"{lease.launch_id} is well and lost {after.job_id}: {after.reason}")

    def _launch(self, before: Launch | None, after: Launch) -> None:
        self.touched |= {after.period, "fleet"}
        was_open = before is not None and before.state.open
        moved = before is not None and after.state is not before.state
        if before is not None and moved and after.state not in FORWARD.get(before.state, ()):
            self._fail("I4", f"{after.launch_id}: {before.state} → {after.state}")
        if len(after.leases) > MOST_LEASES:
            self._fail("I20", f"{after.launch_id} holds {len(after.leases)} jobs at once")
        given = set(after.leases) - set(before.leases if before else ())
        if given and (after.state is not LaunchState.ACTIVE or after.drain):
            self._fail("I12", f"{after.launch_id} is {after.state} (drain: {after.drain}) and got {given}")
        if after.state.open and not was_open:
            self.promised[after.period] += after.reserve
            self.taken += 1
        if was_open and not after.state.open:
            self.promised[after.period] -= after.reserve
            self.taken -= 1
            self._closed(after)
        if after.state.open:
            self.open[after.launch_id] = after
        else:
            self.open.pop(after.launch_id, None)
        if len(set(after.leases)) != len(after.leases):
            self._fail("I7", f"{after.launch_id} holds a job twice: {after.leases}")

    def _closed(self, row: Launch) -> None:
        if row.leases:
            self._fail("I7", f"{row.launch_id} closed with leases {row.leases}")
        machine = self.stack.ec2.machines.get(row.instance_id)
        if row.state is LaunchState.SETTLED and machine is not None:
            if machine.ending_at is None:
                self._fail("I4", f"{row.launch_id} was settled while {machine.instance_id} runs")
            else:
                if not row.zone and self.stack.ec2.instance(machine.instance_id) is not None:
                    self._fail("I2", f"{row.launch_id} is booked at a guess, though EC2 shows its zone")
                true = self._cost(machine, machine.ending_at)
                if row.actual < true:
                    self._fail("I2", f"{row.launch_id} booked {row.actual}, it cost {true}")
            if self.job_costs[row.launch_id] > row.actual:
                self._fail(
                    "I16",
                    f"the jobs of {row.launch_id} cost {self.job_costs[row.launch_id]}, it {row.actual}",
                )

    def _ledger(self, before: Ledger | None, after: Ledger) -> None:
        if after.available + after.reserved + after.settled != after.cap:
            self._fail("I1", f"{after}")
        if min(after.reserved, after.settled) < 0:
            self._fail("I1", f"{after}")
        committed = after.settled + after.reserved
        if before is None or after.cap != before.cap:
            # What was promised before a cap was lowered may still be spent.
            self.allowed[after.period] = max(after.cap, committed)
        elif committed > max(self.allowed[after.period], before.settled + before.reserved):
            self._fail("I2", f"{committed} committed, {self.allowed[after.period]} allowed: {after}")

    # The world -------------------------------------------------------------------------------------------
    def _ended(self, machine: Machine) -> None:
        now = self.stack.loop.now
        row = self.stack.store.launch(machine.launch_id)
        period = row.period if row else "none"
        cost = self._cost(machine, now)
        self.spent[period] += cost
        if row is not None and cost > row.reserve and not self._excused(machine):
            self._fail("I2", f"{machine.instance_id} cost {cost}, {row.reserve} was reserved")
        if row is None:
            self._fail("I4", f"{machine.instance_id} never had a launch")
        elif row.instance_id not in ("", machine.instance_id):
            self._fail("I4", f"{machine.launch_id} had a second instance {machine.instance_id}")
        life = now - machine.started
        bound = self.stack.settings.max_lifetime_s + MARGIN_SECONDS
        if life > bound and not self._excused(machine):
            self._fail("I5", f"{machine.instance_id} lived {life:.0f} s, {bound} s are allowed")
        if period in self.allowed:
            share = self.spent[period] / max(1, self.allowed[period])
            self.worst_spend_over_cap = max(self.worst_spend_over_cap, share)
            if share > 1:
                self._fail("I2", f"{self.spent[period]} spent of {self.allowed[period]} in {period}")

    def _terminating(self, instance_id: str) -> None:
        """I12 and I17: what our own code ends, and what it still holds."""
        if instance_id == FOREIGN or instance_id not in self.stack.ec2.machines:
            self._fail("I17", f"{instance_id} is not ours and was to be ended")
        machine = self.stack.ec2.machines[instance_id]
        row = self.stack.store.launch(machine.launch_id)
        if row is None or not machine.running or row.launch_id in self.by_hand:
            return
        runner = self.stack.runners[instance_id]
        past = self._at(row.hard_deadline.timestamp()) <= self.stack.loop.now
        well = runner.well_for(ECHO_S)
        mine = row.instance_id in ("", instance_id) and row.state.open
        if mine and row.leases and not past and well and not self._door_was_ill():
            self._fail("I12", f"{instance_id} is ended while it holds {row.leases}")
        if mine and row.state in (LaunchState.LAUNCHED, LaunchState.RESERVED, LaunchState.ACTIVE):
            self._fail("I12", f"{instance_id} is ended while its launch is {row.state}")

    def after_step(self, name: str) -> None:
        """What concerns several rows: checked once all writes of a step are done."""
        if self.touched:
            touched, self.touched = self.touched, set()
            for period in touched - {"fleet"}:
                ledger = self.stack.store.ledger(period)
                if ledger and ledger.reserved != self.promised[period]:
                    self._fail(
                        "I1",
                        f"{ledger.reserved} reserved in {period}, open launches hold {self.promised[period]}",
                    )
                if ledger and ledger.reserved != self.held[period]:
                    self._fail(
                        "I1", f"{ledger.reserved} reserved in {period}, open holds say {self.held[period]}"
                    )
            fleet = self.stack.store.fleet()
            if fleet and fleet.slots_total - fleet.slots_available != self.taken:
                self._fail(
                    "I3", f"{fleet.slots_total - fleet.slots_available} slots taken by {self.taken} launches"
                )
            if fleet and fleet.asleep and self.taken:
                self._fail("I4", f"{self.taken} launches are open, and the minute's rounds sleep")
        if name in ("execution starts", "retry", "callback"):
            self._count_live()
        elif name == "tick":
            self._tick()

    def _count_live(self) -> None:
        live, limit = self.stack.ec2.live, self._limit()
        self.most_live_over_limit = max(self.most_live_over_limit, live / max(1, limit))
        if live > limit:
            self._fail("I3", f"{live} instances live, {limit} slots")

    def _tick(self) -> None:
        self._count_live()
        now = self.stack.loop.now
        for row in self.open.values():
            for job_id in row.leases:
                job = self.stack.store.job(job_id)
                if job is None or job.lease is None or job.lease.launch_id != row.launch_id:
                    self._fail("I7", f"{row.launch_id} holds {job_id}, which is {job and job.state}")
                overdue = now - self._at(job.lease.expires_at.timestamp())
                if overdue > EXPIRED_WITHIN_S and not self._door_was_ill(2 * EXPIRED_WITHIN_S):
                    self._fail("L3", f"the lease on {job_id} ran out {overdue:.0f} s ago and still stands")
            self._closes_in_time(row, now)
        for machine in self.stack.ec2.running.values():
            its = self.stack.store.launch(machine.launch_id)
            if its is not None and its.state.open and its.instance_id in ("", machine.instance_id):
                self.orphans.pop(machine.instance_id, None)
                continue
            since = self.orphans.setdefault(machine.instance_id, now)
            if now - since > ORPHAN_S and not machine.refuses_to_end:
                self._fail("I4", f"{machine.instance_id} has belonged to nobody for {now - since:.0f} s")

    def _closes_in_time(self, row: Launch, now: float) -> None:
        """L3: an outage excuses what it touches, and no more."""
        machine = self.stack.ec2.machines.get(row.instance_id)
        since, bound = now, SETTLED_WITHIN_S
        if row.state is LaunchState.RESERVED:
            since, bound = self._at((row.attempted_at or row.created_at).timestamp()), FOUND_WITHIN_S
        elif machine is not None and machine.ended_at is not None:
            since = machine.ended_at
        if now - since > bound and not self._door_was_ill(2 * bound):
            self._fail("L3", f"{row.launch_id} is {row.state}, and its time was over {now - since:.0f} s ago")

    # The end ---------------------------------------------------------------------------------------------
    def at_the_end(self) -> None:
        """L1 and L2 (and with them L3: every outage is over by now), I10, I14."""
        stack = self.stack
        lost = [key for key, body in stack.dropped.items() if not self._accepted(key, body)]
        waiting = [job for job in stack.jobs() if not job.state.terminal]
        self.lost = len(lost) + len(waiting)
        if lost:
            self._fail("I10", f"{len(lost)} dropped file(s) became neither jobs nor refusals: {lost[:3]}")
        if waiting:
            first = waiting[0]
            self._fail(
                "L1",
                f"{len(waiting)} job(s) never ended; {first.job_id} is {first.state}, {first.reason!r}, "
                f"fleet {stack.store.fleet()}, breaker {stack.store.breaker()}",
            )
        due = [
            batch.batch_id
            for batch in stack.store.batches_due()
            if f"reports/{batch.batch_id}/" != stack.cursed
        ]
        if due:
            self._fail("L1", f"batches {due} were never reported")
        if stack.ec2.live or self.open:
            self._fail("L2", f"{stack.ec2.live} instances live, open launches {list(self.open)}")
        for ledger in stack.store.every(Ledger):
            if ledger.reserved:
                self._fail("L2", f"{ledger.reserved} still reserved in {ledger.period}")
        mails = Counter(subject for _, subject in stack.mail.sent if "budget is committed" in subject)
        twice = [subject for subject, count in mails.items() if count > 1]
        if twice:
            self._fail("I14", f"mailed more than once: {twice}")

    def _accepted(self, key: str, body: bytes) -> bool:
        receipt = self.stack.store.receipts([key]).get(key)
        if receipt is None:
            return False
        if receipt.etag and receipt.etag != hashlib.md5(body, usedforsecurity=False).hexdigest():
            return False
        return bool(receipt.refusals) or bool(
            receipt.entries and all(self.stack.store.job(job_id) for _, job_id in receipt.entries)
        )

    # Plumbing --------------------------------------------------------------------------------------------
    def _fail(self, name: str, words: str) -> NoReturn:
        raise Violation(f"[{name}] {words}")

    def _cost(self, machine: Machine, until: float) -> int:
        return self.stack.prices.cost(machine, until, self.stack.settings.disk_gb)

    def _limit(self) -> int:
        """The most slots of the last hour: lowering them ends nothing that runs."""
        now = self.stack.loop.now
        recent = [slots for at, slots in self.slots if at > now - 3 * HOUR]
        earlier = [slots for at, slots in self.slots if at <= now - 3 * HOUR]
        return max([*recent, *earlier[-1:]])

    def _door_was_ill(self, for_s: float = ECHO_S) -> bool:
        weather, now = self.stack.sky.weather, self.stack.loop.now
        return weather.door_down.touched(now - for_s, now) or weather.functions_down.touched(now - for_s, now)

    def _excused(self, machine: Machine) -> bool:
        """All three killers were broken: no OS timer, no schedule, no watchdog within the margin."""
        now = self.stack.loop.now
        down = self.stack.sky.weather.functions_down.touched(now - 900, now)
        armed = machine.launch_id in self.stack.timers.armed and not machine.refuses_to_end
        return not machine.os_timer_works and not armed and (down or machine.refuses_to_end)

    @staticmethod
    def _at(timestamp: float) -> float:
        return timestamp - START.timestamp()


def digest(text: str) -> str:
    """A short name of a history, to compare two runs of one seed."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]

"""Whatever a person kills by hand while tasks are solved, the answers are right and the money adds up.

    pytest tests/e2e/test_killed_by_hand.py

The runner, a Lambda function in the middle of a call, the execution of the state machine. The watchdog
looks once a minute, so each takes a minute or two; deadlines here only end a hang.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from arcspot.domain import results, scoring, tasks
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Launch, LaunchState
from tests.e2e.by_hand import InTheMiddle, at_rest, freeze, has_a_call, kill, runner_of, workers_of
from tests.e2e.little_tasks import little_task
from tests.e2e.whole_stack import WholeStack, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "tasks"
QUICK = ("mirror", "recolour", "turn-around")
"""Solved in well under a second once the runner is up, so that the time goes into the repair."""
BETWEEN_KILLS_S = 2.0
ENOUGH_KILLS, KILLS = 2, 8


def test_a_runner_killed_at_work_is_replaced(ill_treated: WholeStack) -> None:
    slow = {f"slow-{n}": little_task(10 + n, side=20) for n in range(2)}  # at work when the kill comes
    batch = Batch(ill_treated, "runner killed", seed=1, files=slow)
    launch = eventually("a runner has a job", batch.serving, every=0.2)
    pid = eventually("its process is found", lambda: runner_of(ill_treated, launch.instance_id), every=0.2)

    assert kill(pid)

    batch.ends_well()
    assert ill_treated.execution(launch.launch_id) == "FAILED", "an instance that died is told of"
    first, _second = batch.launches()
    assert first.launch_id == launch.launch_id
    taken_back = [name for name in batch.job_ids if "reclaimed" in ill_treated.events(f"job#{name}")]
    assert taken_back, "the jobs in its hands went to the next"


def test_functions_killed_in_the_middle_of_calls_are_asked_again(ill_treated: WholeStack) -> None:
    launching, serving, retiring = (
        InTheMiddle(ill_treated, name) for name in ("launch", "runner_api", "retire")
    )
    launching.hold()
    batch = Batch(ill_treated, "functions killed", seed=2)
    eventually("launch was killed at work", launching.strike, every=0.05)
    kill_the_keeper_of_the_token(batch)
    killed = strike_until(batch.answered, serving)
    eventually("retire was killed at work", retiring.strike, every=0.05)

    batch.ends_well()
    # A claim whose answer was lost leaves a job in hands that know nothing of it: the next runner's.
    launch, *_next = batch.launches()
    assert ill_treated.execution(launch.launch_id) == "SUCCEEDED"
    failed_states = ill_treated.failed_states(launch.launch_id)
    assert failed_states[:2] == ["Launch", "Serve"], "both were tried again"
    failed = calls_that_failed(ill_treated, launch)
    print(f"runner_api was killed {killed} times; the runner saw these calls fail: {failed}")
    assert failed, "no call was on its way when its function was killed"


def test_an_execution_stopped_at_work_is_finished_by_the_watchdog(ill_treated: WholeStack) -> None:
    batch = Batch(ill_treated, "execution stopped", seed=3)
    launch = eventually("a runner has a job", batch.serving, every=0.2)

    ill_treated.client("stepfunctions").stop_execution(
        executionArn=ill_treated.execution_arn(launch.launch_id)
    )

    batch.ends_well()
    assert ill_treated.execution(launch.launch_id) == "ABORTED"
    assert [row.launch_id for row in batch.launches()] == [launch.launch_id], "its runner went on by itself"


class Batch:
    """Files, or the quick examples in colours of their own: the same puzzle again would be the same job."""

    def __init__(
        self, whole: WholeStack, name: str, *, seed: int, files: dict[str, bytes] | None = None
    ) -> None:
        self.whole, self.name = whole, name
        self.began = time.monotonic()
        self.files = files or {
            task: in_other_colours((EXAMPLES / f"{task}.json").read_bytes(), seed) for task in QUICK
        }
        self._known = {row.launch_id for row in whole.launches()}
        for task, body in self.files.items():
            whole.drop(f"tasks/{name}/{task}.json", body)

    @property
    def job_ids(self) -> list[str]:
        return list(self.whole.jobs(self.name))

    def serving(self) -> Launch | None:
        """The launch that works on one of the jobs."""
        held = {job.lease.launch_id for job in self.whole.jobs(self.name).values() if job.lease}
        return next((row for row in self.launches() if row.launch_id in held), None)

    def answered(self) -> bool:
        jobs = self.whole.jobs(self.name).values()
        return len(jobs) == len(self.files) and all(job.state.terminal for job in jobs)

    def launches(self) -> list[Launch]:
        """Those of this batch, oldest first."""
        new = [row for row in self.whole.launches() if row.launch_id not in self._known]
        return sorted(new, key=lambda row: row.created_at)

    def settled(self) -> bool:
        return all(
            not row.state.open and self.whole.execution(row.launch_id) != "RUNNING" for row in self.launches()
        )

    def ends_well(self) -> None:
        """Right answers, each given once; nothing lives, nothing is held, and the sums are right."""
        eventually("every task is answered", self.answered)
        answered = time.monotonic() - self.began
        eventually("all instances are gone and paid for", self.settled)
        print(
            f"{self.name}: answered after {answered:.0f} s, over after {time.monotonic() - self.began:.0f} s,"
            f" {len(self.launches())} launch(es)"
        )
        for job in self.whole.jobs(self.name).values():
            self._answered_rightly(job)
        assert_nothing_is_left(self.whole)

    def _answered_rightly(self, job: Job) -> None:
        assert job.state is JobState.DONE, job.reason
        assert job.lease is None
        delivered = self.whole.keys(f"results/{job.job_id}/")
        assert delivered == {job.result_prefix + results.RESULT}, "one answer was taken"
        (task,) = tasks.read_task_file("task.json", self.files[job.task_id]).tasks
        packed = {results.RESULT: self.whole.read(job.result_prefix + results.RESULT)}
        attempts = scoring.read_prediction(results.document(packed, results.PREDICTION))
        scored = scoring.score_task(task, attempts)
        assert scored is not None
        assert scored.pass_at_2 == 1.0, job.task_id


def assert_nothing_is_left(whole: WholeStack) -> None:
    launches = whole.launches()
    assert {row.state for row in launches} <= {LaunchState.SETTLED, LaunchState.RELEASED}
    assert not any(row.leases for row in launches)
    # A launch is settled once EC2 says shutting-down or terminated; the machine ends a moment later.
    eventually(
        "all instances are terminated", lambda: set(whole.instance_states().values()) <= {"terminated"}
    )
    eventually("no instance's processes are left", lambda: not whole.local_instances(), seconds=60.0)
    assert whole.schedules().isdisjoint(row.launch_id for row in launches)
    fleet = whole.fleet()
    assert fleet.slots_available == fleet.slots_total
    for ledger in whole.ledgers():
        assert ledger.balanced
        assert ledger.reserved == 0
    settled = sum(ledger.settled for ledger in whole.ledgers())
    assert settled == sum(row.actual or 0 for row in launches) > 0


def kill_the_keeper_of_the_token(batch: Batch) -> None:
    """Kill launch when the execution hands it the token of `Serve`: frozen before, else it is too fast."""

    def booting() -> bool:
        tokens = batch.whole.tokens()
        return any(
            tokens[row.launch_id].phase == "boot" for row in batch.launches() if row.launch_id in tokens
        )

    def asked() -> bool:
        return any(batch.whole.entered(row.launch_id) == "Serve" for row in batch.launches())

    eventually("the execution awaits the boot", booting, every=0.05)
    eventually("the call is over", lambda: at_rest(workers_of(batch.whole, "launch")), every=0.05)
    keepers = workers_of(batch.whole, "launch")
    freeze(keepers)
    eventually("it hands over the token of its service", asked, every=0.2)
    eventually("the call is in the worker's pipe", lambda: has_a_call(keepers), every=0.1)
    killed = [kill(pid) for pid in keepers]
    assert all(killed)


def strike_until(answered: Callable[[], bool], serving: InTheMiddle) -> int:
    """Kill at work, then let a call or two through: a door that never opens is given up after a minute."""
    killed, rested_at = 0, 0.0

    def look() -> bool:
        nonlocal killed, rested_at
        now = time.monotonic()
        if now >= rested_at and killed < KILLS:
            struck = serving.strike()
            killed += struck
            rested_at = now + BETWEEN_KILLS_S if struck else rested_at
        return killed >= ENOUGH_KILLS and answered()

    eventually("every task is answered", look, every=0.05)
    return killed


def in_other_colours(body: bytes, seed: int) -> bytes:
    """The task with its colours renamed: as easy, but another puzzle. Black stays."""
    colours = list(range(1, 10))
    random.Random(seed).shuffle(colours)
    renamed = [0, *colours]
    told = json.loads(body)
    for pair in told["train"] + told["test"]:
        pair |= {name: [[renamed[cell] for cell in row] for row in grid] for name, grid in pair.items()}
    return json.dumps(told).encode()


def calls_that_failed(whole: WholeStack, launch: Launch) -> list[str]:
    """The verbs whose call got no answer the first time, as the runner's own log tells."""
    log = Path(whole.local.state_dir) / "instances" / launch.instance_id / "work" / "runner.log"
    return re.findall(r"(\w+) failed \(", log.read_text()) if log.exists() else []

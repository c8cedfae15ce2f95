"""Every step can be repeated, and every step can die halfway (I15)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from arcspot.domain.batches import Batch
from arcspot.domain.budget import Fleet
from arcspot.domain.jobs import Job
from arcspot.domain.launching import LaunchState
from arcspot.errors import BadRequest, Conflict
from arcspot.ports import Record
from arcspot.services import launching, retiring
from arcspot.services.reporting import report_finished
from arcspot.services.scaling import estimate_key
from tests.fakes.driving import GOOD_TASK, Stack, task
from tests.fakes.memory import MemoryStore


class PowerCut(Exception):
    """The function's process ended here."""


class Mortal(MemoryStore):
    """A store that dies before the first write of a kind of record, once."""

    dies_at: type[Record] | None = None

    def write(self, *records: Record) -> None:
        if self.dies_at and isinstance(records[0], self.dies_at):
            self.dies_at = None
            raise PowerCut
        super().write(*records)


def rows(stack: Stack) -> dict[Any, Record]:
    return dict(stack.world.store.rows)


def test_a_file_whose_ingest_died_halfway_is_still_reported() -> None:
    stack = Stack()
    store = stack.world.store = Mortal()
    store.dies_at = Batch
    with pytest.raises(PowerCut):
        stack.drop("tasks/b/one.json", GOOD_TASK)
    assert stack.world.store.batches_due() == []
    stack.drop("tasks/b/one.json", GOOD_TASK)  # the message comes again
    assert [batch.batch_id for batch in stack.world.store.batches_due()] == ["b"]


def test_a_file_dropped_again_after_the_report_is_not_reported_again() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    runner.complete(lease)
    assert report_finished(stack.ports, stack.settings, stack.world.now) == ["b"]
    stack.drop("tasks/b/one.json", GOOD_TASK, object_version="v2", sequencer="00B0")
    mails = len(stack.world.mail.sent)
    assert report_finished(stack.ports, stack.settings, stack.world.now) == []
    assert len(stack.world.mail.sent) == mails
    assert stack.world.store.batches_due() == []


def test_another_name_for_known_tasks_leaves_no_batch_waiting_for_ever() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    stack.drop("tasks/other/same.json", GOOD_TASK)
    assert [batch.batch_id for batch in stack.world.store.batches_due()] == ["b", "other"]
    runner = stack.boot(stack.scale()[0])
    runner.complete(runner.claim()[0])
    assert report_finished(stack.ports, stack.settings, stack.world.now) == ["b", "other"]
    assert stack.world.store.batches_due() == []
    other = stack.world.objects.bodies["reports/other/summary.json"]
    assert json.loads(other)["cost_usd_micros"] == 0, "the batch that brought it has paid"


def test_an_execution_that_failed_before_it_asked_ec2_gives_its_money_back() -> None:
    """Its name is taken, so that starting it again starts nothing."""
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    for _ in range(14):
        stack.world.wait(60)
        stack.watch()
    assert stack.books[2] == stack.settings.reserve
    stack.world.wait(60)
    stack.watch()
    assert stack.books[2] == 0
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert row.state is LaunchState.RELEASED
    assert len(stack.scale()) == 1


def test_completing_twice_is_one_observation_of_how_long_jobs_take() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", task(1))
    stack.drop("tasks/b/two.json", task(2))
    (launch_id,) = stack.scale()
    runner = stack.boot(launch_id)
    (first,) = runner.claim()
    files = runner.upload(first)
    asked = {"job_id": first["job_id"], "fence": first["fence"], "files": files, "summary": {}}
    answer = runner.ask("complete", **asked, seconds=10)
    before, told = rows(stack), list(stack.world.store.events)
    assert runner.ask("complete", **asked, seconds=10) == answer
    assert rows(stack) == before
    assert stack.world.store.events == told
    estimate = stack.world.store.estimate(estimate_key(stack.settings))
    assert estimate is not None
    assert (estimate.count, estimate.seconds) == (1, 10)


def test_releasing_and_leaving_twice_is_once() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    held = [{"job_id": lease["job_id"], "fence": lease["fence"], "seconds": 4}]
    runner.ask("release", leases=held, why="interrupted")
    before = rows(stack)
    runner.ask("release", leases=held, why="interrupted")
    assert rows(stack) == before
    runner.ask("bye", why="interrupted")
    before = rows(stack)
    runner.ask("bye", why="interrupted")
    assert rows(stack) == before


def test_each_step_of_retirement_twice_is_once() -> None:
    stack = Stack()
    runner = stack.one_running()
    runner.claim()
    now = stack.world.wait(30)
    steps = {
        "reclaim": lambda: retiring.reclaim(
            stack.ports, runner.launch_id, reason="silent", silent=True, now=now
        ),
        "terminate": lambda: retiring.terminate(stack.ports, runner.launch_id, now),
        "gone": lambda: retiring.gone(stack.ports, runner.launch_id, now),
        "settle": lambda: retiring.settle(
            stack.ports, stack.settings, runner.launch_id, silent=True, now=now
        ),
    }
    for name, step in steps.items():
        step()
        before = rows(stack)
        step()
        assert rows(stack) == before, name


def test_waiting_for_the_same_callback_twice_is_once() -> None:
    stack = Stack()
    runner = stack.one_running()
    launching.wait_for(stack.ports, runner.launch_id, phase="serve", token="t")
    before = rows(stack)
    launching.wait_for(stack.ports, runner.launch_id, phase="serve", token="t")
    assert rows(stack) == before


def test_a_launch_is_settled_only_when_its_instance_is_gone() -> None:
    stack = Stack()
    runner = stack.one_running()
    with pytest.raises(Conflict, match="not said"):
        retiring.settle(stack.ports, stack.settings, runner.launch_id, silent=False, now=stack.world.now)
    assert not retiring.gone(stack.ports, runner.launch_id, stack.world.now)
    assert stack.books[2] == stack.settings.reserve


def test_a_launch_is_drained_with_leases_only_by_force() -> None:
    stack = Stack()
    runner = stack.one_running()
    runner.claim()
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    with pytest.raises(Conflict, match="1 lease"):
        row.draining(reason="idle")
    assert row.draining(reason="deadline", force=True).state is LaunchState.DRAINING


@pytest.mark.parametrize("total", [0, 1, 2])
def test_no_slot_comes_from_nowhere_however_small_the_fleet(total: int) -> None:
    with pytest.raises(Conflict):
        Fleet.opened(total).give_back()
    shrunk = Fleet.opened(2).take().take().with_total(total)
    back = shrunk.give_back().give_back()
    assert back.slots_available == total
    with pytest.raises(Conflict):
        back.give_back()


def test_a_clock_that_jumps_back_costs_the_minimum_and_not_less() -> None:
    stack = Stack()
    runner = stack.one_running()
    stack.world.ec2.now = stack.world.now - timedelta(seconds=5)
    stack.world.ec2.end(runner.instance_id)
    cost = stack.retire(runner.launch_id)
    assert cost > 0
    assert stack.books[2:] == (0, cost)


@pytest.mark.parametrize(
    ("verb", "more"),
    [
        ("heartbeat", {"leases": [{"fence": 1, "fraction": "half"}], "gpu_utilisation": None}),
        ("heartbeat", {"leases": [{"fence": 1, "fraction": [1]}], "gpu_utilisation": None}),
        ("heartbeat", {"leases": [{"fence": 1, "fraction": float("nan")}], "gpu_utilisation": None}),
        ("complete", {"fence": 1, "seconds": 1, "summary": {"loss": float("nan")}}),
        ("complete", {"fence": 1, "seconds": 1, "summary": {"loss": [1e-300]}}),
        ("complete", {"fence": 1, "seconds": 1, "summary": {"deep": {"n": 10**40}}}),
        ("complete", {"fence": 1, "seconds": 1, "summary": {"long": "x" * 5000}}),
        ("complete", {"fence": 1, "seconds": float("inf"), "summary": {}}),
    ],
)
def test_what_the_table_cannot_hold_is_refused_in_words(verb: str, more: dict[str, Any]) -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    asked = {**more, "job_id": lease["job_id"]}
    if verb == "complete":
        asked["files"] = runner.upload(lease)
    else:
        asked["leases"] = [{**entry, "job_id": lease["job_id"]} for entry in more["leases"]]
    with pytest.raises(BadRequest):
        runner.ask(verb, **asked)


def test_a_heartbeat_says_how_far_a_job_is() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    beat = {"job_id": lease["job_id"], "fence": lease["fence"], "phase": "train", "fraction": 7}
    for _ in range(2):  # it is written with the lease, and that once a third of it is over
        stack.world.wait(stack.settings.beat_s)
        runner.ask("heartbeat", leases=[beat], gpu_utilisation=0.5)
    job = job_of(stack, lease["job_id"])
    assert job.lease is not None
    assert (job.lease.phase, job.lease.fraction) == ("train", 1.0)
    assert job.lease.expires_at == expiry(stack)


def expiry(stack: Stack) -> datetime:
    return stack.world.now + timedelta(seconds=stack.settings.lease_s)


def job_of(stack: Stack, job_id: str) -> Job:
    job = stack.world.store.job(job_id)
    assert job is not None
    return replace(job)

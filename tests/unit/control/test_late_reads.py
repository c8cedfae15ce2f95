"""Reads at half the price show a row as it was a second ago: nothing is lost or told wrongly by that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Launch
from arcspot.errors import LaunchClosed, LeaseLost, NotYourself, StoreBusy
from arcspot.services.contents import planned
from arcspot.services.ingesting import Dropped, ingest_together
from arcspot.services.reporting import report_finished
from arcspot_simulator.tables import MemoryStore
from tests.fakes.driving import Runner, Stack, task
from tests.fakes.memory import World
from tests.fakes.reported import end_all

HOUR_S = 3600.0


@dataclass
class SlowWorld(World):
    """A world in which every read that need not be fresh shows what was there before the last write."""

    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.store.lag = lambda: (0.0, HOUR_S if self.slow else 0.0)

    slow: bool = False


def served(slow: bool = True) -> tuple[Stack, Runner]:
    """Two jobs that wait, and a runner; from here on each late read is as late as it can be."""
    stack = Stack(world=SlowWorld())
    for n in range(2):
        stack.drop(f"tasks/b/{n}.json", task(n))
    (launch_id,) = stack.scale()
    runner = stack.boot(launch_id)
    for kind in list(stack.world.store._before):
        if kind[0] == "job":
            del stack.world.store._before[kind]  # dropped long ago
    stack.world.slow = slow  # type: ignore[attr-defined]
    return stack, runner


def test_a_runner_is_let_in_right_after_its_hello() -> None:
    stack, runner = served()
    assert stack.world.store.launch(runner.launch_id, fresh=False) != stack.world.store.launch(
        runner.launch_id
    )
    assert runner.claim() != []


def test_who_has_no_right_is_refused_by_the_fresh_row_too() -> None:
    _, runner = served()
    runner.secret = "another's"
    with pytest.raises(NotYourself):
        runner.claim()
    with pytest.raises(LaunchClosed):
        Runner(runner.stack, "launch-999", "i-1", "x").claim()


def test_a_result_is_committed_right_after_its_lease() -> None:
    stack, runner = served()
    (lease,) = runner.claim()
    runner.complete(lease)
    assert [job.state for job in stack.world.store.every(Job)].count(JobState.DONE) == 1


def test_a_heartbeat_right_after_a_claim_loses_nothing() -> None:
    _, runner = served()
    (lease,) = runner.claim()
    held = {"job_id": lease["job_id"], "fence": lease["fence"], "phase": "train"}
    assert runner.ask("heartbeat", leases=[held], gpu_utilisation=90)["lost"] == []


def test_a_lease_that_was_taken_back_commits_nothing_though_a_late_read_shows_it() -> None:
    stack, runner = served()
    (lease,) = runner.claim()
    files = runner.upload(lease)
    job, row = stack.world.store.job(lease["job_id"]), stack.world.store.launch(runner.launch_id)
    assert job
    assert row
    now = stack.world.now
    stack.world.store.write(job.reclaimed(now=now, silent=False, why="x"), row.returned(job.job_id))
    assert stack.world.store.job(job.job_id, fresh=False) == job
    names = {"job_id": lease["job_id"], "fence": lease["fence"]}
    with pytest.raises(LeaseLost):
        runner.ask("complete", **names, files=files, seconds=1.0, summary={})


def test_no_job_is_given_to_two_though_both_are_offered_it() -> None:
    stack = Stack(world=SlowWorld())
    for n in range(200):
        stack.drop(f"tasks/b/{n}.json", task(n))
    runners = [stack.boot(launch_id) for launch_id in stack.scale()]
    assert len(runners) == 2
    stack.world.store._before.clear()
    stack.world.slow = True  # type: ignore[attr-defined]
    held = [[(lease["job_id"], lease["fence"]) for lease in runner.claim(8)] for runner in runners]
    assert set(held[0]).isdisjoint(held[1])
    assert held[0]
    for row in stack.world.store.every(Launch):
        assert all(stack.world.store.job(job_id).lease.launch_id == row.launch_id for job_id in row.leases)  # type: ignore[union-attr]


def test_a_file_told_of_twice_within_a_second_is_one_file() -> None:
    stack, _ = served()
    body = json.dumps(task(7)).encode()
    stack.world.objects.dropped("tasks/c/x.json", body)
    dropped = Dropped(key="tasks/c/x.json", size=len(body), sequencer="0A")
    for new_jobs in (1, 0):
        (outcome,) = ingest_together(stack.ports, stack.settings, [dropped], stack.world.now)
        assert (outcome.error, outcome.new_jobs) == (None, new_jobs)
    batch = stack.world.store.batch("c")
    assert batch
    assert batch.files == 1


def test_a_busy_table_between_two_tries_costs_no_result() -> None:
    """The row is late, so the first write loses; the read after that fails once; the next one is made."""
    stack, runner = served()
    (lease,) = runner.claim()
    real, failures = stack.world.store.launch, iter([StoreBusy("InternalServerError")])

    def launch(launch_id: str, *, fresh: bool = True) -> Launch | None:
        if fresh and (fault := next(failures, None)):
            raise fault
        return real(launch_id, fresh=fresh)

    stack.world.store.launch = launch  # type: ignore[method-assign]
    runner.complete(lease)
    assert stack.world.store.job(lease["job_id"]).state is JobState.DONE  # type: ignore[union-attr]


# Receipts that are not listed ------------------------------------------------------------------------------


def put_one(stack: Stack) -> None:
    stack.drop("tasks/b/one.json", task(1))


def put_twins(stack: Stack) -> None:
    put_one(stack)
    stack.drop("tasks/b/two.json", task(1))


def put_what_was_answered_before(stack: Stack) -> None:
    stack.drop("tasks/earlier/one.json", task(1))
    put_one(stack)


def put_two_in_a_file(stack: Stack) -> None:
    stack.drop("tasks/b/two.json", {"x": task(1), "y": task(2)})


def put_a_bad_one(stack: Stack) -> None:
    stack.drop("tasks/b/bad.json", b"{")


def put_and_mend(stack: Stack) -> None:
    put_a_bad_one(stack)
    stack.world.wait(60)
    stack.drop("tasks/b/bad.json", task(1))


def put_and_overwrite(stack: Stack) -> None:
    put_one(stack)
    stack.world.wait(60)
    stack.drop("tasks/b/one.json", task(2))


def put_and_spoil(stack: Stack) -> None:
    put_one(stack)
    stack.world.wait(60)
    stack.drop("tasks/b/one.json", b"{")


@pytest.mark.parametrize(
    ("put", "ids", "refused", "listed", "files"),
    [
        (put_one, ["one"], 0, 0, 1),
        (put_twins, ["one", "two"], 0, 1, 2),
        (put_what_was_answered_before, ["one"], 0, 1, 1),
        (put_two_in_a_file, ["x", "y"], 0, 1, 1),
        (put_a_bad_one, [], 1, 1, 1),
        (put_and_mend, ["bad"], 0, 1, 1),
        (put_and_overwrite, ["one", "one"], 0, 1, 2),
        (put_and_spoil, ["one"], 1, 1, 2),
    ],
)
def test_a_batch_has_every_task_whichever_receipts_are_listed(
    put: Callable[[Stack], None], ids: list[str], refused: int, listed: int, files: int
) -> None:
    stack = Stack()
    put(stack)
    plan = planned(stack.world.store, "b")
    assert [place.task_id for place in plan.places] == ids
    assert (len(plan.refused), plan.files) == (refused, files)
    assert len(list(stack.world.store.receipts_of_batch("b"))) == listed


def unread(stack: Stack) -> None:
    """The job's file cannot be read by anybody."""
    (job,) = stack.world.store.every(Job)
    gone = job.unusable(now=stack.world.now, why="RecordMissing: gone", for_good=True)
    stack.world.store.write(gone)
    stack.world.wait(60)


def tasks_of(stack: Stack, batch: str) -> list[tuple[str, str]]:
    return [(place.task_id, place.key) for place in planned(stack.world.store, batch).places]


def test_a_job_that_moves_to_another_file_leaves_its_first_one_in_the_batch() -> None:
    stack = Stack()
    stack.drop("tasks/b/f.json", task(1))
    unread(stack)
    stack.drop("tasks/b/g.json", task(1))
    assert tasks_of(stack, "b") == [("f", "tasks/b/f.json"), ("g", "tasks/b/g.json")]


def test_a_job_that_moves_to_a_file_of_another_batch_is_told_of_in_both() -> None:
    stack = Stack()
    stack.drop("tasks/b/f.json", task(1))
    unread(stack)
    stack.drop("tasks/c/g.json", task(1))
    assert ("f", "tasks/b/f.json") in tasks_of(stack, "b")
    assert tasks_of(stack, "c") == [("g", "tasks/c/g.json")]


@pytest.mark.parametrize("race", [False, True])
def test_the_newest_version_of_a_file_is_submitted_though_an_older_ones_event_comes_late(race: bool) -> None:
    stack = Stack()
    bodies = [json.dumps(task(n)).encode() for n in (1, 2)]
    for body in bodies:
        stack.world.objects.dropped("tasks/b/f.json", body)
    told = [
        Dropped("tasks/b/f.json", len(bodies[n]), object_version=f"v{n + 1}", sequencer=f"0{n + 1}")
        for n in (0, 1)
    ]
    ingest_together(stack.ports, stack.settings, [told[1]], stack.world.now)
    stack.world.wait(1)
    real = stack.world.store.receipts
    if race:
        stack.world.store.receipts = lambda keys, fresh=True: real(keys) if fresh else {}  # type: ignore[method-assign]
    ingest_together(stack.ports, stack.settings, [told[0]], stack.world.now)
    stack.world.store.receipts = real  # type: ignore[method-assign]
    (last,) = [place for place in planned(stack.world.store, "b").places if place.latest]
    assert last.object_version == "v2"


def test_a_file_that_is_replaced_is_waited_for_while_the_index_lags() -> None:
    stack = Stack()
    stack.drop("tasks/b/f.json", task(1))
    end_all(stack)
    stack.world.wait(60)
    stack.world.store.lag = lambda: (stack.world.now.timestamp(), 5.0)
    stack.drop("tasks/b/f.json", task(2))
    stack.world.wait(1)
    assert report_finished(stack.ports, stack.settings, stack.world.now) == []
    stack.world.wait(60)
    end_all(stack)
    stack.world.wait(60)
    assert report_finished(stack.ports, stack.settings, stack.world.now) == ["b"]
    summary = json.loads(stack.world.objects.read("reports/b/summary.json"))
    assert summary["counts"] == {"DONE": 2}


def test_every_file_keeps_a_receipt_that_says_it_was_handled() -> None:
    stack = Stack()
    put_twins(stack)
    keys: list[Any] = ["tasks/b/one.json", "tasks/b/two.json"]
    assert sorted(stack.world.store.receipts(keys)) == keys

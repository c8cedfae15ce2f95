"""Files told of twice, in any order, to invocations that overlap, crash and stall: none lost, none twice."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from arcspot.domain.batches import Receipt
from arcspot.domain.jobs import Job
from arcspot_simulator import stack
from arcspot_simulator.functions import FunctionFailed
from arcspot_simulator.history import task_bytes
from arcspot_simulator.loop import Loop
from arcspot_simulator.stack import MAX_RECEIVES, VISIBILITY_S, Message, Stack
from arcspot_simulator.weather import CALM, Sky, Weather

FILES, BATCH, AT_ONCE = 120, 20, 5
MILD = Weather(events_doubled=0.3, call_pauses=0.3)
ROUGH = replace(MILD, call_crashes=0.2, call_errors=0.2, ambiguous_writes=0.1, events_lost=0.05)


class Queue:
    """SQS with its event source: so many pollers, each a batch at a time; a failed message comes again."""

    def __init__(self, built: Stack) -> None:
        self.built, self.loop = built, built.loop
        self.waiting: list[Message] = []
        self.dead: list[Message] = []
        self.under_way = self.most = 0

    def take(self, message: Message) -> None:
        self.waiting.append(message)
        self.loop.after(5.0, "poll", self.poll)

    def poll(self) -> None:
        if not self.waiting or self.under_way >= AT_ONCE:
            return
        taken, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        records = [{"messageId": str(n), "body": message.body} for n, message in enumerate(taken)]
        failed = set(range(len(taken)))
        try:
            answer = self.built.functions.invoke("ingest", {"Records": records})
            failed = {int(item["itemIdentifier"]) for item in answer["batchItemFailures"]}
        except FunctionFailed:
            pass
        self.under_way -= 1
        for message in (taken[n] for n in failed):
            message.receives += 1
            if message.receives < MAX_RECEIVES:
                self.loop.after(VISIBILITY_S, "again", lambda m=message: self.take(m))  # type: ignore[misc]
            else:
                self.dead.append(message)
        self.loop.after(0.01, "poll", self.poll)


def dropped(weather: Weather, seed: int) -> tuple[Stack, Queue]:
    """So many files, some of them overwritten with the same bytes, all their events handled."""
    built = Stack(Loop(), Sky(weather, Random(seed)), stack.settings(slots=0), seed=seed, jumpy=False)
    queue = Queue(built)
    built._enqueue = queue.take  # type: ignore[method-assign]
    order = Random(seed)
    numbers = [*range(FILES), *order.sample(range(FILES), FILES // 10)]
    order.shuffle(numbers)
    for number in numbers:
        built.loop.at(
            10 * order.random(), "drop", lambda n=number: built.drop(f"tasks/b/{n}.json", task_bytes(n))
        )  # type: ignore[misc]
    built.loop.run(2 * 3600)
    built.sky.weather = CALM
    return built, queue


def complete(built: Stack) -> None:
    jobs = built.store.every(Job)
    assert sorted(job.input.key for job in jobs) == sorted(f"tasks/b/{n}.json" for n in range(FILES))
    assert len(jobs) == len({job.job_id for job in jobs}) == FILES
    assert {job.version for job in jobs} == {1}, "each was written once"
    receipts = built.store.every(Receipt)
    assert sorted(receipt.key for receipt in receipts) == sorted(job.input.key for job in jobs)
    by_key = {receipt.key: receipt for receipt in receipts}
    assert all(by_key[job.input.key].entries == ((job.task_id, job.job_id),) for job in jobs)
    assert all(by_key[key].object_version == version for key, version in built.objects.newest.items()), (
        "of two events of one file the later one stays"
    )
    batch = built.store.batch("b")
    assert batch is not None
    assert 0 < batch.files <= FILES
    assert batch.report_due_at is not None


@pytest.mark.parametrize("seed", range(6))
def test_told_twice_and_handled_side_by_side_each_file_is_one_job(seed: int) -> None:
    built, queue = dropped(MILD, seed)
    assert queue.most > 1, "invocations overlap, or this shows nothing"
    assert queue.dead == []
    complete(built)


@pytest.mark.parametrize("seed", range(6))
def test_what_crashes_and_what_nobody_told_of_is_found_by_the_sweep(seed: int) -> None:
    built, _ = dropped(ROUGH, seed)
    built.loop.run(built.loop.now + 3600)
    built.functions.invoke("ingest", {"sweep": True})
    jobs = built.store.every(Job)
    assert len({job.input.key for job in jobs}) == len(jobs) == FILES
    assert {receipt.key for receipt in built.store.every(Receipt)} == {job.input.key for job in jobs}


def test_the_same_shows_a_receipt_that_goes_back_to_an_earlier_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Receipt, "later_than", lambda self, sequencer: False)
    failed = 0
    for seed in range(6):
        built, _ = dropped(MILD, seed)
        try:
            complete(built)
        except AssertionError:
            failed += 1
    assert failed

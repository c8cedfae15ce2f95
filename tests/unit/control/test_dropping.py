"""Files that are handled together: a bad one is bad alone, and the version that was read is what runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.batches import ENTRIES_A_PART, Receipt, in_parts, refused_in_words, whole
from arcspot.domain.jobs import UNREAD, Job, JobState
from arcspot.errors import ObjectUnreadable, RecordMissing
from arcspot.ports import Fetched
from arcspot.services import ingesting
from arcspot.services.contents import contents, planned
from arcspot.services.ingesting import Dropped, groups, ingest_together
from arcspot.services.sweeping import submit_again, sweep
from tests.fakes.driving import GOOD_TASK, Stack, task
from tests.fakes.memory import START

KEYS = [f"tasks/b/{n}.json" for n in range(4)]


@dataclass
class Troubled:
    """The bucket, where one object is not as the others."""

    real: object
    trouble: dict[str, Exception] = field(default_factory=dict)

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def fetch_many(self, wanted: list[tuple[str, str | None]]) -> list[Fetched | Exception]:
        found = self.real.fetch_many(wanted)  # type: ignore[attr-defined]
        return [self.trouble.get(key, each) for (key, _), each in zip(wanted, found, strict=True)]


def put(stack: Stack, key: str, body: object) -> Dropped:
    raw = json.dumps(body).encode()
    stack.world.objects.write(key, raw, content_type="")
    return Dropped(key, len(raw), object_version=stack.world.objects.newest[key])


def four(stack: Stack) -> list[Dropped]:
    return [put(stack, key, task(n)) for n, key in enumerate(KEYS)]


DEFINITE = [
    ObjectUnreadable("s3://b/k: it is archived; restore it or drop the file again (InvalidObjectState)"),
    RecordMissing("gone"),
]
PASSING = [TimeoutError("slow"), OSError("reset"), RuntimeError("SlowDown")]


@pytest.mark.parametrize("bad", range(4))
@pytest.mark.parametrize("error", [*DEFINITE, *PASSING], ids=lambda e: type(e).__name__)
def test_an_object_that_cannot_be_read_is_bad_alone(bad: int, error: Exception) -> None:
    stack = Stack()
    drops = four(stack)
    ports = replace(stack.ports, objects=Troubled(stack.world.objects, {KEYS[bad]: error}))  # type: ignore[arg-type]
    outcomes = ingest_together(ports, stack.settings, drops, stack.world.now)
    assert [outcome.new_jobs for outcome in outcomes] == [int(n != bad) for n in range(4)]
    assert bool(outcomes[bad].error) == (error in PASSING)
    assert bool(outcomes[bad].refusals) == (error in DEFINITE)
    assert len(stack.world.store.receipts(KEYS)) == (4 if error in DEFINITE else 3)
    if error in DEFINITE:
        assert ingest_together(stack.ports, stack.settings, drops, stack.world.now)[bad].key == KEYS[bad]


@pytest.mark.parametrize("bad", range(4))
def test_a_row_that_cannot_be_written_is_bad_alone(bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack()
    drops = four(stack)
    add = stack.world.store.add

    def picky(jobs: list[Job]) -> dict[str, Job]:
        if any(job.input.key == KEYS[bad] for job in jobs):
            raise ValueError("Item size has exceeded the maximum allowed size")
        return add(jobs)

    monkeypatch.setattr(stack.world.store, "add", picky)
    outcomes = ingest_together(stack.ports, stack.settings, drops, stack.world.now)
    assert [bool(outcome.error) for outcome in outcomes] == [n == bad for n in range(4)]
    assert sum(outcome.new_jobs for outcome in outcomes) == 3


def test_the_version_that_was_read_is_the_one_that_runs() -> None:
    stack = Stack()
    for key in ("tasks/b/one.json", "recurring/n/one.json"):
        stack.world.objects.write(key, json.dumps(task(1)).encode(), content_type="")
    sweep(stack.ports, stack.settings, stack.world.now)
    submit_again(stack.ports, stack.settings, prefix="recurring/n/", name="n", now=stack.world.now)
    jobs = stack.world.store.every(Job)
    assert len(jobs) == 2
    for job in jobs:
        stack.world.objects.write(job.input.key, json.dumps(task(2)).encode(), content_type="")
        body = stack.world.objects.read(job.input.key, version=job.input.object_version or None)
        assert json.loads(body) == task(1)


def test_a_version_that_is_gone_is_said_once() -> None:
    stack = Stack()
    dropped = replace(put(stack, KEYS[0], task(1)), sequencer="0A")
    stack.world.objects.delete(KEYS[0])
    stack.world.objects.versions.clear()
    first = ingesting.ingest(stack.ports, stack.settings, dropped, stack.world.now)
    assert "deleted before it was read" in first.refusals[0]
    told = len(stack.world.store.events)
    again = ingesting.ingest(stack.ports, stack.settings, dropped, stack.world.now)
    assert again.refusals == first.refusals
    assert len(stack.world.store.events) == told + 1, "an event of a repeated call; no row is written"


def test_a_file_that_goes_while_the_sweep_looks_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack()
    put(stack, KEYS[0], task(1))
    listed = list(stack.world.objects.listing("tasks/"))
    stack.world.objects.delete(KEYS[0])
    monkeypatch.setattr(stack.world.objects, "listing", lambda prefix, after="": listed)
    found = sweep(stack.ports, stack.settings, stack.world.now)
    assert (found.outcomes, found.failures, found.more) == ((), {}, False)
    assert stack.world.store.receipts(KEYS) == {}
    assert not [key for key in stack.world.objects.bodies if key.startswith("rejected/")]


def test_the_sweep_looks_up_only_what_is_younger_than_the_last_whole_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = Stack()
    four(stack)
    stack.world.wait(3600)
    assert len(sweep(stack.ports, stack.settings, stack.world.now).outcomes) == 4
    stack.world.wait(3600)
    late = put(stack, "tasks/b/late.json", task(9))
    asked: list[str] = []
    receipts = stack.world.store.receipts

    def watched(keys: list[str], **more: bool) -> dict[str, Receipt]:
        asked.extend(keys)
        return receipts(keys, **more)

    monkeypatch.setattr(stack.world.store, "receipts", watched)
    swept = sweep(stack.ports, stack.settings, stack.world.now)
    assert [outcome.key for outcome in swept.outcomes] == [late.key]
    assert set(asked) == {late.key}


def test_the_sweep_finds_an_overwritten_file_whose_event_was_lost() -> None:
    stack = Stack()
    four(stack)
    sweep(stack.ports, stack.settings, stack.world.now)
    stack.world.wait(3600)
    put(stack, KEYS[2], task(77))
    (outcome,) = sweep(stack.ports, stack.settings, stack.world.now).outcomes
    assert (outcome.key, outcome.new_jobs) == (KEYS[2], 1)


def test_the_first_sweep_finds_a_refused_file_that_was_mended_though_its_refusal_lies_in_the_bucket() -> None:
    stack = Stack()
    stack.drop(KEYS[0], b"not json")
    put(stack, KEYS[0], task(1))  # and its event is lost
    (outcome,) = sweep(stack.ports, stack.settings, stack.world.now).outcomes
    assert outcome.new_jobs == 1
    assert contents(stack.world.store, "b").refused == ()


def test_what_a_sweep_could_not_handle_is_tried_by_the_next_and_told() -> None:
    stack = Stack()
    four(stack)
    troubled = Troubled(stack.world.objects, {KEYS[1]: TimeoutError("slow")})
    ports = replace(stack.ports, objects=troubled)  # type: ignore[arg-type]
    found = sweep(ports, stack.settings, stack.world.now)
    assert set(found.failures) == {KEYS[1]}
    assert sum(outcome.new_jobs for outcome in found.outcomes) == 3
    stack.world.wait(7200)
    again = sweep(stack.ports, stack.settings, stack.world.now)
    assert [outcome.key for outcome in again.outcomes] == [KEYS[1]]


def test_a_sweep_short_of_time_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arcspot.services.sweeping.PAGE", 1)
    stack = Stack()
    four(stack)
    seen = []
    for _ in range(9):
        found = sweep(stack.ports, stack.settings, stack.world.now, enough_time=lambda: False)
        seen += [outcome.key for outcome in found.outcomes]
        if not found.more:
            break
    assert seen == KEYS
    assert stack.world.store.sweep_row().done_until == stack.world.now


def test_files_that_an_earlier_release_handled_are_not_handled_again() -> None:
    stack = Stack()
    four(stack)
    for key in KEYS[:3]:
        stack.world.objects.write(f"accepted/{key}.json", b"{}", content_type="")
    swept = sweep(stack.ports, stack.settings, stack.world.now)
    assert [outcome.key for outcome in swept.outcomes] == [KEYS[3]]


@pytest.mark.parametrize("words", UNREAD)
def test_a_task_nobody_could_read_is_healed_by_the_same_task_in_a_good_file(words: str) -> None:
    stack = Stack()
    first = stack.drop("tasks/b/spoilt.json", GOOD_TASK)
    job_id = first.jobs[0][1]
    job = stack.world.store.job(job_id)
    assert job is not None
    dead = replace(job, state=JobState.DEAD, failures=3, reason=f"failed 3 times, last: {words}: 404")
    stack.world.store.write(dead)
    stack.drop("tasks/b/good.json", GOOD_TASK)
    healed = stack.world.store.job(job_id)
    assert healed is not None
    assert (healed.state, healed.failures, healed.input.key) == (JobState.READY, 0, "tasks/b/good.json")


def test_a_task_that_failed_by_itself_is_not_tried_again_for_being_dropped_again() -> None:
    stack = Stack()
    job_id = stack.drop("tasks/b/one.json", GOOD_TASK).jobs[0][1]
    job = stack.world.store.job(job_id)
    assert job is not None
    stack.world.store.write(replace(job, state=JobState.DEAD, reason="failed 3 times, last: ValueError: no"))
    stack.drop("tasks/b/again.json", GOOD_TASK)
    assert [entry.job.state for entry in contents(stack.world.store, "b").entries] == [JobState.DEAD] * 2


@pytest.mark.parametrize("call", range(12))
def test_a_call_cut_off_anywhere_and_told_again_reports_all_files(call: int) -> None:
    """New stays new: whoever counts them is told the same by the call that is repeated."""
    stack = Stack()
    drops = [replace(dropped, sequencer="0A") for dropped in four(stack)]
    left = iter(range(call))

    def cut(real: Callable[..., object]) -> Callable[..., object]:
        def act(*args: object, **kwargs: object) -> object:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return act

    with pytest.MonkeyPatch.context() as patch:
        for name in ("add", "write", "write_each", "record"):
            patch.setattr(stack.world.store, name, cut(getattr(stack.world.store, name)))
        with suppress(KeyboardInterrupt):
            ingest_together(stack.ports, stack.settings, drops, stack.world.now)
    ingest_together(stack.ports, stack.settings, drops, stack.world.now)
    assert len(contents(stack.world.store, "b").entries) == planned(stack.world.store, "b").files == 4
    assert len(stack.world.store.receipts([dropped.told_of for dropped in drops])) == 4
    batch = stack.world.store.batch("b")
    assert batch is not None
    assert batch.files <= 4, "a lower bound"
    assert [batch.batch_id for batch in stack.world.store.batches_due()] == ["b"]


def test_a_batch_of_known_files_costs_no_more_the_larger_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads of an index by batch would grow with it: there are none."""
    stack = Stack()
    for name in ("jobs_of_batch", "receipts_of_batch", "job_ids_of_batch", "batch_count"):
        monkeypatch.setattr(stack.world.store, name, lambda *_, name=name: pytest.fail(name))
    stack.drop("tasks/b/one.json", GOOD_TASK, sequencer="0A")
    stack.drop("tasks/b/one.json", GOOD_TASK, sequencer="0B")
    stack.drop("tasks/other/one.json", GOOD_TASK, sequencer="0C")


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 20 * 2**20)), max_size=400))
def test_groups_lose_nothing_hold_no_file_twice_and_fit_into_memory(files: list[tuple[int, int]]) -> None:
    drops = [Dropped(f"tasks/b/{key}.json", size) for key, size in files]
    made = groups(drops)
    assert [dropped for group in made for dropped in group] == drops
    for group in made:
        assert 1 <= len(group) <= ingesting.GROUP_FILES
        assert len({dropped.key for dropped in group}) == len(group)
        assert len(group) == 1 or sum(dropped.size for dropped in group) <= ingesting.GROUP_BYTES


entries = st.integers(0, 3 * ENTRIES_A_PART + 1).map(lambda n: tuple((f"t{i}", f"j{i}") for i in range(n)))


@given(entries, entries, st.randoms(use_true_random=False))
def test_a_long_receipt_comes_back_whole_whatever_parts_of_an_earlier_one_are_left(
    now: tuple[tuple[str, str], ...], before: tuple[tuple[str, str], ...], rng: Random
) -> None:
    newest = Receipt("k", "b", START, object_version="2", entries=now)
    earlier = in_parts(Receipt("k", "b", START, object_version="1", entries=before))
    rows = [*in_parts(newest), *(row for row in earlier if row.part)]
    rng.shuffle(rows)
    (found,) = whole(rows)
    assert replace(found, parts=1) == newest
    assert all(len(row.entries) <= ENTRIES_A_PART for row in rows)
    missing = [row for row in rows if row.part != 1 or row.object_version != "2"]
    assert (list(whole(missing)) == []) == (len(now) > ENTRIES_A_PART)


def test_a_receipt_keeps_some_refusals_and_counts_all() -> None:
    stack = Stack()
    stack.drop("tasks/b/many.json", {f"bad{n}": {"train": []} for n in range(50)})
    (receipt,) = stack.world.store.receipts(["tasks/b/many.json"]).values()
    assert (receipt.refused, len(receipt.refusals)) == (50, 20)
    assert refused_in_words(["x" * 9_999]) == ("x" * 500,)

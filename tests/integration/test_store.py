"""One set of promises for `ports.Store`, kept by DynamoDB's adapter and by the fake alike.

The fake is what every unit and property test trusts, so it must not promise more than the real one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from arcspot.domain.batches import Batch, Receipt, in_parts
from arcspot.domain.budget import Fleet, Hold, Leak, Ledger, Prices
from arcspot.domain.jobs import Estimate, Job, JobState, TaskInput
from arcspot.domain.launching import Breaker, Launch, LaunchState
from arcspot.domain.reaping import Suspects
from arcspot.errors import Conflict, NoCapacity
from arcspot.ports import Event, Record, Store
from tests.fakes.memory import START, MemoryStore

from .conftest import Cloud

LATER = START + timedelta(hours=1)


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    cloud: Cloud = request.getfixturevalue("cloud")
    return cloud.ports.store


def job(name: str = "job-1", *, batch: str = "b", lane: int = 1, age_s: float = 0.0) -> Job:
    at = START - timedelta(seconds=age_s)
    return Job(
        job_id=name,
        batch_id=batch,
        input=TaskInput(bucket="bucket", key="tasks/b/ü +.json", object_version="v1", task_id=name),
        config={"budget_s": 60, "model": "auto", "seed": 0, "nested": {"half": 0.5, "none": None}},
        solver_version="1",
        created_at=at,
        updated_at=at,
        ready_at=at,
        estimate_s=12.25,
        lane=lane,
    )


def launch(name: str = "launch-1") -> Launch:
    return Launch(
        launch_id=name,
        period="2026-11",
        reserve=1_000,
        created_at=START,
        hard_deadline=START + timedelta(hours=2),
        boot_deadline=START + timedelta(minutes=15),
    )


def claimed(kept: Job, by: str) -> Job:
    return kept.claimed(launch_id=by, now=START, lease_seconds=120)


def kept_job(store: Store, job_id: str = "job-1") -> Job:
    found = store.job(job_id)
    assert found is not None
    return found


def test_what_is_written_is_read_back_one_version_on(store: Store) -> None:
    leased = claimed(job(), "launch-1")
    records: tuple[Record, ...] = (
        leased,
        Batch(batch_id="b", created_at=START, report_due_at=START),
        launch(),
        Ledger.opened("2026-11", 10**9).reserve(5).told((50,)),
        Fleet.opened(2).waiting_for("slots", START),
        Breaker().tripped(NoCapacity("none"), now=START),
        Suspects(since={"i-1": START}),
        Estimate(key="1/60", seconds=30.5),
        Leak(instance_id="i-1", launch_id="", usd_micros=123, booked_at=START),
        Prices({"g4dn.xlarge": 526_000}, START),
        Hold("launch-1", "2026-11", 5, START),
    )
    for record in records:
        store.write(record)
    found = (
        store.job("job-1"),
        store.batch("b"),
        store.launch("launch-1"),
        store.ledger("2026-11"),
        store.fleet(),
        store.breaker(),
        store.suspects(),
        store.estimate("1/60"),
        store.leak("i-1"),
        store.prices(),
        store.hold("launch-1"),
    )
    assert found == tuple(replace(record, version=1) for record in records)


def test_what_was_never_written_is_absent_and_no_error(store: Store) -> None:
    assert store.job("x") is store.batch("x") is store.launch("x") is store.ledger("x") is None
    assert store.fleet() is store.estimate("x") is store.leak("x") is store.prices() is None
    assert store.batch_count("x", JobState.READY, 9) == 0
    assert (store.breaker(), dict(store.suspects().since)) == (Breaker(), {})
    assert store.jobs(["x"]) == {}
    assert store.ready_jobs(5, LATER) == store.open_launches() == store.batches_due() == []


def test_who_read_an_older_version_writes_nothing(store: Store) -> None:
    store.write(job())
    first = second = kept_job(store)
    store.write(claimed(first, "launch-1"))
    with pytest.raises(Conflict):
        store.write(claimed(second, "launch-2"))
    lease = kept_job(store).lease
    assert lease is not None
    assert lease.launch_id == "launch-1"


def test_a_new_record_does_not_replace_an_old_one(store: Store) -> None:
    store.write(job())
    with pytest.raises(Conflict):
        store.write(replace(job(), estimate_s=1.0))
    assert kept_job(store).estimate_s == 12.25


def test_one_stale_record_keeps_all_the_others_from_being_written(store: Store) -> None:
    store.write(Ledger.opened("2026-11", 100))
    ledger = store.ledger("2026-11")
    assert ledger is not None
    store.write(ledger.reserve(10))
    with pytest.raises(Conflict):
        store.write(ledger.reserve(20), Fleet.opened(2).take(), launch())
    assert store.fleet() is None
    assert store.launch("launch-1") is None
    held = store.ledger("2026-11")
    assert held is not None
    assert held.reserved == 10


def test_adding_keeps_the_jobs_that_are_there_and_names_the_new_ones(store: Store) -> None:
    store.write(claimed(job("old"), "launch-1"))
    many = [job(f"job-{n}") for n in range(120)]
    added = store.add([job("old"), job("new"), job("new"), *many])
    assert set(added) == {"old", "new"} | {j.job_id for j in many}
    assert added == store.jobs(list(added))
    assert kept_job(store, "old").state is JobState.LEASED
    assert store.add([replace(job("new"), batch_id="other")])["new"].batch_id == "b", "who was first stays"
    assert len(store.jobs([j.job_id for j in many])) == 120
    assert len({found.job_id for found in store.jobs_of_batch("b", JobState.READY)}) == 121
    assert [store.batch_count("b", JobState.READY, at_most) for at_most in (110, 999)] == [110, 121]


def test_ready_jobs_come_by_lane_and_then_by_age(store: Store) -> None:
    store.add(
        [
            job("late", age_s=1),
            job("early", age_s=10),
            job("urgent", lane=0, age_s=0),
            job("patient", lane=2, age_s=99),
            job("middle", age_s=5.5),
        ]
    )
    order = ["urgent", "early", "middle", "late", "patient"]
    assert [found.job_id for found in store.ready_jobs(10, LATER)] == order
    assert [found.job_id for found in store.ready_jobs(3, LATER)] == order[:3]
    assert store.ready_count(10, LATER) == 5
    assert store.ready_count(2, LATER) >= 2


def test_whoever_claims_at_the_same_time_draws_another_job_and_no_lane_is_jumped(store: Store) -> None:
    store.add([job(f"usual-{n}", lane=1) for n in range(60)] + [job(f"urgent-{n}", lane=0) for n in range(3)])
    for seed in range(5):
        drawn = [found.job_id for found in store.ready_jobs(5, LATER, Random(seed))]
        assert {name.partition("-")[0] for name in drawn[:3]} == {"urgent"}
        assert len(set(drawn)) == 5
    firsts = {store.ready_jobs(4, LATER, Random(seed))[3].job_id for seed in range(20)}
    assert len(firsts) > 5
    assert [found.job_id for found in store.ready_jobs(4, LATER, Random(3))] == [
        found.job_id for found in store.ready_jobs(4, LATER, Random(3))
    ]


def test_a_job_whose_time_has_not_come_is_not_ready(store: Store) -> None:
    store.add([job("now"), replace(job("later"), ready_at=START + timedelta(minutes=9))])
    early = START + timedelta(minutes=8)
    assert [found.job_id for found in store.ready_jobs(9, early)] == ["now"]
    assert (store.ready_count(9, early), store.ready_count(9, LATER)) == (1, 2)
    assert {found.job_id for found in store.ready_jobs(9, LATER)} == {"now", "later"}


def test_receipts_come_by_key_and_by_batch_the_long_ones_whole(store: Store) -> None:
    entries = tuple((f"task-{n}", f"job-{n}") for n in range(2_500))
    long = Receipt("tasks/b/long.json", "b", START, object_version="v1", entries=entries)
    assert store.write_each(in_parts(long)) == []
    store.write(Receipt("tasks/b/short.json", "b", START, refusals=("no",), refused=1))
    store.write(Receipt("runs/r/recurring/x.json", "r", START))
    found = {receipt.key: receipt for receipt in store.receipts_of_batch("b")}
    assert set(found) == {"tasks/b/long.json", "tasks/b/short.json"}
    assert found["tasks/b/long.json"].entries == entries
    assert store.receipts(["tasks/b/short.json"] * 3 + ["nobody"])["tasks/b/short.json"].refusals == ("no",)
    store.add([job("one")])
    assert list(store.job_ids_of_batch("b")) == ["one"], "a receipt is no job"
    assert [found.job_id for found in store.jobs_of_batch("b")] == ["one"]


def test_each_is_written_by_itself_and_those_that_lost_come_back(store: Store) -> None:
    store.write(job("there"))
    rows = [job("a"), job("there"), job("b")]
    assert store.write_each(rows) == [rows[1]]
    assert set(store.jobs(["a", "b", "there"])) == {"a", "b", "there"}
    assert store.write_each([]) == []


def test_a_moment_on_the_second_and_one_within_it_keep_their_order(store: Store) -> None:
    store.add([job("second", age_s=0), job("first", age_s=0.5), job("third", age_s=-0.5)])
    assert [found.job_id for found in store.ready_jobs(10, LATER)] == ["first", "second", "third"]


def test_a_leased_job_is_no_longer_ready_until_it_is_taken_back(store: Store) -> None:
    store.write(job())
    store.write(claimed(kept_job(store), "launch-1"))
    assert store.ready_jobs(5, LATER) == []
    assert store.batch_count("b", JobState.LEASED, 5) == 1
    store.write(kept_job(store).reclaimed(now=START, silent=False, why="gone"))
    assert store.batch_count("b", JobState.LEASED, 5) == 0
    assert len(store.ready_jobs(5, LATER)) == 1


def test_a_batch_shows_its_jobs_by_state(store: Store) -> None:
    store.add([job("a"), job("b"), job("c", batch="other")])
    store.write(kept_job(store, "a").cancel(now=START))
    assert {found.job_id for found in store.jobs_of_batch("b")} == {"a", "b"}
    assert [found.job_id for found in store.jobs_of_batch("b", JobState.CANCELLED)] == ["a"]
    assert list(store.jobs_of_batch("b", JobState.DONE)) == []


def test_a_batch_is_due_until_it_is_reported(store: Store) -> None:
    store.write(Batch(batch_id="b", created_at=START, report_due_at=None).due(START))
    (due,) = store.batches_due()
    store.write(due.reported(3))
    assert store.batches_due() == []
    again = store.batch("b")
    assert again is not None
    assert again.reported_jobs == 3


def test_a_job_and_a_batch_of_one_name_are_two_rows(store: Store) -> None:
    store.write(job("same", batch="same"))
    store.write(Batch(batch_id="same", created_at=START, report_due_at=START))
    assert kept_job(store, "same").batch_id == "same"
    assert [found.job_id for found in store.jobs_of_batch("same")] == ["same"]


def test_no_other_row_is_taken_for_a_job_whatever_is_asked_for(store: Store) -> None:
    store.write(Batch(batch_id="b", created_at=START, report_due_at=START))
    for key in ("BATCH#b", "FILE#tasks/x.json", "SWEEP", "", "x" * 2049, "\ud800", "PERIOD#2026-11"):
        assert store.job(key) is None
        assert store.jobs([key, key]) == {}
    assert store.jobs([]) == {}


def test_many_jobs_are_read_whoever_asks_twice(store: Store) -> None:
    """DynamoDB refuses a batch with one key twice; a batch of ARC-AGI-1 has two files of one task."""
    store.add([job(f"job-{n}") for n in range(101)])
    ids = [f"job-{n}" for n in range(101)]
    assert set(store.jobs([*ids, *ids])) == set(ids)


def test_a_closed_launch_is_no_longer_among_the_open_ones(store: Store) -> None:
    store.write(launch("one"))
    store.write(launch("two"))
    (one,) = [row for row in store.open_launches() if row.launch_id == "one"]
    store.write(one.released(reason="none"))
    assert [row.launch_id for row in store.open_launches()] == ["two"]
    closed = store.launch("one")
    assert closed is not None
    assert closed.state is LaunchState.RELEASED


def test_history_takes_any_number_of_events(store: Store) -> None:
    store.record()
    store.record(*(Event(f"job#{n}", START, "accepted", "") for n in range(60)))


def one_in_each_state(store: Store) -> dict[JobState, str]:
    """A batch with two jobs in every state a job can be in; the ids of one of each."""
    found = {}
    for state in JobState:
        for n in range(2):
            lease = claimed(job(), "launch-1").lease if state is JobState.LEASED else None
            store.write(replace(job(f"{state}-{n}"), state=state, lease=lease))
        found[state] = f"{state}-0"
    return found


def test_a_batch_is_counted_and_listed_state_by_state(store: Store) -> None:
    store.write(job("elsewhere", batch="other"))
    for state in one_in_each_state(store):
        assert {found.job_id for found in store.jobs_of_batch("b", state)} == {f"{state}-0", f"{state}-1"}
        assert [store.batch_count("b", state, at_most) for at_most in (1, 2, 9)] == [1, 2, 2]
        assert store.batch_count("other", state, 9) == (state is JobState.READY)
    assert len({found.job_id for found in store.jobs_of_batch("b")}) == 2 * len(JobState)


def test_a_job_is_counted_in_one_state_at_a_time(store: Store) -> None:
    store.write(job())
    for change in (
        lambda known: claimed(known, "launch-1"),
        lambda known: known.reclaimed(now=START, silent=False, why="gone"),
        lambda known: known.cancel(now=START),
        lambda known: known.revived(now=START),
    ):
        store.write(change(kept_job(store)))
        state = kept_job(store).state
        assert {s: store.batch_count("b", s, 9) for s in JobState} == {s: int(s is state) for s in JobState}


def books(store: Store) -> tuple[Ledger, Fleet]:
    ledger, fleet = store.ledger("2026-11"), store.fleet()
    assert ledger is not None
    assert fleet is not None
    return ledger, fleet


def test_three_records_are_written_together(store: Store) -> None:
    store.write(Ledger.opened("2026-11", 100), Fleet.opened(2))
    ledger, fleet = books(store)
    store.write(ledger.reserve(10), fleet.take(), launch())
    ledger, fleet = books(store)
    assert (ledger.reserved, fleet.slots_available, ledger.version, fleet.version) == (10, 1, 2, 2)
    assert store.launch("launch-1") is not None


@pytest.mark.parametrize("stale", [0, 1, 2])
def test_whichever_of_three_records_is_stale_none_is_written(store: Store, stale: int) -> None:
    store.write(Ledger.opened("2026-11", 100), Fleet.opened(2))
    ledger, fleet = books(store)
    faster: tuple[Record, ...] = (ledger.book(1), fleet.waiting_for("slots", START), launch())
    store.write(faster[stale])
    kept = (store.ledger("2026-11"), store.fleet(), store.launch("launch-1"))
    with pytest.raises(Conflict):
        store.write(ledger.reserve(10), fleet.take(), launch())
    assert (store.ledger("2026-11"), store.fleet(), store.launch("launch-1")) == kept


@pytest.mark.refused_by_aws
def test_a_row_is_written_once_in_a_transaction_or_not_at_all(store: Store) -> None:
    """DynamoDB refuses two puts of one row: a service that tried would work on a kinder fake alone."""
    with pytest.raises(Exception, match=r"(?i)multiple operations|twice"):
        store.write(job(), job(), launch())
    assert store.job("job-1") is store.launch("launch-1") is None


def test_a_leak_is_booked_once(store: Store) -> None:
    leak = Leak(instance_id="i-1", launch_id="launch-1", usd_micros=5, booked_at=START)
    store.write(Ledger.opened("2026-11", 100).book(5), leak)
    kept = store.ledger("2026-11")
    assert kept is not None
    with pytest.raises(Conflict):
        store.write(kept.book(5), leak)
    assert store.ledger("2026-11") == kept


def test_prices_are_replaced_by_who_read_them_last(store: Store) -> None:
    store.write(Prices({"a": 1}, START))
    known = store.prices()
    assert known is not None
    store.write(known.updated({"b": 2}, START))
    with pytest.raises(Conflict):
        store.write(known.updated({"b": 3}, START))
    latest = store.prices()
    assert latest is not None
    assert dict(latest.on_demand) == {"a": 1, "b": 2}


@pytest.mark.parametrize("name", ["BATCH#b", "SWEEP", "FILE#x", "", "x" * 3000, "\ud800"])
def test_what_names_another_row_or_none_at_all_is_no_job(store: Store, name: str) -> None:
    store.write(Batch(batch_id="b", created_at=START, report_due_at=START))
    store.write(store.sweep_row())
    store.write(job("a"))
    assert store.job(name) is None
    assert list(store.jobs([name, "a"])) == ["a"]

"""A batch's jobs by an index that holds keys alone and lags behind the table."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from arcspot.aws.dynamo import DynamoStore
from arcspot.aws.rows import queues
from arcspot.domain.batches import Batch
from arcspot.domain.jobs import Job, JobState, TaskInput
from arcspot.domain.launching import Launch
from tests.fakes.memory import START

from .conftest import Cloud

MANY = 120  # more than one BatchGetItem takes


def job(name: str, batch: str = "b") -> Job:
    return Job(
        job_id=name,
        batch_id=batch,
        input=TaskInput(bucket="bucket", key="tasks/b/x.json", object_version="v1", task_id=name),
        config={"seed": 0},
        solver_version="1",
        created_at=START,
        updated_at=START,
        ready_at=START,
        estimate_s=1.0,
    )


@pytest.fixture
def store(cloud: Cloud) -> DynamoStore:
    store: Any = cloud.ports.store
    store.add([job(f"job-{n:03}") for n in range(MANY)] + [job("elsewhere", batch="other")])
    for n in range(7):
        known = store.job(f"job-{n:03}")
        store.write(known.claimed(launch_id="launch-1", now=START, lease_seconds=120))
    found: DynamoStore = store
    return found


def test_the_index_holds_keys_alone(cloud: Cloud, store: DynamoStore) -> None:
    found = cloud.client("dynamodb").query(
        TableName=cloud.settings.jobs_table,
        IndexName="by_batch",
        KeyConditionExpression="in_batch = :v",
        ExpressionAttributeValues={":v": {"S": "b"}},
        Limit=1,
    )
    assert set(found["Items"][0]) == {"pk", "in_batch", "state"}


def test_every_job_of_a_batch_comes_whole_from_the_table(store: DynamoStore) -> None:
    found = {each.job_id: each for each in store.jobs_of_batch("b")}
    assert set(found) == {f"job-{n:03}" for n in range(MANY)}
    assert found["job-119"] == replace(job("job-119"), version=1)
    assert len(list(store.jobs_of_batch("b", JobState.READY))) == MANY - 7
    assert {each.job_id for each in store.jobs_of_batch("other")} == {"elsewhere"}
    assert list(store.jobs_of_batch("nobody's")) == []


def test_counting_a_batch_stops_where_it_was_told_to(store: DynamoStore) -> None:
    assert store.batch_count("b", JobState.READY, 1_000) == MANY - 7
    assert store.batch_count("b", JobState.LEASED, 1_000) == 7
    assert store.batch_count("b", JobState.READY, 10) == 10
    assert store.batch_count("b", JobState.DONE, 10) == 0


def test_counting_reads_no_more_than_it_needs(cloud: Cloud, store: DynamoStore) -> None:
    asked: list[Any] = []
    client = cloud.client("dynamodb")
    client.meta.events.register(
        "provide-client-params.dynamodb.Query", lambda params, **_: asked.append(params)
    )
    assert DynamoStore(client, cloud.settings).batch_count("b", JobState.READY, 10) == 10
    (once,) = asked
    assert (once["Select"], once["Limit"]) == ("COUNT", 10)


def test_what_the_index_has_not_heard_of_yet_is_decided_by_the_table(
    cloud: Cloud, store: DynamoStore
) -> None:
    """The index still shows a job as LEASED and one that is gone; the table is what counts."""
    known = store.job("job-000")
    assert known is not None
    store.write(known.cancel(now=START).reclaimed(now=START, silent=False, why="gone"))
    stale = [{"pk": {"S": "job-000"}}, {"pk": {"S": "job-001"}}, {"pk": {"S": "expired"}}]
    lagging: Any = Lagging(cloud.client("dynamodb"), stale)
    found = DynamoStore(lagging, cloud.settings).jobs_of_batch("b", JobState.LEASED)
    assert [each.job_id for each in found] == ["job-001"]


class Lagging:
    """A client whose indexes show what was."""

    def __init__(self, client: Any, items: list[Any]) -> None:
        self._client = client
        self._items = items

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_paginator(self, name: str) -> Any:
        return self

    def paginate(self, **asked: Any) -> Any:
        assert asked["IndexName"] == "by_batch"
        return [{"Items": self._items}]


def as_an_earlier_release_wrote(cloud: Cloud, name: str, **indexed: str) -> None:
    """Move a row to the index `due`, which held what `queue` holds now."""
    client, table = cloud.client("dynamodb"), cloud.settings.jobs_table
    row = client.get_item(TableName=table, Key={"pk": {"S": name}})["Item"]
    kept = {key: value for key, value in row.items() if key not in ("queue", "queued_at")}
    client.put_item(TableName=table, Item=kept | {key: {"S": value} for key, value in indexed.items()})


def test_what_an_earlier_release_left_in_its_index_is_worked_off(cloud: Cloud) -> None:
    """One update of a stack makes or drops one index: for a release there are both."""
    store: Any = cloud.ports.store
    at = START.isoformat()
    store.add([job("old"), job("new")])
    store.write(Batch("old", START, START), Batch("new", START, START))
    as_an_earlier_release_wrote(cloud, "old", due="READY#1", due_at=at)
    as_an_earlier_release_wrote(cloud, "BATCH#old", due="REPORT", due_at=at)
    assert [found.job_id for found in store.ready_jobs(9, START)] == ["new", "old"]
    assert store.ready_count(9, START) == 2
    assert {batch.batch_id for batch in store.batches_due()} == {"old", "new"}
    store.write(store.job("old").claimed(launch_id="l", now=START, lease_seconds=60))
    store.write(store.batch("old").reported(1))
    assert [found.job_id for found in store.ready_jobs(9, START)] == ["new"]
    assert [batch.batch_id for batch in store.batches_due()] == ["new"]


def test_the_jobs_of_a_lane_are_spread_over_all_its_partitions(cloud: Cloud, store: DynamoStore) -> None:
    rows = cloud.client("dynamodb").scan(TableName=cloud.settings.jobs_table, IndexName="queue")["Items"]
    assert {row["queue"]["S"] for row in rows} == set(queues(1))
    assert set(rows[0]) == {"pk", "queue", "queued_at"}


def test_open_launches_are_one_query_and_one_read_of_a_hundred(cloud: Cloud) -> None:
    asked: list[str] = []
    client = cloud.client("dynamodb")
    for operation in ("Query", "BatchGetItem", "GetItem"):
        client.meta.events.register(
            f"provide-client-params.dynamodb.{operation}",
            lambda operation=operation, **_: asked.append(operation),
        )
    store = DynamoStore(client, cloud.settings)
    for n in range(50):
        moment = START + timedelta(seconds=n)
        store.write(
            Launch(f"L{n:03}", "2026-11", 1, created_at=moment, hard_deadline=moment, boot_deadline=moment)
        )
    assert [launch.launch_id for launch in store.open_launches()] == [f"L{n:03}" for n in range(50)]
    assert asked == ["Query", "BatchGetItem"]

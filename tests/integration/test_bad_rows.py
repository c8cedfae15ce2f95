"""A row that cannot be read: one named error, or one that is left out and told. Never the end of a list."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from arcspot.aws.dynamo import DynamoStore
from arcspot.domain.batches import MAX_LAG, Batch, Receipt
from arcspot.domain.jobs import JobState
from arcspot.domain.launching import Launch
from arcspot.domain.reporters import Reporter
from arcspot.errors import ItemsFailed, RowUnreadable
from arcspot.services import attending
from arcspot.services.reporting import report_round
from tests.fakes.memory import START

from .conftest import Cloud
from .test_batch_index import job

Spoil = Callable[[dict[str, Any]], object]
SPOILT: dict[str, Spoil] = {
    "a state of a newer version": lambda item: item.update(state={"S": "PAUSED"}),
    "a version that is null": lambda item: item.update(version={"NULL": True}),
    "no estimate": lambda item: item.pop("estimate_s"),
    "no input": lambda item: item.pop("input"),
    "an input that is text": lambda item: item.update(input={"S": "tasks/b/x.json"}),
    "an input without a key": lambda item: item["input"]["M"].pop("key"),
    "a task id that is a number": lambda item: item["input"]["M"].update(task_id={"N": "7"}),
    "a lease that is a list": lambda item: item.update(lease={"L": []}),
    "a time that is none": lambda item: item.update(created_at={"S": "yesterday"}),
    "a time without a zone": lambda item: item.update(created_at={"S": "2026-11-27T10:00:00"}),
    "a time that is a number": lambda item: item.update(updated_at={"N": "5"}),
    "a fence that is text": lambda item: item.update(fence={"S": "two"}),
    "a summary that is a list": lambda item: item.update(summary={"L": [{"S": "x"}]}),
    "a batch that is null": lambda item: item.update(batch_id={"NULL": True}),
    "nothing but its key": lambda item: [item.pop(name) for name in list(item) if name != "pk"],
}


def receipt(name: str) -> Receipt:
    entries = ((job("a").task_id, "a"),)
    return Receipt(key=f"tasks/b/{name}.json", batch_id="b", handled_at=START, entries=entries)


def spoil(cloud: Cloud, table: str, key: str, how: Spoil) -> None:
    """Damage one row, past every adapter."""
    client = cloud.client("dynamodb")
    item = client.get_item(TableName=table, Key={"pk": {"S": key}})["Item"]
    how(item)
    client.put_item(TableName=table, Item=item)


def lenient(cloud: Cloud) -> DynamoStore:
    return DynamoStore(cloud.client("dynamodb"), cloud.settings, skip_bad=True)


@pytest.fixture
def three(cloud: Cloud) -> Cloud:
    cloud.ports.store.add([job(name) for name in ("a", "bad", "c")])
    cloud.ports.store.write(Batch(batch_id="b", created_at=START, report_due_at=START))
    cloud.ports.store.write(receipt("one"))
    return cloud


@pytest.mark.parametrize("name", SPOILT)
def test_one_bad_row_hides_no_other(name: str, three: Cloud) -> None:
    spoil(three, three.settings.jobs_table, "bad", SPOILT[name])
    for read in (
        lambda store: store.every_job(),
        lambda store: store.jobs(["a", "bad", "c", "a"]).values(),
    ):
        store = lenient(three)
        assert sorted(each.job_id for each in read(store)) == ["a", "c"]
        assert list(store.bad_rows) == ["bad"]
        assert three.settings.jobs_table in str(store.bad_rows["bad"])


@pytest.mark.parametrize("name", SPOILT)
def test_who_asks_for_the_row_itself_hears_one_named_error(name: str, three: Cloud) -> None:
    spoil(three, three.settings.jobs_table, "bad", SPOILT[name])
    for store in (three.ports.store, lenient(three)):
        with pytest.raises(RowUnreadable, match="row 'bad' of table JobsTable cannot be read"):
            store.job("bad")
    with pytest.raises(RowUnreadable):
        three.ports.store.jobs(["a", "bad"])


def test_a_field_of_a_newer_version_is_left_out_and_the_row_is_good(three: Cloud) -> None:
    spoil(three, three.settings.jobs_table, "bad", lambda item: item.update(colour={"S": "blue"}))
    store = lenient(three)
    assert len(list(store.every_job())) == 3
    assert store.bad_rows == {}


def test_a_bad_row_of_a_batch_hides_no_other(three: Cloud) -> None:
    spoil(three, three.settings.jobs_table, "bad", SPOILT["no estimate"])
    store = lenient(three)
    assert sorted(each.job_id for each in store.jobs_of_batch("b")) == ["a", "c"]
    assert list(store.bad_rows) == ["bad"]


@pytest.mark.parametrize("rng", [None, Random(1)], ids=["oldest first", "drawn"])
def test_a_bad_row_keeps_nobody_from_the_work_behind_it(rng: Random | None, three: Cloud) -> None:
    """The functions' own store, which else raises what it cannot read."""
    bad = three.ports.store.job("bad")
    assert bad is not None
    three.ports.store.write(replace(bad, ready_at=START - timedelta(days=1)))
    spoil(three, three.settings.jobs_table, "bad", SPOILT["no estimate"])
    (ready,) = three.ports.store.ready_jobs(1, START, rng)
    assert ready.job_id in ("a", "c")


def test_a_bad_receipt_hides_no_other(three: Cloud) -> None:
    three.ports.store.write(receipt("two"))
    spoil(three, three.settings.jobs_table, "FILE#tasks/b/two.json", lambda item: item.pop("handled_at"))
    for read in (lambda store: store.every_receipt(), lambda store: store.receipts_of_batch("b")):
        store = lenient(three)
        assert [each.key for each in read(store)] == ["tasks/b/one.json"]
        assert list(store.bad_rows) == ["FILE#tasks/b/two.json"]


def test_a_bad_launch_hides_no_other(cloud: Cloud) -> None:
    for name in ("one", "bad", "two"):
        cloud.ports.store.write(
            Launch(
                launch_id=name,
                period="2026-11",
                reserve=1,
                created_at=START,
                hard_deadline=START,
                boot_deadline=START,
            )
        )
    table = cloud.settings.launches_table
    spoil(cloud, table, "bad", lambda item: item.update(state={"S": "HIBERNATED"}))
    store = lenient(cloud)
    assert sorted(each.launch_id for each in store.every_launch()) == ["one", "two"]
    assert "HIBERNATED" in str(store.bad_rows["bad"])


def test_one_job_that_is_asked_for_twice_is_read_once(three: Cloud) -> None:
    assert set(three.ports.store.jobs(["a"] * 150 + ["c"])) == {"a", "c"}


def test_a_bad_row_of_a_batch_that_is_due_hides_no_other_from_the_report(three: Cloud) -> None:
    store = three.ports.store
    store.write(Batch(batch_id="odd", created_at=START, report_due_at=START))
    spoil(three, three.settings.jobs_table, "BATCH#odd", lambda item: item.update(files={"S": "many"}))
    bad: dict[str, str] = {}
    assert [batch.batch_id for batch in store.batches_due(bad)] == ["b"]
    assert "row 'BATCH#odd'" in bad["BATCH#odd"]
    found = report_round(three.ports, three.settings, START)
    assert list(found.failures) == ["BATCH#odd"]
    with pytest.raises(ItemsFailed, match="BATCH#odd"):
        attending.attend(three.ports, three.settings, START)


def test_a_bad_row_of_a_job_is_a_line_of_its_batch_and_hides_no_other(three: Cloud) -> None:
    store = three.ports.store
    for name in ("a", "bad", "c"):
        known = store.job(name)
        assert known is not None
        store.write(replace(known, state=JobState.DEAD, ready_at=None, reason="no"))
    spoil(three, three.settings.jobs_table, "bad", SPOILT["no estimate"])
    found = report_round(three.ports, three.settings, START + MAX_LAG)
    assert (found.batches, list(found.failures)) == (["b"], [])
    summary = json.loads(three.ports.objects.read("reports/b/summary.json"))
    assert summary["counts"] == {"DEAD": 2, "UNREADABLE": 1}
    assert "row 'bad'" in summary["faults"][0]["why"]


def test_the_row_that_says_who_reports_is_taken_for_no_job(three: Cloud) -> None:
    three.ports.store.write(Reporter().taken("one", START).at("b").failed("b", "no", START))
    assert sorted(each.job_id for each in three.ports.store.every_job()) == ["a", "bad", "c"]
    assert three.ports.store.job("REPORTER") is None
    assert three.ports.store.reporter().tries("b") == 1

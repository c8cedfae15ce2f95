"""DynamoDB's throttles, refusals and lost conditions are three things, not one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.stub import ANY, Stubber

from arcspot.aws.dynamo import DynamoStore
from arcspot.aws.rows import item_of
from arcspot.domain.budget import Fleet, Ledger
from arcspot.domain.jobs import JobState
from arcspot.domain.pausing import TRIES
from arcspot.errors import ArcspotError, Conflict, Overlapped, RowRefused, StoreBusy, StoreRefused
from arcspot.ports import Event
from tests.fakes.memory import START, FakePause, settings

from .test_batch_index import job

LOST, HELD, BUSY, NEVER, ROW = Conflict, Overlapped, StoreBusy, StoreRefused, RowRefused
CODES: list[tuple[str, int, type[ArcspotError]]] = [
    ("ConditionalCheckFailedException", 400, LOST),
    ("TransactionConflictException", 400, HELD),
    ("TransactionInProgressException", 400, HELD),
    ("ThrottlingException", 400, BUSY),
    ("ProvisionedThroughputExceededException", 400, BUSY),
    ("RequestLimitExceeded", 400, BUSY),
    ("InternalServerError", 500, BUSY),
    ("ServiceUnavailable", 503, BUSY),
    ("A code nobody knows", 502, BUSY),
    ("ValidationException", 400, ROW),
    ("ItemCollectionSizeLimitExceededException", 400, NEVER),
    ("AccessDeniedException", 400, NEVER),
    ("ResourceNotFoundException", 400, NEVER),
    ("A code nobody knows", 400, NEVER),
]
REASONS: list[tuple[tuple[str, ...], type[ArcspotError], str]] = [
    (("None", "ConditionalCheckFailed"), LOST, "FLEET: changed"),
    (("ConditionalCheckFailed", "None"), LOST, "PERIOD#2026-11: changed"),
    (("TransactionConflict", "None"), HELD, "PERIOD#2026-11: held"),
    (("None", "ThrottlingError"), BUSY, "FLEET: DynamoDB is busy"),
    (("ProvisionedThroughputExceeded", "None"), BUSY, "PERIOD#2026-11: DynamoDB is busy"),
    (("None", "ValidationError"), ROW, "FLEET: DynamoDB refuses"),
    (("ItemCollectionSizeLimitExceeded", "None"), NEVER, "PERIOD#2026-11: DynamoDB refuses"),
    (("None", "AccessDenied"), NEVER, "FLEET: DynamoDB refuses"),
    (("None", "Something new"), NEVER, "FLEET: DynamoDB refuses"),
    # What was decided on is no longer true, however busy the other row is; what is never taken helps nobody.
    (("ThrottlingError", "ConditionalCheckFailed"), LOST, "FLEET"),
    (("TransactionConflict", "ConditionalCheckFailed"), LOST, "FLEET"),
    (("ThrottlingError", "TransactionConflict"), HELD, "FLEET"),
    (("ValidationError", "ConditionalCheckFailed"), ROW, "PERIOD#2026-11"),
    (("None", "None"), BUSY, "nobody says why"),
]


@pytest.fixture
def stub() -> Any:
    client = boto3.client(
        "dynamodb", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    with Stubber(client) as stubber:
        yield stubber


@pytest.fixture
def pause() -> FakePause:
    return FakePause()


@pytest.fixture
def store(stub: Any, pause: FakePause) -> DynamoStore:
    return DynamoStore(stub.client, settings(), pause)


@pytest.mark.parametrize(("code", "status", "kind"), CODES)
def test_a_put_that_fails_says_which_of_the_things_it_is(
    store: DynamoStore, stub: Any, code: str, status: int, kind: type[ArcspotError]
) -> None:
    stub.add_client_error("put_item", code, "words", http_status_code=status)
    with pytest.raises(kind, match=r"FLEET: .*words") as raised:
        store.write(Fleet.opened(2))
    assert type(raised.value) is kind


@pytest.mark.parametrize(("codes", "kind", "words"), REASONS)
@pytest.mark.parametrize("in_the_message_alone", [False, True])
def test_a_cancelled_transaction_is_what_its_reasons_say(
    store: DynamoStore,
    stub: Any,
    codes: tuple[str, ...],
    kind: type[ArcspotError],
    words: str,
    in_the_message_alone: bool,
) -> None:
    listed = {"CancellationReasons": [{"Code": code} for code in codes]}
    stub.add_client_error(
        "transact_write_items",
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{', '.join(codes)}]",
        modeled_fields=None if in_the_message_alone else listed,
    )
    with pytest.raises(kind, match=words) as raised:
        store.write(Ledger.opened("2026-11", 10**6), Fleet.opened(2))
    assert type(raised.value) is kind


def test_a_write_without_an_answer_is_no_conflict(store: DynamoStore, stub: Any) -> None:
    def silent(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="x")

    stub.deactivate()
    stub.client.meta.events.register("before-call", silent)
    with pytest.raises(StoreBusy, match="no answer"):
        store.write(Fleet.opened(2))


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("get_item", lambda store: store.job("x")),
        ("batch_get_item", lambda store: store.jobs(["x"])),
        ("query", lambda store: store.batch_count("b", JobState.READY, 5)),
        ("query", lambda store: list(store.jobs_of_batch("b"))),
        ("query", lambda store: store.open_launches()),
        ("scan", lambda store: list(store.every_job())),
        ("scan", lambda store: list(store.every_launch())),
    ],
)
def test_a_busy_read_is_told_as_such_and_any_other_error_stays_what_it_is(
    store: DynamoStore, stub: Any, operation: str, act: Callable[[DynamoStore], object]
) -> None:
    stub.add_client_error(operation, "ProvisionedThroughputExceededException", "slowly")
    with pytest.raises(StoreBusy, match="slowly"):
        act(store)
    stub.add_client_error(operation, "ResourceNotFoundException", "gone")
    with pytest.raises(ClientError, match="gone"):
        act(store)


# Jobs that are added -------------------------------------------------------------------------------------


def test_a_job_that_was_held_or_throttled_is_put_again_and_counts_as_new(
    store: DynamoStore, stub: Any, pause: FakePause
) -> None:
    stub.add_response("batch_get_item", {"Responses": {}})
    stub.add_client_error("put_item", "TransactionConflictException")
    stub.add_client_error("put_item", "ThrottlingException")
    stub.add_response("put_item", {})
    assert store.add([job("a")]) == {"a": replace(job("a"), version=1)}
    assert pause.tries == [1, 2]


def test_a_job_that_cannot_be_put_is_never_taken_for_one_that_is_there(
    store: DynamoStore, stub: Any, pause: FakePause
) -> None:
    stub.add_response("batch_get_item", {"Responses": {}})
    for _ in range(TRIES):
        stub.add_client_error("put_item", "ThrottlingException")
    with pytest.raises(StoreBusy):
        store.add([job("a")])
    assert len(pause.tries) == TRIES - 1
    stub.add_response("batch_get_item", {"Responses": {}})
    stub.add_client_error("put_item", "ValidationException", "too large")
    with pytest.raises(StoreRefused, match=r"a: .*too large"):
        store.add([job("a")])
    stub.add_response("batch_get_item", {"Responses": {}})
    stub.add_client_error("put_item", "ConditionalCheckFailedException")
    there = replace(job("a"), lane=2)
    stub.add_response("batch_get_item", {"Responses": {"jobs": [item_of(there)]}})
    assert store.add([job("a")]) == {"a": replace(there, version=1)}


def test_of_many_writes_the_lost_ones_are_told_and_a_held_one_is_tried_again(
    store: DynamoStore, stub: Any, pause: FakePause
) -> None:
    stub.add_client_error("put_item", "TransactionConflictException")
    stub.add_response("put_item", {})
    assert store.write_each([job("a")]) == []
    stub.add_client_error("put_item", "ConditionalCheckFailedException")
    assert store.write_each([job("b")]) == [job("b")]
    for _ in range(TRIES):
        stub.add_client_error("put_item", "TransactionConflictException")
    with pytest.raises(StoreBusy, match="c: held"):
        store.write_each([job("c")])
    assert pause.tries == [1, *range(1, TRIES)]


# What a batch leaves undone ------------------------------------------------------------------------------


def test_keys_are_asked_for_once_and_impossible_ones_never(store: DynamoStore, stub: Any) -> None:
    """`results get` of a batch with ARC-AGI-1's twins, which are one job, died of the first."""
    wanted = {"jobs": {"Keys": [{"pk": {"S": "a"}}, {"pk": {"S": "b"}}], "ConsistentRead": True}}
    stub.add_response(
        "batch_get_item", {"Responses": {"jobs": [item_of(job("a"))]}}, {"RequestItems": wanted}
    )
    assert set(store.jobs(["a", "b", "a", "", "x" * 2049, "\ud800"])) == {"a"}
    assert store.jobs([]) == store.jobs([""]) == {}
    assert store.job("") is store.job("ü" * 1025) is store.batch("x" * 2045) is None
    stub.assert_no_pending_responses()


def test_unread_keys_are_asked_for_again_after_a_pause(
    store: DynamoStore, stub: Any, pause: FakePause
) -> None:
    def left(*names: str) -> Any:
        return {"jobs": {"Keys": [{"pk": {"S": name}} for name in names], "ConsistentRead": True}}

    stub.add_response(
        "batch_get_item",
        {"Responses": {"jobs": [item_of(job("a"))]}, "UnprocessedKeys": left("b", "c")},
        {"RequestItems": left("a", "b", "c")},
    )
    stub.add_response(
        "batch_get_item",
        {"Responses": {}, "UnprocessedKeys": left("b", "c")},
        {"RequestItems": left("b", "c")},
    )
    stub.add_response(
        "batch_get_item",
        {"Responses": {"jobs": [item_of(job("b")), item_of(job("c"))]}},
        {"RequestItems": left("b", "c")},
    )
    assert set(store.jobs(["a", "b", "c"])) == {"a", "b", "c"}
    assert pause.tries == [1, 2]  # less is left than before: begun anew; as much as before: longer


def test_keys_that_nobody_reads_end_as_a_busy_store(store: DynamoStore, stub: Any, pause: FakePause) -> None:
    unread = {"jobs": {"Keys": [{"pk": {"S": "a"}}]}}
    for _ in range(TRIES):
        stub.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": unread})
    with pytest.raises(StoreBusy, match=r"1 row\(s\)"):
        store.jobs(["a"])
    assert pause.tries == list(range(1, TRIES))


def test_unwritten_events_are_sent_again_and_not_for_ever(
    store: DynamoStore, stub: Any, pause: FakePause
) -> None:
    events = [Event(f"job#{n}", START, "accepted") for n in range(30)]
    unsent = {"events": [{"PutRequest": {"Item": {"pk": {"S": "job#1"}}}}]}
    stub.add_response("batch_write_item", {"UnprocessedItems": unsent})
    stub.add_response("batch_write_item", {"UnprocessedItems": {}}, {"RequestItems": unsent})
    stub.add_response("batch_write_item", {}, {"RequestItems": {"events": [ANY] * 5}})
    store.record(*events)
    assert pause.tries == [1]
    for _ in range(TRIES):
        stub.add_response("batch_write_item", {"UnprocessedItems": unsent})
    with pytest.raises(StoreBusy):
        store.record(events[0])


def test_an_event_that_is_busy_or_refused_is_told_by_its_subject(store: DynamoStore, stub: Any) -> None:
    stub.add_client_error("batch_write_item", "ThrottlingException", "slowly")
    with pytest.raises(StoreBusy, match=r"job#1: .*slowly"):
        store.record(Event("job#1", START, "k"))
    stub.add_client_error("batch_write_item", "ValidationException", "too large")
    with pytest.raises(StoreRefused, match=r"job#1: .*too large"):
        store.record(Event("job#1", START, "k"))


def test_a_write_that_lost_names_the_rows_that_changed_alone(store: DynamoStore, stub: Any) -> None:
    stub.add_client_error(
        "transact_write_items",
        "TransactionCanceledException",
        modeled_fields={"CancellationReasons": [{"Code": "None"}, {"Code": "ConditionalCheckFailed"}]},
    )
    with pytest.raises(Conflict) as raised:
        store.write(replace(Ledger.opened("2026-11", 5), version=3), Fleet.opened(2))
    assert str(raised.value) == "FLEET: changed since it was read (ConditionalCheckFailed)"

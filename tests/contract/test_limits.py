"""Each limit that the fakes know: what is just inside is taken, what is just outside is not, by all alike.

`tests/fakes/limits.py` looks at every request that any test builds. The store and the bucket in memory, on
which unit tests and simulator run, refuse the same; so a product that works on them is not refused by AWS.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.aws.bucket import Bucket
from arcspot.aws.dynamo import DynamoStore
from arcspot.aws.rows import item_of
from arcspot.domain.batches import Batch
from arcspot.domain.budget import Fleet, Ledger
from arcspot.domain.jobs import Job, TaskInput
from arcspot.errors import KeyRefused, StoreBusy, StoreRefused
from arcspot.ports import Event, Record
from arcspot_simulator import limits as facts
from arcspot_simulator.bucket import MemoryObjects
from arcspot_simulator.tables import MemoryStore
from tests.fakes import house
from tests.fakes.limits import LIMITS, Call, documented, watching
from tests.fakes.memory import START, FakeKick, FakePause, FakeTimers, FakeWorkflow, settings

Params = dict[str, Any]
S: Callable[[str], Params] = lambda text: {"S": text}  # noqa: E731
N: Callable[[str], Params] = lambda text: {"N": text}  # noqa: E731


def put(**item: Params) -> Params:
    return {"TableName": "t", "Item": {"pk": S("x"), **item}}


def puts(count: int, text: str = "") -> Params:
    return {"TransactItems": [{"Put": put(pk=S(str(n)), b=S(text))} for n in range(count)]}


def read(*names: str) -> Params:
    return {"RequestItems": {"t": {"Keys": [{"pk": S(name)} for name in names]}}}


def written(*names: str, text: str = "") -> Params:
    return {
        "RequestItems": {
            "t": [{"PutRequest": {"Item": {"pk": S(n), "sk": S("1"), "b": S(text)}}} for n in names]
        }
    }


def query(condition: str, *, values: Params | None = None, **more: Any) -> Params:
    given = {":v": S("v")} if values is None else values
    return {"TableName": "t", "KeyConditionExpression": condition, "ExpressionAttributeValues": given, **more}


def nested(levels: int) -> Params:
    value: Params = S("x")
    for _ in range(levels):
        value = {"L": [value]}
    return value


def named(*numbers: int) -> list[str]:
    return [str(n) for n in range(*numbers)]


AT_MOST = 409_600 - len("pk" + "x" + "b")
FOUR_MB = 4 * 1024 * 1024 // 16 - len("pk" + "00" + "b")
MEGA = 1024 * 1024
ENTRY = {"Source": "s", "DetailType": "d", "Detail": "{}"}
# (service, operation, just inside, just outside, words of the limit)
EDGES: list[tuple[str, str, Params, Params, str]] = [
    ("dynamodb", "PutItem", put(b=S("x" * AT_MOST)), put(b=S("x" * (AT_MOST + 1))), "400 KB"),
    ("dynamodb", "PutItem", put(b=S("ü" * (AT_MOST // 2))), put(b=S("ü" * (AT_MOST // 2 + 1))), "400 KB"),
    ("dynamodb", "BatchWriteItem", written("a", text="x" * 409_000), written("a", text="x" * 409_600),
     "400 KB"),
    ("dynamodb", "PutItem", put(pk=S("p" * 2048)), put(pk=S("p" * 2049)), "2,048"),
    ("dynamodb", "PutItem", put(pk=S("p")), put(pk=S("")), "not empty"),
    ("dynamodb", "PutItem", put(in_batch=S("ü" * 1024)), put(in_batch=S("ü" * 1025)), "2,048"),
    ("dynamodb", "PutItem", put(sk=S("s" * 1024)), put(sk=S("s" * 1025)), "1,024"),
    ("dynamodb", "PutItem", put(due_at=S("s")), put(due_at=S("")), "not empty"),
    ("dynamodb", "PutItem", put(due=S("1")), put(due=N("1")), "texts"),
    ("dynamodb", "PutItem", put(due=S("1")), put(due={"NULL": True}), "texts"),
    ("dynamodb", "GetItem", {"TableName": "t", "Key": {"pk": S("p" * 2048)}}, {"TableName": "t",
     "Key": {"pk": S("")}}, "not empty"),
    ("dynamodb", "BatchGetItem", read("p" * 2048), read("p" * 2049), "2,048"),
    ("dynamodb", "Query", query("in_batch = :v"), query("in_batch = :v", values={":v": S("")}), "not empty"),
    ("dynamodb", "Query", query("#b = :v", ExpressionAttributeNames={"#b": "in_batch"}),
     query("#b = :v", values={":v": S("b" * 2049)}, ExpressionAttributeNames={"#b": "in_batch"}), "2,048"),
    *(("dynamodb", "PutItem", put(n=N(good)), put(n={"L": [N(bad)]}), "38 digits") for good, bad in (
        ("1" * 38, "1" * 39),
        ("9" * 38 + "0" * 20, "1" + "0" * 38 + "1"), ("-0." + "1" * 38, "0." + "1" * 39),
        ("9.99E+125", "1E+126"), ("1E-130", "9.9E-131"), ("0", "NaN"), ("0.0", "Infinity"), ("1E5", "one"),
    )),
    ("dynamodb", "PutItem", put(n=nested(32)), put(n=nested(33)), "32 levels"),
    ("dynamodb", "PutItem", put(n={"M": {"a": S("")}}), put(n={"M": {"": S("a")}}), "no empty name"),
    ("dynamodb", "PutItem", put(n={"SS": ["a"]}), put(n={"SS": []}), "no empty set"),
    ("dynamodb", "PutItem", put(n={"NS": ["1", "2"]}), put(n={"NS": ["1", "1"]}), "no empty set"),
    ("dynamodb", "PutItem", put(n=S("\U0001f600")), put(n=S("\ud83d")), "valid UTF-8"),
    ("dynamodb", "TransactWriteItems", puts(2), {"TransactItems": puts(1)["TransactItems"] * 2}, "no two"),
    ("dynamodb", "TransactWriteItems", puts(1),
     {"TransactItems": [*puts(1)["TransactItems"], {"ConditionCheck": {
         "TableName": "t", "Key": {"pk": S("0")}, "ConditionExpression": "attribute_exists(pk)"}}]},
         "no two"),
    ("dynamodb", "TransactWriteItems", puts(16, "x" * (FOUR_MB - 1)), puts(16, "x" * (FOUR_MB + 1)), "4 MB"),
    ("dynamodb", "BatchGetItem", read(*named(100)), read(*named(101)), "100 keys"),
    ("dynamodb", "BatchGetItem", read("a"), read(), "100 keys"),
    ("dynamodb", "BatchGetItem", read("a", "b"), read("a", "b", "a"), "asked for twice"),
    ("dynamodb", "BatchWriteItem", written(*named(25)), written(*named(26)), "25 writes"),
    ("dynamodb", "BatchWriteItem", written("a", "b"), written("a", "b", "a"), "written twice"),
    ("dynamodb", "BatchWriteItem", written(*named(25), text="x" * 600_000), written(*named(25),
     text="x" * 700_000), "16 MB"),
    ("dynamodb", "Query", query("pk = :v" + " " * 4089), query("pk = :v" + " " * 4090), "4 KB"),
    ("dynamodb", "Query", query("pk = :v"), query(""), "4 KB"),
    ("dynamodb", "Query", query("#s = :v", ExpressionAttributeNames={"#s": "state"}),
     query("state = :v"), "reserved"),
    ("dynamodb", "Query", query("due = :v"), query("Open = :v"), "reserved"),
    ("dynamodb", "PutItem", {**put(), "ConditionExpression": "attribute_not_exists(pk) OR size(pk) < pk"},
     {**put(), "ConditionExpression": "attribute_not_exists(size)"}, "reserved"),
    ("dynamodb", "PutItem", {**put(), "ConditionExpression": "attribute_not_exists(pk)"},
     {**put(), "ConditionExpression": "version = :read"}, "placeholder"),
    ("dynamodb", "Query", query("pk = :v"), query("pk = :v", values={":v": S("v"), ":w": S("w")}),
     "placeholder"),
    ("dynamodb", "Query", query("pk = :v"), query("pk = :v", ExpressionAttributeNames={"#s": "state"}),
     "placeholder"),
    ("dynamodb", "Query", query("pk = :v"), query("#s = :v"), "placeholder"),
    ("dynamodb", "Query", query("pk = :v"), query("pk = :v", ExpressionAttributeNames={}), "placeholder"),
    ("dynamodb", "PutItem", {**put(), "ExpressionAttributeValues": {":a": S("a")},
     "ConditionExpression": "pk = :a"},
     {**put(), "ExpressionAttributeValues": {":a": S("a" * (2 * MEGA + 1))},
     "ConditionExpression": "pk = :a"}, "2 MB"),
    ("dynamodb", "Query", query("due = :v", IndexName="due"),
     query("due = :v", IndexName="due", ConsistentRead=True), "consistent"),
    ("s3", "PutObject", {"Key": "k" * 1024}, {"Key": "k" * 1025}, "1,024 bytes"),
    ("s3", "GetObject", {"Key": "ü" * 512}, {"Key": "ü" * 513}, "1,024 bytes"),
    ("s3", "HeadObject", {"Key": "k"}, {"Key": ""}, "1,024 bytes"),
    ("s3", "PutObject", {"Key": "a/..b/.c/d."}, {"Key": "a/../b"}, "`..`"),
    ("s3", "PutObject", {"Key": "a.b"}, {"Key": "./a"}, "`..`"),
    ("s3", "DeleteObject", {"Key": "a/..."}, {"Key": "a/.."}, "`..`"),
    ("s3", "DeleteObjects", {"Delete": {"Objects": [{"Key": "a"}]}},
     {"Delete": {"Objects": [{"Key": "."}]}}, "`..`"),
    ("s3", "DeleteObjects", {"Delete": {"Objects": [{"Key": "k"}] * 1000}},
     {"Delete": {"Objects": [{"Key": "k"}] * 1001}}, "1,000"),
    ("s3", "PutObject", {"Metadata": {"n": "v" * 2047}}, {"Metadata": {"n": "v" * 2048}}, "metadata"),
    ("s3", "PutObject", {"Metadata": {"n": "v"}}, {"Metadata": {"n": "ü"}}, "metadata"),
    ("s3", "PutObject", {"Key": "\U0001f600"}, {"Key": "\ud83d"}, "surrogate"),
    ("s3", "presigned URL", {"ExpiresIn": 604_800}, {"ExpiresIn": 604_801}, "7 days"),
    ("s3", "presigned URL", {"ExpiresIn": 1}, {"ExpiresIn": 0}, "7 days"),
    ("sns", "Publish", {"Subject": "s" * 100}, {"Subject": "s" * 101}, "subject"),
    ("sns", "Publish", {"Subject": "a b"}, {"Subject": " a"}, "subject"),
    ("sns", "Publish", {"Message": "m" * 262_144}, {"Message": "m" * 262_145}, "256 KiB"),
    ("sqs", "SendMessage", {"MessageBody": "m" * MEGA}, {"MessageBody": "m" * (MEGA + 1)}, "1 MiB"),
    ("sqs", "SendMessage", {"MessageBody": "\t\n\U0001f600"}, {"MessageBody": "\x00"}, "XML"),
    ("sqs", "SendMessageBatch", {"Entries": [{"MessageBody": "m" * (MEGA // 2)}] * 2},
     {"Entries": [{"MessageBody": "m" * (MEGA // 2 + 1)}] * 2}, "1 MiB"),
    ("eventbridge", "PutEvents", {"Entries": [{**ENTRY, "Detail": "x" * (MEGA - 2)}]},
     {"Entries": [{**ENTRY, "Detail": "x" * (MEGA - 1)}]}, "events of at most"),
    ("sfn", "StartExecution", {"name": "a-1_.b"}, {"name": "a b"}, "a name without"),
    ("sfn", "StartExecution", {"name": "a" * 80}, {"name": "a" * 81}, "a name without"),
    ("sfn", "StartExecution", {"input": '"' + "x" * 262_142 + '"'}, {"input": '"' + "x" * 262_143 + '"'},
     "an input"),
    ("sfn", "SendTaskSuccess", {"output": '"' + "x" * 262_142 + '"'},
     {"output": '"' + "x" * 262_143 + '"'}, "an output"),
    ("lambda", "Invoke", {"InvocationType": "Event", "Payload": b"x" * MEGA},
     {"InvocationType": "Event", "Payload": b"x" * (MEGA + 1)}, "asynchronous"),
    ("lambda", "Invoke", {"Payload": b"x" * 6 * MEGA}, {"Payload": b"x" * (6 * MEGA + 1)}, "6 MB"),
    ("lambda", "Invoke", {"FunctionName": "f" * 64}, {"FunctionName": "f" * 65}, "64 characters"),
    ("ec2", "CreateFleet", {"ClientToken": "c" * 64}, {"ClientToken": "c" * 65}, "64 ASCII"),
    ("ec2", "CreateFleet", {"LaunchTemplateConfigs": [{"Overrides": [{}] * 300}]},
     {"LaunchTemplateConfigs": [{"Overrides": [{}] * 301}]}, "300"),
    ("ec2", "CreateTags", {"Tags": [{"Key": "k" * 128, "Value": "v" * 256}]},
     {"Tags": [{"Key": "k", "Value": "v" * 257}]}, "50 tags"),
    ("ec2", "TerminateInstances", {"InstanceIds": ["i-1"]}, {"InstanceIds": ["i-1", "i-2"]}, "one id"),
    ("scheduler", "CreateSchedule", {"ScheduleExpression": "at(2026-11-27T10:00:00)",
     "Target": {"Input": "{}"}},
     {"ScheduleExpression": "at(2026-11-27T10:00:00Z)", "Target": {"Input": "{}"}}, "a moment"),
    ("scheduler", "CreateSchedule", {"Target": {"Input": "x" * 262_144}},
     {"Target": {"Input": "x" * 262_145}}, "a target's"),
]  # fmt: skip


def judged(service: str, operation: str, params: Params) -> list[str]:
    """What the documentation alone has against a request, which here may lack what its model requires."""
    whole = {"LaunchTemplateConfigs": [], **params} if operation == "CreateFleet" else params
    return list(documented(Call(service, operation, whole)))


@pytest.mark.parametrize(("service", "operation", "inside", "outside", "words"), EDGES)
def test_what_is_just_inside_is_taken_and_what_is_just_outside_is_not(
    service: str, operation: str, inside: Params, outside: Params, words: str
) -> None:
    if words == "16 MB":  # 25 items of 400 KB are less: no batch comes near it
        inside = written(*named(25), text="x" * 409_000)
    assert judged(service, operation, inside) == []
    assert any(words in fault for fault in judged(service, operation, outside))


def test_every_limit_has_its_page_and_a_request_that_breaks_it() -> None:
    assert all(limit.source.startswith("https://docs.aws.amazon.com/") for limit in LIMITS)
    told = " ".join(
        fault for service, operation, _, outside, _ in EDGES for fault in judged(service, operation, outside)
    )
    assert [limit.what for limit in LIMITS if limit.what not in told] == []


def test_the_fakes_know_every_key_of_the_templates_tables() -> None:
    partition, sort = set(), set()
    for table in house.resources("AWS::DynamoDB::Table").values():
        for schema in (
            table["KeySchema"],
            *(i["KeySchema"] for i in table.get("GlobalSecondaryIndexes", ())),
        ):
            for key in schema:
                (partition if key["KeyType"] == "HASH" else sort).add(key["AttributeName"])
        assert {each["AttributeType"] for each in table["AttributeDefinitions"]} == {"S"}
    assert partition | sort == set(facts.KEYS)
    assert {facts.KEYS[name] for name in partition} == {2048}
    assert {facts.KEYS[name] for name in sort} == {1024}


# Rows: what the adapter would send, and what the store in memory takes ------------------------------------


def job(**changes: Any) -> Job:
    return replace(
        Job(
            job_id="j", batch_id="b", input=TaskInput(bucket="", key="tasks/x.json", object_version="",
            task_id="x"),
            config={}, solver_version="1", created_at=START, updated_at=START, ready_at=START, estimate_s=1.0,
        ),
        **changes,
    )  # fmt: skip


def filled(extra: int = 0) -> Job:
    """A row of exactly 400 KB, and so many bytes more."""
    return job(reason="x" * (facts.ITEM_BYTES - facts.item_weight(item_of(job())) + extra))


def deep(levels: int) -> dict[str, Any]:
    return {"a": deep(levels - 1)} if levels else {}


def many(count: int, text: str = "") -> list[Record]:
    return [job(job_id=f"{n:03d}", reason=text) for n in range(count)]


FIFTEENTH = facts.TRANSACTION_BYTES // 16 - facts.item_weight(item_of(job(job_id="000")))
ROWS: list[tuple[list[Record], list[Record]]] = [
    ([job(job_id="j" * 2048)], [job(job_id="j" * 2049)]),
    ([job(job_id="ü" * 1024)], [job(job_id="ü" * 1025)]),
    ([job()], [job(job_id="")]),
    ([job(batch_id="b" * 2048)], [job(batch_id="b" * 2049)]),
    ([job()], [job(batch_id="")]),
    ([Batch("b" * 2042, START, None)], [Batch("b" * 2043, START, None)]),
    ([filled()], [filled(1)]),
    ([job(reason="\U0001f600")], [job(reason="\ud83d")]),
    ([job(job_id="\U0001f600")], [job(job_id="\ude00")]),
    ([job(summary={"n": 10**38 - 1})], [job(summary={"n": 10**38 + 1})]),
    ([job(summary={"n": -(10**37)})], [job(summary={"n": 10**126})]),
    ([job(summary={"n": 1e125})], [job(summary={"n": 1e126})]),
    ([job(summary={"n": 1e-130})], [job(summary={"n": 1e-131})]),
    ([job(summary={"n": 0.0})], [job(summary={"n": float("nan")})]),
    ([job(estimate_s=1e300 / 1e200)], [job(estimate_s=float("inf"))]),
    ([job(summary=deep(31))], [job(summary=deep(33))]),
    ([job(summary={"x": ""})], [job(summary={"": "x"})]),
    ([job(summary={"x": "ü"})], [job(summary={"\ud83d": "x"})]),
    (many(100), many(101)),
    (many(16, "x" * FIFTEENTH), many(16, "x" * (FIFTEENTH + 1))),
    ([job(), Fleet.opened(1)], [job(), job()]),
]


def memory_takes(*records: Record) -> bool:
    try:
        MemoryStore().write(*records)
    except StoreRefused:
        return False
    return True


def adapter_takes(*records: Record) -> bool:
    """Whether AWS would take what the adapter sends; it is answered by an error, so nothing leaves."""
    with watching(refusing="InternalServerError") as watch:
        try:
            dead_store().write(*records)
        except StoreRefused:
            return False
        except StoreBusy:
            return watch.faults == []
    raise AssertionError("the dead store answered")


def client(service: str) -> Any:
    return boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # type: ignore[call-overload]


def dead_store() -> DynamoStore:
    return DynamoStore(client("dynamodb"), settings(), FakePause())


@pytest.mark.parametrize(("inside", "outside"), ROWS)
def test_the_store_in_memory_takes_what_dynamodb_takes(inside: list[Record], outside: list[Record]) -> None:
    assert (memory_takes(*inside), adapter_takes(*inside)) == (True, True)
    assert (memory_takes(*outside), adapter_takes(*outside)) == (False, False)


def test_what_is_refused_changes_nothing_and_names_its_row() -> None:
    store = MemoryStore()
    with pytest.raises(StoreRefused, match=r"j: .*400 KB"):
        store.write(Ledger.opened("2026-11", 1), filled(1))
    assert (store.ledger("2026-11"), store.job("j")) == (None, None)
    with pytest.raises(StoreRefused, match="j: "):
        dead_store().write(job(summary={"n": float("nan")}))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.text(max_size=30), st.integers(), st.integers(-(10**45), 10**45),
    st.floats(), st.text(alphabet=st.characters(categories=["Cs", "Lu", "So"]), max_size=5),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)


@given(
    summary=st.dictionaries(st.text(max_size=3), VALUES, max_size=4),
    name=st.text(max_size=3) | st.integers(2040, 2050).map("n".__mul__),
    batch=st.text(max_size=3) | st.integers(1000, 2050).map("b".__mul__),
    seconds=st.floats(),
)
def test_a_quick_look_lets_nothing_pass_that_an_exact_one_refuses(
    summary: dict[str, Any], name: str, batch: str, seconds: float
) -> None:
    record = job(job_id=name, batch_id=batch, summary=summary, run_s_total=seconds)
    at_most = facts.quickly(record, record.job_id)
    taken = memory_takes(record)
    try:
        item = item_of(record)
    except StoreRefused:
        assert (at_most, taken) == (None, False)
        return
    faults = list(facts.item_faults(item))
    assert taken is (faults == [])
    if at_most is not None:
        assert faults == []
        assert facts.item_weight(item) <= at_most


@given(st.integers(0, 60_000), st.integers(0, 600))
def test_a_quick_look_never_counts_too_little(text: int, rows: int) -> None:
    record = job(reason="x" * text, summary={"list": [{"a": n} for n in range(rows)]})
    at_most = facts.quickly(record, record.job_id)
    assert at_most is None or facts.item_weight(item_of(record)) <= at_most


@pytest.mark.parametrize(
    "event",
    [
        Event("", START, "k"), Event("s" * 2049, START, "k"), Event("s", START, "k", "\ud83d"),
        Event("s", START, "k", "x" * 409_600), Event("\ud83d", START, "k"),
    ],
)  # fmt: skip
def test_the_history_takes_what_dynamodb_takes(event: Event) -> None:
    good = Event("s" * 2048, START, "k", "x" * 4000)
    stores: list[Any] = [MemoryStore(), dead_store()]
    for store in stores:
        with watching(refusing="InternalServerError") as watch:
            with suppress(StoreBusy):
                store.record(good)
            assert watch.faults == []
            refused = False
            try:
                store.record(event)
            except StoreRefused:
                refused = True
            except StoreBusy:
                refused = watch.faults != []
        assert refused


# Objects ---------------------------------------------------------------------------------------------------

KEYS = [
    ("k" * 1024, "k" * 1025), ("ü" * 512, "ü" * 513), ("k", ""), ("a/..b/c.", "a/../c"), ("a/.b", "a/./b"),
    ("..a", ".."), ("a./b", "a/."), ("\U0001f600", "\ud83d"), ("a//b", "./a"),
]  # fmt: skip
SHA = "0" * 64
USES: list[Callable[[Any, str], object]] = [
    lambda objects, key: objects.write(key, b"x", content_type="text/plain"),
    lambda objects, key: objects.delete(key),
    lambda objects, key: objects.presign_put(key, sha256_hex=SHA, size=1, seconds=60),
]


@pytest.mark.parametrize(("inside", "outside"), KEYS)
@pytest.mark.parametrize("use", USES, ids=["write", "delete", "presign_put"])
def test_the_bucket_in_memory_keeps_what_s3_keeps(
    use: Callable[[Any, str], object], inside: str, outside: str
) -> None:
    buckets: list[Any] = [MemoryObjects(), Bucket(client("s3"), "bucket")]
    for objects in buckets:
        with watching(refusing="InternalError") as watch:
            with suppress(Exception):
                use(objects, inside)
            assert watch.faults == []
            with pytest.raises(KeyRefused):
                use(objects, outside)
            assert watch.calls == [] or watch.calls[-1].params["Key"] == inside


@pytest.mark.parametrize(
    ("key", "taken"),
    [("k" * 1024, True), ("a/../b", True), ("k" * 1025, False), ("", False), ("\ud83d", False)],
)
def test_a_person_can_put_there_what_s3_itself_takes(key: str, taken: bool) -> None:
    objects = MemoryObjects()
    if taken:
        objects.dropped(key, b"x")
        assert objects.read(key) == b"x"
    else:
        with pytest.raises(KeyRefused):
            objects.dropped(key, b"x")


@pytest.mark.refused_by_aws
@pytest.mark.parametrize("seconds", [0, 7 * 24 * 3600 + 1])
def test_a_url_lives_for_a_week_at_most(seconds: int) -> None:
    bucket = Bucket(client("s3"), "bucket")
    with watching() as watch:
        bucket.presign_get("k", version=None, seconds=7 * 24 * 3600)
        assert watch.faults == []
        bucket.presign_get("k", version=None, seconds=seconds)
        assert any("7 days" in fault for fault in watch.faults)
    objects = MemoryObjects()
    objects.presign_get("k", version=None, seconds=7 * 24 * 3600)
    with pytest.raises(ValueError, match="7 days"):
        objects.presign_get("k", version=None, seconds=seconds)


# Messages --------------------------------------------------------------------------------------------------


def test_the_fakes_of_messages_refuse_what_their_services_refuse() -> None:
    taken: list[Callable[[], object]] = [
        lambda: FakeWorkflow().start("a" * 80, {"x": "y"}),
        lambda: FakeWorkflow().succeed("t", {"x": "y" * 262_000}),
        lambda: FakeWorkflow().fail("t", "e" * 256, "c"),
        lambda: FakeKick()("scale", {"x": "y" * 1_048_000}),
        lambda: FakeTimers().arm("a" * 64, "i-1", START + timedelta(hours=1)),
    ]
    refused: list[Callable[[], object]] = [
        lambda: FakeWorkflow().start("a" * 81, {}),
        lambda: FakeWorkflow().start("a b", {}),
        lambda: FakeWorkflow().start("a", {"x": "y" * 262_144}),
        lambda: FakeWorkflow().succeed("t", {"x": "y" * 262_144}),
        lambda: FakeWorkflow().fail("t", "e" * 257, "c"),
        lambda: FakeKick()("scale", {"x": "y" * 1_048_576}),
        lambda: FakeTimers().arm("a" * 65, "i-1", START),
        lambda: FakeTimers().arm("a/b", "i-1", START),
    ]
    for act in taken:
        act()
    for act in refused:
        with pytest.raises(ValueError, match=r"expected|characters|name"):
            act()

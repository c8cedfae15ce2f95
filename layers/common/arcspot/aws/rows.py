"""What a record's row is called, and the attributes that put it into indexes or let it expire."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from zlib import crc32

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from arcspot.aws.codec import decode, encode
from arcspot.domain.batches import Batch, Receipt, Sweep
from arcspot.domain.budget import Fleet, Hold, Leak, Ledger, Prices
from arcspot.domain.jobs import LANES, Estimate, Job, JobState
from arcspot.domain.launching import Breaker, Launch, Token
from arcspot.domain.reaping import Suspects
from arcspot.domain.reporters import Reporter
from arcspot.errors import RowRefused, RowUnreadable
from arcspot.ports import Event, Record

T = TypeVar("T")
KEEP_FINISHED = timedelta(days=90)
KEEP_TOKENS = timedelta(days=7)
KEEP_EVENTS = timedelta(days=30)
# A partition of an index takes 1,000 writes a second: jobs come in by hundreds a second at most, nearly all
# in the middle lane. Each partition more is half a read unit more for whoever finds that nothing waits.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
SHARDS = {0: 1, 1: 4, 2: 1}
REPORT_DUE = "REPORT"
IN_FILES = "FILE"
"""What the index `by_batch` has in the place of a job's state for a receipt."""
_IS_NEW = "attribute_not_exists(pk)"
_IS_UNCHANGED = "version = :read"
_serialize, _deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize


class TableNames(Protocol):
    """Where the tables are: a function's Settings, or what the command line reads from the stack."""

    @property
    def jobs_table(self) -> str: ...
    @property
    def launches_table(self) -> str: ...
    @property
    def ledger_table(self) -> str: ...
    @property
    def events_table(self) -> str: ...


def item_of(record: Record) -> dict[str, Any]:
    """The row a record is stored as. Raises RowRefused for a number that no row can hold."""
    # A number grows by one with every write, so "unchanged since read" is one comparison.
    data = {**encode(record), "version": record.version + 1, "pk": key_of(record), **index_of(record)}
    try:
        return {name: _serialize(value) for name, value in data.items()}
    except (ArithmeticError, TypeError) as error:  # more than 38 digits, NaN, infinity
        raise RowRefused(f"{key_of(record)}: {type(error).__name__}: {error}") from error


def table_of(record: Record, tables: TableNames) -> str:
    """The table that a record's row is in."""
    if isinstance(record, Job | Batch | Receipt | Sweep | Reporter):
        return tables.jobs_table
    return tables.launches_table if isinstance(record, Launch) else tables.ledger_table


def put_of(record: Record, table: str) -> dict[str, Any]:
    """The request that writes a record, if its row is still as it was read, or absent if it is new."""
    put = {"TableName": table, "Item": item_of(record), "ConditionExpression": _IS_NEW}
    if not record.version:
        return put
    read = {":read": {"N": str(record.version)}}
    return put | {"ConditionExpression": _IS_UNCHANGED, "ExpressionAttributeValues": read}


def row_of(item: Mapping[str, Any], kind: type[T], table: str) -> T:
    """The record that a row holds. Raises RowUnreadable."""
    try:
        return decode(kind, {name: _deserialize(value) for name, value in item.items()})
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        key = str(next(iter(item.get("pk", {}).values()), "?"))
        raise RowUnreadable(table, key, f"{type(error).__name__}: {str(error)[:200]}") from error


def event_row(event: Event) -> dict[str, Any]:
    """The row an event is stored as: no two have one key."""
    return {
        "pk": {"S": event.subject},
        "sk": {"S": f"{event.at.isoformat()}#{uuid.uuid4().hex[:8]}"},
        "kind": {"S": event.kind},
        "detail": {"S": event.detail},
        "ttl": {"N": str(int((event.at + KEEP_EVENTS).timestamp()))},
    }


def in_index(
    table: str, index: str, condition: str, values: Mapping[str, str], names: Mapping[str, str] | None
) -> dict[str, Any]:
    """What a query of an index asks. A placeholder that is given must be used, so no empty `names`."""
    asked = {
        "TableName": table,
        "IndexName": index,
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": {name: {"S": value} for name, value in values.items()},
    }
    return asked | ({"ExpressionAttributeNames": dict(names)} if names else {})


def key_of(record: Record) -> str:
    """The partition key of a record's row; its table follows from its type."""
    match record:
        case Job():
            return record.job_id
        case Batch():
            return f"BATCH#{record.batch_id}"
        case Receipt():
            return receipt_key(record.key) if record.part == 0 else _part_key(record)
        case Sweep():
            return "SWEEP"
        case Reporter():
            return "REPORTER"
        case Launch():
            return record.launch_id
        case Token():
            return f"TOKEN#{record.launch_id}"
        case Ledger():
            return f"PERIOD#{record.period}"
        case Hold():
            return f"HOLD#{record.launch_id}"
        case Fleet():
            return "FLEET"
        case Breaker():
            return "BREAKER"
        case Suspects():
            return "SUSPECTS"
        case Estimate():
            return f"ESTIMATE#{record.key}"
        case Leak():
            return f"LEAK#{record.instance_id}"
        case Prices():
            return "PRICES"


def kind_of(key: str) -> type[Job | Batch | Receipt | Sweep | Reporter]:
    """Of what a row of the jobs table is one, by its key: a damaged row may lack everything else."""
    if key in ("SWEEP", "REPORTER"):
        return Sweep if key == "SWEEP" else Reporter
    prefix, found, _ = key.partition("#")
    return {"BATCH": Batch, "FILE": Receipt, "PART": Receipt}.get(prefix, Job) if found else Job


def is_job(key: str) -> bool:
    """Whether a row of the jobs table, called so, is a job: whoever asks for one may give any text."""
    return kind_of(key) is Job


def receipt_key(key: str) -> str:
    """The row of a receipt, of its first part if there are several."""
    return f"FILE#{key}"


def _part_key(receipt: Receipt) -> str:
    # Never changed once it is written: another content of the file has parts of its own.
    return f"PART#{receipt.part}#{receipt.content}#{receipt.key}"


def queues(lane: int) -> list[str]:
    """The partitions of the index `queue` that hold the READY jobs of a lane."""
    return [f"READY#{lane}#{shard}" for shard in range(SHARDS[lane])]


def earlier_queues() -> list[str]:
    """The partitions of the index `due`, which an earlier release wrote: urgent lanes first."""
    return [f"READY#{lane}" for lane in LANES]


def index_of(record: Record) -> dict[str, Any]:
    """The attributes only indexes and expiry need; an absent one keeps the row out of a sparse index."""
    extra: dict[str, Any] = {}
    if isinstance(record, Job):
        extra["in_batch"] = record.batch_id
        if record.state is JobState.READY:
            shard = crc32(record.job_id.encode("utf-8", "surrogatepass")) % SHARDS[record.lane]
            extra |= {
                "queue": queues(record.lane)[shard],
                "queued_at": stamp(record.ready_at or record.created_at),
            }
        if record.state.terminal:
            extra["ttl"] = _expires(record.updated_at)
    elif isinstance(record, Batch):
        if record.report_due_at:
            extra |= {"queue": REPORT_DUE, "queued_at": stamp(record.report_due_at)}
    elif isinstance(record, Receipt):
        if record.listed:
            extra |= {"in_batch": record.batch_id, "state": IN_FILES}
        extra["ttl"] = _expires(record.handled_at)
    elif isinstance(record, Launch):
        if record.state.open:
            extra["open"] = "OPEN"
        else:
            extra["ttl"] = _expires(record.gone_at or record.created_at)
    elif isinstance(record, Hold):
        if record.closed:
            extra["ttl"] = _expires(record.until)
    elif isinstance(record, Token):
        extra["ttl"] = int((record.until + KEEP_TOKENS).timestamp())
    return extra


def of_batch(batch_id: str, state: JobState | None) -> tuple[str, dict[str, str]]:
    """Condition and values of a query for a batch's jobs, of one state or of all."""
    if state is None:
        return "in_batch = :v", {":v": batch_id}
    return "in_batch = :v AND #s = :s", {":v": batch_id, ":s": str(state)}


def stamp(moment: datetime) -> str:
    """A time as text that sorts as the times do, whether or not it has microseconds."""
    return moment.isoformat(timespec="microseconds")


def _expires(moment: datetime) -> int:
    return int((moment + KEEP_FINISHED).timestamp())

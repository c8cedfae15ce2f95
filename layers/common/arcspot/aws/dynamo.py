"""The tables in DynamoDB: `Store` with one conditional rule, the record's version.

Every item is the record as plain data plus the few attributes its indexes need:

=========  ===============================  =============================================
table      key                              indexes
=========  ===============================  =============================================
jobs       ``pk``: job id, ``BATCH#id``     ``due`` (due, due_at); ``by_batch`` (in_batch,
                                            state), keys only
launches   ``pk``: launch id                ``open`` (open, created_at), sparse
ledger     ``pk``: ``PERIOD#``, ``FLEET``…  –
events     ``pk``: subject, ``sk``          –
=========  ===============================  =============================================
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from arcspot.aws.codec import decode, encode
from arcspot.domain.budget import Fleet, Leak, Ledger, Prices
from arcspot.domain.jobs import Batch, Estimate, Job, JobState
from arcspot.domain.launching import Breaker, Launch, Token
from arcspot.domain.reaping import Suspects
from arcspot.errors import Conflict
from arcspot.ports import Event, Record

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")
KEEP_FINISHED = timedelta(days=90)
KEEP_EVENTS = timedelta(days=30)
KEEP_TOKENS = timedelta(days=7)
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
BATCH_GET = 100
COUNT_PAGE = 1_000
REPORT_DUE = "REPORT"
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


class DynamoStore:
    """`ports.Store` over four tables."""

    def __init__(self, client: DynamoDBClient, tables: TableNames) -> None:
        self._client = client
        self._tables = tables

    def write(self, *records: Record) -> None:
        puts: list[Any] = [self._put(record) for record in records]
        try:
            if len(puts) == 1:
                self._client.put_item(**puts[0])
            else:
                self._client.transact_write_items(
                    TransactItems=[{"Put": put} for put in puts], ClientRequestToken=str(uuid.uuid4())
                )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in (
                "ConditionalCheckFailedException",
                "TransactionCanceledException",
                "TransactionConflictException",
            ):
                names = ", ".join(_key(record) for record in records)
                raise Conflict(
                    f"{names}: changed since it was read ({error.response['Error'].get('Message', code)})"
                ) from error
            raise

    def add(self, jobs: Sequence[Job]) -> set[str]:
        distinct = {job.job_id: job for job in jobs}
        known = self.jobs(list(distinct))
        fresh = [job for job_id, job in distinct.items() if job_id not in known]

        def put(job: Job) -> str | None:
            try:
                self.write(job)
            except Conflict:
                return None
            return job.job_id

        with ThreadPoolExecutor(max_workers=8) as pool:
            return {job_id for job_id in pool.map(put, fresh) if job_id}

    def job(self, job_id: str) -> Job | None:
        return self._one(self._tables.jobs_table, job_id, Job)

    def jobs(self, job_ids: Sequence[str]) -> dict[str, Job]:
        table, found = self._tables.jobs_table, {}
        for start in range(0, len(job_ids), BATCH_GET):
            keys = [{"pk": {"S": i}} for i in job_ids[start : start + BATCH_GET]]
            wanted: Any = {table: {"Keys": keys, "ConsistentRead": True}}
            while wanted:
                page = self._client.batch_get_item(RequestItems=wanted)
                for item in page["Responses"].get(table, []):
                    job = _load(item, Job)
                    found[job.job_id] = job
                wanted = page.get("UnprocessedKeys")
        return found

    def ready_jobs(self, limit: int) -> list[Job]:
        jobs: list[Job] = []
        for lane in (0, 1, 2):
            if len(jobs) < limit:
                rows = self._query(
                    self._tables.jobs_table,
                    "due",
                    "due = :v",
                    {":v": f"READY#{lane}"},
                    limit=limit - len(jobs),
                )
                jobs += [_load(row, Job) for row in rows]
        return jobs

    def ready_count(self, at_most: int) -> int:
        count = 0
        for lane in (0, 1, 2):
            if count < at_most:
                count += self._count("due", "due = :v", {":v": f"READY#{lane}"}, at_most - count)
        return count

    def jobs_of_batch(self, batch_id: str, state: JobState | None = None) -> Iterator[Job]:
        condition, values = _of_batch(batch_id, state)
        rows = self._query(
            self._tables.jobs_table, "by_batch", condition, values, names={"#s": "state"} if state else None
        )
        ids = (str(_deserialize(row["pk"])) for row in rows)
        while some := list(islice(ids, BATCH_GET)):
            # The index holds keys alone and lags; the table does not.
            for job in self.jobs(some).values():
                if state is None or job.state is state:
                    yield job

    def batch_count(self, batch_id: str, state: JobState, at_most: int) -> int:
        condition, values = _of_batch(batch_id, state)
        return self._count("by_batch", condition, values, at_most, names={"#s": "state"})

    def batch(self, batch_id: str) -> Batch | None:
        return self._one(self._tables.jobs_table, f"BATCH#{batch_id}", Batch)

    def batches_due(self) -> list[Batch]:
        rows = self._query(self._tables.jobs_table, "due", "due = :v", {":v": REPORT_DUE})
        return [_load(row, Batch) for row in rows]

    def launch(self, launch_id: str) -> Launch | None:
        return self._one(self._tables.launches_table, launch_id, Launch)

    def token(self, launch_id: str) -> Token | None:
        return self._one(self._tables.ledger_table, f"TOKEN#{launch_id}", Token)

    def open_launches(self) -> list[Launch]:
        rows = self._query(
            self._tables.launches_table, "open", "#o = :v", {":v": "OPEN"}, names={"#o": "open"}
        )
        fresh = (self.launch(str(_deserialize(row["pk"]))) for row in rows)
        return [launch for launch in fresh if launch and launch.state.open]

    def ledger(self, period: str) -> Ledger | None:
        return self._one(self._tables.ledger_table, f"PERIOD#{period}", Ledger)

    def fleet(self) -> Fleet | None:
        return self._one(self._tables.ledger_table, "FLEET", Fleet)

    def breaker(self) -> Breaker:
        return self._one(self._tables.ledger_table, "BREAKER", Breaker) or Breaker()

    def suspects(self) -> Suspects:
        return self._one(self._tables.ledger_table, "SUSPECTS", Suspects) or Suspects(since={})

    def estimate(self, key: str) -> Estimate | None:
        return self._one(self._tables.ledger_table, f"ESTIMATE#{key}", Estimate)

    def leak(self, instance_id: str) -> Leak | None:
        return self._one(self._tables.ledger_table, f"LEAK#{instance_id}", Leak)

    def prices(self) -> Prices | None:
        return self._one(self._tables.ledger_table, "PRICES", Prices)

    def every_job(self) -> Iterator[Job]:
        """All jobs, by a scan: for people who look, never for a function."""
        for item in self._scan(self._tables.jobs_table):
            if "job_id" in item:
                yield _load(item, Job)

    def every_launch(self) -> Iterator[Launch]:
        """All launches, by a scan."""
        return (_load(item, Launch) for item in self._scan(self._tables.launches_table))

    def record(self, *events: Event) -> None:
        rows = [
            {
                "pk": {"S": event.subject},
                "sk": {"S": f"{event.at.isoformat()}#{uuid.uuid4().hex[:8]}"},
                "kind": {"S": event.kind},
                "detail": {"S": event.detail},
                "ttl": {"N": str(int((event.at + KEEP_EVENTS).timestamp()))},
            }
            for event in events
        ]
        for start in range(0, len(rows), 25):
            unsent: Any = {
                self._tables.events_table: [{"PutRequest": {"Item": row}} for row in rows[start : start + 25]]
            }
            while unsent:
                unsent = self._client.batch_write_item(RequestItems=unsent).get("UnprocessedItems")

    def _put(self, record: Record) -> dict[str, Any]:
        # A number grows by one with every write, so "unchanged since read" is one comparison.
        data = {**encode(record), "version": record.version + 1, "pk": _key(record), **_index(record)}
        put: dict[str, Any] = {
            "TableName": self._table(record),
            "Item": {name: _serialize(value) for name, value in data.items()},
            "ConditionExpression": _IS_UNCHANGED if record.version else _IS_NEW,
        }
        if record.version:
            put["ExpressionAttributeValues"] = {":read": {"N": str(record.version)}}
        return put

    def _table(self, record: Record) -> str:
        if isinstance(record, Job | Batch):
            return self._tables.jobs_table
        return self._tables.launches_table if isinstance(record, Launch) else self._tables.ledger_table

    def _one(self, table: str, key: str, kind: type[T]) -> T | None:
        item = self._client.get_item(TableName=table, Key={"pk": {"S": key}}, ConsistentRead=True).get("Item")
        return _load(item, kind) if item else None

    def _scan(self, table: str) -> Iterator[Mapping[str, Any]]:
        for page in self._client.get_paginator("scan").paginate(TableName=table):
            yield from page["Items"]

    def _count(
        self,
        index: str,
        condition: str,
        values: Mapping[str, str],
        at_most: int,
        *,
        names: Mapping[str, str] | None = None,
    ) -> int:
        """How many rows of an index of the jobs table match; reading stops at `at_most`."""
        asked: dict[str, Any] = {
            "TableName": self._tables.jobs_table,
            "IndexName": index,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {name: {"S": value} for name, value in values.items()},
            "Select": "COUNT",
        }
        if names:
            asked["ExpressionAttributeNames"] = dict(names)
        asked["PaginationConfig"] = {"PageSize": max(1, min(at_most, COUNT_PAGE))}
        count = 0
        for page in self._client.get_paginator("query").paginate(**asked):
            count += page["Count"]
            if count >= at_most:
                break
        return min(count, at_most)

    def _query(
        self,
        table: str,
        index: str,
        condition: str,
        values: Mapping[str, str],
        *,
        names: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterable[Mapping[str, Any]]:
        asked: dict[str, Any] = {
            "TableName": table,
            "IndexName": index,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {name: {"S": value} for name, value in values.items()},
        }
        if names:
            asked["ExpressionAttributeNames"] = dict(names)
        if limit:
            asked["PaginationConfig"] = {"MaxItems": limit, "PageSize": limit}
        for page in self._client.get_paginator("query").paginate(**asked):
            yield from page["Items"]


def _key(record: Record) -> str:
    match record:
        case Job():
            return record.job_id
        case Batch():
            return f"BATCH#{record.batch_id}"
        case Launch():
            return record.launch_id
        case Token():
            return f"TOKEN#{record.launch_id}"
        case Ledger():
            return f"PERIOD#{record.period}"
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


def _index(record: Record) -> dict[str, Any]:
    """The attributes only indexes and expiry need; an absent one keeps the row out of a sparse index."""
    extra: dict[str, Any] = {}
    if isinstance(record, Job):
        extra["in_batch"] = record.batch_id
        if record.state is JobState.READY:
            extra |= {"due": f"READY#{record.lane}", "due_at": _stamp(record.ready_at or record.created_at)}
        if record.state.terminal:
            extra["ttl"] = int((record.updated_at + KEEP_FINISHED).timestamp())
    elif isinstance(record, Batch):
        if record.report_due_at:
            extra |= {"due": REPORT_DUE, "due_at": _stamp(record.report_due_at)}
    elif isinstance(record, Launch):
        if record.state.open:
            extra["open"] = "OPEN"
        else:
            extra["ttl"] = int(((record.gone_at or record.created_at) + KEEP_FINISHED).timestamp())
    elif isinstance(record, Token):
        extra["ttl"] = int((record.until + KEEP_TOKENS).timestamp())
    return extra


def _of_batch(batch_id: str, state: JobState | None) -> tuple[str, dict[str, str]]:
    if state is None:
        return "in_batch = :v", {":v": batch_id}
    return "in_batch = :v AND #s = :s", {":v": batch_id, ":s": str(state)}


def _stamp(moment: datetime) -> str:
    return moment.isoformat()


def _load(item: Mapping[str, Any], kind: type[T]) -> T:
    return decode(kind, {name: _deserialize(value) for name, value in item.items()})

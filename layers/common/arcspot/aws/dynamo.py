"""The tables in DynamoDB: `Store` with one conditional rule, the record's version.

Every item is the record as plain data plus the few attributes its indexes need:

=========  ===============================  =============================================
table      key                              indexes
=========  ===============================  =============================================
jobs       ``pk``: job id, ``BATCH#id``,    ``queue`` (queue, queued_at), sparse;
           ``FILE#key``, ``REPORTER``       ``by_batch`` (in_batch, state); both keys only
launches   ``pk``: launch id                ``open`` (open, created_at), sparse
ledger     ``pk``: ``PERIOD#``, ``FLEET``…  –
events     ``pk``: subject, ``sk``          –
=========  ===============================  =============================================
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError

from arcspot.aws.answers import busy_is_told, insistently, told, until_done
from arcspot.aws.codec import possible_key
from arcspot.aws.pausing import FullJitter
from arcspot.aws.rows import (
    IN_FILES,
    REPORT_DUE,
    TableNames,
    earlier_queues,
    event_row,
    in_index,
    is_job,
    key_of,
    kind_of,
    of_batch,
    put_of,
    queues,
    receipt_key,
    row_of,
    stamp,
    table_of,
)
from arcspot.domain.batches import Batch, Receipt, Sweep, whole
from arcspot.domain.budget import Fleet, Hold, Leak, Ledger, Prices
from arcspot.domain.jobs import LANES, Estimate, Job, JobState
from arcspot.domain.launching import Breaker, Launch, Token
from arcspot.domain.reaping import Suspects
from arcspot.domain.reporters import Reporter
from arcspot.errors import Conflict, RowUnreadable
from arcspot.ports import Event, Pause, Record

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
BATCH_GET = 100
# About 1 MB of an index of keys: what a page of a query holds at most.
COUNT_PAGE = 10_000
BATCH_WRITE = 25
# Rows that one READY job is drawn from: whoever claims at the same time draws another.
WINDOW = 25
AT_ONCE = 32
_deserialize = TypeDeserializer().deserialize


@busy_is_told
class DynamoStore:
    """`ports.Store` over four tables.

    A row that cannot be read raises RowUnreadable. With `skip_bad` what gives many rows goes on without it
    and keeps the error in `bad_rows`, by key: for people who look, whom one bad row must not hide the others.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        tables: TableNames,
        pause: Pause | None = None,
        *,
        skip_bad: bool = False,
    ) -> None:
        self._client = client
        self._tables = tables
        self._pause = pause or FullJitter()
        self._skip_bad = skip_bad
        self.bad_rows: dict[str, RowUnreadable] = {}

    def write(self, *records: Record) -> None:
        puts: list[Any] = [put_of(record, table_of(record, self._tables)) for record in records]
        try:
            if len(puts) == 1:
                self._client.put_item(**puts[0])
            else:
                self._client.transact_write_items(
                    TransactItems=[{"Put": put} for put in puts], ClientRequestToken=str(uuid.uuid4())
                )
        except ClientError as error:
            raise told(error, [key_of(record) for record in records]) from error

    def write_each(self, records: Sequence[Record]) -> list[Record]:
        def put(record: Record) -> Record | None:
            try:
                insistently(lambda: self.write(record), self._pause)
            except Conflict:
                return record
            return None

        if not records:
            return []
        with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(records))) as pool:
            return [record for record in pool.map(put, records) if record]

    def add(self, jobs: Sequence[Job]) -> dict[str, Job]:
        distinct = {job.job_id: job for job in jobs}
        # One that was made a moment ago may not show: then the write finds it.
        found = self.jobs(list(distinct), fresh=False)
        fresh = [job for job_id, job in distinct.items() if job_id not in found]

        lost = {job.job_id for job in self.write_each(fresh) if isinstance(job, Job)}
        found |= {job.job_id: replace(job, version=1) for job in fresh if job.job_id not in lost}
        return found | self.jobs(list(lost))

    def job(self, job_id: str, *, fresh: bool = True) -> Job | None:
        return self._one(self._tables.jobs_table, job_id, Job, consistent=fresh) if is_job(job_id) else None

    def jobs(self, job_ids: Sequence[str], *, fresh: bool = True) -> dict[str, Job]:
        ids = filter(is_job, job_ids)
        return {job.job_id: job for job in self._many(self._tables.jobs_table, ids, Job, consistent=fresh)}

    def ready_jobs(self, limit: int, now: datetime, rng: Random | None = None) -> list[Job]:
        jobs: list[Job] = []
        for lane in LANES:
            if len(jobs) >= limit:
                break
            left = limit - len(jobs)
            jobs += self._ready(
                self._drawn(lane, now, left, rng) if rng else self._oldest(lane, now, left), left
            )
        if len(jobs) < limit:
            jobs += self._ready(self._queued_earlier(limit), limit - len(jobs))
        return jobs

    def _oldest(self, lane: int, now: datetime, limit: int) -> list[str]:
        wide = limit + WINDOW
        rows = [row for queue in queues(lane) for row in self._queued(queue, now, wide)]
        return [pk for _, pk in sorted(rows)[:wide]]

    def _drawn(self, lane: int, now: datetime, limit: int, rng: Random) -> list[str]:
        """From the oldest of one shard, of others only where it has too few: one query is usually enough."""
        wide, rows = WINDOW * limit, list[tuple[str, str]]()
        for queue in rng.sample(shards := queues(lane), len(shards)):
            if len(rows) < limit:
                rows += self._queued(queue, now, wide)
        oldest = [pk for _, pk in rows]
        rng.shuffle(oldest)
        return oldest

    def _ready(self, job_ids: Sequence[str], limit: int) -> list[Job]:
        """Up to `limit` of these jobs that are READY by their rows: the index lags.

        So may these reads, at half the price: whoever changes a job writes it only as it was read.
        """
        ready: list[Job] = []
        for start in range(0, len(job_ids), limit):
            if len(ready) >= limit:
                break
            some = job_ids[start : start + limit]
            # A row that cannot be read must not keep everybody from the others.
            rows = self._many(self._tables.jobs_table, some, Job, {}, consistent=False)
            found = {job.job_id: job for job in rows}
            ready += [found[i] for i in some if i in found and found[i].state is JobState.READY]
        return ready[:limit]

    def _queued(self, queue: str, now: datetime, limit: int) -> list[tuple[str, str]]:
        """When and what: the oldest rows of one partition of the index `queue` whose time has come."""
        rows = self._query(
            self._tables.jobs_table,
            "queue",
            "#q = :q AND queued_at <= :now",
            {":q": queue, ":now": stamp(now)},
            names={"#q": "queue"},
            limit=limit,
        )
        return [(str(_deserialize(row["queued_at"])), str(_deserialize(row["pk"]))) for row in rows]

    def _queued_earlier(self, limit: int) -> list[str]:
        """Jobs that an earlier release made READY: in the index `due` until they are written again."""
        ids: list[str] = []
        for queue in earlier_queues():
            if len(ids) < limit:
                rows = self._query(
                    self._tables.jobs_table, "due", "due = :v", {":v": queue}, limit=limit - len(ids)
                )
                ids += [str(_deserialize(row["pk"])) for row in rows]
        return ids

    def ready_count(self, at_most: int, now: datetime) -> int:
        values = {":now": stamp(now)}
        count = 0
        for queue in (queue for lane in LANES for queue in queues(lane)):
            if count < at_most:
                count += self._count(
                    "queue",
                    "#q = :q AND queued_at <= :now",
                    {":q": queue, **values},
                    at_most - count,
                    names={"#q": "queue"},
                )
        for queue in earlier_queues():
            if count < at_most:
                count += self._count("due", "due = :v", {":v": queue}, at_most - count)
        return count

    def receipts(self, keys: Sequence[str], *, fresh: bool = True) -> dict[str, Receipt]:
        wanted = [receipt_key(key) for key in keys]
        rows = self._many(self._tables.jobs_table, wanted, Receipt, consistent=fresh)
        return {receipt.key: receipt for receipt in rows}

    def sweep_row(self) -> Sweep:
        return self._one(self._tables.jobs_table, "SWEEP", Sweep) or Sweep()

    def reporter(self) -> Reporter:
        return self._one(self._tables.jobs_table, "REPORTER", Reporter) or Reporter()

    def receipts_of_batch(self, batch_id: str) -> Iterator[Receipt]:
        rows = self._query(
            self._tables.jobs_table,
            "by_batch",
            "in_batch = :v AND #s = :s",
            {":v": batch_id, ":s": IN_FILES},
            names={"#s": "state"},
        )
        ids = [str(_deserialize(row["pk"])) for row in rows]
        return whole(self._many(self._tables.jobs_table, ids, Receipt, consistent=False))

    def jobs_of_batch(self, batch_id: str, state: JobState | None = None) -> Iterator[Job]:
        condition, values = of_batch(batch_id, state)
        rows = self._query(
            self._tables.jobs_table, "by_batch", condition, values, names={"#s": "state"} if state else None
        )
        ids = (str(_deserialize(row["pk"])) for row in rows if row.get("state") != {"S": IN_FILES})
        while some := list(islice(ids, BATCH_GET)):
            # The index holds keys alone and lags; the table does not.
            for job in self.jobs(some).values():
                if state is None or job.state is state:
                    yield job

    def job_ids_of_batch(self, batch_id: str) -> Iterator[str]:
        rows = self._query(self._tables.jobs_table, "by_batch", *of_batch(batch_id, None))
        return (str(_deserialize(row["pk"])) for row in rows if row.get("state") != {"S": IN_FILES})

    def batch_count(self, batch_id: str, state: JobState, at_most: int) -> int:
        return self._count("by_batch", *of_batch(batch_id, state), at_most, names={"#s": "state"})

    def batch(self, batch_id: str) -> Batch | None:
        return self._one(self._tables.jobs_table, f"BATCH#{batch_id}", Batch)

    def batches_due(self, bad: dict[str, str] | None = None) -> list[Batch]:
        table = self._tables.jobs_table
        rows = [
            *self._query(table, "queue", "#q = :v", {":v": REPORT_DUE}, names={"#q": "queue"}),
            *self._query(table, "due", "due = :v", {":v": REPORT_DUE}),
        ]
        ids = list(dict.fromkeys(str(_deserialize(row["pk"])) for row in rows))
        found = {key_of(batch): batch for batch in self._many(table, ids, Batch, bad)}
        return [found[i] for i in ids if i in found and found[i].report_due_at]

    def launch(self, launch_id: str, *, fresh: bool = True) -> Launch | None:
        return self._one(self._tables.launches_table, launch_id, Launch, consistent=fresh)

    def token(self, launch_id: str) -> Token | None:
        return self._one(self._tables.ledger_table, f"TOKEN#{launch_id}", Token)

    def open_launches(self) -> list[Launch]:
        table = self._tables.launches_table
        rows = self._query(table, "open", "#o = :v", {":v": "OPEN"}, names={"#o": "open"})
        ids = [str(_deserialize(row["pk"])) for row in rows]
        found = {launch.launch_id: launch for launch in self._many(table, ids, Launch)}
        return [found[i] for i in ids if i in found and found[i].state.open]

    def ledger(self, period: str) -> Ledger | None:
        return self._one(self._tables.ledger_table, f"PERIOD#{period}", Ledger)

    def hold(self, launch_id: str) -> Hold | None:
        return self._one(self._tables.ledger_table, f"HOLD#{launch_id}", Hold)

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
        table = self._tables.jobs_table
        rows = (item for item in self._scan(table) if kind_of(item["pk"]["S"]) is Job)
        return self._loaded(rows, Job, table)

    def every_receipt(self) -> Iterator[Receipt]:
        """All receipts, by a scan."""
        table = self._tables.jobs_table
        rows = (item for item in self._scan(table) if kind_of(item["pk"]["S"]) is Receipt)
        return whole(self._loaded(rows, Receipt, table))

    def every_launch(self) -> Iterator[Launch]:
        """All launches, by a scan."""
        table = self._tables.launches_table
        return self._loaded(self._scan(table), Launch, table)

    def record(self, *events: Event) -> None:
        rows = [event_row(event) for event in events]
        table = self._tables.events_table

        def put(left: Any) -> Sequence[Any]:
            try:
                answer: Any = self._client.batch_write_item(RequestItems={table: left})
            except ClientError as error:
                raise told(error, sorted({event.subject for event in events})) from error
            return list((answer.get("UnprocessedItems") or {}).get(table, []))

        for start in range(0, len(rows), BATCH_WRITE):
            some = [{"PutRequest": {"Item": row}} for row in rows[start : start + BATCH_WRITE]]
            until_done(some, put, self._pause)

    def _one(self, table: str, key: str, kind: type[T], *, consistent: bool = True) -> T | None:
        if not possible_key(key):
            return None  # DynamoDB refuses to look for what cannot be there
        asked: Any = {"TableName": table, "Key": {"pk": {"S": key}}, "ConsistentRead": consistent}
        item = self._client.get_item(**asked).get("Item")
        return row_of(item, kind, table) if item else None

    def _loaded(
        self, items: Iterable[Mapping[str, Any]], kind: type[T], table: str, bad: dict[str, str] | None = None
    ) -> Iterator[T]:
        """The rows that can be read; the others raise RowUnreadable, or go to `bad` or aside."""
        for item in items:
            try:
                yield row_of(item, kind, table)
            except RowUnreadable as error:
                if bad is not None:
                    bad[error.key] = str(error)
                elif self._skip_bad:
                    self.bad_rows[error.key] = error
                else:
                    raise

    def _many(
        self,
        table: str,
        keys: Iterable[str],
        kind: type[T],
        bad: dict[str, str] | None = None,
        *,
        consistent: bool = True,
    ) -> Iterator[T]:
        """The rows of these keys, each once, in no order; what does not, or cannot, exist is left out."""
        wanted = [key for key in dict.fromkeys(keys) if possible_key(key)]
        for start in range(0, len(wanted), BATCH_GET):
            found: list[Mapping[str, Any]] = []

            def read(left: Any, found: list[Mapping[str, Any]] = found) -> Sequence[Any]:
                asked: Any = {table: {"Keys": left, "ConsistentRead": consistent}}
                page = self._client.batch_get_item(RequestItems=asked)
                found += page["Responses"].get(table, [])
                unread: Any = page.get("UnprocessedKeys") or {}
                return list(unread.get(table, {}).get("Keys", []))

            until_done([{"pk": {"S": key}} for key in wanted[start : start + BATCH_GET]], read, self._pause)
            yield from self._loaded(found, kind, table, bad)

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
        asked = in_index(self._tables.jobs_table, index, condition, values, names) | {"Select": "COUNT"}
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
        asked = in_index(table, index, condition, values, names)
        asked["PaginationConfig"] = {"MaxItems": limit, "PageSize": limit} if limit else {}
        for page in self._client.get_paginator("query").paginate(**asked):
            yield from page["Items"]

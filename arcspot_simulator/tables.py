"""The four tables in memory: compare-and-swap on versions, all or nothing, and indexes that may lag.

What DynamoDB documents and nothing more: a transaction is atomic and isolated, a consistent read of a key
shows its last write, any other read one that may be a second old, a global secondary index shows a row some
time after the row changed.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from random import Random
from typing import Any, TypeVar, cast

from arcspot.domain.batches import Batch, Receipt, Sweep, whole
from arcspot.domain.budget import Fleet, Hold, Leak, Ledger, Prices
from arcspot.domain.jobs import LANES, Estimate, Job, JobState
from arcspot.domain.launching import Breaker, Launch, Token
from arcspot.domain.reaping import Suspects
from arcspot.domain.reporters import Reporter
from arcspot.errors import Conflict, RowUnreadable, StoreRefused
from arcspot.ports import Event, Record
from arcspot_simulator.limits import (
    ITEM_BYTES,
    TRANSACTION_BYTES,
    item_faults,
    item_weight,
    key_fault,
    quickly,
    refuse,
    size,
    text_fault,
    transaction_faults,
)

# As the adapter draws (arcspot/aws/dynamo.py).
WINDOW = 25
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.ReadConsistency.html
READ_LAG_S = 1.0
R = TypeVar("R")
Key = tuple[str, str]
_NAMES: dict[type, Callable[[Any], Key]] = {
    Job: lambda r: ("job", r.job_id),
    Batch: lambda r: ("batch", r.batch_id),
    Receipt: lambda r: ("receipt", receipt_name(r)),
    Sweep: lambda r: ("sweep", ""),
    Reporter: lambda r: ("reporter", ""),
    Launch: lambda r: ("launch", r.launch_id),
    Token: lambda r: ("token", r.launch_id),
    Ledger: lambda r: ("ledger", r.period),
    Hold: lambda r: ("hold", r.launch_id),
    Estimate: lambda r: ("estimate", r.key),
    Leak: lambda r: ("leak", r.instance_id),
    Fleet: lambda r: ("fleet", ""),
    Breaker: lambda r: ("breaker", ""),
    Suspects: lambda r: ("suspects", ""),
    Prices: lambda r: ("prices", ""),
}

_ALONE = {"sweep", "fleet", "breaker", "suspects", "prices"}  # kinds of which there is one row


def receipt_name(receipt: Receipt) -> str:
    """What a receipt's row is called; parts of one that is long are never changed."""
    return receipt.key if receipt.part == 0 else f"{receipt.part}#{receipt.content}#{receipt.key}"


def key_of(record: Record) -> Key:
    """Kind and key of a record's row."""
    return _NAMES[type(record)](record)


def _refuse(named: Sequence[tuple[Key, Record]]) -> None:
    """Raise StoreRefused for what DynamoDB would not take."""
    weights = [quickly(record, kind if kind in _ALONE else name) for (kind, name), record in named]
    if None in weights or sum(filter(None, weights)) > TRANSACTION_BYTES:
        from arcspot.aws.rows import item_of  # boto3 takes its time, and few rows need it

        items = [item_of(record) for _, record in named]
        for (_, name), item in zip((key for key, _ in named), items, strict=True):
            refuse(*(f"{name}: {fault}" for fault in item_faults(item)), error=StoreRefused)
        weights = [item_weight(item) for item in items]
    refuse(*transaction_faults([key for key, _ in named], list(filter(None, weights))), error=StoreRefused)


@dataclass
class Indexes:
    """What the global secondary indexes show: each row as it was when its change arrived here."""

    ready: list[tuple[int, datetime, str]] = field(default_factory=list)
    ready_as: dict[str, tuple[int, datetime, str]] = field(default_factory=dict)
    batches: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    batch_of: dict[str, tuple[str, str]] = field(default_factory=dict)
    open_launches: dict[str, None] = field(default_factory=dict)
    due: dict[str, None] = field(default_factory=dict)
    receipts: dict[str, dict[str, None]] = field(default_factory=dict)

    def show(self, record: Record) -> None:
        """Let a row's newest version arrive."""
        if isinstance(record, Job):
            self._job(record)
        elif isinstance(record, Launch):
            _member(self.open_launches, record.launch_id, record.state.open)
        elif isinstance(record, Batch):
            _member(self.due, record.batch_id, record.report_due_at is not None)
        elif isinstance(record, Receipt):
            _member(self.receipts.setdefault(record.batch_id, {}), receipt_name(record), record.listed)

    def _job(self, job: Job) -> None:
        known = self.ready_as.pop(job.job_id, None)
        if known is not None:
            del self.ready[bisect_left(self.ready, known)]
        if job.state is JobState.READY:
            entry = (job.lane, job.ready_at or job.created_at, job.job_id)
            self.ready_as[job.job_id] = entry
            insort(self.ready, entry)
        place = (job.batch_id, str(job.state))
        before = self.batch_of.get(job.job_id)
        if before != place:
            if before is not None:
                del self.batches[before][job.job_id]
            self.batch_of[job.job_id] = place
            self.batches.setdefault(place, {})[job.job_id] = None


def _member(rows: dict[str, None], key: str, belongs: bool) -> None:
    if belongs:
        rows[key] = None
    else:
        rows.pop(key, None)


@dataclass
class MemoryStore:
    """`ports.Store`. `lag` gives how long a change takes to reach the indexes; None is at once."""

    rows: dict[Key, Record] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    indexes: Indexes = field(default_factory=Indexes)
    lag: Callable[[], tuple[float, float]] | None = None  # (virtual seconds now, seconds of delay)
    on_write: Callable[[Record | None, Record], None] | None = None
    on_event: Callable[[Event], None] | None = None
    writes: int = 0
    clock: Callable[[], float] = lambda: 0.0
    written_at: float = 0.0
    bad_rows: dict[str, RowUnreadable] = field(default_factory=dict)  # none comes about in memory
    _arriving: deque[tuple[float, Record]] = field(default_factory=deque)
    _before: dict[Key, tuple[float, Record | None]] = field(default_factory=dict)

    def write(self, *records: Record) -> None:
        named = [(key_of(record), record) for record in records]
        _refuse(named)
        for key, record in named:
            known = self.rows.get(key)
            if (known.version if known else 0) != record.version:
                raise Conflict(f"{key} is at version {known.version if known else 0}")
        for key, record in named:
            before = self.rows.get(key)
            after = replace(record, version=record.version + 1)
            self.rows[key] = after
            if self.lag is not None and key[0] in ("job", "launch", "receipt"):
                self._before[key] = (self.lag()[0], before)
            self.writes += 1
            self.written_at = self.clock()
            self._index(after)
            if self.on_write is not None:
                self.on_write(before, after)

    def _index(self, record: Record) -> None:
        if not isinstance(record, Job | Launch | Batch | Receipt):
            return
        if self.lag is None:
            self.indexes.show(record)
            return
        now, delay = self.lag()
        # Changes of one row arrive in their order; those of others may overtake.
        self._arriving.append((now + delay, record))

    def _arrive(self) -> Indexes:
        if self.lag is not None and self._arriving:
            now, _ = self.lag()
            waiting: deque[tuple[float, Record]] = deque()
            held: set[Key] = set()
            for at, record in self._arriving:
                key = key_of(record)
                if at > now or key in held:
                    held.add(key)
                    waiting.append((at, record))
                else:
                    self.indexes.show(record)
            self._arriving = waiting
        return self.indexes

    def write_each(self, records: Sequence[Record]) -> list[Record]:
        lost = []
        for record in records:
            try:
                self.write(record)
            except Conflict:
                lost.append(record)
        return lost

    def add(self, jobs: Sequence[Job]) -> dict[str, Job]:
        for job in jobs:
            if ("job", job.job_id) not in self.rows:
                self.write(job)
        return self.jobs([job.job_id for job in jobs])

    def _one(self, kind: type[R], name: str, key: str = "") -> R | None:
        return cast("R | None", self.rows.get((name, key)))

    def _late(self, kind: type[R], name: str, key: str) -> R | None:
        """A read that need not be consistent: now and then a row as it was before its last write."""
        changed_at, before = self._before.get((name, key), (-math.inf, None))
        if self.lag is not None and (known := self.lag())[0] < changed_at + min(known[1], READ_LAG_S):
            return cast("R | None", before)
        return self._one(kind, name, key)

    def every(self, kind: type[R]) -> list[R]:
        """All rows of a kind: for tests and invariants, never for a service."""
        return [row for row in self.rows.values() if isinstance(row, kind)]

    def job(self, job_id: str, *, fresh: bool = True) -> Job | None:
        return self._one(Job, "job", job_id) if fresh else self._late(Job, "job", job_id)

    def jobs(self, job_ids: Sequence[str], *, fresh: bool = True) -> dict[str, Job]:
        return {i: job for i in job_ids if (job := self.job(i, fresh=fresh))}

    def ready_jobs(self, limit: int, now: datetime, rng: Random | None = None) -> list[Job]:
        found: list[Job] = []
        for lane in LANES:
            wide = WINDOW * (limit - len(found)) if rng else limit - len(found)
            ids = self._queued(lane, now, wide)
            if rng:
                rng.shuffle(ids)
            rows = (job for i in ids if (job := self.job(i, fresh=False)) and job.state is JobState.READY)
            found += islice(rows, limit - len(found))
        return found

    def _queued(self, lane: int, now: datetime, limit: int) -> list[str]:
        rows = self._arrive().ready
        start = bisect_left(rows, (lane,))
        return [i for at, since, i in rows[start : start + limit] if at == lane and since <= now]

    def ready_count(self, at_most: int, now: datetime) -> int:
        return min(at_most, sum(len(self._queued(lane, now, at_most)) for lane in LANES))

    def receipts(self, keys: Sequence[str], *, fresh: bool = True) -> dict[str, Receipt]:
        read = self._one if fresh else self._late
        return {key: row for key in keys if (row := read(Receipt, "receipt", key))}

    def sweep_row(self) -> Sweep:
        return self._one(Sweep, "sweep") or Sweep()

    def reporter(self) -> Reporter:
        return self._one(Reporter, "reporter") or Reporter()

    def receipts_of_batch(self, batch_id: str) -> Iterable[Receipt]:
        names = self._arrive().receipts.get(batch_id, {})
        rows = (self._one(Receipt, "receipt", name) for name in names)
        return list(whole(row for row in rows if row))

    def jobs_of_batch(self, batch_id: str, state: JobState | None = None) -> Iterable[Job]:
        indexes = self._arrive()
        states = [state] if state is not None else list(JobState)
        ids = [i for s in states for i in indexes.batches.get((batch_id, str(s)), ())]
        return [job for i in ids if (job := self.job(i)) and (state is None or job.state is state)]

    def job_ids_of_batch(self, batch_id: str) -> Iterable[str]:
        indexes = self._arrive()
        return [i for state in JobState for i in indexes.batches.get((batch_id, str(state)), ())]

    def batch_count(self, batch_id: str, state: JobState, at_most: int) -> int:
        return min(at_most, len(self._arrive().batches.get((batch_id, str(state)), ())))

    def batch(self, batch_id: str) -> Batch | None:
        return self._one(Batch, "batch", batch_id)

    def batches_due(self, bad: dict[str, str] | None = None) -> list[Batch]:
        fresh = (self.batch(i) for i in list(self._arrive().due))
        return [batch for batch in fresh if batch and batch.report_due_at]

    def launch(self, launch_id: str, *, fresh: bool = True) -> Launch | None:
        return self._one(Launch, "launch", launch_id) if fresh else self._late(Launch, "launch", launch_id)

    def token(self, launch_id: str) -> Token | None:
        return self._one(Token, "token", launch_id)

    def launches(self) -> list[Launch]:
        return self.every(Launch)

    def open_launches(self) -> list[Launch]:
        fresh = (self.launch(i) for i in list(self._arrive().open_launches))
        return [launch for launch in fresh if launch and launch.state.open]

    def ledger(self, period: str) -> Ledger | None:
        return self._one(Ledger, "ledger", period)

    def hold(self, launch_id: str) -> Hold | None:
        return self._one(Hold, "hold", launch_id)

    def fleet(self) -> Fleet | None:
        return self._one(Fleet, "fleet")

    def breaker(self) -> Breaker:
        return self._one(Breaker, "breaker") or Breaker()

    def suspects(self) -> Suspects:
        return self._one(Suspects, "suspects") or Suspects(since={})

    def estimate(self, key: str) -> Estimate | None:
        return self._one(Estimate, "estimate", key)

    def leak(self, instance_id: str) -> Leak | None:
        return self._one(Leak, "leak", instance_id)

    def prices(self) -> Prices | None:
        return self._one(Prices, "prices")

    def record(self, *events: Event) -> None:
        for event in events:
            fault = (
                key_fault("pk", {"S": event.subject}) or text_fault(event.kind) or text_fault(event.detail)
            )
            too_long = len(event.detail) > ITEM_BYTES // 8 and size(event.detail) > ITEM_BYTES - 4096
            refuse(fault, "an event of more than 400 KB" if too_long else "", error=StoreRefused)
        if self.on_event is None:
            self.events += events
        else:
            for event in events:
                self.on_event(event)

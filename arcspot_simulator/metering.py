"""Count what a calm history asks of AWS, as a bill counts it.

Every call that a function makes through its ports, every invocation and log line, every request of a runner
and of the person who drops files.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arcspot.aws.rows import earlier_queues, item_of, key_of, queues, table_of
from arcspot.domain.jobs import LANES
from arcspot.ports import Record
from arcspot_simulator import capacity
from arcspot_simulator.capacity import Index, Item

# Seconds of a whole processor that a handler works itself, warm, and for each of its calls (to sign and
# parse): an assumption, to be replaced by a bill. A function has a share of a processor, a whole one at
# 1,769 MB.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
OWN_CPU_S, CALL_CPU_S = 0.004, 0.0012
WHOLE_CPU_GB = 1769 / 1024
# A new execution environment: Python, the layer and the clients. Billed since 2025-08.
# https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
COLD_S = 0.6
# How long an environment that nobody calls is assumed to stay.
WARM_S = 600.0
# Names beside message and fields in a line of Powertools' logger (tests/unit/bench/test_bill.py holds it).
LINE_BYTES = 380
# A line in CloudWatch's embedded metric format, which the watchdog may write.
METRICS_BYTES = 660
# https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html: platform.start and .report
PLATFORM_BYTES = 170 + 330
ONE = {"job", "batch", "launch", "ledger", "hold", "fleet", "breaker", "suspects", "estimate", "leak",
       "prices", "sweep_row", "reporter", "token"}  # fmt: skip
MANY = {"jobs", "receipts"}
# Verbs that ask an index of keys alone for ids, then read the rows: with how many queries at least.
THROUGH_KEYS = {"jobs_of_batch": 1, "open_launches": 1, "receipts_of_batch": 1, "batches_due": 2}
LISTED = {"keys", "listing"}
KEYS_ALONE = {"batch_count", "job_ids_of_batch"}
# 81 of a job in the index `queue`, whose id has 24 digits; more where names are longer.
KEY_BYTES = 100
# Keys that a query of the ready jobs reads: as many as the adapter draws from (arcspot/aws/dynamo.py).
WINDOW_ROWS = 75
# Each lane's partitions are asked one by one, then what an earlier release left.
ALL_QUEUES = sum(len(queues(lane)) for lane in LANES) + len(earlier_queues())


def _looked_into(lane: int) -> int:
    """How many partitions are asked until one of this lane has enough."""
    return sum(len(queues(each)) for each in LANES if each < lane) + 1


# As template.yaml has those that anything is written to (tests/unit/bench/test_bill.py).
INDEXES: Mapping[str, Sequence[Index]] = {
    "jobs": (Index(("queue", "queued_at")), Index(("in_batch", "state"))),
    "launches": (Index(("open", "created_at")),),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a template decides about a bill."""

    memory_gb: Mapping[str, float] = field(default_factory=lambda: defaultdict(lambda: 0.5))
    indexes: Mapping[str, Sequence[Index]] = field(default_factory=lambda: INDEXES)
    """Name of a table, as `Tables` has it → its indexes."""
    object_events: bool = False
    """Whether the bucket tells EventBridge of each object."""
    platform_lines: bool = True
    """Whether Lambda's own lines of a call that went well are logged."""


class Tables:
    """Names of the tables, for where a row is."""

    jobs_table, launches_table, ledger_table, events_table = "jobs", "launches", "ledger", "events"


TABLES = Tables()


@dataclass
class Meter:
    """Counts units by line of the tariff. One for each history."""

    shape: Shape = field(default_factory=Shape)
    units: Counter[str] = field(default_factory=Counter)
    gb_seconds: float = 0.0
    kept: dict[tuple[str, str], int] = field(default_factory=dict)
    """(table or "objects", key) → bytes."""
    _rows: dict[tuple[str, str], Item] = field(default_factory=dict)
    _called_at: dict[str, float] = field(default_factory=dict)

    # Lambda ----------------------------------------------------------------------------------------------
    def invoked(self, function: str, now: float) -> None:
        """An invocation begins, at a moment of the history in seconds."""
        self.units["Lambda requests"] += 1
        cold = now - self._called_at.get(function, -math.inf) > WARM_S
        self._called_at[function] = now
        self._works(function, COLD_S if cold else 0.0, cpu_s=OWN_CPU_S)
        if self.shape.platform_lines:
            self.units["CloudWatch logs taken in, bytes"] += PLATFORM_BYTES

    def last_call(self, function: str) -> float:
        """When it was invoked last, in seconds of the history."""
        return self._called_at.get(function, -math.inf)

    def logged(self, message: str, fields: Mapping[str, Any]) -> None:
        """A line of a handler's logger."""
        said = json.dumps({"message": message, **fields}, default=str)
        self.units["CloudWatch logs taken in, bytes"] += LINE_BYTES + len(said.encode())

    def published(self) -> None:
        """A line of metrics."""
        self.units["CloudWatch logs taken in, bytes"] += METRICS_BYTES

    def _works(self, function: str, seconds: float, *, cpu_s: float) -> None:
        memory = self.shape.memory_gb[function]
        share = min(1.0, memory / WHOLE_CPU_GB)
        self.gb_seconds += memory * (seconds + cpu_s / share)

    def called(
        self,
        function: str,
        name: str,
        args: tuple[Any, ...],
        result: Any,
        *,
        seconds: float,
        fresh: bool = True,
    ) -> None:
        """One call of one port by one function, and how long it took.

        Reads that need not be `fresh` cost half.
        """
        self._works(function, seconds, cpu_s=CALL_CPU_S)
        port, _, verb = name.partition(".")
        if port == "store":
            self._table(verb, args, result, fresh=fresh)
        elif port == "objects":
            self._bucket(verb, args, result)
        elif port == "mail":
            self.units["SNS mails"] += 1

    # DynamoDB --------------------------------------------------------------------------------------------
    def _table(self, verb: str, args: tuple[Any, ...], result: Any, *, fresh: bool) -> None:
        if verb == "write":
            for record in args:
                self._put(record, transaction=len(args) > 1)
        elif verb == "add":
            self._read(args[0], consistent=False)
            for job in args[0]:
                if ("jobs", job.job_id) not in self._rows:
                    self._put(job)
        elif verb == "write_each":
            for record in args[0]:
                self._put(record)
        elif verb == "record":
            for event in args:
                length = sum(len(str(part).encode()) for part in (event.subject, event.kind, event.detail))
                self._write(capacity.write_units(None, {"pk": {"S": "x" * (length + 110)}}, ()))
                self.kept["events", f"{event.subject}{event.at}{len(self.kept)}"] = length + 110
        elif verb in ONE:
            self._read([result] if result is not None else [], consistent=fresh)
            self.units["DynamoDB read units"] += result is None
        elif verb in MANY:
            self._read(list(result.values()), consistent=fresh)
            self.units["DynamoDB read units"] += (len(args[0]) - len(result)) * (1 if fresh else 0.5)  # type: ignore[assignment]
        elif verb in THROUGH_KEYS:
            found = list(result)
            self._query(len(found), queries=THROUGH_KEYS[verb])
            self._read(found)
        elif verb in KEYS_ALONE:
            self._query(int(result) if isinstance(result, int) else len(list(result)))
        elif verb == "ready_jobs":
            enough = len(result) >= args[0]
            self._query(WINDOW_ROWS, queries=_looked_into(result[-1].lane) if enough else ALL_QUEUES)
            self._read(result, consistent=False)
        elif verb == "ready_count":
            # Most jobs are in the middle lane.
            self._query(int(result), queries=_looked_into(1) if result >= args[0] else ALL_QUEUES)
        else:
            raise KeyError(f"store.{verb} has no price yet: say in {__name__} what it reads or writes")

    def _query(self, rows: int, *, queries: int = 1) -> None:
        found = capacity.query_units(KEY_BYTES * rows)
        self.units["DynamoDB read units"] += found + 0.5 * (queries - 1)  # type: ignore[assignment]

    def _put(self, record: Record, *, transaction: bool = False) -> None:
        table, item = table_of(record, TABLES), item_of(record)
        key = (table, item["pk"]["S"])
        indexes = self.shape.indexes.get(table, ())
        self._write(capacity.write_units(self._rows.get(key), item, indexes, transaction=transaction))
        self._rows[key] = item
        entries = [index.entry(item) for index in indexes]
        length = capacity.size(item) + sum(map(capacity.size, entries))
        self.kept[key] = length + capacity.OVERHEAD_BYTES * (1 + sum(e is not None for e in entries))

    def _write(self, units: int) -> None:
        self.units["DynamoDB write units"] += units

    def _read(self, records: Iterable[Record], *, consistent: bool = True) -> None:
        lengths = [self._length(record) for record in records]
        units = capacity.read_units(lengths)
        self.units["DynamoDB read units"] += units if consistent else units / 2  # type: ignore[assignment]

    def _length(self, record: Record) -> int:
        known = self._rows.get((table_of(record, TABLES), key_of(record)))
        return capacity.size(known if known is not None else item_of(record))

    # S3 --------------------------------------------------------------------------------------------------
    def _bucket(self, verb: str, args: tuple[Any, ...], result: Any) -> None:
        if verb == "write":
            self.stored(args[0], len(args[1]))
        elif verb == "write_parts":
            self.stored(args[0], 0)  # parts, beginning and end are few beside the tasks they hold
        elif verb in LISTED:
            self.units["S3 PUT and LIST requests"] += 1  # told of each page by itself
        elif verb in ("read_many", "fetch_many", "parts"):
            self.units["S3 GET and HEAD requests"] += len(set(args[0]))
        elif verb in ("read", "size", "stored"):
            self.units["S3 GET and HEAD requests"] += 1
        elif verb == "delete":
            self.units["S3 DELETE requests"] += 1
        else:
            raise KeyError(f"objects.{verb} has no price yet: say in {__name__} what it asks of S3")

    def stored(self, key: str, length: int) -> None:
        """An object was put, by whomever."""
        self.units["S3 PUT and LIST requests"] += 1
        if self.shape.object_events:
            self.units["S3 events through EventBridge"] += 1
        self.kept["objects", key] = length

    # Queue -----------------------------------------------------------------------------------------------
    def polled(self, messages: int) -> None:
        """A batch was taken from the queue: each message was sent; one receive, deletes of ten at most."""
        self.units["SQS requests"] += messages + 1 + math.ceil(messages / 10)

    def bytes_kept(self, *, of: str) -> int:
        """Bytes that stand in the tables or, for "objects", in the bucket."""
        return sum(
            length for (place, _), length in self.kept.items() if (place == "objects") == (of == "objects")
        )

"""What the control plane's own calls cost: counted in a history, priced by AWS's lists.

us-east-1, on-demand DynamoDB, read on 2026-11. Instances, results in S3 and data transfer are not the
control plane; requests for receipts and reports are.
https://aws.amazon.com/dynamodb/pricing/on-demand/ https://aws.amazon.com/lambda/pricing/
https://aws.amazon.com/step-functions/pricing/ https://aws.amazon.com/s3/pricing/
https://aws.amazon.com/sqs/pricing/ https://aws.amazon.com/eventbridge/pricing/
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arcspot.aws.codec import encode
from arcspot.domain.batches import Receipt
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Launch
from arcspot.ports import Record
from arcspot_simulator.latency import QUEUES
from arcspot_simulator.tables import key_of

MILLION = 1_000_000
# Micro-dollars a unit.
PRICES: Mapping[str, float] = {
    "DynamoDB write units": 0.625,
    "DynamoDB read units": 0.125,
    "Lambda requests": 0.20,
    "Lambda GB-seconds": 16.6667,
    "Step Functions transitions": 25.0,
    "S3 PUT and LIST requests": 5.0,
    "S3 GET requests": 0.4,
    "SQS requests": 0.40,
    "EventBridge Scheduler invocations": 1.0,
}
MEMORY_GB = {"ingest": 1.0, "report": 1.0}
USUAL_GB = 0.5
# A handler's own work and each of its calls, warm: an assumption, to be replaced by a bill.
LAMBDA_OWN_S, LAMBDA_CALL_S = 0.015, 0.008
READS = {
    "job",
    "batch",
    "launch",
    "ledger",
    "fleet",
    "breaker",
    "suspects",
    "estimate",
    "leak",
    "prices",
    "sweep_row",
    "reporter",
    "token",
}
QUERIES = {
    "receipts_of_batch",
    "ready_jobs",
    "ready_count",
    "jobs_of_batch",
    "batch_count",
    "batches_due",
    "open_launches",
    "job_ids_of_batch",
}
COUNTS = {"ready_count", "batch_count", "job_ids_of_batch"}


@dataclass
class Meter:
    """Counts units as the functions call. One for each history."""

    units: Counter[str] = field(default_factory=Counter)
    lambda_s: Counter[str] = field(default_factory=Counter)
    _states: dict[str, JobState] = field(default_factory=dict)
    _sizes: dict[tuple[str, int], int] = field(default_factory=dict)

    def invoked(self, function: str) -> None:
        self.units["Lambda requests"] += 1
        self._works(function, LAMBDA_OWN_S)

    def called(self, function: str, name: str, args: tuple[Any, ...], result: Any) -> None:
        """One call of one port by one function."""
        self._works(function, LAMBDA_CALL_S)
        port, _, verb = name.partition(".")
        if port == "store":
            self._table(verb, args, result)
        elif port == "objects":
            self._bucket(verb, args, result)

    def _works(self, function: str, seconds: float) -> None:
        self.units["Lambda GB-seconds"] += seconds * MEMORY_GB.get(function, USUAL_GB)  # type: ignore[assignment]

    def _table(self, verb: str, args: tuple[Any, ...], result: Any) -> None:
        if verb == "write":
            twice = 2 if len(args) > 1 else 1
            for record in args:
                self.units["DynamoDB write units"] += twice * self._kilobytes(record) + self._indexed(record)
        elif verb == "add":
            for job in args[0]:
                self.units["DynamoDB write units"] += self._kilobytes(job) + self._indexed(job)
            self.units["DynamoDB read units"] += len(args[0])
        elif verb == "write_each":
            for record in args[0]:
                self.units["DynamoDB write units"] += self._kilobytes(record) + self._indexed(record)
        elif verb == "record":
            self.units["DynamoDB write units"] += len(args)
        elif verb in ("jobs", "receipts"):
            self.units["DynamoDB read units"] += len(args[0])
        elif verb in READS:
            self.units["DynamoDB read units"] += 1
        elif verb in QUERIES:
            # Rows of keys, 34 of them in 4 KB, read eventually; those that are fetched then, consistently.
            rows = result if isinstance(result, int) else len(result)
            fetched = 0 if verb in COUNTS else rows
            queries = QUEUES if verb in ("ready_jobs", "ready_count") else 1
            units = 0.5 * (queries - 1 + max(1, math.ceil(rows / 34)))
            self.units["DynamoDB read units"] += units + fetched  # type: ignore[assignment]

    def _bucket(self, verb: str, args: tuple[Any, ...], result: Any) -> None:
        if verb in ("write", "write_parts"):
            self.units["S3 PUT and LIST requests"] += 1
        elif verb == "delete":
            self.units["S3 DELETE requests"] += 1  # free, and a marker in a bucket with versions
        elif verb in ("keys", "listing"):
            self.units["S3 PUT and LIST requests"] += 1  # told of each page by itself
        elif verb in ("read_many", "fetch_many"):
            self.units["S3 GET requests"] += len(set(args[0]))
        elif verb in ("read", "size"):
            self.units["S3 GET requests"] += 1

    def _kilobytes(self, record: Record) -> int:
        """Write units of a row; rows of one kind and about one version are of one size."""
        kind = (key_of(record)[0], min(record.version, 3))
        if kind not in self._sizes:
            self._sizes[kind] = math.ceil(len(json.dumps(encode(record), default=str)) / 1024)
        return self._sizes[kind]

    def _indexed(self, record: Record) -> int:
        """Write units of the indexes: both hold keys alone and change with the state."""
        if isinstance(record, Launch):
            return 1 if record.version == 0 or not record.state.open else 0
        if isinstance(record, Receipt):
            return 1 if record.version == 0 else 0
        if not isinstance(record, Job):
            return 0
        before, after = self._states.get(record.job_id), record.state
        self._states[record.job_id] = after
        if before is after:
            return 0
        queued = (before is JobState.READY) + (after is JobState.READY)
        return queued + (1 if before is None else 2)


@dataclass(frozen=True, slots=True)
class Bill:
    """Units and micro-dollars by service."""

    units: Mapping[str, float]

    @property
    def usd_micros(self) -> dict[str, float]:
        return {name: self.units.get(name, 0) * price for name, price in PRICES.items()}

    @property
    def total_usd(self) -> float:
        return sum(self.usd_micros.values()) / MILLION

    def without(self, other: Bill) -> Bill:
        """What this bill has beyond another: the work beyond the standing round."""
        return Bill({name: self.units.get(name, 0) - other.units.get(name, 0) for name in PRICES})

"""What a record's row is called, and the attributes that put it into indexes or let it expire."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from arcspot.domain.batches import Batch, Receipt, Sweep
from arcspot.domain.budget import Fleet, Leak, Ledger, Prices
from arcspot.domain.jobs import LANES, Estimate, Job, JobState
from arcspot.domain.launching import Breaker, Launch
from arcspot.domain.reaping import Suspects
from arcspot.ports import Record

KEEP_FINISHED = timedelta(days=90)
# A partition of an index takes 1,000 writes a second, and whoever claims looks into all of a lane.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
SHARDS = 4
REPORT_DUE = "REPORT"
IN_FILES = "FILE"
"""What the index `by_batch` has in the place of a job's state for a receipt."""


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
        case Launch():
            return record.launch_id
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


def receipt_key(key: str) -> str:
    """The row of a receipt, of its first part if there are several."""
    return f"FILE#{key}"


def _part_key(receipt: Receipt) -> str:
    # Never changed once it is written: another content of the file has parts of its own.
    return f"PART#{receipt.part}#{receipt.content}#{receipt.key}"


def queues(lane: int) -> list[str]:
    """The partitions of the index `queue` that hold the READY jobs of a lane."""
    return [f"READY#{lane}#{shard}" for shard in range(SHARDS)]


def earlier_queues() -> list[str]:
    """The partitions of the index `due`, which an earlier release wrote: urgent lanes first."""
    return [f"READY#{lane}" for lane in LANES]


def index_of(record: Record) -> dict[str, Any]:
    """The attributes only indexes and expiry need; an absent one keeps the row out of a sparse index."""
    extra: dict[str, Any] = {}
    if isinstance(record, Job):
        extra["in_batch"] = record.batch_id
        if record.state is JobState.READY:
            shard = crc32(record.job_id.encode("utf-8", "surrogatepass")) % SHARDS
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
        extra |= {"in_batch": record.batch_id, "state": IN_FILES}
        extra["ttl"] = _expires(record.handled_at)
    elif isinstance(record, Launch):
        if record.state.open:
            extra["open"] = "OPEN"
        else:
            extra["ttl"] = _expires(record.gone_at or record.created_at)
    return extra


def stamp(moment: datetime) -> str:
    """A time as text that sorts as the times do, whether or not it has microseconds."""
    return moment.isoformat(timespec="microseconds")


def _expires(moment: datetime) -> int:
    return int((moment + KEEP_FINISHED).timestamp())

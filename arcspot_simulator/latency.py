"""How long a call of a port takes, and how many requests it is: the one place for that.

Assumptions, within what AWS's pages say of one region: DynamoDB get 5, put 6, transaction 12,
BatchGet and Query 10 ms; S3 GET 20, PUT 30, LIST 50 ms. The adapters' threads are counted in.
"""

from __future__ import annotations

import math
from typing import Any

# As arcspot/aws/bucket.py and dynamo.py have them (tests/simulation/test_calls_take_time.py).
AT_ONCE = 32
BATCH_GET = 100
BATCH_WRITE = 25
# Rows of an index of keys in a page of 1 MB, and keys in a page of S3's listing.
PAGE_ROWS = 8_000
PAGE_KEYS = 1_000
# Partitions that the READY jobs of all lanes are in: the index `queue`, and `due` of an earlier release.
QUEUES = 9

CALL_S = 0.01
GET_S, PUT_S, TRANSACTION_S, PAGE_S = 0.005, 0.006, 0.012, 0.01
CALLS_S = {
    "compute.launch": 1.5,
    "objects.read": 0.02,
    "objects.size": 0.02,
    "objects.write": 0.03,
    "objects.write_parts": 0.03,
    "objects.delete": 0.03,
    "objects.keys": 0.05,
    "objects.listing": 0.05,
    "mail.send": 0.05,
}
# Their pages are asked for as somebody goes through them.
LISTINGS = frozenset({"objects.keys", "objects.listing"})
_GETS = frozenset(
    {"job", "batch", "launch", "ledger", "hold", "fleet", "breaker", "suspects", "estimate", "leak", "prices",
     "sweep_row", "token", "reporter"}
)  # fmt: skip
_COUNTS = frozenset({"batch_count", "job_ids_of_batch"})
_ROWS = {"jobs_of_batch": 1, "receipts_of_batch": 1, "open_launches": 1, "batches_due": 2}
"""Store methods that ask an index, by so many queries, and then fetch the rows it told of."""


def seconds(name: str, args: tuple[Any, ...], result: Any) -> float:
    """How long one call of a port takes."""
    port, _, verb = name.partition(".")
    if port == "store":
        return _store_seconds(verb, args, result)
    once = CALLS_S.get(name, CALL_S)
    if name in ("objects.read_many", "objects.fetch_many", "objects.parts"):
        return CALLS_S["objects.read"] * _turns(len(args[0]))
    return once


def _store_seconds(verb: str, args: tuple[Any, ...], result: Any) -> float:
    if verb in _GETS:
        return GET_S
    if verb == "write":
        return PUT_S if len(args) == 1 else TRANSACTION_S
    if verb == "add":
        return PAGE_S * _pages(len(args[0]), BATCH_GET) + PUT_S * _turns(_put(args[0], result))
    if verb == "write_each":
        return PUT_S * _turns(len(args[0]))
    return PAGE_S * requests(f"store.{verb}", args, result)


def requests(name: str, args: tuple[Any, ...], result: Any) -> int:
    """How many requests to AWS one call of a port is. A listing: one, for each page is told of by itself."""
    port, _, verb = name.partition(".")
    if name in ("objects.read_many", "objects.fetch_many", "objects.parts"):
        return len(set(args[0]))
    if port != "store" or verb in _GETS or verb == "write":
        return 1
    if verb == "add":
        return _pages(len(args[0]), BATCH_GET) + _put(args[0], result)
    if verb == "write_each":
        return len(args[0])
    if verb == "record":
        return _pages(len(args), BATCH_WRITE)
    if verb in ("jobs", "receipts"):
        return _pages(len(args[0]), BATCH_GET)
    if verb == "ready_jobs":
        return QUEUES + _pages(len(result), BATCH_GET)
    if verb == "ready_count":
        return QUEUES + int(result) // PAGE_ROWS
    rows = result if isinstance(result, int) else len(result)
    if verb in _COUNTS:
        return _pages(rows, PAGE_ROWS)
    if verb in _ROWS:
        return _ROWS[verb] - 1 + _pages(rows, PAGE_ROWS) + math.ceil(rows / BATCH_GET)
    return 1


def _put(jobs: Any, result: Any) -> int:
    """Of the jobs that were to be added, those that were not there before."""
    return len({job.job_id for job in jobs if result[job.job_id].created_at == job.created_at})


def _pages(items: int, each: int) -> int:
    return max(1, math.ceil(items / each))


def _turns(items: int) -> int:
    """How often so many threads have to go for so many requests."""
    return math.ceil(items / AT_ONCE)

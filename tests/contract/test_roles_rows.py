"""Who may write which rows, add to which history, and list what of the bucket.

Held against the transformed template; IAM is played by `tests/fakes/iam.py`.
"""

from __future__ import annotations

import pytest

from arcspot_simulator.functions import NAMES
from tests.fakes import rights
from tests.fakes.rights import HERE


def table(name: str) -> str:
    return f"arn:aws:dynamodb:{HERE}:table/{name}Table"


def may(function: str, action: str, resource: str, *context: tuple[str, str]) -> bool:
    return rights.may(rights.role_of(function), action, resource, *context)


# ---- rows: who may write what


# Kind of row → a key of it, its table, and who writes it.
WRITERS = {
    "PERIOD#2026-11": ("Ledger", {"launch", "retire", "scale", "watchdog"}),
    "FLEET": ("Ledger", {"launch", "retire", "scale", "watchdog"}),
    "BREAKER": ("Ledger", {"launch", "retire", "runner_api", "watchdog"}),
    "HOLD#20261127T203300-0123abcd": ("Ledger", {"launch", "retire", "scale", "watchdog"}),
    "SUSPECTS": ("Ledger", {"watchdog"}),
    "PRICES": ("Ledger", {"watchdog"}),
    "LEAK#i-1": ("Ledger", {"watchdog"}),
    "ESTIMATE#1.4.0/300": ("Ledger", {"runner_api"}),
    "TOKEN#20261127T203300-0123abcd": ("Ledger", {"launch"}),
    "91730cfb85066e42d2f7a5f8": ("Jobs", {"ingest", "retire", "runner_api", "watchdog"}),
    "BATCH#b": ("Jobs", {"ingest", "report", "scale"}),
    "FILE#tasks/a.json": ("Jobs", {"ingest"}),
    "PART#1#c#tasks/a.json": ("Jobs", {"ingest"}),
    "SWEEP": ("Jobs", {"ingest"}),
    "REPORTER": ("Jobs", {"report"}),
    "20261127T203300-0123abcd": ("Launches", {"launch", "retire", "runner_api", "scale", "watchdog"}),
}


@pytest.mark.parametrize("key", WRITERS)
def test_a_row_is_written_by_those_whose_code_does(key: str) -> None:
    where, writers = WRITERS[key]
    for action in ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"):
        able = {name for name in NAMES if may(name, action, table(where), ("dynamodb:LeadingKeys", key))}
        assert able == (writers if action == "dynamodb:PutItem" else set())


HISTORY = {
    "file#tasks/a.json": {"ingest"},
    "job#91730cfb85066e42d2f7a5f8": {"retire", "runner_api", "watchdog"},
    "launch#20261127T203300-0123abcd": {"launch", "retire", "runner_api", "scale", "watchdog"},
    "batch#b": {"report", "scale"},
    "fleet": {"scale", "watchdog"},
    "ledger#2026-11": {"retire", "scale", "watchdog"},
}


@pytest.mark.parametrize("key", HISTORY)
def test_the_history_is_added_to_by_those_whose_code_does(key: str) -> None:
    """`BatchWriteItem` may delete as well, so it is given of as few rows as can be."""
    asked = ("dynamodb:LeadingKeys", key)
    able = {name for name in NAMES if may(name, "dynamodb:BatchWriteItem", table("Events"), asked)}
    assert able == HISTORY[key]
    assert not any(may(name, "dynamodb:BatchWriteItem", table("Ledger"), asked) for name in NAMES)


def test_one_allowed_row_opens_no_door_for_another_beside_it() -> None:
    """A request of several rows is allowed only if each is."""
    both = [("dynamodb:LeadingKeys", "BREAKER"), ("dynamodb:LeadingKeys", "FLEET")]
    assert may("watchdog", "dynamodb:PutItem", table("Ledger"), *both)
    assert not may("runner_api", "dynamodb:PutItem", table("Ledger"), *both)


READERS = {
    "TOKEN#x": {"launch", "runner_api", "watchdog"},
    "HOLD#x": {"launch", "retire", "watchdog"},
    "PERIOD#2026-11": {"launch", "retire", "scale", "watchdog"},
}


@pytest.mark.parametrize("key", READERS)
def test_a_ledgers_row_is_read_by_those_whose_code_does(key: str) -> None:
    asked = ("dynamodb:LeadingKeys", key)
    assert {n for n in NAMES if may(n, "dynamodb:GetItem", table("Ledger"), asked)} == READERS[key]
    for action in ("dynamodb:Scan", "dynamodb:Query", "dynamodb:BatchGetItem"):
        assert not any(may(name, action, table("Ledger"), asked) for name in NAMES)


# ---- the bucket: who may look where, and replace what


def test_what_an_attempt_left_is_replaced_by_nobody() -> None:
    """Nor by the function that lends the URLs: without the condition S3 denies it, with it S3 refuses."""
    once = ("s3:if-none-match", "*")
    for folder in ("results", "checkpoints"):
        at = f"arn:aws:s3:::bucket/{folder}/j/1/result.json"
        assert not any(may(name, "s3:PutObject", at) for name in NAMES)
        assert {name for name in NAMES if may(name, "s3:PutObject", at, once)} == {"runner_api"}


LISTS = ("s3:ListBucket", "s3:ListBucketVersions")
LISTERS = {
    "tasks/a/": {"s3:ListBucket": {"ingest"}, "s3:ListBucketVersions": {"ingest", "report", "runner_api"}},
    "recurring/a/": {
        "s3:ListBucket": {"ingest"},
        "s3:ListBucketVersions": {"ingest", "report", "runner_api"},
    },
    "rejected/": {"s3:ListBucket": {"ingest"}},
    "results/j/1/": {"s3:ListBucketVersions": {"report", "runner_api"}},
    "checkpoints/j/1/": {"s3:ListBucketVersions": {"runner_api"}},
    "reports/b/": {"s3:ListBucketVersions": {"report"}},
    "logs/": {},
    "": {},
}


@pytest.mark.parametrize("prefix", LISTERS)
def test_the_bucket_is_listed_below_the_folders_that_a_function_reads(prefix: str) -> None:
    asked = ("s3:prefix", prefix)
    for action in LISTS:
        able = {name for name in NAMES if may(name, action, "arn:aws:s3:::bucket", asked)}
        assert able == LISTERS[prefix].get(action, set())
        assert not any(may(name, action, "arn:aws:s3:::bucket") for name in NAMES), (
            "without a prefix: all of it"
        )

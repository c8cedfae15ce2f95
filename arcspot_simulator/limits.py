"""What AWS takes, as far as it can be known without asking: the fakes refuse the same.

Each rule is a function that says what is wrong, in words, or nothing. `tests/fakes/limits.py` holds every
request of every test against them; the stores, buckets and queues in memory refuse by them too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from math import isfinite
from typing import Any

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
PARTITION_KEY_BYTES = 2048
SORT_KEY_BYTES = 1024
ITEM_BYTES = 400 * 1024
TRANSACTION_ITEMS = 100
TRANSACTION_BYTES = 4 * 1024 * 1024
NAME_BYTES = 65_535
DIGITS = 38
LARGEST, SMALLEST = Decimal("9.9999999999999999999999999999999999999E+125"), Decimal("1E-130")
DEPTH = 32
# The keys of our tables and their indexes, all of them texts (held against template.yaml by a test).
KEYS: Mapping[str, int] = {
    "pk": PARTITION_KEY_BYTES,
    "queue": PARTITION_KEY_BYTES,
    "due": PARTITION_KEY_BYTES,
    "in_batch": PARTITION_KEY_BYTES,
    "open": PARTITION_KEY_BYTES,
    "sk": SORT_KEY_BYTES,
    "queued_at": SORT_KEY_BYTES,
    "due_at": SORT_KEY_BYTES,
    "created_at": SORT_KEY_BYTES,
    "state": SORT_KEY_BYTES,
}
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
OBJECT_KEY_BYTES = 1024
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html
PRESIGNED_SECONDS = 7 * 24 * 3600
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
STATE_BYTES = 262_144
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
EVENT_BYTES, REQUEST_BYTES = 1024 * 1024, 6 * 1024 * 1024


def size(value: str | bytes) -> int:
    """Bytes of UTF-8. Half of a surrogate pair, which has none, counts as the three it would take."""
    return len(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)


def text_fault(text: str) -> str:
    """Nothing but half of a surrogate pair is no text: JSON may bring one, UTF-8 has no bytes for it."""
    return "" if text.isascii() or not re.search("[\ud800-\udfff]", text) else f"{text!r:.60}: no valid UTF-8"


# DynamoDB -------------------------------------------------------------------------------------------------


def significant(number: str) -> int:
    """Digits of a number between its leading and trailing zeros."""
    return len(number.lower().partition("e")[0].replace(".", "").lstrip("+-0").rstrip("0"))


def number_fault(number: str) -> str:
    """38 digits, and a magnitude from 1E-130 to 9.99…E+125; no NaN and no infinity."""
    try:
        value = abs(Decimal(number))
    except InvalidOperation:
        return f"{number!r:.60}: no number"
    if not value.is_finite():
        return f"{number}: NaN and infinity are no numbers"
    if significant(number) > DIGITS:
        return f"{number:.60}: more than {DIGITS} digits"
    if value and not SMALLEST <= value <= LARGEST:
        return f"{number:.60}: below 1E-130 or above 9.99E+125"
    return ""


def weight(value: Mapping[str, Any]) -> int:
    """Bytes that an attribute's value takes.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    ((kind, held),) = value.items()
    if kind in ("S", "B"):
        return size(held)
    if kind == "N":
        return (significant(held) + 1) // 2 + 1 + int(held.startswith("-"))
    if kind in ("BOOL", "NULL"):
        return 1
    if kind == "L":
        return 3 + sum(1 + weight(each) for each in held)
    if kind == "M":
        return 3 + sum(1 + size(name) + weight(each) for name, each in held.items())
    return sum(weight({str(kind)[0]: each}) for each in held)


def item_weight(item: Mapping[str, Any]) -> int:
    """Bytes of a whole item."""
    return sum(size(name) + weight(value) for name, value in item.items())


def key_fault(name: str, value: Mapping[str, Any]) -> str:
    """A key of a table or an index is a text that is not empty and not too long."""
    ((kind, held),) = value.items()
    if kind != "S":
        return f"{name}: a key of type {kind}, expected S"
    if not 1 <= size(held) <= KEYS[name]:
        return f"{name}: a key of {size(held)} bytes, expected 1 to {KEYS[name]:,}"
    return text_fault(held)


def item_faults(item: Mapping[str, Any]) -> Iterator[str]:
    """Everything for which DynamoDB would refuse to store an item."""
    for name, value in item.items():
        if name in KEYS and (fault := key_fault(name, value)):
            yield fault
        yield from value_faults(value, at=name)
        if not 1 <= size(name) <= NAME_BYTES:
            yield f"an attribute's name of {size(name)} bytes"
    if (total := item_weight(item)) > ITEM_BYTES:
        yield f"an item of {total:,} bytes, expected at most 400 KB"


def value_faults(value: Mapping[str, Any], *, at: str = "", depth: int = 0) -> Iterator[str]:
    """What is wrong inside of an attribute's value: texts, numbers, nesting, empty names and sets."""
    ((kind, held),) = value.items()
    fault = ""
    if kind == "S":
        fault = text_fault(held)
    elif kind == "N":
        fault = number_fault(held)
    elif kind in ("SS", "NS", "BS") and (not held or len(set(held)) < len(held)):
        fault = "a set that is empty or has a member twice"
    elif kind in ("L", "M"):
        if depth == DEPTH:
            fault = f"nested deeper than {DEPTH} levels"
        else:
            named = held.items() if kind == "M" else enumerate(held)
            for name, each in named:
                if isinstance(name, str) and (not name or text_fault(name)):
                    yield f"{at}: {name!r} is no attribute's name"
                yield from value_faults(each, at=f"{at}.{name}", depth=depth + 1)
    if fault:
        yield f"{at}: {fault}"


def transaction_faults(rows: Sequence[tuple[str, str]], weights: Sequence[int]) -> Iterator[str]:
    """What is wrong with a transaction as a whole: `rows` are table and key of each, `weights` their bytes.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
    """
    if len(rows) > TRANSACTION_ITEMS:
        yield f"a transaction of {len(rows)} rows, expected at most {TRANSACTION_ITEMS}"
    if len(set(rows)) < len(rows):
        yield "multiple operations on one item: a row comes twice in one transaction"
    if sum(weights) > TRANSACTION_BYTES:
        yield f"a transaction of {sum(weights):,} bytes, expected at most 4 MB"


def quickly(record: Any, key: str = "x") -> int | None:
    """Bytes that a record may take, too many rather than too few; None when only an exact look can judge it.

    For stores in memory: `item_faults` has nothing against what this gives a number for (a test holds the
    two together). `key` is the row's own; a batch's name is a key of an index too.
    """
    try:
        at_most = 8 * _rough(record, 0)
    except _Odd:
        return None
    keys = (key, getattr(record, "batch_id", "x"))
    fine = all(1 <= len(each) <= SORT_KEY_BYTES - 24 for each in keys) and at_most <= ITEM_BYTES
    return at_most if fine else None


class _Odd(Exception):
    """Something that only an exact look can judge."""


def _rough(value: Any, depth: int) -> int:
    """An eighth, at least, of the bytes a value may take. Raises _Odd for what is not certainly good."""
    kind = type(value)
    if kind is str:
        if not value.isascii():
            raise _Odd
        return len(value) + 1
    if kind is int:
        if not -(10**DIGITS) < value < 10**DIGITS:
            raise _Odd
        return 8
    if kind is float:
        if not isfinite(value) or (value and not 1e-100 < abs(value) < 1e100):
            raise _Odd
        return 8
    if value is None or kind is bool:
        return 2
    if depth > DEPTH - 8:
        raise _Odd
    if is_dataclass(value):
        return sum(16 + _rough(getattr(value, field.name), depth + 1) for field in fields(value))
    if isinstance(value, Mapping):
        if "" in value:
            raise _Odd
        return sum(2 + _rough(key, depth) + _rough(each, depth + 1) for key, each in value.items())
    if isinstance(value, tuple | list):
        return 3 + sum(1 + _rough(each, depth + 1) for each in value)
    if isinstance(value, datetime | Enum):
        return 40
    raise _Odd


# S3 -------------------------------------------------------------------------------------------------------


def stored_key_fault(key: str) -> str:
    """A key of 1 to 1,024 bytes of UTF-8: more S3 itself does not ask for."""
    if not 1 <= size(key) <= OBJECT_KEY_BYTES:
        return f"{key!r:.60}: a key of {size(key)} bytes, expected 1 to 1,024"
    return text_fault(key)


def object_key_fault(key: str) -> str:
    """The same without `.` and `..` as parts, of which URLs, SDKs and proxies make another key."""
    if {".", ".."} & set(key.split("/")):
        return f"{key!r:.60}: `.` or `..` as a part of a key"
    return stored_key_fault(key)


def presigned_fault(seconds: float) -> str:
    """A presigned URL lives for a second to seven days."""
    return "" if 1 <= seconds <= PRESIGNED_SECONDS else f"a URL of {seconds} s, expected 1 s to 7 days"


# Step Functions, Lambda, EventBridge Scheduler -------------------------------------------------------------


def execution_name_fault(name: str) -> str:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html"""
    if not 1 <= len(name) <= 80:
        return f"{name!r:.90}: an execution's name of {len(name)} characters, expected 1 to 80"
    odd = re.search(r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]", name)
    return f"{name!r}: white space, brackets, wildcards or special characters" if odd else ""


def document_fault(document: Any, at_most: int, what: str) -> str:
    """JSON of limited size."""
    total = size(json.dumps(document))
    return f"{what} of {total:,} bytes, expected at most {at_most:,}" if total > at_most else ""


def schedule_name_fault(name: str) -> str:
    """https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html"""
    return "" if re.fullmatch(r"[0-9a-zA-Z\-_.]{1,64}", name) else f"{name!r:.90}: no schedule's name"


def refuse(*faults: str, error: Callable[[str], Exception] = ValueError) -> None:
    """Raise what AWS would answer, if anything is wrong."""
    found = [fault for fault in faults if fault]
    if found:
        raise error("; ".join(found))

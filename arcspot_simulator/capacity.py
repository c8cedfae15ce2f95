"""DynamoDB's units: what a write or a read of rows of these sizes costs on demand.

A write unit is 1 KB of a row, a read unit 4 KB read consistently; a transaction costs twice, an eventually
consistent read half. A row of an index is written when its keys or what is projected change.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/capacity-mode.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

WRITE_BYTES, READ_BYTES = 1024, 4096
# What DynamoDB keeps with each row and with each row of an index, for the storage bill.
OVERHEAD_BYTES = 100

Item = Mapping[str, Any]
"""A row in DynamoDB's JSON: name → {type: value}."""


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index: the names of its keys, and whether it holds whole rows."""

    keys: tuple[str, ...]
    whole: bool = False

    def entry(self, item: Item | None) -> Item | None:
        """What the index holds of a row; None when the row lacks one of the keys (a sparse index)."""
        if item is None or any(name not in item for name in self.keys):
            return None
        return item if self.whole else {name: item[name] for name in {*self.keys, "pk"} if name in item}


def size(item: Item | None) -> int:
    """Bytes of a row: names and values."""
    return sum(len(name.encode()) + _value(value) for name, value in item.items()) if item else 0


def _value(value: Mapping[str, Any]) -> int:
    ((kind, told),) = value.items()
    if kind == "S":
        return len(str(told).encode())
    if kind == "N":
        # About a byte for two digits, and one more.
        return math.ceil(len(str(told).strip("-").replace(".", "")) / 2) + 1
    if kind in ("BOOL", "NULL"):
        return 1
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _value(each) for name, each in told.items())
    if kind == "L":
        return 3 + sum(1 + _value(each) for each in told)
    return sum(len(str(each).encode()) for each in told) if isinstance(told, list | set) else len(told)


def write_units(
    before: Item | None, after: Item, indexes: Iterable[Index], *, transaction: bool = False
) -> int:
    """Units of one put: the larger of the row before and after, and each index that changes.

    A transaction doubles the row itself; the indexes follow by themselves, each write once.
    """
    row = _written(max(size(before), size(after)))
    return row * (2 if transaction else 1) + sum(_index_units(each, before, after) for each in indexes)


def _index_units(index: Index, before: Item | None, after: Item) -> int:
    old, new = index.entry(before), index.entry(after)
    if old == new:
        return 0
    if old is None or new is None:
        return _written(size(old or new))
    if any(old[name] != new[name] for name in index.keys):
        return _written(size(old)) + _written(size(new))  # one is deleted, one is put
    return _written(max(size(old), size(new)))


def _written(length: int) -> int:
    return max(1, math.ceil(length / WRITE_BYTES))


def read_units(lengths: Iterable[int]) -> int:
    """Units of consistent reads, one row at a time; a row that is not there costs as the smallest."""
    return sum(max(1, math.ceil(length / READ_BYTES)) for length in lengths)


def query_units(length: int) -> float:
    """Units of an eventually consistent query of so many bytes; one that finds nothing costs half a unit."""
    return 0.5 * max(1, math.ceil(length / READ_BYTES))

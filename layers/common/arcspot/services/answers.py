"""Read what a report needs from the bucket, many objects at once; what fails fails alone."""

from __future__ import annotations

from collections.abc import Sequence

from arcspot.domain.predictions import MAX_PREDICTION_BYTES
from arcspot.errors import ObjectUnreadable, RecordMissing
from arcspot.ports import Fetched, Objects

LASTING = (RecordMissing, ObjectUnreadable)
"""What another try does not change."""


def predictions(objects: Objects, prefixes: Sequence[str]) -> dict[str, bytes | Exception]:
    """The bytes of each result's `prediction.json`, or why there are none; by prefix.

    Never more of one than its limit and a byte, which is enough to refuse it. What the bytes say is for
    `predictions.parse_prediction` to judge.
    """
    wanted = [(prefix + "prediction.json", None) for prefix in prefixes]
    found = fetched(objects, wanted, last=MAX_PREDICTION_BYTES + 1)
    return {
        prefix: each.body if isinstance(each, Fetched) else each
        for prefix, each in zip(prefixes, found, strict=True)
    }


def fetched(
    objects: Objects, wanted: Sequence[tuple[str, str | None]], *, last: int | None = None
) -> list[Fetched | Exception]:
    """Each of these objects, in order. What may have failed by chance is asked for once more."""
    found = objects.fetch_many(wanted, last=last)
    again = [
        n for n, each in enumerate(found) if isinstance(each, Exception) and not isinstance(each, LASTING)
    ]
    if again:
        for n, each in zip(again, objects.fetch_many([wanted[n] for n in again], last=last), strict=True):
            found[n] = each
    return found

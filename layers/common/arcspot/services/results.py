"""Read the answers of many results, whatever release's runner left them, several at once."""

from __future__ import annotations

from collections.abc import Sequence

from arcspot.domain import results
from arcspot.domain.results import PREDICTION, RESULT
from arcspot.errors import EndTooShort, ObjectUnreadable, RecordMissing, ResultBroken
from arcspot.ports import Fetched, Objects

LASTING = (RecordMissing, ObjectUnreadable, ResultBroken)
"""What another try does not change."""


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


def predictions(objects: Objects, prefixes: Sequence[str]) -> dict[str, bytes | Exception]:
    """The bytes of each result's `prediction.json`, or why there are none; by prefix.

    A reason is ResultBroken, ObjectUnreadable, or whatever S3 or reading this one raised. One GET of at most
    32 KiB for each result, two for one of an earlier release. What the bytes say is for `scoring` to judge.
    """
    prefixes = list(dict.fromkeys(prefixes))
    found = _read(objects, prefixes, RESULT, last=results.END_BYTES)
    longer = [each for each in prefixes if isinstance(found.get(each), EndTooShort)]
    found |= _read(objects, longer, RESULT, last=results.LONG_END_BYTES)
    earlier = [each for each in prefixes if each not in found]
    found |= _read(objects, earlier, PREDICTION, last=results.MOST_OF_A_DOCUMENT + 1)
    gone = ResultBroken(f"neither {RESULT} nor {PREDICTION} is in the bucket: it was removed")
    return {each: found.get(each, gone) for each in prefixes}


def _read(objects: Objects, prefixes: Sequence[str], name: str, *, last: int) -> dict[str, bytes | Exception]:
    """The same of those that have an object of this name."""
    if not prefixes:
        return {}
    there = fetched(objects, [(each + name, None) for each in prefixes], last=last)
    found: dict[str, bytes | Exception] = {}
    for each, object_ in zip(prefixes, there, strict=True):
        if isinstance(object_, RecordMissing):
            continue
        if isinstance(object_, Exception):
            found[each] = object_
            continue
        try:
            found[each] = results.part({name: object_.body}, PREDICTION)
        except (
            Exception
        ) as fault:  # ResultBroken, or what nobody thought of: the others are read all the same
            found[each] = fault
    return found

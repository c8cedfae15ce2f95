"""Read JSON that somebody else wrote as one of our own records: the record's types are its schema.

    run = documents.read(Run, body)

Whatever the bytes are, that gives a Run whose fields have their types, or raises Unfit with the JSON path of
the first fault. Task files, which people write by hand and which may be large, have a reader of their own
(`strict_json`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from arcspot.domain.faults import child, kind, shown

MOST_BYTES = 64 * 1024 * 1024
MOST_LEVELS = 64
LARGEST = 10**24
"""No count, no time and no sum of money is larger, and it is still a finite float."""

T = TypeVar("T")


class Unfit(ValueError):
    """Bytes or a value that are not what is expected; says where, what is expected and what was found."""


def read(record: type[T], body: bytes | str, *, most: int = MOST_BYTES) -> T:
    """The record in the bytes of a JSON document of at most `most` bytes. Raises Unfit."""
    found: T = fitting(record, parsed(body, most=most))
    return found


def parsed(body: bytes | str, *, most: int = MOST_BYTES) -> Any:
    """The value in the bytes (or the text) of a JSON document. Raises Unfit.

    It holds no NaN and no infinity, and is at most 64 levels deep.
    """
    if len(body) > most:
        raise Unfit(f"expected at most {most:,} bytes; found {len(body):,}")
    try:
        text = body if isinstance(body, str) else body.decode("utf-8-sig")
        found = json.loads(text, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise Unfit(f"expected text in UTF-8; found other bytes at {error.start:,}") from None
    except json.JSONDecodeError as error:
        raise Unfit(f"expected JSON; it stops at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise Unfit(f"expected at most {MOST_LEVELS} levels of nesting; found hundreds") from None
    except Unfit:
        raise
    except ValueError:  # int() refuses thousands of digits (CVE-2020-10735)
        raise Unfit("expected numbers of a few digits; found one of thousands") from None
    _check_levels(found)
    return found


def fitting(record: Any, value: Any, path: str = "$") -> Any:
    """The value as what `record` says: a dataclass of such, list[…], tuple[…], dict[str, …], a union, str,
    int, float, bool, None, Path, a Literal, or Any. Raises Unfit.

    An object becomes a dataclass: each field without a default is there, and nothing else is.
    """
    if record is Any or record is object:
        return value
    if dataclasses.is_dataclass(record):  # one that was read already is none of JSON's
        return (
            value if isinstance(record, type) and isinstance(value, record) else _record(record, value, path)
        )
    origin, inside = typing.get_origin(record), typing.get_args(record)
    if origin in (types.UnionType, typing.Union):
        return _one_of(inside, value, path)
    if origin is typing.Literal:
        if not any(value is each or (type(value) is type(each) and value == each) for each in inside):
            raise _unfit(path, f"one of {', '.join(map(str, inside))}", value)
        return value
    if origin in (list, Sequence):
        return [fitting(inside[0], each, child(path, n)) for n, each in enumerate(_list(value, path))]
    if origin is tuple:
        return _tuple(inside, _list(value, path), path)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _unfit(path, "an object", value)
        return {name: fitting(inside[1], each, child(path, name)) for name, each in value.items()}
    return _plain(record, value, path)


def _plain(record: Any, value: Any, path: str) -> Any:
    if record in (dict, Mapping) and isinstance(value, dict):
        return value
    if record is list and isinstance(value, list):
        return value
    if record in (None, types.NoneType) and value is None:
        return None
    if record is bool and isinstance(value, bool):
        return value
    if record is str and isinstance(value, str):
        return value
    if record is Path and isinstance(value, str) and "\0" not in value:
        return Path(value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if record is int and number and isinstance(value, int):
        return value
    if record is float and number:
        return value
    raise _unfit(path, _NAMES.get(record, str(record)), value)


_NAMES: Mapping[Any, str] = {
    dict: "an object", Mapping: "an object", list: "a list", None: "null", types.NoneType: "null",
    bool: "true or false", str: "a text", Path: "a path", int: "a whole number", float: "a number",
}  # fmt: skip


def _record(record: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _unfit(path, "an object", value)
    known = _hints(record)
    fields = {field.name: field for field in dataclasses.fields(record)}
    for name in value:
        if name not in fields:
            raise Unfit(f"at {path} expected no key {shown(name, quoted=True)}")
    for name, field in fields.items():
        optional = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        if name not in value and not optional:
            raise Unfit(
                f"at {child(path, name)} expected {_NAMES.get(known[name], 'a value')}; found nothing"
            )
    found = {name: fitting(known[name], each, child(path, name)) for name, each in value.items()}
    try:
        return record(**found)
    except Unfit:
        raise
    except ValueError as fault:  # the record's own rule
        raise Unfit(f"at {path}: {fault}") from fault


@cache
def _hints(record: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(record)


def _one_of(choices: Sequence[Any], value: Any, path: str) -> Any:
    faults = []
    for each in choices:
        try:
            return fitting(each, value, path)
        except Unfit as fault:
            faults.append(fault)
    # The one that came furthest says what is wrong: that a list is not null says nothing.
    raise max(faults, key=lambda fault: str(fault).count("[") + str(fault).count("."))


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _unfit(path, "a list", value)
    return value


def _tuple(inside: Sequence[Any], value: list[Any], path: str) -> tuple[Any, ...]:
    if len(inside) == 2 and inside[1] is Ellipsis:
        return tuple(fitting(inside[0], each, child(path, n)) for n, each in enumerate(value))
    if len(value) != len(inside):
        raise _unfit(path, f"a list of {len(inside)}", value)
    return tuple(
        fitting(each, found, child(path, n))
        for n, (each, found) in enumerate(zip(inside, value, strict=True))
    )


def _check_levels(value: Any) -> None:
    """Raise Unfit where the value is too deep for whoever writes it out again."""
    level, at = 0, [value]
    while at := [
        inner
        for each in at
        if isinstance(each, list | dict)
        for inner in (each.values() if isinstance(each, dict) else each)
        if isinstance(inner, list | dict)
    ]:
        level += 1
        if level > MOST_LEVELS:
            raise Unfit(f"expected at most {MOST_LEVELS} levels of nesting; found more")


def _constant(name: str) -> Any:
    raise Unfit(f"expected JSON, which has no NaN and no Infinity; found {name}")


def _unfit(path: str, expected: str, value: Any) -> Unfit:
    found = "no number" if isinstance(value, float) and not math.isfinite(value) else kind(value)
    return Unfit(f"at {path} expected {expected}; found {found}")

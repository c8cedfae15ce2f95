"""Records as DynamoDB-able data and back: dataclasses by their fields, times as ISO-8601 UTC text."""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
MAX_KEY_BYTES = 2048


def possible_key(text: str) -> bool:
    """Whether a row can have this partition key: 1 to 2,048 bytes of UTF-8."""
    try:
        return 1 <= len(text.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def encode(value: Any) -> Any:
    """Plain data of a record. Raises TypeError for what no record holds."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if value is None or isinstance(value, str | bool | int | Decimal):
        return value
    raise TypeError(f"cannot store a {type(value).__name__}")


def decode(kind: type[T], data: Mapping[str, Any]) -> T:
    """A record from plain data; attributes it does not know are left out (they belong to indexes).

    Raises TypeError or ValueError, with the field's name, for data that is no such record.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"expected a {kind.__name__}, found a {type(data).__name__}")
    known: dict[str, Any] = {}
    for name, hint in _hints(cast(Hashable, kind)).items():
        if name in data:
            try:
                known[name] = _value(hint, data[name])
            except (ArithmeticError, TypeError, ValueError) as error:
                raise ValueError(f"{name}: {error}") from error
    return kind(**known)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _value(hint: Any, value: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _value(next(arg for arg in get_args(hint) if arg is not type(None)), value)
    if hint is Any:
        return _plain(value)
    if origin is tuple:
        return tuple(_value(get_args(hint)[0], item) for item in _checked(value, list | tuple))
    if origin is not None and issubclass(origin, Mapping):
        return {key: _value(get_args(hint)[1], item) for key, item in _checked(value, Mapping).items()}
    if hint is datetime:
        moment = datetime.fromisoformat(_checked(value, str))
        if moment.tzinfo is None:
            raise ValueError(f"{value!r} names no time zone")
        return moment
    if hint in (int, float):
        return hint(_checked(value, Decimal | int | float))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if is_dataclass(hint):
        return decode(hint, value)  # type: ignore[arg-type]
    return _checked(value, hint) if hint in (str, bool) else value


def _checked(value: Any, kind: Any) -> Any:
    """The value, if it is of a kind; a row that says otherwise must not be found out much later."""
    if not isinstance(value, kind):
        raise TypeError(f"found a {type(value).__name__}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value

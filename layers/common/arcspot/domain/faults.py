"""What is wrong with a file, where, and in which words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: a JSON path such as ``$.train[0].input[2][1]``."""

    path: str
    expected: str
    found: str


class Refused(Exception):
    """Carries a fault out of nested readers; never leaves the domain's readers."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(path)
        self.fault = Fault(path, expected, found)


class NotJson(Refused):
    """A fault of the text: the file as a whole cannot be used."""


def describe(key: str, fault: Fault) -> str:
    """One sentence for a person: the file, the place in it, what was expected, what was found."""
    return f"{shown(key)}: at {fault.path} expected {fault.expected}; found {fault.found}."


def child(path: str, key: str | int) -> str:
    """The JSON path one step further: ``.name``, ``["any id"]`` or ``[3]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}", key):
        return f"{path}.{key}"
    return f"{path}[{shown(key, quoted=True)}]"


def kind(value: object, items: str = "item") -> str:
    """What a JSON value is, in few words whatever its size."""
    if isinstance(value, list):
        return f"a list of {count(len(value), items)}" if value else "an empty list"
    if isinstance(value, Mapping):
        return "an object" if value else "an empty object"
    if isinstance(value, str):
        return f"the text {shown(value, quoted=True)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return shown(str(value)) if abs(value) < 1e15 else "a huge number"
    return json.dumps(value) if value is None or isinstance(value, bool) else type(value).__name__


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def shown(text: str, *, quoted: bool = False, limit: int = 60) -> str:
    """Foreign text made safe to print on one line; ids are cut to ``limit`` characters."""
    if quoted and len(text) > limit:
        text = text[: limit - 1] + "…"
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return '"' + escaped.replace('"', '\\"') + '"' if quoted else escaped


def encodable(text: str) -> bool:
    """False when the text holds half of a surrogate pair, which no UTF-8 can carry."""
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)

"""Read the JSON of a task file strictly, and in little time and memory whatever the bytes are.

First the file's outermost object is walked: its keys, and where each value begins and ends. Patterns find
that without making objects. Then one value at a time is parsed, after its brackets, commas and quotes were
counted. So a file needs the memory of its largest task, and the first thing that is no JSON ends it
(docs/decisions/065-bounded-reading.md, measured by `python -m bench reading`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, islice
from typing import Any

from arcspot.domain.faults import NotJson, Refused, child, shown

MAX_DEPTH = 32  # a task needs five levels, in Kaggle's form six
MAX_BRACKETS = 1_500_000  # 10,000 tasks of four pairs of 9 x 9 have 800,000
# In one value of the outermost object. A task at all of its own limits has 12,603 lists and objects, 360,000
# commas and 804 quotes; the rest is for fields that nobody reads.
MAX_VALUE = {"lists and objects": 50_000, "commas": 500_000, "quotes": 100_000}
DEPTH_LOOKED_AT = 200_000  # brackets: enough to say how deep a text is that is too deep
KEYS_LOOKED_AT = 1_000  # of an object that is too large to be parsed

A_FILE = 'a JSON object: a task with "train" and "test", or many tasks as {id: task}'
JSON_ONLY = "JSON, which has no NaN and no Infinity"
DEPTH = f"at most {MAX_DEPTH} levels of nesting"

Place = tuple[int, int]
"""Where a value begins and where it ends."""
Members = dict[str, Place]
"""Key → where in the text its value lies."""

# Possessive throughout: no text makes a pattern try again, so each takes linear time.
_SPACE = re.compile(r"[ \t\n\r]*+")
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_BRACKET = re.compile(rf'(?:[^"\[\]{{}}]++|{_STRING})*+([\[\]{{}}])', re.DOTALL)
_CONSTANT = re.compile(rf'(?:[^"NI]++|{_STRING})*+(NaN|Infinity)', re.DOTALL)
_PLAIN = json.JSONDecoder()
_BOM = b"\xef\xbb\xbf"


def decoded(body: bytes) -> str:
    """The file's text. Raises NotJson where it is not UTF-8 or has more brackets than any file of tasks."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{body[error.start]:02X} at offset {error.start:,}"
        raise NotJson("$", "text in UTF-8", found) from None
    brackets = text.count("[") + text.count("{")
    if brackets > MAX_BRACKETS:
        _check_depth(text, 0, above=0)
        raise NotJson("$", f"at most {MAX_BRACKETS:,} lists and objects in a file", f"{brackets:,}")
    return text


def in_bytes(text: str, body: bytes, places: Sequence[Place]) -> list[Place]:
    """Where in the file's bytes these parts of its text lie; `places` are in order and do not overlap."""
    shift = len(_BOM) if body.startswith(_BOM) else 0
    if text.isascii():
        return [(begin + shift, end + shift) for begin, end in places]
    found: list[Place] = []
    at, seen = shift, 0
    for begin, end in places:
        first = at + len(text[seen:begin].encode())
        at, seen = first + len(text[begin:end].encode()), end
        found.append((first, at))
    return found


def members(text: str, at_most: int) -> Members | None:
    """The outermost object's keys and where their values lie, or None when the text is no object.

    Raises NotJson for a key that comes twice, for more than ten times `at_most` keys (who has more than
    `at_most` is to be told how many), and where the text between the values is not JSON.
    """
    begin = _space(text, 0)
    if text[begin : begin + 1] != "{":
        return None
    found: Members = {}
    at = begin + 1
    for key, value_begin, at in _walked(text, begin, above=1):
        if key in found:
            raise _twice("$", key)
        found[key] = value_begin, at
        if len(found) > 10 * at_most:
            raise NotJson("$", f"at most {at_most:,} tasks in a file", f"more than {10 * at_most:,} tasks")
    if (rest := _space(text, _space(text, at) + 1)) != len(text):
        raise _not_json(text, rest)
    return found


def outermost(text: str) -> Place:
    """Where the text's one value lies: all of it but the whitespace around it."""
    begin = _space(text, 0)
    return begin, max(begin, len(text.rstrip(" \t\n\r")))


def whole(text: str) -> Any:
    """The text's one value. Raises as `value` does, and NotJson where something comes after it."""
    begin = _space(text, 0)
    end = _end(text, begin, above=0)
    found = value(text, begin, end, "$")
    if (rest := _space(text, end)) != len(text):
        raise _not_json(text, rest)
    return found


def value(text: str, begin: int, end: int, path: str) -> Any:
    """The value that lies there; `path` is its JSON path.

    Raises NotJson at the first NaN, Infinity, repeated key or whatever else is not JSON, and Refused, before
    anything is parsed, where there is more of it than a task has.
    """
    _check_amount(text, begin, end, path)
    oddities: list[_Constant | _Repeated] = []

    def constant(name: str) -> _Constant:
        oddities.append(_Constant(name))
        return _Constant(name)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(items)
        if len(plain) == len(items):
            return plain
        times = Counter(key for key, _ in items)
        repeated = _Repeated(plain)
        repeated.key = next(key for key in times if times[key] > 1)
        oddities.append(repeated)
        return repeated

    decoder = json.JSONDecoder(parse_constant=constant, object_pairs_hook=pairs)
    found, stop = _decode(decoder, text, begin)
    if stop != end:
        raise _not_json(text, stop)
    if oddities:
        _refuse_oddity(path, found)
    return found


def is_list_of_lists(text: str, begin: int) -> bool:
    """Whether a list of lists, or of objects, begins there; nothing is read for it."""
    return text[begin] == "[" and text[_space(text, begin + 1)] in "[{"


# --- how far a value goes, and how much is in it -----------------------------------------


def _walked(text: str, begin: int, *, above: int) -> Iterator[tuple[str, int, int]]:
    """Each key of the object that begins here, and where its value begins and ends.

    Raises NotJson where the text between the values is not JSON, up to the object's closing bracket.
    """
    at = _space(text, begin + 1)
    more = text[at : at + 1] != "}"
    while more:
        if text[at : at + 1] != '"':
            raise _not_json(text, at)
        key, at = _scalar(text, at)
        at = _space(text, at)
        if text[at : at + 1] != ":":
            raise _not_json(text, at)
        value_begin = _space(text, at + 1)
        end = _end(text, value_begin, above=above)
        yield str(key), value_begin, end
        at = _space(text, end)
        more = text[at : at + 1] == ","
        if more:
            at = _space(text, at + 1)
    if text[at : at + 1] != "}":
        raise _not_json(text, at)


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _end(text: str, begin: int, *, above: int) -> int:
    """Where the value that begins here, below so many levels, ends.

    Raises NotJson where it does not end, or is nested too deeply.
    """
    if text[begin : begin + 1] not in ("[", "{"):
        return _scalar(text, begin)[1]
    found = _nested(MAX_DEPTH - above).match(text, begin)
    if found is None:
        _check_depth(text, begin, above=above)
        raise _not_json(text, len(text.rstrip()))
    return found.end()


@cache
def _nested(levels: int) -> re.Pattern[str]:
    """A list or object of at most so many levels."""
    inside = rf'(?:[^"\[\]{{}}]++|{_STRING})*+'
    for _ in range(levels - 1):
        inside = rf'(?:[^"\[\]{{}}]++|{_STRING}|[\[{{]{inside}[\]}}])*+'
    return re.compile(rf"[\[{{]{inside}[\]}}]", re.DOTALL)


def _check_depth(text: str, begin: int, *, above: int) -> None:
    """Raise NotJson where the first brackets from `begin` on are nested too deeply."""
    steps = [1 if bracket in "[{" else -1 for bracket in islice(_brackets(text, begin), DEPTH_LOOKED_AT)]
    deepest = max(accumulate(steps, initial=above))
    if deepest > MAX_DEPTH:
        more = " or more" if len(steps) == DEPTH_LOOKED_AT else ""
        raise NotJson("$", DEPTH, f"{deepest:,} levels{more}")


def _brackets(text: str, at: int) -> Iterator[str]:
    # Not finditer: where no bracket follows, it looks again from every character on.
    while found := _BRACKET.match(text, at):
        yield found[1]
        at = found.end()


def _check_amount(text: str, begin: int, end: int, path: str) -> None:
    for what, signs in (("lists and objects", "[{"), ("commas", ","), ("quotes", '"')):
        amount = sum(text.count(sign, begin, end) for sign in signs)
        if amount <= MAX_VALUE[what]:
            continue
        if constant := _CONSTANT.match(text, begin, end):
            raise NotJson("$", JSON_ONLY, f"{constant[1]} at {_place(text, constant.start(1))}")
        _check_first_keys(text, begin, path)
        raise Refused(path, f"a task, which has at most {MAX_VALUE[what]:,} {what}", f"{amount:,}")


def _check_first_keys(text: str, begin: int, path: str) -> None:
    """Raise NotJson for a key that comes twice among the first of an object."""
    seen: set[str] = set()
    if text[begin] == "{":
        for key, _, _ in islice(_walked(text, begin, above=2), KEYS_LOOKED_AT):
            if key in seen:
                raise _twice(path, key)
            seen.add(key)


# --- json's own reader, in our words -----------------------------------------------------


class _Constant(str):
    """Stands where the text says NaN or Infinity, so that its path can be told."""


class _Repeated(dict[str, Any]):
    """An object one of whose keys came twice; ``key`` is the first of them."""

    key: str


def _scalar(text: str, begin: int) -> tuple[Any, int]:
    """A text, number or word, and where it ends."""
    return _decode(_PLAIN, text, begin)


def _decode(decoder: json.JSONDecoder, text: str, begin: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        raise _not_json(text, error.pos) from None
    except RecursionError:  # no text within MAX_DEPTH makes one
        raise NotJson("$", DEPTH, "more") from None
    except ValueError:  # int() refuses thousands of digits (CVE-2020-10735)
        raise NotJson("$", "numbers of a few digits", "a number of thousands of digits") from None


def _not_json(text: str, at: int) -> NotJson:
    if not text or text.isspace():
        return NotJson("$", A_FILE, "an empty file (only whitespace)")
    return NotJson("$", A_FILE, f"text that stops being JSON at {_place(text, at)}")


def _place(text: str, at: int) -> str:
    """Line and column; Python 3.13 blames a trailing comma, older ones the bracket after it."""
    if text[at : at + 1] in ("]", "}"):
        last = len(text[max(0, at - 1000) : at].rstrip()) + max(0, at - 1000) - 1
        at = last if text[last : last + 1] == "," else at
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def _twice(path: str, key: str) -> NotJson:
    return NotJson(path, "each key once", f"the key {shown(key, quoted=True)} twice")


def _refuse_oddity(path: str, found: object) -> None:
    """Raise for the first NaN, Infinity or repeated key at or under ``found``."""
    if isinstance(found, _Constant):
        raise NotJson(path, JSON_ONLY, str(found))
    if isinstance(found, _Repeated):
        raise _twice(path, found.key)
    if isinstance(found, dict):
        for key, item in found.items():
            _refuse_oddity(child(path, key), item)
    elif isinstance(found, list):
        for index, item in enumerate(found):
            if not isinstance(item, int):
                _refuse_oddity(child(path, index), item)

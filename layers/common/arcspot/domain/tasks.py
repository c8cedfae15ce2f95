"""Read task files: what is a task, what is refused, and in which words.

A task file holds one task, ``{"train": [...], "test": [...]}``, or many in Kaggle's
form, ``{id: task}``. `read_task_file` never raises: whatever the bytes are, it gives
the tasks that can be used and a `Fault` for everything that cannot. `submit` and
`ingest` both print a fault through `describe`, so a person reads the same sentence
wherever a file is refused.

Sizes are those of the ARC tasks themselves (Chollet, "On the Measure of Intelligence",
2019: grids of 1 to 30 cells a side, ten colours); the other limits keep one file
within the memory and time of one Lambda invocation.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from arcspot.errors import TaskFileRefused

MAX_FILE_BYTES = 5 * 1024 * 1024
MAX_TASKS_PER_FILE = 10_000
MAX_PAIRS = 100  # demonstrations, and test inputs, in one task
MAX_SIDE = 30
MAX_COLOUR = 9
MAX_DEPTH = 32  # JSON nesting; a task needs five levels, in Kaggle's form six
MAX_ID_BYTES = 200  # a task id becomes a folder name (255 bytes on most file systems)
MAX_KEY_BYTES = 900  # S3 allows 1024; the rest is for prefixes such as "rejected/"

Grid = tuple[tuple[int, ...], ...]
"""Rows of colours 0..9, all of one length; 1..30 rows of 1..30 cells."""

A_GRID = f"a grid: a list of 1 to {MAX_SIDE} rows"
A_ROW = f"a row: a list of 1 to {MAX_SIDE} colours"
A_COLOUR = f"a colour: a whole number from 0 to {MAX_COLOUR}"
A_TASK = 'a task: an object with "train" and "test"'
A_FILE = 'a JSON object: a task with "train" and "test", or many tasks as {id: task}'
AN_ID = f'a task id of 1 to {MAX_ID_BYTES} bytes that can name a folder (no "/", "\\" or control characters)'


@dataclass(frozen=True, slots=True)
class Task:
    """One ARC task. ``test_outputs`` is None unless the output of every test input is known."""

    task_id: str
    demonstrations: tuple[tuple[Grid, Grid], ...]
    test_inputs: tuple[Grid, ...]
    test_outputs: tuple[Grid, ...] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: a JSON path such as ``$.train[0].input[2][1]``."""

    path: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class TaskFile:
    """The usable tasks of a file and its faults: one for the file, or the first of each bad task."""

    tasks: tuple[Task, ...]
    faults: tuple[Fault, ...]


class _Refused(Exception):
    """Carries a fault out of the nested readers below; never leaves this module."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(path)
        self.fault = Fault(path, expected, found)


def read_task_file(key: str, body: bytes) -> TaskFile:
    """Read every task of a file.

    ``key`` is the object key, or the path of a local file; a single task takes its id
    from the last part of it. A fault of the file as a whole leaves no tasks. In Kaggle's
    form each bad task is one fault and the good ones stay. Never raises for any input.
    """
    fault = key_fault(key) or size_fault(key, len(body))
    if fault:
        return TaskFile((), (fault,))
    try:
        document = _parse(body)
        if "train" in document or "test" in document:
            return TaskFile((_task("$", stem(key), document),), ())
        _check_many(document)
    except _Refused as refused:
        return TaskFile((), (refused.fault,))
    tasks, faults = [], []
    for task_id, value in document.items():
        try:
            tasks.append(_task(child("$", task_id), task_id, value))
        except _Refused as refused:
            faults.append(refused.fault)
    return TaskFile(tuple(tasks), tuple(faults))


def task_from_json(task_id: str, document: Mapping[str, Any]) -> Task:
    """One task from its parsed JSON, as `to_json` gives it.

    Raises TaskFileRefused, in the words of `describe`, when it is not a task.
    """
    try:
        return _task("$", task_id, document)
    except _Refused as refused:
        raise TaskFileRefused(describe(task_id, refused.fault)) from None


def describe(key: str, fault: Fault) -> str:
    """One sentence for a person: the file, the place in it, what was expected, what was found."""
    return f"{_shown(key)}: at {fault.path} expected {fault.expected}; found {fault.found}."


def key_fault(key: str) -> Fault | None:
    """Why an object key cannot name a task file, or None; needs no download."""
    expected = f"an object key of 1 to {MAX_KEY_BYTES} bytes that names a file"
    if not key:
        return Fault("$", expected, "an empty key")
    if key.endswith("/"):
        return Fault("$", expected, "a folder marker (the key ends in a slash)")
    if not _encodable(key) or any(ord(character) < 32 or ord(character) == 127 for character in key):
        return Fault("$", expected, "a key with control characters or broken unicode")
    if len(key.encode()) > MAX_KEY_BYTES:
        return Fault("$", expected, f"{len(key.encode()):,} bytes")
    if stem(key) in ("", ".", ".."):
        return Fault("$", expected, "a key without a file name")
    return None


def size_fault(key: str, size_bytes: int) -> Fault | None:
    """Why a file of this size is refused, or None; callers may ask before they download."""
    if size_bytes == 0:
        return Fault("$", A_FILE, "an empty file (0 bytes)")
    if size_bytes > MAX_FILE_BYTES:
        limit = f"a file of at most {MAX_FILE_BYTES:,} bytes ({MAX_FILE_BYTES >> 20} MiB)"
        return Fault("$", limit, f"{size_bytes:,} bytes")
    return None


def stem(key: str) -> str:
    """The file name without its folders and ``.json``: the id of a file's only task."""
    return key.rpartition("/")[2].removesuffix(".json")


def to_json(task: Task) -> dict[str, Any]:
    """The task as JSON-ready lists and dicts, known test outputs included."""
    tests: list[dict[str, Any]] = [{"input": _lists(grid)} for grid in task.test_inputs]
    for test, truth in zip(tests, task.test_outputs or (), strict=False):
        test["output"] = _lists(truth)
    train = [{"input": _lists(given), "output": _lists(wanted)} for given, wanted in task.demonstrations]
    return {"train": train, "test": tests}


def without_solutions(task_json: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed task as a solver may see it: demonstrations and bare test inputs, nothing else."""
    train = [{"input": pair["input"], "output": pair["output"]} for pair in task_json["train"]]
    return {"train": train, "test": [{"input": pair["input"]} for pair in task_json["test"]]}


def canonical(task: Task) -> bytes:
    """The bytes that say what there is to solve: sorted, no whitespace, no id, no solutions."""
    return _compact(without_solutions(to_json(task)))


def job_id(task: Task, config: Mapping[str, Any], solver_version: str) -> str:
    """24 hex digits that name this work: task content, configuration and solver version.

    The task's id and its known outputs have no part in it, so the same task in two
    files is one job. Raises TypeError when ``config`` is not plain JSON.
    """
    parts = (canonical(task), _compact(dict(config)), solver_version.encode())
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:24]


def child(path: str, key: str | int) -> str:
    """The JSON path one step further: ``.name``, ``["any id"]`` or ``[3]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}", key):
        return f"{path}.{key}"
    return f"{path}[{_shown(key, quoted=True)}]"


# --- reading JSON strictly ---------------------------------------------------------------


class _Constant(str):
    """Stands where the text says NaN or Infinity, so that its path can be told."""


class _Repeated(dict[str, Any]):
    """An object one of whose keys came twice; ``key`` is the first of them."""

    key: str


def _parse(body: bytes) -> dict[str, Any]:
    """The file's outermost object; raises _Refused for anything json would let pass or choke on."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02X} at offset {error.start:,}"
        raise _Refused("$", "text in UTF-8", found) from None
    _check_depth(text)
    oddities: list[_Constant | _Repeated] = []

    def constant(name: str) -> _Constant:
        oddities.append(_Constant(name))
        return _Constant(name)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(items)
        if len(value) == len(items):
            return value
        times = Counter(key for key, _ in items)
        repeated = _Repeated(value)
        repeated.key = next(key for key in times if times[key] > 1)
        oddities.append(repeated)
        return repeated

    document = _loads(text, constant, pairs)
    if oddities:
        _refuse_oddity("$", document)
    if not isinstance(document, dict):
        raise _Refused("$", A_FILE, _kind(document))
    return document


def _loads(text: str, constant: Any, pairs: Any) -> Any:
    try:
        return json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        if not text.strip():
            found = "an empty file (only whitespace)"
        else:
            found = f"text that stops being JSON at {_place(text, error.pos)}"
        raise _Refused("$", A_FILE, found) from None
    except RecursionError:
        raise _Refused("$", _DEPTH, "more") from None
    except ValueError:  # int() refuses thousands of digits (CVE-2020-10735)
        raise _Refused("$", "numbers of a few digits", "a number of thousands of digits") from None


def _place(text: str, at: int) -> str:
    """Line and column; Python 3.13 blames a trailing comma, older ones the bracket after it."""
    before = text[:at].rstrip()
    if text[at : at + 1] in ("]", "}") and before.endswith(","):
        at = len(before) - 1
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


_DEPTH = f"at most {MAX_DEPTH} levels of nesting"
_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # always matches: linear time on any text
_NOT_BRACKETS = re.compile(r"[^\[\]{}]+")


def _check_depth(text: str) -> None:
    """Count brackets outside strings before json meets them: its own limit differs by Python version."""
    brackets = _NOT_BRACKETS.sub("", _STRINGS.sub("", text))
    depth = max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0)
    if depth > MAX_DEPTH:
        raise _Refused("$", _DEPTH, f"{depth:,} levels")


def _refuse_oddity(path: str, value: object) -> None:
    """Raise for the first NaN, Infinity or repeated key at or under ``value``."""
    if isinstance(value, _Constant):
        raise _Refused(path, "JSON, which has no NaN and no Infinity", str(value))
    if isinstance(value, _Repeated):
        raise _Refused(path, "each key once", f"the key {_shown(value.key, quoted=True)} twice")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_oddity(child(path, key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if not isinstance(item, int):
                _refuse_oddity(child(path, index), item)


# --- reading tasks -----------------------------------------------------------------------


def _check_many(document: dict[str, Any]) -> None:
    if not document:
        raise _Refused("$", A_FILE, "an empty object")
    if len(document) > MAX_TASKS_PER_FILE:
        raise _Refused("$", f"at most {MAX_TASKS_PER_FILE:,} tasks in a file", f"{len(document):,} tasks")


def _task(path: str, task_id: str, value: object) -> Task:
    _check_id(path, task_id)
    if not isinstance(value, Mapping):
        raise _Refused(path, A_TASK, _kind(value))
    train = _pairs(path, value, "train", "demonstrations")
    tests = _pairs(path, value, "test", "test inputs")
    demonstrations = tuple((_side(at, pair, "input"), _side(at, pair, "output")) for at, pair in train)
    inputs = tuple(_side(at, pair, "input") for at, pair in tests)
    known = tuple(_side(at, pair, "output") for at, pair in tests if "output" in pair)
    return Task(task_id, demonstrations, inputs, known if len(known) == len(inputs) else None)


def _check_id(path: str, task_id: str) -> None:
    usable = (
        task_id not in ("", ".", "..")
        and task_id.isprintable()
        and not set(task_id) & {"/", "\\"}
        and _encodable(task_id)
        and len(task_id.encode()) <= MAX_ID_BYTES
    )
    if not usable:
        raise _Refused(path, AN_ID, "an empty key" if not task_id else _shown(task_id, quoted=True))


def _pairs(path: str, task: Mapping[str, Any], name: str, what: str) -> list[tuple[str, dict[str, Any]]]:
    """The list ``train`` or ``test`` as (path, pair)."""
    at, expected = child(path, name), f"a list of 1 to {MAX_PAIRS} {what}"
    if name not in task:
        raise _Refused(at, expected, "nothing")
    value = task[name]
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PAIRS:
        raise _Refused(at, expected, _kind(value))
    for index, pair in enumerate(value):
        if not isinstance(pair, dict):
            raise _Refused(child(at, index), 'an object with "input" and "output" grids', _kind(pair))
    return [(child(at, index), pair) for index, pair in enumerate(value)]


def _side(path: str, pair: dict[str, Any], name: str) -> Grid:
    at = child(path, name)
    if name not in pair:
        raise _Refused(at, A_GRID, "nothing")
    rows = pair[name]
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_SIDE:
        raise _Refused(at, A_GRID, _kind(rows))
    return tuple(_row(child(at, index), row, rows[0]) for index, row in enumerate(rows))


def _row(path: str, row: Any, first: Any) -> tuple[int, ...]:
    if not isinstance(row, list) or not 1 <= len(row) <= MAX_SIDE:
        raise _Refused(path, A_ROW, _kind(row))
    if len(row) != len(first):
        raise _Refused(path, f"a row as long as the first: {_count(len(first), 'cell')}", _kind(row, "cell"))
    for index, cell in enumerate(row):
        if type(cell) is not int or not 0 <= cell <= MAX_COLOUR:  # True and 1.0 are no colours
            raise _Refused(child(path, index), A_COLOUR, _kind(cell))
    return tuple(row)


# --- words -------------------------------------------------------------------------------


def _kind(value: object, items: str = "item") -> str:
    """What a JSON value is, in few words whatever its size."""
    if isinstance(value, list):
        return f"a list of {_count(len(value), items)}" if value else "an empty list"
    if isinstance(value, Mapping):
        return "an object" if value else "an empty object"
    if isinstance(value, str):
        return f"the text {_shown(value, quoted=True)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _shown(str(value)) if abs(value) < 1e15 else "a huge number"
    return json.dumps(value) if value is None or isinstance(value, bool) else type(value).__name__


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _shown(text: str, *, quoted: bool = False, limit: int = 60) -> str:
    """Foreign text made safe to print on one line; ids are cut to ``limit`` characters."""
    if quoted and len(text) > limit:
        text = text[: limit - 1] + "…"
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return '"' + escaped.replace('"', '\\"') + '"' if quoted else escaped


def _encodable(text: str) -> bool:
    """False when the text holds half of a surrogate pair, which no UTF-8 can carry."""
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _lists(grid: Grid) -> list[list[int]]:
    return [list(row) for row in grid]


def _compact(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

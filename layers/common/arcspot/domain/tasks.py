"""Read task files: what is a task, what is refused, and in which words.

A task file holds one task, ``{"train": [...], "test": [...]}``, perhaps wrapped with its name,
``{"name": ..., "data": {...}}``, or many in Kaggle's form, ``{id: task}``. `read_task_file` never
raises: whatever the bytes are, it gives the tasks that can be used and a `Fault` for everything that
cannot. `submit` and `ingest` both print a fault through `describe`, so a person reads the same
sentence wherever a file is refused.

Sizes are those of the ARC tasks themselves (Chollet, "On the Measure of Intelligence",
2019: grids of 1 to 30 cells a side, ten colours); the other limits keep one file
within the memory and time of one Lambda invocation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from arcspot.domain import names, strict_json
from arcspot.domain.faults import Fault as Fault
from arcspot.domain.faults import NotJson, Refused, count, encodable, kind, shown
from arcspot.domain.faults import child as child
from arcspot.domain.faults import describe as describe
from arcspot.domain.strict_json import A_FILE as A_FILE
from arcspot.errors import TaskFileRefused

MAX_FILE_BYTES = 16 * 1024 * 1024  # Kaggle's 1,000 tasks indented are 12.6 MB
MAX_TASKS_PER_FILE = 10_000
MAX_PAIRS = 100  # demonstrations, and test inputs, in one task
MAX_SIDE = 30
MAX_COLOUR = 9
COLOURS = frozenset(range(MAX_COLOUR + 1))
MAX_ID_BYTES = 200  # a task id becomes a folder name (255 bytes on most file systems)
MAX_KEY_BYTES = 900  # S3 allows 1024; the rest is for prefixes such as "rejected/"
UNKNOWN: tuple[Any, ...] = (None, [])  # what some files write for a test output that is kept secret
MAX_FAULTS = 100  # of one file: they are kept in rows of at most 400 KB, and read by a person

Grid = tuple[tuple[int, ...], ...]
"""Rows of colours 0..9, all of one length; 1..30 rows of 1..30 cells."""

A_GRID = f"a grid: a list of 1 to {MAX_SIDE} rows (ARC grids are at most {MAX_SIDE} high)"
A_ROW = f"a row: a list of 1 to {MAX_SIDE} colours (ARC grids are at most {MAX_SIDE} wide)"
A_COLOUR = f"a colour: a whole number from 0 to {MAX_COLOUR}"
A_TASK = 'a task: an object with "train" and "test"'
NO_TASKS = (
    "solutions or answers, which hold no tasks (`arcspot submit FOLDER` joins ARC's solutions with the "
    "challenges beside them)"
)
AN_ID = f'a task id of 1 to {MAX_ID_BYTES} bytes that can name a folder (no "/", "\\" or control characters)'


@dataclass(frozen=True, slots=True)
class Task:
    """One ARC task. ``test_outputs`` is None unless the output of every test input is known."""

    task_id: str
    demonstrations: tuple[tuple[Grid, Grid], ...]
    test_inputs: tuple[Grid, ...]
    test_outputs: tuple[Grid, ...] | None = None


@dataclass(frozen=True, slots=True)
class TaskFile:
    """The usable tasks of a file and its faults: one for the file, or the first of each bad task.

    Of bad tasks the first `MAX_FAULTS` are told; one more fault then says how many are not, `untold`.
    """

    tasks: tuple[Task, ...]
    faults: tuple[Fault, ...]
    untold: int = 0
    places: tuple[strict_json.Place, ...] = ()
    """Of each task the bytes of the file that hold it: from one up to, but not including, the other."""

    @property
    def refused(self) -> int:
        """How many faults there are, told or not."""
        return len(self.faults) + max(0, self.untold - 1)


def read_task_file(key: str, body: bytes, *, only: str | None = None) -> TaskFile:
    """Read every task of a file.

    ``key`` is the object key, or the path of a local file; a single task without a name of its own
    takes its id from the last part of it. A fault of the file as a whole leaves no tasks. In Kaggle's
    form each bad task is one fault and the good ones stay; with ``only`` no task but that of this id is
    looked at. Never raises for any input.
    """
    fault = _key_fault(key) or size_fault(key, len(body))
    if fault:
        return TaskFile((), (fault,))
    try:
        text = strict_json.decoded(body)
        members = strict_json.members(text, MAX_TASKS_PER_FILE)
        if members is None:
            raise Refused("$", A_FILE, kind(strict_json.whole(text)))
        if "train" in members or "test" in members:
            task = _task("$", stem(key), strict_json.whole(text))
            return _one(task, text, body, strict_json.outermost(text))
        if _wraps_a_task(text, members):
            return _one(_named_task(stem(key), strict_json.whole(text)), text, body, members["data"])
        _check_many(text, members)
        wanted = members if only is None else {k: members[k] for k in members if k == only}
        return _many(text, body, wanted)
    except Refused as refused:
        return TaskFile((), (refused.fault,))


def task_in(task_id: str, part: bytes) -> Task:
    """The task that the bytes of its place in a file hold. Raises TaskFileRefused for any other bytes."""
    try:
        # A byte a character, whatever else is in there: of a task only its ASCII is looked at, and no byte
        # of a longer character can be taken for a bracket or a quote.
        return _task("$", task_id, strict_json.whole(part.decode("latin-1")))
    except Refused as refused:
        raise TaskFileRefused(describe(task_id, refused.fault)) from None


def _one(task: Task, text: str, body: bytes, place: strict_json.Place) -> TaskFile:
    return TaskFile((task,), (), places=tuple(strict_json.in_bytes(text, body, [place])))


def _many(text: str, body: bytes, members: strict_json.Members) -> TaskFile:
    """Kaggle's form. Raises NotJson where the text of a task is no JSON: then none is trusted."""
    tasks: list[Task] = []
    places: list[strict_json.Place] = []
    faults: list[Fault] = []
    bad = 0
    for task_id, (begin, end) in members.items():
        path = child("$", task_id)
        try:
            tasks.append(_task(path, task_id, strict_json.value(text, begin, end, path)))
            places.append((begin, end))
        except NotJson:
            raise
        except Refused as refused:
            bad += 1
            faults += [refused.fault] if bad <= MAX_FAULTS else []
    untold = max(0, bad - MAX_FAULTS)
    if untold:
        faults.append(Fault("$", "tasks without faults", f"{untold:,} more that have some"))
    return TaskFile(tuple(tasks), tuple(faults), untold, tuple(strict_json.in_bytes(text, body, places)))


def task_from_json(task_id: str, document: Mapping[str, Any]) -> Task:
    """One task from its parsed JSON, as `to_json` gives it.

    Raises TaskFileRefused, in the words of `describe`, when it is not a task.
    """
    try:
        return _task("$", task_id, document)
    except Refused as refused:
        raise TaskFileRefused(describe(task_id, refused.fault)) from None


def key_fault(key: str) -> Fault | None:
    """Why an object key cannot name a task file that is dropped, or None; needs no download."""
    fault = _key_fault(key)
    place = names.place_fault(key) if fault is None and key.startswith(names.TASKS) else None
    return Fault("$", *place) if place else fault


def _key_fault(key: str) -> Fault | None:
    expected = f"an object key of 1 to {MAX_KEY_BYTES} bytes that names a file"
    if not key:
        return Fault("$", expected, "an empty key")
    if key.endswith("/"):
        return Fault("$", expected, "a key that ends in a slash, as a folder's does")
    if not encodable(key) or any(ord(character) < 32 or ord(character) == 127 for character in key):
        return Fault("$", expected, "a key with control characters or broken unicode")
    if len(key.encode()) > MAX_KEY_BYTES:
        return Fault("$", expected, f"{len(key.encode()):,} bytes")
    if path := names.path_fault(key):
        return Fault("$", names.A_PATH, path)
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


# --- reading tasks -----------------------------------------------------------------------


def _wraps_a_task(text: str, members: strict_json.Members) -> bool:
    """Whether the object is ``{"name": ..., "data": task}`` and not two tasks of these ids."""
    if "name" not in members or "data" not in members:
        return False
    return text[members["name"][0]] not in "{[" and text[members["data"][0]] == "{"


def _named_task(file_stem: str, document: Mapping[str, Any]) -> Task:
    """The task below "data", called by its name if that can be an id, else after its file."""
    name = document["name"]
    task_id = name if isinstance(name, str) and _is_id(name) else file_stem
    return _task(child("$", "data"), task_id, document["data"])


def _check_many(text: str, members: strict_json.Members) -> None:
    if not members:
        raise Refused("$", A_FILE, "an empty object")
    if len(members) > MAX_TASKS_PER_FILE:
        raise Refused("$", f"at most {MAX_TASKS_PER_FILE:,} tasks in a file", f"{len(members):,} tasks")
    if all(strict_json.is_list_of_lists(text, begin) for begin, _ in members.values()):
        raise Refused("$", A_FILE, f"{count(len(members), 'list')} by id: {NO_TASKS}")


def _task(path: str, task_id: str, value: object) -> Task:
    _check_id(path, task_id)
    if not isinstance(value, Mapping):
        raise Refused(path, A_TASK, kind(value))
    train = _pairs(path, value, "train", "demonstrations")
    tests = _pairs(path, value, "test", "test inputs")
    demonstrations = tuple((_side(at, pair, "input"), _side(at, pair, "output")) for at, pair in train)
    inputs = tuple(_side(at, pair, "input") for at, pair in tests)
    known = tuple(_side(at, pair, "output") for at, pair in tests if pair.get("output") not in UNKNOWN)
    return Task(task_id, demonstrations, inputs, known if len(known) == len(inputs) else None)


def _is_id(task_id: str) -> bool:
    return (
        task_id not in ("", ".", "..")
        and task_id.isprintable()
        and not set(task_id) & {"/", "\\"}
        and encodable(task_id)
        and len(task_id.encode()) <= MAX_ID_BYTES
    )


def _check_id(path: str, task_id: str) -> None:
    if not _is_id(task_id):
        raise Refused(path, AN_ID, "an empty key" if not task_id else shown(task_id, quoted=True))


def _pairs(path: str, task: Mapping[str, Any], name: str, what: str) -> list[tuple[str, dict[str, Any]]]:
    """The list ``train`` or ``test`` as (path, pair)."""
    at, expected = child(path, name), f"a list of 1 to {MAX_PAIRS} {what}"
    if name not in task:
        raise Refused(at, expected, "nothing")
    value = task[name]
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PAIRS:
        raise Refused(at, expected, kind(value))
    for index, pair in enumerate(value):
        if not isinstance(pair, dict):
            raise Refused(child(at, index), 'an object with "input" and "output" grids', kind(pair))
    return [(child(at, index), pair) for index, pair in enumerate(value)]


def _side(path: str, pair: dict[str, Any], name: str) -> Grid:
    at = child(path, name)
    if name not in pair:
        raise Refused(at, A_GRID, "nothing")
    return grid_at(at, pair[name])


def grid_at(at: str, rows: Any) -> Grid:
    """The grid of parsed JSON that lies at a path. Raises Refused."""
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_SIDE:
        raise Refused(at, A_GRID, kind(rows))
    if _is_grid(rows):
        return tuple(map(tuple, rows))
    return tuple(_row(child(at, index), row, rows[0]) for index, row in enumerate(rows))


def _is_grid(rows: list[Any]) -> bool:
    """Whether all is well with the rows: as quick as Python is. Where it is not, `_row` says why."""
    if set(map(type, rows)) != {list} or len(set(map(len, rows))) != 1 or not 1 <= len(rows[0]) <= MAX_SIDE:
        return False
    cells = list(chain.from_iterable(rows))
    return set(map(type, cells)) == {int} and COLOURS.issuperset(cells)


def _row(path: str, row: Any, first: Any) -> tuple[int, ...]:
    if not isinstance(row, list) or not 1 <= len(row) <= MAX_SIDE:
        raise Refused(path, A_ROW, kind(row))
    if len(row) != len(first):
        raise Refused(path, f"a row as long as the first: {count(len(first), 'cell')}", kind(row, "cell"))
    for index, cell in enumerate(row):
        if type(cell) is not int or not 0 <= cell <= MAX_COLOUR:  # True and 1.0 are no colours
            raise Refused(child(path, index), A_COLOUR, kind(cell))
    return tuple(row)


def _lists(grid: Grid) -> list[list[int]]:
    return [list(row) for row in grid]


def _compact(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

"""Kaggle's solutions: ``{task id: [output grid for each test input]}`` beside a file of challenges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from arcspot.domain import strict_json
from arcspot.domain.faults import Fault, NotJson, Refused, child, kind
from arcspot.domain.tasks import (
    MAX_FAULTS,
    MAX_FILE_BYTES,
    MAX_PAIRS,
    MAX_TASKS_PER_FILE,
    Grid,
    grid_at,
    read_task_file,
    size_fault,
)

SOLUTIONS = "a JSON object of solutions: {task id: [a grid for each test input]}"
MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Solutions:
    """The output grids by task id, and what could not be used."""

    grids: Mapping[str, tuple[Grid, ...]]
    faults: tuple[Fault, ...]


def read_solutions(key: str, body: bytes) -> Solutions:
    """Read a file of solutions as strictly as one of tasks. Never raises: bad solutions are faults."""
    fault = size_fault(key, len(body))
    if fault:
        return Solutions({}, (fault,))
    grids: dict[str, tuple[Grid, ...]] = {}
    faults: list[Fault] = []
    try:
        text = strict_json.decoded(body)
        members = strict_json.members(text, MAX_TASKS_PER_FILE)
        if members is None:
            raise Refused("$", SOLUTIONS, kind(strict_json.whole(text)))
        for task_id, (begin, end) in members.items():
            path = child("$", task_id)
            try:
                grids[task_id] = _grids(path, strict_json.value(text, begin, end, path))
            except NotJson:
                raise
            except Refused as refused:
                faults += [refused.fault] if len(faults) < MAX_FAULTS else []
    except Refused as refused:
        return Solutions({}, (refused.fault,))
    return Solutions(grids, tuple(faults))


def joined(challenges: bytes, solutions: Mapping[str, tuple[Grid, ...]]) -> tuple[bytes, tuple[str, ...]]:
    """A file of challenges with the solutions as its test outputs, and sentences about what does not match.

    A task that has outputs already keeps them, a bad task stays as it is. The bytes are the same again for
    the same two files.
    """
    file = read_task_file("challenges.json", challenges)
    document = json.loads(challenges.decode("utf-8-sig")) if file.tasks else {}
    if not all(task.task_id in document for task in file.tasks) or not file.tasks:
        return challenges, ()  # one task without an id is no file of challenges
    notes: list[str] = []
    bare: list[str] = []
    for task in file.tasks:
        found = solutions.get(task.task_id)
        if task.test_outputs is not None:
            if found is not None and found != task.test_outputs:
                notes.append(f"task {task.task_id} has other outputs of its own, which are kept")
        elif found is None:
            bare.append(task.task_id)
        elif len(found) != len(task.test_inputs):
            notes.append(
                f"task {task.task_id} has {len(task.test_inputs)} test input(s) and {len(found)} "
                "solution(s), which are not used"
            )
        else:
            for pair, grid in zip(document[task.task_id]["test"], found, strict=True):
                pair["output"] = grid
    left = [task_id for task_id in solutions if task_id not in document]
    notes += [f"{len(bare)} task(s) have no solution: {_some(bare)}"] if bare else []
    notes += [f"{len(left)} solution(s) have no task: {_some(left)}"] if left else []
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    if len(body) > MAX_FILE_BYTES:
        return challenges, ("the file would be too large with its solutions; it is used without them",)
    return body, tuple(notes)


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:MAX_NAMED]) + (", …" if len(ids) > MAX_NAMED else "")


def _grids(path: str, value: object) -> tuple[Grid, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PAIRS:
        raise Refused(path, f"a list of 1 to {MAX_PAIRS} grids, one for each test input", kind(value))
    return tuple(grid_at(child(path, index), grid) for index, grid in enumerate(value))

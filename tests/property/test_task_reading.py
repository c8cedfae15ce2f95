"""Whatever arrives, reading it ends in tasks or in sentences, never in a crash."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.tasks import (
    Grid,
    Task,
    canonical,
    describe,
    job_id,
    read_task_file,
    task_from_json,
    to_json,
)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    width = draw(st.integers(1, 6))
    row = st.tuples(*[st.integers(0, 9)] * width)
    return tuple(draw(st.lists(row, min_size=1, max_size=6)))


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    inputs = tuple(draw(st.lists(grids(), min_size=1, max_size=3)))
    outputs = draw(st.none() | st.tuples(*[grids()] * len(inputs)))
    return Task(
        "t", tuple(draw(st.lists(st.tuples(grids(), grids()), min_size=1, max_size=3))), inputs, outputs
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["train", "test", "input", "output", "a1", ""]) | st.text(max_size=3), inner
        )
    ),
    max_leaves=30,
)


def shuffled(value: Any, seed: int) -> Any:
    """The same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = sorted(value)
        random.Random(seed).shuffle(keys)
        return {key: shuffled(value[key], seed) for key in keys}
    return [shuffled(item, seed) for item in value] if isinstance(value, list) else value


@given(st.text(), st.binary())
def test_no_key_and_no_bytes_crash_the_reader(key: str, body: bytes) -> None:
    file = read_task_file(key, body)
    assert file.tasks or file.faults
    for fault in file.faults:
        assert describe(key, fault).isprintable()


@given(json_values)
def test_no_json_crashes_the_reader_and_every_task_it_lets_through_is_whole(document: object) -> None:
    file = read_task_file("any.json", json.dumps(document).encode())
    assert file.tasks or file.faults
    for task in file.tasks:
        assert task_from_json(task.task_id, to_json(task)) == task
    for fault in file.faults:
        assert describe("any.json", fault).isprintable()


@given(tasks(), st.sampled_from([None, True, 1.0, -1, 10, "1", [], {}]), st.data())
def test_one_wrong_cell_anywhere_is_found_at_its_path(task: Task, wrong: object, data: st.DataObject) -> None:
    document = to_json(task)
    part = data.draw(st.sampled_from(["train", "test"]))
    number = data.draw(st.integers(0, len(document[part]) - 1))
    side = data.draw(st.sampled_from(sorted(document[part][number])))
    grid = document[part][number][side]
    row, column = data.draw(st.integers(0, len(grid) - 1)), data.draw(st.integers(0, len(grid[0]) - 1))
    grid[row][column] = wrong
    (fault,) = read_task_file("t.json", json.dumps(document).encode()).faults
    assert fault.path == f"$.{part}[{number}].{side}[{row}][{column}]"


@given(tasks())
def test_a_task_survives_the_round_trip_through_json(task: Task) -> None:
    assert read_task_file("t.json", json.dumps(to_json(task)).encode()).tasks == (task,)
    assert read_task_file("many.json", json.dumps({"t": to_json(task)}).encode()).tasks == (task,)


@given(tasks(), st.integers(0, 5))
def test_the_job_id_ignores_solutions_names_and_key_order(task: Task, seed: int) -> None:
    config = {"steps": 10, "model": {"width": 64, "depth": 2}}
    document = shuffled(to_json(task), seed)
    for pair in document["test"]:
        pair.pop("output", None)
    (again,) = read_task_file("other name.json", json.dumps(document, indent=1).encode()).tasks
    assert canonical(again) == canonical(task)
    assert job_id(again, shuffled(config, seed), "1") == job_id(task, config, "1")


@given(tasks(), tasks())
def test_tasks_with_different_content_are_different_jobs(one: Task, two: Task) -> None:
    differ = (one.demonstrations, one.test_inputs) != (two.demonstrations, two.test_inputs)
    assert (job_id(one, {}, "1") != job_id(two, {}, "1")) == differ

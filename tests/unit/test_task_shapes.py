"""Files as ARC's collections have them, one small one of each shape written here, and files that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arcspot.domain import tasks
from arcspot.domain.tasks import MAX_FAULTS, describe, read_task_file, to_json

A, B = [[1, 2], [3, 4]], [[4, 3], [2, 1]]
PAIR = {"input": A, "output": B}
TASK = {"train": [PAIR, PAIR], "test": [PAIR]}
SECRET = {"train": [PAIR, PAIR], "test": [{"input": A}]}

# Name → file name, text, and for each task its id and whether its test outputs are known.
SHAPES: dict[str, tuple[str, str, dict[str, bool]]] = {
    "ARC-AGI-1, one line": ("00d62c1b.json", json.dumps(TASK), {"00d62c1b": True}),
    "ARC-AGI-1, test before train": (
        "0a.json", json.dumps({"test": TASK["test"], "train": TASK["train"]}), {"0a": True},
    ),
    "ARC-AGI-2, two tests": (
        "7ed72f31.json", json.dumps({"train": [PAIR] * 3, "test": [PAIR, PAIR]}), {"7ed72f31": True},
    ),
    "ConceptARC, three tests, indented, a line end at the end": (
        "AboveBelow1.json",
        json.dumps({"train": [PAIR, PAIR], "test": [PAIR, PAIR, PAIR]}, indent=4) + "\n",
        {"AboveBelow1": True},
    ),
    "Mini-ARC, 5 x 5, a name with spaces": (
        "change color of the largest_l6bvbq.json",
        json.dumps({"train": [{"input": [[0] * 5] * 5, "output": [[1] * 5] * 5}] * 3,
                    "test": [{"input": [[2] * 5] * 5, "output": [[3] * 5] * 5}]}, separators=(",", ":")),
        {"change color of the largest_l6bvbq": True},
    ),
    "Kaggle's challenges": (
        "arc-agi_test_challenges.json", json.dumps({"00576224": SECRET, "007bbfb7": SECRET}, indent=2),
        {"00576224": False, "007bbfb7": False},
    ),
    "Kaggle's challenges with their solutions in them": (
        "all.json", json.dumps({"00576224": TASK, "007bbfb7": TASK}), {"00576224": True, "007bbfb7": True},
    ),
    "a name and the task as data": (
        "file.json", json.dumps({"name": "d_013", "data": TASK}), {"d_013": True},
    ),
    "a name that no task can have": ("file.json", json.dumps({"name": "a/b", "data": TASK}), {"file": True}),
    "an empty name": ("file.json", json.dumps({"name": "", "data": TASK}), {"file": True}),
    "a name that is too long": ("f.json", json.dumps({"name": "n" * 201, "data": TASK}), {"f": True}),
    "a name that is null": ("file.json", json.dumps({"name": None, "data": TASK}), {"file": True}),
    "a name that is a number": ("file.json", json.dumps({"data": TASK, "name": 7}), {"file": True}),
    "a name, data and more": (
        "file.json", json.dumps({"id": 3, "data": TASK, "by": ["me"], "name": "n"}), {"n": True},
    ),
    "a name inside of a task": ("file.json", json.dumps({"name": "other", **TASK}), {"file": True}),
    "two tasks called name and data": (
        "f.json", json.dumps({"name": TASK, "data": SECRET}), {"name": True, "data": False},
    ),
    "one task called data": ("f.json", json.dumps({"data": TASK}), {"data": True}),
    "an output that is null": (
        "f.json", json.dumps({**TASK, "test": [{"input": A, "output": None}]}), {"f": False},
    ),
    "an output that is empty": (
        "f.json", json.dumps({**TASK, "test": [{"input": A, "output": []}]}), {"f": False},
    ),
    "one output of two": (
        "f.json", json.dumps({**TASK, "test": [PAIR, {"input": A, "output": None}]}), {"f": False},
    ),
    "in Kaggle's form": (
        "f.json", json.dumps({"a": {**TASK, "test": [{"input": A, "output": []}]}, "b": TASK}),
        {"a": False, "b": True},
    ),
    "a mark of byte order and Windows' line ends": (
        "f.json", "\ufeff" + json.dumps(TASK, indent=2).replace("\n", "\r\n"), {"f": True},
    ),
    "keys written with escapes": (
        "f.json", json.dumps(TASK).replace('"train"', '"\\u0074rain"'), {"f": True},
    ),
    "the largest grids": (
        "f.json", json.dumps({"train": [{"input": [[9] * 30] * 30, "output": [[0]]}], "test": [PAIR]}),
        {"f": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_as_people_have_it_is_read_whole(shape: str) -> None:
    name, text, expected = SHAPES[shape]
    file = read_task_file(f"tasks/b/{name}", text.encode())
    assert file.faults == ()
    assert {task.task_id: task.test_outputs is not None for task in file.tasks} == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_one_task_of_a_file_is_read_alone_as_it_is_among_the_others(shape: str) -> None:
    name, text, _ = SHAPES[shape]
    for task in read_task_file(f"tasks/b/{name}", text.encode()).tasks:
        # As a runner reads it: under the job's task id, whatever the file is called.
        alone = read_task_file(f"{task.task_id}.json", text.encode(), only=task.task_id)
        assert alone.tasks == (task,)


def test_what_else_lies_in_a_file_is_not_looked_at_when_one_task_is_asked_for() -> None:
    body = json.dumps({"bad": {}, "good": TASK}).encode()
    file = read_task_file("f.json", body, only="good")
    assert ([task.task_id for task in file.tasks], file.faults) == (["good"], ())
    assert read_task_file("f.json", body, only="none").tasks == ()


def test_a_row_of_1d_arc_is_refused_with_its_width_its_place_and_the_reason() -> None:
    line = {"input": [[0] * 93], "output": [[1] * 93]}
    wide = {"train": [{"input": [[0] * 30], "output": [[1] * 30]}, line], "test": [line]}
    (fault,) = read_task_file("tasks/b/1d_move_1p_0.json", json.dumps(wide).encode()).faults
    assert describe("tasks/b/1d_move_1p_0.json", fault) == (
        "tasks/b/1d_move_1p_0.json: at $.train[1].input[0] expected a row: a list of 1 to 30 colours "
        "(ARC grids are at most 30 wide); found a list of 93 items."
    )
    (fault,) = read_task_file("many.json", json.dumps({"ok": TASK, "1d_fill_7": wide}).encode()).faults
    assert fault.path == '$["1d_fill_7"].train[1].input[0]', "the task is named where there are several"
    high = {**TASK, "test": [{"input": [[0]] * 31}]}
    (fault,) = read_task_file("high.json", json.dumps(high).encode()).faults
    assert (fault.found, "at most 30 high" in fault.expected) == ("a list of 31 items", True)


@pytest.mark.parametrize(
    "document",
    [
        {"00576224": [B], "007bbfb7": [B, A]},
        {"00576224": [{"attempt_1": B, "attempt_2": A}]},
    ],
    ids=["solutions", "a submission"],
)
def test_kaggles_other_files_are_one_refusal_that_says_what_they_are(document: Any) -> None:
    (fault,) = read_task_file("tasks/b/arc-agi_test_solutions.json", json.dumps(document).encode()).faults
    assert fault.path == "$"
    assert "solutions or answers, which hold no tasks" in fault.found
    assert "arcspot submit FOLDER" in fault.found


def test_of_many_bad_tasks_the_first_hundred_are_told_and_how_many_more_there_are() -> None:
    document = {"good": TASK} | {f"bad{n}": {"train": []} for n in range(250)}
    file = read_task_file("tasks/b/x.json", json.dumps(document).encode())
    assert [task.task_id for task in file.tasks] == ["good"]
    assert (len(file.faults), file.refused) == (MAX_FAULTS + 1, 250)
    assert [fault.path for fault in file.faults[:2]] == ["$.bad0.train", "$.bad1.train"]
    assert describe("x.json", file.faults[-1]) == (
        "x.json: at $ expected tasks without faults; found 150 more that have some."
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "line 1, column 2"),
        ('{"a"', "line 1, column 5"),
        ('{"a":', "line 1, column 6"),
        ('{"a": }', "line 1, column 7"),
        ('{"a": {}', "line 1, column 9"),
        ('{"a": {} "b": {}}', "line 1, column 10"),
        ('{"a": {},}', "line 1, column 9"),
        ("{'a': {}}", "line 1, column 2"),
        ('{"a": {}} x', "line 1, column 11"),
        ('{"a": {}}{}', "line 1, column 10"),
        ('{"a": [1}, "b": {}}', "line 1, column 9"),
        ('{"a": [1,\n  2 3]}', "line 2, column 5"),
        ('{"a": [1, 2,\n  ]}', "line 1, column 12"),
        ('{"a": "b', "line 1, column 7"),
        ('{"a": "b\tc"}', "line 1, column 9"),
        ('{"a": {"b": "\\x"}}', "line 1, column 14"),
        ('{"a": 01}', "line 1, column 8"),
        ('{"a": .5}', "line 1, column 7"),
        ('{"a": tru}', "line 1, column 7"),
        ('{1: {}}', "line 1, column 2"),
        ("[1, 2", "line 1, column 6"),
        ("[] []", "line 1, column 4"),
        ("{}}", "line 1, column 3"),
    ],
)  # fmt: skip
def test_where_a_text_stops_being_json_is_told_by_line_and_column(text: str, found: str) -> None:
    file = read_task_file("tasks/b/x.json", text.encode())
    assert file.tasks == ()
    assert [fault.found for fault in file.faults] == [f"text that stops being JSON at {found}"]


@pytest.mark.parametrize("levels", [31, 32, 33])
def test_a_text_may_be_nested_to_the_limit_and_no_deeper(levels: int) -> None:
    note = "[" * (levels - 1) + "]" * (levels - 1)
    file = read_task_file("x.json", json.dumps(TASK)[:-1].encode() + b', "note": ' + note.encode() + b"}")
    assert [fault.found for fault in file.faults] == ([] if levels <= 32 else ["33 levels"])


def test_what_a_task_has_too_much_of_is_told_and_the_others_stay() -> None:
    texts = {"lists and objects": "[],", "commas": "0,", "quotes": '"" '}
    for what, piece in texts.items():
        much = "[" + piece * (60_000 if what == "lists and objects" else 500_001) + "0]"
        body = f'{{"bad": {{"train": {much}}}, "good": {json.dumps(TASK)}}}'.encode()
        file = read_task_file("x.json", body)
        assert [task.task_id for task in file.tasks] == ["good"]
        assert [(fault.path, what in fault.expected) for fault in file.faults] == [("$.bad", True)]


def test_a_task_at_all_its_limits_is_a_task() -> None:
    pairs = [{"input": [[9] * 30] * 30, "output": [[9] * 30] * 30}] * tasks.MAX_PAIRS
    document = {"train": pairs, "test": pairs}
    for form in (document, {"t": document}, {"name": "t", "data": document}):
        file = read_task_file("t.json", json.dumps(form).encode())
        assert file.faults == ()
        assert to_json(file.tasks[0]) == document


def test_what_a_large_file_has_first_that_is_no_json_is_told_and_not_its_size() -> None:
    """A million of something is one mistake of a program, and its first place is what helps."""
    row = '{"t": {"train": [{"input": [['
    for text, path, found in (
        (row + "NaN, " * 600_000 + "1]]}]}}", "$", "NaN at line 1, column 30"),
        ('{"t": {' + '"a": 1, ' * 600_000 + '"b": 1}}', "$.t", 'the key "a" twice'),
        ('{"train": [' + "1, " * 600_000 + "Infinity]}", "$", "Infinity at line 1, column 1800012"),
        ("[" * 300_000, "$", "200,000 levels or more"),
    ):
        (fault,) = read_task_file("x.json", text.encode()).faults
        assert (fault.path, fault.found) == (path, found)

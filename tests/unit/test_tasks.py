"""Task files: what is read, what is refused, and the one sentence that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arcspot.domain import tasks
from arcspot.domain.tasks import Fault, describe, job_id, read_task_file, size_fault, task_from_json, to_json
from arcspot.errors import TaskFileRefused

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples" / "tasks").glob("*.json"))
ARC = sorted((ROOT.parent / "shared" / "arc" / "training").glob("*.json"))


def a_task(**changes: Any) -> dict[str, Any]:
    pair = {"input": [[1, 2], [3, 4]], "output": [[4, 3], [2, 1]]}
    return {"train": [pair, pair], "test": [pair], **changes}


def with_cell(cell: object) -> dict[str, Any]:
    return a_task(train=[{"input": [[0, 0], [0, 0], [0, cell]], "output": [[0]]}])


def read(document: object, key: str = "tasks/one.json") -> tasks.TaskFile:
    return read_task_file(key, json.dumps(document).encode())


def only_fault(document: object) -> Fault:
    file = read(document)
    assert file.tasks == ()
    (fault,) = file.faults
    return fault


def test_a_single_task_is_named_after_its_file() -> None:
    (task,) = read(a_task(), "tasks/sub folder/a+b ü.json").tasks
    assert task.task_id == "a+b ü"
    assert task.demonstrations[0] == (((1, 2), (3, 4)), ((4, 3), (2, 1)))
    assert task.test_inputs == (((1, 2), (3, 4)),)
    assert task.test_outputs == (((4, 3), (2, 1)),)


def test_test_outputs_may_be_missing_and_are_known_only_when_all_are() -> None:
    pair = {"input": [[1]], "output": [[2]]}
    assert read(a_task(test=[{"input": [[1]]}])).tasks[0].test_outputs is None
    assert read(a_task(test=[pair, {"input": [[1]]}])).tasks[0].test_outputs is None
    assert read(a_task(test=[pair, pair])).tasks[0].test_outputs == (((2,),), ((2,),))


def test_extra_fields_and_a_byte_order_mark_do_no_harm() -> None:
    document = a_task(name="rotate", notes={"deep": [None, 1.5]})
    document["train"][0]["weight"] = 2
    body = b"\xef\xbb\xbf" + json.dumps(document).encode()
    assert read_task_file("x.json", body).tasks == read(a_task(), "x.json").tasks


def test_a_bad_task_of_a_kaggle_file_is_a_fault_and_the_good_ones_stay() -> None:
    file = read({"good": a_task(), "0bad": a_task(test=[]), "": a_task(), "fine": a_task()})
    assert [task.task_id for task in file.tasks] == ["good", "fine"]
    assert [fault.path for fault in file.faults] == ['$["0bad"].test', '$[""]']
    assert file.faults[1].found == "an empty key"


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\\b", "tab\there", "\ud800", "x" * 201])
def test_an_id_that_cannot_name_a_folder_is_refused(name: str) -> None:
    file = read({name: a_task(), "good": a_task()})
    assert [task.task_id for task in file.tasks] == ["good"]
    assert file.faults[0].expected == tasks.AN_ID
    describe("f.json", file.faults[0]).encode()


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (True, "true"),
        (None, "null"),
        (1.0, "1.0"),
        (10, "10"),
        (-1, "-1"),
        ("3", 'the text "3"'),
        ([1], "a list of 1 item"),
        (10**40, "a huge number"),
    ],
)
def test_a_cell_that_is_no_colour_is_told_with_its_path(cell: object, found: str) -> None:
    assert only_fault(with_cell(cell)) == Fault("$.train[0].input[2][1]", tasks.A_COLOUR, found)


@pytest.mark.parametrize(
    ("document", "path", "found"),
    [
        ([], "$", "an empty list"),
        (7, "$", "7"),
        ({}, "$", "an empty object"),
        (a_task(train=[]), "$.train", "an empty list"),
        (a_task(test=[]), "$.test", "an empty list"),
        ({"train": a_task()["train"]}, "$.test", "nothing"),
        ({"test": a_task()["test"]}, "$.train", "nothing"),
        (a_task(train={"a": 1}), "$.train", "an object"),
        (a_task(train=[[]]), "$.train[0]", "an empty list"),
        (a_task(train=[{"input": [[1]]}]), "$.train[0].output", "nothing"),
        (a_task(test=[{"output": [[1]]}]), "$.test[0].input", "nothing"),
        (a_task(test=[{"input": [[1]], "output": {}}]), "$.test[0].output", "an empty object"),
        (a_task(test=[{"input": [[1]], "output": [[]]}]), "$.test[0].output[0]", "an empty list"),
        (a_task(train=[{"input": [[1]], "output": None}]), "$.train[0].output", "null"),
        (a_task(test=[{"input": []}]), "$.test[0].input", "an empty list"),
        (a_task(test=[{"input": [[]]}]), "$.test[0].input[0]", "an empty list"),
        (a_task(test=[{"input": [[0, 1], [0]]}]), "$.test[0].input[1]", "a list of 1 cell"),
        (a_task(test=[{"input": [[0] * 31]}]), "$.test[0].input[0]", "a list of 31 items"),
        (a_task(test=[{"input": [[0]] * 31}]), "$.test[0].input", "a list of 31 items"),
        (a_task(train=a_task()["train"] * 51), "$.train", "a list of 102 items"),
        ({str(number): {} for number in range(50_000)}, "$", "50,000 tasks"),
    ],
)
def test_a_shape_that_is_no_task_is_told_with_its_path(document: object, path: str, found: str) -> None:
    fault = only_fault(document)
    assert (fault.path, fault.found) == (path, found)


@pytest.mark.parametrize(
    ("body", "path", "found"),
    [
        (b"", "$", "an empty file (0 bytes)"),
        (b" \n", "$", "an empty file (only whitespace)"),
        (b"\xff\xfe{", "$", "byte 0xFF at offset 0"),
        (b"hello", "$", "text that stops being JSON at line 1, column 1"),
        (b'{"a": 1,\n "b": 2,}', "$", "text that stops being JSON at line 2, column 8"),
        (b'{"train": [NaN]}', "$.train[0]", "NaN"),
        (b'{"a": {"x y": -Infinity}}', '$.a["x y"]', "-Infinity"),
        (b'{"t": {"train": 1, "train": 2}}', "$.t", 'the key "train" twice'),
        (b'{"t": {"a": NaN}, "t": 1}', "$", 'the key "t" twice'),
        (b"[" * 100_000, "$", "100,000 levels"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "$", "500 levels"),
        (b'{"train": ' + b"9" * 5000 + b"}", "$", "a number of thousands of digits"),
        (b" " * (17 << 20), "$", "17,825,792 bytes"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_file_that_is_not_strict_json_is_one_fault_and_no_tasks(body: bytes, path: str, found: str) -> None:
    file = read_task_file("tasks/one.json", body)
    assert file.tasks == ()
    assert [(fault.path, fault.found) for fault in file.faults] == [(path, found)]


def test_brackets_inside_strings_are_not_nesting() -> None:
    assert read(a_task(note="[" * 1000 + '\\"{{{' * 50)).faults == ()


@pytest.mark.parametrize("key", ["", "tasks/", "tasks/.json", "a/..", "a\nb.json", "x" * 901, "\udc80.json"])
def test_a_key_that_names_no_file_is_refused_before_its_bytes_are_read(key: str) -> None:
    fault = tasks.key_fault(key)
    assert fault is not None
    assert read_task_file(key, json.dumps(a_task()).encode()).faults == (fault,)


def test_the_size_can_be_refused_before_the_download_in_the_same_words() -> None:
    assert size_fault("x.json", tasks.MAX_FILE_BYTES) is None
    fault = size_fault("x.json", tasks.MAX_FILE_BYTES + 1)
    assert fault is not None
    assert read_task_file("x.json", b" " * (tasks.MAX_FILE_BYTES + 1)).faults == (fault,)


def test_a_fault_is_one_sentence_with_file_path_expectation_and_finding() -> None:
    sentence = describe("tasks/one.json", only_fault(with_cell(12)))
    assert sentence == (
        "tasks/one.json: at $.train[0].input[2][1] expected a colour: a whole number from 0 to 9; found 12."
    )


def test_a_sentence_stays_one_short_printable_line_whatever_the_file_holds() -> None:
    fault = read({"new\nline" + "y" * 100_000: 3}).faults[0]
    sentence = describe("tasks/\x1b[31m.json", fault)
    assert sentence.isprintable()
    assert len(sentence) < 400


def test_the_job_is_the_content_the_configuration_and_the_solver_and_nothing_else() -> None:
    named = task_from_json("a", a_task())
    unsolved = task_from_json("b", a_task(test=[{"input": [[1, 2], [3, 4]]}], extra=1))
    other = task_from_json("a", a_task(test=[{"input": [[1, 2], [3, 5]]}]))
    config = {"steps": 3, "lr": 0.1}
    same = job_id(named, config, "1")
    assert same == job_id(unsolved, {"lr": 0.1, "steps": 3}, "1")
    assert (
        len({same, job_id(other, config, "1"), job_id(named, {"steps": 3}, "1"), job_id(named, config, "2")})
        == 4
    )
    assert len(same) == 24


def test_a_job_keeps_its_id_from_release_to_release() -> None:
    """A changed id would solve, and bill, every task again."""
    assert job_id(task_from_json("a", a_task()), {"steps": 3}, "1") == "cb085fc8a94e1c87f3160642"


def test_the_form_without_solutions_holds_no_solution() -> None:
    bare = tasks.without_solutions(a_task(hint="secret"))
    assert bare == {"train": a_task()["train"], "test": [{"input": [[1, 2], [3, 4]]}]}
    assert bare == json.loads(tasks.canonical(task_from_json("a", a_task())))


def test_a_parsed_task_that_is_none_is_refused_with_the_sentence() -> None:
    with pytest.raises(TaskFileRefused, match=r"a1: at \$\.test expected a list of 1 to 100 test inputs"):
        task_from_json("a1", a_task(test=[]))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_task_with_known_outputs(path: Path) -> None:
    (task,) = read_task_file(path.name, path.read_bytes()).tasks
    assert 3 <= len(task.demonstrations) <= 4
    assert to_json(task) == json.loads(path.read_text())
    assert task.test_outputs is not None


@pytest.mark.skipif(not ARC, reason="the ARC training tasks are not next to the repository")
def test_every_arc_training_task_is_read() -> None:
    for path in ARC:
        file = read_task_file(path.name, path.read_bytes())
        assert file.faults == (), path.name
        document = json.loads(path.read_text())
        assert to_json(file.tasks[0]) == {"train": document["train"], "test": document["test"]}

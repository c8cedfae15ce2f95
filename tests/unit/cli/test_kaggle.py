"""A folder of Kaggle's is read as such: the solutions beside the challenges score their answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arcspot.domain import solutions, tasks
from arcspot.domain.solutions import joined, read_solutions
from arcspot_cli import demonstrating, kaggle, submitting
from arcspot_cli.evaluation import running
from tests.fakes.driving import GOOD_TASK, Stack

from .here import typed

A, B, C = [[1, 2]], [[2, 1]], [[3]]
PAIR = {"input": A, "output": B}


def challenge(*inputs: Any, **more: Any) -> dict[str, Any]:
    return {"train": [PAIR, PAIR], "test": [{"input": grid} for grid in inputs], **more}


def folder_of(path: Path, files: dict[str, Any]) -> Path:
    path.mkdir(exist_ok=True)
    for name, document in files.items():
        (path / name).write_text(json.dumps(document, indent=2))
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """As a competition's data come, all of it."""
    return folder_of(
        tmp_path / "arc-prize",
        {
            "arc-agi_training_challenges.json": {"a1": challenge(A), "b2": challenge(A, C)},
            "arc-agi_training_solutions.json": {"a1": [B], "b2": [B, C]},
            "arc-agi_test_challenges.json": {"c3": challenge([[9]])},
            "sample_submission.json": {"c3": [{"attempt_1": [[0, 0]], "attempt_2": [[0, 0]]}]},
        },
    )


def test_a_whole_folder_is_submitted_with_its_solutions_and_nothing_is_refused(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack()
    told = typed(stack, monkeypatch, "submit", str(whole), "--batch", "prize", "--json")
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert sorted(document["jobs"].values()) == ["a1", "b2", "c3"]
    assert document["refused"] == []
    assert "arc-agi_training_solutions.json: the solutions of arc-agi_training_challenges.json" in told.stderr
    assert "sample_submission.json: a submission and no tasks; left out" in told.stderr
    key = "tasks/prize/arc-agi_training_challenges.json"
    read = tasks.read_task_file(key, stack.world.objects.read(key)).tasks
    assert {task.task_id: task.test_outputs for task in read} == {
        "a1": (((2, 1),),),
        "b2": (((2, 1),), ((3,),)),
    }
    assert set(stack.world.objects.bodies) == {key, "tasks/prize/arc-agi_test_challenges.json"}
    again = typed(stack, monkeypatch, "submit", str(whole), "--batch", "prize")
    assert "0 file(s) uploaded, 2 already there, 0 refusal(s); 3 job(s), 0 of them new" in again.stdout


def test_the_file_of_challenges_alone_finds_its_solutions_beside_it(whole: Path) -> None:
    upload = submitting.check(whole / "arc-agi_training_challenges.json", "tasks/b/x_challenges.json")
    file = tasks.read_task_file("x.json", upload.body)
    assert all(task.test_outputs is not None for task in file.tasks)
    bare = submitting.check(whole / "arc-agi_test_challenges.json", "tasks/b/y_challenges.json")
    assert bare.body == (whole / "arc-agi_test_challenges.json").read_bytes(), "as it is"


def test_evaluate_scores_by_the_solutions(whole: Path) -> None:
    found = running.read_tasks(whole)
    assert found.refused == ()
    assert {task.task_id: task.test_outputs is not None for task in found.tasks} == {
        "a1": True, "b2": True, "c3": False,
    }  # fmt: skip
    assert len(found.notes) == 2


def test_a_demo_of_such_a_folder_knows_the_solutions_too(whole: Path) -> None:
    story = demonstrating.Story(0.0)
    uploads = demonstrating._checked(whole, story)
    assert story.refused == []
    assert [upload.key for upload in uploads] == [
        "arc-agi_test_challenges.json", "arc-agi_training_challenges.json",
    ]  # fmt: skip
    assert b'"output":[[3]]' in uploads[1].body


def test_what_does_not_match_is_told_and_the_rest_is_joined(tmp_path: Path) -> None:
    path = folder_of(
        tmp_path,
        {
            "x_challenges.json": {
                "good": challenge(A), "none": challenge(A), "two": challenge(A, A), "own": challenge(A),
                "wide": challenge(A), "bad": {"train": []},
            },
            "x_solutions.json": {
                "good": [B], "two": [B], "own": [C], "wide": [[[0] * 31]], "bad": [B],
                **{f"left{n}": [B] for n in range(7)},
            },
        },
    ) / "x_challenges.json"  # fmt: skip
    document = json.loads(path.read_text())
    document["own"]["test"][0]["output"] = B
    path.write_text(json.dumps(document))
    upload = submitting.check(path, "tasks/b/x_challenges.json")
    read = {task.task_id: task.test_outputs for task in tasks.read_task_file("x", upload.body).tasks}
    assert read == {
        "good": (((2, 1),),), "none": None, "two": None, "own": (((2, 1),),), "wide": None,
    }  # fmt: skip
    assert [refusal.partition(": at ")[2][:11] for refusal in upload.refusals] == ["$.bad.train"]
    beside = str(tmp_path / "x_solutions.json")
    assert upload.notes == (
        f"{beside}: at $.wide[0][0] expected {tasks.A_ROW}; found a list of 31 items. "
        "That solution is not used.",
        f"{beside}: task two has 2 test input(s) and 1 solution(s), which are not used",
        f"{beside}: task own has other outputs of its own, which are kept",
        f"{beside}: 2 task(s) have no solution: none, wide",
        f"{beside}: 7 solution(s) have no task: left0, left1, left2, left3, left4, …",
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b'{"a": NaN}', b'{"a": 1}', b"\xff", b" " * (17 << 20)],
    ids=lambda b: repr(b)[:12],
)
def test_solutions_that_cannot_be_read_lose_no_task(body: bytes, tmp_path: Path) -> None:
    path = folder_of(tmp_path, {"x_challenges.json": {"a": challenge(A)}}) / "x_challenges.json"
    (tmp_path / "x_solutions.json").write_bytes(body)
    upload = submitting.check(path, "tasks/b/x_challenges.json")
    assert (upload.tasks, upload.refusals) == (1, ())
    assert str(tmp_path / "x_solutions.json") in upload.notes[0]


def test_solutions_without_their_challenges_are_refused_with_what_they_are(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = typed(Stack(), monkeypatch, "submit", str(whole / "arc-agi_training_solutions.json"))
    assert told.exit_code == 1
    assert "solutions or answers, which hold no tasks" in told.stderr


def test_a_pair_that_was_dropped_into_the_bucket_as_it_is_says_what_to_do() -> None:
    stack = Stack()
    assert stack.drop("tasks/b/x_challenges.json", {"a": challenge(A)}).new_jobs == 1
    (refusal,) = stack.drop("tasks/b/x_solutions.json", {"a": [B], "b": [C]}).refusals
    assert "2 lists by id: solutions or answers" in refusal
    assert "`arcspot submit FOLDER` joins ARC's solutions with the challenges beside them" in refusal


def test_files_of_the_same_names_elsewhere_are_nothing_special(tmp_path: Path) -> None:
    folder_of(tmp_path, {"my_solutions.json": GOOD_TASK, "submission.json": GOOD_TASK})
    said: list[str] = []
    assert len(submitting.find([tmp_path], say=said.append)) == 2
    assert said == []


def test_solutions_in_another_folder_belong_to_nothing_there(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {"x_challenges.json": {"a": challenge(A)}})
    b = folder_of(tmp_path / "b", {"x_solutions.json": {"a": [B]}})
    assert kaggle.solutions_of(a / "x_challenges.json") is None
    assert [path.name for path, _ in submitting.find([a, b])] == ["x_challenges.json", "x_solutions.json"]


def test_joining_the_same_two_files_gives_the_same_bytes_and_is_no_larger_than_a_file_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    challenges = json.dumps({"a": challenge(A), "ü": challenge(C)}, indent=4).encode()
    found = read_solutions("x", json.dumps({"a": [B], "ü": [C]}).encode())
    body, notes = joined(challenges, found.grids)
    assert (joined(challenges, found.grids), notes) == ((body, ()), ())
    assert joined(body, found.grids) == (body, ()), "and nothing is left to join"
    monkeypatch.setattr(solutions, "MAX_FILE_BYTES", 100)
    assert joined(challenges, found.grids) == (
        challenges, ("the file would be too large with its solutions; it is used without them",),
    )  # fmt: skip


def test_one_task_is_no_file_of_challenges() -> None:
    one = json.dumps(challenge(A)).encode()
    assert joined(one, {"challenges": (((1,),),)}) == (one, ())

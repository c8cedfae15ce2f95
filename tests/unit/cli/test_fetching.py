"""Which answers come home, and that two tasks of one id both do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from arcspot.domain import results
from arcspot.services import ingesting
from arcspot_cli import fetching
from arcspot_cli.faults import Fault
from arcspot_cli.fetching import Wanted
from tests.fakes.driving import ANSWER, GOOD_TASK, Stack, result_of, task

from .here import on, solve_all, the_job, typed


def get(stack: Stack, out: Path, batch: str | None = "b") -> dict[str, str]:
    """Folder to job id of what was fetched."""
    answers = fetching.get(on(stack), out, batch=batch)
    return {answer.folder.name: answer.job.job_id for answer in answers}


def two_called_one(stack: Stack) -> tuple[str, str]:
    """Two files of a batch whose tasks are both called `one`; both are answered. Their job ids."""
    runner = stack.one_running()
    stack.world.wait(1)
    ((_, first, _),) = stack.drop("tasks/b/one.json", GOOD_TASK).jobs
    ((_, second, _),) = stack.drop("tasks/b/other.json", {"one": task(2)}).jobs
    solve_all(stack, runner)
    return first, second


def test_two_tasks_of_one_id_have_folders_and_answers_of_their_own(tmp_path: Path) -> None:
    stack = Stack()
    first, second = two_called_one(stack)
    assert get(stack, tmp_path) == {"one": first, f"one~{second[:8]}": second}
    assert set(json.loads((tmp_path / "submission.json").read_text())) == {"one", f"one~{second[:8]}"}
    for folder, job_id in get(stack, tmp_path).items():
        assert json.loads((tmp_path / folder / "manifest.json").read_text())["job_id"] == job_id


def brought(folder: Path) -> dict[str, bytes]:
    """A result's files in a folder, but for what arcspot writes beside them."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "arcspot.json"}


def test_a_result_is_unpacked_into_the_tasks_folder_and_read_anew_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack()
    solve_all(stack, stack.one_running())
    get(stack, tmp_path)
    files = results.unpacked(stack.world.objects.read(f"{the_job(stack).result_prefix}result.zip"))
    assert brought(tmp_path / "one") == files
    monkeypatch.setattr(results, "unpacked", lambda body: pytest.fail("it was there"))
    get(stack, tmp_path)


def test_a_result_of_an_earlier_release_comes_home_the_same_way(tmp_path: Path) -> None:
    stack = Stack()
    solve_all(stack, stack.one_running())
    objects, prefix = stack.world.objects, the_job(stack).result_prefix
    files = results.unpacked(objects.read(f"{prefix}result.zip"))
    objects.delete(f"{prefix}result.zip")
    for name, body in files.items():
        objects.write(prefix + name, body, content_type="")
    get(stack, tmp_path)
    assert brought(tmp_path / "one") == files
    assert json.loads((tmp_path / "submission.json").read_text()) == {"one": ANSWER}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body[:-40],
        lambda body: body.replace(b"prediction.json", b"prediction.jsom"),
        lambda body: result_of("x") + body[-22:],
        lambda body: b"",
    ],
)
def test_a_broken_result_leaves_nothing_behind_and_says_what_is_wrong(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    stack = Stack()
    solve_all(stack, stack.one_running())
    key = f"{the_job(stack).result_prefix}result.zip"
    stack.world.objects.bodies[key] = spoil(stack.world.objects.bodies[key])
    told: list[Fault] = []
    assert fetching.get(on(stack), tmp_path, batch="b", failed=told.append) == []
    assert [fault.what for fault in told] == ["one"]
    assert "result.zip" in str(told[0])
    assert list(tmp_path.rglob("*")) == []


def test_a_task_that_comes_later_takes_no_folder_away() -> None:
    stack = Stack()
    names: list[dict[tuple[str, str], str]] = []
    asked: list[Wanted] = []
    for n in range(6):
        ((task_id, job_id, _),) = stack.drop(f"tasks/b/{n}.json", {"x": task(n)}).jobs
        asked.insert(0, Wanted(task_id, job_id))
        names.append(fetching.folder_names(asked, stack.world.store.jobs([w.job_id for w in asked])))
        stack.world.wait(1)
    for earlier, later in itertools.pairwise(names):
        assert earlier.items() <= later.items()
    assert len(set(names[-1].values())) == 6


def test_a_task_whose_id_looks_like_a_made_up_folder_keeps_it_to_itself() -> None:
    stack = Stack()
    ((_, first, _),) = stack.drop("tasks/b/x.json", task(1)).jobs
    stack.world.wait(1)
    ((_, second, _),) = stack.drop("tasks/b/1.json", {"x": task(2)}).jobs
    stack.world.wait(1)
    sly = f"x~{second[:8]}"
    ((_, third, _),) = stack.drop("tasks/b/sly.json", {sly: task(3)}).jobs
    asked = [Wanted("x", first), Wanted("x", second), Wanted(sly, third)]
    names = fetching.folder_names(asked, stack.world.store.jobs([first, second, third]))
    assert names == {("x", first): "x", ("x", second): f"x~{second[:9]}", (sly, third): sly}


def test_no_folder_is_called_like_a_file_that_lies_beside_it() -> None:
    stack = Stack()
    ((_, job_id, _),) = stack.drop("tasks/b/all.json", {"submission.json": GOOD_TASK}).jobs
    names = fetching.folder_names([Wanted("submission.json", job_id)], stack.world.store.jobs([job_id]))
    assert list(names.values()) == [f"submission.json~{job_id[:8]}"]


def test_one_job_that_answers_two_files_has_a_folder_for_each_task_id() -> None:
    stack = Stack()
    many = stack.drop("tasks/b/many.json", {"a": GOOD_TASK, "b": GOOD_TASK})
    asked = [Wanted(task_id, job_id) for task_id, job_id, _ in many.jobs]
    names = fetching.folder_names(asked, stack.world.store.jobs([w.job_id for w in asked]))
    assert sorted(names.values()) == ["a", "b"]


def test_the_answers_of_a_schedules_turn_are_asked_for_by_its_name(tmp_path: Path) -> None:
    stack = Stack()
    runner = stack.one_running()
    body = json.dumps(task(5)).encode()
    stack.world.objects.write("recurring/a/five.json", body, content_type="")
    turn = ingesting.Dropped(key="recurring/a/five.json", size=len(body), run="nightly-20261123T2200")
    ingesting.ingest(stack.ports, stack.settings, turn, stack.world.now)
    solve_all(stack, runner)
    assert set(get(stack, tmp_path / "turn", "nightly-20261123T2200")) == {"five"}
    assert set(get(stack, tmp_path / "b", "b")) == {"one"}
    assert set(get(stack, tmp_path / "all", None)) == {"one"}, "turns repeat tasks: only by name"


def test_files_dropped_directly_below_tasks_are_the_default_batch(tmp_path: Path) -> None:
    stack = Stack()
    runner = stack.one_running()
    stack.drop("tasks/two.json", task(2))
    solve_all(stack, runner)
    assert set(get(stack, tmp_path, "default")) == {"two"}


def test_an_answer_is_shown_also_after_its_task_file_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack()
    solve_all(stack, stack.one_running())
    drawn = typed(stack, monkeypatch, "results", "show", "one")
    assert "attempt 1" in drawn.stdout
    stack.world.objects.delete("tasks/b/one.json")
    stack.world.objects.versions.clear()
    told = typed(stack, monkeypatch, "results", "show", "one", "--batch", "b")
    assert told.exit_code == 0
    assert "no longer in the bucket" in told.stdout


def test_an_answer_that_is_not_there_is_an_error_beside_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = Stack()
    solve_all(stack, stack.one_running())
    told = typed(stack, monkeypatch, "results", "show", "one", "absent", "--json")
    assert told.exit_code == 1
    (shown,) = json.loads(told.stdout)
    assert (shown["task_id"], shown["prediction"]) == ("one", [{"attempt_1": [[0]], "attempt_2": [[1]]}])
    assert "no finished answer for absent" in told.stderr


def test_answers_that_share_an_id_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack()
    two_called_one(stack)
    told = typed(stack, monkeypatch, "results", "get", str(tmp_path / "out"))
    assert "2 answer(s)" in told.stdout
    assert "1 of them have the id of another task" in told.stderr

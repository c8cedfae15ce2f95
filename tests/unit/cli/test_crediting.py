"""What solved a task is told: in the results, in the totals, in the terminal and on the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.tasks import Task
from arcspot_cli import commands_evaluate
from arcspot_cli.errors import CommandFailed
from arcspot_cli.evaluation import choosing, crediting, figures, gallery, keeping, running
from arcspot_cli.evaluation.asking import Answer
from arcspot_cli.evaluation.figures import Result

from .test_evaluate_command import run
from .test_evaluating import RIGHT, WRONG, Tiny, document, put, result, solved, task_json


def by(*sources: list[str]) -> dict[str, list[str]]:
    return dict(zip(("attempt_1", "attempt_2"), sources, strict=True))


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (["rules"], "rules"),
        (["network"], "network"),
        (["network", "rules"], "rules and network"),
        (["pointer"], "pointer"),
        (["spreader"], "spreader"),
        ([], "filler"),
        (None, "not known"),
    ],
)
def test_a_credit_names_all_who_proposed_the_grid(sources: list[str] | None, name: str) -> None:
    assert crediting.credit(sources) == name


@pytest.mark.parametrize(
    ("right", "attempts_by", "expected"),
    [
        ([(True, False)], [by(["rules"], ["network"])], {"rules": 1.0}),
        ([(False, True)], [by(["rules"], ["network"])], {"network": 1.0}),
        ([(True, True)], [by(["rules"], ["network"])], {"rules": 1.0}),
        ([(False, False)], [by(["rules"], ["network"])], {}),
        ([(True, False), (False, False)], [by(["pointer"], []), by([], [])], {"pointer": 0.5}),
        (
            [(True, False), (False, True)],
            [by(["network", "rules"], []), by(["rules"], [])],
            {"rules and network": 0.5, "filler": 0.5},
        ),
        ([(True, False)], [], {"not known": 1.0}),
        ([()], [by(["rules"], ["rules"])], {}),
    ],
)
def test_the_first_right_attempt_has_the_credit(
    right: list[tuple[bool, ...]], attempts_by: list[dict[str, list[str]]], expected: dict[str, float]
) -> None:
    assert crediting.solved_by(right, attempts_by) == expected


names = st.lists(st.sampled_from(["rules", "pointer", "spreader", "network"]), unique=True)
sources = st.fixed_dictionaries({"attempt_1": names, "attempt_2": names})
attempts = st.tuples(*[st.sampled_from([((4,),), ((5,),), ((4, 4),)])] * 2)
tests = st.lists(st.tuples(attempts, sources), min_size=1, max_size=4)


def judged(name: int, each: list[tuple[Any, Any]], *, told: bool, known: bool) -> Result:
    inputs, truths = (((name,),),) * len(each), (((4,),),) * len(each)
    task = Task(f"t{name}", ((((1,),), ((2,),)),), inputs, truths if known else None)
    metrics = {"attempts_by": [by for _, by in each]} if told else {}
    return figures.judge(task, Answer(tuple(pair for pair, _ in each), 1.0, metrics))


@given(st.lists(st.tuples(tests, st.booleans(), st.booleans()), max_size=5))
def test_what_solved_a_task_adds_up_to_its_score_and_all_of_it_to_pass_at_2(tasks: list[Any]) -> None:
    results = [judged(n, each, told=told, known=known) for n, (each, told, known) in enumerate(tasks)]
    for one in results:
        assert sum(one.solved_by.values()) == pytest.approx(one.score or 0.0)
    total = figures.totals([*results, result("failed", 0.0), result("from an old file", 0.5)])
    assert sum(total.solved_by.values()) == pytest.approx(total.pass_at_2)
    assert crediting.by_training(total.solved_by) <= (total.pass_at_2 or 0.0) + 1e-9


def test_results_of_an_old_file_still_load_and_say_that_it_is_not_known(tmp_path: Path) -> None:
    told = document(solved(put(tmp_path / "tasks", a=task_json(RIGHT)), Tiny()))
    for each in told["tasks"]:
        del each["attempts_by"], each["solved_by"]
    del told["solved_by"]
    keeping.write(tmp_path / "old.json", told)
    about, results = keeping.read(tmp_path / "old.json")
    assert (results[0].score, results[0].solved_by) == (1.0, {})
    assert figures.totals(results).solved_by == {"not known": 1.0}
    assert crediting.arm(about) == "rules and training"


@pytest.fixture
def mixed(tmp_path: Path) -> running.Evaluation:
    """Solved by rules, by both, by a network in the second attempt, not at all."""
    folder = put(tmp_path / "tasks", **{n: task_json(RIGHT, mark=i) for i, n in enumerate("abcd")})
    whose = {0: by(["rules"], []), 1: by(["network", "rules"], []), 2: by([], ["network"]), 3: by([], [])}

    def solve(question: Any, _: Any) -> Answer:
        mark = question.task["train"][0]["input"][0][0]
        pair = {2: (WRONG, RIGHT), 3: (WRONG, [[9]])}.get(mark, (RIGHT, WRONG))
        return Answer((pair,), 1.0, {"attempts_by": [whose[mark]]})

    return solved(folder, solve)


def test_the_terminal_has_a_row_for_each_source_and_one_for_training_alone(mixed: running.Evaluation) -> None:
    shown = commands_evaluate._summary(document(mixed))
    rows = dict(line.rsplit(maxsplit=1) for line in map(str.strip, shown) if "%" in line)
    assert (
        rows["solved by rules"] == rows["solved by network"] == rows["solved by rules and network"] == "25.0%"
    )
    assert (rows["trained networks alone"], rows["pass@2"]) == ("25.0%", "75.0%")
    assert not any("asked" in line for line in shown)
    only = document(mixed, settings={"budget_seconds": 5, "seed": 0, "jobs": 1, "only": "rules"})
    assert commands_evaluate._summary(only)[0].split("  ")[-1] == "rules alone"


def test_a_line_of_progress_says_what_solved_the_task(mixed: running.Evaluation) -> None:
    assert [commands_evaluate._verdict(one) for one in mixed.results()] == [
        "right, by rules", "right, by rules and network", "right, by network", "wrong",
    ]  # fmt: skip
    half = replace(result("h", 0.5), solved_by={"pointer": 0.5})
    assert commands_evaluate._verdict(half) == "50% right, by pointer"
    two = replace(result("t", 1.0), all_right=True, solved_by={"rules": 0.5, "network": 0.5})
    assert commands_evaluate._verdict(two) == "right, 50% by rules, 50% by network"
    assert commands_evaluate._verdict(replace(result("o", 1.0), all_right=True)) == "right"


def test_the_page_shows_it_for_each_task_and_for_all(mixed: running.Evaluation) -> None:
    page = gallery.page(mixed, document(mixed))
    assert page.count("<td>25.0%</td>") == 4
    assert "<tr><th>trained networks alone</th><td>25.0%</td></tr>" in page
    assert "by rules and network · " in page
    assert "<dt>attempts proposed by</dt><dd>filler, network</dd>" in page
    assert "asked: rules and training" in page
    only = document(mixed, settings={"budget_seconds": 5, "seed": 0, "jobs": 1, "only": "network"})
    assert "asked: the network alone" in gallery.page(mixed, only)


def test_two_ways_of_answering_are_compared_and_named(tmp_path: Path, mixed: running.Evaluation) -> None:
    for only in ("rules", "network"):
        told = document(mixed, settings={"budget_seconds": 5, "seed": 0, "jobs": 1, "only": only})
        keeping.write(tmp_path / f"{only}.json", told)
    files = (tmp_path / "rules.json", tmp_path / "network.json")
    shown = run("--compare", *files)
    assert shown.exit_code == 0
    assert "rules.json (rules alone): pass@2 75.0%" in shown.stdout
    assert "network.json (the network alone): pass@2 75.0%" in shown.stdout
    told = json.loads(run("--compare", *files, "--json", "-").stdout)
    assert (told["asked_a"], told["asked_b"]) == ("rules alone", "the network alone")


# --- the tasks that a list names ------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put(tmp_path / "tasks", **{n: task_json(RIGHT, mark=i) for i, n in enumerate("abcd")})


def listed(tmp_path: Path, text: str) -> choosing.Ids:
    (tmp_path / "ids.txt").write_text(text)
    return choosing.read(tmp_path / "ids.txt")


def test_only_listed_tasks_are_solved_and_a_limit_counts_among_them(tmp_path: Path, folder: Path) -> None:
    ids = listed(tmp_path, "# chosen\nd\n\n  b  # the second\nc\n")
    (folder / "torn.json").write_text("{")
    assert dict(ids.lines) == {"d": 2, "b": 4, "c": 5}
    whole = running.read_tasks(folder, ids=ids)
    assert [task.task_id for task in whole.tasks] == ["b", "c", "d"]
    assert whole.refused == (), "what is no task was not asked for"
    assert [task.task_id for task in running.read_tasks(folder, ids=ids, limit=2).tasks] == ["b", "c"]


def test_an_id_that_is_no_task_is_named_with_its_place(tmp_path: Path, folder: Path) -> None:
    (folder / "torn.json").write_text("{")
    with pytest.raises(
        CommandFailed, match=r"ids.txt, line 2: torn is no usable task of .*tasks\ntorn.json:"
    ):
        running.read_tasks(folder, ids=listed(tmp_path, "a\ntorn\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a\nb\na\n", r"ids.txt, line 3: a is in line 1 already"),
        (b"# nothing\n\n", r"ids.txt: expected one task id a line; found none"),
        (b"\xff\xfe", r"ids.txt: expected text with one task id a line; found no UTF-8"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "ids.txt").write_bytes(text)
    with pytest.raises(CommandFailed, match=words):
        choosing.read(tmp_path / "ids.txt")


def test_the_document_names_the_list_and_its_checksum(tmp_path: Path, folder: Path) -> None:
    ids = listed(tmp_path, "b\n")
    arguments = ("--only", "rules", "--budget-seconds", 1, "--device", "cpu", "--json", "-")
    told = json.loads(run(folder, "--ids", ids.file, *arguments).stdout)
    assert [each["id"] for each in told["tasks"]] == ["b"]
    assert told["settings"]["ids"] == {"file": str(ids.file), "sha256": ids.sha256}
    assert json.loads(run(folder, "--limit", 1, *arguments).stdout)["settings"]["ids"] is None
    missing = run(folder, "--ids", tmp_path / "absent.txt")
    assert (missing.exit_code, "absent.txt: No such file" in missing.stderr) == (1, True)


def test_totals_of_nothing_are_solved_by_nobody() -> None:
    assert figures.totals([]).solved_by == {}
    assert np.isclose(crediting.by_training({}), 0.0)

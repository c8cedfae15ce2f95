"""`python -m bench rules`: the outputs only score, and the table counts what came true."""

import json

import pytest

from bench import rules
from bench.rules import First, Row

# Each row from right to left.
TURNED = {
    "train": [
        {"input": [[1, 0, 3], [2, 2, 0]], "output": [[3, 0, 1], [0, 2, 2]]},
        {"input": [[0, 4, 5], [6, 1, 7]], "output": [[5, 4, 0], [7, 1, 6]]},
        {"input": [[8, 0, 0], [0, 9, 3]], "output": [[0, 0, 8], [3, 9, 0]]},
    ],
    "test": [{"input": [[1, 5, 0], [2, 7, 6]], "output": [[0, 5, 1], [6, 7, 2]]}],
}
CONTRADICTION = {
    "train": [{"input": [[1]], "output": [[2]]}, {"input": [[1]], "output": [[3]]}],
    "test": [{"input": [[1]], "output": [[2]]}],
}


@pytest.fixture
def folder(tmp_path):
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "turned.json").write_text(json.dumps(TURNED))
    (tasks / "contradiction.json").write_text(json.dumps(CONTRADICTION))
    without = {**TURNED, "test": [{"input": [[1]]}]}
    (tasks / "unknown.json").write_text(json.dumps(without))
    (tasks / "broken.json").write_text("{")
    return tasks


def test_the_rules_alone_are_scored(folder, tmp_path, capsys):
    file = tmp_path / "rules.json"
    rules.main([str(folder), "--json", str(file)])
    out, err = capsys.readouterr()
    assert "2 tasks, 1 with a rule." in out
    assert "pass@1 1 of 2 (50.0%), pass@2 1 of 2 (50.0%)." in out
    assert "broken.json" in err
    assert "2 of 2 tasks" in err
    rows = {row["task"]: row for row in json.loads(file.read_text())["tasks"]}
    assert rows["turned"]["pass_at_1"] == 1.0
    assert rows["contradiction"]["rules"] == 0


def test_test_outputs_have_no_influence_on_the_rules(folder):
    (known,) = (task for task in rules._tasks(folder) if task.task_id == "turned")
    told = {**TURNED, "test": [{**TURNED["test"][0], "output": [[9]]}]}
    (folder / "turned.json").write_text(json.dumps(told))
    (wrong,) = (task for task in rules._tasks(folder) if task.task_id == "turned")
    one, two = (rules.measure(task, seconds=60.0, seed=0) for task in (known, wrong))
    assert [(first.weight, first.share) for first in one.firsts] == [
        (first.weight, first.share) for first in two.firsts
    ]
    assert (one.pass_at_1, two.pass_at_2) == (1.0, 0.0)


def test_without_any_task_there_is_a_message(tmp_path):
    with pytest.raises(SystemExit):
        rules.main([str(tmp_path)])


def test_the_report_counts_the_sure_and_the_bins(monkeypatch):
    monkeypatch.setattr(rules, "WEIGHTS", (0.0, 0.002, 0.02, 1.0))
    monkeypatch.setattr(rules, "SHARES", (0.0, 0.5, 0.9))
    rows = [
        Row("a", 1.0, True, 1.0, 1.0, 3, (First(2.0, 1.0, True),)),
        Row("b", 2.0, True, 0.0, 1.0, 3, (First(2.0, 0.95, False),)),
        Row("c", 9.0, False, 0.5, 0.5, 3, (First(0.01, 0.5, True), First(0.01, 0.2, False))),
        Row("d", 3.0, False, 0.0, 0.0, 0, ()),
    ]
    told = rules.report(rows)
    assert "4 tasks, 3 with a rule." in told
    assert "pass@1 1.5 of 4 (37.5%), pass@2 2.5 of 4 (62.5%)." in told
    assert "Sure of 2; 1 of these right at the first attempt." in told
    assert "median 2.5, p90 9.0, most 9.0" in told
    assert "| ≥ 1 | – | – | 1 of 2 |" in told
    assert "| 0.002 to 0.02 | 0 of 1 | 1 of 1 | – |" in told

"""arcspot evaluate from the outside, with the real solver on a task that its pointer answers at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from arcspot_cli.evaluation import keeping
from arcspot_cli.main import main

from .test_evaluating import RIGHT, Tiny, document, put, solved, task_json

UPSIDE_DOWN = {
    "train": [
        {"input": [[1, 2], [0, 3], [4, 0]], "output": [[4, 0], [0, 3], [1, 2]]},
        {"input": [[5, 0], [4, 4], [1, 1]], "output": [[1, 1], [4, 4], [5, 0]]},
        {"input": [[0, 2], [3, 5], [2, 2]], "output": [[2, 2], [3, 5], [0, 2]]},
    ],
    "test": [{"input": [[3, 0], [1, 5], [4, 2]], "output": [[4, 2], [1, 5], [3, 0]]}],
}
# No rule: the solver works for long.
RIDDLE = {
    "train": [
        {"input": [[1, 2], [0, 3]], "output": [[3, 0], [2, 9]]},
        {"input": [[1, 2], [0, 4]], "output": [[7, 1], [5, 5]]},
    ],
    "test": [{"input": [[7, 0], [1, 6]], "output": [[1, 1], [1, 1]]}],
}


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_a_folder_is_solved_scored_written_and_shown(tmp_path: Path) -> None:
    folder = put(tmp_path / "tasks", flip=UPSIDE_DOWN)
    (folder / "torn.json").write_text("{")
    file, page = tmp_path / "run.json", tmp_path / "run.html"
    told = run(folder, "--budget-seconds", 30, "--json", file, "--html", page, "--device", "cpu")
    assert told.exit_code == 1, "one file is no task"
    assert "refused: torn.json: at $ expected" in told.stderr
    assert "1/1  flip: right" in told.stderr
    assert "pass@2        100.0%" in told.stdout
    document, (result,) = keeping.read(file)
    assert (document["pass_at_2"], document["refused"], document["complete"]) == (
        1.0, [told.stderr.splitlines()[0].removeprefix("refused: ")], True,
    )  # fmt: skip
    assert (result.hypothesis, result.score, result.flops) == ("pointer", 1.0, 0)
    assert len(document["checkpoint"]["sha256"]) == 64
    assert "attempt 1 ✓" in page.read_text()
    again = run(folder, "--budget-seconds", 30, "--json", file, "--device", "cpu")
    assert "1 answer(s) from before are taken up; 0 to go" in again.stderr


def test_who_answers_is_chosen_told_and_part_of_what_is_taken_up(tmp_path: Path) -> None:
    folder, file = put(tmp_path / "tasks", riddle=RIDDLE), tmp_path / "run.json"
    for _ in range(2):
        told = run(folder, "--only", "rules", "--budget-seconds", 5, "--json", file, "--device", "cpu")
    assert "1 answer(s) from before are taken up" in told.stderr
    document, (result,) = keeping.read(file)
    assert document["settings"]["only"] == "rules"
    assert (result.hypothesis, result.steps, result.score) == ("rules", 0, 0.0)
    assert result.attempts_by == [{"attempt_1": ["rules"], "attempt_2": ["rules"]}]
    told = run(folder, "--budget-seconds", 3, "--json", file, "--device", "cpu")
    assert "taken up" not in told.stderr
    assert keeping.read(file)[1][0].hypothesis != "rules"


def test_two_evaluations_are_compared(tmp_path: Path) -> None:
    a = put(tmp_path / "tasks", one=task_json(RIGHT, mark=1), two=task_json([[9]], mark=2))
    for name, tiny in {"worse": Tiny(attempts=([[0]], [[1]])), "better": Tiny()}.items():
        keeping.write(tmp_path / f"{name}.json", document(solved(a, tiny)))
    files = (tmp_path / "worse.json", tmp_path / "better.json")
    told = run("--compare", *files)
    assert told.exit_code == 0
    assert "+50.0 points over 2 common tasks" in told.stdout
    assert "B won  1: one" in told.stdout
    found = json.loads(run("--compare", *files, "--json", "-").stdout)
    assert (found["difference"], found["wins"], found["losses"]) == (0.5, ["one"], [])


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "DIRECTORY is missing"),
        (["x", "--compare", "a", "b"], 2, "and no DIRECTORY"),
        (["absent"], 1, "absent: no such file or folder"),
        (["--compare", "a.json", "b.json"], 1, "a.json: No such file"),
        (["x", "--budget-seconds", "0"], 2, "--budget-seconds"),
        (["x", "--only", "luck"], 2, "'luck' is not one of 'rules', 'network', 'both'"),
        (["x", "--only", "rules", "--base"], 2, "--only rules asks no network"),
    ],
)
def test_what_was_typed_wrong_is_one_sentence(arguments: list[str], status: int, words: str) -> None:
    told = run(*arguments)
    assert told.exit_code == status
    assert words in told.stderr
    assert "Traceback" not in told.output


def test_a_checkpoint_that_is_none_is_refused_and_not_replaced_by_chance(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("nothing")
    told = run(put(tmp_path / "tasks", flip=UPSIDE_DOWN), "--model", tmp_path / "x.safetensors")
    assert told.exit_code == 1
    assert "cannot read the checkpoint x.safetensors" in told.stderr


@pytest.mark.parametrize("device", ["cuda:77", "abacus"])
def test_a_device_that_is_not_there_is_told_before_any_work(tmp_path: Path, device: str) -> None:
    told = run(put(tmp_path / "tasks", flip=UPSIDE_DOWN), "--device", device)
    assert told.exit_code == 1
    assert f"Error: --device {device}: " in told.stderr


def test_ctrl_c_ends_the_workers_and_keeps_what_is_finished(tmp_path: Path) -> None:
    folder, file = put(tmp_path / "tasks", a=UPSIDE_DOWN, b=RIDDLE), tmp_path / "run.json"
    command = [sys.executable, "-m", "arcspot_cli.main", "evaluate", str(folder), "--device", "cpu"]
    command += ["--budget-seconds", "300", "--jobs", "1", "--json", str(file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert "1/2  a: right" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers hear of it as well
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in errors
    assert errors.endswith("stopped; what was done stays, and the same command may be run again\n")
    assert not file.exists()
    (line,) = (tmp_path / "run.json.part.jsonl").read_text().splitlines()
    assert json.loads(line)["result"]["score"] == 1.0

"""The adapter against a tiny checkout with CompressARC's interface, and the table of the comparison."""

import argparse
import json
import subprocess
import sys

import pytest

from bench import compressarc
from bench.compressarc import ADAPTER, Run, table

# As in CompressARC, the default device is set to a GPU by an import, and train.py imports what draws.
FAKE = {
    "preprocessing": """
import torch
torch.set_default_device("cuda")
class Task:
    def __init__(self, task_name, problem, solution):
        assert solution is None and not any("output" in pair for pair in problem["test"])
        self.task_name, self.problem, self.n_test = task_name, problem, len(problem["test"])
""",
    "arc_compressor": """
import torch
torch.set_default_device("cuda")
class ARCCompressor:
    def __init__(self, task):
        self.weights_list = [torch.zeros(2).requires_grad_()]
""",
    "solution_selection": """
import matplotlib.pyplot as plt
import torch
class Logger:
    def __init__(self, task):
        self.task, self.ema = task, torch.zeros(3)
        self.solution_most_frequent = self.solution_second_most_frequent = None
""",
    "train": """
import time
import visualization
import tqdm
def take_step(task, model, optimizer, train_step, train_history_logger):
    assert model.weights_list[0].device.type == "cpu"
    time.sleep(0.02)
    grids = [tuple(tuple(row) for row in pair["input"]) for pair in task.problem["test"]]
    train_history_logger.solution_most_frequent = tuple(grids)
    train_history_logger.solution_second_most_frequent = tuple(((train_step,),) for _ in grids)
""",
    "visualization": "",
}
TASK = {
    "train": [{"input": [[1]], "output": [[2]]}],
    "test": [{"input": [[3, 4]], "output": [[3, 4]]}, {"input": [[5]], "output": [[6]]}],
}


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "CompressARC"
    folder.mkdir()
    for name, text in FAKE.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def adapt(checkout, tmp_path, *, seconds=60.0, steps=5, clock="wall"):
    task, out = tmp_path / "abc.json", tmp_path / "answer.json"
    bare = {"train": TASK["train"], "test": [{"input": pair["input"]} for pair in TASK["test"]]}
    task.write_text(json.dumps(bare))
    arguments = (str(checkout), str(task), str(seconds), str(steps), "0", str(out), clock)
    ran = subprocess.run(
        (sys.executable, str(ADAPTER), *arguments), capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    return ran, json.loads(out.read_text()) if out.exists() else None


def test_the_adapter_trains_so_many_steps_on_the_cpu_and_writes_both_solutions(checkout, tmp_path):
    ran, found = adapt(checkout, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert found["attempts"] == [[[[3, 4]], [[4]]], [[[5]], [[4]]]]
    assert found["steps"] == 5


def test_the_adapter_ends_when_its_time_is_up(checkout, tmp_path):
    _, found = adapt(checkout, tmp_path, seconds=0.5, steps=10**6)
    assert 1 <= found["steps"] < 30
    assert found["seconds"] <= 0.6


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("train", None, "has no train.py"),
        ("train", "import a_module_nobody_has", "cannot be imported"),
        ("preprocessing", "", "preprocessing.py has no Task"),
        (
            "arc_compressor",
            "class ARCCompressor:\n    def __init__(self, task): pass",
            "no weights_list",
        ),
    ],
)
def test_what_a_checkout_lacks_is_named(checkout, tmp_path, file, text, told):
    path = checkout / f"{file}.py"
    path.unlink() if text is None else path.write_text(text)
    ran, found = adapt(checkout, tmp_path)
    assert found is None
    assert ran.returncode == 1
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr


def test_both_solvers_stand_side_by_side(checkout, tmp_path, monkeypatch, capsys):
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "abc.json").write_text(json.dumps(TASK))
    (tasks / "many.json").write_text(json.dumps({"x": TASK, "y": TASK}))
    monkeypatch.setattr(compressarc, "PROJECT", tmp_path)
    monkeypatch.setattr(compressarc, "machine", lambda: {})
    monkeypatch.setattr(compressarc, "commit", lambda project: "none")
    monkeypatch.setattr(compressarc, "arcspot", lambda path, options: Run(1.0, True, 2.0, 30))
    compressarc.main(["--checkout", str(checkout), "--tasks", str(tasks), "--budget", "1", "--steps", "3"])
    told = capsys.readouterr()
    assert "| abc | 50% |" in told.out
    assert "by arcspot alone 1" in told.out
    assert "many.json: left out" in told.err
    assert json.loads((tmp_path / "bench" / "out" / "compressarc-1s.json").read_text())["tasks"]["abc"]


@pytest.fixture
def counted(checkout, tmp_path, monkeypatch):
    """Runs the comparison of two tasks in a folder of its own; the list has the tasks it measured."""
    tasks, measured = tmp_path / "tasks", []
    tasks.mkdir()
    for name in ("abc", "xyz"):
        (tasks / f"{name}.json").write_text(json.dumps(TASK))
    monkeypatch.setattr(compressarc, "PROJECT", tmp_path)
    monkeypatch.setattr(compressarc, "machine", lambda: {})
    monkeypatch.setattr(compressarc, "commit", lambda project: "none")

    def both(path, options):
        measured.append(path.stem)
        return Run(0.0, False, 2.0, 30), Run(1.0, True, 2.0, 30)

    monkeypatch.setattr(compressarc, "measured", both)
    return measured, lambda *more: compressarc.main(
        ["--checkout", str(checkout), "--tasks", str(tasks), "--budget", "1", *more]
    )


def test_what_was_measured_is_kept_and_not_measured_again(counted, capsys):
    measured, compare = counted
    compare("--limit", "1")
    compare()
    assert measured == ["abc", "xyz"]
    assert "2 tasks, 1 s each" in capsys.readouterr().out


@pytest.mark.parametrize("other", [["--again"], ["--clock", "cpu"], ["--seed", "3"], ["--steps", "7"]])
def test_other_settings_begin_anew(counted, other):
    measured, compare = counted
    compare("--limit", "1")
    compare("--limit", "1", *other)
    assert measured == ["abc", "abc"]


def test_what_there_is_when_it_is_stopped_is_printed_and_kept(counted, monkeypatch, capsys):
    measured, compare = counted
    both = compressarc.measured

    def stopped(path, options):
        if path.stem == "xyz":
            raise KeyboardInterrupt
        return both(path, options)

    monkeypatch.setattr(compressarc, "measured", stopped)
    compare()
    told = capsys.readouterr()
    assert "| abc | wrong |" in told.out
    assert "the same command goes on from here" in told.err
    monkeypatch.setattr(compressarc, "measured", both)
    compare()
    assert measured == ["abc", "xyz"]


def test_stopped_before_anything_was_measured_it_has_nothing_to_print(counted, monkeypatch, capsys):
    _, compare = counted

    def stopped(path, options):
        raise KeyboardInterrupt

    monkeypatch.setattr(compressarc, "measured", stopped)
    with pytest.raises(SystemExit) as ended:
        compare()
    assert ended.value.code == 130
    assert "none of the files" not in capsys.readouterr().err


@pytest.mark.parametrize(("clock", "all_steps"), [("wall", False), ("cpu", True)])
def test_steps_that_sleep_cost_seconds_of_the_wall_alone(checkout, tmp_path, clock, all_steps):
    ran, found = adapt(checkout, tmp_path, seconds=0.5, steps=60, clock=clock)
    assert ran.returncode == 0, ran.stderr
    assert (found["steps"] == 60) == all_steps


def test_a_process_that_counts_its_own_seconds_may_last_longer():
    options = [argparse.Namespace(budget=300.0, clock=clock) for clock in ("wall", "cpu")]
    wall, cpu = (compressarc.patience_s(each) for each in options)
    assert 300.0 < wall < cpu


def test_a_run_without_an_answer_says_why():
    told = table({"abc": (Run(0.0, False, None, None, "no room"), Run(0.0, False, 3.0, 4))}, budget=60.0)
    assert "| abc | – (no room) | – | – | wrong | 3 | 4 |" in told
    assert "by neither 1" in told
    assert "1 runs came to no answer" in told


def test_a_checkout_that_is_not_there_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit):
        compressarc.main(["--checkout", str(tmp_path / "none"), "--tasks", str(tmp_path)])
    assert "clone iliao2345/CompressARC" in capsys.readouterr().err

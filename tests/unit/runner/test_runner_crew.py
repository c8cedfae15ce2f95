"""Workers in real processes, with small solvers in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_runner import crew as crew_module
from gpu_runner.crew import Crew, WorkerDied, WorkerHangs
from gpu_runner.solving import Solved, Solver, Stopped

ANSWER = ((((1,),), ((2,),)),)


def small_solver() -> Solver:
    """What it does is what the task says. Made in the worker."""

    def solve(task: Any, *, seed: int, keep: Path, progress: Any, should_stop: Any, **_: Any) -> Solved:
        progress("adapting", 0.5)
        match task["does"]:
            case "answers":
                return Solved(ANSWER, {"pid": os.getpid(), "seed": seed}, _write)
            case "fails":
                raise ValueError("no such colour")
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "waits":
                while not should_stop():
                    time.sleep(0.01)
                keep.write_bytes(b"the state so far")
                raise Stopped("asked to")
        while True:  # heeds nothing
            time.sleep(0.01)

    return solve


def _write(path: Path) -> None:
    path.write_bytes(b"weights")


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    made = Crew(small_solver, size=1, launch_id="launch-1")
    made.start()
    yield made
    made.close()


def ask(
    crew: Crew, folder: Path, does: str, *, seconds: float = 60.0, stop: Callable[[], bool] = lambda: False
) -> tuple[Solved, list[tuple[str, float]]]:
    told: list[tuple[str, float]] = []
    found = crew(
        {"does": does}, seconds=seconds, here=seconds, seed=7, model=None, keep=folder / "kept.safetensors",
        progress=lambda phase, fraction: told.append((phase, fraction)), should_stop=stop,
    )  # fmt: skip
    return found, told


def test_an_answer_comes_from_another_process_with_its_weights(crew: Crew, tmp_path: Path) -> None:
    found, _ = ask(crew, tmp_path, "answers")
    assert (found.attempts, found.metrics["seed"]) == (ANSWER, 7)
    assert found.metrics["pid"] != os.getpid()
    found.save_weights(tmp_path / "adapted.safetensors")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("adapted.safetensors", b"weights")]


def test_the_same_process_does_the_next_job(crew: Crew, tmp_path: Path) -> None:
    first, second = ask(crew, tmp_path, "answers")[0], ask(crew, tmp_path, "answers")[0]
    assert first.metrics["pid"] == second.metrics["pid"]


def test_a_failure_keeps_its_name_and_the_next_job_gets_a_fresh_process(crew: Crew, tmp_path: Path) -> None:
    before = ask(crew, tmp_path, "answers")[0].metrics["pid"]
    with pytest.raises(ValueError, match="no such colour"):
        ask(crew, tmp_path, "fails")
    assert ask(crew, tmp_path, "answers")[0].metrics["pid"] != before


def test_a_worker_that_is_killed_is_told_and_replaced(crew: Crew, tmp_path: Path) -> None:
    with pytest.raises(WorkerDied, match="memory"):
        ask(crew, tmp_path, "dies")
    assert ask(crew, tmp_path, "answers")[0].attempts == ANSWER


def test_one_that_is_asked_to_stop_keeps_its_state(crew: Crew, tmp_path: Path) -> None:
    looks = iter([False, True])
    with pytest.raises(Stopped, match="asked to"):
        ask(crew, tmp_path, "waits", stop=lambda: next(looks, True))
    assert (tmp_path / "kept.safetensors").read_bytes() == b"the state so far"
    assert ask(crew, tmp_path, "answers")[0].attempts == ANSWER


def test_progress_is_heard_while_it_works(crew: Crew, tmp_path: Path) -> None:
    heard: list[tuple[str, float]] = []
    with pytest.raises(Stopped):
        crew(
            {"does": "waits"}, seconds=60.0, here=60.0, seed=7, model=None, keep=tmp_path / "kept",
            progress=lambda *told: heard.append(told), should_stop=lambda: bool(heard),
        )  # fmt: skip
    assert heard[0] == ("adapting", 0.5)


def test_one_that_does_not_stop_is_ended(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "STOPS_WITHIN_S", 0.3)
    with pytest.raises(Stopped, match="was ended"):
        ask(crew, tmp_path, "heeds nothing", stop=lambda: True)
    assert ask(crew, tmp_path, "answers")[0].attempts == ANSWER


def test_one_that_works_on_long_after_its_time_is_ended(
    crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "LATE_S", 0.2)
    with pytest.raises(WorkerHangs, match="still in phase 'adapting'"):
        ask(crew, tmp_path, "heeds nothing", seconds=0.3)
    assert ask(crew, tmp_path, "answers")[0].attempts == ANSWER


def test_nothing_is_left_running(tmp_path: Path) -> None:
    short = Crew(small_solver, size=1, launch_id="launch-1")
    pid = ask(short, tmp_path, "answers")[0].metrics["pid"]
    short.close()
    short.close()
    ends(pid)


RUNNER = """
import os, signal
from pathlib import Path
from tests.unit.runner.test_runner_crew import ask, small_solver
from gpu_runner.crew import Crew

if __name__ == "__main__":
    crew = Crew(small_solver, size=1, launch_id="launch-1")
    print(ask(crew, Path(), "answers")[0].metrics["pid"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_does_not_outlive_a_runner_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "runner.py").write_text(RUNNER)
    ran = subprocess.run(
        [sys.executable, tmp_path / "runner.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, timeout=120,
    )  # fmt: skip
    assert ran.returncode == -signal.SIGKILL
    ends(int(ran.stdout.split()[-1]))


def ends(pid: int) -> None:
    for _ in range(400):
        if not Path(f"/proc/{pid}").exists() or "(zombie)" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the worker lives on")

"""bootstrap.sh run for real, with a python and a shutdown that only take notes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "gpu_runner" / "bootstrap.sh"

SHUTDOWN = """#!/bin/bash
echo "shutdown $*" >> "$NOTES"
"""
# Asked for torch it says yes; asked to run the runner it does what the test wants.
PYTHON = """#!/bin/bash
if [[ "$1" == -c ]]; then exit "${TORCH_MISSING:-0}"; fi
echo "runner $* path=$PYTHONPATH work=$ARCSPOT_WORK log=$ARCSPOT_LOG" >> "$NOTES"
echo "last words"
if [[ -n "${LINGER:-}" ]]; then
  trap 'echo "gave jobs back" >> "$NOTES"; exit 7' TERM
  for _ in {1..500}; do sleep 0.02; done
fi
exit "${RUNNER_CODE:-0}"
"""


class Machine:
    """A folder that plays the instance: fake programs on PATH, notes of what was called."""

    def __init__(self, folder: Path) -> None:
        self.notes_file = folder / "notes"
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, body in (("shutdown", SHUTDOWN), ("python3", PYTHON)):
            (bin_folder / name).write_text(body)
            (bin_folder / name).chmod(0o755)
        self.env = {
            "PATH": f"{bin_folder}{os.pathsep}{os.defpath}",
            "NOTES": str(self.notes_file),
            "ARCSPOT_INSTANCE_DIR": str(folder / "instance"),
            "ARCSPOT_STACK": "arcspot",
            "ARCSPOT_RUNNER_API": "runner-api",
            "ARCSPOT_BUNDLE": str(folder / "bundle"),
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        self.log = folder / "instance" / "work" / "runner.log"

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", SCRIPT], env=self.env | env, capture_output=True, text=True, timeout=30, check=False
        )

    def notes(self) -> list[str]:
        return self.notes_file.read_text().splitlines() if self.notes_file.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_runs_the_runner_from_the_bundle_and_then_shuts_down(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 0, done.stdout + done.stderr
    runner, shutdown = machine.notes()
    assert runner.startswith("runner -m gpu_runner path=" + machine.env["ARCSPOT_BUNDLE"])
    assert f"log={machine.log}" in runner
    assert shutdown == "shutdown -h now"


def test_all_that_is_said_is_kept_for_shipping(machine: Machine) -> None:
    machine.run()
    deadline = time.monotonic() + 5
    while "last words" not in machine.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)  # tee writes on its own after the script has ended
    assert "last words" in machine.log.read_text()


def test_a_crashed_runner_shuts_the_machine_down_all_the_same(machine: Machine) -> None:
    assert machine.run(RUNNER_CODE="9").returncode == 9
    assert machine.notes()[-1] == "shutdown -h now"


@pytest.mark.parametrize(
    "missing", ["ARCSPOT_BUNDLE", "ARCSPOT_STACK", "ARCSPOT_RUNNER_API", "AWS_DEFAULT_REGION"]
)
def test_a_missing_setting_shuts_the_machine_down(machine: Machine, missing: str) -> None:
    done = machine.run(**{missing: ""})
    assert done.returncode != 0
    assert missing in done.stderr
    assert machine.notes() == ["shutdown -h now"]


@pytest.mark.skipif(
    Path("/opt/pytorch/bin/python3").exists(), reason="this machine has the image's own python"
)
def test_a_machine_without_torch_says_so_and_shuts_down(machine: Machine) -> None:
    done = machine.run(TORCH_MISSING="1")
    assert "no python3 with torch" in done.stdout
    assert machine.notes() == ["shutdown -h now"]


def test_a_signal_lets_the_runner_give_its_jobs_back_before_the_machine_goes_down(machine: Machine) -> None:
    process = subprocess.Popen(
        ["bash", SCRIPT],
        env=machine.env | {"LINGER": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while not machine.notes() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # the fake runner sets its trap just after its note
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 7
    assert machine.notes()[1:] == ["gave jobs back", "shutdown -h now"]


def test_the_log_tells_what_image_it_is_and_every_package_of_its_python(machine: Machine) -> None:
    machine.run()
    assert re.search(r"bootstrap: image: Linux \S+ \S+, ", machine.log.read_text())
    snippet = re.search(r"-c '(import importlib\.metadata.*?)'", SCRIPT.read_text(), re.S)
    assert snippet is not None
    told = subprocess.run(
        [sys.executable, "-c", snippet.group(1)], capture_output=True, text=True, check=True
    )
    packages = {line.removeprefix("bootstrap: package ") for line in told.stdout.splitlines()}
    assert f"pytest=={pytest.__version__}" in packages
    assert len(packages) > 20

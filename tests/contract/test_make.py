"""The Makefile's verbs find the Python they need, or say that there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes.house import ROOT

TOOLS = ("bash", "sh", "make", "sha256sum", "cat", "env")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH of its own with no Python."""
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (tmp_path / name).symlink_to(found)
    return tmp_path


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def said(tools: Path) -> str:
    """What `make test-handlers` says before it sets anything up."""
    done = subprocess.run(
        ["make", "-s", "PIP=", "test-handlers"],
        cwd=ROOT,
        env={"PATH": str(tools), "HOME": str(tools)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_lambdas_python_the_functions_tests_are_skipped_with_a_message(tools: Path) -> None:
    assert said(tools) == "test-handlers: skipped, there is no python3.13 on PATH or in pyenv\n"


def test_a_shim_that_refuses_is_no_python(tools: Path) -> None:
    """pyenv puts one on PATH for every version it keeps, in use or not."""
    program(tools / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    assert "skipped" in said(tools)


def test_a_python_that_only_pyenv_knows_is_found(tools: Path) -> None:
    found = tools / "root" / "versions" / "3.13.7" / "bin" / "python3.13"
    program(found, "exit 0")
    program(tools / "pyenv", f'test "$1" = root && echo "{tools}/root"')
    recipe = subprocess.run(
        ["make", "-n", "test-handlers"],
        cwd=ROOT,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    search = recipe.partition("if test")[0]
    asked = subprocess.run(
        ["bash", "-c", f'{search.replace(chr(92) + chr(10), " ")} echo "$python"'],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert asked == f"{found}\n"

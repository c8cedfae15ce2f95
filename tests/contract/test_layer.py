"""The layer of all functions runs on both of Lambda's processors and brings its bytecode."""

from __future__ import annotations

import re
from importlib.metadata import distribution

import pytest

from tests.fakes import house

REQUIRED = re.findall(r"^([\w.-]+)==", (house.COMMON / "requirements.txt").read_text(), re.MULTILINE)
LAYER = house.resources("AWS::Serverless::LayerVersion")["CommonLayer"]
MAKEFILE = (house.COMMON / "Makefile").read_text()


@pytest.mark.parametrize("name", REQUIRED)
def test_nothing_in_it_is_compiled_for_one_processor(name: str) -> None:
    wheel = distribution(name).read_text("WHEEL") or ""
    assert "Root-Is-Purelib: true" in wheel
    assert re.findall(r"^Tag: .*-none-any$", wheel, re.MULTILINE)


def test_our_own_code_is_pythons_alone() -> None:
    kinds = {path.suffix for path in (house.COMMON / "arcspot").rglob("*") if path.is_file()}
    assert kinds - {".pyc"} <= {".py", ".typed", ".json"}


def test_it_serves_whatever_the_functions_may_run_on() -> None:
    wanted = house.template()["Globals"]["Function"]["Architectures"]
    assert wanted == [{"Ref": "Architecture"}]
    choices = house.template()["Parameters"]["Architecture"]
    assert set(LAYER["CompatibleArchitectures"]) == set(choices["AllowedValues"])
    assert choices["Default"] == "arm64", "a fifth cheaper"


def test_its_bytecode_is_for_lambdas_own_python() -> None:
    """Of another version it would be read past; held against times it would be stale."""
    runtime = str(house.template()["Globals"]["Function"]["Runtime"])
    assert f"for each in {runtime} " in MAKEFILE
    assert "--invalidation-mode unchecked-hash" in MAKEFILE
    assert LAYER["CompatibleRuntimes"] == [runtime]

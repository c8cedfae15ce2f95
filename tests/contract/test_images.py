"""What is built fits the image that instances boot, and the image is one that AWS still patches for a T4."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from arcspot_cli import images
from tests.fakes import house

KNOWN = images.read()
DEFAULT = KNOWN.default
PARAMETERS = house.template()["Parameters"]
BOOTSTRAP = (house.ROOT / "gpu_runner" / "bootstrap.sh").read_text()


def test_the_template_boots_the_newest_line_that_is_known() -> None:
    assert PARAMETERS["ImageParameter"]["Default"] == DEFAULT.parameter
    assert max(KNOWN.lines, key=lambda line: line.end_of_patch) == DEFAULT


def test_the_line_serves_every_type_that_the_template_starts_by_itself() -> None:
    for name in PARAMETERS["InstanceTypes"]["Default"].split(","):
        assert name.partition(".")[0] in DEFAULT.families


@pytest.mark.parametrize("line", KNOWN.lines, ids=lambda line: line.torch)
def test_a_line_is_told_with_its_end_and_where_that_was_read(line: images.Line) -> None:
    assert f"pytorch-{line.torch}-" in line.parameter
    assert line.end_of_patch - line.released_on in (timedelta(days=365), timedelta(days=366))
    assert line.source.startswith("https://docs.aws.amazon.com/dlami/")
    assert KNOWN.line(line.parameter.replace("/latest/", "/20260822/")) == line


def makefile(layer: str) -> str:
    return (house.ROOT / "layers" / layer / "Makefile").read_text()


@pytest.mark.parametrize(
    ("layer", "python"),
    [
        ("runner", DEFAULT.python),
        ("common", house.template()["Globals"]["Function"]["Runtime"].removeprefix("python")),
    ],
)
def test_a_layer_is_built_for_the_python_that_runs_it(layer: str, python: str) -> None:
    assert re.findall(r"--python-version (\S+)", makefile(layer)) == [python]


def test_bootstrap_looks_for_python_and_disk_where_the_line_has_them() -> None:
    assert DEFAULT.interpreter in BOOTSTRAP
    assert DEFAULT.disk in BOOTSTRAP


@pytest.mark.parametrize(("days", "warned"), [(61, False), (60, True), (0, True), (-1, True)])
def test_the_warning_starts_sixty_days_before_the_end(days: int, warned: bool) -> None:
    today = DEFAULT.end_of_patch - timedelta(days=days)
    said = images.main([], today)
    assert (said is not None) == warned
    if said:
        assert DEFAULT.torch in said
        assert ("has had no patches" in said) == (days < 0)


def test_the_makefile_can_ask_for_a_fact_of_the_line() -> None:
    today = DEFAULT.end_of_patch
    assert (images.main(["torch"], today), images.main(["python"], today)) == (DEFAULT.torch, DEFAULT.python)

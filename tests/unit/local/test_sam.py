"""Builds happen when something changed, with no way to a real account."""

from __future__ import annotations

from pathlib import Path

import pytest

from arcspot_cli.local import sam
from arcspot_cli.local.errors import LocalStackError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / "functions" / "one").mkdir(parents=True)
    (project / "template.yaml").write_text("Resources: {}\n")
    (project / "functions" / "one" / "app.py").write_text("pass\n")
    return project


def program(path: Path, script: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def build(project: Path, command: str) -> bool:
    return sam.build(
        command,
        project_dir=project,
        build_dir=project / "out" / "sam",
        records_dir=project / "out",
        config=project / "out" / "samconfig.toml",
        log=project / "build.log",
    )


def test_a_named_sam_comes_first_then_the_projects_own_then_the_path(project: Path) -> None:
    on_path = program(project / "bin" / "sam", "true")
    path = {"PATH": str(project / "bin")}
    assert sam.find_sam(project, path) == on_path
    own = program(project / ".venv-sam" / "bin" / "sam", "true")
    assert sam.find_sam(project, path) == own
    named = program(project / "elsewhere" / "sam", "true")
    assert sam.find_sam(project, path | {"ARCSPOT_SAM": named}) == named


@pytest.mark.parametrize("environment", [{"PATH": ""}, {"ARCSPOT_SAM": "/nowhere/sam"}])
def test_a_missing_sam_says_what_to_do(project: Path, environment: dict[str, str]) -> None:
    with pytest.raises(LocalStackError, match="make setup"):
        sam.find_sam(project, environment)


def test_the_hash_changes_with_names_and_bytes_and_not_with_caches(project: Path) -> None:
    before = sam.content_hash(project)
    (project / "functions" / "one" / "__pycache__").mkdir()
    (project / "functions" / "one" / "__pycache__" / "app.pyc").write_bytes(b"x")
    assert sam.content_hash(project) == before
    (project / "functions" / "one" / "app.py").write_text("pass  # changed\n")
    changed = sam.content_hash(project)
    assert changed != before
    (project / "functions" / "one" / "app.py").rename(project / "functions" / "one" / "main.py")
    assert sam.content_hash(project) not in {before, changed}


def test_an_unchanged_project_is_built_once(project: Path) -> None:
    tool = program(
        project / "sam", 'echo "$@" >> calls; mkdir -p out/sam; cp template.yaml out/sam/template.yaml'
    )
    assert build(project, tool)
    assert not build(project, tool)
    (project / "template.yaml").write_text("Resources: {Topic: {}}\n")
    assert build(project, tool)
    assert len((project / "calls").read_text().splitlines()) == 2


def test_a_failed_build_shows_the_end_of_its_log_and_is_tried_again(project: Path) -> None:
    tool = program(project / "sam", "echo it is broken; exit 3")
    for _ in range(2):
        with pytest.raises(LocalStackError, match=r"(?s)sam-build failed \(3\).*build\.log.*it is broken"):
            build(project, tool)


def test_no_command_of_ours_can_reach_a_real_account() -> None:
    seen = sam.clean_environment({"AWS_PROFILE": "prod", "AWS_SESSION_TOKEN": "real", "PATH": "/bin"})
    assert seen["PATH"] == "/bin"
    assert seen["AWS_ACCESS_KEY_ID"] == "no-key"
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & set(seen)

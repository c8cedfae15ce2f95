"""The repository's own files, read as data: the template, the state machine, the handlers."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
COMMON = ROOT / "layers" / "common"
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))


@cache
def template() -> dict[str, Any]:
    """`template.yaml` with its intrinsic functions as plain dictionaries (`{"Ref": …}`)."""
    parsed: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return parsed


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Logical id → properties of every resource of a CloudFormation type."""
    return {
        name: resource.get("Properties", {})
        for name, resource in template()["Resources"].items()
        if resource["Type"] == kind
    }


def functions() -> dict[str, dict[str, Any]]:
    """Folder name (`ingest`) → properties of its function resource."""
    found = resources("AWS::Serverless::Function").values()
    return {str(properties["CodeUri"]).removeprefix("functions/"): properties for properties in found}


def variables(function: str) -> dict[str, Any]:
    """The environment variables a function gets: the template's globals, and its own."""
    shared = template()["Globals"]["Function"]["Environment"]["Variables"]
    return {**shared, **functions()[function].get("Environment", {}).get("Variables", {})}


@cache
def state_machine() -> dict[str, Any]:
    definition: dict[str, Any] = json.loads(
        (ROOT / "statemachines" / "runner_lifecycle.asl.json").read_text()
    )
    return definition


def states() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = state_machine()["States"]
    return found


def handler_module(function: str) -> ModuleType:
    """`functions/<function>/app.py`, freshly imported, as Lambda does at a cold start."""
    spec = importlib.util.spec_from_file_location(f"{function}_app", ROOT / "functions" / function / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

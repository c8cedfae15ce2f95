"""The bundle carries the models that are meant, and nothing of the lineage."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from gpu_runner.solving import pick_model

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "gpu_runner/models"
RECIPE = (ROOT / "layers/runner/Makefile").read_text()
RESOURCES: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]


def bundled() -> set[str]:
    """The files that the bundle's recipe takes from this repository, by its own commands."""
    (look,) = re.findall(r"\t(find gpu_runner (?:.|\\\n)*?) -exec cp --parents", RECIPE)
    found = subprocess.run(
        ["bash", "-c", look], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    (shared,) = re.findall(r"\tcp -R (\S+)", RECIPE)
    return {*found, *(str(path.relative_to(ROOT)) for path in (ROOT / shared).rglob("*"))}


def test_the_bundle_takes_exactly_the_models_that_are_named() -> None:
    files = bundled()
    assert "gpu_runner/models/manifest.json" in files
    assert {name for name in files if name.endswith(".safetensors")} == {
        str(path.relative_to(ROOT)) for path in MODELS.glob("*.safetensors")
    }
    assert not {name for name in files if name.startswith(("lineage/", ".pretrain/")) or ".stable." in name}


def test_no_function_and_no_layer_is_built_from_the_lineage() -> None:
    sources = [
        (ROOT / properties[key]).resolve()
        for resource in RESOURCES.values()
        for properties in [resource.get("Properties", {})]
        for key in ("CodeUri", "ContentUri")
        if key in properties
    ]
    assert len(sources) > 2
    for source in sources:
        for folder in (ROOT / "lineage", ROOT / ".pretrain"):
            assert not folder.is_relative_to(source)
            assert not source.is_relative_to(folder)


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.safetensors")), ids=lambda p: p.name)
def test_a_model_has_a_card_that_is_its_own(path: Path) -> None:
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["file"] == path.name
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_manifest_names_a_model_for_each_kind_of_device(device: str) -> None:
    path, _ = pick_model(MODELS, "auto", device=device)
    assert path is not None

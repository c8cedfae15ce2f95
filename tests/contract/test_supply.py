"""What runs in Lambda and on an instance is exactly what was pinned, or nothing."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def requirements() -> list[str]:
    text = (PROJECT / "layers/common/requirements.txt").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_every_package_of_the_layer_is_one_version_and_one_wheel() -> None:
    assert requirements()
    for line in requirements():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+(\s+--hash=sha256:[0-9a-f]{64})+\s*", line), line


def test_the_layer_is_built_of_nothing_else() -> None:
    made = (PROJECT / "layers/common/Makefile").read_text()
    for option in ("--require-hashes", "--no-deps", "--only-binary=:all:"):
        assert option in made
    assert not list((PROJECT / "functions").rglob("requirements*.txt"))


def unpacking() -> str:
    """The program in the user data that unpacks the bundle."""
    text = (PROJECT / "template.yaml").read_text()
    body = text[text.index("<<'PYTHON'\n") + len("<<'PYTHON'\n") : text.index("            PYTHON\n")]
    return "\n".join(line.removeprefix(" " * 12) for line in body.splitlines())


@pytest.mark.parametrize("changed", [False, True])
def test_an_instance_unpacks_the_bundle_of_the_digest_that_lambda_names(
    changed: bool, tmp_path: Path
) -> None:
    bundle, target = tmp_path / "bundle.zip", tmp_path / "bundle"
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("gpu_runner/bootstrap.sh", "true")
    digest = base64.b64encode(hashlib.sha256(bundle.read_bytes()).digest()).decode()
    if changed:
        with zipfile.ZipFile(bundle, "a") as archive:
            archive.writestr("gpu_runner/more.py", "evil")
    asked = [sys.executable, "-", str(bundle), digest, str(target)]
    done = subprocess.run(asked, input=unpacking(), text=True, capture_output=True, check=False)
    assert (done.returncode != 0) is changed
    assert target.exists() is not changed

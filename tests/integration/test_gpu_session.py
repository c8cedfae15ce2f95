"""The commands for a borrowed GPU, run on a CPU: pack, pretrain, adapt, and home into the lineage."""

from __future__ import annotations

import io
import json
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpu_runner.solver.weights import read_checkpoint, sha256_of

ROOT = Path(__file__).parents[2]

ABSENT_THERE = (
    "arcspot",
    "boto3",
    "botocore",
    "click",
    "moto",
    "rich",
    "aws_lambda_powertools",
    "fastjsonschema",
)
"""What a borrowed machine does not have: it has torch, numpy and safetensors."""

BLOCK = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT_THERE!r}:
            raise ImportError(name + " is not on the borrowed machine")
sys.meta_path.insert(0, Absent())
import runpy
sys.argv[0] = "gpu_session"
runpy.run_module("bench.gpu_session", run_name="__main__")
"""

PAIRS = [{"input": [[1, 2], [3, 4]], "output": [[2, 1], [4, 3]]}, {"input": [[5, 6]], "output": [[6, 5]]}]


@pytest.fixture
def home(tmp_path):
    for folder, names in (("arc/training", ("aa", "bb")), ("tasks", ("vv", "ww"))):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            body = json.dumps({"train": PAIRS, "test": PAIRS[:1]})
            (tmp_path / folder / f"{name}.json").write_text(body)
    raw, shapes = io.BytesIO(), np.ones((2, 2), np.uint8)
    np.savez(raw, ids=np.array(["aa"]), counts=np.array([1]), shapes=shapes, cells=np.ones(2, np.uint8))
    (tmp_path / "arc/rearc.npz.xz").write_bytes(lzma.compress(raw.getvalue()))
    (tmp_path / "ids.txt").write_text("vv\nww\n")
    return tmp_path


def run(folder: Path, *words: str, module: str | None = None) -> tuple[int, str]:
    """(exit status, what was said)."""
    program = ["-m", module] if module else ["-c", BLOCK]
    done = subprocess.run(
        [sys.executable, *program, *words], cwd=folder, text=True, capture_output=True, check=False,
        timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def say(folder: Path, *words: str, module: str | None = None) -> str:
    status, said = run(folder, *words, module=module)
    assert status == 0, said
    return said


def trained(folder: Path, out: str, *words: str) -> str:
    """Pretrain in so few seconds as this machine, busy as it is, needs to come to a report of its steps."""
    for seconds in (14, 40, 160):
        shutil.rmtree(folder / out, ignore_errors=True)
        status, said = run(folder, *PRETRAIN, "--out", out, "--seconds", str(seconds), *words)
        if "no time is left to train in" in said or "step " not in (folder / out / "log.txt").read_text():
            continue
        break
    assert status == 0, said
    return said


PRETRAIN = (
    "pretrain", "--device", "cpu", "--config", "tiny", "--mix", "8:1", "--batch-tokens", "400",
    "--warmup", "5", "--reserve", "2", "--report-seconds", "1",
)  # fmt: skip


def test_a_session_packs_tries_trains_measures_and_comes_home(home):
    assert "2 tasks to measure on" in say(home, "pack", "arc", "--validation", "tasks", "--ids", "ids.txt")
    out = home / "out"
    said = trained(
        home, "out", "--trials", "tiny:eager", "tiny:one_hot,narrow", "--trial-seconds", "40",
        "--trial-each", "0.2", "--trial-side", "8", "--wanted-samples", "1",
    )  # fmt: skip
    found = json.loads((out / "result.json").read_text())
    assert found["choice"]["execution"] in said
    assert [trial["error"] for trial in found["trials"]] == [None, None]
    assert found["seconds_left"] > 0
    assert found["from"] == "random weights: lineage has no tiny"
    assert "step " in (out / "log.txt").read_text()
    assert len(list(out.iterdir())) <= 8
    card = json.loads((out / "tiny.json").read_text())
    assert card["samples_seen"] == card["samples"] > 0
    stable = json.loads((out / "tiny.stable.json").read_text())
    assert 0 < stable["samples_seen"] <= card["samples"]  # the decay's are not in it
    for name in ("tiny", "tiny.stable"):
        read_checkpoint(out / f"{name}.safetensors")
        told = json.loads((out / f"{name}.json").read_text())
        assert told["sha256"] == sha256_of(out / f"{name}.safetensors")

    told = say(
        home, "adapt", "out/tiny.safetensors", "--out", "out", "--device", "cpu", "--samples", "64",
        "--ways", "stacked=60", "eager+fp16=60",
    )  # fmt: skip
    ways = json.loads((out / "adapt.json").read_text())["ways"]
    assert [(way["way"], way["tasks"], way["error"]) for way in ways] == [
        ("stacked", 2, None), ("eager+fp16", 2, None),
    ]  # fmt: skip
    assert "| eager+fp16 | 2 |" in told

    say(home, "keep", "--run", "out", "--config", "tiny", module="gpu_runner.lineage")
    kept = list((home / "lineage").glob("tiny-*.stable.safetensors"))
    assert [sha256_of(path) for path in kept] == [sha256_of(out / "tiny.stable.safetensors")]
    trained(home, "again", "--execution", "eager")
    again = json.loads((home / "again" / "result.json").read_text())
    assert again["from"].startswith(kept[0].name)
    assert again["card"]["samples_seen"] == again["card"]["samples"] + stable["samples_seen"]

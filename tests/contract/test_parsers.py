"""Who parses what others wrote is in a table of readers that are tried, or has a reason not to be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from .test_loaders import LOADERS

ROOT = Path(__file__).parents[2]

PARSERS = {
    "json.loads", "json.load", "torch.load", "safe_open", "load_file", "zipfile.ZipFile", "np.load",
    "tomllib.loads", "tomllib.load", "yaml.load", "yaml.safe_load", "yaml_parse", "base64.b64decode",
    "lzma.decompress", "lzma.LZMADecompressor", "zlib.decompress", "gzip.decompress", "gzip.open",
    "zlib.decompressobj", "bz2.decompress", "bz2.open", "lzma.open",
    "tarfile.open", "pickle.loads", "pickle.load", "marshal.loads", "ElementTree.fromstring",
    "ElementTree.parse", "documents.read", "documents.parsed", "strict_json.decoded",
}  # fmt: skip

IN_TABLE = {
    "layers/common/arcspot/aws/bucket.py::_checksum": "S3's checksum",
    "layers/common/arcspot/aws/messages.py::DoorBell.__call__": "door bell",
    "layers/common/arcspot/aws/prices.py::_hourly": "price list",
    "layers/common/arcspot/domain/documents.py::parsed": "documents.parsed",
    "layers/common/arcspot/domain/predictions.py::parse_prediction": "prediction",
    "layers/common/arcspot/domain/results.py::_Archive.__init__": "result.zip",
    "layers/common/arcspot/domain/results.py::_Archive.read": "result.zip",
    "layers/common/arcspot/domain/results.py::document": "a result's document",
    "layers/common/arcspot/domain/solutions.py::read_solutions": "solutions",
    "layers/common/arcspot/domain/strict_json.py::_decode": "task file",
    "layers/common/arcspot/domain/tasks.py::read_task_file": "task file",
    "layers/common/arcspot/services/notices.py::read": "S3's event",
    "layers/common/arcspot/services/report_parts.py::_part": "a report's part",
    "gpu_runner/api.py::read_answer": "claim",
    "gpu_runner/lineage/files.py::card_of": "a checkpoint's card",
    "gpu_runner/lineage/process.py::read_run": "process.json",
    "gpu_runner/lineage/standing.py::last_card": "a run's log",
    "gpu_runner/solving.py::_named_by": "the bundle's manifest",
    "arcspot_cli/collecting.py::_known": "what was collected",
    "arcspot_cli/delivering.py::_document": "a folder of answers",
    "arcspot_cli/evaluation/keeping.py::read": "an evaluation",
    "arcspot_cli/local/keys.py::read": "an access key",
    "arcspot_cli/local/processes.py::read_records": "process records",
    "arcspot_cli/local/stack.py::load": "local.json",
    "arcspot_cli/local/stack.py::status": "instances",
    "arcspot_cli/rehearsing.py::load": "rehearsal.json",
    "arcspot_cli/scheduling.py::_recurring": "a schedule",
    "arcspot_cli/unpacking.py::_check": "metrics",
    "arcspot_cli/unpacking.py::_check_safetensors": "weights",
    "arcspot_cli/unpacking.py::_promises": "manifest",
}

STATE = "tests/unit/solver/test_foreign_state.py"
WEIGHTS = "tests/unit/solver/test_foreign_weights.py"
ELSEWHERE = {
    "gpu_runner/solver/corpus.py::load_corpus": WEIGHTS,
    "gpu_runner/solver/corpus.py::_check_members": WEIGHTS,
    "gpu_runner/solver/corpus.py::_decompressed": WEIGHTS,
    "gpu_runner/solver/corpus.py::_read_rearc": WEIGHTS,
    "gpu_runner/solver/pretrain.py::_pretrain": WEIGHTS,
    "gpu_runner/solver/reasoning.py::replay": WEIGHTS,
    "gpu_runner/solver/resume.py::read": STATE,
    "gpu_runner/solver/weights.py::read_checkpoint": WEIGHTS,
    "arcspot_cli/evaluation/keeping.py::Keeper._lines": "tests/unit/cli/test_foreign_evaluations.py",
}
"""The file of tests that does the same with a reader of tensors, or of more than one file."""

REASONS = {
    "layers/common/arcspot/domain/results.py::pack": "it writes",
    "layers/common/arcspot/domain/solutions.py::joined": "read_task_file has read the same bytes just before",
    "arcspot_cli/images.py::read": "images.json is the release's own; `make check` reads it",
    "arcspot_cli/rehearsing.py::Stage.arcspot": "our own command's answer, by documents.parsed",
    "arcspot_cli/local/ec2.py::EmulatedCloud.facts": "the answer of our own emulator on this machine",
    "arcspot_cli/local/patches.py::patch_schedules_with_universal_targets.invoke": "our emulator; it logs",
    "arcspot_simulator/lifecycle.py::definition": "statemachines/ is the release's own",
    "arcspot_simulator/lifecycle.py::SimStepFunctions.start": "it makes a copy of what it was given",
}
MEASURES = "bench/"
"""Whoever measures reads what the same run wrote, or names files of their own: no stranger comes by."""


def test_everybody_who_parses_is_in_the_table_or_has_a_reason() -> None:
    found = set(callers())
    known = {*IN_TABLE, *ELSEWHERE, *REASONS}
    assert sorted(name for name in found - known if not name.startswith(MEASURES)) == []
    assert sorted(known - found) == [], "no longer there"
    assert set(IN_TABLE.values()) <= set(LOADERS)
    assert all((ROOT / name).exists() for name in ELSEWHERE.values())


def test_no_pickle_is_read_as_one() -> None:
    for path in sources():
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and dotted(call.func) in ("torch.load", "np.load"):
                named = {word.arg: ast.unparse(word.value) for word in call.keywords}
                assert named.get("weights_only", "True") == "True", path
                assert named.get("allow_pickle", "False") == "False", path
                assert dotted(call.func) == "np.load" or "weights_only" in named, path


FOLDERS = ("layers/common/arcspot", "functions", "gpu_runner", "arcspot_cli", "arcspot_simulator", "bench")


def sources() -> Iterator[Path]:
    for folder in (
        "layers/common/arcspot",
        "functions",
        "gpu_runner",
        "arcspot_cli",
        "arcspot_simulator",
        "bench",
    ):
        yield from sorted((ROOT / folder).rglob("*.py"))


def callers() -> Iterator[str]:
    for path in sources():
        yield from (f"{path.relative_to(ROOT)}::{name}" for name in within(ast.parse(path.read_text()), ()))


def within(node: ast.AST, names: tuple[str, ...]) -> Iterator[str]:
    for inner in ast.iter_child_nodes(node):
        named = (*names, inner.name) if isinstance(inner, ast.FunctionDef | ast.ClassDef) else names
        if isinstance(inner, ast.Call):
            called = dotted(inner.func)
            if called in PARSERS or called.endswith(".raw_decode"):
                yield ".".join(named)
        yield from within(inner, named)


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"

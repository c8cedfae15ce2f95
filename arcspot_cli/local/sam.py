"""Build and deploy the real template with the SAM CLI, unchanged, to an endpoint of our choice."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from arcspot_cli.local.errors import LocalStackError
from arcspot_cli.local.keys import AccessKey
from arcspot_cli.local.processes import forget, spawn

BUILD_INPUTS = ("template.yaml", "functions", "layers", "statemachines", "gpu_runner")
"""What ends up in a build, relative to the project."""

NOT_INPUTS = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


def find_sam(project_dir: Path, environment: Mapping[str, str]) -> str:
    """The SAM CLI: `ARCSPOT_SAM`, else the project's own `.venv-sam`, else PATH."""
    told = environment.get("ARCSPOT_SAM")
    if told:
        if shutil.which(told) is None:
            raise LocalStackError(f"ARCSPOT_SAM names no program: {told}; unset it, or run: make setup")
        return told
    own = project_dir / ".venv-sam" / "bin" / "sam"
    found = str(own) if own.exists() else shutil.which("sam", path=environment.get("PATH"))
    if found is None:
        raise LocalStackError(
            "the SAM CLI is missing (it needs an environment of its own); run: make setup\n"
            "or name one with ARCSPOT_SAM=/path/to/sam"
        )
    return found


def content_hash(project_dir: Path, inputs: Sequence[str] = BUILD_INPUTS) -> str:
    """sha256 over the names and bytes of everything a build reads."""
    digest = hashlib.sha256()
    for name in inputs:
        start = project_dir / name
        files = sorted(start.rglob("*")) if start.is_dir() else [start]
        for path in files:
            if path.is_file() and not NOT_INPUTS.intersection(path.parts):
                body = path.read_bytes()
                digest.update(f"{path.relative_to(project_dir)}\0{len(body)}\0".encode() + body)
    return digest.hexdigest()


NO_KEY = AccessKey("no-key", "no-key")
"""For programs that ask no AWS service: they find no key of anybody's."""


def clean_environment(environment: Mapping[str, str], key: AccessKey = NO_KEY) -> dict[str, str]:
    """Without anything that could reach a real AWS account; `key` is a local stack's."""
    kept = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    return kept | {
        **key.environment(),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _run(
    name: str,
    command: Sequence[str],
    *,
    project_dir: Path,
    records_dir: Path,
    environment: Mapping[str, str],
    log: Path,
) -> None:
    """Run one SAM command to its end, its output in a log; `LocalStackError` shows the log's end."""
    with log.open("wb") as output:
        process = spawn(
            name,
            command,
            folder=records_dir,
            environment=dict(environment) | {"SAM_CLI_TELEMETRY": "0"},
            output=output,
            cwd=project_dir,
        )
        code = process.wait()
    forget(records_dir, name)
    if code != 0:
        about = f"{name} failed ({code}); the whole log is in {log}"
        raise LocalStackError(about, *tail(log).splitlines())


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for a message."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])


def build(
    sam: str, *, project_dir: Path, build_dir: Path, records_dir: Path, config: Path, log: Path
) -> bool:
    """`sam build`, unless nothing changed since the last one. True if it was needed."""
    stamp = build_dir.with_suffix(".sha256")
    wanted = content_hash(project_dir)
    if stamp.exists() and stamp.read_text() == wanted and (build_dir / "template.yaml").exists():
        return False
    stamp.unlink(missing_ok=True)
    command = [
        sam,
        "build",
        "--parallel",
        *("--config-file", str(config)),
        *("--template-file", str(project_dir / "template.yaml")),
        *("--build-dir", str(build_dir)),
    ]
    environment = clean_environment(os.environ)
    _run(
        "sam-build",
        command,
        project_dir=project_dir,
        records_dir=records_dir,
        environment=environment,
        log=log,
    )
    stamp.write_text(wanted)
    return True


def deploy(
    sam: str,
    *,
    stack_name: str,
    parameters: Mapping[str, str],
    project_dir: Path,
    build_dir: Path,
    records_dir: Path,
    config: Path,
    environment: Mapping[str, str],
    log: Path,
) -> None:
    """`sam deploy` of the build to the endpoint that the environment names."""
    overrides = [f"ParameterKey={key},ParameterValue={value}" for key, value in sorted(parameters.items())]
    command = [
        sam,
        "deploy",
        *("--config-file", str(config)),
        *("--template-file", str(build_dir / "template.yaml")),
        *("--stack-name", stack_name),
        *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"),
        "--resolve-s3",
        "--no-confirm-changeset",
        "--no-fail-on-empty-changeset",
        *(["--parameter-overrides", *overrides] if overrides else []),
    ]
    _run(
        "sam-deploy",
        command,
        project_dir=project_dir,
        records_dir=records_dir,
        environment=environment,
        log=log,
    )

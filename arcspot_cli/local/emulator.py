"""Start the AWS emulator: MiniStack in its one supported version, with our patches.

    python -m arcspot_cli.local.emulator --socket 3 --state-dir .arcspot/local

It runs whatever code is uploaded, so it listens on 127.0.0.1 only and answers nobody but holders of
the access key that lies in the state folder (`emulator_gate`). It keeps its files inside the state
folder, and never talks to Docker.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from arcspot_cli import terminal
from arcspot_cli.local import keys, ports
from arcspot_cli.local.access_patches import guard, listen_at
from arcspot_cli.local.errors import LocalStackError
from arcspot_cli.local.keys import AccessKey
from arcspot_cli.local.patches import PATCHES, SUPPORTED_VERSION, PatchRefused
from arcspot_cli.local.processes import record_self

RECORDS = "processes"
"""Folder of process records inside the state folder."""


SERVICES = (
    "budgets", "cloudformation", "dynamodb", "ec2", "events", "iam", "lambda", "logs", "monitoring", "s3",
    "scheduler", "sns", "sqs", "ssm", "states", "sts", "tagging",
)  # fmt: skip
"""What the template and our clients ask for. Others would open ports of their own, some to the network."""


def check_installation() -> None:
    """Refuse any MiniStack but the one the patches and the end-to-end test were written for."""
    try:
        found = version("ministack")
    except PackageNotFoundError:
        raise LocalStackError("MiniStack is not installed; run: make setup") from None
    if found != SUPPORTED_VERSION:
        raise PatchRefused(f"MiniStack {found} is installed, {SUPPORTED_VERSION} is needed; run: make setup")
    if find_spec("samtranslator") is None:
        raise LocalStackError(
            "aws-sam-translator is not installed, without which the emulator reads no SAM template; "
            "run: make setup"
        )


def settings(port: int, state_dir: Path, key: AccessKey) -> dict[str, str]:
    """The emulator's own settings; they must be set before it is imported."""
    temporary = state_dir / "tmp"
    return {
        **key.environment(),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": ",".join(SERVICES),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "DOCKER_HOST": f"unix://{state_dir / 'docker-is-not-used.sock'}",
        "S3_DATA_DIR": str(state_dir / "s3"),
        "TMPDIR": str(temporary),
        "LOG_LEVEL": "WARNING",
    }


def main() -> None:
    """Apply every patch, then serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="of its port, bound: a descriptor")
    parser.add_argument("--state-dir", type=Path, required=True)
    options = parser.parse_args()
    state_dir = options.state_dir.resolve()
    (state_dir / "tmp").mkdir(parents=True, exist_ok=True)
    record_self(state_dir / RECORDS, "emulator")
    try:
        key = keys.read(state_dir)
        at = ports.inherited(options.socket)
        os.environ.update(settings(ports.number(at), state_dir, key))
        tempfile.tempdir = None  # let the new TMPDIR count
        check_installation()
        for patch in PATCHES:
            patch()
        guard(ports.number(at), key)
        listen_at(at)
    except LocalStackError as error:
        terminal.err(f"error: {error}")
        sys.exit(1)
    from ministack.app import main as serve

    sys.argv = ["ministack"]
    serve()


if __name__ == "__main__":
    main()

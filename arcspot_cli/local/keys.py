"""The access key of one local stack: drawn when it comes up, known to its owner, gone when it goes down."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from arcspot.domain import documents
from arcspot_cli.local.errors import LocalStackError

KEY_FILE = "access-key.json"
"""Inside the state folder."""
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
AGAIN = "run: arcspot local down, then: arcspot local up"
PREFIX = "LOCAL"
"""No key of AWS's begins so: nobody takes one of ours for a real one, nor a scanner for a leak."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """What signs a request (signature version 4)."""

    access_key_id: str
    secret_access_key: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """As an AWS client reads it."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }


def draw() -> AccessKey:
    """A new key: 75 random bits in the id, 240 in the secret; ids are 20 characters long, as AWS's are."""
    return AccessKey(PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(15)), secrets.token_urlsafe(30))


def private_folder(folder: Path) -> None:
    """A folder that nobody but its owner can enter, also one that was open before."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def keep(state_dir: Path, key: AccessKey) -> None:
    """Write the key where only its owner can read it, whole or not at all."""
    path = state_dir / KEY_FILE
    draft = path.with_suffix(f".{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600, exist_ok=False)
    draft.write_text(json.dumps(asdict(key)))
    draft.replace(path)


def read(state_dir: Path) -> AccessKey:
    """The key of a state folder. Raises LocalStackError when there is none."""
    path = state_dir / KEY_FILE
    try:
        key = documents.read(AccessKey, path.read_bytes())
    except (OSError, ValueError) as error:
        raise LocalStackError(f"{path}: expected the local stack's access key ({error}); {AGAIN}") from None
    if not (key.access_key_id and key.secret_access_key):
        raise LocalStackError(f"{path}: expected an access key of two texts; {AGAIN}")
    return key

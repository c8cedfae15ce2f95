"""What a batch may be called, and which object keys a task file may have: one rule for every door.

A batch's name is used as it was given or it is refused. It stands in object keys, rows, mails and
folders, and nothing below changes it on the way: what is cut silently is found by nobody.
"""

from __future__ import annotations

import hashlib
import re

TASKS = "tasks/"
DEFAULT_BATCH = "default"
MAX_BATCH_BYTES = 200
"""A batch names a folder, on most file systems of at most 255 bytes. With so many the longest key made of it
(`reports/<batch>/submission.json`) is far within S3's 1,024 bytes, and its row within DynamoDB's 2,048."""
SHORTENED = "shortened/"
"""The folder, below that of all such objects, of those whose key is not the key they tell of."""
MAX_OBJECT_KEY_BYTES = 1024
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

A_BATCH = (
    f"a batch name of 1 to {MAX_BATCH_BYTES} bytes that can name a folder: printable characters, "
    'no "/" or "\\", no space at either end, and neither "." nor ".."'
)
A_PLACE = (
    f"{TASKS}FILE.json (the batch {DEFAULT_BATCH!r}) or {TASKS}BATCH/FILE.json, and no folder below that"
)
A_PATH = 'a key whose folders all have names that are neither "." nor ".."'


def batch_fault(name: str) -> str | None:
    """What of a name is against `A_BATCH`, in few words, or None."""
    if not name:
        return "an empty name"
    if name in (".", ".."):
        return f'the name "{name}"'
    if "/" in name or "\\" in name:
        return 'a "/"' if "/" in name else 'a "\\"'
    if not name.isprintable():  # control characters, line ends and halves of surrogate pairs
        return "a character that cannot be printed"
    if name != name.strip():
        return "a space at its begin or end"
    size = len(name.encode())
    return f"{size:,} bytes" if size > MAX_BATCH_BYTES else None


def batch_refusal(name: str) -> str | None:
    """One sentence for the person who gave a name that no batch can have, with the next step; else None."""
    found = batch_fault(name)
    if found is None:
        return None
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name[:60])
    dots = "…" if len(name) > 60 else ""
    return f'"{shown}{dots}": expected {A_BATCH}; found {found}. Call it "{plain(name)}", for example.'


def plain(text: str) -> str:
    """A good batch name that is as much like the text as may be: letters, digits and ``_ . -``."""
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    return name.encode()[:MAX_BATCH_BYTES].decode(errors="ignore").strip("-.") or "batch"


def path_fault(key: str) -> str | None:
    """What is wrong with the folders of a key, or None.

    S3 takes any such key, but a URL with these segments means another object: whoever fetches by a signed
    URL never finds it. https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4
    """
    segments = key.removeprefix("/").split("/")  # the path of a local file may begin with one
    if "" in segments:
        return "a folder without a name"
    dots = next((segment for segment in segments if segment in (".", "..")), None)
    return None if dots is None else f'the folder "{dots}"'


def place_fault(key: str) -> tuple[str, str] | None:
    """Why a key below `tasks/` belongs to no batch, as (expected, found), or None."""
    *folders, file = key.removeprefix(TASKS).split("/")
    if len(folders) > 1:
        there = f"{TASKS}{plain('-'.join(folders))}/{file}"
        return f"{A_PLACE}; copy it to {there[:120]}, for example", f"{len(folders)} folders"
    found = batch_fault(folders[0]) if folders else None
    return None if found is None else (A_BATCH, found)


def batch_of(key: str) -> str:
    """The batch a key belongs to: the first folder below `tasks/`.

    Where that can name no batch the file is refused, and its refusal is told in the default batch.
    """
    first, slash, _ = key.removeprefix(TASKS).partition("/")
    return first if slash and batch_fault(first) is None else DEFAULT_BATCH


def folder_marker(key: str, size: int) -> bool:
    """Whether an object only shows a folder, as the S3 console (`x/`) and Hadoop (`x_$folder$`) make them."""
    return size == 0 and key.endswith(("/", "_$folder$"))


def derived_key(prefix: str, key: str, suffix: str = ".json") -> str:
    """The key of what is kept about another key: that key between prefix and suffix.

    Where that is longer than S3 takes, or no URL can carry it, it is the readable part of the key and a
    digest, below `SHORTENED`. That cannot be read back: who asks about a key makes its derived key again.
    """
    whole = f"{prefix}{key}{suffix}"
    if key.isprintable() and path_fault(key) is None and len(whole.encode()) <= MAX_OBJECT_KEY_BYTES:
        return whole
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{prefix}{SHORTENED}{plain(key)}~{digest}{suffix}"

"""Read a runner's request: each value is there and has its type, or the request is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from arcspot.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_LEASES = 64
MAX_FILES = 16
MAX_SUMMARY_BYTES = 4096
MAX_FILE_BYTES = 64 * 1024 * 1024


def text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value or len(value) > 8192:
        raise BadRequest(f"{name}: expected a non-empty string")
    return value


def number(request: Mapping[str, Any], name: str) -> float:
    value = request.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BadRequest(f"{name}: expected a number, zero or more")
    return float(value)


def percent(request: Mapping[str, Any], name: str) -> float | None:
    """0 to 100, or None where the runner has no such figure (a machine without a GPU)."""
    return min(100.0, number(request, name)) if request.get(name) is not None else None


def leases_of(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    leases = request.get("leases", [])
    if (
        not isinstance(leases, list)
        or len(leases) > MAX_LEASES
        or not all(isinstance(x, dict) for x in leases)
    ):
        raise BadRequest(f"leases: expected a list of at most {MAX_LEASES} objects")
    return leases


def summary_of(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The summary as JSON knows it; numbers the table cannot hold are refused here, not by DynamoDB."""
    summary = request.get("summary") or {}
    if not isinstance(summary, dict) or len(json.dumps(summary)) > MAX_SUMMARY_BYTES:
        raise BadRequest(f"summary: expected an object of at most {MAX_SUMMARY_BYTES} bytes")
    if not _storable(summary):
        raise BadRequest("summary: expected finite numbers of ordinary size")
    return summary


def _storable(value: object) -> bool:
    if isinstance(value, dict):
        return all(_storable(item) for item in value.values())
    if isinstance(value, list):
        return all(_storable(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    # 38 digits, 1E-130 to 1E+126:
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
    return math.isfinite(value) and (value == 0 or 1e-100 < abs(value) < 1e37)


def sums(files: object) -> dict[str, tuple[int, str]]:
    """File name → (bytes, sha256 hex), from either a list with names or an object keyed by name."""
    entries: Iterable[tuple[Any, Any]]
    if isinstance(files, dict):
        entries = files.items()
    elif isinstance(files, list) and all(isinstance(f, dict) for f in files):
        entries = ((f.get("name"), f) for f in files)
    else:
        raise BadRequest("files: expected name → {bytes, sha256}")
    known: dict[str, tuple[int, str]] = {}
    for name, entry in entries:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadRequest(f"files: {name!r} is not a plain file name")
        if not isinstance(entry, dict):
            raise BadRequest(f"files.{name}: expected {{bytes, sha256}}")
        size, sha256 = number(entry, "bytes"), text(entry, "sha256")
        if size > MAX_FILE_BYTES or not _SHA256.fullmatch(sha256):
            raise BadRequest(
                f"files.{name}: expected at most {MAX_FILE_BYTES} bytes and a lower-case hex sha256"
            )
        known[name] = (int(size), sha256)
    if not 1 <= len(known) <= MAX_FILES:
        raise BadRequest(f"files: expected 1 to {MAX_FILES} files")
    return known

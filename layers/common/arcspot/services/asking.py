"""Read a runner's request: each value is there and has its type, or the request is refused.

`read` is the gate that every request passes first. Whatever comes through it is small, shallow, and made of
text that is UTF-8 and numbers that JSON, Python's float and DynamoDB all know; what reads a field later
only has to look at its meaning. https://www.rfc-editor.org/rfc/rfc8259
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from arcspot.domain.jobs import MAX_FILE_BYTES
from arcspot.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# No `#` in it: other rows of the same tables have keys with one.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_WORD = re.compile(r"[a-z_]{1,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_LEASES = 64
MAX_FILES = 16
MAX_SUMMARY_BYTES = 4096
MAX_HOST_CHARS = 1000
# Of what is said of a request, in an answer and in the log.
MOST_WORDS = 500

MAX_DEPTH = 12
MAX_VALUES = 5_000
MAX_TEXT_BYTES = 16 * 1024
MAX_WHOLE = 2**63
# 38 digits, 1E-130 to 1E+126; what a table cannot hold is refused here, not by DynamoDB.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
LEAST_FRACTION, MOST_FRACTION = 1e-100, 1e37
# A number of seconds, of a share or of percent below this is nothing.
NOTHING = 1e-6


def read(event: object) -> Mapping[str, Any]:
    """The request, once every value in it is one that can be worked with. Raises BadRequest.

    Walks without recursion: Python's own stack is no limit for whoever sends 1,000 nested lists.
    """
    if not isinstance(event, dict):
        raise BadRequest(f"request: expected an object, found {type(event).__name__}")
    waiting: list[tuple[object, str, int]] = [(event, "request", 0)]
    seen = 0
    while waiting:
        value, where, depth = waiting.pop()
        seen += 1
        if seen > MAX_VALUES:
            raise BadRequest(f"request: more than {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise BadRequest(f"{where}: nested more than {MAX_DEPTH} deep")
        if isinstance(value, dict):
            if len(value) > MAX_VALUES:
                raise BadRequest(f"{where}: more than {MAX_VALUES:,} values")
            for key, item in value.items():
                _check(key, f"{where}: a name")
                waiting.append((item, f"{where}.{shown(key)}"[:200], depth + 1))
        elif isinstance(value, list):
            if len(value) > MAX_VALUES:
                raise BadRequest(f"{where}: more than {MAX_VALUES:,} values")
            waiting += [(item, f"{where}[{n}]"[:200], depth + 1) for n, item in enumerate(value)]
        else:
            _check(value, where)
    return event


def _check(value: object, where: str) -> None:
    """One plain value. Raises BadRequest."""
    if isinstance(value, str):
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise BadRequest(f"{where}: expected text, found half a surrogate pair") from error
        if size > MAX_TEXT_BYTES:
            raise BadRequest(f"{where}: expected at most {MAX_TEXT_BYTES:,} bytes, found {size:,}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise BadRequest(f"{where}: expected a number, found one that is none or has no end")
    elif isinstance(value, int):
        if abs(value) >= MAX_WHOLE:
            raise BadRequest(f"{where}: expected a whole number below 2**63")
    elif value is not None:
        raise BadRequest(f"{where}: expected JSON, found {type(value).__name__}")


def shown(value: object, most: int = 80) -> str:
    """A value in an answer or a log: whatever was sent, it takes a line and no more.

    `most` characters of it, each as printable ASCII.
    """
    if isinstance(value, str):
        return "".join(
            c if " " <= c <= "~" else c.encode("unicode_escape").decode("ascii") for c in value[:most]
        )
    return type(value).__name__


def text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value or len(value) > 8192:
        raise BadRequest(f"{name}: expected a non-empty string")
    return value


def words(request: Mapping[str, Any], name: str, *, most: int) -> str:
    """Free text, cut to `most` characters; nothing where the field is left out."""
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name}: expected a string")
    return (value or "")[:most]


def word(request: Mapping[str, Any], name: str) -> str:
    """One lower-case word, such as a reason."""
    value = text(request, name)
    if not _WORD.fullmatch(value):
        raise BadRequest(f"{name}: expected one word of at most 40 lower-case letters, found {shown(value)}")
    return value


def identifier(request: Mapping[str, Any], name: str) -> str:
    """A job's or a launch's id, as this stack makes them."""
    value = text(request, name)
    if not _ID.fullmatch(value):
        raise BadRequest(f"{name}: expected letters, digits, '.', '_' and '-', found {shown(value)}")
    return value


def number(request: Mapping[str, Any], name: str) -> float:
    """A number that a table can hold: one below a millionth is 0."""
    value = request.get(name)
    wrong = BadRequest(f"{name}: expected a number, zero or more")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    try:
        known = float(value)
    except OverflowError:
        raise wrong from None
    if not math.isfinite(known) or known < 0:
        raise wrong
    return known if known >= NOTHING else 0.0  # not -0.0 either


def whole(request: Mapping[str, Any], name: str, *, least: int = 0) -> int:
    """A whole number: 1.0 is none, nor is True."""
    value = request.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < MAX_WHOLE:
        raise BadRequest(f"{name}: expected a whole number, {least} or more")
    return value


def percent(request: Mapping[str, Any], name: str) -> float | None:
    """0 to 100, or None where the runner has no such figure (a machine without a GPU)."""
    return min(100.0, number(request, name)) if request.get(name) is not None else None


def attempt_of(request: Mapping[str, Any]) -> tuple[str, int]:
    """The job and the fence that a request, or one lease in it, speaks of."""
    return identifier(request, "job_id"), whole(request, "fence", least=1)


def leases_of(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Leases, each once. A job may come under two fences: one that was lost and that it came back under."""
    leases = request.get("leases", [])
    if (
        not isinstance(leases, list)
        or len(leases) > MAX_LEASES
        or not all(isinstance(x, dict) for x in leases)
    ):
        raise BadRequest(f"leases: expected a list of at most {MAX_LEASES} objects")
    attempts = [attempt_of(lease) for lease in leases]
    if len(set(attempts)) < len(attempts):
        raise BadRequest("leases: expected each lease once")
    return leases


def held_of(request: Mapping[str, Any]) -> frozenset[str] | None:
    """The jobs that a runner knows to be in its hands; None from one that does not say."""
    held = request.get("held")
    if held is None:
        return None
    if not isinstance(held, list) or len(held) > MAX_LEASES:
        raise BadRequest(f"held: expected a list of at most {MAX_LEASES} job ids")
    return frozenset(identifier({"held": each}, "held") for each in held)


def host_of(request: Mapping[str, Any]) -> str:
    """What a runner tells of its machine, as one line of JSON."""
    host = request.get("host")
    if host is not None and not isinstance(host, dict):
        raise BadRequest("host: expected an object")
    return json.dumps(host or {}, sort_keys=True)[:MAX_HOST_CHARS]


def proof_of(request: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The proof's URL and its headers, their names in lower case."""
    proof = request.get("proof")
    if not isinstance(proof, dict) or not isinstance(proof.get("headers"), dict):
        raise BadRequest("proof: expected {url, headers}")
    headers = proof["headers"]
    if not all(isinstance(value, str) for value in headers.values()):
        raise BadRequest("proof.headers: expected name → text")
    lowered = {str(name).lower(): value for name, value in headers.items()}
    if len(lowered) != len(headers):
        raise BadRequest("proof.headers: expected each name once, in whatever case")
    return text(proof, "url"), lowered


def summary_of(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The summary as JSON knows it; what the table cannot hold is refused here, not by DynamoDB."""
    summary = request.get("summary")
    if summary is None:
        return {}
    if not isinstance(summary, dict) or len(json.dumps(summary)) > MAX_SUMMARY_BYTES:
        raise BadRequest(f"summary: expected an object of at most {MAX_SUMMARY_BYTES} bytes")
    if not _storable(summary):
        raise BadRequest("summary: expected names that are not empty and finite numbers of ordinary size")
    return summary


def _storable(value: object) -> bool:
    if isinstance(value, dict):
        return all(name and _storable(item) for name, item in value.items())
    if isinstance(value, list):
        return all(_storable(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return math.isfinite(value) and (value == 0 or LEAST_FRACTION < abs(value) < MOST_FRACTION)


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
            raise BadRequest(f"files: {shown(name)} is not a plain file name")
        if name in known:
            raise BadRequest(f"files: {name} comes twice")
        if not isinstance(entry, dict):
            raise BadRequest(f"files.{name}: expected {{bytes, sha256}}")
        size, sha256 = whole(entry, "bytes"), text(entry, "sha256")
        if size > MAX_FILE_BYTES or not _SHA256.fullmatch(sha256):
            raise BadRequest(
                f"files.{name}: expected at most {MAX_FILE_BYTES} bytes and a lower-case hex sha256"
            )
        known[name] = (size, sha256)
    if not 1 <= len(known) <= MAX_FILES:
        raise BadRequest(f"files: expected 1 to {MAX_FILES} files")
    return known

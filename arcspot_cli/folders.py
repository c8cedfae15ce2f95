"""Which folder an answer lies in: its task's id, wherever Linux, macOS and Windows all take that for a name.

A task id is whatever somebody wrote in a file. As a folder's name it may not lead out of the folder, stand
for a device, be cut or changed by the system, or be the same as another's to a system that looks at neither
case nor accents' spelling. The names are a function of the tasks alone, so every run and every machine finds
the same ones; `arcspot.json` in each folder holds the id as it was given.

Sources: https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file (characters, devices, endings);
https://developer.apple.com/support/downloads/Apple-File-System-Reference.pdf (case and normalisation);
https://man7.org/linux/man-pages/man7/path_resolution.7.html (255 bytes).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from arcspot.domain.jobs import Job

SUBMISSION = "submission.json"
REPORT = "report.html"
OURS = (SUBMISSION, REPORT)  # files beside the folders: no folder is called so
OUR_OWN = ".arcspot"  # names that begin so are for what arcspot needs while it works
MAX_NAME_BYTES = 200  # of 255 that the strictest system takes; an id of a task file has no more either
_NOT_ON_WINDOWS = frozenset('<>:"/\\|?*')
_ODD_KINDS = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.I | re.S)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A task id that a dropped file gave, and the job that stands for it."""

    task_id: str
    job_id: str


def folder_names(asked: Iterable[Wanted], jobs: Mapping[str, Job]) -> dict[tuple[str, str], str]:
    """A folder for each: `plain` of the task id, or with a piece of the job id where another task has that.

    No two are the same to any of the three systems. Who came first has the plain name, so that what comes
    later renames nothing.
    """
    asked = sorted(set(asked), key=lambda w: (jobs[w.job_id].created_at, w.job_id, w.task_id))
    plain_ones = {same(plain(item.task_id)) for item in asked}
    names: dict[tuple[str, str], str] = {}
    taken = {same(name) for name in OURS}
    for item in asked:
        name = plain(item.task_id)
        if same(name) in taken:
            longer = (each for each in _longer(item, name) if same(each) not in taken)
            name = next(each for each in longer if same(each) not in plain_ones)
        taken.add(same(name))
        names[item.task_id, item.job_id] = name
    return names


def plain(task_id: str) -> str:
    """The id as a folder's name; unchanged where all three systems take it. Odd characters become `_`."""
    composed = unicodedata.normalize("NFC", task_id)
    name = "".join("_" if _odd(character) else character for character in composed)
    kept = name.rstrip(". ")  # Windows drops dots and spaces at the end
    name = kept + "_" * (len(name) - len(kept))
    if not name or name[0] == " " or name.lower().startswith(OUR_OWN) or _DEVICES.fullmatch(name):
        name = "_" + name.lstrip(" ")
    if len(name.encode()) > MAX_NAME_BYTES:
        name = f"{_cut(name, MAX_NAME_BYTES - 9)}~{_digest(task_id)[:8]}"
    return name


def same(name: str) -> str:
    """Equal for names that some system takes for one: without case, accents spelt one way."""
    for _ in range(2):  # what one turn gives may fold once more
        name = unicodedata.normalize("NFKC", name).upper().casefold()
    return unicodedata.normalize("NFKC", name)


def _odd(character: str) -> bool:
    kind = unicodedata.category(character)
    return character in _NOT_ON_WINDOWS or kind in _ODD_KINDS or (kind == "Zs" and character != " ")


def _longer(item: Wanted, name: str) -> Iterator[str]:
    """The name with ever longer pieces of the job's id, then of a digest that no other task has."""
    job_id = plain(item.job_id)
    pieces = [job_id[:n] for n in range(8, min(len(job_id), 64) + 1)]
    digest = _digest(f"{item.task_id}\n{item.job_id}")
    for piece in [*pieces, *(digest[:n] for n in range(8, len(digest) + 1))]:
        yield f"{_cut(name, MAX_NAME_BYTES - 1 - len(piece.encode()))}~{piece}"


def _cut(name: str, most: int) -> str:
    return name.encode()[:most].decode(errors="ignore")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

"""Which tasks of a folder to solve: those that a list in a text file names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arcspot.domain.tasks import Task
from arcspot_cli.errors import CommandFailed

COMMENT = re.compile(r"(^|\s)#.*")


@dataclass(frozen=True, slots=True)
class Ids:
    """The task ids that a file lists, each with its line; `sha256` is that of the file."""

    file: Path
    sha256: str
    lines: Mapping[str, int]

    def to_json(self) -> dict[str, str]:
        return {"file": str(self.file), "sha256": self.sha256}


def read(file: Path) -> Ids:
    """One id a line; blank lines and comments from `#` on are left out.

    Raises CommandFailed where the file cannot be read, names an id twice or names none.
    """
    try:
        content = file.read_bytes()
        text = content.decode()
    except OSError as fault:
        raise CommandFailed(f"{file}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise CommandFailed(f"{file}: expected text with one task id a line; found no UTF-8") from fault
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name = COMMENT.sub("", line).strip()
        if name in lines:
            raise CommandFailed(f"{file}, line {number}: {name} is in line {lines[name]} already")
        if name:
            lines[name] = number
    if not lines:
        raise CommandFailed(f"{file}: expected one task id a line; found none")
    return Ids(file, hashlib.sha256(content).hexdigest(), lines)


def pick(
    tasks: Sequence[Task], ids: Ids, *, directory: Path, refused: Sequence[str] = ()
) -> tuple[Task, ...]:
    """The tasks that are listed, in their own order.

    Raises CommandFailed where one is not there; it repeats what was `refused`, which may be why.
    """
    there = {task.task_id for task in tasks}
    missing = [
        f"{ids.file}, line {line}: {name} is no usable task of {directory}"
        for name, line in ids.lines.items()
        if name not in there
    ]
    if missing:
        raise CommandFailed(*missing, *refused)
    return tuple(task for task in tasks if task.task_id in ids.lines)

"""A folder as Kaggle's ARC competitions have it: challenges, solutions beside them, a sample submission."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from arcspot.domain import tasks
from arcspot.domain.solutions import joined, read_solutions

CHALLENGES, SOLUTIONS = "_challenges.json", "_solutions.json"
SUBMISSIONS = ("sample_submission.json", "submission.json")
Named = tuple[Path, str]


def solutions_of(path: Path) -> Path | None:
    """The file of solutions beside a file of challenges, or None."""
    if not path.name.endswith(CHALLENGES):
        return None
    beside = path.with_name(path.name.removesuffix(CHALLENGES) + SOLUTIONS)
    return beside if beside.is_file() else None


def without_solutions(found: list[Named], say: Callable[[str], object]) -> list[Named]:
    """The files that hold tasks: solutions go with the challenges beside them, submissions are left out.

    Solutions without their challenges stay: reading them says what they are.
    """
    places = {_place(path) for path, _ in found}
    folders = {folder for folder, name in places if name.endswith(CHALLENGES)}
    kept = []
    for path, name in found:
        folder, file = _place(path)
        challenges = file.removesuffix(SOLUTIONS) + CHALLENGES
        if file.endswith(SOLUTIONS) and (folder, challenges) in places:
            say(f"{name}: the solutions of {challenges}; its answers are scored by them")
        elif folder in folders and file in SUBMISSIONS:
            say(f"{name}: a submission and no tasks; left out")
        else:
            kept.append((path, name))
    return kept


def body_of(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """What a file holds, with the solutions beside it if it is one of challenges; and what is to be said."""
    body, beside = path.read_bytes(), solutions_of(path)
    if beside is None:
        return body, ()
    try:
        found = read_solutions(beside.name, beside.read_bytes())
    except OSError as error:
        return body, (f"{beside}: {error.strerror}; its solutions are not used",)
    body, notes = joined(body, found.grids)
    faults = [f"{tasks.describe(str(beside), fault)} That solution is not used." for fault in found.faults]
    return body, (*faults, *(f"{beside}: {note}" for note in notes))


def _place(path: Path) -> tuple[Path, str]:
    return path.parent.resolve(), path.name

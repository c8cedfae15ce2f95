"""Results on disk: each one as soon as it is there, all of them together at the end.

While an evaluation runs, `FILE.part.jsonl` has a line for each finished task, and `FILE.part.d/` the state of
tasks that were interrupted. Both are gone once FILE is written. A line says under which settings it was made,
so other settings neither use nor lose it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcspot.domain import documents
from arcspot.domain.documents import Unfit
from arcspot.domain.faults import kind
from arcspot_cli.errors import CommandFailed
from arcspot_cli.evaluation.figures import Result

FORMAT = "arcspot-evaluation-1"
MOST_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Line:
    """One result, as it is kept while an evaluation runs."""

    key: str
    variant: str
    result: dict[str, Any]


def identity(**settings: Any) -> str:
    """Names the settings that decide what the answers are."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Keeper:
    """What was found under settings named `key`; with no file (None) nothing is kept."""

    file: Path | None
    key: str

    @property
    def beside(self) -> Path | None:
        return None if self.file is None else self.file.with_name(self.file.name + ".part.jsonl")

    @property
    def states(self) -> Path | None:
        return None if self.file is None else self.file.with_name(self.file.name + ".part.d")

    def open(self) -> None:
        """Make room; raises CommandFailed now, rather than after hours, where nothing can be written
        or FILE is something else."""
        if self.file is None or self.beside is None or self.states is None:
            return
        if self.file.exists():
            read(self.file)  # a file that is no evaluation would be overwritten
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.states.mkdir(exist_ok=True)
            with self.beside.open("a+b") as lines:
                _end_torn_line(lines)
        except OSError as fault:
            raise CommandFailed(f"{self.file}: results cannot be kept there: {fault.strerror}") from fault

    def state(self, variant: str, digest: str) -> Path | None:
        """Where the solver keeps the state of a task under way."""
        return None if self.states is None else self.states / f"{self.key}-{variant}-{digest}"

    def found(self) -> dict[tuple[str, str], Result]:
        """Results of earlier calls with these settings, by variant and the task's digest; failed ones are not
        among them, they are tried again."""
        kept: dict[tuple[str, str], Result] = {}
        for key, variant, data in self._everything():
            if key == self.key:
                with contextlib.suppress(Unfit):
                    result = Result.from_json(data)
                    kept[variant, result.digest] = result
        return {name: result for name, result in kept.items() if result.error is None}

    def add(self, variant: str, result: Result) -> None:
        """One more line, on the disk before this returns."""
        if self.beside is None:
            return
        line = json.dumps({"key": self.key, "variant": variant, "result": result.to_json()})
        with self.beside.open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")
            lines.flush()
            os.fsync(lines.fileno())

    def finish(self, document: dict[str, Any]) -> None:
        """Write FILE whole or not at all. What it has not, of other settings or tasks, stays beside it."""
        if self.file is None or self.beside is None or self.states is None:
            return
        new = {(key, variant, str(data["digest"])) for key, variant, data in _results(document)}
        found = {(key, variant, str(data.get("digest"))): data for key, variant, data in self._everything()}
        rows = [
            json.dumps({"key": key, "variant": variant, "result": data}) + "\n"
            for (key, variant, digest), data in found.items()
            if (key, variant, digest) not in new
        ]
        if rows:
            _replace(self.beside, "".join(rows))
        write(self.file, document)
        if not rows:
            self.beside.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # states of what is still under way stay
            self.states.rmdir()

    def _everything(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(key, variant, result) of every earlier call that used FILE, the latest last."""
        yield from self._finished()
        yield from self._lines()

    def _lines(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        if self.beside is None or not self.beside.is_file():
            return
        for line in self.beside.read_text(encoding="utf-8", errors="replace").splitlines():
            # A line torn by a power cut costs that one result.
            with contextlib.suppress(Unfit):
                kept = documents.read(_Line, line)
                yield kept.key, kept.variant, kept.result

    def _finished(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """What FILE itself has from an earlier call that came to its end."""
        if self.file is None or not self.file.is_file():
            return
        with contextlib.suppress(CommandFailed):
            yield from _results(read(self.file)[0])


def _results(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(key, variant, result) of each result in an evaluation's document."""
    for data in document.get("tasks", []):
        yield (
            document.get("key", ""),
            "adapted",
            {name: value for name, value in data.items() if name != "base"},
        )
        if data.get("base") is not None:
            yield document.get("key", ""), "base", data["base"]


def read(file: Path) -> tuple[dict[str, Any], list[Result]]:
    """An evaluation's document and its results. Raises CommandFailed when the file is none."""
    try:
        document = documents.parsed(file.read_bytes(), most=MOST_BYTES)
    except OSError as fault:
        raise CommandFailed(f"{file}: {fault.strerror}") from fault
    except Unfit as fault:
        raise CommandFailed(
            f"{file}: expected what `arcspot evaluate --json` wrote; found no JSON: {fault}"
        ) from fault
    told = document.get("format") if isinstance(document, dict) else None
    if told != FORMAT:
        raise CommandFailed(f"{file}: at $.format expected {FORMAT}; found {kind(told)}")
    try:
        documents.fitting(str, document.get("key", ""), "$.key")
        settings = documents.fitting(dict[str, Any], document.get("settings", {}), "$.settings")
        documents.fitting(str, settings.get("only", "both"), "$.settings.only")
        rows = documents.fitting(list[dict[str, Any]], document.get("tasks", []), "$.tasks")
    except Unfit as fault:
        raise CommandFailed(f"{file}: {fault}") from fault
    return document, [_result(file, place, data) for place, data in enumerate(rows)]


def _result(file: Path, place: int, data: dict[str, Any]) -> Result:
    """One task's; what the pretrained model answered beside it is looked at as well. Raises CommandFailed."""
    try:
        if data.get("base") is not None:
            Result.from_json(data["base"])
        return Result.from_json({k: v for k, v in data.items() if k != "base"})
    except Unfit as fault:
        raise CommandFailed(f"{file}: at $.tasks[{place}]: {fault}") from fault


def write(file: Path, document: dict[str, Any]) -> None:
    """Written beside its place and renamed; a line for each field and each task."""
    write_text(file, text(document))


def write_text(file: Path, content: str) -> None:
    """Raises CommandFailed where the folder refuses."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace(file, content)
    except OSError as fault:
        raise CommandFailed(f"{file}: {fault.strerror}") from fault


def text(document: dict[str, Any]) -> str:
    """JSON that people can skim and grep, in ASCII: tasks, with all their grids, take a line each."""
    fields = []
    for name, value in document.items():
        if name == "tasks" and isinstance(value, list):
            rows = ",\n  ".join(map(json.dumps, value))
            fields.append(f'"tasks": [\n  {rows}\n ]' if value else '"tasks": []')
        else:
            fields.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return "{\n " + ",\n ".join(fields) + "\n}\n"


def _replace(file: Path, content: str) -> None:
    beside = file.with_name(file.name + ".tmp")
    beside.write_text(content, encoding="utf-8")
    beside.replace(file)


def _end_torn_line(lines: Any) -> None:
    """So that the next line is not glued to half of one."""
    if lines.seek(0, os.SEEK_END):
        lines.seek(-1, os.SEEK_END)
        if lines.read(1) != b"\n":
            lines.write(b"\n")

"""Rows of the tables, many at once: what people look at is kept, and how far the reading is is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from arcspot.domain.jobs import Job
from arcspot_cli import terminal

if TYPE_CHECKING:
    from arcspot.aws.dynamo import DynamoStore

T = TypeVar("T")
Through = Callable[[Iterable[Job]], Iterable[Job]]
"""What rows go through while they are read, so that somebody may count them."""

EACH = 1_000


def on_a_terminal() -> bool:
    """Whether a person looks at stderr."""
    return sys.stderr.isatty()


def slim(job: Job) -> Job:
    """The row without what only runners and reports need: of 100,000 that is most of the memory."""
    return replace(job, config={}, summary={}, checkpoint=None)


class Slimming:
    """A store whose jobs come slim, for those who read many at once."""

    def __init__(self, store: DynamoStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def jobs(self, job_ids: Sequence[str], *, fresh: bool = True) -> dict[str, Job]:
        found: dict[str, Job] = {}
        for start in range(0, len(job_ids), EACH):
            some = self._store.jobs(job_ids[start : start + EACH], fresh=fresh)
            found |= {job_id: slim(job) for job_id, job in some.items()}
        return found


def counted(rows: Iterable[T]) -> Iterator[T]:
    """The rows; on a terminal, how many have come so far."""
    if not on_a_terminal():
        yield from rows
        return
    count = 0
    for count, row in enumerate(rows, 1):
        if count % EACH == 0:
            terminal.rewritten(f"{count:,} rows read")
        yield row
    if count >= EACH:
        terminal.rewritten()

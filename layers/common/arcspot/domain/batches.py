"""A batch: the tasks that were dropped together, whoever answers them.

Each file that is dropped leaves one receipt. What a batch holds follows from its files' receipts alone: a
task that was answered before, a twin of another task and a refused file are in them as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from arcspot.domain.jobs import DEFAULT_LANE, Job, JobState, TaskInput

# A row of DynamoDB holds 400 KB; a task id has at most 200 bytes and a job id 64.
ENTRIES_A_PART = 1_000
MAX_REFUSALS = 20
MAX_REFUSAL_CHARACTERS = 500
# An index shows a change within seconds: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html
MAX_LAG = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the newest version of one dropped file.

    `key` is what it is kept under: the object's key, or `runs/<run>/<key>` in a turn of a schedule.
    `entries` are (task id, job id) in the file's order; `refusals` say in words what was refused, the
    first `MAX_REFUSALS` of `refused`. A long receipt is kept in `parts` rows, each with its own entries.
    One that says nothing but what the row of its only job says is not `listed` in the index of its batch:
    the job is, and for most files an index entry is a third of what is written.
    """

    key: str
    batch_id: str
    handled_at: datetime
    object_version: str = ""
    sequencer: str = ""
    etag: str = ""
    entries: tuple[tuple[str, str], ...] = ()
    refusals: tuple[str, ...] = ()
    refused: int = 0
    part: int = 0
    parts: int = 1
    listed: bool = True
    version: int = 0

    @property
    def object_key(self) -> str:
        """The key of the object itself."""
        if not self.key.startswith("runs/"):
            return self.key
        return self.key.split("/", 2)[2]

    @property
    def content(self) -> str:
        """A short name of the content that this receipt is for; its parts belong together by it."""
        told = "\n".join((self.object_version, self.etag, self.sequencer))
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def says_the_same_as(self, other: Receipt) -> bool:
        """Whether both tell of the same content with the same outcome."""
        return replace(self, handled_at=other.handled_at, version=other.version) == other

    def later_than(self, sequencer: str) -> bool:
        """Whether this receipt is for a later version of the object than an event's.

        Sequencers of one key compare as hexadecimal numbers of equal width.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
        """
        width = max(len(self.sequencer), len(sequencer))
        return bool(self.sequencer and sequencer) and self.sequencer.zfill(width) > sequencer.zfill(width)


def refused_in_words(refusals: Sequence[str]) -> tuple[str, ...]:
    """As many refusals, and as much of each, as a receipt keeps."""
    return tuple(words[:MAX_REFUSAL_CHARACTERS] for words in refusals[:MAX_REFUSALS])


def in_parts(receipt: Receipt) -> list[Receipt]:
    """The rows of a receipt, the first one last: it is the one that says how many there are."""
    entries = receipt.entries
    starts = range(0, max(1, len(entries)), ENTRIES_A_PART)
    rows = [
        replace(
            receipt,
            entries=entries[start : start + ENTRIES_A_PART],
            part=number,
            parts=len(starts),
            version=receipt.version if number == 0 else 0,
        )
        for number, start in enumerate(starts)
    ]
    return rows[::-1]


def whole(rows: Iterable[Receipt]) -> Iterator[Receipt]:
    """Receipts from their rows in any order. A row of an earlier content is passed over, and so is a receipt
    of which a row is not seen yet. Only those in several parts are held until all rows are read."""
    firsts: dict[str, Receipt] = {}
    rest: dict[tuple[str, str], dict[int, Receipt]] = {}
    for row in rows:
        if row.part == 0 and row.parts == 1:
            yield row
        elif row.part == 0:
            firsts[row.key] = row
        else:
            rest.setdefault((row.key, row.content), {})[row.part] = row
    for first in firsts.values():
        others = rest.get((first.key, first.content), {})
        if all(number in others for number in range(1, first.parts)):
            more = (entry for number in range(1, first.parts) for entry in others[number].entries)
            yield replace(first, entries=(*first.entries, *more), parts=1)


@dataclass(frozen=True, slots=True)
class Batch:
    """The tasks that came together: a view with a report due, never a unit that fails.

    `lane` is what its jobs are made with; `deadline` is when its owner wants them done, and `late_said` that
    they were told it cannot be met. `files` is a lower bound of its receipts: an index that shows fewer
    soon after `touched_at` lags. `told` is the digest of what its last mail told; `waits_for` is a job that
    was seen unfinished.
    """

    batch_id: str
    created_at: datetime
    report_due_at: datetime | None
    reported_jobs: int = 0
    lane: int = DEFAULT_LANE
    deadline: datetime | None = None
    late_said: bool = False
    files: int = 0
    told: str = ""
    waits_for: str = ""
    touched_at: datetime | None = None
    version: int = 0

    def touched_within(self, time: timedelta, now: datetime) -> bool:
        """Whether it is due, and files of it came in within so much time before `now`."""
        recent = self.touched_at is not None and now - time <= self.touched_at <= now
        return recent and self.report_due_at is not None

    def due(self, now: datetime, files: int = 0) -> Batch:
        """With a report due, and so many files more."""
        due_at = self.report_due_at or now
        return replace(self, report_due_at=due_at, files=self.files + files, touched_at=now)

    def fresh(self, now: datetime) -> bool:
        """Whether files came in so lately that an index may not show all of them yet."""
        return now - (self.touched_at or self.report_due_at or self.created_at) < MAX_LAG

    def lags(self, files: int, now: datetime) -> bool:
        """Whether an index that shows so many receipts has not shown all of them yet.

        Receipts expire, so that fewer are no reason to wait for ever.
        """
        return files < self.files and self.fresh(now)

    def reported(self, jobs: int, told: str = "") -> Batch:
        return replace(self, report_due_at=None, reported_jobs=jobs, told=told, waits_for="")


@dataclass(frozen=True, slots=True)
class Sweep:
    """How far the sweep of the bucket is.

    Everything that was written before `done_until` is handled. `after` is the last key that the sweep begun
    at `began_at` has looked at, "" when none is under way; `failed` counts what it could not handle.
    """

    done_until: datetime | None = None
    began_at: datetime | None = None
    after: str = ""
    failed: int = 0
    version: int = 0


def refused_job(receipt: Receipt, bucket: str = "") -> Job:
    """A refused file as a line among jobs, for whoever lists a batch: REJECTED, with the first reason."""
    mark = hashlib.sha256(receipt.key.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    more = receipt.refused - 1
    reason = receipt.refusals[0] if receipt.refusals else "refused"
    return Job(
        job_id=f"rejected-{mark}",
        batch_id=receipt.batch_id,
        input=TaskInput(
            bucket=bucket,
            key=receipt.object_key,
            object_version=receipt.object_version,
            task_id=receipt.object_key.rpartition("/")[2].removesuffix(".json"),
        ),
        config={},
        solver_version="",
        created_at=receipt.handled_at,
        updated_at=receipt.handled_at,
        estimate_s=0.0,
        state=JobState.REJECTED,
        reason=reason + (f" (and {more:,} more)" if more > 0 else ""),
    )

"""report: what became of a batch, once all of its jobs are over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from arcspot.domain import report_pages, tallying
from arcspot.domain.batches import Batch
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.reporters import PATIENCE, SAID_AFTER, Reporter, report_folder
from arcspot.domain.reporting import batch_mail, trouble_mail
from arcspot.domain.tallying import BatchSummary, Tally
from arcspot.errors import Conflict, ItemsFailed
from arcspot.ports import Event, Ports, Store
from arcspot.services.afterwards import mailed, recorded
from arcspot.services.contents import Plan, Read, jobs_of, planned
from arcspot.services.report_parts import HTML, JSON, Maker, Page, Part, mark_of, pages_of
from arcspot.settings import Settings

UNFINISHED = (JobState.READY, JobState.LEASED)
Enough = Callable[[], bool]


@dataclass(slots=True)
class Reported:
    """What one call came to: the batches reported, and why others failed.

    `faults` are of batches that were reported: what of them could not be read, and is told in them.
    """

    batches: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def report_finished(ports: Ports, settings: Settings, now: datetime) -> list[str]:
    """Report every batch that is due and over, as `report_round` does: their names.

    Raises ItemsFailed at the end when one failed; the others are reported.
    """
    found = report_round(ports, settings, now)
    if found.failures:
        raise ItemsFailed(found.failures, found.batches)
    return found.batches


def report_round(
    ports: Ports,
    settings: Settings,
    now: datetime,
    *,
    owner: str = "report",
    enough_time: Enough = lambda: True,
) -> Reported:
    """Report every batch that is due and over; each alone. One with work left stays due.

    Works while there is `enough_time`, at one batch at least; the next call goes on behind it. Only one
    `owner` at a time is at work.
    """
    bad: dict[str, str] = {}
    due = ports.store.batches_due(bad)
    row = ports.store.reporter() if due else Reporter()
    if not due or (row.held(now) and row.owner != owner):
        return Reported(failures=bad)
    return _Round(ports, now, owner, row, enough_time, found=Reported(failures=bad)).work_off(due)


@dataclass
class _Round:
    """One call's work: the batches in turn, and what became of each."""

    ports: Ports
    now: datetime
    owner: str
    row: Reporter
    enough_time: Enough
    seated: bool = False
    found: Reported = field(default_factory=Reported)

    def work_off(self, due: Sequence[Batch]) -> Reported:
        if self.row.working_on:
            self.row = self.row.after_a_death(self.now)
            if not self._sit():
                return self.found
        waited = self._waited(due)
        last = ""
        for batch in self.row.in_turn(due, self.now):
            if last and not self.enough_time():
                self._remember(last)
                break
            last = batch.batch_id
            try:
                if _seems_over(self.ports.store, batch, waited) and not self._one(batch):
                    break
            except Exception as error:  # of this batch; the others have theirs
                self._failed(batch.batch_id, f"{type(error).__name__}: {error}")
        if self.seated:
            with suppress(Exception):  # then the turn ends by itself
                self._write(self.row.left())
        return self.found

    def _waited(self, due: Sequence[Batch]) -> Mapping[str, Job]:
        """The jobs that batches were seen to wait for: for most batches all that is read."""
        ids = sorted({batch.waits_for for batch in due if batch.waits_for})
        return self.ports.store.jobs(ids) if ids else {}

    def _one(self, batch: Batch) -> bool:
        """Report one batch, or a piece of it. False when it is somebody else's turn."""
        if not self._sit():
            return False
        try:
            self._write(self.row.at(batch.batch_id))
        except Conflict:  # this turn took too long, and somebody else has the next
            self.seated = False
            return False
        patient = self.row.tries(batch.batch_id) < PATIENCE
        made = report(self.ports, batch, self.now, patient=patient, enough_time=self.enough_time)
        if made is not None:
            self.found.batches.append(batch.batch_id)
            if made.faulty:
                first = made.faults[0]
                name = f"{made.faulty} task(s) of batch {batch.batch_id}"
                self.found.faults[name] = f"{first['task_id']}: {first['why']}"
        self.row = self.row.well(batch.batch_id)
        return True

    def _failed(self, batch_id: str, why: str) -> None:
        self.found.failures[f"batch {batch_id}"] = why
        with suppress(Exception):  # the table may be what fails
            if self._sit():
                self._write(self.row.failed(batch_id, why, self.now))
                if self.row.tries(batch_id) == SAID_AFTER:
                    mailed(self.ports, *trouble_mail(batch_id, why, SAID_AFTER))

    def _remember(self, batch_id: str) -> None:
        """Where the next call goes on, when there was no time even to look at all."""
        if not self.seated:
            with suppress(Exception):
                self._write(self.row.left(after=batch_id))

    def _sit(self) -> bool:
        if not self.seated:
            try:
                self._write(self.row.taken(self.owner, self.now))
            except Conflict:
                return False
            self.seated = True
        return True

    def _write(self, row: Reporter) -> None:
        """Write the row. Raises Conflict when another owner has it by now."""
        try:
            self.ports.store.write(row)
        except Conflict:
            there = self.ports.store.reporter()
            if there != replace(row, version=row.version + 1):  # else it was our own write, told as lost
                raise
        self.row = replace(row, version=row.version + 1)


def _seems_over(store: Store, batch: Batch, waited: Mapping[str, Job]) -> bool:
    """Asked each minute for days, so not by reading every job: what was seen unfinished, and two counts."""
    job = waited.get(batch.waits_for)
    if job is not None and not job.state.terminal:
        return False
    return not any(store.batch_count(batch.batch_id, state, 1) for state in UNFINISHED)


def report(
    ports: Ports,
    batch: Batch,
    now: datetime,
    *,
    patient: bool = True,
    enough_time: Enough = lambda: True,
) -> Tally | None:
    """Write pages, submission file and summary of one batch, then mail once.

    None while it is not over, was told of before, or there was not `enough_time` for all of it.
    """
    plan = planned(ports.store, batch.batch_id)
    if batch.lags(plan.files, now):
        return None
    if not plan.places and not plan.refused:
        if not batch.fresh(now):
            _written(ports.store, batch, batch.reported(0, told=batch.told))
        return None
    pages = pages_of(plan)
    seen = _look(ports.store, batch.batch_id, pages, plan)
    if seen.waits_for:
        if seen.waits_for != batch.waits_for:
            _written(ports.store, batch, replace(batch, waits_for=seen.waits_for))
        return None
    if seen.told == batch.told:
        # The same files told of again: their owner has the mail.
        _written(ports.store, batch, batch.reported(seen.lines, told=batch.told))
        return None
    folder = report_folder(batch.batch_id)
    maker = Maker(ports.objects, batch.batch_id, folder, pages=len(pages), patient=patient)
    parts = _parts(ports.store, maker, pages, seen, enough_time)
    if parts is None:
        return None
    tally = Tally()
    for part in parts:
        tally.merge(part.tally)
    summary = tallying.summary_of(tally, batch.batch_id, seconds=seen.seconds, generated_at=now)
    maker.submission(parts)
    _write_pages(ports, folder, summary, parts)
    told = (
        _digest([seen.told, *(str(sorted(fault.items())) for fault in tally.faults)])
        if tally.faulty
        else seen.told
    )
    if not _written(ports.store, batch, batch.reported(seen.lines, told=told)):
        return None  # something was dropped meanwhile: it is looked at again
    if told != batch.told:
        _tell(ports, batch, summary, folder, now)
    return tally


@dataclass(frozen=True, slots=True)
class _Seen:
    """A batch's jobs as they were read: a job that is not over, or what there is to tell."""

    lines: int
    told: str = ""
    marks: tuple[str, ...] = ()
    seconds: float = 0.0
    waits_for: str = ""
    read: Read | None = None  # of a batch of one page


def _look(store: Store, batch_id: str, pages: Sequence[Page], plan: Plan) -> _Seen:
    """Read every job once, a page at a time, up to one that is not over."""
    facts: list[str] = []
    marks: list[str] = []
    moments: list[datetime] = [place.dropped_at for place in plan.places]
    moments += [refusal.refused_at for refusal in plan.refused]
    first, last = min(moments), max(moments)
    read = Read({}, {})
    for page in pages:
        read = jobs_of(store, page.places)
        jobs = read.jobs
        open_jobs = [job for job in jobs.values() if not job.state.terminal]
        if open_jobs:
            # Of those, the one whose turn comes last: it is asked for each minute instead of all.
            latest = max(open_jobs, key=lambda job: (job.lane, job.ready_at or job.created_at, job.job_id))
            return _Seen(len(moments), waits_for=latest.job_id)
        for place in page.places:
            job = jobs.get(place.job_id)
            state, reason = (
                (str(job.state), job.reason) if job else ("", str(read.unread.get(place.job_id, "")))
            )
            facts.append(json.dumps((place.task_id, place.job_id, state, reason)))
        facts += [json.dumps((refusal.task_id, "", "REJECTED", refusal.reason)) for refusal in page.refused]
        marks.append(mark_of(page, read))
        first = min([first, *(job.created_at for job in jobs.values() if job.batch_id == batch_id)])
        last = max([last, *(job.updated_at for job in jobs.values())])
    return _Seen(
        lines=len(moments),
        told=_digest(facts),
        marks=tuple(marks),
        seconds=(last - first).total_seconds(),
        read=read if len(pages) == 1 else None,
    )


def _parts(
    store: Store, maker: Maker, pages: Sequence[Page], seen: _Seen, enough_time: Enough
) -> list[Part] | None:
    """Every page's part; None when there is no time for the rest, or a job is at work again."""
    if seen.read is not None:
        return [maker.make(pages[0], seen.read)]
    parts = maker.known([page.number for page in pages])
    made = False
    for page, mark in zip(pages, seen.marks, strict=True):
        known = parts.get(page.number)
        if known is not None and known.mark == mark:
            continue
        if made and not enough_time():
            return None
        read = jobs_of(store, page.places)
        if any(not job.state.terminal for job in read.jobs.values()):
            return None
        parts[page.number] = maker.make(page, read)
        made = True
    if made and not enough_time():
        return None
    return [parts[page.number] for page in pages]


def _write_pages(ports: Ports, folder: str, summary: BatchSummary, parts: Sequence[Part]) -> None:
    rows = parts[0].rows
    if len(parts) == 1 and rows is not None:
        page = report_pages.whole_page(summary, rows)
    else:
        page = report_pages.index_page(summary, [part.link for part in parts])
    ports.objects.write(folder + "index.html", page.encode(), content_type=HTML)
    ports.objects.write(
        folder + "summary.json", json.dumps(tallying.plain(summary)).encode(), content_type=JSON
    )


def _written(store: Store, before: Batch, after: Batch) -> bool:
    """Write a batch unless it changed. A write that is told as lost may have been ours."""
    try:
        store.write(after)
    except Conflict:
        there = store.batch(before.batch_id)
        return there == replace(after, version=after.version + 1)
    return True


def _tell(ports: Ports, batch: Batch, summary: BatchSummary, folder: str, now: datetime) -> None:
    """Mail what was written: the batch's row says that it is told, so never twice."""
    mailed(ports, *batch_mail(summary, page=folder + "index.html"))
    recorded(ports, Event(f"batch#{batch.batch_id}", now, "reported", f"{summary.jobs} tasks"))


def _digest(facts: Sequence[str]) -> str:
    """A digest of what a mail tells: the same lines are mailed once."""
    digest = hashlib.sha256()
    for fact in sorted(facts):
        digest.update(fact.encode())
    return digest.hexdigest()[:16]

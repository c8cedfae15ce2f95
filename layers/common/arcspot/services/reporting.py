"""report: what became of a batch, once all of its jobs are over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from arcspot.domain import reporting, scoring, tasks
from arcspot.domain.batches import Batch, refused_job
from arcspot.domain.jobs import Job, JobState
from arcspot.errors import AnswerRefused, Conflict
from arcspot.ports import Event, Ports
from arcspot.services.afterwards import mailed, recorded
from arcspot.services.contents import Contents, Entry, contents
from arcspot.settings import Settings

MAX_MAILED_BATCHES = 20
UNFINISHED = (JobState.READY, JobState.LEASED)


def report_finished(ports: Ports, settings: Settings, now: datetime) -> list[str]:
    """Report every batch that is due and over. A batch with work left stays due."""
    reported = []
    for batch in ports.store.batches_due()[:MAX_MAILED_BATCHES]:
        # Two counts by index, not a read of every job: a batch of 100,000 is asked each minute for days.
        if any(ports.store.batch_count(batch.batch_id, state, 1) for state in UNFINISHED):
            continue
        found = contents(ports.store, batch.batch_id)
        if not found.entries and not found.refused:
            continue
        over = all(entry.job.state.terminal for entry in found.entries)
        if over and found.seen_by(now, batch.files) and report(ports, batch, found, now):
            reported.append(batch.batch_id)
    return reported


def report(ports: Ports, batch: Batch, found: Contents, now: datetime) -> bool:
    """Write page, submission file and summary of one batch, then mail once. False when somebody else did."""
    jobs = list(found.jobs.values())
    files = _Files(ports, jobs)
    lines = [_line(files, entry) for entry in found.entries]
    refused = [refused_job(receipt) for receipt in found.refused]
    lines += [_refused(job) for job in refused]
    told = _told(lines)
    if told == batch.told:
        # The same files told of again: their owner has the mail.
        with suppress(Conflict):
            ports.store.write(batch.reported(len(lines), told=told))
        return False
    start = min(job.created_at for job in (*jobs, *refused))
    end = max(job.updated_at for job in (*jobs, *refused))
    summary = reporting.summarise(
        batch.batch_id, lines, seconds=(end - start).total_seconds(), generated_at=now
    )
    prefix = f"reports/{batch.batch_id}/"
    answers = {e.task_id: files.attempts(e.job) for e in found.entries if e.job.state is JobState.DONE}
    predictions = {task_id: scoring.write_prediction(each) for task_id, each in answers.items() if each}
    _write(ports, prefix + "submission.json", json.dumps(scoring.submission(predictions)), "application/json")
    _write(ports, prefix + "summary.json", json.dumps(_plain(summary)), "application/json")
    _write(ports, prefix + "index.html", reporting.batch_page(summary, lines), "text/html; charset=utf-8")
    try:
        ports.store.write(batch.reported(len(lines), told=told))
    except Conflict:
        return False  # new jobs came in, or another report was faster: it mails
    mailed(ports, *reporting.batch_mail(summary, page=prefix + "index.html"))
    recorded(ports, Event(f"batch#{batch.batch_id}", now, "reported", f"{len(lines)} tasks"))
    return True


class _Files:
    """The task files and predictions of a batch: each read once, all of them several at once.

    Each task file is parsed once, however many of its tasks are asked for.
    """

    def __init__(self, ports: Ports, jobs: Sequence[Job]) -> None:
        answers = [(_prediction_key(job), None) for job in jobs if job.state is JobState.DONE]
        self._bodies = ports.objects.read_many([*(_source(job) for job in jobs), *answers])
        self._parsed: dict[tuple[str, str | None], Mapping[str, tasks.Task]] = {}

    def task(self, job: Job) -> tasks.Task | None:
        source = _source(job)
        if source not in self._parsed:
            body = self._bodies.get(source)
            # Without a body the user removed the file; the answers are still worth a line.
            found = tasks.read_task_file(job.input.key, body).tasks if body is not None else ()
            self._parsed[source] = {task.task_id: task for task in found}
        return self._parsed[source].get(job.task_id)

    def attempts(self, job: Job) -> tuple[scoring.Attempts, ...]:
        """The job's answer; none where its file is gone or holds no answer."""
        body = self._bodies.get((_prediction_key(job), None))
        task = self.task(job)
        tests = len(task.test_inputs) if task is not None else None
        try:
            return scoring.parse_prediction(body, tests=tests) if body is not None else ()
        except AnswerRefused:
            return ()


def _source(job: Job) -> tuple[str, str | None]:
    return job.input.key, job.input.object_version or None


def _prediction_key(job: Job) -> str:
    return job.result_prefix + "prediction.json"


def _refused(job: Job) -> reporting.JobLine:
    return reporting.JobLine(task_id=job.task_id, job_id="", state=job.state, reason=job.reason)


def _told(lines: Sequence[reporting.JobLine]) -> str:
    """A digest of what a mail tells: the same lines are mailed once."""
    facts = sorted((line.task_id, line.job_id, line.state, line.reason) for line in lines)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _line(files: _Files, entry: Entry) -> reporting.JobLine:
    job = entry.job
    task = files.task(job)
    if task is not None:
        task = replace(task, task_id=entry.task_id)
    done = job.state is JobState.DONE
    attempts = files.attempts(job) if done else ()
    return reporting.JobLine(
        task_id=entry.task_id,
        job_id=job.job_id,
        state=job.state,
        reason=job.reason,
        seconds=job.run_s_total if entry.ours else None,
        cost_usd_micros=job.cost_usd_micros if entry.ours else 0,
        device=str(job.summary.get("device", "")),
        by=reporting.answered_by(job.summary),
        attempts=attempts,
        task=task,
        score=scoring.score_task(task, attempts) if task is not None else None,
    )


def _plain(summary: reporting.BatchSummary) -> dict[str, object]:
    score = summary.score
    return {
        "batch_id": summary.batch_id,
        "counts": dict(summary.counts),
        "cost_usd_micros": summary.cost_usd_micros,
        "seconds": round(summary.seconds, 1),
        "generated_at": summary.generated_at.isoformat(),
        "pass_at_2": score.pass_at_2 if score else None,
        "pass_at_1": score.pass_at_1 if score else None,
        "scored_tasks": score.tasks if score else 0,
    }


def _write(ports: Ports, key: str, text: str, content_type: str) -> None:
    ports.objects.write(key, text.encode(), content_type=content_type)

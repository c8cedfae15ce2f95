"""report: what became of a batch, once all of its jobs are over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from arcspot.domain import reporting, scoring, tasks
from arcspot.domain.jobs import Batch, Job, JobState
from arcspot.errors import Conflict
from arcspot.ports import Event, Ports
from arcspot.services import results
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
        jobs = list(ports.store.jobs_of_batch(batch.batch_id))
        if jobs and all(job.state.terminal for job in jobs) and report(ports, batch, jobs, now):
            reported.append(batch.batch_id)
    return reported


def report(ports: Ports, batch: Batch, jobs: list[Job], now: datetime) -> bool:
    """Write page, submission file and summary of one batch, then mail once. False when somebody else did."""
    files = _Files(ports, jobs)
    lines = [_line(files, job) for job in jobs]
    start, end = min(job.created_at for job in jobs), max(job.updated_at for job in jobs)
    summary = reporting.summarise(
        batch.batch_id, lines, seconds=(end - start).total_seconds(), generated_at=now
    )
    prefix = f"reports/{batch.batch_id}/"
    predictions = {job.task_id: files.prediction(job) for job in jobs if job.state is JobState.DONE}
    _write(ports, prefix + "submission.json", json.dumps(scoring.submission(predictions)), "application/json")
    _write(ports, prefix + "summary.json", json.dumps(_plain(summary)), "application/json")
    _write(ports, prefix + "index.html", reporting.batch_page(summary, lines), "text/html; charset=utf-8")
    try:
        ports.store.write(batch.reported(len(jobs)))
    except Conflict:
        return False  # new jobs came in, or another report was faster: it mails
    ports.mail.send(*reporting.batch_mail(summary, page=prefix + "index.html"))
    ports.store.record(Event(f"batch#{batch.batch_id}", now, "reported", f"{len(jobs)} jobs"))
    return True


class _Files:
    """The task files and answers of a batch: each read once, all of them several at once.

    Each task file is parsed once, however many of its tasks are asked for.
    """

    def __init__(self, ports: Ports, jobs: Sequence[Job]) -> None:
        self._bodies = ports.objects.read_many([_source(job) for job in jobs])
        done = [job.result_prefix for job in jobs if job.state is JobState.DONE]
        self._answers = results.predictions(ports.objects, done)
        self._parsed: dict[tuple[str, str | None], Mapping[str, tasks.Task]] = {}

    def task(self, job: Job) -> tasks.Task | None:
        source = _source(job)
        if source not in self._parsed:
            body = self._bodies.get(source)
            # Without a body the user removed the file; the answers are still worth a line.
            found = tasks.read_task_file(job.input.key, body).tasks if body is not None else ()
            self._parsed[source] = {task.task_id: task for task in found}
        return self._parsed[source].get(job.task_id)

    def prediction(self, job: Job) -> list[dict[str, list[list[int]]]]:
        body = self._answers[job.result_prefix]
        answer = json.loads(body) if isinstance(body, bytes) else []
        return answer if isinstance(answer, list) else []


def _source(job: Job) -> tuple[str, str | None]:
    return job.input.key, job.input.object_version or None


def _line(files: _Files, job: Job) -> reporting.JobLine:
    if job.state is JobState.REJECTED:
        return reporting.JobLine(task_id=job.task_id, job_id=job.job_id, state=job.state, reason=job.reason)
    task = files.task(job)
    done = job.state is JobState.DONE
    attempts = scoring.read_prediction(files.prediction(job)) if done else ()
    return reporting.JobLine(
        task_id=job.task_id,
        job_id=job.job_id,
        state=job.state,
        reason=job.reason,
        seconds=job.run_s_total,
        cost_usd_micros=job.cost_usd_micros,
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

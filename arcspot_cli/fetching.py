"""results: bring answers home, each whole or not at all; what is wrong with one stops no other."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from arcspot.aws.bucket import AT_ONCE
from arcspot.domain import scoring, tasks
from arcspot.domain.jobs import Job, JobState
from arcspot.errors import RecordMissing
from arcspot_cli import collecting, delivering, faults, folders, showing, unpacking
from arcspot_cli.errors import CommandFailed
from arcspot_cli.faults import Fault
from arcspot_cli.folders import OUR_OWN, SUBMISSION, Wanted, folder_names
from arcspot_cli.picturing import Pictures
from arcspot_cli.rows import Slimming
from arcspot_cli.target import Target
from arcspot_cli.together import together

__all__ = ["Answer", "Shown", "Wanted", "folder_names", "get", "known_task", "shown", "wanted"]

PREDICTION = unpacking.PREDICTION


@dataclass(frozen=True, slots=True)
class Answer:
    """One task's finished job, as it lies in a local folder."""

    task_id: str
    job: Job
    folder: Path
    fresh: bool
    unknown: tuple[str, ...] = ()
    """Files of the result that no runner of ours leaves; they stay in the bucket."""

    @property
    def renamed(self) -> bool:
        """Whether another task has the folder of that name."""
        return self.folder.name != folders.plain(self.task_id)

    @property
    def respelt(self) -> bool:
        """Whether some system does not take the task's id as a folder's name."""
        return folders.plain(self.task_id) != self.task_id

    @property
    def attempts(self) -> tuple[scoring.Attempts, ...]:
        """Raises CommandFailed when the file is no answer."""
        path = self.folder / PREDICTION
        return unpacking.attempts(str(path), path.read_bytes())


def wanted(target: Target, batch: str | None) -> list[Wanted]:
    """Every (task id, job) that the receipts of a batch name, or those of all dropped files.

    Receipts and not jobs, because one job may answer the same task in several files.
    A job that no receipt names, as an earlier release left them, is wanted under its own task's id.
    """
    store = target.store
    receipts = list(store.receipts_of_batch(batch) if batch else store.every_receipt())
    # Without a batch, what was dropped: the turns of a schedule repeat tasks, and are asked for by name.
    named = dict.fromkeys(
        entry
        for receipt in sorted(receipts, key=lambda receipt: receipt.key)
        if batch or not receipt.key.startswith("runs/")
        for entry in receipt.entries
    )
    if batch:
        # Most receipts of a batch are not listed, a twin's is: then the job under its own id is one more.
        others: Iterable[Job] = Slimming(store).jobs(list(store.job_ids_of_batch(batch))).values()
    else:
        told = {job_id for receipt in receipts for _, job_id in receipt.entries}
        others = (job for job in store.every_job() if job.job_id not in told)
    named |= {(job.task_id, job.job_id): None for job in others if job.state is not JobState.REJECTED}
    return [Wanted(task_id, job_id) for task_id, job_id in named]


Done = Callable[[Answer], object]
Failed = Callable[[Fault], object]
Steps = Callable[[int, str], AbstractContextManager[Callable[[], object]]]


def get(
    target: Target,
    out: Path,
    *,
    batch: str | None,
    done: Done = lambda _: None,
    failed: Failed = lambda fault: showing.say(str(fault)),
    steps: Steps = showing.no_steps,
    say: Callable[[str], object] = lambda _: None,
) -> list[Answer]:
    """Have every finished job's files in `out/<task id>/`; what is there already is not fetched again.

    `done` and `failed` hear of each answer as it ends, from the calling thread. `steps` shows how far it is:
    given a number and a word, a context whose value is called for each step. `say` hears remarks.
    Raises CommandFailed, or the AWS SDK's error, only for what stops every answer alike.
    """
    target.store.bad_rows.clear()
    asked = wanted(target, batch)
    jobs = known_jobs(target, asked, failed)
    known = [item for item in asked if item.job_id in jobs]
    names = folder_names(known, jobs)
    finished = [item for item in known if jobs[item.job_id].state is JobState.DONE]
    answers: dict[Wanted, Answer] = {}
    undrawn: list[str] = []
    pictures = Pictures(target.bucket)
    with _spare(out, wanted=bool(finished)) as spare, steps(len(finished), "fetching") as step:

        def bring(item: Wanted) -> Answer:
            job, name = jobs[item.job_id], names[item.task_id, item.job_id]
            there = delivering.deliver(target.bucket, pictures, item.task_id, job, out / name, spare / name)
            if there.undrawn:
                undrawn.append(f"{item.task_id}: {there.undrawn}")
            return Answer(item.task_id, job, out / name, there.fresh, there.unknown)

        for item, answer, error in together(bring, finished, at_once=AT_ONCE):
            step()
            if answer is not None:
                answers[item] = answer
                done(answer)
            elif error is not None:
                failed(Fault(item.task_id, faults.words(error), item.job_id))
    if answers:
        blank = collecting.collect(target, out, batch, asked, jobs, answers, failed)
        if blank:
            say(f"{blank} id(s) without an answer have a placeholder in {out / SUBMISSION}")
    came = [answers[item] for item in finished if item in answers]
    _tell_of_what_is_not_there(came, undrawn, say)
    return came


def _tell_of_what_is_not_there(
    answers: Iterable[Answer], undrawn: list[str], say: Callable[[str], object]
) -> None:
    odd = [f"{each.task_id}: {', '.join(each.unknown)[:200]}" for each in answers if each.unknown]
    if odd:
        say(
            f"{len(odd)} answer(s) came with files that no runner of arcspot leaves; they stay in the bucket "
            f"({odd[0]})"
        )
    if undrawn:
        say(f"{len(undrawn)} picture(s) are not drawn; run the command again ({min(undrawn)})")


def known_jobs(target: Target, asked: Iterable[Wanted], failed: Failed) -> dict[str, Job]:
    """The jobs' rows; `failed` hears of every row that the store could not read since it was last asked."""
    jobs = Slimming(target.store).jobs(list(dict.fromkeys(item.job_id for item in asked)))
    for fault in faults.of_rows(target.store.bad_rows):
        failed(fault)
    return jobs


@contextmanager
def _spare(out: Path, *, wanted: bool) -> Iterator[Path]:
    """A folder of our own in `out` for what is under way; gone afterwards, whatever happened."""
    if not wanted:
        yield out
        return
    if out.exists() and not out.is_dir():
        raise CommandFailed(f"{out} is a file; name a folder for the answers")
    try:
        out.mkdir(parents=True, exist_ok=True)
        spare = Path(tempfile.mkdtemp(prefix=f"{OUR_OWN}-part-", dir=out))
    except OSError as error:
        raise CommandFailed(f"{out}: {error.strerror}; name a folder that you may write to") from error
    try:
        yield spare
    finally:
        shutil.rmtree(spare, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer as it is in the bucket, and its task if the file is still there."""

    task_id: str
    job: Job
    task: tasks.Task | None
    attempts: tuple[scoring.Attempts, ...]


def shown(
    target: Target,
    task_ids: Collection[str],
    *,
    batch: str | None,
    failed: Failed = lambda fault: showing.say(str(fault)),
) -> Iterator[Shown]:
    """Every finished answer to tasks of these ids; nothing is downloaded into a folder."""
    target.store.bad_rows.clear()
    asked = [item for item in wanted(target, batch) if item.task_id in task_ids]
    jobs = known_jobs(target, asked, failed)
    for item in asked:
        job = jobs.get(item.job_id)
        if job is None or job.state is not JobState.DONE:
            continue
        try:
            task = known_task(target, job)
        except Exception as error:
            task = None
            failed(Fault(job.input.key, faults.words(error)))
        tests = len(task.test_inputs) if task else None
        try:
            one = Shown(item.task_id, job, task, unpacking.prediction(target.bucket, job, tests=tests))
        except Exception as error:
            failed(Fault(item.task_id, faults.words(error), item.job_id))
        else:
            yield one


def known_task(target: Target, job: Job) -> tasks.Task | None:
    """The task a job came from, with its solution when the file had one; None when the file is gone."""
    try:
        body = target.bucket.read(job.input.key, version=job.input.object_version or None)
    except RecordMissing:
        return None
    found = [task for task in tasks.read_task_file(job.input.key, body).tasks if task.task_id == job.task_id]
    return found[0] if found else None

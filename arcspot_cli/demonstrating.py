"""demo: the whole path on this machine, from nothing to drawn and scored answers, and back to nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from arcspot.domain import reporting, scoring
from arcspot.domain.jobs import JobState
from arcspot_cli import fetching, looking, showing, submitting
from arcspot_cli.errors import CommandFailed
from arcspot_cli.faults import Fault
from arcspot_cli.fetching import Answer
from arcspot_cli.target import Choice, Target, resolve

Show = Callable[[str, Sequence[str]], object]
"""Shows a line, and the lines of a picture below it."""

POLL_S = 2.0
RECEIPTS_S = 120.0
SETTLE_S = 90.0


@dataclass(slots=True)
class Story:
    """What a demo saw, for the closing lines and `--json`."""

    began: float
    batch: str = ""
    tasks: int = 0
    answered: int = 0
    scores: list[scoring.Score] = field(default_factory=list)
    up_s: float | None = None
    first_answer_s: float | None = None
    first_right_s: float | None = None
    total_s: float = 0.0
    refused: list[str] = field(default_factory=list)
    dead: dict[str, str] = field(default_factory=dict)
    settled_usd_micros: int = 0
    instances: int = 0

    def elapsed(self) -> float:
        return time.monotonic() - self.began


def run(
    tasks_dir: Path,
    out: Path,
    *,
    project_dir: Path,
    keep: bool,
    began: float,
    show: Show,
) -> Story:
    """Bring the stack up, solve every task below `tasks_dir`, score and `show` each, take it down again."""
    story = Story(began)
    uploads = _checked(tasks_dir, story)
    with _stack(project_dir, keep, story):
        target = resolve(Choice(where="local", project_dir=project_dir))
        story.batch = f"{submitting.batch_name([tasks_dir])}-{datetime.now(UTC):%H%M%S}"
        keyed = [
            submitting.check(u.path, submitting.key_for(story.batch, u.key)) for u in uploads if u.wanted
        ]
        told = submitting.submit(target, keyed, story.batch)
        showing.say(
            f"{len(told.uploaded)} file(s) dropped into s3://{target.output('BucketName')}/tasks/{story.batch}/"
        )
        _await_receipts(target, told)
        story.tasks = len(told.jobs)
        _watch(target, story, out, list(told.jobs), show)
        _await_settled(target, story)
    story.total_s = story.elapsed()
    return story


def _checked(tasks_dir: Path, story: Story) -> list[submitting.Upload]:
    """The files, read before anything starts: a folder without a usable task starts nothing."""
    found = submitting.flat(submitting.find([tasks_dir], say=showing.say), say=showing.say)
    uploads = [submitting.check(path, name) for path, name in found]
    for upload in uploads:
        story.refused += upload.refusals
        for note in upload.notes:
            showing.say(note)
    for refusal in story.refused:
        showing.say(f"refused: {refusal}")
    if not any(upload.wanted for upload in uploads):
        raise CommandFailed(f"{tasks_dir}: no file with a usable task")
    return uploads


@contextmanager
def _stack(project_dir: Path, keep: bool, story: Story) -> Iterator[None]:
    """The local stack, up; down again whatever happens, unless it was there before or is to be kept."""
    from arcspot_cli.local import stack

    was_up = stack.load(project_dir) is not None
    try:
        stack.up(
            stack.LocalOptions(project_dir=project_dir),
            report=lambda text: showing.say(f"local stack: {text}"),
        )
        story.up_s = story.elapsed()
        yield
    finally:
        if not was_up and not keep:
            stack.down(project_dir, report=lambda text: showing.say(f"local stack: {text}"))


def _await_receipts(target: Target, told: submitting.Submission) -> None:
    until = time.monotonic() + RECEIPTS_S
    while not submitting.receive(target, told):
        if time.monotonic() > until:
            raise CommandFailed(f"ingest wrote no receipt within {RECEIPTS_S:.0f} s; see .arcspot/local/logs")
        time.sleep(POLL_S / 2)


def _watch(target: Target, story: Story, out: Path, job_ids: list[str], show: Show) -> None:
    """Show each answer as it arrives, until every job is over."""
    drawn: set[str] = set()

    def draw(answer: Answer) -> None:
        if answer.job.job_id not in drawn:
            drawn.add(answer.job.job_id)
            show(*_drawn(target, story, answer))

    faulty: set[str] = set()

    def fail(fault: Fault) -> None:
        if fault.what not in faulty:
            faulty.add(fault.what)
            showing.say(str(fault))

    pace = showing.Pace()
    while True:
        seen = looking.look(target, datetime.now(UTC), job_ids=job_ids)
        if pace.worth_saying(seen, story.elapsed()):
            showing.say(f"{story.elapsed():5.0f} s  {showing.line(seen)}")
        if seen.counts.get(JobState.DONE, 0) > len(drawn) + len(faulty):
            fetching.get(target, out, batch=story.batch, done=draw, failed=fail)
        if seen.over:
            break
        time.sleep(POLL_S)
    story.dead = {job.task_id: job.reason for job in seen.jobs if job.state is JobState.DEAD}


def _drawn(target: Target, story: Story, answer: Answer) -> tuple[str, list[str]]:
    """The answer as it is shown, a line and its picture; counted in the story."""
    task = fetching.known_task(target, answer.job)
    attempts = answer.attempts
    score = scoring.score_task(task, attempts) if task is not None else None
    story.answered += 1
    if story.first_answer_s is None:
        story.first_answer_s = story.elapsed()
    if score is not None:
        story.scores.append(score)
        if score.all_right and story.first_right_s is None:
            story.first_right_s = story.elapsed()
    head = (
        f"{answer.task_id}: {showing.verdict(task, attempts)} · "
        f"{reporting.duration(answer.job.run_s_total)} · {reporting.usd(answer.job.cost_usd_micros)}"
    )
    return head, showing.answer(task, attempts) if task is not None else []


def _await_settled(target: Target, story: Story) -> None:
    """Wait until the instances are gone and paid for, so that the cost told is the cost."""
    until = time.monotonic() + SETTLE_S
    while True:
        seen = looking.look(target, datetime.now(UTC), job_ids=[])
        still = [launch for launch in seen.launches if launch.state.open]
        if not still or time.monotonic() > until:
            break
        time.sleep(POLL_S / 2)
    for launch in still:
        showing.say(f"instance {launch.instance_id} has not settled yet ({launch.state})")
    story.settled_usd_micros = seen.ledger.settled if seen.ledger else 0
    story.instances = len(seen.launches)


def closing(story: Story, out: Path, say: Callable[[str], object]) -> None:
    """The story's last lines: score, time, cost, where the results are."""
    total = scoring.total(story.scores)
    say("")
    if total:
        say(f"score    {total.all_right} of {total.tasks} tasks right (pass@2 {total.pass_at_2:.1%})")
    say(
        f"answers  {story.answered} of {story.tasks} tasks"
        + (f", {len(story.refused)} refusal(s)" if story.refused else "")
    )
    for task_id, why in story.dead.items():
        say(f"         {task_id}: given up, {why}")
    first = f", first right answer after {story.first_right_s:.0f} s" if story.first_right_s else ""
    say(
        f"time     {reporting.duration(story.total_s)} in all (stack up after {story.up_s or 0:.0f} s{first})"
    )
    say(
        f"cost     {reporting.usd(story.settled_usd_micros)} booked for {story.instances} instance(s): "
        "what so much time of a g4dn costs; on this machine it was free"
    )
    say(f"results  {out}/<task id>/prediction.json, {out}/submission.json")


def story_json(story: Story) -> dict[str, object]:
    """The story as JSON-able data; seconds and micro-dollars."""
    total = scoring.total(story.scores)
    return {
        "batch": story.batch,
        "tasks": story.tasks,
        "answered": story.answered,
        "right": total.all_right if total else None,
        "pass_at_2": total.pass_at_2 if total else None,
        "up_seconds": story.up_s,
        "first_answer_seconds": story.first_answer_s,
        "first_right_seconds": story.first_right_s,
        "total_seconds": story.total_s,
        "settled_usd_micros": story.settled_usd_micros,
        "instances": story.instances,
        "refused": story.refused,
        "given_up": story.dead,
    }

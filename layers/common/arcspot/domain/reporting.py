"""Tell a person how a batch went: HTML pages (`report_pages`), one short mail.

What is told are facts that add up (`tallying`); the same lines give the same bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from arcspot.domain import edges
from arcspot.domain.report_pages import batch_page
from arcspot.domain.report_words import STATE_WORDS, duration, numbered, states, usd
from arcspot.domain.tallying import BatchSummary, JobLine, answered_by, summarise

__all__ = [
    "STATE_WORDS",
    "BatchSummary",
    "JobLine",
    "answered_by",
    "batch_mail",
    "batch_page",
    "duration",
    "summarise",
    "trouble_mail",
    "usd",
]

MAX_SUBJECT = 99  # SNS: a subject is ASCII and shorter than 100 characters
MAX_MAILED_FAULTS = 10


def batch_mail(summary: BatchSummary, *, page: str = "") -> tuple[str, str]:
    """Subject and body of the mail about a batch; ``page`` says where the report lies.

    The subject is printable ASCII of at most 99 characters, whatever the batch is called
    (SNS Publish refuses anything else).
    """
    score, answered = summary.score, summary.answered_score
    result = (
        f"{score.all_right} of {score.tasks} right" if score else f"{summary.counts.get('DONE', 0)} answered"
    )
    subject = subject_of("batch ", summary.batch_id, f": {result}, {usd(summary.cost_usd_micros)}")
    lines = [
        f"Batch {edges.line(summary.batch_id, most=edges.MOST_OF_A_NAME)}",
        "",
        *(f"{word:>10}  {count:,}" for _, word, count in states(summary.counts)),
        "",
        f"{'cost':>10}  {usd(summary.cost_usd_micros)}",
        f"{'time':>10}  {duration(summary.seconds)}",
    ]
    if score:
        lines.append(
            f"{'score':>10}  {score.pass_at_2:.1%} (two attempts), {score.pass_at_1:.1%} (first attempt), "
            f"of all {score.tasks:,} tasks given with known solutions"
        )
    if score and answered and answered.tasks < score.tasks:
        lines.append(
            f"{'':>10}  {answered.pass_at_2:.1%} (two attempts), {answered.pass_at_1:.1%} (first attempt), "
            f"of the {answered.tasks:,} answered ones"
        )
    if summary.empty_tasks:
        inputs, tasks = numbered(summary.empty_inputs, "test input"), numbered(summary.empty_tasks, "task")
        lines += ["", f"submission.json has placeholders for {inputs} of {tasks}."]
    if summary.faulty:
        lines += ["", f"{summary.faulty:,} could not be read:"]
        lines += [_fault(fault) for fault in summary.faults[:MAX_MAILED_FAULTS]]
        if summary.faulty > MAX_MAILED_FAULTS:
            lines.append("- more are in summary.json")
    if page:
        lines += ["", f"Report: {edges.line(page)}"]
    return subject, "\n".join(lines) + "\n"


def _fault(fault: Mapping[str, str]) -> str:
    task_id = edges.line(fault["task_id"], most=edges.MOST_OF_A_NAME)
    return f"- {task_id}: {edges.line(fault['why'], most=2 * edges.MOST_OF_A_NAME)}"


def trouble_mail(batch_id: str, why: str, tries: int) -> tuple[str, str]:
    """Subject and body of the one mail about a batch whose report fails again and again."""
    name = edges.line(batch_id, most=edges.MOST_OF_A_NAME)
    return subject_of("the report of batch ", batch_id, " fails"), (
        f"The report of batch {name} failed {tries} times in a row:\n\n{edges.line(why)}\n\n"
        "It is tried again, ever more slowly, at least once an hour. Its answers are safe:\n"
        f"arcspot results get DIR --batch {shlex.quote(name)}\nThis mail is not repeated.\n"
    )


def subject_of(opening: str, batch_id: str, ending: str) -> str:
    """A subject that SNS accepts, whatever the batch is called."""
    name = "".join(c if " " <= c <= "~" else "?" for c in batch_id)
    opening = f"arcspot: {opening}"
    room = MAX_SUBJECT - len(opening) - len(ending)
    return opening + (name if len(name) <= room else name[: room - 3] + "...") + ending

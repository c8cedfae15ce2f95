"""Tell a person how a batch went: one HTML page, one short mail.

The page holds everything it shows: no script, no font, no picture from elsewhere, so it
opens from S3, from disk and years later. The same lines give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from arcspot.domain import drawing
from arcspot.domain.drawing import text
from arcspot.domain.report_style import PAGE_STYLE
from arcspot.domain.scoring import Attempts, BatchScore, Score, total
from arcspot.domain.tasks import Task

MAX_PICTURES = 400  # about 9 kB each; a page of 4 MB still opens at once
MAX_SUBJECT = 99  # SNS: a subject is ASCII and shorter than 100 characters
STATE_ORDER = ("DONE", "LEASED", "READY", "DEAD", "REJECTED", "CANCELLED")
STATE_WORDS = {
    "DONE": "answered",
    "LEASED": "running",
    "READY": "waiting",
    "DEAD": "given up",
    "REJECTED": "rejected",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True, slots=True)
class JobLine:
    """What the report says of one job.

    ``state`` is a JobState's value; ``seconds`` is run time over all tries; ``by`` says who answered;
    ``attempts`` has a pair per test input, or nothing without an answer; ``task`` is None
    when the picture is not wanted or the file could not be read; ``score`` is None when
    the solution is not known; a task given up on with a known solution has a score of 0.
    """

    task_id: str
    job_id: str
    state: str
    reason: str = ""
    seconds: float | None = None
    cost_usd_micros: int = 0
    device: str = ""
    attempts: tuple[Attempts, ...] = ()
    task: Task | None = None
    score: Score | None = None
    by: str = ""


def answered_by(summary: Mapping[str, object]) -> str:
    """Rules, or what was trained, from the runner's figures of a job; nothing where they do not tell."""
    name = summary.get("hypothesis")
    if not isinstance(name, str) or not name:
        return ""
    if name in ("rules", "pointer", "spreader"):
        return name
    return "network beside rules" if summary.get("rules") else "network"


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """The batch in a few numbers. ``seconds`` is from the first job's arrival to the last one's end."""

    batch_id: str
    counts: Mapping[str, int]
    cost_usd_micros: int
    seconds: float
    generated_at: datetime
    score: BatchScore | None = None

    @property
    def jobs(self) -> int:
        return sum(self.counts.values())

    @property
    def open_jobs(self) -> int:
        """Jobs still waiting or running."""
        return self.counts.get("READY", 0) + self.counts.get("LEASED", 0)


def summarise(
    batch_id: str, lines: Iterable[JobLine], *, seconds: float, generated_at: datetime
) -> BatchSummary:
    """The summary that follows from the lines. Only lines with a score count towards the score."""
    each = list(lines)
    counts = Counter(line.state for line in each)
    return BatchSummary(
        batch_id=batch_id,
        counts=counts,
        cost_usd_micros=sum(line.cost_usd_micros for line in each),
        seconds=seconds,
        generated_at=generated_at,
        score=total(line.score for line in each if line.score is not None),
    )


def batch_page(summary: BatchSummary, lines: Sequence[JobLine], *, max_pictures: int = MAX_PICTURES) -> str:
    """The report as a complete HTML document.

    Lines are shown by task id. Pictures beyond ``max_pictures`` are left out, and the page says so.
    """
    ordered = sorted(lines, key=lambda line: (line.task_id, line.job_id))
    drawn = [line for line in ordered if line.task is not None][:max_pictures]
    wanted = {id(line) for line in drawn}
    rows = "\n".join(_row(line, picture=id(line) in wanted) for line in ordered)
    left_out = sum(line.task is not None for line in ordered) - len(drawn)
    note = f"<p class=note>{left_out:,} more pictures are in the results.</p>" if left_out else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(summary.batch_id)} · arcspot</title>\n<style>{PAGE_STYLE}{drawing.STYLE}</style>\n"
        f"</head>\n<body>\n<main>\n{_header(summary)}\n{_tiles(summary)}\n{_bar(summary.counts)}\n"
        f'{_filters(ordered)}\n<section aria-label="Tasks" class="jobs">\n{rows}\n</section>\n{note}\n'
        "</main>\n</body>\n</html>\n"
    )


def batch_mail(summary: BatchSummary, *, page: str = "") -> tuple[str, str]:
    """Subject and body of the mail about a batch; ``page`` says where the report lies.

    The subject is printable ASCII of at most 99 characters, whatever the batch is called
    (SNS Publish refuses anything else).
    """
    score = summary.score
    result = (
        f"{score.all_right} of {score.tasks} right" if score else f"{summary.counts.get('DONE', 0)} answered"
    )
    ending = f": {result}, {usd(summary.cost_usd_micros)}"
    name = "".join(c if " " <= c <= "~" else "?" for c in summary.batch_id)
    opening = "arcspot: batch "
    room = MAX_SUBJECT - len(opening) - len(ending)
    subject = opening + (name if len(name) <= room else name[: room - 3] + "...") + ending
    lines = [
        f"Batch {summary.batch_id}",
        "",
        *(f"{word:>10}  {count:,}" for _, word, count in _states(summary.counts)),
        "",
        f"{'cost':>10}  {usd(summary.cost_usd_micros)}",
        f"{'time':>10}  {duration(summary.seconds)}",
    ]
    if score:
        lines.append(
            f"{'score':>10}  {score.pass_at_2:.1%} (two attempts), {score.pass_at_1:.1%} (first attempt)"
        )
    if page:
        lines += ["", f"Report: {page}"]
    return subject, "\n".join(lines) + "\n"


def usd(micros: int) -> str:
    """Money for a person: cents above a dollar, four digits below."""
    places = 2 if abs(micros) >= 1_000_000 else 4
    return f"${micros / 1_000_000:,.{places}f}"


def duration(seconds: float) -> str:
    """``8.4 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


# --- the page's parts --------------------------------------------------------------------


def _header(summary: BatchSummary) -> str:
    at = summary.generated_at.astimezone(UTC)
    state = f"{summary.open_jobs:,} still open" if summary.open_jobs else "complete"
    return (
        f"<header><p class=brand>arcspot · batch report</p><h1>{text(summary.batch_id)}</h1>"
        f'<p class=note>{state} · written <time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M} UTC</time>'
        "</p></header>"
    )


def _tiles(summary: BatchSummary) -> str:
    score = summary.score
    tiles = [("Jobs", f"{summary.jobs:,}", f"{summary.counts.get('DONE', 0):,} answered")]
    if score:
        tiles.append(
            ("Score, two attempts", f"{score.pass_at_2:.1%}", f"{score.pass_at_1:.1%} with the first alone")
        )
        tiles.append(("All tests right", f"{score.all_right:,}", f"of {score.tasks:,} with known solutions"))
    each = summary.cost_usd_micros // summary.jobs if summary.jobs else 0
    tiles.append(("Cost", usd(summary.cost_usd_micros), f"{usd(each)} a job"))
    tiles.append(("Time", duration(summary.seconds), "first arrival to last answer"))
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in tiles
    )
    return f"<dl class=tiles>{cells}</dl>"


def _states(counts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """(state, word, count) of each state that occurs, in a fixed order; unknown states last."""
    known = [*STATE_ORDER, *sorted(set(counts) - set(STATE_ORDER))]
    return [
        (state, STATE_WORDS.get(state, state.lower()), counts[state]) for state in known if counts.get(state)
    ]


def _bar(counts: Mapping[str, int]) -> str:
    states = _states(counts)
    segments = "".join(
        f'<i class="s-{_slug(state)}" style="flex-grow:{count}"></i>' for state, _, count in states
    )
    legend = "".join(
        f'<li><i class="s-{_slug(state)}"></i>{text(word)} <b>{count:,}</b></li>'
        for state, word, count in states
    )
    bar = f'<div class=bar aria-hidden="true">{segments}</div>'
    return f'{bar}<ul class=legend aria-label="Jobs by state">{legend}</ul>'


def _filters(lines: Sequence[JobLine]) -> str:
    """Radio buttons that hide rows by CSS alone; only those that would show something."""
    found = Counter(_verdict(line) for line in lines)
    choices = [("all", len(lines)), *((name, found[name]) for name in _VERDICTS if found[name])]
    if len(choices) < 3:
        return ""
    buttons = "".join(
        f"<label><input type=radio name=show id=show-{name.replace(' ', '-')}"
        f"{' checked' if name == 'all' else ''}>"
        f"<span>{name} <b>{count:,}</b></span></label>"
        for name, count in choices
    )
    return f"<fieldset class=filters><legend>Show</legend>{buttons}</fieldset>"


_VERDICTS = ("right", "partly right", "wrong", "answered", "no answer")
_SIGNS = {"right": "✓", "partly right": "◐", "wrong": "✗", "answered": "•", "no answer": "–"}


def _verdict(line: JobLine) -> str:
    if line.state != "DONE":
        return "no answer"
    if line.score is None:
        return "answered"
    if line.score.all_right:
        return "right"
    return "partly right" if line.score.right_at_2 else "wrong"


def _row(line: JobLine, *, picture: bool) -> str:
    verdict = _verdict(line)
    css = f"job v-{verdict.replace(' ', '-')}"
    word = (
        STATE_WORDS.get(line.state, line.state.lower()) if verdict in ("answered", "no answer") else verdict
    )
    facts = [duration(line.seconds)] if line.seconds is not None else []
    facts += [usd(line.cost_usd_micros)] if line.cost_usd_micros else []
    facts += [text(line.device)] if line.device else []
    facts += [f"by {text(line.by)}"] if line.by else []
    head = (
        f'<span class=sign aria-hidden="true">{_SIGNS[verdict]}</span>'
        f"<span class=name>{text(line.task_id)}</span><span class=verdict>{text(word)}</span>"
        f"<span class=facts>{' · '.join(facts)}</span>"
    )
    reason = f"<p class=reason>{text(line.reason)}</p>" if line.reason else ""
    small = f"<p class=note>job <code>{text(line.job_id)}</code></p>" if line.job_id else ""
    drawn = ""
    if picture and line.task is not None:
        truth = line.task.test_outputs
        svg = drawing.svg_task(line.task, line.attempts, truth, title=line.task_id, styled=False)
        label = f"Picture of {text(line.task_id)}"
        drawn = f'<div class=picture tabindex=0 role=group aria-label="{label}">{svg}</div>'
    opened = " open" if line.reason and not drawn else ""
    return f'<details class="{css}"{opened}><summary>{head}</summary>{reason}{drawn}{small}</details>'


def _slug(state: str) -> str:
    return state.lower() if state in STATE_ORDER else "other"

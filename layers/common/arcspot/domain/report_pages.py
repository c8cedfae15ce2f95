"""The report as HTML: one page, or for a large batch an index and pages of its tasks.

A page holds everything it shows: no script, no font, no picture from elsewhere, so it
opens from S3, from disk and years later. The same lines give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC

from arcspot.domain import drawing
from arcspot.domain.edges import markup as text
from arcspot.domain.report_style import PAGE_STYLE
from arcspot.domain.report_words import STATE_ORDER, STATE_WORDS, duration, numbered, states, usd
from arcspot.domain.tallying import VERDICTS, BatchSummary, JobLine

MAX_PICTURES = 400  # about 9 kB each; a page of 4 MB still opens at once
MAX_PICTURE_BYTES = 8 * 1024 * 1024  # of all pictures of a page, however large its tasks are
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser does not do for the page, whatever ever stands in it: no script, nothing from elsewhere.
https://www.w3.org/TR/CSP3/"""

ONE_PAGE = 2_000
"""A batch of so many lines has one page; a larger one has an index and pages of `PAGE_LINES`."""
PAGE_LINES = 1_000
_SIGNS = {"right": "✓", "partly right": "◐", "wrong": "✗", "answered": "•", "no answer": "–"}


class Rows:
    """The lines of one page, as HTML. Pictures are drawn while the page has room for them."""

    def __init__(self, max_pictures: int = MAX_PICTURES, max_bytes: int = MAX_PICTURE_BYTES) -> None:
        self._rows: list[tuple[str, str, str]] = []
        self._pictures, self._bytes = max_pictures, max_bytes
        self.left_out = 0
        self.verdicts: Counter[str] = Counter()

    def add(self, line: JobLine) -> None:
        """One more line; nothing of it is here where drawing it raises."""
        row = _row(line, self._picture(line))
        self.verdicts[line.verdict] += 1
        self._rows.append((line.task_id, line.job_id, row))

    def _picture(self, line: JobLine) -> str:
        if line.task is None:
            return ""
        if self._pictures > 0 and self._bytes > 0:
            truth = line.task.test_outputs
            svg = drawing.svg_task(line.task, line.attempts, truth, title=line.task_id, styled=False)
            if len(svg) <= self._bytes:
                self._pictures -= 1
                self._bytes -= len(svg)
                return svg
        self.left_out += 1
        return ""

    @property
    def ids(self) -> tuple[str, str]:
        """The first task id and the last."""
        return (min(self._rows)[0], max(self._rows)[0]) if self._rows else ("", "")

    def html(self) -> str:
        """All rows by task id."""
        self._rows.sort()
        return "\n".join(row for _, _, row in self._rows)

    def note(self) -> str:
        if not self.left_out:
            return ""
        return f"<p class=note>{self.left_out:,} more pictures are in the results.</p>"


@dataclass(frozen=True, slots=True)
class PageLink:
    """One page of tasks, as the index tells of it."""

    number: int
    first_id: str
    last_id: str
    lines: int
    verdicts: Mapping[str, int]


def page_name(number: int) -> str:
    """`page-0001.html` for the first."""
    return f"page-{number:04}.html"


def batch_page(summary: BatchSummary, lines: Sequence[JobLine], *, max_pictures: int = MAX_PICTURES) -> str:
    """The report of a batch as one complete HTML document.

    Lines are shown by task id. Pictures beyond ``max_pictures`` are left out, and the page says so.
    """
    rows = Rows(max_pictures)
    for line in sorted(lines, key=lambda line: (line.task_id, line.job_id)):
        rows.add(line)
    return whole_page(summary, rows)


def whole_page(summary: BatchSummary, rows: Rows) -> str:
    """The report of a batch whose rows are made already."""
    return _document(
        summary.batch_id,
        f"{_header(summary)}\n{_totals(summary)}\n"
        f'{_filters(rows.verdicts)}\n<section aria-label="Tasks" class="jobs">\n{rows.html()}\n</section>\n'
        f"{rows.note()}\n",
    )


def tasks_page(batch_id: str, link: PageLink, pages: int, rows: Rows) -> str:
    """One of the pages of a large batch. It tells no time: made again, it is the same."""
    places = ['<a href="index.html">All pages</a>']
    if link.number > 1:
        places.append(f'<a rel=prev href="{page_name(link.number - 1)}">← Page {link.number - 1:,}</a>')
    if link.number < pages:
        places.append(f'<a rel=next href="{page_name(link.number + 1)}">Page {link.number + 1:,} →</a>')
    around = f'<nav class=pages aria-label="Pages">{" ".join(places)}</nav>'
    return _document(
        f"{batch_id} · page {link.number}",
        f"<header><p class=brand>arcspot</p><h1>{text(batch_id)}</h1>"
        f"<p class=note>Page {link.number:,} of {pages:,} · {link.lines:,} tasks</p></header>\n{around}\n"
        f"{_verdict_bar(link.verdicts)}\n{_filters(link.verdicts)}\n"
        f'<section aria-label="Tasks" class="jobs">\n{rows.html()}\n</section>\n{rows.note()}\n{around}\n',
    )


def index_page(summary: BatchSummary, links: Sequence[PageLink]) -> str:
    """The first page of a large batch: its totals, and where its tasks are."""
    rows = "\n".join(
        f'<li><a href="{page_name(link.number)}"><b>Page {link.number:,}</b> '
        f"<span>{text(link.first_id)} – {text(link.last_id)}</span></a>"
        f"{_segments(_by_verdict(link.verdicts))}<small>{_counted(link)}</small></li>"
        for link in links
    )
    verdicts = _verdict_bar(summary.verdicts) if summary.score else ""
    return _document(
        summary.batch_id,
        f"{_header(summary)}\n{_totals(summary)}\n{verdicts}\n<h2>Tasks</h2>\n"
        f'<ol class="index">\n{rows}\n</ol>\n<p class=note>The pages lie beside this one.</p>\n',
    )


# --- the pages' parts --------------------------------------------------------------------


def _document(title: str, main: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)} · arcspot</title>\n<style>{PAGE_STYLE}{drawing.STYLE}</style>\n"
        f"</head>\n<body>\n<main>\n{main}</main>\n</body>\n</html>\n"
    )


def _counted(link: PageLink) -> str:
    told = ", ".join(f"{link.verdicts[name]:,} {name}" for name in VERDICTS if link.verdicts.get(name))
    return f"{numbered(link.lines, 'task')}: {told}"


def _header(summary: BatchSummary) -> str:
    at = summary.generated_at.astimezone(UTC)
    state = f"{summary.open_jobs:,} still open" if summary.open_jobs else "complete"
    return (
        f"<header><p class=brand>arcspot · batch report</p><h1>{text(summary.batch_id)}</h1>"
        f'<p class=note>{state} · written <time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M} UTC</time>'
        "</p></header>"
    )


def _tiles(summary: BatchSummary) -> str:
    score, answered = summary.score, summary.answered_score
    tiles = [("Tasks", f"{summary.jobs:,}", f"{summary.counts.get('DONE', 0):,} answered")]
    if score:
        tiles.append(
            (
                "Score, two attempts",
                f"{score.pass_at_2:.1%}",
                f"{score.pass_at_1:.1%} with the first alone; of all {score.tasks:,} given with solutions",
            )
        )
    if score and answered and answered.tasks < score.tasks:
        tiles.append(
            (
                "Of those answered",
                f"{answered.pass_at_2:.1%}",
                f"{answered.pass_at_1:.1%} with the first alone; of {answered.tasks:,} with solutions",
            )
        )
    if score:
        tiles.append(("All tests right", f"{score.all_right:,}", f"of {score.tasks:,} with known solutions"))
    each = summary.cost_usd_micros // summary.jobs if summary.jobs else 0
    tiles.append(("Cost", usd(summary.cost_usd_micros), f"{usd(each)} a task"))
    tiles.append(("Time", duration(summary.seconds), "first arrival to last answer"))
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in tiles
    )
    return f"<dl class=tiles>{cells}</dl>"


def _totals(summary: BatchSummary) -> str:
    told = [(f"s-{_slug(state)}", word, count) for state, word, count in states(summary.counts)]
    notes = []
    if summary.empty_tasks:
        inputs = numbered(summary.empty_inputs, "test input")
        notes.append(
            f"submission.json has placeholders for {inputs} of {numbered(summary.empty_tasks, 'task')}."
        )
    if summary.faulty:
        notes.append(
            f"{numbered(summary.faulty, 'task')} with something that could not be read; see summary.json."
        )
    below = "".join(f"<p class=note>{note}</p>" for note in notes)
    return f"{_tiles(summary)}\n{_bar(told, 'Tasks by state')}{below}"


def _verdict_bar(verdicts: Mapping[str, int]) -> str:
    return _bar(_by_verdict(verdicts), "Tasks by verdict")


def _by_verdict(verdicts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    return [(f"b-{_dashed(name)}", name, verdicts[name]) for name in VERDICTS if verdicts.get(name)]


def _bar(told: Sequence[tuple[str, str, int]], label: str) -> str:
    """A bar and its legend, of (class, word, count)."""
    legend = "".join(f'<li><i class="{css}"></i>{text(word)} <b>{n:,}</b></li>' for css, word, n in told)
    return f'{_segments(told)}<ul class=legend aria-label="{label}">{legend}</ul>'


def _segments(told: Sequence[tuple[str, str, int]]) -> str:
    segments = "".join(f'<i class="{css}" style="flex-grow:{count}"></i>' for css, _, count in told)
    return f'<div class=bar aria-hidden="true">{segments}</div>'


def _filters(verdicts: Mapping[str, int]) -> str:
    """Radio buttons that hide rows by CSS alone; only those that would show something."""
    found = [(name, verdicts[name]) for name in VERDICTS if verdicts.get(name)]
    if len(found) < 2:
        return ""
    buttons = "".join(
        f"<label><input type=radio name=show id=show-{_dashed(name)}"
        f"{' checked' if name == 'all' else ''}>"
        f"<span>{name} <b>{count:,}</b></span></label>"
        for name, count in (("all", sum(count for _, count in found)), *found)
    )
    return f"<fieldset class=filters><legend>Show</legend>{buttons}</fieldset>"


def _row(line: JobLine, svg: str) -> str:
    verdict = line.verdict
    word = verdict
    if verdict in ("answered", "no answer"):
        word = (
            STATE_WORDS.get(line.state, line.state.lower())
            if verdict == "answered" or not line.fault
            else verdict
        )
    facts = [duration(line.seconds)] if line.seconds is not None else []
    facts += [usd(line.cost_usd_micros)] if line.cost_usd_micros else []
    facts += [text(line.device)] if line.device else []
    facts += [f"by {text(line.by)}"] if line.by else []
    facts += [text(line.note)] if line.note else []
    head = (
        f'<span class=sign aria-hidden="true">{_SIGNS[verdict]}</span>'
        f"<span class=name>{text(line.task_id)}</span><span class=verdict>{text(word)}</span>"
        f"<span class=facts>{' · '.join(facts)}</span>"
    )
    reasons = [line.reason, line.fault]
    reason = "".join(f"<p class=reason>{text(words)}</p>" for words in reasons if words)
    small = f"<p class=note>job <code>{text(line.job_id)}</code></p>" if line.job_id else ""
    drawn = ""
    if svg:
        label = f"Picture of {text(line.task_id)}"
        drawn = f'<div class=picture tabindex=0 role=group aria-label="{label}">{svg}</div>'
    opened = " open" if reason and not drawn else ""
    css = f"job v-{_dashed(verdict)}"
    return f'<details class="{css}"{opened}><summary>{head}</summary>{reason}{drawn}{small}</details>'


def _dashed(name: str) -> str:
    return name.replace(" ", "-")


def _slug(state: str) -> str:
    return state.lower() if state in STATE_ORDER else "other"

"""The report and the mail: complete, self-contained, the same every time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser

import pytest

from arcspot.domain.report_pages import PageLink, Rows, index_page, page_name, tasks_page
from arcspot.domain.reporting import (
    BatchSummary,
    JobLine,
    answered_by,
    batch_mail,
    batch_page,
    duration,
    summarise,
    usd,
)
from arcspot.domain.scoring import Score
from arcspot.domain.tasks import Task

AT = datetime(2026, 11, 23, 14, 5, tzinfo=UTC)
TASK = Task("rotate", ((((1, 2),), ((2, 1),)),), (((3, 4),),), (((4, 3),),))
RIGHT = JobLine(
    "rotate", "a" * 24, "DONE", "", 12.34, 1_500, "Tesla T4", ((((4, 3),), ((3, 4),)),), TASK, Score(1, 1, 1)
)
WRONG = replace(RIGHT, task_id="mirror", job_id="b" * 24, score=Score(1, 0, 0))
PARTLY = replace(RIGHT, task_id="both", job_id="c" * 24, score=Score(2, 1, 1))
REFUSED = JobLine("broken", "", "REJECTED", "x.json: at $ expected a JSON object; found <nothing> & more.")
WAITING = JobLine("later", "d" * 24, "READY", task=TASK)
ALL = (RIGHT, WRONG, PARTLY, REFUSED, WAITING)


def summary(lines: Sequence[JobLine] = ALL, batch_id: str = "batch-1") -> BatchSummary:
    return summarise(batch_id, lines, seconds=65, generated_at=AT)


class Outline(HTMLParser):
    """Checks that tags close in order, and collects visible text and attributes."""

    VOID = frozenset({"meta", "input", "br", "link", "img"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.stack:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_summary_adds_up_what_the_lines_say() -> None:
    result = summary()
    assert result.counts == {"DONE": 3, "REJECTED": 1, "READY": 1}
    assert (result.jobs, result.open_jobs, result.cost_usd_micros) == (5, 1, 4_500)
    assert result.score is not None
    assert (result.score.tasks, result.score.all_right, result.score.pass_at_2) == (3, 1, 0.5)
    assert summary([WAITING]).score is None


def test_the_page_is_well_formed_and_tells_every_job() -> None:
    page = Outline(batch_page(summary(), ALL))
    assert page.stack == []
    for line in ALL:
        assert line.task_id in page.text
        assert line.job_id in page.text
    for said in (
        "batch-1",
        "50.0%",
        "$0.0045",
        "1 min 05 s",
        "12.3 s",
        "Tesla T4",
        "1 still open",
        "14:05 UTC",
    ):
        assert said in page.text, said
    assert "found <nothing> & more." in page.text


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    page = batch_page(summary(), ALL)
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}
    assert not {tag for tag, _ in Outline(page).tags} & {"script", "link", "img", "iframe", "object"}
    assert "@import" not in page
    assert "url(" not in page


def test_foreign_text_stays_text() -> None:
    evil = '"><script>alert(1)</script>'
    line = replace(RIGHT, task_id=evil, job_id=evil, reason=evil, device=evil, state=evil)
    page = Outline(batch_page(summary([line], evil), [line]))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.stack == []


def test_the_same_lines_in_any_order_give_the_same_bytes() -> None:
    assert batch_page(summary(), ALL) == batch_page(summary(ALL[::-1]), ALL[::-1])


def test_pictures_beyond_the_limit_are_counted_not_drawn() -> None:
    many = [replace(RIGHT, task_id=f"t{number:03}") for number in range(7)]
    page = batch_page(summary(many), many, max_pictures=4)
    assert page.count("<svg") == 4
    assert "3 more pictures" in page
    assert "more pictures" not in batch_page(summary(many), many)


def test_there_is_a_filter_for_each_verdict_that_occurs_and_none_where_all_agree() -> None:
    inputs = [attrs["id"] for tag, attrs in Outline(batch_page(summary(), ALL)).tags if tag == "input"]
    assert inputs == ["show-all", "show-right", "show-partly-right", "show-wrong", "show-no-answer"]
    assert "<fieldset" not in batch_page(summary([RIGHT]), [RIGHT])


def test_every_filter_has_its_rule_in_the_style_sheet() -> None:
    page = batch_page(summary(), ALL)
    for verdict in ("right", "partly-right", "wrong", "answered", "no-answer"):
        assert f"body:has(#show-{verdict}:checked) .job:not(.v-{verdict})" in page


def test_an_empty_batch_is_a_page_too() -> None:
    page = Outline(batch_page(summary([]), []))
    assert page.stack == []
    assert "complete" in page.text


def test_the_time_is_told_in_utc_whatever_zone_it_came_in() -> None:
    there = replace(summary(), generated_at=AT.astimezone(timezone(timedelta(hours=5))))
    assert batch_page(there, ALL) == batch_page(summary(), ALL)


def test_the_mail_says_result_cost_time_and_place() -> None:
    subject, body = batch_mail(summary(), page="s3://b/reports/batch-1.html")
    assert subject == "arcspot: batch batch-1: 1 of 3 right, $0.0045"
    for said in (
        "answered  3",
        "rejected  1",
        "$0.0045",
        "1 min 05 s",
        "50.0%",
        "s3://b/reports/batch-1.html",
    ):
        assert said in body, said


@pytest.mark.parametrize("batch_id", ["x" * 500, "größe 漢字\n\x1b[31m", ""])
def test_the_subject_is_one_sns_accepts_whatever_the_batch_is_called(batch_id: str) -> None:
    subject, _ = batch_mail(replace(summary(), batch_id=batch_id, cost_usd_micros=10**13))
    assert subject.isascii()
    assert subject.isprintable()
    assert len(subject) < 100
    assert subject.endswith("1 of 3 right, $10,000,000.00")


def test_a_mail_without_known_solutions_claims_no_score() -> None:
    subject, body = batch_mail(summary([replace(RIGHT, score=None)]))
    assert "1 answered" in subject
    assert "score" not in body


def test_money_and_time_are_written_for_people() -> None:
    assert [usd(0), usd(1_234), usd(999_999), usd(1_130_000)] == ["$0.0000", "$0.0012", "$1.0000", "$1.13"]
    assert [duration(s) for s in (0, 59.94, 59.96, 185, 7_620)] == [
        "0.0 s",
        "59.9 s",
        "1 min 00 s",
        "3 min 05 s",
        "2 h 07 min",
    ]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"hypothesis": "rules", "rules": 4}, "rules"),
        ({"hypothesis": "pointer"}, "pointer"),
        ({"hypothesis": "exchangeable", "rules": 0}, "network"),
        ({"hypothesis": "specific", "rules": 2}, "network beside rules"),
        ({"hypothesis": "<img>"}, "network"),
        ({"device": "fake"}, ""),
        ({"hypothesis": 7}, ""),
    ],
)
def test_a_job_is_answered_by_rules_or_by_what_was_trained(told: dict[str, object], words: str) -> None:
    assert answered_by(told) == words


def test_the_page_says_who_answered_where_that_is_known() -> None:
    page = batch_page(summary(), [replace(RIGHT, by="network beside rules"), WRONG])
    assert page.count("Tesla T4 · by network beside rules<") == 1
    assert page.count("Tesla T4<") == 1


EVIL = '"><script>alert(1)</script>'


def paged(lines: Sequence[JobLine] = ALL, batch_id: str = "batch-1") -> tuple[str, list[str]]:
    """An index and its pages, of one line each."""
    links, pages = [], []
    for number, line in enumerate(lines, start=1):
        rows = Rows()
        rows.add(line)
        links.append(PageLink(number, *rows.ids, 1, dict(rows.verdicts)))
        pages.append(tasks_page(batch_id, links[-1], len(lines), rows))
    return index_page(summary(lines, batch_id), links), pages


def test_an_index_leads_to_every_page_and_each_page_to_its_neighbours() -> None:
    index, pages = paged()
    assert re.findall(r'href="(page-\d{4}\.html)"', index) == [page_name(n) for n in range(1, len(ALL) + 1)]
    for number, page in enumerate(pages, start=1):
        ends = {number - 1, number + 1} & set(range(1, len(ALL) + 1))
        assert set(re.findall(r'href="([^"]*)"', page)) == {"index.html", *map(page_name, ends)}
        assert Outline(page).stack == []
        assert ALL[number - 1].task_id in Outline(page).text
    assert Outline(index).stack == []
    assert "50.0%" in Outline(index).text


def test_foreign_text_stays_text_on_every_page() -> None:
    line = replace(RIGHT, task_id=EVIL, job_id=EVIL, reason=EVIL, note=EVIL, fault=EVIL)
    for page in (lambda index, pages: [index, *pages])(*paged([line, WRONG], EVIL)):
        assert "script" not in {tag for tag, _ in Outline(page).tags}
        assert Outline(page).stack == []


def test_pictures_stop_where_a_page_would_grow_too_large() -> None:
    size = len(batch_page(summary([RIGHT]), [RIGHT]))
    rows = Rows(max_bytes=size // 3)
    for n in range(50):
        rows.add(replace(RIGHT, task_id=f"t{n:02}"))
    assert 0 < rows.html().count("<svg") < 50
    assert rows.left_out == 50 - rows.html().count("<svg")
    assert f"{rows.left_out} more pictures" in rows.note()


def test_both_scores_are_told_only_where_they_differ() -> None:
    unanswered = replace(RIGHT, task_id="none", state="DEAD", attempts=(), score=Score(1, 0, 0))
    assert "Of those answered" not in batch_page(summary([RIGHT]), [RIGHT])
    page = Outline(batch_page(summary([RIGHT, unanswered]), [RIGHT, unanswered])).text
    assert "of all 2 given with solutions" in page
    assert "of 1 with solutions" in page

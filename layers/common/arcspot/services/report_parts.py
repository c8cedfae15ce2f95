"""A report of any size, made page by page: what was made stays, and the next call goes on behind it.

A batch that fits one page is made in memory. A larger one leaves `parts/NNNN.json` beside each page:
what the page came to, and by a digest what it was made of. A part whose digest is still true is not
made again, so that a report that was cut off anywhere ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from arcspot.domain import documents
from arcspot.domain.report_pages import ONE_PAGE, PAGE_LINES, PageLink, Rows, page_name, tasks_page
from arcspot.domain.tallying import JobLine, Tally, submitted_pairs
from arcspot.ports import Fetched, Objects
from arcspot.services.contents import Place, Plan, Read, Refusal
from arcspot.services.report_lines import lines, refused_line, untold

FRAGMENT_BYTES = 8 * 1024 * 1024
HTML, JSON = "text/html; charset=utf-8", "application/json"
# A part that another release made is made again.
FORM = "1"
AT_ONCE = 4
MOST_PIECES = 1_000


@dataclass(frozen=True, slots=True)
class Page:
    """What belongs on one page."""

    number: int
    places: tuple[Place, ...]
    refused: tuple[Refusal, ...]


@dataclass(slots=True)
class Part:
    """What a page came to. Of its share of the submission
    `stored` pieces are in the bucket; `rest` is here.
    """

    number: int
    mark: str
    tally: Tally
    link: PageLink
    stored: int = 0
    rest: bytes = b""
    rows: Rows | None = field(default=None, repr=False)

    def to_json(self) -> bytes:
        data = {
            "mark": self.mark,
            "tally": self.tally.to_json(),
            "link": {**asdict(self.link), "verdicts": dict(self.link.verdicts)},
            "stored": self.stored,
        }
        return json.dumps(data).encode()


def pages_of(plan: Plan) -> list[Page]:
    """All on one page, or so many on each."""
    total = len(plan.places) + len(plan.refused)
    size = total if total <= ONE_PAGE else PAGE_LINES
    cuts = range(0, total, max(1, size))
    count = len(plan.places)
    return [
        Page(
            number,
            plan.places[start : start + size],
            plan.refused[max(0, start - count) : max(0, start + size - count)],
        )
        for number, start in enumerate(cuts, start=1)
    ]


def mark_of(page: Page, read: Read) -> str:
    """A digest of all that a page is made of, but for objects: those of a version never change."""
    digest = hashlib.sha256(FORM.encode())
    for place in page.places:
        job = read.jobs.get(place.job_id)
        told = (*_told(place), job.version if job else str(read.unread.get(place.job_id, "")))
        digest.update(json.dumps(told).encode())
    for refusal in page.refused:
        digest.update(json.dumps((refusal.key, refusal.reason)).encode())
    return digest.hexdigest()[:32]


def _told(place: Place) -> tuple[object, ...]:
    return (
        place.task_id,
        place.job_id,
        place.key,
        place.object_version,
        place.first,
        place.twin,
        place.latest,
    )


class Maker:
    """Makes the parts of one batch's report."""

    def __init__(self, objects: Objects, batch_id: str, folder: str, *, pages: int, patient: bool) -> None:
        self._objects, self._batch_id, self._folder = objects, batch_id, folder
        self._pages, self._patient = pages, patient

    def known(self, numbers: Sequence[int]) -> dict[int, Part]:
        """The parts that are in the bucket already; one that cannot be read is none."""
        wanted = [(f"{self._folder}parts/{number:04}.json", None) for number in numbers]
        bodies = zip(numbers, self._objects.fetch_many(wanted) if wanted else (), strict=True)
        found = ((number, _part(number, body)) for number, body in bodies if isinstance(body, Fetched))
        return {number: part for number, part in found if part is not None}

    def make(self, page: Page, read: Read) -> Part:
        """Read, score and draw what belongs on a page; with several pages, keep it in the bucket."""
        rows, tally, share = Rows(), Tally(), _Share(self._objects, f"{self._folder}parts/{page.number:04}")
        for line in self._lines(page, read):
            shown = self._shown(rows, line)
            tally.add(shown)
            share.add(shown)
        first, last = rows.ids
        link = PageLink(page.number, first, last, tally.lines, dict(tally.verdicts))
        part = Part(page.number, mark_of(page, read), tally, link, share.stored, share.rest, rows)
        return self._kept(part, rows, share) if self._pages > 1 else part

    def _shown(self, rows: Rows, line: JobLine) -> JobLine:
        """The line as it is in the rows now: one that cannot be drawn is told without what it brought."""
        try:
            rows.add(line)
        except Exception as fault:
            if self._patient:
                raise
            line = untold(line, fault)
            rows.add(line)
        return line

    def _lines(self, page: Page, read: Read) -> Iterator[JobLine]:
        yield from lines(self._objects, self._batch_id, page.places, read, patient=self._patient)
        yield from map(refused_line, page.refused)

    def _kept(self, part: Part, rows: Rows, share: _Share) -> Part:
        share.flush()
        html = tasks_page(self._batch_id, part.link, self._pages, rows).encode()
        self._objects.write(self._folder + page_name(part.number), html, content_type=HTML)
        part.stored, part.rest, part.rows = share.stored, b"", None
        # Last: where this is, the rest is.
        key = f"{self._folder}parts/{part.number:04}.json"
        self._objects.write(key, part.to_json(), content_type=JSON)
        return part

    def submission(self, parts: Sequence[Part]) -> None:
        """Write `submission.json`: every id with a pair for each test input."""
        key = self._folder + "submission.json"
        self._objects.write_parts(key, _joined(self._shares(parts)), content_type=JSON)

    def _shares(self, parts: Sequence[Part]) -> Iterator[bytes]:
        for part in parts:
            keys = [f"{self._folder}parts/{part.number:04}-{piece:03}.json" for piece in range(part.stored)]
            for start in range(0, len(keys), AT_ONCE):
                for body in self._objects.fetch_many([(key, None) for key in keys[start : start + AT_ONCE]]):
                    if isinstance(body, Exception):
                        raise body
                    yield body.body
            yield part.rest


class _Share:
    """A page's share of the submission: entries, in pieces that leave memory when they are large."""

    def __init__(self, objects: Objects, name: str) -> None:
        self._objects, self._name = objects, name
        self._entries: list[str] = []
        self._size = 0
        self.stored = 0

    def add(self, line: JobLine) -> None:
        if not line.submitted:
            return
        entry = f"{json.dumps(line.task_id)}: {json.dumps(submitted_pairs(line)[0], separators=(',', ':'))}"
        self._entries.append(entry)
        self._size += len(entry)
        if self._size >= FRAGMENT_BYTES:
            self.flush()

    @property
    def rest(self) -> bytes:
        return ",\n".join(self._entries).encode()

    def flush(self) -> None:
        if self._entries:
            key = f"{self._name}-{self.stored:03}.json"
            self._objects.write(key, self.rest, content_type=JSON)
            self.stored += 1
            self._entries, self._size = [], 0


def _joined(shares: Iterable[bytes]) -> Iterator[bytes]:
    """One JSON object of the entries of all shares."""
    yield b"{"
    between = b""
    for share in shares:
        if share:
            yield between + share
            between = b",\n"
    yield b"}\n"


def _part(number: int, body: Fetched) -> Part | None:
    try:
        told = documents.read(_Told, body.body)
        tally = Tally.from_json(told.tally)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
        return None  # another release's, or damaged: it is made again
    if told.link.number != number or not 0 <= told.stored <= MOST_PIECES:
        return None
    return Part(number, told.mark, tally, told.link, told.stored)


@dataclass(frozen=True, slots=True)
class _Told:
    """What `parts/NNNN.json` holds."""

    mark: str
    tally: dict[str, Any]
    link: PageLink
    stored: int

"""What a run tells of itself: its log, read; and how it stands, in words."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .generations import LEAST, MILLION, Generation

State = Literal["none", "running", "paused", "ended", "crashed"]

REPORT = re.compile(
    r"^step \d+ samples (?P<samples>\d+) loss (?P<loss>\S+) .*"
    r"samples/s (?P<pace>\S+) .*seconds (?P<elapsed>\d+)/(?P<whole>\d+)$",
    re.MULTILINE,
)
TAIL_LINES = 8

REPORT_S = 300.0
"""Seconds of training between two reports."""


@dataclass(frozen=True, slots=True)
class Report:
    """One line of a run's log. samples: since the run's own beginning, not its ancestors'."""

    samples: int
    loss: float
    pace: float
    elapsed: float
    whole: float


def last_report(log: str) -> Report | None:
    found = list(REPORT.finditer(log))
    if not found:
        return None
    read = found[-1].groupdict()
    return Report(
        int(read["samples"]),
        float(read["loss"]),
        float(read["pace"]),
        float(read["elapsed"]),
        float(read["whole"]),
    )


def last_card(log: str) -> dict[str, Any] | None:
    """The card that a run prints as its last words; None where it ended without them: it crashed."""
    try:
        card, _ = json.JSONDecoder().raw_decode(log, log.rfind("\n{\n") + 1)
    except (ValueError, RecursionError):
        return None
    return card if isinstance(card, dict) else None


def tail(log: str) -> list[str]:
    return [line for line in log.splitlines() if line.strip()][-TAIL_LINES:]


@dataclass(frozen=True, slots=True)
class Standing:
    """samples_seen: in all; gained: since the newest generation; seconds_left: of the training, about."""

    state: State
    pid: int | None
    samples_seen: int
    gained: int
    samples_per_second: float | None
    loss: float | None
    seconds_left: int | None
    newest: str | None
    newest_seen: int
    keep_due: bool
    log_tail: list[str]

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


def standing(
    state: State,
    *,
    pid: int | None,
    began_with: int,
    counts_from: int,
    log: str,
    log_age_s: float,
    seconds: float,
    kept: int,
    latest: Generation | None,
) -> Standing:
    """How a run stands.

    began_with: samples seen in all when this call began; counts_from: those that its `samples` leave out (its
    ancestors'); log_age_s: since the last line of its log; seconds: the training that it was begun with;
    kept: samples seen by the stable checkpoint that it wrote last. Once it has ended only those count: what
    it saw in its decay is gone.
    """
    report = last_report(log)
    seen = began_with if report is None else counts_from + report.samples
    if state in ("ended", "crashed"):
        seen = max(began_with, kept)
    newest_seen = latest.seen if latest else 0
    left = None
    if state in ("running", "paused"):
        since = min(log_age_s, REPORT_S)  # more of it was a pause, which does not count
        left = max(0, round((report.whole - report.elapsed if report else seconds) - since))
    return Standing(
        state=state,
        pid=pid,
        samples_seen=seen,
        gained=max(0, seen - newest_seen),
        samples_per_second=report.pace if report else None,
        loss=report.loss if report else None,
        seconds_left=left,
        newest=latest.stable.name if latest else None,
        newest_seen=newest_seen,
        keep_due=seen - newest_seen >= MILLION,
        log_tail=tail(log),
    )


def in_words(now: Standing, *, log: str) -> list[str]:
    """A few lines for a person, the last of them the next step."""
    head = {
        "none": "nothing runs, and no run was begun here",
        "running": f"running, process {now.pid}",
        "paused": f"paused, process {now.pid}",
        "ended": "ended",
        "crashed": f"ended without its card: it crashed or was killed; the end of {log}:",
    }[now.state]
    lines = [head]
    if now.state == "crashed":
        lines += [f"    {line}" for line in now.log_tail]
    lines.append(f"{now.samples_seen:,} samples seen, {now.gained:,} since {now.newest or 'the beginning'}")
    if now.samples_per_second is not None:
        lines.append(f"{now.samples_per_second:.0f} samples/s, loss {now.loss}")
    elif now.state in ("running", "paused"):
        lines.append("no report yet")
    if now.seconds_left is not None:
        lines.append(f"about {now.seconds_left} s left")
    return [*lines, _next(now, log)]


def _next(now: Standing, log: str) -> str:
    if now.keep_due:
        return "a million samples have passed: make pretrain keep, then commit it"
    return {
        "none": "make pretrain DATA=dir begins",
        "running": "make pretrain pause holds it still; make pretrain keep ends it and takes in what it has",
        "paused": "make pretrain resume lets it go on",
        "ended": "make pretrain goes on"
        + ("; make pretrain keep takes what it has into the lineage" if now.gained >= LEAST else ""),
        "crashed": f"mend what {log} tells, then make pretrain goes on from what was kept last",
    }[now.state]

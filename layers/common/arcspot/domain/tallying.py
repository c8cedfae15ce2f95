"""What became of a batch's tasks, as facts that add up: a line for each task, and a tally of many lines.

A large batch is reported in parts, so nothing here needs all of its lines at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from arcspot.domain import documents
from arcspot.domain.scoring import Attempts, BatchScore, Score, placeholder
from arcspot.domain.tasks import Task

MAX_FAULTS = 100
"""So many faults are told one by one; all are counted."""
VERDICTS = ("right", "partly right", "wrong", "answered", "no answer")


@dataclass(frozen=True, slots=True)
class JobLine:
    """What the report says of one task.

    ``state`` is a JobState's value, or EXPIRED where the job's row is gone; ``seconds`` is run time over all
    tries; ``by`` says who answered; ``attempts`` has a pair per test input, or nothing without an answer;
    ``task`` is None when the picture is not wanted or the file could not be read; ``score`` is None when the
    solution is not known; a task without an answer whose solution is known has a score of 0. ``note`` is
    shown beside the figures; ``fault`` says what could not be read; ``submitted``: its answer is the one in
    the submission file.
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
    note: str = ""
    fault: str = ""
    submitted: bool = True

    @property
    def answered(self) -> bool:
        """Whether there is an answer that can be used."""
        return self.state == "DONE" and bool(self.attempts or not self.fault)

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if not self.answered:
            return "no answer"
        if self.score is None:
            return "answered"
        if self.score.all_right:
            return "right"
        return "partly right" if self.score.right_at_2 else "wrong"


def answered_by(summary: Mapping[str, object]) -> str:
    """Rules, or what was trained, from the runner's figures of a job; nothing where they do not tell."""
    name = summary.get("hypothesis")
    if not isinstance(name, str) or not name:
        return ""
    if name in ("rules", "pointer", "spreader"):
        return name
    return "network beside rules" if summary.get("rules") else "network"


def submitted_pairs(line: JobLine) -> tuple[list[dict[str, Any]], int]:
    """A line's entry in the submission file, and how many of its test inputs have a placeholder.

    A pair for each test input; where nobody knows how many there are, as many as were answered, or one.
    """
    tests = len(line.task.test_inputs) if line.task else max(1, len(line.attempts))
    pairs: list[dict[str, Any]] = [{"attempt_1": one, "attempt_2": two} for one, two in line.attempts[:tests]]
    missing = tests - len(pairs)
    return pairs + placeholder(missing), missing


Scores = Counter[tuple[int, int, int]]
"""How many tasks have so many (test inputs, right at the first attempt, right at either)."""


@dataclass(slots=True)
class Tally:
    """Lines in numbers. Tallies of parts add up to the tally of the whole, in any order."""

    counts: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    scores: Scores = field(default_factory=Counter)
    answered: Scores = field(default_factory=Counter)
    cost_usd_micros: int = 0
    empty_tasks: int = 0
    empty_inputs: int = 0
    faults: list[dict[str, str]] = field(default_factory=list)
    faulty: int = 0

    @property
    def lines(self) -> int:
        return self.counts.total()

    def add(self, line: JobLine) -> None:
        """Count one more line."""
        self.counts[line.state] += 1
        self.verdicts[line.verdict] += 1
        self.cost_usd_micros += line.cost_usd_micros
        if line.score is not None:
            self._scored(line, line.score)
        if line.submitted and line.state != "REJECTED":
            missing = submitted_pairs(line)[1]
            self.empty_inputs += missing
            self.empty_tasks += missing > 0
        if line.fault:
            self.faulty += 1
            told = {"task_id": line.task_id, "job_id": line.job_id, "why": line.fault}
            self.faults = [*self.faults, told][:MAX_FAULTS]

    def _scored(self, line: JobLine, score: Score) -> None:
        each = (score.tests, score.right_at_1, score.right_at_2)
        self.scores[each] += 1
        if line.answered:
            self.answered[each] += 1

    def merge(self, other: Tally) -> None:
        """Count another part's lines too."""
        for name in ("counts", "verdicts", "scores", "answered"):
            getattr(self, name).update(getattr(other, name))
        self.cost_usd_micros += other.cost_usd_micros
        self.empty_tasks += other.empty_tasks
        self.empty_inputs += other.empty_inputs
        self.faults = [*self.faults, *other.faults][:MAX_FAULTS]
        self.faulty += other.faulty

    def to_json(self) -> dict[str, Any]:
        """As plain data; `from_json` reads it."""
        return {
            "counts": dict(sorted(self.counts.items())),
            "verdicts": dict(sorted(self.verdicts.items())),
            "scores": [[*each, n] for each, n in sorted(self.scores.items())],
            "answered": [[*each, n] for each, n in sorted(self.answered.items())],
            "cost_usd_micros": self.cost_usd_micros,
            "empty": [self.empty_tasks, self.empty_inputs],
            "faults": self.faults,
            "faulty": self.faulty,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tally:
        """Raises Unfit for what `to_json` never gives."""
        told = documents.fitting(_Told, dict(data))
        if not all(
            0 <= one <= two <= tests and tests for tests, one, two, _ in (*told.scores, *told.answered)
        ):
            raise documents.Unfit("at $.scores expected at most so many right as there are test inputs")
        return cls(
            counts=Counter(told.counts),
            verdicts=Counter(told.verdicts),
            scores=Counter({(a, b, c): n for a, b, c, n in told.scores}),
            answered=Counter({(a, b, c): n for a, b, c, n in told.answered}),
            cost_usd_micros=told.cost_usd_micros,
            empty_tasks=told.empty[0],
            empty_inputs=told.empty[1],
            faults=[dict(fault) for fault in told.faults],
            faulty=told.faulty,
        )


@dataclass(frozen=True, slots=True)
class _Told:
    """A tally as plain data."""

    counts: dict[str, int]
    verdicts: dict[str, int]
    scores: list[tuple[int, int, int, int]]
    answered: list[tuple[int, int, int, int]]
    cost_usd_micros: int
    empty: tuple[int, int]
    faults: list[dict[str, str]]
    faulty: int


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """The batch in a few numbers. ``seconds`` is from the first task's arrival to the last answer.

    ``score`` is over all tasks given whose solutions are known, ``answered_score`` over those of them that
    have an answer. ``empty_tasks`` have a placeholder for ``empty_inputs`` test inputs in the submission.
    """

    batch_id: str
    counts: Mapping[str, int]
    cost_usd_micros: int
    seconds: float
    generated_at: datetime
    score: BatchScore | None = None
    answered_score: BatchScore | None = None
    empty_tasks: int = 0
    empty_inputs: int = 0
    faults: tuple[Mapping[str, str], ...] = ()
    faulty: int = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)

    @property
    def jobs(self) -> int:
        return sum(self.counts.values())

    @property
    def open_jobs(self) -> int:
        """Jobs still waiting or running."""
        return self.counts.get("READY", 0) + self.counts.get("LEASED", 0)


def summary_of(tally: Tally, batch_id: str, *, seconds: float, generated_at: datetime) -> BatchSummary:
    """The summary that follows from a tally."""
    return BatchSummary(
        batch_id=batch_id,
        counts=tally.counts,
        cost_usd_micros=tally.cost_usd_micros,
        seconds=seconds,
        generated_at=generated_at,
        score=mean(tally.scores),
        answered_score=mean(tally.answered),
        empty_tasks=tally.empty_tasks,
        empty_inputs=tally.empty_inputs,
        faults=tuple(tally.faults),
        faulty=tally.faulty,
        verdicts=tally.verdicts,
    )


def summarise(
    batch_id: str, lines: Iterable[JobLine], *, seconds: float, generated_at: datetime
) -> BatchSummary:
    """The summary that follows from the lines. Only lines with a score count towards the score."""
    tally = Tally()
    for line in lines:
        tally.add(line)
    return summary_of(tally, batch_id, seconds=seconds, generated_at=generated_at)


def mean(scores: Scores) -> BatchScore | None:
    """The mean over tasks, each task weighing the same; None for no tasks."""
    tasks = scores.total()
    if not tasks:
        return None
    each = sorted(scores.items())
    return BatchScore(
        tasks=tasks,
        all_right=sum(n for (tests, _, right), n in each if right == tests),
        pass_at_1=sum(n * right / tests for (tests, right, _), n in each) / tasks,
        pass_at_2=sum(n * right / tests for (tests, _, right), n in each) / tasks,
    )


def plain(summary: BatchSummary) -> dict[str, object]:
    """What `summary.json` holds."""
    score, answered = summary.score, summary.answered_score
    return {
        "batch_id": summary.batch_id,
        "counts": dict(summary.counts),
        "cost_usd_micros": summary.cost_usd_micros,
        "seconds": round(summary.seconds, 1),
        "generated_at": summary.generated_at.isoformat(),
        "pass_at_2": score.pass_at_2 if score else None,
        "pass_at_1": score.pass_at_1 if score else None,
        "scored_tasks": score.tasks if score else 0,
        "pass_at_2_of_answered": answered.pass_at_2 if answered else None,
        "pass_at_1_of_answered": answered.pass_at_1 if answered else None,
        "scored_answered_tasks": answered.tasks if answered else 0,
        "placeholder_tasks": summary.empty_tasks,
        "placeholder_test_inputs": summary.empty_inputs,
        "faulty": summary.faulty,
        "faults": [dict(fault) for fault in summary.faults],
    }

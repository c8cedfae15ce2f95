"""Judge answers: what one task scored, and what a set of tasks did. Definitions: docs/solver.md."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from arcspot.domain import documents, scoring, tasks
from arcspot.domain.budget import FALLBACK_ON_DEMAND_USD_MICROS, share_usd_micros
from arcspot.domain.faults import Refused
from arcspot.domain.scoring import GridLike, as_grid
from arcspot.domain.tasks import Task
from arcspot.errors import AnswerRefused
from arcspot_cli.evaluation import crediting
from arcspot_cli.evaluation.asking import Answer, Failed

T4_FLOPS_PER_SECOND = 65e12
"""Peak of its fp16 tensor cores (NVIDIA T4 data sheet, 2019)."""
T4_UTILISATION = 0.20
"""Assumed: small networks in small batches keep a card this busy. Nobody has measured it."""
T4_INSTANCE = "g4dn.xlarge"
SPOT_SHARE = 3
"""Assumed: a spot hour costs a third of an on-demand hour (docs/cost.md)."""
DISK_GB = 75


@dataclass(frozen=True, slots=True)
class Result:
    """One task's answers and what they are worth.

    Shares of test inputs are 0..1, and None where a test's output is not known; `confidence` is that of the
    least sure test input, None where there is no answer. `small_seconds` are those of `seconds` in which
    small hypotheses were looked for, on the CPU. `votes` has the best candidates of each test input.
    `attempts_by` says who proposed each attempt, `solved_by` whose right attempts answered which share of the
    test inputs (`crediting`). `peak_mib` is the most memory the solving process had had by then.
    """

    id: str
    digest: str
    score: float | None
    pass_at_1: float | None
    all_right: bool | None
    oracle: float | None
    sizes_right: float | None
    demo_fit: float | None
    seconds: float
    confidence: float | None
    small_seconds: float = 0.0
    peak_mib: int = 0
    confidences: list[float] = field(default_factory=list)
    hypothesis: str = ""
    stopped_by: str = ""
    steps: int = 0
    samples: int = 0
    flops: int = 0
    t4_seconds: float = 0.0
    t4_usd_micros: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    nearest_pretraining_tasks: list[tuple[str, float]] = field(default_factory=list)
    work: dict[str, Any] = field(default_factory=dict)
    second_seed: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    attempts: list[dict[str, list[list[int]]]] = field(default_factory=list)
    votes: list[list[dict[str, Any]]] = field(default_factory=list)
    loss_curve: list[tuple[float, float]] = field(default_factory=list)
    attempts_by: list[dict[str, list[str]]] = field(default_factory=list)
    solved_by: dict[str, float] = field(default_factory=dict)

    @property
    def pairs(self) -> tuple[scoring.Attempts, ...]:
        return scoring.read_prediction(self.attempts) if self.attempts else ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """Raises Unfit where a field is missing, unknown, or of another type; and for grids that are none."""
        found: Result = documents.fitting(cls, data)
        try:
            _ = found.pairs
            for n, ballot in enumerate(found.votes):
                for place, candidate in enumerate(ballot):
                    tasks.grid_at(f"$.votes[{n}][{place}].grid", candidate.get("grid"))
                    documents.fitting(float, candidate.get("share", 0.0), f"$.votes[{n}][{place}].share")
        except AnswerRefused as fault:
            raise documents.Unfit(f"at $.attempts: {fault}") from fault
        except Refused as fault:
            told = fault.fault
            raise documents.Unfit(f"at {told.path} expected {told.expected}; found {told.found}") from fault
        return found


def digest(task: Task) -> str:
    """Names a task by its content, known outputs included, whatever its id."""
    whole = [tasks.canonical(task).decode(), repr(task.test_outputs)]
    return hashlib.sha256("\n".join(whole).encode()).hexdigest()[:24]


def judge(task: Task, answer: Answer) -> Result:
    """What the answer is worth. The solver has never seen `task` itself, only its copy without outputs."""
    metrics, truths = answer.metrics, task.test_outputs
    scored = scoring.score_task(task, answer.attempts)
    votes = [list(found) for found in metrics.get("votes", [])]
    confidences = [float(sure) for sure in metrics.get("confidence", [])]
    attempts_by = [dict(each) for each in metrics.get("attempts_by", [])]
    flops, small = int(metrics.get("flops", 0)), float(metrics.get("small_seconds", 0.0))
    return Result(
        id=task.task_id,
        digest=digest(task),
        score=None if scored is None else scored.pass_at_2,
        pass_at_1=None if scored is None else scored.pass_at_1,
        all_right=None if scored is None else scored.all_right,
        oracle=None if truths is None else _oracle(answer.attempts, votes, truths),
        sizes_right=None if truths is None else _sizes_right(answer.attempts, truths),
        demo_fit=metrics.get("demo_fit"),
        seconds=answer.seconds,
        small_seconds=small,
        peak_mib=answer.peak_mib,
        confidence=min(confidences, default=None),
        confidences=confidences,
        hypothesis=str(metrics.get("hypothesis", "")),
        stopped_by=str(metrics.get("stopped_by", "")),
        steps=int(metrics.get("steps", 0)),
        samples=int(metrics.get("samples", 0)),
        flops=flops,
        t4_seconds=round(t4_seconds(flops), 4),
        t4_usd_micros=t4_usd_micros(flops, small_seconds=small),
        rejected=list(metrics.get("rejected", [])),
        nearest_pretraining_tasks=[(name, far) for name, far in metrics.get("nearest_pretraining_tasks", [])],
        work=dict(metrics.get("work", {})),
        second_seed=dict(metrics.get("second_seed") or {}),
        attempts=scoring.write_prediction(answer.attempts),
        votes=votes,
        loss_curve=[(step, loss) for step, loss in metrics.get("loss_curve", [])],
        attempts_by=attempts_by,
        solved_by={} if truths is None else crediting.solved_by(_right(answer.attempts, truths), attempts_by),
    )


def failed(task: Task, why: Failed, *, seconds: float = 0.0) -> Result:
    """A task without an answer scores nothing where its outputs are known."""
    known = task.test_outputs is not None
    none = 0.0 if known else None
    return Result(
        id=task.task_id, digest=digest(task), score=none, pass_at_1=none, all_right=False if known else None,
        oracle=none, sizes_right=none, demo_fit=None, seconds=seconds, confidence=None, error=why.why,
    )  # fmt: skip


def _right(
    attempts: Sequence[tuple[GridLike, GridLike]], truths: Sequence[GridLike]
) -> list[tuple[bool, ...]]:
    """For each test input, whether its attempts are right."""
    given = [*attempts, *[()] * (len(truths) - len(attempts))]
    return [
        tuple(as_grid(grid) == as_grid(truth) for grid in pair)
        for pair, truth in zip(given, truths, strict=True)
    ]


def _oracle(
    attempts: Sequence[tuple[GridLike, GridLike]],
    votes: Sequence[Sequence[dict[str, Any]]],
    truths: Sequence[GridLike],
) -> float:
    """Share of test inputs whose output is among the attempts and the candidates kept."""
    hits = 0
    for n, truth in enumerate(truths):
        grids = [*(attempts[n] if n < len(attempts) else ())]
        grids += [candidate["grid"] for candidate in (votes[n] if n < len(votes) else ())]
        hits += any(as_grid(grid) == as_grid(truth) for grid in grids)
    return hits / len(truths)


def _sizes_right(attempts: Sequence[tuple[GridLike, GridLike]], truths: Sequence[GridLike]) -> float:
    """Share of test inputs of whose two attempts at least one has the output's height and width."""
    pairs = zip(attempts, truths, strict=False)
    return sum(any(_size(grid) == _size(truth) for grid in each) for each, truth in pairs) / len(truths)


def _size(grid: GridLike) -> tuple[int, int]:
    return len(grid), len(grid[0])


def t4_seconds(flops: int) -> float:
    """An estimate: so long would an NVIDIA T4 take for so much arithmetic, at the utilisation assumed."""
    return flops / (T4_FLOPS_PER_SECOND * T4_UTILISATION)


def t4_usd_micros(flops: int, *, small_seconds: float) -> int:
    """An estimate: what a g4dn.xlarge costs meanwhile on the spot market, disk and address included.

    As if it did one job at a time and its cores were as fast as those here: first small hypotheses for
    `small_seconds`, with an idle GPU, then the arithmetic.
    """
    price = FALLBACK_ON_DEMAND_USD_MICROS[T4_INSTANCE] // SPOT_SHARE
    seconds = small_seconds + t4_seconds(flops)
    return share_usd_micros(price_usd_micros_per_hour=price, seconds=seconds, disk_gb=DISK_GB)


ASSUMED = {
    "note": "an ESTIMATE: nothing of this was run on a T4",
    "peak_flops_per_second": T4_FLOPS_PER_SECOND,
    "utilisation": T4_UTILISATION,
    "instance_type": T4_INSTANCE,
    "spot_usd_micros_per_hour": FALLBACK_ON_DEMAND_USD_MICROS[T4_INSTANCE] // SPOT_SHARE,
    "disk_gb": DISK_GB,
}


@dataclass(frozen=True, slots=True)
class Totals:
    """Means over tasks, each weighing the same. Shares are None where no task has what they are taken of."""

    solved: int
    scored: int
    failed: int
    pass_at_2: float | None
    pass_at_1: float | None
    all_right: float | None
    oracle: float | None
    demo_fit: float | None
    sizes_right: float | None
    seconds_total: float
    seconds_p50: float | None
    seconds_p90: float | None
    small_seconds: float
    peak_mib: int
    flops: int
    t4_seconds: float
    t4_usd_micros: int
    hypotheses: dict[str, dict[str, Any]]
    stopped_by: dict[str, int]
    solved_by: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def totals(results: Iterable[Result]) -> Totals:
    """The figures of a set of tasks. A task that failed counts as wrong."""
    each = list(results)
    done = [one for one in each if one.error is None]
    flops, small = sum(one.flops for one in each), sum(one.small_seconds for one in each)
    seconds = sorted(one.seconds for one in done)
    return Totals(
        solved=len(done),
        scored=sum(one.score is not None for one in each),
        failed=len(each) - len(done),
        pass_at_2=_mean(one.score for one in each),
        pass_at_1=_mean(one.pass_at_1 for one in each),
        all_right=_mean(one.all_right for one in each),
        oracle=_mean(one.oracle for one in each),
        demo_fit=_mean(one.demo_fit for one in each),
        sizes_right=_mean(one.sizes_right for one in each),
        seconds_total=round(sum(seconds), 3),
        seconds_p50=percentile(seconds, 0.5),
        seconds_p90=percentile(seconds, 0.9),
        small_seconds=round(small, 3),
        peak_mib=max((one.peak_mib for one in each), default=0),
        flops=flops,
        t4_seconds=round(t4_seconds(flops), 3),
        t4_usd_micros=t4_usd_micros(flops, small_seconds=small),
        hypotheses=_by_hypothesis(done),
        stopped_by=dict(sorted(Counter(one.stopped_by for one in done).items())),
        solved_by=crediting.together([(one.score, one.solved_by) for one in each if one.score is not None]),
    )


def _by_hypothesis(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    names = sorted({one.hypothesis for one in results})
    found = {name: [one for one in results if one.hypothesis == name] for name in names}
    return {
        name: {"tasks": len(ones), "pass_at_2": _mean(one.score for one in ones)}
        for name, ones in found.items()
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Of ascending values, with a straight line between neighbours; None of none."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (place - low) * (ordered[high] - ordered[low]), 3)

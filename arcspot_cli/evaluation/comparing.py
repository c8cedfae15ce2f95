"""Compare two evaluations on the tasks they share.

Paired: each task is compared with itself, so what makes a task hard for both cancels out. 80 tasks at 35 %
carry ±5 points of standard error; the difference on the same tasks carries far less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arcspot_cli.evaluation.figures import Result

ROUNDS = 10_000
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Comparison:
    """pass@2 of B minus that of A over the tasks both have, with a 95 % confidence interval (0..1).

    `wins` are tasks where B scored more, `losses` where A did; `differing` have one id and two contents.
    """

    tasks: int
    pass_at_2_a: float
    pass_at_2_b: float
    difference: float
    low: float
    high: float
    wins: list[str]
    losses: list[str]
    only_a: int
    only_b: int
    differing: list[str]

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"certain": self.certain}


def compare(
    a: Sequence[Result], b: Sequence[Result], *, rng: np.random.Generator, rounds: int = ROUNDS
) -> Comparison:
    """Raises ValueError where no task with a known solution is in both."""
    first, second = _scored(a), _scored(b)
    shared = sorted(set(first) & set(second))
    differing = [name for name in shared if first[name].digest != second[name].digest]
    common = [name for name in shared if name not in set(differing)]
    if not common:
        raise ValueError("no task with a known solution is in both")
    scores = np.array([[first[name].score, second[name].score] for name in common], dtype=float)
    gains = scores[:, 1] - scores[:, 0]
    low, high = interval(gains, rng=rng, rounds=rounds)
    mean_a, mean_b = scores.mean(0)
    return Comparison(
        tasks=len(common),
        pass_at_2_a=float(mean_a),
        pass_at_2_b=float(mean_b),
        difference=float(gains.mean()),
        low=low,
        high=high,
        wins=[name for name, gain in zip(common, gains, strict=True) if gain > 0],
        losses=[name for name, gain in zip(common, gains, strict=True) if gain < 0],
        only_a=len(set(first) - set(second)),
        only_b=len(set(second) - set(first)),
        differing=differing,
    )


def interval(
    gains: np.ndarray[Any, np.dtype[np.float64]], *, rng: np.random.Generator, rounds: int = ROUNDS
) -> tuple[float, float]:
    """The 95 % interval of the mean by the percentile bootstrap over tasks (Efron, 1979)."""
    means = [
        gains[rng.integers(len(gains), size=(min(AT_ONCE, rounds - done), len(gains)))].mean(1)
        for done in range(0, rounds, AT_ONCE)
    ]
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def _scored(results: Sequence[Result]) -> Mapping[str, Result]:
    return {one.id: one for one in results if one.score is not None}

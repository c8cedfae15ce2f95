"""How likely it is that one of a test's two attempts is right.

A fixed logistic formula of what the solve itself shows; nothing about any answer is read. Its coefficients
are COEFFICIENTS and nowhere else; `python -m bench calibrate` fits them anew to what `arcspot evaluate`
found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .decode import Candidate

LEAST_LOG_LIKELIHOOD = -2.0
"""Nats a cell; below, a view may as well have guessed."""

COEFFICIENTS: Mapping[str, float] = {
    "bias": -4.0,
    "top_share": 2.5,
    "margin": 1.0,
    "log_likelihood": 1.0,
    "demo_fit": 2.0,
    "exchangeable": 0.0,
    "pointer": 0.75,
    "spreader": 0.5,
    "held_out": 0.75,
    "rules": 0.0,
    "rule_weight": 1.5,
}
"""Chosen by judgement; fitted anew to 100 tasks they foretold no better (docs/experiments.md). Half the views
on one answer of a network that fits its demonstrations is a little less than an even chance; a pointer that
also holds in leave-one-out is nearly sure."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a solve shows of one test input's answer.

    hypothesis: pointer, rules, spreader, exchangeable or specific; top_share, second_share: of the views,
    for the two best grids (for a pointer, how sure its least sure cell is, and the rest); log_likelihood:
    mean nats a cell of the first grid; demo_fit: share of augmented demonstrations answered exactly;
    held_out: whether every demonstration was answered by training on the others, False also where nobody
    looked.
    """

    hypothesis: str
    top_share: float
    second_share: float
    log_likelihood: float
    demo_fit: float
    held_out: bool = False
    weight: float = 1.0
    """Of the rules behind the first grid; 1 where there are none."""


def features(seen: Evidence) -> dict[str, float]:
    """What the formula weighs, by the names of COEFFICIENTS; every value is within −2..1."""
    return {
        "bias": 1.0,
        "top_share": seen.top_share,
        "margin": seen.top_share - seen.second_share,
        "log_likelihood": min(max(seen.log_likelihood, LEAST_LOG_LIKELIHOOD), 0.0),
        "demo_fit": seen.demo_fit,
        "exchangeable": float(seen.hypothesis == "exchangeable"),
        "pointer": float(seen.hypothesis == "pointer"),
        "spreader": float(seen.hypothesis == "spreader"),
        "held_out": float(seen.held_out),
        "rules": float(seen.hypothesis == "rules"),
        "rule_weight": min(max(math.log2(max(seen.weight, 1e-9)) / 4.0, -2.0), 1.0),
    }


def probability(seen: Evidence, coefficients: Mapping[str, float] = COEFFICIENTS) -> float:
    """0..1: that attempt 1 or 2 is right."""
    logit = sum(coefficients[name] * value for name, value in features(seen).items())
    return 1.0 / (1.0 + math.exp(-logit))


def of_candidates(
    ranked: Sequence[Candidate], hypothesis: str, demo_fit: float, *, held_out: bool = False
) -> float:
    """The probability that one of the first two candidates is right, in four decimals."""
    if not ranked:
        return 0.0
    rival = ranked[1].share if len(ranked) > 1 else 0.0
    first = ranked[0]
    seen = Evidence(hypothesis, first.share, rival, first.log_likelihood, demo_fit, held_out)
    return round(probability(seen), 4)


def of_each(
    ranked: Sequence[Candidate], hypothesis: str, demo_fit: float, weights: Sequence[float] = (1.0, 1.0)
) -> list[float]:
    """The chance of the first to be right, and that of the second, by the same formula: each one's own share
    against the other's. Never growing, so that what is ranked higher stays so. weights: of rules."""
    two = ranked[:2]
    rivals = [two[1].share, two[0].share] if len(two) > 1 else [0.0]
    found: list[float] = []
    for each, rival, weight in zip(two, rivals, weights, strict=False):
        seen = Evidence(hypothesis, each.share, rival, each.log_likelihood, demo_fit, weight=weight)
        found.append(min([probability(seen), *found]))
    return found

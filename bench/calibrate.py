"""Fit the coefficients of the solver's confidence anew to what evaluations found.

    python -m bench calibrate run.json another.json

The files are those of `arcspot evaluate --json`. Printed are how well the present coefficients and new ones
foretell the scores, and the new ones as they are to stand in gpu_runner/solver/confidence.py. Fit on tasks
that neither the checkpoint nor anybody's choices have seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_runner import saying
from gpu_runner.solver.confidence import COEFFICIENTS, Evidence, features, probability

Floats = NDArray[np.float64]
NAMES = tuple(COEFFICIENTS)
RULES = "rules"
FOLDS = 5
BINS = 10
PULL = 1.0
"""How strongly each coefficient is held at its present value: about as four tests in doubt would. What
the files do not show (a hypothesis that answered nothing) stays as it is."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One test input: what the solve showed, the task's score (0..1), and which task it is of."""

    evidence: Evidence
    score: float
    task: str


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    files = parser.parse_args(arguments).files
    seen: list[Seen] = []
    for file in files:
        try:
            seen += read(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as why:
            parser.error(f"{file}: expected what `arcspot evaluate --json` writes: {why!r}")
    if not seen:
        parser.error("no task in these files has both a score and votes")
    saying.out(*report(seen).splitlines())


def read(document: Mapping[str, Any]) -> list[Seen]:
    """The tests of all tasks with a score and votes. A task of several tests gives each of them its score."""
    found = []
    for task in document["tasks"]:
        if task.get("score") is None or task.get("demo_fit") is None:
            continue
        for ranked in task.get("votes") or []:
            if ranked:
                evidence = _surest(ranked, str(task["hypothesis"]), float(task["demo_fit"]))
                found.append(Seen(evidence, float(task["score"]), str(task["id"])))
    return found


def _surest(ranked: Sequence[Mapping[str, Any]], hypothesis: str, demo_fit: float) -> Evidence:
    """Rules and another hypothesis may both have answered; the solver tells the greater probability."""
    ruled = [each for each in ranked if each.get("by") == RULES]
    others = [each for each in ranked if each.get("by") != RULES]
    found = [_evidence(ruled, RULES, 1.0)] if ruled else []
    found += [_evidence(others, hypothesis, demo_fit)] if others else []
    return max(found, key=probability)


def _evidence(ranked: Sequence[Mapping[str, Any]], hypothesis: str, demo_fit: float) -> Evidence:
    first = ranked[0]
    rival = float(ranked[1]["share"]) if len(ranked) > 1 else 0.0
    return Evidence(
        hypothesis, float(first["share"]), rival, float(first["log_likelihood"]), demo_fit,
        held_out=bool(first.get("held_out", False)), weight=float(first.get("weight", 1.0)),
    )  # fmt: skip


def report(seen: Sequence[Seen]) -> str:
    x = np.array([[features(each.evidence)[name] for name in NAMES] for each in seen])
    y = np.array([each.score for each in seen])
    present = np.array([COEFFICIENTS[name] for name in NAMES])
    fitted = fit(x, y, present)
    ahead = _held_out(x, y, present, [each.task for each in seen])
    base = np.full_like(y, y.mean())
    lines = [
        f"{len(seen)} tests of {len({each.task for each in seen})} tasks, mean score {y.mean():.3f}.",
        "",
        "| | Brier score |",
        "|---|---|",
        f"| the mean score for every test | {brier(base, y):.4f} |",
        f"| present coefficients | {brier(chances(x, present), y):.4f} |",
        f"| fitted to these files, on themselves | {brier(chances(x, fitted), y):.4f} |",
        f"| fitted to four fifths of the tasks, on the others | {brier(ahead, y):.4f} |",
        "",
        "With the present coefficients:",
        "",
        reliability(chances(x, present), y),
        "With coefficients fitted to the other tasks:",
        "",
        reliability(ahead, y),
        "COEFFICIENTS: Mapping[str, float] = {",
        *(f'    "{name}": {value:.3f},' for name, value in zip(NAMES, fitted, strict=True)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def chances(x: Floats, coefficients: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-x @ coefficients))
    return found


def brier(p: Floats, y: Floats) -> float:
    """Mean squared distance of foretold and found; 0 is perfect, 0.25 is a coin's."""
    return float(np.mean((p - y) ** 2))


def fit(x: Floats, y: Floats, start: Floats, *, pull: float = PULL) -> Floats:
    """Logistic regression, held at `start` by a quadratic term, by Newton's method."""
    w = start.copy()
    for _ in range(100):
        p = chances(x, w)
        slope = x.T @ (p - y) + pull * (w - start)
        curve = (x * (p * (1 - p))[:, None]).T @ x + pull * np.eye(len(w))
        step = np.linalg.solve(curve, slope)
        w -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return w


def _held_out(x: Floats, y: Floats, start: Floats, tasks: Sequence[str]) -> Floats:
    """What each test is foretold by coefficients fitted without its task."""
    fold = {task: n % FOLDS for n, task in enumerate(sorted(set(tasks)))}
    of = np.array([fold[task] for task in tasks])
    found = np.zeros_like(y)
    for n in range(FOLDS):
        if (of == n).any():
            found[of == n] = chances(x[of == n], fit(x[of != n], y[of != n], start))
    return found


def reliability(p: Floats, y: Floats) -> str:
    """How often what was foretold came true."""
    lines = ["| foretold | tests | mean foretold | found |", "|---|---|---|---|"]
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    for n in range(BINS):
        here = place == n
        if here.any():
            span = f"{n / BINS:.0%} to {(n + 1) / BINS:.0%}"
            lines.append(f"| {span} | {here.sum()} | {p[here].mean():.1%} | {y[here].mean():.1%} |")
    return "\n".join(lines) + "\n"

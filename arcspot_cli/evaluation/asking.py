"""What a solver is asked and what it replies. Nothing here knows a test's output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from arcspot.domain.scoring import GridLike

ShouldStop = Callable[[], bool]

Only = Literal["rules", "network", "both"]
"""Who answers, as `gpu_runner.solver` understands it, which cannot be imported here: it loads torch."""


@dataclass(frozen=True, slots=True)
class Question:
    """One task without its test outputs, and how to solve it.

    `adapt` False asks the pretrained network alone; `only` says whether rules, the network or both are asked;
    `keep` is a file for the state of interrupted work.
    """

    task: dict[str, Any]
    seconds: float
    seed: int = 0
    device: str = "cpu"
    checkpoint: Path | None = None
    adapt: bool = True
    keep: Path | None = None
    only: Only = "both"


@dataclass(frozen=True, slots=True)
class Answer:
    """Two attempts for each test input, the seconds they took (earlier calls included), the metrics.

    `peak_mib` is the most memory that the solving process has had by then, for whichever task; 0: not known.
    """

    attempts: tuple[tuple[GridLike, GridLike], ...]
    seconds: float
    metrics: dict[str, Any] = field(default_factory=dict)
    peak_mib: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer, and why: what the solver raised, or that its process died."""

    why: str


class Stopped(Exception):
    """The work was interrupted because somebody asked for it."""


Solve = Callable[[Question, ShouldStop], Answer]
"""Raises Stopped soon after `should_stop()`; whatever else it raises makes the task a failed one."""

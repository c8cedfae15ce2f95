"""The ARC solver: test-time training of a small looped transformer, then a vote over many views.

solve() adapts and answers, predict() answers with weights adapted before; see docs/solver.md.
"""

from . import threads as threads  # isort: skip  # before torch is loaded
from .canvas import Grid
from .door import SOLVER_VERSION, Only, Progress, Solution, SolveBudget
from .engine import solve
from .errors import BadTask, BadWeights, Interrupted, SolverError
from .predicting import predict

__all__ = [
    "SOLVER_VERSION",
    "BadTask",
    "BadWeights",
    "Grid",
    "Interrupted",
    "Only",
    "Progress",
    "Solution",
    "SolveBudget",
    "SolverError",
    "predict",
    "solve",
]

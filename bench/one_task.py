"""Solve one task as a runner would, and say how long it took.

python -m bench.one_task TASK.json SECONDS SEED [wall|cpu]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from arcspot.domain import scoring, tasks
from gpu_runner import saying, solver
from gpu_runner.solving import pick_model


def main() -> None:
    path, seconds, seed = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    (task,) = tasks.read_task_file(path.name, path.read_bytes()).tasks
    clock = time.process_time if sys.argv[4:] == ["cpu"] else time.monotonic
    models = Path(solver.__file__).resolve().parents[1] / "models"
    model, _ = pick_model(models, "auto", device="cpu")
    began = clock()
    solution = solver.solve(
        tasks.without_solutions(tasks.to_json(task)),
        solver.SolveBudget(seconds=seconds, seed=seed),
        model,
        clock=clock,
    )
    took = clock() - began
    scored = scoring.score_task(task, solution.attempts)
    saying.out(
        *json.dumps(
            {
                "seconds": round(took, 1),
                "right": bool(scored and scored.all_right),
                "score": scored.pass_at_2 if scored else 0.0,
                "steps": solution.metrics.get("steps"),
                "stopped_by": solution.metrics.get("stopped_by"),
                "model": model.name if model else None,
            }
        ).splitlines()
    )


if __name__ == "__main__":
    main()

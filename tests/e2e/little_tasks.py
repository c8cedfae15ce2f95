"""Tasks that are quick to solve on a busy machine: small grids in which each colour becomes another."""

from __future__ import annotations

import json
import random

SIDE = 3
DEMONSTRATIONS = 6


def little_task(seed: int, *, side: int = SIDE) -> bytes:
    """A task file with its known output; another seed is another task, and larger grids take seconds."""
    rng = random.Random(seed)
    colours = rng.sample(range(1, 10), 6)
    rule = dict(zip(colours[:3], colours[3:], strict=True))

    def pair() -> dict[str, list[list[int]]]:
        grid = [[rng.choice(colours[:3]) for _ in range(side)] for _ in range(side)]
        return {"input": grid, "output": [[rule[cell] for cell in row] for row in grid]}

    return json.dumps({"train": [pair() for _ in range(DEMONSTRATIONS)], "test": [pair()]}).encode()

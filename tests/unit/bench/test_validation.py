"""The validation tasks stay in the half that they were drawn into."""

import random
from pathlib import Path

from arcspot_cli.evaluation import choosing

LISTS = Path(__file__).parents[3] / "bench/validation"


def test_the_two_lists_follow_from_their_seed_so_that_no_task_moves_by_hand():
    choose, report = (list(choosing.read(LISTS / f"{name}.txt").lines) for name in ("choose", "report"))
    drawn = sorted({*choose, *report})
    assert (len(choose), len(report), len(drawn)) == (50, 50, 100)
    random.Random("arcspot validation split").shuffle(drawn)
    assert (choose, report) == (sorted(drawn[:50]), sorted(drawn[50:]))

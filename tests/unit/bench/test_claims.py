"""Many runners that claim at once are all served, at a price that does not grow with them."""

from __future__ import annotations

import pytest

from bench.claims import play


@pytest.mark.parametrize("want", [1, 8])
def test_two_hundred_runners_at_once_are_all_served(want: int) -> None:
    found = play(200, want=want)
    assert found.served == 200
    assert found.leases >= 200


def test_a_lease_takes_as_many_reads_among_two_hundred_as_alone() -> None:
    alone, crowd = play(1), play(200)
    assert crowd.reads_per_lease < 1.5 * alone.reads_per_lease
    assert crowd.writes < 2 * crowd.leases


def test_eight_leases_take_no_more_reads_than_one() -> None:
    assert play(1, want=8).reads == play(1).reads


def test_who_is_offered_the_oldest_is_offered_what_all_others_are() -> None:
    """That is what drawing is for: without it most go away with nothing, after many reads."""
    oldest = play(64, drawn=False, jobs=1_000)
    drawn = play(64, jobs=1_000)
    assert (drawn.served, oldest.served < 64) == (64, True)
    assert oldest.reads > 5 * drawn.reads


def test_the_same_seed_is_the_same_run() -> None:
    assert play(40, jobs=500) == play(40, jobs=500)
    assert play(40, jobs=500) != play(40, jobs=500, seed=1)

"""Weeks of a market that takes every instance back within minutes: each job is answered all the same."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from arcspot.domain.jobs import MAX_INTERRUPTIONS, JobState
from arcspot_simulator.history import History, Size
from arcspot_simulator.runners import Nature
from arcspot_simulator.weather import CALM


@pytest.mark.parametrize("seed", range(3))
def test_a_market_that_takes_everything_back_loses_no_job(seed: int) -> None:
    history = History(seed, size=Size(days=12, files=6, instances=2, storm=0.0, spread_hours=0.1))
    taken = replace(CALM, spot_kills_an_hour=40.0, notice=(120.0, 0.0))
    history.sky.weather = taken
    settings = history.stack.settings
    history.stack.settings = replace(settings, on_demand_fallback=False, cap=settings.reserve * 10**4)
    nature = Random(seed)
    history.stack.draw_nature = lambda job_id: Nature(seconds=240 + 40 * nature.random())
    outcome = history.live()
    jobs = history.stack.jobs()
    assert outcome.violation == ""
    assert all(job.state is JobState.DONE for job in jobs)
    assert max(job.interruptions for job in jobs) > MAX_INTERRUPTIONS
    assert not any(job.failures for job in jobs)

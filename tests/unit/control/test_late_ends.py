"""An end that nobody tells is booked no later than an instance can live, unless it was seen to live on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from arcspot.domain.launching import FUNCTION_LIFE, KILLED_WITHIN, SEEN_LATE, Launch
from arcspot.settings import MARGIN_SECONDS
from tests.fakes.driving import Stack


def served() -> tuple[Stack, Launch]:
    stack = Stack()
    launch_id = stack.one_running().launch_id
    row = stack.world.store.launch(launch_id)
    assert row is not None
    return stack, row


def at(row: Launch, stack: Stack, seconds: float) -> datetime:
    """So many seconds behind the last killer's time."""
    moment = row.hard_deadline + KILLED_WITHIN + timedelta(seconds=seconds)
    stack.world.wait((moment - stack.world.now).total_seconds())
    return moment


def test_the_killers_have_the_time_that_was_reserved() -> None:
    assert timedelta(seconds=MARGIN_SECONDS) == KILLED_WITHIN


@pytest.mark.parametrize("seconds", [-3600, -61, -30, 0, 30, 7200])
@pytest.mark.parametrize("outlived", [False, True])
def test_an_untold_end_is_the_latest_that_can_be(seconds: float, outlived: bool) -> None:
    stack, row = served()
    now = at(row, stack, seconds)
    last = row.hard_deadline + KILLED_WITHIN
    ended = replace(row, outlived=outlived).gone(now=now, ended_at=None).gone_at
    assert ended == (now + FUNCTION_LIFE if outlived else min(now + FUNCTION_LIFE, last))
    told = now - timedelta(minutes=3)
    assert replace(row, outlived=outlived).gone(now=now, ended_at=told).gone_at == told


def test_found_gone_hours_later_a_launch_costs_no_more_than_was_reserved_for_it() -> None:
    stack, row = served()
    at(row, stack, 7200)
    stack.world.ec2.seen.clear()  # EC2 has forgotten it
    stack.watch()
    ended = stack.world.store.launch(row.launch_id)
    assert ended is not None
    assert 0 < ended.actual <= row.reserve
    assert stack.books[2] == 0


@pytest.mark.parametrize(("seconds", "noted"), [(0, False), (SEEN_LATE.total_seconds() + 1, True)])
def test_who_is_seen_behind_the_last_killers_time_outlived_them(seconds: float, noted: bool) -> None:
    stack, row = served()
    at(row, stack, seconds)
    stack.world.ec2.broken.add(row.instance_id)  # EC2 will not end it
    with pytest.raises(Exception, match="does not answer"):
        stack.watch()
    seen = stack.world.store.launch(row.launch_id)
    assert seen is not None
    assert seen.outlived is noted

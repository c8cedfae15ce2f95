"""Callback tokens: kept once in a row of their own, read only where the state machine is to be told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from arcspot.aws.rows import item_of
from arcspot.domain.jobs import JobState
from arcspot.domain.launching import Launch, Token
from arcspot.ports import Record
from arcspot.services import launching, scaling
from arcspot.services.serving import MOST_AT_ONCE
from tests.fakes.driving import Runner, Stack
from tests.fakes.memory import START

# About what Step Functions hands out.
LONG = "T" * 1000


def item_bytes(record: Record) -> int:
    """A row's size as DynamoDB counts it, numbers by their characters."""

    def size(value: Any) -> int:
        ((kind, told),) = value.items()
        if kind == "M":
            return 3 + sum(len(name) + size(each) + 1 for name, each in told.items())
        return 3 + sum(size(each) + 1 for each in told) if kind == "L" else len(str(told))

    item = item_of(record)
    return sum(len(name) + size(value) for name, value in item.items())


def row_of(stack: Stack, runner: Runner) -> Launch:
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    return row


def test_a_launchs_row_is_one_write_unit_while_its_execution_waits_and_it_holds_all_it_may() -> None:
    stack = Stack()
    runner = stack.one_running()
    launching.wait_for(stack.ports, runner.launch_id, phase="serve", token=LONG)
    runner.claim()
    row = row_of(stack, runner)
    host = '{"device": "cuda", "gpu": "Tesla T4", "runner_version": "0.1.0", "solver_version": "1.4.0"}'
    full = replace(row, leases=tuple(f"{n:024x}" for n in range(MOST_AT_ONCE)), host=host)
    assert item_bytes(full) <= 1024


class Counting:
    """A store that counts how often tokens are read."""

    def __init__(self, store: Any) -> None:
        self.store, self.reads = store, 0

    def __getattr__(self, name: str) -> Any:
        self.reads += name == "token"
        return getattr(self.store, name)


def test_a_token_is_read_and_the_execution_told_only_with_a_sign_of_life_that_is_noted() -> None:
    stack = Stack()
    runner = stack.one_running()
    launching.wait_for(stack.ports, runner.launch_id, phase="serve", token=LONG)
    stack.world.wait(40)
    counting = Counting(stack.world.store)
    door = replace(stack.door(), ports=replace(stack.ports, store=counting))
    asks = {"launch_id": runner.launch_id, "secret": runner.secret, "leases": []}
    for _ in range(5):
        door.handle({"verb": "heartbeat", **asks})
        door.handle({"verb": "claim", "want": 1, **asks})
    assert stack.world.workflow.told == [(LONG, "beat", "")]
    assert counting.reads == 1


def test_an_execution_hears_its_runner_long_before_it_would_take_it_for_silent() -> None:
    stack = Stack()
    runner = stack.one_running()
    launching.wait_for(stack.ports, runner.launch_id, phase="serve", token=LONG)
    heard_at = [0.0]
    for n in range(1, 60):
        stack.world.wait(stack.settings.beat_s)
        before = len(stack.world.workflow.told)
        runner.ask("heartbeat", leases=[], gpu_utilisation=None)
        if len(stack.world.workflow.told) > before:
            heard_at.append(n * stack.settings.beat_s)
    silence_s = scaling.lifecycle_input(stack.settings, runner.launch_id)["silence_s"]
    assert max(after - before for before, after in pairwise(heard_at)) < silence_s / 3


def test_a_call_that_comes_late_does_not_bring_the_boot_back() -> None:
    stack = Stack()
    runner = stack.one_running()
    launching.wait_for(stack.ports, runner.launch_id, phase="serve", token="serve")
    launching.wait_for(stack.ports, runner.launch_id, phase="boot", token="boot")
    runner.ask("bye", why="idle")
    assert ("serve", "succeed", "") in stack.world.workflow.told


def test_of_a_closed_launch_no_token_is_kept_and_it_is_answered_at_once() -> None:
    stack = Stack()
    runner = stack.one_running()
    runner.ask("bye", why="idle")
    closed = row_of(stack, runner).gone(now=START, ended_at=START).settled(actual=1)
    stack.world.store.write(closed)
    launching.wait_for(stack.ports, runner.launch_id, phase="serve", token="late")
    assert stack.world.workflow.told[-1] == ("late", "succeed", "")
    assert stack.world.store.token(runner.launch_id) is None


@pytest.mark.parametrize("why", ["idle", "interrupted"])
def test_a_launch_that_began_under_an_earlier_release_is_told_of_all_the_same(why: str) -> None:
    stack = Stack()
    runner = stack.one_running()
    stack.world.store.write(replace(row_of(stack, runner), task_token="old", token_phase="serve"))
    stack.world.wait(60)
    runner.ask("heartbeat", leases=[], gpu_utilisation=None)
    runner.ask("bye", why=why)
    told = [
        ("old", "beat", ""),
        ("old", "succeed", "") if why == "idle" else ("old", "fail", "RunnerInterrupted"),
    ]
    assert stack.world.workflow.told == told


@pytest.mark.parametrize("between", ["the token was written", "the launch was written"])
def test_whichever_of_the_two_is_cut_off_the_other_answers(between: str) -> None:
    """A function that dies between its write and its look leaves the answer to the one that comes next."""
    stack = Stack()
    runner = stack.one_running()
    row = row_of(stack, runner)
    if between == "the token was written":
        stack.world.store.write(Token(row.launch_id, row.hard_deadline, "serve", LONG))
        runner.ask("bye", why="idle")
    else:
        stack.world.store.write(row.draining(reason="idle"))
        launching.wait_for(stack.ports, runner.launch_id, phase="serve", token=LONG)
    assert stack.world.workflow.told == [(LONG, "succeed", "")]


def test_a_token_expires_a_week_after_its_launch_could_have_ended() -> None:
    item = item_of(Token("l", START, "boot", "t"))
    assert int(item["ttl"]["N"]) == int((START + timedelta(days=7)).timestamp())


def test_a_job_that_is_done_leaves_no_event_since_its_row_says_all_of_it() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    before = list(stack.world.store.events)
    runner.complete(lease)
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert (job.state, job.run_s_total) == (JobState.DONE, 5.0)
    assert stack.world.store.events == before

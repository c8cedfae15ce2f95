"""A busy store is tried again, and is never taken for somebody else who was faster."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from arcspot.domain.batches import Batch, Sweep
from arcspot.domain.budget import Fleet, Prices
from arcspot.domain.jobs import JobState
from arcspot.domain.launching import Launch
from arcspot.domain.pausing import TRIES
from arcspot.errors import Conflict, ItemsFailed, NoMoney, Overlapped, StoreBusy, StoreRefused, WrongState
from arcspot.ports import FleetOrder, Record
from arcspot.services import launching, money, reporting, scaling, sweeping, watching
from arcspot.services.retry import until_written
from arcspot_simulator.tables import MemoryStore
from gpu_runner.api import CallFailed, RunnerApi, read_answer
from tests.fakes import house
from tests.fakes.driving import Stack, task
from tests.fakes.memory import FakePause, World


@dataclass
class Troubled(MemoryStore):
    """Writes of one kind of row meet so many errors before they are taken."""

    kind: type = Fleet
    errors: list[Exception] = field(default_factory=list)

    def write(self, *records: Record) -> None:
        if self.errors and any(isinstance(record, self.kind) for record in records):
            raise self.errors.pop(0)
        super().write(*records)

    def trouble(self, kind: type, *errors: Exception) -> None:
        self.kind, self.errors = kind, list(errors)


def busy(times: int = TRIES + 1) -> list[Exception]:
    return [StoreBusy("throttled")] * times


@pytest.fixture
def stack() -> Stack:
    return Stack(world=World(store=Troubled()))


def store_of(stack: Stack) -> Troubled:
    assert isinstance(stack.world.store, Troubled)
    return stack.world.store


# until_written -------------------------------------------------------------------------------------------


def tried(*outcomes: Exception | str) -> tuple[Callable[[], str], FakePause]:
    left = list(outcomes)

    def act() -> str:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return act, FakePause()


def test_what_may_pass_is_tried_again_after_a_pause_that_grows() -> None:
    act, pause = tried(Conflict("c"), Overlapped("o"), StoreBusy("b"), "done")
    assert until_written(act, pause) == "done"
    assert pause.tries == [1, 2, 3]


@pytest.mark.parametrize("answer", [WrongState("w"), NoMoney("m"), StoreRefused("r"), ValueError("bug")])
def test_what_no_try_changes_is_raised_at_once(answer: Exception) -> None:
    act, pause = tried(answer, "never")
    with pytest.raises(type(answer)):
        until_written(act, pause)
    assert pause.tries == []


@pytest.mark.parametrize("last", [StoreBusy("b"), Conflict("c")])
def test_patience_ends_with_what_was_said_last(last: Exception) -> None:
    act, pause = tried(*[Conflict("c"), StoreBusy("b")] * ((TRIES - 1) // 2), Conflict("c"), last, "never")
    with pytest.raises(type(last)):
        until_written(act, pause)
    assert len(pause.tries) == TRIES - 1


# Who would have said "somebody else was faster" -----------------------------------------------------------


def one_answered(stack: Stack) -> Any:
    runner = stack.one_running()
    (lease,) = runner.claim()
    return runner, lease


def test_a_report_that_cannot_be_noted_is_no_report_of_somebody_else(stack: Stack) -> None:
    runner, lease = one_answered(stack)
    runner.complete(lease)
    store_of(stack).trouble(Batch, StoreBusy("throttled"))
    with pytest.raises(ItemsFailed, match="batch b: StoreBusy: throttled"):
        reporting.report_finished(stack.ports, stack.settings, stack.world.now)
    assert stack.world.mail.sent == []
    assert reporting.report_finished(stack.ports, stack.settings, stack.world.now) == ["b"]
    assert len(stack.world.mail.sent) == 1


def test_an_instance_is_kept_when_its_launch_cannot_be_written(stack: Stack) -> None:
    """Only a launch that is over, or has another instance, ends it; no lost race does, no busy table."""
    stack.drop("tasks/b/one.json", task(1))
    (launch_id,) = stack.scale()
    for errors in (busy(), [Conflict("somebody was faster")] * (TRIES + 1)):
        stack.world.store.trouble(Launch, *errors)  # type: ignore[attr-defined]
        instance = stack.world.ec2.launch(FleetOrder(launch_id=launch_id, instance_types=("g4dn.xlarge",)))
        with pytest.raises((StoreBusy, Conflict)):
            launching.adopt(stack.ports, stack.settings, launch_id, instance, stack.world.now)
        store_of(stack).errors.clear()
    assert stack.world.ec2.terminated == []
    money.release(stack.ports, launch_id, "no capacity", stack.world.now)
    with pytest.raises(Exception, match="RELEASED"):
        launching.adopt(stack.ports, stack.settings, launch_id, instance, stack.world.now)
    assert stack.world.ec2.terminated == [instance.instance_id]
    assert stack.world.pause.tries[-1] == TRIES - 1, "what is over is no race"


def test_scaling_that_is_overtaken_looks_again_after_a_pause(stack: Stack) -> None:
    stack.drop("tasks/b/one.json", task(1))
    money.open_books(stack.ports, stack.settings, stack.world.now)
    store_of(stack).trouble(Launch, Conflict("overtaken"))
    assert len(stack.scale()) == 1
    assert stack.world.pause.tries == [1]


def test_scaling_that_meets_a_busy_store_fails_and_says_so(stack: Stack) -> None:
    stack.drop("tasks/b/one.json", task(1))
    money.open_books(stack.ports, stack.settings, stack.world.now)
    store_of(stack).trouble(Launch, StoreBusy("throttled"))
    with pytest.raises(StoreBusy):
        scaling.scale(stack.ports, stack.settings, stack.world.now, new_id=lambda now: "x")
    assert stack.world.workflow.started == {}


def late(stack: Stack) -> None:
    batch = Batch("b", stack.world.now, stack.world.now, deadline=stack.world.now)
    scaling._say_late(stack.ports, batch, 3600.0, 1, stack.world.now)


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        (Prices, lambda stack: money.refresh_prices(stack.ports, stack.settings, stack.world.now)),
        (Sweep, lambda stack: sweeping.sweep(stack.ports, stack.settings, stack.world.now)),
        (Batch, late),
    ],
)
def test_what_a_lost_race_may_skip_a_busy_store_may_not(
    stack: Stack, kind: type, act: Callable[[Stack], object]
) -> None:
    stack.world.price_list.says = {"g4dn.xlarge": 526_000}
    store_of(stack).trouble(kind, Conflict("somebody else has written the same"))
    act(stack)
    store_of(stack).trouble(kind, StoreBusy("throttled"))
    with pytest.raises(StoreBusy):
        act(stack)
    assert stack.world.mail.sent == []
    act(stack)
    assert store_of(stack).every(kind)


def test_a_busy_row_fails_one_item_of_the_watchdogs_round_and_no_other(stack: Stack) -> None:
    stack.one_running()
    store_of(stack).trouble(Fleet, *busy())
    failures = watching.each(
        [
            (
                "pause",
                lambda: money.pause(stack.ports, stack.settings, stack.world.now, paused=True, reason=""),
            ),
            ("prices", lambda: money.refresh_prices(stack.ports, stack.settings, stack.world.now)),
        ]
    )
    assert list(failures) == ["pause"]
    assert failures["pause"].startswith("StoreBusy")


# What a runner sees ---------------------------------------------------------------------------------------


def test_a_job_that_somebody_else_has_is_passed_over_at_once(stack: Stack) -> None:
    runner = stack.one_running()
    stack.drop("tasks/b/two.json", task(2))
    jobs = stack.world.store.ready_jobs(9, stack.world.now)
    stale = list(jobs)
    stack.world.store.write(jobs[0].cancel(now=stack.world.now))
    stack.world.store.ready_jobs = lambda limit, now, rng=None: stale  # type: ignore[method-assign,assignment]
    (lease,) = runner.claim(want=2)
    assert lease["job_id"] == jobs[1].job_id
    assert stack.world.pause.tries == []


@pytest.mark.parametrize("takes_effect", [False, True])
def test_what_was_claimed_while_the_store_was_busy_reaches_its_runner(
    stack: Stack, takes_effect: bool
) -> None:
    """A claim is one transaction: all of it is told, also where only the answer to the write was lost."""
    runner = stack.one_running()
    for n in (2, 3):
        stack.drop(f"tasks/b/{n}.json", task(n))
    first = runner.claim(want=1)
    write, refused = stack.world.store.write, iter([True, *[False] * TRIES])

    def troubled(*records: Record) -> None:
        busy = len(records) > 1 and next(refused, False)
        if not busy or takes_effect:
            write(*records)
        if busy:
            raise StoreBusy("throttled")

    stack.world.store.write = troubled  # type: ignore[method-assign,assignment]
    second = runner.claim(want=2)
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    assert list(row.leases) == [lease["job_id"] for lease in first + second]
    assert len(second) == (2 if takes_effect else 1)


def test_a_store_that_stays_busy_is_said(stack: Stack) -> None:
    runner = stack.one_running()
    write = stack.world.store.write

    def troubled(*records: Record) -> None:
        if len(records) > 1:
            raise StoreBusy("throttled")
        write(*records)

    stack.world.store.write = troubled  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreBusy):
        runner.claim(want=2)


@pytest.mark.parametrize("trouble", [StoreBusy("throttled"), Conflict("many at once")])
def test_a_busy_store_is_an_answer_that_the_runner_asks_again_after(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    runner, lease = one_answered(stack)
    files = runner.upload(lease)
    module = house.handler_module("runner_api")
    monkeypatch.setattr(module, "from_environment", lambda: (stack.settings, stack.ports))
    answers: list[dict[str, Any]] = []

    def invoke(request: bytes) -> bytes:
        answers.append(module.handler(json.loads(request), Context()))
        return json.dumps(answers[-1]).encode()

    api = RunnerApi(invoke, runner.launch_id, lambda: 0.0, lambda s: None, Random(0), secret=runner.secret)
    store_of(stack).trouble(Launch, *[trouble] * TRIES)
    body = {"job_id": lease["job_id"], "fence": lease["fence"], "files": files, "seconds": 1.0, "summary": {}}
    api._call("complete", lambda: body)
    assert [answer["ok"] for answer in answers] == [False, True]
    assert answers[0]["error"] == "StoreBusy"
    with pytest.raises(CallFailed, match="StoreBusy"):
        read_answer(json.dumps(answers[0]).encode())


@pytest.mark.parametrize("trouble", [StoreBusy("throttled"), Overlapped("held"), Conflict("lost")])
def test_a_result_is_kept_when_the_next_job_cannot_be_lent_with_it(stack: Stack, trouble: Exception) -> None:
    runner, lease = one_answered(stack)
    stack.drop("tasks/b/two.json", task(2))
    body = {"files": runner.upload(lease), "seconds": 1.0, "summary": {}, "want": 1}
    store_of(stack).trouble(Launch, trouble)
    answer = runner.ask("complete", job_id=lease["job_id"], fence=lease["fence"], **body)
    assert store_of(stack).errors == []
    done = stack.world.store.job(lease["job_id"])
    assert done is not None
    assert done.state is JobState.DONE
    assert len(answer["leases"]) == 1


class Context:
    function_name = aws_request_id = invoked_function_arn = "x"
    memory_limit_in_mb = 512


def test_the_books_are_right_after_every_kind_of_trouble(stack: Stack) -> None:
    rng = Random(0)
    runner, lease = one_answered(stack)
    for kind in (Launch, Fleet, Batch):
        store_of(stack).trouble(
            kind, *(rng.choice([StoreBusy("b"), Overlapped("o"), Conflict("c")]) for _ in range(9))
        )
    runner.complete(lease)
    stack.retire(runner.launch_id)
    cap, available, reserved, spent = stack.books
    assert (reserved, cap) == (0, available + spent)


@pytest.mark.parametrize("verb", ["fail", "log", "complete", "heartbeat"])
def test_a_launch_that_cannot_be_read_again_for_a_moment_is_read_later(verb: str) -> None:
    """A race is lost, and the read after it meets a busy table: both are tried again."""
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    attempt = {"job_id": lease["job_id"], "fence": lease["fence"]}
    files = runner.upload(lease)
    log = {"name": "runner.log", "bytes": 1, "sha256": "0" * 64}
    asks: dict[str, tuple[str, dict[str, Any]]] = {
        "fail": ("fail", {**attempt, "error": "E", "message": "", "seconds": 1}),
        "log": ("uploads", {"purpose": "log", "files": [log]}),
        "complete": ("complete", {**attempt, "files": files, "seconds": 1, "summary": {}}),
        "heartbeat": ("heartbeat", {"leases": [{**attempt, "phase": "another"}]}),
    }  # fmt: skip
    stack.world.wait(60)
    store = stack.world.store
    write, launch, lost, busy = store.write, store.launch, [True], [False]

    def loses_once(*rows: Any) -> None:
        if lost and any(isinstance(row, Launch) for row in rows):
            lost.pop()
            busy[0] = True
            raise Conflict("somebody else was first")
        write(*rows)

    def busy_once(launch_id: str, **more: Any) -> Any:
        if busy[0]:
            busy[0] = False
            raise StoreBusy("for a moment")
        return launch(launch_id, **more)

    store.write, store.launch = loses_once, busy_once  # type: ignore[method-assign]
    name, fields = asks[verb]
    runner.ask(name, **fields)
    assert not lost, "the race was lost"
    assert not busy[0]
    if verb == "heartbeat":
        row = launch(runner.launch_id)
        assert row is not None
        assert row.heartbeat_at == stack.world.now

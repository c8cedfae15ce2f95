"""Several jobs at once: threads that meet at agreed points, never a sleep that hopes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from arcspot.errors import LaunchClosed
from gpu_runner import host
from gpu_runner.assembly import at_once
from gpu_runner.board import Board
from gpu_runner.contract import Lease, Terms
from gpu_runner.loop import Bench, serve
from gpu_runner.solving import Stopped
from gpu_runner.work import Delivered
from tests.unit.runner.runner_fakes import FakeApi, lease

WAITS_S = 20.0


class Together:
    """Work that comes to its end only once `size` jobs are under way, or when it is told to stop."""

    def __init__(self, size: int) -> None:
        self.gate = threading.Barrier(size)
        self.met: list[str] = []
        self.then: dict[str, Callable[[], object]] = {}
        self.never: set[str] = set()

    def __call__(self, lease: Lease, *, seconds: float, progress: object, should_stop: Callable[[], bool]):
        self.gate.wait(WAITS_S)
        self.met.append(lease.job_id)
        if lease.job_id in self.then:
            self.then[lease.job_id]()
        pause = threading.Event()
        while lease.job_id in self.never:
            if should_stop():
                raise Stopped("asked to")
            pause.wait(0.01)
        return Delivered((), {})


@pytest.fixture
def hands() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def bench_of(hands: ThreadPoolExecutor, work: Together, *jobs: Lease, many: int = 3) -> Bench:
    """Time stands still, so that only what is said ends the loop; no work left ends it at once."""
    terms = Terms("s", 3600.0, 0.0, 20.0, 120.0, many)
    return Bench(
        FakeApi(jobs), work, Board(deadline_at=4600.0), terms, lambda: 1000.0, lambda s: None,
        at_once=many, hands=hands,
    )  # fmt: skip


def test_as_many_jobs_are_under_way_as_the_machine_and_the_server_allow(hands: ThreadPoolExecutor) -> None:
    bench = bench_of(hands, Together(3), *[lease(name) for name in "abcdef"])
    why, tally = serve(bench)
    assert (why, tally.done) == ("idle", 6)
    assert sorted(bench.api.ended) == [(name, "done") for name in "abcdef"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("machine", "server"), [(1, 8), (8, 1)])
def test_the_smaller_of_the_two_numbers_counts(hands: ThreadPoolExecutor, machine: int, server: int) -> None:
    bench = bench_of(hands, Together(1), *[lease(name) for name in "abc"])
    bench = replace(bench, at_once=machine, terms=replace(bench.terms, parallel=server))
    assert serve(bench)[1].done == 3
    assert bench.api.claims == 4, "one at a time, and once in vain"  # type: ignore[attr-defined]


def test_a_notice_gives_back_all_that_are_under_way(hands: ThreadPoolExecutor) -> None:
    work = Together(3)
    bench = bench_of(hands, work, *[lease(name) for name in "abcd"])
    work.never = set("abc")
    work.then["b"] = bench.board.interrupt
    assert serve(bench)[0] == "interrupted"
    assert sorted(bench.api.ended) == [(name, "interrupted") for name in "abc"]  # type: ignore[attr-defined]


def test_a_drain_lets_those_under_way_come_to_their_end(hands: ThreadPoolExecutor) -> None:
    work = Together(2)
    bench = bench_of(hands, work, *[lease(name) for name in "abc"], many=2)
    told = threading.Event()
    work.then["a"] = lambda: (bench.board.leave("draining", now=1000.0), told.set())
    work.then["b"] = lambda: told.wait(WAITS_S)
    assert serve(bench)[0] == "idle"
    assert sorted(bench.api.ended) == [("a", "done"), ("b", "done")]  # type: ignore[attr-defined]


def test_a_refusal_of_one_stops_the_others_before_the_farewell(hands: ThreadPoolExecutor) -> None:
    work = Together(2)
    bench = bench_of(hands, work, lease("a"), lease("b"), many=2)
    work.never = {"b"}

    def refused() -> None:
        raise LaunchClosed("over")

    work.then["a"] = refused
    assert serve(bench)[0] == "refused"
    assert bench.api.events[-1] == "bye"  # type: ignore[attr-defined]
    assert bench.board.in_hand(now=1000.0) == []


def test_a_fault_nobody_foresaw_gives_back_what_the_others_hold(hands: ThreadPoolExecutor) -> None:
    work = Together(2)
    bench = bench_of(hands, work, lease("a"), lease("b"), many=2)
    work.never = {"b"}

    def unforeseen() -> None:
        raise SystemExit(3)

    work.then["a"] = unforeseen
    with pytest.raises(SystemExit):
        serve(bench)
    assert sorted(bench.api.ended) == [("a", "draining"), ("b", "draining")]  # type: ignore[attr-defined]


def test_a_lost_job_that_comes_back_is_another_one(hands: ThreadPoolExecutor) -> None:
    """Its lease ran out while it was worked on here, and the free slot claims it again."""
    board, old, new = Board(deadline_at=5000.0), lease("a", fence=1), lease("a", fence=2)
    board.take(old, now=0.0)
    board.take(new, now=0.0)
    board.mark("a", "lost")
    assert (board.stop_why(old, now=0.0), board.stop_why(new, now=0.0)) == ("lost", None)
    board.drop(old, now=0.0)
    assert [held.fence for held, _ in board.in_hand(now=0.0)] == [2]


def test_the_machines_seconds_are_shared_out_among_the_jobs_in_hand() -> None:
    board, a, b = Board(deadline_at=5000.0), lease("a"), lease("b")
    board.take(a, now=100.0)
    board.take(b, now=110.0)
    assert (board.spent(a, now=120.0), board.spent(b, now=120.0)) == (15.0, 5.0)
    board.drop(a, now=130.0)
    assert board.spent(a, now=140.0) == 0.0
    assert board.spent(b, now=140.0) == 20.0


def test_jobs_beside_each_other_are_told_with_their_shares(hands: ThreadPoolExecutor) -> None:
    work, time, seconds = Together(2), [1000.0], {}

    class Telling(FakeApi):
        def complete(self, **told):  # type: ignore[no-untyped-def]
            seconds[told["lease"].job_id] = told["seconds"]
            return super().complete(**told)

    passed = threading.Event()
    work.then["a"] = lambda: (time.__setitem__(0, 1040.0), passed.set())
    work.then["b"] = lambda: passed.wait(WAITS_S)
    bench = bench_of(hands, work, lease("a"), lease("b"), many=2)
    bench = replace(bench, api=Telling([lease("a"), lease("b")]), now=lambda: time[0])
    assert serve(bench)[1].done == 2
    assert seconds == {"a": 20.0, "b": 20.0}


# How many ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "cores", "gib", "many"),
    [("cpu", 64, 0, 1), ("cuda", 4, 14.6, 3), ("cuda", 8, 14.6, 4), ("cuda", 4, 5, 1), ("cuda", 1, 15, 1)],
)
def test_the_machine_says_how_many(device: str, cores: int, gib: float, many: int) -> None:
    assert host.at_once(device, cores=cores, free_bytes=int(gib * 1024**3)) == many


def test_the_variable_wins() -> None:
    assert at_once({"ARCSPOT_AT_ONCE": "2"}, "cpu") == 2
    assert at_once({}, "cpu") == 1


@pytest.mark.parametrize("told", ["0", "-1", "two", "1.5"])
def test_a_variable_that_is_no_number_is_told(told: str) -> None:
    with pytest.raises(ValueError, match="ARCSPOT_AT_ONCE: expected a whole number above 0"):
        at_once({"ARCSPOT_AT_ONCE": told}, "cpu")


@pytest.mark.parametrize(
    ("said", "heard"), [("14912\n", 14912 * 1024**2), ("[N/A]\n", 0), ("", 0), (None, 0)]
)
def test_free_memory_is_what_the_driver_says(said: str | None, heard: int) -> None:
    assert host.free_gpu_bytes(lambda command: said) == heard

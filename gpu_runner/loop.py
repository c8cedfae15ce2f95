"""Claim, solve, deliver, until something ends it. Knows nothing of AWS, torch or the clock.

Who ends the loop: no work for `idle_s`, a drain, the deadline, a spot notice or SIGTERM,
a refusal, or three failures in a row. Whatever ends it, no job is left in our hands:
each is completed, failed, released or lost before `bye`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Literal, ParamSpec, TypeVar

from arcspot.errors import ArcspotError, LaunchClosed, LeaseLost, NotYourself
from gpu_runner.api import ApiSilent
from gpu_runner.board import Board
from gpu_runner.checkpoint import Keeper, KeepsNothing
from gpu_runner.contract import Api, ByeWhy, Claimed, Lease, ReleaseWhy, Returned, Terms
from gpu_runner.solving import Stopped
from gpu_runner.transfer import TransferFailed
from gpu_runner.work import Work

log = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
POLL_S = 3.0
MESSAGE_CHARS = 500

# Of the minute that a spot notice leaves us with: until when an upload may begin, so that `release` and `bye`
# are said in it even if everything takes as long as it may.
HAND_OVER_WITHIN_S = 10.0
SHIP_WITHIN_S = 20.0

Outcome = Literal["done", "failed", "stopped"]

P = ParamSpec("P")
T = TypeVar("T")


class OneAfterAnother(Executor):
    """Does what it is handed at once, on the caller's own thread; what it raises comes out here."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass(slots=True)
class Tally:
    """What a runner did so far; `failed_in_a_row` decides when it gives up."""

    done: int = 0
    failed: int = 0
    stopped: int = 0
    failed_in_a_row: int = 0

    @property
    def tried(self) -> int:
        return self.done + self.failed + self.stopped

    def count(self, outcome: Outcome) -> None:
        """Note one job's outcome; being stopped says nothing about our health."""
        if outcome == "done":
            self.done += 1
            self.failed_in_a_row = 0
        elif outcome == "failed":
            self.failed += 1
            self.failed_in_a_row += 1
        else:
            self.stopped += 1


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything the loop works with, handed in by the door (or a test).

    `at_once`: jobs that this machine does at the same time, if the server grants as many; `hands` does them,
    and has to have a thread for each.
    """

    api: Api
    work: Work
    board: Board
    terms: Terms
    now: Callable[[], float]
    sleep: Callable[[float], object]
    at_once: int = 1
    hands: Executor = field(default_factory=OneAfterAnother)
    keeper: Keeper = field(default_factory=KeepsNothing)


def serve(bench: Bench, *, before_bye: Callable[[], object] = lambda: None) -> tuple[ByeWhy, Tally]:
    """Serve until something ends it, give back what is in hand, say good-bye.

    `before_bye` is called once nothing is in hand any more, unless that took too long; it may still
    use the server. Returns the reason given with `bye`. An error nobody foresaw is raised again after that.
    """
    tally = Tally()
    why: ByeWhy = "gave_up"
    try:
        why = _serve(bench, tally)
    except (NotYourself, LaunchClosed) as refusal:
        log.error("%s: %s", type(refusal).__name__, refusal)
        bench.board.refuse()
        why = "refused"
    finally:
        began = bench.now()
        _let_go(bench, why)
        log.info("bye: %s; %d done, %d failed, %d stopped", why, tally.done, tally.failed, tally.stopped)
        if bench.now() - began < SHIP_WITHIN_S:
            before_bye()
        _say_bye(bench, why)
    return why, tally


def _serve(bench: Bench, tally: Tally) -> ByeWhy:
    under_way: set[Future[Outcome]] = set()
    try:
        return _serve_until_told(bench, tally, under_way)
    except BaseException:
        bench.board.refuse()  # stops the other jobs, whose state can be handed over only then
        wait(under_way)
        raise


def _serve_until_told(bench: Bench, tally: Tally, under_way: set[Future[Outcome]]) -> ByeWhy:
    """The loop itself. Returns with nothing under way; what is under way when it raises is in the set."""
    board, now, budget_s = bench.board, bench.now, 0.0
    most = min(bench.at_once, bench.terms.parallel)
    busy_at = now()
    while True:
        for ended in [each for each in under_way if each.done()]:
            under_way.remove(ended)
            tally.count(ended.result())
            busy_at = now()
        why = _reason_to_leave(bench, tally, budget_s)
        if why is not None and not under_way:
            return why
        if why is not None or len(under_way) >= most:
            wait(under_way, POLL_S, FIRST_COMPLETED)
            continue
        leases, drain = board.next_up(), False
        if not leases:
            claimed = _claim(bench, want=most - len(under_way))
            leases = [lease for lease in claimed.leases if not board.has(lease)]
            drain = claimed.drain
        for lease in leases:
            board.take(lease, now=now())
        for lease in leases:
            budget_s = lease.budget_s
            if _reason_to_leave(bench, tally, budget_s, waiting=True) is None:
                trusting = tally.tried == 0
                under_way.add(bench.hands.submit(attempt, bench, lease, trusting=trusting))
        if drain:
            board.leave("draining", now=now())
        elif not leases and under_way:
            wait(under_way, POLL_S, FIRST_COMPLETED)
        elif not leases:
            if now() - busy_at >= bench.terms.idle_s:
                return "idle"
            bench.sleep(POLL_S)


def _reason_to_leave(bench: Bench, tally: Tally, budget_s: float, *, waiting: bool = False) -> ByeWhy | None:
    """Why no further job may be started, or None.

    Less than one budget left is too little, except for a runner's first job: a launch
    whose whole life is shorter than a budget still tries, or its job would wander from
    launch to launch unsolved. A drain does not stop jobs that wait in our hands.
    """
    ending = bench.board.ending(now=bench.now())
    if ending is not None:
        return ending
    if tally.failed_in_a_row >= FAILURES_IN_A_ROW:
        return "gave_up"
    if tally.tried and bench.board.seconds_left(now=bench.now()) < budget_s:
        return "deadline"
    if bench.board.leaving == "rebalance":
        return "interrupted"
    if bench.board.leaving == "draining" and not waiting:
        return "idle"
    return None


def _claim(bench: Bench, *, want: int) -> Claimed:
    """Ask for work. A silent server is like an empty queue: the idle clock runs on."""
    try:
        return bench.api.claim(want=want, held=bench.board.held())
    except ApiSilent as silence:
        log.warning("%s", silence)
        return Claimed((), drain=False)


def attempt(bench: Bench, lease: Lease, *, trusting: bool) -> Outcome:
    """Do one job and tell the server how it ended.

    `trusting` cuts the solver's time to what is left before the deadline. The seconds told are the job's
    share of the machine's, not those it took: others may be under way beside it.
    Raises NotYourself and LaunchClosed, which end the whole runner.
    """
    board, api, now = bench.board, bench.api, bench.now
    began = now()
    left = board.seconds_left(now=began)
    seconds = min(lease.budget_s, left) if trusting else lease.budget_s
    log.info("solving %s for up to %.0f s", lease.task_id, seconds, extra={"job": lease.job_id})
    try:
        delivered = bench.work(
            lease,
            seconds=seconds,
            progress=lambda phase, fraction: board.report(lease, phase=phase, fraction=fraction),
            should_stop=lambda: board.stop_why(lease, now=now()) is not None,
        )
        done = api.complete(
            lease=lease,
            files=delivered.files,
            seconds=board.spent(lease, now=now()),
            summary=delivered.summary,
            want=_want(board, lease, now=now()),
            held=board.held(),
        )
        log.info("done: %s", done.prefix, extra={"job": lease.job_id})
        board.hand(done.claimed.leases, now=now())
        if done.claimed.drain:
            board.leave("draining", now=now())
        outcome: Outcome = "done"
    except (NotYourself, LaunchClosed):
        raise
    except LeaseLost as loss:
        log.warning("lease lost: %s", loss, extra={"job": lease.job_id})
        outcome = "stopped"
    except Stopped as ended:
        log.info("%s", ended, extra={"job": lease.job_id})
        outcome = "stopped"
        if not _put_down(bench, lease):
            return outcome
    except (ApiSilent, TransferFailed) as silence:
        log.error("%s", silence, extra={"job": lease.job_id})
        _give_back(bench, lease, "interrupted")
        outcome = "failed"
    except Exception as fault:
        log.exception("the job failed", extra={"job": lease.job_id})
        _tell_failure(bench, lease, fault, seconds=board.spent(lease, now=now()))
        outcome = "failed"
    _drop(bench, lease)
    return outcome


def _want(board: Board, lease: Lease, *, now: float) -> int:
    """One job for the hand that this one leaves free, unless the runner is about to leave."""
    stays = board.ending(now=now) is None and board.leaving is None
    return 1 if stays and board.seconds_left(now=now) >= lease.budget_s else 0


def _put_down(bench: Bench, lease: Lease) -> bool:
    """End a stopped job. False when it stays in hand for the release that ends the runner."""
    why = bench.board.stop_why(lease, now=bench.now())
    log.info("stopped: %s", why, extra={"job": lease.job_id})
    if why == "cancelled":
        _give_back(bench, lease, "cancelled")
    elif why is None:  # the solver stopped although nobody asked: give the job back
        _give_back(bench, lease, "interrupted")
    return why in ("lost", "cancelled", None)


def _drop(bench: Bench, lease: Lease) -> None:
    bench.board.drop(lease, now=bench.now())
    bench.keeper.forget(lease)


def _give_back(bench: Bench, lease: Lease, why: ReleaseWhy) -> None:
    """Release one job; if that fails, the lease runs out by itself."""
    spent = dict(bench.board.in_hand(now=bench.now())).get(lease, 0.0)
    left = None if why == "cancelled" else bench.keeper.hand_over(lease)
    try:
        bench.api.release(leases=[Returned(lease, spent, left)], why=why)
    except (NotYourself, LaunchClosed):
        raise
    except ArcspotError as fault:
        log.warning("not released: %s", fault, extra={"job": lease.job_id})


def _tell_failure(bench: Bench, lease: Lease, fault: Exception, *, seconds: float) -> None:
    """Report a failed job; if that fails, the lease runs out by itself."""
    try:
        state = bench.api.fail(
            lease=lease, error=type(fault).__name__, message=str(fault)[:MESSAGE_CHARS], seconds=seconds
        )
        log.info("the job is now %s", state, extra={"job": lease.job_id})
    except (NotYourself, LaunchClosed):
        raise
    except ArcspotError as refusal:
        log.warning("the failure was not taken: %s", refusal, extra={"job": lease.job_id})


def _let_go(bench: Bench, why: ByeWhy) -> None:
    """Release what is in hand, quickly; what the server does not take runs out by itself.

    The states go first: once a job is released, its next runner may ask for its state at any moment.
    """
    bench.api.hurry()
    began = bench.now()
    in_hand = bench.board.in_hand(now=began)
    try:
        if in_hand and why != "refused":
            returned = []
            for lease, seconds in in_hand:
                in_time = bench.now() - began < HAND_OVER_WITHIN_S
                returned.append(Returned(lease, seconds, bench.keeper.hand_over(lease) if in_time else None))
            bench.api.release(leases=returned, why="interrupted" if why == "interrupted" else "draining")
    except ArcspotError as fault:
        log.warning("not released: %s", fault)
    for lease, _ in in_hand:
        _drop(bench, lease)


def _say_bye(bench: Bench, why: ByeWhy) -> None:
    try:
        bench.api.bye(why=why)
    except ArcspotError as fault:
        log.warning("good-bye was not taken: %s", fault)

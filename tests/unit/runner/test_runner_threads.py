"""What runs beside the work: heartbeat, spot watch, metadata, greeting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from arcspot.errors import BadRequest, LaunchClosed, NotYourself
from gpu_runner.api import ApiSilent
from gpu_runner.board import Board
from gpu_runner.contract import Json, Pulse, Terms
from gpu_runner.greeting import greet
from gpu_runner.heartbeat import Every, beat
from gpu_runner.imds import Imds
from gpu_runner.interruption import Notice, look, watch_once
from tests.unit.runner.runner_fakes import Clock, FakeApi, FakeImds, lease


@pytest.fixture
def imds() -> Iterator[FakeImds]:
    server = FakeImds()
    yield server
    server.close()


@pytest.fixture
def board() -> Board:
    return Board(deadline_at=5000.0)


def pulse(api: FakeApi, board: Board) -> None:
    beat(api, board, gpu_utilisation=None, now=lambda: 1000.0)


def test_a_heartbeat_tells_where_each_job_is(board: Board) -> None:
    api, job = FakeApi(), lease("a", fence=4)
    board.take(job, now=1000.0)
    board.report(job, phase="adapting", fraction=0.25)
    pulse(api, board)
    assert [each.to_json() for each in api.beats[0]] == [
        {"job_id": "a", "fence": 4, "phase": "adapting", "fraction": 0.25}
    ]


def test_a_fraction_that_is_no_number_can_still_travel(board: Board) -> None:
    board.take(lease("a"), now=0)
    board.report(lease("a"), phase="x", fraction=float("nan"))
    assert board.progress()[0].to_json()["fraction"] == 0.0


def test_a_heartbeat_brings_back_lost_cancelled_drain_and_the_deadline(board: Board) -> None:
    api = FakeApi()
    for name in "abc":
        board.take(lease(name), now=1000.0)
    api.pulse = Pulse(("a",), ("b",), True, 250.0)
    pulse(api, board)
    assert [board.stop_why(lease(name), now=1000.0) for name in "abc"] == ["lost", "cancelled", None]
    assert (board.leaving, board.deadline_at) == ("draining", 1250.0)


def test_a_lost_job_is_in_no_further_heartbeat_and_in_no_release(board: Board) -> None:
    board.take(lease("a"), now=0)
    board.mark("a", "lost")
    board.mark("a", "cancelled")
    assert (board.progress(), board.in_hand(now=1)) == ([], [])


@pytest.mark.parametrize("refusal", [NotYourself("x"), LaunchClosed("x")])
def test_a_refused_heartbeat_ends_the_runner(board: Board, refusal: Exception) -> None:
    api = FakeApi()
    api.raises["heartbeat"] = refusal
    pulse(api, board)
    assert board.ending(now=0) == "refused"
    assert board.wake.is_set()


@pytest.mark.parametrize("fault", [ApiSilent("x"), BadRequest("x")])
def test_a_missed_heartbeat_ends_nothing(board: Board, fault: Exception) -> None:
    api = FakeApi()
    api.raises["heartbeat"] = fault
    pulse(api, board)
    assert board.ending(now=0) is None


def test_a_thread_beside_the_work_survives_its_own_errors() -> None:
    twice = threading.Event()
    calls: list[int] = []

    def act() -> None:
        calls.append(1)
        if len(calls) == 2:
            twice.set()
        raise RuntimeError("one bad round")

    thread = Every(0.001, act, name="trial")
    thread.start()
    assert twice.wait(5)
    thread.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_metadata_is_read_with_a_token(imds: FakeImds) -> None:
    client = Imds(imds.url)
    assert client.instance_id() == "i-0123"
    assert client.tag("arcspot:launch") == "launch-1"


def test_a_token_that_expired_is_renewed(imds: FakeImds) -> None:
    client = Imds(imds.url)
    client.instance_id()
    imds.tokens = {"another"}
    assert client.instance_id() == "i-0123"


def test_a_missing_tag_is_an_error_that_names_it(imds: FakeImds) -> None:
    with pytest.raises(OSError, match="arcspot:other"):
        Imds(imds.url).tag("arcspot:other")


def test_a_quiet_metadata_service_is_no_notice(imds: FakeImds, board: Board) -> None:
    assert watch_once(Imds(imds.url), board, now=lambda: 0.0) is None
    assert board.ending(now=0) is None


def test_a_spot_notice_interrupts_and_outranks_a_recommendation(imds: FakeImds, board: Board) -> None:
    imds.documents["meta-data/events/recommendations/rebalance"] = '{"noticeTime": "…"}'.replace("…", "now")
    watch_once(Imds(imds.url), board, now=lambda: 0.0)
    assert (board.ending(now=0), board.leaving) == (None, "rebalance")
    imds.documents["meta-data/spot/instance-action"] = '{"action": "terminate"}'
    assert look(Imds(imds.url)) == Notice("action", '{"action": "terminate"}')
    watch_once(Imds(imds.url), board, now=lambda: 0.0)
    assert board.ending(now=0) == "interrupted"
    assert board.wake.is_set()


def test_an_unreachable_metadata_service_is_no_notice(imds: FakeImds, board: Board) -> None:
    imds.close()
    assert watch_once(Imds(imds.url, timeout_s=0.2), board, now=lambda: 0.0) is None


class Doubter:
    """Refuses `hello` a few times, as a server does that cannot see the instance yet."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def hello(self, *, instance_id: str, prove: Callable[[], Json], host: Json) -> Terms:
        self.refusals -= 1
        if self.refusals >= 0:
            raise NotYourself("EC2 does not show you")
        return Terms("s", 60, 30, 20, 120, 1)


def greeted(doubter: Doubter, clock: Clock) -> Terms:
    return greet(doubter, instance_id="i", prove=dict, host={}, now=clock.now, sleep=clock.sleep)


def test_hello_is_repeated_while_ec2_does_not_show_us_yet() -> None:
    assert greeted(Doubter(3), Clock()).secret == "s"


def test_a_refusal_that_lasts_is_final_within_a_minute() -> None:
    clock = Clock()
    with pytest.raises(NotYourself):
        greeted(Doubter(1000), clock)
    assert clock.now() - 1000 <= 60

"""A result brings the next job; what S3 has already is delivered; a name is written once."""

from __future__ import annotations

import hashlib
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gpu_runner.board import Board
from gpu_runner.checkpoint import Checkpoints
from gpu_runner.contract import Claimed, Completed, FileFact, UploadTarget
from gpu_runner.loop import serve
from gpu_runner.transfer import Transfer, TransferFailed, TransferRefused
from tests.unit.runner.runner_fakes import FakeApi, FakeTransfer, Rig, lease


def test_with_each_result_comes_the_next_job() -> None:
    rig = Rig(*[lease(name) for name in "abcd"])
    rig.api.lends_with_results = True
    why, tally = serve(rig.bench)
    assert (why, tally.done) == ("idle", 4)
    assert rig.api.ended == [(name, "done") for name in "abcd"]
    first, *later = rig.api.told_held
    assert (first, rig.api.wanted) == ([], [1, 1, 1, 1])
    assert all(held == [] for held in later), "claims only while it has nothing to do"


def test_a_runner_about_to_leave_asks_for_no_next_job() -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.api.lends_with_results = True
    rig.work.at_step = lambda job, step: rig.board.leave("rebalance", now=rig.clock.now())
    serve(rig.bench)
    assert rig.api.wanted == [0]
    assert [each.job_id for each in rig.api.queue] == ["b"]


def test_nor_does_one_whose_time_is_too_short_for_it() -> None:
    rig = Rig(lease("a"), lease("b"), deadline_in_s=95.0)
    rig.api.lends_with_results = True
    assert serve(rig.bench)[0] == "deadline"
    assert (rig.api.wanted, rig.api.out) == ([0], {})


def test_a_job_that_came_with_a_result_is_given_back_when_the_runner_must_leave() -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.api.lends_with_results = True
    rig.work.at_step = lambda job, step: rig.board.interrupt() if (job.job_id, step) == ("b", 0) else None
    assert serve(rig.bench)[0] == "interrupted"
    assert rig.api.ended == [("a", "done"), ("b", "interrupted")]
    assert rig.api.out == {}


def test_a_server_that_drains_says_so_with_the_result() -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.api.drains_with_results = True
    assert serve(rig.bench)[0] == "idle"
    assert rig.api.ended == [("a", "done")]


def test_a_claim_tells_what_is_in_hand() -> None:
    board = Board(deadline_at=5000.0)
    for name in "ab":
        board.take(lease(name), now=0.0)
    board.mark("a", "lost")
    assert board.held() == ["b"]


def test_a_lease_that_is_told_twice_is_one_job() -> None:
    board, one = Board(deadline_at=5000.0), lease("a")
    board.take(one, now=0.0)
    board.hand([one, lease("b"), lease("b")], now=10.0)
    board.hand([lease("b")], now=10.0)
    assert [each.job_id for each in board.next_up()] == ["b"]
    assert board.next_up() == []
    assert board.spent(one, now=20.0) == 15.0


def test_an_earlier_servers_answer_lends_nothing() -> None:
    assert Completed.read({"result_prefix": "results/a/1/"}) == Completed("results/a/1/", Claimed((), False))


# S3 ------------------------------------------------------------------------------------------------------


class Bucket:
    """S3 on a socket that gives the statuses it was told to give, one after another."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.puts = list(statuses), 0
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                bucket.puts += 1
                self.send_response(bucket.statuses.pop(0))
                self.send_header("Content-Length", "0")
                self.end_headers()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/results/a/1/x"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()


@pytest.fixture
def body(tmp_path: Path) -> FileFact:
    path = tmp_path / "x"
    path.write_bytes(b"result")
    return FileFact("x", path, 6, hashlib.sha256(b"result").hexdigest())


def deliver(bucket: Bucket, fact: FileFact) -> None:
    transfer = Transfer(sleep=lambda s: None, rng=random.Random(1), tries=3)
    try:
        transfer.deliver([fact], {"x": UploadTarget(bucket.url, {"if-none-match": "*"})})
    finally:
        transfer.pool.clear()
        bucket.server.shutdown()
        bucket.server.server_close()


def test_a_put_whose_answer_was_lost_finds_its_object_there_and_is_done(body: FileFact) -> None:
    bucket = Bucket(500, 412)
    deliver(bucket, body)
    assert bucket.puts == 2


def test_a_put_that_met_another_one_is_tried_again(body: FileFact) -> None:
    bucket = Bucket(409, 409, 200)
    deliver(bucket, body)
    assert bucket.puts == 3


def test_any_other_refusal_stays_one(body: FileFact) -> None:
    bucket = Bucket(403)
    with pytest.raises(TransferRefused, match="403"):
        deliver(bucket, body)
    assert bucket.puts == 1


def test_what_meets_others_for_ever_fails_in_the_end(body: FileFact) -> None:
    bucket = Bucket(409, 409, 409)
    with pytest.raises(TransferFailed):
        deliver(bucket, body)


def test_a_state_that_was_handed_over_before_is_the_same_object_and_another_one_has_another_name(
    tmp_path: Path,
) -> None:
    api, job = FakeApi(), lease("a")
    keeper = Checkpoints(api, FakeTransfer(), tmp_path)  # type: ignore[arg-type]
    keys = []
    for state in (b"one", b"one", b"two"):
        keeper.path(job).write_bytes(state)
        left = keeper.hand_over(job)
        assert left is not None
        keys.append(left.key)
    assert keys[0] == keys[1] == "checkpoints/a/1/state.safetensors"
    assert keys[2] != keys[0]
    assert keys[2].startswith("checkpoints/a/1/state-")

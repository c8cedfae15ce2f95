"""Each source of notice alone: no more claims, the state handed over, release, bye, all within a minute.

And none at all: then nothing is said, and the next runner has what was left before, if anything.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arcspot.errors import BadRequest, LeaseLost
from gpu_runner.api import ApiSilent
from gpu_runner.artefacts import Maker
from gpu_runner.assembly import give_way_to_signals, watch
from gpu_runner.checkpoint import MAX_BYTES, Checkpoints
from gpu_runner.contract import FileFact, Lease, Left, Offered, Pulse, UploadTarget
from gpu_runner.heartbeat import beat
from gpu_runner.imds import Imds
from gpu_runner.loop import serve
from gpu_runner.transfer import TransferFailed, TransferRefused
from gpu_runner.work import Workshop
from tests.unit.runner.runner_fakes import FakeImds, FakeSolver, FakeTransfer, Rig, lease

STATE = b"a state worth keeping"
LEFT = Left("checkpoints/a/1/state.safetensors", len(STATE), hashlib.sha256(STATE).hexdigest())


class Keeping(Rig):
    """A rig whose work keeps a state at every step, and whose keeper carries it for real."""

    def __init__(self, folder: Path, *jobs: Lease, **more: Any) -> None:
        super().__init__(*jobs, **more)
        self.transfer = FakeTransfer()
        self.keeper = Checkpoints(self.api, self.transfer, folder)  # type: ignore[arg-type]
        self.bench = replace(self.bench, keeper=self.keeper)
        self.notice_at: float | None = None
        self.bye_at: float | None = None

    def when(self, step: int, notice: Any) -> None:
        """Give notice at a step of the running job."""

        def at_step(job: Lease, now: int) -> None:
            self.keeper.path(job).write_bytes(STATE)
            if now >= step:
                self.notice_at = self.notice_at or self.clock.now()
                notice()

        self.work.at_step = at_step

    def handed_over_within_a_minute(self) -> None:
        """All that a notice asks for was done, in order."""
        assert serve(self.bench)[0] == "interrupted"
        assert self.api.ended == [("a", "interrupted")]
        assert self.api.left["a"] == LEFT
        assert self.transfer.put == [("state.safetensors", STATE)]
        assert [e for e in self.api.events if e != "heartbeat"] == ["claim", "uploads", "release", "bye"]
        assert self.api.claims == 1
        assert self.notice_at is not None
        assert self.clock.now() - self.notice_at <= 60
        assert not self.keeper.path(lease("a")).exists()


@pytest.fixture
def imds() -> Iterator[FakeImds]:
    server = FakeImds()
    yield server
    server.close()


@pytest.fixture
def rig(tmp_path: Path) -> Keeping:
    return Keeping(tmp_path, lease("a", budget_s=600), lease("b"), takes=500)


def test_a_spot_notice_in_the_metadata_alone(rig: Keeping, imds: FakeImds) -> None:
    def notice() -> None:
        imds.documents["meta-data/spot/instance-action"] = '{"action": "terminate"}'
        watch(Imds(imds.url), rig.board, rig.api, rig.clock.now)  # type: ignore[arg-type]

    rig.when(7, notice)
    rig.handed_over_within_a_minute()
    assert rig.api.spent["a"] == 7.0
    assert rig.api.hurried


def test_a_rebalance_recommendation_in_the_metadata_alone(rig: Keeping, imds: FakeImds) -> None:
    def notice() -> None:
        imds.documents["meta-data/events/recommendations/rebalance"] = '{"noticeTime": "now"}'
        watch(Imds(imds.url), rig.board, rig.api, rig.clock.now)  # type: ignore[arg-type]

    rig.when(7, notice)
    rig.handed_over_within_a_minute()


def test_a_drain_in_the_heartbeats_answer_alone(rig: Keeping) -> None:
    def notice() -> None:
        rig.api.pulse = Pulse((), (), True, 3600.0)
        beat(rig.api, rig.board, gpu_utilisation=None, now=rig.clock.now)

    rig.when(7, notice)
    rig.handed_over_within_a_minute()


def test_sigterm_alone(rig: Keeping) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    give_way_to_signals(rig.board, rig.api)  # type: ignore[arg-type]

    def notice() -> None:
        signal.raise_signal(signal.SIGTERM)
        assert rig.board.wake.wait(5)  # the handler tells the board from a thread of its own

    rig.when(7, notice)
    try:
        rig.handed_over_within_a_minute()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_no_notice_at_all_leaves_nothing(rig: Keeping) -> None:
    class Killed(BaseException):
        """The machine is gone: nothing runs any more, no handler, no `finally`."""

    def notice() -> None:
        for verb in ("uploads", "release", "bye"):
            rig.api.raises[verb] = ApiSilent("the machine is gone")
        raise Killed

    rig.when(7, notice)
    with pytest.raises(Killed):
        serve(rig.bench)
    assert rig.transfer.put == []
    assert (rig.api.ended, rig.api.byes, list(rig.api.out)) == ([], [], ["a"])


def test_a_job_that_ends_within_the_grace_of_a_recommendation_is_done(tmp_path: Path) -> None:
    rig = Keeping(tmp_path, lease("a"), lease("b"), takes=35)
    rig.when(7, lambda: rig.board.leave("rebalance", now=rig.clock.now()))
    assert serve(rig.bench)[0] == "interrupted"
    assert (rig.api.ended, rig.transfer.put) == ([("a", "done")], [])


def test_a_recommendation_repeated_every_few_seconds_does_not_prolong_the_grace(rig: Keeping) -> None:
    rig.when(0, lambda: rig.board.leave("rebalance", now=rig.clock.now()))
    serve(rig.bench)
    assert rig.api.spent["a"] == 30.0


def test_a_notice_during_the_grace_ends_it(rig: Keeping) -> None:
    def notice() -> None:
        if rig.board.leaving:
            rig.board.interrupt()
        rig.board.leave("rebalance", now=rig.clock.now())

    rig.when(5, notice)
    rig.handed_over_within_a_minute()
    assert rig.api.spent["a"] == 6.0


def test_a_job_that_waits_in_our_hands_is_given_back_without_a_state(tmp_path: Path) -> None:
    rig = Keeping(tmp_path, lease("a"), lease("b"), parallel=2, takes=500)
    rig.when(3, rig.board.interrupt)
    serve(rig.bench)
    assert (rig.api.left["a"], rig.api.left["b"]) == (LEFT, None)


def test_a_job_still_running_at_the_deadline_is_given_back_with_its_state(tmp_path: Path) -> None:
    rig = Keeping(tmp_path, lease("a", budget_s=600), takes=500)
    rig.when(4, lambda: setattr(rig.board, "deadline_at", rig.clock.now()))
    assert serve(rig.bench)[0] == "deadline"
    assert (rig.api.ended, rig.api.left["a"]) == ([("a", "draining")], LEFT)


@pytest.mark.parametrize("stop", ["lost", "cancelled"])
def test_the_state_of_a_job_that_is_no_longer_wanted_goes_nowhere(rig: Keeping, stop: Any) -> None:
    rig.when(3, lambda: rig.board.mark("a", stop))
    rig.work.takes = 10
    serve(rig.bench)
    assert "uploads" not in rig.api.events
    assert rig.api.left.get("a") is None
    assert not rig.keeper.path(lease("a")).exists()


@pytest.mark.parametrize("fault", [ApiSilent("no answer"), LeaseLost("gone"), BadRequest("what?")])
def test_a_state_that_is_not_taken_does_not_keep_the_job(rig: Keeping, fault: Exception) -> None:
    rig.api.raises["uploads"] = fault
    rig.when(3, rig.board.interrupt)
    assert serve(rig.bench)[0] == "interrupted"
    assert (rig.api.ended, rig.api.left) == ([("a", "interrupted")], {"a": None})


def test_everything_slow_still_ends_within_a_minute(rig: Keeping) -> None:
    """Each call takes as long as it may: ten seconds of patience, two tries of an upload."""
    ask = rig.api._ask

    def slowly(verb: str) -> None:
        if rig.notice_at is not None:
            rig.clock.sleep(10.0)
        ask(verb)

    def deliver(files: Sequence[FileFact], targets: Mapping[str, UploadTarget]) -> None:
        rig.clock.sleep(2 * 13.0 + 1.0)
        raise TransferFailed("two tries, in vain")

    rig.api._ask = slowly  # type: ignore[method-assign]
    rig.transfer.deliver = deliver  # type: ignore[method-assign]
    shipped: list[int] = []
    rig.when(3, rig.board.interrupt)
    serve(rig.bench, before_bye=lambda: shipped.append(1))
    assert rig.api.byes == ["interrupted"]
    assert shipped == []
    assert rig.notice_at is not None
    assert rig.clock.now() - rig.notice_at <= 60


def test_states_are_not_handed_over_for_longer_than_there_is_time(tmp_path: Path) -> None:
    rig = Keeping(tmp_path, lease("a"), lease("b"), parallel=2, takes=500)
    deliver = rig.transfer.deliver

    def slowly(files: Sequence[FileFact], targets: Mapping[str, UploadTarget]) -> None:
        rig.clock.sleep(20.0)
        deliver(files, targets)

    rig.transfer.deliver = slowly  # type: ignore[method-assign]
    rig.when(3, rig.board.interrupt)
    rig.keeper.path(lease("b")).write_bytes(STATE)
    serve(rig.bench)
    assert (rig.api.left["a"], rig.api.left["b"]) == (LEFT, None)


# One runner leaves, the next goes on ------------------------------------------------------------------------

TASK = b'{"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]]}]}'
MAKER = Maker("launch-1", "i-1", "cpu", None, "2.13", "0.1.0", "7")


def serve_once(folder: Path, job: Lease, objects: dict[str, bytes], *, interrupted: bool) -> tuple[Rig, Any]:
    """A runner's life with one job, its real workshop included; `objects` is what S3 has."""
    folder.mkdir()
    rig, transfer, solver = Rig(job), FakeTransfer(objects), FakeSolver()
    keeper = Checkpoints(rig.api, transfer, folder)  # type: ignore[arg-type]
    work = Workshop(rig.api, transfer, solver, MAKER, folder, folder, rig.clock.now, keeper)  # type: ignore[arg-type]
    solver.leaves = STATE

    def interrupt_at_work(*what: Any) -> None:
        if interrupted and what[0] == "adapting":
            rig.board.interrupt()

    def working(lease: Lease, **how: Any) -> Any:
        tell = how.pop("progress")
        return work(lease, progress=lambda *what: (tell(*what), interrupt_at_work(*what)), **how)

    rig.bench = replace(rig.bench, work=working, keeper=keeper)
    serve(rig.bench)
    return rig, (transfer, solver)


def test_the_next_runner_goes_on_from_what_the_last_one_left(tmp_path: Path) -> None:
    objects = {"http://s3/a": TASK}
    first, (transfer, solver) = serve_once(tmp_path / "one", lease("a"), objects, interrupted=True)
    assert solver.found == [None]
    left = first.api.left["a"]
    assert left == LEFT
    objects["http://s3/kept"] = dict(transfer.put)["state.safetensors"]

    again = replace(lease("a", fence=2), checkpoint=Offered("http://s3/kept", left.size, left.sha256))
    second, (_, solver) = serve_once(tmp_path / "two", again, objects, interrupted=False)
    assert solver.found == [STATE]
    assert second.api.ended == [("a", "done")]
    assert list((tmp_path / "two").glob("kept-*")) == []


@pytest.mark.parametrize("body", [b"", STATE[:-1], STATE + b"!", STATE[::-1], None])
def test_a_checkpoint_that_is_not_what_was_left_is_a_warning_and_a_fresh_start(
    tmp_path: Path, body: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    class Strict(FakeTransfer):
        def fetch(self, url: str, *, max_bytes: int) -> bytes:
            if url not in self.objects:
                raise TransferRefused("404")
            if len(self.objects[url]) > max_bytes:
                raise TransferRefused("too large")
            return self.objects[url]

    transfer = Strict({} if body is None else {"u": body})
    keeper = Checkpoints(Rig().api, transfer, tmp_path)  # type: ignore[arg-type]
    job = replace(lease("a"), checkpoint=Offered("u", len(STATE), hashlib.sha256(STATE).hexdigest()))
    assert not keeper.fetch(job).exists()
    assert "starting over" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_larger_than_any_is_not_even_fetched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Checkpoints(Rig().api, FakeTransfer(), tmp_path)  # type: ignore[arg-type]
    keeper.fetch(replace(lease("a"), checkpoint=Offered("u", MAX_BYTES + 1, "0" * 64)))
    assert "more than a checkpoint may have" in caplog.text


def test_an_interrupted_runner_hands_on_what_it_was_given_and_could_not_add_to(tmp_path: Path) -> None:
    """Stopped before the solver had anything to keep: the earlier state goes on."""
    transfer = FakeTransfer({"u": STATE})
    rig = Rig(lease("a", fence=2))
    keeper = Checkpoints(rig.api, transfer, tmp_path)  # type: ignore[arg-type]
    job = replace(lease("a", fence=2), checkpoint=Offered("u", len(STATE), LEFT.sha256))
    keeper.fetch(job)
    assert keeper.hand_over(job) == replace(LEFT, key="checkpoints/a/2/state.safetensors")

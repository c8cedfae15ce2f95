"""The loop, with a fake on every side. Whatever ends it, no job is left in its hands."""

from __future__ import annotations

import pytest

from arcspot.errors import BadRequest, LaunchClosed, LeaseLost, NotYourself
from gpu_runner.api import ApiSilent
from gpu_runner.contract import Lease
from gpu_runner.loop import serve
from gpu_runner.transfer import TransferFailed
from tests.unit.runner.runner_fakes import Rig, lease


def test_it_solves_what_there_is_and_leaves_when_idle() -> None:
    rig = Rig(lease("a"), lease("b"))
    why, tally = serve(rig.bench)
    assert (why, tally.done) == ("idle", 2)
    assert rig.api.ended == [("a", "done"), ("b", "done")]
    assert rig.api.byes == ["idle"]
    assert rig.clock.now() >= 1000 + 20 + 30


def test_an_error_in_a_job_is_reported_by_name_and_the_next_job_is_done() -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.work.does["a"] = ValueError("no such colour")
    serve(rig.bench)
    assert rig.api.failures == [("a", "ValueError", "no such colour")]
    assert ("b", "done") in rig.api.ended


def test_three_failures_in_a_row_give_the_launch_up() -> None:
    jobs = [lease(name) for name in "abcde"]
    rig = Rig(*jobs)
    rig.work.does = {each.job_id: RuntimeError("CUDA error") for each in jobs}
    why, tally = serve(rig.bench)
    assert (why, tally.failed, rig.api.byes) == ("gave_up", 3, ["gave_up"])


def test_a_success_between_failures_starts_the_count_anew() -> None:
    rig = Rig(*[lease(name) for name in "abcde"])
    rig.work.does = {name: RuntimeError("x") for name in "abde"}
    assert serve(rig.bench)[0] == "idle"


def test_a_spot_notice_stops_the_job_and_gives_it_back_with_the_seconds_spent() -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.work.at_step = lambda job, step: rig.board.interrupt() if step == 4 else None
    why, _ = serve(rig.bench)
    assert (why, rig.api.ended, rig.api.byes) == ("interrupted", [("a", "interrupted")], ["interrupted"])
    assert rig.api.spent["a"] == 4.0
    assert rig.api.hurried
    assert [each.job_id for each in rig.api.queue] == ["b"]


def test_a_rebalance_recommendation_lets_the_job_finish_and_claims_no_other() -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.work.at_step = lambda job, step: rig.board.leave("rebalance", now=rig.clock.now())
    assert serve(rig.bench)[0] == "interrupted"
    assert rig.api.ended == [("a", "done")]


def test_a_drain_lets_the_job_finish_and_claims_no_other() -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.work.at_step = lambda job, step: rig.board.leave("draining", now=rig.clock.now())
    assert serve(rig.bench)[0] == "idle"
    assert rig.api.ended == [("a", "done")]


def test_a_drain_that_comes_with_a_claim_ends_after_the_jobs_it_brought() -> None:
    rig = Rig(lease("a"), lease("b"), lease("c"), parallel=2)
    rig.api.drain_after_claim = True
    assert serve(rig.bench)[0] == "idle"
    assert (rig.api.ended, rig.api.claims) == ([("a", "done"), ("b", "done")], 1)


def test_a_cancelled_job_is_given_back_as_cancelled_and_the_next_one_is_done() -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.work.at_step = lambda job, step: rig.board.mark("a", "cancelled")
    serve(rig.bench)
    assert rig.api.ended == [("a", "cancelled"), ("b", "done")]


def test_nothing_is_said_about_a_job_whose_lease_is_lost() -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.work.at_step = lambda job, step: rig.board.mark("a", "lost")
    serve(rig.bench)
    assert rig.api.ended == [("b", "done")]
    assert "release" not in rig.api.events
    assert "fail" not in rig.api.events


def test_losing_the_lease_at_the_very_end_is_no_failure() -> None:
    rig = Rig(lease("a"))
    rig.api.raises["complete"] = LeaseLost("the fence is stale")
    why, tally = serve(rig.bench)
    assert (why, tally.stopped, tally.failed) == ("idle", 1, 0)


@pytest.mark.parametrize("refusal", [NotYourself("who?"), LaunchClosed("over")])
@pytest.mark.parametrize("verb", ["claim", "complete", "fail"])
def test_a_refusal_of_the_runner_itself_stops_everything(refusal: Exception, verb: str) -> None:
    rig = Rig(lease("a"), lease("b"))
    rig.api.raises[verb] = refusal
    if verb == "fail":
        rig.work.does["a"] = ValueError("x")
    assert serve(rig.bench)[0] == "refused"
    assert rig.api.events[-1] == "bye"
    assert rig.api.claims == 1


def test_a_refusal_heard_by_the_heartbeat_stops_the_running_job() -> None:
    rig = Rig(lease("a"), takes=50)
    rig.work.at_step = lambda job, step: rig.board.refuse() if step == 2 else None
    assert serve(rig.bench)[0] == "refused"
    assert rig.clock.now() == 1002.0


def test_a_malformed_request_fails_the_job() -> None:
    rig = Rig(lease("a"))
    rig.api.raises["complete"] = BadRequest("files: expected manifest.json")
    serve(rig.bench)
    assert rig.api.failures[0][:2] == ("a", "BadRequest")


@pytest.mark.parametrize("fault", [ApiSilent("no answer"), TransferFailed("no S3")])
def test_trouble_on_the_wire_is_not_the_jobs_failure(fault: Exception) -> None:
    rig = Rig(lease("a"))
    rig.work.does["a"] = fault
    serve(rig.bench)
    assert rig.api.ended == [("a", "interrupted")]


def test_no_job_is_started_with_less_than_one_budget_left() -> None:
    rig = Rig(lease("a", budget_s=60), lease("b", budget_s=60), deadline_in_s=95, takes=10)
    why, tally = serve(rig.bench)
    assert (why, tally.done, rig.api.byes) == ("deadline", 1, ["deadline"])
    assert [each.job_id for each in rig.api.queue] == ["b"]


def test_the_first_job_gets_what_is_left_when_that_is_less_than_its_budget() -> None:
    rig = Rig(lease("a", budget_s=600), deadline_in_s=100, takes=5)
    serve(rig.bench)
    assert rig.work.seconds["a"] == 70.0
    assert rig.api.ended == [("a", "done")]


def test_a_job_still_running_at_the_deadline_is_given_back() -> None:
    rig = Rig(lease("a", budget_s=60), deadline_in_s=3600, takes=50)

    def shorten(job: Lease, step: int) -> None:
        rig.board.deadline_at = rig.clock.now() + (31 if step < 10 else 30)

    rig.work.at_step = shorten
    assert serve(rig.bench)[0] == "deadline"
    assert rig.api.ended == [("a", "draining")]


def test_an_error_nobody_foresaw_still_gives_jobs_back_and_says_bye() -> None:
    rig = Rig(lease("a"), lease("b"), parallel=2)
    rig.work.does["a"] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        serve(rig.bench)
    assert rig.api.ended == [("a", "draining"), ("b", "draining")]
    assert rig.api.byes == ["gave_up"]


def test_jobs_that_wait_in_our_hands_are_given_back_with_the_running_one() -> None:
    rig = Rig(lease("a"), lease("b"), lease("c"), parallel=3)
    rig.work.at_step = lambda job, step: rig.board.interrupt()
    serve(rig.bench)
    assert rig.api.out == {}
    assert {how for _, how in rig.api.ended} == {"interrupted"}


def test_a_silent_server_is_like_an_empty_queue() -> None:
    rig = Rig()
    rig.api.raises["claim"] = ApiSilent("claim got no answer")
    assert serve(rig.bench)[0] == "idle"


def test_a_server_silent_to_the_end_does_not_keep_the_machine() -> None:
    rig = Rig(lease("a"))
    for verb in ("complete", "release", "bye"):
        rig.api.raises[verb] = ApiSilent("nothing")
    assert serve(rig.bench)[0] == "idle"


def test_the_log_is_shipped_after_the_jobs_are_given_back_and_before_bye() -> None:
    rig = Rig(lease("a"))
    rig.work.at_step = lambda job, step: rig.board.interrupt()
    serve(rig.bench, before_bye=lambda: rig.api.events.append("ship"))
    assert rig.api.events[-3:] == ["release", "ship", "bye"]

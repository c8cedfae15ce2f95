"""The server counts: leases by the launch's row, seconds by its clock, uploads by the lease."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from arcspot.domain import results
from arcspot.domain.jobs import MAX_FILE_BYTES, MAX_UPLOADS, Job, JobState
from arcspot.domain.launching import (
    MAX_JOB_UPLOAD_BYTES,
    MAX_JOB_UPLOADS,
    MAX_LOG_UPLOADS,
    MOST_AT_ONCE,
    Launch,
)
from arcspot.errors import BadRequest, Conflict, LeaseLost
from arcspot.services import retiring
from arcspot.services.scaling import estimate_key
from arcspot.services.uploading import MAX_LOG_FILE_BYTES
from gpu_runner import logs as runner_logs
from tests.fakes.driving import Runner, Stack, task

SHA = "0" * 64


def stack_of(jobs: int) -> tuple[Stack, Runner]:
    stack = Stack()
    for n in range(jobs):
        stack.drop(f"tasks/b/{n}.json", task(n))
    return stack, stack.boot(stack.scale()[0])


def launch_of(stack: Stack, runner: Runner) -> Launch:
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    return row


def job_of(stack: Stack, job_id: str) -> Job:
    job = stack.world.store.job(job_id)
    assert job is not None
    return job


def of(lease: dict[str, Any]) -> dict[str, Any]:
    return {"job_id": lease["job_id"], "fence": lease["fence"]}


# Leases --------------------------------------------------------------------------------------------------


def test_a_launch_that_claims_again_and_again_holds_no_more_than_it_may() -> None:
    stack, runner = stack_of(40)
    for _ in range(20):
        runner.claim(want=MOST_AT_ONCE)
    assert len(launch_of(stack, runner).leases) == MOST_AT_ONCE
    held = [job for job in stack.world.store.every(Job) if job.state is JobState.LEASED]
    assert len(held) == MOST_AT_ONCE


def test_nor_by_completing_with_more_and_more_wants() -> None:
    stack, runner = stack_of(40)
    leases = runner.claim(want=MOST_AT_ONCE)
    for lease in leases[:4]:
        runner.ask(
            "complete", **of(lease), files=runner.upload(lease), seconds=1, summary={}, want=MOST_AT_ONCE
        )
    assert len(launch_of(stack, runner).leases) == MOST_AT_ONCE


def test_the_row_itself_takes_no_lease_too_many_and_none_twice() -> None:
    stack, runner = stack_of(12)
    runner.claim(want=MOST_AT_ONCE)
    row = launch_of(stack, runner)
    with pytest.raises(Conflict, match="holds 8"):
        row.lent("one more")
    with pytest.raises(Conflict):
        row.returned(row.leases[0]).lent(row.leases[1])


def test_a_claim_is_one_transaction() -> None:
    stack, runner = stack_of(12)
    written: list[int] = []
    write = stack.world.store.write
    stack.world.store.write = lambda *rows: (written.append(len(rows)), write(*rows))[1]  # type: ignore[method-assign]
    assert len(runner.claim(want=8)) == 8
    assert written[0] == 9


def test_leases_whose_answer_was_lost_are_told_again_and_are_no_second_ones() -> None:
    stack, runner = stack_of(20)
    lost = runner.claim(want=3)
    told = runner.ask("claim", want=4, held=[])["leases"]
    assert [of(lease) for lease in told[:3]] == [of(lease) for lease in lost]
    assert len(launch_of(stack, runner).leases) == 4
    known = [lease["job_id"] for lease in told]
    assert runner.ask("claim", want=2, held=known)["leases"][0]["job_id"] not in known


def test_a_job_that_is_no_longer_ready_ends_its_try_at_once() -> None:
    """It is not read again and again: the index only lags."""
    stack, runner = stack_of(5)
    store = stack.world.store
    stale = store.ready_jobs(5, stack.world.now)
    for job in stale[:3]:
        store.write(job.cancel(now=stack.world.now))
    store.ready_jobs = lambda limit, now, rng=None: stale[:limit]  # type: ignore[method-assign]
    reads: list[str] = []
    jobs_read = store.jobs
    store.jobs = lambda ids, **more: (reads.append(str(len(ids))), jobs_read(ids, **more))[1]  # type: ignore[method-assign]
    (lease,) = runner.claim(want=2)
    assert lease["job_id"] == stale[3].job_id
    assert reads == ["2", "1"]  # one batch read for each round that others were faster in


# Seconds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["complete", "fail", "release"])
@pytest.mark.parametrize("told", [1e15, 1e308, 10**18, 7201.0])
def test_no_runner_books_more_seconds_than_have_passed(verb: str, told: float) -> None:
    stack, runner = stack_of(3)
    (lease,) = runner.claim()
    stack.world.wait(300)
    if verb == "complete":
        runner.complete(lease, seconds=told)
    elif verb == "fail":
        runner.ask("fail", **of(lease), error="X", message="", seconds=told)
    else:
        runner.ask("release", leases=[{**of(lease), "seconds": told}], why="interrupted")
    job = job_of(stack, lease["job_id"])
    assert job.run_s_total == 300
    assert 0 < job.cost_usd_micros < 100_000
    estimate = stack.world.store.estimate(estimate_key(stack.settings))
    assert estimate is None or estimate.seconds <= 300


def test_all_jobs_of_a_launch_together_cost_no_more_than_it_does() -> None:
    stack, runner = stack_of(30)
    costs = 0
    for _ in range(3):
        leases = runner.claim(want=MOST_AT_ONCE)
        stack.world.wait(100)
        for lease in leases:
            runner.complete(lease, seconds=100)
        costs += sum(job_of(stack, lease["job_id"]).cost_usd_micros for lease in leases)
    assert launch_of(stack, runner).worked_s == 300
    assert costs <= stack.retire(runner.launch_id)


def test_what_is_true_is_booked_as_it_was_told() -> None:
    stack, runner = stack_of(3)
    (lease,) = runner.claim()
    stack.world.wait(100)
    runner.complete(lease, seconds=42.5)
    assert job_of(stack, lease["job_id"]).run_s_total == 42.5


def test_a_lease_of_an_earlier_release_is_bounded_by_its_launch() -> None:
    now = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    row = Launch("L", "2026-11", 1, now, now, now, started_at=now)
    assert row.believed(1e15, since=None, now=now + timedelta(seconds=500)) == 500


# Uploads -------------------------------------------------------------------------------------------------


def files(*names: str, size: int = 1) -> list[dict[str, Any]]:
    return [{"name": name, "bytes": size, "sha256": SHA} for name in names]


@pytest.mark.parametrize(
    ("purpose", "name"), [("result", "picture.svg"), ("checkpoint", "state.safetensors")]
)
def test_urls_are_counted_by_the_lease(purpose: str, name: str) -> None:
    _, runner = stack_of(3)
    (lease,) = runner.claim()
    for _ in range(MAX_UPLOADS):
        runner.ask("uploads", **of(lease), purpose=purpose, files=files(name))
    with pytest.raises(BadRequest, match=f"at most {MAX_UPLOADS}"):
        runner.ask("uploads", **of(lease), purpose=purpose, files=files(name))
    with pytest.raises(BadRequest):
        runner.ask("uploads", **of(lease), purpose="result", files=files("metrics.json"))


@pytest.mark.parametrize(
    ("purpose", "name"),
    [
        ("result", "other.bin"), ("result", "state.safetensors"), ("result", "result.zip2"),
        ("result", "runner.log"), ("result", "RESULT.ZIP"), ("checkpoint", "result.zip"),
        ("checkpoint", "state-1.safetensors"), ("checkpoint", "state-" + "g" * 16 + ".safetensors"),
        ("log", "console.txt"), ("log", "runner-0001.log"), ("log", "result.zip"),
    ],
)  # fmt: skip
def test_a_purpose_has_files_of_its_own_names_alone(purpose: str, name: str) -> None:
    stack, runner = stack_of(3)
    (lease,) = runner.claim()
    before = dict(stack.world.store.rows)
    with pytest.raises(BadRequest, match=f"a {purpose} has no file"):
        runner.ask("uploads", **of(lease), purpose=purpose, files=files(name))
    assert stack.world.store.rows == before, "nothing was counted"


@pytest.mark.parametrize("end", ["release", "fail", "complete", "reclaim"])
def test_claiming_again_and_again_does_not_give_a_launch_more_to_store(end: str) -> None:
    """16,000 URLs of 64 MiB: a lease was bounded, and each new one began at nothing."""
    stack, runner = stack_of(8)
    row = launch_of(stack, runner)
    nearly = MAX_JOB_UPLOAD_BYTES - 100
    stack.world.store.write(replace(row, asked_bytes=nearly, asked_files=5))
    (lease,) = runner.claim()
    if end == "complete":
        runner.complete(lease)
    else:
        runner.ask("uploads", **of(lease), purpose="result", files=files("result.zip", size=500))
        if end == "release":
            runner.ask("release", leases=[{**of(lease), "seconds": 1}], why="draining")
        elif end == "fail":
            runner.ask("fail", **of(lease), error="E", message="", seconds=1)
        else:
            job_id = lease["job_id"]
            retiring.reclaim_job(
                stack.ports, job_id, runner.launch_id, reason="x", silent=False, now=stack.world.now
            )
    counted = launch_of(stack, runner)
    assert (counted.asked_files, counted.asked_bytes > MAX_JOB_UPLOAD_BYTES) == (6, True)
    assert runner.ask("claim", want=1) == {"leases": [], "drain": True}, "sent home; another launch goes on"


@pytest.mark.parametrize("want", [None, 0, 1, 8])
@pytest.mark.parametrize("full", ["bytes", "files"])
@pytest.mark.parametrize("raced", [False, True])
def test_the_result_that_fills_its_launch_is_committed(want: int | None, full: str, raced: bool) -> None:
    """It was lost, and with it all that the launch had in hand: the launch could not be lent the next job."""
    stack, runner = stack_of(12)
    first, second = runner.claim(2)
    nearly = (
        {"asked_bytes": MAX_JOB_UPLOAD_BYTES - 1} if full == "bytes" else {"asked_files": MAX_JOB_UPLOADS - 1}
    )
    stack.world.store.write(replace(launch_of(stack, runner), **nearly))
    sent = {lease["job_id"]: runner.upload(lease) for lease in (first, second)}
    if raced:
        lose_the_next_write(stack)
    asks = {} if want is None else {"want": want, "held": []}
    for lease in (first, second):
        answer = runner.ask(
            "complete", **of(lease), files=sent[lease["job_id"]], seconds=1, summary={}, **asks
        )
        assert job_of(stack, lease["job_id"]).state is JobState.DONE
        assert answer.get("leases", []) == []
        assert answer.get("drain", True), "sent home with the answer; another launch goes on"
    assert launch_of(stack, runner).leases == ()


def lose_the_next_write(stack: Stack) -> None:
    """Somebody is faster with it."""
    write, lost = stack.world.store.write, [True]

    def racing(*rows: Any) -> None:
        if lost:
            lost.pop()
            raise Conflict("somebody was faster")
        write(*rows)

    stack.world.store.write = racing  # type: ignore[method-assign]


def test_a_launch_is_sent_home_for_too_many_files_as_well() -> None:
    stack, runner = stack_of(3)
    stack.world.store.write(replace(launch_of(stack, runner), asked_files=MAX_JOB_UPLOADS))
    assert runner.ask("claim", want=1) == {"leases": [], "drain": True}


def test_so_are_their_bytes() -> None:
    _, runner = stack_of(3)
    (lease,) = runner.claim()
    for _ in range(16):
        runner.ask(
            "uploads", **of(lease), purpose="result", files=files("picture.svg", size=64 * 1024 * 1024)
        )
    with pytest.raises(BadRequest, match="bytes"):
        runner.ask("uploads", **of(lease), purpose="result", files=files("picture.svg"))


def test_the_one_object_of_a_result_is_charged_to_the_launch_when_its_lease_ends() -> None:
    """It is not counted when its URL is made, which would be a write; S3 takes it once under each lease."""
    stack, runner = stack_of(8)
    first, second = runner.claim(2)
    sent = sum(sums["bytes"] for sums in runner.upload(first).values())
    runner.complete(first)
    assert (launch_of(stack, runner).asked_files, launch_of(stack, runner).asked_bytes) == (1, sent)
    runner.ask("uploads", **of(second), purpose="result", files=files("result.zip", size=MAX_FILE_BYTES))
    runner.ask("release", leases=[{**of(second), "seconds": 1}], why="draining")
    row = launch_of(stack, runner)
    assert (row.asked_files, row.asked_bytes) == (2, sent + MAX_FILE_BYTES)


def test_logs_are_counted_by_the_launch() -> None:
    stack, runner = stack_of(3)
    row = launch_of(stack, runner)
    stack.world.store.write(row.shipping(files=MAX_LOG_UPLOADS - 1, size=1))
    runner.ask("uploads", purpose="log", files=files("runner.log"))
    with pytest.raises(BadRequest, match="log files"):
        runner.ask("uploads", purpose="log", files=files("runner.log"))


def test_a_log_has_a_key_of_its_own_each_time_and_each_url_is_good_once() -> None:
    stack, runner = stack_of(3)
    for body in (b"one", b"one two"):
        sums = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        told = runner.ask("uploads", purpose="log", files=[{"name": "runner.log", **sums}])["urls"]
        url = told["runner.log"]
        assert stack.world.objects.put(url["url"], url["headers"], body) == 200
        assert stack.world.objects.put(url["url"], url["headers"], body) == 412, "no second version"
    folder = f"logs/{runner.launch_id}/"
    kept = {
        key.removeprefix(folder): stack.world.objects.read(key) for key in stack.world.objects.keys(folder)
    }
    assert kept == {"runner-0001.log": b"one", "runner-0002.log": b"one two"}


def test_a_log_is_no_larger_than_a_runner_ships() -> None:
    _, runner = stack_of(3)
    runner.ask("uploads", purpose="log", files=files("runner.log", size=runner_logs.MAX_LOG_BYTES))
    with pytest.raises(BadRequest, match=r"runner\.log: expected at most"):
        runner.ask("uploads", purpose="log", files=files("runner.log", size=MAX_LOG_FILE_BYTES + 1))


def test_every_url_to_write_with_is_good_for_one_object_and_15_minutes() -> None:
    stack, runner = stack_of(3)
    (lease,) = runner.claim()
    made: list[tuple[int, bool]] = []
    presign = stack.world.objects.presign_put

    def noted(key: str, *, seconds: int, once: bool = False, **more: Any) -> Any:
        made.append((seconds, once))
        return presign(key, seconds=seconds, once=once, **more)

    stack.world.objects.presign_put = noted  # type: ignore[method-assign]
    runner.ask("uploads", **of(lease), purpose="result", files=files(*results.NAMES))
    runner.ask("uploads", **of(lease), purpose="checkpoint", files=files("state.safetensors"))
    runner.ask("uploads", purpose="log", files=files("runner.log"))
    assert set(made) == {(15 * 60, True)}


def test_a_committed_result_cannot_be_replaced_by_an_older_url() -> None:
    stack, runner = stack_of(3)
    (lease,) = runner.claim()
    forged = b"[]"
    sums = {"bytes": len(forged), "sha256": hashlib.sha256(forged).hexdigest()}
    names = sorted(runner.upload(lease))
    urls = runner.ask("uploads", **of(lease), purpose="result", files=[{"name": names[0], **sums}])["urls"]
    before = dict(stack.world.objects.bodies)
    runner.complete(lease)
    assert stack.world.objects.put(urls[names[0]]["url"], urls[names[0]]["headers"], forged) == 412
    assert stack.world.objects.bodies == before


def test_a_checkpoint_is_written_once_under_a_name_and_again_under_another() -> None:
    stack, runner = stack_of(3)
    (lease,) = runner.claim()
    first, second = "state.safetensors", f"state-{SHA[:16]}.safetensors"
    for name, body, status in ((first, b"one", 200), (first, b"two", 412), (second, b"two", 200)):
        sums = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        urls = runner.ask("uploads", **of(lease), purpose="checkpoint", files=[{"name": name, **sums}])[
            "urls"
        ]
        assert stack.world.objects.put(urls[name]["url"], urls[name]["headers"], body) == status
    left = {"key": f"checkpoints/{lease['job_id']}/1/{second}", **sums}
    runner.ask("release", leases=[{**of(lease), "seconds": 1, "checkpoint": left}], why="interrupted")
    version = stack.world.objects.newest[left["key"]]
    assert job_of(stack, lease["job_id"]).checkpoint == {**left, "version": version}


def test_other_bytes_than_announced_are_no_result() -> None:
    stack, runner = stack_of(3)
    (lease,) = runner.claim()
    announced = runner.upload(lease)
    for name in announced:
        wrong = {**announced, name: {**announced[name], "sha256": SHA}}
        with pytest.raises(BadRequest, match=f"{name}: other bytes"):
            runner.ask("complete", **of(lease), files=wrong, seconds=1, summary={})
    assert job_of(stack, lease["job_id"]).state is JobState.LEASED


def test_other_bytes_than_announced_are_no_checkpoint() -> None:
    stack, runner = stack_of(3)
    (lease,) = runner.claim()
    key = f"checkpoints/{lease['job_id']}/1/state.safetensors"
    stack.world.objects.write(key, b"state", content_type="x")
    left = {"key": key, "bytes": 5, "sha256": SHA}
    with pytest.raises(BadRequest, match="other bytes"):
        runner.ask("release", leases=[{**of(lease), "seconds": 1, "checkpoint": left}], why="interrupted")


def test_an_upload_for_somebody_elses_lease_is_refused() -> None:
    _, runner = stack_of(3)
    (lease,) = runner.claim()
    with pytest.raises(LeaseLost):
        runner.ask("uploads", job_id=lease["job_id"], fence=2, purpose="result", files=files("result.zip"))


# The next job --------------------------------------------------------------------------------------------


def test_a_result_and_the_next_lease_are_one_transaction() -> None:
    stack, runner = stack_of(5)
    (lease,) = runner.claim()
    uploaded = runner.upload(lease)
    written: list[list[str]] = []
    write = stack.world.store.write

    def noted(*rows: Any) -> None:
        written.append([type(row).__name__ for row in rows])
        write(*rows)

    stack.world.store.write = noted  # type: ignore[method-assign]
    asked = {**of(lease), "files": uploaded, "seconds": 1, "summary": {}, "want": 1}
    answer = runner.ask("complete", **asked, held=[])
    assert written[0] == ["Job", "Job", "Launch"]
    (following,) = answer["leases"]
    assert following["job_id"] != lease["job_id"]
    assert json.loads(following["task"])["train"]
    assert not answer["drain"]
    assert launch_of(stack, runner).leases == (following["job_id"],)
    # The answer was lost: the same call is told the same.
    again = runner.ask("complete", **asked, held=[])
    assert [of(each) for each in again["leases"]] == [of(following)]
    assert len(launch_of(stack, runner).leases) == 1


def test_a_runner_of_an_earlier_release_is_told_of_no_lease() -> None:
    stack, runner = stack_of(5)
    (lease,) = runner.claim()
    answer = runner.complete(lease)
    assert set(answer) == {"result_prefix"}
    assert launch_of(stack, runner).leases == ()


def test_a_result_is_committed_though_somebody_was_faster_with_the_next_job() -> None:
    stack, runner = stack_of(5)
    (lease,) = runner.claim()
    uploaded, store = runner.upload(lease), stack.world.store
    stale = store.ready_jobs(1, stack.world.now)
    store.write(stale[0].cancel(now=stack.world.now))
    real, asked = store.ready_jobs, []

    def lagging(limit: int, now: datetime, rng: Any = None) -> list[Job]:
        asked.append(limit)
        return stale if len(asked) == 1 else real(limit, now, rng)

    store.ready_jobs = lagging  # type: ignore[method-assign]
    answer = runner.ask("complete", **of(lease), files=uploaded, seconds=1, summary={}, want=1, held=[])
    assert job_of(stack, lease["job_id"]).state is JobState.DONE
    assert [each["job_id"] for each in answer["leases"]] != [stale[0].job_id]
    assert len(answer["leases"]) == 1


def test_a_launch_that_drains_completes_and_gets_nothing_new() -> None:
    stack, runner = stack_of(5)
    (lease,) = runner.claim()
    stack.world.store.write(launch_of(stack, runner).asked_to_drain(reason="spot"))
    answer = runner.ask(
        "complete", **of(lease), files=runner.upload(lease), seconds=1, summary={}, want=1, held=[]
    )
    assert (answer["leases"], answer["drain"]) == ([], True)

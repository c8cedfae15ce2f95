"""The only door for an instance: it acts as itself, on its own leases, and commits once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from arcspot.domain import results
from arcspot.domain.jobs import JobState
from arcspot.domain.launching import LaunchState
from arcspot.errors import BadRequest, Conflict, LaunchClosed, LeaseLost, NotYourself
from arcspot.services import retiring
from arcspot.services.serving import MOST_AT_ONCE
from tests.fakes.driving import GOOD_TASK, Runner, Stack, sums_of, task


def test_a_runner_answers_a_task() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    runner.complete(lease, seconds=7)
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert (job.state, job.result_prefix) == (JobState.DONE, f"results/{job.job_id}/1/")
    assert job.cost_usd_micros > 0
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    assert row.active_leases == 0


@pytest.mark.parametrize(
    "lie",
    [
        {"role": "somebody-else"},
        {"account": "210987654321"},  # a role of the same name in another account
        {"role_id": "AROAANOTHER"},  # a role of the same name that was made again
        {"session": "i-9999"},
        {"signed_for": "another-launch"},
    ],
)
def test_who_does_not_prove_to_be_the_instance_is_refused(lie: dict[str, str]) -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    runner = Runner(stack, launch_id, stack.launch(launch_id)["instance_id"])
    with pytest.raises(NotYourself):
        runner.hello(**lie)


def test_an_instance_cannot_speak_for_another_launch() -> None:
    stack = Stack()
    for n in range(40):
        stack.drop(f"tasks/b/{n}.json", task(n))
    first, second = stack.scale()
    one = stack.boot(first)
    stack.launch(second)
    impostor = Runner(stack, second, one.instance_id)
    with pytest.raises(NotYourself, match="EC2 does not show"):
        impostor.hello()


def test_a_second_hello_makes_the_first_secret_worthless() -> None:
    stack = Stack()
    runner = stack.one_running()
    old = runner.secret
    runner.hello()
    assert runner.claim()
    runner.secret = old
    with pytest.raises(NotYourself):
        runner.claim()


@pytest.mark.parametrize("ago", [181.0, 600.0, 899.0, 1e6, -121.0, -899.0, -1e6])
def test_a_proof_that_was_not_signed_just_now_is_refused(ago: float) -> None:
    """STS takes it for 15 minutes, whatever `X-Amz-Expires` says."""
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    runner = Runner(stack, launch_id, stack.launch(launch_id)["instance_id"])
    with pytest.raises(NotYourself, match="signed at"):
        runner.hello(signed_ago_s=ago)


@pytest.mark.parametrize("ago", [0.0, 59.0, 179.0, -119.0])
def test_clocks_that_are_off_by_a_little_keep_nobody_out(ago: float) -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    runner = Runner(stack, launch_id, stack.launch(launch_id)["instance_id"])
    runner.hello(signed_ago_s=ago)
    assert runner.claim()


def test_a_proof_counts_once_whoever_sends_it_again() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    runner = Runner(stack, launch_id, stack.launch(launch_id)["instance_id"])
    runner.hello(signed_ago_s=20)
    thief = Runner(stack, launch_id, runner.instance_id)
    for seconds in (20, 21, 60):  # the same one, and one that was made before it
        with pytest.raises(NotYourself, match="has heard this proof"):
            thief.hello(signed_ago_s=seconds)
    assert runner.claim(), "its secret still counts"
    runner.hello(signed_ago_s=10)
    assert not runner.ask("heartbeat", leases=[])["drain"]


def test_a_hello_whose_write_was_told_lost_is_taken_all_the_same() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    runner = Runner(stack, launch_id, stack.launch(launch_id)["instance_id"])
    write, told = stack.world.store.write, iter([True])

    def lost(*rows: Any) -> None:
        write(*rows)
        if next(told, False):
            raise Conflict("version is not what was read")

    stack.world.store.write = lost  # type: ignore[method-assign]
    runner.hello(signed_ago_s=5)
    assert runner.claim()


@pytest.mark.parametrize("state", ["stopping", "stopped", "shutting-down", "terminated"])
def test_an_instance_that_ended_begins_nothing_with_credentials_it_left(state: str) -> None:
    """An instance profile's credentials are good for hours after it, wherever they went."""
    stack = Stack()
    runner = stack.one_running()
    seen = stack.world.ec2.seen
    seen[runner.instance_id] = replace(seen[runner.instance_id], state=state)
    with pytest.raises(NotYourself, match=state):
        runner.hello(signed_ago_s=0)


def test_another_instance_of_the_role_cannot_use_a_proof_of_this_one() -> None:
    stack = Stack()
    for n in range(40):
        stack.drop(f"tasks/b/{n}.json", task(n))
    one, other = (stack.boot(launch_id) for launch_id in stack.scale())
    with pytest.raises(NotYourself, match="STS knows the caller"):
        Runner(stack, other.launch_id, other.instance_id).hello(session=one.instance_id)
    with pytest.raises(NotYourself, match="EC2 does not show"):
        Runner(stack, other.launch_id, one.instance_id).hello()
    with pytest.raises(NotYourself, match="signed for this launch"):
        Runner(stack, other.launch_id, other.instance_id).hello(signed_for=one.launch_id)


def test_a_hello_that_is_faster_than_the_launch_function_is_taken_in() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    from arcspot.ports import FleetOrder

    instance = stack.world.ec2.launch(FleetOrder(launch_id=launch_id, instance_types=("g4dn.xlarge",)))
    runner = Runner(stack, launch_id, instance.instance_id)
    runner.hello()
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert (row.state, row.instance_id) == (LaunchState.ACTIVE, instance.instance_id)


def test_two_runners_never_hold_the_same_job() -> None:
    stack = Stack()
    for n in range(40):
        stack.drop(f"tasks/b/{n}.json", task(n))
    runners = [stack.boot(launch_id) for launch_id in stack.scale()]
    claimed = [lease["job_id"] for runner in runners for _ in range(5) for lease in runner.claim(2)]
    assert len(claimed) == len(set(claimed)) == 2 * MOST_AT_ONCE


def test_a_stale_fence_commits_nothing() -> None:
    stack = Stack()
    first = stack.one_running()
    (lease,) = first.claim()
    retiring.reclaim(stack.ports, first.launch_id, reason="silent", silent=True, now=stack.world.now)
    (second_id,) = stack.scale()
    second = stack.boot(second_id)
    (newer,) = second.claim()
    assert newer["fence"] == lease["fence"] + 1
    with pytest.raises(LeaseLost):
        first.complete(lease)
    second.complete(newer)
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert job.result_prefix.endswith("/2/")


def test_completing_twice_is_completing_once() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    runner.complete(lease)
    files = {"result.zip": {"bytes": 1, "sha256": "0" * 64}}
    stack.world.objects.bodies[f"results/{lease['job_id']}/1/result.zip"] = b"x"
    before = stack.world.store.job(lease["job_id"])
    runner.ask("complete", job_id=lease["job_id"], fence=lease["fence"], files=files, seconds=1, summary={})
    assert stack.world.store.job(lease["job_id"]) == before


def test_what_is_not_in_the_bucket_is_not_a_result() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    files = runner.upload(lease)
    stack.world.objects.delete(f"results/{lease['job_id']}/1/result.zip")
    with pytest.raises(BadRequest, match=r"result\.zip"):
        runner.ask("complete", job_id=lease["job_id"], fence=1, files=files, seconds=1, summary={})


def test_a_runner_of_an_earlier_release_delivers_its_files_one_by_one() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    files = {name: sums_of(name.encode()) for name in results.LAST}
    held = {"job_id": lease["job_id"], "fence": lease["fence"]}
    wanted = [{"name": name, **sums} for name, sums in files.items()]
    urls = runner.ask("uploads", **held, purpose="result", files=wanted)["urls"]
    for name in files:
        stack.world.objects.put(urls[name]["url"], urls[name]["headers"], name.encode())
    fewer = {name: sums for name, sums in files.items() if name != "metrics.json"}
    with pytest.raises(BadRequest, match=r"expected result\.zip"):
        runner.ask("complete", **held, files=fewer, seconds=1, summary={})
    runner.ask("complete", **held, files=files, seconds=1, summary={})
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert job.state is JobState.DONE


def test_nothing_commits_after_a_cancel() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    files = runner.upload(lease)
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    stack.world.store.write(job.cancel(now=stack.world.now))
    beat = runner.ask("heartbeat", leases=[{"job_id": job.job_id, "fence": 1}], gpu_utilisation=None)
    assert beat["cancelled"] == [job.job_id]
    with pytest.raises(LeaseLost, match="cancelled"):
        runner.ask("complete", job_id=job.job_id, fence=1, files=files, seconds=1, summary={})
    runner.ask("release", leases=[{"job_id": job.job_id, "fence": 1, "seconds": 3}], why="cancelled")
    ended = stack.world.store.job(job.job_id)
    assert ended is not None
    assert ended.state is JobState.CANCELLED


def test_failures_end_a_job_and_interruptions_do_not() -> None:
    stack = Stack()
    runner = stack.one_running()
    for _ in range(3):
        (lease,) = runner.claim()
        runner.ask(
            "release",
            leases=[{"job_id": lease["job_id"], "fence": lease["fence"], "seconds": 9}],
            why="interrupted",
        )
    states = []
    for _ in range(3):
        (lease,) = runner.claim()
        states.append(
            runner.ask(
                "fail", job_id=lease["job_id"], fence=lease["fence"], error="Boom", message="no", seconds=1
            )["state"]
        )
    assert states == ["READY", "READY", "DEAD"]
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert (job.failures, job.interruptions) == (3, 3)
    assert "Boom: no" in job.reason


def test_bye_leaves_no_job_in_the_runners_hands() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    runner.ask("bye", why="interrupted")
    job = stack.world.store.job(lease["job_id"])
    assert job is not None
    assert job.state is JobState.READY
    assert runner.claim() == []
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    assert (row.state, row.active_leases) == (LaunchState.DRAINING, 0)


def test_a_runner_that_gives_up_is_not_replaced_at_once() -> None:
    stack = Stack()
    runner = stack.one_running()
    runner.ask("bye", why="gave_up")
    stack.retire(runner.launch_id)
    assert stack.scale() == []
    stack.world.wait(121)
    assert len(stack.scale()) == 1


def test_a_closed_launch_answers_nobody() -> None:
    stack = Stack()
    runner = stack.one_running()
    stack.retire(runner.launch_id)
    with pytest.raises((LaunchClosed, NotYourself)):
        runner.claim()


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"verb": "claim"},
        {"verb": "dance"},
        {"verb": "claim", "want": "many"},
        {"verb": "claim", "want": float("nan")},
        {"verb": "heartbeat", "leases": {}},
        {"verb": "uploads", "purpose": "log", "files": [{"name": "../x", "bytes": 1, "sha256": "0" * 64}]},
        {"verb": "uploads", "purpose": "log", "files": [{"name": "x", "bytes": 1, "sha256": "zz"}]},
        {"verb": "release", "leases": [], "why": "because"},
        {"verb": "complete", "job_id": "x", "fence": 1, "files": {}, "seconds": 1},
    ],
)
def test_a_request_of_another_shape_is_refused(request_: dict[str, object]) -> None:
    stack = Stack()
    runner = stack.one_running()
    with pytest.raises(BadRequest):
        stack.door().handle({"launch_id": runner.launch_id, "secret": runner.secret, **request_})


def test_a_ping_needs_no_name_reads_a_table_and_changes_nothing() -> None:
    stack = Stack()
    runner = stack.one_running()
    before = dict(stack.world.store.rows)
    assert stack.door().handle({"verb": "ping"}) == {}
    assert stack.world.store.rows == before
    stack.world.store.fleet = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        stack.door().handle({"verb": "ping"})
    assert runner.secret


@pytest.mark.parametrize(
    ("figure", "idle"), [(0, True), (4.99, True), (5, False), (100, False), (250, False), (None, False)]
)
def test_the_gpus_figure_is_kept_with_the_launch(figure: float | None, idle: bool) -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    stack.world.wait(10)
    held = [{"job_id": lease["job_id"], "fence": 1}]
    runner.ask("heartbeat", leases=held, gpu_utilisation=figure)
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    assert row.gpu_idle_since == (stack.world.now if idle else None)


@pytest.mark.parametrize("figure", [-1, "much", float("nan"), True])
def test_a_gpu_figure_that_is_none_is_refused(figure: object) -> None:
    stack = Stack()
    runner = stack.one_running()
    with pytest.raises(BadRequest, match="gpu_utilisation"):
        runner.ask("heartbeat", leases=[], gpu_utilisation=figure)


def test_bye_gives_every_lease_back_and_ends_the_cancelled_one() -> None:
    stack = Stack()
    for n in range(3):
        stack.drop(f"tasks/b/{n}.json", task(n))
    (launch_id,) = stack.scale()
    runner = stack.boot(launch_id)
    ids = [lease["job_id"] for lease in runner.claim(3)]
    job = stack.world.store.job(ids[1])
    assert job is not None
    stack.world.store.write(job.cancel(now=stack.world.now))
    runner.ask("bye", why="draining")
    ended = stack.world.store.jobs(ids)
    assert [ended[i].state for i in ids] == [JobState.READY, JobState.CANCELLED, JobState.READY]
    assert [ended[i].failures for i in ids] == [0, 0, 0]
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert (row.state, row.leases) == (LaunchState.DRAINING, ())
    assert stack.world.kick.kicked[-2:] == ["report", "scale"]


def test_a_claim_is_kept_in_the_job_and_in_the_launch_together() -> None:
    stack = Stack()
    for n in range(3):
        stack.drop(f"tasks/b/{n}.json", task(n))
    (launch_id,) = stack.scale()
    runner = stack.boot(launch_id)
    ids = {lease["job_id"] for lease in runner.claim(2)}
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert set(row.leases) == ids
    assert {job.lease.launch_id for job in stack.world.store.jobs(list(ids)).values() if job.lease} == {
        launch_id
    }

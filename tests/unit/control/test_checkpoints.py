"""What a runner leaves with a job goes to the job's next runner, and nothing else ever does."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from arcspot.domain.jobs import JobState
from arcspot.errors import BadRequest
from arcspot.services import retiring
from tests.fakes.driving import Runner, Stack

BODY = b"the state of a solve"
SUM = {"bytes": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}


def leave(runner: Runner, lease: dict[str, Any], name: str = "state.safetensors") -> dict[str, Any]:
    """Upload a checkpoint through the door, as a runner does; its record."""
    where = {"job_id": lease["job_id"], "fence": lease["fence"]}
    urls = runner.ask("uploads", **where, purpose="checkpoint", files=[{"name": name, **SUM}])["urls"]
    runner.stack.world.objects.put(urls[name]["url"], urls[name]["headers"], BODY)
    return {"key": f"checkpoints/{lease['job_id']}/{lease['fence']}/{name}", **SUM}


def release(runner: Runner, lease: dict[str, Any], checkpoint: object) -> None:
    row = {"job_id": lease["job_id"], "fence": lease["fence"], "seconds": 9, "checkpoint": checkpoint}
    runner.ask("release", leases=[row], why="interrupted")


def test_the_next_runner_gets_what_the_last_one_left() -> None:
    runner = Stack().one_running()
    (lease,) = runner.claim()
    assert (lease["checkpoint_url"], lease["checkpoint"]) == (None, None)
    release(runner, lease, leave(runner, lease))
    (again,) = runner.claim()
    key = f"checkpoints/{lease['job_id']}/1/state.safetensors"
    version = runner.stack.world.objects.newest[key]
    assert again["checkpoint_url"] == f"memory://{key}?versionId={version}"
    assert again["checkpoint"] == SUM


def test_an_interruption_without_a_checkpoint_leaves_the_earlier_one() -> None:
    runner = Stack().one_running()
    (lease,) = runner.claim()
    release(runner, lease, leave(runner, lease))
    (lease,) = runner.claim()
    release(runner, lease, None)
    (lease,) = runner.claim()
    assert lease["fence"] == 3
    assert "/1/state.safetensors?" in lease["checkpoint_url"]


def test_a_runner_killed_without_notice_leaves_what_an_earlier_one_left() -> None:
    stack = Stack()
    runner = stack.one_running()
    (lease,) = runner.claim()
    release(runner, lease, leave(runner, lease))
    runner.claim()
    retiring.reclaim(stack.ports, runner.launch_id, reason="silent", silent=True, now=stack.world.now)
    (launch_id,) = stack.scale()
    (lease,) = stack.boot(launch_id).claim()
    assert (lease["fence"], lease["checkpoint"]) == (3, SUM)


def test_releasing_twice_with_a_checkpoint_is_releasing_once() -> None:
    runner = Stack().one_running()
    (lease,) = runner.claim()
    record = leave(runner, lease)
    release(runner, lease, record)
    before = runner.stack.world.store.job(lease["job_id"])
    release(runner, lease, record)
    assert runner.stack.world.store.job(lease["job_id"]) == before


@pytest.mark.parametrize(
    "key",
    [
        "tasks/b/one.json",
        "results/{job}/1/prediction.json",
        "checkpoints/another-job/1/state.safetensors",
        "checkpoints/{job}/2/state.safetensors",
        "checkpoints/{job}/1/",
        "checkpoints/{job}/1/../../another-job/1/state.safetensors",
        "checkpoints/{job}/1/deeper/state.safetensors",
        "/checkpoints/{job}/1/state.safetensors",
        "",
        7,
    ],
)
def test_a_key_that_is_not_this_attempts_own_is_refused(key: Any) -> None:
    runner = Stack().one_running()
    (lease,) = runner.claim()
    record = leave(runner, lease)
    told = key.format(job=lease["job_id"]) if isinstance(key, str) else key
    runner.stack.world.objects.bodies[str(told)] = BODY  # even if it is there
    with pytest.raises(BadRequest):
        release(runner, lease, {**record, "key": told})
    job = runner.stack.world.store.job(lease["job_id"])
    assert job is not None
    assert (job.state, job.checkpoint) == (JobState.LEASED, None)


@pytest.mark.parametrize(
    "change", [{"bytes": 1}, {"bytes": 10**12}, {"bytes": None}, {"sha256": "zz"}, {"sha256": None}]
)
def test_a_checkpoint_that_is_not_what_was_uploaded_is_refused(change: dict[str, Any]) -> None:
    runner = Stack().one_running()
    (lease,) = runner.claim()
    with pytest.raises(BadRequest):
        release(runner, lease, leave(runner, lease) | change)


@pytest.mark.parametrize("nonsense", ["key", 7, [], {}])
def test_a_checkpoint_of_another_shape_is_refused(nonsense: object) -> None:
    runner = Stack().one_running()
    (lease,) = runner.claim()
    with pytest.raises(BadRequest):
        release(runner, lease, nonsense)


def test_a_checkpoint_that_was_never_uploaded_is_refused() -> None:
    runner = Stack().one_running()
    (lease,) = runner.claim()
    with pytest.raises(BadRequest, match="nothing in the bucket"):
        release(runner, lease, {"key": f"checkpoints/{lease['job_id']}/1/state.safetensors", **SUM})

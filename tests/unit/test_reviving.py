"""What a person's retry may do to a job, and what it leaves as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from arcspot.domain.jobs import MAX_FAILURES, MAX_INTERRUPTIONS, Job, JobState, TaskInput
from arcspot.errors import Conflict, LeaseLost

THEN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)
NEW = Job(
    job_id="j",
    batch_id="b",
    input=TaskInput(bucket="bucket", key="tasks/b/t.json", object_version="1", task_id="t"),
    config={},
    solver_version="s",
    created_at=THEN,
    updated_at=THEN,
    estimate_s=60.0,
    ready_at=THEN,
    lane=2,
)
OVER_WITHOUT_AN_ANSWER = (JobState.DEAD, JobState.CANCELLED)


def claimed(job: Job) -> Job:
    return job.claimed(launch_id="launch", now=THEN, lease_seconds=60)


def killer() -> Job:
    """A job that was given up because it killed its runner twice; it also failed and was interrupted."""
    worn = replace(NEW, failures=MAX_FAILURES, interruptions=MAX_INTERRUPTIONS)
    once = claimed(worn).reclaimed(now=THEN, silent=True, why="silent")
    return claimed(once).reclaimed(now=THEN, silent=True, why="silent")


def cancelled_while_it_ran() -> Job:
    return claimed(NEW).cancel(now=THEN).reclaimed(now=THEN, silent=False, why="gone")


@pytest.mark.parametrize("over", [killer(), NEW.cancel(now=THEN), cancelled_while_it_ran()])
def test_a_job_that_is_over_without_an_answer_starts_anew_with_nothing_against_it(over: Job) -> None:
    revived = over.revived(now=NOW)
    assert (revived.state, revived.ready_at, revived.reason) == (JobState.READY, NOW, "retried by hand")
    assert (revived.failures, revived.interruptions, revived.silent_deaths) == (0, 0, 0)
    assert (revived.cancelled, revived.lease) == (False, None)


@pytest.mark.parametrize("over", [killer(), cancelled_while_it_ran()])
def test_fences_only_grow_so_an_old_attempt_commits_nothing(over: Job) -> None:
    assert over.revived(now=NOW).fence == over.fence
    again = claimed(over.revived(now=NOW))
    with pytest.raises(LeaseLost):
        again.held_by(launch_id="launch", fence=over.fence)
    assert again.fence == over.fence + 1


def test_what_was_spent_and_where_it_stood_is_not_forgotten() -> None:
    spent = replace(killer(), run_s_total=90.0, cost_usd_micros=500, checkpoint={"key": "c"})
    revived = spent.revived(now=NOW)
    assert (revived.run_s_total, revived.cost_usd_micros, revived.checkpoint) == (90.0, 500, {"key": "c"})
    assert (revived.lane, revived.created_at, revived.input) == (2, THEN, NEW.input)


@pytest.mark.parametrize("state", [state for state in JobState if state not in OVER_WITHOUT_AN_ANSWER])
def test_any_other_job_is_left_alone(state: JobState) -> None:
    with pytest.raises(Conflict, match=f"j is {state}"):
        replace(NEW, state=state).revived(now=NOW)


def test_a_revived_job_can_be_given_up_and_revived_again() -> None:
    revived = killer().revived(now=NOW)
    for _ in range(2):
        revived = claimed(revived).reclaimed(now=NOW, silent=True, why="silent")
    assert revived.state is JobState.DEAD
    assert revived.revived(now=NOW).state is JobState.READY

"""Why a job waits, in one word, and since when."""

from __future__ import annotations

from datetime import datetime

from arcspot.domain.budget import Fleet
from arcspot.domain.jobs import Job, JobState

# What `Fleet.waits_for` and `why` say, in words a person can act on.
WORDS = {
    "budget": "budget: the month's cap cannot cover another instance's worst case",
    "slots": "slots: every allowed instance is running",
    "quota": "quota: the account's GPU vCPU quota is too small",
    "capacity": "capacity: EC2 has no instance to give",
    "throttle": "throttle: EC2 asked us to slow down",
    "config": "config: launching fails until a person mends it (see the mail; then arcspot resume)",
    "refused": "refused: EC2 gives no instance for another reason; tried again by itself (see the mail)",
    "runner": "runner: the last instances could not work; see logs/ in the bucket",
    "paused": "paused: arcspot resume lets it go on",
    "hours": "hours: outside the hours in which instances may run (AllowedHours)",
    "company": "company: a small backlog waits a moment for more",
    "step": "step: at most four instances start at once",
    "boot": "boot: an instance is on its way",
    "turn": "turn: instances are at work, this job's turn comes",
}


def why(job: Job, fleet: Fleet | None) -> tuple[str, datetime] | None:
    """The one reason a READY job is not being worked on, and since when it holds; None for any other job.

    What keeps the fleet from growing keeps every waiting job; without such a reason it is the
    queue alone ("turn"). A job that came later than the reason waits only since it came.
    """
    if job.state is not JobState.READY:
        return None
    since = job.ready_at or job.created_at
    if fleet is None or not fleet.waits_for:
        return "turn", since
    return fleet.waits_for, max(since, fleet.waits_since or since)

"""A job: one run of one task with one configuration, and the legal ways it can change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zlib import crc32

from arcspot.domain.names import path_fault
from arcspot.errors import BadRequest, LeaseLost, WrongState

MAX_FAILURES = 2
MAX_SILENT_DEATHS = 2
MAX_STALLS = 3
# An interruption is the machine's fault and never ends a job (docs/decisions/068).
# After so many of them it waits before it is tried again, each time twice as long.
CALM_INTERRUPTIONS = 3
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
# Until a task that S3 does not give out is asked for again; the second time three times as long.
UNREAD_PAUSE = timedelta(minutes=5)
# Words of a runner for a job that waits in its hands; what it says beyond them is work.
NOT_BEGUN = ("", "claimed", "waiting", "waits")
OVERRUN_GRACE_S = 300.0
# The tasks of a file are made a microsecond apart: less than this is no wait.
NEARLY = timedelta(seconds=1)
# With the tenth the pause is at its longest.
MAX_INTERRUPTIONS = 10
# From here on spot has had its chance: such a job is worth an on-demand instance, where one is allowed.
OFTEN_INTERRUPTED = 6
LANES = (0, 1, 2)
# A result is a handful of files, asked for once or, after a lost answer, a few times.
MAX_UPLOADS = 64
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_UPLOAD_BYTES = 1024 * 1024 * 1024
# What `runner_api` says of a task that it cannot hand out, and what runners of earlier releases said of a
# task file that they could not get.
UNREAD = (
    "RecordMissing: ",
    "ObjectUnreadable: ",
    "TaskFileRefused: ",
    "TransferRefused: GET ",
    "TransferFailed: GET ",
)
MAX_REASON_CHARS = 500
# An estimate that has seen so many jobs looks at one of `SAMPLED` from then on.
SETTLED_COUNT = 10
SAMPLED = 16
DEFAULT_LANE = 1


class JobState(StrEnum):
    READY = "READY"
    LEASED = "LEASED"
    DONE = "DONE"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"

    @property
    def terminal(self) -> bool:
        return self not in (JobState.READY, JobState.LEASED)


@dataclass(frozen=True, slots=True)
class TaskInput:
    """Where a job's task is: one exact version of one object, and the task's id within that file.

    `place`: the bytes of it that hold the task, from the first up to the second; none on a job of an earlier
    release, whose task is looked for in the whole file.
    """

    bucket: str
    key: str
    object_version: str
    task_id: str
    place: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """A runner's right to work on a job until a time, by the server's clock.

    `since` is when it was given; None on one of an earlier release. `uploads` and `upload_bytes` count
    the files for which URLs were asked under it.
    """

    launch_id: str
    fence: int
    expires_at: datetime
    phase: str = "claimed"
    fraction: float = 0.0
    since: datetime | None = None
    uploads: int = 0
    upload_bytes: int = 0

    def uploading(self, *, files: int, size: int) -> Lease:
        """Note that URLs for so many files were asked for. Raises BadRequest beyond an attempt's share."""
        counted = replace(self, uploads=self.uploads + files, upload_bytes=self.upload_bytes + size)
        if counted.uploads > MAX_UPLOADS or counted.upload_bytes > MAX_UPLOAD_BYTES:
            raise BadRequest(
                f"files: this lease has had URLs for {self.uploads} files and {self.upload_bytes:,} bytes; "
                f"it gets at most {MAX_UPLOADS} and {MAX_UPLOAD_BYTES:,}"
            )
        return counted


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the jobs table. Every method returns the next row and leaves this one alone."""

    job_id: str
    batch_id: str
    input: TaskInput
    config: Mapping[str, Any]
    solver_version: str
    created_at: datetime
    updated_at: datetime
    estimate_s: float
    state: JobState = JobState.READY
    lane: int = DEFAULT_LANE
    ready_at: datetime | None = None
    fence: int = 0
    lease: Lease | None = None
    run_s_total: float = 0.0
    failures: int = 0
    interruptions: int = 0
    silent_deaths: int = 0
    stalls: int = 0
    checkpoint: Mapping[str, Any] | None = None
    result_prefix: str = ""
    summary: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    cancelled: bool = False
    cost_usd_micros: int = 0
    version: int = 0

    @property
    def task_id(self) -> str:
        return self.input.task_id

    @property
    def often_interrupted(self) -> bool:
        """Whether spot has had its chance with this job."""
        return self.interruptions >= OFTEN_INTERRUPTED

    @property
    def counted(self) -> tuple[int, int]:
        """How many files and bytes are counted on its lease: all but the one object of a result."""
        return (self.lease.uploads, self.lease.upload_bytes) if self.lease else (0, 0)

    @property
    def uploads(self) -> tuple[int, int]:
        """How many files and bytes may be stored under a lease that ends without the one object of a result.

        Its URL is not counted when it is made, and is good for 15 minutes, whatever the lease does meanwhile.
        """
        files, size = self.counted
        return files + 1, size + MAX_FILE_BYTES

    def due(self, now: datetime) -> bool:
        """Whether the job may be claimed now."""
        waits = self.ready_at is not None and self.ready_at > now + NEARLY
        return self.state is JobState.READY and not self.cancelled and not waits

    @property
    def unread(self) -> bool:
        """Whether the job ended because its task could not be read."""
        return self.state is JobState.DEAD and any(f": {words}" in self.reason for words in UNREAD)

    @property
    def needs_a_file(self) -> bool:
        """Whether nobody could read the job's file, or nobody will: earlier releases took any key."""
        over = self.state in (JobState.DONE, JobState.CANCELLED)
        return self.unread or (path_fault(self.input.key) is not None and not over)

    def claimed(self, *, launch_id: str, now: datetime, lease_seconds: int) -> Job:
        """Give the job to a launch. Raises WrongState unless it is READY and not cancelled."""
        if self.state is not JobState.READY or self.cancelled:
            raise WrongState(f"job {self.job_id} is {self.state}, not READY")
        fence = self.fence + 1
        expires_at = now + timedelta(seconds=lease_seconds)
        lease = Lease(launch_id=launch_id, fence=fence, expires_at=expires_at, since=now)
        return replace(
            self, state=JobState.LEASED, fence=fence, lease=lease, ready_at=None, reason="", updated_at=now
        )

    def leased_to(self, launch_id: str, fence: int) -> bool:
        """Whether this launch holds it under this fence."""
        lease = self.lease
        return lease is not None and (lease.launch_id, lease.fence) == (launch_id, fence)

    def held_by(self, *, launch_id: str, fence: int) -> Lease:
        """The lease, if it is this launch's and this fence's.

        A lease past its time still counts until somebody reclaims the job: reclaiming
        is the write that makes the fence stale, and until then nobody else works on it.
        Raises LeaseLost.
        """
        lease = self.lease
        if self.state is not JobState.LEASED or lease is None:
            raise LeaseLost(f"job {self.job_id} is {self.state}, not leased")
        if lease.launch_id != launch_id or lease.fence != fence:
            raise LeaseLost(f"job {self.job_id} is leased under fence {lease.fence}, not {fence}")
        if self.cancelled:
            raise LeaseLost(f"job {self.job_id} was cancelled")
        return lease

    def extended(
        self, *, launch_id: str, fence: int, now: datetime, lease_seconds: int, phase: str, fraction: float
    ) -> Job:
        """The lease from now on. While two thirds of it are left the row stays as it is, whatever the
        phase: a write each heartbeat would be the dearest part of the whole control plane.

        Raises LeaseLost.
        """
        lease = self.held_by(launch_id=launch_id, fence=fence)
        if (lease.expires_at - now).total_seconds() > lease_seconds * 2 / 3:
            return self
        longer = replace(
            lease, expires_at=now + timedelta(seconds=lease_seconds), phase=phase, fraction=fraction
        )
        return replace(self, lease=longer, updated_at=now)

    def uploading(self, *, launch_id: str, fence: int, files: int, size: int, now: datetime) -> Job:
        """The job with so many files counted on its lease. Raises LeaseLost; BadRequest beyond the most."""
        lease = self.held_by(launch_id=launch_id, fence=fence)
        return replace(self, lease=lease.uploading(files=files, size=size), updated_at=now)

    def completed(
        self,
        *,
        launch_id: str,
        fence: int,
        now: datetime,
        seconds: float,
        result_prefix: str,
        summary: Mapping[str, Any],
        cost: int = 0,
    ) -> Job:
        """Make one attempt's artefacts *the* result. Raises LeaseLost for any other fence."""
        self.held_by(launch_id=launch_id, fence=fence)
        return replace(
            self,
            state=JobState.DONE,
            lease=None,
            run_s_total=self.run_s_total + seconds,
            result_prefix=result_prefix,
            summary=summary,
            cost_usd_micros=self.cost_usd_micros + cost,
            reason="",
            updated_at=now,
        )

    def failed(
        self, *, launch_id: str, fence: int, now: datetime, seconds: float, reason: str, cost: int = 0
    ) -> Job:
        """Count a failure: READY again, or DEAD with the last reason after `MAX_FAILURES` retries."""
        self.held_by(launch_id=launch_id, fence=fence)
        failures = self.failures + 1
        base = replace(
            self,
            lease=None,
            failures=failures,
            stalls=0,
            run_s_total=self.run_s_total + seconds,
            cost_usd_micros=self.cost_usd_micros + cost,
            updated_at=now,
        )
        if failures > MAX_FAILURES:
            return replace(base, state=JobState.DEAD, reason=f"failed {failures} times, last: {reason}")
        return replace(
            base, state=JobState.READY, ready_at=now, reason=f"failed, will be tried again: {reason}"
        )

    def unusable(self, *, now: datetime, why: str, for_good: bool) -> Job:
        """A job whose task nobody can be given: it ends before anybody works on it.

        Not at once unless it is so `for_good`: a right that is missing for some minutes must not end every
        job that waits. Raises WrongState unless it is READY.
        """
        if self.state is not JobState.READY:
            raise WrongState(f"job {self.job_id} is {self.state}, not READY")
        reason = f"its task cannot be read: {why}"[:MAX_REASON_CHARS]
        base = replace(self, failures=self.failures + (not for_good), reason=reason, updated_at=now)
        if for_good or base.failures > MAX_FAILURES:
            return replace(base, state=JobState.DEAD, ready_at=None)
        return replace(base, ready_at=now + UNREAD_PAUSE * 3**self.failures)

    def released(
        self,
        *,
        launch_id: str,
        fence: int,
        now: datetime,
        seconds: float,
        why: str,
        checkpoint: Mapping[str, Any] | None = None,
        cost: int = 0,
    ) -> Job:
        """Give the job back unharmed: an interruption counts, but never as a failure (I13)."""
        lease = self.lease
        if (
            self.state is not JobState.LEASED
            or lease is None
            or (lease.launch_id, lease.fence) != (launch_id, fence)
        ):
            raise LeaseLost(f"job {self.job_id} is not leased under fence {fence}")
        base = replace(
            self,
            lease=None,
            run_s_total=self.run_s_total + seconds,
            checkpoint=checkpoint or self.checkpoint,
            cost_usd_micros=self.cost_usd_micros + cost,
            updated_at=now,
        )
        if self.cancelled:
            return replace(base, state=JobState.CANCELLED, reason="cancelled")
        interrupted = why == "interrupted"
        interruptions = self.interruptions + interrupted
        return replace(
            base,
            state=JobState.READY,
            ready_at=now + pause_after(interruptions) if interrupted else now,
            interruptions=interruptions,
            silent_deaths=0,
            stalls=0,
            reason=why,
        )

    def overran(self, now: datetime) -> bool:
        """Whether its runner has been at it for far longer than the job has time.

        A runner ends a job at its budget. One that is still at it long after that is kept by the job, and
        so would the next one be, whatever ends this one at last.
        """
        lease, budget_s = self.lease, float(self.config.get("budget_s", 0))
        if lease is None or lease.since is None or lease.phase in NOT_BEGUN or not budget_s:
            return False
        return (now - lease.since).total_seconds() > 2 * budget_s + OVERRUN_GRACE_S

    def _stalled_once_more(self, now: datetime, why: str) -> Job:
        stalls = self.stalls + 1
        if stalls >= MAX_STALLS:
            words = f"keeps its runner: it came to no end {stalls} times in a row, last: {why}"
            return replace(self, state=JobState.DEAD, stalls=stalls, reason=words)
        return replace(self, state=JobState.READY, ready_at=now, stalls=stalls, reason=why)

    def reclaimed(self, *, now: datetime, silent: bool, why: str, stalled: bool = False) -> Job:
        """Take a lease away from a launch that is over. Two silent deaths in a row end the job.

        So do three stalls: it was `stalled` by its launch's word, or had long outlived its time. Any other
        end is an interruption.

        Raises WrongState when the job is not leased.
        """
        lease = self.lease
        if self.state is not JobState.LEASED or lease is None:
            raise WrongState(f"job {self.job_id} is {self.state}, not leased")
        deaths = self.silent_deaths + 1 if silent else 0
        base = replace(self, lease=None, silent_deaths=deaths, updated_at=now)
        if self.cancelled:
            return replace(base, state=JobState.CANCELLED, reason="cancelled")
        if deaths >= MAX_SILENT_DEATHS:
            return replace(base, state=JobState.DEAD, reason="kills its runner: two silent deaths in a row")
        if stalled or (not silent and self.overran(now)):
            return base._stalled_once_more(now, why)
        interruptions = self.interruptions + (not silent)
        return replace(
            base,
            state=JobState.READY,
            ready_at=now if silent else now + pause_after(interruptions),
            interruptions=interruptions,
            reason=why,
        )

    def revived(self, *, now: datetime) -> Job:
        """A person wants it tried again: READY, with what was counted against it forgotten.

        The fence stays, so that whoever still works on an old attempt commits nothing.
        Raises WrongState unless the job is DEAD or CANCELLED.
        """
        if self.state not in (JobState.DEAD, JobState.CANCELLED):
            raise WrongState(
                f"job {self.job_id} is {self.state}; only a DEAD or CANCELLED one is tried again"
            )
        return replace(
            self,
            state=JobState.READY,
            ready_at=now,
            failures=0,
            interruptions=0,
            silent_deaths=0,
            stalls=0,
            cancelled=False,
            reason="retried by hand",
            updated_at=now,
        )

    def cancel(self, *, now: datetime) -> Job:
        """Ask that the job not be run: at once when nobody holds it, else a tombstone its holder meets."""
        if self.state.terminal:
            return self
        if self.state is JobState.LEASED:
            return replace(self, cancelled=True, updated_at=now)
        return replace(
            self, cancelled=True, state=JobState.CANCELLED, ready_at=None, reason="cancelled", updated_at=now
        )


def sampled(job_id: str) -> bool:
    """Whether a job is one of `SAMPLED`, the same ones each time: what all would tell, for less."""
    return crc32(job_id.encode("utf-8", "surrogatepass")) % SAMPLED == 0


def pause_after(interruptions: int) -> timedelta:
    """How long a job waits after so many interruptions: not at all, then 1, 2, 4, … minutes, at most 60."""
    beyond = min(interruptions, MAX_INTERRUPTIONS) - CALM_INTERRUPTIONS
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (beyond - 1)) if beyond > 0 else timedelta(0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long jobs of one configuration have taken: an exponential moving average, seconds."""

    key: str
    seconds: float
    count: int = 0
    version: int = 0

    def asks(self, job_id: str) -> bool:
        """Whether a job is observed: each of the first, then one of `SAMPLED`, by its id.

        Each observation is a write. Which jobs are left out has nothing to do with their seconds, so the
        average stays that of all.
        """
        return self.count < SETTLED_COUNT or sampled(job_id)

    def observed(self, seconds: float) -> Estimate:
        """The average with one more job."""
        weight = max(0.1, 1 / (self.count + 1))
        return replace(self, seconds=self.seconds + weight * (seconds - self.seconds), count=self.count + 1)

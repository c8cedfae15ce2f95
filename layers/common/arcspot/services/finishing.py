"""How a lease ends by its runner's word: a result, a failure, or the job given back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from arcspot.domain import results
from arcspot.domain.jobs import Estimate, Job, JobState, sampled
from arcspot.domain.launching import MOST_AT_ONCE, Launch
from arcspot.errors import BadRequest, Conflict, LeaseLost, StoreBusy
from arcspot.ports import Event
from arcspot.services import checkpoints, claiming, launching
from arcspot.services.afterwards import recorded, tried
from arcspot.services.asking import (
    attempt_of,
    held_of,
    leases_of,
    number,
    shown,
    summary_of,
    sums,
    text,
    whole,
    words,
)
from arcspot.services.calls import Call
from arcspot.services.retry import until_written
from arcspot.services.scaling import estimate_key
from arcspot.services.uploading import result_prefix, uploaded

# A launch whose jobs have taken no longer looks at what each of its results tells.
YOUNG_S = 600.0


def complete(call: Call, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make an attempt's files the job's result. With `want`, lend the next jobs in the same transaction."""
    job_id, fence = attempt_of(request)
    prefix = result_prefix(job_id, fence)
    summary, files, told = summary_of(request), sums(request.get("files")), number(request, "seconds")
    want = min(MOST_AT_ONCE, whole(request, "want")) if request.get("want") is not None else None
    held = held_of(request)
    if missing := results.missing(files):
        raise BadRequest(f"files: {missing}; found {', '.join(files)}")

    job = call.leased(row, job_id, fence)
    leases: list[dict[str, Any]] = []
    after = row
    if job.state is JobState.DONE and job.result_prefix == prefix:
        # Committed before, by a call whose answer was lost, and with it the leases it told of.
        tried("telling again of leases", lambda: leases.extend(claiming.untold(call, row, held)))
    else:
        job.held_by(launch_id=row.launch_id, fence=fence)  # before the bucket is asked for anything
        uploaded(call.ports.objects, prefix, files)
        result = _Result(call, fence, prefix, summary, told, files)
        leases += result.commit(job, row, want or 0)
        after = result.after or row
        call.passed_on(row)
        _look_back(call, row, job_id, result.seconds)
    return {"result_prefix": prefix} | (
        {} if want is None else {"leases": leases[:want], "drain": not after.serving}
    )


class _Result:
    """One attempt's result, on its way into its job's row. `seconds` are those that were charged.

    `after`: its launch as the result leaves it; None where another call has committed it.
    `files`: what it is made of, which is in the bucket.
    """

    def __init__(
        self,
        call: Call,
        fence: int,
        prefix: str,
        summary: Mapping[str, Any],
        told: float,
        files: Mapping[str, tuple[int, str]],
    ) -> None:
        self._call, self._fence, self._prefix, self._summary = call, fence, prefix, summary
        self._files = files
        self._told, self.seconds = told, 0.0
        self.after: Launch | None = None

    def commit(self, job: Job, row: Launch, want: int) -> list[dict[str, Any]]:
        """Commit, and lend up to `want` further jobs in the same write; their leases.

        Where somebody was faster with one of the rows, or one of them is busy, the result is committed alone,
        the next jobs after it.
        """
        call = self._call
        if want and row.serving:
            done, lender = self._committed(job, row)
            claimed, lender, told = self._offers(lender, want).choose(lender, want)
            try:
                call.ports.store.write(done, *claimed, lender)
                return told
            except (Conflict, StoreBusy):
                pass  # written or not, what follows reads again
        rows = call.rows(row)
        until_written(lambda: self._alone(call.job(job.job_id), next(rows)), call.ports.pause)
        leases: list[dict[str, Any]] = []
        if want and row.serving:
            tried(
                "lending the next job",
                lambda: leases.extend(claiming.take(call, call.row(row.launch_id), want)[0]),
            )
        return leases

    def _offers(self, lender: Launch, want: int) -> claiming.Offers:
        """What may be lent. That none can be read keeps no result from being committed."""
        found: list[claiming.Offers] = []
        tried("reading what is next", lambda: found.append(claiming.Offers.read(self._call, lender, want)))
        return found[0] if found else claiming.Offers(self._call)

    def _alone(self, job: Job, row: Launch) -> None:
        # A write whose answer was lost may have committed it already.
        if not (job.state is JobState.DONE and job.result_prefix == self._prefix):
            self._call.ports.store.write(*self._committed(job, row))

    def _committed(self, job: Job, row: Launch) -> tuple[Job, Launch]:
        self.seconds = self._call.believed(self._told, job, row)
        done = job.completed(
            launch_id=row.launch_id,
            fence=self._fence,
            now=self._call.now,
            seconds=self.seconds,
            result_prefix=self._prefix,
            summary=self._summary,
            cost=self._call.cost(row, self.seconds),
        )
        returned = row.returned(job.job_id, self.seconds, self._uploads(job))
        self.after = returned.working(now=self._call.now)
        return done, self.after

    def _uploads(self, job: Job) -> tuple[int, int]:
        """The files and bytes that may be stored under its lease, by now or by a URL that is still good.

        Its one object is there, and S3 takes it once. Of a result made of others it may be stored yet.
        """
        if results.RESULT not in self._files:
            return job.uploads
        files, size = job.counted
        return files + 1, size + self._files[results.RESULT][0]


def _look_back(call: Call, row: Launch, job_id: str, seconds: float) -> None:
    """What a finished job tells; nothing of it keeps its runner waiting. `row`: its launch before it.

    No event: all it could say is on the job's row, and it would cost a sixteenth of a cent for 1,000.
    """
    # The first results of a launch show that launches work and how long jobs take; of the others some do.
    if row.worked_s < YOUNG_S or sampled(job_id):
        tried("observing the job's seconds", lambda: _observe(call, job_id, seconds))
        tried("closing the breaker", lambda: launching.close_breaker(call.ports, after_launch=False))


def fail(call: Call, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
    """Count a failure of a job; the state it has by then."""
    job_id, fence = attempt_of(request)
    reason = f"{text(request, 'error')[:100]}: {words(request, 'message', most=300)}"
    told = number(request, "seconds")
    rows = call.rows(row)

    def act() -> Job:
        job, known = call.job(job_id), next(rows)
        seconds = call.believed(told, job, known)
        failed = job.failed(
            launch_id=known.launch_id,
            fence=fence,
            now=call.now,
            seconds=seconds,
            reason=reason,
            cost=call.cost(known, seconds),
        )
        call.ports.store.write(failed, known.returned(job_id, seconds, job.uploads))
        return failed

    job = until_written(act, call.ports.pause)
    recorded(call.ports, Event(f"job#{job_id}", call.now, "failed", reason))
    return {"state": str(job.state)}


def release(call: Call, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take jobs back unharmed. One that cannot be keeps no other from it; it is raised for at the end.

    The runner asks again then: nobody else knows of the checkpoint it left.
    """
    why = text(request, "why")
    if why not in ("interrupted", "draining", "cancelled"):
        raise BadRequest(f"why: expected interrupted, draining or cancelled, found {shown(why)}")
    leases = [(each, *attempt_of(each), number(each, "seconds")) for each in leases_of(request)]
    fault: Exception | None = None
    for held in sorted(call.held(row, [job_id for _, job_id, *_ in leases])):
        try:
            job = call.job(held)
            for lease, job_id, fence, told in leases:
                # Any other was reclaimed or released before: it is in this runner's hands no more.
                if job_id == held and job.leased_to(row.launch_id, fence):
                    left = checkpoints.accepted(call.ports.objects, job_id, fence, lease.get("checkpoint"))
                    release_it = partial(_released, call, row, [job], job_id, fence, told, left, why)
                    until_written(release_it, call.ports.pause)
        except LeaseLost:
            continue  # Somebody took it back meanwhile.
        except Exception as error:
            fault = fault or error
    if fault is not None:
        raise fault
    return {}


def _released(
    call: Call,
    row: Launch,
    seen: list[Job],
    job_id: str,
    fence: int,
    told: float,
    checkpoint: Mapping[str, Any] | None,
    why: str,
) -> None:
    job, row = seen.pop() if seen else call.job(job_id), call.row(row.launch_id)
    seconds = call.believed(told, job, row)
    released = job.released(
        launch_id=row.launch_id,
        fence=fence,
        now=call.now,
        seconds=seconds,
        why=why,
        checkpoint=checkpoint,
        cost=call.cost(row, seconds),
    )
    call.ports.store.write(released, row.returned(job_id, seconds, job.uploads))


def _observe(call: Call, job_id: str, seconds: float) -> None:
    key = estimate_key(call.settings)
    known = call.ports.store.estimate(key) or Estimate(key=key, seconds=seconds)
    if not known.asks(job_id):
        return
    observed = known.observed(seconds)
    try:
        call.ports.store.write(observed)
    except Conflict:
        return  # Somebody else's observation won; one sample less changes nothing.

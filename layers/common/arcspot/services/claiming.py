"""Give a launch work: as many jobs as it may hold, in one transaction with its row.

Whoever comes second to a job goes on to the next one: only a launch row that changed, or a job that is
still READY, is worth another try. Everything that the answer needs is made before the write, so that no
lease is given that its runner does not learn of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from arcspot.domain.jobs import Job
from arcspot.domain.launching import MOST_AT_ONCE, Launch
from arcspot.domain.preferring import preferred
from arcspot.errors import Conflict, ObjectUnreadable, Overlapped, StoreBusy
from arcspot.ports import Event
from arcspot.services import checkpoints, handing
from arcspot.services.afterwards import recorded, said, tried
from arcspot.services.asking import held_of, whole
from arcspot.services.calls import URL_SECONDS, Call
from arcspot.services.retry import until_written

# Of a job's configuration what a solver needs; the rest says what a submission is called.
SOLVERS_OWN = ("seed", "budget_s", "model")
# More than wanted are read: some are claimed by others meanwhile.
SPARE = 2
# How often a launch tries to write what it chose, each time without the jobs that others were faster with.
ROUNDS = 12


@dataclass(slots=True)
class Offers:
    """READY jobs to choose from, each read once. Empty once it has nothing left."""

    call: Call
    jobs: list[Job] = field(default_factory=list)
    tasks: dict[str, str | Exception] = field(default_factory=dict)
    """What was read of them so far: each task once, however often a write is tried."""

    @classmethod
    def read(cls, call: Call, row: Launch, want: int) -> Offers:
        found = call.ports.store.ready_jobs(want + SPARE, call.now, call.rng)
        jobs = [job for job in found if job.due(call.now) and job.job_id not in row.leases]
        return cls(call, preferred(jobs, on_demand=row.market == "on-demand"))

    def choose(self, row: Launch, want: int) -> tuple[list[Job], Launch, list[dict[str, Any]]]:
        """The next jobs as claimed, the launch that holds them, and the words its runner gets for each.

        A job whose task cannot be read just now is left to others; one whose task nobody can read is ended.
        None for a launch that is not serving, as one that the result in the same write has filled.
        """
        claimed: list[Job] = []
        told: list[dict[str, Any]] = []
        for job in list(self.jobs):
            if len(claimed) == want or not row.hands or not row.serving:
                break
            taken = job.claimed(
                launch_id=row.launch_id, now=self.call.now, lease_seconds=self.call.settings.lease_s
            )
            task = self._task(job, ahead=want - len(claimed))
            if isinstance(task, Exception):
                self.jobs.remove(job)
                handed_to_nobody(self.call, job, task)
                continue
            if not tried(f"offering job {job.job_id}", partial(self._tell, taken, task, told)):
                self.jobs.remove(job)
                continue
            row = row.lent(job.job_id).working(now=self.call.now)
            claimed.append(taken)
        return claimed, row, told

    def _tell(self, taken: Job, task: str, told: list[dict[str, Any]]) -> None:
        told.append(lease(self.call, taken, task))

    def _task(self, job: Job, *, ahead: int) -> str | Exception:
        """A job's task; so many of those that are to be chosen with it are read at once."""
        if job.job_id not in self.tasks:
            begin = self.jobs.index(job)
            unread = [each for each in self.jobs[begin : begin + ahead] if each.job_id not in self.tasks]
            self.tasks |= handing.handed(self.call.ports.objects, unread)
        return self.tasks[job.job_id]

    def without_taken(self, chosen: Collection[str]) -> None:
        """After a lost race: of the chosen ones keep those that are READY still, as they are now.

        They come last: somebody may be writing one of them at this moment.
        """
        fresh = self.call.ports.store.jobs(list(chosen))
        kept = [job for job in fresh.values() if job.due(self.call.now)]
        self.jobs = [*(job for job in self.jobs if job.job_id not in chosen), *kept]


def claim(call: Call, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
    """Up to `want` leases: first those whose answer was lost, then new ones."""
    want = max(1, min(MOST_AT_ONCE, whole(request, "want")))
    held = held_of(request)
    if not row.serving:
        return {"leases": [], "drain": True}
    if told := untold(call, row, held):
        row = call.row(row.launch_id)  # they are counted on it
    leases, drain = take(call, row, want - len(told)) if len(told) < want else ([], False)
    if leases:
        call.passed_on(row)
    elif not drain:
        call.heard(row)
    return {"leases": told + leases, "drain": drain}


def take(call: Call, row: Launch, want: int) -> tuple[list[dict[str, Any]], bool]:
    """Claim up to `want` jobs. Their leases, and whether the launch is to leave instead."""
    want = min(want, row.hands)
    if want < 1:
        return [], False
    offers, raced, most = Offers.read(call, row, want), False, want
    busy: StoreBusy | None = None
    for tries in range(1, ROUNDS + 1):
        claimed, lender, told = offers.choose(row, most)
        if not claimed and raced:
            # Others were faster with all of them: there may be more.
            offers, raced = Offers.read(call, row, want), False
            claimed, lender, told = offers.choose(row, most)
        if not claimed:
            return [], False
        try:
            call.ports.store.write(*claimed, lender)
            return told, False
        except (Conflict, StoreBusy) as lost:
            busy = lost if isinstance(lost, StoreBusy) else None
            if isinstance(lost, StoreBusy | Overlapped):
                call.ports.pause(tries if busy else 1)
        row = call.row(row.launch_id)
        if {job.job_id for job in claimed} <= set(row.leases):
            return told, False  # a write whose answer was lost
        if not row.serving:
            return [], True
        # Of fewer jobs others are less likely to be writing one.
        raced, most = True, max(1, most // 2)
        offers.without_taken([job.job_id for job in claimed])
    if busy is not None:
        raise busy
    return [], False


def untold(call: Call, row: Launch, held: frozenset[str] | None) -> list[dict[str, Any]]:
    """Leases that the launch holds and its runner does not know of: the answer that told of them was lost.

    `held` is what the runner knows of; nothing is told again to one that does not say. Each task that is
    read again is counted on the launch, and there is an end to it.
    """
    unknown = [job_id for job_id in row.leases if job_id not in held] if held is not None else []
    if not unknown or not row.retells:
        return []
    jobs = call.ports.store.jobs(unknown)
    held_here = [
        job
        for job in jobs.values()
        if job.lease and job.lease.launch_id == row.launch_id and not job.cancelled
    ][: row.retells]
    if not held_here:
        return []
    rows = call.rows(row)
    until_written(lambda: call.ports.store.write(next(rows).retelling(len(held_here))), call.ports.pause)
    tasks = handing.handed(call.ports.objects, held_here)
    told = []
    for job in held_here:
        task = tasks[job.job_id]
        if isinstance(task, Exception):
            said(f"telling again of job {job.job_id}", task)  # its lease runs out
        else:
            told.append(lease(call, job, task))
    return told


def handed_to_nobody(call: Call, job: Job, why: Exception) -> None:
    """Say that a job's task could not be read, and end the job if nobody ever will."""
    if not isinstance(why, handing.UNUSABLE):
        said(f"reading the task of job {job.job_id}", why)
        return
    for_good = not isinstance(why, ObjectUnreadable)
    ended = job.unusable(now=call.now, why=f"{type(why).__name__}: {why}", for_good=for_good)
    # Somebody else may be at it: whoever claims it next finds the same.
    written = tried(f"ending job {job.job_id}", lambda: call.ports.store.write(ended))
    if written and ended.state.terminal:
        recorded(call.ports, Event(f"job#{job.job_id}", call.now, "unreadable", ended.reason))


def lease(call: Call, job: Job, task: str) -> dict[str, Any]:
    """What a runner is told of a job that is leased to it."""
    assert job.lease is not None, "a job is claimed before it is told of"
    return {
        "job_id": job.job_id,
        "task_id": job.task_id,
        "fence": job.fence,
        "expires_in_s": max(0.0, (job.lease.expires_at - call.now).total_seconds()),
        "config": {name: job.config[name] for name in SOLVERS_OWN if name in job.config},
        "task": task,
        **checkpoints.offered(call.ports.objects, job, seconds=URL_SECONDS),
        "budget_s": float(job.config.get("budget_s", call.settings.task_budget_s)),
    }

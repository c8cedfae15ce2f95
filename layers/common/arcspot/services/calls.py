"""One call of a runner: what it may touch, and the reads and sums that several verbs share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from arcspot.domain.budget import share_usd_micros
from arcspot.domain.jobs import Job
from arcspot.domain.launching import Launch, passed_on
from arcspot.errors import LaunchClosed, LeaseLost
from arcspot.ports import Ports, Random
from arcspot.services import launching
from arcspot.services.afterwards import tried
from arcspot.services.retry import until_written
from arcspot.settings import Settings

# A heartbeat is written down once in this share of the time after which a runner counts as silent.
NOTED_SHARE = 0.2
# How long any URL lives that a runner is given, to read or to write (docs/runner-contract.md).
URL_SECONDS = 15 * 60


@dataclass(frozen=True, slots=True)
class Call:
    """`new_secret` gives fresh randomness; `now` is the server's clock.

    `rng` draws the jobs that are offered: of many calls at once each tries others first. None: the oldest.
    """

    ports: Ports
    settings: Settings
    now: datetime
    new_secret: Callable[[], str]
    rng: Random | None = None

    def row(self, launch_id: str) -> Launch:
        """The launch as it is now. Raises LaunchClosed where there is none."""
        row = self.ports.store.launch(launch_id)
        if row is None:
            raise LaunchClosed(f"there is no launch {launch_id}")
        return row

    def rows(self, known: Launch) -> Iterator[Launch]:
        """The launch as it was read, then, for whoever lost a race on it, as it is each time.

        No generator: one ends with the first error that it raises, and a table may be busy for a moment.
        """
        first = [known]
        return iter(lambda: first.pop() if first else self.row(known.launch_id), None)

    def job(self, job_id: str) -> Job:
        """The job as it is now. Raises LeaseLost where there is none."""
        job = self.ports.store.job(job_id)
        if job is None:
            raise LeaseLost(f"there is no job {job_id}")
        return job

    def leased(self, row: Launch, job_id: str, fence: int) -> Job:
        """The job, read at half the price, if its row shows the lease; else as it is now.

        What is decided on a row that changed a moment ago cannot be written. Raises LeaseLost where there is
        none.
        """
        known = self.ports.store.job(job_id, fresh=False)
        return known if known and known.leased_to(row.launch_id, fence) else self.job(job_id)

    def held(self, row: Launch, named: Iterable[str]) -> frozenset[str]:
        """Which of the jobs that a request names its launch holds: eight at most, however many are named.

        Looked up before anything is read for one of them. A row that was read late may lack the newest, so
        it is read again, once, where one is missing.
        """
        asked = frozenset(named)
        if not asked <= set(row.leases):
            row = self.row(row.launch_id)
        return asked & set(row.leases)

    def left(self, row: Launch) -> float:
        """Seconds until the launch's hard deadline."""
        return max(0.0, (row.hard_deadline - self.now).total_seconds())

    def believed(self, told: float, job: Job, row: Launch) -> float:
        """The seconds that are charged for a job, of those its runner tells."""
        return row.believed(told, since=job.lease.since if job.lease else None, now=self.now)

    def cost(self, row: Launch, seconds: float) -> int:
        """A job's share of what its launch costs, micro-dollars."""
        return share_usd_micros(
            price_usd_micros_per_hour=row.price, seconds=seconds, disk_gb=self.settings.disk_gb
        )

    def heard(self, row: Launch, gpu_utilisation: float | None = None) -> None:
        """Note the sign of life, and pass it on; the next heartbeat does what fails here."""
        tried("noting a sign of life", lambda: self._heard(row, gpu_utilisation))

    def _heard(self, row: Launch, gpu_utilisation: float | None) -> None:
        rows = self.rows(row)
        noted = row.heartbeat_at

        def act() -> Launch | None:
            known = next(rows)
            heard = known.heard(
                now=self.now,
                every_s=self.settings.silence_s * NOTED_SHARE,
                gpu_utilisation=gpu_utilisation,
            )
            if heard is known:
                return None
            self.ports.store.write(heard)
            return heard

        heard = until_written(act, self.ports.pause)
        if heard is not None:
            self._pass_on(noted, heard)

    def passed_on(self, row: Launch) -> None:
        """The same for a sign of life that was noted with another write; `row` is the launch before it."""
        tried("passing a sign of life on", lambda: self._pass_on(row.heartbeat_at, row))

    def _pass_on(self, noted: datetime | None, heard: Launch) -> None:
        """Tell the state machine of a sign of life that is in the row; `noted` is the one before it."""
        if not passed_on(heard, noted, self.now):
            return
        kept = launching.token_of(self.ports, heard)
        if kept is None:
            return
        if kept.phase == "serve":
            tried("a heartbeat to Step Functions", lambda: self.ports.workflow.beat(kept.token))
        else:
            launching.tell(self.ports, heard, kept)

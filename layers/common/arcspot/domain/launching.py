"""A launch: the life of one instance, from reserved money to settled money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from arcspot.domain.budget import MINIMUM_BILLED_SECONDS
from arcspot.domain.refusals import refusal as refusal
from arcspot.errors import (
    BadRequest,
    Conflict,
    LaunchClosed,
    LaunchMisconfigured,
    LaunchRefused,
    NoCapacity,
    NotYourself,
    RunnerGaveUp,
    WrongState,
)

HOLD_UNKNOWN_SECONDS = 15 * 60
# Jobs that one launch may hold: each of them is an interruption when its machine goes.
MOST_AT_ONCE = 8
# A log of at most 2 MiB is shipped each minute, and a launch lives for a day at most.
MAX_LOG_UPLOADS = 2_000
MAX_LOG_BYTES = 4 * 1024 * 1024 * 1024
# What the jobs of a launch may store before it gets no more of them: a day's work, and less than the dollar
# that the instance costs. Without it a job that is claimed and given back again and again would get 1 GiB
# each time.
MAX_JOB_UPLOADS = 100_000
MAX_JOB_UPLOAD_BYTES = 16 * 1024 * 1024 * 1024
# Leases whose answer was lost are told again so often. Each time reads the job's task from the bucket, and a
# runner could ask for it with every call.
MOST_RETOLD = 2_000
GPU_IDLE_PERCENT = 5.0
# What a runner and `runner_api` have agreed on (docs/runner-contract.md): a runner says at hello which one it
# keeps to. 1 fetched the whole task file by a URL; since 2 a lease brings its task.
CONTRACT = 2
# Step Functions waits for half an hour and more (scaling.OUTAGE_SECONDS); each word to it is two calls.
BEAT_EVERY_S = 600


class LaunchState(StrEnum):
    RESERVED = "RESERVED"
    LAUNCHED = "LAUNCHED"
    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    GONE = "GONE"
    SETTLED = "SETTLED"
    RELEASED = "RELEASED"

    @property
    def open(self) -> bool:
        return self not in (LaunchState.SETTLED, LaunchState.RELEASED)


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as EC2 shows it. `launched_at` is when it began to cost."""

    instance_id: str
    state: str
    instance_type: str
    zone: str
    market: str
    launched_at: datetime
    launch_id: str = ""
    ended_at: datetime | None = None

    @property
    def alive(self) -> bool:
        return self.state in ("pending", "running", "stopping", "stopped")

    @property
    def gone(self) -> bool:
        return self.state == "terminated"


FUNCTION_LIFE = timedelta(seconds=60)
"""A function reads the clock once, when it begins, and lives at most so long (template.yaml, Timeout)."""
KILLED_WITHIN = timedelta(seconds=300)
"""From its hard deadline until the last of an instance's killers has acted: what was reserved covers it."""
SEEN_LATE = timedelta(seconds=90)
"""What EC2 shows may be so old: its describe lags, and the function that looks may stall."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One row of the launches table; money in micro-dollars, deadlines as moments.

    `leases` are the ids of the jobs it holds, kept here because an index of the jobs table
    lags: whoever ends a launch must see every one of them. `market` is what was asked for
    until the instance says what it is. `armed`: the one-shot schedule that ends the instance
    at its deadline exists. `price_guessed`: nobody told the spot price, so `price` is the on-demand
    one. `vcpus` is the most the instance may have; 0 sets no limit. `worked_s` are the seconds of
    its life that jobs have been charged with; `log_uploads` and `log_bytes` count its log's files,
    `asked_files` and `asked_bytes` those for which URLs were given under leases that are over.
    `task_token` and `token_phase` are on rows of earlier releases; now they are a `Token`.
    `contract` is the one that its runner keeps to; `proof_epoch`, when the proof of its last
    hello was signed (a number: the row is written with each lease, and pays for each KB).
    `outlived`: the instance was seen alive when each of its killers should have ended it.
    `retold` counts the leases that it was told of again.
    """

    launch_id: str
    period: str
    reserve: int
    created_at: datetime
    hard_deadline: datetime
    boot_deadline: datetime
    state: LaunchState = LaunchState.RESERVED
    attempted_at: datetime | None = None
    adopted_at: datetime | None = None
    instance_id: str = ""
    instance_type: str = ""
    zone: str = ""
    market: str = ""
    price: int = 0
    price_guessed: bool = False
    vcpus: int = 0
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    gone_at: datetime | None = None
    secret_sha256: str = ""
    host: str = ""
    leases: tuple[str, ...] = ()
    worked_s: float = 0.0
    log_uploads: int = 0
    outlived: bool = False
    log_bytes: int = 0
    contract: int = 1
    asked_files: int = 0
    asked_bytes: int = 0
    proof_epoch: int = 0
    retold: int = 0
    armed: bool = False
    gpu_idle_since: datetime | None = None
    gpu_warned: bool = False
    task_token: str = ""
    token_phase: str = ""
    drain: bool = False
    reason: str = ""
    actual: int = 0
    version: int = 0

    @property
    def active_leases(self) -> int:
        return len(self.leases)

    def attempting(self, *, now: datetime) -> Launch:
        """Note that EC2 is about to be asked: from here on an instance may exist."""
        if self.state is not LaunchState.RESERVED:
            raise WrongState(f"launch {self.launch_id} is {self.state}, not RESERVED")
        return self if self.attempted_at else replace(self, attempted_at=now)

    def adopted(self, instance: Instance, *, price: int, guessed: bool = False) -> Launch:
        """Take the instance as this launch's. Raises WrongState when it has another one, or is over."""
        if self.instance_id == instance.instance_id:
            return self
        if self.state is not LaunchState.RESERVED or self.instance_id:
            raise WrongState(
                f"launch {self.launch_id} is {self.state} with instance {self.instance_id or 'none'}"
            )
        return replace(
            self,
            state=LaunchState.LAUNCHED,
            instance_id=instance.instance_id,
            instance_type=instance.instance_type,
            zone=instance.zone,
            market=instance.market,
            price=price,
            price_guessed=guessed,
            started_at=instance.launched_at,
            reason="",  # what a refused call left there: it had started this instance all the same
        )

    def placed(self, instance: Instance, *, price: int, guessed: bool) -> Launch:
        """Learn what was not known when the instance was adopted: zone, type, and with them the price.

        Not once the runner is at work: its jobs' shares are counted at the price that was known by then.
        """
        if self.instance_id != instance.instance_id or self.state is LaunchState.SETTLED:
            return self
        better = self.price_guessed and not guessed and self.heartbeat_at is None
        return replace(
            self,
            zone=self.zone or instance.zone,
            instance_type=self.instance_type or instance.instance_type,
            price=price if better else self.price,
            price_guessed=guessed if better else self.price_guessed,
        )

    def greeted(
        self,
        *,
        instance_id: str,
        secret_sha256: str,
        host: str,
        now: datetime,
        contract: int = CONTRACT,
        proved_at: datetime | None = None,
    ) -> Launch:
        """The instance said hello and proved itself; the latest secret is the one that counts.

        A proof counts once: whoever sends one again that was heard is not the instance. Raises NotYourself.
        """
        epoch = int(proved_at.timestamp()) if proved_at else 0
        if epoch and epoch <= self.proof_epoch:
            raise NotYourself(f"launch {self.launch_id} has heard this proof, or one that was signed later")
        if self.state not in (LaunchState.LAUNCHED, LaunchState.ACTIVE) or self.instance_id != instance_id:
            raise LaunchClosed(f"launch {self.launch_id} is {self.state}; {instance_id} is not its instance")
        return replace(
            self,
            state=LaunchState.ACTIVE,
            secret_sha256=secret_sha256,
            host=host,
            heartbeat_at=now,
            contract=contract,
            proof_epoch=epoch or self.proof_epoch,
        )

    def asked_to_drain(self, *, reason: str) -> Launch:
        """EC2 announced an interruption: no more work, though what is leased may still be given back."""
        return replace(self, drain=True, reason=self.reason or reason)

    def heard(self, *, now: datetime, every_s: float = 0.0, gpu_utilisation: float | None = None) -> Launch:
        """A sign of life, noted once in `every_s` seconds.

        A GPU counts as idle from the first report below `GPU_IDLE_PERCENT` while the launch holds
        work, until the next report above it. A claim reports nothing, and so ends no idleness.
        """
        since = self.gpu_idle_since if self.leases else None
        if self.leases and gpu_utilisation is not None:
            since = (since or now) if gpu_utilisation < GPU_IDLE_PERCENT else None
        fresh = self.heartbeat_at is not None and (now - self.heartbeat_at).total_seconds() < every_s
        if fresh and since == self.gpu_idle_since:
            return self
        return replace(
            self, heartbeat_at=now, gpu_idle_since=since, gpu_warned=self.gpu_warned and since is not None
        )

    def working(self, *, now: datetime) -> Launch:
        """A sign of life in a row that is written anyway, so that no heartbeat has to write it again."""
        return replace(self, heartbeat_at=max(now, self.heartbeat_at or now))

    @property
    def serving(self) -> bool:
        """Whether it may be given work.

        Not where its runner is of an earlier release and could not do it, nor where its jobs have stored as
        much as those of one launch may.
        """
        able = self.contract >= CONTRACT and not self.full
        return self.state is LaunchState.ACTIVE and not self.drain and able

    @property
    def full(self) -> bool:
        """Whether its jobs have stored what they may; another launch goes on."""
        return self.asked_files >= MAX_JOB_UPLOADS or self.asked_bytes >= MAX_JOB_UPLOAD_BYTES

    @property
    def hands(self) -> int:
        """How many more jobs it may hold."""
        return max(0, MOST_AT_ONCE - len(self.leases))

    def lent(self, job_id: str) -> Launch:
        """One more lease. Raises LaunchClosed unless it is ACTIVE, WrongState when its hands are full."""
        if not self.serving:
            raise LaunchClosed(f"launch {self.launch_id} is {self.state} and gets no more work")
        if job_id in self.leases or not self.hands:
            raise WrongState(
                f"launch {self.launch_id} holds {len(self.leases)} lease(s) and cannot take {job_id}"
            )
        return replace(self, leases=(*self.leases, job_id))

    def returned(self, job_id: str, seconds: float = 0.0, uploads: tuple[int, int] = (0, 0)) -> Launch:
        """One lease less; the seconds of this launch's life that its job is charged with, and the files and
        bytes for which it had URLs."""
        files, size = uploads
        return replace(
            self,
            leases=tuple(held for held in self.leases if held != job_id),
            worked_s=self.worked_s + seconds,
            asked_files=self.asked_files + files,
            asked_bytes=self.asked_bytes + size,
        )

    def believed(self, told: float, *, since: datetime | None, now: datetime) -> float:
        """The seconds that a runner says it spent on a job, at most what can be true.

        No job took longer than it was leased (`since` when), and all jobs of a launch together no longer
        than its instance has lived: what they cost never exceeds what the launch cost (I16). A minute is
        given to each, because EC2 bills at least that.
        """
        lived = (now - (self.started_at or self.created_at)).total_seconds()
        leased = (now - since).total_seconds() if since is not None else lived
        left = max(lived, MINIMUM_BILLED_SECONDS) - self.worked_s
        return max(0.0, min(told, left, max(leased, MINIMUM_BILLED_SECONDS)))

    @property
    def retells(self) -> int:
        """How many more leases it is told of again; one that it is not told of runs out."""
        return max(0, MOST_RETOLD - self.retold)

    def retelling(self, leases: int) -> Launch:
        """So many leases are told of again."""
        return replace(self, retold=self.retold + leases)

    def shipping(self, *, files: int, size: int) -> Launch:
        """Note that URLs for so many files of its log were asked for. Raises BadRequest beyond the most."""
        counted = replace(self, log_uploads=self.log_uploads + files, log_bytes=self.log_bytes + size)
        if counted.log_uploads > MAX_LOG_UPLOADS or counted.log_bytes > MAX_LOG_BYTES:
            raise BadRequest(
                f"files: this launch has had URLs for {self.log_uploads} log files and {self.log_bytes:,} "
                f"bytes; it gets at most {MAX_LOG_UPLOADS} and {MAX_LOG_BYTES:,}"
            )
        return counted

    def draining(self, *, reason: str, force: bool = False) -> Launch:
        """Stop giving it work. Only without leases, unless `force` (deadline, silence, fault): I12."""
        if self.state not in (LaunchState.LAUNCHED, LaunchState.ACTIVE):
            return self
        if self.active_leases and not force:
            raise Conflict(f"launch {self.launch_id} still holds {self.active_leases} lease(s)")
        return replace(self, state=LaunchState.DRAINING, reason=self.reason or reason)

    def gone(self, *, now: datetime, ended_at: datetime | None) -> Launch:
        """EC2 shows its end, or shows it no more.

        Without a moment the latest one counts: the instance may have lived on since the function that looks
        read its clock, and the books are never below the bill. One that was not seen alive behind its last
        killer's time was ended by then, however late that is found.
        """
        if self.state in (LaunchState.GONE, LaunchState.SETTLED, LaunchState.RELEASED):
            return self
        latest = now + FUNCTION_LIFE
        if not self.outlived:
            latest = min(latest, self.hard_deadline + KILLED_WITHIN)
        return replace(self, state=LaunchState.GONE, gone_at=ended_at or latest)

    def outlives(self, now: datetime) -> bool:
        """Whether an instance that EC2 shows alive now was alive behind its last killer's time."""
        return now > self.hard_deadline + KILLED_WITHIN + SEEN_LATE

    def released(self, *, reason: str) -> Launch:
        """Close without an instance: only a definite refusal may do this."""
        if self.state is not LaunchState.RESERVED:
            raise WrongState(f"launch {self.launch_id} is {self.state}; only a RESERVED one can be released")
        return replace(self, state=LaunchState.RELEASED, reason=reason, task_token="")

    def settled(self, *, actual: int) -> Launch:
        """Close for good. Raises WrongState when the instance is not known to be gone."""
        if self.state is not LaunchState.GONE:
            raise WrongState(f"launch {self.launch_id} is {self.state}; only a GONE one can be settled")
        return replace(self, state=LaunchState.SETTLED, actual=actual, task_token="", secret_sha256="")


@dataclass(frozen=True, slots=True)
class Token:
    """The callback token that a launch's state machine waits for, so that the instance never has it.

    A row of its own: it has about a thousand characters, and the launch's row is written with every lease.
    `until`: when its launch is over at the latest.
    """

    launch_id: str
    until: datetime
    phase: str = ""
    token: str = ""
    version: int = 0

    def waiting(self, *, token: str, phase: str) -> Token:
        """Keep the token of `phase` (boot or serve). A call that comes late brings no phase back."""
        if self.phase == "serve" and phase == "boot":
            return self
        return replace(self, token=token, phase=phase)


def passed_on(launch: Launch, noted: datetime | None, now: datetime) -> bool:
    """Whether Step Functions hears of a sign of life of a launch; `noted` is the one before it.

    Each one that is noted until the boot's deadline, since an answer to the boot may have been lost; then the
    first in each window of `BEAT_EVERY_S`. The windows are fixed, so that the launch's row is enough to know.
    """
    if noted is None or now <= launch.boot_deadline:
        return True
    return now.timestamp() // BEAT_EVERY_S > noted.timestamp() // BEAT_EVERY_S


def hold_over(launch: Launch, now: datetime) -> bool:
    """Whether money held for a launch nobody can find may be released (section 4: 15 minutes)."""
    since = launch.attempted_at or launch.created_at
    return now - since >= timedelta(seconds=HOLD_UNKNOWN_SECONDS)


# How long no launch is tried after the first refusal, the second, ...; the last one is repeated.
# Every class has an end: nothing that EC2 says stops arcspot for good.
BACKOFF_MINUTES: Mapping[str, tuple[int, ...]] = {
    "NoCapacity": (2, 5, 15),
    "QuotaExceeded": (30,),
    "LaunchThrottled": (1, 2, 5),
    "LaunchUnknown": (2, 5, 15),
    "LaunchPostponed": (5, 15, 30, 60),
    "LaunchMisconfigured": (24 * 60,),
    # Runners that start and cannot work would otherwise be replaced each minute until the cap.
    "RunnerGaveUp": (2, 5, 15),
}
# From which refusal on a person is told, once for each of EC2's codes until a launch succeeds.
MAIL_AT: Mapping[str, int] = {
    "QuotaExceeded": 1,
    "LaunchPostponed": 1,
    "LaunchMisconfigured": 1,
    "LaunchUnknown": 3,
}


@dataclass(frozen=True, slots=True)
class Breaker:
    """After a refusal no launch is tried until `open_until`, or until a person resumes.

    `until_resumed`: only a person can mend it; it is tried again at `open_until` all the same.
    `told` are the codes of which a person has had a mail.
    """

    failures: int = 0
    error: str = ""
    message: str = ""
    open_until: datetime | None = None
    until_resumed: bool = False
    told: tuple[str, ...] = ()
    version: int = 0

    def open(self, now: datetime) -> bool:
        return self.open_until is not None and now < self.open_until

    def market(self, *, fallback: bool) -> str:
        """Where the next launch is asked for: on demand once spot refused every step of its back-off."""
        spent = self.error == NoCapacity.__name__ and self.failures >= len(BACKOFF_MINUTES["NoCapacity"])
        return "on-demand" if fallback and spent else "spot"

    def tripped(self, error: LaunchRefused | RunnerGaveUp, *, now: datetime) -> Breaker:
        """The breaker after one more refusal. While one waits for a person a milder one changes nothing.

        Launches started together are refused together: while it is open the same refusal
        counts once, or one bad minute would use up every step of the back-off.
        """
        name = type(error).__name__
        needs_a_person = isinstance(error, LaunchMisconfigured)
        if self.until_resumed and self.open(now) and not needs_a_person:
            return self
        failures = self.failures + (not self.open(now)) if name == self.error else 1
        steps = BACKOFF_MINUTES[name]
        news = _codes(error) if failures >= MAIL_AT.get(name, failures + 1) else ()
        return replace(
            self,
            failures=failures,
            error=name,
            message=str(error)[:500],
            open_until=now + timedelta(minutes=steps[min(failures, len(steps)) - 1]),
            until_resumed=needs_a_person,
            told=(*self.told, *(code for code in news if code not in self.told)),
        )

    def closed(self) -> Breaker:
        return replace(self, failures=0, error="", message="", open_until=None, until_resumed=False, told=())


def _codes(error: LaunchRefused | RunnerGaveUp) -> tuple[str, ...]:
    """What a mail about an error is known by: EC2's codes, or the error's own name."""
    codes = error.codes if isinstance(error, LaunchRefused) else ()
    return codes or (type(error).__name__,)

"""What the services need from the outside, as Protocols.

Every record carries a `version`. `Store.write` is all-or-nothing and succeeds only if each
record is still at the version it was read at (0: absent): read, decide, write, and on
Conflict read again. That one rule makes every decision a pure function and every write conditional.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random as Random
from typing import Any, Protocol

from arcspot.domain.batches import Batch, Receipt, Sweep
from arcspot.domain.budget import Fleet, Hold, Leak, Ledger, Prices
from arcspot.domain.identity import Caller
from arcspot.domain.jobs import Estimate, Job, JobState
from arcspot.domain.launching import Breaker, Instance, Launch, Token
from arcspot.domain.reaping import Suspects
from arcspot.domain.reporters import Reporter

Record = (
    Job
    | Batch
    | Receipt
    | Launch
    | Token
    | Ledger
    | Hold
    | Fleet
    | Breaker
    | Estimate
    | Suspects
    | Leak
    | Prices
    | Sweep
    | Reporter
)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a job or a launch, and why."""

    subject: str
    at: datetime
    kind: str
    detail: str = ""


class Store(Protocol):
    """The tables.

    `write` raises Conflict when any record changed since it was read, and StoreRefused for what the tables
    never take (a row of 400 KB, a key of 2,048 bytes, one row twice). Every method raises StoreBusy
    while the tables throttle or do not answer.
    """

    def write(self, *records: Record) -> None: ...
    def write_each(self, records: Sequence[Record]) -> list[Record]:
        """Write each by itself, several at once; those that changed since they were read."""
        ...

    def add(self, jobs: Sequence[Job]) -> dict[str, Job]:
        """Put each job unless its id is there already; each as it now is in the table."""
        ...

    def job(self, job_id: str, *, fresh: bool = True) -> Job | None:
        """The job. If it need not be `fresh` it may be as it was a second ago, at half the price."""
        ...

    def jobs(self, job_ids: Sequence[str], *, fresh: bool = True) -> dict[str, Job]:
        """Those of these jobs that there are."""
        ...

    def ready_jobs(self, limit: int, now: datetime, rng: Random | None = None) -> list[Job]:
        """READY jobs whose time has come, urgent lanes first, oldest first within a lane.

        With `rng` they are drawn from the oldest of each lane: callers at the same time get others.
        """
        ...

    def ready_count(self, at_most: int, now: datetime) -> int:
        """How many READY jobs the index shows whose time has come; counting stops at `at_most`."""
        ...

    def receipts(self, keys: Sequence[str], *, fresh: bool = True) -> dict[str, Receipt]:
        """The receipts kept under these keys, of a long one its first part."""
        ...

    def sweep_row(self) -> Sweep: ...
    def reporter(self) -> Reporter:
        """Whose turn it is to write reports."""
        ...

    def receipts_of_batch(self, batch_id: str) -> Iterable[Receipt]:
        """A batch's receipts, whole, by an index that may lag by seconds."""
        ...

    def jobs_of_batch(self, batch_id: str, state: JobState | None = None) -> Iterable[Job]:
        """A batch's jobs by an index that may lag by seconds: each is read fresh, one may be missing."""
        ...

    def job_ids_of_batch(self, batch_id: str) -> Iterable[str]:
        """The ids of the jobs that a batch brought, by an index that may lag by seconds."""
        ...

    def batch_count(self, batch_id: str, state: JobState, at_most: int) -> int:
        """How many of a batch's jobs the index shows in a state; counting stops at `at_most`."""
        ...

    def batch(self, batch_id: str) -> Batch | None: ...
    def batches_due(self, bad: dict[str, str] | None = None) -> list[Batch]:
        """Batches with a report due.

        A row that cannot be read goes to `bad`, key and reason, and hides no other; without it, it raises.
        """
        ...

    def launch(self, launch_id: str, *, fresh: bool = True) -> Launch | None:
        """The launch. If it need not be `fresh` it may be as it was a second ago, at half the price."""
        ...

    def token(self, launch_id: str) -> Token | None: ...
    def open_launches(self) -> list[Launch]: ...
    def ledger(self, period: str) -> Ledger | None: ...
    def hold(self, launch_id: str) -> Hold | None:
        """What is promised to a launch."""
        ...

    def fleet(self) -> Fleet | None: ...
    def breaker(self) -> Breaker: ...
    def suspects(self) -> Suspects: ...
    def estimate(self, key: str) -> Estimate | None: ...
    def leak(self, instance_id: str) -> Leak | None: ...
    def prices(self) -> Prices | None: ...
    def record(self, *events: Event) -> None:
        """Append to the history. Never raises Conflict."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in the bucket: how many bytes, and their sha256 in lower-case hex ("" where S3 has none).

    `version` is "" in a bucket without versions.
    """

    size: int
    sha256: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One object as it was read, and which of its versions that was ("" in a bucket without versions)."""

    body: bytes
    version: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of one version of an object: from `begin` up to, but not including, `end`."""

    key: str
    version: str | None
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as a listing shows it: its newest version."""

    key: str
    size: int
    modified_at: datetime
    etag: str = ""


class Objects(Protocol):
    """The bucket."""

    def fetch_many(
        self, wanted: Sequence[tuple[str, str | None]], *, last: int | None = None
    ) -> list[Fetched | Exception]:
        """Each of these (key, version), or at most its `last` bytes, several at once and in their order.

        Each fails alone.
        A failure is RecordMissing, ObjectUnreadable (it stays so until somebody acts) or whatever else came.
        """
        ...

    def parts(self, wanted: Sequence[Part]) -> list[Fetched | Exception]:
        """Each of these parts as `fetch_many` gives whole objects; less where the object ends before."""
        ...

    def listing(self, prefix: str, after: str = "") -> Iterable[Listed]:
        """What lies below a prefix, by key, from the first key behind `after` on."""
        ...

    def read(self, key: str, *, version: str | None = None, last: int | None = None) -> bytes:
        """The object's bytes, or at most its `last` ones. Raises RecordMissing, ObjectUnreadable."""
        ...

    def read_many(self, wanted: Sequence[tuple[str, str | None]]) -> Mapping[tuple[str, str | None], bytes]:
        """The bytes of many (key, version), several at once; what does not exist is left out."""
        ...

    def write(self, key: str, body: bytes, *, content_type: str) -> None: ...
    def write_parts(self, key: str, parts: Iterable[bytes], *, content_type: str) -> None:
        """Write one object of these parts, one after another: it is never whole in memory.

        It is there when the last part is, or not at all.
        """
        ...

    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str) -> Iterable[str]: ...
    def size(self, key: str) -> int | None: ...
    def stored(self, key: str) -> Stored | None:
        """What is there under a key by S3's own word, without reading it; None when nothing is."""
        ...

    def presign_get(self, key: str, *, version: str | None, seconds: int) -> str: ...
    def presign_put(
        self, key: str, *, sha256_hex: str, size: int, seconds: int, once: bool = False
    ) -> tuple[str, Mapping[str, str]]:
        """URL and headers for a PUT of exactly these bytes; `once`: only where nothing is there yet."""
        ...


@dataclass(frozen=True, slots=True)
class FleetOrder:
    """One instance to start: `launch_id` is tag and client token in one.

    `since`: when EC2 was first asked, before which no instance can have begun to cost.
    """

    launch_id: str
    instance_types: tuple[str, ...]
    market: str = "spot"
    since: datetime | None = None


class Compute(Protocol):
    """EC2, a local process, or the simulator."""

    def launch(self, order: FleetOrder) -> Instance:
        """Start one instance. Raises a LaunchRefused subclass; the same order may be repeated."""
        ...

    def instance(self, instance_id: str) -> Instance | None: ...
    def instances(self) -> list[Instance]:
        """Every instance that carries the stack's tag, terminated ones too while EC2 shows them."""
        ...

    def terminate(self, instance_id: str) -> None:
        """Ask for termination of one instance. An unknown id is no error."""
        ...

    def console(self, instance_id: str) -> str: ...
    def spot_price(self, instance_type: str, zone: str, *, since: datetime, until: datetime) -> int | None:
        """The highest spot price between two moments, micro-dollars an hour; None when nobody says."""
        ...


class Workflow(Protocol):
    """Step Functions."""

    def start(self, launch_id: str, input: Mapping[str, Any]) -> None:
        """Start RunnerLifecycle under the launch's id; starting it again is no error."""
        ...

    def succeed(self, token: str, output: Mapping[str, Any]) -> None:
        """Finish a callback. A token that is no longer waited for is no error."""
        ...

    def fail(self, token: str, error: str, cause: str) -> None: ...
    def beat(self, token: str) -> None: ...


class Mail(Protocol):
    """SNS."""

    def send(self, subject: str, body: str) -> None: ...


class Kick(Protocol):
    """Ask a function to look now rather than within the minute. Losing that loses time only.

    An `event` of its own is work nobody else will ask for: it has arrived, or an error is raised.
    """

    def __call__(self, function: str, event: Mapping[str, Any] | None = None) -> None: ...


class Timers(Protocol):
    """One-shot schedules that end an instance whatever becomes of the functions."""

    def arm(self, launch_id: str, instance_id: str, at: datetime) -> None:
        """Have the instance terminated at a moment. Arming a launch again is no error."""
        ...

    def disarm(self, launch_id: str) -> None:
        """Forget a launch's schedule. One that is gone already is no error."""
        ...


class Clock(Protocol):
    """What calls scale, watchdog and report each minute. Asking for what is so already is no error."""

    def wake(self) -> None: ...
    def sleep(self) -> None: ...


class PriceList(Protocol):
    """AWS's price list."""

    def on_demand(self, instance_types: Sequence[str]) -> Mapping[str, int]:
        """Micro-dollars an hour of the types it knows; none at all when it does not answer."""
        ...


class Bell(Protocol):
    """runner_api's own bell, rung by the watchdog before it calls a runner silent."""

    def __call__(self) -> bool:
        """Whether runner_api answers."""
        ...


class Pause(Protocol):
    """Time between two tries of a write that others are at as well."""

    def __call__(self, tries: int) -> None:
        """Let time pass after so many tries (1 or more) that failed."""
        ...


class Identity(Protocol):
    """STS, asked who signed a presigned GetCallerIdentity request."""

    def formed(self, url: str, headers: Mapping[str, str]) -> None:
        """Asks nobody. Raises NotYourself for what has not the form of such a request."""
        ...

    def caller(self, url: str, headers: Mapping[str, str]) -> Caller:
        """The role's session that signed. Raises NotYourself."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a service may touch; built once by a door, or faked whole by a test."""

    store: Store
    objects: Objects
    compute: Compute
    workflow: Workflow
    mail: Mail
    kick: Kick
    identity: Identity
    timers: Timers
    clock: Clock
    price_list: PriceList
    bell: Bell
    pause: Pause

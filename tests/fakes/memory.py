"""One world in memory: every port, with the semantics the real ones document and nothing more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from arcspot.domain.budget import Fleet, Ledger
from arcspot.domain.jobs import Batch, Estimate, Job, JobState
from arcspot.domain.launching import Breaker, Instance, Launch
from arcspot.domain.reaping import Suspects
from arcspot.errors import Conflict, LaunchRefused, LaunchUnknown, NotYourself, RecordMissing
from arcspot.ports import Event, FleetOrder, Ports, Record
from arcspot.settings import Settings

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def settings(**changes: Any) -> Settings:
    """A small stack: two slots, 10 USD, one allowed type."""
    env = {
        "STACK": "arcspot-test",
        "BUCKET": "bucket",
        "JOBS_TABLE": "jobs",
        "LAUNCHES_TABLE": "launches",
        "LEDGER_TABLE": "ledger",
        "EVENTS_TABLE": "events",
        "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:x",
        "TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:x",
        "RUNNER_ROLE": "runner-role",
        "INSTANCE_TYPES": "g4dn.xlarge",
        "MONTHLY_CAP_USD": "10",
        "MAX_INSTANCES": "2",
        "QUOTA_VCPUS": "0",
        "MAX_LIFETIME_MINUTES": "120",
        "BOOT_TIMEOUT_S": "600",
        "SILENCE_S": "300",
        "GONE_POLL_S": "15",
        "IDLE_S": "120",
        "HEARTBEAT_S": "20",
        "LEASE_S": "120",
        "TASK_BUDGET_S": "60",
        "TARGET_DRAIN_S": "600",
        "BOOT_S": "60",
        "MAX_WAIT_S": "0",
        "DISK_GB": "75",
        "SOLVER_VERSION": "test",
    }
    return replace(Settings.from_env(env), **changes)


def _key(record: Record) -> tuple[str, str]:
    match record:
        case Job():
            return "job", record.job_id
        case Batch():
            return "batch", record.batch_id
        case Launch():
            return "launch", record.launch_id
        case Ledger():
            return "ledger", record.period
        case Estimate():
            return "estimate", record.key
        case _:
            return type(record).__name__, ""


@dataclass
class MemoryStore:
    """Compare-and-swap on versions, all or nothing, as DynamoDB's transactions give it."""

    rows: dict[tuple[str, str], Record] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def write(self, *records: Record) -> None:
        for record in records:
            known = self.rows.get(_key(record))
            if (known.version if known else 0) != record.version:
                raise Conflict(f"{_key(record)} is at version {known.version if known else 0}")
        for record in records:
            self.rows[_key(record)] = replace(record, version=record.version + 1)

    def add(self, jobs: Sequence[Job]) -> set[str]:
        new = set()
        for job in jobs:
            if ("job", job.job_id) not in self.rows:
                self.write(job)
                new.add(job.job_id)
        return new

    def _all(self, kind: type) -> list[Any]:
        return [row for row in self.rows.values() if isinstance(row, kind)]

    def job(self, job_id: str) -> Job | None:
        return self.rows.get(("job", job_id))  # type: ignore[return-value]

    def jobs(self, job_ids: Sequence[str]) -> dict[str, Job]:
        return {i: job for i in job_ids if (job := self.job(i))}

    def ready_jobs(self, limit: int) -> list[Job]:
        ready = [job for job in self._all(Job) if job.state is JobState.READY]
        return sorted(ready, key=lambda job: (job.lane, job.ready_at, job.job_id))[:limit]

    def ready_count(self, at_most: int) -> int:
        return min(at_most, len(self.ready_jobs(10**9)))

    def jobs_of_launch(self, launch_id: str) -> list[Job]:
        return [job for job in self._all(Job) if job.lease and job.lease.launch_id == launch_id]

    def jobs_of_batch(self, batch_id: str, state: JobState | None = None) -> Iterable[Job]:
        return [j for j in self._all(Job) if j.batch_id == batch_id and state in (None, j.state)]

    def batch(self, batch_id: str) -> Batch | None:
        return self.rows.get(("batch", batch_id))  # type: ignore[return-value]

    def batches_due(self) -> list[Batch]:
        return [batch for batch in self._all(Batch) if batch.report_due_at]

    def launch(self, launch_id: str) -> Launch | None:
        return self.rows.get(("launch", launch_id))  # type: ignore[return-value]

    def launches(self) -> list[Launch]:
        return self._all(Launch)

    def open_launches(self) -> list[Launch]:
        return [launch for launch in self._all(Launch) if launch.state.open]

    def ledger(self, period: str) -> Ledger | None:
        return self.rows.get(("ledger", period))  # type: ignore[return-value]

    def fleet(self) -> Fleet | None:
        return self.rows.get(("Fleet", ""))  # type: ignore[return-value]

    def breaker(self) -> Breaker:
        return self.rows.get(("Breaker", ""), Breaker())  # type: ignore[return-value]

    def suspects(self) -> Suspects:
        return self.rows.get(("Suspects", ""), Suspects(since={}))  # type: ignore[return-value]

    def estimate(self, key: str) -> Estimate | None:
        return self.rows.get(("estimate", key))  # type: ignore[return-value]

    def record(self, *events: Event) -> None:
        self.events += events


@dataclass
class MemoryObjects:
    """A bucket that keeps the newest version, and PUTs only what a presigned URL promised."""

    bodies: dict[str, bytes] = field(default_factory=dict)

    def read(self, key: str, *, version: str | None = None) -> bytes:
        if key not in self.bodies:
            raise RecordMissing(key)
        return self.bodies[key]

    def write(self, key: str, body: bytes, *, content_type: str) -> None:
        self.bodies[key] = body

    def delete(self, key: str) -> None:
        self.bodies.pop(key, None)

    def keys(self, prefix: str) -> Iterable[str]:
        return sorted(key for key in self.bodies if key.startswith(prefix))

    def size(self, key: str) -> int | None:
        return len(self.bodies[key]) if key in self.bodies else None

    def presign_get(self, key: str, *, version: str | None, seconds: int) -> str:
        return f"memory://{key}"

    def presign_put(
        self, key: str, *, sha256_hex: str, size: int, seconds: int
    ) -> tuple[str, Mapping[str, str]]:
        return f"memory://{key}", {"sha256": sha256_hex}

    def put(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != headers["sha256"]:
            raise ValueError("400 BadDigest")
        self.bodies[url.removeprefix("memory://")] = body


@dataclass
class FakeEc2:
    """EC2 with its client token (moto ignores it) and scripted refusals."""

    now: datetime = START
    seen: dict[str, Instance] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    refusals: list[LaunchRefused] = field(default_factory=list)
    started_behind_a_silence: bool = False
    terminated: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def launch(self, order: FleetOrder) -> Instance:
        if order.launch_id in self.tokens:
            return self.seen[self.tokens[order.launch_id]]
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None and not (isinstance(refusal, LaunchUnknown) and self.started_behind_a_silence):
            raise refusal
        instance = Instance(
            instance_id=f"i-{len(self.seen):04d}",
            state="running",
            instance_type=order.instance_types[0],
            zone="us-east-1a",
            market=order.market,
            launched_at=self.now,
            launch_id=order.launch_id,
        )
        self.seen[instance.instance_id] = instance
        self.tokens[order.launch_id] = instance.instance_id
        if refusal is not None:
            raise refusal
        return instance

    def instance(self, instance_id: str) -> Instance | None:
        return self.seen.get(instance_id)

    def instances(self) -> list[Instance]:
        return list(self.seen.values())

    def terminate(self, instance_id: str) -> None:
        if instance_id in self.broken:
            raise RuntimeError(f"EC2 does not answer about {instance_id}")
        self.terminated.append(instance_id)
        self.end(instance_id)

    def end(self, instance_id: str) -> None:
        known = self.seen.get(instance_id)
        if known is not None and not known.gone:
            self.seen[instance_id] = replace(known, state="terminated", ended_at=self.now)

    def console(self, instance_id: str) -> str:
        return f"console of {instance_id}"

    def spot_price(self, instance_type: str, zone: str) -> int | None:
        return 157_800

    @property
    def living(self) -> list[Instance]:
        return [instance for instance in self.seen.values() if instance.alive]


@dataclass
class FakeWorkflow:
    """Executions by name, and what callbacks were told."""

    started: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    told: list[tuple[str, str, str]] = field(default_factory=list)

    def start(self, launch_id: str, input: Mapping[str, Any]) -> None:
        self.started.setdefault(launch_id, input)

    def succeed(self, token: str, output: Mapping[str, Any]) -> None:
        self.told.append((token, "succeed", ""))

    def fail(self, token: str, error: str, cause: str) -> None:
        self.told.append((token, "fail", error))

    def beat(self, token: str) -> None:
        self.told.append((token, "beat", ""))


@dataclass
class FakeMail:
    sent: list[tuple[str, str]] = field(default_factory=list)

    def send(self, subject: str, body: str) -> None:
        self.sent.append((subject, body))


@dataclass
class FakeKick:
    kicked: list[str] = field(default_factory=list)

    def __call__(self, function: str) -> None:
        self.kicked.append(function)


@dataclass
class FakeSts:
    """Says who signed: the URL's last part is `role/session`."""

    def session(self, url: str, headers: Mapping[str, str]) -> tuple[str, str]:
        if not url.startswith("sts://"):
            raise NotYourself("not an STS request")
        role, _, name = url.removeprefix("sts://").partition("/")
        return role, name


@dataclass
class World:
    """All ports and a clock that only moves when told."""

    store: MemoryStore = field(default_factory=MemoryStore)
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    ec2: FakeEc2 = field(default_factory=FakeEc2)
    workflow: FakeWorkflow = field(default_factory=FakeWorkflow)
    mail: FakeMail = field(default_factory=FakeMail)
    kick: FakeKick = field(default_factory=FakeKick)
    now: datetime = START

    @property
    def ports(self) -> Ports:
        return Ports(
            store=self.store,
            objects=self.objects,
            compute=self.ec2,
            workflow=self.workflow,
            mail=self.mail,
            kick=self.kick,
            identity=FakeSts(),
        )

    def wait(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        self.ec2.now = self.now
        return self.now

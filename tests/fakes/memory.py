"""One world in memory: every port, with the semantics the real ones document and nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from arcspot.domain.identity import Caller
from arcspot.domain.launching import Instance
from arcspot.errors import LaunchRefused, LaunchUnknown, NotYourself
from arcspot.ports import FleetOrder, Ports
from arcspot.settings import Settings
from arcspot_simulator import limits
from arcspot_simulator.bucket import MemoryObjects
from arcspot_simulator.limits import refuse
from arcspot_simulator.tables import MemoryStore

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
        "ACCOUNT_ID": "123456789012",
        "RUNNER_ROLE": "runner-role",
        "RUNNER_ROLE_ID": "AROARUNNER",
        "INSTANCE_TYPES": "g4dn.xlarge",
        "MONTHLY_CAP_USD": "10",
        "MAX_INSTANCES": "2",
        "QUOTA_VCPUS": "0",
        "MAX_LIFETIME_MINUTES": "120",
        "BOOT_TIMEOUT_S": "600",
        "SILENCE_S": "300",
        "GONE_POLL_S": "60",
        "IDLE_S": "120",
        "HEARTBEAT_S": "90",
        "LEASE_S": "300",
        "TASK_BUDGET_S": "60",
        "TARGET_DRAIN_S": "600",
        "BOOT_S": "60",
        "MAX_WAIT_S": "0",
        "DISK_GB": "75",
        "GPU_IDLE_S": "600",
        "SCHEDULE_GROUP": "arcspot-test",
        "CLOCK_RULE": "arcspot-test-each-minute",
        "SOLVER_VERSION": "test",
    }
    return replace(Settings.from_env(env), **changes)


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
    untold_zones: bool = False  # an answer that names no zone; describe does
    asked: list[FleetOrder] = field(default_factory=list)
    spot: dict[datetime, int] = field(default_factory=lambda: {START - timedelta(days=1): 157_800})

    def launch(self, order: FleetOrder) -> Instance:
        self.asked.append(order)
        if order.launch_id in self.tokens:
            return self.seen[self.tokens[order.launch_id]]
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None and not (self._unproven(refusal) and self.started_behind_a_silence):
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
        return replace(instance, zone="") if self.untold_zones else instance

    @staticmethod
    def _unproven(refusal: LaunchRefused) -> bool:
        return isinstance(refusal, LaunchUnknown) or not refusal.certain

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

    def spot_price(self, instance_type: str, zone: str, *, since: datetime, until: datetime) -> int | None:
        """The dearest of the prices that held at some time between the two moments."""
        if not zone:
            return None
        changes = sorted(self.spot.items())
        first = [price for at, price in changes if at <= since][-1:]
        held = first + [price for at, price in changes if since < at <= until]
        return max(held, default=None)

    @property
    def living(self) -> list[Instance]:
        return [instance for instance in self.seen.values() if instance.alive]


@dataclass
class FakeWorkflow:
    """Executions by name, and what callbacks were told."""

    started: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    told: list[tuple[str, str, str]] = field(default_factory=list)

    def start(self, launch_id: str, input: Mapping[str, Any]) -> None:
        refuse(
            limits.execution_name_fault(launch_id),
            limits.document_fault(dict(input), limits.STATE_BYTES, "an input"),
        )
        self.started.setdefault(launch_id, input)

    def succeed(self, token: str, output: Mapping[str, Any]) -> None:
        refuse(limits.document_fault(dict(output), limits.STATE_BYTES, "an output"))
        self.told.append((token, "succeed", ""))

    def fail(self, token: str, error: str, cause: str) -> None:
        refuse("" if len(error) <= 256 else f"an error's name of {len(error)} characters, expected 256")
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
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def __call__(self, function: str, event: Mapping[str, Any] | None = None) -> None:
        refuse(limits.document_fault(dict(event or {}), limits.EVENT_BYTES, "an asynchronous event"))
        self.kicked.append(function)
        if event:
            self.events.append((function, event))


@dataclass
class FakeTimers:
    """One-shot schedules by launch; nothing fires by itself."""

    armed: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    broken: bool = False

    def arm(self, launch_id: str, instance_id: str, at: datetime) -> None:
        refuse(limits.schedule_name_fault(launch_id))
        if self.broken:
            raise RuntimeError("EventBridge Scheduler does not answer")
        self.armed[launch_id] = (instance_id, at)

    def disarm(self, launch_id: str) -> None:
        self.armed.pop(launch_id, None)


@dataclass
class FakeClock:
    """The minute's clock: whether it runs, and how often it was asked."""

    awake: bool = True
    asked: int = 0
    broken: bool = False

    def wake(self) -> None:
        self._turn(True)

    def sleep(self) -> None:
        self._turn(False)

    def _turn(self, on: bool) -> None:
        if self.broken:
            raise RuntimeError("EventBridge does not answer")
        self.asked += 1
        self.awake = on


@dataclass
class FakePriceList:
    """Says what it was told to say."""

    says: dict[str, int] = field(default_factory=dict)
    asked: int = 0

    def on_demand(self, instance_types: Sequence[str]) -> Mapping[str, int]:
        self.asked += 1
        return {name: self.says[name] for name in instance_types if name in self.says}


@dataclass
class FakePause:
    """Waits for nothing; remembers after how many tries somebody would have."""

    tries: list[int] = field(default_factory=list)

    def __call__(self, tries: int) -> None:
        self.tries.append(tries)


@dataclass
class FakeSts:
    """Says who signed: the URL is `sts://account/role/role id/session?moment`, in seconds."""

    def formed(self, url: str, headers: Mapping[str, str]) -> None:
        if not url.startswith("sts://"):
            raise NotYourself("not an STS request")

    def caller(self, url: str, headers: Mapping[str, str]) -> Caller:
        self.formed(url, headers)
        who, _, at = url.removeprefix("sts://").partition("?")
        account, role, role_id, session = who.split("/")
        return Caller(account, role, role_id, session, datetime.fromtimestamp(float(at), UTC) if at else None)


@dataclass
class World:
    """All ports and a clock that only moves when told."""

    store: MemoryStore = field(default_factory=MemoryStore)
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    ec2: FakeEc2 = field(default_factory=FakeEc2)
    workflow: FakeWorkflow = field(default_factory=FakeWorkflow)
    mail: FakeMail = field(default_factory=FakeMail)
    kick: FakeKick = field(default_factory=FakeKick)
    timers: FakeTimers = field(default_factory=FakeTimers)
    clock: FakeClock = field(default_factory=FakeClock)
    price_list: FakePriceList = field(default_factory=FakePriceList)
    pause: FakePause = field(default_factory=FakePause)
    door_answers: bool = True
    now: datetime = START

    def __post_init__(self) -> None:
        self.objects.clock = lambda: self.now

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
            timers=self.timers,
            clock=self.clock,
            price_list=self.price_list,
            bell=lambda: self.door_answers,
            pause=self.pause,
        )

    def wait(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        self.ec2.now = self.now
        return self.now

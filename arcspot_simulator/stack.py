"""A deployed stack on the virtual clock: buckets that tell, queues, schedules, runners and a person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Any
from urllib.parse import quote_plus

from arcspot.domain.jobs import JobState
from arcspot.domain.pausing import pause_seconds
from arcspot.ports import Ports
from arcspot.settings import MARGIN_SECONDS, Settings
from arcspot_simulator.bucket import MemoryObjects
from arcspot_simulator.cloud import (
    FOREIGN,
    AwsError,
    Machine,
    Prices,
    SimClock,
    SimEc2,
    SimPriceList,
    SimSts,
    SimTimers,
)
from arcspot_simulator.functions import FunctionFailed, Functions
from arcspot_simulator.lifecycle import SimStepFunctions
from arcspot_simulator.limits import EVENT_BYTES, document_fault, refuse
from arcspot_simulator.loop import Loop
from arcspot_simulator.metering import Meter
from arcspot_simulator.runners import Nature, SimRunner
from arcspot_simulator.tables import MemoryStore
from arcspot_simulator.weather import Sky

TICK_S = 60.0
MINUTE = {"clock": "minute"}
SLOW_S = 300.0
SWEEP_S = 3600.0
VISIBILITY_S = 720.0
MAX_RECEIVES = 5
QUEUE_BATCH = 10
# Nothing runs and nothing can start: schedules that are late by minutes change nothing then.
IDLE_TICK_S = 600.0


def settings(**changes: Any) -> Settings:
    """A stack's settings as the template sets them; money in micro-dollars, times in seconds."""
    base = Settings(
        stack="simulated", bucket="bucket", jobs_table="", launches_table="", ledger_table="",
        events_table="", state_machine_arn="", topic_arn="", launch_template_id="", subnet_ids=(),
        account_id="123456789012", runner_role="runner-role", runner_role_id="AROARUNNER",
        instance_types=("g4dn.xlarge",), cap=10_000_000, slots=2,
        quota_vcpus=0, max_lifetime_s=7200, margin_s=MARGIN_SECONDS, boot_timeout_s=900, silence_s=300,
        gone_poll_s=60, idle_s=120, heartbeat_s=90, lease_s=300, task_budget_s=300, target_drain_s=1800,
        boot_s=180, max_wait_s=60, disk_gb=75, solver_version="1", price_overrides={},
    )  # fmt: skip
    return replace(base, **changes)


@dataclass
class Message:
    """One message in the ingest queue."""

    body: str
    receives: int = 0


@dataclass
class FakeMail:
    """`ports.Mail`: what people were sent, and when (seconds)."""

    loop: Loop
    sent: list[tuple[float, str]] = field(default_factory=list)

    def send(self, subject: str, body: str) -> None:
        self.sent.append((self.loop.now, subject))


class Stack:
    """Everything `sam deploy` would have made, and the world around it."""

    def __init__(self, loop: Loop, sky: Sky, first: Settings, *, seed: int, jumpy: bool) -> None:
        self.loop, self.sky, self.rng = loop, sky, sky.rng
        self.settings = first
        self.store = MemoryStore(lag=self._lag, clock=lambda: loop.now)
        self.store.on_event = lambda event: self.trace(f"{event.subject} {event.kind}: {event.detail}")
        self.objects = MemoryObjects(clock=lambda: self.loop.moment)
        self.objects.trouble = self._trouble
        self._patience = Random(f"pauses of {seed}")  # its own: a pause draws nothing from the weather
        self.prices = Prices(seed, jumpy=jumpy)
        self.ec2 = SimEc2(loop, sky, self.prices, max_lifetime_s=lambda: self.settings.max_lifetime_s)
        self.timers = SimTimers(loop, sky, self.ec2)
        self.clock = SimClock()
        self.workflow = SimStepFunctions(loop, sky)
        self.mail = FakeMail(loop)
        self.price_list = SimPriceList(self.prices, lambda: not sky.strikes(sky.weather.call_errors))
        ports = Ports(
            store=self.store,
            objects=self.objects,
            compute=self.ec2.compute,
            workflow=self.workflow,
            mail=self.mail,
            kick=self._kick,
            identity=SimSts(),
            timers=self.timers,
            clock=self.clock,
            price_list=self.price_list,
            bell=self._bell,
            pause=self._pause,
        )
        self.ports = ports
        self.functions = Functions(loop, sky, ports, lambda: self.settings)
        self.functions.trace = self.trace
        self.workflow.functions = self.functions
        self.ec2.on_boot = self._boots
        self.ec2.tell = self.instance_news
        self.runners: dict[str, SimRunner] = {}
        self.queue: list[Message] = []
        self.natures: dict[str, Nature] = {}
        self.draw_nature: Callable[[Random], Nature] = lambda rng: Nature(60.0)
        self.dropped: dict[str, bytes] = {}
        self.given_to_runners: dict[tuple[str, int], str] = {}
        self.cursed = ""
        self.log: list[str] | None = None
        self.missed: Counter[str] = Counter()
        self.sweeps = 0
        self.ticks: Counter[str] = Counter()
        self.scheduled: Counter[str] = Counter()  # calls of EventBridge Scheduler, which are charged
        self.on_drop: Callable[[str, bytes], object] = lambda key, body: None
        self.on_poll: Callable[[int], object] = lambda messages: None
        self.exact = False  # every minute, even when nothing can happen: what a bill is made of
        self._polling = False
        self._sequence = 0

    # History ---------------------------------------------------------------------------------------------
    def metered(self, meter: Meter) -> None:
        """Count what people and runners ask of the bucket, and what the queue does."""
        put = self.objects.put

        def counted(url: str, headers: Mapping[str, str], body: bytes) -> int:
            meter.stored(url, len(body))
            return put(url, headers, body)

        self.objects.put = counted  # type: ignore[method-assign]
        self.on_drop = lambda key, body: meter.stored(key, len(body))
        self.on_poll = meter.polled

    def trace(self, text: str) -> None:
        """A line of the history, when somebody wants to read it."""
        if self.log is not None:
            self.log.append(f"{self.loop.now:10.1f} {self.loop.moment:%d %H:%M:%S} {text}")

    def nature(self, job_id: str) -> Nature:
        if job_id not in self.natures:
            # By the job, not by who asks first: a repeated attempt meets the same job.
            self.natures[job_id] = self.draw_nature(Random(job_id))
        return self.natures[job_id]

    # The bucket and its queue ----------------------------------------------------------------------------
    def drop(self, key: str, body: bytes) -> None:
        """A person uploads a file; S3 tells the queue: once, twice or never."""
        self.dropped[key] = body
        self.on_drop(key, body)
        self.objects.dropped(key, body)
        self.objects.unreadable.discard(key)
        if self.sky.strikes(self.sky.weather.archived):
            self.trace(f"{key} is archived")
            self.objects.unreadable.add(key)
        if self.sky.weather.cursed_batch and not self.cursed:
            self.cursed = f"reports/{key.split('/')[1]}/"
            self.trace(f"nothing below {self.cursed} can be written")
        self._sequence += 1
        record = {
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": {"name": self.settings.bucket},
                "object": {
                    "key": quote_plus(key, safe="/"),
                    "size": len(body),
                    "sequencer": f"{self._sequence:016X}",
                    "versionId": self.objects.newest.get(key, "null"),
                },
            },
        }
        weather, rng = self.sky.weather, self.rng
        if self.sky.strikes(weather.events_lost):
            self.trace(f"the event of {key} is lost")
            return
        for _ in range(2 if self.sky.strikes(weather.events_doubled) else 1):
            delay = 0.5 + 4 * rng.random() + (300 * rng.random() if rng.random() < 0.02 else 0.0)
            message = Message(json.dumps({"Records": [record]}))
            self.loop.after(delay, "message", lambda message=message: self._enqueue(message))  # type: ignore[misc]

    def _enqueue(self, message: Message) -> None:
        self.queue.append(message)
        if not self._polling:
            self._polling = True
            self.loop.after(1.0, "poll queue", self._poll)

    def _poll(self) -> None:
        taken, self.queue = self.queue[:QUEUE_BATCH], self.queue[QUEUE_BATCH:]
        self.on_poll(len(taken))
        records = [{"messageId": str(n), "body": m.body} for n, m in enumerate(taken)]
        failed = set(range(len(taken)))
        try:
            answer = self.functions.invoke("ingest", {"Records": records})
            failed = {int(item["itemIdentifier"]) for item in answer["batchItemFailures"]}
        except FunctionFailed as error:
            self.trace(f"ingest failed: {error.name}")
        for n in sorted(failed):
            taken[n].receives += 1
            if taken[n].receives < MAX_RECEIVES:
                message = taken[n]
                self.loop.after(VISIBILITY_S, "message again", lambda m=message: self._enqueue(m))  # type: ignore[misc]
        self._polling = bool(self.queue)
        if self.queue:
            self.loop.after(0.2, "poll queue", self._poll)

    def _trouble(self, verb: str, key: str) -> Exception | None:
        """What S3 says of one object, whatever becomes of the others."""
        if verb == "write" and self.cursed and key.startswith(self.cursed):
            return AwsError(f"{key}: AccessDenied")
        if verb == "read" and self.sky.strikes(self.sky.weather.reads_fail):
            return AwsError(f"{key}: InternalError")
        return None

    def worked_on(self, job_id: str, fence: int, task: str) -> None:
        """The task that a runner was given with a lease."""
        self.given_to_runners[job_id, fence] = task

    # Schedules and events --------------------------------------------------------------------------------
    def start(self) -> None:
        self.loop.after(1.0, "tick", self._tick)
        self.loop.after(SLOW_S, "slow round", self._slow_round)
        self.loop.after(SWEEP_S, "sweep", self._sweep)

    def call(self, function: str, event: Mapping[str, Any]) -> Any:
        """An asynchronous invocation nobody waits for."""
        try:
            return self.functions.invoke(function, event)
        except FunctionFailed as failed:
            self.missed[f"{function} {failed.name}"] += 1
            self.trace(f"{function} failed: {failed.name}: {failed}")
            return None

    def _tick(self) -> None:
        """The minute's three functions while the clock runs, each a little later than the one before."""
        for delay, function in ((0.0, "scale"), (3.0, "watchdog"), (6.0, "report")):
            if self.clock.awake and not self.sky.strikes(self.sky.weather.ticks_skipped):
                self.ticks[function] += 1
                self.loop.after(delay, function, lambda f=function: self.call(f, MINUTE))  # type: ignore[misc]
        self.loop.after(TICK_S if self.busy or self.exact else IDLE_TICK_S, "tick", self._tick)

    @property
    def busy(self) -> bool:
        """Whether anything runs or could start: then every minute counts."""
        if self.ec2.live or self.workflow.open or self.store.indexes.open_launches:
            return True
        return bool(self.store.indexes.ready) and self.loop.now - self._last_write() < IDLE_TICK_S

    def _slow_round(self) -> None:
        """The watchdog's own, whether the clock runs or sleeps."""
        if not self.sky.strikes(self.sky.weather.ticks_skipped):
            self.scheduled["slow round"] += 1
            self.call("watchdog", {"clock": "slow"})
        self.loop.after(SLOW_S if self.busy or self.exact else IDLE_TICK_S, "slow round", self._slow_round)

    def _last_write(self) -> float:
        return self.store.written_at

    def _sweep(self) -> None:
        self.sweeps += 1
        self.scheduled["sweep"] += 1
        self.call("ingest", {"sweep": True})
        self.loop.after(SWEEP_S, "sweep", self._sweep)

    def _kick(self, function: str, event: Mapping[str, Any] | None = None) -> None:
        refuse(document_fault(dict(event or {}), EVENT_BYTES, "an asynchronous event"))
        # An event of its own is taken by Lambda or refused in words, never lost.
        if event or not self.sky.strikes(self.sky.weather.events_lost):
            self.loop.after(0.3, f"kick {function}", lambda: self.call(function, event or {"kicked": True}))

    def _pause(self, tries: int) -> None:
        self.loop.run(self.loop.now + pause_seconds(tries, self._patience.random()))

    def _bell(self) -> bool:
        if self.sky.weather.door_down.holds(self.loop.now):
            return False
        try:
            return bool(self.functions.invoke("runner_api", {"verb": "ping"})["ok"])
        except FunctionFailed:
            return False

    def instance_news(self, kind: str, instance_id: str) -> None:
        """EventBridge tells the watchdog of one instance: a spot warning, or a change of state."""
        types = {
            "warning": "EC2 Spot Instance Interruption Warning",
            "state": "EC2 Instance State-change Notification",
        }
        if self.sky.strikes(self.sky.weather.events_lost):
            return
        event = {"detail-type": types[kind], "detail": {"instance-id": instance_id}}
        self.loop.after(1 + 5 * self.rng.random(), kind, lambda: self.call("watchdog", event))

    def stray_warning(self) -> None:
        """A warning about somebody else's instance."""
        event = {
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "detail": {"instance-id": FOREIGN},
        }
        self.call("watchdog", event)

    # Instances -------------------------------------------------------------------------------------------
    def _boots(self, machine: Machine) -> None:
        self.trace(f"{machine.instance_id} starts for {machine.launch_id} ({machine.market})")
        runner = SimRunner(self, machine)
        self.runners[machine.instance_id] = runner
        runner.boot()

    def _lag(self) -> tuple[float, float]:
        late = self.sky.strikes(self.sky.weather.index_lags)
        return self.loop.now, (5.0 * self.rng.random() if late else 0.0)

    # A person --------------------------------------------------------------------------------------------
    def change(self, **changes: Any) -> None:
        """A deploy with other parameters."""
        self.trace(f"deploy: {changes}")
        self.settings = replace(self.settings, **changes)

    def jobs(self, state: JobState | None = None) -> list[Any]:
        from arcspot.domain.jobs import Job

        return [job for job in self.store.every(Job) if state in (None, job.state)]

    @property
    def now(self) -> datetime:
        return self.loop.moment

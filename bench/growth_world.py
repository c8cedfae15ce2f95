"""A calm stack of any size, and what one round of one function costs in it.

The handlers, the services and the decisions are the real ones; tables, bucket and EC2 are the simulator's.
Nothing happens by itself: no schedule, no runner, no execution. What a call takes is in
`arcspot_simulator/latency.py`, what it is billed as in `arcspot_simulator/tariff.py`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any

from arcspot.domain import results
from arcspot.domain.jobs import Job, JobState
from arcspot.services import money
from arcspot_simulator import stack as simulated
from arcspot_simulator.cloud import Machine
from arcspot_simulator.functions import FunctionFailed, Functions
from arcspot_simulator.history import task_bytes
from arcspot_simulator.latency import requests
from arcspot_simulator.loop import Loop
from arcspot_simulator.runners import PACKED, SimRunner, Work
from arcspot_simulator.stack import Message, Stack
from arcspot_simulator.tariff import Meter
from arcspot_simulator.weather import CALM, Sky

BATCH = "b"
PROJECT = Path(__file__).resolve().parents[1]
OURS = (str(PROJECT / "layers" / "common"), str(PROJECT / "functions"))
SETTLED_S = 3600.0
# Until EC2 shows an instance that has just been started.
SHOWN_S = 5.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a round asked for. `steps` are calls that our own code made, counted only on request."""

    calls: int
    read_units: float
    write_units: float
    s3_requests: float
    seconds: float
    cpu_s: float
    steps: int = 0
    cut_off: bool = False


class Tally(Meter):
    """The simulator's meter, and the requests that the calls are."""

    requests = 0

    def called(self, function: str, name: str, args: tuple[Any, ...], result: Any, **more: Any) -> None:
        super().called(function, name, args, result, **more)
        self.requests += requests(name, args, result)


class Quiet:
    """`ports.Workflow`, whose executions do nothing."""

    def start(self, launch_id: str, input: Mapping[str, Any]) -> None: ...
    def succeed(self, token: str, output: Mapping[str, Any]) -> None: ...
    def fail(self, token: str, error: str, cause: str) -> None: ...
    def beat(self, token: str) -> None: ...


class Hand(SimRunner):
    """A runner that does what it is told and nothing by itself."""

    def _turn(self) -> None: ...
    def _after(self, seconds: float, name: str, act: Callable[[], object]) -> None: ...

    def hello(self) -> None:
        self._hello(self.room.loop.now)
        if not self.secret:
            raise RuntimeError("hello was refused")

    def claim(self, want: int = 1) -> None:
        leases = self.ask("claim", want=want)["leases"]
        self.hands += [Work(lease, self.room.loop.now) for lease in leases]
        if len(leases) < want:
            raise RuntimeError(f"{len(leases)} of {want} leases")

    def leases(self) -> list[dict[str, Any]]:
        """What is in its hands, as a heartbeat tells it."""
        return [
            {"job_id": work.lease["job_id"], "fence": work.lease["fence"], "phase": "train", "fraction": 0.5}
            for work in self.hands
        ]


class World:
    """A stack into which `jobs` files are dropped, with room for `instances` and a few more.

    `few` is how many files a round takes that is to cost the same however many there are.
    """

    def __init__(self, jobs: int, instances: int, *, few: int = 100) -> None:
        self.jobs, self.instances, self.few = jobs, instances, few
        self.loop = Loop()
        sky = Sky(CALM, Random(0))
        self.settings = simulated.settings(slots=instances + 3, cap=10**12)
        self.stack = Stack(self.loop, sky, self.settings, seed=0, jumpy=False)
        self.stack.store.lag = None
        self.kicks: list[str] = []
        self.messages: list[Message] = []
        self.machines: dict[str, Machine] = {}
        self.stack._enqueue = self.messages.append  # type: ignore[method-assign]
        self.stack.ec2.tell = lambda kind, instance_id: None
        self.stack.ec2.on_boot = lambda machine: self.machines.update({machine.launch_id: machine})
        self.ports = replace(self.stack.ports, kick=self._kicked, workflow=Quiet(), bell=lambda: True)
        self.functions = Functions(self.loop, sky, self.ports, lambda: self.settings)
        self.stack.functions = self.functions
        self.runners: list[Hand] = []
        self.counts_steps = False

    def _kicked(self, function: str, event: Mapping[str, Any] | None = None) -> None:
        self.kicks.append(function)

    # What one may do in it -------------------------------------------------------------------------------
    def drop(self, first: int, count: int) -> list[dict[str, str]]:
        """Put files into the bucket; the messages that tell of them, each once."""
        self.messages.clear()
        for number in range(first, first + count):
            self.stack.drop(f"tasks/{BATCH}/{number:06}.json", task_bytes(number))
        self.loop.run(self.loop.now + SETTLED_S)
        return [{"messageId": str(n), "body": message.body} for n, message in enumerate(self.messages)]

    def reserve(self) -> str:
        """Money and a slot for one more instance."""
        launch_id = f"launch-{len(self.runners):04}"
        money.reserve(self.ports, self.settings, launch_id, self.stack.now)
        return launch_id

    def launch(self, launch_id: str) -> None:
        self.functions.invoke("launch", {"step": "launch", "launch_id": launch_id})

    def runner(self, launch_id: str) -> Hand:
        """The program on a launch's instance, which has not said hello."""
        self.loop.run(self.loop.now + SHOWN_S)
        self.runners.append(Hand(self.stack, self.machines[launch_id]))
        return self.runners[-1]

    def beat(self) -> None:
        """Every runner that holds work is heard."""
        for runner in self.runners:
            if runner.hands:
                runner.ask("heartbeat", leases=runner.leases(), gpu_utilisation=90)

    def finish_all(self) -> None:
        """Every job has its answer, whoever gave it."""
        for job in list(self.stack.store.every(Job)):
            prefix = f"results/{job.job_id}/1/"
            self.stack.objects.bodies[prefix + results.RESULT] = PACKED
            if not job.state.terminal:
                done = replace(
                    job, state=JobState.DONE, result_prefix=prefix, lease=None, updated_at=self.stack.now
                )
                self.stack.store.write(done)

    def reported(self) -> bool:
        batch = self.stack.store.batch(BATCH)
        return batch is not None and batch.report_due_at is None

    # What it costs ---------------------------------------------------------------------------------------
    def measure(self, act: Callable[[], object]) -> Cost:
        """Do something, and count what the functions asked for."""
        tally = self.functions.meter = Tally()
        began, cpu, steps = self.loop.now, time.process_time(), [0]
        cut_off = False
        with _counted(steps) if self.counts_steps else _nothing():
            try:
                act()
            except FunctionFailed:
                cut_off = True
        self.functions.meter = None
        return Cost(
            calls=tally.requests,
            read_units=float(tally.units["DynamoDB read units"]),
            write_units=float(tally.units["DynamoDB write units"]),
            s3_requests=float(
                sum(
                    n
                    for what, n in tally.units.items()
                    if what.startswith("S3 ") and what.endswith("requests")
                )
            ),
            seconds=self.loop.now - began,
            cpu_s=time.process_time() - cpu,
            steps=steps[0],
            cut_off=cut_off,
        )


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _counted(steps: list[int]) -> Iterator[None]:
    """Count the calls that functions of ours make or are: work that no port sees."""
    known: dict[CodeType, bool] = {}

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            code = frame.f_code
            ours = known.get(code)
            if ours is None:
                ours = known[code] = code.co_filename.startswith(OURS)
            if ours:
                steps[0] += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)

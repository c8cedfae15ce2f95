"""Many runners that claim at once: who is served, and how many reads that takes.

The real service over the tables in memory, on a virtual clock. Each runner is a thread, of which exactly one
runs at a time: at each call to a table it waits for its turn by the clock, so two runs with the same seed are
the same run. A read takes 5 ms, a put 6, a transaction 12, in which nobody else can write to its rows, a GET
of S3 20; the index shows a change 50 ms later. What takes how long is an assumption (docs/benchmarks.md).
"""

from __future__ import annotations

import heapq
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import count, islice
from random import Random
from typing import Any, cast
from zlib import crc32

from arcspot.aws.dynamo import WINDOW
from arcspot.aws.rows import SHARDS
from arcspot.domain import tasks
from arcspot.domain.jobs import Job, TaskInput
from arcspot.domain.launching import CONTRACT, Launch, LaunchState
from arcspot.domain.pausing import pause_seconds
from arcspot.errors import Overlapped
from arcspot.ports import Fetched, Part, Ports, Store
from arcspot.services.serving import Door
from arcspot_simulator.bucket import MemoryObjects
from arcspot_simulator.latency import CALLS_S, PUT_S, TRANSACTION_S
from arcspot_simulator.latency import GET_S as READ_S
from arcspot_simulator.stack import settings
from arcspot_simulator.tables import MemoryStore, key_of

GET_OBJECT_S = CALLS_S["objects.read"]
INDEX_LAG_S = 0.05
BATCH = 100
JOBS = 10_000
RUNNERS = (1, 10, 50, 200)
START = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
SECRET = "secret"
KEY = "tasks/b/all.json"


class Turns:
    """A virtual clock that lets one thread run at a time, in the order of their moments."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._back = threading.Event()
        self._alive = 0

    def start(self, act: Callable[[], object], at: float) -> None:
        """Have a thread begin at a moment."""
        mine = threading.Event()
        heapq.heappush(self._waiting, (at, next(self._order), mine))
        self._alive += 1

        def live() -> None:
            mine.wait()
            try:
                act()
            finally:
                self._alive -= 1
                self._back.set()

        threading.Thread(target=live, daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Let so much time pass; others run meanwhile."""
        mine = threading.Event()
        heapq.heappush(self._waiting, (self.now + seconds, next(self._order), mine))
        self._back.set()
        mine.wait()

    def run(self) -> None:
        """Until every thread has ended."""
        while self._alive:
            self.now, _, turn = heapq.heappop(self._waiting)
            self._back.clear()
            turn.set()
            self._back.wait()


@dataclass
class Timed:
    """The tables, with calls that take time and are counted as DynamoDB counts requests."""

    turns: Turns
    store: MemoryStore
    reads: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    busy: Counter[Any] = field(default_factory=Counter)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.store, name)

        def call(*args: Any, **more: Any) -> Any:
            self._reads(name, 1)
            return real(*args, **more)

        return call if callable(real) else real

    def _reads(self, name: str, requests: int) -> None:
        self.reads[name] += requests
        self.turns.wait(READ_S * requests)

    def jobs(self, job_ids: list[str], *, fresh: bool = True) -> dict[str, Job]:
        self._reads("jobs", -(-len(job_ids) // BATCH))
        return self.store.jobs(job_ids, fresh=fresh)

    def ready_jobs(self, limit: int, now: datetime, rng: Random | None = None) -> list[Job]:
        """As the adapter asks: each shard of the urgent lane, which is empty, then shards of the next one.

        With `rng` they come in any order, and only until there is enough.
        """
        self._reads("queries", SHARDS[0])
        wide, found, shards = WINDOW * limit if rng else limit, list[str](), SHARDS[1]
        for shard in rng.sample(range(shards), shards) if rng else range(shards):
            if not rng or len(found) < limit:
                self._reads("queries", 1)
                rows = (i for _, _, i in self.store._arrive().ready if crc32(i.encode()) % shards == shard)
                found += islice(rows, wide)
        if rng:
            rng.shuffle(found)
        self._reads("jobs", 1)
        fresh = (self.store.job(i) for i in found[:limit])
        return [job for job in fresh if job and job.due(now)]

    def write(self, *records: Any) -> None:
        """A transaction whose rows somebody else is writing is refused, as DynamoDB refuses it."""
        keys = [key_of(record) for record in records]
        self.writes["transaction" if len(records) > 1 else "put"] += 1
        if any(self.busy[key] for key in keys):
            self.turns.wait(PUT_S)
            raise Overlapped("TransactionConflict")
        self.busy.update(keys)
        try:
            self.turns.wait(TRANSACTION_S if len(records) > 1 else PUT_S)
            self.store.write(*records)
        finally:
            self.busy.subtract(keys)


@dataclass(frozen=True, slots=True)
class Claims:
    """What came of it. Reads and writes are requests; what a call needs to know its caller is among them."""

    runners: int
    served: int
    leases: int
    reads: int
    writes: int
    slowest_s: float

    @property
    def reads_per_lease(self) -> float:
        return self.reads / max(1, self.leases)


def play(runners: int, *, want: int = 1, jobs: int = JOBS, seed: int = 0, drawn: bool = True) -> Claims:
    """So many runners call within 10 ms. `drawn`: each is offered others, as runner_api does it."""
    turns, chance = Turns(), Random(f"{seed} {runners} {want}")
    store = MemoryStore()
    objects = _Bucket(turns)
    objects.dropped(KEY, _file(jobs))
    for job in _jobs(objects, jobs):
        store.write(job)
    names = [f"launch-{n:04d}" for n in range(runners)]
    for name in names:
        store.write(_launch(name))
    store.lag = lambda: (turns.now, INDEX_LAG_S)
    timed = Timed(turns, store)
    ports = cast(
        Ports,
        _Ports(
            cast(Store, timed),
            pause=lambda tries: turns.wait(pause_seconds(tries, chance.random())),
            objects=objects,
        ),
    )
    took: dict[str, float] = {}
    won: Counter[str] = Counter()

    def claim(name: str) -> None:
        began = turns.now
        rng = Random(f"{seed} {name}") if drawn else None
        door = Door(ports, settings(), START + timedelta(minutes=1), lambda: SECRET, rng)
        answer = door.handle({"verb": "claim", "launch_id": name, "secret": SECRET, "want": want})
        won[name] = len(answer["leases"])
        took[name] = turns.now - began

    for name in names:
        turns.start(lambda name=name: claim(name), 0.01 * chance.random())  # type: ignore[misc]
    turns.run()
    return Claims(
        runners=runners,
        served=sum(1 for name in names if won[name]),
        leases=sum(won.values()),
        reads=timed.reads.total(),
        writes=timed.writes.total(),
        slowest_s=max(took.values()),
    )


def claims() -> dict[str, Any]:
    """Each number of runners, with one job wanted and with eight."""
    return {
        "jobs": JOBS,
        "rows": [
            {
                "runners": found.runners,
                "want": want,
                "served": found.served,
                "leases": found.leases,
                "reads_per_lease": round(found.reads_per_lease, 2),
                "writes_per_lease": round(found.writes / max(1, found.leases), 2),
                "slowest_s": round(found.slowest_s, 3),
            }
            for want in (1, 8)
            for found in (play(runners, want=want) for runners in RUNNERS)
        ],
    }


@dataclass(frozen=True, slots=True)
class _Ports:
    """What a claim touches: the tables, and the file that the tasks are in."""

    store: Store
    pause: Callable[[int], object]
    objects: MemoryObjects


class _Bucket(MemoryObjects):
    """A bucket whose GETs take time, several of them at once as long as one."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns

    def parts(self, wanted: Sequence[Part]) -> list[Fetched | Exception]:
        self._turns.wait(GET_OBJECT_S)
        return super().parts(wanted)


def _file(jobs: int) -> bytes:
    """So many tasks, each with a number in it."""
    grids = ([[n // 10**at % 10 for at in range(5)]] for n in range(jobs))
    pairs = ((grid, [{"input": grid, "output": grid}]) for grid in grids)
    document = {str(n): {"train": pair, "test": [{"input": grid}]} for n, (grid, pair) in enumerate(pairs)}
    return json.dumps(document).encode()


def _jobs(objects: MemoryObjects, jobs: int) -> Iterator[Job]:
    config, version = {"budget_s": 60}, "1"
    file = tasks.read_task_file(KEY, _file(jobs))
    for n, (task, place) in enumerate(zip(file.tasks, file.places, strict=True)):
        at = START - timedelta(hours=1) + timedelta(milliseconds=n)
        yield Job(
            job_id=tasks.job_id(task, config, version),
            batch_id="b",
            input=TaskInput("b", KEY, objects.newest[KEY], task.task_id, place),
            config=config,
            solver_version=version,
            created_at=at,
            updated_at=at,
            ready_at=at,
            estimate_s=10.0,
        )


def _launch(name: str) -> Launch:
    row = Launch(name, "2026-11", 1, START, START + timedelta(hours=2), START + timedelta(minutes=15))
    return replace(
        row,
        state=LaunchState.ACTIVE,
        contract=CONTRACT,
        started_at=START,
        heartbeat_at=START + timedelta(seconds=59),
        secret_sha256=sha256(SECRET.encode()).hexdigest(),
    )

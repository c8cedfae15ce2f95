"""How long a report takes and how much memory, up to 100,000 tasks: the real service, modelled calls.

The rows and objects are made as they are asked for and nothing waits: each call adds its latency to a clock,
and the service's own processor time is added to it, multiplied for Lambda's share of a core. So the memory
measured is the service's own. A round ends as the function's does, when too little of its time is left.
"""

from __future__ import annotations

import gc
import json
import math
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from arcspot.domain import results
from arcspot.domain.batches import Batch, Receipt
from arcspot.domain.jobs import Job, JobState, TaskInput
from arcspot.domain.reporters import Reporter
from arcspot.errors import RecordMissing
from arcspot.ports import Event, Fetched, Ports, Record
from arcspot.services.reporting import report_round

SIZES = (1_000, 10_000, 100_000)
# Seconds: issue 13's model of DynamoDB and S3 in one region.
GET_S, PUT_S, ROW_GET_S, ROW_PUT_S, BATCH_GET_S, QUERY_S = 0.020, 0.030, 0.005, 0.006, 0.010, 0.010
AT_ONCE, BATCH_GET, QUERY_PAGE = 32, 100, 10_000
BYTES_A_SECOND = 50e6
LIMIT_S, ENOUGH_S = 300.0, 90.0
# 1,769 MB are one core: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
CORE = 1024 / 1769
# Processor time of what is not run here: a GET by boto3, a row decoded; both measured.
CPU_GET_S, CPU_ROW_S = 0.0015, 0.0001
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
MEMORY_MB = 1024
SPARE_MB = 100
"""What Python, boto3 and the layer take before any work."""
Say = Callable[[str], None]


@dataclass
class Clock:
    """Modelled seconds of calls, and how many there were."""

    seconds: float = 0.0
    calls: int = 0

    def takes(self, seconds: float, waves: float = 1, *, cpu: float = 0.0) -> None:
        self.calls += 1
        self.seconds += max(seconds * max(1, math.ceil(waves)), cpu / CORE)


@dataclass
class Rows:
    """The tables: a batch of so many files of one task, all answered."""

    tasks: int
    clock: Clock
    batch_row: Batch = field(init=False)
    reporter_row: Reporter = field(default_factory=Reporter)

    def __post_init__(self) -> None:
        self.batch_row = Batch("big", NOW, NOW, files=self.tasks, touched_at=NOW, version=1)

    def write(self, record: Record) -> None:
        self.clock.takes(ROW_PUT_S)
        written = replace(record, version=record.version + 1)
        if isinstance(written, Batch):
            self.batch_row = written
        elif isinstance(written, Reporter):
            self.reporter_row = written

    def batches_due(self, bad: dict[str, str] | None = None) -> list[Batch]:
        self.clock.takes(QUERY_S + BATCH_GET_S)
        return [self.batch_row] if self.batch_row.report_due_at else []

    def reporter(self) -> Reporter:
        self.clock.takes(ROW_GET_S)
        return self.reporter_row

    def batch(self, batch_id: str) -> Batch:
        self.clock.takes(ROW_GET_S)
        return self.batch_row

    def batch_count(self, batch_id: str, state: JobState, at_most: int) -> int:
        self.clock.takes(QUERY_S)
        return 0

    def receipts_of_batch(self, batch_id: str) -> Iterator[Receipt]:
        """None is listed: each file holds one task, whose job says the same."""
        self.clock.takes(QUERY_S)
        return iter(())

    def job_ids_of_batch(self, batch_id: str) -> Iterator[str]:
        self.clock.takes(QUERY_S, self.tasks / QUERY_PAGE)
        return (f"{n:024x}" for n in range(self.tasks))

    def jobs(self, job_ids: Sequence[str], *, fresh: bool = True) -> dict[str, Job]:
        self.clock.takes(BATCH_GET_S, len(job_ids) / BATCH_GET)
        self.clock.seconds += len(job_ids) * CPU_ROW_S / CORE
        return {job_id: _job(int(job_id, 16)) for job_id in job_ids}

    def record(self, *events: Event) -> None:
        self.clock.takes(BATCH_GET_S)


def _job(n: int) -> Job:
    return Job(
        job_id=f"{n:024x}", batch_id="big", config={"budget_s": 60, "model": "auto", "seed": 0},
        solver_version="1", created_at=NOW, updated_at=NOW + timedelta(seconds=n % 600), estimate_s=30.0,
        state=JobState.DONE, result_prefix=f"results/{n:024x}/1/", run_s_total=30.0, cost_usd_micros=150,
        summary={"device": "Tesla T4", "hypothesis": "exchangeable", "rules": 3}, version=4,
        input=TaskInput("bucket", f"tasks/big/{n:06}.json", f"{n:032x}", f"{n:06}"),
    )  # fmt: skip


@dataclass
class Objects:
    """The bucket: files and answers are made when they are read, a report's objects lie in a folder."""

    folder: Path
    clock: Clock
    written: int = 0

    def fetch_many(
        self, wanted: Sequence[tuple[str, str | None]], *, last: int | None = None
    ) -> list[Fetched | Exception]:
        found = [self._fetch(key) for key, _ in wanted]
        size = sum(len(each.body) for each in found if isinstance(each, Fetched))
        self.clock.takes(GET_S, len(wanted) / AT_ONCE, cpu=len(wanted) * CPU_GET_S)
        self.clock.seconds += size / BYTES_A_SECOND
        return found

    def _fetch(self, key: str) -> Fetched | Exception:
        if match := re.fullmatch(r"tasks/big/(\d+)\.json", key):
            return Fetched(_task(int(match[1])))
        if match := re.fullmatch(r"results/([0-9a-f]+)/1/result\.zip", key):
            return Fetched(_answer(int(match[1], 16)))
        path = self.folder / key.replace("/", "+")
        return Fetched(path.read_bytes()) if path.exists() else RecordMissing(key)

    def write(self, key: str, body: bytes, *, content_type: str) -> None:
        self.write_parts(key, [body], content_type=content_type)

    def write_parts(self, key: str, parts: Iterable[bytes], *, content_type: str) -> None:
        with (self.folder / key.replace("/", "+")).open("wb") as file:
            for part in parts:
                file.write(part)
                self.written += len(part)
                self.clock.takes(PUT_S)
                self.clock.seconds += len(part) / BYTES_A_SECOND


def _grids(n: int, count: int) -> list[list[list[int]]]:
    """As large as ARC's are on average: 12 x 12 cells."""
    rng = Random(n)
    return [[rng.choices(range(10), k=12) for _ in range(12)] for _ in range(count)]


def _task(n: int) -> bytes:
    one, two, three, four, test, truth = _grids(n, 6)
    train = [{"input": one, "output": two}, {"input": three, "output": four}]
    return json.dumps({"train": train, "test": [{"input": test, "output": truth}]}).encode()


def _answer(n: int) -> bytes:
    right = _grids(n, 6)[5]
    wrong = _grids(n + 1, 1)[0]
    first = right if n % 3 else wrong
    answer = json.dumps([{"attempt_1": first, "attempt_2": wrong}]).encode()
    return results.pack({"metrics.json": b"{}", "prediction.json": answer, "manifest.json": b"{}"})


class Mails:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, subject: str, body: str) -> None:
        self.sent.append((subject, body))


def measured(say: Say, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Rounds, modelled seconds, calls, bytes and peak memory of a report of each size."""
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="arcspot-bench-") as folder:
            found.append(report_of(size, Path(folder), say))
    return {"limit_s": LIMIT_S, "memory_mb": MEMORY_MB, "sizes": found}


def report_of(tasks: int, place: Path, say: Say) -> dict[str, Any]:
    """One batch of so many files, reported to its end."""
    clock = Clock()
    rows, objects, mails = Rows(tasks, clock), Objects(place, clock), Mails()
    ports: Any = _Ports(rows, objects, mails)
    gc.collect()
    before, rounds, peak = _memory_mb(), [], 0.0
    while rows.batch_row.report_due_at:
        _peak_reset()
        took = _round(ports, clock, len(rounds))
        peak = max(peak, _peak_mb() - before)
        rounds.append(took)
        say(f"{tasks:,} tasks, round {len(rounds)}: {took:.0f} s, {peak:.0f} MB above {before:.0f} MB")
        if len(rounds) > 100:
            raise RuntimeError(f"a report of {tasks} tasks does not end")
    return {
        "tasks": tasks,
        "rounds": len(rounds),
        "longest_s": round(max(rounds), 1),
        "seconds": round(sum(rounds), 1),
        "calls": clock.calls,
        "written_mb": round(objects.written / 1e6, 1),
        "peak_mb": round(peak + SPARE_MB),
        "mails": len(mails.sent),
    }


def _round(ports: Ports, clock: Clock, number: int) -> float:
    """One invocation, in seconds of its own."""
    calls_before, cpu_before = clock.seconds, time.process_time()

    def spent() -> float:
        return clock.seconds - calls_before + (time.process_time() - cpu_before) / CORE

    settings: Any = None
    now = NOW + timedelta(minutes=6 * number)
    report_round(ports, settings, now, owner=str(number), enough_time=lambda: LIMIT_S - spent() >= ENOUGH_S)
    return spent()


@dataclass
class _Ports:
    store: Rows
    objects: Objects
    mail: Mails


def _memory_mb() -> float:
    return _status().get("VmRSS", 0) / 1024


def _peak_reset() -> None:
    """Forget the peak so far, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mb() -> float:
    peak = _status().get("VmHWM")
    if peak is None:  # elsewhere: the peak of the process, in bytes on macOS
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return peak / 1024


def _status() -> Mapping[str, float]:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split()[:2] for line in lines if line.endswith("kB"))
    return {name.rstrip(":"): float(value) for name, value in pairs}

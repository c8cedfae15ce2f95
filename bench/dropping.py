"""100,000 files dropped at once: what a file costs of a processor here, and how long Lambda takes for all.

    python -m bench dropping             # measures, then the table
    python -m bench dropping --profile   # and where the time goes

The real service over the real adapters, against a server on this machine that answers at once
(`bench/silent_aws.py`), so that encoding, signing, sending and parsing are in it; TLS is not. What the calls
wait for is modelled (`arcspot_simulator/latency.py`), and so is Lambda: `MemorySize` buys a share of a
processor, `MaximumConcurrency` invocations run at once, and each poller gathers its messages ten by ten.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import math
import pstats
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import yaml

from arcspot.aws import bucket, dynamo
from arcspot.aws.compose import build
from arcspot.ports import Ports
from arcspot.services.ingesting import Dropped, groups, ingest_together
from arcspot.settings import Settings
from arcspot_simulator import stack
from bench.growth_rounds import ingest
from bench.growth_world import World
from gpu_runner import saying

PROJECT = Path(__file__).resolve().parents[1]
FILES = 100_000
LIMIT_S = 600.0
# A function has a whole processor at 1,769 MB.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
WHOLE_PROCESSOR_MB = 1_769
# A poller receives ten messages at a time and deletes ten at a time; a receive and a delete, seconds.
RECEIVE, RECEIVE_S, DELETE_S = 10, 0.02, 0.015
# An invocation's own: Lambda, the handler, its kick and its log.
INVOKE_S = 0.05


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the template says of ingest."""

    memory_mb: int
    batch: int
    at_once: int
    window_s: int

    @property
    def processor(self) -> float:
        return min(1.0, self.memory_mb / WHOLE_PROCESSOR_MB)


def deployed(project: Path = PROJECT) -> Deployed:
    """The template's values for ingest."""

    class Loader(yaml.SafeLoader):
        """CloudFormation's tags are of no interest here."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))
    template = yaml.load((project / "template.yaml").read_text(), Loader)
    found = template["Resources"]["IngestFunction"]["Properties"]
    source = found["Events"]["Dropped"]["Properties"]
    return Deployed(
        memory_mb=found["MemorySize"],
        batch=source["BatchSize"],
        at_once=source["ScalingConfig"]["MaximumConcurrency"],
        window_s=source["MaximumBatchingWindowInSeconds"],
    )


@dataclass(frozen=True, slots=True)
class Whole:
    """How long all files take, and what of it one invocation is."""

    invocations: int
    invocation_s: float
    seconds: float

    @property
    def files_a_second(self) -> float:
        return FILES / self.seconds


def whole(
    stack_: Deployed, *, files: int = FILES, cpu_s: float, waits_s: float, boot_s: float = 2.0
) -> Whole:
    """All files, when a file costs `cpu_s` of a whole processor and a batch waits `waits_s` for its calls.

    The calls' threads share the processor, so neither hides the other. The first messages wait for the window
    and for a cold start of `boot_s`.
    """
    invocations = math.ceil(files / stack_.batch)
    full = min(files, stack_.batch)
    invocation = INVOKE_S + waits_s + full * cpu_s / stack_.processor
    gathering = math.ceil(full / RECEIVE) * (RECEIVE_S + DELETE_S)
    turns = math.ceil(invocations / stack_.at_once)
    return Whole(invocations, invocation, stack_.window_s + boot_s + turns * (gathering + invocation))


def waits(batch: int) -> float:
    """Seconds that one invocation's calls take by the model, several at once as the adapters do them."""
    world = World(batch, 2)
    messages = world.drop(0, batch)
    return world.measure(lambda: ingest(world, messages)).seconds


@contextmanager
def silent() -> Iterator[Ports]:
    """The real ports over a server that answers at once."""
    command = [sys.executable, "-m", "bench.silent_aws"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        yield _ports(f"http://127.0.0.1:{port}")
        server.terminate()


class _Session(boto3.Session):
    """Every client at one address."""

    address = ""

    def client(self, *args: Any, **kwargs: Any) -> Any:
        return super().client(*args, **{**kwargs, "endpoint_url": self.address})


def _ports(address: str) -> Ports:
    session = _Session("testing", "testing", region_name="us-east-1")
    session.address = address
    return build(_settings(), session)


def _settings() -> Settings:
    return replace(
        stack.settings(), jobs_table="jobs", launches_table="launches", ledger_table="ledger",
        events_table="events", state_machine_arn="x", topic_arn="x", schedule_group="x",
    )  # fmt: skip


def take(ports: Ports, files: int, batch: int) -> None:
    """Ingest so many files, as the handler does, in batches."""
    for start in range(0, files, batch):
        drops = [
            Dropped(f"tasks/load/{n:06}.json", 500, "v1", f"{n:016X}") for n in range(start, start + batch)
        ]
        for group in groups(drops):
            for outcome in ingest_together(ports, _settings(), group, datetime.now(UTC)):
                if outcome.error or outcome.refusals or not outcome.jobs:
                    raise RuntimeError(f"not ingested: {outcome}")


def measure(files: int = 2_000, batch: int = 100) -> float:
    """Seconds of a whole processor of this machine for each file: the best of three."""
    with silent() as ports:
        take(ports, batch, batch)
        found = []
        for _ in range(3):
            began = time.process_time()
            take(ports, files, batch)
            found.append((time.process_time() - began) / files)
    return min(found)


class _OneByOne:
    """A pool without threads: a profile sees only its own."""

    def __init__(self, max_workers: int) -> None: ...
    def __enter__(self) -> _OneByOne:
        return self

    def __exit__(self, *error: object) -> None: ...
    def map(self, *args: Any) -> Any:
        return map(*args)


def profiled(files: int = 1_000, batch: int = 100) -> None:
    """Print where the time goes."""
    for module in (dynamo, bucket):
        module.ThreadPoolExecutor = _OneByOne  # type: ignore[assignment,misc]
    with silent() as ports:
        take(ports, batch, batch)
        profile = cProfile.Profile(time.process_time)
        profile.runcall(take, ports, files, batch)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(90)


def dropping() -> dict[str, Any]:
    """As `make bench` keeps it."""
    as_deployed = deployed()
    cpu_s, waits_s = measure(batch=as_deployed.batch), waits(as_deployed.batch)
    found = whole(as_deployed, cpu_s=cpu_s, waits_s=waits_s)
    return {
        "files": FILES,
        "memory_mb": as_deployed.memory_mb,
        "batch": as_deployed.batch,
        "at_once": as_deployed.at_once,
        "cpu_ms_a_file": round(1000 * cpu_s, 3),
        "waits_s": round(waits_s, 3),
        "invocations": found.invocations,
        "invocation_s": round(found.invocation_s, 2),
        "seconds": round(found.seconds, 1),
        "files_a_second": round(found.files_a_second),
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench dropping",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", action="store_true", help="where the time goes, and nothing else")
    if parser.parse_args(arguments).profile:
        profiled()
        return
    saying.out(*json.dumps(dropping(), indent=2).splitlines())

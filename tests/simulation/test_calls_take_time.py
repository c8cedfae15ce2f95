"""Simulated calls take time: what is too slow for a function's limit shows here, and not only on AWS."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from arcspot.aws import bucket, dynamo
from arcspot.aws import rows as dynamo_rows
from arcspot.domain.batches import Batch
from arcspot.domain.jobs import LANES, Job, JobState, TaskInput
from arcspot.errors import RecordMissing
from arcspot.ports import Fetched, Part
from arcspot_simulator import functions, latency, stack
from arcspot_simulator.functions import FunctionFailed, Invocation
from arcspot_simulator.history import task_bytes
from arcspot_simulator.latency import seconds
from arcspot_simulator.loop import START, Loop
from arcspot_simulator.metering import Meter
from arcspot_simulator.stack import Stack
from arcspot_simulator.weather import CALM, Sky
from tests.fakes import house
from tests.fakes.driving import result_of


def calm(**weather: Any) -> Stack:
    return Stack(Loop(), Sky(replace(CALM, **weather), Random(0)), stack.settings(), seed=0, jumpy=False)


def answered(built: Stack, jobs: int) -> None:
    """A batch of so many files, all of them answered, whose report is due."""
    answer = result_of("x")
    for n in range(jobs):
        key, prefix = f"tasks/big/{n:05d}.json", f"results/{n:05d}/1/"
        built.objects.bodies[key] = task_bytes(n)
        built.objects.bodies[prefix + "result.zip"] = answer
        built.store.write(
            Job(
                job_id=f"{n:024x}", batch_id="big", config={}, solver_version="1", created_at=START,
                updated_at=START, ready_at=None, estimate_s=1, state=JobState.DONE, result_prefix=prefix,
                input=TaskInput(bucket="", key=key, object_version="", task_id=f"{n:05d}"),
            )
        )  # fmt: skip
    built.store.write(Batch("big", START, report_due_at=START))


def test_a_report_of_10000_jobs_takes_time_and_is_done_within_its_functions_limit() -> None:
    built = calm()
    answered(built, 10_000)
    assert built.functions.invoke("report", {})["batches"] == ["big"]
    assert 10 < built.loop.now < functions.TIMEOUTS_S["report"] / 2
    written = json.loads(built.objects.bodies["reports/big/submission.json"])
    assert len(written) == 10_000


def test_a_report_too_slow_for_one_call_is_done_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    built = calm()
    answered(built, 10_000)

    def one_by_one(
        self: Any, wanted: Sequence[tuple[str, str | None]], *, last: int | None = None
    ) -> list[Any]:
        built.loop.run(built.loop.now + latency.CALLS_S["objects.read"] * (len(wanted) - 1))
        return original(self, wanted, last=last)

    original = type(built.objects).fetch_many
    monkeypatch.setattr(type(built.objects), "fetch_many", one_by_one)
    spent, calls = 0.0, 0
    while built.store.batches_due():
        before = built.loop.now
        built.functions.invoke("report", {})  # never cut off at its limit
        spent, calls = spent + built.loop.now - before, calls + 1
    assert spent > functions.TIMEOUTS_S["report"]
    assert calls == math.ceil(spent / 210) > 1
    assert len(json.loads(built.objects.bodies["reports/big/submission.json"])) == 10_000
    assert len(built.mail.sent) == 1


JOBS = {
    f"{n:03}": Job(
        job_id=f"{n:03}", batch_id="b", config={}, solver_version="1", created_at=START, updated_at=START,
        estimate_s=1, input=TaskInput(bucket="", key="", object_version="", task_id=""),
    )
    for n in range(80)
}  # fmt: skip
KNOWN = {i: replace(job, created_at=START - timedelta(days=1)) for i, job in JOBS.items()}
ADDED = (list(JOBS.values()),)


@pytest.mark.parametrize(
    ("name", "args", "result", "takes", "asks"),
    [
        ("store.job", ("x",), None, 0.005, 1),
        ("store.write", ("x",), None, 0.006, 1),
        ("store.write", ("x", "y"), None, 0.012, 1),
        ("store.write_each", (["x"] * 80,), [], 0.018, 80),
        ("store.add", ADDED, JOBS, 0.01 + 3 * 0.006, 81),
        ("store.add", ADDED, KNOWN, 0.01, 1),
        ("store.jobs", (["x"] * 101,), {}, 0.02, 2),
        ("store.receipts", ([],), {}, 0.01, 1),
        ("store.record", ("x",) * 26, None, 0.02, 2),
        ("store.jobs_of_batch", ("b",), ["job"] * 1000, 0.11, 11),
        ("store.open_launches", (), ["launch"] * 50, 0.02, 2),
        ("store.ready_count", (99, START), 10, 0.09, 9),
        ("compute.launch", (), None, 1.5, 1),
        ("objects.read", ("x",), b"", 0.02, 1),
        ("objects.write", ("x", b""), None, 0.03, 1),
        ("objects.listing", ("tasks/",), (), 0.05, 1),
        ("objects.read_many", ([(str(n), None) for n in range(64)],), {}, 0.04, 64),
        ("objects.fetch_many", ([],), [], 0.0, 0),
        ("objects.parts", ([Part("k", None, n, n + 1) for n in range(8)],), [], 0.02, 8),
    ],
)
def test_each_call_takes_its_time_and_is_so_many_requests(
    name: str, args: Any, result: Any, takes: float, asks: int
) -> None:
    assert seconds(name, args, result) == pytest.approx(takes)
    assert latency.requests(name, args, result) == asks


def test_what_the_adapters_do_at_once_is_what_is_counted() -> None:
    assert latency.AT_ONCE == bucket.AT_ONCE == dynamo.AT_ONCE
    assert latency.BATCH_GET == dynamo.BATCH_GET
    assert (
        sum(dynamo_rows.SHARDS[lane] for lane in LANES) + len(dynamo_rows.earlier_queues()) == latency.QUEUES
    )


def test_each_page_of_a_listing_takes_its_time() -> None:
    built = calm()
    for n in range(2_500):
        built.objects.bodies[f"tasks/b/{n:05}.json"] = task_bytes(n)
    meter = built.functions.meter = Meter()
    current = Invocation("ingest", 0.0)
    built.functions.running.append(current)
    assert len(list(built.functions.faulty.objects.listing("tasks/"))) == 2_500
    assert built.loop.now == pytest.approx(3 * 0.05)
    assert meter.units["S3 PUT and LIST requests"] == built.functions.calls["objects.listing"] == 3


def test_while_a_call_takes_its_time_the_world_goes_on() -> None:
    built = calm()
    happened: list[float] = []
    built.loop.at(0.002, "meanwhile", lambda: happened.append(built.loop.now))
    built.functions.invoke("scale", {})
    assert happened == [0.002]
    assert built.loop.now > 0.01


def test_a_function_is_cut_off_at_its_own_limit() -> None:
    for name, limit in functions.TIMEOUTS_S.items():
        assert Invocation(name, 10.0).ends == 10 + limit
    assert Invocation("launch", 10.0).ends == 10 + functions.TIMEOUT_S


def test_the_limits_are_the_templates() -> None:
    default = house.template()["Globals"]["Function"]
    for name in functions.NAMES:
        limit = functions.TIMEOUTS_S.get(name, functions.TIMEOUT_S)
        assert limit == house.functions()[name].get("Timeout", default["Timeout"]), name
        memory = functions.MEMORIES_MB.get(name, functions.MEMORY_MB)
        assert memory == house.functions()[name].get("MemorySize", default["MemorySize"]), name


@pytest.mark.parametrize(
    ("result", "takes"),
    [(b"x" * 10, 170), ([Fetched(b"x" * 10), RecordMissing("k")], 2_170), ({"a": object()}, 2_000), (7, 0)],
)
def test_what_a_call_brings_takes_memory(result: object, takes: int) -> None:
    assert functions.brought(result) == takes


def test_a_function_that_is_brought_more_than_it_holds_is_killed() -> None:
    built = calm()
    built.objects.write("tasks/b/huge.json", b" " * (90 * 2**20), content_type="")
    lied = {"object": {"key": "tasks/b/huge.json", "size": 10, "version-id": "v1", "sequencer": "1"}}
    with pytest.raises(FunctionFailed, match="exited"):
        built.functions.invoke(
            "ingest", {"Records": [{"messageId": "m", "body": json.dumps({"detail": lied})}]}
        )

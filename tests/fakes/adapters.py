"""Every adapter, made to say everything it can say, with the longest values that may reach it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache
from random import Random
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError

from arcspot.domain.batches import Batch, Receipt, Sweep, in_parts
from arcspot.domain.budget import Fleet, Hold, Leak, Ledger, Prices
from arcspot.domain.jobs import Estimate, Job, JobState, TaskInput
from arcspot.domain.launching import Breaker, Launch, Token
from arcspot.domain.reaping import Suspects
from arcspot.domain.tasks import MAX_ID_BYTES, MAX_KEY_BYTES
from arcspot.errors import Conflict, NoCapacity, RecordMissing
from arcspot.ports import Event, FleetOrder, Part, Ports
from arcspot.services.asking import MAX_SUMMARY_BYTES
from arcspot.services.serving import MOST_AT_ONCE
from tests.fakes.limits import ADAPTERS, Call
from tests.fakes.memory import START

LAUNCH_ID = "20261127T203300-0123abcd"
KEY = "tasks/" + "ü" * ((MAX_KEY_BYTES - 16) // 2) + "/x.json"
BATCH = KEY.split("/")[1]
INSTANCE = "i-0123456789abcdef0"
SHA = "0" * 64
# These take the operation as a text.
BY_NAME = ("get_paginator", "generate_presigned_url", "get_waiter")

# A part that is sent by itself.
LARGE = b"x" * (8 << 20)


class BreaksOff:
    """Parts of an object whose source fails on the way."""

    def __iter__(self) -> Iterator[bytes]:
        yield LARGE
        yield LARGE
        raise RecordMissing("no more of it can be read")


def the_longest_job() -> Job:
    job = Job(
        job_id="f" * 64,
        batch_id=BATCH,
        input=TaskInput(bucket="b" * 63, key=KEY, object_version="v" * 1024, task_id="t" * MAX_ID_BYTES),
        config={"budget_s": 300, "model": "auto", "seed": 0, "run": "n" * 54},
        solver_version="1.3.0",
        created_at=START,
        updated_at=START,
        ready_at=START,
        estimate_s=300.123456789,
        summary={"x": "s" * MAX_SUMMARY_BYTES},
        reason="r" * 500,
    )
    return job.claimed(launch_id=LAUNCH_ID, now=START, lease_seconds=120)


def the_longest_launch() -> Launch:
    return Launch(
        launch_id=LAUNCH_ID,
        period="2026-11",
        reserve=10**9,
        created_at=START,
        hard_deadline=START + timedelta(days=1),
        boot_deadline=START + timedelta(hours=1),
        host="h" * 1000,
        leases=tuple(f"{n}" * 64 for n in range(MOST_AT_ONCE)),
    )


def say_everything(ports: Ports) -> None:
    """Call every method of every port. What the fake cloud answers is not looked at here."""
    for act in (*_tables(ports), *_bucket(ports), *_ec2(ports), *_messages(ports)):
        with suppress(ClientError, RecordMissing, Conflict):
            act()


def _tables(ports: Ports) -> Iterator[Callable[[], object]]:
    store, job, launch = ports.store, the_longest_job(), the_longest_launch()
    ledger, fleet = Ledger.opened("2026-11", 10**12), Fleet.opened(50)
    yield lambda: store.write(job)
    yield lambda: store.write(replace(job, version=1, state=JobState.DONE, lease=None))
    yield lambda: store.write(
        replace(job, job_id="e" * 64, state=JobState.READY, lease=None), launch, ledger, fleet
    )
    for record in (
        # What Step Functions hands out is about a thousand characters; its model allows 2,048.
        Token(LAUNCH_ID, START, "serve", "T" * 2048),
        Batch(BATCH, START, START), Breaker().tripped(NoCapacity("w" * 500), now=START),
        Suspects(since={f"i-{n:017x}": START for n in range(100)}), Estimate("1.3.0/300", 1.5),
        Leak(INSTANCE, LAUNCH_ID, 1, START), Hold(LAUNCH_ID, "2026-11", 1, START),
        Prices({"g4dn.xlarge": 526_000}, START),
    ):  # fmt: skip
        yield lambda record=record: store.write(record)  # type: ignore[misc]
    yield lambda: store.add([replace(job, job_id=f"{n:064x}") for n in range(130)])
    yield lambda: store.record(*(Event(f"file#{KEY}", START, "rejected", "d" * 500) for _ in range(60)))
    yield lambda: (
        store.job("x"),
        store.jobs([f"{n}" for n in range(230)]),
        store.ready_jobs(100, START, Random(0)),
    )
    yield lambda: (
        store.ready_count(10_000, START),
        store.batch(BATCH),
        store.batches_due(),
        store.launch("x"),
    )
    receipt = Receipt(f"runs/{'n' * 54}/{KEY}", BATCH, START, refusals=("w" * 500,) * 20)
    for row in in_parts(replace(receipt, entries=(("i" * 200, "f" * 64),) * 2_000)):
        yield lambda row=row: store.write(row)  # type: ignore[misc]
    yield lambda: (store.write_each([Sweep()]), store.sweep_row(), store.receipts([receipt.key] * 2))
    yield lambda: (list(store.receipts_of_batch(BATCH)), list(store.job_ids_of_batch(BATCH)))
    yield lambda: [list(store.jobs_of_batch(BATCH, state)) for state in (None, *JobState)]
    yield lambda: [store.batch_count(BATCH, state, 1) for state in JobState]
    yield lambda: (store.open_launches(), store.ledger("2026-11"), store.fleet(), store.breaker())
    yield lambda: (store.suspects(), store.estimate("1"), store.leak("i"), store.prices())
    yield lambda: (store.token(LAUNCH_ID), store.hold(LAUNCH_ID))
    yield lambda: (list(store.every_job()), list(store.every_launch()), list(store.every_receipt()))  # type: ignore[attr-defined]


def _bucket(ports: Ports) -> Iterator[Callable[[], object]]:
    objects = ports.objects
    longest = f"rejected/runs/{'n' * 54}/{KEY}.json"
    yield lambda: objects.write(longest, b"x", content_type="application/json")
    yield lambda: (
        objects.read(longest),
        objects.size(longest),
        objects.stored(longest),
        objects.delete(longest),
    )
    yield lambda: (objects.read(KEY, version="v"), objects.read(KEY, last=1024))
    yield lambda: (list(objects.keys("accepted/")), list(objects.listing("tasks/", KEY)))
    yield lambda: objects.fetch_many([(KEY, "v"), (KEY, None)], last=1024)
    yield lambda: objects.parts([Part(KEY, "v", 0, 1), Part(KEY, None, 2**24 - 1, 2**24)])
    yield lambda: objects._absent("AccessDenied", longest, "v")  # type: ignore[attr-defined]
    for parts in ([b"x"], [LARGE, LARGE], BreaksOff()):
        yield lambda parts=parts: objects.write_parts(longest, parts, content_type="application/json")  # type: ignore[misc]
    yield lambda: objects.presign_get(KEY, version="v", seconds=60)
    put = f"results/{'f' * 64}/9/{'n' * 100}"
    for once in (True, False):
        yield lambda once=once: objects.presign_put(put, sha256_hex=SHA, size=1, seconds=60, once=once)  # type: ignore[misc]


def _ec2(ports: Ports) -> Iterator[Callable[[], object]]:
    compute, types = ports.compute, tuple(f"g4dn.{size}xlarge" for size in ("", "2", "4", "8", "12", "16"))
    for market in ("spot", "on-demand"):
        order = FleetOrder(LAUNCH_ID, types, market)
        yield lambda order=order: compute.launch(order)  # type: ignore[misc]
    yield lambda: (compute.instance(INSTANCE), compute.instances(), compute.terminate(INSTANCE))
    yield lambda: compute.console(INSTANCE)
    yield lambda: compute.spot_price("g4dn.xlarge", "us-east-1a", since=START, until=START)


def _messages(ports: Ports) -> Iterator[Callable[[], object]]:
    token = "T" * 2048
    yield lambda: ports.workflow.start(LAUNCH_ID, {"launch_id": LAUNCH_ID})
    yield lambda: ports.workflow.succeed(token, {"reason": "r" * 500})
    yield lambda: ports.workflow.fail(token, "RunnerInterrupted", "ü" * 50_000)
    yield lambda: ports.workflow.beat(token)
    yield lambda: ports.mail.send(f"arcspot: batch {BATCH}\r\nBcc: x", "ü" * 200_000)
    yield lambda: ports.mail.send("\n é", "x")
    yield lambda: ports.mail.send("", "")
    yield lambda: ports.kick("scale")
    again = {"prefix": f"recurring/{'p' * 900}/", "name": "n" * 40, "at": START.isoformat()}
    yield lambda: ports.kick("ingest", {"submit_again": again})
    yield lambda: ports.bell()
    yield lambda: ports.timers.arm(LAUNCH_ID, INSTANCE, START)
    yield lambda: ports.timers.disarm(LAUNCH_ID)
    yield lambda: (ports.clock.wake(), ports.clock.sleep())
    yield lambda: ports.price_list.on_demand(["g4dn.xlarge"])


@cache
def written_calls() -> frozenset[tuple[str, str, str]]:
    """(file, class.method, operation) of every call of a client that stands in the adapters' source."""
    found = set()
    for path in sorted(ADAPTERS.glob("*.py")):
        for owner in (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)):
            for method in (node for node in owner.body if isinstance(node, ast.FunctionDef)):
                found |= {(path.name, f"{owner.name}.{method.name}", name) for name in _operations(method)}
    return frozenset(found)


def _operations(method: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(method):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._client":
            if node.attr not in BY_NAME:
                yield node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in BY_NAME:
            yield ast.literal_eval(node.args[0])


CLASSES = {
    "store": "DynamoStore", "objects": "Bucket", "compute": "Ec2", "workflow": "StepFunctions",
    "mail": "Topic", "kick": "AsyncInvoke", "identity": "StsWitness", "timers": "Scheduler",
    "clock": "MinuteRule", "price_list": "PriceList", "bell": "DoorBell",
}  # fmt: skip


@cache
def operations(use: str) -> frozenset[str]:
    """Every operation that an adapter's method can come to, by its code and what it calls of itself."""
    port, _, method = use.partition(".")
    owner = next(
        node
        for path in sorted(ADAPTERS.glob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == CLASSES[port]
    )
    methods = {node.name: node for node in owner.body if isinstance(node, ast.FunctionDef)}
    found, seen, waiting = set[str](), set[str](), [method or "__call__"]
    while waiting:
        name = waiting.pop()
        if name in methods and name not in seen:
            seen.add(name)
            found |= set(_operations(methods[name]))
            waiting += [
                node.attr
                for node in ast.walk(methods[name])
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
            ]
    return frozenset(found)


def made(calls: list[Call]) -> set[tuple[str, str, str]]:
    """The same of calls that were made."""
    found = set()
    for call in calls:
        if call.site:
            file, _, name = call.site.partition(":")
            found.add((file, ".".join(name.split(".")[:2]), xform_name(call.operation)))
    return found


def clients_outside_adapters() -> set[Any]:
    """Calls of a client in shared code that stand in no method of an adapter: there is none to be."""
    inside = {(file, operation) for file, _, operation in written_calls()}
    found = set()
    for path in sorted(ADAPTERS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            of_a_client = isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("_client")
            if of_a_client and node.attr not in BY_NAME:  # type: ignore[attr-defined]
                found.add((path.name, node.attr))  # type: ignore[attr-defined]
    return found - inside

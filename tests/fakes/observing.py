"""What each function asks of its ports in simulated histories, said again by the real adapters."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from arcspot.aws.rows import key_of
from arcspot.domain.batches import Batch, Receipt
from arcspot.domain.budget import Leak, Ledger
from arcspot.domain.jobs import JobState
from arcspot.ports import FleetOrder, Part, Ports
from arcspot_simulator import functions as simulated
from arcspot_simulator.history import History
from tests.fakes import adapters, house
from tests.fakes.limits import Call, watching
from tests.fakes.memory import START
from tests.fakes.reach import SERVICES, WRITES, places, reachable

SEEDS = 25
Use = tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]
"""`port.method`, its arguments by place, its arguments by name."""
Site = tuple[str, int]
"""A module of the services, and a line in it."""


def _signature(use: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What of the arguments makes a difference to the rights that are needed."""
    if use == "store.write":
        return f"{use} {sorted(map(_kind, args))} {len(args) > 1}"
    if use in ("objects.read_many", "objects.fetch_many"):
        return f"{use} {sorted({(str(key).partition('/')[0], bool(version)) for key, version in args[0]})}"
    if use == "objects.parts":
        return f"{use} {sorted({(part.key.partition('/')[0], bool(part.version)) for part in args[0]})}"
    if use == "store.write_each":
        return f"{use} {sorted({_kind(record) for record in args[0]})}"
    if use == "compute.launch":
        return f"{use} {args[0].market} {sorted(args[0].instance_types)}"
    if use == "objects.write_parts":
        return f"{use} {type(args[1]).__name__}"
    if use.startswith("objects."):
        return f"{use} {str(args[0]).partition('/')[0]} {kwargs.get('version') is not None}"
    return f"{use} {args[0]}" if use == "kick" else use


def _kind(record: Any) -> str:
    """What a row is called by: its key's first word, or its type."""
    word, found, _ = key_of(record).partition("#")
    return word if found else type(record).__name__


def histories() -> dict[str, dict[str, Use]]:
    """Function → its uses of ports, one of each signature, in fixed histories full of faults."""
    return _watched()[0]


def at_work() -> dict[Site, set[str]]:
    """Where the services wrote rows or asked for objects in the same histories, and of what kinds."""
    return _watched()[1]


def touched(use: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> set[str]:
    """Of what kinds the rows are that a use writes, or in what folders the objects that it asks for."""
    if use in WRITES:
        return {_kind(record) for record in (args if use == "store.write" else args[0])}
    if use in ("objects.read_many", "objects.fetch_many"):
        return {f"{use} {_folder(key)} {bool(version)}" for key, version in args[0]}
    if use.startswith("objects."):
        return {f"{use} {_folder(args[0])} {kwargs.get('version') is not None}"}
    return set()


def _folder(key: object) -> str:
    return str(key).partition("/")[0]


@cache
def _watched() -> tuple[dict[str, dict[str, Use]], dict[Site, set[str]]]:
    seen: dict[str, dict[str, Use]] = {name: {} for name in simulated.NAMES}
    rows: dict[Site, set[str]] = {}
    original = simulated.Functions._call

    def watched(self: Any, name: str, real: Any) -> Any:
        inner = original(self, name, real)

        def call(*args: Any, **kwargs: Any) -> Any:
            if kinds := touched(name, args, kwargs):
                rows.setdefault(_site(), set()).update(kinds)
            if self.running:
                kept = seen[self.running[-1].function]
                kept.setdefault(_signature(name, args, kwargs), (name, args, tuple(kwargs.items())))
            return inner(*args, **kwargs)

        return call

    simulated.Functions._call = watched  # type: ignore[method-assign,assignment]
    try:
        for seed in range(SEEDS):
            History(seed).live()
    finally:
        simulated.Functions._call = original  # type: ignore[method-assign]
    return seen, rows


def _site() -> Site:
    """The line of a service that is at work."""
    frame: Any = sys._getframe(1)
    while frame is not None and _service(frame.f_code.co_filename) is None:
        frame = frame.f_back
    return ("", 0) if frame is None else (_service(frame.f_code.co_filename) or "", frame.f_lineno)


@cache
def _service(file: str) -> str | None:
    return Path(file).stem if Path(file).parent == SERVICES else None


# Answers after which an adapter may ask on.
REFUSALS = {
    "compute": ("UnauthorizedOperation", "InvalidInstanceID.NotFound"),
    "objects": ("AccessDenied",),
}
# What is asked while it is read.
LAZY = (
    "objects.keys", "objects.listing", "store.jobs_of_batch", "store.job_ids_of_batch",
    "store.receipts_of_batch",
)  # fmt: skip
TYPES = tuple(house.template()["Parameters"]["InstanceTypes"]["Default"].split(","))
JOB, LAUNCH = adapters.the_longest_job(), adapters.the_longest_launch()
# What a function's code comes to and these histories do not, each with the case it is for.
RARE: dict[str, list[Use]] = {
    # A launch that was closed while EC2 answered: its instance is ended at once. A runner that was faster
    # than the state machine: it is answered as soon as it waits.
    "launch": [
        ("compute.terminate", (adapters.INSTANCE,), ()),
        ("workflow.succeed", ("T" * 2048, {"instance_id": adapters.INSTANCE}), ()),
        *(
            ("compute.launch", (FleetOrder(adapters.LAUNCH_ID, TYPES, market),), ())
            for market in ("spot", "on-demand")
        ),
    ],
    "runner_api": [("compute.terminate", (adapters.INSTANCE,), ())],
    # A runner that fell silent or was interrupted with work in hand; a threshold that settling crosses.
    "retire": [
        ("store.job", (JOB.job_id,), ()),
        ("store.write", (JOB, LAUNCH), ()),
        ("kick", ("report",), ()),
        ("kick", ("scale",), ()),
        ("mail.send", ("subject", "body"), ()),
    ],
    # A batch with a deadline.
    "scale": [
        ("store.batch_count", ("b", JobState.READY, 1), ()),
        ("store.write", (Batch("b", START, START),), ()),
    ],
    # An instance that nobody paid for; an execution that was never started; a job its launch no longer has.
    "watchdog": [
        ("store.leak", (adapters.INSTANCE,), ()),
        ("workflow.start", (adapters.LAUNCH_ID, {}), ()),
        ("store.write", (Ledger.opened("2026-11", 1), Leak(adapters.INSTANCE, "", 1, START)), ()),
    ],
    # A recurring submission: its files, and its next piece.
    "ingest": [
        ("kick", ("ingest", {"submit_again": {}}), ()),
        ("objects.listing", ("recurring/a/",), ()),
        ("objects.fetch_many", ([("recurring/a/x.json", None)],), ()),
        ("objects.write", ("rejected/tasks/a/x.json.json", b"{}"), (("content_type", "application/json"),)),
        ("objects.delete", ("rejected/tasks/a/x.json.json",), ()),
        ("objects.keys", ("accepted/",), ()),
        ("kick", ("ingest", {"sent_anew": True, "Records": []}), ()),
        # A file of more tasks than one receipt has room for; a receipt that somebody else wrote first.
        ("store.write_each", ([Receipt("tasks/a/x.json", "a", START, part=1, parts=2)],), ()),
        ("store.write", (Receipt("tasks/a/x.json", "a", START),), ()),
        # A job that no runner could read, and its file dropped again.
        ("store.job", (JOB.job_id,), ()),
        ("store.write", (JOB,), ()),
    ],
    # Files and answers, wherever they lie, and parts of a large report.
    "report": [
        ("objects.fetch_many", ([(f"{folder}/a/x.json", version)],), ())
        for folder in ("tasks", "recurring", "results", "reports")
        for version in ("v", None)
        if folder in ("tasks", "recurring") or version is None
    ],
}
RARE["report"] += [
    ("objects.write_parts", ("reports/a/submission.json", parts), (("content_type", "application/json"),))
    for parts in ([adapters.LARGE, adapters.LARGE], adapters.BreaksOff())
]
# A batch that was told of already, or changed while its report was written; a mail that was refused.
RARE["report"] += [("store.batch", ("b",), ())]
# A file of which two versions were worked on: its receipt says which is the newest.
RARE["report"] += [("store.receipts", (["tasks/b/x.json"],), ())]
# A job of a recurring submission has its input below recurring/; every job may have a version.
RARE["runner_api"] += [
    ("objects.parts", ([Part(f"{folder}/a/x.json", version, 0, 9)],), ())
    for folder in ("tasks", "recurring")
    for version in ("v", None)
]
# The state that an earlier lease left; one of an earlier release has no version.
RARE["runner_api"] += [
    ("objects.presign_get", ("checkpoints/x/1/f",), (("version", version), ("seconds", 60)))
    for version in ("v", None)
]
RARE["runner_api"] += [("objects.stored", ("checkpoints/x/1/f",), ())]
RARE["runner_api"] += [
    (
        "objects.presign_put",
        (f"{folder}/x/1/f",),
        (("sha256_hex", adapters.SHA), ("size", 1), ("seconds", 60), ("once", True)),
    )
    for folder in ("results", "checkpoints", "logs")
]


# Places in the services that these histories do not come to, each with the kinds of rows that it writes or
# with the objects that it asks for.
UNSEEN: Mapping[tuple[str, str], frozenset[str]] = {
    # A job that no runner could read, dropped again; receipts in parts; one that somebody else wrote first.
    ("ingesting", "_read_from"): frozenset({"Job"}),
    ("ingesting", "_list_receipt"): frozenset({"FILE"}),
    ("ingesting", "_write_receipts"): frozenset({"FILE", "PART"}),
    ("ingesting", "_write_receipt"): frozenset({"FILE"}),
    # A solution that is uploaded twice.
    ("uploading", "_job_keys"): frozenset({"Job"}),
    # A log that is shipped; a task that nobody can be given.
    ("uploading", "_log_keys"): frozenset({"Launch"}),
    ("claiming", "handed_to_nobody"): frozenset({"Job"}),
    # A batch whose deadline cannot be met.
    ("scaling", "_say_late"): frozenset({"BATCH"}),
    # A job its launch no longer has; an instance that nobody paid for; one that outlives its deadline.
    ("attending", "_freed"): frozenset({"Job"}),
    ("money", "book_leak"): frozenset({"PERIOD", "LEAK"}),
    ("watching", "_outlives"): frozenset({"Launch"}),
    # A recurring submission, a report of several pages, a job with a checkpoint.
    ("sweeping", "submit_again"): frozenset({"objects.listing recurring False"}),
    ("report_parts", "Maker"): frozenset({"objects.fetch_many reports False", "objects.write reports False"}),
    ("report_parts", "_Share"): frozenset({"objects.write reports False"}),
    ("checkpoints", "accepted"): frozenset({"objects.stored checkpoints False"}),
    ("checkpoints", "offered"): frozenset({"objects.presign_get checkpoints False"}),
}


def by_place(function: str) -> dict[tuple[str, int, int], frozenset[str]]:
    """Where a function can write rows or ask for objects, by its code, and what that was whenever it did."""
    found = {}
    for (module, first, last), owner in places(function).items():
        seen = frozenset[str]().union(
            *(kinds for (at, line), kinds in at_work().items() if at == module and first <= line <= last)
        )
        found[(module, first, last)] = seen or UNSEEN.get(owner, frozenset())
    return found


def said(function: str) -> frozenset[str]:
    """The kinds of rows and of objects of all that was said in a function's name."""
    return frozenset[str]().union(
        *(touched(name, args, dict(kwargs)) for name, args, kwargs in uses(function).values())
    )


def uses(function: str) -> dict[str, Use]:
    """All of a function's uses: of the histories, and the rare ones that its code still comes to."""
    found, known = dict(histories()[function]), reachable(function)
    for use in RARE.get(function, ()):
        if _said(use) in known:
            found.setdefault(_signature(use[0], use[1], dict(use[2])), use)
    return found


def _said(use: Use) -> str:
    return f"kick:{use[1][0]}" if use[0] == "kick" else use[0]


def unheard(function: str) -> set[str]:
    """What a function's code reaches and nobody has said with arguments: its rights would be unknown."""
    return set(reachable(function)) - {_said(use) for use in uses(function).values()}


def unreached(function: str) -> set[str]:
    """What was said in a function's name though its code does not reach it: then `reach` is blind there."""
    return {_said(use) for use in uses(function).values()} - set(reachable(function))


def calls(function: str, ports: Ports) -> dict[str, list[Call]]:
    """The requests that the real adapters build for each of a function's uses.

    Writes come first, since some reads go on only where they find something.
    """
    made: dict[str, list[Call]] = {}
    order = sorted(
        uses(function).items(),
        key=lambda use: use[1][0] not in WRITES,
    )
    for signature, (name, args, kwargs) in order:
        port, _, method = name.partition(".")
        act = getattr(getattr(ports, port), method) if method else getattr(ports, port)
        made[signature] = []
        for refusing in ("", *REFUSALS.get(port, ())):
            # The cloud's answer is not what is asked here.
            with watching(refusing=refusing) as watch, suppress(Exception):
                answer = act(*args, **dict(kwargs))
                if name in LAZY:
                    list(answer)
            made[signature] += watch.calls
    return made


def seed(function: str, ports: Ports) -> None:
    """An open launch, READY jobs, a batch that is due, and what each batch that a function asks for holds:
    what finds nothing asks no further."""
    ready = replace(JOB, state=JobState.READY, lease=None)
    for record in (
        replace(LAUNCH, launch_id="open"),
        replace(ready, job_id="ready", ready_at=START, version=0),
        Batch("due", START, START),
    ):
        with suppress(Exception):
            ports.store.write(record)
    for name, args, _ in uses(function).values():
        if name == "store.receipts_of_batch":
            with suppress(Exception):
                ports.store.write(Receipt(f"tasks/{args[0]}/x.json", args[0], START))
        if name == "store.jobs_of_batch":
            with suppress(Exception):
                ports.store.write(replace(JOB, job_id=f"of-{args[0]}", batch_id=args[0]))

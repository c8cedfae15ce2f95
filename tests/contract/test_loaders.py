"""Whatever reads bytes that others wrote ends in a value that works, or in its own error class.

`LOADERS` has each reader with an example of what it reads and the errors it may raise. Every value of the
example is replaced by each other kind of JSON, every key left out, one added; and the bytes are spoilt.
`test_parsers.py` walks the source for readers that are not in the table.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arcspot.aws import messages, prices
from arcspot.aws.bucket import _checksum
from arcspot.domain import documents, predictions, results, solutions, tasks
from arcspot.domain.report_pages import PageLink
from arcspot.domain.tallying import Tally
from arcspot.errors import AnswerRefused, ConfigurationError, NotYourself, ResultBroken, RunnerRefused
from arcspot.ports import Fetched
from arcspot.services import notices, report_parts
from arcspot_cli import collecting, delivering, rehearsing, scheduling, unpacking
from arcspot_cli.errors import CommandFailed
from arcspot_cli.evaluation import choosing, keeping
from arcspot_cli.local import keys, processes, stack
from arcspot_cli.local.errors import LocalStackError
from gpu_runner import api, contract, solving
from gpu_runner.lineage import files, process, standing
from tests.fakes.mutations import mutants

ROOT = Path(__file__).parents[2]
SHA = "0" * 64


@dataclass(frozen=True)
class Loader:
    """read: from bytes, with a folder of its own; good: what it reads; errors: what it may raise."""

    read: Callable[[bytes, Path], Any]
    good: Any
    errors: tuple[type[Exception], ...] = ()
    refuses: bool = True
    """Whether some of the mutants have to be refused."""


def at(folder: Path, name: str, body: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def part(body: bytes, _: Path) -> Any:
    found = report_parts._part(1, Fetched(body, ""))
    if found is None:
        return None
    total = Tally()
    total.merge(found.tally)
    return json.dumps(total.to_json()), f"{found.link.lines:,}", found.stored


def answer(reader: Callable[[Any], Any]) -> Callable[[bytes, Path], Any]:
    return lambda body, _: api._read(reader, api.read_answer(body))


def recurring(body: bytes, _: Path) -> Any:
    text = body.decode("utf-8", "surrogateescape")
    target = {"Target": {"Input": text}, "Name": "recurring-x", "ScheduleExpression": "r", "State": "ENABLED"}
    return scheduling._recurring(target)


def instances(body: bytes, folder: Path) -> Any:
    found = documents.fitting(stack.LocalStack, {**LOCAL, "key": KEY})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "load", lambda *_: found)
        patch.setattr(stack, "_ask", lambda *_: body)
        return stack.status(folder).instances


def rehearsed(body: bytes, folder: Path) -> Any:
    at(folder, "rehearsal.json", body)
    found = rehearsing.load(folder)
    return found and (
        found.passed("check"),
        found.plan.cleanup,
        [f"{step.seconds:.0f}" for step in found.done],
    )


def bell(body: bytes, _: Path) -> Any:
    client = SimpleNamespace(invoke=lambda **_: {"Payload": io.BytesIO(body)})
    return messages.DoorBell(client, "s")()  # type: ignore[arg-type]


def process_records(body: bytes, folder: Path) -> Any:
    at(folder, "emulator.json", body)
    return [processes.alive(record) for record in processes.read_records(folder)]


def the_run(body: bytes, folder: Path) -> Any:
    at(folder, "process.json", body)
    return process.look(process.read_run(folder))


def the_stack(body: bytes, folder: Path) -> Any:
    at(folder, ".arcspot/local.json", body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "read", lambda _: KEY)
        return stack.load(folder)


def the_key(body: bytes, folder: Path) -> Any:
    return keys.read(at(folder, keys.KEY_FILE, body).parent).environment()


def the_card(body: bytes, folder: Path) -> Any:
    at(folder, "tiny-1k.stable.safetensors", b"")
    at(folder, "tiny-1k.json", body)
    return files.read_folder(folder, "tiny")


def the_folder(body: bytes, folder: Path) -> Any:
    at(folder, "manifest.json", body)
    return delivering._attempt_in(folder), delivering._promises_in(folder)


def the_model(body: bytes, folder: Path) -> Any:
    at(folder, "manifest.json", body)
    at(folder, "a.safetensors", b"")
    return solving.pick_model(folder, "auto", device="cpu")


def the_manifest(body: bytes, _: Path) -> Any:
    return unpacking._promises("manifest.json", body, SimpleNamespace(job_id="j", fence=1))  # type: ignore[arg-type]


RECORD = {"name": "emulator", "pid": 2**22 + 5, "started": "boot+1"}
GRID = [[1, 2], [3, 4]]
LEASE = {
    "job_id": "j",
    "task_id": "t",
    "fence": 1,
    "config": {"seed": 1, "budget_s": 2.0, "model": "auto"},
    "input_url": "https://x",
    "checkpoint_url": "https://x",
    "checkpoint": {"bytes": 1, "sha256": SHA},
    "budget_s": 3.0,
}
PLAN = {"stack": "s", "folder": "f", "project_dir": "p", "local": True, "region": None, "email": ""}
STEP = {"name": "check", "ok": True, "said": "fine", "began": "now", "seconds": 1.5}
HERE = {"name": "emulator", "pid": os.getpid(), "started": processes.start_time(os.getpid())}
LOCAL: dict[str, Any] = {
    field.name: [HERE] if field.name == "processes" else "http://127.0.0.1:1"
    for field in dataclasses.fields(stack.LocalStack)
    if field.name != "key"
}
KEY = keys.AccessKey("LOCALA", "secret")
TALLY = {
    "counts": {"DONE": 1},
    "verdicts": {"right": 1},
    "scores": [[1, 1, 1, 1]],
    "answered": [[1, 1, 1, 1]],
    "cost_usd_micros": 5,
    "empty": [0, 0],
    "faults": [{"task_id": "t", "job_id": "j", "why": "x"}],
    "faulty": 1,
}
LINK = {"number": 1, "first_id": "a", "last_id": "b", "lines": 1, "verdicts": {"right": 1}}
OFFER = {
    "terms": {
        "OnDemand": {"a": {"priceDimensions": {"b": {"unit": "Hrs", "pricePerUnit": {"USD": "0.526"}}}}}
    }
}
EVENT = {"detail": {"bucket": {"name": "b"}, "object": {"key": "tasks/x.json", "size": 3, "version-id": "v"}}}
NOTICE = {
    "Records": [
        {
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "b"}, "object": {"key": "tasks/x.json", "size": 3, "versionId": "v"}},
        }
    ]
}
LEGACY = {"job_id": "j", "fence": 1, "files": {"prediction.json": {"sha256": SHA, "bytes": 2}}}
PREDICTION = [{"attempt_1": GRID, "attempt_2": GRID}]

REFUSED = (documents.Unfit,)
SILENT = (api.ApiSilent, api.CallFailed, RunnerRefused)
LOADERS: dict[str, Loader] = {
    "documents.parsed": Loader(lambda body, _: documents.parsed(body), {"a": [1]}, REFUSED),
    "task file": Loader(
        lambda body, _: tasks.read_task_file("x.json", body),
        {"train": [{"input": GRID, "output": GRID}], "test": [{"input": GRID}]},
        refuses=False,
    ),
    "solutions": Loader(
        lambda body, _: solutions.read_solutions("x.json", body), {"t": [GRID]}, refuses=False
    ),
    "prediction": Loader(lambda body, _: predictions.parse_prediction(body), PREDICTION, (AnswerRefused,)),
    "a result's document": Loader(
        lambda body, _: results.document({"metrics.json": body}, "metrics.json"), {"a": 1}, (ResultBroken,)
    ),
    "result.zip": Loader(lambda body, _: results.unpacked(zipped(body)), {"files": {}}, (ResultBroken,)),
    "manifest": Loader(the_manifest, LEGACY, (CommandFailed,)),
    "metrics": Loader(
        lambda body, _: (unpacking._check("r/metrics.json", body), "fine"), {"loss": [1]}, (CommandFailed,)
    ),
    "weights": Loader(
        lambda body, _: (unpacking._check("r/adapted.safetensors", weights(body)), "fine"),
        {"__metadata__": {"a": "b"}, "w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}},
        (CommandFailed,),
    ),
    "a folder of answers": Loader(the_folder, LEGACY, (CommandFailed,)),
    "what was collected": Loader(
        lambda body, folder: collecting._known(at(folder, collecting.STATE, body).parent),
        {"written": {"submission.json": [SHA]}},
        refuses=False,
    ),
    "a report's part": Loader(part, {"mark": "m", "tally": TALLY, "link": LINK, "stored": 0}, refuses=False),
    "S3's event": Loader(lambda body, _: notices.read(body.decode("utf-8", "replace"), "b"), EVENT, REFUSED),
    "a turn": Loader(
        lambda body, _: (notices.check_turn(documents.parsed(body)), "fine"),
        {"prefix": "recurring/a/", "name": "a", "at": "now"},
        (documents.Unfit, ConfigurationError),
    ),
    "S3's notification": Loader(
        lambda body, _: notices.read(body.decode("utf-8", "replace"), "b"), NOTICE, REFUSED
    ),
    "price list": Loader(
        lambda body, _: list(prices._hourly(body.decode("utf-8", "replace"))), OFFER, refuses=False
    ),
    "door bell": Loader(bell, {"ok": True}, refuses=False),
    "hello": Loader(
        answer(contract.Terms.read),
        {
            "ok": True,
            "result": {
                "secret": "s",
                "deadline_in_s": 1,
                "idle_s": 1,
                "heartbeat_s": 1,
                "lease_s": 1,
                "parallel": 1,
            },
        },
        SILENT,
    ),
    "claim": Loader(
        answer(contract.Claimed.read), {"ok": True, "result": {"leases": [LEASE], "drain": False}}, SILENT
    ),
    "heartbeat": Loader(
        answer(contract.Pulse.read),
        {"ok": True, "result": {"lost": [], "cancelled": [], "drain": False, "deadline_in_s": 5}},
        SILENT,
    ),
    "uploads": Loader(
        answer(api._targets),
        {"ok": True, "result": {"urls": {"n": {"url": "u", "headers": {"a": "b"}}}}},
        SILENT,
    ),
    "complete": Loader(
        answer(contract.Completed.read), {"ok": True, "result": {"result_prefix": "p"}}, SILENT
    ),
    "a refusal": Loader(
        answer(lambda result: result), {"ok": False, "error": "LeaseLost", "message": "m"}, SILENT
    ),
    "the bundle's manifest": Loader(the_model, {"auto": {"cpu": "a.safetensors"}}, (solving.ModelMissing,)),
    "a schedule": Loader(recurring, {"submit_again": {"name": "n", "prefix": "p"}}, (CommandFailed,)),
    "rehearsal.json": Loader(rehearsed, {"plan": PLAN, "steps": [STEP]}, (CommandFailed,)),
    "an access key": Loader(
        the_key, {"access_key_id": "LOCALA", "secret_access_key": "secret"}, (LocalStackError,)
    ),
    "local.json": Loader(the_stack, LOCAL, refuses=False),
    "instances": Loader(instances, [{"id": "i"}], (LocalStackError,)),
    "process records": Loader(process_records, RECORD, refuses=False),
    "process.json": Loader(
        the_run,
        {
            "pid": 2**22 + 5,
            "started_ticks": 1,
            "config": "xs",
            "seconds": 1.0,
            "began_with": 0,
            "counts_from": 0,
            "stopping": False,
        },
        refuses=False,
    ),
    "a checkpoint's card": Loader(
        the_card,
        {"config": "tiny", "samples": 5, "history": [{"started_from": {"samples": 3, "history": []}}]},
        refuses=False,
    ),
    "a run's log": Loader(
        lambda body, _: standing.last_card("x\n{\n" + body.decode("utf-8", "replace")[1:]),
        {"a": 1},
        refuses=False,
    ),
    "an evaluation": Loader(
        lambda body, folder: keeping.read(at(folder, "x.json", body)),
        {"format": keeping.FORMAT, "key": "k", "tasks": []},
        (CommandFailed,),
    ),
    "a list of ids": Loader(
        lambda body, folder: choosing.read(at(folder, "x.txt", body)), "a", (CommandFailed,)
    ),
    "S3's checksum": Loader(lambda body, _: _checksum(body.decode("latin-1")), "AAAA", refuses=False),
    "STS's word": Loader(
        lambda body, _: messages.caller_in(body.decode("utf-8", "replace")), "<Arn></Arn>", (NotYourself,)
    ),
}


def zipped(manifest: bytes) -> bytes:
    return results.pack({"manifest.json": manifest, "x.txt": b"x"})


def weights(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + bytes(8)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def spoilt(body: bytes) -> Iterator[bytes]:
    """Bytes that are nothing, half of it, or it with one byte another."""
    yield from (
        b"",
        b"\xff\xfe",
        b"\x00",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 5_000,
        b"9" * 5_000,
        b'"\\ud800"',
    )
    yield from (body[: len(body) // 2], body + b"x", b"\xef\xbb\xbf" + body, body * 2)
    rng = random.Random(0)
    for _ in range(30):
        at = rng.randrange(len(body))
        yield body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]


@pytest.mark.parametrize("name", LOADERS)
def test_what_is_well_formed_is_read(name: str, tmp_path: Path) -> None:
    loader = LOADERS[name]
    try:
        assert loader.read(encoded(loader.good), tmp_path) is not None
    except loader.errors:  # a refusal is what one of them reads, and a manifest of nothing is none
        assert name in ("a refusal", "result.zip", "STS's word")


@pytest.mark.parametrize("name", LOADERS)
def test_whatever_the_bytes_a_value_or_its_own_error(name: str, tmp_path: Path) -> None:
    loader = LOADERS[name]
    bodies = [*map(encoded, mutants(loader.good)), *spoilt(encoded(loader.good))]
    refused = 0
    for n, body in enumerate(bodies):
        try:
            loader.read(body, tmp_path / str(n))
        except loader.errors:
            refused += 1
    assert refused or not loader.refuses


def test_a_zip_of_anybody_is_refused_or_whole(tmp_path: Path) -> None:
    sums = {"prediction.json": {"sha256": hashlib.sha256(encoded(PREDICTION)).hexdigest()}}
    whole = results.pack({"prediction.json": encoded(PREDICTION), "manifest.json": encoded({"files": sums})})
    assert results.unpacked(whole)
    rng = random.Random(0)
    bodies = [whole[:n] for n in range(0, len(whole), 7)]
    for _ in range(400):
        at = rng.randrange(len(whole))
        bodies.append(whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :])
    refused = 0
    for body in [*bodies, *map(made, ODD)]:
        try:
            results.unpacked(body)
        except ResultBroken:
            refused += 1
    assert refused > 300


NOTHING = contextlib.nullcontext()
ODD: dict[str, list[tuple[str, bytes]]] = {
    "a name twice": [("manifest.json", b"{}"), ("manifest.json", b"{}")],
    "a name above": [("../x", b""), ("manifest.json", b"{}")],
    "a name from the root": [("/etc/x", b"")],
    "a bomb": [("manifest.json", b"\0" * 200_000_000)],
    "control characters": [("a\x1b[2J\n", b"")],
}


def made(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, body in ODD[name]:
            with pytest.warns(UserWarning, match="Duplicate") if key in archive.namelist() else NOTHING:
                archive.writestr(key, body)
    return packed.getvalue()


def test_a_record_of_every_process_is_no_record(tmp_path: Path) -> None:
    """Ending process group 0 or 1, or forgetting `../x`, would reach beyond what is ours."""
    for pid in (0, 1, -1, 2**40):
        with pytest.raises(ValueError, match="no process"):
            processes.ProcessRecord("emulator", pid, "boot+1")
        at(tmp_path, "process.json", encoded({**LOADERS["process.json"].good, "pid": pid}))
        assert process.read_run(tmp_path) is None
    at(tmp_path, "a.json", encoded({**RECORD, "name": "../x"}))
    at(tmp_path, "b.json", encoded({**RECORD, "pid": os.getpid(), "name": "emulator"}))
    assert processes.read_records(tmp_path) == []


def test_an_object_in_parts_has_no_checksum_of_its_own() -> None:
    assert _checksum(base64.b64encode(b"x" * 32).decode()) == (b"x" * 32).hex()
    assert _checksum("AAAA-3") == ""
    assert _checksum("") == ""


def test_a_part_of_another_page_is_none() -> None:
    body = encoded({"mark": "m", "tally": TALLY, "link": LINK, "stored": 0})
    assert report_parts._part(2, Fetched(body, "")) is None
    assert report_parts._part(1, Fetched(body, "")).link == PageLink(1, "a", "b", 1, {"right": 1})  # type: ignore[union-attr]

"""Over every command that lists or walks things: one bad item is told, and hides none of the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from arcspot.domain.batches import Batch, Receipt
from arcspot.domain.budget import Fleet, Ledger
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Launch, LaunchState
from arcspot_cli import cleaning, pruning
from arcspot_cli import target as targets
from arcspot_cli.main import main
from arcspot_cli.target import Target
from tests.fakes.driving import GOOD_TASK
from tests.fakes.memory import START
from tests.unit.cli.test_every_command import LEAST

from .conftest import REGION, Cloud, session
from .test_bad_rows import spoil
from .test_batch_index import job

ANSWER = json.dumps([{"attempt_1": [[0]], "attempt_2": [[1]]}]).encode()
LAYER = f"arn:aws:lambda:{REGION}:123456789012:layer:runner"
OUTPUTS = {
    "BucketName": "bucket",
    "JobsTable": "JobsTable",
    "LaunchesTable": "LaunchesTable",
    "LedgerTable": "LedgerTable",
    "EventsTable": "EventsTable",
    "ScheduleGroup": "arcspot-test",
    "ScheduleRoleArn": "arn:aws:iam::123456789012:role/schedule",
    "IngestFunctionArn": f"arn:aws:lambda:{REGION}:123456789012:function:arcspot-test-ingest",
    "DeadLettersArn": f"arn:aws:sqs:{REGION}:123456789012:letters",
    "RunnerBundle": f"{LAYER}:4",
}


def stack() -> Target:
    """The command line's own target over what moto plays."""
    target = Target("arcspot-test", REGION, None, None, "moto")
    vars(target).update(
        session=session(),
        outputs=OUTPUTS,
        parameters={"DiskGb": "75"},
        description={"StackStatus": "UPDATE_COMPLETE"},
    )
    return target


@pytest.fixture
def deployed(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    """Jobs, launches and schedules, of each kind some good ones and one that cannot be read."""
    monkeypatch.setattr(targets, "resolve", lambda choice: stack())
    monkeypatch.chdir(tmp_path)
    states = {
        "ready": JobState.READY, "bad": JobState.READY, "dead": JobState.DEAD, "done": JobState.DONE,
        "broken": JobState.DONE, "also-done": JobState.DONE,
    }  # fmt: skip
    store = cloud.ports.store
    for name, state in states.items():
        kept = replace(job(name), state=state, run_s_total=5.0, cost_usd_micros=7, reason="no")
        store.write(replace(kept, result_prefix=f"results/{name}/1/", fence=1))
        store.write(Receipt(f"tasks/b/{name}.json", batch_id="b", handled_at=START, entries=((name, name),)))
        answered(cloud, name, ANSWER if name != "broken" else b'[{"attempt_1": [[0]]}]')
    for launch_id in ("launch-1", "launch-bad", "launch-2"):
        store.write(launch(launch_id))
    store.write(Batch("b", START, report_due_at=START))
    store.write(Ledger.opened("2026-11", 10**9))
    store.write(Fleet.opened(2))
    spoil(cloud, "JobsTable", "bad", lambda item: item.pop("estimate_s"))
    spoil(cloud, "LaunchesTable", "launch-bad", lambda item: item.update(state={"S": "HIBERNATED"}))
    for name in ("nightly", "odd", "weekly"):
        added = run("schedule", "add", name, "--prefix", name, "--rate", "1 day")
        assert added.exit_code == 0, added.output
    spoil_schedule(cloud, "recurring-odd")
    return cloud


def launch(launch_id: str) -> Launch:
    return Launch(
        launch_id=launch_id,
        period="2026-11",
        reserve=1_000,
        created_at=START,
        hard_deadline=START,
        boot_deadline=START,
        state=LaunchState.SETTLED,
        actual=50,
    )


def answered(cloud: Cloud, name: str, body: bytes) -> None:
    objects = cloud.ports.objects
    objects.write(f"tasks/b/{name}.json", json.dumps(GOOD_TASK).encode(), content_type="application/json")
    known = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    manifest = {"job_id": name, "fence": 1, "files": {"prediction.json": known}}
    for file, content in (("prediction.json", body), ("manifest.json", json.dumps(manifest).encode())):
        objects.write(f"results/{name}/1/{file}", content, content_type="application/json")


def spoil_schedule(cloud: Cloud, name: str) -> None:
    client = cloud.client("scheduler")
    known = client.get_schedule(Name=name, GroupName="arcspot-test")
    client.update_schedule(
        Name=name,
        GroupName="arcspot-test",
        ScheduleExpression=known["ScheduleExpression"],
        FlexibleTimeWindow=known["FlexibleTimeWindow"],
        Target={**known["Target"], "Input": "[]"},
    )


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


@dataclass(frozen=True)
class Case:
    """A command, what it tells of the bad items on stderr, and of the good ones in its JSON."""

    typed: str
    bad: tuple[str, ...]
    good: Callable[[Any], bool]

    def __str__(self) -> str:
        return self.typed


def has(key: str, **counts: int) -> Callable[[Any], bool]:
    return lambda told: {name: told[key].get(name, 0) for name in counts} == counts


def ids(key: str, name: str, *wanted: str) -> Callable[[Any], bool]:
    return lambda told: sorted(row[name] for row in told[key]) == sorted(wanted)


def good_rows(*wanted: str, name: str = "task_id") -> Callable[[Any], bool]:
    return lambda told: sorted(row[name] for row in told if not row.get("fault")) == sorted(wanted)


COUNTS = has("jobs", READY=1, DEAD=1, DONE=3)
CASES = (
    Case("status", ("row bad", "row launch-bad"), COUNTS),
    Case("status", ("row bad", "row launch-bad"), ids("launches", "launch_id", "launch-1", "launch-2")),
    Case("status", ("row bad", "row launch-bad"), ids("ended_badly", "job_id", "dead")),
    Case("status --batch b", ("row bad",), COUNTS),
    Case("cost --month 2026-11", ("row bad", "row launch-bad"), lambda told: told["jobs"] == 5),
    Case("cost --month 2026-11", ("row bad",), ids("launches", "launch_id", "launch-1", "launch-2")),
    Case("cancel --batch b", ("row bad",), ids("cancelled", "job_id", "ready")),
    Case("cancel bad ready", ("row bad",), ids("cancelled", "job_id", "ready")),
    Case("retry --batch b", ("row bad",), ids("retried", "job_id", "dead")),
    Case("retry --dead", ("row bad",), ids("retried", "job_id", "dead")),
    Case("retry --dead --batch b", ("row bad",), ids("retried", "job_id", "dead")),
    Case("retry bad dead", ("row bad",), ids("retried", "job_id", "dead")),
    Case("results get out", ("row bad", "broken: "), good_rows("done", "also-done")),
    Case("results get out --batch b", ("row bad", "broken: "), good_rows("done", "also-done")),
    Case("results show done bad broken also-done", ("row bad", "broken: "), good_rows("done", "also-done")),
    Case("schedule list", ("odd: ",), good_rows("nightly", "weekly", name="name")),
)  # fmt: skip
CHANGING = ("cancel", "retry")
# What lists nothing: it makes, changes or takes away one thing, or runs on this machine alone.
OTHERS = {
    *(
        "submit",
        "demo",
        "evaluate",
        "simulate",
        "rehearse",
        "pause",
        "resume",
        "schedule add",
        "schedule remove",
    ),
    *(name for name in LEAST if name.startswith("local ")),
    *("check", "prune", "cleanup"),  # each has its own test, below or in test_checking
}


def test_every_command_that_lists_is_looked_at_here() -> None:
    here = {case.typed for case in CASES}
    assert {name for name in LEAST if not any(f"{typed} ".startswith(f"{name} ") for typed in here)} == OTHERS


def look(case: Case) -> None:
    told = run(*case.typed.split(), "--json")
    assert told.exit_code == 1, told.output
    assert case.good(json.loads(told.stdout)), told.stdout
    for words in case.bad:
        assert any(line.startswith(words) for line in told.stderr.splitlines()), told.stderr
    assert "Traceback" not in told.output


def test_one_bad_item_is_told_and_hides_no_other(deployed: Cloud) -> None:
    for case in CASES:
        if not case.typed.startswith(CHANGING):
            look(case)


@pytest.mark.parametrize("case", [case for case in CASES if case.typed.startswith(CHANGING)], ids=str)
def test_one_bad_item_keeps_no_other_from_being_changed(case: Case, deployed: Cloud) -> None:
    look(case)


def test_in_words_too(deployed: Cloud) -> None:
    for typed in dict.fromkeys(case.typed for case in CASES):
        told = run(*typed.split())
        assert told.exit_code == 1, typed
        assert any(line.startswith(("row bad", "odd: ")) for line in told.stderr.splitlines()), told.stderr
        assert "Traceback" not in told.output


def test_where_nothing_is_bad_there_is_no_word_of_faults(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "resolve", lambda choice: stack())
    cloud.ports.store.write(job("ready"))
    cloud.ports.store.write(Ledger.opened("2026-11", 10**9))
    for typed in ("status", "cost --month 2026-11", "retry --dead", "cancel --batch b"):
        told = run(*typed.split(), "--json")
        assert (told.exit_code, "faults" in json.loads(told.stdout)) == (0, False)


def test_a_fleet_that_cannot_be_read_hides_no_job(deployed: Cloud) -> None:
    spoil(deployed, "LedgerTable", "FLEET", lambda item: item.update(slots_total={"S": "many"}))
    spoil(deployed, "LedgerTable", "PERIOD#2026-11", lambda item: item.pop("cap"))
    told = run("status", "--json")
    assert COUNTS(json.loads(told.stdout))
    assert "row FLEET" in told.stderr


@pytest.mark.parametrize("typed", ["cancel ready dead also", "retry dead also"])
def test_a_job_that_cannot_be_written_is_told_and_the_others_are(
    typed: str, deployed: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, state in (("also", JobState.DEAD if "retry" in typed else JobState.READY),):
        deployed.ports.store.write(replace(job(name), state=state))
    write = type(deployed.ports.store).write

    def failing(self: Any, *records: Any) -> None:
        if any(isinstance(each, Job) and each.job_id in ("ready", "dead") for each in records):
            raise RuntimeError("the table is away")
        write(self, *records)

    monkeypatch.setattr(type(deployed.ports.store), "write", failing)
    told = run(*typed.split(), "--json")
    assert told.exit_code == 1
    document = json.loads(told.stdout)
    assert [row["job_id"] for row in document.get("cancelled", document.get("retried"))] == ["also"]
    (fault,) = document["faults"]
    assert "the table is away" in fault["why"]


def test_a_cleanup_cancels_what_can_be_read(deployed: Cloud) -> None:
    said: list[str] = []
    cleaning.stop_jobs(stack(), START, said.append)
    assert "1 job(s) cancelled" in said
    assert any(line.startswith("row bad: ") for line in said)
    kept = deployed.ports.store.job("ready")
    assert kept is not None
    assert kept.state is JobState.CANCELLED


def test_a_layer_version_that_stays_keeps_no_other(monkeypatch: pytest.MonkeyPatch, cloud: Cloud) -> None:
    monkeypatch.setattr(targets, "resolve", lambda choice: stack())
    long_ago = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    found = [pruning.Version(f"{LAYER}:{n}", n, long_ago) for n in range(1, 5)]
    monkeypatch.setattr(pruning, "versions", lambda target: found)
    monkeypatch.setattr(Target, "client", lambda self, service: Layers())
    told = run("prune", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout) == [f"{LAYER}:1", f"{LAYER}:3"]
    assert any(line.startswith(f"{LAYER}:2: ") for line in told.stderr.splitlines())


class Layers:
    """Lambda, which keeps one version."""

    def delete_layer_version(self, LayerName: str, VersionNumber: int) -> None:
        if VersionNumber == 2:
            raise RuntimeError("not this one")

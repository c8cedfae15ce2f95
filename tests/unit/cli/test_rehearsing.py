"""The rehearsal: no step on a guess, each verified; it stops where one fails and goes on from there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner

from arcspot.domain.budget import MICROS
from arcspot_cli import interrupting, rehearsing
from arcspot_cli.errors import CommandFailed
from arcspot_cli.interrupting import Fis
from arcspot_cli.main import main
from arcspot_cli.rehearsing import Plan, Rehearsal, Stage, judged
from tests.fakes import house
from tests.fakes.limits import Watch

ON_AWS = {"g4dn.xlarge": 526_000}
FIXED = ["check", "deploy", "interruption prepared", "six tasks", "an instance is up", "interruption"]
STEPS = [*FIXED, "answers", "all paid for", "results", "cost", "evidence", "cleanup"]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(stack="arcspot-local", folder=tmp_path / "kept", project_dir=tmp_path, local=True)


def test_the_worst_case_is_a_dollar_at_most_and_known_before_anything_starts() -> None:
    assert "at most $1.00" in judged(ON_AWS)
    with pytest.raises(CommandFailed, match="no price"):
        judged({})
    with pytest.raises(CommandFailed, match="more than the cap"):
        judged({"g4dn.xlarge": 2 * MICROS})


def test_a_dearer_rehearsal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsing, "PARAMETERS", {**rehearsing.PARAMETERS, "MonthlyCapUsd": "0.66"})
    with pytest.raises(CommandFailed, match=r"more than \$1"):
        judged(ON_AWS)


def test_its_parameters_are_the_templates_and_within_their_bounds() -> None:
    known = house.template()["Parameters"]
    for name, value in rehearsing.PARAMETERS.items():
        assert name in known
        if known[name]["Type"] == "Number":
            assert known[name].get("MinValue", 0) <= float(value) <= known[name].get("MaxValue", float("inf"))
    assert int(known["DiskGb"]["Default"]) == rehearsing.DISK_GB


class Played(Stage):
    """A stage on which every step does what it is told to."""

    def __init__(self, plan: Plan, said: list[str]) -> None:
        super().__init__(plan, said.append)


def played(monkeypatch: pytest.MonkeyPatch, failing: str = "") -> list[str]:
    """Steps that pass, but one; their names as they are done."""
    acted: list[str] = []

    def step(name: str) -> Any:
        def act(stage: Stage) -> str:
            acted.append(name)
            if name == failing:
                raise CommandFailed("it broke")
            return "fine"

        return act

    monkeypatch.setattr(rehearsing, "steps", lambda plan: tuple((name, step(name)) for name in STEPS))
    monkeypatch.setattr(rehearsing, "_evidence", step("evidence"))
    monkeypatch.setattr(rehearsing, "_cleanup", step("cleanup"))
    return acted


def test_the_steps_are_these_in_this_order(plan: Plan) -> None:
    assert [name for name, _ in rehearsing.steps(plan)] == STEPS


def test_all_steps_pass_and_are_written_down(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    acted, said = played(monkeypatch), list[str]()
    assert rehearsing.run(Rehearsal(plan), said.append, Played(plan, said))
    assert acted == STEPS
    kept = json.loads((plan.folder / "rehearsal.json").read_text())
    assert [(step["name"], step["ok"]) for step in kept["steps"]] == [(name, True) for name in STEPS]


def test_a_step_that_fails_ends_it_with_the_evidence_so_far(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    acted, said = played(monkeypatch, "answers"), list[str]()
    assert not rehearsing.run(Rehearsal(plan), said.append, Played(plan, said))
    assert acted == [*FIXED, "answers", "evidence"]
    assert any("FAILED: CommandFailed: it broke" in line for line in said)


def test_it_goes_on_where_it_stopped(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    played(monkeypatch, "answers")
    rehearsing.run(Rehearsal(plan), said.append, Played(plan, said))
    acted = played(monkeypatch)
    again = rehearsing.load(plan.folder)
    assert again is not None
    assert again.plan == plan
    assert rehearsing.run(again, said.append, Played(plan, said))
    assert acted == STEPS[STEPS.index("answers") :]
    assert rehearsing.load(plan.folder.parent / "nowhere") is None


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ARCSPOT_TARGET", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([], [], "say where"),
        (["--aws", "--region", "us-east-1"], [], "--email"),
        (["--aws"], ["--email", "a@example.com"], "which region"),
    ],
)
def test_what_is_not_said_is_asked_for(before: list[str], after: list[str], words: str, here: Path) -> None:
    told = CliRunner().invoke(main, [*before, "rehearse", *after])
    assert told.exit_code == 1
    assert words in told.stderr


def test_on_aws_nothing_starts_without_a_yes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acted = played(monkeypatch)
    arguments = ["--aws", "--region", "us-east-1", "rehearse", "--email", "a@example.com"]
    assert CliRunner().invoke(main, arguments, input="n\n").exit_code == 1
    assert acted == []
    assert CliRunner().invoke(main, arguments, input="y\n").exit_code == 0
    assert acted == STEPS


@pytest.mark.parametrize(("answer", "cleaned"), [("y\n", True), ("n\n", False), ("", False)])
def test_after_a_failure_cleaning_up_is_said_and_offered(
    answer: str, cleaned: bool, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acted = played(monkeypatch, "answers")
    told = CliRunner().invoke(main, ["--local", "rehearse"], input=answer)
    assert told.exit_code == 1
    assert "to remove everything: arcspot --local cleanup --yes arcspot-local" in told.stderr
    assert "to go on instead: arcspot rehearse --folder" in told.stderr
    assert (acted[-1] == "cleanup") is cleaned


def test_a_check_that_fails_leaves_nothing_to_clean_up(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acted = played(monkeypatch, "check")
    told = CliRunner().invoke(main, ["--local", "rehearse", "--yes"])
    assert (told.exit_code, acted) == (1, ["check"])
    assert "to remove everything" not in told.stderr


def test_without_quota_nothing_is_deployed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    plan.folder.mkdir()
    stage = Stage(replace(plan, local=False), print)
    found = [
        {"what": "credentials", "ok": True, "said": ""},
        {"what": "GPU spot quota", "ok": False, "said": "0 vCPUs"},
    ]
    monkeypatch.setattr(Stage, "arcspot", lambda self, *arguments, fails=False: found)
    with pytest.raises(CommandFailed, match="0 vCPUs"):
        rehearsing._check(stage)
    found[1]["ok"] = None  # it could not be looked at: that is no yes
    with pytest.raises(CommandFailed, match="GPU spot quota"):
        rehearsing._check(stage)
    found[1]["ok"] = True
    monkeypatch.setattr(rehearsing, "read_prices", lambda target: {})
    with pytest.raises(CommandFailed, match="no price"):
        rehearsing._check(stage)
    monkeypatch.setattr(rehearsing, "read_prices", lambda target: ON_AWS)
    assert "at most" in rehearsing._check(stage)


def looks(monkeypatch: pytest.MonkeyPatch, *seen: dict[str, Any]) -> None:
    """What `status` tells, look after look; the last one for ever."""
    left = list(seen)
    monkeypatch.setattr(Stage, "arcspot", lambda self, *_, **__: left.pop(0) if len(left) > 1 else left[0])
    monkeypatch.setattr(rehearsing.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(
        rehearsing, "HERE", replace(rehearsing.HERE, up=0, interrupted=0, answered=0, settled=0)
    )


def look(
    *launches: tuple[str, str, str], jobs: dict[str, int] | None = None, reserved: int = 0
) -> dict[str, Any]:
    rows = [{"instance_id": i, "state": state, "reason": reason} for i, state, reason in launches]
    ledger = {"reserved": reserved}
    return {"jobs": jobs or {}, "launches": rows, "ended_badly": [], "waits_for": "quota", "ledger": ledger}


def test_each_step_believes_what_it_sees_and_nothing_less(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.folder.mkdir()
    stage = Stage(plan, print)
    up = look(("i-1", "ACTIVE", ""))
    looks(monkeypatch, up)
    assert "i-1 said hello" in rehearsing._up(stage)
    looks(monkeypatch, look(("i-1", "LAUNCHED", "")))
    with pytest.raises(CommandFailed, match="waits for quota"):
        rehearsing._up(stage)
    looks(monkeypatch, up, up, look(("i-1", "SETTLED", "interrupted")))
    assert "interrupted" in rehearsing._interrupt(stage)
    looks(monkeypatch, up, up, look(("i-1", "SETTLED", "idle")))
    with pytest.raises(CommandFailed, match="another reason"):
        rehearsing._interrupt(stage)
    looks(monkeypatch, look(jobs={"DONE": 6}))
    assert rehearsing._answers(stage) == "six answers"
    looks(monkeypatch, look(jobs={"DONE": 5, "READY": 1}))
    with pytest.raises(CommandFailed, match="READY"):
        rehearsing._answers(stage)
    looks(monkeypatch, look(("i-1", "SETTLED", ""), reserved=1))
    with pytest.raises(CommandFailed, match="paid for"):
        rehearsing._settled(stage)
    books = {"reserved": 0, "settled": 5, "cap": 9, "launches": [{"cost": 4}]}
    monkeypatch.setattr(Stage, "arcspot", lambda self, *_, **__: books)
    with pytest.raises(CommandFailed, match="books"):
        rehearsing._cost(stage)
    books["launches"] = [{"cost": 5}]
    assert "1 launch" in rehearsing._cost(stage)


def test_boot_times_are_from_ec2s_answer_to_the_hello() -> None:
    history = [
        {"at": f"2026-11-27T10:00:0{n}+00:00", "subject": "launch#1", "kind": kind}
        for n, kind in ((0, "launched"), (7, "hello"), (9, "hello"))
    ]
    assert rehearsing.boots(history) == [{"launch": "launch#1", "seconds": 7.0}]
    assert rehearsing.boots(history[1:]) == []


class Target:
    """Clients whose answers are scripted; what they are asked is held against the services' models."""

    stack = "arcspot-rehearsal-1127-2033"

    def __init__(self) -> None:
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        self.clients = {name: boto3.client(name, **keys) for name in ("iam", "fis")}  # type: ignore[call-overload]
        self.stubs = {name: Stubber(client) for name, client in self.clients.items()}
        for stub in self.stubs.values():
            stub.activate()

    def client(self, service: str) -> Any:
        return self.clients[service]


def test_the_fault_injection_service_is_asked_for_one_interruption_and_left_clean(
    requests_made: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    target: Any = Target()
    fis, iam = target.stubs["fis"], target.stubs["iam"]
    monkeypatch.setattr(interrupting.time, "sleep", lambda seconds: None)
    tags = {"arcspot:stack": target.stack}
    fis.add_response(
        "list_experiment_templates",
        {"experimentTemplates": [{"id": "EXT1", "tags": {"arcspot:stack": "another"}}]},
    )
    role = {
        "Path": "/",
        "RoleName": "r",
        "RoleId": "AROAEXAMPLE1234567",
        "Arn": "arn:aws:iam::123456789012:role/r",
        "CreateDate": "2026-11-27",
    }
    iam.add_response("create_role", {"Role": role})
    iam.add_response("put_role_policy", {})
    fis.add_client_error("create_experiment_template", "ValidationException")  # the role is not known yet
    fis.add_response("create_experiment_template", {})
    Fis(target).prepare()
    mine = {"experimentTemplates": [{"id": "EXT2", "tags": tags}]}
    fis.add_response("list_experiment_templates", mine)
    fis.add_response("start_experiment", {}, {"experimentTemplateId": "EXT2"})
    Fis(target).interrupt()
    fis.add_response("list_experiment_templates", mine)
    fis.add_response("delete_experiment_template", {}, {"id": "EXT2"})
    iam.add_client_error("delete_role_policy", "NoSuchEntity")
    iam.add_response("delete_role", {})
    Fis(target).remove()
    for stub in target.stubs.values():
        stub.assert_no_pending_responses()
    (policy,) = [
        call.params["PolicyDocument"] for call in requests_made.calls if call.operation == "PutRolePolicy"
    ]
    sending = json.loads(policy)["Statement"][0]
    assert sending["Condition"] == {"StringEquals": {"aws:ResourceTag/arcspot:stack": target.stack}}
    (made, _) = [call.params for call in requests_made.calls if call.operation == "CreateExperimentTemplate"]
    assert made["targets"]["one"]["resourceTags"] == tags

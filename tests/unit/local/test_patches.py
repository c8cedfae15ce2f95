"""Patches hold the emulator to AWS's behaviour, or refuse to load."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from arcspot_cli.local.access_patches import route_by_signature, sign_functions, sign_links
from arcspot_cli.local.emulator import settings
from arcspot_cli.local.keys import AccessKey
from arcspot_cli.local.patches import PATCHES, HeartbeatEvent, PatchRefused, find, replace


def test_a_name_that_is_gone_is_refused_with_the_next_step() -> None:
    with pytest.raises(PatchRefused, match="make setup"):
        find("no_such_module", "anything")


def test_nothing_is_put_where_nothing_was() -> None:
    with pytest.raises(PatchRefused):
        replace("no_such_module", "anything", None)


def test_every_patch_says_what_aws_and_what_the_emulator_does() -> None:
    for patch in (*PATCHES, sign_functions, sign_links, route_by_signature):
        told = patch.__doc__ or ""
        assert "AWS:" in told, patch.__name__
        assert "MiniStack:" in told, patch.__name__


def test_every_patch_finds_its_place_in_the_supported_version(python: str) -> None:
    script = (
        "from arcspot_cli.local.patches import PATCHES\n"
        "from arcspot_cli.local.access_patches import guard\n"
        "from arcspot_cli.local.keys import draw\n"
        "for patch in PATCHES: patch()\n"
        "guard(4566, draw())"
    )
    subprocess.run([python, "-c", script], check=True, timeout=60)


def test_the_emulator_listens_to_this_machine_only_and_never_to_docker(tmp_path: Path) -> None:
    chosen = settings(4566, tmp_path, AccessKey("id", "secret"))
    assert chosen["BIND_HOST"] == "127.0.0.1"
    assert not Path(chosen["DOCKER_HOST"].removeprefix("unix://")).exists()
    assert chosen["TMPDIR"].startswith(str(tmp_path))


def test_a_missed_heartbeat_ends_the_wait() -> None:
    event = HeartbeatEvent(0.02)
    assert not event.wait(5)
    assert event.expired


def test_a_timeout_without_a_missed_heartbeat_is_only_a_timeout() -> None:
    event = HeartbeatEvent(60)
    assert not event.wait(0.02)
    assert not event.expired


def test_a_task_that_is_done_ends_the_wait_well() -> None:
    event = HeartbeatEvent(60)
    event.beat()
    event.set()
    assert event.wait(None)
    assert not event.expired


CALLBACK = """
from ministack.services import stepfunctions
from arcspot_cli.local.patches import PATCHES

def call(function, payload):
    if payload["answers"]:
        stepfunctions._task_tokens["token"].update(result="{}")
        stepfunctions._task_tokens["token"]["event"].set()
    raise stepfunctions._ExecutionError("Runtime.ExitError", "it died")

stepfunctions._call_lambda = call
for patch in PATCHES:
    patch()
function = "arn:aws:lambda:us-east-1:000000000000:function:launch"
for answers in (True, False):
    data = {"FunctionName": function, "Payload": {"answers": answers}}
    try:
        resource = "arn:aws:states:::lambda:invoke.waitForTaskToken"
        limits = {"TimeoutSeconds": 30, "HeartbeatSeconds": 20}
        stepfunctions._invoke_with_callback(resource, data, "token", limits)
        print("answered")
    except stepfunctions._ExecutionError as error:
        print(error.error)
    assert not stepfunctions._task_tokens
"""


def test_a_function_that_dies_with_the_token_fails_the_wait_unless_it_was_answered(python: str) -> None:
    told = subprocess.run([python, "-c", CALLBACK], check=True, timeout=25, capture_output=True, text=True)
    assert told.stdout.split() == ["answered", "Runtime.ExitError"]


CONDITIONS = """
from ministack.services.cloudformation import changesets, engine, handlers, stacks
from arcspot_cli.local.patches import PATCHES

for patch in PATCHES:
    patch()
zones = {"Fn::Join": ["", [{"Ref": "Zones"}, ","]]}
template = {"Conditions": {
    "Here": {"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]},
    "Named": {"Fn::Not": [{"Fn::Equals": [{"Fn::Select": [0, {"Fn::Split": ["b,", zones]}]}, zones]}]},
    "Both": {"Fn::And": [{"Condition": "Here"}, {"Condition": "Named"}]},
}}
for user in (engine, changesets, handlers, stacks):
    for named in ("us-east-1a", "us-east-1a,us-east-1b"):
        found = user._evaluate_conditions(template, {"Zones": {"Value": named}})
        print(found["Here"], found["Named"], found["Both"])
"""


def test_conditions_compare_the_region_and_what_functions_make(python: str) -> None:
    told = subprocess.run([python, "-c", CONDITIONS], check=True, timeout=25, capture_output=True, text=True)
    assert told.stdout.splitlines() == ["True False False", "True True True"] * 4

"""The house keeps its arrows, and what stands in two places agrees."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

import arcspot.errors
from arcspot.errors import ConfigurationError
from arcspot.settings import Settings
from gpu_runner.solver import SOLVER_VERSION
from tests.fakes.memory import settings

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "layers/common/arcspot"
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
MACHINE: dict[str, Any] = json.loads((ROOT / "statemachines/runner_lifecycle.asl.json").read_text())


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def outside(path: Path, *allowed: str) -> set[str]:
    """Imports that are neither standard library nor below one of the allowed names."""
    return {
        name
        for name in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(name == a or name.startswith(f"{a}.") for a in allowed)
    }


@pytest.mark.parametrize("path", sorted((SHARED / "domain").glob("*.py")), ids=lambda p: p.name)
def test_the_domain_imports_only_itself(path: Path) -> None:
    assert not outside(path, "arcspot.domain", "arcspot.errors")


@pytest.mark.parametrize(
    "path",
    [SHARED / "ports.py", SHARED / "settings.py", *sorted((SHARED / "services").glob("*.py"))],
    ids=lambda p: p.name,
)
def test_services_know_ports_and_never_aws(path: Path) -> None:
    allowed = ("domain", "errors", "ports", "services", "settings", "attention")
    assert not outside(path, *(f"arcspot.{name}" for name in allowed))


def test_how_attention_is_drawn_knows_the_errors_alone() -> None:
    assert not outside(SHARED / "attention.py", "arcspot.errors")


@pytest.mark.parametrize(
    "path",
    [*sorted((SHARED / "domain").glob("*.py")), *sorted((SHARED / "services").glob("*.py"))],
    ids=lambda p: p.name,
)
def test_decisions_read_neither_clock_nor_environment(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"\b(datetime\.now|utcnow|time\.time|time\.sleep|monotonic|os\.environ|getenv)\(", text
    )
    assert not imports(path) & {"time", "os", "random", "secrets", "socket"}


@pytest.mark.parametrize("path", sorted((ROOT / "gpu_runner/solver").glob("*.py")), ids=lambda p: p.name)
def test_the_solver_knows_nothing_of_aws(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in ("boto3", "botocore", "arcspot")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_importing_a_handler_has_no_side_effects(name: str) -> None:
    """Without environment, credentials or network, as Lambda's init phase may find it."""
    places = [str(SHARED.parent), str(ROOT / "functions" / name)]
    code = f"import sys; sys.path[:0] = {places!r}; import app; app.handler"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_handler_imports_no_sibling(name: str) -> None:
    assert not outside(ROOT / "functions" / name / "app.py", "arcspot", "aws_lambda_powertools")


class Recording(dict[str, str]):
    """An environment that remembers what it was asked for."""

    asked: set[str]

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.asked = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


def test_every_variable_a_handler_reads_is_set_in_the_template() -> None:
    common = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    env = Recording(dict.fromkeys(common, "1") | {"ON_DEMAND_PRICES": "", "ALLOWED_HOURS": ""})
    Settings.from_env(env)
    only_launch = {"LAUNCH_TEMPLATE_ID", "SUBNET_IDS"}
    assert env.asked - set(common) == only_launch
    assert (
        set(TEMPLATE["Resources"]["LaunchFunction"]["Properties"]["Environment"]["Variables"]) == only_launch
    )
    assert {name for name in common if not name.startswith("POWERTOOLS_")} == env.asked - only_launch, (
        "and none is idle"
    )


def test_a_missing_or_malformed_variable_is_named() -> None:
    assert settings().reserve > 0
    with pytest.raises(ConfigurationError, match="STACK"):
        Settings.from_env({})


def states() -> dict[str, Any]:
    found: dict[str, Any] = MACHINE["States"]
    return found


def test_every_error_the_state_machine_catches_is_one_that_somebody_raises() -> None:
    known = {
        "States.ALL", "States.Timeout", "States.HeartbeatTimeout", "Lambda.ServiceException",
        "Lambda.AWSLambdaException", "Lambda.SdkClientException", "Lambda.TooManyRequestsException",
    }  # fmt: skip
    caught = {
        name
        for state in states().values()
        for rule in (*state.get("Catch", ()), *state.get("Retry", ()))
        for name in rule["ErrorEquals"]
    }
    code = "\n".join(path.read_text() for path in SHARED.rglob("*.py") if path.name != "errors.py")
    for name in caught - known:
        assert hasattr(arcspot.errors, name), name
        assert re.search(rf"\b{name}\b", code), f"nobody raises or sends {name}"


def test_every_callback_has_a_timeout_and_a_heartbeat() -> None:
    waiting = {n: s for n, s in states().items() if str(s.get("Resource", "")).endswith(".waitForTaskToken")}
    assert set(waiting) == {"AwaitBoot", "Serve"}
    for state in waiting.values():
        assert state["TimeoutSecondsPath"].startswith("$.")
        assert state["HeartbeatSecondsPath"].startswith("$.")


def test_every_next_state_exists_and_every_task_has_a_time_limit() -> None:
    for name, state in states().items():
        nexts = [state.get("Next"), state.get("Default")]
        nexts += [rule["Next"] for rule in (*state.get("Catch", ()), *state.get("Choices", ()))]
        assert {n for n in nexts if n} <= set(states()), name
        if state["Type"] == "Task":
            assert "TimeoutSeconds" in state or "TimeoutSecondsPath" in state, name


def test_the_execution_gets_every_path_it_reads() -> None:
    from tests.fakes.driving import GOOD_TASK, Stack

    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    given = stack.world.workflow.started[launch_id]
    made = {"instance", "error", "look", "settled", "retire_error", "Payload"}
    read = set(re.findall(r'"\$\.(\w+)', json.dumps(MACHINE)))
    assert read - made <= set(given)


def test_the_user_data_sets_the_deadline_timer_first() -> None:
    script = TEMPLATE["Resources"]["RunnerTemplate"]["Properties"]["LaunchTemplateData"]["UserData"][
        "Fn::Base64"
    ]["Fn::Sub"]
    commands = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert commands[0] == "shutdown -h +${MaxLifetimeMinutes}"
    data = TEMPLATE["Resources"]["RunnerTemplate"]["Properties"]["LaunchTemplateData"]
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert data["MetadataOptions"]["HttpTokens"] == "required"


def test_the_instance_role_may_call_one_function_and_fetch_one_bundle() -> None:
    (policy,) = TEMPLATE["Resources"]["RunnerRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    assert [s["Action"] for s in statements] == ["lambda:InvokeFunction", "lambda:GetLayerVersion"]
    assert json.dumps(statements[0]["Resource"]).endswith('-runner_api"}')
    bundle = TEMPLATE["Resources"]["RunnerBundle"]["Properties"]["LayerName"]["Fn::Sub"]
    assert statements[1]["Resource"]["Fn::Sub"].endswith(f":layer:{bundle}:*")


def test_jobs_carry_the_version_of_the_solver_that_answers_them() -> None:
    assert TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["SOLVER_VERSION"] == SOLVER_VERSION
    assert TEMPLATE["Outputs"]["SolverVersion"]["Value"] == SOLVER_VERSION


def test_a_queue_hides_a_message_six_times_as_long_as_its_function_runs() -> None:
    function, queue = (TEMPLATE["Resources"][n]["Properties"] for n in ("IngestFunction", "IngestQueue"))
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]

"""What the AWS emulator lacks and our stack needs, one patch each.

Every patch takes hold of names inside MiniStack. A name that is gone, or code that no longer
looks as expected, is a `PatchRefused`: after a version bump the emulator refuses to start
instead of behaving differently without a word. Patches wrap; none contains MiniStack's code.
"""

from __future__ import annotations

import functools
import importlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from arcspot_cli.local.errors import LocalStackError

SUPPORTED_VERSION = "1.5.33"


class PatchRefused(LocalStackError):
    """The emulator's inside is not what a patch was written for."""


def find(module: str, name: str) -> Any:
    """A name inside the emulator, or `PatchRefused`."""
    try:
        return getattr(importlib.import_module(f"ministack.{module}"), name)
    except (ImportError, AttributeError) as error:
        raise PatchRefused(
            f"MiniStack has no {module}.{name}, which a patch of ours wraps; "
            f"install ministack=={SUPPORTED_VERSION} (make setup), or rework arcspot_cli/local/patches.py"
        ) from error


def replace(module: str, name: str, value: object) -> None:
    """Put our wrapper where the emulator looks the name up."""
    find(module, name)
    setattr(importlib.import_module(f"ministack.{module}"), name, value)


class HeartbeatEvent(threading.Event):
    """An event whose wait also ends when no heartbeat came for a while.

    Stands in for the `threading.Event` on which the emulator waits for a task token.
    """

    def __init__(self, heartbeat_seconds: float) -> None:
        super().__init__()
        self.heartbeat_seconds = heartbeat_seconds
        self.expired = False
        self._last_beat = time.monotonic()

    def beat(self) -> None:
        """A heartbeat arrived."""
        self._last_beat = time.monotonic()

    def wait(self, timeout: float | None = None) -> bool:
        """True once set; False after the timeout or a missed heartbeat (`expired` says which)."""
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        while True:
            overdue = self._last_beat + self.heartbeat_seconds
            if super().wait(max(0.0, min(0.1, end - time.monotonic()))):
                return True
            now = time.monotonic()
            if now >= overdue and now >= self._last_beat + self.heartbeat_seconds:
                self.expired = True
                return False
            if now >= end:
                return False


def patch_state_time_limits_from_paths() -> None:
    """AWS: TimeoutSecondsPath and HeartbeatSecondsPath read the limits from the state's input.

    MiniStack: reads neither, so such a state waits for ever.
    """
    execute_task = find("services.stepfunctions", "_execute_task")
    resolve = find("services.stepfunctions", "_resolve_path_or_ctx")

    @functools.wraps(execute_task)
    def wrapper(state: Mapping[str, Any], raw_input: Any, execution: Any, context: Any) -> Any:
        limits = {
            name: resolve(state[f"{name}Path"], raw_input, context)
            for name in ("TimeoutSeconds", "HeartbeatSeconds")
            if f"{name}Path" in state
        }
        return execute_task({**state, **limits}, raw_input, execution, context)

    replace("services.stepfunctions", "_execute_task", wrapper)


def patch_heartbeats() -> None:
    """AWS: a .waitForTaskToken state fails with States.HeartbeatTimeout when no heartbeat comes
    for HeartbeatSeconds; catchers and retriers of States.Timeout take that error too.

    MiniStack: ignores HeartbeatSeconds.
    """
    invoke = find("services.stepfunctions", "_invoke_with_callback")
    beat = find("services.stepfunctions", "_send_task_heartbeat")
    tokens = find("services.stepfunctions", "_task_tokens")
    execution_error = find("services.stepfunctions", "_ExecutionError")
    matches = find("services.stepfunctions", "_error_matches")
    if "threading" not in invoke.__globals__ or "Event" not in invoke.__code__.co_names:
        raise PatchRefused("MiniStack's _invoke_with_callback no longer waits on a threading.Event")

    @functools.wraps(invoke)
    def invoke_with_heartbeat(resource: str, data: Any, token: str, state: Mapping[str, Any]) -> Any:
        limit = state.get("HeartbeatSeconds")
        if not limit:
            return invoke(resource, data, token, state)
        event = HeartbeatEvent(float(limit))
        try:
            return _with_event(invoke, event)(resource, data, token, state)
        except execution_error as error:
            if event.expired and error.error == "States.Timeout":
                why = f"no heartbeat within {limit} seconds"
                raise execution_error("States.HeartbeatTimeout", why) from None
            raise

    @functools.wraps(beat)
    def send_task_heartbeat(data: Mapping[str, Any]) -> Any:
        event = (tokens.get(data.get("taskToken")) or {}).get("event")
        if isinstance(event, HeartbeatEvent):
            event.beat()
        return beat(data)

    @functools.wraps(matches)
    def error_matches(error_equals: list[str], error: str) -> bool:
        same_family = error == "States.HeartbeatTimeout" and "States.Timeout" in error_equals
        return same_family or matches(error_equals, error)

    replace("services.stepfunctions", "_invoke_with_callback", invoke_with_heartbeat)
    replace("services.stepfunctions", "_send_task_heartbeat", send_task_heartbeat)
    replace("services.stepfunctions", "_error_matches", error_matches)


def patch_callbacks_of_functions_that_fail() -> None:
    """AWS: a .waitForTaskToken state fails at once when the function that is to keep the token fails.

    MiniStack: waits on, for a token nobody may know; a function killed at work then looks like a silent one.
    """
    invoke = find("services.stepfunctions", "_invoke_with_callback")
    call = find("services.stepfunctions", "_call_lambda")
    tokens = find("services.stepfunctions", "_task_tokens")
    execution_error = find("services.stepfunctions", "_ExecutionError")
    awaited = threading.local()

    class NobodyKnowsTheToken(Exception):
        """Passes where MiniStack drops its own error, which it carries."""

    @functools.wraps(call)
    def call_lambda(*args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        except execution_error as error:
            waiting = (tokens.get(getattr(awaited, "token", None)) or {}).get("event")
            # Answered before the function failed: then the answer counts.
            if waiting is None or waiting.is_set():
                raise
            raise NobodyKnowsTheToken(error) from None

    @functools.wraps(invoke)
    def invoke_and_wait(resource: str, data: Any, token: str, state: Mapping[str, Any]) -> Any:
        awaited.token = token
        try:
            return invoke(resource, data, token, state)
        except NobodyKnowsTheToken as failure:
            tokens.pop(token, None)
            raise failure.args[0] from None
        finally:
            awaited.token = None

    replace("services.stepfunctions", "_call_lambda", call_lambda)
    replace("services.stepfunctions", "_invoke_with_callback", invoke_and_wait)


def _with_event(function: Any, event: threading.Event) -> Any:
    """The same function, except that the `threading.Event()` it makes is the given event."""

    class Threading:
        Event = staticmethod(lambda: event)

        def __getattr__(self, name: str) -> Any:
            return getattr(threading, name)

    names = {**function.__globals__, "threading": Threading()}
    return type(function)(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )


def patch_lambda_error_types() -> None:
    """AWS: the errorType of a failed invocation is the exception's class name.

    MiniStack: always "Runtime.HandlerError", so no state machine can catch our errors by name.
    """
    script: str = find("core.lambda_runtime", "_PYTHON_WORKER_SCRIPT")
    worker = find("core.lambda_runtime", "Worker")
    execute = find("services.lambda_svc", "_execute_function_warm")
    answer = '{"status": "error", "error": str(e), "trace": traceback.format_exc()}'
    if script.count(answer) != 1 or not hasattr(worker, "invoke"):
        raise PatchRefused("MiniStack's Lambda worker reports errors in another way than expected")
    worker_invoke = worker.invoke
    last = threading.local()

    @functools.wraps(worker_invoke)
    def invoke(self: Any, *args: Any, **named: Any) -> Any:
        result = worker_invoke(self, *args, **named)
        last.error_type = result.get("error_type") if isinstance(result, dict) else None
        return result

    @functools.wraps(execute)
    def execute_function(*args: Any, **named: Any) -> Any:
        last.error_type = None
        result = execute(*args, **named)
        body = result.get("body") if isinstance(result, dict) else None
        if isinstance(body, dict) and body.get("errorType") == "Runtime.HandlerError" and last.error_type:
            body["errorType"] = last.error_type
        return result

    named_answer = answer.replace('{"status"', '{"error_type": type(e).__name__, "status"')
    replace("core.lambda_runtime", "_PYTHON_WORKER_SCRIPT", script.replace(answer, named_answer))
    worker.invoke = invoke
    replace("services.lambda_svc", "_execute_function_warm", execute_function)


Action = Callable[[dict[str, Any]], tuple[int, Any, bytes]]


def _wrap_ec2(action: str, wrap: Callable[[Action], Action]) -> None:
    """Wrap one EC2 API action."""
    actions: dict[str, Action] = find("services.ec2", "_ACTION_MAP")
    if action not in actions:
        raise PatchRefused(f"MiniStack no longer has the EC2 action {action}")
    actions[action] = functools.wraps(actions[action])(wrap(actions[action]))


def patch_user_data_attribute() -> None:
    """AWS: DescribeInstanceAttribute(userData) gives the base64 user data of the launch.

    MiniStack: always empty, though it keeps the value.
    """
    instances, parameter = find("services.ec2", "_instances"), find("services.ec2", "_p")
    escape = find("services.ec2", "_esc")

    def wrap(describe: Action) -> Action:
        def describe_attribute(params: dict[str, Any]) -> tuple[int, Any, bytes]:
            status, headers, body = describe(params)
            kept = (instances.get(parameter(params, "InstanceId")) or {}).get("UserData")
            if status == 200 and kept:
                filled = f"<userData><value>{escape(kept)}</value></userData>".encode()
                body = body.replace(b"<userData/>", filled)
            return status, headers, body

        return describe_attribute

    _wrap_ec2("DescribeInstanceAttribute", wrap)


def patch_instance_state_events() -> None:
    """AWS: each change of an instance's state is an EventBridge event from aws.ec2.

    MiniStack: sends none. Ours come after the action, when the tags are set.
    """
    instances, put_events = find("services.ec2", "_instances"), find("services.eventbridge", "_put_events")
    get_region = find("core.responses", "get_region")
    get_account = find("core.responses", "get_account_id")

    def states() -> dict[str, str]:
        return {name: instance["State"]["Name"] for name, instance in instances.items()}

    def tell(instance_id: str, state: str) -> None:
        entry = {
            "Source": "aws.ec2",
            "DetailType": "EC2 Instance State-change Notification",
            "Detail": json.dumps({"instance-id": instance_id, "state": state}),
            "Resources": [f"arn:aws:ec2:{get_region()}:{get_account()}:instance/{instance_id}"],
        }
        put_events({"Entries": [entry]}, allow_aws_source=True)

    def wrap(act: Action) -> Action:
        def act_and_tell(params: dict[str, Any]) -> tuple[int, Any, bytes]:
            before = states()
            answer = act(params)
            for instance_id, state in states().items():
                if before.get(instance_id) != state:
                    tell(instance_id, state)
            return answer

        return act_and_tell

    for action in ("RunInstances", "CreateFleet", "TerminateInstances"):
        _wrap_ec2(action, wrap)


def patch_fleet_client_tokens() -> None:
    """AWS: CreateFleet with a ClientToken it has seen answers as the first time and launches nothing.

    MiniStack: launches again.
    """
    parameter = find("services.ec2", "_p")
    seen: dict[str, tuple[int, Any, bytes]] = {}
    one_at_a_time = threading.Lock()

    def wrap(create: Action) -> Action:
        def create_once(params: dict[str, Any]) -> tuple[int, Any, bytes]:
            token = parameter(params, "ClientToken")
            if not token:
                return create(params)
            with one_at_a_time:
                if token not in seen:
                    answer = create(params)
                    if answer[0] != 200:
                        return answer
                    seen[token] = answer
                return seen[token]

        return create_once

    _wrap_ec2("CreateFleet", wrap)


def patch_spot_warning_events() -> None:
    """AWS: EC2 itself announces a spot interruption on EventBridge.

    MiniStack: has no interruptions and, like AWS, refuses `aws.*` events put by anybody else.
    Ours lets the instance host put exactly this one kind of event.
    """
    put_events = find("services.eventbridge", "_put_events")
    warning = ("aws.ec2", "EC2 Spot Instance Interruption Warning")

    @functools.wraps(put_events)
    def put(data: Mapping[str, Any], allow_aws_source: bool = False) -> Any:
        kinds = {(entry.get("Source"), entry.get("DetailType")) for entry in data.get("Entries", [])}
        return put_events(data, allow_aws_source=allow_aws_source or kinds == {warning})

    replace("services.eventbridge", "_put_events", put)


def patch_schedules_with_universal_targets() -> None:
    """AWS: a schedule whose target is `arn:aws:scheduler:::aws-sdk:service:action` makes that call itself.

    MiniStack: fires the schedule, on the ten seconds, and drops such a target with a warning.
    Ours makes the call the way its state machines do; a call that fails is not tried again.
    """
    invoke_target = find("services.eventbridge", "_invoke_target")
    call = find("services.stepfunctions", "_invoke_aws_sdk_integration")
    logger = find("services.scheduler", "logger")
    if "_invoke_target" not in find("services.scheduler", "_tick_schedules").__code__.co_names:
        raise PatchRefused("MiniStack's schedules no longer fire through eventbridge._invoke_target")
    universal = "arn:aws:scheduler:::aws-sdk:"

    @functools.wraps(invoke_target)
    def invoke(target: Mapping[str, Any], *args: Any, **named: Any) -> Any:
        arn = str(target.get("Arn", ""))
        if not arn.startswith(universal):
            return invoke_target(target, *args, **named)
        try:
            resource = f"arn:aws:states:::aws-sdk:{arn.removeprefix(universal)}"
            return call(resource, json.loads(target.get("Input") or "{}"))
        except Exception:
            return logger.exception("a schedule could not call %s", arn)

    replace("services.eventbridge", "_invoke_target", invoke)


def patch_budgets_in_cloudformation() -> None:
    """AWS: CloudFormation creates AWS::Budgets::Budget.

    MiniStack: has the Budgets API but refuses the resource type.
    """
    handlers: dict[str, Any] = find("services.cloudformation.provisioners", "_RESOURCE_HANDLERS")
    create_budget = find("services.budgets", "_create_budget")
    delete_budget = find("services.budgets", "_delete_budget")
    get_account = find("core.responses", "get_account_id")
    if "AWS::Budgets::Budget" in handlers:
        raise PatchRefused("MiniStack now knows AWS::Budgets::Budget itself; drop this patch")

    def create(logical_id: str, properties: Mapping[str, Any], stack: str) -> tuple[str, dict[str, str]]:
        budget = {"BudgetName": f"{stack}-{logical_id}", **properties["Budget"]}
        if "BudgetLimit" in budget:
            limit = budget["BudgetLimit"]
            budget["BudgetLimit"] = {"Amount": str(limit["Amount"]), "Unit": limit["Unit"]}
        request = {
            "AccountId": get_account(),
            "Budget": budget,
            "NotificationsWithSubscribers": properties.get("NotificationsWithSubscribers", []),
        }
        status, _, body = create_budget(request)
        if status != 200:
            raise ValueError(body)
        return budget["BudgetName"], {"Ref": budget["BudgetName"]}

    def delete(name: str, properties: Mapping[str, Any]) -> None:
        delete_budget({"AccountId": get_account(), "BudgetName": name})

    def update(
        name: str, old: Mapping[str, Any], new: Mapping[str, Any], stack: str, logical_id: str | None = None
    ) -> tuple[str, dict[str, str]]:
        delete(name, old)
        return create(logical_id or name, new, stack)

    handlers["AWS::Budgets::Budget"] = {
        "create": create,
        "delete": delete,
        "update": update,
        "update_with_logical_id": True,
    }


def patch_budget_actions_in_cloudformation() -> None:
    """AWS: CloudFormation creates AWS::Budgets::BudgetsAction.

    MiniStack: refuses the resource type, and its Budgets API has no actions. Nothing is spent here,
    so no action can ever run: ours looks only that role and policy have names.
    """
    handlers: dict[str, Any] = find("services.cloudformation.provisioners", "_RESOURCE_HANDLERS")
    if "AWS::Budgets::BudgetsAction" in handlers:
        raise PatchRefused("MiniStack now knows AWS::Budgets::BudgetsAction itself; drop this patch")

    def create(logical_id: str, properties: Mapping[str, Any], stack: str) -> tuple[str, dict[str, str]]:
        wanted = properties["Definition"]["IamActionDefinition"]
        named = (properties["BudgetName"], wanted["PolicyArn"], *wanted["Roles"])
        if not all(isinstance(name, str) and name for name in named):
            raise ValueError(f"{logical_id}: expected the names of a budget, a policy and roles, got {named}")
        action_id = f"{stack}-{logical_id}"
        return action_id, {"Ref": action_id, "ActionId": action_id}

    def delete(action_id: str, properties: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def update(
        action_id: str, old: Mapping[str, Any], new: Mapping[str, Any], stack: str
    ) -> tuple[str, dict[str, str]]:
        return action_id, {"Ref": action_id, "ActionId": action_id}

    handlers["AWS::Budgets::BudgetsAction"] = {"create": create, "delete": delete, "update": update}


def patch_functions_in_conditions() -> None:
    """AWS: a condition may compare the stack's region, and what Fn::Join and Fn::Split make.

    MiniStack: compares the words `AWS::Region` and the functions themselves, so it is never true.
    """
    get_region = find("core.responses", "get_region")
    evaluate = find("services.cloudformation.engine", "_evaluate_conditions")
    users = ("engine", "changesets", "handlers", "stacks")

    def worked_out(node: Any, parameters: Mapping[str, Any]) -> Any:
        if isinstance(node, list):
            return [worked_out(each, parameters) for each in node]
        if not isinstance(node, dict):
            return node
        if set(node) == {"Ref"} and node["Ref"] in parameters:
            return parameters[node["Ref"]]["Value"]
        node = {name: worked_out(argument, parameters) for name, argument in node.items()}
        if "Fn::Join" in node:
            between, parts = node["Fn::Join"]
            return between.join(map(str, parts))
        if "Fn::Split" in node:
            between, text = node["Fn::Split"]
            return text.split(between)
        return node

    @functools.wraps(evaluate)
    def evaluate_conditions(template: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
        known = {"AWS::Region": {"Value": get_region()}, **params}
        conditions = worked_out(template.get("Conditions", {}), known)
        return evaluate({**template, "Conditions": conditions}, params)

    for user in users:
        replace(f"services.cloudformation.{user}", "_evaluate_conditions", evaluate_conditions)


PATCHES: tuple[Callable[[], None], ...] = (
    patch_state_time_limits_from_paths,
    patch_heartbeats,
    patch_callbacks_of_functions_that_fail,
    patch_lambda_error_types,
    patch_user_data_attribute,
    patch_fleet_client_tokens,
    patch_instance_state_events,
    patch_spot_warning_events,
    patch_schedules_with_universal_targets,
    patch_functions_in_conditions,
    patch_budgets_in_cloudformation,
    patch_budget_actions_in_cloudformation,
)

"""Each role may do what its function comes to, and nothing else.

What a function comes to: its calls in simulated histories full of faults, and what its code reaches beyond
them (`tests/fakes/observing.py`), said again by the real adapters. What a role may do: the transformed
template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from botocore import xform_name

from arcspot.aws import compose
from arcspot.ports import Ports
from arcspot_simulator.functions import NAMES
from tests.fakes import adapters, house, observing, rights
from tests.fakes.rights import ACCOUNT, REGION, STACK, Need, Right

from .conftest import Cloud, session

HERE = f"{REGION}:{ACCOUNT}"
FUNCTION = f"arn:aws:lambda:{HERE}:function:{STACK}"
INSTANCE = f"arn:aws:ec2:{HERE}:instance/i-1"
# What AWS could not deliver is left in this queue by whoever was to deliver it, under the role it has.
LEAVE = Need("sqs:SendMessage", str(rights.resolved({"Fn::GetAtt": ["DeadLetters", "Arn"]})))
OWN, OTHER = ("aws:ResourceTag/arcspot:stack", STACK), ("aws:ResourceTag/arcspot:stack", "another")
# What AWS does not limit to a resource, or does not for what is only about to exist.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
UNLIMITED = {
    "ec2:DescribeInstances", "ec2:DescribeSpotPriceHistory", "ec2:CreateFleet", "ec2:RunInstances",
    "pricing:GetProducts",
}  # fmt: skip


@pytest.fixture
def ports(whole_cloud: Cloud) -> Ports:
    """The real adapters, with the names that the template gives."""
    settings = replace(
        whole_cloud.settings,
        stack=STACK,
        state_machine_arn=rights.MACHINE,
        topic_arn=rights.resolved({"Ref": "AlertTopic"}),
        timer_role_arn=rights.resolved({"Fn::GetAtt": ["TimerRole", "Arn"]}),
        schedule_group=STACK,
        clock_rule=f"{STACK}-each-minute",
    )
    return compose.build(settings, session())


def needed(function: str, ports: Ports) -> set[Need]:
    observing.seed(function, ports)
    made = observing.calls(function, ports)
    left = (
        {LEAVE} if "DestinationConfig" in house.functions()[function].get("EventInvokeConfig", {}) else set()
    )
    return left | {need for calls in made.values() for call in calls for need in rights.needs(call)}


@pytest.mark.parametrize("function", NAMES)
def test_a_function_may_do_all_that_it_comes_to_and_nothing_more(function: str, ports: Ports) -> None:
    role, wanted = rights.role_of(function), needed(function, ports)
    assert len(wanted) > 5
    assert rights.missing(role, wanted) == set()
    assert rights.unused(role, wanted) == set()


@pytest.mark.parametrize("function", NAMES)
def test_what_the_code_reaches_and_what_was_said_are_the_same(function: str) -> None:
    """Two ways of finding out that know nothing of each other: a call that one misses shows here."""
    assert observing.unheard(function) == set(), "reached by code, never said: its rights are unknown"
    assert observing.unreached(function) == set(), "said, but not found in the code"


@pytest.mark.parametrize("function", NAMES)
def test_no_use_of_an_adapter_stopped_halfway(function: str, ports: Ports) -> None:
    """Each operation that stands in a method's code was built: no first answer kept it from the second."""
    observing.seed(function, ports)
    made: dict[str, set[str]] = {}
    for signature, calls in observing.calls(function, ports).items():
        made.setdefault(signature.split()[0], set()).update(xform_name(call.operation) for call in calls)
    assert made
    for use, operations in made.items():
        # A write is one put or a transaction of puts; both need the same right.
        left = adapters.operations(use) - operations - {"put_item", "transact_write_items"}
        assert left == set(), use
        assert not adapters.operations(use) & {"put_item", "transact_write_items"} or operations & {
            "put_item",
            "transact_write_items",
        }


def scheduled() -> dict[str, set[Need]]:
    """The roles that SAM makes for schedules: each calls its function."""
    found: dict[str, set[Need]] = {}
    for properties in rights.resources("AWS::Scheduler::Schedule").values():
        role = properties["Target"]["RoleArn"]["Fn::GetAtt"][0]
        found[role] = {Need("lambda:InvokeFunction", str(rights.resolved(properties["Target"]["Arn"])))}
    return found


def others() -> dict[str, set[Need]]:
    """What the roles that are no function's come to."""
    invoked = {
        state["Parameters"]["FunctionName"] for state in house.states().values() if state["Type"] == "Task"
    }
    assert invoked == {"${LaunchFunctionArn}", "${RetireFunctionArn}"}
    attached = rights.resolved({"Ref": "NoMoreInstances"})
    launch_role = rights.resolved({"Fn::GetAtt": ["LaunchFunctionRole", "Arn"]})
    return {
        "RunnerLifecycleRole": {
            Need("lambda:InvokeFunction", f"{FUNCTION}-{name}") for name in ("launch", "retire")
        },
        # arcspot.aws.timers.TERMINATE, arcspot_cli.scheduling.add
        "TimerRole": {Need("ec2:TerminateInstances", INSTANCE, (OWN,)), LEAVE},
        "ScheduleRole": {Need("lambda:InvokeFunction", f"{FUNCTION}-ingest"), LEAVE},
        # The runner invokes its door, the user data fetches the bundle.
        "RunnerRole": {
            Need("lambda:InvokeFunction", f"{FUNCTION}-runner_api"),
            Need("lambda:GetLayerVersion", f"arn:aws:lambda:{HERE}:layer:{STACK}-runner:1"),
        },
        # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-controls.html
        "BudgetRole": {
            Need(f"iam:{act}RolePolicy", launch_role, (("iam:PolicyARN", attached),))
            for act in ("Attach", "Detach")
        },
        **scheduled(),
    }


def test_every_other_role_may_do_what_it_is_for_and_nothing_more() -> None:
    for role, wanted in others().items():
        assert rights.missing(role, wanted) == set(), role
        assert rights.unused(role, wanted) == set(), role


def test_no_role_is_left_out() -> None:
    known = {rights.role_of(function) for function in NAMES} | set(others())
    assert set(rights.resources("AWS::IAM::Role")) == known
    assert len(scheduled()) == 2, "the sweep and the slow round"


@pytest.mark.parametrize("function", NAMES)
def test_of_awss_own_policies_a_role_has_those_for_logs_and_its_queue(function: str) -> None:
    assert rights.aws_policies(rights.role_of(function)) == (
        {rights.BASIC, rights.QUEUE} if function == "ingest" else {rights.BASIC}
    )


def every_right() -> set[tuple[str, Right]]:
    return {(role, right) for role in rights.resources("AWS::IAM::Role") for right in rights.rights(role)}


def test_no_action_has_a_wildcard_and_no_resource_is_everything_that_could_be_less() -> None:
    assert {right.action for _, right in every_right() if "*" in right.action} == set()
    assert {right.action for _, right in every_right() if right.resource == "*"} == UNLIMITED
    for role, right in every_right():
        assert right.resource == "*" or ACCOUNT in right.resource or ":s3:::bucket" in right.resource, role


def test_whoever_may_end_an_instance_may_end_this_stacks_alone() -> None:
    acts = {"ec2:TerminateInstances", "ec2:GetConsoleOutput"}
    ending = {(role, right.action) for role, right in every_right() if right.action in acts}
    assert {role for role, _ in ending} >= {"TimerRole", "WatchdogFunctionRole", "RetireFunctionRole"}
    for role, action in ending:
        assert rights.missing(role, {Need(action, INSTANCE, (OWN,))}) == set()
        for context in ((OTHER,), ()):
            assert rights.missing(role, {Need(action, INSTANCE, context)}), role


def test_a_role_is_passed_to_the_one_service_it_is_for() -> None:
    passed = {
        "RunnerRole": ("ec2.amazonaws.com", {"LaunchFunctionRole"}),
        "TimerRole": ("scheduler.amazonaws.com", {"LaunchFunctionRole", "WatchdogFunctionRole"}),
    }
    seen: dict[str, set[str]] = {}
    for role, right in every_right():
        if right.action == "iam:PassRole":
            name = right.resource.rpartition("/")[2]
            seen.setdefault(name, set()).add(role)
            service = passed[name][0]
            assert right.conditions == (("StringEquals", "iam:PassedToService", (service,)),)
            assert not right.allows(
                Need("iam:PassRole", right.resource, (("iam:PassedToService", "lambda.amazonaws.com"),))
            )
            assert rights.trusted(name) == [service]
    assert seen == {name: roles for name, (_, roles) in passed.items()}


def test_tags_are_set_while_creating_and_at_no_other_time() -> None:
    (right,) = {right for _, right in every_right() if right.action == "ec2:CreateTags"}
    assert right.allows(Need("ec2:CreateTags", INSTANCE, (("ec2:CreateAction", "RunInstances"),)))
    assert not right.allows(Need("ec2:CreateTags", INSTANCE))
    assert not right.allows(Need("ec2:CreateTags", INSTANCE, (("ec2:CreateAction", "CreateVolume"),)))


def test_only_launch_can_start_an_instance() -> None:
    starting = {
        role for role, right in every_right() if right.action in ("ec2:CreateFleet", "ec2:RunInstances")
    }
    assert starting == {"LaunchFunctionRole"}


SERVICES: Mapping[str, str] = {
    "TimerRole": "scheduler", "ScheduleRole": "scheduler", "RunnerRole": "ec2", "BudgetRole": "budgets",
    "RunnerLifecycleRole": "states",
}  # fmt: skip


def test_every_role_is_assumed_by_one_service() -> None:
    for name in rights.resources("AWS::IAM::Role"):
        service = SERVICES.get(name) or ("scheduler" if name in scheduled() else "lambda")
        assert rights.trusted(name) == [f"{service}.amazonaws.com"], name


# ---- the evaluator itself


@pytest.mark.parametrize(
    ("right", "need", "allowed"),
    [
        (Right("s3:GetObject", "b/tasks/*"), Need("s3:GetObject", "b/tasks/a/b"), True),
        (Right("s3:GetObject", "b/tasks/*"), Need("s3:GetObject", "b/results/a"), False),
        (Right("s3:GetObject", "*"), Need("s3:GetObjectVersion", "x"), False),
        (Right("s3:*", "*"), Need("s3:GetObject", "x"), True),
        (Right("a:b", "*", (("StringEquals", "k", ("v",)),)), Need("a:b", "x", (("k", "v"),)), True),
        (Right("a:b", "*", (("StringEquals", "k", ("v",)),)), Need("a:b", "x", (("k", "w"),)), False),
        (Right("a:b", "*", (("StringEquals", "k", ("v",)),)), Need("a:b", "x"), False),
        (Right("a:b", "*", (("ArnLike", "k", ("arn:*",)),)), Need("a:b", "x", (("k", "arn:1"),)), True),
    ],
)  # fmt: skip
def test_a_right_is_read_as_iam_reads_it(right: Right, need: Need, allowed: bool) -> None:
    assert right.allows(need) is allowed


def test_a_right_too_many_and_one_too_few_are_seen(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    """The five rights that runner_api once had for nothing would be named, and so would a gap."""
    role, wanted = rights.role_of("runner_api"), needed("runner_api", ports)
    once = {
        Right("ec2:GetConsoleOutput", f"arn:aws:ec2:{HERE}:instance/*"),
        Right("states:StartExecution", rights.MACHINE),
        Right("scheduler:CreateSchedule", f"arn:aws:scheduler:{HERE}:schedule/{STACK}/*"),
        Right("scheduler:DeleteSchedule", f"arn:aws:scheduler:{HERE}:schedule/{STACK}/*"),
        Right("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/TimerRole"),
    }
    held = rights.rights(role)
    monkeypatch.setattr(rights, "rights", lambda name: held | once)
    assert rights.unused(role, wanted) == once
    fewer = {right for right in held if right.action != "dynamodb:Query"}
    monkeypatch.setattr(rights, "rights", lambda name: fewer)
    assert {need.action for need in rights.missing(role, wanted)} == {"dynamodb:Query"}

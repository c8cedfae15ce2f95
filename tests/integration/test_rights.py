"""Each role may do what its function comes to, and nothing else.

What a function comes to: its calls in simulated histories full of faults, and what its code reaches beyond
them (`tests/fakes/observing.py`), said again by the real adapters. What a role may do: the transformed
template.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from botocore import xform_name

from arcspot.aws import compose
from arcspot.ports import Ports
from arcspot_simulator.functions import NAMES
from tests.fakes import adapters, house, observing, rights
from tests.fakes.cloudformation import ACCOUNT
from tests.fakes.iam import Need, Right
from tests.fakes.reach import subjects
from tests.fakes.rights import HERE, STACK

from .conftest import Cloud, session

FUNCTION = f"arn:aws:lambda:{HERE}:function:{STACK}"
TABLE = f"arn:aws:dynamodb:{HERE}:table"
INSTANCE = f"arn:aws:ec2:{HERE}:instance/i-1"
# What AWS could not deliver is left in this queue by whoever was to deliver it, under the role it has.
LEAVE = Need("sqs:SendMessage", str(rights.resolved({"Fn::GetAtt": ["DeadLetters", "Arn"]})))
OWN = ("aws:ResourceTag/arcspot:stack", STACK)
LOGS = f"arn:aws:logs:{HERE}:log-group:/arcspot/{STACK}:log-stream:x"
INBOX = str(rights.resolved({"Fn::GetAtt": ["IngestQueue", "Arn"]}))


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
    properties = house.functions()[function]
    # What Lambda does under a function's role: it writes the log, takes messages, leaves dead letters.
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    lambdas = {Need(f"logs:{act}", LOGS) for act in ("CreateLogStream", "PutLogEvents")}
    if any(event["Type"] == "SQS" for event in properties.get("Events", {}).values()):
        lambdas |= {
            Need(f"sqs:{act}", INBOX) for act in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        }
    if "DestinationConfig" in properties.get("EventInvokeConfig", {}):
        lambdas.add(LEAVE)
    history = {
        Need("dynamodb:BatchWriteItem", f"{TABLE}/EventsTable", (("dynamodb:LeadingKeys", key),))
        for word in subjects(function)
        for key in (word if word == "fleet" else f"{word}#x",)
    }
    return (
        lambdas | history | {need for calls in made.values() for call in calls for need in rights.needs(call)}
    )


@pytest.mark.parametrize("function", NAMES)
def test_a_function_may_do_all_that_it_comes_to_and_nothing_more(function: str, ports: Ports) -> None:
    role, wanted = rights.role_of(function), needed(function, ports)
    assert len(wanted) > 5
    # The widest the parameters make it; what less they allow is tried in test_attacks_on_rights.py.
    assert rights.missing(role, wanted, OnDemandFallback="true") == set()
    assert rights.unused(role, wanted, OnDemandFallback="true") == set()


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


@pytest.mark.parametrize("function", NAMES)
def test_what_each_place_in_the_code_writes_or_reads_is_known(function: str) -> None:
    """Each that the code can come to was seen at work, or it is said what it writes and asks for."""
    places = observing.by_place(function)
    assert {place for place, kinds in places.items() if not kinds} == set(), "say so in UNSEEN, and in RARE"
    at_work, said = frozenset[str]().union(*places.values()), observing.said(function)
    assert at_work <= said, "its rights are unknown"
    # The same place may ask for objects of other folders, but what rows it writes its code says.
    assert {kind for kind in said - at_work if not kind.startswith("objects.")} == set()


def others() -> dict[str, set[Need]]:
    """What the roles that are no function's come to."""
    invoked = {
        state["Parameters"]["FunctionName"] for state in house.states().values() if state["Type"] == "Task"
    }
    assert invoked == {"${LaunchFunctionArn}", "${RetireFunctionArn}"}
    attached = rights.resolved({"Ref": "NoMoreInstances"})
    launch_role = rights.resolved({"Fn::GetAtt": ["LaunchFunctionRole", "Arn"]})
    own = (("aws:Ec2InstanceSourceVpc", "Vpc"),)
    return {
        "RunnerLifecycleRole": {
            Need("lambda:InvokeFunction", f"{FUNCTION}-{name}") for name in ("launch", "retire")
        },
        # arcspot.aws.timers.TERMINATE, arcspot_cli.scheduling.add
        "TimerRole": {Need("ec2:TerminateInstances", INSTANCE, (OWN,)), LEAVE},
        "ScheduleRole": {Need("lambda:InvokeFunction", f"{FUNCTION}-ingest"), LEAVE},
        "SlowRoundRole": {Need("lambda:InvokeFunction", f"{FUNCTION}-watchdog")},
        # The runner invokes its door, the user data fetches the bundle.
        "RunnerRole": {
            Need("lambda:InvokeFunction", f"{FUNCTION}-runner_api", own),
            Need("lambda:GetLayerVersion", f"arn:aws:lambda:{HERE}:layer:{STACK}-runner:1", own),
        },
        # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-controls.html
        "BudgetRole": {
            Need(f"iam:{act}RolePolicy", launch_role, (("iam:PolicyARN", attached),))
            for act in ("Attach", "Detach")
        },
    }


def test_every_other_role_may_do_what_it_is_for_and_nothing_more() -> None:
    for role, wanted in others().items():
        assert rights.missing(role, wanted) == set(), role
        assert rights.unused(role, wanted) == set(), role


def test_each_schedule_of_the_template_calls_its_function_under_a_role_that_may() -> None:
    schedules = rights.resources("AWS::Scheduler::Schedule")
    assert len(schedules) == 2, "the sweep and the slow round"
    for name, properties in schedules.items():
        role, target = properties["Target"]["RoleArn"]["Fn::GetAtt"][0], properties["Target"]["Arn"]
        assert rights.may(role, "lambda:InvokeFunction", str(rights.resolved(target))), name


def test_no_role_is_left_out() -> None:
    """Neither one of ours nor one that SAM makes by itself."""
    known = {rights.role_of(function) for function in NAMES} | set(others())
    assert set(rights.resources("AWS::IAM::Role")) == known


def test_a_right_too_many_and_one_too_few_are_seen(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    """The five rights that runner_api once had for nothing would be named, and so would a gap."""
    role, wanted = rights.role_of("runner_api"), needed("runner_api", ports)
    fleet = (("ForAllValues:StringLike", "dynamodb:LeadingKeys", ("FLEET",)),)
    once = {
        Right("ec2:GetConsoleOutput", f"arn:aws:ec2:{HERE}:instance/*"),
        Right("states:StartExecution", rights.MACHINE),
        Right("scheduler:CreateSchedule", f"arn:aws:scheduler:{HERE}:schedule/{STACK}/*"),
        Right("scheduler:DeleteSchedule", f"arn:aws:scheduler:{HERE}:schedule/{STACK}/*"),
        Right("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/TimerRole"),
        Right("dynamodb:PutItem", f"arn:aws:dynamodb:{HERE}:table/LedgerTable", fleet),
    }
    held = rights.rights(role, apart=True)
    monkeypatch.setattr(rights, "rights", lambda name, **how: held | once)
    assert rights.unused(role, wanted) == once
    fewer = {right for right in held if right.action != "dynamodb:Query"}
    monkeypatch.setattr(rights, "rights", lambda name, **how: fewer)
    assert {need.action for need in rights.missing(role, wanted)} == {"dynamodb:Query"}

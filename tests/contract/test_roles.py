"""What a stranger who holds one of the stack's roles, or borrows a service's, cannot do with it.

Held against the transformed template: every policy that the stack makes, SAM's own included. IAM itself is
played by `tests/fakes/iam.py`; what only AWS can show stands in docs/aws.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from arcspot_simulator.functions import NAMES
from tests.fakes import iam, rights, rights_page
from tests.fakes.cloudformation import ACCOUNT
from tests.fakes.iam import Need, Right
from tests.fakes.rights import EC2, HERE, IMAGE, REGION, STACK, TAG

ROLES = sorted(rights.resources("AWS::IAM::Role"))
FUNCTION = f"arn:aws:lambda:{HERE}:function:{STACK}"
OTHER_ACCOUNT = "999999999999"


def table(name: str) -> str:
    return f"arn:aws:dynamodb:{HERE}:table/{name}Table"


def may(function: str, action: str, resource: str, *context: tuple[str, str]) -> bool:
    return rights.may(rights.role_of(function), action, resource, *context)


def every_right() -> set[tuple[str, Right]]:
    return {
        (role, right) for role in ROLES for right in rights.rights(role, apart=True, OnDemandFallback="true")
    }


# ---- no wildcards, nothing misspelt, nothing of AWS's own

EVERYTHING = {
    "ec2:DescribeInstances": "EC2 limits it to no resource",
    "ec2:DescribeSpotPriceHistory": "EC2 limits it to no resource",
    "pricing:GetProducts": "the price list has no resources",
}
# SAM's StepFunctionsCallbackPolicy names the state machine all the same: docs/aws.md.
NOT_IN_THE_REFERENCE = {f"states:SendTask{end}" for end in ("Success", "Failure", "Heartbeat")}


def test_no_action_has_a_wildcard_and_no_resource_is_everything_but_for_a_reason() -> None:
    assert {right.action for _, right in every_right() if {"*", "?"} & set(right.action)} == set()
    assert {right.action for _, right in every_right() if right.resource == "*"} == set(EVERYTHING)
    for role, right in every_right():
        mine = ACCOUNT in right.resource or right.resource.startswith(("arn:aws:s3:::bucket", IMAGE[:-5]))
        assert right.resource == "*" or mine, (role, right)


def test_aws_knows_each_action_with_its_resource_and_its_conditions() -> None:
    """A misspelt key is no error for IAM: the statement is then true of nothing, or of everything."""
    for role, right in every_right():
        if right.action not in NOT_IN_THE_REFERENCE:
            assert iam.faults(right) == [], role


@pytest.mark.parametrize("role", ROLES)
def test_no_role_has_a_policy_of_awss_own(role: str) -> None:
    """With AWSLambdaSQSQueueExecutionRole it could empty any queue of the account."""
    assert rights.aws_policies(role) == set()


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_policies_are_as_short_as_iam_wants_them(role: str) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
    policies = [rights.resolved(dict(each)) for each in rights.documents(role)]
    assert policies
    assert sum(len(json.dumps(each, separators=(",", ":"))) for each in policies) < 10_240


def test_the_one_deny_takes_launching_away_whatever_else_allows_it() -> None:
    (policy,) = rights.resources("AWS::IAM::ManagedPolicy").values()
    denied = set(iam.rights_in(rights.resolved(policy["PolicyDocument"]), effect="Deny"))
    assert denied == {Right("ec2:RunInstances", "*"), Right("ec2:CreateFleet", "*")}
    assert set(iam.rights_in(rights.resolved(policy["PolicyDocument"]))) == set()


def test_the_page_of_rights_is_the_templates() -> None:
    assert rights_page.PAGE.read_text() == rights_page.page(), "python -m tests.fakes.rights_page renews it"


# ---- roles that are passed, and who takes them

PASSED = {
    "RunnerRole": ("ec2.amazonaws.com", {"LaunchFunctionRole"}),
    "TimerRole": ("scheduler.amazonaws.com", {"LaunchFunctionRole", "WatchdogFunctionRole"}),
}


def test_a_role_is_passed_to_the_one_service_it_is_for() -> None:
    for name in ROLES:
        service, passers = PASSED.get(name, ("ec2.amazonaws.com", set[str]()))
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        to = {each: ("iam:PassedToService", each) for each in (service, "lambda.amazonaws.com")}
        assert {r for r in ROLES if rights.may(r, "iam:PassRole", arn, to[service])} == passers
        assert not any(rights.may(r, "iam:PassRole", arn, to["lambda.amazonaws.com"]) for r in ROLES)
        assert not any(rights.may(r, "iam:PassRole", arn) for r in ROLES)


GROUP = f"arn:aws:scheduler:{HERE}:schedule-group/{STACK}"
MACHINE = f"arn:aws:states:{HERE}:stateMachine:{STACK}-RunnerLifecycle"
BUDGET = f"arn:aws:budgets::{ACCOUNT}:budget/b"
# Service, and the source it names; None where it documents none (the reasons are in the template).
SOURCES: dict[str, tuple[str, str | None]] = {
    **dict.fromkeys(("TimerRole", "ScheduleRole", "SlowRoundRole"), ("scheduler", GROUP)),
    "RunnerLifecycleRole": ("states", MACHINE),
    "BudgetRole": ("budgets", BUDGET),
    "RunnerRole": ("ec2", None),
    **{rights.role_of(name): ("lambda", None) for name in NAMES},
}


def assumes(role: str, service: str, source: str | None, account: str | None = ACCOUNT) -> bool:
    told = (("aws:SourceArn", source), ("aws:SourceAccount", account))
    context = tuple((key, value) for key, value in told if value is not None)
    return any(
        service in iam.listed(statement["Principal"]["Service"])
        and iam.allowed(iam.rights_in({"Statement": [statement]}), Need("sts:AssumeRole", "", context))
        for statement in rights.trust(role)
    )


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_taken_by_its_own_service_for_its_own_source(role: str) -> None:
    service, source = SOURCES[role]
    assert rights.trusted(role) == [f"{service}.amazonaws.com"]
    assert assumes(role, f"{service}.amazonaws.com", source)
    if source is None:
        return
    by = f"{service}.amazonaws.com"
    assert not assumes(role, by, source, OTHER_ACCOUNT)
    assert not assumes(role, by, source, None)
    assert not assumes(role, by, None)
    assert not assumes(role, by, source.replace(ACCOUNT, OTHER_ACCOUNT))
    if service != "budgets":  # a budget has no name that is known before
        for other in (f"{source}-2", source.replace(REGION, "eu-west-1"), source.replace(STACK, "another")):
            assert not assumes(role, by, other)


def test_a_schedule_outside_of_the_stacks_group_ends_and_submits_nothing() -> None:
    """The group, since the schedule itself is not what EventBridge Scheduler tells."""
    for role in ("TimerRole", "ScheduleRole", "SlowRoundRole"):
        for source in (
            f"arn:aws:scheduler:{HERE}:schedule-group/default",
            f"arn:aws:scheduler:{HERE}:schedule/{STACK}/x",
            f"arn:aws:scheduler:{HERE}:schedule-group/{STACK}*",
        ):
            assert not assumes(role, "scheduler.amazonaws.com", source)


# ---- what others may do here: policies of queues, topics, buckets and functions


def admitted() -> Iterator[tuple[str, str, str, iam.Conditions]]:
    """Resource, service, action and conditions of each thing that somebody outside is allowed."""
    for kind in ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::S3::BucketPolicy"):
        for name, properties in rights.resources(kind).items():
            for statement in rights.resolved(properties["PolicyDocument"])["Statement"]:
                if statement["Effect"] == "Allow":
                    (service,) = iam.listed(statement["Principal"]["Service"])
                    for right in iam.rights_in({"Statement": [statement]}):
                        yield name, service, right.action, right.conditions
    for name, properties in rights.resources("AWS::Lambda::Permission").items():
        said = rights.resolved(properties)
        source = (("ArnLike", "aws:SourceArn", (said["SourceArn"],)),) if "SourceArn" in said else ()
        yield name, said["Principal"], said["Action"], source


def test_whoever_is_let_in_names_a_source_in_this_account() -> None:
    found = list(admitted())
    assert {service for _, service, _, _ in found} == {
        "s3.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com"
    }  # fmt: skip
    for name, _, _, conditions in found:
        told = {key: values for _, key, values in conditions}
        assert "aws:SourceArn" in told, name
        ours = all(ACCOUNT in source for source in told["aws:SourceArn"])
        assert ours or told.get("aws:SourceAccount") == (ACCOUNT,), name


def test_a_mail_to_the_operator_comes_from_this_stacks_alarms() -> None:
    alarms = set(rights.resources("AWS::CloudWatch::Alarm"))
    told = {
        source.rpartition(":")[2]
        for name, _, _, conditions in admitted()
        for _, key, sources in conditions
        for source in sources
        if (name, key) == ("AlertTopicPolicy", "aws:SourceArn")
    }
    assert told == alarms


def test_no_other_kind_of_resource_carries_a_policy_that_nobody_looks_at() -> None:
    looked_at = {
        "AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::SQS::QueuePolicy",
        "AWS::SNS::TopicPolicy", "AWS::S3::BucketPolicy",
    }  # fmt: skip
    for name, resource in rights.transformed()["Resources"].items():
        if "Statement" in json.dumps(resource.get("Properties", {})):
            assert resource["Type"] in looked_at, name


def test_the_bucket_is_spoken_to_over_tls_alone() -> None:
    (policy,) = rights.resources("AWS::S3::BucketPolicy").values()
    denied = set(iam.rights_in(rights.resolved(policy["PolicyDocument"]), effect="Deny"))
    plain, safe = ((("aws:SecureTransport", told),) for told in ("false", "true"))
    for action, where in (("s3:GetObject", "bucket/tasks/x"), ("s3:ListBucket", "bucket")):
        assert iam.allowed(denied, Need(action, f"arn:aws:s3:::{where}", plain))
        assert not iam.allowed(denied, Need(action, f"arn:aws:s3:::{where}", safe))


# ---- all else: a table of what was tried

LOG = f"arn:aws:logs:{HERE}:log-group:/aws/lambda/another:log-stream:x"
DENIED = [
    ("ingest", "sqs:ReceiveMessage", f"arn:aws:sqs:{HERE}:another", ()),
    ("ingest", "sqs:DeleteMessage", f"arn:aws:sqs:{HERE}:DeadLetters", ()),
    *((name, act, LOG, ()) for name in NAMES for act in ("logs:PutLogEvents", "logs:CreateLogStream")),
    *((name, "logs:CreateLogGroup", LOG, ()) for name in NAMES),
    *((name, "dynamodb:Scan", table("Jobs"), ()) for name in NAMES),
    *((name, "s3:DeleteObject", "arn:aws:s3:::bucket/results/j/1/r.json", ()) for name in NAMES),
    *((name, "s3:DeleteObjectVersion", "arn:aws:s3:::bucket/rejected/x", ()) for name in NAMES),
    *((name, "s3:PutObject", "arn:aws:s3:::bucket/tasks/x.json", ()) for name in NAMES),
    ("retire", "s3:GetObject", "arn:aws:s3:::bucket/tasks/x.json", ()),
    ("runner_api", "s3:PutObject", "arn:aws:s3:::bucket/reports/b/index.html", ()),
    ("runner_api", "s3:GetObject", "arn:aws:s3:::bucket/logs/x", ()),
    ("runner_api", "ec2:RunInstances", f"{EC2}:instance/*", (TAG,)),
    ("runner_api", "ec2:CreateFleet", f"{EC2}:fleet/*", (TAG,)),
    ("runner_api", "states:StartExecution", rights.MACHINE, ()),
    ("runner_api", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/RunnerRole", ()),
    ("runner_api", "lambda:InvokeFunction", f"{FUNCTION}-launch", ()),
    ("launch", "iam:CreateServiceLinkedRole",
     f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/ec2fleet.amazonaws.com/AWSServiceRoleForEC2Fleet",
     (("iam:AWSServiceName", "ec2fleet.amazonaws.com"),)),
    ("launch", "scheduler:CreateSchedule", f"arn:aws:scheduler:{HERE}:schedule/default/x", ()),
    ("launch", "scheduler:CreateSchedule", f"arn:aws:scheduler:{HERE}:schedule/{STACK}-2/x", ()),
    ("watchdog", "events:DisableRule", f"arn:aws:events:{HERE}:rule/another-each-minute", ()),
    ("watchdog", "events:PutRule", f"arn:aws:events:{HERE}:rule/{STACK}-each-minute", ()),
    *((name, "sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/LaunchFunctionRole", ()) for name in NAMES),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "action", "resource", "context"), DENIED, ids=[f"{who} {act}" for who, act, *_ in DENIED]
)
def test_a_function_is_denied(
    function: str, action: str, resource: str, context: tuple[tuple[str, str], ...]
) -> None:
    assert not may(function, action, resource, *context)


# What would make more of the rights that somebody has, or take the killers away.
GROWING = {
    "iam:PutRolePolicy": f"arn:aws:iam::{ACCOUNT}:role/RunnerRole",
    "iam:UpdateAssumeRolePolicy": f"arn:aws:iam::{ACCOUNT}:role/TimerRole",
    "lambda:UpdateFunctionCode": f"{FUNCTION}-launch",
    "lambda:AddPermission": f"{FUNCTION}-runner_api",
    "ec2:CreateLaunchTemplateVersion": f"{EC2}:launch-template/RunnerTemplate",
    "ec2:ModifyLaunchTemplate": f"{EC2}:launch-template/RunnerTemplate",
    "ec2:ModifyInstanceAttribute": f"{EC2}:instance/i-1",
    "ec2:RequestSpotInstances": f"{EC2}:instance/*",
    "ec2:AuthorizeSecurityGroupIngress": f"{EC2}:security-group/RunnerSecurityGroup.GroupId",
    "scheduler:UpdateSchedule": f"arn:aws:scheduler:{HERE}:schedule/{STACK}/x",
    "states:UpdateStateMachine": rights.MACHINE,
    "states:StopExecution": rights.MACHINE,
    "s3:PutBucketPolicy": "arn:aws:s3:::bucket",
    "s3:PutLifecycleConfiguration": "arn:aws:s3:::bucket",
    "dynamodb:DeleteTable": table("Ledger"),
    "dynamodb:UpdateItem": table("Ledger"),
    "sns:Subscribe": f"arn:aws:sns:{HERE}:AlertTopic",
    "sqs:PurgeQueue": f"arn:aws:sqs:{HERE}:IngestQueue",
    "logs:DeleteLogGroup": f"arn:aws:logs:{HERE}:log-group:/arcspot/{STACK}:*",
    "budgets:ExecuteBudgetAction": f"arn:aws:budgets::{ACCOUNT}:budget/b/action/a",
}


@pytest.mark.parametrize("action", GROWING)
def test_no_role_can_make_more_of_itself_or_take_a_guard_away(action: str) -> None:
    own = (("aws:ResourceTag/arcspot:stack", STACK), TAG)
    assert [role for role in ROLES if rights.may(role, action, GROWING[action], *own)] == []


def test_an_instance_calls_one_function_and_fetches_one_layer() -> None:
    here = ("aws:Ec2InstanceSourceVpc", "Vpc")
    elsewhere = ("aws:Ec2InstanceSourceVpc", "vpc-other")
    door, bundle = f"{FUNCTION}-runner_api", f"arn:aws:lambda:{HERE}:layer:{STACK}-runner:3"
    for action, resource in (("lambda:InvokeFunction", door), ("lambda:GetLayerVersion", bundle)):
        assert rights.may("RunnerRole", action, resource, here)
        assert not rights.may("RunnerRole", action, resource, elsewhere), (
            "the role lent to an instance elsewhere"
        )
    for action, resource in (
        *(("lambda:InvokeFunction", f"{FUNCTION}-{name}") for name in NAMES if name != "runner_api"),
        ("lambda:InvokeFunction", f"{FUNCTION}-runner_api-2"),
        ("lambda:GetFunction", door),
        ("lambda:UpdateFunctionCode", door),
        ("lambda:GetLayerVersion", f"arn:aws:lambda:{HERE}:layer:{STACK}-common:1"),
        ("s3:GetObject", "arn:aws:s3:::bucket/tasks/x.json"),
        ("dynamodb:GetItem", table("Jobs")),
        ("ec2:TerminateInstances", f"{EC2}:instance/i-1"),
        ("logs:PutLogEvents", LOG),
    ):
        assert not rights.may("RunnerRole", action, resource, here)


def test_the_state_machine_calls_two_functions_and_none_whose_name_goes_on() -> None:
    able = {
        name
        for name in (*NAMES, "launcher", "launch-2", "retire_all")
        if rights.may("RunnerLifecycleRole", "lambda:InvokeFunction", f"{FUNCTION}-{name}")
    }
    assert able == {"launch", "retire"}

"""cleanup takes away what AWS Budgets and the stack's own functions made beside the stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from arcspot.aws.timers import Scheduler
from arcspot_cli import cleaning, scheduling
from tests.fakes import house
from tests.fakes.memory import START

REGION, ROLE = "us-east-1", "arn:aws:iam::123456789012:role/timer"
STACK = "arcspot-test"


@dataclass
class Deployed:
    """What cleaning looks at of a target."""

    stack: str = STACK

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]

    def output(self, name: str) -> str:
        return {"ScheduleGroup": STACK, "ScheduleRoleArn": ROLE, "IngestFunctionArn": ROLE}[name]


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield Deployed()


def deploy(target: Any) -> str:
    """The role and the deny policy, the latter as the template has it; the role's name."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    resources = {
        "LaunchFunctionRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {"RoleName": "launch", "AssumeRolePolicyDocument": trust},
        },
        "NoMoreInstances": {
            "Type": "AWS::IAM::ManagedPolicy",
            "Properties": house.resources("AWS::IAM::ManagedPolicy")["NoMoreInstances"],
        },
    }
    template = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
    target.client("cloudformation").create_stack(StackName=STACK, TemplateBody=template)
    return "launch"


def deny_policy(target: Any) -> str:
    told = target.client("cloudformation").describe_stack_resource(
        StackName=STACK, LogicalResourceId=cleaning.DENY_POLICY
    )
    return str(told["StackResourceDetail"]["PhysicalResourceId"])


def test_the_budgets_action_is_undone_before_the_stack_goes(target: Any) -> None:
    role, iam = deploy(target), target.client("iam")
    iam.attach_role_policy(RoleName=role, PolicyArn=deny_policy(target))  # what AWS Budgets does
    with pytest.raises(ClientError, match="must detach all policies"):
        iam.delete_role(RoleName=role)  # what is in CloudFormation's way

    assert cleaning.undo_budget_action(target) == [role]
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    cleaning.delete_stack(target)
    assert iam.list_roles()["Roles"] == []


def test_where_no_action_has_run_there_is_nothing_to_undo(target: Any) -> None:
    deploy(target)
    assert cleaning.undo_budget_action(target) == []


def test_a_stack_without_that_policy_or_one_half_deleted_is_cleaned_all_the_same(target: Any) -> None:
    deploy(target)
    target.client("iam").delete_policy(PolicyArn=deny_policy(target))
    assert cleaning.undo_budget_action(target) == []
    target.client("cloudformation").delete_stack(StackName=STACK)
    empty = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    target.client("cloudformation").create_stack(StackName=STACK, TemplateBody=json.dumps(empty))
    assert cleaning.undo_budget_action(target) == []


def test_recurring_schedules_go_first_and_those_of_launches_last(target: Any) -> None:
    scheduler = target.client("scheduler")
    for group in (STACK, "of-somebody-else"):
        scheduler.create_schedule_group(Name=group)
        Scheduler(scheduler, group=group, role_arn=ROLE).arm("launch-1", "i-1", START)
    for name in ("nightly", "daily"):
        scheduling.add(target, name, "a", "rate(1 day)")

    assert cleaning.forget_schedules(target, scheduling.OURS) == 2
    assert names(scheduler, STACK) == ["launch-1"]
    assert cleaning.forget_schedules(target) == 1
    assert names(scheduler, STACK) == []
    assert names(scheduler, "of-somebody-else") == ["launch-1"]


def test_a_group_that_is_gone_has_no_schedules_left(target: Any) -> None:
    assert cleaning.forget_schedules(target) == 0


def names(scheduler: Any, group: str) -> list[str]:
    return [each["Name"] for each in scheduler.list_schedules(GroupName=group)["Schedules"]]

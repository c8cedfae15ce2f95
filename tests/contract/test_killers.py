"""What ends instances, or keeps them from starting, when our own code does not: least rights, no more."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import house

LAUNCH_ROLE = "LaunchFunctionRole"


def statements(role: str) -> list[dict[str, Any]]:
    policies = house.resources("AWS::IAM::Role")[role]["Policies"]
    return [s for policy in policies for s in policy["PolicyDocument"]["Statement"]]


def test_a_spent_account_budget_takes_launching_from_the_one_function_that_can() -> None:
    (action,) = house.resources("AWS::Budgets::BudgetsAction").values()
    assert action["BudgetName"] == {"Ref": "AccountBudget"}
    assert (action["NotificationType"], action["ApprovalModel"]) == ("ACTUAL", "AUTOMATIC")
    assert action["ActionThreshold"] == {"Type": "PERCENTAGE", "Value": 100}
    applied = action["Definition"]["IamActionDefinition"]
    assert applied == {"PolicyArn": {"Ref": "NoMoreInstances"}, "Roles": [{"Ref": LAUNCH_ROLE}]}

    (denied,) = house.resources("AWS::IAM::ManagedPolicy")["NoMoreInstances"]["PolicyDocument"]["Statement"]
    assert denied == {"Effect": "Deny", "Action": ["ec2:RunInstances", "ec2:CreateFleet"], "Resource": "*"}


def test_what_is_denied_is_everything_anybody_here_may_start_instances_with() -> None:
    """Whoever else may start an instance would have to be denied it as well."""
    roles = house.resources("AWS::IAM::Role").items()
    assert {name for name, role in roles if "ec2:RunInstances" in json.dumps(role)} == {LAUNCH_ROLE}


def test_the_budgets_role_may_attach_that_policy_to_that_role_and_nothing_else() -> None:
    assert "Policies" not in house.resources("AWS::IAM::Role")["BudgetRole"]
    (policy,) = house.resources("AWS::IAM::Policy").values()
    assert policy["Roles"] == [{"Ref": "BudgetRole"}]
    (allowed,) = policy["PolicyDocument"]["Statement"]
    assert allowed == {
        "Effect": "Allow",
        "Action": ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
        "Resource": {"Fn::GetAtt": [LAUNCH_ROLE, "Arn"]},
        "Condition": {"ArnEquals": {"iam:PolicyARN": {"Ref": "NoMoreInstances"}}},
    }
    (trusted,) = house.resources("AWS::IAM::Role")["BudgetRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "budgets.amazonaws.com"}
    assert trusted["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


# What a schedule's target refused to the last is left there, and an alarm calls a person.
LEAVE = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": {"Fn::GetAtt": ["DeadLetters", "Arn"]}}


def test_a_launchs_schedule_may_end_this_stacks_instances_and_nothing_else() -> None:
    allowed, leave = statements("TimerRole")
    assert leave == LEAVE
    assert allowed["Action"] == "ec2:TerminateInstances"
    assert allowed["Condition"] == {
        "StringEquals": {"aws:ResourceTag/arcspot:stack": {"Ref": "AWS::StackName"}}
    }


def test_a_recurring_submissions_role_may_call_ingest_and_nothing_else() -> None:
    assert statements("ScheduleRole") == [
        {
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": {"Fn::GetAtt": ["IngestFunction", "Arn"]},
        },
        LEAVE,
    ]


def test_whoever_reads_dropped_tasks_reads_recurring_ones_too() -> None:
    """A job's file is read by ingest, lent to its runner by runner_api, and drawn by report."""
    roles = house.resources("AWS::IAM::Role")
    for name, properties in house.functions().items():
        policies = json.dumps(roles[properties["Role"]["Fn::GetAtt"][0]])
        assert ("${Bucket.Arn}/recurring/*" in policies) == ("${Bucket.Arn}/tasks/*" in policies), name

"""cleanup takes away what AWS Budgets and the stack's own functions made beside the stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from arcspot.aws.timers import Scheduler
from arcspot_cli import cleaning, scheduling
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target
from tests.fakes import house
from tests.fakes.memory import START

from .conftest import AT_CREATION, TABLES

REGION, ROLE = "us-east-1", "arn:aws:iam::123456789012:role/timer"
STACK = "arcspot-test"


@dataclass
class Deployed:
    """What cleaning looks at of a target."""

    stack: str = STACK

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]

    def output(self, name: str) -> str:
        return {
            "ScheduleGroup": STACK,
            "ScheduleRoleArn": ROLE,
            "IngestFunctionArn": ROLE,
            "DeadLettersArn": "arn:aws:sqs:us-east-1:123456789012:letters",
        }[name]


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


# ---- the whole of it: whatever a stack leaves behind, however often it is stopped

RETAINED = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}


def template(policy: dict[str, str]) -> dict[str, Any]:
    """The kinds of resources that need more than CloudFormation's own deletion."""
    tables = {
        name: {
            "Type": "AWS::DynamoDB::Table",
            **policy,
            "Properties": {k: v for k, v in properties.items() if k in AT_CREATION},
        }
        for name, properties in house.resources("AWS::DynamoDB::Table").items()
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            "Bucket": {
                "Type": "AWS::S3::Bucket",
                **policy,
                "Properties": {"VersioningConfiguration": {"Status": "Enabled"}},
            },
            **tables,
        },
        "Outputs": {
            "BucketName": {"Value": {"Ref": "Bucket"}},
            "ScheduleGroup": {"Value": STACK},
            **{name: {"Value": {"Ref": name}} for name in tables},
        },
    }


@dataclass
class Formation:
    """CloudFormation as moto plays it, and what moto does not play: a deletion that fails."""

    moto: Any
    deployed: Whole
    failures: int = 0
    """How often a deletion fails whatever the bucket holds."""
    asked: int = 0
    failed: bool = False
    kept: list[dict[str, Any]] = field(default_factory=list)
    """What CloudFormation tells of the deleted stack's resources; moto would make them anew when asked."""

    def get_paginator(self, operation: str) -> Any:
        return self if operation == "list_stack_resources" else self.moto.get_paginator(operation)

    def paginate(self, StackName: str) -> Any:
        if StackName.startswith("arn:"):
            return [{"StackResourceSummaries": self.kept}]
        return self.moto.get_paginator("list_stack_resources").paginate(StackName=StackName)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.moto, name)

    def delete_stack(self, StackName: str) -> None:
        self.asked += 1
        self.deployed.on_delete()
        holds = self.deployed.bucket_holds() if not self.deployed.policy else 0
        self.failed = bool(holds) or self.asked <= self.failures
        if not self.failed:
            ended = "DELETE_SKIPPED" if self.deployed.policy else "DELETE_COMPLETE"
            rows = self.moto.list_stack_resources(StackName=StackName)["StackResourceSummaries"]
            self.kept = [{**row, "ResourceStatus": ended} for row in rows]
            self.deployed.make_again_what_is_gone([row["PhysicalResourceId"] for row in rows])
            self.moto.delete_stack(StackName=StackName)

    def describe_stacks(self, StackName: str) -> Any:
        told = self.moto.describe_stacks(StackName=StackName)
        if self.failed:
            told["Stacks"][0]["StackStatus"] = "DELETE_FAILED"
        return told


class Whole(Target):
    """A stack under moto, with everything beside it that cleanup has to find."""

    def __init__(self, policy: dict[str, str]) -> None:
        super().__init__(STACK, REGION, None, None, "moto")
        object.__setattr__(self, "policy", policy)
        object.__setattr__(self, "on_delete", lambda: None)
        object.__setattr__(self, "formation", None)
        made = boto3.client("cloudformation", region_name=REGION)
        object.__setattr__(self, "formation", Formation(made, self))
        made.create_stack(StackName=STACK, TemplateBody=json.dumps(template(policy)))
        object.__setattr__(self, "the_bucket", self.output("BucketName"))

    def client(self, service: str) -> Any:
        if service == "cloudformation" and self.formation is not None:
            return self.formation
        return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]

    def bucket_holds(self) -> int:
        try:
            return len(self.client("s3").list_object_versions(Bucket=self.the_bucket).get("Versions", []))
        except ClientError:
            return 0

    def make_again_what_is_gone(self, ids: list[str]) -> None:
        """CloudFormation passes over a table that is gone; moto stumbles over it."""
        dynamodb = self.client("dynamodb")
        there = dynamodb.list_tables()["TableNames"]
        for name in (one for one in ids if "Table-" in one and one not in there and not self.policy):
            dynamodb.create_table(
                TableName=name,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            )

    def fill(self) -> None:
        """What a life leaves: objects in two versions, an instance, a volume, schedules, layer versions."""
        s3, ec2 = self.client("s3"), self.client("ec2")
        s3.put_bucket_versioning(Bucket=self.the_bucket, VersioningConfiguration={"Status": "Enabled"})
        for body in (b"1", b"2"):
            s3.put_object(Bucket=self.the_bucket, Key="results/x", Body=body)
        s3.delete_object(Bucket=self.the_bucket, Key="results/x")
        tags = [{"Key": "arcspot:stack", "Value": STACK}]
        image = ec2.register_image(Name="image", RootDeviceName="/dev/xvda")["ImageId"]
        spec = [{"ResourceType": "instance", "Tags": tags}]
        ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=spec)
        ec2.create_volume(
            AvailabilityZone=f"{REGION}a",
            Size=1,
            TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
        )
        scheduler = self.client("scheduler")
        scheduler.create_schedule_group(Name=STACK)
        Scheduler(scheduler, group=STACK, role_arn=ROLE).arm("launch-1", "i-1", START)
        self.client("iam").create_role(RoleName=f"{STACK}-fis", AssumeRolePolicyDocument="{}")
        for name in (f"{STACK}-common", f"{STACK}-runner", f"{STACK}-runner", "another-runner"):
            self.client("lambda").publish_layer_version(LayerName=name, Content={"ZipFile": b"zip"})
        for name in (f"/arcspot/{STACK}", "/arcspot/arcspot-test-too", f"/aws/lambda/{STACK}-too"):
            self.client("logs").create_log_group(logGroupName=name)
        s3.create_bucket(Bucket=f"{STACK}-bucket-mine")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning.belongings, "PAGE_SECONDS", 0.0)
    monkeypatch.setattr(cleaning.time, "sleep", lambda seconds: None)


@pytest.fixture(params=[{}, RETAINED], ids=["deleted by CloudFormation", "retained"])
def whole(request: pytest.FixtureRequest, target: Any, quick: None) -> Whole:
    stack = Whole(request.param)
    stack.fill()
    return stack


def gone(whole: Whole, told: cleaning.Cleaned) -> None:
    """Nothing of the stack is left, and nothing of anybody else's was touched."""
    assert told.nothing_left, told.left
    assert set(told.left) == {kind.name for kind in cleaning.belongings.EVERY}
    assert cleaning.table(told)[-1] == "nothing is left"
    assert whole.client("dynamodb").list_tables()["TableNames"] == []
    buckets = [each["Name"] for each in whole.client("s3").list_buckets()["Buckets"]]
    assert buckets == [f"{STACK}-bucket-mine"], "a bucket that is only called like ours is not ours"
    layers = [each["LayerName"] for each in whole.client("lambda").list_layers()["Layers"]]
    assert layers == ["another-runner"]
    assert whole.client("iam").list_roles()["Roles"] == []
    groups = {each["logGroupName"] for each in whole.client("logs").describe_log_groups()["logGroups"]}
    assert groups == {"/arcspot/arcspot-test-too", f"/aws/lambda/{STACK}-too"}
    assert (
        whole.client("ec2").describe_volumes(Filters=[{"Name": "tag-key", "Values": ["arcspot:stack"]}])[
            "Volumes"
        ]
        == []
    )


def test_all_of_a_stack_goes_and_the_last_look_counts_nothing(whole: Whole) -> None:
    told = cleaning.clean(whole, START, say=lambda text: None)
    gone(whole, told)
    counts = {kind: len(ids) for kind, ids in told.removed.items()}
    assert (counts["instances"], counts["schedules"], counts["volumes"]) == (1, 1, 1)
    assert counts["layer versions"] == 3, "both versions of the runner's layer"


def test_a_cleanup_run_again_finds_nothing_and_says_so(whole: Whole) -> None:
    cleaning.clean(whole, START, say=lambda text: None)
    again = cleaning.clean(whole, START, say=lambda text: None)
    gone(whole, again)
    assert not any(again.removed.values())


def test_after_a_deletion_that_failed_it_goes_on_though_the_tables_are_gone(target: Any, quick: None) -> None:
    whole = Whole({})
    whole.fill()
    whole.formation.failed = True  # an earlier try got as far as the tables
    for name in TABLES:
        whole.client("dynamodb").delete_table(TableName=whole.output(name))
    said: list[str] = []
    gone(whole, cleaning.clean(whole, START, say=said.append))
    assert f"stack {STACK}: DELETE_FAILED" in said
    assert "the tables are gone already" in said


def test_what_is_written_while_the_stack_goes_does_not_keep_it(target: Any, quick: None) -> None:
    """A function writes into the bucket after it was emptied: CloudFormation fails, and is asked again."""
    whole = Whole({})
    whole.fill()
    late = [b"a report", b"a log"]

    def write() -> None:
        if late:
            whole.client("s3").put_object(Bucket=whole.the_bucket, Key="reports/late", Body=late.pop())

    object.__setattr__(whole, "on_delete", write)
    gone(whole, cleaning.clean(whole, START, say=lambda text: None))
    assert whole.formation.asked == 3


def test_what_will_not_go_is_named_and_not_tried_for_ever(target: Any, quick: None) -> None:
    whole = Whole({})
    whole.formation.failures = 99
    with pytest.raises(CommandFailed, match="did not delete"):
        cleaning.clean(whole, START, say=lambda text: None)
    assert whole.formation.asked == cleaning.ROUNDS


def test_what_a_stack_that_is_gone_had_kept_is_found_by_its_tags(target: Any, quick: None) -> None:
    """The stack was deleted by hand, with a policy that kept its data."""
    whole = Whole(RETAINED)
    whole.client("s3").put_bucket_tagging(
        Bucket=whole.the_bucket,
        Tagging={"TagSet": [{"Key": "arcspot:stack", "Value": STACK}]},
    )
    whole.client("s3").put_object(Bucket=whole.the_bucket, Key="results/x", Body=b"1")
    boto3.client("cloudformation", region_name=REGION).delete_stack(StackName=STACK)
    assert whole.bucket_holds() == 1, "moto keeps what a policy keeps"
    assert whole.formation.kept == [], "and CloudFormation has forgotten the stack"
    told = cleaning.clean(whole, START, say=lambda text: None)
    assert told.nothing_left
    assert told.removed["buckets"] == [whole.the_bucket]
    assert cleaning.belongings.stack_status(whole) == ""


def test_a_table_that_is_protected_is_deleted_as_well(target: Any, quick: None) -> None:
    whole = Whole(RETAINED)
    name = whole.output("JobsTable")
    whole.client("dynamodb").update_table(TableName=name, DeletionProtectionEnabled=True)
    assert cleaning.clean(whole, START, say=lambda text: None).nothing_left


def test_the_table_names_what_is_left() -> None:
    told = cleaning.Cleaned({"tables": ["a", "b"]}, {"tables": [], "volumes": ["vol-1"]})
    assert not told.nothing_left
    lines = cleaning.table(told)
    assert [line.split() for line in lines[1:3]] == [["tables", "2", "0"], ["volumes", "0", "1", "vol-1"]]
    assert "run the same command again" in lines[-1]


@pytest.mark.parametrize(
    ("arn", "told"),
    [
        ("arn:aws:s3:::bucket", ("AWS::S3::Bucket", "bucket")),
        ("arn:aws-cn:dynamodb:cn-north-1:123456789012:table/T", ("AWS::DynamoDB::Table", "T")),
        ("arn:aws:logs:eu-west-1:123456789012:log-group:/arcspot/a:*", ("AWS::Logs::LogGroup", "/arcspot/a")),
        ("arn:aws:scheduler:eu-west-1:123456789012:schedule-group/a", ("AWS::Scheduler::ScheduleGroup", "a")),
        ("arn:aws:ec2:eu-west-1:123456789012:instance/i-1", None),
        ("arn:aws:dynamodb:eu-west-1:123456789012:table/T/index/i", None),
    ],
)
def test_a_tags_arn_is_read_as_what_cloudformation_would_call_it(arn: str, told: Any) -> None:
    assert cleaning.belongings.of_arn(arn) == told


def names(scheduler: Any, group: str) -> list[str]:
    return [each["Name"] for each in scheduler.list_schedules(GroupName=group)["Schedules"]]

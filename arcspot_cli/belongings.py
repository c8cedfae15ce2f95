"""What belongs to a stack, kind by kind: how it is found and how it is taken away.

CloudFormation's own list comes first, of the stack that is there and of deleted ones of the same name (it
keeps those for 90 days, and marks what a deletion policy kept as DELETE_SKIPPED). Tags find the rest. Nothing
is found by a name that only looks right: another stack, or a person, may use one.
https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ListStackResources.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from arcspot_cli import faults
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target

STACK_TAG = "arcspot:stack"
CFN_TAG = "aws:cloudformation:stack-name"
"""CloudFormation puts it on every resource that takes tags.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-resource-tags.html"""
DENY_POLICY = "NoMoreInstances"
"""The template's name of the policy that AWS Budgets attaches to the launch function's role."""
ALIVE = ["pending", "running", "stopping", "stopped", "shutting-down"]
PAGE_SECONDS = 1.0

BUCKET, TABLE = "AWS::S3::Bucket", "AWS::DynamoDB::Table"
LAYER, LOGS, GROUP = "AWS::Lambda::LayerVersion", "AWS::Logs::LogGroup", "AWS::Scheduler::ScheduleGroup"
MACHINE, POLICY = "AWS::StepFunctions::StateMachine", "AWS::IAM::ManagedPolicy"


@dataclass(slots=True)
class Known:
    """What CloudFormation and the tags say. Physical ids by resource type; they stay known once read."""

    stack: str
    status: str = ""
    """The stack's status; "" when there is no stack."""
    ids: dict[str, list[str]] = field(default_factory=dict)
    deny_policy: str = ""

    def of(self, kind: str) -> list[str]:
        return self.ids.get(kind, [])

    def add(self, kind: str, physical_id: str) -> None:
        if physical_id and physical_id not in self.ids.setdefault(kind, []):
            self.ids[kind].append(physical_id)


def read(target: Target, known: Known | None = None) -> Known:
    """Look again; what an earlier look knew is kept, since a deleted stack tells less."""
    known = known or Known(target.stack)
    cloudformation = target.client("cloudformation")
    known.status = stack_status(target)
    if known.status:
        for row in _resources(cloudformation, target.stack):
            known.add(row["ResourceType"], row.get("PhysicalResourceId", ""))
            if row["LogicalResourceId"] == DENY_POLICY:
                known.deny_policy = row.get("PhysicalResourceId", "")
    for stack_id in _deleted(cloudformation, target.stack):
        for row in _resources(cloudformation, stack_id):
            if row.get("ResourceStatus") == "DELETE_SKIPPED":
                known.add(row["ResourceType"], row.get("PhysicalResourceId", ""))
    for arn in _tagged(target):
        kind_and_id = of_arn(arn)
        if kind_and_id:
            known.add(*kind_and_id)
    return known


def stack_status(target: Target) -> str:
    """The stack's status now, "" without a stack."""
    try:
        found = target.client("cloudformation").describe_stacks(StackName=target.stack)["Stacks"]
    except ClientError as error:
        unless(error, "ValidationError")
        return ""
    status = str(found[0]["StackStatus"]) if found else ""
    return "" if status == "DELETE_COMPLETE" else status


def of_arn(arn: str) -> tuple[str, str] | None:
    """Resource type and physical id of what a tag told of; None for what needs no deletion of its own."""
    service, rest = arn.split(":", 5)[2], arn.split(":", 5)[5]
    if service == "s3" and "/" not in rest:
        return BUCKET, rest
    if service == "dynamodb" and rest.startswith("table/") and rest.count("/") == 1:
        return TABLE, rest.removeprefix("table/")
    if service == "logs" and rest.startswith("log-group:"):
        return LOGS, rest.removeprefix("log-group:").removesuffix(":*")
    if service == "scheduler" and rest.startswith("schedule-group/"):
        return GROUP, rest.removeprefix("schedule-group/")
    return None


def _resources(cloudformation: Any, stack: str) -> Iterator[Mapping[str, Any]]:
    try:
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack):
            yield from page["StackResourceSummaries"]
    except ClientError as error:
        unless(error, "ValidationError")  # gone between two looks


def _deleted(cloudformation: Any, stack: str) -> list[str]:
    pages = cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
    return [
        each["StackId"] for page in pages for each in page["StackSummaries"] if each["StackName"] == stack
    ]


def _tagged(target: Target) -> Iterator[str]:
    tagging = target.client("resourcegroupstaggingapi")
    try:
        for name in (STACK_TAG, CFN_TAG):
            asked = {"TagFilters": [{"Key": name, "Values": [target.stack]}]}
            for page in tagging.get_paginator("get_resources").paginate(**asked):
                yield from (each["ResourceARN"] for each in page["ResourceTagMappingList"])
    except ClientError:
        if target.endpoint_url is None:
            raise  # an emulator need not know this service; AWS does, and must answer


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing. `find` gives ids, `remove` takes one away; either may be asked again."""

    name: str
    find: Callable[[Target, Known], Iterable[str]]
    remove: Callable[[Target, str], object]


def _instances(target: Target, known: Known) -> Iterator[str]:
    pages = (
        target.client("ec2")
        .get_paginator("describe_instances")
        .paginate(
            Filters=[
                {"Name": f"tag:{STACK_TAG}", "Values": [known.stack]},
                {"Name": "instance-state-name", "Values": ALIVE},
            ]
        )
    )
    for page in pages:
        for reservation in page["Reservations"]:
            yield from (instance["InstanceId"] for instance in reservation["Instances"])


def _end_instance(target: Target, instance_id: str) -> None:
    # One id a call: one bad id would end none.
    _gently(
        lambda: target.client("ec2").terminate_instances(InstanceIds=[instance_id]),
        "InvalidInstanceID.NotFound",
    )


def _volumes(target: Target, known: Known) -> Iterator[str]:
    pages = (
        target.client("ec2")
        .get_paginator("describe_volumes")
        .paginate(Filters=[{"Name": f"tag:{STACK_TAG}", "Values": [known.stack]}])
    )
    for page in pages:
        yield from (volume["VolumeId"] for volume in page["Volumes"] if volume["State"] != "deleting")


def _delete_volume(target: Target, volume_id: str) -> None:
    # One that is in use goes with its instance.
    _gently(
        lambda: target.client("ec2").delete_volume(VolumeId=volume_id),
        "InvalidVolume.NotFound",
        "VolumeInUse",
    )


def groups(known: Known) -> list[str]:
    """The stack's schedule group, which is named after it."""
    return known.of(GROUP) or [known.stack]


def schedules(target: Target, known: Known, prefix: str = "") -> Iterator[str]:
    """`group/name` of every schedule in the stack's group whose name begins so."""
    for group in groups(known):
        asked = {"GroupName": group, **({"NamePrefix": prefix} if prefix else {})}
        try:
            for page in target.client("scheduler").get_paginator("list_schedules").paginate(**asked):
                yield from (f"{group}/{each['Name']}" for each in page["Schedules"])
        except ClientError as error:
            unless(error, "ResourceNotFoundException")  # an earlier cleanup got as far as the group


def delete_schedule(target: Target, named: str) -> None:
    group, _, name = named.partition("/")
    # It may have fired just now, and gone by itself.
    _gently(
        lambda: target.client("scheduler").delete_schedule(Name=name, GroupName=group),
        "ResourceNotFoundException",
    )


def _executions(target: Target, known: Known) -> Iterator[str]:
    for machine in known.of(MACHINE):
        pages = target.client("stepfunctions").get_paginator("list_executions")
        try:
            for page in pages.paginate(stateMachineArn=machine, statusFilter="RUNNING"):
                yield from (each["executionArn"] for each in page["executions"])
        except ClientError as error:
            unless(error, "StateMachineDoesNotExist")


def _stop_execution(target: Target, arn: str) -> None:
    _gently(
        lambda: target.client("stepfunctions").stop_execution(executionArn=arn, cause="arcspot cleanup"),
        "ExecutionDoesNotExist",
    )


def _denied(target: Target, known: Known) -> Iterator[str]:
    """`policy role` wherever AWS Budgets has attached the stack's deny policy."""
    if not known.deny_policy:
        return
    pages = target.client("iam").get_paginator("list_entities_for_policy")
    try:
        for page in pages.paginate(PolicyArn=known.deny_policy, EntityFilter="Role"):
            yield from (f"{known.deny_policy} {role['RoleName']}" for role in page["PolicyRoles"])
    except ClientError as error:
        unless(error, "NoSuchEntity")


def _allow_again(target: Target, attached: str) -> None:
    """CloudFormation can delete neither a policy that is attached nor a role with a policy it does not know.

    Not by budgets:ExecuteBudgetAction, which acts some time later, and only for an action that has run.
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeletePolicy.html
    """
    policy, _, role = attached.partition(" ")
    _gently(lambda: target.client("iam").detach_role_policy(RoleName=role, PolicyArn=policy), "NoSuchEntity")


def _buckets(target: Target, known: Known) -> Iterator[str]:
    for bucket in known.of(BUCKET):
        try:
            target.client("s3").head_bucket(Bucket=bucket)
        except ClientError as error:
            unless(error, "404", "NoSuchBucket")
        else:
            yield bucket


def empty_bucket(target: Target, bucket: str) -> int:
    """Delete all versions and delete markers: a versioned bucket cannot be deleted before. How many."""
    s3, removed = target.client("s3"), 0
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            doomed = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in found]
            if doomed:
                answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
                if answer.get("Errors"):
                    first = answer["Errors"][0]
                    raise CommandFailed(f"{first.get('Key')}: {first.get('Code')} {first.get('Message', '')}")
                removed += len(doomed)
    except ClientError as error:
        unless(error, "NoSuchBucket")
    return removed


def _delete_bucket(target: Target, bucket: str) -> None:
    empty_bucket(target, bucket)
    # Somebody may have written since: then it is there still, and the next round finds it.
    _gently(lambda: target.client("s3").delete_bucket(Bucket=bucket), "NoSuchBucket", "BucketNotEmpty")


def _tables(target: Target, known: Known) -> Iterator[str]:
    for table in known.of(TABLE):
        try:
            target.client("dynamodb").describe_table(TableName=table)
        except ClientError as error:
            unless(error, "ResourceNotFoundException")
        else:
            yield table


def _delete_table(target: Target, table: str) -> None:
    def delete() -> None:
        dynamodb = target.client("dynamodb")
        if dynamodb.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
            dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=table)

    _gently(delete, "ResourceNotFoundException", "ResourceInUseException")


def _layer_versions(target: Target, known: Known) -> Iterator[str]:
    """`name:version`. Versions of a layer that updates have left behind are no part of the stack any more."""
    names = {f"{known.stack}-common", f"{known.stack}-runner"}  # the template names them so
    names |= {arn.split(":")[6] for arn in known.of(LAYER) if arn.count(":") >= 6}
    for name in sorted(names):
        pages = target.client("lambda").get_paginator("list_layer_versions").paginate(LayerName=name)
        try:
            for page in pages:
                yield from (f"{name}:{each['Version']}" for each in page["LayerVersions"])
        except ClientError as error:
            unless(error, "ResourceNotFoundException")


def _delete_layer_version(target: Target, named: str) -> None:
    name, _, version = named.rpartition(":")
    _gently(
        lambda: target.client("lambda").delete_layer_version(LayerName=name, VersionNumber=int(version)),
        "ResourceNotFoundException",
    )


def _log_groups(target: Target, known: Known) -> Iterator[str]:
    """The stack's own group, and those that Lambda makes for functions without one."""
    for prefix in (
        f"/arcspot/{known.stack}",
        *(f"/aws/lambda/{name}" for name in known.of("AWS::Lambda::Function")),
    ):
        pages = target.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
        for page in pages:
            # A prefix: `/arcspot/one` is the beginning of `/arcspot/one-more` too.
            yield from (each["logGroupName"] for each in page["logGroups"] if each["logGroupName"] == prefix)


def _delete_log_group(target: Target, name: str) -> None:
    _gently(lambda: target.client("logs").delete_log_group(logGroupName=name), "ResourceNotFoundException")


def _the_stack(target: Target, known: Known) -> Iterator[str]:
    status = stack_status(target)
    if status:
        yield known.stack


def _fault_injections(target: Target, known: Known) -> Iterator[str]:
    """The role of a rehearsal's experiment; the experiment's template goes with it."""
    name = f"{known.stack}-fis"
    try:
        target.client("iam").get_role(RoleName=name)
    except ClientError as error:
        unless(error, "NoSuchEntity")
    else:
        yield name


def _end_fault_injection(target: Target, name: str) -> None:
    from arcspot_cli.interrupting import Fis

    Fis(target).remove()


WRITERS = (
    Kind("instances", _instances, _end_instance),
    Kind("schedules", schedules, delete_schedule),
    Kind("executions", _executions, _stop_execution),
    Kind("fault injections", _fault_injections, _end_fault_injection),
)
"""What starts, ends or writes something by itself, in the order in which it is stopped: the schedules of
launches after the instances, since they are what ends an instance if all else fails."""

RETAINED = (
    Kind("volumes", _volumes, _delete_volume),
    Kind("buckets", _buckets, _delete_bucket),
    Kind("tables", _tables, _delete_table),
    Kind("layer versions", _layer_versions, _delete_layer_version),
    Kind("log groups", _log_groups, _delete_log_group),
)
"""What a deletion policy, an update or a late log line leaves behind. Taken away once the stack is gone."""

DENIALS = Kind("budget denials", _denied, _allow_again)
STACK = Kind("stack", _the_stack, lambda target, name: None)
EVERY = (*WRITERS, DENIALS, STACK, *RETAINED)


def until_gone(
    kind: Kind, target: Target, known: Known, *, seconds: float, pause: float = PAGE_SECONDS
) -> set[str]:
    """Take away what there is of a kind until a look finds none. The ids taken.

    One that will not go keeps none of the others: CommandFailed names it, and why, when nothing else is left.
    """
    end, taken = time.monotonic() + seconds, set[str]()
    while found := list(kind.find(target, known)):
        if time.monotonic() > end:
            raise CommandFailed(
                f"{kind.name} still there after {seconds:.0f} s: {', '.join(found[:5])}; "
                "the same command goes on where this one stopped"
            )
        refused: dict[str, str] = {}
        for one in found:
            try:
                kind.remove(target, one)
            except Exception as error:
                refused[one] = faults.words(error)
            else:
                taken.add(one)
        if len(refused) == len(found):
            told = "; ".join(f"{one}: {why}" for one, why in list(refused.items())[:5])
            raise CommandFailed(f"{len(refused)} {kind.name} will not go: {told}")
        time.sleep(pause)
    return taken


def unless(error: ClientError, *codes: str) -> None:
    """Raise what is none of these."""
    if error.response["Error"]["Code"] not in codes:
        raise error


def _gently(act: Callable[[], object], *codes: str) -> None:
    try:
        act()
    except ClientError as error:
        unless(error, *codes)

"""cleanup: take a whole stack away: money first, then data, then the stack.

What the stack's own functions and AWS Budgets made beside it goes as well. Stopped half-way, run it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from arcspot_cli import operating, scheduling
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target

STACK_TAG = "arcspot:stack"
DENY_POLICY = "NoMoreInstances"
"""The template's name of the policy that AWS Budgets attaches to the launch function's role."""
GONE_TIMEOUT_S = 600
DELETE_TIMEOUT_S = 1800


def clean(target: Target, now: datetime, *, say: Callable[[str], object]) -> None:
    """Pause, cancel, terminate, empty the versioned bucket, delete the stack. Raises CommandFailed."""
    # Else a turn that is due now fills the queue and the bucket again while they are emptied.
    recurring = forget_schedules(target, scheduling.OURS)
    say(f"{recurring} recurring submission(s) removed")
    say("pausing the fleet and cancelling open jobs")
    operating.pause(target, "cleanup")
    cancelled = operating.cancel(target, list(target.store.every_job()), now)
    say(f"{len(cancelled)} job(s) cancelled")
    ended = end_instances(target)
    say(f"{len(ended)} instance(s) ended")
    timers = forget_schedules(target)  # not before: they are what ends an instance if all else fails
    say(f"{timers} schedule(s) of launches removed")
    removed = empty_bucket(target, target.output("BucketName"))
    say(f"{removed} object version(s) removed")
    for role in undo_budget_action(target):
        say(f"the account's budget had forbidden {role} to launch; undone")
    delete_stack(target)
    say(f"stack {target.stack} deleted")


def end_instances(target: Target) -> list[str]:
    """Terminate every instance that carries the stack's tag, and wait until EC2 says they are gone."""
    ec2 = target.client("ec2")
    ids = list(_living(ec2, target.stack))
    for instance_id in ids:
        ec2.terminate_instances(InstanceIds=[instance_id])  # one id a call: one bad id would end none
    until = time.monotonic() + GONE_TIMEOUT_S
    while any(True for _ in _living(ec2, target.stack)):
        if time.monotonic() > until:
            raise CommandFailed("instances are still running after 10 min; look at them in the EC2 console")
        time.sleep(2)
    return ids


def forget_schedules(target: Target, prefix: str = "") -> int:
    """Delete the schedules of the stack's group whose names begin so. Returns how many.

    They are no part of the stack. Deleting their group deletes them too, but only some time later, and until
    then they still call what they call:
    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_DeleteScheduleGroup.html
    """
    scheduler, group = target.client("scheduler"), target.output("ScheduleGroup")
    asked = {"GroupName": group, **({"NamePrefix": prefix} if prefix else {})}
    removed = 0
    try:
        pages = scheduler.get_paginator("list_schedules").paginate(**asked)
        for name in [each["Name"] for page in pages for each in page["Schedules"]]:
            try:
                scheduler.delete_schedule(Name=name, GroupName=group)
                removed += 1
            except ClientError as error:
                _unless(error, "ResourceNotFoundException")  # it fired just now, and went by itself
    except ClientError as error:
        _unless(error, "ResourceNotFoundException")  # a cleanup before this one got as far as the group
    return removed


def undo_budget_action(target: Target) -> list[str]:
    """Detach the stack's deny policy from whatever role has it. Returns the roles.

    CloudFormation cannot delete a policy that is attached, nor a role with a policy it knows nothing of.
    Not by budgets:ExecuteBudgetAction, which acts some time later, and only for an action that has run.
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeletePolicy.html
    """
    try:
        policy = (
            target.client("cloudformation")
            .describe_stack_resource(StackName=target.stack, LogicalResourceId=DENY_POLICY)[
                "StackResourceDetail"
            ]
            .get("PhysicalResourceId", "")
        )
    except ClientError as error:
        _unless(error, "ValidationError")  # a stack older than that policy
        return []
    iam = target.client("iam")
    try:
        pages = iam.get_paginator("list_entities_for_policy").paginate(PolicyArn=policy, EntityFilter="Role")
        roles = [role["RoleName"] for page in pages for role in page["PolicyRoles"]] if policy else []
        for role in roles:
            iam.detach_role_policy(RoleName=role, PolicyArn=policy)
    except ClientError as error:
        _unless(error, "NoSuchEntity")  # deleted by a cleanup before this one
        return []
    return roles


def _unless(error: ClientError, code: str) -> None:
    if error.response["Error"]["Code"] != code:
        raise error


def empty_bucket(target: Target, bucket: str) -> int:
    """Delete all versions and delete markers; a versioned bucket cannot be deleted before."""
    s3 = target.client("s3")
    removed = 0
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        # One by one in the rare page without version ids; else a thousand a call.
        doomed = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in found]
        if doomed:
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
            if answer.get("Errors"):
                first = answer["Errors"][0]
                raise CommandFailed(f"{first.get('Key')}: {first.get('Code')} {first.get('Message', '')}")
            removed += len(doomed)
    return removed


def delete_stack(target: Target) -> None:
    from botocore.exceptions import WaiterError

    cloudformation = target.client("cloudformation")
    cloudformation.delete_stack(StackName=target.stack)
    try:
        cloudformation.get_waiter("stack_delete_complete").wait(
            StackName=target.stack, WaiterConfig={"Delay": 5, "MaxAttempts": DELETE_TIMEOUT_S // 5}
        )
    except WaiterError as error:
        raise CommandFailed(
            f"the stack did not delete ({error}); CloudFormation's events say what is in the way"
        ) from error


def _living(ec2: Any, stack: str) -> Iterator[str]:
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[
            {"Name": f"tag:{STACK_TAG}", "Values": [stack]},
            {
                "Name": "instance-state-name",
                "Values": ["pending", "running", "stopping", "stopped", "shutting-down"],
            },
        ]
    )
    for page in pages:
        for reservation in page["Reservations"]:
            for instance in reservation["Instances"]:
                yield instance["InstanceId"]

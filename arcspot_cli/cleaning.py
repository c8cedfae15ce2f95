"""cleanup: take a whole stack away: money first, then data, then the stack.

Stopped half-way, run it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from arcspot_cli import operating
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target

STACK_TAG = "arcspot:stack"
GONE_TIMEOUT_S = 600
DELETE_TIMEOUT_S = 1800


def clean(target: Target, now: datetime, *, say: Callable[[str], object]) -> None:
    """Pause, cancel, terminate, empty the versioned bucket, delete the stack. Raises CommandFailed."""
    say("pausing the fleet and cancelling open jobs")
    operating.pause(target, "cleanup")
    cancelled = operating.cancel(target, list(target.store.every_job()), now)
    say(f"{len(cancelled)} job(s) cancelled")
    ended = end_instances(target)
    say(f"{len(ended)} instance(s) ended")
    removed = empty_bucket(target, target.output("BucketName"))
    say(f"{removed} object version(s) removed")
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

"""EventBridge Scheduler: one schedule for each launch, which ends its instance without any of our code."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_scheduler.type_defs import TargetTypeDef

# A universal target: the schedule itself calls EC2.
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
TERMINATE = "scheduler:::aws-sdk:ec2:terminateInstances"


class Scheduler:
    """`ports.Timers` in one schedule group; `role_arn` may end this stack's instances and nothing else.

    What EC2 refuses to the last goes to the queue `dead_letters`, whose alarm calls a person.
    """

    def __init__(
        self, client: EventBridgeSchedulerClient, *, group: str, role_arn: str, dead_letters: str = ""
    ) -> None:
        self._client = client
        self._group = group
        self._role_arn = role_arn
        self._dead_letters = dead_letters
        # The partition (aws, aws-cn, aws-us-gov) is the role's own.
        self._terminate = ":".join([*role_arn.split(":")[:2], TERMINATE])

    def arm(self, launch_id: str, instance_id: str, at: datetime) -> None:
        target: TargetTypeDef = {
            "Arn": self._terminate,
            "RoleArn": self._role_arn,
            "Input": json.dumps({"InstanceIds": [instance_id]}),
            "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 60},
        }
        if self._dead_letters:
            target["DeadLetterConfig"] = {"Arn": self._dead_letters}
        try:
            self._client.create_schedule(
                Name=launch_id,
                GroupName=self._group,
                ScheduleExpression=f"at({at.astimezone(UTC):%Y-%m-%dT%H:%M:%S})",
                ScheduleExpressionTimezone="UTC",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target=target,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConflictException":
                raise

    def disarm(self, launch_id: str) -> None:
        try:
            self._client.delete_schedule(Name=launch_id, GroupName=self._group)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise

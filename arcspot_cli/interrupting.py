"""A spot interruption on AWS, announced by its Fault Injection Service. Unseen on AWS.

https://docs.aws.amazon.com/fis/latest/userguide/fis-actions-reference.html#send-spot-instance-interruptions
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from arcspot_cli.belongings import STACK_TAG, unless

if TYPE_CHECKING:
    from arcspot_cli.target import Target

T = TypeVar("T")
ACTION = "aws:ec2:send-spot-instance-interruptions"
NOTICE = "PT2M"
# A role that was just made is not known everywhere at once.
TRIES, PAUSE_S = 12, 5.0


@dataclass(frozen=True, slots=True)
class Fis:
    """An experiment of its own for one stack: a role and a template, both called after it."""

    target: Target
    pause_s: float = PAUSE_S

    @property
    def role(self) -> str:
        return f"{self.target.stack}-fis"

    def prepare(self) -> str:
        """Make role and template. Done twice is done once."""
        if self._template():
            return "the experiment is there already"
        iam = self.target.client("iam")
        try:
            arn = iam.create_role(RoleName=self.role, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"][
                "Arn"
            ]
        except ClientError as error:
            unless(error, "EntityAlreadyExists")
            arn = iam.get_role(RoleName=self.role)["Role"]["Arn"]
        iam.put_role_policy(
            RoleName=self.role,
            PolicyName="interrupt-this-stacks-instances",
            PolicyDocument=json.dumps(self._policy()),
        )
        self._patiently(lambda: self._create_template(arn))
        return "role and experiment template made"

    def interrupt(self) -> None:
        """Announce the interruption of one running instance of the stack."""
        template = self._template()
        client = self.target.client("fis")
        self._patiently(lambda: client.start_experiment(experimentTemplateId=template))

    def remove(self) -> None:
        """Take role and template away. Done twice is done once."""
        template, iam = self._template(), self.target.client("iam")
        if template:
            self.target.client("fis").delete_experiment_template(id=template)
        try:
            iam.delete_role_policy(RoleName=self.role, PolicyName="interrupt-this-stacks-instances")
        except ClientError as error:
            unless(error, "NoSuchEntity")
        try:
            iam.delete_role(RoleName=self.role)
        except ClientError as error:
            unless(error, "NoSuchEntity")

    def _template(self) -> str:
        pages = self.target.client("fis").get_paginator("list_experiment_templates").paginate()
        found = [
            each["id"]
            for page in pages
            for each in page["experimentTemplates"]
            if each.get("tags", {}).get(STACK_TAG) == self.target.stack
        ]
        return str(found[0]) if found else ""

    def _create_template(self, role_arn: str) -> Any:
        tags = {STACK_TAG: self.target.stack}
        return self.target.client("fis").create_experiment_template(
            description=f"arcspot: one spot interruption of {self.target.stack}",
            roleArn=role_arn,
            stopConditions=[{"source": "none"}],
            targets={
                "one": {
                    "resourceType": "aws:ec2:spot-instance",
                    "resourceTags": tags,
                    "filters": [{"path": "State.Name", "values": ["running"]}],
                    "selectionMode": "COUNT(1)",
                }
            },
            actions={
                "interrupt": {
                    "actionId": ACTION,
                    "parameters": {"durationBeforeInterruption": NOTICE},
                    "targets": {"SpotInstances": "one"},
                }
            },
            tags=tags,
        )

    def _policy(self) -> dict[str, Any]:
        own = {"StringEquals": {f"aws:ResourceTag/{STACK_TAG}": self.target.stack}}
        send = {
            "Effect": "Allow",
            "Action": "ec2:SendSpotInstanceInterruptions",
            "Resource": "*",
            "Condition": own,
        }
        look = {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}
        return {"Version": "2012-10-17", "Statement": [send, look]}

    def _patiently(self, act: Callable[[], T]) -> T:
        for _ in range(TRIES - 1):
            try:
                return act()
            except ClientError as error:
                unless(error, "ValidationException", "AccessDeniedException", "ConflictException")
                time.sleep(self.pause_s)
        return act()


TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "fis.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}

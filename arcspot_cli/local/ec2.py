"""The few AWS calls the instance host makes, all of them public APIs."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import boto3
from botocore.config import Config

from arcspot_cli.local import proof
from arcspot_cli.local.imds import Facts, RoleCredentials
from arcspot_cli.local.keys import AccessKey

REFRESH_BEFORE_EXPIRY = timedelta(minutes=15)


def utc_text(instant: datetime) -> str:
    """An instant as the metadata service writes it."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Cloud(Protocol):
    """What an instance host needs from EC2, IAM, STS and EventBridge."""

    def live_instances(self) -> Mapping[str, Mapping[str, Any]]:
        """Pending and running instances of our stack by id, as DescribeInstances tells them."""

    def facts(self, description: Mapping[str, Any]) -> Facts:
        """What the metadata service tells about an instance."""

    def credentials(self, description: Mapping[str, Any]) -> RoleCredentials | None:
        """Credentials of the instance's role, if it has one."""

    def terminate(self, instance_id: str) -> None:
        """End an instance; fine if it has ended."""

    def announce_interruption(self, instance_id: str) -> None:
        """Put EC2's interruption warning on the event bus."""


@dataclass(frozen=True, slots=True)
class EmulatedCloud:
    """The same calls against an AWS endpoint."""

    stack_name: str
    ec2: Any
    iam: Any
    sts: Any
    events: Any

    @classmethod
    def connect(cls, stack_name: str, endpoint_url: str, region: str, key: AccessKey) -> EmulatedCloud:
        """Clients with short timeouts: the endpoint is on this machine.

        User data is run, so no answer is believed before the emulator has proved, after it, that the port is
        its own: it takes one once, so it had it all along. Calls raise proof.Unproven.
        """
        session = boto3.Session(key.access_key_id, key.secret_access_key, region_name=region)
        config = Config(connect_timeout=2, read_timeout=20, retries={"total_max_attempts": 2})

        def believed(**_: object) -> None:
            proof.prove(endpoint_url, key, proof.EMULATOR)

        def client(service: str) -> Any:
            made = session.client(service, endpoint_url=endpoint_url, config=config)  # type: ignore[call-overload]
            made.meta.events.register("after-call", believed)
            return made

        return cls(stack_name, client("ec2"), client("iam"), client("sts"), client("events"))

    def live_instances(self) -> Mapping[str, Mapping[str, Any]]:
        filters = [
            {"Name": "tag:arcspot:stack", "Values": [self.stack_name]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=filters)
        return {
            instance["InstanceId"]: instance
            for page in pages
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        }

    def facts(self, description: Mapping[str, Any]) -> Facts:
        answer = self.ec2.describe_instance_attribute(
            InstanceId=description["InstanceId"], Attribute="userData"
        )
        return Facts(
            instance_id=description["InstanceId"],
            instance_type=description["InstanceType"],
            image_id=description["ImageId"],
            zone=description["Placement"]["AvailabilityZone"],
            tags={tag["Key"]: tag["Value"] for tag in description.get("Tags", [])},
            user_data=base64.b64decode(answer["UserData"].get("Value", "")),
        )

    def credentials(self, description: Mapping[str, Any]) -> RoleCredentials | None:
        """As on EC2, the session name is the instance id."""
        profile = (description.get("IamInstanceProfile") or {}).get("Arn", "").rpartition("/")[2]
        if not profile:
            return None
        role = self.iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"][0]
        session = self.sts.assume_role(RoleArn=role["Arn"], RoleSessionName=description["InstanceId"])[
            "Credentials"
        ]
        return RoleCredentials(
            role_name=role["RoleName"],
            document={
                "Code": "Success",
                "Type": "AWS-HMAC",
                "AccessKeyId": session["AccessKeyId"],
                "SecretAccessKey": session["SecretAccessKey"],
                "Token": session["SessionToken"],
                "Expiration": utc_text(session["Expiration"]),
                "LastUpdated": utc_text(datetime.now(UTC)),
            },
        )

    def terminate(self, instance_id: str) -> None:
        self.ec2.terminate_instances(InstanceIds=[instance_id])

    def announce_interruption(self, instance_id: str) -> None:
        detail = json.dumps({"instance-id": instance_id, "instance-action": "terminate"})
        entry = {
            "Source": "aws.ec2",
            "DetailType": "EC2 Spot Instance Interruption Warning",
            "Detail": detail,
        }
        self.events.put_events(Entries=[entry])


class CachedCredentials:
    """Role credentials of one instance, fetched ahead of need.

    An AWS SDK gives the metadata service one second; a busy emulator may take longer.
    """

    def __init__(self, cloud: Cloud, description: Mapping[str, Any]) -> None:
        self._cloud = cloud
        self._description = description
        self._lock = threading.Lock()
        self._credentials = cloud.credentials(description)

    def __call__(self) -> RoleCredentials | None:
        with self._lock:
            held = self._credentials
            if held is not None:
                expires = datetime.fromisoformat(held.document["Expiration"])
                if expires - datetime.now(UTC) < REFRESH_BEFORE_EXPIRY:
                    self._credentials = self._cloud.credentials(self._description)
            return self._credentials

"""EC2: one spot instance for each launch."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from arcspot.domain.budget import usd_to_micros
from arcspot.domain.launching import Instance, refusal
from arcspot.errors import LaunchUnknown
from arcspot.ports import FleetOrder

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

STACK_TAG = "arcspot:stack"
LAUNCH_TAG = "arcspot:launch"
_ENDED = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")


class Ec2:
    """`ports.Compute` over EC2 instant fleets. Touches only what carries the stack's tag (I17)."""

    def __init__(
        self, client: EC2Client, *, stack: str, template_id: str, subnet_ids: tuple[str, ...]
    ) -> None:
        self._client = client
        self._stack = stack
        self._template_id = template_id
        self._subnet_ids = subnet_ids

    def launch(self, order: FleetOrder) -> Instance:
        """Start one instance by an instant fleet over every allowed type and zone.

        The launch id is the client token: a repeated call answers with the first call's
        instance. Raises a LaunchRefused subclass.
        """
        try:
            answer = self._client.create_fleet(**self._request(order))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise refusal({code: error.response["Error"].get("Message", "")}) from error
        except BotoCoreError as error:
            raise LaunchUnknown(f"no answer from EC2: {error}") from error
        ids = [i for group in answer.get("Instances", []) for i in group.get("InstanceIds", [])]
        if not ids:
            codes = {
                e.get("ErrorCode", "Unknown"): e.get("ErrorMessage", "") for e in answer.get("Errors", [])
            }
            raise refusal(codes)
        group = next(g for g in answer["Instances"] if g.get("InstanceIds"))
        # DescribeInstances lags, so what the fleet itself says is the first truth.
        placed = group.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
        shown = self.instance(ids[0])
        if shown is not None:
            return replace(shown, market=order.market)
        return Instance(
            instance_id=ids[0],
            state="pending",
            instance_type=str(group.get("InstanceType", "")),
            zone=str(placed.get("AvailabilityZone", "")),
            market=order.market,
            launched_at=datetime.now(UTC),
            launch_id=order.launch_id,
        )

    def instance(self, instance_id: str) -> Instance | None:
        try:
            answer = self._client.describe_instances(InstanceIds=[instance_id])
        except ClientError as error:
            if error.response["Error"]["Code"] in (
                "InvalidInstanceID.NotFound",
                "InvalidInstanceID.Malformed",
            ):
                return None
            raise
        found = [i for r in answer["Reservations"] for i in r["Instances"]]
        mine = [i for i in found if _tags(i).get(STACK_TAG) == self._stack]
        return _instance(mine[0]) if mine else None

    def instances(self) -> list[Instance]:
        pages = self._client.get_paginator("describe_instances").paginate(
            Filters=[{"Name": f"tag:{STACK_TAG}", "Values": [self._stack]}]
        )
        return [_instance(i) for page in pages for r in page["Reservations"] for i in r["Instances"]]

    def terminate(self, instance_id: str) -> None:
        """One id a call: a single bad id would make EC2 refuse them all."""
        try:
            self._client.terminate_instances(InstanceIds=[instance_id])
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidInstanceID.NotFound":
                raise

    def console(self, instance_id: str) -> str:
        try:
            return self._client.get_console_output(InstanceId=instance_id).get("Output", "")
        except ClientError:
            return ""  # evidence only; its absence must never stop a termination

    def spot_price(self, instance_type: str, zone: str, *, since: datetime, until: datetime) -> int | None:
        """The first page (1,000 changes) of the history reaches back months; the price at `since` is in it.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
        """
        try:
            answer = self._client.describe_spot_price_history(
                InstanceTypes=[instance_type],  # type: ignore[list-item]
                AvailabilityZone=zone,
                ProductDescriptions=["Linux/UNIX"],
                StartTime=since,
                EndTime=until,
            )
        except (ClientError, BotoCoreError):
            return None
        prices = [usd_to_micros(item["SpotPrice"]) for item in answer.get("SpotPriceHistory", [])]
        return max(prices, default=None)

    def _request(self, order: FleetOrder) -> dict[str, Any]:
        overrides: list[dict[str, Any]] = [
            {"InstanceType": kind, **({"SubnetId": subnet} if subnet else {})}
            for kind in order.instance_types
            for subnet in (self._subnet_ids or ("",))
        ]
        tags = [{"Key": STACK_TAG, "Value": self._stack}, {"Key": LAUNCH_TAG, "Value": order.launch_id}]
        request: dict[str, Any] = {
            "Type": "instant",
            "ClientToken": order.launch_id,
            "LaunchTemplateConfigs": [
                {
                    "LaunchTemplateSpecification": {
                        "LaunchTemplateId": self._template_id,
                        "Version": "$Latest",
                    },
                    "Overrides": overrides,
                }
            ],
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": 1,
                "DefaultTargetCapacityType": order.market,
            },
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": [*tags, {"Key": "Name", "Value": f"{self._stack}-runner"}]}
                for kind in ("instance", "fleet")
            ],
        }
        if order.market == "spot":
            request["SpotOptions"] = {
                "AllocationStrategy": "price-capacity-optimized",
                "InstanceInterruptionBehavior": "terminate",
            }
        return request


def _tags(item: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])}


def _instance(item: Any) -> Instance:
    # EC2 tells the moment of termination only inside a sentence:
    # "User initiated (2026-11-02 10:11:12 GMT)".
    ended = _ENDED.search(item.get("StateTransitionReason", "") or "")
    gone = item["State"]["Name"] == "terminated"
    return Instance(
        instance_id=item["InstanceId"],
        state=item["State"]["Name"],
        instance_type=item.get("InstanceType", ""),
        zone=item.get("Placement", {}).get("AvailabilityZone", ""),
        market=item.get("InstanceLifecycle", "spot" if item.get("SpotInstanceRequestId") else "on-demand"),
        launched_at=item["LaunchTime"],
        launch_id=_tags(item).get(LAUNCH_TAG, ""),
        ended_at=datetime.strptime(ended.group(1), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        if ended and gone
        else None,
    )

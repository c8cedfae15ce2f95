"""EC2: one spot instance for each launch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from arcspot.domain.budget import usd_to_micros
from arcspot.domain.launching import Instance
from arcspot.domain.refusals import refusal
from arcspot.errors import LaunchUnknown
from arcspot.ports import FleetOrder

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

STACK_TAG = "arcspot:stack"
LAUNCH_TAG = "arcspot:launch"
DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
_ENDED = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")


class Ec2:
    """`ports.Compute` over EC2 instant fleets. Touches only what carries the stack's tag (I17)."""

    def __init__(
        self,
        client: EC2Client,
        *,
        stack: str,
        template_id: str,
        subnet_ids: tuple[str, ...],
        zones: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`zones` maps subnets to their zones, for CreateFleet to name and to be told by."""
        self._clock = clock
        self._client = client
        self._stack = stack
        self._template_id = template_id
        self._subnet_ids = subnet_ids
        self._zones = zones

    def launch(self, order: FleetOrder) -> Instance:
        """Start one instance by an instant fleet over every allowed type and zone.

        The launch id is the client token: a repeated call answers with the first call's
        instance. Raises a LaunchRefused subclass.
        """
        # It costs from some later moment on, so the books are not below the bill.
        asked_at = order.since or self._clock()
        try:
            answer = self._client.create_fleet(**self._request(order))
        except ClientError as error:
            told = error.response.get("ResponseMetadata", {})
            raise refusal(
                [(_code(error), error.response["Error"].get("Message", ""))],
                status=told.get("HTTPStatusCode", 400),
                repeated=bool(told.get("RetryAttempts", 0)),
            ) from error
        except BotoCoreError as error:
            raise LaunchUnknown(f"no answer from EC2: {error}") from error
        group = next((g for g in answer.get("Instances", []) if g.get("InstanceIds")), None)
        if group is None:
            errors = answer.get("Errors", [])
            codes = [(e.get("ErrorCode", "Unknown"), e.get("ErrorMessage", "")) for e in errors]
            raise refusal(codes, answered=True)
        # DescribeInstances lags, so what the fleet itself says is the first truth, and no error of it counts.
        instance_id = group["InstanceIds"][0]
        try:
            shown = self.instance(instance_id)
        except (ClientError, BotoCoreError):
            shown = None
        placed = group.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
        zone = str(placed.get("AvailabilityZone", "")) or self._zones.get(placed.get("SubnetId", ""), "")
        kind = str(group.get("InstanceType", "") or placed.get("InstanceType", ""))
        if shown is not None:
            return replace(
                shown,
                market=order.market,
                launch_id=order.launch_id,
                zone=shown.zone or zone,
                instance_type=shown.instance_type or kind,
            )
        return Instance(
            instance_id=instance_id,
            state="pending",
            instance_type=kind,
            zone=zone,
            market=order.market,
            launched_at=asked_at,
            launch_id=order.launch_id,
        )

    def instance(self, instance_id: str) -> Instance | None:
        found = self._described(instance_id)
        return _instance(found) if found and _tags(found).get(STACK_TAG) == self._stack else None

    def _described(self, instance_id: str) -> Any:
        """An instance as EC2 shows it, whoever's it is; None when EC2 does not know it."""
        try:
            answer = self._client.describe_instances(InstanceIds=[instance_id])
        except ClientError as error:
            if _code(error).startswith("InvalidInstanceID"):
                return None
            raise
        return next((i for r in answer["Reservations"] for i in r["Instances"]), None)

    def instances(self) -> list[Instance]:
        pages = self._client.get_paginator("describe_instances").paginate(
            Filters=[{"Name": f"tag:{STACK_TAG}", "Values": [self._stack]}]
        )
        return [_instance(i) for page in pages for r in page["Reservations"] for i in r["Instances"]]

    def terminate(self, instance_id: str) -> None:
        """One id a call: a single bad id would make EC2 refuse them all.

        An instance that EC2 has forgotten has no tags, so the policy that asks for ours denies the call
        before EC2 says that there is no such instance. So a denial is believed only of one that is shown.
        https://github.com/aws/karpenter-provider-aws/issues/2100
        """
        try:
            self._client.terminate_instances(InstanceIds=[instance_id])
        except ClientError as error:
            code = _code(error)
            if code.startswith("InvalidInstanceID"):
                return
            if code in DENIED and self._over(instance_id):
                return
            raise

    def _over(self, instance_id: str) -> bool:
        """Whether EC2 knows no such instance, or only that it has ended."""
        found = self._described(instance_id)
        return found is None or found["State"]["Name"] == "terminated"

    def console(self, instance_id: str) -> str:
        try:
            return self._client.get_console_output(InstanceId=instance_id).get("Output", "")
        except (ClientError, BotoCoreError):
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

    def _place(self, subnet: str) -> dict[str, str]:
        """Where an override may start. Its answer names the zone only if the override did."""
        zone = self._zones.get(subnet, "")
        return ({"SubnetId": subnet} if subnet else {}) | ({"AvailabilityZone": zone} if zone else {})

    def _request(self, order: FleetOrder) -> dict[str, Any]:
        overrides: list[dict[str, Any]] = [
            {"InstanceType": kind, **self._place(subnet)}
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


def _code(error: ClientError) -> str:
    return error.response["Error"].get("Code", "Unknown")


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

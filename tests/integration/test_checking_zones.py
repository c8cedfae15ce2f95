"""check asks EC2 in EC2's own words: moto knows which zones really offer which types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws

from arcspot_cli import checking
from arcspot_cli.errors import CommandFailed

REGION = "us-east-1"


@dataclass
class Deployed:
    """A stack with subnets in some zones."""

    subnets: str = ""
    stack: str = "arcspot-test"
    label: str = "moto"

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]

    @property
    def description(self) -> dict[str, Any]:
        if not self.subnets:
            raise CommandFailed("no stack")
        return {"StackStatus": "CREATE_COMPLETE"}

    parameters = {"InstanceTypes": "g4dn.xlarge"}  # noqa: RUF012
    outputs: Any = None

    def output(self, name: str) -> str:
        assert name == "SubnetIds"
        return self.subnets


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield


def zones(target: Any) -> checking.Finding:
    found = checking.findings(target, datetime(2026, 11, 27, tzinfo=UTC))
    return next(finding for finding in found if finding.what == "zones")


def offering(types: str) -> set[str]:
    pages = boto3.client("ec2", region_name=REGION).get_paginator("describe_instance_type_offerings")
    asked = {"LocationType": "availability-zone", "Filters": [{"Name": "instance-type", "Values": [types]}]}
    return {o["Location"] for page in pages.paginate(**asked) for o in page["InstanceTypeOfferings"]}  # type: ignore[arg-type]


def subnet(zone: str) -> str:
    ec2 = boto3.client("ec2", region_name=REGION)
    vpc = ec2.create_vpc(CidrBlock="10.42.0.0/16")["Vpc"]["VpcId"]
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.42.0.0/20", AvailabilityZone=zone)
    return str(made["Subnet"]["SubnetId"])


def test_a_subnet_where_nothing_is_offered_is_found() -> None:
    good = offering("g4dn.xlarge")
    (bad, *_) = sorted({f"{REGION}{letter}" for letter in "abcdef"} - good)
    finding = zones(Deployed(f"{subnet(bad)},{subnet(min(good))}"))
    assert finding.ok is False
    assert bad in finding.said.partition(";")[0]
    told = finding.said.rpartition("Zones=")[2].split(",")
    assert set(told) <= good
    assert len(told) == min(4, len(good))


def test_where_nothing_is_deployed_the_zones_to_deploy_with_are_told() -> None:
    finding = zones(Deployed())
    assert finding.ok is None
    assert "Zones=us-east-1" in finding.said

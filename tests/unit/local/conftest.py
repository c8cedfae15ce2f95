"""A fake cloud for the instance host, and a place for its instances."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from arcspot_cli.local.imds import Facts, RoleCredentials
from arcspot_cli.local.instance import Machine

FACTS = Facts(
    instance_id="i-1",
    instance_type="g4dn.xlarge",
    image_id="ami-1",
    zone="us-east-1a",
    tags={"arcspot:stack": "s", "arcspot:launch": "launch 7"},
    user_data=b"#!/bin/bash\ntrue\n",
)
CREDENTIALS = RoleCredentials(
    role_name="runner", document={"AccessKeyId": "ASIA1", "Expiration": "2999-01-01T00:00:00Z"}
)


@dataclass
class FakeCloud:
    """EC2 with instances that a test puts there; `live_instances` tells ids only."""

    user_data: dict[str, bytes] = field(default_factory=dict)
    announced: list[str] = field(default_factory=list)

    def live_instances(self) -> Mapping[str, Mapping[str, Any]]:
        return {name: {"InstanceId": name} for name in self.user_data}

    def facts(self, description: Mapping[str, Any]) -> Facts:
        name = description["InstanceId"]
        return Facts(
            instance_id=name,
            instance_type="g4dn.xlarge",
            image_id="ami-1",
            zone="us-east-1a",
            tags={},
            user_data=self.user_data[name],
        )

    def credentials(self, description: Mapping[str, Any]) -> RoleCredentials | None:
        return CREDENTIALS

    def terminate(self, instance_id: str) -> None:
        self.user_data.pop(instance_id, None)

    def announce_interruption(self, instance_id: str) -> None:
        self.announced.append(instance_id)


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(
        endpoint_url="http://127.0.0.1:1",
        region="us-east-1",
        instances_dir=tmp_path / "instances",
        records_dir=tmp_path / "processes",
        threads=1,
    )


@pytest.fixture
def python() -> str:
    return sys.executable

"""A launch may start in any zone the stack has a subnet in, one or four."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.stub import Stubber

from arcspot.aws.compute import Ec2
from arcspot.errors import LaunchRefused
from arcspot.ports import FleetOrder
from arcspot.settings import Settings
from tests.fakes.cloudformation import Deployment

from .conftest import session

TYPES = ("g4dn.xlarge", "g4dn.2xlarge")


def deployed(zones: str) -> Settings:
    """The launch function's settings in a stack with these zones, as the template makes them."""
    functions = Deployment(parameters={"Zones": zones}).resources("AWS::Lambda::Function")
    return Settings.from_env(functions["LaunchFunction"]["Environment"]["Variables"])


@pytest.mark.parametrize("letters", ["a", "bf", "bcd", "abcd"])
def test_every_type_is_asked_for_in_every_zone_of_the_stack_once(letters: str) -> None:
    settings = deployed(",".join(f"us-east-1{letter}" for letter in letters))
    client, asked = session().client("ec2"), {}
    client.meta.events.register(
        "provide-client-params.ec2.CreateFleet", lambda params, **_: asked.update(params)
    )
    ec2 = Ec2(client, stack="arcspot", template_id="lt-1", subnet_ids=settings.subnet_ids)
    order: Any = FleetOrder(launch_id="launch-1", instance_types=TYPES, market="spot")
    with Stubber(client) as stub:
        stub.add_response("create_fleet", {"Instances": [], "Errors": []})
        with pytest.raises(LaunchRefused):
            ec2.launch(order)
    (config,) = asked["LaunchTemplateConfigs"]
    pools = [(each["InstanceType"], each["SubnetId"]) for each in config["Overrides"]]
    assert sorted(pools) == sorted((kind, f"<Subnet{x.upper()}>") for kind in TYPES for x in letters)

"""What a stranger who holds the role of `launch`, or another, cannot start, tag or end in EC2.

Held against the transformed template; IAM is played by `tests/fakes/iam.py`.
"""

from __future__ import annotations

import pytest

from tests.fakes import iam, rights
from tests.fakes.cloudformation import ACCOUNT
from tests.fakes.iam import Need, Right
from tests.fakes.rights import EC2, IMAGE, LAUNCH_TEMPLATE, REGION, STACK, TAG, VPC


def may(function: str, action: str, resource: str, *context: tuple[str, str]) -> bool:
    return rights.may(rights.role_of(function), action, resource, *context)


def every_right() -> set[tuple[str, Right]]:
    return {
        (role, right)
        for role in rights.resources("AWS::IAM::Role")
        for right in rights.rights(role, OnDemandFallback="true")
    }


# ---- EC2: one instance, from one template, in one network

INSTANCE = f"{EC2}:instance/*"
OURS = (TAG, ("ec2:InstanceType", "g4dn.xlarge"), ("ec2:InstanceMarketType", "spot"), LAUNCH_TEMPLATE)


def but(**changed: str | None) -> tuple[tuple[str, str], ...]:
    """Our own request for an instance with one thing changed, or left out."""
    new = {f"ec2:{key}": value for key, value in changed.items() if key != "tag"}
    if "tag" in changed:
        new[TAG[0]] = changed["tag"]
    kept = tuple((key, value) for key, value in OURS if key not in new)
    return (*kept, *((key, value) for key, value in new.items() if value is not None))


REFUSED = {
    "without the stack's tag": (INSTANCE, but(tag=None)),
    "with another stack's tag": (INSTANCE, but(tag="another")),
    "of a type that is not allowed": (INSTANCE, but(InstanceType="p5.48xlarge")),
    "on demand": (INSTANCE, but(InstanceMarketType="on-demand")),
    "in a capacity block": (INSTANCE, but(InstanceMarketType="capacity-block")),
    "without a launch template": (INSTANCE, but(LaunchTemplate=None)),
    "from another template": (INSTANCE, but(LaunchTemplate=f"{EC2}:launch-template/lt-other")),
    "from another template itself": (f"{EC2}:launch-template/lt-other", ()),
    "with an image of the caller's": (IMAGE, (("ec2:IsLaunchTemplateResource", "false"),)),
    "with an image and no template": (IMAGE, ()),
    "in another network": (f"{EC2}:subnet/subnet-2", (("ec2:Vpc", f"{EC2}:vpc/vpc-other"),)),
    "with another network's interface": (f"{EC2}:network-interface/e", (("ec2:Vpc", f"{EC2}:vpc/other"),)),
    "with another security group": (f"{EC2}:security-group/sg-open", (VPC,)),
    "with a key to log in by": (f"{EC2}:key-pair/mine", ()),
    "with a disk that costs more than is known": (
        f"{EC2}:volume/*",
        (TAG, ("ec2:VolumeSize", "16384")),
    ),
    "with a disk nobody finds again": (f"{EC2}:volume/*", (("ec2:VolumeSize", "75"),)),
    "on a snapshot": (f"arn:aws:ec2:{REGION}::snapshot/snap-1", ()),
    "on reserved capacity": (f"{EC2}:capacity-reservation/cr-1", ()),
    "in another region": (f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/*", OURS),
}


@pytest.mark.parametrize("how", REFUSED)
def test_no_instance_is_started(how: str) -> None:
    resource, context = REFUSED[how]
    assert may("launch", "ec2:RunInstances", INSTANCE, *OURS)
    assert not may("launch", "ec2:RunInstances", resource, *context)


FLEETS = {
    "without the stack's tag": (f"{EC2}:fleet/*", ()),
    "with another stack's tag": (f"{EC2}:fleet/*", ((TAG[0], "another"),)),
    "from another template": (f"{EC2}:launch-template/lt-other", ()),
    "of a type that is not allowed": (INSTANCE, (TAG, ("ec2:InstanceType", "p5.48xlarge"))),
    "of instances without the tag": (INSTANCE, (("ec2:InstanceType", "g4dn.xlarge"),)),
    "in another network": (f"{EC2}:subnet/subnet-2", (("ec2:Vpc", f"{EC2}:vpc/vpc-other"),)),
    "with a large disk": (f"{EC2}:volume/*", (TAG, ("ec2:VolumeSize", "16384"))),
}


@pytest.mark.parametrize("how", FLEETS)
def test_no_fleet_is_made(how: str) -> None:
    resource, context = FLEETS[how]
    assert may("launch", "ec2:CreateFleet", f"{EC2}:fleet/*", TAG)
    assert not may("launch", "ec2:CreateFleet", resource, *context)


def test_a_stack_that_allows_on_demand_allows_it_and_no_third_market() -> None:
    asked = {
        market: Need("ec2:RunInstances", INSTANCE, but(InstanceMarketType=market))
        for market in ("spot", "on-demand", "capacity-block")
    }
    held = rights.rights("LaunchFunctionRole", OnDemandFallback="true")
    assert {market for market, need in asked.items() if iam.allowed(held, need)} == {"spot", "on-demand"}


def test_the_most_a_disk_may_have_is_the_most_the_parameter_takes() -> None:
    (bound,) = {
        float(value)
        for right in rights.rights("LaunchFunctionRole")
        for _, key, values in right.conditions
        for value in values
        if key == "ec2:VolumeSize"
    }
    assert rights.transformed()["Parameters"]["DiskGb"]["MaxValue"] == bound


def test_only_launch_can_start_an_instance() -> None:
    acts = ("ec2:CreateFleet", "ec2:RunInstances", "ec2:RequestSpotInstances", "ec2:RequestSpotFleet")
    assert {role for role, right in every_right() if right.action in acts} == {"LaunchFunctionRole"}
    assert {right.action for _, right in every_right() if right.action in acts} == set(acts[:2])


def test_tags_are_set_while_creating_and_they_are_the_stacks() -> None:
    """Whoever may tag an instance may have the stack end it."""
    taggers = {role for role, right in every_right() if right.action == "ec2:CreateTags"}
    assert taggers == {"LaunchFunctionRole"}
    creating = ("ec2:CreateAction", "RunInstances")
    assert may("launch", "ec2:CreateTags", f"{EC2}:instance/i-1", creating, TAG)
    for resource, context in (
        (f"{EC2}:instance/i-1", (TAG,)),
        (f"{EC2}:instance/i-1", (creating, (TAG[0], "another"))),
        (f"{EC2}:instance/i-1", (creating,)),
        (f"{EC2}:instance/i-1", (("ec2:CreateAction", "CreateVolume"), TAG)),
        (f"{EC2}:security-group/sg-1", (creating, TAG)),
        (f"{EC2}:launch-template/RunnerTemplate", (creating, TAG)),
    ):
        assert not may("launch", "ec2:CreateTags", resource, *context)


def test_whoever_may_end_an_instance_may_end_this_stacks_alone() -> None:
    acts = {"ec2:TerminateInstances", "ec2:GetConsoleOutput"}
    ending = {(role, right.action) for role, right in every_right() if right.action in acts}
    assert {role for role, _ in ending} >= {"TimerRole", "WatchdogFunctionRole", "RetireFunctionRole"}
    own, other = ("aws:ResourceTag/arcspot:stack", STACK), ("aws:ResourceTag/arcspot:stack", f"{STACK}-2")
    for role, action in ending:
        assert rights.may(role, action, f"{EC2}:instance/i-1", own)
        # A stack's name is its own in one account and region, so the instance's ARN names both.
        for where, context in (
            (f"{EC2}:instance/i-1", (other,)),
            (f"{EC2}:instance/i-1", ()),
            (f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/i-1", (own,)),
        ):
            assert not rights.may(role, action, where, *context), role

"""The simulated EC2 refuses as EC2 does, and the product's adapter reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from arcspot.domain.quotas import vcpus
from arcspot.errors import (
    LaunchMisconfigured,
    LaunchPostponed,
    LaunchRefused,
    LaunchThrottled,
    LaunchUnknown,
    NoCapacity,
    QuotaExceeded,
)
from arcspot.ports import FleetOrder
from arcspot_simulator.cloud import Ec2Error, Prices, SimEc2
from arcspot_simulator.history import History
from arcspot_simulator.invariants import Invariants, Violation
from arcspot_simulator.loop import Loop
from arcspot_simulator.weather import CALM, HOUR, Sky, Windows

NOW = Windows(((0.0, HOUR),))


def ec2(**weather: Any) -> SimEc2:
    sky = Sky(replace(CALM, **weather), Random(1))
    return SimEc2(Loop(), sky, Prices(0), max_lifetime_s=lambda: 24 * HOUR)


def order(launch_id: str = "L", *types: str, market: str = "spot") -> FleetOrder:
    return FleetOrder(launch_id=launch_id, instance_types=types or ("g4dn.xlarge",), market=market)


@pytest.mark.parametrize(
    ("weather", "error"),
    [
        ({"no_capacity": NOW}, NoCapacity),
        ({"mixed": NOW}, NoCapacity),
        ({"unverified": NOW}, LaunchPostponed),
        ({"new_codes": NOW}, LaunchPostponed),
        ({"misconfigured": NOW}, LaunchMisconfigured),
        ({"fleet_throttled": 1.0}, LaunchThrottled),
        ({"fleet_unknown": 1.0}, LaunchUnknown),
        ({"token_mismatch": 1.0}, LaunchUnknown),
        ({"quota_zero_until": HOUR}, QuotaExceeded),
    ],
)
def test_each_fault_is_told_as_our_error(weather: dict[str, Any], error: type[LaunchRefused]) -> None:
    with pytest.raises(error):
        ec2(**weather).launch(order())


def test_a_token_that_met_other_parameters_has_a_living_instance() -> None:
    cloud = ec2(token_mismatch=1.0)
    with pytest.raises(LaunchUnknown):
        cloud.launch(order())
    assert cloud.live == 1
    calm = ec2()
    calm.launch(order())
    with pytest.raises(LaunchUnknown, match="IdempotentParameterMismatch"):
        calm.launch(order("L", "g4dn.2xlarge"))
    assert calm.live == 1


def test_the_account_counts_vcpus_by_type() -> None:
    cloud = ec2(quota_zero_until=0.1, quota_vcpus=12)
    cloud.loop.run(1)
    cloud.launch(order("a", "g4dn.2xlarge"))
    with pytest.raises(QuotaExceeded):
        cloud.launch(order("b", "g4dn.2xlarge"))
    assert cloud.launch(order("c", "g4dn.xlarge", "g4dn.2xlarge")).instance_type == "g4dn.xlarge"
    assert sum(vcpus(m.instance_type) for m in cloud.running.values()) == 12


def test_an_answer_without_a_zone_is_made_good_by_describe() -> None:
    cloud = ec2(zone_untold=1.0, describe_lag_s=10.0)
    started = cloud.launch(order())
    assert started.zone == ""
    cloud.loop.run(20)
    shown = cloud.instance(started.instance_id)
    assert shown is not None
    assert shown.zone.startswith("us-east-1")


def test_ending_what_is_forgotten_is_denied_and_the_adapter_knows_why() -> None:
    cloud = ec2(forgets=1.0, describe_lag_s=0.0)
    instance_id = cloud.launch(order()).instance_id
    cloud.terminate(instance_id)
    cloud.loop.run(300)
    assert cloud.instance(instance_id) is None
    with pytest.raises(Ec2Error, match="UnauthorizedOperation"):
        cloud.terminate_instances(InstanceIds=[instance_id])
    cloud.terminate(instance_id)


@pytest.fixture
def watched() -> Invariants:
    return History(0).invariants


@pytest.mark.parametrize("minutes", [None, 61])
def test_launching_that_is_shut_too_long_is_a_violation(watched: Invariants, minutes: int | None) -> None:
    from datetime import timedelta

    from arcspot.domain.launching import Breaker
    from arcspot_simulator.loop import START

    until = None if minutes is None else START + timedelta(minutes=minutes)
    with pytest.raises(Violation, match="L4"):
        watched.stack.store.write(Breaker(1, "LaunchPostponed", "x", until))


def test_the_price_of_a_zone_that_does_not_exist_is_unknown() -> None:
    cloud = ec2()
    ask: Callable[..., int | None] = cloud.spot_price
    moment = cloud.loop.moment
    assert ask("g4dn.xlarge", "", since=moment, until=moment) is None
    assert ask("g4dn.xlarge", "us-east-1a", since=moment, until=moment)

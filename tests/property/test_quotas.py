"""vCPUs are counted by type and market: what is started fits the quota whichever type EC2 picks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcspot.domain.quotas import fitting, most_each, vcpus
from arcspot.errors import ConfigurationError, NoCapacity, QuotaExceeded
from tests.fakes.driving import Stack, task
from tests.fakes.memory import settings as small

# https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html
KNOWN = {
    "g4dn.xlarge": 4, "g4dn.2xlarge": 8, "g4dn.4xlarge": 16, "g4dn.8xlarge": 32, "g4dn.12xlarge": 48,
    "g4dn.16xlarge": 64, "g4dn.metal": 96, "g5.xlarge": 4, "g5.48xlarge": 192, "g6.24xlarge": 96,
    "g6f.large": 2, "vt1.3xlarge": 12,
}  # fmt: skip
TYPES = ("g4dn.xlarge", "g4dn.2xlarge", "g4dn.4xlarge")
some_types = st.lists(st.sampled_from(TYPES), min_size=1, unique=True).map(tuple)


@pytest.mark.parametrize(("name", "count"), KNOWN.items())
def test_each_type_has_its_vcpus(name: str, count: int) -> None:
    assert vcpus(name) == count


@pytest.mark.parametrize("name", ["", "g4dn", "g4dn.huge", "xlarge", "x.metal"])
def test_a_type_nobody_can_count_is_named_and_not_guessed(name: str) -> None:
    with pytest.raises(ConfigurationError, match="vCPUs"):
        vcpus(name)


@given(st.integers(-50, 200), st.integers(1, 9), some_types)
def test_so_many_launches_of_the_fitting_types_fit_whichever_is_picked(
    free: int, launches: int, types: tuple[str, ...]
) -> None:
    each = most_each(free, launches, types)
    if each:
        chosen = fitting(types, each)
        assert chosen
        assert max(vcpus(name) for name in chosen) * launches <= free
        assert vcpus(max(chosen, key=vcpus)) == each, "and no type that fits is left out"
    else:
        assert min(map(vcpus, types)) * launches > free


def backlog(**changes: object) -> Stack:
    stack = Stack(small(max_wait_s=0, target_drain_s=60, **changes))
    for n in range(40):
        stack.drop(f"tasks/b/{n}.json", task(n))
    return stack


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 40), some_types, st.integers(1, 6), st.data())
def test_ec2_never_has_to_refuse_what_the_scaler_starts(
    quota: int, types: tuple[str, ...], slots: int, data: st.DataObject
) -> None:
    """EC2 picks any of the types it was asked for; after several rounds no quota is passed."""
    stack = backlog(quota_vcpus=quota, instance_types=types, slots=slots, cap=10**9)
    used = 0
    for _ in range(4):
        for launch_id in stack.scale():
            stack.launch(launch_id)
            asked = stack.world.ec2.asked[-1].instance_types
            picked = data.draw(st.sampled_from(asked))
            row = stack.world.store.launch(launch_id)
            assert row is not None
            instance = stack.world.ec2.seen[row.instance_id]
            stack.world.ec2.seen[row.instance_id] = replace(instance, instance_type=picked)
            stack.world.store.write(replace(row, instance_type=picked))
            used += vcpus(picked)
    assert used <= quota
    smallest = min(map(vcpus, types))
    live = len(stack.world.ec2.seen)
    assert live == slots or quota - used < smallest, "and nothing that fits is left unused"


@pytest.mark.parametrize(
    ("types", "quota", "started"),
    [
        (("g4dn.xlarge",), 8, 2),
        (("g4dn.2xlarge",), 8, 1),
        (("g4dn.2xlarge",), 4, 0),
        (("g4dn.xlarge", "g4dn.2xlarge"), 4, 1),
        (("g4dn.2xlarge",), 0, 4),
    ],
)
def test_the_scaler_counts_by_the_allowed_types(types: tuple[str, ...], quota: int, started: int) -> None:
    stack = backlog(quota_vcpus=quota, instance_types=types, slots=4, cap=10**9)
    assert len(stack.scale()) == started
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert fleet.waits_for == ("quota" if quota else "slots")


def test_without_a_quota_no_type_has_to_be_countable() -> None:
    stack = backlog(instance_types=("x9.metal",), price_overrides={"x9.metal": 1}, cap=10**9)
    (launch_id, *_) = stack.scale()
    assert stack.launch(launch_id)["instance_type"] == "x9.metal"


def spent(stack: Stack) -> None:
    """Spot refuses every step of its back-off."""
    for _ in range(3):
        (launch_id,) = stack.scale()
        stack.world.ec2.refusals = [NoCapacity("none")]
        with pytest.raises(NoCapacity):
            stack.launch(launch_id)
        stack.world.wait(15 * 60)


@pytest.mark.parametrize(("quota", "market"), [(0, "on-demand"), (4, "on-demand"), (3, "spot")])
def test_on_demand_is_asked_for_only_within_its_own_quota(quota: int, market: str) -> None:
    stack = backlog(on_demand_fallback=True, on_demand_quota_vcpus=quota, quota_vcpus=4, slots=1, cap=10**9)
    spent(stack)
    (launch_id,) = stack.scale()
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert row.market == market


def test_spot_instances_take_nothing_from_the_on_demand_quota() -> None:
    stack = backlog(
        on_demand_fallback=True, on_demand_quota_vcpus=4, quota_vcpus=4, slots=2, cap=10**9
    )  # fmt: skip
    (first,) = stack.scale()
    stack.boot(first)
    assert stack.scale() == [], "the spot quota is used up"
    breaker = stack.world.store.breaker()
    for _ in range(3):
        breaker = breaker.tripped(NoCapacity("none"), now=stack.world.now)
        stack.world.wait(15 * 60)
    stack.world.store.write(breaker)
    (second,) = stack.scale()
    row = stack.world.store.launch(second)
    assert row is not None
    assert row.market == "on-demand"


def test_an_on_demand_refusal_for_its_quota_goes_back_to_spot() -> None:
    stack = backlog(on_demand_fallback=True, slots=1, cap=10**9)
    spent(stack)
    (launch_id,) = stack.scale()
    stack.world.ec2.refusals = [QuotaExceeded("VcpuLimitExceeded", codes=("VcpuLimitExceeded",))]
    with pytest.raises(QuotaExceeded):
        stack.launch(launch_id)
    assert "L-DB2E81BA" in stack.world.mail.sent[-1][1]
    stack.world.wait(30 * 60)
    (launch_id,) = stack.scale()
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert row.market == "spot"


def test_a_launch_that_the_index_does_not_show_yet_counts_by_its_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its slot is taken, its row not seen: it may be of the largest type, 8 vCPUs of the quota's 12."""
    stack = backlog(quota_vcpus=12, slots=4, instance_types=("g4dn.xlarge", "g4dn.2xlarge"))
    (first,) = stack.scale()[:1]
    fleet = stack.world.store.fleet()
    assert fleet is not None
    taken = fleet.slots_total - fleet.slots_available
    assert stack.world.store.launch(first) is not None
    monkeypatch.setattr(type(stack.world.store), "open_launches", lambda _: [])
    again = stack.scale()
    assert len(again) <= max(0, (12 - 8 * taken) // 4)

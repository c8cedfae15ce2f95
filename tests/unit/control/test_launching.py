"""A launch gets at most one instance, and every refusal leaves the books right."""

from __future__ import annotations

from datetime import timedelta

import pytest

from arcspot.domain.launching import LaunchState, refusal
from arcspot.errors import (
    LaunchMisconfigured,
    LaunchRefused,
    LaunchThrottled,
    LaunchUnknown,
    NoCapacity,
    QuotaExceeded,
)
from arcspot.services import launching
from tests.fakes.driving import GOOD_TASK, Stack


def reserved() -> tuple[Stack, str]:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    return stack, launch_id


def test_launching_twice_starts_one_instance() -> None:
    stack, launch_id = reserved()
    assert stack.launch(launch_id) == stack.launch(launch_id)
    assert len(stack.world.ec2.seen) == 1


def test_two_looks_at_one_backlog_start_what_it_needs_once() -> None:
    stack, _ = reserved()
    assert stack.scale() == []


@pytest.mark.parametrize(
    "refused", [NoCapacity("none"), QuotaExceeded("0 vCPUs"), LaunchMisconfigured("no image")]
)
def test_a_definite_refusal_gives_money_and_slot_back(refused: LaunchRefused) -> None:
    stack, launch_id = reserved()
    stack.world.ec2.refusals = [refused]
    with pytest.raises(type(refused)):
        stack.launch(launch_id)
    assert stack.books == (stack.settings.cap, stack.settings.cap, 0, 0)
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert row.state is LaunchState.RELEASED
    assert stack.scale() == [], "the breaker is open"


def test_a_quota_refusal_mails_where_to_ask_for_more() -> None:
    stack, launch_id = reserved()
    stack.world.ec2.refusals = [QuotaExceeded("0 vCPUs")]
    with pytest.raises(QuotaExceeded):
        stack.launch(launch_id)
    assert "L-3819A6DF" in stack.world.mail.sent[-1][1]
    fleet = stack.world.store.fleet()
    stack.scale()
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert fleet.waits_for == "quota"


def test_after_the_breaker_a_launch_is_tried_again() -> None:
    stack, launch_id = reserved()
    stack.world.ec2.refusals = [NoCapacity("none")]
    with pytest.raises(NoCapacity):
        stack.launch(launch_id)
    stack.world.wait(121)
    (second,) = stack.scale()
    stack.launch(second)
    assert stack.world.store.breaker().error == ""


def test_a_configuration_error_waits_for_a_person_and_is_tried_once_a_day_all_the_same() -> None:
    stack, launch_id = reserved()
    for _ in range(3):
        stack.world.ec2.refusals = [LaunchMisconfigured("no image")]
        with pytest.raises(LaunchMisconfigured):
            stack.launch(launch_id)
        stack.world.wait(timedelta(hours=23, minutes=59).total_seconds())
        assert stack.scale() == []
        stack.world.wait(61)
        (launch_id,) = stack.scale()
    assert [subject for subject, _ in stack.world.mail.sent if "launching" in subject] == [
        "arcspot: launching fails until a person mends it"
    ]
    stack.launch(launch_id)
    assert stack.world.store.breaker().error == ""


def test_after_no_answer_the_money_stays_held_and_the_instance_is_adopted() -> None:
    stack, launch_id = reserved()
    stack.world.ec2.refusals = [LaunchUnknown("timeout")]
    stack.world.ec2.started_behind_a_silence = True
    with pytest.raises(LaunchUnknown):
        stack.launch(launch_id)
    assert stack.books[2] == stack.settings.reserve
    stack.world.wait(60)
    stack.watch()
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert (row.state, row.instance_id) == (LaunchState.LAUNCHED, "i-0000")


def test_after_no_answer_and_no_instance_the_money_comes_back_after_a_quarter_of_an_hour() -> None:
    stack, launch_id = reserved()
    stack.world.ec2.refusals = [LaunchUnknown("timeout")]
    with pytest.raises(LaunchUnknown):
        stack.launch(launch_id)
    stack.world.wait(14 * 60)
    stack.watch()
    assert stack.books[2] == stack.settings.reserve
    stack.world.wait(60)
    stack.watch()
    assert stack.books[2] == 0


def test_throttled_keeps_the_reservation_for_the_same_token() -> None:
    stack, launch_id = reserved()
    stack.world.ec2.refusals = [LaunchThrottled("slow down")]
    with pytest.raises(LaunchThrottled):
        stack.launch(launch_id)
    assert stack.books[2] == stack.settings.reserve
    assert stack.launch(launch_id)["instance_id"] == "i-0000"


def test_an_instance_whose_launch_is_over_is_ended_at_once() -> None:
    stack, launch_id = reserved()
    instance = stack.world.ec2.launch(order(launch_id))
    row = stack.world.store.launch(launch_id)
    assert row is not None
    from arcspot.services import money

    money.release(stack.ports, launch_id, "given up", stack.world.now)
    with pytest.raises(LaunchMisconfigured):
        launching.adopt(stack.ports, stack.settings, launch_id, instance, stack.world.now)
    assert stack.world.ec2.terminated == [instance.instance_id]


def order(launch_id: str) -> launching.FleetOrder:
    return launching.FleetOrder(launch_id=launch_id, instance_types=("g4dn.xlarge",))


def test_whoever_comes_second_answers_the_state_machine() -> None:
    stack, launch_id = reserved()
    launching.wait_for(stack.ports, launch_id, phase="boot", token="boot-token")
    assert stack.world.workflow.told == []
    runner = stack.boot(launch_id)
    assert stack.world.workflow.told == [("boot-token", "succeed", "")]
    launching.wait_for(stack.ports, launch_id, phase="serve", token="serve-token")
    stack.world.wait(stack.settings.beat_s)
    runner.ask("heartbeat", leases=[], gpu_utilisation=None)
    assert stack.world.workflow.told[-1] == ("serve-token", "beat", "")
    runner.ask("bye", why="idle")
    assert stack.world.workflow.told[-1] == ("serve-token", "succeed", "")
    # The other order: the runner left before the state machine began to wait.
    launching.wait_for(stack.ports, launch_id, phase="serve", token="late-token")
    assert stack.world.workflow.told[-1] == ("late-token", "succeed", "")


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        ({"InsufficientInstanceCapacity": ""}, NoCapacity),
        ({"InsufficientInstanceCapacity": "", "VcpuLimitExceeded": ""}, QuotaExceeded),
        ({"RequestLimitExceeded": ""}, LaunchThrottled),
        ({"InvalidAMIID.NotFound": ""}, LaunchMisconfigured),
        ({"InternalError": "", "InsufficientInstanceCapacity": ""}, LaunchUnknown),
        ({}, LaunchUnknown),
    ],
)
def test_several_zones_errors_add_up_to_the_one_that_asks_most_of_us(
    codes: dict[str, str], error: type[LaunchRefused]
) -> None:
    assert type(refusal(codes)) is error

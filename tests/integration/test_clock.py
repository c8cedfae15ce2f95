"""The rule of EventBridge that is the stack's clock, and the rounds that turn it on and off."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from arcspot.aws.clock import MinuteRule
from tests.fakes.driving import GOOD_TASK

from .conftest import CLOCK, Cloud
from .test_handlers import call, dropped


def state(cloud: Cloud) -> str:
    return str(cloud.client("events").describe_rule(Name=CLOCK)["State"])


def test_the_clock_goes_off_and_on_and_is_asked_twice_without_harm(cloud: Cloud) -> None:
    assert state(cloud) == "ENABLED"
    for act, expected in ((cloud.ports.clock.sleep, "DISABLED"), (cloud.ports.clock.wake, "ENABLED")):
        act()
        act()
        assert state(cloud) == expected
    rule = cloud.client("events").describe_rule(Name=CLOCK)
    assert rule["ScheduleExpression"] == "rate(1 minute)", "nothing else of it was changed"


def test_a_rule_that_is_gone_is_an_error_and_not_silence(cloud: Cloud) -> None:
    with pytest.raises(ClientError):
        MinuteRule(cloud.client("events"), "nobody").wake()


def test_a_stack_sleeps_wakes_by_a_file_and_sleeps_again(whole_cloud: Cloud) -> None:
    call("watchdog", {"clock": "minute"})
    assert state(whole_cloud) == "DISABLED"
    call("watchdog", {"clock": "slow"})
    assert state(whole_cloud) == "DISABLED"
    file = dropped(whole_cloud, "tasks/b/good.json", json.dumps(GOOD_TASK).encode())
    assert call("ingest", {"Records": [file]}) == {"batchItemFailures": []}
    assert call("scale", {"kicked": True})["started"]
    assert state(whole_cloud) == "ENABLED"
    call("watchdog", {"clock": "minute"})
    assert state(whole_cloud) == "ENABLED"

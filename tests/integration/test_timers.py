"""One-shot schedules that end an instance: made once, forgotten once, whatever is asked twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from arcspot.aws.timers import Scheduler

from .conftest import Cloud, session

AT = datetime(2026, 11, 23, 14, 1, 30, 999, tzinfo=UTC)
ROLE = "arn:aws:iam::123456789012:role/timer"


def kept(cloud: Cloud, name: str = "launch-1") -> dict[str, Any]:
    found: dict[str, Any] = cloud.client("scheduler").get_schedule(
        Name=name, GroupName=cloud.settings.schedule_group
    )
    return found


def names(cloud: Cloud) -> list[str]:
    listed = cloud.client("scheduler").list_schedules(GroupName=cloud.settings.schedule_group)["Schedules"]
    return [schedule["Name"] for schedule in listed]


def test_a_launch_is_armed_with_a_schedule_that_ends_its_one_instance(cloud: Cloud) -> None:
    cloud.ports.timers.arm("launch-1", "i-1", AT)
    found = kept(cloud)
    assert found["ScheduleExpression"] == "at(2026-11-23T14:01:30)"
    assert found["ScheduleExpressionTimezone"] == "UTC"
    assert found["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert found["ActionAfterCompletion"] == "DELETE"
    assert found["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"
    assert found["Target"]["RoleArn"] == ROLE
    assert json.loads(found["Target"]["Input"]) == {"InstanceIds": ["i-1"]}
    assert found["Target"]["RetryPolicy"]["MaximumRetryAttempts"] > 0
    assert found["Target"]["DeadLetterConfig"] == {"Arn": cloud.settings.dead_letters_arn}


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_the_target_is_of_the_partition_that_the_role_is_of(partition: str) -> None:
    client = session().client("scheduler")
    timers = Scheduler(client, group="arcspot-test", role_arn=ROLE.replace("aws", partition, 1))
    sent: dict[str, Any] = {}
    client.meta.events.register(
        "provide-client-params.scheduler.CreateSchedule", lambda params, **_: sent.update(params)
    )
    with Stubber(client) as stub:
        stub.add_response("create_schedule", {"ScheduleArn": "arn"})
        timers.arm("launch-1", "i-1", AT)
    assert sent["Target"]["Arn"] == f"arn:{partition}:scheduler:::aws-sdk:ec2:terminateInstances"


def test_the_moment_is_told_in_utc_whatever_zone_it_came_in(cloud: Cloud) -> None:
    cloud.ports.timers.arm("launch-1", "i-1", AT.astimezone(timezone(timedelta(hours=9))))
    assert kept(cloud)["ScheduleExpression"] == "at(2026-11-23T14:01:30)"


def test_arming_again_is_no_error_and_changes_nothing(cloud: Cloud) -> None:
    cloud.ports.timers.arm("launch-1", "i-1", AT)
    cloud.ports.timers.arm("launch-1", "i-1", AT + timedelta(hours=1))
    assert names(cloud) == ["launch-1"]
    assert kept(cloud)["ScheduleExpression"] == "at(2026-11-23T14:01:30)"


def test_disarming_forgets_one_schedule_and_doing_it_again_is_no_error(cloud: Cloud) -> None:
    cloud.ports.timers.arm("launch-1", "i-1", AT)
    cloud.ports.timers.arm("launch-2", "i-2", AT)
    cloud.ports.timers.disarm("launch-1")
    assert names(cloud) == ["launch-2"]
    cloud.ports.timers.disarm("launch-1")
    cloud.ports.timers.disarm("never-armed")


def test_what_scheduler_refuses_for_another_reason_is_an_error() -> None:
    client = session().client("scheduler")
    timers = Scheduler(client, group="arcspot-test", role_arn=ROLE)
    with Stubber(client) as stub:
        stub.add_client_error("create_schedule", "ServiceQuotaExceededException")
        with pytest.raises(ClientError, match="Quota"):
            timers.arm("launch-1", "i-1", AT)
        stub.add_client_error("delete_schedule", "ThrottlingException")
        with pytest.raises(ClientError, match="Throttling"):
            timers.disarm("launch-1")

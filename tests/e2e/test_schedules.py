"""EventBridge Scheduler acts by itself: the third killer ends an instance without any of our code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from arcspot.aws.timers import Scheduler
from tests.e2e.whole_stack import WholeStack, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_launchs_schedule_ends_its_instance_and_then_itself(whole: WholeStack) -> None:
    ec2, group = whole.client("ec2"), whole.local.stack_name
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    # Without the stack's tag nobody else would end it.
    started = ec2.run_instances(ImageId=image, InstanceType="g4dn.xlarge", MinCount=1, MaxCount=1)
    instance_id = started["Instances"][0]["InstanceId"]
    role = "arn:aws:iam::000000000000:role/whoever"  # the emulator asks nobody for rights
    timers = Scheduler(whole.client("scheduler"), group=group, role_arn=role)
    timers.arm("by-itself", instance_id, datetime.now(UTC) + timedelta(seconds=1))
    assert "by-itself" in whole.schedules()

    eventually(
        "the schedule ended the instance",
        lambda: whole.instance_states().get(instance_id) == "terminated",
        seconds=60,
    )
    eventually("the schedule is gone", lambda: "by-itself" not in whole.schedules(), seconds=60)

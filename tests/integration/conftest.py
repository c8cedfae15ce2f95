"""An AWS account in this process (moto), with the template's own tables, bucket, topic and queue."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import boto3
import pytest
from moto import mock_aws

from arcspot.aws import compose
from arcspot.ports import Ports
from arcspot.settings import Settings
from tests.fakes import house
from tests.fakes.memory import settings as small_settings

REGION = "us-east-1"
TABLES = ("JobsTable", "LaunchesTable", "LedgerTable", "EventsTable")
# What DynamoDB takes at creation; expiry and backups are calls of their own.
AT_CREATION = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
CLOCK = "arcspot-test-each-minute"
WAITING = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}


@dataclass
class Cloud:
    """What the tests hold: the session, the settings that name its resources, the ports over it."""

    session: boto3.Session
    settings: Settings
    ports: Ports

    def client(self, service: str) -> Any:
        return self.session.client(service, config=compose.client_config(service))

    def env(self) -> dict[str, str]:
        """The environment a function of this stack would find."""
        s = self.settings
        known = {
            "STACK": s.stack,
            "BUCKET": s.bucket,
            "JOBS_TABLE": s.jobs_table,
            "LAUNCHES_TABLE": s.launches_table,
            "LEDGER_TABLE": s.ledger_table,
            "EVENTS_TABLE": s.events_table,
            "STATE_MACHINE_ARN": s.state_machine_arn,
            "TOPIC_ARN": s.topic_arn,
            "LAUNCH_TEMPLATE_ID": s.launch_template_id,
            "SUBNET_IDS": ",".join(f"{subnet}={s.zones.get(subnet, '')}" for subnet in s.subnet_ids),
            "ACCOUNT_ID": s.account_id,
            "RUNNER_ROLE": s.runner_role,
            "RUNNER_ROLE_ID": s.runner_role_id,
            "INSTANCE_TYPES": ",".join(s.instance_types),
            "AWS_DEFAULT_REGION": REGION,
            "MAX_WAIT_S": str(s.max_wait_s),
            "SCHEDULE_GROUP": s.schedule_group,
            "TIMER_ROLE_ARN": s.timer_role_arn,
            "CLOCK_RULE": s.clock_rule,
            "DEAD_LETTERS_ARN": s.dead_letters_arn,
        }
        defaults = {
            name: str(p["Default"]) for name, p in house.template()["Parameters"].items() if "Default" in p
        }
        for name, value in house.variables("launch").items():
            if name not in known:
                known[name] = defaults[value["Ref"]] if isinstance(value, dict) else str(value)
        return known


@cache
def session() -> boto3.Session:
    """One for all tests: reading EC2's service model again and again would take most of their time."""
    return boto3.Session(region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Tables, bucket and topic."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # seconds of reading that no test needs
    with mock_aws():
        settings = deploy()
        yield Cloud(session(), settings, compose.build(settings, session()))


@pytest.fixture
def whole_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The launch template, subnets and a state machine as well, and a function's environment."""
    settings = deploy_launching(cloud.settings)
    whole = Cloud(session(), settings, compose.build(settings, session()))
    for name, value in whole.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "Session", session)
    compose.from_environment.cache_clear()
    yield whole
    compose.from_environment.cache_clear()


def deploy() -> Settings:
    """Create what the template creates, from the template's own properties."""
    dynamodb = session().client("dynamodb")
    tables = house.resources("AWS::DynamoDB::Table")
    assert set(tables) == set(TABLES)
    for name, properties in tables.items():
        dynamodb.create_table(TableName=name, **{k: v for k, v in properties.items() if k in AT_CREATION})
        if expiry := properties.get("TimeToLiveSpecification"):
            dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=expiry)
    s3 = session().client("s3")
    bucket = house.resources("AWS::S3::Bucket")["Bucket"]
    s3.create_bucket(Bucket="bucket")
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration=bucket["VersioningConfiguration"])
    session().client("scheduler").create_schedule_group(Name="arcspot-test")
    rule = house.resources("AWS::Events::Rule")["EachMinute"]
    session().client("events").put_rule(Name=CLOCK, ScheduleExpression=rule["ScheduleExpression"])
    topic = session().client("sns").create_topic(Name="alerts")["TopicArn"]
    return small_settings(
        jobs_table="JobsTable",
        launches_table="LaunchesTable",
        ledger_table="LedgerTable",
        events_table="EventsTable",
        topic_arn=topic,
        timer_role_arn="arn:aws:iam::123456789012:role/timer",
        dead_letters_arn="arn:aws:sqs:us-east-1:123456789012:dead-letters",
    )


def deploy_launching(settings: Settings) -> Settings:
    ec2 = session().client("ec2")
    image = ec2.register_image(Name="image", RootDeviceName="/dev/xvda")["ImageId"]
    template = ec2.create_launch_template(
        LaunchTemplateName="runner", LaunchTemplateData={"ImageId": image, "InstanceType": "g4dn.xlarge"}
    )["LaunchTemplate"]["LaunchTemplateId"]
    subnets = {s["SubnetId"]: s["AvailabilityZone"] for s in ec2.describe_subnets()["Subnets"][:2]}
    machine = (
        session()
        .client("stepfunctions")
        .create_state_machine(
            name="RunnerLifecycle",
            definition=json.dumps(WAITING),
            roleArn="arn:aws:iam::123456789012:role/states",
        )["stateMachineArn"]
    )
    return replace(
        settings,
        state_machine_arn=machine,
        launch_template_id=template,
        subnet_ids=tuple(subnets),
        zones=subnets,
    )

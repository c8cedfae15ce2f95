"""The one composition root: settings in, every adapter out."""

from __future__ import annotations

import os
from functools import cache

import boto3
from botocore.config import Config

from arcspot.aws.bucket import AT_ONCE, Bucket
from arcspot.aws.compute import Ec2
from arcspot.aws.dynamo import DynamoStore
from arcspot.aws.messages import AsyncInvoke, DoorBell, StepFunctions, StsWitness, Topic
from arcspot.aws.pausing import FullJitter
from arcspot.aws.prices import PRICE_LIST_REGION, PriceList
from arcspot.aws.timers import Scheduler
from arcspot.domain import identity
from arcspot.ports import Ports
from arcspot.settings import Settings

# Presigned PUTs must not carry a checksum of our own choosing beside the one we sign.
_CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 4},
    connect_timeout=3,
    read_timeout=20,
    signature_version="v4",
    request_checksum_calculation="when_required",
)
# The watchdog rings before it looks at anything else: a door that hangs must not cost it its minute.
_BELL_CONFIG = _CONFIG.merge(Config(read_timeout=10, retries={"mode": "standard", "total_max_attempts": 1}))
_S3_CONFIG = _CONFIG.merge(
    Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=AT_ONCE)
)


def client_config(service: str) -> Config:
    """The one configuration every client of a service is made with."""
    return _S3_CONFIG if service == "s3" else _CONFIG


def sts_endpoint(session: boto3.Session) -> str:
    """The region's own STS endpoint, or the emulator's when one is configured.

    Not what an STS client says: Lambda's own SDK may be in legacy mode and name the global host.
    """
    return identity.sts_endpoint(session.region_name, os.environ)


def build(settings: Settings, session: boto3.Session) -> Ports:
    """Every port over AWS. Clients read the endpoint from AWS_ENDPOINT_URL like any SDK."""
    return Ports(
        store=DynamoStore(session.client("dynamodb", config=_CONFIG), settings),
        objects=Bucket(session.client("s3", config=_S3_CONFIG), settings.bucket),
        compute=Ec2(
            session.client("ec2", config=_CONFIG),
            stack=settings.stack,
            template_id=settings.launch_template_id,
            subnet_ids=settings.subnet_ids,
            zones=settings.zones,
        ),
        workflow=StepFunctions(session.client("stepfunctions", config=_CONFIG), settings.state_machine_arn),
        mail=Topic(session.client("sns", config=_CONFIG), settings.topic_arn),
        kick=AsyncInvoke(session.client("lambda", config=_CONFIG), settings.stack),
        identity=StsWitness(sts_endpoint(session)),
        timers=Scheduler(
            session.client("scheduler", config=_CONFIG),
            group=settings.schedule_group,
            role_arn=settings.timer_role_arn,
        ),
        price_list=PriceList(
            session.client("pricing", region_name=PRICE_LIST_REGION, config=_CONFIG),
            session.region_name or PRICE_LIST_REGION,
        ),
        bell=DoorBell(session.client("lambda", config=_BELL_CONFIG), settings.stack),
        pause=FullJitter(),
    )


@cache
def from_environment() -> tuple[Settings, Ports]:
    """Settings and ports of a Lambda function; built at its first call, not at import."""
    settings = Settings.from_env(os.environ)
    return settings, build(settings, boto3.Session())

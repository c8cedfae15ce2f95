"""The one composition root: settings in, every adapter out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import boto3
from botocore.config import Config

from arcspot.aws.bucket import AT_ONCE, Bucket
from arcspot.aws.clock import MinuteRule
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


class Late:
    """A client that is made when it is first asked for something: most calls need two or three of ten.

    Each costs tens of milliseconds of a cold start, EC2's alone 80.
    """

    _one_at_a_time = threading.Lock()  # making clients is not safe in threads

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            with self._one_at_a_time:
                if self._made is None:
                    self._made = self._make()
        return getattr(self._made, name)


def build(settings: Settings, session: boto3.Session) -> Ports:
    """Every port over AWS. Clients read the endpoint from AWS_ENDPOINT_URL like any SDK."""

    def client(service: str, config: Config = _CONFIG, **more: Any) -> Any:
        return Late(partial(session.client, service, config=config, **more))

    return Ports(
        store=DynamoStore(client("dynamodb"), settings),
        objects=Bucket(client("s3", _S3_CONFIG), settings.bucket),
        compute=Ec2(
            client("ec2"),
            stack=settings.stack,
            template_id=settings.launch_template_id,
            subnet_ids=settings.subnet_ids,
            zones=settings.zones,
        ),
        workflow=StepFunctions(client("stepfunctions"), settings.state_machine_arn),
        mail=Topic(client("sns"), settings.topic_arn),
        kick=AsyncInvoke(client("lambda"), settings.stack),
        identity=StsWitness(sts_endpoint(session)),
        timers=Scheduler(
            client("scheduler"),
            group=settings.schedule_group,
            role_arn=settings.timer_role_arn,
            dead_letters=settings.dead_letters_arn,
        ),
        clock=MinuteRule(client("events"), settings.clock_rule),
        price_list=PriceList(
            client("pricing", region_name=PRICE_LIST_REGION), session.region_name or PRICE_LIST_REGION
        ),
        bell=DoorBell(client("lambda", _BELL_CONFIG), settings.stack),
        pause=FullJitter(),
    )


@cache
def from_environment() -> tuple[Settings, Ports]:
    """Settings and ports of a Lambda function; built at its first call, not at import."""
    settings = Settings.from_env(os.environ)
    return settings, build(settings, boto3.Session())

"""What the template itself decides about a bill: memory, indexes, alarms, schedules, events of objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from arcspot_simulator.capacity import Index
from arcspot_simulator.metering import Shape

TABLES = {"JobsTable": "jobs", "LaunchesTable": "launches", "LedgerTable": "ledger", "EventsTable": "events"}
HOURS = 730
# Lambda polls an idle queue with five long polls of 20 s at once.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
POLLS_A_MINUTE = 15
# DynamoDB asks KMS once for a table and caller, then keeps the key for five minutes.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html
KEY_KEPT_S = 300
WATCHDOG_METRICS = 9
EACH_S = {"minute": 60, "minutes": 60, "hour": 3600, "hours": 3600, "day": 86400, "days": 86400}


def read(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml_parse((project / "template.yaml").read_text())
    return found


def resources(template: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, resource in template["Resources"].items():
        if resource["Type"] == kind:
            yield name, resource.get("Properties", {})


def functions(template: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Folder's name → properties."""
    found = resources(template, "AWS::Serverless::Function")
    return {str(each["CodeUri"]).removeprefix("functions/"): each for _, each in found}


def shape(template: Mapping[str, Any]) -> Shape:
    usual = template["Globals"]["Function"]
    bucket = dict(resources(template, "AWS::S3::Bucket"))["Bucket"]
    told = bucket.get("NotificationConfiguration", {}).get("EventBridgeConfiguration", {})
    indexes = {
        TABLES[name]: [
            Index(
                tuple(key["AttributeName"] for key in each["KeySchema"]),
                whole=each["Projection"]["ProjectionType"] == "ALL",
            )
            for each in table.get("GlobalSecondaryIndexes", ())
        ]
        for name, table in resources(template, "AWS::DynamoDB::Table")
    }
    return Shape(
        memory_gb={
            name: each.get("MemorySize", usual["MemorySize"]) / 1024
            for name, each in functions(template).items()
        },
        indexes=indexes,
        object_events=bool(told.get("EventBridgeEnabled")),
        platform_lines=usual["LoggingConfig"].get("SystemLogLevel", "INFO") != "WARN",
    )


def gb_seconds_line(template: Mapping[str, Any]) -> str:
    (architecture,) = template["Globals"]["Function"]["Architectures"]
    if isinstance(architecture, Mapping):
        architecture = template["Parameters"][architecture["Ref"]]["Default"]
    return f"Lambda GB-seconds, {'arm64' if architecture == 'arm64' else 'x86'}"


def encrypted_with_kms(template: Mapping[str, Any]) -> int:
    """How many tables have their rows under a KMS key."""
    tables = resources(template, "AWS::DynamoDB::Table")
    return sum(bool(each.get("SSESpecification", {}).get("SSEEnabled")) for _, each in tables)


def alarms(template: Mapping[str, Any]) -> int:
    """Alarm metrics: each that an alarm looks at is charged."""
    found = resources(template, "AWS::CloudWatch::Alarm")
    return sum(len(each.get("Metrics", (1,))) for _, each in found)


def calls_a_month(expression: str) -> float:
    """How often a month a schedule of the form rate(n unit) calls. Raises ValueError for another."""
    found = re.fullmatch(r"rate\((\d+) (\w+)\)", expression)
    if found is None:
        raise ValueError(f"{expression!r} is no rate(n unit)")
    return HOURS * 3600 / (int(found[1]) * EACH_S[found[2]])


def scheduled(template: Mapping[str, Any]) -> float:
    """Calls of EventBridge Scheduler a month. Rules on the default bus are not charged."""
    return sum(
        calls_a_month(event["Properties"]["ScheduleExpression"])
        for each in functions(template).values()
        for event in each.get("Events", {}).values()
        if event["Type"] == "ScheduleV2"
    )


def metrics(template: Mapping[str, Any]) -> int:
    """Custom metrics that an idle stack publishes all the time: none unless it was asked for them.

    `Attention` costs for the hours in which something is wrong.
    """
    asked_for = template["Parameters"].get("Metrics", {}).get("Default", "true")
    return WATCHDOG_METRICS if asked_for == "true" else 0

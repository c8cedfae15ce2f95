"""What every other service takes in a request, beyond its model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arcspot_simulator.limits import (
    EVENT_BYTES,
    REQUEST_BYTES,
    STATE_BYTES,
    execution_name_fault,
    object_key_fault,
    presigned_fault,
    size,
    text_fault,
)
from tests.fakes.limit import EVERY, Limit, field_of, nothing

SQS_TEXT = re.compile("[\\t\\n\\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def object_keys(params: Mapping[str, Any]) -> Iterator[str]:
    """Every object key that a request names."""
    if params.get("Key") is not None:
        yield params["Key"]
    yield from (each["Key"] for each in params.get("Delete", {}).get("Objects", ()))


def metadata(params: Mapping[str, Any]) -> Iterator[str]:
    """All names and values of an object's own metadata together."""
    yield "".join(name + value for name, value in params.get("Metadata", {}).items())


def texts(value: Any) -> Iterator[str]:
    """What is wrong with any text of a request."""
    if isinstance(value, str):
        yield text_fault(value)
    elif isinstance(value, Mapping):
        for name, held in value.items():
            yield from texts(name)
            yield from texts(held)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)


def events(params: Mapping[str, Any]) -> Iterator[int]:
    """Bytes of the events of a call together, as EventBridge counts them."""
    yield sum(
        (14 if "Time" in entry else 0)
        + sum(size(entry[name]) for name in ("Source", "DetailType", "Detail") if name in entry)
        + sum(size(arn) for arn in entry.get("Resources", ()))
        for entry in params["Entries"]
    )


def messages(params: Mapping[str, Any]) -> Iterator[list[str]]:
    """The bodies of a call's messages."""
    yield (
        [params["MessageBody"]] if "MessageBody" in params else [e["MessageBody"] for e in params["Entries"]]
    )


def tags(value: Any) -> Iterator[Sequence[Mapping[str, str]]]:
    if isinstance(value, Mapping):
        for name, held in value.items():
            if (
                name == "Tags"
                and isinstance(held, list)
                and held
                and isinstance(held[0], Mapping)
                and "Key" in held[0]
            ):
                yield held
            else:
                yield from tags(held)
    elif isinstance(value, list):
        for each in value:
            yield from tags(each)


def tags_hold(held: Sequence[Mapping[str, str]]) -> bool:
    return (
        len(held) <= 50
        and len({tag["Key"] for tag in held}) == len(held)
        and all(1 <= len(tag["Key"]) <= 128 and len(tag.get("Value", "")) <= 256 for tag in held)
        and not any(tag["Key"].startswith("aws:") for tag in held)
    )


def overrides(params: Mapping[str, Any]) -> Iterator[int]:
    yield sum(len(config.get("Overrides", ())) for config in params.get("LaunchTemplateConfigs", ()))


SERVICES = (
    Limit(
        "sns", ("Publish",), "a subject of 1 to 100 printable ASCII characters, the first no space",
        field_of("Subject"), lambda text: bool(re.fullmatch(r"[!-~][ -~]{0,99}", text)),
        "https://docs.aws.amazon.com/sns/latest/api/API_Publish.html",
    ),
    Limit(
        "sns", ("Publish",), "a message of 1 byte to 256 KiB",
        field_of("Message"), lambda text: 1 <= size(text) <= 262_144,
        "https://docs.aws.amazon.com/sns/latest/api/API_Publish.html",
    ),
    Limit(
        "sfn", ("StartExecution",), "a name without white space, brackets, wildcards or special characters",
        field_of("name"), lambda name: not execution_name_fault(name),
        "https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html",
    ),
    Limit(
        "sfn", ("StartExecution",), "an input of at most 256 KiB of JSON",
        field_of("input"), lambda text: size(text) <= STATE_BYTES and json.loads(text) is not None,
        "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html",
    ),
    Limit(
        "sfn", ("SendTaskSuccess",), "an output of at most 256 KiB of JSON",
        field_of("output"), lambda text: size(text) <= STATE_BYTES and json.loads(text) is not None,
        "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html",
    ),
    Limit(
        "s3", EVERY, "a key of 1 to 1,024 bytes",
        object_keys, lambda key: 1 <= size(key) <= 1024,
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html",
    ),
    Limit(
        "s3", EVERY, "no `.` or `..` as a part of a key: SDKs and proxies make a path of it",
        object_keys, lambda key: "as a part" not in object_key_fault(key),
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html",
    ),
    Limit(
        "s3", EVERY, "metadata of at most 2 KB of ASCII",
        metadata, lambda text: text.isascii() and len(text) <= 2048,
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html",
    ),
    Limit(
        "*", ("presigned URL",), "a presigned URL of 1 s to 7 days",
        field_of("ExpiresIn"), lambda seconds: not presigned_fault(seconds),
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html",
    ),
    Limit(
        "s3", ("DeleteObjects",), "at most 1,000 keys a call",
        lambda params: iter([len(params["Delete"]["Objects"])]), lambda count: 1 <= count <= 1000,
        "https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html",
    ),
    Limit(
        "lambda", ("Invoke",), "an asynchronous event of at most 1 MB",
        lambda params: iter([params["Payload"]] if params.get("InvocationType") == "Event" else []),
        lambda payload: size(payload) <= EVENT_BYTES,
        "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html",
    ),
    Limit(
        "lambda", ("Invoke",), "a synchronous request of at most 6 MB",
        field_of("Payload"), lambda payload: size(payload) <= REQUEST_BYTES,
        "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html",
    ),
    Limit(
        "lambda", ("Invoke",), "a function's name of at most 64 characters",
        field_of("FunctionName"), lambda name: len(name.rpartition(":")[2]) <= 64,
        "https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html",
    ),
    Limit(
        "sqs", ("SendMessage", "SendMessageBatch"), "messages of 1 byte to 1 MiB in all, of XML's characters",
        messages,
        lambda bodies: all(body and SQS_TEXT.fullmatch(body) for body in bodies)
        and sum(map(size, bodies)) <= 1024 * 1024,
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html",
    ),
    Limit(
        "eventbridge", ("PutEvents",), "events of at most 1 MB together",
        events, lambda total: total <= 1024 * 1024,
        "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html",
    ),
    Limit(
        "*", EVERY, "texts in valid UTF-8: no half of a surrogate pair",
        texts, nothing,
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html",
    ),
    Limit(
        "ec2", ("CreateFleet",), "a client token of at most 64 ASCII characters",
        field_of("ClientToken"), lambda token: token.isascii() and 1 <= len(token) <= 64,
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html",
    ),
    Limit(
        "ec2", ("CreateFleet",), "at most 300 overrides",
        overrides, lambda count: count <= 300,
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_FleetLaunchTemplateConfigRequest.html",
    ),
    Limit(
        "ec2", EVERY, "at most 50 tags, keys of 128 characters, values of 256, each key once",
        tags, tags_hold,
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html",
    ),
    Limit(
        "ec2", ("TerminateInstances",), "one id a call: one bad id would end none",
        lambda params: iter([len(params["InstanceIds"])]), lambda count: count == 1,
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html",
    ),
    Limit(
        "scheduler", ("CreateSchedule",), "a moment as at(yyyy-mm-ddThh:mm:ss), a cron or a rate",
        field_of("ScheduleExpression"),
        lambda text: bool(
            re.fullmatch(r"at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)|rate\(\d+ \w+\)|cron\((\S+ ){5}\S+\)", text)
        ),
        "https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html",
    ),
    Limit(
        "scheduler", ("CreateSchedule",), "a target's input of 1 byte to 256 KiB",
        lambda params: iter([params["Target"]["Input"]]), lambda text: 1 <= size(text) <= 262_144,
        "https://docs.aws.amazon.com/scheduler/latest/UserGuide/scheduler-quotas.html",
    ),
)  # fmt: skip

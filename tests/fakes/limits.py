"""What AWS takes in a request, as far as it is written down, and a watch over every request that is built.

Two sources: botocore's service models (lengths, patterns, counts and enumerations, of which botocore itself
only checks a few), and the limits below, which stand in the services' documentation alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = ROOT / "layers" / "common" / "arcspot" / "aws"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as our code built it. `site` is the adapter's `file:function`, "" for another caller."""

    service: str
    operation: str
    params: Mapping[str, Any]
    site: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that no model holds. `find` gives the values it is about; `holds` says whether one is taken."""

    service: str
    operations: tuple[str, ...]
    what: str
    find: Callable[[Mapping[str, Any]], Iterator[Any]]
    holds: Callable[[Any], bool]
    source: str


def size(value: str | bytes) -> int:
    return len(value.encode() if isinstance(value, str) else value)


def field_of(name: str) -> Callable[[Mapping[str, Any]], Iterator[Any]]:
    def find(params: Mapping[str, Any]) -> Iterator[Any]:
        if params.get(name) is not None:
            yield params[name]

    return find


def items(params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every DynamoDB item that a request puts."""
    if "Item" in params:
        yield params["Item"]
    for each in params.get("TransactItems", ()):
        if "Put" in each:
            yield each["Put"]["Item"]
    for requests in (
        params.get("RequestItems", {}).values() if isinstance(params.get("RequestItems"), dict) else ()
    ):
        if isinstance(requests, list):
            yield from (each["PutRequest"]["Item"] for each in requests if "PutRequest" in each)


def weight(value: Any) -> int:
    """Bytes of a DynamoDB attribute, names of maps included; numbers rounded up."""
    ((kind, held),) = value.items()
    if kind in ("S", "B"):
        return size(held)
    if kind == "N":
        return len(held) // 2 + 2
    if kind in ("BOOL", "NULL"):
        return 1
    if kind == "L":
        return 3 + sum(1 + weight(each) for each in held)
    if kind == "M":
        return 3 + sum(1 + size(name) + weight(each) for name, each in held.items())
    return sum(size(each) for each in held)


def item_weight(item: Mapping[str, Any]) -> int:
    return sum(size(name) + weight(value) for name, value in item.items())


def keys_hold(item: Mapping[str, Any]) -> bool:
    """Keys of tables and indexes: never empty, 2,048 bytes where they partition, 1,024 where they sort."""
    held = {name: next(iter(value.values())) for name, value in item.items() if name in KEYS}
    return all(1 <= size(str(value)) <= KEYS[name] for name, value in held.items())


KEYS = {
    "pk": 2048,
    "due": 2048,
    "in_batch": 2048,
    "open": 2048,
    "sk": 1024,
    "due_at": 1024,
    "created_at": 1024,
}
KEYS |= {"state": 1024}


def numbers(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, held in value.items():
            if name == "N" and isinstance(held, str):
                yield held
            else:
                yield from numbers(held)
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each)


def digits(number: str) -> int:
    return len(number.lower().partition("e")[0].replace(".", "").lstrip("-0").rstrip("0"))


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


def _row(put: Mapping[str, Any]) -> tuple[str, str]:
    return put["TableName"], put["Item"]["pk"]["S"]


def overrides(params: Mapping[str, Any]) -> Iterator[int]:
    yield sum(len(config.get("Overrides", ())) for config in params.get("LaunchTemplateConfigs", ()))


EVERY = ("*",)
LIMITS = (
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
        "dynamodb", ("PutItem", "TransactWriteItems", "BatchWriteItem"), "an item of at most 400 KB",
        items, lambda item: item_weight(item) <= 400 * 1024,
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html",
    ),
    Limit(
        "dynamodb", ("PutItem", "TransactWriteItems", "BatchWriteItem"),
        "keys of tables and indexes that are not empty and at most 2,048 (partition) or 1,024 (sort) bytes",
        items, keys_hold,
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html",
    ),
    Limit(
        "dynamodb", EVERY, "numbers of at most 38 digits",
        numbers, lambda number: digits(number) <= 38,
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html",
    ),
    Limit(
        "dynamodb", ("TransactWriteItems",), "no two actions of a transaction on one item",
        lambda params: iter([[_row(each["Put"]) for each in params["TransactItems"]]]),
        lambda named: len(set(named)) == len(named),
        "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html",
    ),
    Limit(
        "dynamodb", ("TransactWriteItems",), "at most 4 MB together",
        lambda params: iter([sum(item_weight(item) for item in items(params))]),
        lambda total: total <= 4 * 1024 * 1024,
        "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html",
    ),
    Limit(
        "sfn", ("StartExecution",), "a name without white space, brackets, wildcards or special characters",
        field_of("name"),
        lambda name: not re.search(r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]", name),
        "https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html",
    ),
    Limit(
        "sfn", ("StartExecution",), "an input of at most 256 KiB of JSON",
        field_of("input"), lambda text: size(text) <= 262_144 and json.loads(text) is not None,
        "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html",
    ),
    Limit(
        "sfn", ("SendTaskSuccess",), "an output of at most 256 KiB of JSON",
        field_of("output"), lambda text: size(text) <= 262_144 and json.loads(text) is not None,
        "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html",
    ),
    Limit(
        "s3", EVERY, "a key of 1 to 1,024 bytes",
        field_of("Key"), lambda key: 1 <= size(key) <= 1024,
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html",
    ),
    Limit(
        "s3", EVERY, "no `.` or `..` as a part of a key: SDKs and proxies make a path of it",
        field_of("Key"), lambda key: not {".", ".."} & set(key.split("/")),
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html",
    ),
    Limit(
        "s3", ("DeleteObjects",), "at most 1,000 keys a call",
        lambda params: iter([len(params["Delete"]["Objects"])]), lambda count: 1 <= count <= 1000,
        "https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html",
    ),
    Limit(
        "lambda", ("Invoke",), "an asynchronous event of at most 256 KiB",
        lambda params: iter([params["Payload"]] if params.get("InvocationType") == "Event" else []),
        lambda payload: size(payload) <= 262_144,
        "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html",
    ),
    Limit(
        "lambda", ("Invoke",), "a function's name of at most 64 characters",
        field_of("FunctionName"), lambda name: len(name.rpartition(":")[2]) <= 64,
        "https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html",
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


def faults(call: Call, shape: Any) -> list[str]:
    """What AWS would refuse of a request; nothing when it is good. `shape` is the model's input."""
    found = [str(error) for error in _invalid(call.params, shape)]
    if found or shape is None:
        return found
    found = list(_against(shape, call.params, ""))
    for limit in LIMITS:
        if limit.service == call.service and (
            limit.operations == EVERY or call.operation in limit.operations
        ):
            found += [
                f"{limit.what}; found {value!r:.200} ({limit.source})"
                for value in limit.find(call.params)
                if not limit.holds(value)
            ]
    return found


def _invalid(params: Mapping[str, Any], shape: Any) -> Iterator[str]:
    if shape is None:
        if params:
            yield f"no parameters are taken, found {sorted(params)}"
        return
    # botocore itself fills these in where they are left out, after this look.
    tokens = {name for name, member in shape.members.items() if member.metadata.get("idempotencyToken")}
    report = ParamValidator().validate({**dict.fromkeys(tokens, "token"), **params}, shape)
    if report.has_errors():
        yield report.generate_report()


def _against(shape: Any, value: Any, at: str) -> Iterator[str]:
    """Every limit of the model that a value breaks, with its place."""
    limits = shape.metadata
    low, high = limits.get("min"), limits.get("max")
    if shape.type_name == "structure":
        for name, held in value.items():
            if held is not None:
                yield from _against(shape.members[name], held, f"{at}.{name}")
        return
    if shape.type_name == "list":
        for n, each in enumerate(value):
            yield from _against(shape.member, each, f"{at}[{n}]")
    elif shape.type_name == "map":
        for name, held in value.items():
            yield from _against(shape.key, name, f"{at} key")
            yield from _against(shape.value, held, f"{at}[{name!r}]")
    if shape.type_name in ("list", "map", "string", "blob"):
        if not hasattr(value, "__len__"):
            return
        length = len(value)
        if (low is not None and length < low) or (high is not None and length > high):
            yield f"{at}: {length} long, the model says {low} to {high}: {value!r:.100}"
    elif shape.type_name in ("integer", "long", "float", "double") and (
        (low is not None and value < low) or (high is not None and value > high)
    ):
        yield f"{at}: {value}, the model says {low} to {high}"
    if shape.type_name == "string":
        if limits.get("enum") and value not in limits["enum"]:
            yield f"{at}: {value!r} is none of the model's {len(limits['enum'])} values"
        pattern = _compiled(limits.get("pattern", ""))
        # Models write `arn:aws(-[a-z]+)?:`, which leaves GovCloud's name, with two hyphens, out by mistake.
        written = value.replace("arn:aws-us-gov:", "arn:aws-gov:")
        if pattern is not None and not (pattern.fullmatch(value) or pattern.fullmatch(written)):
            yield f"{at}: {value!r:.100} does not match {pattern.pattern}"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """Some models use the patterns of another language: those that Python cannot read are left out."""
    try:
        return re.compile(pattern) if pattern else None
    except re.error:
        return None


@dataclass
class Watch:
    """Every request that is built while it looks on."""

    calls: list[Call] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@contextmanager
def watching(*, refusing: str = "") -> Iterator[Watch]:
    """Look at every request before botocore does anything with it: sent, stubbed, or only presigned.

    With a code in `refusing` each is answered by that error: what an adapter asks next is seen as well.
    """
    watch, original = Watch(), BaseClient._emit_api_params

    def emit(self: Any, api_params: Any, operation_model: Any, context: Any) -> Any:
        built = api_params
        try:
            if refusing:
                error = {"Error": {"Code": refusing, "Message": "as asked"}}
                raise ClientError(error, operation_model.name)  # type: ignore[arg-type]
            # Tables of boto3's resources take plain values; their own hook makes them the service's.
            built = original(self, api_params, operation_model, context)
            return built
        finally:
            service = operation_model.service_model.service_id.lower().replace(" ", "-")
            call = Call(service, operation_model.name, built, _site())
            watch.calls.append(call)
            found = faults(call, operation_model.input_shape)
            watch.faults += [f"{service} {call.operation}: {fault}" for fault in found]

    BaseClient._emit_api_params = emit
    try:
        yield watch
    finally:
        BaseClient._emit_api_params = original


def _site() -> str:
    frame: Any = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.parent == ADAPTERS:
            return f"{path.name}:{frame.f_code.co_qualname}"
        frame = frame.f_back
    return ""

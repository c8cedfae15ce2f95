"""Recurring submissions: EventBridge schedules that hand the files below a prefix to ingest, again and again.

The files lie under `recurring/`, where dropping them starts nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from arcspot.domain import documents
from arcspot.domain.tasks import MAX_KEY_BYTES, key_fault
from arcspot_cli import faults, showing
from arcspot_cli.errors import CommandFailed
from arcspot_cli.faults import Fault

if TYPE_CHECKING:
    from arcspot_cli.target import Target

RECURRING = "recurring/"
# Launches have their one-shot schedules in the same group.
OURS = "recurring-"
# Every batch is called name-<time>, and a schedule's name has at most 64 characters.
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,39}")
# https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
MAX_DESCRIPTION = 512
# Of bytes: what is below it has to have a key of its own, of at most `MAX_KEY_BYTES`.
MAX_PREFIX_BYTES = MAX_KEY_BYTES - 100
# Filled in by Scheduler itself: a turn that is told again stays the same run.
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
DUE = "<aws.scheduler.scheduled-time>"


@dataclass(frozen=True, slots=True)
class Recurring:
    """A recurring submission: every file below `prefix`, each time `expression` (UTC) says so."""

    name: str
    prefix: str
    expression: str
    state: str = "ENABLED"


def add(target: Target, name: str, prefix: str, expression: str) -> Recurring:
    """Create the schedule.

    Raises CommandFailed on a bad name, prefix or expression, or when the name is taken.
    """
    if not NAME.fullmatch(name):
        raise CommandFailed(
            f"{name!r} is no name: up to 40 letters, digits, - and _, a letter or digit first"
        )
    wanted = Recurring(name, below_recurring(prefix), expression)
    again = {"prefix": wanted.prefix, "name": name, "at": DUE}
    try:
        target.client("scheduler").create_schedule(
            Name=OURS + name,
            GroupName=target.output("ScheduleGroup"),
            Description=f"arcspot: submit {wanted.prefix} again"[:MAX_DESCRIPTION],
            ScheduleExpression=expression,
            ScheduleExpressionTimezone="UTC",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": target.output("IngestFunctionArn"),
                "RoleArn": target.output("ScheduleRoleArn"),
                "Input": json.dumps({"submit_again": again}),
                "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 10},
                # A turn that cannot be told is a dead letter, and an alarm says so.
                "DeadLetterConfig": {"Arn": target.output("DeadLettersArn")},
            },
        )
    except ClientError as error:
        raise _told(error, name, expression) from error
    return wanted


def every(
    target: Target, failed: Callable[[Fault], object] = lambda fault: showing.say(str(fault))
) -> Iterator[Recurring]:
    """The recurring submissions of a stack, by name. `failed` hears of each that cannot be read."""
    scheduler, group = target.client("scheduler"), target.output("ScheduleGroup")
    pages = scheduler.get_paginator("list_schedules").paginate(GroupName=group, NamePrefix=OURS)
    for name in sorted(each["Name"] for page in pages for each in page["Schedules"]):
        try:
            found = scheduler.get_schedule(Name=name, GroupName=group)
            one = _recurring(found)
        except Exception as error:
            failed(Fault(name.removeprefix(OURS), faults.words(error)))
        else:
            yield one


def _recurring(found: Mapping[str, Any]) -> Recurring:
    try:
        again = documents.parsed(found["Target"]["Input"])["submit_again"]
        told = {"name": again["name"], "prefix": again["prefix"]}
        told |= {"expression": found["ScheduleExpression"], "state": found["State"]}
        one: Recurring = documents.fitting(Recurring, told)
        return one
    except (LookupError, TypeError, ValueError) as error:
        short = found["Name"].removeprefix(OURS)
        raise CommandFailed(
            f"it is not as arcspot made it ({type(error).__name__}); arcspot schedule remove {short}"
        ) from error


def remove(target: Target, name: str) -> None:
    """Forget a recurring submission; its files and results stay. Raises CommandFailed when there is none."""
    try:
        target.client("scheduler").delete_schedule(Name=OURS + name, GroupName=target.output("ScheduleGroup"))
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise CommandFailed(f"no schedule {name!r}; see: arcspot schedule list") from error
        raise


def files(target: Target, prefix: str) -> int:
    """How many files a turn would submit now."""
    return sum(key.endswith(".json") for key in target.bucket.keys(prefix))


def below_recurring(prefix: str) -> str:
    """The folder of a prefix, always below `recurring/` and ending in a slash: `a` must not mean `ab` too.

    Raises CommandFailed for a folder below which no file could be submitted.
    """
    folder = prefix.strip("/") + "/"
    if folder in ("/", RECURRING):
        return RECURRING
    whole = folder if folder.startswith(RECURRING) else RECURRING + folder
    fault = key_fault(f"{whole}x.json")
    if fault is not None or len(whole.encode()) > MAX_PREFIX_BYTES:
        found = fault.found if fault is not None else f"{len(whole.encode()):,} bytes"
        raise CommandFailed(
            f"{prefix[:60]!r} is no folder: expected one of at most {MAX_PREFIX_BYTES} bytes, without "
            f'control characters, "//", "." and ".."; found {found}'
        )
    return whole


def expression(cron: str | None, rate: str | None) -> str:
    """Scheduler's expression from one of `cron(0 22 * * ? *)`, `0 22 * * ? *`, `rate(1 day)`, `1 day`."""
    if (cron is None) == (rate is None):
        raise CommandFailed('say when, by one of --cron "cron(0 22 * * ? *)" and --rate "rate(1 day)" (UTC)')
    kind, said = ("cron", cron) if cron is not None else ("rate", rate or "")
    inner = said.strip().removeprefix(f"{kind}(").removesuffix(")").strip()
    if len(inner.split()) != {"cron": 6, "rate": 2}[kind]:
        raise CommandFailed(
            f"{said!r} is no {kind}; expected "
            + ('"cron(minutes hours day month weekday year)"' if kind == "cron" else '"rate(1 day)"')
        )
    return f"{kind}({inner})"


def _told(error: ClientError, name: str, wanted: str) -> Exception:
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    if code == "ConflictException":
        return CommandFailed(f"there is a schedule {name!r} already; first: arcspot schedule remove {name}")
    if code == "ValidationException":
        return CommandFailed(f"EventBridge does not take {wanted!r}: {message}")
    return error

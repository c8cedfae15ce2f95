"""check: what stands between a user and the first solved task, each with the next step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from arcspot.errors import ConfigurationError
from arcspot_cli import images, naming, pruning, quotas, zones
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target

DEFAULT_TYPES = "g4dn.xlarge,g4dn.2xlarge"
"""The template's, for a region where there is no stack yet."""
MANY_VERSIONS = 20
NOT_DEPLOYED = "not deployed yet"
NO_BUDGET = (
    "none: BudgetBackstop is false, or CloudFormation makes no budgets in this region. The ledger still "
    "bounds what arcspot starts, and three killers end instances. Missing is the one that is not arcspot's "
    "own: nobody compares AWS's bill with a limit and takes launching away. How to make one by hand: "
    "docs/operations.md"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` is None when it was not seen, or is only worth a look."""

    what: str
    ok: bool | None
    said: str


Look = Callable[[Target], tuple[bool | None, str]]


def findings(target: Target, now: datetime) -> Iterator[Finding]:
    """Look at everything that may stop a user, in the order in which it does."""
    looks: tuple[tuple[str, Look], ...] = (
        ("credentials", _credentials),
        ("stack name", _name),
        ("stack", _stack),
        ("zones", _zones),
        ("GPU spot quota", quotas.spot),
        ("GPU on-demand quota", quotas.on_demand),
        ("image", lambda target: _image(target, now)),
        ("alert mail", _mail),
        ("account budget", _budget),
        ("old runner versions", lambda target: _versions(target, now)),
    )
    for what, look in looks:
        yield _seen(what, look, target)


def _seen(what: str, look: Look, target: Target) -> Finding:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        ok, said = look(target)
    except (CommandFailed, ConfigurationError) as error:
        return Finding(what, False, str(error))
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return Finding(
            what, None, f"could not be looked at: {code} {error.response['Error'].get('Message', '')}"
        )
    except (BotoCoreError, KeyError, ValueError) as error:
        return Finding(what, False if what == "credentials" else None, f"could not be looked at: {error}")
    return Finding(what, ok, said)


def _credentials(target: Target) -> tuple[bool, str]:
    who: dict[str, Any] = target.client("sts").get_caller_identity()
    return True, f"{who['Arn']} on {target.label}"


def _name(target: Target) -> tuple[bool, str]:
    refused = naming.too_long(target.stack)
    return refused is None, refused or f"{target.stack}: short enough"


def _stack(target: Target) -> tuple[bool, str]:
    status = str(target.description["StackStatus"])
    good = status.endswith("_COMPLETE") and "ROLLBACK" not in status and "DELETE" not in status
    return good, f"{target.stack}: {status}" + (
        "" if good else "; see its events in the CloudFormation console"
    )


def _deployed(target: Target) -> bool:
    try:
        return bool(target.description)
    except CommandFailed:
        return False


def _zones(target: Target) -> tuple[bool | None, str]:
    """EC2's own word on which zones offer the types, against the stack's subnets.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypeOfferings.html
    """
    ec2, deployed = target.client("ec2"), _deployed(target)
    told = target.parameters.get("InstanceTypes", DEFAULT_TYPES) if deployed else DEFAULT_TYPES
    types = [name.strip() for name in told.split(",") if name.strip()]
    offers: dict[str, set[str]] = {name: set() for name in types}
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": types}]
    )
    for page in pages:
        for offer in page["InstanceTypeOfferings"]:
            offers.setdefault(offer["InstanceType"], set()).add(offer["Location"])
    if not deployed:
        return zones.judged(offers, None)
    subnets = ec2.describe_subnets(SubnetIds=target.output("SubnetIds").split(","))["Subnets"]
    return zones.judged(offers, [subnet["AvailabilityZone"] for subnet in subnets])


def _image(target: Target, now: datetime) -> tuple[bool | None, str]:
    known = images.read()
    deployed = _deployed(target)
    path = target.parameters.get("ImageParameter", "") if deployed else known.default.parameter
    line = known.line(path)
    if line is None:
        return None, f"{path}: arcspot does not know how long this line is patched; see {images.FACTS.name}"
    warned = images.warning(line, now.date())
    if warned is None:
        return True, f"PyTorch {line.torch}, patched until {line.end_of_patch}"
    newest = known.default.parameter
    return None, warned + (f": ImageParameter={newest}" if line is not known.default else "")


def _budget(target: Target) -> tuple[bool | None, str]:
    if not _deployed(target):
        return None, NOT_DEPLOYED
    name = target.outputs.get("AccountBudget")
    if name:
        return True, f"{name} takes launching away when the account's bill reaches it"
    return None, NO_BUDGET


def _versions(target: Target, now: datetime) -> tuple[bool | None, str]:
    if not _deployed(target):
        return None, NOT_DEPLOYED
    found = list(pruning.versions(target))
    old = pruning.doomed(found, target.output("RunnerBundle"), now)
    many = len(old) >= MANY_VERSIONS
    return None if many else True, f"{len(old)} of {len(found)} may go" + (": arcspot prune" if many else "")


def _mail(target: Target) -> tuple[bool | None, str]:
    if not _deployed(target):
        return None, NOT_DEPLOYED
    pages = (
        target.client("sns")
        .get_paginator("list_subscriptions_by_topic")
        .paginate(TopicArn=target.output("TopicArn"))
    )
    subscriptions = [s for page in pages for s in page["Subscriptions"]]
    waiting = [s["Endpoint"] for s in subscriptions if s["SubscriptionArn"] == "PendingConfirmation"]
    if waiting:
        return False, f"{', '.join(waiting)} has not confirmed; look for the mail from AWS Notifications"
    return bool(subscriptions), ", ".join(s["Endpoint"] for s in subscriptions) or "nobody is subscribed"

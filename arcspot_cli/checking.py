"""check: what stands between a user and the first solved task, each with the next step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from arcspot.errors import ConfigurationError
from arcspot_cli import quotas
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` is None when it could not be seen."""

    what: str
    ok: bool | None
    said: str


def findings(target: Target) -> Iterator[Finding]:
    """Look at credentials, stack, quota, mail, in the order in which they stop a user."""
    for what, look in (
        ("credentials", _credentials),
        ("stack", _stack),
        ("GPU spot quota", quotas.spot),
        ("GPU on-demand quota", quotas.on_demand),
        ("alert mail", _mail),
    ):
        yield _seen(what, look, target)


def _seen(what: str, look: Callable[[Target], tuple[bool | None, str]], target: Target) -> Finding:
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


def _stack(target: Target) -> tuple[bool, str]:
    status = str(target.description["StackStatus"])
    good = status.endswith("_COMPLETE") and "ROLLBACK" not in status and "DELETE" not in status
    return good, f"{target.stack}: {status}" + (
        "" if good else "; see its events in the CloudFormation console"
    )


def _mail(target: Target) -> tuple[bool, str]:
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

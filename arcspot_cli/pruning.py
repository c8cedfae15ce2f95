"""prune: remove old versions of the runner layer.

An update keeps the versions before it, because an instance that boots at that moment still fetches the one it
was started with. Lambda stores up to 75 GB of layers and functions in a region, and takes no money for them.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from arcspot_cli import faults, showing
from arcspot_cli.errors import CommandFailed
from arcspot_cli.faults import Fault

if TYPE_CHECKING:
    from arcspot_cli.target import Target

KEEP = timedelta(days=1)
"""So long after its successor came a version stays: an instance fetches it minutes after its start."""


@dataclass(frozen=True, slots=True)
class Version:
    arn: str
    number: int
    created_at: datetime


def doomed(versions: Sequence[Version], current: str, now: datetime) -> list[Version]:
    """The versions that no instance can ask for any more; never the stack's own, and never a newer one."""
    ordered = sorted(versions, key=lambda version: version.number)
    mine = next((version.number for version in ordered if version.arn == current), None)
    if mine is None:
        return []
    return [
        old
        for old, successor in itertools.pairwise(ordered)
        if old.number < mine and successor.created_at <= now - KEEP
    ]


def versions(target: Target) -> Iterator[Version]:
    """Every version of the stack's runner layer."""
    layer = target.output("RunnerBundle").rpartition(":")[0]
    pages = target.client("lambda").get_paginator("list_layer_versions").paginate(LayerName=layer)
    for page in pages:
        for each in page["LayerVersions"]:
            created_at = datetime.fromisoformat(each["CreatedDate"])
            yield Version(each["LayerVersionArn"], int(each["Version"]), created_at)


def prune(
    target: Target,
    now: datetime,
    *,
    failed: Callable[[Fault], object] = lambda fault: showing.say(str(fault)),
) -> list[Version]:
    """Delete what `doomed` names, unless an update is under way: it may go back to the version before.

    `failed` hears of each that could not be deleted; the others are. Raises CommandFailed during an update.
    """
    status = str(target.description["StackStatus"])
    if not status.endswith("_COMPLETE"):
        raise CommandFailed(f"the stack is {status}; wait until its update is over")
    found = doomed(list(versions(target)), target.output("RunnerBundle"), now)
    client, gone = target.client("lambda"), []
    for old in found:
        try:
            client.delete_layer_version(LayerName=old.arn.rpartition(":")[0], VersionNumber=old.number)
        except Exception as error:
            failed(Fault(old.arn, faults.words(error)))
        else:
            gone.append(old)
    return gone

"""What a message in the ingest queue tells of: S3's own notification, or EventBridge's event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from arcspot.domain import documents
from arcspot.domain.faults import encodable
from arcspot.errors import ConfigurationError
from arcspot.services.ingesting import TASKS_PREFIX, Dropped


def read(body: str, bucket: str) -> Sequence[Dropped]:
    """The objects that the body of a queue's message tells of. Raises Unfit where it is nothing of S3's."""
    message = documents.parsed(body)
    try:
        return drops_in(message, bucket)
    except (LookupError, TypeError, ValueError, AttributeError) as fault:
        raise documents.Unfit(f"the message tells of no object as S3 does ({fault!r:.200})") from fault


@dataclass(frozen=True, slots=True)
class Turn:
    """What a recurring submission's schedule says, as `arcspot schedule add` wrote it."""

    prefix: str
    name: str
    at: str = ""


def check_turn(told: object) -> None:
    """Raises ConfigurationError for what asks for no turn of a schedule."""
    try:
        documents.fitting(Turn, told)
    except documents.Unfit as fault:
        raise ConfigurationError(f"submit_again asks for no turn of a schedule: {fault}") from fault


def drops_in(message: Mapping[str, Any], bucket: str = "") -> Sequence[Dropped]:
    """The objects below `tasks/` that a message tells of.

    S3's own notification has URL-encoded keys; EventBridge's has them plain. S3's first message to a queue is
    a test and tells of none. With `bucket`, what happens in any other bucket is not ours.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    if "detail" in message:
        told = [message["detail"]]
    else:
        told = [
            {**record["s3"], "object": _decoded(record["s3"]["object"])}
            for record in message.get("Records", ())
            if str(record.get("eventName", "")).startswith("ObjectCreated:")
        ]
    return tuple(
        _dropped(each["object"])
        for each in told
        if _ours(str(each.get("object", {}).get("key", "")))
        and bucket in ("", each.get("bucket", {}).get("name", bucket))
    )


def _ours(key: str) -> bool:
    return key.startswith(TASKS_PREFIX) and encodable(key)  # S3 has no key that is no UTF-8


def _decoded(item: Mapping[str, Any]) -> dict[str, Any]:
    """An object of S3's own notification in the words of EventBridge's event."""
    return {**item, "key": unquote_plus(str(item["key"])), "version-id": item.get("versionId", "")}


def _dropped(item: Mapping[str, Any]) -> Dropped:
    version = str(item.get("version-id", ""))
    return Dropped(
        key=str(item["key"]),
        size=int(item.get("size", 0)),
        # Of an object that was put before the bucket kept versions.
        object_version="" if version == "null" else version,
        sequencer=str(item.get("sequencer", "")),
    )

"""The state a runner leaves with a job it gives back: one object in the bucket, for the next runner."""

from __future__ import annotations

from typing import Any

from arcspot.domain.jobs import Job
from arcspot.errors import BadRequest
from arcspot.ports import Objects
from arcspot.services.asking import shown, sums, text


def prefix(job_id: str, fence: int) -> str:
    """Where one attempt's state goes: no two attempts ever share a key."""
    return f"checkpoints/{job_id}/{fence}/"


def accepted(objects: Objects, job_id: str, fence: int, checkpoint: object) -> dict[str, Any] | None:
    """The row's record of what was left. Raises BadRequest for anything but this attempt's own upload.

    The key will be presigned for the next runner: were any other key taken, a runner could
    have the server read the bucket for it.
    """
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, dict):
        raise BadRequest("checkpoint: expected {key, bytes, sha256} or null")
    key = text(checkpoint, "key")
    own = prefix(job_id, fence)
    if not key.startswith(own):
        raise BadRequest(f"checkpoint.key: expected a key under {own}, found {shown(key)}")
    name = key.removeprefix(own)
    size, sha256 = sums({name: checkpoint})[name]
    found = objects.stored(key)
    if found is None or found.size != size:
        raise BadRequest(
            f"checkpoint: {size} bytes announced, {found.size if found else 'nothing'} in the bucket"
        )
    if found.sha256 != sha256:
        raise BadRequest(
            f"checkpoint: other bytes than announced are in the bucket (sha256 {found.sha256 or 'unknown'})"
        )
    # The version that was looked at: were the key ever written again, the next runner would not read that.
    pinned = {"version": found.version} if found.version else {}
    return {"key": key, "bytes": size, "sha256": sha256, **pinned}


def offered(objects: Objects, job: Job, *, seconds: int) -> dict[str, Any]:
    """A lease's words on what an earlier attempt left: a URL for so many seconds, and what it must give."""
    record = job.checkpoint
    if not record:
        return {"checkpoint_url": None, "checkpoint": None}
    return {
        "checkpoint_url": objects.presign_get(
            str(record["key"]), version=record.get("version") or None, seconds=seconds
        ),
        "checkpoint": {"bytes": int(record["bytes"]), "sha256": str(record["sha256"])},
    }

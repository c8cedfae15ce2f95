"""URLs that take exactly the announced bytes, counted; and whether what was announced is there.

A result and a checkpoint can be written once under each name: S3 refuses a second PUT (412), so no URL that
is still valid can replace what was committed. A log is written again each minute.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arcspot.domain.launching import Launch
from arcspot.errors import BadRequest
from arcspot.ports import Objects
from arcspot.services import checkpoints
from arcspot.services.asking import attempt_of, shown, sums, text
from arcspot.services.calls import URL_SECONDS, Call
from arcspot.services.retry import until_written


def uploads(call: Call, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
    """URLs for some files of a result, a checkpoint or the launch's log."""
    purpose = text(request, "purpose")
    if purpose not in ("result", "checkpoint", "log"):
        raise BadRequest(f"purpose: expected result, checkpoint or log, found {shown(purpose)}")
    files = sums(request.get("files"))
    size = sum(each for each, _ in files.values())
    if purpose == "log":
        prefix = f"logs/{row.launch_id}/"
    else:
        job_id, fence = attempt_of(request)
        prefix = result_prefix(job_id, fence) if purpose == "result" else checkpoints.prefix(job_id, fence)

    urls = {}
    for name, (length, sha256) in files.items():
        url, headers = call.ports.objects.presign_put(
            prefix + name, sha256_hex=sha256, size=length, seconds=URL_SECONDS, once=purpose != "log"
        )
        urls[name] = {"url": url, "headers": dict(headers)}

    # Counted before they are given: nobody gets more than is in the books.
    if purpose == "log":
        rows = call.rows(row)
        until_written(
            lambda: call.ports.store.write(next(rows).shipping(files=len(files), size=size)), call.ports.pause
        )
    else:
        until_written(
            lambda: call.ports.store.write(
                call.job(job_id).uploading(
                    launch_id=row.launch_id, fence=fence, files=len(files), size=size, now=call.now
                )
            ),
            call.ports.pause,
        )
    return {"urls": urls}


def uploaded(objects: Objects, prefix: str, files: Mapping[str, tuple[int, str]]) -> None:
    """Raises BadRequest unless each file is in the bucket, with the announced size and checksum."""
    for name, (size, sha256) in files.items():
        found = objects.stored(prefix + name)
        if found is None:
            raise BadRequest(f"files.{name}: {size} bytes announced, nothing in the bucket")
        if found.size != size:
            raise BadRequest(f"files.{name}: {size} bytes announced, {found.size} in the bucket")
        if found.sha256 != sha256:
            raise BadRequest(
                f"files.{name}: other bytes than announced are in the bucket "
                f"(sha256 {found.sha256 or 'unknown'})"
            )


def result_prefix(job_id: str, fence: int) -> str:
    """Where one attempt's artefacts go: no two attempts ever share a key."""
    return f"results/{job_id}/{fence}/"

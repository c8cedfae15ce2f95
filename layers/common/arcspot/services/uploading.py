"""URLs that take exactly the announced bytes, counted; and whether what was announced is there.

Each key can be written once: S3 refuses a second PUT (412), so no URL that is still valid can replace what
was committed, or store its bytes twice.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from arcspot.domain import results
from arcspot.domain.launching import Launch
from arcspot.errors import BadRequest
from arcspot.ports import Objects
from arcspot.services import checkpoints
from arcspot.services.asking import attempt_of, shown, sums, text
from arcspot.services.calls import URL_SECONDS, Call
from arcspot.services.retry import until_written

LOG = "runner.log"
MAX_LOG_FILE_BYTES = 2 * 1024 * 1024
NAMES: Mapping[str, re.Pattern[str]] = {
    "result": re.compile("|".join(map(re.escape, results.NAMES))),
    "checkpoint": re.compile(r"state(-[0-9a-f]{16})?\.safetensors"),
    "log": re.compile(re.escape(LOG)),
}
"""What each purpose's files may be called, so that a lease cannot fill the bucket with keys of its own."""


def uploads(call: Call, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
    """URLs for some files of a result, a checkpoint or the launch's log."""
    purpose = text(request, "purpose")
    if purpose not in NAMES:
        raise BadRequest(f"purpose: expected result, checkpoint or log, found {shown(purpose)}")
    files = sums(request.get("files"))
    if odd := [name for name in files if not NAMES[purpose].fullmatch(name)]:
        raise BadRequest(f"files: a {purpose} has no file called {shown(odd[0])}")
    # Counted before they are given: nobody gets more than is in the books.
    keys = _log_keys(call, row, files) if purpose == "log" else _job_keys(call, row, request, purpose, files)
    urls = {}
    for name, (length, sha256) in files.items():
        url, headers = call.ports.objects.presign_put(
            keys[name], sha256_hex=sha256, size=length, seconds=URL_SECONDS, once=True
        )
        urls[name] = {"url": url, "headers": dict(headers)}
    return {"urls": urls}


def _log_keys(call: Call, row: Launch, files: Mapping[str, tuple[int, str]]) -> dict[str, str]:
    """A key of its own for each time that a log is shipped: were it written again, one URL would be good for
    any number of versions, each of which is kept and paid for."""
    size = sum(each for each, _ in files.values())
    if size > MAX_LOG_FILE_BYTES:
        raise BadRequest(f"files.{LOG}: expected at most {MAX_LOG_FILE_BYTES:,} bytes, found {size:,}")
    rows = call.rows(row)

    def act() -> Launch:
        shipping = next(rows).shipping(files=len(files), size=size)
        call.ports.store.write(shipping)
        return shipping

    number = until_written(act, call.ports.pause).log_uploads
    return dict.fromkeys(files, f"logs/{row.launch_id}/runner-{number:04d}.log")


def _job_keys(
    call: Call, row: Launch, request: Mapping[str, Any], purpose: str, files: Mapping[str, tuple[int, str]]
) -> dict[str, str]:
    job_id, fence = attempt_of(request)
    size = sum(each for each, _ in files.values())
    prefix = result_prefix(job_id, fence) if purpose == "result" else checkpoints.prefix(job_id, fence)
    if set(files) == {results.RESULT}:
        # The one object of a result needs no write: under its name S3 takes one PUT, however many URLs there
        # are, and when its lease ends the launch is charged with it.
        call.leased(row, job_id, fence).held_by(launch_id=row.launch_id, fence=fence)
    else:
        until_written(
            lambda: call.ports.store.write(
                call.job(job_id).uploading(
                    launch_id=row.launch_id, fence=fence, files=len(files), size=size, now=call.now
                )
            ),
            call.ports.pause,
        )
    return {name: prefix + name for name in files}


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

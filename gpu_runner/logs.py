"""Logs as JSON lines on stdout, and their way to S3.

bootstrap.sh keeps everything the machine says in one file. That file is shipped after one minute, after
two, four, eight and sixteen more, then each half hour, and at the end: a boot that goes wrong is read soon,
and a machine that is gone can still be read. Each time is an upload URL and a PUT: every minute they were a
tenth of the control plane's bill.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from arcspot.domain import edges
from arcspot.errors import ArcspotError
from gpu_runner.contract import Api, FileFact
from gpu_runner.transfer import Transfer

log = logging.getLogger(__name__)

SHIP_FIRST_S, SHIP_EVERY_S = 60.0, 1800.0
MAX_LOG_BYTES = 2 * 1024 * 1024
LOG_NAME = "runner.log"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, launch, and the job where there is one."""

    def __init__(self, launch_id: str) -> None:
        super().__init__()
        self._launch_id = launch_id

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            "launch": self._launch_id,
        }
        job = getattr(record, "job", None)
        if job is not None:
            line["job"] = job
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return edges.log_line(line)


def log_to(stream: TextIO, launch_id: str) -> None:
    """Send all logging to `stream` from now on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(launch_id))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # urllib3 and botocore warn about each retried connection with the whole signed URL.
    for noisy in ("urllib3", "botocore"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def shipping_times() -> Iterator[float]:
    """Seconds between one time the log is shipped and the next: each twice the last, up to a limit."""
    wait = SHIP_FIRST_S
    while True:
        yield wait
        wait = min(2 * wait, SHIP_EVERY_S)


@dataclass(slots=True)
class LogShipper:
    """Ships a log file when it has changed. A failure to ship is logged and forgotten."""

    api: Api
    transfer: Transfer
    source: Path
    scratch: Path
    _shipped: str = ""

    def ship(self) -> bool:
        """Upload the file's last 2 MiB unless they are there already; True when it did."""
        try:
            body = tail(self.source, MAX_LOG_BYTES)
        except FileNotFoundError:
            return False
        digest = hashlib.sha256(body).hexdigest()
        if not body or digest == self._shipped:
            return False
        copy = self.scratch / f"shipping-{LOG_NAME}"  # the log grows on while it travels
        copy.write_bytes(body)
        files = [FileFact(LOG_NAME, copy, len(body), digest)]
        try:
            self.transfer.deliver(files, self.api.uploads(lease=None, purpose="log", files=files))
        except ArcspotError as fault:
            log.warning("the log was not shipped: %s", fault)
            return False
        self._shipped = digest
        return True


def tail(path: Path, max_bytes: int) -> bytes:
    """The file's last bytes, from the start of a line on."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - max_bytes))
        body = file.read(max_bytes)
    return body if size <= max_bytes else body.partition(b"\n")[2]

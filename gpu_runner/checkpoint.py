"""A job's kept state: its place on this machine, its way to S3 and back.

The solver keeps the file; here it is only carried. None of it may cost a job: what cannot be fetched, does
not have the promised checksum or cannot be uploaded is logged, and the work starts over.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from arcspot.errors import ArcspotError
from gpu_runner import artefacts
from gpu_runner.contract import Api, Lease, Left
from gpu_runner.transfer import Transfer

log = logging.getLogger(__name__)

NAME = "state.safetensors"
MAX_BYTES = 64 * 1024 * 1024  # what runner_api lets a file have


class Keeper(Protocol):
    """What the loop needs of a kept state. Never raises."""

    def hand_over(self, lease: Lease) -> Left | None:
        """Bring what was kept of a job to where its next runner finds it; None when nothing is there."""

    def forget(self, lease: Lease) -> None:
        """The job is out of our hands."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The real Keeper. Its transfer should give up soon: a spot notice leaves a minute for everything."""

    api: Api
    transfer: Transfer
    folder: Path
    first: dict[str, str] = field(default_factory=dict)  # sha256 of what was handed over first, by file

    def path(self, lease: Lease) -> Path:
        return self.folder / f"kept-{lease.job_id}-{lease.fence}.safetensors"

    def fetch(self, lease: Lease) -> Path:
        """Where the job's state is to be kept, and what an earlier runner left, if that can be had."""
        path, offered = self.path(lease), lease.checkpoint
        if offered is None:
            return path
        try:
            if offered.size > MAX_BYTES:
                raise OSError(f"{offered.size:,} bytes are more than a checkpoint may have")
            body = self.transfer.fetch(offered.url, max_bytes=offered.size)
            if hashlib.sha256(body).hexdigest() != offered.sha256:
                raise OSError("other bytes than the earlier runner announced")
            beside = path.with_suffix(".part")
            beside.write_bytes(body)
            beside.replace(path)
            log.info(
                "an earlier runner's checkpoint: %s bytes", f"{len(body):,}", extra={"job": lease.job_id}
            )
        except (ArcspotError, OSError) as fault:
            log.warning("no checkpoint, starting over: %s", fault, extra={"job": lease.job_id})
        return path

    def hand_over(self, lease: Lease) -> Left | None:
        path = self.path(lease)
        if not path.exists():
            return None
        try:
            fact = artefacts.fact(path, name=NAME)
            # A key is written once: a state that differs from the first one handed over has another name.
            if self.first.setdefault(path.name, fact.sha256) != fact.sha256:
                fact = replace(fact, name=f"state-{fact.sha256[:16]}.safetensors")
            if fact.size > MAX_BYTES:
                raise OSError(f"{fact.size:,} bytes are more than a checkpoint may have")
            files = [fact]
            self.transfer.deliver(files, self.api.uploads(lease=lease, purpose="checkpoint", files=files))
        except (ArcspotError, OSError) as fault:
            log.warning("the checkpoint stays behind: %s", fault, extra={"job": lease.job_id})
            return None
        log.info("checkpoint handed over: %s bytes", f"{fact.size:,}", extra={"job": lease.job_id})
        return Left(f"checkpoints/{lease.job_id}/{lease.fence}/{fact.name}", fact.size, fact.sha256)

    def forget(self, lease: Lease) -> None:
        path = self.path(lease)
        path.unlink(missing_ok=True)
        self.first.pop(path.name, None)


class KeepsNothing:
    """A Keeper for a runner whose work leaves no state."""

    def hand_over(self, lease: Lease) -> Left | None:
        return None

    def forget(self, lease: Lease) -> None:
        return None

"""The words of docs/runner-contract.md as frozen values, read from `runner_api`'s answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

ByeWhy = Literal["idle", "interrupted", "deadline", "gave_up", "refused"]
ReleaseWhy = Literal["interrupted", "draining", "cancelled"]
Purpose = Literal["result", "checkpoint", "log"]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """What `hello` grants. All times are remaining or repeating seconds, never clock times."""

    secret: str
    deadline_in_s: float
    idle_s: float
    heartbeat_s: float
    lease_s: float
    parallel: int

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Terms:
        return cls(
            secret=str(result["secret"]),
            deadline_in_s=float(result["deadline_in_s"]),
            idle_s=float(result["idle_s"]),
            heartbeat_s=float(result["heartbeat_s"]),
            lease_s=float(result["lease_s"]),
            parallel=max(1, int(result["parallel"])),
        )


@dataclass(frozen=True, slots=True)
class JobConfig:
    """How a job wants to be solved. `model` is "auto" (see `models/manifest.json`) or a file name there."""

    seed: int
    budget_s: float
    model: str


@dataclass(frozen=True, slots=True)
class Offered:
    """A state that an earlier runner left: where to fetch it, and what must come."""

    url: str
    size: int
    sha256: str

    @classmethod
    def read(cls, lease: Mapping[str, Any]) -> Offered | None:
        url, facts = lease.get("checkpoint_url"), lease.get("checkpoint")
        return cls(str(url), int(facts["bytes"]), str(facts["sha256"])) if url and facts else None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one job until the server says otherwise.

    `task` is the task as JSON text. A server of an earlier release gives a URL of the whole file instead.
    """

    job_id: str
    task_id: str
    fence: int
    config: JobConfig
    task: str
    input_url: str
    checkpoint: Offered | None
    budget_s: float

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Lease:
        budget_s = float(result["budget_s"])
        config = result.get("config") or {}
        return cls(
            job_id=str(result["job_id"]),
            task_id=str(result["task_id"]),
            fence=int(result["fence"]),
            config=JobConfig(
                seed=int(config.get("seed", 0)),
                budget_s=float(config.get("budget_s", budget_s)),
                model=str(config.get("model", "auto")),
            ),
            task=str(result.get("task", "")),
            input_url=str(result.get("input_url", "")),
            checkpoint=Offered.read(result),
            budget_s=budget_s,
        )


@dataclass(frozen=True, slots=True)
class Left:
    """A state that we leave for the job's next runner; the server checks the key."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Returned:
    """A job given back: the seconds spent on it here, and perhaps what to go on from."""

    lease: Lease
    seconds: float
    left: Left | None = None

    def to_json(self) -> Json:
        left = self.left
        return {
            "job_id": self.lease.job_id,
            "fence": self.lease.fence,
            "seconds": round(self.seconds, 3),
            "checkpoint": left and {"key": left.key, "bytes": left.size, "sha256": left.sha256},
        }


@dataclass(frozen=True, slots=True)
class Claimed:
    """An answer to `claim`: leases to work on, and whether to leave after them."""

    leases: tuple[Lease, ...]
    drain: bool

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Claimed:
        return cls(tuple(Lease.read(each) for each in result["leases"]), bool(result["drain"]))


@dataclass(frozen=True, slots=True)
class Completed:
    """An answer to `complete`: where the result is, and what was asked for to go on with."""

    prefix: str
    claimed: Claimed

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Completed:
        """A server of an earlier release tells of no leases."""
        return cls(str(result["result_prefix"]), Claimed.read({"leases": [], "drain": False} | dict(result)))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one job is: a phase in words and the fraction done, 0..1."""

    job_id: str
    fence: int
    phase: str
    fraction: float

    def to_json(self) -> Json:
        """The wire form; a fraction that is no number says 0, because JSON has no NaN."""
        fraction = self.fraction if math.isfinite(self.fraction) else 0.0
        return {
            "job_id": self.job_id,
            "fence": self.fence,
            "phase": self.phase,
            "fraction": round(min(1.0, max(0.0, fraction)), 4),
        }


@dataclass(frozen=True, slots=True)
class Pulse:
    """An answer to `heartbeat`."""

    lost: tuple[str, ...]
    cancelled: tuple[str, ...]
    drain: bool
    deadline_in_s: float

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Pulse:
        return cls(
            lost=tuple(result["lost"]),
            cancelled=tuple(result["cancelled"]),
            drain=bool(result["drain"]),
            deadline_in_s=float(result["deadline_in_s"]),
        )


@dataclass(frozen=True, slots=True)
class FileFact:
    """One file to deliver; `sha256` is the lower-case hex of its bytes."""

    name: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """Where and with which headers one file is PUT."""

    url: str
    headers: Mapping[str, str]


class Api(Protocol):
    """`runner_api` as the runner sees it. Every call may raise `arcspot.errors.RunnerRefused`
    subclasses and `gpu_runner.api.ApiSilent`."""

    def claim(self, *, want: int, held: Sequence[str]) -> Claimed:
        """Up to `want` leases. Of those the launch has, `held` are known here; the others are told again."""
        ...

    def heartbeat(self, *, leases: Sequence[Progress], gpu_utilisation: float | None) -> Pulse: ...

    def uploads(
        self, *, lease: Lease | None, purpose: Purpose, files: Sequence[FileFact]
    ) -> Mapping[str, UploadTarget]: ...

    def complete(
        self,
        *,
        lease: Lease,
        files: Sequence[FileFact],
        seconds: float,
        summary: Json,
        want: int,
        held: Sequence[str],
    ) -> Completed: ...

    def fail(self, *, lease: Lease, error: str, message: str, seconds: float) -> str: ...

    def release(self, *, leases: Sequence[Returned], why: ReleaseWhy) -> None: ...

    def bye(self, *, why: ByeWhy) -> None: ...

    def hurry(self) -> None: ...

"""Answered jobs whose results lie in a bucket that may refuse to give them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from botocore.exceptions import (
    ClientError,
)

from arcspot.domain.jobs import Job
from arcspot_simulator.bucket import MemoryObjects
from tests.fakes.driving import Stack, task
from tests.fakes.memory import World

from .here import solve_all

ANSWER = json.dumps([{"attempt_1": [[0]], "attempt_2": [[1]]}]).encode()


def safetensors(data: bytes) -> bytes:
    """A file of one tensor with these bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    return len(header).to_bytes(8, "little") + header + data


WEIGHTS = safetensors(bytes(range(64)) * 10)


class Bucket(MemoryObjects):
    """A bucket whose objects may refuse to be read, and that counts what is."""

    def __init__(self) -> None:
        super().__init__()
        self.refusing: dict[str, Exception | type[BaseException]] = {}
        self.reads: list[str] = []

    def read(self, key: str, **more: Any) -> bytes:
        self.reads.append(key)
        if key in self.refusing:
            raise self.refusing[key]
        return super().read(key, **more)


def promise(body: bytes) -> dict[str, Any]:
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def leave(fake: Stack, job: Job, files: dict[str, bytes], **more: Any) -> None:
    """What a runner of an earlier release leaves of a job, instead of what is there."""
    bodies = fake.world.objects.bodies
    for key in [key for key in bodies if key.startswith(job.result_prefix)]:
        del bodies[key]
    manifest = {"job_id": job.job_id, "fence": job.fence, "files": {n: promise(b) for n, b in files.items()}}
    for name, body in {**files, "manifest.json": json.dumps({**manifest, **more}).encode()}.items():
        bodies[job.result_prefix + name] = body


def answered(*names: str) -> tuple[Stack, dict[str, Job]]:
    """A stack whose batch `b` has these tasks, all answered. The jobs by task id."""
    fake = Stack(world=World(objects=Bucket()))
    fake.drop("tasks/b/all.json", {name: task(n) for n, name in enumerate(names)})
    solve_all(fake, fake.boot(fake.scale()[0]))
    jobs = {job.task_id: job for job in fake.world.store.jobs_of_batch("b")}
    for job in jobs.values():
        leave(fake, job, {"prediction.json": ANSWER, "adapted.safetensors": WEIGHTS})
    bucket(fake).reads.clear()
    return fake, jobs


def bucket(fake: Stack) -> Bucket:
    assert isinstance(fake.world.objects, Bucket)
    return fake.world.objects


def folders(out: Path) -> set[str]:
    return {path.name for path in out.iterdir() if path.is_dir()} if out.exists() else set()


def refused(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "GetObject")

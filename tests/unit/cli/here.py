"""A deployed stack in memory, as the command line sees one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from arcspot.domain.batches import Receipt, whole
from arcspot.domain.jobs import Job
from arcspot_cli import target as targets
from arcspot_cli.main import main
from tests.fakes.driving import Runner, Stack


class StoreForPeople:
    """The store, with the scans that only people ask for."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def every_job(self) -> list[Job]:
        found: list[Job] = self._store.every(Job)
        return found

    def every_receipt(self) -> list[Receipt]:
        return list(whole(self._store.every(Receipt)))

    def every_launch(self) -> Any:
        return self._store.launches()


@dataclass
class S3:
    """What of S3 `submit` calls. Each file that is put is ingested at once."""

    fake: Stack

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        if self.fake.world.objects.size(Key) is None:
            raise ClientError({"Error": {"Code": "404"}}, "HeadObject")
        body = self.fake.world.objects.read(Key)
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        return {"ETag": etag, "VersionId": self.fake.world.objects.newest.get(Key, "")}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> dict[str, Any]:
        self.fake.drop(Key, Body)
        return {"VersionId": self.fake.world.objects.newest.get(Key, "")}


@dataclass
class Here:
    """`arcspot_cli.target.Target` over a stack in memory."""

    fake: Stack
    stack: str = "here"
    label: str = "memory"
    parameters: dict[str, str] = field(default_factory=lambda: {"MaxInstances": "2", "DiskGb": "75"})

    @property
    def store(self) -> Any:
        return StoreForPeople(self.fake.world.store)

    @property
    def pause(self) -> Any:
        return self.fake.world.pause

    @property
    def bucket(self) -> Any:
        return self.fake.world.objects

    def output(self, name: str) -> str:
        return name

    def client(self, service: str) -> Any:
        assert service == "s3", "nothing else is played here"
        return S3(self.fake)


def on(fake: Stack) -> Any:
    """The target for a function that wants a `Target`."""
    return Here(fake)


def typed(fake: Stack, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """What a user sees who types `arcspot` and these arguments."""
    monkeypatch.setattr(targets, "resolve", lambda choice: Here(fake))
    return CliRunner().invoke(main, list(arguments))


def the_job(fake: Stack, task_id: str = "one") -> Job:
    (job,) = [job for job in fake.world.store.jobs_of_batch("b") if job.task_id == task_id]
    return job


def given_up(fake: Stack) -> Job:
    """A job of batch `b` that failed until it was DEAD."""
    runner = fake.one_running()
    for _ in range(3):
        (lease,) = runner.claim()
        held = {"job_id": lease["job_id"], "fence": lease["fence"]}
        runner.ask("fail", **held, error="ValueError", message="no", seconds=1)
    return the_job(fake)


def solve_all(fake: Stack, runner: Runner) -> None:
    """Complete what waits."""
    while leases := runner.claim():
        runner.complete(leases[0])

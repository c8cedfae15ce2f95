"""A deployed stack in memory, as the command line sees one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from click.testing import CliRunner

from arcspot.domain.jobs import Job
from arcspot_cli import target as targets
from arcspot_cli.main import main
from tests.fakes.driving import Stack


class StoreForPeople:
    """The store, with the scans that only people ask for."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def every_job(self) -> list[Job]:
        found: list[Job] = self._store.every(Job)
        return found

    def every_launch(self) -> Any:
        return self._store.launches()


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
    def bucket(self) -> Any:
        return self.fake.world.objects

    def output(self, name: str) -> str:
        return name


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

"""A batch of files in one invocation: all of them, each once, and no more than there is time for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from arcspot.domain.jobs import JobState
from arcspot.services import ingesting
from tests.fakes import house
from tests.fakes.driving import task

from .conftest import Cloud
from .test_handlers import Context, call, dropped


@dataclass
class Hurried(Context):
    """Time runs out between one file and the next."""

    left_ms: list[int] = field(default_factory=list)

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms.pop(0)


def heap(cloud: Cloud, count: int) -> list[dict[str, Any]]:
    return [
        dropped(cloud, f"tasks/heap/{n}.json", json.dumps(task(n)).encode(), f"m-{n}") for n in range(count)
    ]


def test_a_batch_of_files_becomes_one_job_each_and_again_none(whole_cloud: Cloud) -> None:
    records = heap(whole_cloud, 20)
    assert call("ingest", {"Records": records}) == {"batchItemFailures": []}
    assert call("ingest", {"Records": records[5:]}) == {"batchItemFailures": []}
    jobs = list(whole_cloud.ports.store.jobs_of_batch("heap", JobState.READY))
    assert sorted(job.input.key for job in jobs) == sorted(f"tasks/heap/{n}.json" for n in range(20))


def test_files_there_is_no_time_for_are_sent_anew(
    whole_cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given back to the queue they would count as received, and a message is received five times at most."""
    monkeypatch.setattr(ingesting, "GROUP_FILES", 1)
    records = heap(whole_cloud, 4)
    asked: list[tuple[str, Any]] = []
    ports = replace(whole_cloud.ports, kick=lambda function, event=None: asked.append((function, event)))
    ingest = house.handler_module("ingest")
    monkeypatch.setattr(ingest, "from_environment", lambda: (whole_cloud.settings, ports))
    hurried = Hurried(left_ms=[70_000, 39_000])
    assert ingest.handler({"Records": records}, hurried) == {"batchItemFailures": []}
    keys = [f"tasks/heap/{n}.json" for n in range(4)]
    assert sorted(ports.store.receipts(keys)) == keys[:2]
    (anew,) = [event for name, event in asked if name == "ingest"]
    assert [record["messageId"] for record in anew["Records"]] == ["m-2", "m-3"]
    assert ingest.handler(anew, Context()) == {"batchItemFailures": []}
    assert len(list(whole_cloud.ports.store.jobs_of_batch("heap"))) == 4

"""A batch of files in one invocation: all of them, each once, and no more than there is time for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from arcspot.domain.jobs import JobState
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


def test_files_there_is_no_time_for_are_given_back_untouched(whole_cloud: Cloud) -> None:
    records = heap(whole_cloud, 4)
    hurried = Hurried(left_ms=[120_000, 70_000, 39_000, 38_000])
    answer = house.handler_module("ingest").handler({"Records": records}, hurried)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-2"}, {"itemIdentifier": "m-3"}]}
    done = list(whole_cloud.ports.objects.keys("accepted/"))
    assert done == ["accepted/tasks/heap/0.json.json", "accepted/tasks/heap/1.json.json"]
    assert call("ingest", {"Records": records}) == {"batchItemFailures": []}
    assert len(list(whole_cloud.ports.store.jobs_of_batch("heap"))) == 4

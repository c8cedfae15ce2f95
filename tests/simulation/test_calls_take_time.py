"""Simulated calls take time: what is too slow for a function's limit shows here, and not only on AWS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from arcspot.domain.batches import Batch
from arcspot.domain.jobs import Job, JobState, TaskInput
from arcspot.errors import RecordMissing
from arcspot_simulator import functions, stack
from arcspot_simulator.functions import FunctionFailed, Invocation, seconds
from arcspot_simulator.history import task_bytes
from arcspot_simulator.loop import START, Loop
from arcspot_simulator.stack import Stack
from arcspot_simulator.weather import CALM, Sky
from tests.fakes import house


def calm(**weather: Any) -> Stack:
    return Stack(Loop(), Sky(replace(CALM, **weather), Random(0)), stack.settings(), seed=0, jumpy=False)


def answered(built: Stack, jobs: int) -> None:
    """A batch of so many files, all of them answered, whose report is due."""
    answer = json.dumps([{"attempt_1": [[1]], "attempt_2": [[2]]}]).encode()
    for n in range(jobs):
        key, prefix = f"tasks/big/{n:05d}.json", f"results/{n:05d}/1/"
        built.objects.bodies[key] = task_bytes(n)
        built.objects.bodies[prefix + "prediction.json"] = answer
        built.store.write(
            Job(
                job_id=f"{n:024x}", batch_id="big", config={}, solver_version="1", created_at=START,
                updated_at=START, ready_at=None, estimate_s=1, state=JobState.DONE, result_prefix=prefix,
                input=TaskInput(bucket="", key=key, object_version="", task_id=f"{n:05d}"),
            )
        )  # fmt: skip
    built.store.write(Batch("big", START, report_due_at=START))


def test_a_report_of_10000_jobs_takes_time_and_is_done_within_its_functions_limit() -> None:
    built = calm()
    answered(built, 10_000)
    assert built.functions.invoke("report", {})["batches"] == ["big"]
    assert 10 < built.loop.now < functions.TIMEOUTS_S["report"] / 2
    written = json.loads(built.objects.bodies["reports/big/submission.json"])
    assert len(written) == 10_000


def test_read_one_by_one_the_same_report_would_never_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    built = calm()
    answered(built, 10_000)

    def one_by_one(self: Any, wanted: Sequence[tuple[str, str | None]]) -> Mapping[Any, bytes]:
        found = {}
        for key, version in wanted:
            try:
                found[key, version] = built.functions.faulty.objects.read(key, version=version)
            except RecordMissing:
                continue
        return found

    monkeypatch.setattr(type(built.objects), "read_many", one_by_one)
    for _ in range(3):
        with pytest.raises(FunctionFailed, match="without an answer"):
            built.functions.invoke("report", {})
    assert built.mail.sent == []


@pytest.mark.parametrize(
    ("name", "args", "result", "takes"),
    [
        ("store.job", ("x",), None, 0.01),
        ("compute.launch", (), None, 1.5),
        ("objects.read", ("x",), b"", 0.03),
        ("objects.read_many", ([("x", None)] * 64,), {}, 0.06),
        ("store.add", (["job"] * 80,), set(), 0.04),
        ("store.jobs_of_batch", ("b",), ["job"] * 1000, 0.1),
    ],
)
def test_each_call_takes_its_time(name: str, args: Any, result: Any, takes: float) -> None:
    assert seconds(name, args, result) == pytest.approx(takes)


def test_while_a_call_takes_its_time_the_world_goes_on() -> None:
    built = calm()
    happened: list[float] = []
    built.loop.at(0.005, "meanwhile", lambda: happened.append(built.loop.now))
    built.functions.invoke("scale", {})
    assert happened == [0.005]
    assert built.loop.now > 0.01


def test_a_function_is_cut_off_at_its_own_limit() -> None:
    for name, limit in functions.TIMEOUTS_S.items():
        assert Invocation(name, 10.0).ends == 10 + limit
    assert Invocation("launch", 10.0).ends == 10 + functions.TIMEOUT_S


def test_the_limits_are_the_templates() -> None:
    default = house.template()["Globals"]["Function"]["Timeout"]
    for name in functions.NAMES:
        limit = functions.TIMEOUTS_S.get(name, functions.TIMEOUT_S)
        assert limit == house.functions()[name].get("Timeout", default), name

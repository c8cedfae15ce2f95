"""What a call asks of tables and bucket is bounded by what its launch holds, not by what the call names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from arcspot.domain import launching
from arcspot.domain.jobs import JobState
from arcspot.domain.launching import MOST_AT_ONCE
from arcspot.errors import RunnerRefused
from arcspot.services.asking import MAX_LEASES
from tests.fakes.driving import Runner, Stack, task

SHA = "0" * 64
Name = Callable[[Stack, Runner, int], list[tuple[str, int]]]


def stack_of(jobs: int) -> tuple[Stack, Runner]:
    stack = Stack()
    for n in range(jobs):
        stack.drop(f"tasks/b/{n}.json", task(n))
    return stack, stack.boot(stack.scale()[0])


def asked(stack: Stack, ask: Callable[[], object]) -> list[str]:
    """What tables, bucket, EC2 and STS are asked for by one call. A batch read counts each of its rows."""
    seen: list[str] = []
    world = stack.world
    for port in (world.store, world.objects, world.ec2):
        for name in [each for each in dir(type(port)) if not each.startswith(("_", "presign"))]:
            real = getattr(port, name)
            if not callable(real) or name in ("trouble", "clock", "lag"):
                continue

            def noted(*args: Any, _real: Any = real, _name: str = name, **more: Any) -> Any:
                many = len(args[0]) if _name in ("jobs", "parts", "fetch_many") else 1
                seen.extend([_name] * many)
                return _real(*args, **more)

            setattr(port, name, noted)
    try:
        ask()
    except RunnerRefused:
        pass
    finally:
        for port in (world.store, world.objects, world.ec2):
            for name in [
                each for each, value in vars(port).items() if getattr(value, "__name__", "") == "noted"
            ]:
                delattr(port, name)
    return seen


def nobodys(stack: Stack, runner: Runner, most: int) -> list[tuple[str, int]]:
    return [(f"nobody-{n}", 1) for n in range(most)]


def waiting(stack: Stack, runner: Runner, most: int) -> list[tuple[str, int]]:
    return [(job.job_id, 1) for job in stack.world.store.ready_jobs(most, stack.world.now)]


def its_own_under_other_fences(stack: Stack, runner: Runner, most: int) -> list[tuple[str, int]]:
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    return [(row.leases[0], 100 + n) for n in range(most)]


def anothers(stack: Stack, runner: Runner, most: int) -> list[tuple[str, int]]:
    row = stack.world.store.launch("launch-002")
    assert row is not None
    return [(job_id, 1 + n) for n in range(-(-most // len(row.leases))) for job_id in row.leases][:most]


def request(verb: str, named: list[tuple[str, int]]) -> dict[str, Any]:
    """A request of a verb that names so many attempts, in each field that takes some."""
    job_id, fence = named[0]
    one = {"job_id": job_id, "fence": fence}
    many = [{"job_id": each, "fence": its} for each, its in named]
    names = ("result.zip", "prediction.json", "metrics.json", "manifest.json", "picture.svg")
    sums = {"bytes": 1, "sha256": SHA}
    for lease in many:
        key = f"checkpoints/{lease['job_id']}/{lease['fence']}/state.safetensors"
        lease |= {"seconds": 1, "phase": "train", "checkpoint": {"key": key, **sums}}
    return {
        "claim": {"want": 1, "held": [each for each, _ in named]},
        "heartbeat": {"leases": many},
        "uploads": {**one, "purpose": "checkpoint", "files": [{"name": "state.safetensors", **sums}]},
        "complete": {
            **one, "files": dict.fromkeys(names, sums), "seconds": 1, "want": 8,
            "held": [each for each, _ in named],
        },
        "fail": {**one, "error": "E", "message": "", "seconds": 1},
        "release": {"leases": many, "why": "draining"},
        "bye": {"why": "idle"},
    }[verb]  # fmt: skip


VERBS = ("claim", "heartbeat", "uploads", "complete", "fail", "release", "bye")
KINDS: tuple[Name, ...] = (nobodys, waiting, its_own_under_other_fences, anothers)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("verb", VERBS)
def test_what_a_call_costs_does_not_grow_with_the_leases_that_it_names(verb: str, kind: Name) -> None:
    counts: dict[int, int] = {}
    for most in (1, 2, MAX_LEASES):
        stack, runner = stack_of(40)
        other = stack.boot("launch-002")
        assert len(runner.claim(2)) == len(other.claim(2)) == 2
        # A claim that knows of none of its leases is told of them again; here it knows of both.
        own = stack.world.store.launch(runner.launch_id)
        assert own is not None
        asks = request(verb, kind(stack, runner, most))
        if "held" in asks:
            asks["held"] = [*own.leases, *asks["held"]][:MAX_LEASES]
        counts[most] = len(asked(stack, partial(runner.ask, verb, **asks)))
    assert counts[MAX_LEASES] == counts[2], counts
    assert counts[1] <= counts[2]


@pytest.mark.parametrize("verb", ["heartbeat", "release", "complete", "uploads", "fail"])
def test_who_holds_nothing_reads_nothing_of_a_job_but_one_row_and_nothing_of_the_bucket(verb: str) -> None:
    stack, runner = stack_of(3)
    seen = asked(stack, lambda: runner.ask(verb, **request(verb, nobodys(stack, runner, MAX_LEASES))))
    assert not {"stored", "read", "parts", "fetch_many", "listing", "keys"} & set(seen)
    assert len(seen) <= 4, seen


def test_a_job_that_waits_is_looked_for_in_no_bucket() -> None:
    """Of one that is leased to nobody the files were looked for before the lease was."""
    stack, runner = stack_of(3)
    for verb in ("complete", "release"):
        seen = asked(stack, partial(runner.ask, verb, **request(verb, waiting(stack, runner, 1))))
        assert "stored" not in seen


def test_what_is_held_is_kept_and_given_back_beside_any_number_of_others() -> None:
    stack, runner = stack_of(20)
    leases = runner.claim(MOST_AT_ONCE)
    own = [{"job_id": lease["job_id"], "fence": lease["fence"], "seconds": 1} for lease in leases]
    others = [{"job_id": each, "fence": n, "seconds": 1} for each, n in nobodys(stack, runner, 56)]
    answer = runner.ask("heartbeat", leases=[*others, *own])
    assert answer["lost"] == [lease["job_id"] for lease in others]
    runner.ask("release", leases=[*others, *own], why="draining")
    for lease in leases:
        job = stack.world.store.job(lease["job_id"])
        assert job is not None
        assert job.state is JobState.READY


def test_there_is_an_end_to_telling_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "MOST_RETOLD", 20)
    stack, runner = stack_of(20)
    leases = runner.claim(MOST_AT_ONCE)
    told: list[int] = []
    seen: list[str] = []
    for _ in range(10):
        seen += asked(stack, lambda: told.append(len(runner.ask("claim", want=8, held=[])["leases"])))
    assert told == [8, 8, 4, 0, 0, 0, 0, 0, 0, 0]
    assert seen.count("parts") == 20
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    assert len(row.leases) == len(leases), "it keeps them, until they run out"


def test_nor_does_completing_the_same_again_and_again_tell_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "MOST_RETOLD", 20)
    stack, runner = stack_of(20)
    leases = runner.claim(MOST_AT_ONCE)
    asks = {"job_id": leases[0]["job_id"], "fence": leases[0]["fence"], "files": runner.upload(leases[0])}
    seen: list[str] = []
    for _ in range(10):
        seen += asked(stack, lambda: runner.ask("complete", **asks, seconds=1, summary={}, want=1, held=[]))
    assert seen.count("parts") <= 20 + 3, "one for the lease that came with the result, and those beside it"

"""Whatever is asked for and sent, in whatever order: each lease is charged with all that it stores."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from arcspot.domain import results
from arcspot.domain.launching import Launch
from arcspot.errors import BadRequest, LeaseLost
from arcspot.services import retiring
from tests.fakes.driving import Runner, Stack, sums_of, task

ENDS = ("zip", "trio", "all", "release", "fail", "reclaim", "bye")
PURPOSES: dict[str, tuple[str, ...]] = {
    "result": results.NAMES,
    "checkpoint": ("state.safetensors", f"state-{'0' * 16}.safetensors"),
}


class Lessee:
    """A runner that asks for URLs of all kinds under one lease, and uses each at some time, or twice."""

    def __init__(self, rng: Random, stack: Stack, runner: Runner, lease: dict[str, Any]) -> None:
        self.rng, self.stack, self.runner, self.lease = rng, stack, runner, lease
        self.of = {"job_id": lease["job_id"], "fence": lease["fence"]}
        self.urls: list[tuple[str, dict[str, Any], bytes]] = []
        self.there: dict[str, bytes] = {}

    def ask_for(self, *names: str, purpose: str = "result") -> None:
        bodies = {name: self.rng.randbytes(self.rng.choice((0, 1, 400, 3_000))) for name in names}
        files = [{"name": name, **sums_of(body)} for name, body in bodies.items()]
        urls = self.runner.ask("uploads", **self.of, purpose=purpose, files=files)["urls"]
        self.urls += [(name, urls[name], bodies[name]) for name in names]

    def ask_for_the_one(self) -> None:
        self.ask_for(results.RESULT)

    def ask_for_some(self) -> None:
        purpose = self.rng.choice(sorted(PURPOSES))
        known = PURPOSES[purpose]
        self.ask_for(*self.rng.sample(known, self.rng.randint(1, len(known))), purpose=purpose)

    def send(self, name: str, url: dict[str, Any], body: bytes) -> None:
        if self.stack.world.objects.put(url["url"], url["headers"], body) == 200:
            self.there[name] = body

    def send_some(self) -> None:
        for each in self.rng.sample(self.urls, self.rng.randint(0, len(self.urls))):
            self.send(*each)

    def complete(self, *names: str) -> None:
        for name in names:
            if name not in self.there:
                self.ask_for(name)
                self.send(*self.urls[-1])
        files = {name: sums_of(self.there[name]) for name in names}
        self.runner.ask("complete", **self.of, files=files, seconds=1, summary={})

    def end(self, how: str) -> None:
        if how in ("zip", "trio", "all"):
            self.complete(*{"zip": (results.RESULT,), "trio": results.LAST, "all": results.NAMES}[how])
        elif how == "release":
            self.runner.ask("release", leases=[{**self.of, "seconds": 1}], why="draining")
        elif how == "fail":
            self.runner.ask("fail", **self.of, error="E", message="", seconds=1)
        elif how == "reclaim":
            retiring.reclaim_job(
                self.stack.ports, self.of["job_id"], self.runner.launch_id,
                reason="x", silent=False, now=self.stack.world.now,
            )  # fmt: skip
        else:
            self.runner.ask("bye", why="interrupted")

    def stored(self) -> tuple[int, int]:
        """Files and bytes, when every URL has been used that it ever had."""
        for each in self.urls:
            self.send(*each)
        objects, own = self.stack.world.objects, f"{self.of['job_id']}/{self.of['fence']}/"
        sizes = [
            len(objects.read(key))
            for kind in ("results", "checkpoints")
            for key in objects.keys(f"{kind}/{own}")
        ]
        return len(sizes), sum(sizes)


def charged(stack: Stack, runner: Runner) -> tuple[int, int]:
    row = stack.world.store.launch(runner.launch_id)
    assert isinstance(row, Launch)
    return row.asked_files, row.asked_bytes


def sequences(how: str) -> Iterator[Random]:
    for seed in range(25):
        yield Random(f"{how} {seed}")


@pytest.mark.parametrize("how", ENDS)
def test_a_launch_is_charged_with_all_that_each_of_its_leases_may_store(how: str) -> None:
    """One object could be stored for nothing: by its own URL, behind a result that was made of others."""
    stored_late = 0
    for rng in sequences(how):
        stack = Stack()
        stack.drop("tasks/b/0.json", task(0))
        runner = stack.boot(stack.scale()[0])
        (lease,) = runner.claim()
        lessee = Lessee(rng, stack, runner, lease)
        for _ in range(rng.randint(0, 6)):
            rng.choice((lessee.ask_for_some, lessee.send_some, lessee.ask_for_the_one))()
        before = charged(stack, runner)
        lessee.end(how)
        there = len(lessee.there)
        files, size = (now - then for now, then in zip(charged(stack, runner), before, strict=True))
        with pytest.raises((LeaseLost, BadRequest)):
            lessee.ask_for("picture.svg")
        most = lessee.stored()
        assert (files, size) >= (0, 0)
        assert most[0] <= files, "more files than it was charged with"
        assert most[1] <= size, "more bytes than it was charged with"
        stored_late += len(lessee.there) > there
    assert stored_late, "no sequence stored anything behind its lease's end"

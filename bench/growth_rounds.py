"""Every function's rounds in one world, from the first file to the last answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from bench.growth_world import Cost, World

# Messages of one invocation (template.yaml, BatchSize) and how often a round that asks for itself again may.
MESSAGES = 100
MOST_ROUNDS = 2_000
# Until EC2 shows an instance as terminated.
TO_END_S = 600
Round = tuple[str, Cost]


def rounds(world: World) -> Iterator[Round]:
    """Name and cost of each, in an order in which each finds what it needs."""
    yield from _dropping(world)
    yield from _serving(world)
    yield from _minutes(world)
    yield from _leaving(world)
    yield from _reporting(world)
    yield from _sweeping(world)


def _dropping(world: World) -> Iterator[Round]:
    messages = world.drop(0, world.jobs)
    yield "ingest, all files", world.measure(partial(ingest, world, messages))
    more = world.drop(world.jobs, world.few)
    yield "ingest, so many files more", world.measure(partial(ingest, world, more))
    again = world.drop(0, world.few)
    yield "ingest, so many of them again", world.measure(partial(ingest, world, again))
    yield "ingest, the same messages again", world.measure(partial(ingest, world, again))


def ingest(world: World, messages: Sequence[dict[str, str]]) -> None:
    """Every message, as many in an invocation as the queue hands over at most."""
    for start in range(0, len(messages), MESSAGES):
        answer = world.functions.invoke("ingest", {"Records": messages[start : start + MESSAGES]})
        if answer["batchItemFailures"]:
            raise RuntimeError(f"ingest failed: {answer}")


def _serving(world: World) -> Iterator[Round]:
    for _ in range(world.instances):
        launch_id = world.reserve()
        world.launch(launch_id)
        runner = world.runner(launch_id)
        runner.hello()
        runner.claim()
    launch_id = world.reserve()
    yield "launch", world.measure(partial(world.launch, launch_id))
    runner = world.runner(launch_id)
    for phase in ("boot", "serve"):
        event = {"step": phase, "launch_id": launch_id, "token": phase}
        yield f"launch, waits to {phase}", world.measure(partial(world.functions.invoke, "launch", event))
    yield "runner: hello", world.measure(runner.hello)
    yield "runner: claim", world.measure(partial(runner.claim, 4))
    world.loop.run(world.loop.now + 20)
    beat = partial(runner.ask, "heartbeat", leases=runner.leases(), gpu_utilisation=90)
    yield "runner: heartbeat", world.measure(beat)
    first, second, *rest = runner.hands
    yield "runner: complete", world.measure(partial(runner._deliver, first))
    yield "runner: fail", world.measure(partial(runner._fail, second))
    yield "runner: release", world.measure(partial(runner._release, rest, "interrupted"))
    runner.hands.clear()


def _minutes(world: World) -> Iterator[Round]:
    """The scheduled rounds while there is work."""
    world.beat()
    for name in ("scale", "watchdog", "report"):
        yield f"{name}, jobs left", world.measure(partial(world.functions.invoke, name, {}))


def _leaving(world: World) -> Iterator[Round]:
    runner = world.runners[-1]
    yield "runner: bye", world.measure(partial(runner.ask, "bye", why="idle"))
    for step in ("reclaim", "terminate", "settle"):
        if step == "settle":
            world.loop.run(world.loop.now + TO_END_S)
        event = {"step": step, "launch_id": runner.machine.launch_id}
        yield f"retire: {step}", world.measure(partial(world.functions.invoke, "retire", event))


def _reporting(world: World) -> Iterator[Round]:
    world.finish_all()
    yield "report, all answered", world.measure(partial(_until, world, "report", {}, world.reported))
    if world.reported():
        few = world.drop(0, world.few)
        yield "ingest, of a reported batch again", world.measure(partial(ingest, world, few))


def _until(world: World, function: str, event: dict[str, Any], over: Callable[[], bool]) -> None:
    for _ in range(MOST_ROUNDS):
        world.functions.invoke(function, event)
        if over():
            return
    raise RuntimeError(f"{function} does not come to an end")


def _sweeping(world: World) -> Iterator[Round]:
    store = world.stack.store

    def swept() -> bool:
        return not store.sweep_row().after

    sweep: Callable[[], None] = partial(_until, world, "ingest", {"sweep": True}, swept)
    yield "sweep, the first", world.measure(sweep)
    world.loop.run(world.loop.now + 3600)
    yield "sweep, nothing new", world.measure(sweep)
    for key in [key for key in store.rows if key[0] in ("receipt", "sweep")]:
        del store.rows[key]
    yield "sweep, no event came", world.measure(sweep)
    if sum(key[0] == "receipt" for key in store.rows) < world.jobs:
        raise RuntimeError("the sweep left files behind")

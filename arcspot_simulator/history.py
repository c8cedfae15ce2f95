"""One seed, one history: a stack, its weather, its people, two days, and then whether it all held."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from arcspot.domain.jobs import JobState
from arcspot.services import afterwards
from arcspot.services.retry import until_written
from arcspot_simulator import stack as stacks
from arcspot_simulator.functions import Broken, FunctionFailed
from arcspot_simulator.invariants import Invariants, Violation, digest
from arcspot_simulator.loop import Loop
from arcspot_simulator.metering import Meter, Shape
from arcspot_simulator.runners import Nature
from arcspot_simulator.stack import Stack
from arcspot_simulator.weather import CALM, HOUR, Sky, draw

# What a calm world gets to finish everything, at most.
AFTERWARDS_S = 12 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class Size:
    """How large a history is. With `files` it is a load test: so many over a day or `spread_hours`,
    in batches of 500, and money enough.

    `storm` scales the load test's faults; 0 is a calm world.
    """

    days: float = 2.0
    files: int = 0
    instances: int = 0
    storm: float = 0.1
    spread_hours: float = 24.0


SMALL = Size()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one history showed. `violation` is "" when everything held."""

    seed: int
    violation: str = ""
    worst_spend_over_cap: float = 0.0
    most_live_over_limit: float = 0.0
    jobs: int = 0
    jobs_done: int = 0
    jobs_lost: int = 0
    double_commits: int = 0
    launches: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    fingerprint: str = ""
    calls: Mapping[str, int] = field(default_factory=dict, repr=False)
    lines: tuple[str, ...] = field(default=(), repr=False)
    faults: tuple[str, ...] = ()


def play(seed: int, *, size: Size = SMALL, trace: bool = False) -> Outcome:
    """Live through one history. Equal seeds and sizes give equal histories."""
    gc_was_on, heard = gc.isenabled(), afterwards.log.disabled
    gc.disable()  # a history is short and makes few cycles; collecting takes a third of its time
    afterwards.log.disabled = True  # the faults are meant, and the history tells of them
    try:
        return History(seed, size=size, trace=trace).live()
    finally:
        afterwards.log.disabled = heard
        if gc_was_on:
            gc.enable()


class History:
    """A stack of small size in weather drawn from the seed, with people who use it."""

    def __init__(self, seed: int, *, size: Size = SMALL, trace: bool = False) -> None:
        self.seed, self.size, self.rng = seed, size, Random(seed)
        self.span_s = size.days * 24 * HOUR
        self.loop = Loop()
        weather = draw(self.rng, self.span_s, storm=size.storm if size.files else None)
        # From a die of its own: what a seed's history is like otherwise stays as it was.
        weather = replace(weather, greedy=Random(f"greed of {seed}").choice((0.0, 0.0, 0.3)))
        self.sky = Sky(weather if size.storm else CALM, self.rng)
        self.stack = self._deployed()
        self.invariants = Invariants(self.stack)
        self.loop.after_each = self.invariants.after_step
        self.stack.workflow.repeated = self._repeat
        self.stack.draw_nature = self._nature
        self.stack.functions.mischief = self._mischief
        self.stack.log = [] if trace else None
        self.numbers = iter(range(10**9))

    def _deployed(self) -> Stack:
        rng = self.rng
        types = rng.choice((("g4dn.xlarge",), ("g4dn.xlarge", "g4dn.2xlarge"), ("g4dn.2xlarge",)))
        quota = self.sky.weather.quota_vcpus if self.sky.weather.quota_zero_until else 0
        small = stacks.settings(
            instance_types=types,
            slots=rng.choice((1, 2, 3, 6, 6)),
            max_lifetime_s=rng.choice((1500, 2400, 3600, 7200)),
            quota_vcpus=rng.choice((0, quota)),
            max_wait_s=rng.choice((0, 60)),
            idle_s=rng.choice((60, 120)),
            on_demand_fallback=rng.random() < 0.7,
            gpu_idle_kill=rng.random() < 0.3,
            target_drain_s=rng.choice((600, 1800)),
        )
        cap = int(small.reserve * rng.choice((1.0, 1.2, 2.5, 5.0, 30.0)))
        if self.size.files:  # a load runs with the template's own settings
            small = stacks.settings(slots=self.size.instances or small.slots)
            cap = small.reserve * (30 + small.slots + self.size.files // 20)
        return Stack(
            self.loop, self.sky, stacks.settings(**{**_fields(small), "cap": cap}), seed=self.seed,
            jumpy=rng.random() < 0.5,
        )  # fmt: skip

    def live(self) -> Outcome:
        """Two days of weather, then calm until everything has ended."""
        violation = ""
        try:
            self._plan()
            self.stack.start()
            self.loop.run(self.span_s)
            self._afterwards()
            self.invariants.at_the_end()
        except (Violation, Broken) as broken:
            violation = str(broken)
            self.stack.trace(f"VIOLATION {violation}")
        return self._outcome(violation)

    def every_minute(self) -> None:
        """Skip no schedule that changes nothing."""
        self.stack.exact = True

    def meter(self, shape: Shape) -> Meter:
        """Have everything counted from now on, as a bill of a template of this shape counts it."""
        meter = self.stack.functions.meter = Meter(shape)
        self.stack.metered(meter)
        return meter

    # People ----------------------------------------------------------------------------------------------
    def _plan(self) -> None:
        """What people do in these days, and when."""
        rng, stack = self.rng, self.stack
        if self.size.files:
            self._drop_many()
            return
        for batch in range(rng.randrange(1, 5)):
            at = rng.random() ** 2 * self.span_s * 0.8
            self.loop.at(at, "drop", lambda b=batch: self._drop_batch(f"batch-{b}"))  # type: ignore[misc]
        acts = [
            (0.3, "pause", self._pause),
            (0.5, "cancel", self._cancel),
            (0.4, "cap", self._change_cap),
            (0.3, "slots", self._change_slots),
            (0.3, "deploy", self._new_version),
            (0.15, "cleanup", self._clean_up),
            (0.3, "stray", stack.stray_warning),
            (0.3, "hours", self._hours),
        ]
        for chance, name, act in acts:
            for _ in range(3):
                if rng.random() < chance / 2:
                    self.loop.at(rng.random() * self.span_s * 0.7, name, act)
        self.loop.at(rng.random() * HOUR, "person", self._person)

    def _drop_many(self) -> None:
        """A load: files in batches of 500, evenly over the first hours."""
        for n in range(self.size.files):
            key = f"tasks/batch-{n // 500:05d}/{n:07d}.json"
            at = self.size.spread_hours * HOUR * n / self.size.files
            self.loop.at(at, "upload", lambda key=key, n=n: self.stack.drop(key, task_bytes(n)))  # type: ignore[misc]

    def _drop_batch(self, batch: str) -> None:
        rng = self.rng
        many = rng.choice((1, 3, 10, 25))
        spread = rng.choice((0.0, 600.0, 3 * HOUR))
        for n in range(many):
            number = next(self.numbers) if rng.random() < 0.9 else rng.randrange(10)
            body = task_bytes(number) if rng.random() < 0.97 else b'{"train": []}'
            key = f"tasks/{batch}/{n:03d}.json"
            self.loop.after(
                spread * rng.random(),
                "upload",
                lambda key=key, body=body: self.stack.drop(key, body),  # type: ignore[misc]
            )
            if self.sky.strikes(self.sky.weather.overwritten):
                other = task_bytes(next(self.numbers))
                self.loop.after(
                    spread + HOUR * rng.random() ** 3,
                    "overwrite",
                    lambda key=key, body=other: self.stack.drop(key, body),  # type: ignore[misc]
                )

    def _person(self) -> None:
        """Somebody looks every few hours: closes a breaker that waits for a person, ends a pause."""
        if self.sky.over:
            return
        if self.stack.store.breaker().until_resumed and self.rng.random() < 0.7:
            self._resume()
        self.loop.after((1 + 5 * self.rng.random()) * HOUR, "person", self._person)

    def _pause(self) -> None:
        self._set_paused(True)
        self.loop.after(4 * HOUR * self.rng.random(), "unpause", lambda: self._set_paused(False))

    def _set_paused(self, paused: bool) -> None:
        from arcspot.services import money

        self.stack.trace(f"paused: {paused}")
        money.pause(self.stack.ports, self.stack.settings, self.loop.moment, paused=paused, reason="by hand")

    def _resume(self) -> None:
        self.stack.trace("a person resumes")
        store = self.stack.store

        def act() -> None:
            breaker = store.breaker()
            if breaker.error:
                store.write(breaker.closed())

        until_written(act, self.stack.ports.pause)
        self._set_paused(False)

    def _cancel(self) -> None:
        open_jobs = [job for job in self.stack.jobs() if not job.state.terminal]
        for job in open_jobs[: self.rng.randrange(1, 8)]:
            self._cancel_one(job.job_id)

    def _cancel_one(self, job_id: str) -> None:
        self.stack.trace(f"cancel {job_id}")
        known = self.stack.store.job(job_id)
        assert known is not None
        changed = known.cancel(now=self.loop.moment)
        if changed != known:
            self.stack.store.write(changed)

    def _change_cap(self) -> None:
        factor = self.rng.choice((0.3, 0.8, 1.5, 3.0))
        self.stack.change(cap=int(self.stack.settings.cap * factor))

    def _change_slots(self) -> None:
        self.stack.change(slots=self.rng.choice((0, 1, 2, 4)))

    def _new_version(self) -> None:
        self.stack.change(solver_version=str(self.rng.randrange(100)))

    def _hours(self) -> None:
        from arcspot.domain.hours import windows

        self.stack.change(
            allowed_hours=windows(self.rng.choice(("22:00-06:00", "08:00-12:00,14:00-18:00", "")))
        )

    def _clean_up(self) -> None:
        """`arcspot cleanup` under load, as far as the stack lives to see it: pause, cancel, end instances."""
        self.stack.trace("cleanup under load")
        self._set_paused(True)
        for job in self.stack.jobs():
            if not job.state.terminal:
                self._cancel_one(job.job_id)
        for launch_id in list(self.stack.workflow.open):
            self.invariants.by_hand.add(launch_id)
        for machine in list(self.stack.ec2.running.values()):
            self.stack.ec2.end(machine, "cleanup")
        self.loop.after(2 * HOUR, "unpause", lambda: self._set_paused(False))

    def _mischief(self) -> None:
        """While a call stalls, the worst moment for something else: chance alone meets it too rarely."""
        running = list(self.stack.ec2.running.values())
        leased = [job_id for row in self.invariants.open.values() for job_id in row.leases]
        acts: list[Callable[[], object]] = [
            lambda: self.stack.call("watchdog", {}),
            lambda: self.stack.call("scale", {}),
        ]
        if running:
            machine = running[-1 - int(self.rng.random() ** 2 * len(running))]
            acts.append(lambda: self.stack.ec2.interrupt(machine))
            acts.append(lambda: self.stack.instance_news("warning", machine.instance_id))
        if leased:
            acts.append(lambda: self._cancel_one(self.rng.choice(leased)))
        self.loop.after(0.1, "mischief", self.rng.choice(acts))

    def _repeat(self, function: str, payload: Any) -> None:
        """The same step told twice, at once and without a fault: the second changes nothing (I15)."""
        weather, self.sky.weather = self.sky.weather, type(self.sky.weather)()
        self.stack.functions.timeless = True
        before = self.stack.store.writes
        try:
            self.stack.functions.invoke(function, payload)
        except FunctionFailed:
            pass
        finally:
            self.sky.weather = weather
            self.stack.functions.timeless = False
        if self.stack.store.writes != before and payload["step"] not in ("launch", "gone"):
            raise Violation(f"[I15] {function} {payload['step']} told twice changed something")

    # Jobs ------------------------------------------------------------------------------------------------
    def _nature(self, rng: Random) -> Nature:
        weather = self.sky.weather
        return Nature(
            seconds=min(300.0, rng.lognormvariate(4.3, 0.8)),
            fails=rng.random() < weather.job_fails,
            deadly=rng.random() < weather.deadly_jobs,
            endless=rng.random() < weather.endless_jobs,
        )

    # The end ---------------------------------------------------------------------------------------------
    def _afterwards(self) -> None:
        """No new fault, no limit: everything must come to its end without a person [L1, L2, L3]."""
        self.stack.trace("the weather clears")
        self.sky.clear()
        self._set_paused(False)
        self.stack.change(
            cap=max(1000 * self.stack.settings.reserve, self.stack.settings.cap),
            slots=6,
            allowed_hours=(),
            quota_vcpus=0,
        )
        until = self.loop.now + AFTERWARDS_S
        while self.loop.now < until and not self._ended():
            self.loop.run(self.loop.now + HOUR)

    def _ended(self) -> bool:
        return (
            self.stack.ec2.live == 0
            and not self.invariants.open
            and not self.stack.queue
            and all(job.state.terminal for job in self.stack.jobs())
            and all(f"reports/{b.batch_id}/" == self.stack.cursed for b in self.stack.store.batches_due())
            and self.loop.now > self.span_s + 2 * HOUR
        )

    def _outcome(self, violation: str) -> Outcome:
        stack, watch = self.stack, self.invariants
        jobs = [job for job in stack.jobs() if job.state is not JobState.REJECTED]
        states = ",".join(sorted(f"{job.job_id}:{job.state}:{job.fence}" for job in jobs))
        return Outcome(
            seed=self.seed,
            violation=violation,
            worst_spend_over_cap=watch.worst_spend_over_cap,
            most_live_over_limit=watch.most_live_over_limit,
            jobs=len(jobs),
            jobs_done=sum(job.state is JobState.DONE for job in jobs),
            jobs_lost=watch.lost,
            double_commits=watch.double_commits,
            launches=len(stack.workflow.executions),
            steps=self.loop.steps,
            virtual_s=self.loop.now,
            calls=stack.functions.calls
            | _named("invoke ", stack.functions.invocations)
            | {"transitions": stack.workflow.transitions, "sweeps": stack.sweeps},
            fingerprint=digest(f"{states} {self.loop.steps} {stack.store.writes}"),
            lines=tuple(stack.log or ()),
            faults=tuple(self.sky.faults()) if not self.sky.over else (),
        )


def _named(prefix: str, counts: Mapping[str, int]) -> dict[str, int]:
    return {prefix + name: count for name, count in counts.items()}


def task_bytes(number: int) -> bytes:
    """A small valid task that no other number gives."""
    cells = [[(number // 10**n) % 10 for n in range(8)]]
    return json.dumps({"train": [{"input": cells, "output": cells}], "test": [{"input": cells}]}).encode()


def _fields(of: Any) -> dict[str, Any]:
    return {name: getattr(of, name) for name in type(of).__dataclass_fields__}

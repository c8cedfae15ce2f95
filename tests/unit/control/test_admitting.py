"""A flood of calls costs no reads and no log, takes nobody's share, and ends no job."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.rates import Bucket, Rate
from arcspot.errors import NotYourself, RunnerRefused, TooManyRequests
from arcspot.services import admitting
from arcspot.services.admitting import Admission
from arcspot.services.serving import Door
from gpu_runner.api import PATIENCE_S, WAITING_PATIENCE_S, ApiSilent, RunnerApi
from tests.fakes.driving import GOOD_TASK, Runner, Stack, task
from tests.fakes.house import handler_module
from tests.fakes.memory import START

VERBS = ("claim", "heartbeat", "uploads", "complete", "fail", "release", "bye")


@dataclass
class Guarded(Stack):
    """A stack whose door counts, as one execution environment does."""

    admission: Admission = field(default_factory=Admission)

    def door(self) -> Door:
        return Door(
            ports=self.ports,
            settings=self.settings,
            now=self.world.now,
            new_secret=lambda: f"secret-{next(self.secrets)}",
            admission=self.admission,
        )


def reads(stack: Stack) -> list[str]:
    """Every call of the store, EC2 and STS from now on."""
    seen: list[str] = []
    for port in (stack.world.store, stack.world.ec2, stack.world.objects):
        for name in dir(port):
            if (
                not name.startswith("_")
                and callable(getattr(port, name))
                and name not in ("trouble", "clock")
            ):
                real = getattr(port, name)

                def noted(*args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
                    seen.append(_name)
                    return _real(*args, **kwargs)

                setattr(port, name, noted)
    return seen


def flood(stack: Stack, request: Any, times: int) -> int:
    """How many of so many equal calls were turned away."""
    away = 0
    for _ in range(times):
        try:
            stack.door().handle(request)
        except TooManyRequests:
            away += 1
        except RunnerRefused:
            pass
    return away


@given(st.lists(st.floats(-5, 60), max_size=60), st.floats(0.1, 50), st.floats(1, 100))
def test_a_bucket_never_gives_more_than_its_rate_and_its_burst(
    steps: list[float], rate: float, burst: float
) -> None:
    now, latest, given_out = START, START, 0
    bucket = Bucket.full(Rate(rate, burst), now)
    for step in steps:
        now += timedelta(seconds=step)
        latest = max(latest, now)
        taken = bucket.taken(now)
        given_out += taken is not None
        bucket = taken or bucket.filled(now)
        assert 0 <= bucket.tokens <= burst
    assert given_out <= burst + rate * (latest - START).total_seconds() + 1e-6


def test_a_bucket_is_full_again_after_a_while() -> None:
    bucket = Bucket(Rate(2, 10), 0, START)
    assert bucket.taken(START + timedelta(seconds=0.4)) is None
    assert bucket.taken(START + timedelta(seconds=0.5)) is not None
    assert bucket.filled(START + timedelta(hours=1)).tokens == 10


@pytest.mark.parametrize("verb", VERBS)
def test_a_launch_that_floods_is_turned_away_before_anything_is_read(verb: str) -> None:
    stack = Guarded()
    runner = stack.one_running()
    runner.claim()
    request = {"verb": verb, "launch_id": runner.launch_id, "secret": runner.secret, "x": 1}
    assert flood(stack, request, 300) >= 300 - admitting.LAUNCH.burst
    seen = reads(stack)
    assert flood(stack, request, 50) == 50
    assert seen == []
    stack.world.wait(60)
    assert flood(stack, request, 1) == 0


@pytest.mark.parametrize(
    "request_",
    [
        {"verb": "ping"},
        {"verb": "claim", "launch_id": "nobody", "secret": "x", "want": 1},
        {"verb": "hello", "launch_id": "launch-001", "instance_id": "i-0", "proof": {}},
        {"verb": "claim", "launch_id": "launch-001", "secret": "wrong", "want": 1},
        # What makes no sense is a line in the log each time.
        {"verb": "nonsense"}, {"verb": "claim", "launch_id": "../.."}, {}, None, "x" * 100_000,
    ],
)  # fmt: skip
def test_strangers_together_are_turned_away_and_no_launch_is(request_: Any) -> None:
    stack = Guarded()
    runner = stack.one_running()
    (lease,) = runner.claim()
    assert flood(stack, request_, 300) >= 150
    seen = reads(stack)
    assert flood(stack, request_, 50) == 50
    assert seen == []
    beat = {"job_id": lease["job_id"], "fence": lease["fence"], "phase": "train", "fraction": 0.5}
    assert runner.ask("heartbeat", leases=[beat])["lost"] == []
    runner.complete(lease)


def test_nobody_can_use_up_the_calls_of_a_launch_without_its_secret() -> None:
    stack = Guarded()
    for n in range(40):
        stack.drop(f"tasks/b/{n}.json", task(n))
    victim, attacker = (stack.boot(launch_id) for launch_id in stack.scale())
    assert victim.claim()
    impostor = Runner(stack, victim.launch_id, victim.instance_id, secret=attacker.secret)
    for _ in range(300):
        with pytest.raises((NotYourself, TooManyRequests)):
            impostor.claim()
    assert victim.claim()
    assert flood(stack, {"verb": "claim", "launch_id": attacker.launch_id, "secret": "guess"}, 50) == 50
    assert victim.claim()


def test_saying_hello_again_gives_a_launch_no_more_calls() -> None:
    stack = Guarded()
    runner = stack.one_running()
    for _ in range(int(admitting.HELLOS.burst) - 1):
        runner.hello()
        request = {"verb": "claim", "launch_id": runner.launch_id, "secret": runner.secret, "want": 1}
        flood(stack, request, 100)
    served = 300 - flood(stack, request, 300)
    assert served == 0
    assert len(stack.admission._launches) == 1


def test_different_launch_ids_and_secrets_do_not_fill_the_memory() -> None:
    stack = Guarded()
    stack.one_running()
    for n in range(3_000):
        flood(stack, {"verb": "claim", "launch_id": f"L{n}", "secret": f"s{n}", "want": 1}, 1)
    assert len(stack.admission._launches) <= 1
    for n in range(2 * admitting.MOST_LAUNCHES):
        stack.admission.proved(f"L{n}", "s", stack.world.now)
    assert len(stack.admission._launches) == admitting.MOST_LAUNCHES


def test_a_new_environment_lets_a_whole_fleet_in() -> None:
    """Fifty launches, the most that a stack may have, meet one that has just begun."""
    stack = Guarded()
    runner = stack.one_running()
    stack.admission = Admission()
    assert runner.claim()
    for n in range(50):
        stack.admission.launch(f"L{n}", "s", stack.world.now)
        stack.admission.proved(f"L{n}", "s", stack.world.now)
    assert flood(stack, {"verb": "ping"}, 1) == 0


def junk_hellos(stack: Stack, runner: Runner) -> list[dict[str, Any]]:
    """Calls that say hello and can be none."""
    hello = {"verb": "hello", "launch_id": runner.launch_id, "instance_id": runner.instance_id}
    proof = {"url": "sts://a/b/c/d", "headers": {"X-Arcspot-Launch": runner.launch_id}}
    return [
        hello,
        {**hello, "proof": {}},
        {**hello, "proof": {**proof, "url": "https://elsewhere"}},
        {**hello, "proof": {**proof, "headers": {"X-Arcspot-Launch": "another"}}},
        {**hello, "proof": proof, "instance_id": 7},
        {**hello, "proof": proof, "host": "cpu"},
        {**hello, "proof": proof, "contract": 0},
    ]


def test_the_watchdogs_bell_rings_through_every_flood() -> None:
    """Else one instance keeps all others from being called silent, for as long as it calls."""
    stack = Guarded()
    runner = stack.one_running()
    floods = [{"verb": "claim", "launch_id": "x", "secret": "y"}, {"verb": "nonsense"}, None]
    for flooding in (*floods, *junk_hellos(stack, runner)):
        flood(stack, flooding, 300)
        assert flood(stack, {"verb": "ping"}, 1) == 0
        stack.world.wait(1)


def test_a_flood_of_what_is_no_hello_keeps_no_instance_from_saying_hello() -> None:
    stack = Guarded()
    runner = stack.one_running()
    for junk in junk_hellos(stack, runner):
        assert flood(stack, junk, 300) >= 150
        runner.hello()
        stack.world.wait(1)


def test_nobody_is_asked_about_a_hello_that_is_none() -> None:
    stack = Guarded()
    runner = stack.one_running()
    seen = reads(stack)
    for junk in junk_hellos(stack, runner):
        flood(stack, junk, 10)
    assert seen == []


def test_a_bell_that_is_rung_again_and_again_reads_no_more_than_its_own_share() -> None:
    stack = Guarded()
    stack.one_running()
    assert flood(stack, {"verb": "ping"}, 300) == 300 - admitting.RINGS.burst


def test_a_flood_is_a_line_a_minute_in_the_log() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    app, lines = handler_module("runner_api"), []

    class Log:
        def __getattr__(self, level: str) -> Any:
            return lambda text, extra: lines.append((level, text, extra)) if level != "debug" else None

    app.logger, app.from_environment = Log(), lambda: (stack.settings, stack.ports)  # type: ignore[attr-defined]
    answers = [app.handler.__wrapped__({"verb": "nonsense"}, None) for _ in range(2_000)]
    assert answers[-1]["error"] == "TooManyRequests"
    assert {answer["error"] for answer in answers} == {"BadRequest", "TooManyRequests"}
    told = [extra["refused"] for _, text, extra in lines if text == "too many requests"]
    assert len(told) <= 2
    assert len(lines) < 400


def client(answers: list[Any], clock: list[float]) -> RunnerApi:
    def sleep(seconds: float) -> None:
        clock[0] += seconds

    def invoke(request: bytes) -> bytes:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return json.dumps(answer).encode()

    return RunnerApi(invoke, "launch-1", lambda: clock[0], sleep, Random(1))


BUSY = {"ok": False, "error": "TooManyRequests", "message": "more than 20 calls a second; ask again later"}
DONE = {"ok": True, "result": {"state": "READY", "result_prefix": "results/j/1/"}}


def test_a_runner_that_is_turned_away_waits_and_goes_on() -> None:
    clock = [0.0]
    api = client([*[BUSY] * 40, DONE], clock)
    api.bye(why="idle")
    assert PATIENCE_S < clock[0] < WAITING_PATIENCE_S, "longer than it waits for a door that is ill"


def test_its_tries_are_drawn_and_not_even() -> None:
    waits: set[float] = set()
    for seed in range(5):
        clock = [0.0]
        api = client([BUSY, BUSY, DONE], clock)
        api.rng = Random(seed)
        api.bye(why="idle")
        waits.add(round(clock[0], 3))
    assert len(waits) == 5


def test_a_flood_without_end_is_given_up_at_last_and_soon_when_the_machine_goes() -> None:
    clock = [0.0]
    with pytest.raises(ApiSilent):
        client([BUSY], clock).bye(why="idle")
    assert clock[0] <= WAITING_PATIENCE_S
    clock = [0.0]
    hurried = client([BUSY], clock)
    hurried.hurry()
    with pytest.raises(ApiSilent):
        hurried.bye(why="interrupted")
    assert clock[0] <= 10

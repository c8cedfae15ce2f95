"""Once a row is written, nothing that follows costs anybody the answer, and somebody does it later.

Every service is played with each of its calls after the first commit failing in turn: before it takes
effect, and after. What happens later is what happens each minute anyway: a heartbeat, the watchdog's round,
scale, report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest

from arcspot.domain.batches import Batch
from arcspot.domain.jobs import Estimate
from arcspot.domain.launching import Breaker, Launch
from arcspot.errors import ArcspotError, ItemsFailed, LaunchUnknown, NoCapacity
from arcspot.ports import Ports
from arcspot.services import launching, money, retiring, scaling, watching
from arcspot.services.reporting import report_finished
from arcspot.services.serving import Door
from tests.fakes.driving import Runner, Stack, task


class Outage(Exception):
    """AWS does not answer."""


@dataclass
class Breaking:
    """Ports that count the calls after the first commit, and let one of them fail."""

    ports: Ports
    fail_at: int = 0
    takes_effect: bool = False
    commit: Callable[[str, tuple[Any, ...]], bool] = lambda name, args: name == "store.write"
    calls: list[str] = field(default_factory=list)
    armed: bool = False

    @property
    def broken(self) -> Ports:
        return Ports(**{f.name: self._port(f.name, getattr(self.ports, f.name)) for f in fields(Ports)})

    def _port(self, name: str, real: Any) -> Any:
        if name == "pause":
            return real  # no call
        if name in ("kick", "bell"):
            return self._call(name, real)
        breaking = self

        class Proxy:
            def __getattr__(self, method: str) -> Any:
                found = getattr(real, method)
                return breaking._call(f"{name}.{method}", found) if callable(found) else found

        return Proxy()

    def _call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if self.armed:
                self.calls.append(name)
                if len(self.calls) == self.fail_at:
                    if self.takes_effect:
                        real(*args, **more)
                    raise Outage(name)
            try:
                return real(*args, **more)
            finally:
                self.armed = self.armed or self.commit(name, args)

        return call


def many(stack: Stack, jobs: int = 4) -> Runner:
    for n in range(jobs):
        stack.drop(f"tasks/b/{n}.json", task(n))
    (launch_id,) = stack.scale()[:1]
    runner = stack.boot(launch_id)
    launching.wait_for(stack.ports, launch_id, phase="serve", token="serving")
    return runner


Act = Callable[[Ports], Any]


def ask(stack: Stack, runner: Runner, verb: str, **more: Any) -> Act:
    request = {"verb": verb, "launch_id": runner.launch_id, "secret": runner.secret, **more}
    return lambda ports: Door(ports, stack.settings, stack.world.now, lambda: "secret").handle(request)


def of(lease: dict[str, Any]) -> dict[str, Any]:
    return {"job_id": lease["job_id"], "fence": lease["fence"]}


def hello(stack: Stack) -> Act:
    stack.drop("tasks/b/0.json", task(0))
    (launch_id,) = stack.scale()
    instance = stack.launch(launch_id)["instance_id"]
    launching.wait_for(stack.ports, launch_id, phase="boot", token="booting")
    proof = {
        "url": f"sts://123456789012/runner-role/AROARUNNER/{instance}",
        "headers": {"x-arcspot-launch": launch_id},
    }
    return ask(stack, Runner(stack, launch_id, instance), "hello", instance_id=instance, proof=proof, host={})


def claim(stack: Stack) -> Act:
    runner = many(stack)
    stack.world.wait(60)  # so that a sign of life is due
    return ask(stack, runner, "claim", want=3, held=[])


def heartbeat(stack: Stack) -> Act:
    runner = many(stack)
    leases = [{**of(lease), "phase": "train"} for lease in runner.claim(3)]
    stack.world.wait(60)
    return ask(stack, runner, "heartbeat", leases=leases, gpu_utilisation=1.0)


def uploads(stack: Stack) -> Act:
    runner = many(stack)
    (lease,) = runner.claim()
    files = [{"name": "prediction.json", "bytes": 1, "sha256": "0" * 64}]
    return ask(stack, runner, "uploads", **of(lease), purpose="result", files=files)


def complete(stack: Stack, **more: Any) -> Act:
    runner = many(stack)
    (lease,) = runner.claim()
    files = runner.upload(lease)
    return ask(stack, runner, "complete", **of(lease), files=files, seconds=5, summary={}, **more)


def complete_and_go_on(stack: Stack) -> Act:
    return complete(stack, want=1, held=[])


def fail(stack: Stack) -> Act:
    runner = many(stack)
    (lease,) = runner.claim()
    return ask(stack, runner, "fail", **of(lease), error="Boom", message="no", seconds=1)


def release(stack: Stack) -> Act:
    runner = many(stack)
    leases = [{**of(lease), "seconds": 1} for lease in runner.claim(3)]
    return ask(stack, runner, "release", leases=leases, why="interrupted")


def bye(stack: Stack, why: str = "interrupted") -> Act:
    runner = many(stack)
    runner.claim(2)
    return ask(stack, runner, "bye", why=why)


def give_up(stack: Stack) -> Act:
    return bye(stack, "gave_up")


def launch(stack: Stack) -> Act:
    stack.drop("tasks/b/0.json", task(0))
    (launch_id,) = stack.scale()
    return lambda ports: launching.launch(ports, stack.settings, launch_id, stack.world.now)


def refused_launch(stack: Stack, refusal: Exception | None = None) -> Act:
    act = launch(stack)
    stack.world.ec2.refusals.append(refusal or NoCapacity("none", codes=("InsufficientInstanceCapacity",)))  # type: ignore[arg-type]
    return act


def unclear_launch(stack: Stack) -> Act:
    return refused_launch(stack, LaunchUnknown("silence", certain=False))


def scale(stack: Stack) -> Act:
    for n in range(5):
        stack.drop(f"tasks/b/{n}.json", task(n))
    names = iter(f"launch-{n}" for n in range(9))
    return lambda ports: scaling.scale(ports, stack.settings, stack.world.now, new_id=lambda now: next(names))


def reclaim(stack: Stack) -> Act:
    runner = many(stack)
    runner.claim(3)
    return lambda ports: retiring.reclaim(
        ports, runner.launch_id, reason="deadline", silent=False, now=stack.world.now
    )


def reclaim_before_hello(stack: Stack) -> Act:
    stack.drop("tasks/b/0.json", task(0))
    (launch_id,) = stack.scale()
    stack.launch(launch_id)
    return lambda ports: retiring.reclaim(ports, launch_id, reason="late", silent=True, now=stack.world.now)


def settle(stack: Stack) -> Act:
    runner = many(stack)
    stack.world.wait(600)
    stack.world.ec2.end(runner.instance_id)
    assert retiring.gone(stack.ports, runner.launch_id, stack.world.now)
    return lambda ports: retiring.settle(
        ports, stack.settings, runner.launch_id, silent=False, now=stack.world.now
    )


def watch(stack: Stack) -> Act:
    runner = many(stack)
    runner.claim(2)
    stack.world.wait(60)
    stack.world.ec2.end(runner.instance_id)
    return lambda ports: watching.watch(ports, stack.settings, stack.world.now)


def report(stack: Stack) -> Act:
    runner = stack.one_running()
    (lease,) = runner.claim()
    runner.complete(lease)
    return lambda ports: report_finished(ports, stack.settings, stack.world.now)


# Nobody may lose its answer to a fault after the commit.
UNHARMED = (
    hello, claim, heartbeat, complete, complete_and_go_on, fail, launch, refused_launch, unclear_launch,
    scale, settle, report,
)  # fmt: skip
# What these do is several commits: the first fault is raised, and whoever called comes again.
AGAIN = (release, bye, give_up, reclaim, reclaim_before_hello, watch)


def breaking(
    service: Callable[[Stack], Act], stack: Stack, fail_at: int = 0, *, takes_effect: bool = False
) -> Breaking:
    """What counts as the service's commit: a row's write, or what EC2 has answered."""

    def launched(name: str, args: tuple[Any, ...]) -> bool:
        return name == "store.write" and any(isinstance(r, Launch) and r.state != "RESERVED" for r in args)

    def reserved(name: str, args: tuple[Any, ...]) -> bool:
        return name == "store.write" and any(isinstance(r, Launch) for r in args)

    def refused(name: str, args: tuple[Any, ...]) -> bool:
        return name == "compute.launch"

    def told(name: str, args: tuple[Any, ...]) -> bool:
        return name == "store.write" and any(isinstance(r, Batch) for r in args)

    commits: dict[Any, Any] = {launch: launched, scale: reserved, report: told}
    commits |= {refused_launch: refused, unclear_launch: refused}
    found = Breaking(stack.ports, fail_at, takes_effect)
    found.commit = commits.get(service, found.commit)
    return found


def said(act: Act, ports: Ports) -> Any:
    """What comes of it: an answer, or a refusal by its name."""
    try:
        return act(ports)
    except ItemsFailed:
        raise
    except ArcspotError as refusal:
        return type(refusal).__name__


def state(stack: Stack, without: tuple[type, ...] = ()) -> dict[Any, Any]:
    """All rows but for their versions and what only an average knows."""
    return {
        key: replace(row, version=0)
        for key, row in stack.world.store.rows.items()
        if not isinstance(row, (Estimate, *without))
    }


@pytest.mark.parametrize("service", UNHARMED, ids=lambda s: s.__name__)
@pytest.mark.parametrize("takes_effect", [False, True])
def test_a_fault_after_the_commit_costs_nobody_the_answer(
    service: Callable[[Stack], Act], takes_effect: bool
) -> None:
    whole = Stack()
    act = service(whole)
    counting = breaking(service, whole)
    answer = said(act, counting.broken)
    written = state(whole)
    assert counting.calls, "nothing follows its commit: what is tested here?"
    for n in range(1, len(counting.calls) + 1):
        stack = Stack()
        act = service(stack)
        one = breaking(service, stack, n, takes_effect=takes_effect)
        assert said(act, one.broken) == answer, f"{one.calls[n - 1]} failed"
        # The rows that the answer tells of are there.
        assert set(state(stack)) >= {key for key in written if key[0] in ("job", "launch")}


@pytest.mark.parametrize("service", AGAIN, ids=lambda s: s.__name__)
@pytest.mark.parametrize("takes_effect", [False, True])
def test_what_is_several_commits_is_asked_again_and_comes_to_the_same(
    service: Callable[[Stack], Act], takes_effect: bool
) -> None:
    whole = Stack()
    act = service(whole)
    counting = breaking(service, whole)
    said(act, counting.broken)
    for n in range(1, len(counting.calls) + 1):
        stack = Stack()
        act = service(stack)
        one = breaking(service, stack, n, takes_effect=takes_effect)
        try:
            said(act, one.broken)
        except (Outage, ItemsFailed):
            act(stack.ports)
        assert state(stack) == state(whole), f"{one.calls[n - 1]} failed"


# Who does it later ---------------------------------------------------------------------------------------


def outage(stack: Stack, act: Act, *names: str) -> Any:
    """The act while some calls fail, whenever they come."""

    @dataclass
    class Down(Breaking):
        def _call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **more: Any) -> Any:
                if name in names:
                    raise Outage(name)
                return real(*args, **more)

            return call

    return said(act, Down(stack.ports).broken)


def told(stack: Stack) -> list[tuple[str, str, str]]:
    return stack.world.workflow.told


def test_a_boot_that_step_functions_did_not_hear_of_is_told_by_the_next_heartbeat_that_is_noted() -> None:
    stack = Stack()
    act = hello(stack)
    secret = outage(stack, act, "workflow.succeed")["secret"]
    assert told(stack) == []
    (row,) = stack.world.store.open_launches()
    stack.world.wait(2 * stack.settings.beat_s)
    beat = ask(stack, Runner(stack, row.launch_id, row.instance_id, secret), "heartbeat", leases=[])
    beat(stack.ports)
    assert told(stack) == [("booting", "succeed", "")]


def test_an_outage_of_step_functions_costs_no_lease_and_no_beat_is_missed_for_long() -> None:
    stack = Stack()
    act = claim(stack)
    assert len(outage(stack, act, "workflow.beat")["leases"]) == 3
    (row,) = stack.world.store.open_launches()
    assert len(row.leases) == 3


def test_a_good_bye_that_step_functions_did_not_hear_is_finished_by_the_watchdog() -> None:
    stack = Stack()
    act = bye(stack)
    outage(stack, act, "workflow.fail", "kick", "store.record")
    for _ in range(2):
        stack.world.wait(60)
        stack.watch()
    assert stack.world.store.open_launches() == []
    assert ("serving", "fail", "InstanceGone") in told(stack)


def test_a_launch_that_no_execution_took_up_is_started_by_the_watchdog() -> None:
    stack = Stack()
    act = scale(stack)
    _, started = outage(stack, act, "workflow.start")
    assert len(started) == 1
    assert stack.world.workflow.started == {}
    stack.world.wait(150)
    stack.watch()
    assert set(stack.world.workflow.started) == set(started)


def test_money_that_did_not_come_back_after_a_refusal_comes_back_by_the_watchdog() -> None:
    stack = Stack()
    act = refused_launch(stack)
    assert outage(stack, act, "store.ledger", "store.record") == "NoCapacity"
    assert stack.books[2] > 0
    for _ in range(17):
        stack.world.wait(60)
        stack.watch()
    assert stack.books[2] == 0


def test_a_timer_that_could_not_be_set_is_set_by_the_watchdog() -> None:
    stack = Stack()
    act = launch(stack)
    outage(stack, act, "timers.arm")
    assert stack.world.timers.armed == {}
    stack.watch()
    assert len(stack.world.timers.armed) == 1


def test_a_threshold_that_could_not_be_looked_at_is_looked_at_by_the_watchdog() -> None:
    stack = Stack()
    for n in range(60):
        stack.drop(f"tasks/b/{n}.json", task(n))
    poor = replace(stack.settings, cap=stack.settings.reserve * 2)

    def reserve(ports: Ports) -> Any:
        return money.reserve(ports, poor, "L1", stack.world.now).launch_id

    money.open_books(stack.ports, poor, stack.world.now)
    one = Breaking(stack.ports, fail_at=2)  # the look at the ledger for its thresholds
    assert said(reserve, one.broken) == "L1"
    assert one.calls[1] == "store.ledger"
    assert stack.world.mail.sent == []
    stack.settings = poor
    stack.watch()
    assert ["50%" in subject for subject, _ in stack.world.mail.sent] == [True]


def test_a_runner_that_gave_up_opens_the_breaker_in_the_write_that_lets_it_go() -> None:
    stack = Stack()
    runner = stack.one_running()
    writes: list[tuple[Any, ...]] = []
    write = stack.world.store.write
    stack.world.store.write = lambda *records: (writes.append(records), write(*records))[1]  # type: ignore[method-assign]
    runner.ask("bye", why="gave_up")
    (left,) = [records for records in writes if any(isinstance(r, Breaker) for r in records)]
    assert len(left) == 2


def test_one_lease_that_cannot_be_released_keeps_no_other_from_it() -> None:
    stack = Stack()
    runner = many(stack)
    leases = runner.claim(3)
    bad = {"key": "tasks/b/0.json", "bytes": 1, "sha256": "0" * 64}
    rows = [{**of(lease), "seconds": 1} for lease in leases]
    rows[0]["checkpoint"] = bad
    with pytest.raises(ArcspotError, match="checkpoint"):
        runner.ask("release", leases=rows, why="interrupted")
    (row,) = stack.world.store.open_launches()
    assert row.leases == (leases[0]["job_id"],)


def test_one_job_that_cannot_be_taken_back_keeps_no_other_with_it() -> None:
    stack = Stack()
    runner = many(stack)
    held = [lease["job_id"] for lease in runner.claim(3)]
    read = stack.world.store.job
    stack.world.store.job = lambda job_id: 1 / 0 if job_id == held[0] else read(job_id)  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        retiring.reclaim(stack.ports, runner.launch_id, reason="x", silent=False, now=stack.world.now)
    (row,) = stack.world.store.open_launches()
    assert row.leases == (held[0],)


def test_the_log_says_what_failed(caplog: pytest.LogCaptureFixture) -> None:
    stack = Stack()
    act = claim(stack)
    outage(stack, act, "workflow.beat")
    assert "after a commit, a heartbeat to Step Functions failed: Outage: workflow.beat" in caplog.text

"""The simulator's own parts: a clock, a state machine player, lagging tables, faults, the weather.

What the histories show is worth as much as these are true to what AWS documents.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcspot.domain.budget import Fleet, Ledger
from arcspot.domain.jobs import Job, JobState, TaskInput
from arcspot.domain.pausing import TRIES
from arcspot.errors import Conflict
from arcspot.services.retry import until_written
from arcspot_simulator import functions, latency, lifecycle, stack
from arcspot_simulator.functions import Broken, FunctionFailed, Invocation, PowerCut
from arcspot_simulator.history import play
from arcspot_simulator.lifecycle import Execution, SimStepFunctions
from arcspot_simulator.loop import START, Loop
from arcspot_simulator.stack import Stack
from arcspot_simulator.tables import MemoryStore
from arcspot_simulator.weather import CALM, HOUR, Sky, Weather, Windows, draw

# The loop ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-5, 20)))
def test_events_happen_by_time_and_in_the_order_they_were_set(times: list[int]) -> None:
    loop, seen = Loop(), []
    for n, when in enumerate(times):
        loop.at(when, "event", lambda n=n: seen.append((loop.now, n)))  # type: ignore[misc]
    loop.run(10)
    due = sorted((max(0, when), n) for n, when in enumerate(times) if when <= 10)
    assert seen == due
    assert (loop.now, loop.steps) == (10, len(due))
    assert loop.next_at == min((when for when in times if when > 10), default=None)


def test_an_event_may_let_others_happen_inside_itself() -> None:
    """That is how a stalled call lets another invocation run between its read and its write."""
    loop, seen = Loop(), []

    def stalls() -> None:
        seen.append(f"stalls at {loop.now:.0f}")
        loop.run(loop.now + 5)
        seen.append(f"goes on at {loop.now:.0f}")

    loop.at(1, "stalls", stalls)
    loop.at(3, "inside", lambda: loop.after(1, "born inside", lambda: seen.append(f"born at {loop.now:.0f}")))
    loop.at(7, "after", lambda: seen.append(f"after at {loop.now:.0f}"))
    loop.after_each = lambda name: seen.append(f"({name})")
    loop.run(8)
    assert seen == [
        "stalls at 1", "(inside)", "born at 4", "(born inside)", "goes on at 6", "(stalls)", "after at 7",
        "(after)",
    ]  # fmt: skip
    assert loop.moment == START + timedelta(seconds=8)


def test_the_clock_never_goes_back() -> None:
    loop = Loop()
    loop.run(10)
    loop.at(3, "late", lambda: None)
    loop.run(5)
    assert (loop.now, loop.next_at) == (10, 10)


# The state machine ---------------------------------------------------------------------------------------

TASK = {
    "Type": "Task",
    "Resource": "arn:aws:states:::lambda:invoke",
    "Parameters": {"FunctionName": "${LaunchFunctionArn}", "Payload": {"id.$": "$.id", "step": "work"}},
    "ResultPath": None,
    "Next": "Done",
}
CALLBACK = {
    **TASK,
    "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
    "Parameters": {"FunctionName": "${LaunchFunctionArn}", "Payload": {"token.$": "$$.Task.Token"}},
    "TimeoutSecondsPath": "$.timeout_s",
    "HeartbeatSecondsPath": "$.silence_s",
    "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Caught"}],
}
INPUT = {"id": "L", "timeout_s": 100, "silence_s": 30, "pause_s": 7}


@dataclass
class Scripted:
    """Functions that answer as they were told: an error to raise, or what to return; then nothing more."""

    loop: Loop
    answers: list[FunctionFailed | dict[str, Any]] = field(default_factory=list)
    called: list[tuple[float, Mapping[str, Any]]] = field(default_factory=list)

    def invoke(self, function: str, payload: Mapping[str, Any]) -> Any:
        self.called.append((round(self.loop.now, 3), payload))
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, FunctionFailed):
            raise answer
        return answer

    @property
    def times(self) -> list[float]:
        return [round(at - self.called[0][0], 3) for at, _ in self.called]


@dataclass
class Player:
    """One execution of a little machine."""

    loop: Loop
    functions: Scripted
    player: SimStepFunctions

    def run(self, until: float = 10_000) -> Execution:
        self.loop.run(until)
        return self.player.executions["L"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Player]:
    def begin(*answers: FunctionFailed | dict[str, Any], **states: Mapping[str, Any]) -> Player:
        whole = {"Done": {"Type": "Succeed"}, "Caught": {"Type": "Succeed"}, **states}
        monkeypatch.setattr(lifecycle, "definition", lambda: {"StartAt": next(iter(states)), "States": whole})
        loop = Loop()
        player = SimStepFunctions(loop, Sky(CALM, Random(0)))
        player.functions = Scripted(loop, list(answers))  # type: ignore[assignment]
        player.start("L", INPUT)
        player.start("L", {"id": "another input"})
        return Player(loop, player.functions, player)  # type: ignore[arg-type]

    return begin


def boom(name: str = "Boom") -> FunctionFailed:
    return FunctionFailed(name, "words")


def retrier(*names: str, attempts: int, **more: Any) -> dict[str, Any]:
    return {
        "ErrorEquals": list(names),
        "MaxAttempts": attempts,
        "IntervalSeconds": 5,
        "BackoffRate": 2,
        **more,
    }


def catcher(*names: str, to: str = "Caught", path: str | None = "$.error") -> dict[str, Any]:
    return {"ErrorEquals": list(names), "ResultPath": path, "Next": to}


def test_a_task_is_tried_again_with_longer_pauses_before_it_is_caught(machine: Any) -> None:
    task = {**TASK, "Retry": [retrier("Boom", attempts=3)], "Catch": [catcher("Boom")]}
    played = machine(*[boom()] * 9, A=task)
    execution = played.run()
    assert played.functions.times == [0, 5, 15, 35]
    assert (execution.state, execution.status) == ("Caught", "SUCCEEDED")
    assert execution.data == {**INPUT, "error": {"Error": "Boom", "Cause": "words"}}
    assert played.functions.called[0][1] == {"id": "L", "step": "work"}


@pytest.mark.parametrize(
    ("more", "times"),
    [({"MaxDelaySeconds": 8}, [0, 5, 13, 21]), ({"JitterStrategy": "FULL"}, None)],
)
def test_pauses_may_be_capped_and_jittered(machine: Any, more: dict[str, Any], times: Any) -> None:
    played = machine(*[boom()] * 9, A={**TASK, "Retry": [retrier("States.ALL", attempts=3, **more)]})
    played.run()
    if times:
        assert played.functions.times == times
    else:
        pauses = [b - a for a, b in zip(played.functions.times, played.functions.times[1:], strict=False)]
        assert all(pause < most for pause, most in zip(pauses, (5, 10, 20), strict=True))


def test_the_first_retrier_that_matches_decides_even_if_it_says_never(machine: Any) -> None:
    never = {"ErrorEquals": ["Boom", "Bang"], "MaxAttempts": 0}
    task = {**TASK, "Retry": [never, retrier("States.ALL", attempts=6)], "Catch": [catcher("States.ALL")]}
    played = machine(boom(), A=task)
    assert played.run().state == "Caught"
    assert played.functions.times == [0]
    other = machine(boom("Crash"), A=task)
    assert other.run().state == "Done"
    assert other.functions.times == [0, 5]


def test_each_retrier_counts_its_own_errors(machine: Any) -> None:
    task = {**TASK, "Retry": [retrier("Boom", attempts=1), retrier("Bang", attempts=1)]}
    played = machine(boom("Boom"), boom("Bang"), boom("Boom"), A=task)
    assert played.run().status == "FAILED"
    assert played.functions.times == [0, 5, 10]


def test_a_state_that_is_entered_again_has_its_tries_again(machine: Any) -> None:
    task = {**TASK, "Retry": [retrier("Boom", attempts=1)]}
    played = machine(boom(), {}, boom(), {}, A={**task, "Next": "B"}, B=task)
    assert played.run().status == "SUCCEEDED"
    assert played.functions.times == [0, 5, 5, 10]


def test_the_first_catcher_that_matches_wins_and_without_one_the_execution_fails(machine: Any) -> None:
    task = {**TASK, "Catch": [catcher("Bang", to="Done"), catcher("States.ALL"), catcher("Boom", to="Done")]}
    assert machine(boom(), A=task).run().state == "Caught"
    execution = machine(boom(), A={**TASK, "Catch": [catcher("Bang")]}).run()
    assert (execution.state, execution.status) == ("A", "FAILED")


@pytest.mark.parametrize(
    ("path", "selector", "kept"),
    [
        (None, None, {}),
        ("$.got", None, {"got": {"Payload": {"x": 1, "y": 2}}}),
        ("$.got", {"x.$": "$.Payload.x"}, {"got": {"x": 1}}),
        (None, {"x.$": "$.Payload.x"}, {}),
    ],
)
def test_a_result_goes_where_the_state_says(machine: Any, path: Any, selector: Any, kept: Any) -> None:
    task = {**TASK, "ResultPath": path, **({"ResultSelector": selector} if selector else {})}
    assert machine({"x": 1, "y": 2}, A=task).run().data == {**INPUT, **kept}


def test_choices_and_waits(machine: Any) -> None:
    choice = {
        "Type": "Choice",
        "Choices": [
            {"Variable": "$.got.Payload.gone", "BooleanEquals": True, "Next": "Done"},
            {"Variable": "$.got.Payload.word", "StringEquals": "caught", "Next": "Caught"},
        ],
        "Default": "Pause",
    }
    look = {**TASK, "ResultPath": "$.got", "Next": "Choose"}
    pause = {"Type": "Wait", "SecondsPath": "$.pause_s", "Next": "Look"}
    no, yes = {"gone": False, "word": ""}, {"gone": True, "word": ""}
    played = machine(no, no, yes, Look=look, Choose=choice, Pause=pause)
    assert played.run().state == "Done"
    assert played.functions.times == [0, 7, 14]
    assert machine({"gone": False, "word": "caught"}, Look=look, Choose=choice, Pause=pause).run().state == (
        "Caught"
    )


def test_a_failing_end_says_why(machine: Any) -> None:
    end = {"Type": "Fail", "ErrorPath": "$.error.Error", "CausePath": "$.error.Cause"}
    task = {**TASK, "Catch": [catcher("States.ALL", to="End")]}
    execution = machine(boom(), A=task, End=end).run()
    assert (execution.status, execution.error) == ("FAILED", "Boom")


def test_a_callback_waits_for_its_token_and_for_no_other(machine: Any) -> None:
    played = machine(A=CALLBACK)
    played.run(1)
    token = played.functions.called[0][1]["token"]
    played.player.succeed("another", {})
    assert played.run(20).state == "A"
    played.player.succeed(token, {"ignored": "ResultPath is null"})
    played.player.fail(token, "TooLate", "")
    execution = played.run()
    assert (execution.state, execution.data) == ("Done", INPUT)
    assert played.player.tokens == {}


def test_a_callback_may_fail_by_name(machine: Any) -> None:
    played = machine(A=CALLBACK)
    played.run(1)
    played.player.fail(played.functions.called[0][1]["token"], "RunnerInterrupted", "notice")
    assert played.run().data["error"] == {"Error": "RunnerInterrupted", "Cause": "notice"}


@pytest.mark.parametrize(
    ("beats", "error", "at"),
    [
        ([], "States.HeartbeatTimeout", 30.1),
        ([20, 45], "States.HeartbeatTimeout", 75),
        # A heartbeat does not make the state's own time any longer.
        ([20, 45, 70, 95], "States.Timeout", 100.1),
    ],
)
def test_a_callback_ends_by_silence_or_by_its_time(
    machine: Any, beats: list[float], error: str, at: float
) -> None:
    played = machine(A=CALLBACK)
    for beat in beats:
        played.run(beat)
        played.player.beat(played.functions.called[0][1]["token"])
    assert played.run(at - 0.01).state == "A"
    execution = played.run(at + 0.01)
    assert (execution.state, execution.data["error"]["Error"]) == ("Caught", error)


def test_a_retried_callback_waits_for_a_new_token_with_its_whole_time(machine: Any) -> None:
    played = machine(A={**CALLBACK, "Retry": [retrier("States.HeartbeatTimeout", attempts=1)]})
    played.run(40)
    first, second = (payload["token"] for _, payload in played.functions.called)
    assert first != second
    played.player.succeed(first, {})
    assert played.run(65).state == "A"
    assert played.run(65.2).state == "Caught"


def test_an_aborted_execution_hears_nothing_more(machine: Any) -> None:
    played = machine(A=CALLBACK)
    played.run(1)
    token = played.functions.called[0][1]["token"]
    played.player.abort("L")
    played.player.succeed(token, {})
    played.player.start("L", INPUT)
    execution = played.run()
    assert (execution.state, execution.status) == ("A", "ABORTED")
    assert len(played.functions.called) == 1


@pytest.mark.parametrize(
    "state",
    [
        {"Type": "Map", "Next": "Done"},
        {"Type": "Pass", "End": True},
        {**TASK, "InputPath": "$.x"},
        {"Type": "Wait", "Seconds": 5, "Next": "Done"},
        {"Type": "Choice", "Choices": [], "OutputPath": "$.x"},
    ],
)
def test_a_definition_with_a_field_the_player_does_not_know_is_refused(
    state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "statemachines").mkdir()
    written = json.dumps({"StartAt": "A", "States": {"A": state}})
    (tmp_path / "statemachines" / "runner_lifecycle.asl.json").write_text(written)
    monkeypatch.setattr(lifecycle, "repository", lambda: tmp_path)
    with pytest.raises(ValueError, match="A: the simulator cannot play"):
        lifecycle.definition.__wrapped__()


@pytest.mark.parametrize(
    "state",
    [
        {**TASK, "ResultPath": "$.deep.er"},
        {**TASK, "ResultPath": "$"},
        {
            "Type": "Choice",
            "Choices": [{"Variable": "$.id", "IsNull": True, "Next": "Done"}],
            "Default": "Done",
        },
        {
            "Type": "Choice",
            "Choices": [{"Variable": "$.id", "StringEquals": "L", "Comment": "", "Next": "Done"}],
            "Default": "Done",
        },
    ],
)
def test_what_cannot_be_played_is_refused_and_not_guessed(machine: Any, state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot play"):
        machine(A=state).run()


# The tables ----------------------------------------------------------------------------------------------


def job(name: str = "job") -> Job:
    return Job(
        job_id=name,
        batch_id="b",
        input=TaskInput(bucket="", key="", object_version="", task_id=name),
        config={},
        solver_version="1",
        created_at=START,
        updated_at=START,
        ready_at=START,
        estimate_s=1,
    )


@dataclass
class Lagging:
    """A store whose next change takes so long to reach the indexes."""

    now: float = 0.0
    delay: float = 0.0
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.store.lag = lambda: (self.now, self.delay)

    def write(self, record: Any, *, arrives_after: float) -> None:
        self.delay = arrives_after
        self.store.write(record)

    def kept(self, name: str = "job") -> Job:
        found = self.store.job(name)
        assert found is not None
        return found

    def shown(self) -> dict[str, int]:
        counts = {str(state): self.store.batch_count("b", state, 99) for state in JobState}
        return {state: count for state, count in counts.items() if count}


def test_a_row_is_read_at_once_and_shown_by_an_index_later() -> None:
    table = Lagging()
    table.write(job(), arrives_after=5)
    assert table.kept().version == 1
    assert table.store.ready_jobs(9, START + timedelta(hours=1)) == []
    table.now = 4.9
    assert table.store.ready_count(9, START + timedelta(hours=1)) == 0
    table.now = 5
    assert [found.job_id for found in table.store.ready_jobs(9, START + timedelta(hours=1))] == ["job"]


def test_changes_of_one_row_arrive_in_order_and_those_of_another_may_overtake() -> None:
    table = Lagging()
    table.write(job(), arrives_after=5)
    table.write(table.kept().claimed(launch_id="L", now=START, lease_seconds=9), arrives_after=1)
    table.write(job("other"), arrives_after=0)
    assert table.shown() == {"READY": 1}, "the other's"
    table.now = 4
    assert table.shown() == {"READY": 1}, "the claim waits for the row it changed"
    table.now = 5
    assert table.shown() == {"READY": 1, "LEASED": 1}


def test_what_an_index_shows_is_read_fresh() -> None:
    table = Lagging()
    table.write(job(), arrives_after=0)
    table.write(table.kept().cancel(now=START), arrives_after=9)
    assert table.store.batch_count("b", JobState.READY, 9) == 1, "the index does not know yet"
    assert list(table.store.jobs_of_batch("b", JobState.READY)) == [], "the row does"


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=8))
def test_an_index_shows_some_earlier_state_of_a_row_and_never_goes_back(
    changes: list[tuple[float, float]],
) -> None:
    """The lane grows with each version, so that it tells which one is shown."""
    table = Lagging()
    shown: list[int] = []

    def look() -> None:
        table.store.ready_count(9, START + timedelta(hours=1))  # lets arrive what is due
        shown.extend(lane for lane, _, _ in table.store.indexes.ready)

    table.write(replace(job(), lane=0), arrives_after=0)
    for version, (wait, delay) in enumerate(changes, start=1):
        table.now += wait
        table.write(replace(table.kept(), lane=version), arrives_after=delay)
        look()
    table.now += 10
    look()
    assert shown == sorted(shown)
    assert shown[-1] == len(changes)


# Faults --------------------------------------------------------------------------------------------------


def calm(**weather: Any) -> Stack:
    return Stack(Loop(), Sky(replace(CALM, **weather), Random(0)), stack.settings(), seed=0, jumpy=False)


def struck(built: Stack, fault: str, at: int = 1) -> Stack:
    """From here on every invocation is struck by this fault at its so-manieth call."""
    built.functions._drawn = lambda name: Invocation(name, built.loop.now, strike_at=at, fault=fault)  # type: ignore[method-assign]
    return built


def within(built: Stack, fault: str) -> Any:
    """The ports as an invocation sees them whose next call is struck."""
    built.functions.running.append(Invocation("scale", 0.0, strike_at=1, fault=fault))
    return built.functions.faulty


@pytest.mark.parametrize("at", range(1, 12))
def test_a_power_cut_passes_the_watchdogs_own_care_and_an_error_does_not(at: int) -> None:
    with pytest.raises(FunctionFailed) as cut:
        struck(calm(), "call_crashes", at).functions.invoke("watchdog", {})
    assert cut.value.name == "Runtime.ExitError"
    outcomes = {watchdog_with_errors(at, seed) for seed in range(12)}
    assert outcomes <= {"StoreBusy", "AwsError", "ItemsFailed", "went on"}
    assert outcomes != {"went on"}


def watchdog_with_errors(at: int, seed: int) -> str:
    """What a round says whose so-manieth call fails; a table that is busy for a moment is asked again."""
    built = struck(calm(), "call_errors", at)
    built.sky.rng.seed(seed)
    try:
        built.functions.invoke("watchdog", {})
    except FunctionFailed as failed:
        return failed.name
    return "went on"


def test_a_busy_table_is_waited_for_and_the_waiting_takes_its_time() -> None:
    built = calm()
    store = within(built, "call_errors").store
    before = built.loop.now
    tries = 0

    def act() -> object:
        nonlocal tries
        tries += 1
        return store.fleet()

    built.functions.running[-1].busy_until = 5
    assert until_written(act, built.functions.faulty.pause) is None
    assert tries == 6
    assert built.loop.now - before > 6 * latency.GET_S


def test_a_function_that_waits_beyond_its_limit_is_cut_off() -> None:
    built = calm()
    built.functions.running.append(Invocation("scale", -functions.TIMEOUT_S))
    with pytest.raises(PowerCut):
        built.functions.faulty.pause(TRIES)


def test_no_except_exception_sees_a_power_cut() -> None:
    ports = within(calm(), "call_crashes")

    def careful() -> None:
        try:
            ports.store.fleet()
        except Exception:
            return

    with pytest.raises(PowerCut):
        careful()


def test_a_fault_strikes_before_or_after_its_call_took_effect() -> None:
    took_effect = set()
    for seed in range(20):
        built = calm()
        built.sky.rng.seed(seed)
        with pytest.raises(PowerCut):
            within(built, "call_crashes").store.write(Fleet.opened(1))
        took_effect.add(built.store.fleet() is not None)
    assert took_effect == {True, False}


def test_an_ambiguous_write_took_effect_and_is_told_as_lost() -> None:
    """DynamoDB took the put, its answer was lost, and the SDK's second try met its own first."""
    built = calm()
    with pytest.raises(Conflict):
        within(built, "ambiguous_writes").store.write(Fleet.opened(1))
    assert built.store.fleet() == replace(Fleet.opened(1), version=1)


def test_a_transaction_is_never_ambiguous() -> None:
    """It has a client request token, so that its repetition is told the first one's outcome."""
    built = calm()
    within(built, "ambiguous_writes").store.write(Fleet.opened(1), Ledger.opened("2026-11", 1))
    assert built.store.fleet() is not None


def test_only_the_struck_call_is_struck() -> None:
    built = calm()
    ports = built.functions.faulty
    built.functions.running.append(Invocation("scale", 0.0, strike_at=3, fault="call_crashes"))
    assert ports.store.fleet() is ports.store.prices() is None
    with pytest.raises(PowerCut):
        ports.store.fleet()
    assert ports.store.fleet() is None


def test_what_a_function_may_never_raise_is_our_bug_and_no_weather() -> None:
    built = calm()
    built.store.fleet = lambda: {}["missing"]  # type: ignore[method-assign]
    with pytest.raises(Broken, match="KeyError"):
        built.functions.invoke("scale", {})


def test_a_stalled_call_lets_the_world_go_on_and_is_answered_in_the_end() -> None:
    for seed in range(20):
        built = struck(calm(), "call_pauses")
        built.sky.rng.seed(seed)
        happened: list[float] = []
        built.loop.at(0.001, "meanwhile", lambda happened=happened, b=built: happened.append(b.loop.now))
        built.functions.invoke("scale", {})
        assert happened == [0.001]
        assert built.loop.now > 0.001
        assert built.functions.running == []


def test_while_functions_are_down_nothing_runs() -> None:
    built = calm(functions_down=Windows(((0.0, 10.0),)))
    with pytest.raises(FunctionFailed) as refused:
        built.functions.invoke("scale", {})
    assert refused.value.name == "Lambda.ServiceException"
    assert built.store.rows == {}
    built.loop.run(10)
    built.functions.invoke("scale", {})
    assert built.store.rows


# The weather ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, []),
        ({"call_errors": 0.1}, ["call_errors"]),
        ({"notice": (0.0,), "door_down": Windows(((1, 2),))}, ["door_down", "notice"]),
    ],
)
def test_the_weather_names_the_faults_it_has(changes: dict[str, Any], named: list[str]) -> None:
    assert Sky(replace(CALM, **changes), Random(0)).faults() == named


def test_after_the_weather_cleared_nothing_new_goes_wrong() -> None:
    stormy = draw(Random(3), 48 * HOUR, storm=3.0)
    sky = Sky(replace(stormy, describe_lag_s=60.0), Random(0))
    assert sky.faults()
    sky.clear()
    assert sky.faults() == ["describe_lag_s"], "slowness is how EC2 is, no fault"
    assert not any(sky.strikes(sky.weather.call_crashes) for _ in range(100))


def test_a_window_holds_its_start_and_not_its_end() -> None:
    spans = Windows(((10, 20), (30, 40)))
    assert [at for at in (9, 10, 19, 20, 30, 40) if spans.holds(at)] == [10, 19, 30]
    assert spans.touched(0, 10.1)
    assert spans.touched(12, 13)
    assert not spans.touched(20, 30)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_drawn_weather_is_of_the_kinds_the_simulator_knows(seed: int) -> None:
    drawn = draw(Random(seed), 48 * HOUR)
    assert drawn == draw(Random(seed), 48 * HOUR)
    assert set(Sky(drawn, Random(0)).faults()) <= set(Weather.__dataclass_fields__)
    for name in ("functions_down", "door_down", "scheduler_down"):
        spans = getattr(drawn, name).spans
        assert list(spans) == sorted(spans)
        # No outage is longer than the half hour after which all converges without a person (L3).
        assert all(0 <= end - start <= HOUR / 2 for start, end in spans)


# One seed, one history -----------------------------------------------------------------------------------

SEEDS = (3, 14)
TELL = "import sys; from arcspot_simulator.history import play; " + (
    "print(*(play(int(seed)).fingerprint for seed in sys.argv[1:]))"
)


def test_a_seed_gives_the_same_history_each_time_and_another_seed_another() -> None:
    first, again, other = play(SEEDS[0], trace=True), play(SEEDS[0], trace=True), play(SEEDS[1])
    assert first == again
    assert first.lines
    assert first.fingerprint != other.fingerprint
    assert play(SEEDS[0]).fingerprint == first.fingerprint, "whether somebody reads along changes nothing"


def test_a_seed_gives_the_same_history_in_another_process_with_other_hashes() -> None:
    told = subprocess.run(
        [sys.executable, "-c", TELL, *map(str, SEEDS)],
        env={**os.environ, "PYTHONHASHSEED": "123"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert told.stdout.split() == [play(seed).fingerprint for seed in SEEDS]

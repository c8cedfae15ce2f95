"""Every time limit of the state machine is right for every legal parameter of the template."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from arcspot.services.scaling import lifecycle_input
from arcspot.settings import Settings
from tests.fakes import house
from tests.fakes.memory import settings as small

LONGEST = 10**7  # where the template sets no bound
STEP_FUNCTIONS_LONGEST = 99_999_999
PARAMETERS = {name: p for name, p in house.template()["Parameters"].items() if p["Type"] == "Number"}
ENVIRONMENT: dict[str, Any] = house.template()["Globals"]["Function"]["Environment"]["Variables"]
# The variables that are numbers, by the parameter they follow.
NUMBERS = {
    name: value["Ref"]
    for name, value in ENVIRONMENT.items()
    if isinstance(value, dict) and value.get("Ref") in PARAMETERS
}
FIXED = {
    "STACK": "s", "BUCKET": "b", "JOBS_TABLE": "j", "LAUNCHES_TABLE": "l", "LEDGER_TABLE": "g",
    "EVENTS_TABLE": "e", "STATE_MACHINE_ARN": "a", "TOPIC_ARN": "t", "RUNNER_ROLE": "r",
    "RUNNER_ROLE_ID": "AROA", "ACCOUNT_ID": "123456789012", "INSTANCE_TYPES": "g4dn.xlarge",
    "SCHEDULE_GROUP": "s", "CLOCK_RULE": "c", "SOLVER_VERSION": "1",
}  # fmt: skip


def range_of(parameter: str) -> st.SearchStrategy[int]:
    bounds = PARAMETERS[parameter]
    low, high = int(bounds.get("MinValue", 0)), int(bounds.get("MaxValue", LONGEST))
    return st.one_of(st.sampled_from([low, high, int(bounds["Default"])]), st.integers(low, high))


legal = st.fixed_dictionaries({name: range_of(parameter) for name, parameter in NUMBERS.items()})


def read(chosen: dict[str, int]) -> Settings:
    return Settings.from_env({**FIXED, **{name: str(value) for name, value in chosen.items()}})


def seconds(state: dict[str, Any], field: str, given_: dict[str, Any]) -> int | None:
    """A state's limit: written in the definition, or brought by the input."""
    if f"{field}Path" in state:
        return int(given_[state[f"{field}Path"].removeprefix("$.")])
    return state.get(field)


def tries_s(state: dict[str, Any], once: int) -> float:
    """How long a state takes when each of its tries takes all of its time."""
    rules = state.get("Retry", [])
    return max(
        [once]
        + [
            once * (rule["MaxAttempts"] + 1)
            + sum(
                min(rule.get("MaxDelaySeconds", math.inf), rule["IntervalSeconds"] * rule["BackoffRate"] ** n)
                for n in range(rule["MaxAttempts"])
            )
            for rule in rules
            if rule["MaxAttempts"]
        ]
    )


@settings(max_examples=300, deadline=None)
@given(legal)
def test_every_heartbeat_is_below_its_timeout_and_every_limit_is_one_step_functions_takes(
    chosen: dict[str, int],
) -> None:
    brought = lifecycle_input(read(chosen), "launch-1")
    seen = 0
    for name, state in house.states().items():
        timeout, beat = seconds(state, "TimeoutSeconds", brought), seconds(state, "HeartbeatSeconds", brought)
        for limit in (timeout, beat, seconds(state, "Seconds", brought)):
            assert limit is None or 1 <= limit <= STEP_FUNCTIONS_LONGEST, name
        if beat is not None:
            assert timeout is not None
            assert beat < timeout, name
            seen += 1
    assert seen == 2, "AwaitBoot and Serve"


@settings(max_examples=300, deadline=None)
@given(legal)
def test_an_execution_has_time_for_all_of_its_states(chosen: dict[str, int]) -> None:
    """Boot and service to their limits, each other state tried to its last, an hour until EC2 says gone."""
    brought = lifecycle_input(read(chosen), "launch-1")
    total = 3600.0
    for state in house.states().values():
        once = seconds(state, "TimeoutSeconds", brought)
        if once is not None:
            # A callback that began to wait ends by what it waits for and is not tried again.
            total += once if "waitForTaskToken" in state["Resource"] else tries_s(state, once)
    assert total < house.state_machine()["TimeoutSeconds"]


@settings(max_examples=200, deadline=None)
@given(legal)
def test_the_watchdog_comes_before_the_state_machines_own_limit_unless_the_life_is_over(
    chosen: dict[str, int],
) -> None:
    read_ = read(chosen)
    brought = lifecycle_input(read_, "launch-1")
    life = read_.max_lifetime_s + read_.margin_s
    assert brought["serve_timeout_s"] == life
    assert brought["silence_s"] > read_.silence_s or brought["silence_s"] == life - 1
    assert brought["boot_timeout_s"] <= read_.max_lifetime_s


@settings(max_examples=200, deadline=None)
@given(legal)
def test_a_runner_is_heard_three_times_within_a_lease_and_within_the_silence_allowed(
    chosen: dict[str, int],
) -> None:
    told = read(chosen)
    assert 1 <= told.beat_s <= told.heartbeat_s
    assert 3 * told.beat_s <= max(3, min(told.lease_s, told.silence_s))


def test_a_step_of_the_state_machine_outlives_the_function_it_waits_for() -> None:
    default = house.template()["Globals"]["Function"]["Timeout"]
    for name, state in house.states().items():
        if state["Type"] == "Task" and "TimeoutSeconds" in state:
            function = "launch" if "LaunchFunction" in str(state["Parameters"]) else "retire"
            assert state["TimeoutSeconds"] > house.functions()[function].get("Timeout", default), name


def test_the_parameters_range_over_what_the_functions_read() -> None:
    """Else the tests above would prove less than they say."""
    assert {"MAX_LIFETIME_MINUTES", "BOOT_TIMEOUT_S", "SILENCE_S", "GONE_POLL_S"} <= set(NUMBERS)
    assert read({name: int(PARAMETERS[p]["Default"]) for name, p in NUMBERS.items()}).slots == 2
    assert lifecycle_input(small(max_lifetime_s=1800, silence_s=300), "x")["silence_s"] == 2099

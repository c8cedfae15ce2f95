"""Every way the watchdog ends a service is known by name where it arrives: state machine and retire."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import pytest

from arcspot import errors
from arcspot.domain import reaping
from arcspot.services import watching
from tests.fakes import house

ENDINGS = sorted(kind.__name__ for kind in errors.ServiceEnded.__subclasses__())


@pytest.fixture
def retire() -> ModuleType:
    return house.handler_module("retire")


def catch(state: str, error: str) -> dict[str, Any]:
    """The rule of a state that takes an error: the first that names it."""
    rules: list[dict[str, Any]] = house.states()[state]["Catch"]
    return next(r for r in rules if error in r["ErrorEquals"] or "States.ALL" in r["ErrorEquals"])


def named(state: str) -> set[str]:
    rules = house.states()[state]["Catch"]
    return {error for rule in rules for error in rule["ErrorEquals"]}


def path_from(state: str, *, error: str) -> list[str]:
    """The states an execution goes through when nothing else goes wrong and the instance is gone."""
    walked = [state]
    while house.states()[state]["Type"] not in ("Fail", "Succeed"):
        found = house.states()[state]
        if state == "HowDidItEnd":
            said = {c["StringEquals"]: c["Next"] for c in found["Choices"] if "StringEquals" in c}
            state = said.get(error, found["Default"])
        else:
            state = found["Choices"][0]["Next"] if found["Type"] == "Choice" else found["Next"]
        walked.append(state)
    return walked


def test_the_watchdog_ends_a_service_by_these_names_and_no_others() -> None:
    used = set(re.findall(r'retire\([^\n]*"([A-Z]\w+)"', inspect.getsource(reaping)))
    used |= set(re.findall(r"(\w+)\.__name__, step\.reason", inspect.getsource(watching)))
    assert used == set(ENDINGS)


def test_the_state_machine_names_them_where_they_can_arrive() -> None:
    # Any of them may meet either state: a row can be ACTIVE while its execution still awaits the boot.
    for state in ("AwaitBoot", "Serve"):
        assert set(ENDINGS) <= named(state)
        never = house.states()[state]["Retry"][0]
        assert never["MaxAttempts"] == 0
        assert set(ENDINGS) <= set(never["ErrorEquals"])


@pytest.mark.parametrize("error", ENDINGS)
@pytest.mark.parametrize("state", ["AwaitBoot", "Serve"])
def test_such_a_launch_is_cleared_away_and_its_execution_red_with_the_cause(state: str, error: str) -> None:
    rule = catch(state, error)
    assert rule["ResultPath"] == "$.error"
    assert path_from(rule["Next"], error=error) == [
        "Reclaim", "CaptureAndTerminate", "WaitGone", "Settle", "HowDidItEnd", "Failed",
    ]  # fmt: skip
    failed = house.states()["Failed"]
    assert (failed["ErrorPath"], failed["CausePath"]) == ("$.error.Error", "$.error.Cause")


@pytest.mark.parametrize("error", ENDINGS)
def test_a_jobs_history_tells_it_in_words(error: str, retire: ModuleType) -> None:
    assert " " in retire.REASONS[error]


def test_only_silence_counts_as_a_silent_death(retire: ModuleType) -> None:
    assert set(ENDINGS) & set(retire.SILENT_ERRORS) == {"RunnerSilent"}


@pytest.mark.parametrize(
    "error",
    [
        "NoCapacity",
        "QuotaExceeded",
        "LaunchThrottled",
        "LaunchPostponed",
        "LaunchMisconfigured",
        "LaunchUnknown",
        "Lambda.Unknown",
    ],
)
def test_a_refused_launch_is_red_with_the_cause_ec2_gave(error: str) -> None:
    rule = catch("Launch", error)
    assert (rule["ResultPath"], rule["Next"]) == ("$.error", "Refused")
    refused = house.states()["Refused"]
    assert refused["Type"] == "Fail"
    assert (refused["ErrorPath"], refused["CausePath"]) == ("$.error.Error", "$.error.Cause")

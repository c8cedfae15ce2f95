"""What the state machine does with an error of the launch function: ask again, or take it for EC2's word."""

from __future__ import annotations

from typing import Any

import pytest

from arcspot import errors
from tests.fakes import house

SPOKEN = sorted(
    kind.__name__ for kind in errors.LaunchRefused.__subclasses__() if kind is not errors.LaunchThrottled
)


def retry(error: str) -> dict[str, Any]:
    """The first rule that takes an error, as Step Functions looks for it."""
    rules: list[dict[str, Any]] = house.states()["Launch"]["Retry"]
    return next(rule for rule in rules if {error, "States.ALL"} & set(rule["ErrorEquals"]))


@pytest.mark.parametrize("error", SPOKEN)
def test_what_ec2_said_is_not_asked_again(error: str) -> None:
    assert retry(error)["MaxAttempts"] == 0


def test_ec2_asked_to_slow_down_is_asked_again_slowly() -> None:
    assert retry("LaunchThrottled")["IntervalSeconds"] >= 5


@pytest.mark.parametrize(
    "error",
    ["Lambda.ServiceException", "Lambda.TooManyRequestsException", "Lambda.Unknown", "Runtime.ExitError",
     "Sandbox.Timedout", "States.Timeout", "Conflict"],
)  # fmt: skip
def test_a_launch_that_died_at_work_is_asked_again(error: str) -> None:
    """Else its jobs wait until the watchdog finds the instance, or 15 minutes where there is none."""
    assert retry(error)["MaxAttempts"] >= 3


def test_all_tries_together_end_well_before_the_money_is_given_back() -> None:
    rule, state = retry("States.Timeout"), house.states()["Launch"]
    pauses = sum(rule["IntervalSeconds"] * rule["BackoffRate"] ** n for n in range(rule["MaxAttempts"]))
    assert (rule["MaxAttempts"] + 1) * state["TimeoutSeconds"] + pauses < 15 * 60

"""What is invoked without anybody waiting: by whom, how often again, and what becomes of what is lost."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from tests.fakes import house
from tests.fakes.cloudformation import Deployment, mentions, transformed

RESOURCES: dict[str, Any] = transformed()["Resources"]
HERE = Deployment()


def function_of(value: Any) -> str:
    """`scale` of a reference to its function."""
    (logical,) = mentions(value)
    return str(RESOURCES[logical]["Properties"]["FunctionName"]["Fn::Sub"]).rpartition("}-")[2]


def configured() -> dict[str, dict[str, Any]]:
    """Function → how its asynchronous events are retried."""
    found = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::Lambda::EventInvokeConfig"]
    return {function_of(each["FunctionName"]): each for each in found}


def invoked_by_events() -> set[str]:
    """By a rule or a schedule, or kicked by another function."""
    found = set()
    for resource in RESOURCES.values():
        if resource["Type"] == "AWS::Events::Rule":
            found |= {function_of(target["Arn"]) for target in resource["Properties"]["Targets"]}
        elif resource["Type"] == "AWS::Scheduler::Schedule":
            found.add(function_of(resource["Properties"]["Target"]["Arn"]))
    return found | kicked()


def kicked() -> set[str]:
    sources = [*(house.ROOT / "functions").glob("*/app.py"), *house.COMMON.rglob("services/*.py")]
    calls = [node for path in sources for node in ast.walk(ast.parse(path.read_text()))]
    return {
        ast.literal_eval(node.args[0])
        for node in calls
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ports.kick")
    }


def test_whatever_is_invoked_asynchronously_says_how_often_it_is_tried_again() -> None:
    assert {"ingest", "scale", "report", "watchdog"} <= invoked_by_events()
    assert set(configured()) == invoked_by_events()
    for name, each in configured().items():
        assert 0 <= each["MaximumRetryAttempts"] <= 2, name
        assert 60 <= each["MaximumEventAgeInSeconds"] <= 21600, name
        assert each["Qualifier"] == "$LATEST", name


def test_an_event_that_nobody_tells_again_is_left_for_a_person() -> None:
    """A recurring submission's turn. All others are looks at the state, and the next look sees the same."""
    kept = {name for name, each in configured().items() if each.get("DestinationConfig")}
    assert kept == {"ingest"}
    destination = configured()["ingest"]["DestinationConfig"]["OnFailure"]["Destination"]
    assert destination == {"Fn::GetAtt": ["DeadLetters", "Arn"]}


def test_a_look_at_the_state_is_not_tried_when_the_next_has_come() -> None:
    """Else an hour in which Lambda throttles is an hour of old minutes afterwards."""
    for name in ("scale", "report", "watchdog"):
        assert configured()[name]["MaximumEventAgeInSeconds"] <= 300


# ---- The clock

(MINUTE,) = [
    r["Properties"]
    for r in RESOURCES.values()
    if r["Type"] == "AWS::Events::Rule" and "ScheduleExpression" in r["Properties"]
]


def test_the_minute_calls_scale_watchdog_and_report_and_may() -> None:
    called = {function_of(target["Arn"]) for target in MINUTE["Targets"]}
    assert called == {"scale", "watchdog", "report"}
    assert MINUTE["ScheduleExpression"] == "rate(1 minute)"
    (rule,) = [n for n, r in RESOURCES.items() if r.get("Properties") is MINUTE]
    allowed = {
        function_of(p["FunctionName"])
        for p in (r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::Lambda::Permission")
        if p.get("SourceArn") == {"Fn::GetAtt": [rule, "Arn"]} and p["Principal"] == "events.amazonaws.com"
    }
    assert allowed == called


def test_a_round_knows_who_asked_for_it() -> None:
    assert {json.loads(target["Input"])["clock"] for target in MINUTE["Targets"]} == {"minute"}
    slow = house.functions()["watchdog"]["Events"]["SlowRound"]["Properties"]
    assert json.loads(slow["Input"]) == {"clock": "slow"}


def test_an_update_that_changes_the_rule_starts_it_and_the_fleets_row_believes_it_runs() -> None:
    """CloudFormation sets the state again when it changes the rule. Awake is the safe side: a round that has
    nothing to do puts it to sleep; a template that said DISABLED would stop a stack at work."""
    from arcspot.domain.budget import Fleet

    assert MINUTE["State"] == "ENABLED"
    assert not Fleet.opened(2).asleep


def test_the_functions_know_the_rule_by_its_name() -> None:
    name = HERE.value(MINUTE["Name"])
    assert HERE.value(house.variables("scale")["CLOCK_RULE"]) == name
    assert HERE.value(house.variables("watchdog")["CLOCK_RULE"]) == name


def test_the_slow_round_is_no_part_of_what_sleeps() -> None:
    schedules = HERE.resources("AWS::Scheduler::Schedule")
    slow = [s for s in schedules.values() if s.get("ScheduleExpression") == "rate(5 minutes)"]
    assert len(slow) == 1
    assert slow[0].get("State", "ENABLED") == "ENABLED"


# ---- What stands idle costs little


@pytest.mark.parametrize("logical", [n for n, r in RESOURCES.items() if r["Type"] == "AWS::DynamoDB::Table"])
def test_a_tables_key_is_dynamodbs_own_and_costs_no_request(logical: str) -> None:
    assert RESOURCES[logical]["Properties"]["SSESpecification"] == {"SSEEnabled": False}


def test_a_month_in_which_nothing_happens_costs_less_than_a_dollar_for_standing_there() -> None:
    """What needs no simulated history: alarms, metrics, schedules, the queue that Lambda polls."""
    from arcspot_simulator.tariff import PRICES
    from bench import standing

    template = house.template()
    micros = {
        "CloudWatch alarms, months": standing.alarms(template),
        "CloudWatch custom metrics, months": standing.metrics(template),
        "EventBridge Scheduler invocations": standing.scheduled(template),
        "SQS requests": standing.POLLS_A_MINUTE * standing.HOURS * 60,
        "KMS requests": 1e9 * standing.encrypted_with_kms(template),
    }
    assert sum(PRICES[name].usd_micros * units for name, units in micros.items()) < 700_000

"""An alarm on a metric that nobody publishes never rings: each is held against who publishes it."""

from __future__ import annotations

import json
import logging
import sys
from types import ModuleType
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from arcspot import attention
from arcspot.errors import Conflict, ItemsFailed, NoCapacity, StillServing
from arcspot.services.watching import Round
from tests.fakes import house, patterns
from tests.fakes.memory import settings
from tests.fakes.rights import resolved

ALARMS = house.resources("AWS::CloudWatch::Alarm")
(FILTER,) = house.resources("AWS::Logs::MetricFilter").values()
PATTERN = FILTER["FilterPattern"]
# What AWS itself publishes, and under which dimension.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
AWS_PUBLISHES = {
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): "QueueName",
    ("AWS/Lambda", "Invocations"): "FunctionName",
}
ROUND = Round(
    live_instances=1, open_launches=2, oldest_launch_s=3.0, actions=(), stuck=("a job",), leaks=4,
    available=5, reserved=6, settled=7, cap=18,
)  # fmt: skip


class Context:
    function_name, memory_limit_in_mb, aws_request_id = "arcspot-x", 512, "r"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:arcspot-x"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The template's own, as far as it concerns logs and metrics."""
    for name, value in house.variables("watchdog").items():
        if name.startswith("POWERTOOLS_"):
            monkeypatch.setenv(name, value)


# ---- Who publishes what the alarms listen to


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_somebody_publishes_what_an_alarm_listens_to(alarm: dict[str, Any]) -> None:
    if "Dimensions" in alarm:
        (dimension,) = alarm["Dimensions"]
        assert AWS_PUBLISHES[alarm["Namespace"], alarm["MetricName"]] == dimension["Name"]
        return
    (made,) = FILTER["MetricTransformations"]
    assert (made["MetricNamespace"], made["MetricName"]) == (alarm["Namespace"], alarm["MetricName"])
    assert resolved(made["MetricNamespace"]).startswith("arcspot/"), "two stacks' metrics are two"
    assert "AWS::StackName" in json.dumps(made["MetricNamespace"])


def test_nothing_wrong_publishes_nothing() -> None:
    """A metric costs for each hour in which it has a value; zero is one."""
    (made,) = FILTER["MetricTransformations"]
    assert "DefaultValue" not in made
    assert made["MetricValue"] == "1"


def test_every_function_logs_where_the_filter_looks() -> None:
    assert FILTER["LogGroupName"] == {"Ref": "FunctionLogs"}
    logging = house.template()["Globals"]["Function"]["LoggingConfig"]
    assert (logging["LogGroup"], logging["LogFormat"]) == ({"Ref": "FunctionLogs"}, "JSON")
    assert not any("LoggingConfig" in properties for properties in house.functions().values())


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_every_alarm_is_a_mail_and_says_what_happened(alarm: dict[str, Any]) -> None:
    assert alarm["AlarmActions"] == [{"Ref": "AlertTopic"}]
    assert len(alarm["AlarmDescription"].split()) > 5
    assert alarm["TreatMissingData"] in ("breaching", "notBreaching")


def test_there_are_as_few_as_there_are_things_to_hear() -> None:
    """Each costs 0.10 USD a month: what our code can say is one, what it cannot say are two."""
    assert set(ALARMS) == {"AttentionAlarm", "DeadLetterAlarm", "WatchdogSilentAlarm"}


# ---- Which lines count


def listened_to(function: str) -> ModuleType:
    """A function, its log going to what the test captures: a logger keeps the first stream it saw."""
    module = house.handler_module(function)
    for handler in logging.getLogger(module.logger.service).handlers:
        assert isinstance(handler, logging.StreamHandler)
        handler.stream = sys.stdout
    return module


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("function", house.FUNCTIONS)
def test_whatever_a_function_raises_is_heard(
    function: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = listened_to(function)

    def broken() -> Any:
        raise RuntimeError("out of the blue")

    monkeypatch.setattr(module, "from_environment", broken)
    with pytest.raises(RuntimeError, match="out of the blue"):
        module.handler({}, Context())
    (line,) = [line for line in lines(capsys) if patterns.matches(PATTERN, line)]
    assert "out of the blue" in json.loads(line)["exception"], "what it was is in the log"


def said_by(error: Exception, capsys: pytest.CaptureFixture[str]) -> bool:
    logger = Logger(service=f"says-{type(error).__name__}")

    @attention.told(logger)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        raise error

    with pytest.raises(type(error)):
        handler({}, None)
    return any(patterns.matches(PATTERN, line) for line in lines(capsys))


def test_a_failure_is_heard_and_an_answer_to_the_state_machine_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said_by(ItemsFailed({"x": "y"}), capsys)
    assert said_by(Conflict("twelve times"), capsys)
    assert not said_by(NoCapacity("spot has none"), capsys)
    assert not said_by(StillServing("heard after all"), capsys)


def test_leaks_and_jobs_that_nobody_works_on_are_heard(capsys: pytest.CaptureFixture[str]) -> None:
    listened_to("watchdog")._say(settings(), ROUND, failed=0)
    heard = [json.loads(line)["message"] for line in lines(capsys) if patterns.matches(PATTERN, line)]
    assert len(heard) == 2
    assert any("a job" in each for each in heard)
    assert any("leak" in each for each in heard)


def platform(kind: str, **record: Any) -> str:
    """A line of Lambda's own. https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html"""
    return json.dumps({"time": "2026-11-27T10:00:00.000Z", "type": f"platform.{kind}", "record": record})


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        (platform("report", requestId="r", status="timeout", metrics={"durationMs": 3000}), True),
        (platform("report", requestId="r", status="failure", metrics={}), True),
        (platform("runtimeDone", requestId="r", status="error", errorType="Runtime.ExitError"), True),
        (platform("initReport", status="error", errorType="Runtime.ImportModuleError"), True),
        (json.dumps({"errorType": "Runtime.ImportModuleError", "errorMessage": "no module app"}), True),
        # The exception is told by the door; NoCapacity is one as well, and no reason for a mail.
        (platform("report", requestId="r", status="error", metrics={}), False),
        (json.dumps({"errorType": "NoCapacity", "errorMessage": "spot has none"}), False),
        (platform("report", requestId="r", status="success", metrics={}), False),
        (json.dumps({"level": "WARNING", "message": "acted"}), False),
        ("START RequestId: r Version: $LATEST", False),
    ],
)
def test_lambdas_own_lines_count_where_no_handler_could_say_it(line: str, heard: bool) -> None:
    assert patterns.matches(PATTERN, line) is heard


def test_lambdas_own_lines_of_what_went_wrong_are_written() -> None:
    """At WARN a report of a timeout is logged, one of a success is not.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    """
    assert house.template()["Globals"]["Function"]["LoggingConfig"]["SystemLogLevel"] == "WARN"


# ---- What our code cannot say


def test_no_dead_letter_queue_fills_unseen() -> None:
    watched = {
        alarm["Dimensions"][0]["Value"]["Fn::GetAtt"][0]
        for alarm in ALARMS.values()
        if alarm["Namespace"] == "AWS/SQS"
    }
    redriven = {
        properties["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        for properties in house.resources("AWS::SQS::Queue").values()
        if "RedrivePolicy" in properties
    }
    assert watched == redriven == {"DeadLetters"}


def test_a_watchdog_that_is_never_called_is_noticed_and_one_that_sleeps_is_not() -> None:
    alarm = ALARMS["WatchdogSilentAlarm"]
    assert (alarm["MetricName"], alarm["TreatMissingData"]) == ("Invocations", "breaching")
    slow = house.functions()["watchdog"]["Events"]["SlowRound"]["Properties"]
    assert slow["ScheduleExpression"] == "rate(5 minutes)"
    # A round that is a little late leaves one period empty, never three.
    assert alarm["Period"] == 300
    assert alarm["EvaluationPeriods"] == 3


# ---- Metrics for whoever wants graphs


def test_the_watchdog_publishes_metrics_only_where_it_was_asked_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quiet = Round(**{**{name: getattr(ROUND, name) for name in Round.__slots__}, "stuck": (), "leaks": 0})
    say = listened_to("watchdog")._say
    say(settings(), quiet, failed=0)
    assert lines(capsys) == []
    say(settings(metrics=True), quiet, failed=8)
    (line,) = lines(capsys)
    published = json.loads(line)
    (described,) = published["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == "arcspot"
    assert described["Dimensions"] == [["Stack"]], "a second dimension would make it another metric"
    assert (published["Stack"], published["FailedItems"]) == ("arcspot-test", [8.0])
    assert house.variables("watchdog")["STACK"] == {"Ref": "AWS::StackName"}
    assert house.template()["Parameters"]["Metrics"]["Default"] == "false"

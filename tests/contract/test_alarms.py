"""An alarm on a metric that nobody publishes never rings: each is held against who publishes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arcspot.services.watching import Round
from tests.fakes import house

ALARMS = house.resources("AWS::CloudWatch::Alarm")
# What AWS itself publishes, and under which dimension.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/monitoring-cloudwatch.html
AWS_PUBLISHES = {
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): "QueueName",
    ("AWS/Lambda", "Errors"): "FunctionName",
    ("AWS/Lambda", "Invocations"): "FunctionName",
    ("AWS/Scheduler", "TargetErrorCount"): "ScheduleGroup",
}
ROUND = Round(
    live_instances=1, open_launches=2, oldest_launch_s=3.0, actions=(), stuck=("a job",), leaks=4,
    available=5, reserved=6, settled=7, cap=18,
)  # fmt: skip


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """One round of the watchdog in CloudWatch's embedded metric format, in the template's environment."""
    for name, value in house.variables("watchdog").items():
        if name.startswith("POWERTOOLS_"):
            monkeypatch.setenv(name, value)
    house.handler_module("watchdog")._publish("arcspot-test", ROUND, failed=8)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_somebody_publishes_what_an_alarm_listens_to(
    alarm: dict[str, Any], published: dict[str, Any]
) -> None:
    (dimension,) = alarm["Dimensions"]
    named = (alarm["Namespace"], alarm["MetricName"])
    if alarm["Namespace"] != "arcspot":
        assert AWS_PUBLISHES[named] == dimension["Name"]
        return
    assert dimension == {"Name": "Stack", "Value": {"Ref": "AWS::StackName"}}
    (described,) = published["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == alarm["Namespace"]
    assert alarm["MetricName"] in {metric["Name"] for metric in described["Metrics"]}
    assert described["Dimensions"] == [["Stack"]], "a second dimension would make it another metric"


def test_the_watchdog_publishes_what_its_round_saw_under_the_stacks_name(published: dict[str, Any]) -> None:
    assert house.variables("watchdog")["STACK"] == {"Ref": "AWS::StackName"}
    assert published["Stack"] == "arcspot-test"
    assert (published["Leaks"], published["StuckJobs"], published["FailedItems"]) == ([4.0], [1.0], [8.0])


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_every_alarm_is_a_mail_and_says_what_happened(alarm: dict[str, Any]) -> None:
    assert alarm["AlarmActions"] == [{"Ref": "AlertTopic"}]
    assert len(alarm["AlarmDescription"].split()) > 5
    assert alarm["TreatMissingData"] in ("breaching", "notBreaching")


def test_no_dead_letter_queue_fills_unseen() -> None:
    watched = {
        alarm["Dimensions"][0]["Value"]["Fn::GetAtt"][0]
        for alarm in ALARMS.values()
        if alarm["Namespace"] == "AWS/SQS"
    }
    assert watched == {name for name in house.resources("AWS::SQS::Queue") if name.endswith("DeadLetters")}


def test_a_watchdog_that_is_never_called_is_noticed() -> None:
    alarm = ALARMS["WatchdogSilentAlarm"]
    assert (alarm["MetricName"], alarm["TreatMissingData"]) == ("Invocations", "breaching")


def test_jobs_are_called_stuck_after_a_quarter_of_an_hour() -> None:
    alarm = ALARMS["StuckJobsAlarm"]
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 15 * 60
    assert alarm["Statistic"] == "Minimum"

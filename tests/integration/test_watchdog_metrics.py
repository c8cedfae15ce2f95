"""What CloudWatch hears of a round: under the stack alone, and of a red round as well."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from arcspot.errors import ItemsFailed
from arcspot.services import money

from .conftest import Cloud
from .test_handlers import call


@pytest.fixture(autouse=True)
def asked_for(whole_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack was asked for metrics (the template's parameter Metrics)."""
    monkeypatch.setenv("METRICS", "true")


def heard(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The documents in embedded metric format among what a function printed."""
    return [
        json.loads(line) for line in capsys.readouterr().out.splitlines() if '"CloudWatchMetrics"' in line
    ]


def a_launch_that_cannot_be_released(cloud: Cloud) -> None:
    """Its month has no books."""
    long_ago = datetime.now(UTC) - timedelta(minutes=20)
    money.reserve(cloud.ports, cloud.settings, "launch-1", long_ago)
    row, hold = cloud.ports.store.launch("launch-1"), cloud.ports.store.hold("launch-1")
    assert row is not None
    assert hold is not None
    cloud.ports.store.write(replace(row, attempted_at=row.created_at), replace(hold, period="1999-01"))


def test_metrics_stand_under_the_stack_and_nothing_else(
    whole_cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    call("watchdog", {})
    (document,) = heard(capsys)
    (described,) = document["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == "arcspot"
    assert described["Dimensions"] == [["Stack"]], "a second dimension would make it another metric"
    assert "service" not in document
    assert (document["Stack"], document["FailedItems"]) == (whole_cloud.settings.stack, [0.0])


def test_a_red_round_is_heard_as_well(whole_cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    a_launch_that_cannot_be_released(whole_cloud)
    with pytest.raises(ItemsFailed, match="launch-1"):
        call("watchdog", {})
    (document,) = heard(capsys)
    assert document["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Stack"]]
    assert (document["OpenLaunches"], document["FailedItems"]) == ([1.0], [1.0])
    assert document["ReservedUsd"][0] > 0


def test_each_round_is_heard_once(whole_cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """Lambda keeps the process: nothing of the last round may be told again."""
    for _ in range(3):
        call("watchdog", {})
        (document,) = heard(capsys)
        assert document["LiveInstances"] == [0.0]

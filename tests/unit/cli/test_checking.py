"""check: each finding says what it saw in the account, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from arcspot_cli import checking, images, pruning
from arcspot_cli import target as targets
from arcspot_cli.errors import CommandFailed
from arcspot_cli.main import main
from arcspot_cli.naming import LONGEST_STACK_NAME
from tests.fakes import house

NOW = datetime(2026, 11, 27, tzinfo=UTC)
LAYER = "arn:aws:lambda:us-east-1:123456789012:layer:arcspot-runner"


class Pages:
    """A paginator over one answer, as a list of pages."""

    def __init__(self, *pages: Mapping[str, Any]) -> None:
        self.pages = pages

    def paginate(self, **_: Any) -> Sequence[Mapping[str, Any]]:
        return self.pages


@dataclass
class Account:
    """What of an account `check` looks at."""

    offered: Mapping[str, str] = field(default_factory=lambda: {"g4dn.xlarge": "bcd"})
    """Instance type → the letters of the zones that offer it."""
    subnets: str = "ab"
    quota: int = 8
    ages: Sequence[int] = (0,)
    """How many days ago each version of the runner layer came, oldest first."""
    deleted: list[int] = field(default_factory=list)

    def get_caller_identity(self) -> dict[str, Any]:
        return {"Arn": "arn:aws:iam::123456789012:user/me"}

    def get_service_quota(self, **_: Any) -> dict[str, Any]:
        return {"Quota": {"Value": float(self.quota)}}

    def describe_subnets(self, SubnetIds: list[str]) -> dict[str, Any]:
        assert SubnetIds == [f"subnet-{letter}" for letter in self.subnets]
        return {"Subnets": [{"AvailabilityZone": f"us-east-1{letter}"} for letter in self.subnets]}

    def delete_layer_version(self, LayerName: str, VersionNumber: int) -> None:
        assert LayerName == LAYER
        self.deleted.append(VersionNumber)

    def get_paginator(self, call: str) -> Pages:
        offers = [
            {"InstanceType": name, "Location": f"us-east-1{letter}"}
            for name, letters in self.offered.items()
            for letter in letters
        ]
        versions = [
            {
                "LayerVersionArn": f"{LAYER}:{number}",
                "Version": number,
                "CreatedDate": (NOW - timedelta(days=age)).isoformat(timespec="milliseconds"),
            }
            for number, age in enumerate(self.ages, 1)
        ]
        return {
            "describe_instance_type_offerings": Pages(
                *({"InstanceTypeOfferings": [offer]} for offer in offers),
            ),
            "list_subscriptions_by_topic": Pages(
                {"Subscriptions": [{"Endpoint": "me@x.org", "SubscriptionArn": "arn:aws:sns:…"}]}
            ),
            "list_layer_versions": Pages({"LayerVersions": versions[::-1]}),
        }[call]


@dataclass
class Here:
    """A target whose account is in memory."""

    account: Account = field(default_factory=Account)
    stack: str = "arcspot"
    label: str = "memory"
    deployed: bool = True
    status: str = "UPDATE_COMPLETE"
    parameters: dict[str, str] = field(
        default_factory=lambda: {
            "InstanceTypes": "g4dn.xlarge",
            "ImageParameter": images.read().default.parameter,
        }
    )
    budget: str | None = "arcspot-AccountBudget-1"

    def client(self, _: str) -> Account:
        return self.account

    @property
    def description(self) -> dict[str, Any]:
        if not self.deployed:
            raise CommandFailed("no stack 'arcspot'")
        return {"StackStatus": self.status}

    @property
    def outputs(self) -> dict[str, str]:
        _ = self.description
        made = {
            "SubnetIds": ",".join(f"subnet-{letter}" for letter in self.account.subnets),
            "TopicArn": "arn:aws:sns:…",
            "RunnerBundle": f"{LAYER}:{len(self.account.ages)}",
        }
        return {**made, **({"AccountBudget": self.budget} if self.budget else {})}

    def output(self, name: str) -> str:
        return self.outputs[name]


def found(here: Any, what: str, now: datetime = NOW) -> checking.Finding:
    (finding,) = (f for f in checking.findings(here, now) if f.what == what)
    return finding


def test_before_a_stack_is_there_the_templates_own_types_are_looked_for() -> None:
    assert house.template()["Parameters"]["InstanceTypes"]["Default"] == checking.DEFAULT_TYPES


def test_the_command_marks_what_is_worth_a_look_and_does_not_fail_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Here(Account(subnets="bcd"), budget=None)
    monkeypatch.setattr(targets, "resolve", lambda *_: here)
    told = CliRunner().invoke(main, ["check"])
    assert told.exit_code == 0
    assert "\nlook account budget: none" in told.stdout
    assert "\nok   zones: " in told.stdout


def test_a_stack_that_has_everything_is_told_so() -> None:
    here = Here(Account(subnets="bcd"))
    findings = list(checking.findings(here, NOW))  # type: ignore[arg-type]
    assert [f.ok for f in findings] == [True] * len(findings), findings


def test_a_zone_without_the_types_is_found_with_the_parameter_to_deploy_with() -> None:
    finding = found(Here(), "zones")
    assert finding.ok is False
    assert finding.said.endswith("Zones=us-east-1b,us-east-1c,us-east-1d")


def test_zones_are_found_before_anything_is_deployed() -> None:
    here = Here(Account(offered={"g4dn.xlarge": "bcd", "g4dn.2xlarge": "cd"}), deployed=False)
    finding = found(here, "zones")
    assert finding.ok is None
    assert "Zones=us-east-1b,us-east-1c,us-east-1d" in finding.said
    assert found(here, "stack").ok is False
    assert found(here, "image").ok is True


def test_where_nothing_is_deployed_only_that_is_wrong() -> None:
    findings = checking.findings(Here(deployed=False), NOW)  # type: ignore[arg-type]
    assert [f.what for f in findings if f.ok is False] == ["stack"]


def test_what_the_account_may_not_see_stops_no_other_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise ClientError({"Error": {"Code": "UnauthorizedOperation"}}, "DescribeInstanceTypeOfferings")

    monkeypatch.setattr(Account, "describe_subnets", refused)
    finding = found(Here(), "zones")
    assert finding.ok is None
    assert "UnauthorizedOperation" in finding.said
    assert found(Here(), "image").ok is True


@pytest.mark.parametrize(("length", "ok"), [(LONGEST_STACK_NAME, True), (LONGEST_STACK_NAME + 1, False)])
def test_a_stack_name_that_is_too_long_is_refused_before_it_is_deployed(length: int, ok: bool) -> None:
    assert found(Here(stack="x" * length, deployed=False), "stack name").ok is ok


def test_the_absence_of_a_budget_is_told_with_what_it_costs_in_safety() -> None:
    finding = found(Here(budget=None), "account budget")
    assert finding.ok is None
    assert "takes launching away" in finding.said
    assert "by hand" in finding.said


@pytest.mark.parametrize(("days", "ok"), [(61, True), (60, None), (0, None), (-1, None)])
def test_an_image_is_warned_of_from_sixty_days_before_its_end(days: int, ok: bool | None) -> None:
    end = images.read().default.end_of_patch
    now = datetime(end.year, end.month, end.day, tzinfo=UTC) - timedelta(days=days)
    assert found(Here(), "image", now).ok is ok


def test_a_stack_on_an_older_line_is_told_the_newest() -> None:
    here = Here()
    here.parameters["ImageParameter"] = here.parameters["ImageParameter"].replace("2.12", "2.9")
    finding = found(here, "image")
    assert finding.ok is None
    assert finding.said.endswith(f"ImageParameter={images.read().default.parameter}")


def test_an_image_that_nobody_knows_is_worth_a_look() -> None:
    here = Here()
    here.parameters["ImageParameter"] = "/my/own/image"
    assert found(here, "image").ok is None


def test_many_old_versions_of_the_runner_are_worth_a_look() -> None:
    assert found(Here(Account(ages=[9, 8, 0])), "old runner versions").said == "1 of 3 may go"
    finding = found(Here(Account(ages=list(range(40, 0, -1)))), "old runner versions")
    assert finding.ok is None
    assert finding.said.endswith("arcspot prune")


@pytest.mark.parametrize(
    ("ages", "doomed"),
    [
        ([0], []),
        ([9], []),
        ([9, 0], []),  # its successor came today: an instance may be booting with it
        ([9, 2], [1]),
        ([9, 8, 2], [1, 2]),
        ([9, 8, 0], [1]),
    ],
)
def test_a_version_goes_a_day_after_its_successor_came(ages: list[int], doomed: list[int]) -> None:
    here = Here(Account(ages=ages))
    assert [version.number for version in pruning.prune(here, NOW)] == doomed  # type: ignore[arg-type]
    assert here.account.deleted == doomed


def test_a_newer_version_than_the_stacks_own_stays() -> None:
    """An update that went back left it behind; the next one may use it."""
    versions = [pruning.Version(f"{LAYER}:{n}", n, NOW - timedelta(days=9 - n)) for n in (1, 2, 3, 4)]
    assert [v.number for v in pruning.doomed(versions, f"{LAYER}:3", NOW)] == [1, 2]
    assert pruning.doomed(versions, "arn:of:another", NOW) == []


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED"])
def test_nothing_is_pruned_while_an_update_is_under_way(status: str) -> None:
    here = Here(Account(ages=[9, 8, 7]), status=status)
    with pytest.raises(CommandFailed, match="wait"):
        pruning.prune(here, NOW)  # type: ignore[arg-type]
    assert here.account.deleted == []

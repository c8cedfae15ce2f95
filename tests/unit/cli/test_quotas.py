"""check's look at the quotas: by the types the stack may start, spot and, where it matters, on demand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from arcspot_cli import quotas
from arcspot_cli.errors import CommandFailed


def target(vcpus: dict[str, int], **parameters: str) -> Any:
    """A stack with these parameters in an account with these quotas."""

    def get(ServiceCode: str, QuotaCode: str) -> Any:
        assert ServiceCode == "ec2"
        return {"Quota": {"Value": float(vcpus[QuotaCode])}}

    given = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    return SimpleNamespace(
        client=lambda service: SimpleNamespace(get_service_quota=get), description={"Parameters": given}
    )


class Undeployed:
    """No stack yet: check comes before the first deploy."""

    @property
    def description(self) -> Any:
        raise CommandFailed("no stack")

    def client(self, service: str) -> Any:
        return target({"L-3819A6DF": 0}).client(service)


@pytest.mark.parametrize(
    ("types", "free", "ok", "said"),
    [
        ("g4dn.xlarge", 8, True, "up to 2 g4dn.xlarge at once"),
        ("g4dn.xlarge,g4dn.2xlarge", 8, True, "up to 2 g4dn.xlarge, up to 1 g4dn.2xlarge at once"),
        ("g4dn.2xlarge", 4, False, "4 vCPUs, a g4dn.2xlarge needs 8"),
        ("g5.12xlarge", 48, True, "up to 1 g5.12xlarge"),
        ("g4dn.xlarge", 0, False, "quotas/L-3819A6DF"),
    ],
)
def test_the_spot_quota_is_counted_by_the_allowed_types(types: str, free: int, ok: bool, said: str) -> None:
    found = quotas.spot(target({"L-3819A6DF": free}, InstanceTypes=types))
    assert found[0] is ok
    assert said in found[1]


def test_a_stack_that_was_told_a_larger_quota_than_there_is_is_told_so() -> None:
    ok, said = quotas.spot(target({"L-3819A6DF": 4}, InstanceTypes="g4dn.xlarge", QuotaVcpus="8"))
    assert not ok
    assert "QuotaVcpus=8: set it to 4" in said


@pytest.mark.parametrize(
    ("fallback", "free", "ok", "said"),
    [("false", 0, True, "not needed"), ("true", 0, False, "L-DB2E81BA"), ("true", 4, True, "up to 1")],
)
def test_the_on_demand_quota_is_looked_at_where_on_demand_may_be_asked_for(
    fallback: str, free: int, ok: bool, said: str
) -> None:
    stack = target({"L-DB2E81BA": free}, InstanceTypes="g4dn.xlarge", OnDemandFallback=fallback)
    found = quotas.on_demand(stack)
    assert found[0] is ok
    assert said in found[1]


def test_before_the_first_deploy_the_usual_type_is_asked_for() -> None:
    undeployed: Any = Undeployed()
    ok, said = quotas.spot(undeployed)
    assert not ok
    assert "a g4dn.xlarge needs 4" in said

"""check's look at the account's GPU quotas: how many instances of the allowed types may live at once."""

from __future__ import annotations

from arcspot.domain.quotas import LINK, ON_DEMAND, SPOT, vcpus
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target

USUAL_TYPES = "g4dn.xlarge"


def spot(target: Target) -> tuple[bool, str]:
    return _quota(target, quota=SPOT, parameter="QuotaVcpus")


def on_demand(target: Target) -> tuple[bool, str]:
    """The on-demand quota is another one, and counts only where on-demand instances may be asked for."""
    if _parameters(target).get("OnDemandFallback", "false") != "true":
        return True, "not needed: OnDemandFallback is off"
    return _quota(target, quota=ON_DEMAND, parameter="OnDemandQuotaVcpus")


def _quota(target: Target, *, quota: str, parameter: str) -> tuple[bool, str]:
    """How many instances of the allowed types the account's quota lets live at once."""
    told = _parameters(target)
    types = [name.strip() for name in told.get("InstanceTypes", USUAL_TYPES).split(",") if name.strip()]
    found = target.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=quota)
    free, link = int(found["Quota"]["Value"]), LINK.format(quota=quota)
    sizes = {name: vcpus(name) for name in types}
    smallest = min(sizes, key=lambda name: sizes[name])
    if free < sizes[smallest]:
        needs = f"a {smallest} needs {sizes[smallest]}"
        return False, f"{free} vCPUs, {needs}; request more (it takes days): {link}"
    said = f"{free} vCPUs: " + ", ".join(f"up to {free // size} {name}" for name, size in sizes.items())
    stated = int(told.get(parameter, "0") or 0)
    if stated > free:
        return False, f"{said} at once, but the stack was told {parameter}={stated}: set it to {free}"
    return True, f"{said} at once"


def _parameters(target: Target) -> dict[str, str]:
    """The stack's parameters as deployed; none before it is."""
    try:
        given = target.description.get("Parameters", [])
    except CommandFailed:
        return {}
    return {item["ParameterKey"]: item.get("ParameterValue", "") for item in given}

"""vCPU quotas: what each instance type counts, and how many launches still fit.

EC2 counts running G and VT instances by their vCPUs, spot and on-demand apart.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html#ec2-on-demand-instances-limits
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-limits.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from arcspot.errors import ConfigurationError

SPOT, ON_DEMAND = "L-3819A6DF", "L-DB2E81BA"
QUOTA_OF: Mapping[str, str] = {"spot": SPOT, "on-demand": ON_DEMAND}
# Which quota an error code speaks of; InstanceLimitExceeded is as old as neither.
VCPU_QUOTA_CODES: Mapping[str, str] = {
    "MaxSpotInstanceCountExceeded": SPOT,
    "SpotInstanceCountLimitExceeded": SPOT,
    "VcpuLimitExceeded": ON_DEMAND,
}
LINK = "https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas/{quota}"

# Sizes count the same in every family; what is not a size is listed.
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html
_SIZE = re.compile(r"[a-z0-9-]+\.(?:(\d*)xlarge|(large)|(medium))")
_OTHERS: Mapping[str, int] = {"g4dn.metal": 96, "g5g.metal": 64}


def vcpus(instance_type: str) -> int:
    """vCPUs of an instance type: 4 of g4dn.xlarge, 8 of g4dn.2xlarge. Raises ConfigurationError."""
    if instance_type in _OTHERS:
        return _OTHERS[instance_type]
    found = _SIZE.fullmatch(instance_type)
    if found is None:
        raise ConfigurationError(f"how many vCPUs has {instance_type!r}? Name a size like g4dn.xlarge")
    if found[2] or found[3]:
        return 2 if found[2] else 1
    return 4 * int(found[1] or 1)


def most_each(free: int, launches: int, instance_types: Sequence[str]) -> int:
    """The most vCPUs each of so many launches may take so that all of them fit into what is free.

    0 when not even the smallest allowed type fits.
    """
    sizes = sorted({vcpus(name) for name in instance_types}, reverse=True)
    return next((size for size in sizes if size * launches <= free), 0)


def fitting(instance_types: Sequence[str], most: int) -> tuple[str, ...]:
    """The allowed types of at most so many vCPUs, in their order; all of them when `most` is 0."""
    return tuple(name for name in instance_types if not most or vcpus(name) <= most)

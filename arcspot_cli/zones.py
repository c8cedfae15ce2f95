"""Which availability zones offer the instance types, and which of them a stack should use."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

MOST = 4
"""The template takes so many names."""
# A zone of the region itself. Local and Wavelength zones have longer names (us-west-2-lax-1a).
ZONE = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+[a-f]")

Offers = Mapping[str, Collection[str]]
"""Instance type → the zones that offer it."""


def best(offers: Offers) -> tuple[str, ...]:
    """Up to four zones: those that offer most of the types, by name among equals."""
    counts: dict[str, int] = {}
    for zones in offers.values():
        for zone in set(zones):
            if ZONE.fullmatch(zone):
                counts[zone] = counts.get(zone, 0) + 1
    return tuple(sorted(sorted(counts, key=lambda zone: (-counts[zone], zone))[:MOST]))


def judged(offers: Offers, used: Sequence[str] | None) -> tuple[bool | None, str]:
    """Whether the zones in use can give instances, and the parameter to deploy with if others are better.

    `used` is None before the stack is there.
    """
    wanted, types = best(offers), ", ".join(offers)
    if not wanted:
        return False, f"no zone of this region offers {types}; take another region or other InstanceTypes"
    parameter = f"Zones={','.join(wanted)}"
    if used is None:
        return None, f"not deployed yet; deploy with {parameter}"
    offering = {zone for zones in offers.values() for zone in zones}
    idle = sorted(set(used) - offering)
    if idle:
        return False, f"nothing of {types} is offered in {', '.join(idle)}; deploy again with {parameter}"
    if len(set(used)) < len(wanted):
        return (
            None,
            f"{len(set(used))} of {len(wanted)} zones in use; for more capacity deploy with {parameter}",
        )
    return True, f"{', '.join(sorted(set(used)))}: each offers one of {types}"

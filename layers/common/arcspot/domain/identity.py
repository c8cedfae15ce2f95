"""Who called, as STS tells it, and where the region's own STS is.

The runner signs a request for one host, and `runner_api` sends it to one host: both ask here, so that no
SDK's own idea of an endpoint can come between them. An SDK in legacy mode, as Lambda's own was for years,
names the global host `sts.amazonaws.com` for every old region; dual-stack and FIPS settings name others.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# First part of a region's name → the partition's DNS suffix; all others are in `amazonaws.com`.
# From botocore's data/endpoints.json (`regionRegex`, `dnsSuffix`); a test holds it against that file. The
# longest prefix comes first.
_SUFFIXES = (
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-iso-", "c2s.ic.gov"),
    ("eusc-", "amazonaws.eu"),
    ("cn-", "amazonaws.com.cn"),
)
_DEFAULT_SUFFIX = "amazonaws.com"


@dataclass(frozen=True, slots=True)
class Caller:
    """A role's session. No two roles ever have one `role_id` (AROA…), not even two of one name."""

    account: str
    role: str
    role_id: str
    session: str


def sts_endpoint(region: str, env: Mapping[str, str]) -> str:
    """The region's own STS endpoint, unless the environment names an emulator's."""
    override = env.get("AWS_ENDPOINT_URL_STS") or env.get("AWS_ENDPOINT_URL")
    if override:
        return override.rstrip("/")
    suffix = next((said for start, said in _SUFFIXES if region.startswith(start)), _DEFAULT_SUFFIX)
    return f"https://sts.{region}.{suffix}"

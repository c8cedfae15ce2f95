"""Who called, as STS tells it, what a proof for STS looks like, and where the region's own STS is.

The runner signs a request for one host, and `runner_api` sends it to one host: both ask here, so that no
SDK's own idea of an endpoint can come between them. An SDK in legacy mode, as Lambda's own was for years,
names the global host `sts.amazonaws.com` for every old region; dual-stack and FIPS settings name others.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from arcspot.errors import NotYourself

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
    """A role's session. No two roles ever have one `role_id` (AROA…), not even two of one name.

    `signed_at` is when it signed its proof, by its own clock.
    """

    account: str
    role: str
    role_id: str
    session: str
    signed_at: datetime | None = field(default=None, compare=False)


LAUNCH_HEADER = "x-arcspot-launch"
PROOF_SECONDS = 60
"""What a runner writes into `X-Amz-Expires`. STS takes a proof for 15 minutes, whatever that says."""
CLOCK_SKEW_SECONDS = 120
"""How far an instance's clock may be off: it is set by its host before it boots, and by chrony after that."""
_FIXED = {
    "Action": "GetCallerIdentity",
    "Version": "2011-06-15",
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-SignedHeaders": f"host;{LAUNCH_HEADER}",
}
_FREE = {
    "X-Amz-Credential": re.compile(r"\w{1,128}/\d{8}/[a-z0-9-]{1,40}/sts/aws4_request", re.ASCII),
    "X-Amz-Date": re.compile(r"\d{8}T\d{6}Z", re.ASCII),
    "X-Amz-Expires": re.compile(r"[1-9]\d{0,1}", re.ASCII),
    "X-Amz-Security-Token": re.compile(r"[!-~]{1,8000}"),
    "X-Amz-Signature": re.compile(r"[0-9a-f]{64}"),
}
_QUERY = re.compile(r"[A-Za-z0-9%&=._~-]{1,8192}")
"""A query as a signer writes it: nothing in it that two readers could take for two things."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A presigned `sts:GetCallerIdentity` request that signs its launch: the query to be sent, and when it
    was signed."""

    query: str
    launch_id: str
    signed_at: datetime

    @classmethod
    def read(cls, url: str, headers: Mapping[str, str], *, endpoint: str) -> Proof:
        """The one form that a runner's proof has. Raises NotYourself for any other.

        Each parameter comes once and none else comes, so that STS reads what was read here. No header but the
        launch's goes along: with an `Authorization` of its own, a request that was signed for somebody
        else, and signs no launch, would be taken for this one.
        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
        """
        if set(headers) != {LAUNCH_HEADER}:
            raise NotYourself(f"the proof has headers beside {LAUNCH_HEADER}, or not that one")
        try:
            asked, own = urlsplit(url), urlsplit(endpoint)
        except ValueError as error:
            raise NotYourself("the proof is no URL") from error
        if (asked.scheme, asked.netloc) != (own.scheme, own.netloc) or url.partition("?")[0] not in (
            endpoint,
            f"{endpoint}/",
        ):
            raise NotYourself(f"the proof is not for {endpoint}")
        query = url.partition("?")[2]
        if not _QUERY.fullmatch(query):
            raise NotYourself("the proof's query is not one that a signer writes")
        names = [each.partition("=")[0] for each in query.split("&")]
        named = dict(parse_qsl(query, keep_blank_values=True))
        if len(names) != len(set(names)) or set(names) - {"X-Amz-Security-Token"} != _NEEDED:
            raise NotYourself("the proof has not each parameter of a presigned request once, and no other")
        for name, value in _FIXED.items():
            if named[name] != value:
                raise NotYourself(f"the proof's {name} is not {value}")
        for name, form in _FREE.items():
            if name in named and not form.fullmatch(named[name]):
                raise NotYourself(f"the proof's {name} has not the form of one")
        if int(named["X-Amz-Expires"]) > PROOF_SECONDS:
            raise NotYourself(f"the proof's X-Amz-Expires is above {PROOF_SECONDS}")
        return cls(query, headers[LAUNCH_HEADER], _moment(named["X-Amz-Date"]))


_NEEDED = {*_FIXED, *_FREE} - {"X-Amz-Security-Token"}


def fresh(signed_at: datetime, now: datetime) -> bool:
    """Whether a proof was signed just now, as far as two clocks can tell."""
    skew = timedelta(seconds=CLOCK_SKEW_SECONDS)
    return now - skew - timedelta(seconds=PROOF_SECONDS) <= signed_at <= now + skew


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise NotYourself("the proof's X-Amz-Date is no moment") from error


def sts_endpoint(region: str, env: Mapping[str, str]) -> str:
    """The region's own STS endpoint, unless the environment names an emulator's."""
    override = env.get("AWS_ENDPOINT_URL_STS") or env.get("AWS_ENDPOINT_URL")
    if override:
        return override.rstrip("/")
    suffix = next((said for start, said in _SUFFIXES if region.startswith(start)), _DEFAULT_SUFFIX)
    return f"https://sts.{region}.{suffix}"

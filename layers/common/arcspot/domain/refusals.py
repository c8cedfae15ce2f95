"""What EC2 says when it gives no instance, and what each of its codes asks of us.

EC2's API model declares no errors, so the table is made by hand: each row has its source. A code
that is not in it is never taken for a reason to stop (docs/decisions/056).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache

from arcspot.errors import (
    LaunchMisconfigured,
    LaunchPostponed,
    LaunchRefused,
    LaunchThrottled,
    LaunchUnknown,
    NoCapacity,
    QuotaExceeded,
)


class Asks(StrEnum):
    """What a code asks of us."""

    CAPACITY = "another zone, type or minute"
    THROTTLE = "the same call, later"
    QUOTA = "a larger vCPU quota, from a person"
    PATIENCE = "another try, ever more slowly"
    PERSON = "a person: nothing else can mend it"
    LOOK = "a look: an instance may exist"


@dataclass(frozen=True, slots=True)
class Row:
    """One code, or several by a pattern (`*`), of CreateFleet, its Errors list, or RunInstances."""

    code: str
    asks: Asks
    source: str


ERRORS = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
LAUNCH_TROUBLE = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html"
IDEMPOTENCY = "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html"
THROTTLING = "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html"
RETRIES = "https://docs.aws.amazon.com/boto3/latest/guide/retries.html"
SPOT_ROLE = (
    "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html"
)
KARPENTER = "https://github.com/aws/karpenter-provider-aws/blob/main/pkg/errors/errors.go"
ZONE_SEEN = "https://github.com/compiler-explorer/infra/issues/601"
ACCESS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"


def _rows(asks: Asks, source: str, *codes: str) -> list[Row]:
    return [Row(code, asks, source) for code in codes]


TABLE: tuple[Row, ...] = (
    # No room right now, of this type in this zone.
    *_rows(Asks.CAPACITY, ERRORS, "InsufficientInstanceCapacity", "InsufficientHostCapacity",
           "InsufficientReservedInstance*Capacity", "InsufficientCapacity", "InsufficientCapacityOnHost",
           "InsufficientVolumeCapacity", "InsufficientAddressCapacity", "InsufficientFreeAddressesInSubnet",
           "SpotMaxPriceTooLow"),
    *_rows(Asks.CAPACITY, KARPENTER, "UnfulfillableCapacity"),
    # The account's vCPUs of this family, spot and on demand.
    *_rows(Asks.QUOTA, ERRORS, "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "InstanceLimitExceeded"),
    *_rows(Asks.QUOTA, LAUNCH_TROUBLE, "SpotInstanceCountLimitExceeded"),
    # Not carried out, because there were too many calls.
    *_rows(Asks.THROTTLE, THROTTLING, "RequestLimitExceeded"),
    *_rows(Asks.THROTTLE, RETRIES, "Throttling", "Throttling.*", "ThrottlingException", "ThrottledException",
           "RequestThrottled", "RequestThrottledException", "EC2ThrottledException", "SlowDown",
           "TooManyRequestsException", "TooManyRequests", "BandwidthLimitExceeded", "429"),
    # No proof that nothing was started, by this call or by one before it with the same token.
    *_rows(Asks.LOOK, IDEMPOTENCY, "IdempotentParameterMismatch", "Idempotent*"),
    *_rows(Asks.LOOK, ERRORS, "InternalError", "InternalFailure", "ServiceUnavailable*", "Unavailable"),
    *_rows(Asks.LOOK, RETRIES, "InternalServer*", "RequestTimeout", "RequestTimeoutException", "*Timeout",
           "PriorRequestNotComplete", "TransactionInProgressException", "*RequestInProgress",
           "500", "502", "503", "504"),
    # Known to start nothing, and known to pass by itself or with another zone: never a stop.
    *_rows(Asks.PATIENCE, ERRORS, "PendingVerification", "ResourceLimitExceeded", "OptInRequired", "Blocked",
           "AuthFailure", "Unsupported", "UnsupportedOperation", "VolumeLimitExceeded", "MaxIOPS*",
           "MaxSpotFleetRequestCountExceeded", "ConcurrentTagAccess", "TagLimitExceeded", "RequestExpired",
           "InvalidParameter*", "MissingParameter", "UnknownParameter", "ValidationError", "InvalidInput",
           "InvalidSubnet*", "InvalidSecurityGroup*", "InvalidGroup.*", "InvalidAvailabilityZone*",
           "InvalidInstanceType", "InvalidBlockDeviceMapping", "InvalidSnapshot.*", "InvalidKeyPair.*",
           "InvalidRequest", "InvalidClientTokenId", "IncompleteSignature", "SignatureDoesNotMatch",
           "MissingAuthenticationToken"),
    *_rows(Asks.PATIENCE, ZONE_SEEN, "InvalidFleetConfiguration", "InvalidFleetConfig"),
    *_rows(Asks.PATIENCE, KARPENTER, "MaxFleetCountExceeded"),
    # Proven: the image, the template, a missing right or an explicit deny.
    *_rows(Asks.PERSON, ERRORS, "UnauthorizedOperation", "InvalidAMIID.*", "InvalidLaunchTemplate*"),
    *_rows(Asks.PERSON, ACCESS, "AccessDenied", "AccessDeniedException"),
    *_rows(Asks.PERSON, SPOT_ROLE, "AuthFailure.ServiceLinkedRoleCreationNotPermitted"),
)  # fmt: skip

# What is said of the account, whatever a zone says beside it: the first that was said decides.
ACCOUNT = (Asks.LOOK, Asks.QUOTA)
# What is said of one zone and one type: the mildest decides, for that one will be tried again.
MILDEST = (Asks.CAPACITY, Asks.THROTTLE, Asks.PATIENCE, Asks.PERSON)

ERROR: Mapping[Asks, type[LaunchRefused]] = {
    Asks.CAPACITY: NoCapacity,
    Asks.THROTTLE: LaunchThrottled,
    Asks.QUOTA: QuotaExceeded,
    Asks.PATIENCE: LaunchPostponed,
    Asks.PERSON: LaunchMisconfigured,
    Asks.LOOK: LaunchUnknown,
}


@cache
def row_of(code: str) -> Row | None:
    """The table's row of a code: its own before a pattern's. None for a code nobody listed."""
    bare = code.removeprefix("Client.").removeprefix("Server.")
    exact = (row for row in TABLE if row.code == bare)
    return next(exact, None) or next((row for row in TABLE if fnmatchcase(bare, row.code)), None)


def asks_of(code: str, *, status: int = 400) -> Asks:
    """What a code asks of us. One that nobody listed proves nothing if the server failed (HTTP 5xx)."""
    row = row_of(code)
    if row is not None:
        return row.asks
    return Asks.LOOK if status >= 500 else Asks.PATIENCE


def verdict(asked: Iterable[Asks]) -> Asks:
    """The one thing to do after several zones and types were refused, each for its own reason.

    A fact of one zone never makes it worse: with capacity missing in another, capacity is waited for.
    """
    said = set(asked)
    return next((kind for kind in (*ACCOUNT, *MILDEST) if kind in said), Asks.LOOK)


def refusal(
    codes: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    answered: bool = False,
    status: int = 400,
    repeated: bool = False,
) -> LaunchRefused:
    """The one error that EC2's codes (code, message) add up to.

    `answered`: CreateFleet answered, and named no instance. `status`: the HTTP status of a call that
    failed. `repeated`: the SDK had sent the same call before, and nobody knows what became of that.
    """
    said = sorted(codes.items() if isinstance(codes, Mapping) else codes)
    asked = {code: asks_of(code, status=status) for code, _ in said}
    found = verdict(asked.values())
    listed = all(row_of(code) is not None for code in asked)
    text = "; ".join(dict.fromkeys(f"{code}: {message}" for code, message in said))
    return ERROR[found](
        text or "EC2 gave no instance and no reason",
        codes=tuple(code for code, asks in asked.items() if asks is found),
        certain=found is not Asks.LOOK and (answered or (listed and not repeated)),
        answered=answered,
    )

"""What went wrong with one thing of many: a line with the next step, while the others go on."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arcspot.errors import ArcspotError, ObjectUnreadable, RowUnreadable
from arcspot_cli.errors import CommandFailed

# What is wrong with every item alike: going on would say it a hundred thousand times.
_FOR_ALL = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "NoSuchBucket",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_SLOWER = ("SlowDown", "Throttling", "RequestLimitExceeded", "503", "ServiceUnavailable", "429")
_FORBIDDEN = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled")
RESTORE = (
    "it is archived; have it restored (aws s3api restore-object --bucket BUCKET --key KEY "
    "--restore-request Days=7), and when it is, run the same command again"
)
FORBIDDEN = (
    "it may not be read: its encryption key, the bucket's policy or your rights forbid it (allow "
    "s3:GetObject, and kms:Decrypt for the object's key), then run the same command again"
)
GONE = (
    "it was removed from the bucket; an earlier version may still be there "
    "(aws s3api list-object-versions --bucket BUCKET --prefix KEY)"
)
SLOWER = "AWS asks to slow down; run the same command again later: what is done is not done twice"
UNREACHED = "no whole answer came; run the same command again: what is done is not done twice"


@dataclass(frozen=True, slots=True)
class Fault:
    """One item that a command could not do, and why, with what to try next. `job_id` where it is a job's."""

    what: str
    why: str
    job_id: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"

    def as_json(self) -> dict[str, str]:
        return {"what": self.what, "job_id": self.job_id, "why": self.why}


def of_rows(bad: Mapping[str, RowUnreadable]) -> list[Fault]:
    """The rows that a store left out because it cannot read them, by key."""
    return [Fault(f"row {key}", str(error)) for key, error in sorted(bad.items())]


def as_json(found: Sequence[Fault]) -> dict[str, Any]:
    """What a command's JSON has more where something could not be done: `faults`, each with its reason."""
    return {"faults": [fault.as_json() for fault in found]} if found else {}


def words(error: Exception) -> str:
    """What happened to one item, in one line that ends with the next step.

    Raises what would be every item's: the error again, or CommandFailed for a full disk.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ObjectUnreadable) and isinstance(error.__cause__, ClientError):
        return _of_aws(error.__cause__)
    if isinstance(error, ClientError):
        return _of_aws(error)
    if isinstance(error, BotoCoreError):
        if _unreachable(error):
            raise error
        return f"{UNREACHED} ({_one_line(error)})"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        raise CommandFailed(f"{error.strerror}; nothing is half written: make room, run it again") from error
    if isinstance(error, ObjectUnreadable):
        return f"{_one_line(error)}; once that is mended, run the same command again"
    if isinstance(error, ArcspotError | OSError):
        return _one_line(error)
    return f"{type(error).__name__}: {_one_line(error)}; this is arcspot's fault, please report it"


def _of_aws(error: Any) -> str:
    told = error.response.get("Error", {})
    code, message = str(told.get("Code", "")), str(told.get("Message", ""))
    if code in _FOR_ALL:
        raise error
    if code == "InvalidObjectState":
        return f"{RESTORE} ({code})"
    of_an_object = error.operation_name in ("GetObject", "HeadObject")
    if of_an_object and (code.startswith("KMS") or code in _FORBIDDEN):
        return f"{FORBIDDEN} ({code})"
    if of_an_object and (code.startswith("NoSuch") or code in ("404", "NotFound")):
        return f"{GONE} ({code})"
    if any(code.startswith(each) for each in _SLOWER) or "Throughput" in code:
        return f"{SLOWER} ({code})"
    return " ".join(f"AWS says {code}: {message}"[:300].split())


def _unreachable(error: Exception) -> bool:
    from botocore import exceptions

    return isinstance(
        error,
        exceptions.EndpointConnectionError
        | exceptions.ConnectTimeoutError
        | exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.TokenRetrievalError
        | exceptions.SSLError
        | exceptions.ProxyConnectionError,
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__

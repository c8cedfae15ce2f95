"""A refusal in the words of the AWS service that was asked, so that every client shows its message.

Sources of the codes: "Common Errors" of each service's API reference, "Error Responses" of Amazon S3's,
"Error codes for the Amazon EC2 API".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from xml.sax.saxutils import escape

from arcspot_cli.local.gate import Kind, Refused, Request

REQUEST_ID = "refused-by-the-local-stack"


class Manner(StrEnum):
    """How a service writes its errors."""

    S3 = "s3"
    JSON = "json"
    EC2 = "ec2"
    QUERY = "query"


BY_SERVICE: Mapping[str, Manner] = {
    "s3": Manner.S3,
    "ec2": Manner.EC2,
    **dict.fromkeys(
        ("dynamodb", "lambda", "states", "events", "scheduler", "logs", "ssm", "budgets", "arcspot"),
        Manner.JSON,
    ),
}
STATUS: Mapping[Kind, int] = {Kind.MALFORMED: 400, Kind.WRONG_BODY: 400, Kind.TOO_LARGE: 413}
"""The others are 403."""
CODES: Mapping[Kind, Mapping[Manner, str]] = {
    Kind.UNSIGNED: {
        Manner.S3: "AccessDenied",
        Manner.JSON: "MissingAuthenticationTokenException",
        Manner.EC2: "AuthFailure",
        Manner.QUERY: "MissingAuthenticationToken",
    },
    Kind.UNKNOWN_KEY: {
        Manner.S3: "InvalidAccessKeyId",
        Manner.JSON: "UnrecognizedClientException",
        Manner.EC2: "AuthFailure",
        Manner.QUERY: "InvalidClientTokenId",
    },
    Kind.EXPIRED_KEY: {
        Manner.S3: "ExpiredToken",
        Manner.JSON: "ExpiredTokenException",
        Manner.EC2: "RequestExpired",
        Manner.QUERY: "ExpiredToken",
    },
    Kind.WRONG_SIGNATURE: {
        Manner.S3: "SignatureDoesNotMatch",
        Manner.JSON: "InvalidSignatureException",
        Manner.EC2: "AuthFailure",
        Manner.QUERY: "SignatureDoesNotMatch",
    },
    Kind.OUT_OF_TIME: {
        Manner.S3: "RequestTimeTooSkewed",
        Manner.JSON: "InvalidSignatureException",
        Manner.EC2: "RequestExpired",
        Manner.QUERY: "SignatureDoesNotMatch",
    },
    Kind.WRONG_BODY: {Manner.S3: "XAmzContentSHA256Mismatch"},
    Kind.MALFORMED: {
        Manner.S3: "AuthorizationHeaderMalformed",
        Manner.JSON: "IncompleteSignatureException",
        Manner.EC2: "AuthFailure",
    },
    Kind.TOO_LARGE: {Manner.S3: "EntityTooLarge", Manner.JSON: "RequestEntityTooLargeException"},
    Kind.FOREIGN: dict.fromkeys(Manner, "AccessDenied"),
}
OTHERWISE: Mapping[Kind, str] = {
    Kind.MALFORMED: "IncompleteSignature",
    Kind.WRONG_BODY: "SignatureDoesNotMatch",
    Kind.TOO_LARGE: "RequestEntityTooLarge",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body of a refusal."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def answer(request: Request, refused: Refused) -> Answer:
    """What the service that a request was meant for would say."""
    manner = _manner(request)
    kind = refused.kind
    code = CODES[kind].get(manner) or OTHERWISE[kind]
    status = STATUS.get(kind, 403)
    if manner is Manner.JSON:
        body = json.dumps({"__type": code, "message": refused.message})
        return Answer(
            status, {"Content-Type": "application/x-amz-json-1.0", "x-amzn-ErrorType": code}, body.encode()
        )
    told = f"<Code>{code}</Code><Message>{escape(refused.message)}</Message>"
    request_id = f"<RequestId>{REQUEST_ID}</RequestId>"
    inside = f"<ErrorResponse><Error><Type>Sender</Type>{told}</Error>{request_id}</ErrorResponse>"
    if manner is Manner.S3:
        inside = f"<Error>{told}{request_id}</Error>"
    elif manner is Manner.EC2:
        inside = f"<Response><Errors><Error>{told}</Error></Errors>{request_id}</Response>"
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n{inside}'
    return Answer(status, {"Content-Type": "text/xml"}, xml.encode())


def _manner(request: Request) -> Manner:
    """By what only JSON protocols send, else by the service that the signature names, else by the method."""
    if request.all("x-amz-target") or request.path.startswith("/20"):
        return Manner.JSON
    for text in (*request.all("authorization"), request.query.replace("%2F", "/")):
        parts = text.partition("Credential=")[2].split("/", 4)
        if len(parts) == 5:
            return BY_SERVICE.get(parts[3], Manner.QUERY)
    return Manner.QUERY if request.method == "POST" else Manner.S3

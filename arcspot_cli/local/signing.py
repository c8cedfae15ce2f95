"""Signature version 4, both ways: sign our own requests, and check those that come.

What is signed is worked out by botocore's own signer; this module reads what a request claims and
compares. Sources: "Create a signed AWS API request" (IAM user guide), "Authenticating Requests (AWS
Signature Version 4)" and "Transferring Payload in Multiple Chunks" (Amazon S3 API reference).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from botocore.auth import S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from arcspot_cli.local.gate import Kind, Refused, Request
from arcspot_cli.local.keys import AccessKey

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW = timedelta(minutes=15)
LONGEST = 7 * 24 * 3600
"""Seconds that a presigned request may be good for."""
NEXT = 'the local stack has a key of its own, new with each start; run: eval "$(arcspot local env)"'
UNSIGNED = frozenset({"UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"})
CHUNKED = frozenset({f"STREAMING-{ALGORITHM}-PAYLOAD", f"STREAMING-{ALGORITHM}-PAYLOAD-TRAILER"})
EMPTY = hashlib.sha256(b"").hexdigest()
_STAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Secret:
    """What belongs to an access key id."""

    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    """Of a role's session; such a key is nothing without it."""
    expires_at: float | None = None
    """UTC epoch seconds."""


Lookup = Callable[[str], Secret | None]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its own signature."""

    access_key_id: str
    day: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str
    stamp: str
    seconds: int | None
    """How long a presigned request is good for, None for one with a header."""
    token: str | None
    declared: str | None
    """The payload's hash, or what stands for it, if the request says."""

    @property
    def presigned(self) -> bool:
        return self.seconds is not None


class _Recomputed(SigV4Auth):
    """botocore's signer for a payload whose hash is known already."""

    def __init__(self, secret: str, claim: Claim, payload_hash: str) -> None:
        super().__init__(Credentials(claim.access_key_id, secret), claim.service, claim.region)
        self._as_sent = claim.service == "s3"
        self._payload_hash = payload_hash

    def payload(self, request: AWSRequest) -> str:
        return self._payload_hash

    def _normalize_url_path(self, path: str) -> str:
        # S3 signs the path as it was sent, everybody else a normalised one, encoded once more.
        if self._as_sent:
            return path
        normalised: str = super()._normalize_url_path(path)  # type: ignore[misc]
        return normalised


@dataclass(frozen=True, slots=True)
class Checked:
    """A request whose head is known to be signed; its body is still to be looked at."""

    claim: Claim
    _signer: _Recomputed
    _context: AWSRequest

    @property
    def body_is_free(self) -> bool:
        """Whether the signer left the body open, as presigned uploads do."""
        return self.claim.declared in UNSIGNED

    def body(self, body: bytes) -> None:
        """Compare the body with what was signed. Raises Refused."""
        declared = self.claim.declared
        if self.body_is_free:
            return
        if declared in CHUNKED:
            self._chunks(body)
        elif hashlib.sha256(body).hexdigest() != declared:
            raise Refused(Kind.WRONG_BODY, "X-Amz-Content-Sha256: the body is not what was signed")

    def _chunks(self, body: bytes) -> None:
        """Each chunk is signed over the one before, the first over the head."""
        stamp, scope = self.claim.stamp, self._signer.credential_scope(self._context)
        before, at = self.claim.signature, 0
        while True:
            size, told, start = _chunk_head(body, at)
            chunk = body[start : start + size]
            if len(chunk) < size:
                raise Refused(Kind.WRONG_BODY, "a chunk of the body is cut off")
            parts = (f"{ALGORITHM}-PAYLOAD", stamp, scope, before, EMPTY, hashlib.sha256(chunk).hexdigest())
            before = self._signed("\n".join(parts), told, "a chunk of the body")
            if size == 0:
                break
            at = start + size + 2
        if str(self.claim.declared).endswith("-TRAILER"):
            self._trailer(body[start:], before)

    def _trailer(self, trailer: bytes, before: str) -> None:
        lines = [line for line in trailer.replace(b"\r\n", b"\n").split(b"\n") if line]
        name = b"x-amz-trailer-signature:"
        told = [
            line[len(name) :].strip().decode("latin-1") for line in lines if line.lower().startswith(name)
        ]
        rest = b"".join(line + b"\n" for line in lines if not line.lower().startswith(name))
        scope = self._signer.credential_scope(self._context)
        parts = (f"{ALGORITHM}-TRAILER", self.claim.stamp, scope, before, hashlib.sha256(rest).hexdigest())
        self._signed("\n".join(parts), told[0] if len(told) == 1 else "", "the trailer of the body")

    def _signed(self, text: str, told: str, what: str) -> str:
        signature: str = self._signer.signature(text, self._context)
        if not _same(signature, told):
            raise Refused(Kind.WRONG_SIGNATURE, f"the signature of {what} does not match")
        return signature


def check(
    request: Request, lookup: Lookup, *, now: datetime, body: Callable[[], bytes] = lambda: b""
) -> Checked:
    """The request, if it is signed with a key that `lookup` knows. Raises Refused.

    `body` is asked for only if nothing in the head says what the body's hash is.
    """
    claim = read_claim(request)
    secret = known(claim, lookup, now)
    _in_time(claim, now)
    _whole_head(request, claim)
    if claim.declared is None:
        claim = replace(claim, declared=hashlib.sha256(body()).hexdigest())
    signer = _Recomputed(secret.secret_access_key, claim, str(claim.declared))
    asked = _as_signed(request, claim)
    signature = signer.signature(signer.string_to_sign(asked, signer.canonical_request(asked)), asked)
    if not _same(signature, claim.signature):
        raise Refused(
            Kind.WRONG_SIGNATURE, f"the signature does not match the key {claim.access_key_id}; {NEXT}"
        )
    return Checked(claim, signer, asked)


def known(claim: Claim, lookup: Lookup, now: datetime) -> Secret:
    """The secret of a claim's key. Raises Refused if it is nobody's, has ended, or lacks its token."""
    secret = lookup(claim.access_key_id)
    if secret is None:
        raise Refused(Kind.UNKNOWN_KEY, f"the access key {claim.access_key_id} is not of this stack: {NEXT}")
    if secret.expires_at is not None and now.timestamp() >= secret.expires_at:
        raise Refused(Kind.EXPIRED_KEY, "the session of this access key has ended; ask for a new one")
    if secret.session_token is not None and not _same(secret.session_token, claim.token or ""):
        raise Refused(
            Kind.UNKNOWN_KEY, "X-Amz-Security-Token: expected the token that came with the access key"
        )
    return secret


def read_claim(request: Request) -> Claim:
    """What a request says of its signature. Raises Refused when it says nothing, or not enough."""
    authorization = request.one("authorization")
    pairs = _pairs(request.query)
    in_query = "X-Amz-Signature" in pairs or "X-Amz-Credential" in pairs
    if authorization is not None and in_query:
        raise Refused(Kind.MALFORMED, "signed twice, by header and by address; expected one signature")
    if authorization is not None:
        return _of_header(request, authorization)
    if in_query:
        return _of_query(request, pairs)
    raise Refused(Kind.UNSIGNED, f"the request is not signed (signature version 4): {NEXT}")


def _of_header(request: Request, authorization: str) -> Claim:
    algorithm, _, rest = authorization.partition(" ")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if algorithm != ALGORITHM:
        raise Refused(Kind.MALFORMED, f"Authorization: expected {ALGORITHM}, found {algorithm[:40]!r}")
    declared = request.one("x-amz-content-sha256")
    return _claim(
        fields.get("Credential", ""),
        fields.get("SignedHeaders", ""),
        fields.get("Signature", ""),
        request.one("x-amz-date") or "",
        None,
        request.one("x-amz-security-token"),
        declared,
    )


def _of_query(request: Request, pairs: Mapping[str, str]) -> Claim:
    told = {name: unquote(value) for name, value in pairs.items()}
    if told.get("X-Amz-Algorithm") != ALGORITHM:
        raise Refused(Kind.MALFORMED, f"X-Amz-Algorithm: expected {ALGORITHM}")
    seconds = told.get("X-Amz-Expires", "")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 6 and 1 <= int(seconds) <= LONGEST):
        raise Refused(Kind.MALFORMED, f"X-Amz-Expires: expected 1 to {LONGEST} seconds")
    claim = _claim(
        told.get("X-Amz-Credential", ""),
        told.get("X-Amz-SignedHeaders", ""),
        told.get("X-Amz-Signature", ""),
        told.get("X-Amz-Date", ""),
        int(seconds),
        told.get("X-Amz-Security-Token"),
        None,
    )
    # Who presigns for S3 does not know the body; for another service it is what was sent.
    return replace(claim, declared="UNSIGNED-PAYLOAD") if claim.service == "s3" else claim


def _claim(
    credential: str,
    signed: str,
    signature: str,
    stamp: str,
    seconds: int | None,
    token: str | None,
    declared: str | None,
) -> Claim:
    scope = credential.split("/")
    if len(scope) != 5 or scope[4] != "aws4_request" or not all(scope):
        raise Refused(Kind.MALFORMED, "Credential: expected key/day/region/service/aws4_request")
    if not _STAMP.fullmatch(stamp) or stamp[:8] != scope[1]:
        raise Refused(Kind.MALFORMED, "X-Amz-Date: expected the credential's day, as YYYYMMDDTHHMMSSZ")
    if not _DIGEST.fullmatch(signature):
        raise Refused(Kind.MALFORMED, "Signature: expected 64 hexadecimal digits")
    names = tuple(signed.split(";"))
    if "host" not in names:
        raise Refused(Kind.MALFORMED, "SignedHeaders: expected host among them")
    if declared is not None and declared not in UNSIGNED | CHUNKED and not _DIGEST.fullmatch(declared):
        raise Refused(Kind.MALFORMED, "X-Amz-Content-Sha256: expected a hash, or a word that S3 knows")
    return Claim(scope[0], scope[1], scope[2], scope[3], names, signature, stamp, seconds, token, declared)


def _in_time(claim: Claim, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(claim.stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused(Kind.MALFORMED, "X-Amz-Date: there is no such time") from None
    # STS takes a proof for 15 minutes, whatever X-Amz-Expires says (docs/decisions/002).
    good_for = SKEW if claim.seconds is None or claim.service == "sts" else timedelta(seconds=claim.seconds)
    # A difference of two times always exists; a time before year 1 or after 9999 does not.
    if not -SKEW <= now - signed_at < good_for:
        raise Refused(
            Kind.OUT_OF_TIME, f"signed at {claim.stamp}, good for {good_for}, and it is {now:%Y%m%dT%H%M%SZ}"
        )


def _whole_head(request: Request, claim: Claim) -> None:
    """No header that means something to AWS besides those that were signed, as S3 itself has it.

    Whoever has a link could otherwise say what is done with it: copy from where, for which service.
    """
    for name, _ in request.headers:
        if name.startswith("x-amz-") and name not in claim.signed:
            raise Refused(Kind.UNSIGNED, f"{name}: expected no such header, for it was not signed")


def _as_signed(request: Request, claim: Claim) -> AWSRequest:
    """The request with what its signature covers, and nothing else."""
    query = "&".join(
        pair for pair in request.query.split("&") if pair and not pair.startswith("X-Amz-Signature=")
    )
    host = request.one("host") or ""
    asked = AWSRequest(
        method=request.method, url=f"http://{host}{request.path}" + (f"?{query}" if query else "")
    )
    for name, value in request.headers:
        if name in claim.signed:
            asked.headers.add_header(name, value)
    asked.context["timestamp"] = claim.stamp
    return asked


def _pairs(query: str) -> dict[str, str]:
    """Name to value, both as they came. Raises Refused when a part of a signature came twice."""
    pairs: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name in pairs and name.startswith("X-Amz-"):
            raise Refused(Kind.MALFORMED, f"{name}: expected one value")
        pairs[name] = value
    return pairs


def _chunk_head(body: bytes, at: int) -> tuple[int, str, int]:
    """Size of a chunk, its signature, and where its bytes begin."""
    end = body.find(b"\r\n", at)
    size, _, told = body[at : max(end, at)].decode("latin-1").partition(";chunk-signature=")
    if end < 0 or not re.fullmatch(r"[0-9a-fA-F]{1,8}", size):
        raise Refused(Kind.WRONG_BODY, "the body is not in signed chunks, as its head says")
    return int(size, 16), told.strip(), end + 2


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def signed_headers(key: AccessKey, method: str, url: str, *, service: str = "arcspot") -> dict[str, str]:
    """Headers that make a request without a body one of ours."""
    request = AWSRequest(method=method, url=url)
    SigV4Auth(Credentials(key.access_key_id, key.secret_access_key), service, "local").add_auth(request)
    return dict(request.headers.items())


def presigned(key: AccessKey, url: str, *, seconds: int, region: str) -> str:
    """An address that anybody may GET for a while, as S3's are."""
    request = AWSRequest(method="GET", url=url)
    credentials = Credentials(key.access_key_id, key.secret_access_key)
    S3SigV4QueryAuth(credentials, "s3", region, expires=seconds).add_auth(request)
    return str(request.url)

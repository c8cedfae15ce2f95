"""A signature counts if it is what botocore, or Amazon's own examples, make of the request and the secret."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config

from arcspot_cli.local import keys, refusals, signing
from arcspot_cli.local.gate import Kind, Refused, Request
from arcspot_cli.local.signing import Secret

KEY = keys.AccessKey("LOCALKEYOFTHISSTACK2", "a-secret-of-this-stack")
SECRETS = {KEY.access_key_id: Secret(KEY.secret_access_key)}
ENDPOINT = "http://127.0.0.1:4566"


class Caught(Exception):
    """Ends a call once its request is made."""


@cache
def session(token: str | None = None) -> boto3.Session:
    """One for all tests: making its first client takes half a second."""
    return boto3.Session(KEY.access_key_id, KEY.secret_access_key, token, region_name="us-east-1")


def made(service: str, call: Callable[[Any], object], *, token: str | None = None) -> AWSPreparedRequest:
    """The request that boto3 makes of a call."""
    client = session(token).client(service, endpoint_url=ENDPOINT)  # type: ignore[call-overload]
    caught: list[AWSPreparedRequest] = []

    def catch(request: AWSPreparedRequest, **_: object) -> None:
        caught.append(request)
        raise Caught

    client.meta.events.register("before-send", catch)
    with pytest.raises(Caught):
        call(client)
    return caught[0]


def as_sent(request: AWSPreparedRequest) -> tuple[Request, bytes]:
    target = request.url.removeprefix(ENDPOINT)
    body = request.body or b""
    whole = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else body.read()
    told = [(name, _text(value)) for name, value in request.headers.items()]
    return Request.of(request.method, target, [("Host", "127.0.0.1:4566"), *told]), whole


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def passes(request: Request, body: bytes, lookup: signing.Lookup = SECRETS.get, **later: float) -> None:
    now = datetime.now(UTC) + timedelta(**later)
    signing.check(request, lookup, now=now, body=lambda: body).body(body)


def why(request: Request, body: bytes, lookup: signing.Lookup = SECRETS.get, **later: float) -> Kind:
    with pytest.raises(Refused) as refusal:
        passes(request, body, lookup, **later)
    return refusal.value.kind


CALLS: list[tuple[str, Callable[[Any], object]]] = [
    ("s3", lambda s3: s3.put_object(Bucket="bucket", Key="tasks/a b/+ä~(1)!.json", Body=b"body")),
    ("s3", lambda s3: s3.get_object(Bucket="bucket", Key="a//b")),
    ("s3", lambda s3: s3.list_objects_v2(Bucket="bucket", Prefix="tasks/ä +&=", ContinuationToken="a/b+c==")),
    ("s3", lambda s3: s3.create_multipart_upload(Bucket="bucket", Key="k", Metadata={"a": " two  words "})),
    ("s3", lambda s3: s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k"}]})),
    ("dynamodb", lambda table: table.get_item(TableName="t", Key={"pk": {"S": "x"}})),
    (
        "lambda",
        lambda run: run.invoke(
            FunctionName="arn:aws:lambda:us-east-1:000000000000:function:f", Payload=b"{}"
        ),
    ),
    (
        "lambda",
        lambda run: run.get_layer_version_by_arn(Arn="arn:aws:lambda:us-east-1:000000000000:layer:l:1"),
    ),
    ("stepfunctions", lambda flow: flow.list_state_machines()),
    ("scheduler", lambda clock: clock.get_schedule(GroupName="a", Name="b")),
    ("events", lambda bus: bus.put_events(Entries=[{"Detail": '{"ä": 1}'}])),
    ("ec2", lambda ec2: ec2.describe_instances(Filters=[{"Name": "tag:x", "Values": ["a b", "*"]}])),
    ("iam", lambda iam: iam.get_role(RoleName="r")),
    ("sts", lambda sts: sts.get_caller_identity()),
    ("cloudformation", lambda stacks: stacks.describe_stacks(StackName="s")),
    ("sqs", lambda queue: queue.send_message(QueueUrl=f"{ENDPOINT}/0/q", MessageBody="m")),
    ("sns", lambda topic: topic.publish(TopicArn="arn:aws:sns:us-east-1:0:t", Message="m & n")),
    ("cloudwatch", lambda watch: watch.list_metrics()),
    ("logs", lambda logs: logs.describe_log_groups()),
    ("ssm", lambda store: store.get_parameter(Name="/a/b")),
    ("budgets", lambda money: money.describe_budgets(AccountId="000000000000")),
]


@pytest.mark.parametrize(("service", "call"), CALLS)
def test_what_boto3_sends_passes_and_no_change_of_it_does(
    service: str, call: Callable[[Any], object]
) -> None:
    request, body = as_sent(made(service, call))
    passes(request, body)
    wrong = {KEY.access_key_id: Secret("another secret")}
    assert why(request, body, wrong.get) is Kind.WRONG_SIGNATURE
    assert why(request, body + b"x") in (Kind.WRONG_SIGNATURE, Kind.WRONG_BODY)
    changed = (
        Request(request.method, request.path + "x", request.query, request.headers),
        Request(request.method, request.path, request.query + "&x=y", request.headers),
        Request("PATCH", request.path, request.query, request.headers),
        Request(request.method, request.path, request.query, (("host", "a"), *request.headers[1:])),
    )
    assert {why(each, body) for each in changed} == {Kind.WRONG_SIGNATURE}
    assert why(request, body, {}.get) is Kind.UNKNOWN_KEY
    assert why(request, body, minutes=16) is Kind.OUT_OF_TIME
    assert why(request, body, minutes=-16) is Kind.OUT_OF_TIME


def test_a_sessions_key_needs_its_token_and_ends() -> None:
    request, body = as_sent(made("sts", lambda sts: sts.get_caller_identity(), token="the token"))
    ends = datetime.now(UTC).timestamp() + 60

    def with_token(token: str) -> signing.Lookup:
        return {KEY.access_key_id: Secret(KEY.secret_access_key, token, ends)}.get

    passes(request, body, with_token("the token"))
    assert why(request, body, with_token("another token")) is Kind.UNKNOWN_KEY
    assert why(request, body, with_token("the token"), seconds=61) is Kind.EXPIRED_KEY
    without, body = as_sent(made("sts", lambda sts: sts.get_caller_identity()))
    assert why(without, body, with_token("the token")) is Kind.UNKNOWN_KEY


def presigned(method: str, parameters: dict[str, object], seconds: int) -> str:
    s3 = session().client("s3", endpoint_url=ENDPOINT, config=Config(signature_version="s3v4"))
    url: str = s3.generate_presigned_url(method, Params=parameters, ExpiresIn=seconds)
    return url.removeprefix(ENDPOINT)


def test_a_presigned_link_is_good_until_it_is_not() -> None:
    target = presigned("get_object", {"Bucket": "bucket", "Key": "results/a b.json"}, 120)
    request = Request.of("GET", target, [("Host", "127.0.0.1:4566")])
    passes(request, b"")
    passes(request, b"", seconds=100)
    assert why(request, b"", seconds=121) is Kind.OUT_OF_TIME
    longer = Request.of("GET", target.replace("Expires=120", "Expires=600000"), request.headers)
    assert why(longer, b"") is Kind.WRONG_SIGNATURE
    for said in ("0", "604801", "-1", "1e3", "", "٣"):
        unending = Request.of("GET", target.replace("Expires=120", f"Expires={said}"), request.headers)
        assert why(unending, b"") is Kind.MALFORMED
    assert why(Request.of("PUT", target, request.headers), b"") is Kind.WRONG_SIGNATURE
    twice = Request.of("GET", f"{target}&X-Amz-Expires=600000", request.headers)
    assert why(twice, b"") is Kind.MALFORMED


def test_a_presigned_upload_takes_the_bytes_that_it_names() -> None:
    digest = "1B2M2Y8AsgTpgAmY7PhCfg=="
    target = presigned("put_object", {"Bucket": "bucket", "Key": "k", "ContentMD5": digest}, 60)
    headers = [("Host", "127.0.0.1:4566"), ("Content-MD5", digest)]
    passes(Request.of("PUT", target, headers), b"whatever: S3 compares it with the digest")
    assert why(Request.of("PUT", target, headers[:1]), b"") is Kind.WRONG_SIGNATURE
    other = [headers[0], ("Content-MD5", "other")]
    assert why(Request.of("PUT", target, other), b"") is Kind.WRONG_SIGNATURE


LINKS = {
    "GET": ("get_object", {"Bucket": "bucket", "Key": "k"}),
    "PUT": ("put_object", {"Bucket": "bucket", "Key": "k"}),
    "DELETE": ("delete_object", {"Bucket": "bucket", "Key": "k"}),
}
MEANINGS = {
    "X-Amz-Target": "AWSSecurityTokenServiceV20110615.AssumeRole",
    "x-amz-target": "DynamoDB_20120810.DeleteTable",
    "X-Amz-Copy-Source": "/bucket/another",
    "x-amz-acl": "public-read",
    "x-amz-tagging": "a=b",
    "x-amz-meta-a": "b",
    "x-amz-content-sha256": signing.EMPTY,
    "X-AMZ-Request-Route": "another",
    "X-Amz-Security-Token": "another",
    "x-amz-": "",
}
"""Headers that say what is done with a request, and what they may say."""


@pytest.mark.parametrize("name", MEANINGS)
@pytest.mark.parametrize("method", LINKS)
def test_who_has_a_link_cannot_say_more_than_it_does(method: str, name: str) -> None:
    target = presigned(*LINKS[method], 60)
    headers = [("Host", "127.0.0.1:4566"), ("Content-Type", "application/json"), ("Range", "bytes=0-1")]
    passes(Request.of(method, target, headers), b"whatever")
    more = Request.of(method, target, [*headers, (name, MEANINGS[name])])
    assert why(more, b"{}") is Kind.UNSIGNED


@pytest.mark.parametrize(("service", "call"), CALLS)
def test_no_header_of_amazons_is_added_to_what_boto3_signed(
    service: str, call: Callable[[Any], object]
) -> None:
    request, body = as_sent(made(service, call))
    signed = dict(request.headers)
    for name, value in MEANINGS.items():
        if name.lower() in signed:
            continue
        more = Request(request.method, request.path, request.query, (*request.headers, (name.lower(), value)))
        assert why(more, body) in (Kind.UNSIGNED, Kind.MALFORMED), name


@pytest.mark.parametrize("year", ["0000", "0001", "0002", "1582", "1969", "2000", "9998", "9999"])
@pytest.mark.parametrize("rest", ["0101T000000", "0229T235959", "1231T235959", "1301T000000", "0101T246060"])
def test_a_time_that_never_was_is_refused_as_any_other(year: str, rest: str) -> None:
    """Also the first and the last of the calendar, by which nothing can be moved."""
    stamp = f"{year}{rest}Z"
    credential = f"{KEY.access_key_id}/{stamp[:8]}/us-east-1/s3/aws4_request"
    told = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
    headers = [("Host", "127.0.0.1:4566"), ("X-Amz-Date", stamp), ("Authorization", told)]
    assert why(Request.of("GET", "/", headers), b"") in (Kind.OUT_OF_TIME, Kind.MALFORMED)
    for seconds in (1, signing.LONGEST):
        query = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={stamp}"
            f"&X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host&X-Amz-Signature={'0' * 64}"
        )
        link = Request.of("GET", f"/bucket/k?{query}", headers[:1])
        assert why(link, b"") in (Kind.OUT_OF_TIME, Kind.MALFORMED)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_proof_for_sts_ends_after_a_quarter_of_an_hour_whatever_it_says(method: str) -> None:
    url = (
        session()
        .client("sts", endpoint_url=ENDPOINT)
        .generate_presigned_url("get_caller_identity", ExpiresIn=3600, HttpMethod=method)
    )
    request = Request.of(method, url.removeprefix(ENDPOINT), [("Host", "127.0.0.1:4566")])
    passes(request, b"", minutes=14)
    assert why(request, b"", minutes=16) is Kind.OUT_OF_TIME


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", ""),
        ("Authorization", "AWS4-HMAC-SHA256"),
        ("Authorization", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=x"),
        ("Authorization", "AWS4-HMAC-SHA256 ====,,,,"),
        ("Authorization", "\x00" * 10),
        ("Authorization", "AWS4-HMAC-SHA256 " + "a=b," * 10_000),
    ],
)
def test_nonsense_is_refused_as_such(name: str, value: str) -> None:
    assert why(Request.of("GET", "/", [("Host", "x"), (name, value)]), b"") is Kind.MALFORMED


# "Transferring Payload in Multiple Chunks" and "Including Trailing Headers" (Amazon S3 API reference): the
# same 66,560 bytes, in one chunk of 64 KiB and one of 1 KiB.
EXAMPLE = {"AKIAIOSFODNN7EXAMPLE": Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")}
EXAMPLE_AT = datetime(2013, 5, 24, tzinfo=UTC)


def chunked(signatures: list[str], trailer: str = "") -> bytes:
    chunks = [b"a" * 65536, b"a" * 1024, b""]
    told = zip(chunks, signatures, strict=True)
    framed = [f"{len(chunk):x};chunk-signature={said}\r\n".encode() + chunk + b"\r\n" for chunk, said in told]
    if trailer:
        framed[-1] = framed[-1].removesuffix(b"\r\n") + trailer.encode()
    return b"".join(framed)


def example(payload: str, signed: str, signature: str, *more: tuple[str, str]) -> Request:
    credential = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
    headers = [
        ("Host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        (
            "Authorization",
            f"AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={signed},Signature={signature}",
        ),
        ("x-amz-content-sha256", payload),
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        *more,
    ]
    return Request.of("PUT", "/examplebucket/chunkObject.txt", headers)


PLAIN = example(
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
    "x-amz-storage-class",
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    ("Content-Length", "66824"),
)
PLAIN_CHUNKS = [
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
]
TRAILING = example(
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;"
    "x-amz-trailer",
    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    ("x-amz-trailer", "x-amz-checksum-crc32c"),
)
TRAILING_CHUNKS = [
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
]
TRAILER = (
    "x-amz-checksum-crc32c:sOO8/Q==\r\n"
    "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
)


def streamed(request: Request, body: bytes) -> None:
    signing.check(request, EXAMPLE.get, now=EXAMPLE_AT).body(body)


def test_amazons_own_examples_of_signed_chunks_pass() -> None:
    streamed(PLAIN, chunked(PLAIN_CHUNKS))
    streamed(TRAILING, chunked(TRAILING_CHUNKS, TRAILER))


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (PLAIN, chunked(PLAIN_CHUNKS).replace(b"a" * 1024 + b"\r\n0;", b"a" * 1023 + b"b\r\n0;")),
        (PLAIN, chunked(PLAIN_CHUNKS)[:60_000]),
        (PLAIN, chunked([PLAIN_CHUNKS[0], PLAIN_CHUNKS[2], PLAIN_CHUNKS[1]])),
        (PLAIN, chunked(PLAIN_CHUNKS).partition(b"400;")[0]),
        (PLAIN, b""),
        (PLAIN, b"a" * 66_560),
        (PLAIN, b"ffffffffff;chunk-signature=\r\n"),
        (TRAILING, chunked(TRAILING_CHUNKS, TRAILER.replace("sOO8", "sOO9"))),
        (TRAILING, chunked(TRAILING_CHUNKS, TRAILER.partition("x-amz-trailer-signature")[0] + "\r\n")),
        (TRAILING, chunked(TRAILING_CHUNKS)),
    ],
)
def test_a_chunk_that_is_not_as_it_was_signed_is_refused(request_: Request, body: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        streamed(request_, body)
    assert refusal.value.kind in (Kind.WRONG_BODY, Kind.WRONG_SIGNATURE)


def test_our_own_requests_and_links_are_signed_so() -> None:
    url = f"{ENDPOINT}/instances/i-1/crash"
    headers = signing.signed_headers(KEY, "POST", url)
    passes(Request.of("POST", "/instances/i-1/crash", [("Host", "127.0.0.1:4566"), *headers.items()]), b"")
    link = signing.presigned(KEY, f"{ENDPOINT}/_ministack/x", seconds=60, region="eu-west-1")
    passes(Request.of("GET", link.removeprefix(ENDPOINT), [("Host", "127.0.0.1:4566")]), b"")


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("service", ["s3", "dynamodb", "ec2", "sts", "anything"])
def test_every_refusal_has_a_code_in_every_services_words(kind: Kind, service: str) -> None:
    signed = f"AWS4-HMAC-SHA256 Credential=a/b/c/{service}/aws4_request"
    told = refusals.answer(Request.of("GET", "/", [("Authorization", signed)]), Refused(kind, "<why> & so"))
    assert 400 <= told.status < 500
    assert b"<why>" in told.body or b"&lt;why&gt; &amp; so" in told.body
    assert not any(name.lower().startswith("access-control") for name in told.headers)


def test_keys_are_drawn_anew_and_hidden_from_logs() -> None:
    drawn = {keys.draw() for _ in range(50)}
    assert len({key.access_key_id for key in drawn}) == len({key.secret_access_key for key in drawn}) == 50
    assert all(len(key.access_key_id) == 20 for key in drawn)
    for key in drawn:
        assert key.secret_access_key not in repr(key)
        assert hashlib.sha256(key.secret_access_key.encode()).hexdigest() not in repr(Secret("x"))

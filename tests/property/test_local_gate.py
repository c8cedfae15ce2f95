"""Whatever is sent to a local port, it is one of ours or it is refused; nothing else comes of it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot_cli.local import gate, refusals, signing
from arcspot_cli.local.gate import Refused, Request
from arcspot_cli.local.keys import AccessKey

PORT = 4566
KEY = AccessKey("LOCALKEYOFTHISSTACK2", "a-secret-of-this-stack")
SECRETS = {KEY.access_key_id: signing.Secret(KEY.secret_access_key)}
NOW = datetime(2026, 11, 28, tzinfo=UTC)

latin = st.text(st.characters(max_codepoint=255), max_size=40)
hosts = st.one_of(
    latin,
    st.sampled_from(sorted(gate.own_hosts(PORT))).flatmap(
        lambda host: st.sampled_from(
            [host, host + ".", host.upper(), host[:-1], host + "\xa0", f"x.{host}", f"{host}@x"]
        )
    ),
)
names = st.sampled_from(
    [
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-security-token",
        "content-length",
        "x-other",
    ]
)
parts = st.lists(
    st.tuples(
        st.sampled_from(
            ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token"]
        ),
        st.one_of(latin, st.sampled_from(["AWS4-HMAC-SHA256", "20261128T000000Z", "60", "host", "0" * 64])),
    ),
    max_size=8,
)
queries = st.one_of(
    latin, parts.map(lambda pairs: "&".join(f"X-Amz-{name}={value}" for name, value in pairs))
)
scopes = st.sampled_from(
    [f"{KEY.access_key_id}/20261128/r/s3/aws4_request", "a/b/c/d/e", "a/20261128/r/sts/aws4_request"]
)
claims = st.builds(
    "AWS4-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={}".format,
    st.one_of(scopes, latin),
    st.sampled_from(["host", "host;x-amz-date", "x-amz-date", ""]),
    st.one_of(st.just("0" * 64), latin),
)


@given(st.lists(hosts, max_size=2))
def test_one_host_out_of_two_and_no_other(given_hosts: list[str]) -> None:
    request = Request.of("GET", "/", [("Host", host) for host in given_hosts])
    ours = [host.strip(" \t") for host in given_hosts]
    if len(ours) == 1 and ours[0] in ("127.0.0.1:4566", "localhost:4566"):
        gate.foreign(request, PORT)
        return
    with pytest.raises(Refused):
        gate.foreign(request, PORT)


@given(
    st.sampled_from(["Origin", "ORIGIN", "Referer", "Upgrade"]), latin, st.sampled_from(sorted(gate.METHODS))
)
def test_a_header_that_only_a_browser_sends_is_enough(name: str, value: str, method: str) -> None:
    request = Request.of(method, "/", [("Host", "127.0.0.1:4566"), (name, value)])
    with pytest.raises(Refused) as refusal:
        gate.foreign(request, PORT)
    assert 400 <= refusals.answer(request, refusal.value).status < 500


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
    queries,
    st.lists(st.one_of(st.tuples(names, latin), st.tuples(st.just("authorization"), claims)), max_size=5),
    st.binary(max_size=30),
)
def test_nobody_guesses_a_signature_and_nothing_breaks(
    path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    target = f"/{path}?{query}"
    request = Request.of(
        "PUT", target, [("Host", "127.0.0.1:4566"), ("x-amz-date", "20261128T000000Z"), *headers]
    )
    passed = False
    with suppress(Refused):
        signing.check(request, SECRETS.get, now=NOW, body=lambda: body).body(body)
        passed = True
    assert not passed


link = signing.presigned(KEY, f"http://127.0.0.1:{PORT}/bucket/key", seconds=signing.LONGEST, region="r")
ended = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), max_size=12)


@given(
    st.sampled_from(["x-amz-", "X-Amz-", "X-AMZ-"]),
    st.one_of(ended, st.sampled_from(["target", "Copy-Source", "security-token", "date"])),
    latin,
    st.sampled_from(["http", "HTTP"]),
    st.binary(max_size=30),
)
def test_no_word_of_amazons_is_added_to_a_link(
    begun: str, name: str, value: str, other: str, body: bytes
) -> None:
    """Whatever it says, and whatever body comes with it; a header of anybody else's changes nothing."""
    target = link.partition(f":{PORT}")[2]
    now = datetime.now(UTC)
    host = ("Host", f"127.0.0.1:{PORT}")
    signing.check(Request.of("GET", target, [host, (f"{other}-{name}", value)]), SECRETS.get, now=now)
    more = Request.of("GET", target, [host, (begun + name, value)])
    with pytest.raises(Refused) as refusal:
        signing.check(more, SECRETS.get, now=now, body=lambda: body)
    assert refusal.value.kind is gate.Kind.UNSIGNED

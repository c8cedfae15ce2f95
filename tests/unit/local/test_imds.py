"""The metadata service answers what the EC2 user guide says, and nothing without a token."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from arcspot_cli.local.imds import TOKEN_HEADER, TTL_HEADER, Metadata, MetadataServer, Notices
from tests.unit.local.conftest import CREDENTIALS, FACTS


@pytest.fixture
def metadata() -> Metadata:
    return Metadata(FACTS, Notices(), lambda: CREDENTIALS)


@pytest.fixture
def server(metadata: Metadata) -> Iterator[MetadataServer]:
    server = MetadataServer(metadata)
    yield server
    server.close()


def ask(server: MetadataServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{server.url}{path}", method=method, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("meta-data/instance-id", b"i-1"),
        ("meta-data/instance-type", b"g4dn.xlarge"),
        ("meta-data/placement/availability-zone", b"us-east-1a"),
        ("meta-data/placement/region", b"us-east-1"),
        ("meta-data/tags/instance", b"arcspot:stack\narcspot:launch"),
        ("meta-data/tags/instance/arcspot:launch", b"launch 7"),
        ("meta-data/tags/instance/arcspot%3Alaunch", b"launch 7"),
        ("meta-data/iam/security-credentials/", b"runner"),
        ("user-data", FACTS.user_data),
    ],
)
def test_an_instance_reads_its_facts(metadata: Metadata, path: str, value: bytes) -> None:
    assert metadata.read(path) == value


@pytest.mark.parametrize(
    "path",
    [
        "meta-data/spot/instance-action",
        "meta-data/spot/termination-time",
        "meta-data/events/recommendations/rebalance",
        "meta-data/tags/instance/unknown",
        "meta-data/iam/security-credentials/another-role",
        "meta-data/nothing",
        "nothing",
    ],
)
def test_what_is_not_there_is_not_found(metadata: Metadata, path: str) -> None:
    assert metadata.read(path) is None


def test_a_role_shows_its_credentials(metadata: Metadata) -> None:
    shown = metadata.read("meta-data/iam/security-credentials/runner")
    assert shown is not None
    assert json.loads(shown)["AccessKeyId"] == "ASIA1"


def test_an_instance_without_a_role_has_no_credentials() -> None:
    bare = Metadata(FACTS, Notices(), lambda: None)
    assert bare.read("meta-data/iam/security-credentials/") is None


def test_announcements_show_up_once_they_are_made(metadata: Metadata) -> None:
    metadata.notices.spot_action = {"action": "terminate", "time": "2026-01-01T00:02:00Z"}
    metadata.notices.rebalance = {"noticeTime": "2026-01-01T00:00:00Z"}
    action = metadata.read("meta-data/spot/instance-action")
    assert action is not None
    assert json.loads(action)["action"] == "terminate"
    assert metadata.read("meta-data/spot/termination-time") == b"2026-01-01T00:02:00Z"
    assert metadata.read("meta-data/events/recommendations/rebalance") is not None


def test_the_identity_document_names_the_instance(metadata: Metadata) -> None:
    document = metadata.read("dynamic/instance-identity/document")
    assert document is not None
    assert json.loads(document)["instanceId"] == "i-1"


def test_nothing_is_told_without_a_token(server: MetadataServer) -> None:
    assert ask(server, "/latest/meta-data/instance-id")[0] == 401
    forged = {TOKEN_HEADER: "made-up"}
    assert ask(server, "/latest/meta-data/instance-id", **forged)[0] == 401


def test_a_token_opens_the_door(server: MetadataServer) -> None:
    status, token = ask(server, "/latest/api/token", "PUT", **{TTL_HEADER: "60"})
    assert status == 200
    held = {TOKEN_HEADER: token.decode()}
    assert ask(server, "/latest/meta-data/instance-id", **held) == (200, b"i-1")
    assert ask(server, "/latest/meta-data/spot/instance-action", **held)[0] == 404


@pytest.mark.parametrize("ttl", [{}, {TTL_HEADER: "0"}, {TTL_HEADER: "21601"}, {TTL_HEADER: "soon"}])
def test_a_token_needs_a_lifetime_of_one_second_to_six_hours(
    server: MetadataServer, ttl: dict[str, str]
) -> None:
    assert ask(server, "/latest/api/token", "PUT", **ttl)[0] == 400


def test_only_the_token_is_put(server: MetadataServer) -> None:
    assert ask(server, "/latest/meta-data/instance-id", "PUT", **{TTL_HEADER: "60"})[0] == 405

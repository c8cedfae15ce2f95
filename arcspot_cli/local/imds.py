"""The instance metadata service (version 2) of one emulated instance.

Paths and answers follow "Instance metadata categories" and "Use IMDSv2" of the EC2 user
guide; only what our bootstrap, runner and the AWS SDKs read is there.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from arcspot_cli.local.doors import Handler, Server
from arcspot_cli.local.gate import Kind, Refused, Request

TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"


@dataclass(frozen=True, slots=True)
class Facts:
    """What EC2 knows about an instance from its launch on."""

    instance_id: str
    instance_type: str
    image_id: str
    zone: str
    tags: Mapping[str, str]
    user_data: bytes
    account_id: str = "000000000000"

    @property
    def region(self) -> str:
        """A zone is its region and one letter."""
        return self.zone[:-1]


@dataclass(slots=True)
class Notices:
    """What EC2 announces while the instance runs; both start out absent."""

    spot_action: Mapping[str, str] | None = None
    """{"action": "terminate", "time": UTC instant} once a spot interruption is announced."""
    rebalance: Mapping[str, str] | None = None
    """{"noticeTime": UTC instant} once a rebalance is recommended."""


@dataclass(frozen=True, slots=True)
class RoleCredentials:
    """Credentials as `iam/security-credentials/<role>` shows them."""

    role_name: str
    document: Mapping[str, str]


@dataclass(slots=True)
class Metadata:
    """Answers for one instance, without any HTTP: path in, text out."""

    facts: Facts
    notices: Notices
    credentials: Callable[[], RoleCredentials | None]
    tokens: set[str] = field(default_factory=set)

    def new_token(self) -> str:
        """A session token; it stays good as long as the instance lives."""
        token = secrets.token_urlsafe(40)
        self.tokens.add(token)
        return token

    def read(self, path: str) -> bytes | None:
        """The value at a path below ``/latest/``, or None where EC2 answers 404."""
        section, _, name = path.strip("/").partition("/")
        if section == "user-data" and not name:
            return self.facts.user_data or None
        value: object
        if section == "meta-data":
            value = self._meta_data(name)
        elif (section, name) == ("dynamic", "instance-identity/document"):
            value = self._identity()
        else:
            value = None
        if value is None:
            return None
        return (value if isinstance(value, str) else json.dumps(value)).encode()

    def _meta_data(self, name: str) -> str | Mapping[str, Any] | None:
        facts = self.facts
        plain = {
            "instance-id": facts.instance_id,
            "instance-type": facts.instance_type,
            "instance-life-cycle": "spot",
            "ami-id": facts.image_id,
            "local-ipv4": "127.0.0.1",
            "placement/availability-zone": facts.zone,
            "placement/region": facts.region,
            "tags/instance": "\n".join(facts.tags),
        }
        if name in plain:
            return plain[name]
        if name.startswith("tags/instance/"):
            return facts.tags.get(unquote(name.removeprefix("tags/instance/")))
        if name == "spot/instance-action":
            return self.notices.spot_action
        if name == "spot/termination-time":
            return self.notices.spot_action["time"] if self.notices.spot_action else None
        if name == "events/recommendations/rebalance":
            return self.notices.rebalance
        if name == "iam/security-credentials" or name.startswith("iam/security-credentials/"):
            return self._role(name.removeprefix("iam/security-credentials").strip("/"))
        return None

    def _role(self, asked: str) -> str | Mapping[str, str] | None:
        credentials = self.credentials()
        if credentials is None:
            return None
        if not asked:
            return credentials.role_name
        return credentials.document if asked == credentials.role_name else None

    def _identity(self) -> Mapping[str, str]:
        facts = self.facts
        return {
            "accountId": facts.account_id,
            "availabilityZone": facts.zone,
            "imageId": facts.image_id,
            "instanceId": facts.instance_id,
            "instanceType": facts.instance_type,
            "region": facts.region,
        }


class MetadataServer(Server):
    """One instance's metadata on its own port of 127.0.0.1, below a path that only the instance is told.

    On EC2 the network keeps others away. Here whoever asks must know the address, because the protocol has
    no signature and no SDK would send one: the path is the key.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._path = f"/{secrets.token_urlsafe(32)}"
        super().__init__(_handler(metadata, self._path))

    @property
    def url(self) -> str:
        """For AWS_EC2_METADATA_SERVICE_ENDPOINT."""
        return super().url + self._path


def _handler(metadata: Metadata, below: str) -> type[Handler]:
    class MetadataHandler(Handler):
        def admit(self, request: Request) -> None:
            # As on EC2: what came through a proxy was not sent by the instance.
            if request.all("x-forwarded-for"):
                raise Refused(Kind.FOREIGN, "X-Forwarded-For: instance metadata is not for others")
            said = request.path.encode()[: len(below) + 1]
            if not secrets.compare_digest(said, f"{below}/".encode()):
                raise Refused(Kind.FOREIGN, "this is another instance's metadata, or nobody's")

        def do_PUT(self) -> None:
            ttl = self.headers.get(TTL_HEADER, "")
            if self._asked() != "api/token":
                self.answer(HTTPStatus.METHOD_NOT_ALLOWED)
            elif not (ttl.isascii() and ttl.isdigit() and len(ttl) <= 5 and 1 <= int(ttl) <= 21600):
                self.answer(HTTPStatus.BAD_REQUEST)
            else:
                self.answer(HTTPStatus.OK, metadata.new_token().encode(), {TTL_HEADER: ttl})

        def do_GET(self) -> None:
            if self.headers.get(TOKEN_HEADER) not in metadata.tokens:
                self.answer(HTTPStatus.UNAUTHORIZED)
                return
            value = metadata.read(self._asked())
            if value is None:
                self.answer(HTTPStatus.NOT_FOUND)
            else:
                self.answer(HTTPStatus.OK, value)

        def _asked(self) -> str:
            return self.path.removeprefix(below).removeprefix("/latest/")

    return MetadataHandler

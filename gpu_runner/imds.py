"""The instance metadata service, version 2: a token first, then plain GETs.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
The endpoint may be replaced (AWS_EC2_METADATA_SERVICE_ENDPOINT), which is how the local
instance host plays EC2.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

DEFAULT_ENDPOINT = "http://169.254.169.254"
TOKEN_SECONDS = 21600
TIMEOUT_S = 2.0
MOST_BYTES = 64 * 1024  # user data, the largest document, has 16 KB


class Imds:
    """Reads metadata. Raises OSError (URLError) when the service is not there."""

    def __init__(self, endpoint: str = DEFAULT_ENDPOINT, *, timeout_s: float = TIMEOUT_S) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._timeout_s = timeout_s
        self._token: str | None = None
        self._lock = threading.Lock()
        # The metadata service is link-local: a proxy must never see these requests.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Imds:
        return cls(env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or DEFAULT_ENDPOINT)

    def instance_id(self) -> str:
        return self._must("meta-data/instance-id")

    def tag(self, key: str) -> str:
        """The value of one of the instance's own tags (tags in metadata must be enabled)."""
        return self._must(f"meta-data/tags/instance/{urllib.parse.quote(key, safe=':')}")

    def spot_action(self) -> str | None:
        return self.get("meta-data/spot/instance-action")

    def rebalance(self) -> str | None:
        return self.get("meta-data/events/recommendations/rebalance")

    def get(self, path: str) -> str | None:
        """One document, or None when there is none (404). A stale token is renewed once."""
        try:
            return self._fetch(path)
        except urllib.error.HTTPError as fault:
            with fault:
                if fault.code == 404:
                    return None
                if fault.code != 401:
                    raise
        self._token = None
        try:
            return self._fetch(path)
        except urllib.error.HTTPError as fault:
            with fault:
                if fault.code == 404:
                    return None
                raise

    def _must(self, path: str) -> str:
        found = self.get(path)
        if found is None:
            raise OSError(f"the instance metadata has no {path}")
        return found

    def _fetch(self, path: str) -> str:
        headers = {"X-aws-ec2-metadata-token": self._current_token()}
        return self._ask(urllib.request.Request(f"{self._endpoint}/latest/{path}", headers=headers))

    def _current_token(self) -> str:
        with self._lock:
            if self._token is None:
                self._token = self._ask(
                    urllib.request.Request(
                        f"{self._endpoint}/latest/api/token",
                        method="PUT",
                        headers={"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)},
                    )
                )
            return self._token

    def _ask(self, request: urllib.request.Request) -> str:
        with self._opener.open(request, timeout=self._timeout_s) as answer:
            body: bytes = answer.read(MOST_BYTES)
            return body.decode("utf-8", "replace")

"""How many calls the door looks at, before it reads any table for one.

Counted in the memory of one execution environment: Lambda serves one call at a time in each, so a flood over
N environments gets N times as much, and reserved concurrency (template.yaml, RunnerApiConcurrency) bounds N.
What this does bound is what each environment asks of tables, STS and EC2, and writes into the log.

A launch has a bucket of its own once it has proved itself by its secret here; nobody who does not know the
secret can empty it. All others share one. The watchdog's ring has its own: nobody's junk keeps it from
hearing that the door is open. What can be no hello is a stranger's call, and takes no hello's place.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from arcspot.domain.rates import Bucket, Rate
from arcspot.errors import TooManyRequests

LAUNCH = Rate(per_second=20, burst=100)
"""Eight jobs at a time of a second each are 16 calls in a second, and they meet several environments."""
STRANGERS = Rate(per_second=20, burst=100)
"""The first call of each launch that an environment sees, wrong secrets, and what makes no sense."""
RINGS = Rate(per_second=1, burst=20)
"""The watchdog rings once a minute, and each time reads one row."""
HELLOS = Rate(per_second=2, burst=20)
"""Each asks STS and EC2, whose own limits the watchdog shares."""
MOST_LAUNCHES = 512
TOLD_EVERY = timedelta(minutes=1)


@dataclass(slots=True)
class Admission:
    """The buckets of one execution environment. `refused` counts until it is told."""

    refused: int = 0
    _told_at: datetime | None = None
    _shared: dict[str, Bucket] = field(default_factory=dict)
    _launches: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)
    _secrets: dict[str, bytes] = field(default_factory=dict)
    """Launch → a digest of the secret that was right last."""

    def stranger(self, now: datetime) -> None:
        """A call of whoever has not proved anything here. Raises TooManyRequests."""
        self._share("strangers", STRANGERS, now)

    def ring(self, now: datetime) -> None:
        """The watchdog's ring. Raises TooManyRequests."""
        self._share("rings", RINGS, now)

    def hello(self, now: datetime) -> None:
        """A call that says hello, with a proof that has the form of one. Raises TooManyRequests."""
        self._share("hellos", HELLOS, now)

    def launch(self, launch_id: str, secret: str, now: datetime) -> None:
        """A call with a launch's secret, right or wrong. Raises TooManyRequests."""
        if self._secrets.get(launch_id) == _digest(secret):
            self._launches[launch_id] = self._taken(self._launches[launch_id], now)
        else:
            self.stranger(now)

    def proved(self, launch_id: str, secret: str, now: datetime) -> None:
        """The secret is right: from now on its calls are counted by themselves.

        A launch has one bucket, however often it says hello for a new secret.
        """
        self._secrets[launch_id] = _digest(secret)
        self._launches.setdefault(launch_id, Bucket.full(LAUNCH, now))
        self._launches.move_to_end(launch_id)
        while len(self._launches) > MOST_LAUNCHES:
            forgotten, _ = self._launches.popitem(last=False)
            del self._secrets[forgotten]

    def to_tell(self, now: datetime) -> int:
        """How many were refused since that was told last; 0 while it was told just now."""
        if not self.refused or (self._told_at is not None and now - self._told_at < TOLD_EVERY):
            return 0
        told, self.refused, self._told_at = self.refused, 0, now
        return told

    def _share(self, who: str, rate: Rate, now: datetime) -> None:
        bucket = self._shared.get(who) or Bucket.full(rate, now)
        self._shared[who] = self._taken(bucket, now)

    def _taken(self, bucket: Bucket, now: datetime) -> Bucket:
        taken = bucket.taken(now)
        if taken is None:
            self.refused += 1
            raise TooManyRequests(f"more than {bucket.rate.per_second:g} calls a second; ask again later")
        return taken


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()

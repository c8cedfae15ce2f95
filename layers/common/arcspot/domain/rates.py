"""A token bucket: how often something may happen, with some in reserve.

https://en.wikipedia.org/wiki/Token_bucket
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once after a pause, then so many each second."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many are left at a moment. Every method leaves this one alone."""

    rate: Rate
    tokens: float
    at: datetime

    @classmethod
    def full(cls, rate: Rate, now: datetime) -> Bucket:
        return cls(rate, rate.burst, now)

    def filled(self, now: datetime) -> Bucket:
        """The bucket as it is by now. A clock that goes back fills nothing."""
        passed = max(0.0, (now - self.at).total_seconds())
        tokens = min(self.rate.burst, self.tokens + passed * self.rate.per_second)
        return replace(self, tokens=tokens, at=max(now, self.at))

    def taken(self, now: datetime) -> Bucket | None:
        """The bucket with one less, or None when it holds less than one."""
        filled = self.filled(now)
        return replace(filled, tokens=filled.tokens - 1) if filled.tokens >= 1 else None

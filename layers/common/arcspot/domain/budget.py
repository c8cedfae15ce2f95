"""The month's money: what may be promised, what is promised, what is spent.

All amounts are whole micro-dollars (1 USD = 1,000,000). `available + reserved +
settled == cap` holds after every operation here; the store makes each one atomic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal

from arcspot.errors import ConfigurationError, Conflict, FleetPaused, NoMoney, NoSlot, WrongState

MICROS = 1_000_000
SECONDS_PER_HOUR = 3_600
# EC2 bills Linux by the second with a minimum of one minute.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/concepts.html#instance-pricing
MINIMUM_BILLED_SECONDS = 60
THRESHOLDS_PERCENT = (50, 80, 100)
PRICES_KEEP = timedelta(hours=24)

# On-demand USD an hour, Linux, us-east-1, read on 2026-11: the fallback when neither
# the stack's parameters nor the price history say more. https://aws.amazon.com/ec2/pricing/on-demand/
FALLBACK_ON_DEMAND_USD_MICROS: Mapping[str, int] = {
    "g4dn.xlarge": 526_000,
    "g4dn.2xlarge": 752_000,
    "g4dn.4xlarge": 1_204_000,
}
# A public IPv4 address costs 0.005 USD an hour; gp3 storage 0.08 USD a GB-month (730 h).
PUBLIC_IPV4_USD_MICROS_PER_HOUR = 5_000
GP3_USD_MICROS_PER_GB_HOUR = 110


def usd_to_micros(usd: str | Decimal | int) -> int:
    """Micro-dollars of a dollar amount, rounded up. Raises ConfigurationError when it is no amount."""
    try:
        amount = Decimal(usd)
    except ArithmeticError:
        raise ConfigurationError(f"expected an amount in USD, found {usd!r}") from None
    if not amount.is_finite() or amount < 0:
        raise ConfigurationError(f"expected a non-negative amount in USD, found {usd!r}")
    return int((amount * MICROS).to_integral_value(rounding=ROUND_CEILING))


def period_of(now: datetime) -> str:
    """The ledger's period that a moment belongs to: its UTC month, as ``2026-11``."""
    return now.strftime("%Y-%m")


def cost_usd_micros(*, price_usd_micros_per_hour: int, seconds: float, disk_gb: int) -> int:
    """What a machine of this price costs for so long: compute, disk and public address, rounded up."""
    billed = max(seconds, MINIMUM_BILLED_SECONDS)
    exact = _exact_cost(price_usd_micros_per_hour, billed, disk_gb)
    return int(exact.to_integral_value(rounding=ROUND_CEILING))


def share_usd_micros(*, price_usd_micros_per_hour: int, seconds: float, disk_gb: int) -> int:
    """A job's share of its machine: the same rate without the minimum, rounded down.

    Rounding down keeps the sum of shares at or below the launch's cost (I16).
    """
    return int(_exact_cost(price_usd_micros_per_hour, seconds, disk_gb))


def _exact_cost(price_usd_micros_per_hour: int, seconds: float, disk_gb: int) -> Decimal:
    hourly = (
        price_usd_micros_per_hour + PUBLIC_IPV4_USD_MICROS_PER_HOUR + disk_gb * GP3_USD_MICROS_PER_GB_HOUR
    )
    return hourly * Decimal(str(seconds)) / SECONDS_PER_HOUR


def worst_case_usd_micros(
    *,
    instance_types: tuple[str, ...],
    on_demand_usd_micros: Mapping[str, int],
    max_lifetime_seconds: int,
    margin_seconds: int,
    disk_gb: int,
) -> int:
    """The most one launch can cost: the dearest allowed type, on demand, until the last killer's deadline.

    Raises ConfigurationError when an allowed type has no known price: what has no price is not launched.
    """
    unknown = [name for name in instance_types if name not in on_demand_usd_micros]
    if unknown or not instance_types:
        raise ConfigurationError(
            f"no on-demand price known for {', '.join(unknown) or 'an empty list of types'}"
        )
    dearest = max(on_demand_usd_micros[name] for name in instance_types)
    return cost_usd_micros(
        price_usd_micros_per_hour=dearest, seconds=max_lifetime_seconds + margin_seconds, disk_gb=disk_gb
    )


@dataclass(frozen=True, slots=True)
class Ledger:
    """One month's money. `alerted` lists the thresholds (percent) already mailed."""

    period: str
    cap: int
    available: int
    reserved: int = 0
    settled: int = 0
    alerted: tuple[int, ...] = ()
    version: int = 0

    @classmethod
    def opened(cls, period: str, cap: int) -> Ledger:
        return cls(period=period, cap=cap, available=cap)

    @property
    def balanced(self) -> bool:
        return self.available + self.reserved + self.settled == self.cap

    def reserve(self, amount: int) -> Ledger:
        """Promise `amount`. Raises NoMoney when it is not there."""
        if self.available < amount:
            raise NoMoney(
                f"{self.period}: {amount} micro-dollars needed, {self.available} available of {self.cap}"
            )
        return replace(self, available=self.available - amount, reserved=self.reserved + amount)

    def settle(self, reserved: int, actual: int) -> Ledger:
        """Turn a promise into what it really cost; the rest is available again.

        An `actual` above the promise is booked as it is: the books tell the truth,
        and `available` may then fall below zero, which stops every later launch.
        Raises WrongState when so much was never promised: no row makes money.
        """
        if not 0 <= reserved <= self.reserved or actual < 0:
            raise WrongState(
                f"{self.period}: {reserved} micro-dollars of {self.reserved} reserved cannot become {actual}"
            )
        return replace(
            self,
            reserved=self.reserved - reserved,
            settled=self.settled + actual,
            available=self.available + reserved - actual,
        )

    def book(self, amount: int) -> Ledger:
        """Book spend that nobody reserved (a leak: an instance that outlived its released row)."""
        return replace(self, settled=self.settled + amount, available=self.available - amount)

    def with_cap(self, cap: int) -> Ledger:
        """Change the cap. Lowered below what is promised, `available` goes negative and nothing starts."""
        if cap == self.cap:
            return self
        return replace(self, cap=cap, available=self.available + cap - self.cap)

    def crossed(self) -> tuple[int, ...]:
        """Thresholds (percent of the cap) that settled + reserved has reached and nobody was told of."""
        committed = (self.settled + self.reserved) * 100
        return tuple(p for p in THRESHOLDS_PERCENT if committed >= p * self.cap and p not in self.alerted)

    def told(self, thresholds: tuple[int, ...]) -> Ledger:
        return replace(self, alerted=tuple(sorted({*self.alerted, *thresholds})))


@dataclass(frozen=True, slots=True)
class Hold:
    """What is promised to one launch: micro-dollars of a period, and one slot, for a life until `until`.

    Written with the reserve and closed with the books, by those alone who may write the books: a launch's
    own row is written by a function that instances speak to, so it says nothing about money.
    """

    launch_id: str
    period: str
    amount: int
    until: datetime
    closed: bool = False
    version: int = 0

    def ended(self) -> Hold:
        """Closed for good: money and slot go back once."""
        return replace(self, closed=True)


@dataclass(frozen=True, slots=True)
class Leak:
    """What an instance cost that no open launch paid for. Written once per instance, with the booking."""

    instance_id: str
    launch_id: str
    usd_micros: int
    booked_at: datetime
    version: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """On-demand micro-dollars an hour as the Price List said at `read_at`; kept when it does not answer."""

    on_demand: Mapping[str, int]
    read_at: datetime
    version: int = 0

    def stale(self, now: datetime) -> bool:
        return now - self.read_at >= PRICES_KEEP

    def updated(self, found: Mapping[str, int], now: datetime) -> Prices:
        return replace(self, on_demand={**self.on_demand, **found}, read_at=now)


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many instances may live at once. One row for the stack.

    `asleep`: nothing is open, and the minute's rounds do not run. `holds_from`: from then on a launch
    without a `Hold` has no money; before, it may be one that an earlier release reserved.
    """

    slots_total: int
    slots_available: int
    paused: bool = False
    pause_reason: str = ""
    waits_for: str = ""
    waits_since: datetime | None = None
    asleep: bool = False
    holds_from: datetime | None = None
    version: int = 0

    @classmethod
    def opened(cls, slots: int) -> Fleet:
        return cls(slots_total=slots, slots_available=slots)

    @property
    def slots_taken(self) -> int:
        return self.slots_total - self.slots_available

    def held_from(self, moment: datetime) -> Fleet:
        """Every launch needs a hold from this moment on, unless one is set already."""
        return self if self.holds_from else replace(self, holds_from=moment)

    def woken(self) -> Fleet:
        return replace(self, asleep=False)

    def asleep_now(self) -> Fleet:
        """Raises Conflict while a slot is taken: a launch is open, and somebody must watch it each minute."""
        if self.slots_taken:
            raise WrongState(f"{self.slots_taken} launches are open")
        return replace(self, asleep=True)

    def take(self) -> Fleet:
        """Take one slot. Raises FleetPaused or NoSlot, and Conflict while the clock sleeps."""
        if self.asleep:
            raise WrongState("the minute's rounds do not run: nobody would watch the launch")
        if self.paused:
            raise FleetPaused(self.pause_reason or "the fleet is paused; `arcspot resume` lets it go on")
        if self.slots_available < 1:
            raise NoSlot(f"all {self.slots_total} slots are taken")
        return replace(self, slots_available=self.slots_available - 1)

    def give_back(self) -> Fleet:
        """Return one slot. Raises Conflict when all are there already: a slot is never given back twice."""
        if self.slots_available >= self.slots_total:
            raise Conflict("a slot was given back that nobody had taken")
        return replace(self, slots_available=self.slots_available + 1)

    def waiting_for(self, reason: str, now: datetime) -> Fleet:
        """Remember what keeps READY jobs waiting, and since when; "" when nothing does."""
        if reason == self.waits_for:
            return self
        return replace(self, waits_for=reason, waits_since=now if reason else None)

    def with_total(self, slots: int) -> Fleet:
        if slots == self.slots_total:
            return self
        return replace(
            self, slots_total=slots, slots_available=self.slots_available + slots - self.slots_total
        )

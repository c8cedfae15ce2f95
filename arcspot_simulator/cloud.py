"""EC2, its prices and one-shot schedules, as far as their documentation goes.

What is modelled and where it is written:
describe lags behind the truth (eventual consistency), a terminated instance stays visible for an hour,
a repeated CreateFleet with the same client token answers with the first call's instance, an unclear
answer may or may not have started one, spot interruptions come with two minutes' notice at best effort,
billing is by the second with a minimum of one minute and ends when the instance leaves `running`.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/query-api-troubleshooting.html#eventual-consistency
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from arcspot.domain.budget import FALLBACK_ON_DEMAND_USD_MICROS, cost_usd_micros
from arcspot.domain.identity import Caller
from arcspot.domain.launching import Instance
from arcspot.errors import (
    LaunchMisconfigured,
    LaunchThrottled,
    LaunchUnknown,
    NoCapacity,
    NotYourself,
    QuotaExceeded,
)
from arcspot.ports import FleetOrder
from arcspot_simulator.loop import START, Loop
from arcspot_simulator.weather import HOUR, Sky

VCPUS = 4
VISIBLE_AFTER_END_S = HOUR
ZONES = ("us-east-1a", "us-east-1b")
FOREIGN = "i-foreign"


class AwsError(Exception):
    """A throttle or a 5xx that outlived the SDK's own retries."""


@dataclass
class Machine:
    """One instance as it really is. Times in virtual seconds."""

    instance_id: str
    launch_id: str
    instance_type: str
    zone: str
    market: str
    started: float
    shown_from: float
    lag: float
    ending_at: float | None = None
    ended_at: float | None = None
    ended_by: str = ""
    os_timer_works: bool = True
    refuses_to_end: bool = False
    on_end: Callable[[], object] = lambda: None
    on_notice: Callable[[float], object] = lambda seconds: None

    @property
    def running(self) -> bool:
        return self.ending_at is None

    def state(self, at: float) -> str:
        """What EC2 would show of it at a time."""
        if self.ended_at is not None and at >= self.ended_at:
            return "terminated"
        if self.ending_at is not None and at >= self.ending_at:
            return "shutting-down"
        return "running" if at >= self.started + 10 else "pending"


@dataclass
class Prices:
    """Spot prices by type and zone: a new one each hour, 25 to 100 % of on-demand."""

    seed: int
    on_demand: Mapping[str, int] = field(default_factory=lambda: FALLBACK_ON_DEMAND_USD_MICROS)
    jumpy: bool = False

    def spot(self, instance_type: str, zone: str, hour: int) -> int:
        # A little hash instead of a stream of random numbers: a price must not depend on who asks first.
        mixed = (hash((self.seed, ZONES.index(zone), hour if self.jumpy else hour // 24)) & 0xFFFF) / 0xFFFF
        # Scarce spot capacity costs as much as on-demand, and never more: that is the default maximum price.
        return int(self.on_demand[instance_type] * min(1.0, 0.25 + 1.2 * mixed))

    def cost(self, machine: Machine, until: float, disk_gb: int) -> int:
        """What a machine really costs up to a time, each hour at its own price."""
        seconds = max(0.0, until - machine.started)
        if machine.market != "spot":
            return self._cost(self.on_demand[machine.instance_type], seconds, disk_gb)
        total, at = 0, machine.started
        while at < until:
            end = min(until, (int(at // HOUR) + 1) * HOUR)
            price = self.spot(machine.instance_type, machine.zone, int(at // HOUR))
            total += int(price * (end - at) / HOUR)
            at = end
        fixed = self._cost(0, seconds, disk_gb)
        return max(
            total + fixed,
            self._cost(self.spot(machine.instance_type, machine.zone, int(at // HOUR)), 0, disk_gb),
        )

    @staticmethod
    def _cost(price: int, seconds: float, disk_gb: int) -> int:
        return cost_usd_micros(price_usd_micros_per_hour=price, seconds=seconds, disk_gb=disk_gb)


class SimEc2:
    """`ports.Compute`, and the hand of fate on the machines."""

    def __init__(self, loop: Loop, sky: Sky, prices: Prices, *, max_lifetime_s: Callable[[], float]) -> None:
        self.loop, self.sky, self.prices = loop, sky, prices
        self.machines: dict[str, Machine] = {}
        self.tokens: dict[str, str] = {}
        self.running: dict[str, Machine] = {}
        self._visible: dict[str, Machine] = {}
        self.on_boot: Callable[[Machine], object] = lambda machine: None
        self.on_ended: Callable[[Machine], object] = lambda machine: None
        self.on_terminate: Callable[[str], object] = lambda instance_id: None
        self.tell: Callable[[str, str], object] = lambda kind, instance_id: None
        self._lifetime = max_lifetime_s

    @property
    def live(self) -> int:
        """Instances that cost money right now."""
        return len(self.running)

    # What our code may ask -------------------------------------------------------------------------------
    def launch(self, order: FleetOrder) -> Instance:
        known = self.tokens.get(order.launch_id)
        if known is not None:
            return self._seen(self.machines[known]) or self._shown(self.machines[known])
        weather, now = self.sky.weather, self.loop.now
        if self.sky.strikes(weather.fleet_throttled):
            raise LaunchThrottled("RequestLimitExceeded")
        if weather.misconfigured.holds(now):
            raise LaunchMisconfigured("InvalidLaunchTemplateId.NotFound")
        if now < weather.quota_zero_until or (weather.quota_zero_until and self.live >= 2):
            raise QuotaExceeded("MaxSpotInstanceCountExceeded")
        if order.market == "spot" and weather.no_capacity.holds(now):
            raise NoCapacity("InsufficientInstanceCapacity")
        if self.sky.strikes(weather.fleet_unknown):
            fate = self.sky.rng.random()
            if fate < 0.6:
                machine = self._start(order)
                if fate > 0.4:
                    machine.shown_from = now + 240 * self.sky.rng.random()
            raise LaunchUnknown("RequestTimeout")
        return self._shown(self._start(order))

    def instance(self, instance_id: str) -> Instance | None:
        machine = self.machines.get(instance_id)
        return self._seen(machine) if machine else None

    def instances(self) -> list[Instance]:
        seen = (self._seen(machine) for machine in self._recent())
        return [instance for instance in seen if instance]

    def terminate(self, instance_id: str) -> None:
        self.on_terminate(instance_id)
        self._kill(instance_id, "TerminateInstances")

    def console(self, instance_id: str) -> str:
        return "console"

    def spot_price(self, instance_type: str, zone: str, *, since: datetime, until: datetime) -> int | None:
        if zone not in ZONES:
            return None
        hours = range(_hour(since), _hour(until) + 1)
        return max(self.prices.spot(instance_type, zone, hour) for hour in hours)

    # What happens by itself ------------------------------------------------------------------------------
    def end(self, machine: Machine, why: str) -> None:
        """The machine begins to end: it costs nothing more from here on."""
        if machine.ending_at is not None:
            return
        slow = self.sky.strikes(self.sky.weather.slow_to_end)
        machine.ending_at = self.loop.now
        machine.ended_at = self.loop.now + (180 if slow else 20) * self.sky.rng.random()
        machine.ended_by = why
        del self.running[machine.instance_id]
        machine.on_end()
        self.on_ended(machine)
        self.loop.at(machine.ended_at, "state change", lambda: self.tell("state", machine.instance_id))

    def schedule_fires(self, instance_id: str) -> None:
        """A one-shot schedule's TerminateInstances."""
        self._kill(instance_id, "schedule")

    def _kill(self, instance_id: str, who: str) -> None:
        machine = self.machines.get(instance_id)
        if machine is None:
            return
        if machine.refuses_to_end and not self.sky.over:
            raise AwsError(f"{who}: InternalError about {instance_id}")
        self.end(machine, who)

    def _start(self, order: FleetOrder) -> Machine:
        rng, weather, now = self.sky.rng, self.sky.weather, self.loop.now
        machine = Machine(
            instance_id=f"i-{len(self.machines):05d}",
            launch_id=order.launch_id,
            instance_type=rng.choice(order.instance_types),
            zone=rng.choice(ZONES),
            market=order.market,
            started=now,
            shown_from=now + weather.describe_lag_s * rng.random(),
            lag=weather.describe_lag_s * rng.random(),
        )
        # Of the three killers at most two fail at once: that is what the guarantee asks of the world.
        machine.os_timer_works = not self.sky.strikes(weather.os_timer_dead)
        machine.refuses_to_end = machine.os_timer_works and self.sky.strikes(weather.end_refused)
        self.machines[machine.instance_id] = machine
        self.tokens[order.launch_id] = machine.instance_id
        self.running[machine.instance_id] = self._visible[machine.instance_id] = machine
        self.on_boot(machine)
        if machine.os_timer_works:
            boot = 5 + 40 * rng.random()
            self.loop.after(boot + self._lifetime(), "os timer", lambda: self.end(machine, "OS timer"))
        if order.market == "spot" and weather.spot_kills_an_hour:
            life = rng.expovariate(weather.spot_kills_an_hour / HOUR)
            self.loop.after(life, "spot", lambda: self.interrupt(machine))
        return machine

    def interrupt(self, machine: Machine) -> None:
        """EC2 takes a spot instance back, with the notice this weather gives."""
        if not machine.running or self.sky.over:
            return
        notice = self.sky.rng.choice(self.sky.weather.notice)
        if notice:
            machine.on_notice(notice)
            if not self.sky.strikes(self.sky.weather.warnings_lost):
                self.tell("warning", machine.instance_id)
        self.loop.after(notice, "spot ends", lambda: self.end(machine, "spot"))

    def _recent(self) -> list[Machine]:
        """What the console may still show; what left it an hour ago is forgotten here."""
        now = self.loop.now
        for machine in list(self._visible.values()):
            if machine.ended_at is not None and now > machine.ended_at + VISIBLE_AFTER_END_S:
                del self._visible[machine.instance_id]
        return list(self._visible.values())

    def _seen(self, machine: Machine) -> Instance | None:
        now = self.loop.now
        if now < machine.shown_from:
            return None
        if machine.ended_at is not None and now > machine.ended_at + VISIBLE_AFTER_END_S:
            return None
        return self._shown(machine, machine.state(max(machine.started, now - machine.lag)))

    def _shown(self, machine: Machine, state: str = "pending") -> Instance:
        ended = machine.ending_at if state == "terminated" else None
        return Instance(
            instance_id=machine.instance_id,
            state=state,
            instance_type=machine.instance_type,
            zone=machine.zone,
            market=machine.market,
            launched_at=START + timedelta(seconds=machine.started),
            launch_id=machine.launch_id,
            ended_at=None if ended is None else START + timedelta(seconds=ended),
        )


class SimTimers:
    """`ports.Timers`: EventBridge Scheduler fires within a minute of its time, and tries again on errors."""

    def __init__(self, loop: Loop, sky: Sky, ec2: SimEc2) -> None:
        self.loop, self.sky, self.ec2 = loop, sky, ec2
        self.armed: dict[str, str] = {}

    def arm(self, launch_id: str, instance_id: str, at: datetime) -> None:
        if self.sky.weather.scheduler_down.holds(self.loop.now):
            raise AwsError("EventBridge Scheduler: InternalServerException")
        if launch_id in self.armed:
            return
        self.armed[launch_id] = instance_id
        when = (at - START).total_seconds() + 60 * self.sky.rng.random()
        self.loop.at(when, "schedule", lambda: self._fire(launch_id, instance_id))

    def disarm(self, launch_id: str) -> None:
        self.armed.pop(launch_id, None)

    def _fire(self, launch_id: str, instance_id: str) -> None:
        if self.armed.get(launch_id) != instance_id:
            return
        try:
            self.ec2.schedule_fires(instance_id)
        except AwsError:
            self.loop.after(60, "schedule again", lambda: self._fire(launch_id, instance_id))


class SimSts:
    """`ports.Identity`: the URL is `sts://account/role/role id/session`."""

    def caller(self, url: str, headers: Mapping[str, str]) -> Caller:
        if not url.startswith("sts://"):
            raise NotYourself("not an STS request")
        account, role, role_id, session = url.removeprefix("sts://").split("/")
        return Caller(account, role, role_id, session)


@dataclass
class SimPriceList:
    """`ports.PriceList`, which answers sometimes."""

    prices: Prices
    answers: Callable[[], bool] = lambda: True

    def on_demand(self, instance_types: Sequence[str]) -> Mapping[str, int]:
        return {name: self.prices.on_demand[name] for name in instance_types} if self.answers() else {}


def _hour(moment: datetime) -> int:
    return int((moment - START).total_seconds() // HOUR)

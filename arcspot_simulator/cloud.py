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

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from arcspot.aws.compute import LAUNCH_TAG, STACK_TAG, Ec2
from arcspot.domain.budget import FALLBACK_ON_DEMAND_USD_MICROS, MICROS, cost_usd_micros
from arcspot.domain.identity import Caller
from arcspot.domain.launching import Instance
from arcspot.domain.quotas import vcpus
from arcspot.errors import NotYourself
from arcspot.ports import FleetOrder
from arcspot_simulator.limits import refuse, schedule_name_fault
from arcspot_simulator.loop import START, Loop
from arcspot_simulator.weather import HOUR, Sky

VISIBLE_AFTER_END_S = HOUR
ZONES = ("us-east-1a", "us-east-1b")
SUBNETS = {f"subnet-{zone[-1]}": zone for zone in ZONES}
STACK = "simulated"
# What one zone may say while another has no capacity, and what nobody has listed yet.
ZONE_FACTS = (
    "InvalidFleetConfiguration", "Unsupported", "InvalidSubnetID.NotFound", "UnauthorizedOperation",
    "InsufficientFreeAddressesInSubnet",
)  # fmt: skip
NEW_CODES = ("InstancesOnHoliday", "Client.NewIn2027", "ComplianceHold.Region")
PASSING = ("PendingVerification", "ResourceLimitExceeded", "OptInRequired")
QUOTA_CODES = {"spot": "MaxSpotInstanceCountExceeded", "on-demand": "VcpuLimitExceeded"}
NEEDS_A_PERSON = ("InvalidLaunchTemplateId.NotFound", "UnauthorizedOperation", "InvalidAMIID.NotFound")
FOREIGN = "i-foreign"


class AwsError(Exception):
    """A throttle or a 5xx that outlived the SDK's own retries."""


class Ec2Error(ClientError, AwsError):
    """An error answer of EC2, as botocore raises it."""

    def __init__(self, operation: str, code: str, status: int = 400, message: str = "") -> None:
        told: Any = {
            "Error": {"Code": code, "Message": message or f"{code} of {operation}"},
            "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": 0},
        }
        super().__init__(told, operation)


class Ec2Silent(ReadTimeoutError, AwsError):
    """No answer in time."""


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
    shown_for: float = VISIBLE_AFTER_END_S
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
    """EC2 as boto3 shows it, and the hand of fate on the machines.

    The product's own adapter speaks to it (`compute`): its reading of answers and codes is part of what is
    simulated. As `ports.Compute` it is that adapter.
    """

    def __init__(self, loop: Loop, sky: Sky, prices: Prices, *, max_lifetime_s: Callable[[], float]) -> None:
        self.loop, self.sky, self.prices = loop, sky, prices
        self.machines: dict[str, Machine] = {}
        self.tokens: dict[str, tuple[str, str]] = {}
        self.running: dict[str, Machine] = {}
        self._visible: dict[str, Machine] = {}
        self.on_boot: Callable[[Machine], object] = lambda machine: None
        self.on_ended: Callable[[Machine], object] = lambda machine: None
        self.on_terminate: Callable[[str], object] = lambda instance_id: None
        self.on_over_quota: Callable[[str, int], object] = lambda market, quota: None
        self.tell: Callable[[str, str], object] = lambda kind, instance_id: None
        self.person_needed_at = -1e9
        self._lifetime = max_lifetime_s
        client: Any = self
        self.compute = Ec2(
            client,
            stack=STACK,
            template_id="lt-1",
            subnet_ids=tuple(SUBNETS),
            zones=SUBNETS,
            clock=lambda: loop.moment,
        )

    @property
    def live(self) -> int:
        """Instances that cost money right now."""
        return len(self.running)

    def launch(self, order: FleetOrder) -> Instance:
        return self.compute.launch(order)

    def instance(self, instance_id: str) -> Instance | None:
        return self.compute.instance(instance_id)

    def instances(self) -> list[Instance]:
        return self.compute.instances()

    def terminate(self, instance_id: str) -> None:
        self.compute.terminate(instance_id)

    def console(self, instance_id: str) -> str:
        return self.compute.console(instance_id)

    def spot_price(self, instance_type: str, zone: str, *, since: datetime, until: datetime) -> int | None:
        return self.compute.spot_price(instance_type, zone, since=since, until=until)

    # What the adapter may ask ----------------------------------------------------------------------------
    def create_fleet(self, **request: Any) -> dict[str, Any]:
        """Throttled and authorised first, then its token looked up, then its pools: in that order on EC2."""
        weather, now = self.sky.weather, self.loop.now
        if self.sky.strikes(weather.fleet_throttled):
            raise Ec2Error("CreateFleet", "RequestLimitExceeded", 503)
        if weather.misconfigured.holds(now):
            self.person_needed_at = now
            raise Ec2Error("CreateFleet", self.sky.rng.choice(NEEDS_A_PERSON), 403)
        if weather.unverified.holds(now):
            raise Ec2Error("CreateFleet", self.sky.rng.choice(PASSING))
        token, wanted = request["ClientToken"], json.dumps(request, sort_keys=True)
        if token in self.tokens:
            if self.sky.strikes(weather.denied_again):  # AWS Budgets attached its deny policy in between
                self.person_needed_at = now
                raise Ec2Error("CreateFleet", "UnauthorizedOperation", 403)
            known, first = self.tokens[token]
            if first != wanted:
                raise Ec2Error("CreateFleet", "IdempotentParameterMismatch")
            return self._started(self.machines[known])
        pools, errors = self._pools(request)
        if not pools:
            return {"Errors": errors, "Instances": []}
        if weather.new_codes.holds(now):
            if self.sky.strikes(0.3):  # nobody can say whether a code nobody knows started something
                self._start(request, pools)
            raise Ec2Error("CreateFleet", self.sky.rng.choice(NEW_CODES))
        if self.sky.strikes(weather.token_mismatch):
            self._start(request, pools)  # by the SDK's first try; its second met a deploy in between
            raise Ec2Error("CreateFleet", "IdempotentParameterMismatch")
        if self.sky.strikes(weather.fleet_unknown):
            fate = self.sky.rng.random()
            if fate < 0.6:
                machine = self._start(request, pools)
                if fate > 0.4:
                    machine.shown_from = now + 240 * self.sky.rng.random()
            if fate < 0.3:
                raise Ec2Silent(endpoint_url="https://ec2")
            raise Ec2Error("CreateFleet", "InternalError", 500)
        return self._started(self._start(request, pools)) | {"Errors": errors}

    def describe_instances(self, *, InstanceIds: Sequence[str]) -> dict[str, Any]:
        (instance_id,) = InstanceIds
        machine = self.machines.get(instance_id)
        state = self._seen(machine) if machine else None
        if machine is None or state is None:
            raise Ec2Error("DescribeInstances", "InvalidInstanceID.NotFound")
        return {"Reservations": [{"Instances": [self._shown(machine, state)]}]}

    def get_paginator(self, operation: str) -> SimEc2:
        return self

    def paginate(self, *, Filters: Any) -> list[dict[str, Any]]:
        seen = ((machine, self._seen(machine)) for machine in self._recent())
        shown = [self._shown(machine, state) for machine, state in seen if state]
        return [{"Reservations": [{"Instances": shown}]}]

    def terminate_instances(self, *, InstanceIds: Sequence[str]) -> None:
        (instance_id,) = InstanceIds
        self.on_terminate(instance_id)
        machine = self.machines.get(instance_id)
        if machine is None or self._forgotten(machine):
            # No instance, no tag: the policy that asks for our tag denies before EC2 looks.
            raise Ec2Error("TerminateInstances", "UnauthorizedOperation", 403)
        self._kill(instance_id, "TerminateInstances")

    def get_console_output(self, *, InstanceId: str) -> dict[str, str]:
        return {"Output": "console"}

    def describe_spot_price_history(self, **asked: Any) -> dict[str, Any]:
        """Prices of one type in one zone; for a zone that does not exist EC2 has an error."""
        zone, (kind,) = asked["AvailabilityZone"], asked["InstanceTypes"]
        if zone not in ZONES:
            raise Ec2Error("DescribeSpotPriceHistory", "InvalidParameterValue")
        hours = range(_hour(asked["StartTime"]), _hour(asked["EndTime"]) + 1)
        found = [self.prices.spot(kind, zone, hour) for hour in hours]
        return {"SpotPriceHistory": [{"SpotPrice": f"{price / MICROS:.6f}"} for price in found]}

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
            raise Ec2Error(who, "InternalError", 500)
        self.end(machine, who)

    def _pools(self, request: Any) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """The overrides that have room, and what EC2 says of each of the others."""
        weather, now = self.sky.weather, self.loop.now
        market = request["TargetCapacitySpecification"]["DefaultTargetCapacityType"]
        free = self._vcpus_free(market)
        mixed = weather.mixed.holds(now) and market == "spot"
        pools, errors, over = [], [], False
        for override in request["LaunchTemplateConfigs"][0]["Overrides"]:
            code = ""
            if mixed:
                bad = override["AvailabilityZone"] == ZONES[1]
                code = self.sky.rng.choice(ZONE_FACTS) if bad else "InsufficientInstanceCapacity"
            elif market == "spot" and weather.no_capacity.holds(now):
                code = "InsufficientInstanceCapacity"
            elif free is not None and vcpus(override["InstanceType"]) > free:
                code, over = QUOTA_CODES[market], True
            if code:
                errors.append(
                    {"ErrorCode": code, "ErrorMessage": f"{code} in {override['AvailabilityZone']}"}
                )
            else:
                pools.append(override)
        if over and not pools:
            self.on_over_quota(market, self._quota(market) or 0)
        return pools, errors

    def _quota(self, market: str) -> int | None:
        """The account's vCPUs of a market right now; None sets no limit."""
        weather = self.sky.weather
        if market == "spot" and weather.quota_zero_until:
            return 0 if self.loop.now < weather.quota_zero_until else weather.quota_vcpus
        return None

    def _vcpus_free(self, market: str) -> int | None:
        quota = self._quota(market)
        if quota is None:
            return None
        return quota - sum(vcpus(m.instance_type) for m in self.running.values() if m.market == market)

    def _start(self, request: Any, pools: Sequence[dict[str, str]]) -> Machine:
        rng, weather, now = self.sky.rng, self.sky.weather, self.loop.now
        pool, token = rng.choice(pools), request["ClientToken"]
        market = request["TargetCapacitySpecification"]["DefaultTargetCapacityType"]
        machine = Machine(
            instance_id=f"i-{len(self.machines):05d}",
            launch_id=token,
            instance_type=pool["InstanceType"],
            zone=pool["AvailabilityZone"],
            market=market,
            started=now,
            shown_from=now + weather.describe_lag_s * rng.random(),
            lag=weather.describe_lag_s * rng.random(),
        )
        if self.sky.strikes(weather.forgets):
            machine.shown_for = 60 * rng.random()
        # Of the three killers at most two fail at once: that is what the guarantee asks of the world.
        machine.os_timer_works = not self.sky.strikes(weather.os_timer_dead)
        machine.refuses_to_end = machine.os_timer_works and self.sky.strikes(weather.end_refused)
        self.machines[machine.instance_id] = machine
        self.tokens[token] = machine.instance_id, json.dumps(request, sort_keys=True)
        self.running[machine.instance_id] = self._visible[machine.instance_id] = machine
        self.on_boot(machine)
        if machine.os_timer_works:
            boot = 5 + 40 * rng.random()
            self.loop.after(boot + self._lifetime(), "os timer", lambda: self.end(machine, "OS timer"))
        if market == "spot" and weather.spot_kills_an_hour:
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
        for machine in list(self._visible.values()):
            if self._forgotten(machine):
                del self._visible[machine.instance_id]
        return list(self._visible.values())

    def _forgotten(self, machine: Machine) -> bool:
        return machine.ended_at is not None and self.loop.now > machine.ended_at + machine.shown_for

    def _seen(self, machine: Machine) -> str | None:
        """The state that describe shows of a machine; None while, and once, it shows nothing."""
        now = self.loop.now
        if now < machine.shown_from or self._forgotten(machine):
            return None
        return machine.state(max(machine.started, now - machine.lag))

    def _started(self, machine: Machine) -> dict[str, Any]:
        """CreateFleet's answer: it names what the override named, and sometimes not even that."""
        place = {"SubnetId": f"subnet-{machine.zone[-1]}", "AvailabilityZone": machine.zone}
        untold = self.sky.strikes(self.sky.weather.zone_untold)
        group = {
            "InstanceIds": [machine.instance_id],
            "InstanceType": machine.instance_type,
            "LaunchTemplateAndOverrides": {"Overrides": {} if untold else place},
        }
        return {"Instances": [group], "Errors": []}

    def _shown(self, machine: Machine, state: str) -> dict[str, Any]:
        ended = math.ceil(machine.ending_at or 0) if state == "terminated" else 0
        shown: dict[str, Any] = {
            "InstanceId": machine.instance_id,
            "State": {"Name": state},
            "InstanceType": machine.instance_type,
            "Placement": {"AvailabilityZone": machine.zone},
            "LaunchTime": START + timedelta(seconds=machine.started),
            "Tags": [{"Key": STACK_TAG, "Value": STACK}, {"Key": LAUNCH_TAG, "Value": machine.launch_id}],
        }
        if machine.market == "spot":
            shown["InstanceLifecycle"] = "spot"
        if ended:
            # Whole seconds, here as in the bill.
            moment = START + timedelta(seconds=ended)
            shown["StateTransitionReason"] = f"User initiated ({moment:%Y-%m-%d %H:%M:%S} GMT)"
        return shown


class SimTimers:
    """`ports.Timers`: EventBridge Scheduler fires within a minute of its time, and tries again on errors."""

    def __init__(self, loop: Loop, sky: Sky, ec2: SimEc2) -> None:
        self.loop, self.sky, self.ec2 = loop, sky, ec2
        self.armed: dict[str, str] = {}

    def arm(self, launch_id: str, instance_id: str, at: datetime) -> None:
        refuse(schedule_name_fault(launch_id))
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


class SimClock:
    """`ports.Clock`: the rule that calls each minute, on or off."""

    def __init__(self) -> None:
        self.awake = True

    def wake(self) -> None:
        self.awake = True

    def sleep(self) -> None:
        self.awake = False


class SimSts:
    """`ports.Identity`: the URL is `sts://account/role/role id/session?moment`, in seconds."""

    def formed(self, url: str, headers: Mapping[str, str]) -> None:
        if not url.startswith("sts://"):
            raise NotYourself("not an STS request")

    def caller(self, url: str, headers: Mapping[str, str]) -> Caller:
        self.formed(url, headers)
        who, _, at = url.removeprefix("sts://").partition("?")
        account, role, role_id, session = who.split("/")
        return Caller(account, role, role_id, session, datetime.fromtimestamp(int(at), UTC))


@dataclass
class SimPriceList:
    """`ports.PriceList`, which answers sometimes."""

    prices: Prices
    answers: Callable[[], bool] = lambda: True

    def on_demand(self, instance_types: Sequence[str]) -> Mapping[str, int]:
        return {name: self.prices.on_demand[name] for name in instance_types} if self.answers() else {}


def _hour(moment: datetime) -> int:
    return int((moment - START).total_seconds() // HOUR)

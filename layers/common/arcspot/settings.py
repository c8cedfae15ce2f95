"""The stack's settings, read from the environment once, at the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from arcspot.domain.budget import FALLBACK_ON_DEMAND_USD_MICROS, usd_to_micros, worst_case_usd_micros
from arcspot.domain.hours import Window, windows
from arcspot.errors import ConfigurationError

# From the hard deadline until the last of the killers has acted and EC2 has stopped billing.
MARGIN_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Settings:
    """What `template.yaml` sets for every function. Money in micro-dollars, times in seconds."""

    stack: str
    bucket: str
    jobs_table: str
    launches_table: str
    ledger_table: str
    events_table: str
    state_machine_arn: str
    topic_arn: str
    launch_template_id: str
    subnet_ids: tuple[str, ...]
    account_id: str
    runner_role: str
    runner_role_id: str
    instance_types: tuple[str, ...]
    cap: int
    slots: int
    quota_vcpus: int
    max_lifetime_s: int
    margin_s: int
    boot_timeout_s: int
    silence_s: int
    gone_poll_s: int
    idle_s: int
    heartbeat_s: int
    lease_s: int
    task_budget_s: int
    target_drain_s: int
    boot_s: int
    max_wait_s: int
    disk_gb: int
    solver_version: str
    price_overrides: Mapping[str, int]
    schedule_group: str = ""
    timer_role_arn: str = ""
    dead_letters_arn: str = ""
    clock_rule: str = ""
    metrics: bool = False
    allowed_hours: tuple[Window, ...] = ()
    on_demand_fallback: bool = False
    gpu_idle_s: int = 600
    gpu_idle_kill: bool = False
    zones: Mapping[str, str] = field(default_factory=dict)
    on_demand_quota_vcpus: int = 0

    def price_table(self, read: Mapping[str, int]) -> dict[str, int]:
        """On-demand micro-dollars an hour: what the operator set, else what was `read`, else the built-in."""
        return {**FALLBACK_ON_DEMAND_USD_MICROS, **read, **self.price_overrides}

    @property
    def beat_s(self) -> int:
        """How often a runner is heard: three times at least within a lease and within the silence allowed."""
        return max(1, min(self.heartbeat_s, self.lease_s // 3, self.silence_s // 3))

    @property
    def reserve(self) -> int:
        """The worst case of one launch at the prices known without asking anybody."""
        return self.reserve_at({})

    def reserve_at(self, read: Mapping[str, int]) -> int:
        """The worst case of one launch; see `budget.worst_case_usd_micros`."""
        return worst_case_usd_micros(
            instance_types=self.instance_types,
            on_demand_usd_micros=self.price_table(read),
            max_lifetime_seconds=self.max_lifetime_s,
            margin_seconds=self.margin_s,
            disk_gb=self.disk_gb,
        )

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Raises ConfigurationError naming the first variable that is missing or malformed."""
        return cls(
            stack=_text(env, "STACK"),
            bucket=_text(env, "BUCKET"),
            jobs_table=_text(env, "JOBS_TABLE"),
            launches_table=_text(env, "LAUNCHES_TABLE"),
            ledger_table=_text(env, "LEDGER_TABLE"),
            events_table=_text(env, "EVENTS_TABLE"),
            state_machine_arn=_text(env, "STATE_MACHINE_ARN"),
            topic_arn=_text(env, "TOPIC_ARN"),
            launch_template_id=env.get("LAUNCH_TEMPLATE_ID", ""),
            subnet_ids=tuple(_subnets(env)),
            zones={subnet: zone for subnet, zone in _subnets(env).items() if zone},
            account_id=_text(env, "ACCOUNT_ID"),
            runner_role=_text(env, "RUNNER_ROLE"),
            runner_role_id=_text(env, "RUNNER_ROLE_ID"),
            instance_types=_list(env, "INSTANCE_TYPES"),
            cap=usd_to_micros(Decimal(_text(env, "MONTHLY_CAP_USD"))),
            slots=_count(env, "MAX_INSTANCES"),
            quota_vcpus=_count(env, "QUOTA_VCPUS"),
            max_lifetime_s=_count(env, "MAX_LIFETIME_MINUTES") * 60,
            margin_s=MARGIN_SECONDS,
            boot_timeout_s=_count(env, "BOOT_TIMEOUT_S"),
            silence_s=_count(env, "SILENCE_S"),
            gone_poll_s=_count(env, "GONE_POLL_S"),
            idle_s=_count(env, "IDLE_S"),
            heartbeat_s=_count(env, "HEARTBEAT_S"),
            lease_s=_count(env, "LEASE_S"),
            task_budget_s=_count(env, "TASK_BUDGET_S"),
            target_drain_s=_count(env, "TARGET_DRAIN_S"),
            boot_s=_count(env, "BOOT_S"),
            max_wait_s=_count(env, "MAX_WAIT_S"),
            disk_gb=_count(env, "DISK_GB"),
            solver_version=_text(env, "SOLVER_VERSION"),
            price_overrides=_prices(env.get("ON_DEMAND_PRICES", "")),
            schedule_group=_text(env, "SCHEDULE_GROUP"),
            timer_role_arn=env.get("TIMER_ROLE_ARN", ""),
            dead_letters_arn=env.get("DEAD_LETTERS_ARN", ""),
            clock_rule=_text(env, "CLOCK_RULE"),
            metrics=env.get("METRICS", "false") == "true",
            allowed_hours=windows(env.get("ALLOWED_HOURS", "")),
            on_demand_fallback=env.get("ON_DEMAND_FALLBACK", "false") == "true",
            gpu_idle_s=_count(env, "GPU_IDLE_S"),
            gpu_idle_kill=env.get("GPU_IDLE_ACTION", "warn") == "kill",
            on_demand_quota_vcpus=_count(env, "ON_DEMAND_QUOTA_VCPUS", default="0"),
        )


def _text(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise ConfigurationError(f"environment variable {name} is not set")
    return value


def _count(env: Mapping[str, str], name: str, *, default: str = "") -> int:
    value = env.get(name, "").strip() or default or _text(env, name)
    if not value.isdecimal():
        raise ConfigurationError(f"environment variable {name} must be a whole number, found {value!r}")
    return int(value)


def _list(env: Mapping[str, str], name: str, *, required: bool = True) -> tuple[str, ...]:
    value = _text(env, name) if required else env.get(name, "")
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _subnets(env: Mapping[str, str]) -> dict[str, str]:
    """Subnet → its zone ("" when not said), from `subnet-1=us-east-1a,subnet-2=…`."""
    pairs = (part.partition("=") for part in _list(env, "SUBNET_IDS", required=False))
    return {subnet.strip(): zone.strip() for subnet, _, zone in pairs}


def _prices(text: str) -> dict[str, int]:
    """The operator's own prices: `g4dn.xlarge=0.526,…`."""
    prices: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, usd = part.partition("=")
        prices[name.strip()] = usd_to_micros(usd.strip())
    return prices

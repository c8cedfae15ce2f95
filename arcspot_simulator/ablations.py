"""The guards, each of which can be taken out.

A simulator that finds nothing without them proves nothing with them.

Each ablation replaces one decision of the product for as long as it is on, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from arcspot.aws.compute import Ec2
from arcspot.domain import launching, quotas, reaping, refusals
from arcspot.domain.budget import Fleet, Hold
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import Breaker, Instance, Launch, LaunchState
from arcspot.domain.reporters import Reporter
from arcspot.errors import NoMoney, NoSlot
from arcspot.ports import Event, Ports
from arcspot.services import handing, ingesting, money, reporting, scaling, waking, watching
from arcspot.services import launching as launching_service
from arcspot.services.retry import until_written
from arcspot.settings import Settings
from arcspot_simulator import stack
from arcspot_simulator.cloud import AwsError

Patches = list[Any]


def _margin() -> Patches:
    """The reserve covers the lifetime alone, not the minutes the killers need."""
    plain = stack.settings
    return [patch.object(stack, "settings", lambda **changes: plain(**{**changes, "margin_s": 0}))]


def _boot_fence() -> Patches:
    """A launch takes any instance, and greets it, whatever became of the launch."""

    def adopted(self: Launch, instance: Instance, *, price: int, guessed: bool = False) -> Launch:
        if self.instance_id == instance.instance_id:
            return self
        return replace(
            self,
            state=LaunchState.LAUNCHED if self.state is LaunchState.RESERVED else self.state,
            instance_id=instance.instance_id,
            instance_type=instance.instance_type,
            zone=instance.zone,
            market=instance.market,
            price=price,
            started_at=instance.launched_at,
        )

    def greeted(self: Launch, *, instance_id: str, secret_sha256: str, host: str, now: datetime) -> Launch:
        return replace(
            self, state=LaunchState.ACTIVE, secret_sha256=secret_sha256, host=host, heartbeat_at=now
        )

    return [patch.object(Launch, "adopted", adopted), patch.object(Launch, "greeted", greeted)]


def _drain_condition() -> Patches:
    """A draining launch still gets work: the look and the act are no longer one."""

    def lent(self: Launch, job_id: str) -> Launch:
        return replace(self, leases=(*self.leases, job_id))

    return [patch.object(Launch, "lent", lent), patch.object(Launch, "serving", property(lambda self: True))]


def _hold_unknown() -> Patches:
    """No clear answer from EC2 counts as no instance: the money goes back at once."""
    return [
        patch.object(launching_service, "settled_by", lambda refused, *, again: True),
        patch.object(launching, "HOLD_UNKNOWN_SECONDS", 0),
    ]


def _per_item_try() -> Patches:
    """The watchdog stops at the first item that fails."""

    def each(items: Any) -> dict[str, str]:
        for _, act in items:
            act()
        return {}

    return [patch.object(watching, "each", each)]


def _result_fence() -> Patches:
    """Whoever finishes a job commits its result, under whatever fence."""

    def completed(self: Job, *, now: datetime, seconds: float, result_prefix: str, **rest: Any) -> Job:
        return replace(
            self, state=JobState.DONE, lease=None, ready_at=None, run_s_total=self.run_s_total + seconds,
            result_prefix=result_prefix, updated_at=now,
        )  # fmt: skip

    return [patch.object(Job, "completed", completed)]


def _reserve_transaction() -> Patches:
    """Look whether there is money, put the launch, and write the money and the slot down afterwards."""

    def reserve(
        ports: Ports,
        settings: Settings,
        launch_id: str,
        now: datetime,
        *,
        fleet_version: int | None = None,
        market: str = "spot",
        vcpus: int = 0,
    ) -> Launch:
        ledger, fleet = money.open_books(ports, settings, now)
        amount = settings.reserve_at(money.read_prices(ports))
        if ledger.available < amount:
            raise NoMoney("checked")
        if fleet.slots_available < 1:
            raise NoSlot("checked")
        launch = Launch(
            launch_id=launch_id,
            period=ledger.period,
            reserve=amount,
            market=market,
            vcpus=vcpus,
            created_at=now,
            hard_deadline=now + timedelta(seconds=settings.max_lifetime_s),
            boot_deadline=now + timedelta(seconds=settings.boot_timeout_s),
        )
        ports.store.write(Hold(launch_id, launch.period, amount, launch.hard_deadline), launch)

        def note() -> None:
            known, slots = ports.store.ledger(ledger.period), ports.store.fleet()
            assert known is not None
            assert slots is not None
            ports.store.write(
                replace(known, available=known.available - amount, reserved=known.reserved + amount)
            )
            ports.store.write(replace(slots, slots_available=slots.slots_available - 1))

        until_written(note, ports.pause)
        ports.store.record(Event(f"launch#{launch_id}", now, "reserved", "checked, then written"))
        return launch

    return [patch.object(money, "reserve", reserve)]


def _orphan_two_rounds() -> Patches:
    """An instance without a launch is ended at first sight."""
    remembered = watching._remembered

    def at_once(ports: Ports, settings: Settings, launches: Any, instances: Any, now: datetime) -> Any:
        _, ill = remembered(ports, settings, launches, instances, now)
        by_launch = {launch.launch_id: launch for launch in launches}
        return {i.instance_id: now for i in instances if reaping.orphan(i, by_launch)}, ill

    return [
        patch.object(watching, "_remembered", at_once),
        patch.object(reaping, "ripe", lambda instance, since, now: since is not None),
    ]


def _lease_count() -> Patches:
    """A launch may hold whatever it asks for."""
    return [patch.object(launching, "MOST_AT_ONCE", 10**6)]


def _zone_facts() -> Patches:
    """Of what several zones say the hardest counts: one zone's fact outvotes another's capacity."""
    return [patch.object(refusals, "MILDEST", tuple(reversed(refusals.MILDEST)))]


def _asks_instead(code_asks: Callable[[str], refusals.Asks | None]) -> Patches:
    asks = refusals.asks_of

    def asks_of(code: str, *, status: int = 400) -> refusals.Asks:
        return code_asks(code) or asks(code, status=status)

    return [patch.object(refusals, "asks_of", asks_of)]


def _new_codes() -> Patches:
    """What nobody has listed waits for a person."""
    return _asks_instead(lambda code: None if refusals.row_of(code) else refusals.Asks.PERSON)


def _same_token() -> Patches:
    """A token that met other parameters counts as refused, whatever its first call started."""
    mismatch = "IdempotentParameterMismatch"
    return _asks_instead(lambda code: refusals.Asks.PATIENCE if code == mismatch else None)


def _unlisted_proof() -> Patches:
    """A code nobody knows counts as proof that nothing was started."""
    known = refusals.Row("*", refusals.Asks.PATIENCE, "https://nobody.said.so")
    row_of = refusals.row_of
    return [patch.object(refusals, "row_of", lambda code: row_of(code) or known)]


def _second_call() -> Patches:
    """A later call's refusal counts as proof, whatever an earlier call of the same launch started."""
    settled_by = launching_service.settled_by
    return [
        patch.object(
            launching_service, "settled_by", lambda refused, *, again: settled_by(refused, again=False)
        )
    ]


def _end_of_waiting() -> Patches:
    """What needs a person is never tried again without one."""
    tripped = Breaker.tripped

    def for_good(self: Breaker, error: Any, *, now: datetime) -> Breaker:
        after = tripped(self, error, now=now)
        return replace(after, open_until=None) if after.until_resumed else after

    return [patch.object(Breaker, "tripped", for_good)]


def _late_zone() -> Patches:
    """A launch that was adopted without a zone never learns it."""
    return [patch.object(launching_service, "place", lambda *args: None)]


def _forgotten_instance() -> Patches:
    """A denial to end an instance is believed, though EC2 has only forgotten it."""
    return [patch.object(Ec2, "_over", lambda self, instance_id: False)]


def _vcpus_by_type() -> Patches:
    """Each instance counts as four vCPUs, whatever its type."""
    return [patch.object(module, "vcpus", lambda name: 4) for module in (quotas, scaling)]


def _per_batch_try() -> Patches:
    """The report stops at the first batch that fails, and begins with it the next time."""

    def failed(self: Any, batch_id: str, why: str) -> None:
        raise AwsError(f"{batch_id}: {why}")

    return [
        patch.object(reporting._Round, "_failed", failed),
        patch.object(Reporter, "in_turn", lambda self, due, now: list(due)),
        patch.object(Reporter, "after_a_death", lambda self, now: replace(self, working_on="")),
    ]


def _wake() -> Patches:
    """Nobody wakes the minute's rounds once they sleep, and launches are reserved all the same."""
    take = Fleet.take

    def asleep(self: Fleet) -> Fleet:
        return replace(take(self.woken()), asleep=self.asleep)

    return [
        patch.object(waking, "wake", lambda *args, **kwargs: False),
        patch.object(Fleet, "take", asleep),
    ]


def _pinned_version() -> Patches:
    """A job names its file and no version of it: whatever lies there when a job is claimed is its task."""
    job = ingesting._job

    def anything(settings: Settings, dropped: Any, version: str, task: Any, place: Any, *rest: Any) -> Any:
        return job(settings, dropped, "", task, (), *rest)

    return [
        patch.object(ingesting, "_job", anything),
        patch.object(handing, "_own", lambda job, task: task),
    ]


def _heartbeat_below_timeout() -> Patches:
    """The service's heartbeat follows the silence allowed, however short a life is."""
    made = scaling.lifecycle_input

    def unchecked(settings: Settings, launch_id: str) -> dict[str, Any]:
        silence = settings.silence_s + scaling.OUTAGE_SECONDS
        return {**made(settings, launch_id), "silence_s": silence}

    return [patch.object(scaling, "lifecycle_input", unchecked)]


GUARDS: Mapping[str, Callable[[], Patches]] = {
    "margin": _margin,
    "boot-fence": _boot_fence,
    "drain-condition": _drain_condition,
    "hold-unknown": _hold_unknown,
    "per-item-try": _per_item_try,
    "result-fence": _result_fence,
    "reserve-transaction": _reserve_transaction,
    "orphan-two-rounds": _orphan_two_rounds,
    "zone-facts": _zone_facts,
    "new-codes": _new_codes,
    "same-token": _same_token,
    "unlisted-proof": _unlisted_proof,
    "second-call": _second_call,
    "end-of-waiting": _end_of_waiting,
    "late-zone": _late_zone,
    "forgotten-instance": _forgotten_instance,
    "vcpus-by-type": _vcpus_by_type,
    "wake": _wake,
    "heartbeat-below-timeout": _heartbeat_below_timeout,
    "pinned-version": _pinned_version,
    "per-batch-try": _per_batch_try,
    "lease-count": _lease_count,
}


@contextmanager
def without(guard: str | None) -> Iterator[None]:
    """Take one guard out for a while. Raises KeyError for one that does not exist."""
    with ExitStack() as undo:
        for each in GUARDS[guard]() if guard else []:
            undo.enter_context(each)
        yield

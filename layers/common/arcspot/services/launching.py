"""launch: ask EC2 for the one instance a reserved launch may have, and wait for it to speak."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from arcspot.domain.launching import Breaker, Instance, Launch, LaunchState, Token
from arcspot.domain.quotas import fitting
from arcspot.domain.refusal_mail import refusal_mail
from arcspot.errors import (
    LaunchMisconfigured,
    LaunchRefused,
    LaunchThrottled,
    LaunchUnknown,
    RecordMissing,
    RunnerGaveUp,
    WrongState,
)
from arcspot.ports import Event, FleetOrder, Ports
from arcspot.services import money
from arcspot.services.afterwards import mailed, recorded, tried
from arcspot.services.retry import until_written
from arcspot.settings import Settings

# The orderly ways to end a launch at its deadline get a minute before the schedule does it.
TIMER_GRACE = timedelta(seconds=60)


def launch(ports: Ports, settings: Settings, launch_id: str, now: datetime) -> dict[str, Any]:
    """Start the launch's instance, or find the one it already has.

    Raises a LaunchRefused subclass. On a definite refusal of the first call money and slot are back
    before it is raised. They stay held for the watchdog to resolve after an unclear answer, a throttle,
    and any refusal of a later call: the one before may have started an instance.
    """
    row, again = until_written(lambda: _attempt(ports, launch_id, now), ports.pause)
    if row.instance_id:
        return _told(row)
    try:
        instance = ports.compute.launch(
            FleetOrder(
                launch_id=launch_id,
                instance_types=fitting(settings.instance_types, row.vcpus),
                market=row.market or "spot",
                since=row.attempted_at,
            )
        )
    except LaunchRefused as refused:
        _refused(ports, row, refused, now, again=again)
        raise
    row = adopt(ports, settings, launch_id, instance, now)
    # Two killers are left where this fails, and the watchdog arms the third each minute until it can.
    if not tried("arming the timer", lambda: arm(ports, launch_id, now)):
        recorded(ports, Event(f"launch#{launch_id}", now, "not armed", "it is left to the watchdog"))
    tried("closing the breaker", lambda: close_breaker(ports, after_launch=True))
    return _told(row)


def adopt(ports: Ports, settings: Settings, launch_id: str, instance: Instance, now: datetime) -> Launch:
    """Bind instance and launch. An instance whose launch is over is terminated at once (the boot fence)."""
    price, guessed = _price(ports, settings, instance, now)

    def act() -> tuple[Launch, bool]:
        row = _row(ports, launch_id)
        adopted = row.adopted(instance, price=price, guessed=guessed)
        if adopted == row:
            return row, False
        adopted = replace(adopted, adopted_at=now)
        ports.store.write(adopted)
        return adopted, True

    try:
        row, new = until_written(act, ports.pause)
    except WrongState as over:  # a lost race or a busy store says nothing against the instance
        # Where this fails the watchdog ends it: an instance that no open launch intends.
        ended = tried(
            f"terminating {instance.instance_id}", lambda: ports.compute.terminate(instance.instance_id)
        )
        words = "was terminated" if ended else "is left to the watchdog"
        raise LaunchMisconfigured(f"{over}; {instance.instance_id} {words}") from over
    if new:
        told = f"{instance.instance_id} {instance.instance_type} {instance.zone}"
        recorded(ports, Event(f"launch#{launch_id}", now, "launched", told))
    return row


def arm(ports: Ports, launch_id: str, now: datetime) -> None:
    """Set the one-shot schedule that ends the instance even if every function of the stack were gone."""
    row = _row(ports, launch_id)
    if row.armed or not row.instance_id or not row.state.open:
        return
    ports.timers.arm(launch_id, row.instance_id, row.hard_deadline + TIMER_GRACE)

    def act() -> None:
        known = _row(ports, launch_id)
        if not known.armed:
            ports.store.write(replace(known, armed=True))

    until_written(act, ports.pause)
    recorded(ports, Event(f"launch#{launch_id}", now, "armed", f"ends at {row.hard_deadline + TIMER_GRACE}"))


def end(ports: Ports, row: Launch, error: str, cause: str) -> None:
    """Tell the state machine that the watchdog ended the service, so that the execution shows why."""
    if kept := token_of(ports, row):
        ports.workflow.fail(kept.token, error, cause)


def place(ports: Ports, settings: Settings, launch_id: str, instance: Instance, now: datetime) -> None:
    """Let a launch learn from what EC2 shows: its zone and type, and its price while that is only guessed."""
    price, guessed = _price(ports, settings, instance, now)

    def act() -> None:
        row = _row(ports, launch_id)
        placed = row.placed(instance, price=price, guessed=guessed)
        if placed != row:
            ports.store.write(placed)

    until_written(act, ports.pause)


def _price(ports: Ports, settings: Settings, instance: Instance, now: datetime) -> tuple[int, bool]:
    """What an hour of an instance costs, at most, and whether that is a guess.

    Its spot price if known, else the on-demand price of its type.
    """
    table = settings.price_table(money.read_prices(ports))
    dearest = table.get(instance.instance_type, max(table.values()))
    if instance.market != "spot":
        return dearest, instance.instance_type not in table
    if not instance.zone or not instance.instance_type:
        return dearest, True
    spot = ports.compute.spot_price(instance.instance_type, instance.zone, since=now, until=now)
    return (min(spot, dearest), False) if spot else (dearest, True)


def wait_for(ports: Ports, launch_id: str, *, phase: str, token: str) -> None:
    """Keep the callback token of `phase` (boot or serve).

    The runner may have been faster than this call, so the launch is looked at right after: it writes the
    launch and then reads the token, this writes the token and then reads the launch, and so whoever comes
    second answers the state machine.
    """

    def act() -> Token:
        row = _row(ports, launch_id)
        known = ports.store.token(launch_id) or Token(launch_id, row.hard_deadline)
        waiting = known.waiting(token=token, phase=phase)
        if waiting != known and row.state.open:  # of a closed launch nothing is kept: it is answered at once
            ports.store.write(waiting)
        return waiting

    kept = until_written(act, ports.pause)
    tell(ports, _row(ports, launch_id), kept)


def token_of(ports: Ports, row: Launch) -> Token | None:
    """The token that a launch's state machine waits for, if it does."""
    kept = ports.store.token(row.launch_id)
    if kept is None and row.task_token:  # a launch that began under an earlier release
        return Token(row.launch_id, row.hard_deadline, row.token_phase, row.task_token)
    return kept


def answer(ports: Ports, row: Launch) -> None:
    """Tell the state machine what the launch's row already says, if it waits for it."""
    if kept := token_of(ports, row):
        tell(ports, row, kept)


def tell(ports: Ports, row: Launch, kept: Token) -> None:
    """The same, with the token that was read after the row."""
    if kept.phase == "boot" and row.state in (LaunchState.ACTIVE, LaunchState.DRAINING):
        ports.workflow.succeed(kept.token, {"instance_id": row.instance_id})
    elif row.state in (LaunchState.DRAINING, LaunchState.GONE, LaunchState.SETTLED):
        ports.workflow.succeed(kept.token, {"reason": row.reason})


def _attempt(ports: Ports, launch_id: str, now: datetime) -> tuple[Launch, bool]:
    """Note that EC2 is about to be asked; whether it may have been asked before."""
    row = _row(ports, launch_id)
    if row.instance_id:
        return row, True
    if row.state is not LaunchState.RESERVED:
        raise LaunchMisconfigured(f"launch {launch_id} is {row.state}; it gets no instance")
    if why := money.unpaid(ports, row):
        if row.attempted_at is None:  # else EC2 may have been asked: the watchdog looks before it releases
            tried("closing an unpaid launch", lambda: money.release(ports, launch_id, why, now))
        raise LaunchMisconfigured(f"launch {launch_id} gets no instance: {why}")
    attempting = row.attempting(now=now)
    if attempting != row:
        ports.store.write(attempting)
    return attempting, row.attempted_at is not None


def _refused(ports: Ports, row: Launch, refused: LaunchRefused, now: datetime, *, again: bool) -> None:
    name, launch_id = type(refused).__name__, row.launch_id
    words = f"{name}: {refused}"[:500]
    recorded(ports, Event(f"launch#{launch_id}", now, "refused", words))
    # Where the money does not come back here, the watchdog releases it once the hold is over.
    if settled_by(refused, again=again):
        tried("giving the money back", lambda: money.release(ports, launch_id, words, now))
    elif not isinstance(refused, LaunchUnknown | LaunchThrottled):
        tried("noting the refusal", lambda: _note(ports, launch_id, words))
    # A breaker that does not open here opens with the next refusal.
    tried("opening the breaker", lambda: _trip_and_tell(ports, row, refused, now))


def _trip_and_tell(ports: Ports, row: Launch, refused: LaunchRefused, now: datetime) -> None:
    before, after = trip_breaker(ports, refused, now)
    if set(after.told) - set(before.told):  # marked before it is sent: a crash in between loses a mail
        mailed(ports, *refusal_mail(refused, after, market=row.market or "spot"))


def settled_by(refused: LaunchRefused, *, again: bool) -> bool:
    """Whether a refusal proves that the launch has no instance: then its money and slot go back at once."""
    proven = refused.certain and (refused.answered or not again)
    return proven and not isinstance(refused, LaunchUnknown | LaunchThrottled)


def _note(ports: Ports, launch_id: str, words: str) -> None:
    """Remember why a launch whose money stays held got no instance, so that nobody waits for its boot."""

    def act() -> None:
        row = _row(ports, launch_id)
        if row.state is LaunchState.RESERVED and not row.reason:
            ports.store.write(replace(row, reason=words))

    until_written(act, ports.pause)


def tripped(ports: Ports, error: LaunchRefused | RunnerGaveUp, now: datetime) -> list[Breaker]:
    """The breaker to write because this happened; none where it stays as it is."""
    before = ports.store.breaker()
    after = before.tripped(error, now=now)
    return [after] if after != before else []


def trip_breaker(ports: Ports, error: LaunchRefused | RunnerGaveUp, now: datetime) -> tuple[Breaker, Breaker]:
    """Let no launch be tried for a while, because this happened. The breaker before and after."""

    def act() -> tuple[Breaker, Breaker]:
        before = ports.store.breaker()
        after = before.tripped(error, now=now)
        if after != before:
            ports.store.write(after)
        return before, after

    return until_written(act, ports.pause)


def close_breaker(ports: Ports, *, after_launch: bool) -> None:
    """Success: launches may be tried again. What a launch proves is less than what a finished job proves."""

    def act() -> None:
        breaker = ports.store.breaker()
        needs_a_job = breaker.error == RunnerGaveUp.__name__
        if breaker.error and not (after_launch and needs_a_job):
            ports.store.write(breaker.closed())

    until_written(act, ports.pause)


def _row(ports: Ports, launch_id: str) -> Launch:
    row = ports.store.launch(launch_id)
    if row is None:
        raise RecordMissing(f"no launch {launch_id}")
    return row


def _told(row: Launch) -> dict[str, Any]:
    return {
        "instance_id": row.instance_id,
        "instance_type": row.instance_type,
        "zone": row.zone,
        "market": row.market,
    }

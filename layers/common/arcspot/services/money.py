"""Keep the books: open the month, follow the cap, reserve, settle, tell people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from arcspot.domain.budget import MICROS, Fleet, Hold, Leak, Ledger, Prices, cost_usd_micros, period_of
from arcspot.domain.edges import MOST_OF_A_NAME, line
from arcspot.domain.launching import Instance, Launch, LaunchState
from arcspot.errors import Conflict, RecordMissing
from arcspot.ports import Event, Ports
from arcspot.services.afterwards import mailed, recorded, tried
from arcspot.services.retry import until_written
from arcspot.settings import Settings

EARLIER_RELEASE = timedelta(hours=2)
"""After an update and a whole life: so long a launch without a hold may be an earlier release's."""


def open_books(ports: Ports, settings: Settings, now: datetime) -> tuple[Ledger, Fleet]:
    """The month's ledger and the fleet, created when absent and brought to the stack's cap and slots."""

    def act() -> tuple[Ledger, Fleet]:
        period = period_of(now)
        ledger, fleet = ports.store.ledger(period), ports.store.fleet()
        wanted_ledger = (ledger or Ledger.opened(period, settings.cap)).with_cap(settings.cap)
        # What an earlier release reserved has no hold, and is over by then.
        over = now + timedelta(seconds=settings.max_lifetime_s) + EARLIER_RELEASE if fleet else now
        wanted_fleet = (fleet or Fleet.opened(settings.slots)).with_total(settings.slots).held_from(over)
        changed = [r for r, old in ((wanted_ledger, ledger), (wanted_fleet, fleet)) if r != old]
        if changed:
            ports.store.write(*changed)
            return act()
        return wanted_ledger, wanted_fleet

    return until_written(act, ports.pause)


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
    """Take the worst case of one launch and one slot, put its hold and its row: one transaction.

    With `fleet_version`, only if the fleet is still at that version: a decision made on another
    fleet is no decision. Raises Conflict then, else NoMoney, NoSlot or FleetPaused; nothing was written.
    """

    worst_case = settings.reserve_at(read_prices(ports))

    def act() -> Launch:
        ledger, fleet = open_books(ports, settings, now)
        if fleet_version is not None and fleet.version != fleet_version:
            raise Conflict(f"decided on fleet version {fleet_version}, it is at {fleet.version} by now")
        launch = Launch(
            launch_id=launch_id,
            period=ledger.period,
            reserve=worst_case,
            market=market,
            vcpus=vcpus,
            created_at=now,
            hard_deadline=now + timedelta(seconds=settings.max_lifetime_s),
            boot_deadline=now + timedelta(seconds=settings.boot_timeout_s),
        )
        hold = Hold(launch_id, launch.period, launch.reserve, launch.hard_deadline)
        ports.store.write(ledger.reserve(hold.amount), fleet.take(), hold, launch)
        return launch

    # Overtaken once is overtaken: whoever decided on another fleet must decide again, not try again.
    launch = until_written(act, ports.pause) if fleet_version is None else act()
    recorded(ports, Event(f"launch#{launch_id}", now, "reserved", f"{launch.reserve} micro-dollars held"))
    # The watchdog looks at the thresholds each minute.
    tried("announcing a threshold", lambda: announce(ports, launch.period, now))
    return launch


def unpaid(ports: Ports, launch: Launch) -> str:
    """Why a launch may get no instance: its row is no proof of money, its hold is. "" where all is well."""
    hold = ports.store.hold(launch.launch_id)
    if hold is None or hold.closed:
        return "no money is held for it"
    if (launch.period, launch.reserve) != (hold.period, hold.amount) or launch.hard_deadline > hold.until:
        return (
            f"its row says {launch.reserve} of {launch.period} until {launch.hard_deadline}; "
            f"held are {hold.amount} of {hold.period} until {hold.until}"
        )
    return ""


def release(ports: Ports, launch_id: str, reason: str, now: datetime) -> None:
    """Give money and slot back for a launch that certainly has no instance. Done twice is done once.

    What comes back is what its hold says; nothing where it has none.
    """

    def act() -> bool:
        launch = _launch(ports, launch_id)
        if launch.state is not LaunchState.RESERVED:
            return False
        ports.store.write(launch.released(reason=reason), *_given_back(ports, launch, 0, now))
        return True

    if until_written(act, ports.pause):
        recorded(ports, Event(f"launch#{launch_id}", now, "released", reason))


def settle(ports: Ports, settings: Settings, launch_id: str, now: datetime) -> int:
    """Book what a launch whose instance is gone really cost. Returns micro-dollars; twice is once.

    Of one without a hold, or whose hold is closed, nothing is booked and nothing comes back: 0.
    A spot price moves while an instance runs: the highest of its time counts, so that the books
    are never below the bill. What was only guessed counts no more once that is known, unless jobs
    have been charged by it.
    """
    price = _highest_price(ports, settings, _launch(ports, launch_id), now)

    def priced(launch: Launch) -> Launch:
        guess_is_over = bool(price) and launch.price_guessed and launch.heartbeat_at is None
        return replace(launch, price=price if guess_is_over else max(launch.price, price))

    def act() -> tuple[Launch, bool]:
        launch = _launch(ports, launch_id)
        if launch.state is LaunchState.SETTLED:
            return launch, False
        cost = actual_cost(priced(launch), settings, launch.gone_at or now)
        books = _given_back(ports, launch, cost, now)
        closed = launch.settled(actual=cost if books else 0)
        ports.store.write(closed, *books)
        return closed, True

    launch, wrote = until_written(act, ports.pause)
    if wrote:
        recorded(ports, Event(f"launch#{launch_id}", now, "settled", f"{launch.actual} micro-dollars spent"))
        tried("announcing a threshold", lambda: announce(ports, launch.period, now))
    return launch.actual


def book_leak(ports: Ports, settings: Settings, instance: Instance, now: datetime) -> int:
    """Book an instance that ended and that no launch paid for, and mail that. Twice is once.

    Returns micro-dollars.
    """
    price = settings.price_table(read_prices(ports)).get(instance.instance_type)
    cost = cost_usd_micros(
        price_usd_micros_per_hour=price or max(settings.price_table({}).values()),
        seconds=max(0.0, ((instance.ended_at or now) - instance.launched_at).total_seconds()),
        disk_gb=settings.disk_gb,
    )

    def act() -> bool:
        if ports.store.leak(instance.instance_id) is not None:
            return False
        ledger, _ = open_books(ports, settings, now)
        leak = Leak(instance.instance_id, instance.launch_id, cost, now)
        ports.store.write(ledger.book(cost), leak)
        return True

    if until_written(act, ports.pause):
        recorded(ports, Event(f"launch#{instance.launch_id}", now, "leak", f"{instance.instance_id} {cost}"))
        mailed(
            ports,
            "arcspot: an instance ran that no launch had paid for",
            f"{instance.instance_id} (launch {line(instance.launch_id or 'unknown', most=MOST_OF_A_NAME)}) "
            f"cost up to {cost / MICROS:.4f} USD and is booked. "
            "This should not happen: please report it with the launch's events.\n",
        )
    return cost


def read_prices(ports: Ports) -> Mapping[str, int]:
    """The on-demand prices last read from the Price List; none when it never answered."""
    known = ports.store.prices()
    return known.on_demand if known else {}


def refresh_prices(ports: Ports, settings: Settings, now: datetime) -> None:
    """Ask the Price List once a day. When it does not answer the prices of before stay."""
    known = ports.store.prices()
    if known is not None and not known.stale(now):
        return
    found = ports.price_list.on_demand(settings.instance_types)
    try:
        ports.store.write((known or Prices({}, now)).updated(found, now))
    except Conflict:
        return  # another round was faster, with the same list


def _highest_price(ports: Ports, settings: Settings, launch: Launch, now: datetime) -> int:
    """The dearest spot price of a launch's life, at most its type's on-demand price; 0 when unknown."""
    if launch.market != "spot" or launch.started_at is None or not launch.zone:
        return 0
    peak = ports.compute.spot_price(
        launch.instance_type, launch.zone, since=launch.started_at, until=launch.gone_at or now
    )
    ceiling = settings.price_table(read_prices(ports)).get(launch.instance_type)
    return min(peak or 0, ceiling or peak or 0)


def actual_cost(launch: Launch, settings: Settings, until: datetime) -> int:
    """What a launch has cost up to a moment, micro-dollars."""
    if launch.started_at is None:
        return 0
    seconds = max(0.0, (until - launch.started_at).total_seconds())
    return cost_usd_micros(price_usd_micros_per_hour=launch.price, seconds=seconds, disk_gb=settings.disk_gb)


def announce(ports: Ports, period: str, now: datetime) -> None:
    """Mail each budget threshold once.

    Marked before sent: a crash between the two loses a mail, never repeats one.
    """

    def act() -> tuple[Ledger, tuple[int, ...]]:
        ledger = ports.store.ledger(period)
        if ledger is None:
            raise RecordMissing(f"no ledger for {period}")
        crossed = ledger.crossed()
        if crossed:
            ports.store.write(ledger.told(crossed))
        return ledger, crossed

    ledger, crossed = until_written(act, ports.pause)
    if crossed:
        committed = (ledger.settled + ledger.reserved) / MICROS
        mailed(
            ports,
            f"arcspot: {max(crossed)}% of the {period} budget is committed",
            f"Settled {ledger.settled / MICROS:.2f} USD, reserved {ledger.reserved / MICROS:.2f} USD: "
            f"together {committed:.2f} of {ledger.cap / MICROS:.2f} USD.\n\n"
            "Reserved money is the worst case of running instances; most of it comes back when they end. "
            "Nothing can start once it is all committed.\n",
        )
        recorded(ports, Event(f"ledger#{period}", now, "threshold", f"{crossed} percent"))


def note_waiting(ports: Ports, reason: str, now: datetime) -> None:
    """Remember why READY jobs wait, so that `status` can say it."""

    def act() -> None:
        fleet = ports.store.fleet()
        if fleet is not None and fleet.waits_for != reason:
            ports.store.write(fleet.waiting_for(reason, now))
            recorded(ports, Event("fleet", now, "waits" if reason else "waits no more", reason))

    until_written(act, ports.pause)


def pause(ports: Ports, settings: Settings, now: datetime, *, paused: bool, reason: str) -> Fleet:
    """Stop (or allow) new launches; running ones go on."""

    def act() -> Fleet:
        _, fleet = open_books(ports, settings, now)
        changed = replace(fleet, paused=paused, pause_reason=reason if paused else "")
        if changed != fleet:
            ports.store.write(changed)
        return changed

    return until_written(act, ports.pause)


def _launch(ports: Ports, launch_id: str) -> Launch:
    launch = ports.store.launch(launch_id)
    if launch is None:
        raise RecordMissing(f"no launch {launch_id}")
    return launch


def _given_back(
    ports: Ports, launch: Launch, actual: int, now: datetime
) -> tuple[Hold, Ledger, Fleet] | tuple[()]:
    """The hold closed, the books and the fleet behind a launch; nothing where no money is held for it."""
    hold, fleet = ports.store.hold(launch.launch_id), ports.store.fleet()
    if hold is None and (fleet is None or fleet.holds_from is None or now < fleet.holds_from):
        hold = Hold(launch.launch_id, launch.period, launch.reserve, launch.hard_deadline)
    if hold is None or hold.closed:
        return ()
    ledger = ports.store.ledger(hold.period)
    if ledger is None or fleet is None:
        raise RecordMissing(f"the books of {hold.period} are missing")
    return hold.ended(), ledger.settle(hold.amount, actual), fleet.give_back()

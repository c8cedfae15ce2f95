"""What goes wrong in one history, and when: drawn once from its seed.

Each rate is the chance per call, message, launch or job; outages are windows of virtual seconds.
Half of the histories have mild weather, so that long ordinary runs are seen as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from random import Random

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Windows:
    """Times in which something is so: sorted, `[start, end)` seconds."""

    spans: tuple[tuple[float, float], ...] = ()

    def holds(self, at: float) -> bool:
        return any(start <= at < end for start, end in self.spans)

    def touched(self, start: float, end: float) -> bool:
        """Whether it was so at any time between two moments."""
        return any(a < end and start < b for a, b in self.spans)


@dataclass(frozen=True, slots=True)
class Weather:
    # Functions: a fault of an invocation strikes before or after one of its calls.
    call_crashes: float = 0.0
    call_errors: float = 0.0
    call_pauses: float = 0.0
    mischief: float = 0.0
    ambiguous_writes: float = 0.0
    ticks_skipped: float = 0.0
    index_lags: float = 0.0
    functions_down: Windows = Windows()
    door_down: Windows = Windows()
    scheduler_down: Windows = Windows()
    # Messages
    events_lost: float = 0.0
    events_doubled: float = 0.0
    # The bucket
    overwritten: float = 0.0
    archived: float = 0.0
    reads_fail: float = 0.0
    cursed_batch: float = 0.0  # a batch whose report cannot be written, for as long as the history lasts
    tokens_lost: float = 0.0
    executions_aborted: float = 0.0
    steps_repeated: float = 0.0
    # EC2
    describe_lag_s: float = 3.0
    fleet_unknown: float = 0.0
    fleet_throttled: float = 0.0
    no_capacity: Windows = Windows()
    mixed: Windows = Windows()  # no capacity in one zone, another reason in the other
    unverified: Windows = Windows()
    new_codes: Windows = Windows()
    token_mismatch: float = 0.0
    denied_again: float = 0.0
    zone_untold: float = 0.0
    forgets: float = 0.0
    quota_zero_until: float = 0.0
    quota_vcpus: int = 8
    misconfigured: Windows = Windows()
    spot_kills_an_hour: float = 0.0
    notice: tuple[float, ...] = (120.0,)
    warnings_lost: float = 0.0
    slow_to_end: float = 0.0
    end_refused: float = 0.0
    # Instances and runners
    boot_hangs: float = 0.0
    boot_dies: float = 0.0
    boot_slow: float = 0.0
    os_timer_dead: float = 0.0
    runner_freezes: float = 0.0
    runner_crashes: float = 0.0
    partitions: float = 0.0
    clock_skew_s: float = 0.0
    network_errors: float = 0.0
    half_uploads: float = 0.0
    gives_up: float = 0.0
    greedy: float = 0.0
    # Of an earlier release: it does not ask for the next job with a result, or keeps to the earlier contract.
    earlier_runners: float = 0.0
    # Jobs
    job_fails: float = 0.0
    deadly_jobs: float = 0.0
    endless_jobs: float = 0.0


CALM = Weather()


def windows(rng: Random, *, count: int, span_s: float, longest_s: float) -> Windows:
    """Up to `count` windows within `span_s`, none longer than `longest_s`."""
    found = []
    for _ in range(rng.randrange(count + 1)):
        start = rng.random() * span_s
        found.append((start, start + rng.random() * longest_s))
    return Windows(tuple(sorted(found)))


def draw(rng: Random, span_s: float, *, storm: float | None = None) -> Weather:
    """One history's weather. Every kind of fault is on in some histories and off in others.

    `storm` scales every rate; it is drawn as well when not given.
    """
    storm = storm if storm is not None else rng.choice((0.3, 1.0, 1.0, 3.0))

    def sometimes(rate: float, chance: float = 0.5) -> float:
        return rate * storm * rng.random() if rng.random() < chance else 0.0

    return Weather(
        call_crashes=sometimes(0.03),
        call_errors=sometimes(0.05),
        call_pauses=sometimes(0.2, 0.7),
        mischief=rng.choice((0.0, 0.3, 0.6)),
        ambiguous_writes=sometimes(0.03),
        ticks_skipped=sometimes(0.13),
        index_lags=sometimes(0.3, 0.7),
        functions_down=windows(rng, count=1, span_s=span_s, longest_s=0.4 * HOUR),
        door_down=windows(rng, count=2, span_s=span_s / 4, longest_s=0.5 * HOUR),
        scheduler_down=windows(rng, count=1, span_s=span_s, longest_s=0.5 * HOUR),
        events_lost=sometimes(0.1),
        events_doubled=sometimes(0.3),
        overwritten=sometimes(0.3),
        archived=sometimes(0.1),
        reads_fail=sometimes(0.05),
        cursed_batch=float(rng.random() < 0.1),
        tokens_lost=sometimes(0.1),
        executions_aborted=sometimes(0.3),
        steps_repeated=sometimes(0.1),
        describe_lag_s=rng.choice((0.5, 3.0, 15.0, 60.0)),
        fleet_unknown=sometimes(0.2),
        fleet_throttled=sometimes(0.2),
        no_capacity=windows(rng, count=2, span_s=span_s / 2, longest_s=3 * HOUR),
        mixed=windows(rng, count=2, span_s=span_s / 2, longest_s=3 * HOUR),
        unverified=windows(rng, count=1, span_s=span_s / 4, longest_s=6 * HOUR),
        new_codes=windows(rng, count=1, span_s=span_s / 2, longest_s=2 * HOUR),
        token_mismatch=sometimes(0.1),
        denied_again=sometimes(0.5),
        zone_untold=sometimes(0.5),
        forgets=sometimes(0.5),
        quota_zero_until=rng.random() * 6 * HOUR if rng.random() < 0.15 else 0.0,
        quota_vcpus=rng.choice((8, 8, 12, 16)),
        misconfigured=windows(rng, count=1, span_s=span_s, longest_s=HOUR)
        if rng.random() < 0.2
        else Windows(),
        spot_kills_an_hour=rng.choice((0.0, 0.1, 0.5, 2.0)),
        notice=rng.choice(((120.0,), (120.0, 30.0, 0.0), (0.0,))),
        warnings_lost=rng.choice((0.0, 0.0, 0.5, 1.0)),
        slow_to_end=sometimes(0.3),
        end_refused=sometimes(0.6),
        boot_hangs=sometimes(0.08),
        boot_dies=sometimes(0.1),
        boot_slow=sometimes(0.2),
        os_timer_dead=sometimes(0.4),
        runner_freezes=sometimes(0.05),
        runner_crashes=sometimes(0.05),
        partitions=sometimes(0.1),
        clock_skew_s=rng.choice((0.0, 0.0, 5.0, -5.0)),
        network_errors=sometimes(0.1),
        half_uploads=sometimes(0.1),
        gives_up=sometimes(0.02),
        earlier_runners=0.3,
        job_fails=sometimes(0.1),
        deadly_jobs=sometimes(0.03),
        endless_jobs=sometimes(0.1),
    )


@dataclass
class Sky:
    """The weather now: as drawn, or calm once the history is over."""

    weather: Weather
    rng: Random
    over: bool = False
    _drawn: Weather | None = field(default=None, repr=False)

    def clear(self) -> None:
        """No new fault from here on; what is already broken stays so."""
        lag = self.weather.describe_lag_s
        self.weather = replace(CALM, describe_lag_s=lag)
        self.over = True

    def strikes(self, rate: float) -> bool:
        return rate > 0.0 and self.rng.random() < rate

    def faults(self) -> list[str]:
        """The kinds of fault that this weather has, for the history's first line."""
        return [f.name for f in fields(Weather) if getattr(self.weather, f.name) != getattr(CALM, f.name)]

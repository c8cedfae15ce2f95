"""How fast a fleet should grow: rules for the step beside each other, in a model of minutes.

    python -m bench ramp                 # the table of docs/decisions/074

The decision is the real one (`arcspot.domain.scaling.how_many`); instances, boots and work are numbers. What
an estimate that is wrong, or an image that never says hello, may waste is what speed is paid with.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from arcspot.domain.launching import BACKOFF_MINUTES
from arcspot.domain.scaling import LEAST_JOB_S, MANY, Backlog, Pace, Room, enough, how_many, step_of
from gpu_runner import saying

TICK_S = 5
BOOT_S, BOOT_TIMEOUT_S, IDLE_S, DRAIN_S = 180, 900, 120, 1800
USD_AN_HOUR = 0.16  # a g4dn.xlarge on spot
LONGEST_S = 24 * 3600
Step = Callable[[int, int], int]
"""(booting, serving) → how many may be started in one round."""

RULES: Mapping[str, Step] = {
    "four a round": lambda booting, serving: 4,
    "as many as live, at least four": lambda booting, serving: max(4, booting + serving),
    "on their way: as many as serve, at least four": lambda booting, serving: max(4, serving) - booting,
    "on their way: twice what serves, at least eight": lambda booting, serving: step_of(
        booting=booting, serving=serving
    ),
    "all at once": lambda booting, serving: 10**6,
}


@dataclass(frozen=True, slots=True)
class Case:
    """Jobs of `real_s` seconds that are guessed to take `guess_s` until the first are done."""

    name: str
    jobs: int
    real_s: float
    guess_s: float
    slots: int = 50
    boots: bool = True
    round_s: int = 60


CASES = (
    Case("1,000 jobs of 90 s", 1_000, 90, 90),
    Case("20,000 jobs of 90 s", 20_000, 90, 90),
    Case("600 jobs of 10 s, guessed 150 s", 600, 10, 150),
    Case("the same, a kick each 5 s", 600, 10, 150, round_s=5),
    Case("an image that never says hello", 1_000, 90, 90, boots=False),
)


@dataclass(slots=True)
class Ramp:
    """What a rule came to. Seconds since the jobs were dropped; money of the instances alone."""

    launches: int = 0
    busiest_minute: int = 0
    full_s: int = 0
    """When as many serve as ever do."""
    drained_s: int = 0
    instance_s: float = 0.0
    begun: list[int] = field(default_factory=list)

    @property
    def usd(self) -> float:
        return self.instance_s * USD_AN_HOUR / 3600


def ramp(case: Case, step: Step) -> Ramp:
    """Play a case with a rule for the step, until its jobs are done and its instances are gone."""
    found, now, left = Ramp(), 0, case.jobs * case.real_s
    booting: list[int] = []  # when each was started
    serving, most, trips, shut_until = 0, 0, 0, 0
    idle = 0
    while now < LONGEST_S and (left > 0 or booting or serving):
        if now % case.round_s == 0 and left > 0:
            jobs = -(-left // case.real_s)
            each = max(LEAST_JOB_S, case.real_s if left < case.jobs * case.real_s else case.guess_s)
            pace = Pace(DRAIN_S, BOOT_S, 0.0, max_step=max(0, step(len(booting), serving)))
            room = Room(
                live=len(booting) + serving, spare=len(booting), slots=case.slots - len(booting) - serving,
                available=10**9, reserve=1, quota_vcpus=10**6,
                breaker="runner" if now < shut_until else "",
            )  # fmt: skip
            counted = min(int(jobs), enough(room, pace, each), MANY)
            count = how_many(Backlog(counted, counted * each, now), room, pace).launches
            booting += [now] * count
            found.begun += [now] * count
        ready = [at for at in booting if now - at >= BOOT_S] if case.boots else []
        silent = [at for at in booting if now - at >= BOOT_TIMEOUT_S]
        booting = [at for at in booting if at not in ready and at not in silent]
        serving += len(ready)
        if silent and now >= shut_until:
            trips += 1
            steps = BACKOFF_MINUTES["RunnerGaveUp"]
            shut_until = now + 60 * steps[min(trips, len(steps)) - 1]
        if serving > most:
            most, found.full_s = serving, now
        left = max(0.0, left - serving * TICK_S)
        found.drained_s = now if left > 0 else found.drained_s or now
        idle = idle + TICK_S if left <= 0 else 0
        found.instance_s += (serving + len(booting)) * TICK_S
        if idle >= IDLE_S:
            # Who boots now finds nothing, waits as long, and goes.
            found.instance_s += sum(max(0, BOOT_S - (now - at)) + IDLE_S for at in booting)
            booting, serving = [], 0
        now += TICK_S
        if not case.boots and now >= 3600:
            break
    found.launches = len(found.begun)
    found.busiest_minute = max((sum(a <= b < a + 60 for b in found.begun) for a in found.begun), default=0)
    return found


def table(cases: Sequence[Case] = CASES) -> str:
    """One row for each case and rule, as Markdown."""
    rows = [
        "| case | rule | launches | in one minute | all serve after | drained after | instances cost |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        for name, step in RULES.items():
            found = ramp(case, step)
            full = f"{found.full_s / 60:.0f} min" if case.boots else "–"
            drained = f"{found.drained_s / 60:.0f} min" if case.boots else "(first hour)"
            rows.append(
                f"| {case.name} | {name} | {found.launches} | {found.busiest_minute} | {full} "
                f"| {drained} | ${found.usd:.2f} |"
            )
    return "\n".join(rows) + "\n"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench ramp", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--slots", type=int, default=50, help="instances at once")
    options = parser.parse_args(arguments)
    saying.out(*table([replace(case, slots=options.slots) for case in CASES]).splitlines())

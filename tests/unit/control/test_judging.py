"""What the watchdog decides for each launch and each instance, from plain data alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from arcspot import errors
from arcspot.domain.launching import CONTRACT, Instance, Launch, LaunchState
from arcspot.domain.reaping import ORPHAN_GRACE, VISIBILITY_SECONDS, Act, Patience, Step, steps
from tests.fakes.memory import START

HOUR = timedelta(hours=1)
NOW = START + HOUR
PATIENT = Patience(silence_s=300, gpu_idle_s=600)
DEADLY = replace(PATIENT, gpu_kill=True)
INSTANCE = Instance(
    instance_id="i-1",
    state="running",
    instance_type="g4dn.xlarge",
    zone="us-east-1a",
    market="spot",
    launched_at=START,
    launch_id="L",
)
RESERVED = Launch(
    launch_id="L",
    period="2026-11",
    reserve=1,
    created_at=START,
    hard_deadline=START + 2 * HOUR,
    boot_deadline=START + timedelta(minutes=15),
)
LAUNCHED = replace(RESERVED.adopted(INSTANCE, price=1), armed=True, boot_deadline=NOW + HOUR)
ACTIVE = replace(LAUNCHED, state=LaunchState.ACTIVE, heartbeat_at=NOW, contract=CONTRACT)
LENT = ACTIVE.lent("job-1")


def ago(seconds: float) -> Any:
    return NOW - timedelta(seconds=seconds)


def judge(launch: Launch | None, *instances: Instance, **more: Any) -> list[Step]:
    known = {"now": NOW, "patience": PATIENT, "suspects": {}}
    return steps([launch] if launch else [], instances, **{**known, **more})


def acts(launch: Launch | None, *instances: Instance, **more: Any) -> list[Act]:
    return [step.act for step in judge(launch, *instances, **more)]


@pytest.mark.parametrize(
    ("launch", "instance", "act"),
    [
        (replace(RESERVED, created_at=ago(119)), None, None),
        (replace(RESERVED, created_at=ago(121)), None, Act.RESTART),
        (replace(RESERVED, created_at=ago(899), attempted_at=ago(899)), None, None),
        (replace(RESERVED, created_at=ago(2000), attempted_at=ago(899)), None, None),
        (replace(RESERVED, created_at=ago(900), attempted_at=ago(900)), None, Act.RELEASE),
        (replace(RESERVED, created_at=ago(900)), None, Act.RELEASE),
        (replace(RESERVED, created_at=ago(9000), attempted_at=ago(9000)), INSTANCE, Act.ADOPT),
        (ACTIVE, INSTANCE, None),
        (replace(ACTIVE, armed=False), INSTANCE, Act.ARM),
        (replace(LAUNCHED, armed=False), INSTANCE, Act.ARM),
        (replace(ACTIVE, state=LaunchState.DRAINING), INSTANCE, Act.RETIRE),
        (replace(ACTIVE, state=LaunchState.DRAINING, armed=False), INSTANCE, Act.RETIRE),
        (replace(ACTIVE, state=LaunchState.GONE), None, Act.SETTLE),
        (ACTIVE, replace(INSTANCE, state="terminated"), Act.SETTLE),
        (ACTIVE, replace(INSTANCE, state="shutting-down"), None),
        (replace(ACTIVE, heartbeat_at=ago(VISIBILITY_SECONDS)), None, None),
        (replace(LAUNCHED, started_at=ago(VISIBILITY_SECONDS + 1), created_at=START), None, Act.SETTLE),
    ],
)
def test_each_state_of_a_launch_has_its_one_step(
    launch: Launch, instance: Instance | None, act: Act | None
) -> None:
    seen = [instance] if instance else []
    assert acts(launch, *seen) == ([act] if act else [])


@pytest.mark.parametrize(
    ("launch", "patience", "error", "silent"),
    [
        (replace(ACTIVE, hard_deadline=NOW), PATIENT, "DeadlinePassed", False),
        (replace(LAUNCHED, boot_deadline=NOW), PATIENT, "BootTimedOut", False),
        (replace(ACTIVE, heartbeat_at=ago(301)), PATIENT, "RunnerSilent", True),
        (replace(LENT, gpu_idle_since=ago(600)), DEADLY, "GpuIdle", False),
        # Its deadline is the reason whatever else is wrong with it.
        (replace(LENT, hard_deadline=NOW, heartbeat_at=ago(999), gpu_idle_since=ago(999)), DEADLY,
         "DeadlinePassed", False),
    ],
)  # fmt: skip
def test_a_service_that_is_ended_is_ended_by_name(
    launch: Launch, patience: Patience, error: str, silent: bool
) -> None:
    (step,) = judge(launch, INSTANCE, patience=patience)
    assert (step.act, step.instance_id, step.error, step.silent) == (Act.RETIRE, "i-1", error, silent)
    assert issubclass(getattr(errors, error), errors.ServiceEnded), "the state machine catches it by name"


@pytest.mark.parametrize(
    "launch",
    [
        replace(ACTIVE, heartbeat_at=ago(300)),
        replace(ACTIVE, hard_deadline=NOW + timedelta(seconds=1)),
        replace(LAUNCHED, boot_deadline=NOW + timedelta(seconds=1)),
        # Who said hello has no boot deadline any more, and who did not is not called silent.
        replace(ACTIVE, boot_deadline=START),
        replace(LAUNCHED, heartbeat_at=None, started_at=ago(3000)),
        replace(LENT, gpu_idle_since=ago(599)),
    ],
)
def test_nothing_is_ended_a_second_too_early(launch: Launch) -> None:
    assert acts(launch, INSTANCE, patience=DEADLY) == []


@pytest.mark.parametrize(
    ("quiet_s", "ill_s", "ended"),
    [(3000, 0, False), (3000, 300, False), (3000, 301, True), (301, 3000, True), (300, 3000, False)],
)
def test_silence_is_counted_from_when_the_door_was_last_ill(quiet_s: int, ill_s: int, ended: bool) -> None:
    silent = replace(ACTIVE, heartbeat_at=ago(quiet_s))
    assert (acts(silent, INSTANCE, door_ill_at=ago(ill_s)) == [Act.RETIRE]) is ended


def test_an_ill_door_keeps_no_launch_beyond_its_deadlines() -> None:
    for launch in (replace(ACTIVE, hard_deadline=NOW), replace(LAUNCHED, boot_deadline=NOW)):
        assert acts(launch, INSTANCE, door_ill_at=NOW) == [Act.RETIRE]


def test_at_closing_hour_a_launch_is_drained_once_and_after_it_is_armed() -> None:
    assert acts(ACTIVE, INSTANCE, open_hours=False) == [Act.DRAIN]
    assert acts(replace(ACTIVE, armed=False), INSTANCE, open_hours=False) == [Act.ARM]
    assert acts(ACTIVE.asked_to_drain(reason="closing"), INSTANCE, open_hours=False) == []
    assert acts(replace(RESERVED, created_at=NOW), open_hours=False) == []


@pytest.mark.parametrize(
    ("launch", "patience", "wanted"),
    [
        (replace(LENT, gpu_idle_since=ago(600)), PATIENT, [Act.WARN]),
        (replace(LENT, gpu_idle_since=ago(600), gpu_warned=True), PATIENT, []),
        (replace(LENT, gpu_idle_since=ago(600), gpu_warned=True), DEADLY, [Act.RETIRE]),
        (replace(LENT, gpu_idle_since=ago(9999)), Patience(silence_s=300, gpu_kill=True), []),
    ],
)
def test_an_idle_gpu_is_told_of_once_or_ended_and_zero_seconds_turns_it_off(
    launch: Launch, patience: Patience, wanted: list[Act]
) -> None:
    assert acts(launch, INSTANCE, patience=patience) == wanted


def test_an_orphan_is_killed_when_two_looks_apart_saw_it() -> None:
    assert acts(None, INSTANCE) == []
    assert acts(None, INSTANCE, suspects={"i-1": NOW - ORPHAN_GRACE}) == [Act.KILL_ORPHAN]
    assert acts(None, INSTANCE, suspects={"i-1": NOW - ORPHAN_GRACE + timedelta(seconds=1)}) == []
    young = replace(INSTANCE, launched_at=NOW)
    assert acts(None, young, suspects={"i-1": START}) == [], "the look was held up, the instance is new"


def test_a_second_instance_of_an_open_launch_is_an_orphan() -> None:
    second = replace(INSTANCE, instance_id="i-2")
    known = {"i-2": START}
    assert judge(ACTIVE, INSTANCE, second, suspects=known)[0].instance_id == "i-2"


def test_what_ended_unpaid_is_a_leak_once() -> None:
    ended = replace(INSTANCE, state="terminated", ended_at=NOW)
    assert acts(None, ended) == [Act.BOOK_LEAK]
    assert acts(None, ended, accounted={"i-1"}) == []
    assert acts(None, replace(INSTANCE, state="shutting-down")) == [], "what it costs is not known yet"


def test_one_launch_gets_one_step_however_much_is_wrong_with_it() -> None:
    worst = replace(
        LENT, hard_deadline=START, heartbeat_at=START, gpu_idle_since=START, armed=False, boot_deadline=START
    )
    assert len(judge(worst, INSTANCE, patience=DEADLY, open_hours=False)) == 1


def test_an_instance_that_came_after_minutes_of_throttling_is_not_forgotten_by_ec2() -> None:
    """Its cost may begin when EC2 was first asked; EC2 may not show it for five minutes after it was got."""
    first_asked = replace(LAUNCHED, created_at=ago(400), started_at=ago(400), boot_deadline=NOW + HOUR)
    assert acts(replace(first_asked, adopted_at=ago(50))) == []
    assert acts(replace(first_asked, adopted_at=ago(301))) == [Act.SETTLE]
    assert acts(first_asked) == [Act.SETTLE]

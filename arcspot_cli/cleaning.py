"""cleanup: take a whole stack away: money first, then data, then the stack, then what it left behind.

Every step looks before it acts and may be repeated: stopped half-way, or after a deletion that failed, run it
again. It ends with a count of everything that could be left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from botocore.exceptions import ClientError

from arcspot_cli import belongings, faults, operating, scheduling, terminal
from arcspot_cli.belongings import DENY_POLICY, Known, unless
from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import Target

__all__ = ["DENY_POLICY", "Cleaned", "clean", "table"]

GONE_TIMEOUT_S = 600.0
DELETE_TIMEOUT_S = 1800.0
ROUNDS = 5
"""How often the bucket is emptied and the stack's deletion asked for again."""
POLLS_S = (0.1, 5.0)
"""The first pause between two looks at a stack that is being deleted, and the longest."""

Say = Callable[[str], object]


@dataclass(slots=True)
class Cleaned:
    """What was taken away and what a last look still found: kind → ids."""

    removed: dict[str, list[str]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)

    @property
    def nothing_left(self) -> bool:
        return not any(self.left.values())

    def note(self, kind: str, ids: set[str]) -> None:
        self.removed[kind] = sorted({*self.removed.get(kind, ()), *ids})


def clean(target: Target, now: datetime, *, say: Say) -> Cleaned:
    """Take everything away and count what is left. Raises CommandFailed when something will not go."""
    told, known = Cleaned(), belongings.read(target)
    say(f"stack {target.stack}: {known.status or 'not there'}")
    # Else a turn that is due now fills the queue and the bucket again while they are emptied.
    recurring = forget_schedules(target, scheduling.OURS, known)
    say(f"{recurring} recurring submission(s) removed")
    stop_jobs(target, now, say)
    _take_away(belongings.WRITERS, target, known, told, say)
    delete_stack(target, known, told, say=say)
    # Nobody writes any more: what is found now was kept by a policy or left by an update.
    known = belongings.read(target, known)
    _take_away(belongings.RETAINED, target, known, told, say)
    told.left = left(target, known)
    return told


def _take_away(
    kinds: Iterable[belongings.Kind], target: Target, known: Known, told: Cleaned, say: Say
) -> None:
    """Every kind, whatever becomes of the others. Raises CommandFailed at the end if one will not go."""
    bad: list[str] = []
    for kind in kinds:
        try:
            told.note(kind.name, belongings.until_gone(kind, target, known, seconds=GONE_TIMEOUT_S))
        except Exception as error:
            bad.append(f"{kind.name}: {faults.words(error)}")
            say(bad[-1])
        else:
            say(f"{len(told.removed[kind.name])} {kind.name} taken away")
    if bad:
        raise CommandFailed("; ".join(bad) + "; once that is mended the same command goes on")


def left(target: Target, known: Known) -> dict[str, list[str]]:
    """What there is of every kind, by a look that changes nothing; what cannot be looked at may be there."""
    found: dict[str, list[str]] = {}
    for kind in belongings.EVERY:
        try:
            found[kind.name] = list(kind.find(target, known))
        except Exception as error:
            found[kind.name] = [f"not known: {faults.words(error)}"]
    return found


def table(told: Cleaned) -> list[str]:
    """The last lines: what was removed and what is left, kind by kind."""
    lines = [f"{'':<17}{'removed':>8}{'left':>8}"]
    for name, found in told.left.items():
        lines.append(f"{name:<17}{len(told.removed.get(name, ())):>8}{len(found):>8}" + _named(found))
    lines.append("nothing is left" if told.nothing_left else "something is left: run the same command again")
    return lines


def _named(found: list[str]) -> str:
    return f"  {', '.join(found[:3])}{', …' if len(found) > 3 else ''}" if found else ""


def stop_jobs(target: Target, now: datetime, say: Say) -> None:
    """Pause the fleet and cancel what is open; where the tables are gone there is nothing to stop."""
    say("pausing the fleet and cancelling open jobs")
    try:
        operating.pause(target, "cleanup")
        target.store.bad_rows.clear()
        jobs = target.store.every_job()
        cancelled = operating.cancel(target, jobs, now, failed=lambda fault: say(str(fault)))
    except CommandFailed:
        say("no stack to pause")
    except ClientError as error:
        unless(error, "ResourceNotFoundException")
        say("the tables are gone already")
    else:
        say(f"{len(cancelled)} job(s) cancelled")
        for fault in faults.of_rows(target.store.bad_rows):
            say(str(fault))


def end_instances(target: Target) -> list[str]:
    """Terminate every instance that carries the stack's tag, and wait until EC2 says they are gone."""
    (instances,) = (kind for kind in belongings.WRITERS if kind.name == "instances")
    return sorted(belongings.until_gone(instances, target, Known(target.stack), seconds=GONE_TIMEOUT_S))


def forget_schedules(target: Target, prefix: str = "", known: Known | None = None) -> int:
    """Delete the schedules of the stack's group whose names begin so. Returns how many.

    They are no part of the stack. Deleting their group deletes them too, but only some time later, and until
    then they still call what they call:
    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_DeleteScheduleGroup.html
    """
    doomed = list(belongings.schedules(target, known or Known(target.stack), prefix))
    for named in doomed:
        belongings.delete_schedule(target, named)
    return len(doomed)


def undo_budget_action(target: Target, known: Known | None = None) -> list[str]:
    """Detach the stack's deny policy from whatever role has it. Returns the roles."""
    known = known or belongings.read(target)
    denied = list(belongings.DENIALS.find(target, known))
    for attached in denied:
        belongings.DENIALS.remove(target, attached)
    return [attached.rpartition(" ")[2] for attached in denied]


def delete_stack(
    target: Target, known: Known | None = None, told: Cleaned | None = None, *, say: Say = terminal.err
) -> None:
    """Empty, undo, delete; again when something wrote in between. Raises CommandFailed with the reasons."""
    known, told = known or belongings.read(target), told or Cleaned()
    for _ in range(ROUNDS):
        if not belongings.stack_status(target):
            break
        for bucket in known.of(belongings.BUCKET):
            say(f"{belongings.empty_bucket(target, bucket)} object version(s) removed from {bucket}")
        for role in undo_budget_action(target, known):
            say(f"the account's budget had forbidden {role} to launch; undone")
        status = _deleted(target, say)
        if not status:
            break
    else:
        raise CommandFailed(
            f"the stack did not delete ({belongings.stack_status(target)}): {'; '.join(_in_the_way(target))}"
        )
    told.note("stack", {target.stack} if known.status else set())
    say(f"stack {target.stack} deleted")


def _deleted(target: Target, say: Say) -> str:
    """Ask for the deletion and wait for its end. The status it stopped in, "" when the stack is gone."""
    target.client("cloudformation").delete_stack(StackName=target.stack)
    say("CloudFormation deletes the stack")
    end, (pause, longest) = time.monotonic() + DELETE_TIMEOUT_S, POLLS_S
    while time.monotonic() < end:
        status = belongings.stack_status(target)
        if not status or status.endswith("_FAILED"):
            return status
        time.sleep(pause)
        pause = min(2 * pause, longest)
    raise CommandFailed(
        f"the stack is {belongings.stack_status(target)} after {DELETE_TIMEOUT_S / 60:.0f} min; "
        "look at its events in the CloudFormation console, then run the same command again"
    )


def _in_the_way(target: Target) -> list[str]:
    """CloudFormation's own words about what it could not delete."""
    pages = target.client("cloudformation").get_paginator("list_stack_resources")
    return [
        f"{row['LogicalResourceId']}: {row.get('ResourceStatusReason', 'no reason given')}"
        for page in pages.paginate(StackName=target.stack)
        for row in page["StackResourceSummaries"]
        if row["ResourceStatus"] == "DELETE_FAILED"
    ] or ["see its events in the CloudFormation console"]

"""Every error arcspot raises on purpose.

An error's class name is an interface: the state machine catches launch errors by
name, and the runner acts on the name a refused call carries.

::

    ArcspotError
    ├── TaskFileRefused        a task file (or object key) we cannot use
    ├── ConfigurationError     a setting is missing or makes no sense
    ├── AnswerRefused          a prediction.json that is no answer
    ├── RecordMissing          a row that must exist does not
    ├── RowUnreadable          a row that this version cannot read
    ├── ObjectUnreadable       an object is there and cannot be read until somebody acts
    ├── ResultBroken           a result that is not what a runner leaves
    │   └── EndTooShort        more of the object has to be read for it
    ├── Conflict               a conditional write lost: somebody else was first
    │   ├── Overlapped         another transaction holds a row; nobody has won yet
    │   ├── WrongState         the row as it was read does not allow the step
    │   ├── NoMoney            the ledger cannot cover the worst case
    │   ├── NoSlot             every slot of the fleet is taken
    │   ├── FleetPaused        an operator paused the fleet
    │   └── StillServing       a runner called silent was heard after all
    ├── StoreBusy              the tables or STS do not answer just now; the same call is worth another try
    ├── StoreRefused           the tables never take this request; no try will help
    │   └── RowRefused         for what a row would hold
    ├── KeyRefused             the bucket never takes an object under this key
    ├── LaunchRefused          EC2 (or our own check) will not give an instance
    │   ├── NoCapacity         no spot capacity of any allowed type in any zone
    │   ├── QuotaExceeded      the account's vCPU quota is too small
    │   ├── LaunchThrottled    EC2 asks us to slow down
    │   ├── LaunchPostponed    EC2 says no for a reason that may pass; tried again, ever more slowly
    │   ├── LaunchMisconfigured  proven to need a person; tried once a day all the same
    │   └── LaunchUnknown      no clear answer: an instance may or may not exist
    ├── RunnerRefused          runner_api says no to a runner
    │   ├── NotYourself        the caller could not prove to be that instance
    │   ├── LaunchClosed       the launch is over; shut down
    │   ├── LeaseLost          the lease's fence is stale or the job was cancelled
    │   ├── TooManyRequests    more calls than the door looks at; the same call is worth another try, later
    │   └── BadRequest         the request does not have the documented shape
    ├── RunnerInterrupted      a spot notice ended the runner's service
    ├── RunnerGaveUp           the runner failed three jobs in a row and left
    ├── ServiceEnded           the watchdog ended a runner's service, or found it ended
    │   ├── RunnerSilent       nothing was heard of it, though runner_api was well
    │   ├── DeadlinePassed     its hard deadline
    │   ├── BootTimedOut       it never said hello
    │   ├── GpuIdle            it held work and its GPU did nothing
    │   └── InstanceGone       its instance ended by itself
    └── ItemsFailed            one or more items of a round failed; the others were done
"""

from __future__ import annotations


class ArcspotError(Exception):
    """Base of all errors raised on purpose."""


class TaskFileRefused(ArcspotError):
    """A task file cannot be used; the message names file, JSON path and expectation."""


class ConfigurationError(ArcspotError):
    """A setting is missing or makes no sense; the message names it."""


class RecordMissing(ArcspotError):
    """A row that must exist does not."""


class AnswerRefused(ArcspotError):
    """A prediction.json is no answer; the message names the place, the expectation and what was found."""


class RowUnreadable(ArcspotError):
    """A row of a table cannot be read: damaged, or written by a newer version. `key` names it."""

    def __init__(self, table: str, key: str, why: str) -> None:
        self.table, self.key, self.why = table, key, why
        super().__init__(
            f"row {key!r} of table {table} cannot be read ({why}); if a newer version of arcspot wrote it, "
            "update this one, else mend or delete the row"
        )


class ObjectUnreadable(ArcspotError):
    """An object is there, and S3 does not give it out: archived, or encrypted with a key we may not use."""


class ResultBroken(ArcspotError):
    """What lies under a result's prefix is not what a runner leaves there; says which file and why."""


class EndTooShort(ResultBroken):
    """A file of a result begins before the end of the object that was read: more of it has to be."""


class Conflict(ArcspotError):
    """A conditional write lost: the row is no longer as it was read."""


class Overlapped(Conflict):
    """Somebody else's transaction held a row at this moment: nobody was faster yet, maybe nobody will be."""


class WrongState(Conflict):
    """The row, as it was read just now, does not allow the step: an answer, which no other try changes."""


class NoMoney(Conflict):
    """The ledger's available money does not cover the worst case of a launch."""


class NoSlot(Conflict):
    """Every slot of the fleet is taken."""


class FleetPaused(Conflict):
    """An operator paused the fleet."""


class StillServing(Conflict):
    """A runner that was called silent, or never up, was heard after all: it keeps its work."""


class StoreBusy(ArcspotError):
    """The tables, or STS, throttle or give no answer: nobody is known to have been faster."""


class StoreRefused(ArcspotError):
    """The tables refuse a request for what it is: too large, malformed, not allowed. Names the rows."""


class RowRefused(StoreRefused):
    """No row can hold this: it is too large, or a number in it is. Another request is taken all the same."""


class KeyRefused(ArcspotError):
    """No object can be kept under this key: empty, too long, no UTF-8, or `.` or `..` is a part of it."""


class LaunchRefused(ArcspotError):
    """EC2 gave no instance. Subclasses say what that asks of us.

    `codes` are EC2's own, those that decided. `certain`: it is proven that this call started nothing.
    `answered`: EC2 answered for the launch's token, so no call before with that token has either.
    """

    def __init__(
        self, words: str = "", *, codes: tuple[str, ...] = (), certain: bool = True, answered: bool = False
    ) -> None:
        super().__init__(words)
        self.codes = codes
        self.certain = certain
        self.answered = answered


class NoCapacity(LaunchRefused):
    """No capacity for any allowed type in any zone; worth another try later."""


class QuotaExceeded(LaunchRefused):
    """The account's vCPU quota is too small; a person must request more."""


class LaunchThrottled(LaunchRefused):
    """EC2 asked us to slow down; the same client token may be tried again."""


class LaunchPostponed(LaunchRefused):
    """A reason that is not known to need a person, or not known at all: tried again, ever more slowly."""


class LaunchMisconfigured(LaunchRefused):
    """Template, permission or image is proven wrong: a person must mend it. Tried once a day all the same."""


class LaunchUnknown(LaunchRefused):
    """No clear answer came back: an instance may exist, so the money stays held."""


class RunnerRefused(ArcspotError):
    """runner_api refuses a call; the runner acts on the subclass's name."""


class NotYourself(RunnerRefused):
    """The caller did not prove to be the instance it speaks for."""


class LaunchClosed(RunnerRefused):
    """The launch is over or draining; the instance should leave."""


class LeaseLost(RunnerRefused):
    """The lease ran out, its fence is stale, or the job was cancelled."""


class TooManyRequests(RunnerRefused):
    """More calls came than the door looks at: nothing was read and nothing is lost; later it answers."""


class BadRequest(RunnerRefused):
    """The request does not have the documented shape."""


class RunnerInterrupted(ArcspotError):
    """A spot interruption notice ended the runner's service."""


class RunnerGaveUp(ArcspotError):
    """The runner failed several jobs in a row and left."""


class ServiceEnded(ArcspotError):
    """The watchdog ended a runner's service, or found it ended; an execution fails by that name."""


class RunnerSilent(ServiceEnded):
    """Nothing was heard of the runner for too long, though it could have been heard."""


class DeadlinePassed(ServiceEnded):
    """The launch reached its hard deadline."""


class BootTimedOut(ServiceEnded):
    """The instance never said hello before its boot deadline."""


class GpuIdle(ServiceEnded):
    """The runner held work while its GPU did nothing."""


class InstanceGone(ServiceEnded):
    """The instance ended by itself: a crash, spot without notice, its own deadline timer."""


class ItemsFailed(ArcspotError):
    """Some items of a round failed; every other item was still handled."""

    def __init__(self, failures: dict[str, str], seen: object = None) -> None:
        self.failures = failures
        self.seen = seen  # what the round saw all the same, for the metrics
        listed = "; ".join(f"{item}: {why}" for item, why in sorted(failures.items()))
        super().__init__(f"{len(failures)} item(s) failed: {listed}")

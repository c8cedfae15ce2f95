"""A runner as the contract describes it: boots, claims, works, beats, delivers and leaves, or fails to.

The real runner (`gpu_runner`) lives in threads and real time; this is its third host's stand-in, held
to `docs/runner-contract.md`: the same verbs, the same patience, the same reasons to leave.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from arcspot.domain import results
from arcspot.domain.launching import CONTRACT, MOST_AT_ONCE
from arcspot_simulator.bucket import MemoryObjects
from arcspot_simulator.cloud import Machine, SimEc2
from arcspot_simulator.functions import FunctionFailed, Functions
from arcspot_simulator.loop import Loop
from arcspot_simulator.weather import HOUR, Sky

POLL_S = 10.0
MOST_SLOTS = 3
# A greedy runner asks for more so often, whatever it holds.
GREED = 3
BELIEVE_WITHIN_S = 45.0
PATIENCE_S = 180.0
RETRY_S = 5.0
# Until then a runner may be of a release whose contract is the one before.
UPDATED_S = 3 * HOUR
# An answer that takes longer is a fault of the world, not of the runner.
PROMPT_S = 15.0
FAILURES_IN_A_ROW = 3
ANSWER = json.dumps([{"attempt_1": [[0]], "attempt_2": [[1]]}]).encode()
PACKED = results.pack(
    {results.PREDICTION: ANSWER, results.METRICS: b"{}", results.MANIFEST: b"{}"},
)


class Unreachable(Exception):
    """No answer: the network, the door, or the function behind it."""


class Died(Exception):
    """The machine ended or froze while its runner waited for an answer: nothing after this line happens."""


class Refused(Exception):
    """runner_api said no; `name` is the error's."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


@dataclass(frozen=True, slots=True)
class Nature:
    """What a job is like, the same at each attempt: how long it takes, and how it goes wrong."""

    seconds: float
    fails: bool = False
    deadly: bool = False
    endless: bool = False


class Room(Protocol):
    """What a runner finds around it."""

    loop: Loop
    sky: Sky
    functions: Functions
    objects: MemoryObjects
    ec2: SimEc2
    rng: Random

    def nature(self, job_id: str) -> Nature: ...
    def worked_on(self, job_id: str, fence: int, task: str) -> None: ...
    def trace(self, text: str) -> None: ...


@dataclass
class Work:
    """A lease in hand and when work on it began."""

    lease: Mapping[str, Any]
    began: float


@dataclass
class SimRunner:
    """The program on one machine. `slots`: jobs it does at once; `sick_at`: the last time anything kept it
    from being well and heard."""

    room: Room
    machine: Machine
    secret: str = ""
    hands: list[Work] = field(default_factory=list)
    waiting: list[Mapping[str, Any]] = field(default_factory=list)
    alive: bool = True
    frozen: bool = False
    leaving: str = ""
    sick_at: float = -1e9
    offline_until: float = -1.0
    idle_since: float = 0.0
    idle_s: float = 120.0
    heartbeat_s: float = 20.0
    failed_in_a_row: int = 0
    deadline: float = 0.0
    stuck: bool = False
    claiming: bool = False
    polling: bool = False
    slots: int = 1
    greedy: bool = False
    asks_for_next: bool = False
    contract: int = CONTRACT
    asking: list[float] = field(default_factory=list)

    # Boot ------------------------------------------------------------------------------------------------
    def boot(self) -> None:
        weather, rng = self.room.sky.weather, self.room.rng
        self.slots = rng.randint(1, MOST_SLOTS)
        nature = Random(f"runner of {self.machine.launch_id}")
        self.greedy = nature.random() < weather.greedy
        self.asks_for_next = nature.random() < 1 - weather.earlier_runners
        # The stack was updated in its first hours: what ran before is of the last release.
        earlier = nature.random() < weather.earlier_runners and self.room.loop.now < UPDATED_S
        self.contract = CONTRACT - earlier
        self.machine.on_end = self._dies
        self.machine.on_notice = self._notice
        if self.room.sky.strikes(weather.boot_dies):
            self.sick()
            self._after(
                60 * rng.random(), "boot dies", lambda: self.room.ec2.end(self.machine, "boot failed")
            )
        elif self.room.sky.strikes(weather.boot_hangs):
            self.sick()
        else:
            # Now and then a boot takes as long as the deadline for it, or a little longer.
            slow = self.room.sky.strikes(weather.boot_slow)
            boot = (780 + 300 * rng.random()) if slow else (20 + 100 * rng.random())
            self._after(boot, "hello", lambda: self._hello(self.room.loop.now))
            for rate, act in (
                (weather.runner_freezes, self._freezes),
                (weather.runner_crashes, self._crashes),
                (weather.partitions, self._goes_offline),
            ):
                if self.room.sky.strikes(rate * 3):
                    self._after(2 * HOUR * rng.random(), act.__name__, act)

    def _hello(self, began: float) -> None:
        signed_at = int(self.room.loop.moment.timestamp())
        proof = {
            "url": f"sts://123456789012/runner-role/AROARUNNER/{self.machine.instance_id}?{signed_at}",
            "headers": {"X-Arcspot-Launch": self.machine.launch_id},
        }
        try:
            answer = self.ask(
                "hello",
                instance_id=self.machine.instance_id,
                proof=proof,
                host={},
                **({"contract": self.contract} if self.contract > 1 else {}),
            )
        except Refused:
            if self.room.loop.now - began > BELIEVE_WITHIN_S:
                self._shut_down("hello was refused")
            else:
                self._after(RETRY_S, "hello", lambda: self._hello(began))
            return
        except Unreachable:
            if self.room.loop.now - began > PATIENCE_S:
                self._shut_down("nobody answered hello")
            else:
                self._after(RETRY_S, "hello", lambda: self._hello(began))
            return
        self.secret = answer["secret"]
        self.idle_s, self.heartbeat_s = answer["idle_s"], answer["heartbeat_s"]
        self.deadline = self.room.loop.now + answer["deadline_in_s"] + self.room.sky.weather.clock_skew_s
        self.idle_since = self.room.loop.now
        self._after(self.heartbeat_s, "heartbeat", self._heartbeat)
        self._turn()

    # Work ------------------------------------------------------------------------------------------------
    def _turn(self) -> None:
        """Leave, work on what is in hand, or ask for more."""
        if not self.working:
            return
        now = self.room.loop.now
        if self.leaving:
            self._leave(self.leaving)
        elif self.claiming:
            return
        elif self.failed_in_a_row >= FAILURES_IN_A_ROW or self.room.sky.strikes(
            self.room.sky.weather.gives_up
        ):
            self._leave_when_done("gave_up")
        elif self.waiting:
            self._begin(self.waiting.pop(0))
            self._turn()
        elif now >= self.deadline - 60:
            self._leave_when_done("deadline")
        elif len(self.hands) < self.slots and not self.polling:
            self._claim(now)

    def _leave_when_done(self, why: str) -> None:
        """Jobs under way come to their end; the last of them turns here again."""
        if not self.hands:
            self._leave(why)

    def _poll(self) -> None:
        self.polling = False
        self._turn()

    def _claim(self, now: float) -> None:
        self.claiming = True
        try:
            answer = self.ask("claim", want=self.slots - len(self.hands), held=self._held())
            for _ in range(GREED if self.greedy and self.working else 0):
                answer["leases"] += self.ask("claim", want=MOST_AT_ONCE, held=self._held(answer))["leases"]
        except Refused as refused:
            self._shut_down(refused.name)
            return
        except Unreachable:
            answer = {"leases": [], "drain": False}
        finally:
            self.claiming = False
        if not self.working:
            return
        if answer["drain"] and not answer["leases"]:
            self._leave("idle")
            return
        self._take(answer)
        if self.waiting:
            self._turn()
        elif now - self.idle_since >= self.idle_s and not self.hands:
            self._leave("idle")
        else:
            self.polling = True
            self._after(POLL_S, "poll", self._poll)

    def _begin(self, lease: Mapping[str, Any]) -> None:
        work = Work(lease, self.room.loop.now)
        self.hands.append(work)
        self.room.worked_on(lease["job_id"], lease["fence"], lease["task"])
        nature = self.room.nature(lease["job_id"])
        if nature.deadly:
            self._after(nature.seconds / 2, "deadly job", self._freezes)
        elif nature.endless:
            self.stuck = True
        else:
            seconds = min(nature.seconds, lease["budget_s"])
            self._after(seconds, "job ends", lambda: self._ends(work, fails=nature.fails))

    def _ends(self, work: Work, *, fails: bool) -> None:
        if not self.working or work not in self.hands:
            return
        began = self.room.loop.now
        if fails:
            self.failed_in_a_row += 1
            self._tell(work, began, lambda: self._fail(work))
        else:
            self._tell(work, began, lambda: self._deliver(work))

    def _tell(self, work: Work, began: float, act: Callable[[], object]) -> None:
        """Deliver or fail a job, with patience."""
        if not self.working or work not in self.hands:
            return
        try:
            act()
        except Refused as refused:
            self._drop(work)
            if refused.name in ("NotYourself", "LaunchClosed"):
                self._shut_down(refused.name)
                return
        except Unreachable:
            if self.room.loop.now - began < PATIENCE_S:
                self._after(RETRY_S, "tell again", lambda: self._tell(work, began, act))
                return
            self._drop(work)
        else:
            self._drop(work)
        self.idle_since = self.room.loop.now
        self._turn()

    def _drop(self, work: Work) -> None:
        # A heartbeat that was answered meanwhile may have taken it away already.
        if work in self.hands:
            self.hands.remove(work)

    def _deliver(self, work: Work) -> None:
        if self.room.sky.strikes(self.room.sky.weather.half_uploads):
            self._upload(work, b"half of it")
            self.sick()
            self._release([work], "interrupted")
            return
        files = self._upload(work, result(**_names(work)))
        more: dict[str, Any] = {}
        if self.asks_for_next and not self.leaving and self.room.loop.now < self.deadline - 60:
            more = {"want": 0 if self.waiting else 1, "held": self._held()}
        answer = self.ask(
            "complete", **_names(work), files=files, seconds=self._spent(work), summary={}, **more
        )
        self._take(answer)
        self.failed_in_a_row = 0

    def _held(self, *answers: Mapping[str, Any]) -> list[str]:
        """The jobs it knows to be in its hands, those of answers that are not taken yet among them."""
        known = [work.lease for work in self.hands] + self.waiting
        return [lease["job_id"] for lease in [*known, *(x for each in answers for x in each["leases"])]]

    def _take(self, answer: Mapping[str, Any]) -> None:
        """Leases of an answer; one that it has already is no second one."""
        known = {(x["job_id"], x["fence"]) for x in [*(w.lease for w in self.hands), *self.waiting]}
        self.waiting += [x for x in answer.get("leases", []) if (x["job_id"], x["fence"]) not in known]

    def _upload(self, work: Work, body: bytes) -> dict[str, Any]:
        sums = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        wanted = [{"name": results.RESULT, **sums}]
        url = self.ask("uploads", **_names(work), purpose="result", files=wanted)["urls"][results.RESULT]
        self.room.objects.put(url["url"], url["headers"], body)
        return {results.RESULT: sums}

    def _fail(self, work: Work) -> None:
        self.ask("fail", **_names(work), error="ValueError", message="", seconds=self._spent(work))

    def _release(self, works: list[Work], why: str) -> None:
        leases = [{**_names(work), "seconds": self._spent(work)} for work in works]
        self.ask("release", leases=leases, why=why)

    def _heartbeat(self) -> None:
        if not self.working:
            return
        leases = [{**_names(work), "phase": "train", "fraction": 0.5} for work in self.hands]
        leases += [{"job_id": x["job_id"], "fence": x["fence"], "phase": "waits"} for x in self.waiting]
        try:
            pulse = self.ask("heartbeat", leases=leases, gpu_utilisation=0.0 if self.stuck else 90.0)
        except Refused as refused:
            self._shut_down(refused.name)
            return
        except Unreachable:
            pulse = {"lost": [], "cancelled": [], "drain": False}
        self._obey(pulse)
        self._after(self.heartbeat_s, "heartbeat", self._heartbeat)

    def _obey(self, pulse: Mapping[str, Any]) -> None:
        for work in [w for w in self.hands if w.lease["job_id"] in (*pulse["lost"], *pulse["cancelled"])]:
            self._drop(work)
            self.stuck = False
            if work.lease["job_id"] in pulse["cancelled"]:
                self._quietly(lambda work=work: self._release([work], "cancelled"))  # type: ignore[misc]
            self._after(1.0, "next", self._turn)
        if pulse["drain"] and not self.leaving:
            self.leaving = "interrupted"
            self._after(5.0, "drains", self._turn)

    # Leave -----------------------------------------------------------------------------------------------
    def _notice(self, seconds: float) -> None:
        """EC2 announces the end; the runner looks at IMDS every five seconds."""
        self.sick()
        self._after(min(5.0, seconds) * self.room.rng.random(), "notice", lambda: self._leave("interrupted"))

    def _leave(self, why: str) -> None:
        if not self.working:
            return
        works = self.hands + [Work(lease, self.room.loop.now) for lease in self.waiting]
        self.hands, self.waiting = [], []
        self.sick()
        if works:
            self._quietly(lambda: self._release(works, "interrupted" if why == "interrupted" else "draining"))
        self._quietly(lambda: self.ask("bye", why=why))
        self._shut_down(f"bye {why}")

    def _quietly(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(Refused, Unreachable):  # what the server does not take runs out by itself
            act()

    def _shut_down(self, why: str) -> None:
        """The bootstrap's trap: whatever ends the runner ends the machine."""
        self.sick()
        self.alive = False
        self.room.trace(f"{self.machine.instance_id} shuts down: {why}")
        self._after_all(5.0, "shut down", lambda: self.room.ec2.end(self.machine, why))

    # Faults ----------------------------------------------------------------------------------------------
    def _freezes(self) -> None:
        if self.working and not self.room.sky.over:
            self.room.trace(f"{self.machine.instance_id} freezes")
            self.sick()
            self.frozen = True

    def _crashes(self) -> None:
        if self.working and not self.room.sky.over:
            self._shut_down("the runner crashed")

    def _goes_offline(self) -> None:
        """A zombie: nobody hears it for up to an hour, then it comes back with what it had."""
        if self.working and not self.room.sky.over:
            self.offline_until = self.room.loop.now + HOUR * self.room.rng.random()
            self.room.trace(f"{self.machine.instance_id} is offline until {self.offline_until:.0f}")
            self.sick()

    def _dies(self) -> None:
        self.sick()
        self.alive = False

    # Plumbing --------------------------------------------------------------------------------------------
    @property
    def working(self) -> bool:
        return self.alive and not self.frozen

    def well_for(self, seconds: float) -> bool:
        """Whether nothing kept it from being well and heard for so long.

        An answer it still waits for counts as well.
        """
        now = self.room.loop.now
        waits = bool(self.asking) and now - min(self.asking) > PROMPT_S
        return self.working and not waits and now - self.sick_at > seconds

    def sick(self) -> None:
        self.sick_at = self.room.loop.now

    def ask(self, verb: str, **fields: Any) -> dict[str, Any]:
        """One request to runner_api. Raises Unreachable or Refused."""
        sky, now = self.room.sky, self.room.loop.now
        request = {"verb": verb, "launch_id": self.machine.launch_id, "secret": self.secret, **fields}
        down = sky.weather.door_down.holds(now) or self.room.functions.down or now < self.offline_until
        if down or sky.strikes(sky.weather.network_errors):
            self.sick()
            raise Unreachable(verb)
        self.asking.append(now)
        try:
            answer = self.room.functions.invoke("runner_api", request)
        except FunctionFailed as failed:
            self.sick()
            raise Unreachable(str(failed)) from failed
        finally:
            self.asking.remove(now)
        if not self.working:
            raise Died
        if self.room.loop.now - now > PROMPT_S or sky.strikes(sky.weather.network_errors):
            self.sick()
        if sky.strikes(sky.weather.network_errors):
            raise Unreachable(f"the answer to {verb} was lost")
        if not answer["ok"]:
            self.sick()
            if answer["error"] == "TooManyRequests":
                raise Unreachable(answer["message"])
            raise Refused(answer["error"], answer["message"])
        result: dict[str, Any] = answer["result"]
        return result

    def _spent(self, work: Work) -> float:
        """The job's share of the machine's seconds, as if all slots had been in use."""
        return round((self.room.loop.now - work.began) / self.slots, 3)

    def _after(self, seconds: float, name: str, act: Callable[[], object]) -> None:
        def live() -> None:
            if self.working:
                with contextlib.suppress(Died):
                    act()

        self.room.loop.after(seconds, name, live)

    def _after_all(self, seconds: float, name: str, act: Callable[[], object]) -> None:
        self.room.loop.after(seconds, name, act)


def result(job_id: str, fence: int) -> bytes:
    """`result.zip` of an attempt: no two attempts' are alike. What is before a ZIP file is no part of it."""
    return f"{job_id}/{fence}".encode() + PACKED


def _names(work: Work) -> dict[str, Any]:
    return {"job_id": work.lease["job_id"], "fence": work.lease["fence"]}

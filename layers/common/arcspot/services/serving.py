"""runner_api: the only door for an instance. Every verb of `docs/runner-contract.md`.

The verbs that give and end leases are in `claiming`, `uploading` and `finishing`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from arcspot.domain.identity import LAUNCH_HEADER, Caller, fresh
from arcspot.domain.jobs import Job
from arcspot.domain.launching import MOST_AT_ONCE, Instance, Launch, LaunchState
from arcspot.errors import BadRequest, LaunchClosed, LeaseLost, NotYourself, RunnerGaveUp
from arcspot.ports import Event, Record
from arcspot.services import launching, retiring
from arcspot.services.admitting import Admission
from arcspot.services.afterwards import recorded, said, tried
from arcspot.services.asking import (
    attempt_of,
    host_of,
    identifier,
    leases_of,
    number,
    percent,
    proof_of,
    read,
    shown,
    text,
    whole,
    word,
    words,
)
from arcspot.services.calls import Call
from arcspot.services.claiming import claim
from arcspot.services.finishing import complete, fail, release
from arcspot.services.retry import until_written
from arcspot.services.uploading import uploads

STARTED = ("pending", "running")
SERVING = (LaunchState.ACTIVE, LaunchState.DRAINING)
FAILING_BYES = {"interrupted": "RunnerInterrupted", "gave_up": "RunnerGaveUp"}
Verb = Callable[[Call, Launch, Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Door(Call):
    """One call's context, and the way in. Without an `admission` nothing is counted."""

    admission: Admission | None = None

    def handle(self, event: object) -> dict[str, Any]:
        """Answer one request, whatever it is. Raises a RunnerRefused subclass."""
        try:
            verb, launch_id, secret, request = _asked(event)
            if verb == "hello":
                self._formed(launch_id, request)
        except (BadRequest, NotYourself):
            self._admit("", "", "")  # what makes no sense is a stranger's call, and a line in the log
            raise
        self._admit(verb, launch_id, secret)
        if verb == "ping":
            return self.ping()
        if verb == "hello":
            return self.hello(launch_id, request)
        return verbs()[verb](self, self._authorised(launch_id, secret), request)

    def _admit(self, verb: str, launch_id: str, secret: str) -> None:
        """Count the call, before anything is read for it. Raises TooManyRequests."""
        if self.admission is None:
            return
        if verb == "ping":
            self.admission.ring(self.now)
        elif verb == "hello":
            self.admission.hello(self.now)
        elif secret:
            self.admission.launch(launch_id, secret, self.now)
        else:
            self.admission.stranger(self.now)

    def ping(self) -> dict[str, Any]:
        """Whether the door can do what every call needs: read a table. The watchdog asks, no runner does."""
        self.ports.store.fleet()
        return {}

    def hello(self, launch_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Let the instance in. The secret in the answer is the one that counts from here on."""
        host, contract = host_of(request), _contract_of(request)
        instance, signed_at = self._proven(launch_id, request)
        instance_id = instance.instance_id
        secret = self.new_secret()

        known = self.row(launch_id)
        if known.instance_id == instance_id and (known.price_guessed or not known.zone):
            # The last moment at which its price may change: from here on jobs are charged by it.
            launching.place(self.ports, self.settings, launch_id, instance, self.now)

        def act() -> Launch:
            row = self.row(launch_id)
            if row.secret_sha256 == _digest(secret):
                return row  # a write whose answer was lost
            if row.state is LaunchState.RESERVED:
                # The instance spoke before `launch` wrote its answer: take it over from EC2 itself.
                row = launching.adopt(self.ports, self.settings, launch_id, instance, self.now)
            greeted = row.greeted(
                instance_id=instance_id,
                secret_sha256=_digest(secret),
                host=host,
                now=self.now,
                contract=contract,
                proved_at=signed_at,
            )
            self.ports.store.write(greeted)
            return greeted

        row = until_written(act, self.ports.pause)
        recorded(self.ports, Event(f"launch#{launch_id}", self.now, "hello", host))
        # Each heartbeat that is noted answers again, for as long as the boot's token is the one kept.
        tried("the answer to the state machine", lambda: launching.answer(self.ports, self.row(launch_id)))
        return {
            "secret": secret,
            "deadline_in_s": self.left(row),
            "idle_s": self.settings.idle_s,
            "heartbeat_s": self.settings.beat_s,
            "lease_s": self.settings.lease_s,
            "parallel": MOST_AT_ONCE,
        }

    def _formed(self, launch_id: str, request: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
        """The instance that a hello speaks of, and its proof's URL and headers, if all of it has its form.

        Nobody is asked for it. Raises BadRequest and NotYourself.
        """
        host_of(request), _contract_of(request)
        claimed = identifier(request, "instance_id")
        url, headers = proof_of(request)
        if headers.get(LAUNCH_HEADER) != launch_id:
            raise NotYourself("the proof was not signed for this launch")
        self.ports.identity.formed(url, headers)
        return claimed, url, headers

    def _proven(self, launch_id: str, request: Mapping[str, Any]) -> tuple[Instance, datetime | None]:
        """The instance that STS, EC2 and the request agree on, and when it signed. Raises NotYourself."""
        claimed, url, headers = self._formed(launch_id, request)
        try:
            caller = self.ports.identity.caller(url, headers)
        except ValueError as error:
            raise NotYourself(f"the proof cannot be read: {shown(str(error))}") from error
        expected = Caller(
            account=self.settings.account_id,
            role=self.settings.runner_role,
            role_id=self.settings.runner_role_id,
            session=claimed,
        )
        if caller != expected:
            raise NotYourself(f"STS knows the caller as {shown(str(caller), 300)}, not as {claimed}")
        if caller.signed_at is not None and not fresh(caller.signed_at, self.now):
            raise NotYourself(f"the proof was signed at {caller.signed_at:%Y-%m-%d %H:%M:%S}, not just now")
        instance = self.ports.compute.instance(claimed)
        if instance is None or instance.launch_id != launch_id:
            raise NotYourself(f"EC2 does not show {claimed} as the instance of launch {launch_id}")
        if instance.state not in STARTED:
            # Its credentials outlive it by hours, wherever they are.
            raise NotYourself(f"EC2 shows {claimed} as {instance.state}: it begins no work any more")
        return instance, caller.signed_at

    def _authorised(self, launch_id: str, secret: str) -> Launch:
        """The launch, if the secret is its own. Every call begins with it, so it is read at half the price:
        what is decided on a row that changed a moment ago cannot be written."""
        try:
            return self._let_in(launch_id, secret, self.ports.store.launch(launch_id, fresh=False))
        except (LaunchClosed, NotYourself):  # by a row that may be older than its hello
            return self._let_in(launch_id, secret, self.row(launch_id))

    def _let_in(self, launch_id: str, secret: str, row: Launch | None) -> Launch:
        if row is None:
            raise LaunchClosed(f"there is no launch {launch_id}")
        if not row.secret_sha256 or not hmac.compare_digest(row.secret_sha256, _digest(secret)):
            raise NotYourself(f"wrong secret for launch {launch_id}")
        if self.admission:
            self.admission.proved(launch_id, secret, self.now)
        if row.state not in SERVING:
            raise LaunchClosed(f"launch {launch_id} is {row.state}")
        return row


def heartbeat(call: Call, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the leases; tell which are lost or cancelled. One that cannot be kept just now stops no other."""
    progress = [
        (
            *attempt_of(lease),
            words(lease, "phase", most=40),
            min(1.0, number(lease, "fraction")) if lease.get("fraction") is not None else 0.0,
        )
        for lease in leases_of(request)
    ]
    gpu = percent(request, "gpu_utilisation")
    lost: list[str] = []
    cancelled: list[str] = []
    held = sorted(call.held(row, [job_id for job_id, *_ in progress]))
    known = call.ports.store.jobs(held, fresh=False) if held else {}
    fresh: dict[str, Job | None] = {}
    for job_id, fence, phase, fraction in progress:
        if job_id not in held:
            lost.append(job_id)
            continue
        try:
            seen = known.get(job_id)
            if seen is None or not seen.leased_to(row.launch_id, fence):
                # Once, under however many fences it is named.
                if job_id not in fresh:
                    fresh[job_id] = call.ports.store.job(job_id)
                seen = fresh[job_id]
            if seen is None or not seen.leased_to(row.launch_id, fence):
                raise LeaseLost(f"job {job_id} is not leased under fence {fence}")
            extend = partial(_extend, call, row, [seen], job_id, fence, phase, fraction)
            until_written(extend, call.ports.pause)
        except LeaseLost:
            if job_id not in fresh:
                fresh[job_id] = call.ports.store.job(job_id)
            job = fresh[job_id]
            (cancelled if job is not None and job.cancelled else lost).append(job_id)
        except Exception as error:
            said(f"extending the lease on {job_id}", error)  # the next heartbeat does it
    call.heard(row, gpu)
    draining = row.drain or row.state is not LaunchState.ACTIVE
    return {"lost": lost, "cancelled": cancelled, "drain": draining, "deadline_in_s": call.left(row)}


def _extend(
    call: Call, row: Launch, seen: list[Job], job_id: str, fence: int, phase: str, fraction: float
) -> None:
    job = seen.pop() if seen else call.job(job_id)
    extended = job.extended(
        launch_id=row.launch_id,
        fence=fence,
        now=call.now,
        lease_seconds=call.settings.lease_s,
        phase=phase,
        fraction=fraction,
    )
    if extended is not job:
        call.ports.store.write(extended)


def bye(call: Call, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take back what is leased, give the launch no more work, tell the state machine why it ended."""
    why = word(request, "why")

    def act() -> Launch:
        retiring.reclaim_jobs(
            call.ports, call.row(row.launch_id), reason="its runner left", silent=False, now=call.now
        )
        current = call.row(row.launch_id)
        leaving = current.draining(reason=why)
        changed: list[Record] = [leaving] if leaving != current else []
        if why == "gave_up":
            # In one write: a launch that gave up is not replaced at once, whatever fails after this.
            gave_up = RunnerGaveUp(f"{current.instance_id} could not work; see logs/")
            changed += launching.tripped(call.ports, gave_up, call.now)
        if changed:
            call.ports.store.write(*changed)
        return leaving

    left = until_written(act, call.ports.pause)
    recorded(call.ports, Event(f"launch#{row.launch_id}", call.now, "bye", why))
    # The watchdog retires a launch that is DRAINING, whatever the state machine knows of it.
    if why in FAILING_BYES:
        cause = f"{left.instance_id}: {why}"
        tried(
            "the answer to the state machine",
            lambda: launching.end(call.ports, left, FAILING_BYES[why], cause),
        )
    else:
        tried("the answer to the state machine", lambda: launching.answer(call.ports, left))
    # Both look within the minute anyway.
    tried("kicking report", lambda: call.ports.kick("report"))
    if why != "idle":
        tried("kicking scale", lambda: call.ports.kick("scale"))
    return {}


def verbs() -> Mapping[str, Verb]:
    """What a launch may ask with its secret."""
    return {
        "claim": claim,
        "heartbeat": heartbeat,
        "uploads": uploads,
        "complete": complete,
        "fail": fail,
        "release": release,
        "bye": bye,
    }


def _asked(event: object) -> tuple[str, str, str, Mapping[str, Any]]:
    """Verb, launch and secret of a request, "" for what its verb does without. Raises BadRequest."""
    request = read(event)
    verb = text(request, "verb")
    if verb == "ping":
        return verb, "", "", request
    if verb not in verbs() and verb != "hello":
        raise BadRequest(f"verb: expected one of hello, {', '.join(verbs())}, found {shown(verb)}")
    launch_id = identifier(request, "launch_id")
    return verb, launch_id, "" if verb == "hello" else text(request, "secret"), request


def _contract_of(request: Mapping[str, Any]) -> int:
    """The contract that a runner keeps to; one of an earlier release does not say."""
    return whole(request, "contract", least=1) if request.get("contract") is not None else 1


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

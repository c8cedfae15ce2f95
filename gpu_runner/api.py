"""A typed client of `runner_api`: one Lambda function, invoked synchronously.

A call that fails in transport, is throttled or answers with a function error is tried
again with full jitter (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/)
for at most a minute, one that is asked to wait for ten: every verb may be repeated without harm. Any
other refusal is never retried.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from arcspot import errors
from arcspot.domain import documents
from arcspot.domain.launching import CONTRACT
from gpu_runner.contract import (
    ByeWhy,
    Claimed,
    Completed,
    FileFact,
    Json,
    Lease,
    Progress,
    Pulse,
    Purpose,
    ReleaseWhy,
    Returned,
    Terms,
    UploadTarget,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S = 60.0
HURRIED_PATIENCE_S = 10.0
WAITING_PATIENCE_S = 600.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
MOST_BYTES = 8 * 1024 * 1024  # Lambda answers with 6 MB at most

REFUSALS: Mapping[str, type[errors.RunnerRefused]] = {
    refusal.__name__: refusal
    for refusal in (errors.NotYourself, errors.LaunchClosed, errors.LeaseLost, errors.BadRequest)
}


class ApiSilent(errors.ArcspotError):
    """`runner_api` gave no usable answer for as long as we were willing to ask."""


class CallFailed(errors.ArcspotError):
    """One call got no answer from our function: worth another try."""


class AskedToWait(CallFailed):
    """The door has more calls than it looks at. It is well, and lost nothing: there is time."""


class Invoke(Protocol):
    """Send a request, get the answer's body. Raises CallFailed when there is none."""

    def __call__(self, request: bytes) -> bytes: ...


@dataclass(slots=True)
class RunnerApi:
    """`gpu_runner.contract.Api` over an `Invoke`. Safe to use from several threads.

    Raises the `RunnerRefused` subclass the server names, and ApiSilent once patience ends.
    """

    invoke: Invoke
    launch_id: str
    now: Callable[[], float]
    sleep: Callable[[float], object]
    rng: random.Random = field(default_factory=random.Random)
    patience_s: float = PATIENCE_S
    secret: str = ""

    def hello(self, *, instance_id: str, prove: Callable[[], Json], host: Json) -> Terms:
        """Introduce ourselves. `prove` is called for each try: a proof lives 60 s only."""
        about: Json = {"instance_id": instance_id, "host": host, "contract": CONTRACT}
        result = self._call("hello", lambda: about | {"proof": prove()})
        terms = _read(Terms.read, result)
        self.secret = terms.secret
        return terms

    def claim(self, *, want: int, held: Sequence[str] | None = None) -> Claimed:
        known: Json = {} if held is None else {"held": list(held)}
        return _read(Claimed.read, self._call("claim", lambda: {"want": want} | known))

    def heartbeat(self, *, leases: Sequence[Progress], gpu_utilisation: float | None) -> Pulse:
        asks = {"leases": [each.to_json() for each in leases], "gpu_utilisation": gpu_utilisation}
        return _read(Pulse.read, self._call("heartbeat", lambda: asks))

    def uploads(
        self, *, lease: Lease | None, purpose: Purpose, files: Sequence[FileFact]
    ) -> Mapping[str, UploadTarget]:
        asks: Json = {
            "purpose": purpose,
            "files": [{"name": f.name, "bytes": f.size, "sha256": f.sha256} for f in files],
        }
        if lease is not None:
            asks |= _names(lease)
        return _read(_targets, self._call("uploads", lambda: asks))

    def complete(
        self,
        *,
        lease: Lease,
        files: Sequence[FileFact],
        seconds: float,
        summary: Json,
        want: int | None = None,
        held: Sequence[str] | None = None,
    ) -> Completed:
        """Commit a result, and claim up to `want` further jobs in the same call."""
        sums = {f.name: {"bytes": f.size, "sha256": f.sha256} for f in files}
        asks = _names(lease) | {"files": sums, "seconds": round(seconds, 3), "summary": summary}
        if want is not None:
            asks |= {"want": want, "held": list(held or ())}
        return _read(Completed.read, self._call("complete", lambda: asks))

    def fail(self, *, lease: Lease, error: str, message: str, seconds: float) -> str:
        asks = _names(lease) | {"error": error, "message": message, "seconds": round(seconds, 3)}
        return _read(lambda result: str(result["state"]), self._call("fail", lambda: asks))

    def release(self, *, leases: Sequence[Returned], why: ReleaseWhy) -> None:
        """Give jobs back, each with the seconds spent on it and what its next runner may go on from."""
        rows = [each.to_json() for each in leases]
        self._call("release", lambda: {"leases": rows, "why": why})

    def bye(self, *, why: ByeWhy) -> None:
        self._call("bye", lambda: {"why": why})

    def hurry(self) -> None:
        """From now on lose patience soon: after a spot notice a minute is all we have."""
        self.patience_s = min(self.patience_s, HURRIED_PATIENCE_S)

    def _call(self, verb: str, asks: Callable[[], Json]) -> Json:
        """Ask until there is an answer or patience ends; raise what the server refuses with."""
        began, tries = self.now(), 0
        while True:
            tries += 1
            request = {"verb": verb, "launch_id": self.launch_id} | asks()
            if verb != "hello":
                request["secret"] = self.secret
            try:
                return read_answer(self.invoke(json.dumps(request, allow_nan=False).encode()))
            except CallFailed as failure:
                pause = self.rng.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**tries))
                if self.now() - began + pause >= self._patience(failure):
                    raise ApiSilent(f"{verb} got no answer in {tries} tries: {failure}") from failure
                log.warning("%s failed (%s), again in %.1f s", verb, failure, pause)
                self.sleep(pause)

    def _patience(self, failure: CallFailed) -> float:
        """How long a call is tried. What only has to wait ends no job, unless the machine is about to go."""
        hurried = self.patience_s <= HURRIED_PATIENCE_S
        return WAITING_PATIENCE_S if isinstance(failure, AskedToWait) and not hurried else self.patience_s


def _read(reader: Callable[[Json], T], result: Json) -> T:
    """What an answer's result says. Raises ApiSilent for one that has not the documented shape."""
    try:
        return reader(result)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as fault:
        raise ApiSilent(
            f"the answer has not the documented shape ({fault!r:.100}): {result!r:.200}"
        ) from fault


def _targets(result: Json) -> Mapping[str, UploadTarget]:
    return {
        name: UploadTarget(str(each["url"]), {str(k): str(v) for k, v in (each.get("headers") or {}).items()})
        for name, each in result["urls"].items()
    }


def read_answer(body: bytes) -> Json:
    """Unpack `{"ok": …}`; raises the named RunnerRefused, or CallFailed for anything else."""
    try:
        answer = documents.parsed(body, most=MOST_BYTES)
        if answer["ok"]:
            result = answer["result"]
            if not isinstance(result, dict):
                raise CallFailed(f"the answer's result is no object: {result!r:.200}")
            return result
        name, message = str(answer["error"]), str(answer.get("message", ""))
    except (ValueError, KeyError, TypeError) as fault:
        raise CallFailed(f"the answer has not the documented shape: {body!r:.200}") from fault
    refusal = REFUSALS.get(name)
    if name == errors.TooManyRequests.__name__:
        raise AskedToWait(f"{name}: {message}")
    if refusal is None:
        raise CallFailed(f"{name}: {message}")
    raise refusal(message)


def _names(lease: Lease) -> Json:
    return {"job_id": lease.job_id, "fence": lease.fence}


def lambda_invoke(client: Any, function_name: str) -> Invoke:
    """An Invoke over a boto3 Lambda client. A function error is a failed call."""
    from botocore.exceptions import BotoCoreError, ClientError

    def invoke(request: bytes) -> bytes:
        try:
            answer = client.invoke(FunctionName=function_name, Payload=request)
            body: bytes = answer["Payload"].read()
        except (BotoCoreError, ClientError, OSError) as fault:
            raise CallFailed(f"{type(fault).__name__}: {fault}") from fault
        if answer.get("FunctionError"):
            raise CallFailed(f"function error: {body.decode(errors='replace')[:300]}")
        return body

    return invoke

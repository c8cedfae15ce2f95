"""Drive the real services over a fake world, the way Lambda, Step Functions and a runner would."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from arcspot.domain import results
from arcspot.domain.launching import CONTRACT
from arcspot.ports import Ports
from arcspot.services import ingesting, launching, retiring, scaling, watching
from arcspot.services.serving import Door
from arcspot.settings import Settings

from .memory import World, settings

GOOD_TASK = {
    "train": [{"input": [[1, 2]], "output": [[2, 1]]}, {"input": [[3, 4]], "output": [[4, 3]]}],
    "test": [{"input": [[5, 6]]}],
}

ANSWER = [{"attempt_1": [[0]], "attempt_2": [[1]]}]


def task(seed: int) -> dict[str, Any]:
    """A valid task that no other seed gives."""
    cells = [[(seed // 10**n) % 10 for n in range(6)]]
    return {"train": [{"input": cells, "output": cells}], "test": [{"input": cells}]}


@dataclass
class Runner:
    """A runner's side of the contract."""

    stack: Stack
    launch_id: str
    instance_id: str
    secret: str = ""

    def ask(self, verb: str, **more: Any) -> dict[str, Any]:
        request = {"verb": verb, "launch_id": self.launch_id, "secret": self.secret, **more}
        return self.stack.door().handle(request)

    def hello(
        self,
        *,
        account: str = "123456789012",
        role: str = "runner-role",
        role_id: str = "AROARUNNER",
        session: str | None = None,
        signed_for: str | None = None,
        signed_ago_s: float | None = None,
    ) -> None:
        moment = self.stack.world.now.timestamp() - (signed_ago_s or 0)
        at = "" if signed_ago_s is None else f"?{moment}"
        proof = {
            "url": f"sts://{account}/{role}/{role_id}/{session or self.instance_id}{at}",
            "headers": {"X-Arcspot-Launch": signed_for or self.launch_id},
        }
        answer = self.ask(
            "hello", instance_id=self.instance_id, proof=proof, host={"device": "fake"}, contract=CONTRACT
        )
        self.secret = answer["secret"]

    def claim(self, want: int = 1) -> list[dict[str, Any]]:
        leases: list[dict[str, Any]] = self.ask("claim", want=want)["leases"]
        return leases

    def complete(self, lease: dict[str, Any], seconds: float = 5.0) -> dict[str, Any]:
        return self.ask(
            "complete",
            job_id=lease["job_id"],
            fence=lease["fence"],
            files=self.upload(lease),
            seconds=seconds,
            summary={"device": "fake"},
        )

    def upload(self, lease: dict[str, Any]) -> dict[str, Any]:
        bodies = {results.RESULT: result_of(lease["job_id"])}
        files = {name: sums_of(body) for name, body in bodies.items()}
        urls = self.ask(
            "uploads",
            job_id=lease["job_id"],
            fence=lease["fence"],
            purpose="result",
            files=[{"name": name, **sums} for name, sums in files.items()],
        )["urls"]
        for name, body in bodies.items():
            self.stack.world.objects.put(urls[name]["url"], urls[name]["headers"], body)
        return files


def sums_of(body: bytes) -> dict[str, Any]:
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def result_of(job_id: str, prediction: object = ANSWER) -> bytes:
    """`result.zip` as a runner packs it; `prediction` may be anything JSON can say."""
    files = {"metrics.json": b"{}", "prediction.json": json.dumps(prediction).encode()}
    manifest = {"job_id": job_id, "files": {name: sums_of(body) for name, body in files.items()}}
    return results.pack({**files, "manifest.json": json.dumps(manifest).encode()})


@dataclass
class Stack:
    """A deployed stack, without the deploying."""

    settings: Settings = field(default_factory=settings)
    world: World = field(default_factory=World)
    ids: Any = field(default_factory=lambda: count(1))
    secrets: Any = field(default_factory=lambda: count(1))

    @property
    def ports(self) -> Ports:
        return self.world.ports

    def door(self) -> Door:
        return Door(
            ports=self.ports,
            settings=self.settings,
            now=self.world.now,
            new_secret=lambda: f"secret-{next(self.secrets)}",
        )

    def drop(self, key: str, body: bytes | dict[str, Any], **more: Any) -> ingesting.Outcome:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.world.objects.dropped(key, raw)
        dropped = ingesting.Dropped(key=key, size=len(raw), **more)
        return ingesting.ingest(self.ports, self.settings, dropped, self.world.now)

    def scale(self) -> list[str]:
        return scaling.scale(
            self.ports, self.settings, self.world.now, new_id=lambda now: f"launch-{next(self.ids):03d}"
        )[1]

    def launch(self, launch_id: str) -> dict[str, Any]:
        return launching.launch(self.ports, self.settings, launch_id, self.world.now)

    def boot(self, launch_id: str) -> Runner:
        """Launch, and let the instance say hello."""
        runner = Runner(self, launch_id, self.launch(launch_id)["instance_id"])
        runner.hello()
        return runner

    def retire(self, launch_id: str, *, reason: str = "served", silent: bool = False) -> int:
        """What the state machine does at the end of a life."""
        retiring.reclaim(self.ports, launch_id, reason=reason, silent=silent, now=self.world.now)
        retiring.terminate(self.ports, launch_id, self.world.now)
        assert retiring.gone(self.ports, launch_id, self.world.now)
        return retiring.settle(self.ports, self.settings, launch_id, silent=silent, now=self.world.now)

    def watch(self, *, slow: bool = False) -> watching.Round:
        return watching.watch(self.ports, self.settings, self.world.now, slow=slow)

    def one_running(self) -> Runner:
        """One dropped task, one launch, one runner that said hello."""
        self.drop("tasks/b/one.json", GOOD_TASK)
        (launch_id,) = self.scale()
        return self.boot(launch_id)

    @property
    def books(self) -> tuple[int, int, int, int]:
        """cap, available, reserved, settled of the month."""
        ledger = self.world.store.ledger(self.world.now.strftime("%Y-%m"))
        assert ledger is not None
        assert ledger.balanced
        return ledger.cap, ledger.available, ledger.reserved, ledger.settled

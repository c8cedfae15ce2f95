"""Small real classes that stand in for what surrounds the runner. No test waits on real time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from arcspot.errors import LeaseLost
from gpu_runner.board import Board
from gpu_runner.contract import (
    Claimed,
    Completed,
    FileFact,
    JobConfig,
    Json,
    Lease,
    Left,
    Progress,
    Pulse,
    Returned,
    Terms,
    UploadTarget,
)
from gpu_runner.loop import Bench
from gpu_runner.solving import Solved, Stopped
from gpu_runner.work import Delivered


class Clock:
    """Time that passes only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def lease(job: str = "job-1", *, fence: int = 1, budget_s: float = 60.0, model: str = "auto") -> Lease:
    config = JobConfig(seed=7, budget_s=budget_s, model=model)
    return Lease(job, f"task-{job}", fence, config, "", f"http://s3/{job}", None, budget_s)


class FakeApi:
    """A server with a queue of jobs. Knows which lease is out and how each one ended."""

    def __init__(self, jobs: Sequence[Lease] = ()) -> None:
        self.queue = list(jobs)
        self.out: dict[str, Lease] = {}
        self.ended: list[tuple[str, str]] = []
        self.byes: list[str] = []
        self.failures: list[tuple[str, str, str]] = []
        self.summaries: dict[str, Json] = {}
        self.spent: dict[str, float] = {}
        self.left: dict[str, Left | None] = {}
        self.beats: list[list[Progress]] = []
        self.uploaded: list[tuple[str, list[str]]] = []
        self.pulse = Pulse((), (), False, 3600.0)
        self.raises: dict[str, Exception] = {}
        self.drain_after_claim = False
        self.hurried = False
        self.claims = 0
        self.told_held: list[list[str]] = []
        self.wanted: list[int] = []
        self.lends_with_results = False  # a server of an earlier release lends nothing with a result
        self.drains_with_results = False
        self.events: list[str] = []

    def _ask(self, verb: str) -> None:
        self.events.append(verb)
        if verb in self.raises:
            raise self.raises[verb]

    def _end(self, one: Lease, how: str) -> None:
        if self.out.get(one.job_id) != one:
            raise LeaseLost(f"{one.job_id} is not out")
        del self.out[one.job_id]
        self.ended.append((one.job_id, how))

    def claim(self, *, want: int, held: Sequence[str]) -> Claimed:
        self.claims += 1
        self.told_held.append(list(held))
        self._ask("claim")
        return Claimed(self._lend(want), self.drain_after_claim)

    def _lend(self, want: int) -> tuple[Lease, ...]:
        given = [self.queue.pop(0) for _ in range(min(want, len(self.queue)))]
        self.out |= {each.job_id: each for each in given}
        return tuple(given)

    def heartbeat(self, *, leases: Sequence[Progress], gpu_utilisation: float | None) -> Pulse:
        self._ask("heartbeat")
        self.beats.append(list(leases))
        return self.pulse

    def uploads(
        self, *, lease: Lease | None, purpose: str, files: Sequence[FileFact]
    ) -> Mapping[str, UploadTarget]:
        self._ask("uploads")
        self.uploaded.append((purpose, [each.name for each in files]))
        return {each.name: UploadTarget(f"http://s3/{each.name}", {"x-sum": each.sha256}) for each in files}

    def complete(
        self,
        *,
        lease: Lease,
        files: Sequence[FileFact],
        seconds: float,
        summary: Json,
        want: int,
        held: Sequence[str],
    ) -> Completed:
        self._ask("complete")
        self._end(lease, "done")
        self.summaries[lease.job_id] = summary
        self.wanted.append(want)
        given = self._lend(want) if self.lends_with_results else ()
        return Completed(f"results/{lease.job_id}/{lease.fence}/", Claimed(given, self.drains_with_results))

    def fail(self, *, lease: Lease, error: str, message: str, seconds: float) -> str:
        self._ask("fail")
        self._end(lease, "failed")
        self.failures.append((lease.job_id, error, message))
        return "READY"

    def release(self, *, leases: Sequence[Returned], why: str) -> None:
        self._ask("release")
        for each in leases:
            self._end(each.lease, why)
            self.spent[each.lease.job_id] = each.seconds
            self.left[each.lease.job_id] = each.left

    def bye(self, *, why: str) -> None:
        self._ask("bye")
        self.byes.append(why)

    def hurry(self) -> None:
        self.hurried = True


class FakeWork:
    """Works `takes` seconds a job in steps of one; `at_step` and `does` let a test interfere."""

    def __init__(self, clock: Clock, *, takes: float = 10.0) -> None:
        self.clock, self.takes = clock, takes
        self.at_step: Callable[[Lease, int], None] = lambda lease, step: None
        self.does: dict[str, Exception] = {}
        self.seconds: dict[str, float] = {}

    def __call__(
        self,
        lease: Lease,
        *,
        seconds: float,
        progress: Callable[[str, float], None],
        should_stop: Callable[[], bool],
    ) -> Delivered:
        self.seconds[lease.job_id] = seconds
        for step in range(int(min(self.takes, seconds))):
            self.at_step(lease, step)
            if should_stop():
                raise Stopped("asked to")
            progress("adapting", step / self.takes)
            self.clock.sleep(1.0)
        if lease.job_id in self.does:
            raise self.does[lease.job_id]
        return Delivered((), {"answered": 1})


class Rig:
    """A bench with a fake around every side of the loop."""

    def __init__(
        self, *jobs: Lease, deadline_in_s: float = 3600.0, parallel: int = 1, takes: float = 10
    ) -> None:
        self.clock = Clock()
        self.api = FakeApi(jobs)
        self.work = FakeWork(self.clock, takes=takes)
        self.board = Board(deadline_at=self.clock.now() + deadline_in_s)
        terms = Terms("s", deadline_in_s, 30.0, 20.0, 120.0, parallel)
        self.bench = Bench(
            self.api, self.work, self.board, terms, self.clock.now, self.clock.sleep, at_once=parallel
        )


class FakeImds:
    """An IMDSv2 on a real socket: a token first, 401 without it, 404 for what is not there."""

    def __init__(self) -> None:
        self.documents = {
            "meta-data/instance-id": "i-0123",
            "meta-data/tags/instance/arcspot:launch": "launch-1",
        }
        self.tokens: set[str] = set()
        imds = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def answer(self, code: int, body: str = "") -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_PUT(self) -> None:
                token = f"token-{len(imds.tokens)}"
                imds.tokens = {token}
                self.answer(200, token)

            def do_GET(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") not in imds.tokens:
                    return self.answer(401)
                path = self.path.removeprefix("/latest/")
                found = imds.documents.get(path)
                return self.answer(404) if found is None else self.answer(200, found)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class FakeTransfer:
    """Objects by URL; remembers what was delivered, in order."""

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self.objects = dict(objects or {})
        self.put: list[tuple[str, bytes]] = []

    def fetch(self, url: str, *, max_bytes: int) -> bytes:
        return self.objects[url]

    def deliver(self, files: Sequence[FileFact], targets: Mapping[str, UploadTarget]) -> None:
        for each in files:
            assert targets[each.name].url
            self.put.append((each.name, each.path.read_bytes()))


class FakeSolver:
    """Answers every test input with a fixed pair and keeps the task it was shown."""

    def __init__(self) -> None:
        self.saw: list[Json] = []
        self.budgets: list[tuple[float, float]] = []
        self.found: list[bytes | None] = []
        self.leaves = b"the state so far"
        self.metrics: dict[str, Any] = {"loss": [1.0, float("nan")], "confidence": 0.5}

    def __call__(
        self,
        task: Json,
        *,
        seconds: float,
        here: float,
        seed: int,
        model: Path | None,
        keep: Path,
        progress: Any,
        should_stop: Any,
    ) -> Solved:
        self.saw.append(task)
        self.budgets.append((seconds, here))
        self.found.append(keep.read_bytes() if keep.exists() else None)
        progress("adapting", 0.5)
        if should_stop():
            keep.write_bytes(self.leaves)
            raise Stopped("asked to")
        attempts = tuple((((1, 2),), ((3, 4),)) for _ in task["test"])
        return Solved(attempts, self.metrics, lambda path: path.write_bytes(b"weights") and None)

"""runner_api: the only door for an instance. Every verb of `docs/runner-contract.md`."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from arcspot.domain.budget import share_usd_micros
from arcspot.domain.identity import Caller
from arcspot.domain.jobs import Estimate, Job, JobState
from arcspot.domain.launching import Instance, Launch, LaunchState
from arcspot.errors import BadRequest, Conflict, LaunchClosed, LeaseLost, NotYourself, RunnerGaveUp, StoreBusy
from arcspot.ports import Event, Ports
from arcspot.services import checkpoints, launching, retiring
from arcspot.services.asking import leases_of, number, percent, summary_of, sums, text
from arcspot.services.retry import until_written
from arcspot.services.scaling import estimate_key
from arcspot.settings import Settings

UPLOAD_SECONDS = 15 * 60
# A heartbeat is written down once in this share of the time after which a runner counts as silent.
NOTED_SHARE = 0.1
DOWNLOAD_SECONDS = 60 * 60
# Jobs that one runner may hold: each of them is an interruption when its machine goes.
MOST_AT_ONCE = 8
REQUIRED_FILES = ("prediction.json", "metrics.json", "manifest.json")
SERVING = (LaunchState.ACTIVE, LaunchState.DRAINING)
FAILING_BYES = {"interrupted": "RunnerInterrupted", "gave_up": "RunnerGaveUp"}


@dataclass(frozen=True, slots=True)
class Door:
    """One call's context. `new_secret` gives fresh randomness; `now` is the server's clock."""

    ports: Ports
    settings: Settings
    now: datetime
    new_secret: Callable[[], str]

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request. Raises a RunnerRefused subclass."""
        verb = text(request, "verb")
        if verb == "ping":
            return self.ping()
        launch_id = text(request, "launch_id")
        if verb == "hello":
            return self.hello(launch_id, request)
        verbs = {
            "claim": self.claim,
            "heartbeat": self.heartbeat,
            "uploads": self.uploads,
            "complete": self.complete,
            "fail": self.fail,
            "release": self.release,
            "bye": self.bye,
        }
        if verb not in verbs:
            raise BadRequest(f"verb: expected one of hello, {', '.join(verbs)}, found {verb!r}")
        return verbs[verb](self._authorised(launch_id, text(request, "secret")), request)

    def ping(self) -> dict[str, Any]:
        """Whether the door can do what every call needs: read a table. The watchdog asks, no runner does."""
        self.ports.store.fleet()
        return {}

    def hello(self, launch_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        instance = self._proven(launch_id, request)
        instance_id = instance.instance_id
        secret = self.new_secret()
        host = json.dumps(request.get("host", {}), sort_keys=True)[:1000]

        known = self._row(launch_id)
        if known.instance_id == instance_id and (known.price_guessed or not known.zone):
            # The last moment at which its price may change: from here on jobs are charged by it.
            launching.place(self.ports, self.settings, launch_id, instance, self.now)

        def act() -> Launch:
            row = self._row(launch_id)
            if row.state is LaunchState.RESERVED:
                # The instance spoke before `launch` wrote its answer: take it over from EC2 itself.
                row = launching.adopt(self.ports, self.settings, launch_id, instance, self.now)
            greeted = row.greeted(
                instance_id=instance_id, secret_sha256=_digest(secret), host=host, now=self.now
            )
            self.ports.store.write(greeted)
            return greeted

        row = until_written(act, self.ports.pause)
        self.ports.store.record(Event(f"launch#{launch_id}", self.now, "hello", host))
        launching.answer(self.ports, self._row(launch_id))
        return {
            "secret": secret,
            "deadline_in_s": self._left(row),
            "idle_s": self.settings.idle_s,
            "heartbeat_s": self.settings.beat_s,
            "lease_s": self.settings.lease_s,
            "parallel": MOST_AT_ONCE,
        }

    def claim(self, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
        if row.drain or row.state is not LaunchState.ACTIVE:
            return {"leases": [], "drain": True}
        want = max(1, min(MOST_AT_ONCE, int(number(request, "want"))))
        leases: list[dict[str, Any]] = []
        for job in self.ports.store.ready_jobs(want + 8, self.now):
            if len(leases) == want:
                break
            try:
                claimed = until_written(
                    lambda job=job: self._claim(row.launch_id, job.job_id),  # type: ignore[misc]
                    self.ports.pause,
                )
            except LaunchClosed:
                return {"leases": leases, "drain": True}
            except Conflict:
                continue
            except StoreBusy:
                if not leases:
                    raise
                break  # what was claimed must reach its runner: nobody else will work on it
            leases.append(self._lease(claimed))
        self._beat(row)
        return {"leases": leases, "drain": False}

    def heartbeat(self, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
        lost: list[str] = []
        cancelled: list[str] = []
        for lease in leases_of(request):
            job_id = text(lease, "job_id")
            try:
                until_written(
                    lambda lease=lease: self._extend(row.launch_id, lease),  # type: ignore[misc]
                    self.ports.pause,
                )
            except LeaseLost:
                job = self.ports.store.job(job_id)
                (cancelled if job is not None and job.cancelled else lost).append(job_id)
        self._beat(row, gpu_utilisation=percent(request, "gpu_utilisation"))
        draining = row.drain or row.state is not LaunchState.ACTIVE
        return {"lost": lost, "cancelled": cancelled, "drain": draining, "deadline_in_s": self._left(row)}

    def uploads(self, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
        purpose = text(request, "purpose")
        if purpose == "log":
            prefix = f"logs/{row.launch_id}/"
        else:
            job, fence = self._held(row, request)
            prefixes = {
                "result": result_prefix(job.job_id, fence),
                "checkpoint": checkpoints.prefix(job.job_id, fence),
            }
            if purpose not in prefixes:
                raise BadRequest(f"purpose: expected result, checkpoint or log, found {purpose!r}")
            prefix = prefixes[purpose]
        urls = {}
        for name, (size, sha256) in sums(request.get("files")).items():
            url, headers = self.ports.objects.presign_put(
                prefix + name, sha256_hex=sha256, size=size, seconds=UPLOAD_SECONDS
            )
            urls[name] = {"url": url, "headers": dict(headers)}
        return {"urls": urls}

    def complete(self, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
        job_id, fence = text(request, "job_id"), int(number(request, "fence"))
        prefix = result_prefix(job_id, fence)
        summary = summary_of(request)
        self._uploaded(prefix, sums(request.get("files")))
        seconds = number(request, "seconds")

        def act() -> bool:
            job = self._job(job_id)
            if job.state is JobState.DONE and job.result_prefix == prefix:
                return False
            done = job.completed(
                launch_id=row.launch_id,
                fence=fence,
                now=self.now,
                seconds=seconds,
                result_prefix=prefix,
                summary=summary,
                cost=self._cost(row, seconds),
            )
            self.ports.store.write(done, self._row(row.launch_id).returned(job_id))
            return True

        if until_written(act, self.ports.pause):
            self.ports.store.record(
                Event(f"job#{job_id}", self.now, "done", f"{seconds:.1f} s on {row.launch_id}")
            )
            self._observe(seconds)
            launching.close_breaker(self.ports, after_launch=False)
        return {"result_prefix": prefix}

    def fail(self, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
        job_id, fence = text(request, "job_id"), int(number(request, "fence"))
        reason = f"{text(request, 'error')}: {str(request.get('message', ''))[:300]}"
        seconds = number(request, "seconds")

        def act() -> Job:
            failed = self._job(job_id).failed(
                launch_id=row.launch_id,
                fence=fence,
                now=self.now,
                seconds=seconds,
                reason=reason,
                cost=self._cost(row, seconds),
            )
            self.ports.store.write(failed, self._row(row.launch_id).returned(job_id))
            return failed

        job = until_written(act, self.ports.pause)
        self.ports.store.record(Event(f"job#{job_id}", self.now, "failed", reason))
        return {"state": str(job.state)}

    def release(self, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
        why = text(request, "why")
        if why not in ("interrupted", "draining", "cancelled"):
            raise BadRequest(f"why: expected interrupted, draining or cancelled, found {why!r}")
        for lease in leases_of(request):
            try:
                until_written(
                    lambda lease=lease: self._release(row, lease, why),  # type: ignore[misc]
                    self.ports.pause,
                )
            except LeaseLost:
                continue  # Reclaimed or released before: nothing is in this runner's hands any more.
        return {}

    def bye(self, row: Launch, request: Mapping[str, Any]) -> dict[str, Any]:
        why = text(request, "why")

        def act() -> Launch:
            for job_id in self._row(row.launch_id).leases:
                retiring.reclaim_job(
                    self.ports, job_id, row.launch_id, reason="its runner left", silent=False, now=self.now
                )
            current = self._row(row.launch_id)
            leaving = current.draining(reason=why)
            if leaving != current:
                self.ports.store.write(leaving)
            return leaving

        left = until_written(act, self.ports.pause)
        if why == "gave_up":
            launching.trip_breaker(
                self.ports, RunnerGaveUp(f"{left.instance_id} could not work; see logs/"), self.now
            )
        self.ports.store.record(Event(f"launch#{row.launch_id}", self.now, "bye", why))
        if left.task_token and why in FAILING_BYES:
            self.ports.workflow.fail(left.task_token, FAILING_BYES[why], f"{left.instance_id}: {why}")
        else:
            launching.answer(self.ports, left)
        self.ports.kick("report")
        if why != "idle":
            self.ports.kick("scale")
        return {}

    def _proven(self, launch_id: str, request: Mapping[str, Any]) -> Instance:
        """The instance that STS, EC2 and the request agree on. Raises NotYourself."""
        claimed = text(request, "instance_id")
        proof = request.get("proof")
        if not isinstance(proof, dict) or not isinstance(proof.get("headers"), dict):
            raise BadRequest("proof: expected {url, headers}")
        headers = {str(k).lower(): str(v) for k, v in proof["headers"].items()}
        if headers.get("x-arcspot-launch") != launch_id:
            raise NotYourself("the proof was not signed for this launch")
        caller = self.ports.identity.caller(text(proof, "url"), headers)
        expected = Caller(
            account=self.settings.account_id,
            role=self.settings.runner_role,
            role_id=self.settings.runner_role_id,
            session=claimed,
        )
        if caller != expected:
            raise NotYourself(f"STS knows the caller as {caller}, not as {expected}")
        instance = self.ports.compute.instance(claimed)
        if instance is None or instance.launch_id != launch_id:
            raise NotYourself(f"EC2 does not show {claimed} as the instance of launch {launch_id}")
        return instance

    def _authorised(self, launch_id: str, secret: str) -> Launch:
        row = self._row(launch_id)
        if not row.secret_sha256 or not hmac.compare_digest(row.secret_sha256, _digest(secret)):
            raise NotYourself(f"wrong secret for launch {launch_id}")
        if row.state not in SERVING:
            raise LaunchClosed(f"launch {launch_id} is {row.state}")
        return row

    def _row(self, launch_id: str) -> Launch:
        row = self.ports.store.launch(launch_id)
        if row is None:
            raise LaunchClosed(f"there is no launch {launch_id}")
        return row

    def _job(self, job_id: str) -> Job:
        job = self.ports.store.job(job_id)
        if job is None:
            raise LeaseLost(f"there is no job {job_id}")
        return job

    def _held(self, row: Launch, request: Mapping[str, Any]) -> tuple[Job, int]:
        job, fence = self._job(text(request, "job_id")), int(number(request, "fence"))
        job.held_by(launch_id=row.launch_id, fence=fence)
        return job, fence

    def _claim(self, launch_id: str, job_id: str) -> Job:
        claimed = self._job(job_id).claimed(
            launch_id=launch_id, now=self.now, lease_seconds=self.settings.lease_s
        )
        self.ports.store.write(claimed, self._row(launch_id).lent(job_id))
        return claimed

    def _extend(self, launch_id: str, lease: Mapping[str, Any]) -> None:
        job = self._job(text(lease, "job_id"))
        extended = job.extended(
            launch_id=launch_id,
            fence=int(number(lease, "fence")),
            now=self.now,
            lease_seconds=self.settings.lease_s,
            phase=str(lease.get("phase", ""))[:40],
            fraction=min(1.0, number(lease, "fraction")) if lease.get("fraction") else 0.0,
        )
        if extended is not job:
            self.ports.store.write(extended)

    def _release(self, row: Launch, lease: Mapping[str, Any], why: str) -> None:
        job_id, fence, seconds = text(lease, "job_id"), int(number(lease, "fence")), number(lease, "seconds")
        released = self._job(job_id).released(
            launch_id=row.launch_id,
            fence=fence,
            now=self.now,
            seconds=seconds,
            why=why,
            checkpoint=checkpoints.accepted(self.ports.objects, job_id, fence, lease.get("checkpoint")),
            cost=self._cost(row, seconds),
        )
        self.ports.store.write(released, self._row(row.launch_id).returned(released.job_id))

    def _lease(self, job: Job) -> dict[str, Any]:
        return {
            "job_id": job.job_id,
            "task_id": job.task_id,
            "fence": job.fence,
            "expires_in_s": self.settings.lease_s,
            "config": dict(job.config),
            "input_key": job.input.key,
            "input_url": self.ports.objects.presign_get(
                job.input.key, version=job.input.object_version or None, seconds=DOWNLOAD_SECONDS
            ),
            **checkpoints.offered(self.ports.objects, job, seconds=DOWNLOAD_SECONDS),
            "budget_s": float(job.config.get("budget_s", self.settings.task_budget_s)),
        }

    def _uploaded(self, prefix: str, files: Mapping[str, tuple[int, str]]) -> None:
        missing = [name for name in REQUIRED_FILES if name not in files]
        if missing:
            raise BadRequest(f"files: expected {', '.join(REQUIRED_FILES)}; missing {', '.join(missing)}")
        for name, (size, _) in files.items():
            found = self.ports.objects.size(prefix + name)
            if found != size:
                raise BadRequest(f"files.{name}: {size} bytes announced, {found or 'nothing'} in the bucket")

    def _beat(self, row: Launch, gpu_utilisation: float | None = None) -> None:
        """Note the sign of life, and pass it on to the state machine."""

        def act() -> Launch:
            known = self._row(row.launch_id)
            heard = known.heard(
                now=self.now,
                every_s=self.settings.silence_s * NOTED_SHARE,
                gpu_utilisation=gpu_utilisation,
            )
            if heard is not known:
                self.ports.store.write(heard)
            return heard

        heard = until_written(act, self.ports.pause)
        if heard.task_token and heard.token_phase == "serve":
            self.ports.workflow.beat(heard.task_token)
        else:
            launching.answer(self.ports, heard)

    def _left(self, row: Launch) -> float:
        return max(0.0, (row.hard_deadline - self.now).total_seconds())

    def _cost(self, row: Launch, seconds: float) -> int:
        return share_usd_micros(
            price_usd_micros_per_hour=row.price, seconds=seconds, disk_gb=self.settings.disk_gb
        )

    def _observe(self, seconds: float) -> None:
        key = estimate_key(self.settings)
        known = self.ports.store.estimate(key) or Estimate(key=key, seconds=seconds)
        observed = known.observed(seconds)
        if observed is known and known.version:
            return
        try:
            self.ports.store.write(observed)
        except Conflict:
            return  # Somebody else's observation won; one sample less changes nothing.


def result_prefix(job_id: str, fence: int) -> str:
    """Where one attempt's artefacts go: no two attempts ever share a key."""
    return f"results/{job_id}/{fence}/"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

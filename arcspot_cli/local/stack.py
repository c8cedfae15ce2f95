"""Bring the local stack up and down, and know whether it is there.

    stack = up(LocalOptions(project_dir=Path(".")), report=print)
    ...
    down(project_dir=Path("."), report=print)

Everything lives in the project's `.arcspot/`: `local.json` describes a running stack,
`local/processes/` records every process from the moment it starts, so that `down` finds what
a crash or Ctrl-C left at any point, and stops exactly that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from arcspot.domain import documents
from arcspot_cli import naming
from arcspot_cli.local import keys, ports, proof, sam, signing
from arcspot_cli.local.emulator import RECORDS
from arcspot_cli.local.emulator_gate import HEALTH
from arcspot_cli.local.errors import LocalStackError
from arcspot_cli.local.keys import AGAIN, AccessKey
from arcspot_cli.local.processes import ProcessRecord, alive, detach, read_records, spawn, stop

Report = Callable[[str], None]

LOCAL_PARAMETERS: Mapping[str, str] = {
    "AlertEmail": "local@example.com",
    "ImageParameter": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
    "MaxLifetimeMinutes": "60",
    "TaskBudgetSeconds": "110",
    "IdleSeconds": "8",
    "TargetDrainSeconds": "60",
    "BootSeconds": "10",
    "MaxWaitSeconds": "0",
    "BootTimeoutSeconds": "180",
    "SilenceSeconds": "60",
    "HeartbeatSeconds": "5",
    "LeaseSeconds": "60",
    "GonePollSeconds": "2",
}
"""Template parameters that differ on one machine: an image the emulator knows (nothing is booted
from it), and waits for people who look on."""

START_SECONDS = 30.0
KEPT_BY_DOWN = frozenset({"logs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How to bring a local stack up."""

    project_dir: Path
    home: Path | None = None
    """Where the stack keeps everything, build included; the project's `.arcspot` unless told."""
    stack_name: str = "arcspot-local"
    region: str = "us-east-1"
    max_instances: int = 2
    """How many may run at once; they share the machine's cores."""
    notice_seconds: float = 120.0
    """Between a spot notice and the end of the instance, as on EC2."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Template parameters, on top of `LOCAL_PARAMETERS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStack:
    """A running local stack."""

    endpoint_url: str
    region: str
    stack_name: str
    control_url: str
    state_dir: str
    started_at: str
    """UTC, ISO 8601."""
    processes: tuple[ProcessRecord, ...]
    key: AccessKey
    """Signs every request to the stack. Kept in the state folder, not in the description."""

    def environment(self) -> dict[str, str]:
        """What an AWS client needs to talk to this stack and to nothing else."""
        return sam.clean_environment({}, self.key) | {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_DEFAULT_REGION": self.region,
        }

    def description(self) -> str:
        """What `load` reads; the key is not in it."""
        told = asdict(self)
        del told["key"]
        return json.dumps(told, indent=2)

    def running(self) -> bool:
        """Whether all of its processes are still there."""
        return all(alive(record) for record in self.processes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStatus:
    """What `status` saw."""

    stack: LocalStack | None
    """None when nothing is up, or not all of it."""
    instances: tuple[Mapping[str, Any], ...] = ()
    left_over: tuple[ProcessRecord, ...] = ()
    """Processes of a stack that is not whole; `down` ends them."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are kept."""

    project_dir: Path
    home: Path

    @classmethod
    def of(cls, project_dir: Path, home: Path | None = None) -> Places:
        """The places of a project; a second stack of the same project needs a home of its own."""
        project = project_dir.resolve()
        return cls(project, home.resolve() if home else project / ".arcspot")

    @property
    def description(self) -> Path:
        return self.home / "local.json"

    @property
    def state_dir(self) -> Path:
        return self.home / "local"

    @property
    def records_dir(self) -> Path:
        return self.state_dir / RECORDS

    def log(self, name: str) -> Path:
        return self.state_dir / "logs" / f"{name}.log"


def load(project_dir: Path, home: Path | None = None) -> LocalStack | None:
    """The running stack of a project, or None."""
    try:
        told = documents.parsed(Places.of(project_dir, home).description.read_bytes())
        state_dir = documents.fitting(dict[str, Any], told).get("state_dir")
        key = keys.read(documents.fitting(Path, state_dir, "$.state_dir"))
        stack = documents.fitting(LocalStack, {**told, "key": key})
    except (OSError, ValueError, LocalStackError):
        return None  # also a stack of an older arcspot, which has no key: `up` ends it and starts anew
    return stack if stack.running() else None


def believe(stack: LocalStack) -> LocalStack:
    """The stack, once its emulator has proved to be what answers. Raises LocalStackError."""
    try:
        proof.prove(stack.endpoint_url, stack.key, proof.EMULATOR)
    except OSError as error:
        raise LocalStackError(f"the emulator does not answer ({error}); {AGAIN}") from None
    return stack


def status(project_dir: Path, home: Path | None = None) -> LocalStatus:
    """What runs now. Never changes anything."""
    stack = load(project_dir, home)
    if stack is None:
        records = read_records(Places.of(project_dir, home).records_dir)
        return LocalStatus(stack=None, left_over=tuple(record for record in records if alive(record)))
    try:
        told = documents.parsed(_ask(stack, "instances", "GET"))
        found = documents.fitting(list[dict[str, Any]], told)
    except documents.Unfit as fault:
        raise LocalStackError(f"what answers at {stack.control_url} is no instance host: {fault}") from None
    return LocalStatus(stack=stack, instances=tuple(found))


def control(stack: LocalStack, instance_id: str, verb: str) -> None:
    """Give an instance a bad day: interrupt, rebalance, freeze, thaw or crash."""
    _ask(stack, f"instances/{instance_id}/{verb}", "POST")


def _ask(stack: LocalStack, path: str, method: str) -> bytes:
    """One request to the instance host."""
    try:
        proof.prove(stack.control_url, stack.key, proof.INSTANCE_HOST)
        with _signed(f"{stack.control_url}/{path}", stack.key, method=method, timeout=10) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.FORBIDDEN:
            raise LocalStackError(f"the instance host does not know this stack's key; {AGAIN}") from None
        raise LocalStackError(f"no running instance can do {path}; see: arcspot local status") from None
    except OSError as error:
        raise LocalStackError(f"the instance host does not answer ({error}); {AGAIN}") from None


def _signed(url: str, key: AccessKey, *, method: str = "GET", timeout: float) -> HTTPResponse:
    """Send a request to one of our own ports, never through a proxy."""
    headers = signing.signed_headers(key, method, url)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answer: HTTPResponse = opener.open(
        urllib.request.Request(url, method=method, headers=headers), timeout=timeout
    )
    return answer


def up(options: LocalOptions, *, report: Report) -> LocalStack:
    """Bring everything up and return once it works; the running stack if it is up already.

    Whatever goes wrong, Ctrl-C included, what was started is stopped again.
    """
    places = Places.of(options.project_dir, options.home)
    with _alone(places):
        running = load(places.project_dir, places.home)
        if running is not None:
            report(f"already up at {running.endpoint_url}, since {running.started_at}")
            return believe(running)
        if places.description.exists() and any(map(alive, read_records(places.records_dir))):
            report("what runs here is not whole, or of an older arcspot and without a key; it starts anew")
        _down(places, report)
        try:
            with ports.bound(2) as doors:
                return _up(options, places, doors, report)
        except BaseException:
            _down(places, report)
            raise


def _up(options: LocalOptions, places: Places, doors: list[socket.socket], report: Report) -> LocalStack:
    refused = naming.too_long(options.stack_name)
    if refused:
        raise LocalStackError(refused)
    program = sam.find_sam(places.project_dir, os.environ)
    if not (places.project_dir / "template.yaml").exists():
        raise LocalStackError(f"no template.yaml in {places.project_dir}; go to the project's folder")
    keys.private_folder(places.state_dir)
    (places.state_dir / "logs").mkdir(exist_ok=True)
    key = keys.draw()
    keys.keep(places.state_dir, key)
    config = places.state_dir / "samconfig.toml"
    config.write_text("version = 0.1\n")  # the project's own samconfig.toml is about real accounts
    build_dir = places.home / "build" / "sam"

    began = time.monotonic()
    door, control_door = doors
    endpoint_url, control_url = (f"http://127.0.0.1:{ports.number(one)}" for one in doors)
    _start_emulator(places, door)
    report("building")
    built = sam.build(
        program,
        project_dir=places.project_dir,
        build_dir=build_dir,
        records_dir=places.records_dir,
        config=config,
        log=places.log("build"),
    )
    report(f"built in {time.monotonic() - began:.0f} s" if built else "nothing changed since the last build")
    _wait_for(f"{endpoint_url}{HEALTH}", key, places, "emulator")

    report(f"deploying to {endpoint_url}")
    aws = {"AWS_ENDPOINT_URL": endpoint_url, "AWS_DEFAULT_REGION": options.region}
    sam.deploy(
        program,
        stack_name=options.stack_name,
        parameters={
            **LOCAL_PARAMETERS,
            "MaxInstances": str(options.max_instances),
            **options.parameters,
        },
        project_dir=places.project_dir,
        build_dir=build_dir,
        records_dir=places.records_dir,
        config=config,
        environment=sam.clean_environment(os.environ, key) | aws,
        log=places.log("deploy"),
    )
    _start_host(options, places, endpoint_url, control_door)
    _wait_for(f"{control_url}/instances", key, places, "instance-host")

    lasting = ("emulator", "instance-host")
    stack = LocalStack(
        endpoint_url=endpoint_url,
        region=options.region,
        stack_name=options.stack_name,
        control_url=control_url,
        state_dir=str(places.state_dir),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        processes=tuple(record for record in read_records(places.records_dir) if record.name in lasting),
        key=key,
    )
    draft = places.description.with_suffix(".draft")
    draft.write_text(stack.description())
    draft.replace(places.description)
    report(f"up at {endpoint_url} after {time.monotonic() - began:.0f} s")
    return stack


def _start_emulator(places: Places, at: socket.socket) -> None:
    _start(places, "emulator", at, ["--state-dir", str(places.state_dir)])


def _start_host(options: LocalOptions, places: Places, endpoint_url: str, at: socket.socket) -> None:
    arguments = {
        "--stack": options.stack_name,
        "--endpoint-url": endpoint_url,
        "--region": options.region,
        "--state-dir": places.state_dir,
        "--max-instances": options.max_instances,
        "--notice-seconds": options.notice_seconds,
    }
    _start(places, "instance-host", at, [str(part) for pair in arguments.items() for part in pair])


def _start(places: Places, name: str, at: socket.socket, arguments: list[str]) -> None:
    """Start one of our own modules as a lasting process, which listens at a socket that is bound already."""
    module = f"arcspot_cli.local.{name.replace('-', '_')}"
    with places.log(name).open("wb") as output:
        process = spawn(
            name,
            [sys.executable, "-m", module, "--socket", str(at.fileno()), *arguments],
            folder=places.records_dir,
            environment=sam.clean_environment(os.environ),
            output=output,
            cwd=places.project_dir,
            passed=(at.fileno(),),
        )
    detach(process)
    at.close()  # from here on it is that process's alone, and gone with it


def _wait_for(url: str, key: AccessKey, places: Places, name: str) -> None:
    """Return when a process of ours answers and has proved it; say what its log says if it does not."""
    log = places.log(name)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            proof.prove(url, key, name, timeout=2)
            with _signed(url, key, timeout=2):
                return
        mine = [record for record in read_records(places.records_dir) if record.name == name]
        if not any(alive(record) for record in mine):
            about = f"the {name} stopped at once; the whole log is in {log}"
            raise LocalStackError(about, *sam.tail(log).splitlines())
        time.sleep(0.1)
    raise LocalStackError(f"the {name} did not answer within {START_SECONDS:.0f} s; its log is {log}")


def down(project_dir: Path, *, home: Path | None = None, report: Report) -> None:
    """Stop everything of this project's local stack and forget its data; logs and the build stay.

    Does nothing when nothing is there, and works after a crash at any point of `up`.
    """
    places = Places.of(project_dir, home)
    with _alone(places):
        _down(places, report)


def _down(places: Places, report: Report) -> None:
    records = read_records(places.records_dir)
    if any(alive(record) for record in records):
        report("stopping the local stack")
    host = [record for record in records if record.name == "instance-host"]
    stop(host, grace_seconds=10.0)  # it ends its instances itself
    records = read_records(places.records_dir)  # without those that ended, with those it had just started
    stop(records, grace_seconds=1.0)  # the emulator has nothing to save
    left = [record for record in records if alive(record)]
    if left:
        named = ", ".join(f"{record.name} ({record.pid})" for record in left)
        raise LocalStackError(f"could not stop {named}; end them by hand and try again")
    places.description.unlink(missing_ok=True)
    if places.state_dir.exists():
        for entry in places.state_dir.iterdir():
            if entry.name not in KEPT_BY_DOWN:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@contextlib.contextmanager
def _alone(places: Places) -> Iterator[None]:
    """One `up` or `down` at a time; the lock ends with its holder."""
    keys.private_folder(places.home)
    with (places.home / "local.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalStackError(
                "another `arcspot local up` or `down` is at work here; wait for it"
            ) from None
        yield

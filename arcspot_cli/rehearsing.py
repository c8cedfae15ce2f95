"""rehearse: the whole life of a stack for the first person with an account, step by step, each one verified.

Unseen on AWS: it was run on the local stack alone. Every step is a command that a person would type, run as
one; what it said is kept in a folder, so that a failure far from here can be read here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from arcspot.domain import documents
from arcspot.domain.budget import MICROS, worst_case_usd_micros
from arcspot.settings import MARGIN_SECONDS
from arcspot_cli.errors import CommandFailed
from arcspot_cli.interrupting import Fis
from arcspot_cli.target import Choice, Target, resolve

LIMIT_USD_MICROS = 1 * MICROS
TASKS = Path("examples/tasks")
BATCH = "rehearsal"
PRICED_TYPE = "g4dn.xlarge"
QUOTA, QUOTA_VCPUS = "GPU spot quota", 4
FIS_USD_MICROS = 300_000
"""Three minutes of one action at $0.10 a minute: https://aws.amazon.com/fis/pricing/"""
REST_USD_MICROS = 50_000
"""Lambda, Step Functions, S3 and DynamoDB of an hour, rounded up."""
PARAMETERS: Mapping[str, str] = {
    "MonthlyCapUsd": "0.65",
    # It looks at the whole account: a limit below what that has spent already would forbid every launch.
    "AccountBudgetUsd": "10000",
    "MaxInstances": "1",
    "InstanceTypes": PRICED_TYPE,
    "MaxLifetimeMinutes": "40",
    # Long enough to be interrupted while it is there: the six tasks alone take a minute.
    "IdleSeconds": "240",
    "MaxWaitSeconds": "0",
}
DISK_GB = 75


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a step may take, seconds."""

    up: float
    interrupted: float
    answered: float
    settled: float
    every: float


LARGEST_ANSWER = 512 * 1024 * 1024
ON_AWS = Patience(up=1500, interrupted=600, answered=2400, settled=900, every=10)
HERE = Patience(up=240, interrupted=240, answered=900, settled=300, every=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done, as data: printed before anything starts."""

    stack: str
    folder: Path
    project_dir: Path
    local: bool
    region: str | None = None
    profile: str | None = None
    email: str = ""

    @property
    def target_options(self) -> list[str]:
        if self.local:
            return ["--local"]
        region = ["--region", self.region] if self.region else []
        return [
            "--aws",
            "--stack",
            self.stack,
            *region,
            *(["--profile", self.profile] if self.profile else []),
        ]

    @property
    def cleanup(self) -> str:
        """The line that removes everything, whatever happened before."""
        return " ".join(["arcspot", *self.target_options, "cleanup", "--yes", self.stack])


@dataclass(slots=True)
class Done:
    """What became of a step."""

    name: str
    ok: bool
    said: str
    began: str
    seconds: float


@dataclass(slots=True)
class Rehearsal:
    """A rehearsal under way: its plan and the steps that are done. Kept in `rehearsal.json` after each."""

    plan: Plan
    done: list[Done] = field(default_factory=list)

    def keep(self) -> None:
        told = {"plan": asdict(self.plan), "steps": [asdict(step) for step in self.done]}
        path = self.plan.folder / "rehearsal.json"
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(told, indent=1, default=str))
        draft.replace(path)

    def passed(self, name: str) -> bool:
        return any(step.name == name and step.ok for step in self.done)


def load(folder: Path) -> Rehearsal | None:
    """A rehearsal that was begun in this folder, to be gone on with. Raises CommandFailed."""
    path = folder / "rehearsal.json"
    try:
        kept = documents.read(_Kept, path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise CommandFailed(f"{path}: {fault.strerror}") from fault
    except documents.Unfit as fault:
        raise CommandFailed(f"{path}: {fault}; name another --folder to begin anew") from fault
    return Rehearsal(kept.plan, kept.steps)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What `rehearsal.json` holds."""

    plan: Plan
    steps: list[Done]


Step = tuple[str, Callable[["Stage"], str]]


def steps(plan: Plan) -> tuple[Step, ...]:
    """In order. Each raises CommandFailed when what it saw is not what should be; else says what it saw."""
    return (
        ("check", _check),
        ("deploy", _deploy),
        ("interruption prepared", _prepare),
        ("six tasks", _submit),
        ("an instance is up", _up),
        ("interruption", _interrupt),
        ("answers", _answers),
        ("all paid for", _settled),
        ("results", _results),
        ("cost", _cost),
        ("evidence", _evidence),
        ("cleanup", _cleanup),
    )


def run(rehearsal: Rehearsal, say: Callable[[str], object], stage: Stage | None = None) -> bool:
    """Do every step that has not passed yet; stop at the first that fails. Whether all passed."""
    rehearsal.plan.folder.mkdir(parents=True, exist_ok=True)
    stage = stage or Stage(rehearsal.plan, say)
    for name, act in steps(rehearsal.plan):
        if rehearsal.passed(name):
            say(f"done before: {name}")
            continue
        say(f"--- {name}")
        step = _tried(name, act, stage)
        rehearsal.done.append(step)
        rehearsal.keep()
        say(f"{'ok' if step.ok else 'FAILED'}: {step.said} ({step.seconds:.0f} s)")
        if not step.ok:
            if name not in ("check", "cleanup", "evidence"):
                say(_tried("evidence", _evidence, stage).said)
            return False
    return True


def clean_up(rehearsal: Rehearsal, say: Callable[[str], object], stage: Stage | None = None) -> bool:
    """The last step by itself, after another failed. Whether nothing is left."""
    step = _tried("cleanup", _cleanup, stage or Stage(rehearsal.plan, say))
    rehearsal.done.append(step)
    rehearsal.keep()
    say(f"{'ok' if step.ok else 'FAILED'}: {step.said}")
    return step.ok


def _tried(name: str, act: Callable[[Stage], str], stage: Stage) -> Done:
    from botocore.exceptions import BotoCoreError, ClientError

    began, start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    try:
        ok, said = True, act(stage)
    except (CommandFailed, ClientError, BotoCoreError, OSError, KeyError, ValueError) as error:
        ok, said = False, f"{type(error).__name__}: {error}"
    return Done(name, ok, said, began, time.monotonic() - start)


@dataclass
class Stage:
    """What steps act with: commands as a person types them, and a look at the stack."""

    plan: Plan
    say: Callable[[str], object]

    @property
    def patience(self) -> Patience:
        return HERE if self.plan.local else ON_AWS

    def target(self) -> Target:
        plan = self.plan
        where = "local" if plan.local else "aws"
        return resolve(
            Choice(
                stack=plan.stack,
                where=where,
                region=plan.region,
                profile=plan.profile,
                project_dir=plan.project_dir,
            )
        )

    def arcspot(self, *arguments: str, fails: bool = False) -> Any:
        """What `arcspot … --json` answers. Raises CommandFailed when it fails, unless that is expected."""
        options = [] if arguments[0] == "local" else self.plan.target_options
        command = [sys.executable, "-m", "arcspot_cli.main", *options, *arguments, "--json"]
        out = self.command(f"arcspot {' '.join(arguments)}", command, fails=fails)
        try:
            return documents.parsed(out, most=LARGEST_ANSWER) if out.strip() else None
        except documents.Unfit as fault:
            raise CommandFailed(f"arcspot {' '.join(arguments)} answers no JSON: {fault}") from fault

    def command(self, shown: str, command: Sequence[str], *, fails: bool = False) -> str:
        """Run a command in the project; its output is appended to commands.log."""
        done = subprocess.run(
            command,
            cwd=self.plan.project_dir,
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        with (self.plan.folder / "commands.log").open("a") as log:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            log.write(f"{now} $ {shown}\n{done.stdout}{done.stderr}-- exit {done.returncode}\n")
        if done.returncode and not fails:
            last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise CommandFailed(f"{shown}: exit {done.returncode}: {last}")
        return done.stdout

    def write(self, name: str, told: Any) -> None:
        (self.plan.folder / name).write_text(json.dumps(told, indent=1, default=str))

    def until(self, what: str, seconds: float, look: Callable[[Any], str | None]) -> str:
        """What `look` says of a status, once it says something. Each status is a line of status.jsonl."""
        end = time.monotonic() + seconds
        while True:
            seen = self.arcspot("status")
            with (self.plan.folder / "status.jsonl").open("a") as log:
                log.write(json.dumps(seen) + "\n")
            said = look(seen)
            if said is not None:
                return said
            if time.monotonic() > end:
                waits = seen["waits_for"] or "nothing"
                raise CommandFailed(
                    f"not {what} after {seconds:.0f} s; jobs {seen['jobs']}, waits for {waits}"
                )
            time.sleep(self.patience.every)


def _environment() -> dict[str, str]:
    return dict(os.environ) | {"SAM_CLI_TELEMETRY": "0"}


def _check(stage: Stage) -> str:
    """Quota and prices, before anything costs. On AWS both must be known: no rehearsal on a guess."""
    if stage.plan.local:
        return "the local stack needs no quota and costs nothing"
    found = stage.arcspot("check", fails=True) or []
    stage.write("check.json", found)
    seen = {finding["what"]: finding for finding in found}
    for what in ("credentials", QUOTA):
        if seen.get(what, {}).get("ok") is not True:
            raise CommandFailed(f"{what}: {seen.get(what, {}).get('said', 'not looked at')}")
    prices = read_prices(stage.target())
    stage.write("prices.json", prices)
    return judged(prices)


def read_prices(target: Target) -> dict[str, int]:
    """On-demand micro-dollars an hour, as AWS tells them now."""
    from arcspot.aws.prices import PRICE_LIST_REGION, PriceList

    region = target.session.region_name or PRICE_LIST_REGION
    client = replace(target, region=PRICE_LIST_REGION).client("pricing")
    return dict(PriceList(client, region).on_demand([PRICED_TYPE]))


def judged(prices: Mapping[str, int]) -> str:
    """Refuse unless the rehearsal's worst case is known and at most a dollar. Raises CommandFailed."""
    if PRICED_TYPE not in prices:
        raise CommandFailed(
            f"AWS tells no price of a {PRICED_TYPE} in this region: nothing is started on a guess"
        )
    cap = int(float(PARAMETERS["MonthlyCapUsd"]) * MICROS)
    reserve = worst_case_usd_micros(
        instance_types=(PRICED_TYPE,),
        on_demand_usd_micros=prices,
        max_lifetime_seconds=int(PARAMETERS["MaxLifetimeMinutes"]) * 60,
        margin_seconds=MARGIN_SECONDS,
        disk_gb=DISK_GB,
    )
    if reserve > cap:
        raise CommandFailed(
            f"one launch may cost ${reserve / MICROS:.2f} here, more than the cap of ${cap / MICROS:.2f}"
        )
    worst = cap + FIS_USD_MICROS + REST_USD_MICROS
    if worst > LIMIT_USD_MICROS:
        raise CommandFailed(f"the rehearsal could cost ${worst / MICROS:.2f}, more than $1")
    hourly = prices[PRICED_TYPE] / MICROS
    return f"{PRICED_TYPE} at ${hourly:.3f} an hour; all together at most ${worst / MICROS:.2f}"


def _deploy(stage: Stage) -> str:
    plan = stage.plan
    if plan.local:
        stage.arcspot("local", "up", "--max-instances", "1", "--parameter", "IdleSeconds=30")
        return "the local stack is up"
    from arcspot_cli.local.sam import find_sam

    sam = find_sam(plan.project_dir, os.environ)
    region = ["--region", plan.region] if plan.region else []
    profile = ["--profile", plan.profile] if plan.profile else []
    given = sorted({**PARAMETERS, "AlertEmail": plan.email}.items())
    stage.command("sam build", [sam, "build", "--parallel"])
    stage.command(
        "sam deploy",
        [
            sam, "deploy", "--stack-name", plan.stack, "--resolve-s3", "--no-confirm-changeset",
            "--no-fail-on-empty-changeset", "--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM",
            *region, *profile,
            "--parameter-overrides", *(f"ParameterKey={k},ParameterValue={v}" for k, v in given),
        ],
    )  # fmt: skip
    found = stage.arcspot("check", fails=True) or []
    stage.write("check-deployed.json", found)
    wrong = [
        f"{each['what']}: {each['said']}"
        for each in found
        if each["ok"] is False and each["what"] != "alert mail"
    ]
    if wrong:
        raise CommandFailed("; ".join(wrong))
    return "deployed; confirm the mail that SNS sends, if you want to see its mails"


def _prepare(stage: Stage) -> str:
    """On AWS the Fault Injection Service announces it; its role and template are made before."""
    if stage.plan.local:
        return "the instance host announces it"
    return Fis(stage.target()).prepare()


def _submit(stage: Stage) -> str:
    told = stage.arcspot("submit", str(TASKS), "--batch", BATCH)
    if told["refused"] or len(told["jobs"]) != 6:
        raise CommandFailed(f"six jobs expected, found {len(told['jobs'])}, refused {told['refused']}")
    return "six files are in the bucket and six jobs in the table"


def _up(stage: Stage) -> str:
    def look(seen: Any) -> str | None:
        running = [launch for launch in seen["launches"] if launch["state"] == "ACTIVE"]
        return f"{running[0]['instance_id']} said hello" if running else None

    return stage.until("up", stage.patience.up, look)


def _interrupt(stage: Stage) -> str:
    def find(seen: Any) -> str | None:
        return next((one["instance_id"] for one in seen["launches"] if one["state"] == "ACTIVE"), None)

    instance = stage.until("up", stage.patience.up, find)
    if stage.plan.local:
        stage.arcspot("local", "interrupt", instance)
    else:
        Fis(stage.target()).interrupt()

    def over(seen: Any) -> str | None:
        found = next(one for one in seen["launches"] if one["instance_id"] == instance)
        if found["state"] in ("DRAINING", "GONE", "SETTLED"):
            return f"{instance}: {found['state']}, {found['reason']}"
        return None

    said = stage.until("interrupted", stage.patience.interrupted, over)
    if "interrupt" not in said:
        raise CommandFailed(f"it left for another reason: {said}")
    return said


def _answers(stage: Stage) -> str:
    def look(seen: Any) -> str | None:
        if seen["ended_badly"]:
            raise CommandFailed(f"a job ended badly: {seen['ended_badly']}")
        return "six answers" if seen["jobs"] == {"DONE": 6} else None

    return stage.until("answered", stage.patience.answered, look)


def _settled(stage: Stage) -> str:
    """No instance lives, nothing is reserved, every launch is paid for."""
    # The last runner would wait for more work as long as it may; nothing more comes.
    stage.arcspot("pause", "rehearsal")

    def look(seen: Any) -> str | None:
        still = [launch for launch in seen["launches"] if launch["state"] not in ("SETTLED", "RELEASED")]
        if still or seen["ledger"]["reserved"]:
            return None
        return f"{len(seen['launches'])} launch(es) closed, nothing reserved"

    return stage.until("paid for", stage.patience.settled, look)


def _results(stage: Stage) -> str:
    got = stage.arcspot("results", "get", str(stage.plan.folder / "results"), "--batch", BATCH)
    files = [Path(each["folder"]) / "prediction.json" for each in got]
    missing = [str(file) for file in files if not (stage.plan.project_dir / file).exists()]
    if len(got) != 6 or missing:
        raise CommandFailed(f"six results expected, found {len(got)}; missing {missing}")
    return "six answers are home, each checked by its sha256"


def _cost(stage: Stage) -> str:
    told = stage.arcspot("cost")
    stage.write("cost.json", told)
    spent = sum(launch["cost"] for launch in told["launches"])
    if told["reserved"] or spent != told["settled"] or told["settled"] > told["cap"]:
        raise CommandFailed(f"the books are wrong: {told}")
    if told["settled"] > LIMIT_USD_MICROS and not stage.plan.local:
        raise CommandFailed(f"it cost ${told['settled'] / MICROS:.2f}, more than $1")
    return f"${told['settled'] / MICROS:.4f} for {len(told['launches'])} launch(es)"


def _evidence(stage: Stage) -> str:
    """What the instances and EC2 said: logs with the image's packages, boot times, every refusal."""
    from arcspot.errors import RecordMissing

    target, kept = stage.target(), 0
    for key in target.bucket.keys("logs/"):
        path = stage.plan.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_bytes(target.bucket.read(key))
        except RecordMissing:
            continue
        kept += 1
    history = events(target)
    stage.write("events.json", history)
    stage.write("boots.json", boots(history))
    stage.write("refusals.json", [event for event in history if event["kind"] == "refused"])
    stage.write("executions.json", executions(target))
    if not kept:
        raise CommandFailed("no log of an instance is in the bucket")
    return f"{kept} log(s), {len(history)} events, boots of {[round(b['seconds']) for b in boots(history)]} s"


def events(target: Target) -> list[dict[str, str]]:
    """The whole history, oldest first."""
    pages = target.client("dynamodb").get_paginator("scan").paginate(TableName=target.events_table)
    rows = [row for page in pages for row in page["Items"]]
    told = [
        {
            "at": row["sk"]["S"].partition("#")[0],
            "subject": row["pk"]["S"],
            "kind": row["kind"]["S"],
            "detail": row.get("detail", {}).get("S", ""),
        }
        for row in rows
    ]
    return sorted(told, key=lambda event: event["at"])


def boots(history: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Seconds from EC2's answer to the instance's hello, for each launch that said it."""
    at: dict[tuple[str, str], datetime] = {}
    for event in history:
        at.setdefault((event["subject"], event["kind"]), datetime.fromisoformat(event["at"]))
    return [
        {"launch": subject, "seconds": (moment - at[subject, "launched"]).total_seconds()}
        for (subject, kind), moment in at.items()
        if kind == "hello" and (subject, "launched") in at
    ]


def executions(target: Target) -> list[dict[str, Any]]:
    """Every execution with its error and cause: the words of whoever refused."""
    client, arn = target.client("stepfunctions"), target.output("StateMachineArn")
    pages = client.get_paginator("list_executions").paginate(stateMachineArn=arn)
    told = []
    for each in (execution for page in pages for execution in page["executions"]):
        seen = client.describe_execution(executionArn=each["executionArn"])
        told.append({name: seen.get(name, "") for name in ("name", "status", "startDate", "error", "cause")})
    return told


def _cleanup(stage: Stage) -> str:
    told = stage.arcspot("cleanup", "--yes", stage.plan.stack)
    stage.write("cleanup.json", told)
    if not told["done"]:
        raise CommandFailed(f"something is left: {told['left']}")
    if stage.plan.local:
        stage.arcspot("local", "down")
    return "nothing is left"

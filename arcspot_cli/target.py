"""Which stack a command talks to. Local and AWS differ in the endpoint and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcspot_cli.errors import CommandFailed

if TYPE_CHECKING:
    import boto3

    from arcspot.aws.bucket import Bucket
    from arcspot.aws.dynamo import DynamoStore
    from arcspot.ports import Pause

DEFAULT_STACK = "arcspot"
TARGET_VARIABLE = "ARCSPOT_TARGET"
"""`local` or `aws`: what --local or --aws say, for a whole session."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user said about the target on the command line or in the environment."""

    stack: str | None = None
    where: str | None = None  # "local", "aws", or nothing said
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    project_dir: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True)
class Target:
    """One deployed stack. Everything is read when it is first asked for."""

    stack: str
    region: str | None
    endpoint_url: str | None
    profile: str | None
    label: str

    @cached_property
    def session(self) -> boto3.Session:
        import boto3

        return boto3.Session(profile_name=self.profile, region_name=self.region)

    def client(self, service: str) -> Any:
        """A client of this target and no other.

        boto3 would read an endpoint from the environment and from profiles by itself: `--aws` would
        then talk to an emulator, and the local stack's commands to whatever is configured for a service.
        """
        from botocore.config import Config

        from arcspot.aws.compose import client_config

        here = Config(ignore_configured_endpoint_urls=True)  # type: ignore[call-arg]
        return self.session.client(  # type: ignore[call-overload]
            service, endpoint_url=self.endpoint_url, config=client_config(service).merge(here)
        )

    @cached_property
    def description(self) -> Mapping[str, Any]:
        """CloudFormation's description of the stack. Raises CommandFailed when there is none."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        except ClientError as error:
            message = error.response["Error"].get("Message", str(error))
            raise CommandFailed(
                f"no stack {self.stack!r} on {self.label} ({message}); "
                "deploy it (README, «On AWS»), name another with --stack, or run: arcspot local up"
            ) from error
        except BotoCoreError as error:
            raise CommandFailed(
                f"{self.label} cannot be reached ({error}). Credentials come from `aws configure` or "
                "AWS_PROFILE, the region from --region or AWS_REGION"
            ) from error
        stack: Mapping[str, Any] = found[0]
        return stack

    @cached_property
    def outputs(self) -> dict[str, str]:
        return {o["OutputKey"]: o["OutputValue"] for o in self.description.get("Outputs", [])}

    @cached_property
    def parameters(self) -> dict[str, str]:
        return {
            p["ParameterKey"]: p.get("ParameterValue", "") for p in self.description.get("Parameters", [])
        }

    def output(self, name: str) -> str:
        try:
            return self.outputs[name]
        except KeyError:
            raise CommandFailed(
                f"stack {self.stack!r} has no output {name}; was it deployed from this template?"
            ) from None

    @property
    def jobs_table(self) -> str:
        return self.output("JobsTable")

    @property
    def launches_table(self) -> str:
        return self.output("LaunchesTable")

    @property
    def ledger_table(self) -> str:
        return self.output("LedgerTable")

    @property
    def events_table(self) -> str:
        return self.output("EventsTable")

    @cached_property
    def store(self) -> DynamoStore:
        from arcspot.aws.dynamo import DynamoStore

        return DynamoStore(self.client("dynamodb"), self, skip_bad=True)

    @cached_property
    def pause(self) -> Pause:
        from arcspot.aws.pausing import FullJitter

        return FullJitter()

    @cached_property
    def bucket(self) -> Bucket:
        from arcspot.aws.bucket import Bucket

        return Bucket(self.client("s3"), self.output("BucketName"))


def resolve(choice: Choice, env: Mapping[str, str] = os.environ) -> Target:
    """The target: what was said, else AWS_ENDPOINT_URL, else a running local stack of this folder.

    AWS only where somebody said so: by --aws, --region, --profile or ARCSPOT_TARGET=aws. A command that was
    meant for a local stack must not reach a real account because that stack is down, or in another folder.
    Raises CommandFailed when nothing was said and nothing is up.
    """
    where = choice.where or env.get(TARGET_VARIABLE) or None
    if where not in (None, "local", "aws"):
        raise CommandFailed(f"{TARGET_VARIABLE}: expected local or aws, found {where!r}")
    endpoint = choice.endpoint_url or (env.get("AWS_ENDPOINT_URL") if where != "aws" else None)
    if endpoint and where != "local":
        local = _local_target(choice, endpoint)
        if local is not None:
            return local
        _prove_key(endpoint, env)
        return Target(choice.stack or _local_name(choice), choice.region, endpoint, choice.profile, endpoint)
    if where != "aws":
        local = _local_target(choice)
        if local is not None:
            return local
        if where == "local":
            raise CommandFailed("no local stack is up in this folder; run: arcspot local up")
        if not (choice.region or choice.profile):
            raise CommandFailed(
                "no local stack is up in this folder, and nothing says AWS; run: arcspot local up, "
                f"or say it: arcspot --aws …, once for all by: export {TARGET_VARIABLE}=aws"
            )
    region = choice.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    return Target(
        choice.stack or DEFAULT_STACK,
        region,
        None,
        choice.profile,
        f"AWS {region or 'default region'}",
    )


def _prove_key(endpoint: str, env: Mapping[str, str]) -> None:
    """Let nobody but the stack whose key lies in the environment stand for it: it may have died since.

    Raises LocalStackError, or CommandFailed when nothing answers.
    """
    from arcspot_cli.local import keys, proof

    key = keys.AccessKey(env.get("AWS_ACCESS_KEY_ID", ""), env.get("AWS_SECRET_ACCESS_KEY", ""))
    if not key.access_key_id.startswith(keys.PREFIX):
        return
    try:
        proof.prove(endpoint, key, proof.EMULATOR)
    except OSError as error:
        raise CommandFailed(
            f"the local stack at {endpoint} does not answer ({error}); {keys.AGAIN}"
        ) from None


def _local_name(choice: Choice) -> str:
    from arcspot_cli.local.stack import load

    running = load(choice.project_dir)
    return running.stack_name if running else DEFAULT_STACK


def _local_target(choice: Choice, endpoint: str | None = None) -> Target | None:
    """The running local stack of this folder, if there is one, and if `endpoint` is its."""
    from arcspot_cli.local.stack import believe, load

    running = load(choice.project_dir)
    if running is None or (endpoint or running.endpoint_url).rstrip("/") != running.endpoint_url:
        return None
    believe(running)
    # The stack's own key, so that no command meant for the laptop can ever reach a real account.
    os.environ.update(running.environment())
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    return Target(
        choice.stack or running.stack_name,
        running.region,
        running.endpoint_url,
        None,
        f"the local stack at {running.endpoint_url}",
    )
